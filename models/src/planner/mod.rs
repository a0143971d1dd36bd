//! From a snapshot to a plan: what is there first, heavier pools first, preferences where they cost nothing.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::catalog::Catalog;
use crate::kubernetes::Snapshot;
use crate::plan::{Plan, extract};
use crate::problem::build::{BuildError, Built, Model, Options, Part, SPREAD_LEVEL, TAINT_LEVEL};
use crate::problem::{BinSource, Problem};
use crate::solver::{Control, Method, Outcome, Progress, Settings, Status};

/// The solver, as the planner calls it.
pub type Solve<'a> = dyn Fn(&Problem, &Settings, &dyn Control) -> Outcome + 'a;

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// An object can't be understood.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The solver answered with something that breaks a rule: a fault of ours, not of the input.
    #[error("the solver's answer breaks a rule: {0}")]
    Solver(String),
}

/// A model, the problem that was solved last, and the answer.
struct Answer<'a> {
    model: Model<'a>,
    built: Built,
    outcome: Outcome,
}

impl Answer<'_> {
    /// Pods placed, and cost in billionths of a dollar an hour.
    fn worth(&self) -> (u64, i64) {
        let problem = &self.built.problem;
        let placed = problem.placed(&self.outcome.solution);
        let pods = placed.iter().zip(&problem.shapes).map(|(units, shape)| units * u64::from(shape.unit.pods)).sum();
        (pods, problem.cost(&self.outcome.solution))
    }
}

/// A share of the time that is left.
struct Share<'a> {
    whole: &'a dyn Control,
    /// Seconds that must be left over.
    reserve: f64,
}

impl<'a> Share<'a> {
    /// This part of what is left; where time has no end nothing needs to be kept.
    fn of(whole: &'a dyn Control, part: f64) -> Self {
        let left = whole.remaining_seconds();
        Share { whole, reserve: if left.is_finite() { left.max(0.0) * (1.0 - part) } else { 0.0 } }
    }
}

impl Control for Share<'_> {
    fn remaining_seconds(&self) -> f64 {
        self.whole.remaining_seconds() - self.reserve
    }
    fn interrupted(&self) -> bool {
        self.whole.interrupted()
    }
    fn report(&self, progress: &Progress) {
        self.whole.report(progress);
    }
}

/// Plans the waiting pods of a snapshot.
///
/// # Errors
/// Where an object can't be understood, or the solver's answer breaks a rule of the problem.
pub fn plan(
    snapshot: &Snapshot,
    catalog: &Catalog,
    options: &Options,
    settings: &Settings,
    control: &dyn Control,
    solve: &Solve,
) -> Result<Plan, PlanError> {
    let start = control.remaining_seconds();
    let bare = Options { preferences: BTreeSet::new(), existing_only: false, ..options.clone() };
    let planner = Planner { snapshot, catalog, settings, solve };
    let model = Model::new(snapshot, catalog, &bare)?;
    let levels = model.levels().clone();
    let first = Share::of(control, if levels.is_empty() { 1.0 } else { 0.7 });
    let mut best = match planner.standing_only(&model, &bare, &first)? {
        Some(answer) => answer,
        None => planner.solve_levels(model, false, &first)?,
    };
    let mut kept = BTreeSet::new();
    if !levels.is_empty() && !control.exhausted() {
        let all: BTreeSet<i32> = levels.clone();
        // All at once, or else one level after the other from the strongest.
        let tries = std::iter::once(None).chain(levels.iter().rev().copied().map(Some));
        let mut left = levels.len() + 1;
        for one in tries {
            if control.exhausted() || kept == all {
                break;
            }
            let preferences: BTreeSet<i32> = match one {
                None => all.clone(),
                Some(level) => kept.iter().copied().chain([level]).collect(),
            };
            let share = Share::of(control, 1.0 / left as f64);
            left -= 1;
            let options = Options { preferences: preferences.clone(), ..bare.clone() };
            let model = Model::new(snapshot, catalog, &options)?;
            let answer = match planner.standing_only(&model, &options, &share)? {
                Some(answer) => answer,
                None => planner.solve_levels(model, false, &share)?,
            };
            let (pods, cost) = answer.worth();
            let (best_pods, best_cost) = best.worth();
            if pods > best_pods || (pods == best_pods && cost <= best_cost) {
                let bare = std::mem::replace(&mut best, answer).outcome;
                let own = &mut best.outcome;
                if pods == best_pods {
                    // Without the preferences nothing cheaper exists than the bound says: that is the bound that counts.
                    own.lower_bound = bare.lower_bound;
                    own.greedy_cost = bare.greedy_cost;
                } else {
                    // A bound for some of the pods holds for all of them; for others of them it says nothing. The greedy's
                    // cost without preferences is that of fewer pods, so the one with them stands.
                    let all = pods == total_pods(snapshot);
                    own.lower_bound = bare.lower_bound.map(|bound| if all { bound } else { 0 });
                }
                own.status = match own.status {
                    Status::Greedy => Status::Greedy,
                    _ if bare.status == Status::Optimal && pods == best_pods && cost == best_cost => Status::Optimal,
                    _ => Status::Feasible,
                };
                kept = preferences;
            }
        }
    }
    let violations = best.built.problem.violations(&best.outcome.solution);
    if let Some(violation) = violations.first() {
        return Err(PlanError::Solver(violation.to_string()));
    }
    let seconds = (start - control.remaining_seconds()).max(0.0);
    let mut plan = extract::plan(&best.model, &best.built, &best.outcome, seconds);
    plan.notes.extend(given_up(&levels, &kept));
    Ok(plan)
}

/// Pods that wait.
fn total_pods(snapshot: &Snapshot) -> u64 {
    snapshot.pending.iter().map(|group| u64::from(group.names.count())).sum()
}

/// Which preferences the plan does not honour, in words.
fn given_up(levels: &BTreeSet<i32>, kept: &BTreeSet<i32>) -> Option<String> {
    let words: Vec<String> = levels
        .difference(kept)
        .map(|level| match *level {
            SPREAD_LEVEL => "topology spread with ScheduleAnyway".to_owned(),
            TAINT_LEVEL => "taints with PreferNoSchedule".to_owned(),
            weight => format!("preferred terms of weight {weight}"),
        })
        .collect();
    (!words.is_empty())
        .then(|| format!("not all preferences are honoured, because that would cost more: {}", words.join(", ")))
}

struct Planner<'a> {
    snapshot: &'a Snapshot,
    catalog: &'a Catalog,
    settings: &'a Settings,
    solve: &'a Solve<'a>,
}

impl<'a> Planner<'a> {
    /// The nodes that are there alone, if they hold every pod: nothing is cheaper, and no empty node will come.
    fn standing_only(
        &self,
        model: &Model,
        options: &Options,
        control: &dyn Control,
    ) -> Result<Option<Answer<'a>>, PlanError> {
        if !model.has_standing() {
            return Ok(None);
        }
        // What no pool can hold, whatever its weight.
        let mut settled = model.assemble(&model.parts(), false);
        while let Some(next) = lighter(model, &settled, None) {
            settled = model.assemble(&next, false);
        }
        if !settled.refused.is_empty() {
            return Ok(None);
        }
        let options = Options { existing_only: true, ..options.clone() };
        let model = Model::new(self.snapshot, self.catalog, &options)?;
        let built = model.assemble(&model.parts(), true);
        if !built.refused.is_empty() || built.pods.is_empty() || too_small(&built.problem) {
            return Ok(None);
        }
        // Some of the time only: the answer may be that it can't be done.
        let share = Share::of(control, 0.3);
        let mut outcome = (self.solve)(&built.problem, self.settings, &share);
        if outcome.solution.unplaced.iter().any(|units| *units > 0)
            || !built.problem.violations(&outcome.solution).is_empty()
        {
            return Ok(None);
        }
        outcome.status = Status::Optimal;
        outcome.lower_bound = Some(0);
        Ok(Some(Answer { model, built, outcome }))
    }

    /// Each shape in the heaviest pools first; what finds no place there goes to the next ones.
    ///
    /// The greedy tells whether anything is left over: while it is, a round has a small share of the time, and only the
    /// last, where all that can be placed has its place, has all that is left. The greedy answers even without time, so
    /// the last round is always reached. Each round moves pods to lighter pools, of which there are finitely many.
    fn solve_levels(
        &self,
        model: Model<'a>,
        existing_only: bool,
        control: &dyn Control,
    ) -> Result<Answer<'a>, PlanError> {
        let quick = Settings { method: Method::Greedy, ..self.settings.clone() };
        let mut parts = model.parts();
        loop {
            let built = model.assemble(&parts, existing_only);
            if let Some(next) = lighter(&model, &built, None) {
                parts = next;
                continue;
            }
            let can_move = built.parts.iter().any(|part| lighter_weight(&model, part).is_some());
            if can_move && self.settings.method != Method::Greedy {
                let left = (self.solve)(&built.problem, &quick, &Share::of(control, 0.1));
                if let Some(next) = lighter(&model, &built, Some(&left)) {
                    // A little more than the greedy, so that the heavier pools take what they can.
                    let better = (!control.exhausted())
                        .then(|| (self.solve)(&built.problem, self.settings, &Share::of(control, 0.15)));
                    match better {
                        None => parts = next,
                        Some(better) => match lighter(&model, &built, Some(&better)) {
                            Some(next) => parts = next,
                            None => return Ok(Answer { model, built, outcome: better }),
                        },
                    }
                    continue;
                }
            }
            let outcome = (self.solve)(&built.problem, self.settings, control);
            match lighter(&model, &built, Some(&outcome)) {
                Some(next) => parts = next,
                None => return Ok(Answer { model, built, outcome }),
            }
        }
    }
}

/// Whether the nodes together can't hold the demand, whatever the rules.
fn too_small(problem: &Problem) -> bool {
    (0..problem.resources.len()).any(|resource| {
        let need: i128 = problem
            .shapes
            .iter()
            .enumerate()
            .map(|(shape, row)| i128::from(problem.demand[[shape, resource]]) * i128::from(row.count))
            .sum();
        let room: i128 = (0..problem.bins.len())
            .filter(|bin| matches!(problem.bins[*bin].source, BinSource::Existing(_)))
            .map(|bin| i128::from(problem.capacity[[bin, resource]]))
            .sum();
        need > room
    })
}

/// The heaviest pools below those that the part may use now.
fn lighter_weight(model: &Model, part: &Part) -> Option<i32> {
    part.weight.and_then(|weight| model.weights(part.form).range(..weight).next_back().copied())
}

/// The parts with what was refused, or found no place in an outcome, moved to the next lighter pools; `None` where there
/// is nothing to move.
fn lighter(model: &Model, built: &Built, outcome: Option<&Outcome>) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut moved = false;
    let in_problem = built.parts.iter().enumerate().map(|(shape, part)| {
        let units = outcome.map_or(0, |outcome| outcome.solution.unplaced[shape] as usize);
        (part, units * built.problem.shapes[shape].unit.pods as usize)
    });
    // Who is refused may be so only beside others that move: it stays among the parts in any case.
    for (part, left) in in_problem.chain(built.refused_parts.iter().map(|part| (part, part.pods))) {
        let Some(weight) = lighter_weight(model, part).filter(|_| left > 0) else {
            parts.push(part.clone());
            continue;
        };
        moved = true;
        if part.pods > left {
            parts.push(Part { pods: part.pods - left, ..part.clone() });
        }
        parts.push(Part { first: part.first + part.pods - left, pods: left, weight: Some(weight), ..part.clone() });
    }
    moved.then_some(parts)
}

#[cfg(test)]
mod tests;
