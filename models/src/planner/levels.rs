//! What is there before what is bought, and heavier pools before lighter ones.

use std::collections::BTreeSet;

use super::time::Share;
use super::transfer::transfer;
use super::{Answer, PlanError, Planner};
use crate::problem::build::{Built, Model, Options, Part};
use crate::problem::{BinSource, Problem, Solution};
use crate::solver::{Control, Method, Outcome, Settings, Status};

impl<'a> Planner<'a> {
    /// The nodes that are there alone, if they hold all that can be placed at all: nothing is cheaper.
    pub(super) fn standing_only(
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
        let refused: BTreeSet<_> = settled.refused.into_iter().map(|(pod, _)| pod).collect();
        let options = Options { existing_only: true, ..options.clone() };
        let model = Model::new(self.snapshot, self.catalog, &options)?;
        let built = model.assemble(&model.parts(), true);
        if built.refused.iter().any(|(pod, _)| !refused.contains(pod))
            || built.pods.is_empty()
            || too_small(&built.problem)
        {
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
        Ok(Some(Answer { model, built, existing_only: true, outcome }))
    }

    /// Each shape in the heaviest pools first; what finds no place there goes to the next ones.
    ///
    /// The greedy tells whether anything is left over: while it is, a round has a small share of the time, and only the
    /// last, where all that can be placed has its place, has all that is left. The greedy answers even without time, so
    /// the last round is always reached. Each round moves pods to lighter pools, of which there are finitely many, and
    /// begins with the nodes of the one before.
    pub(super) fn solve_levels(&self, model: Model<'a>, control: &dyn Control) -> Answer<'a> {
        let mut parts = model.parts();
        let mut known: Option<(Built, Solution)> = None;
        loop {
            let built = model.assemble(&parts, false);
            if let Some(next) = lighter(&model, &built, None) {
                parts = next;
                continue;
            }
            let mut start = known.as_ref().map(|(from, solution)| transfer(from, solution, &built));
            let can_move = built.parts.iter().any(|part| lighter_weight(&model, part).is_some());
            if can_move && self.settings.method != Method::Greedy {
                let quick = Settings { method: Method::Greedy, start: start.clone(), ..self.settings.clone() };
                let left = (self.solve)(&built.problem, &quick, &Share::of(control, 0.1));
                if lighter(&model, &built, Some(&left)).is_some() {
                    // A little more than the greedy, so that the heavier pools take what they can.
                    let settings = Settings { start, ..self.settings.clone() };
                    let better = match control.exhausted() {
                        true => left,
                        false => (self.solve)(&built.problem, &settings, &Share::of(control, 0.12)),
                    };
                    start = Some(better.solution.clone());
                    if let Some(next) = lighter(&model, &built, Some(&better)) {
                        parts = next;
                        known = Some((built, better.solution));
                        continue;
                    }
                }
            }
            let settings = Settings { start, ..self.settings.clone() };
            let outcome = (self.solve)(&built.problem, &settings, control);
            match lighter(&model, &built, Some(&outcome)) {
                Some(next) => parts = next,
                None => return Answer { model, built, existing_only: false, outcome },
            }
            known = Some((built, outcome.solution));
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
