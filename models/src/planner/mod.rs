//! From a snapshot to a plan: what is there first, heavier pools first, preferences where they cost nothing.

mod levels;
mod preferences;
mod teams;
mod time;
mod transfer;

use std::collections::BTreeSet;
use std::rc::Rc;

use preferences::Honoured;
use teams::Teams;
use thiserror::Error;

use crate::catalog::Catalog;
use crate::kubernetes::Snapshot;
use crate::plan::{Plan, extract};
use crate::problem::Problem;
use crate::problem::build::{BuildError, Built, Model, Options, Part};
use crate::solver::Slice;
use crate::solver::{Control, Method, Outcome, Settings};

/// The solver, as the planner calls it.
pub type Solve<'a> = dyn Fn(&Problem, &Settings, &dyn Control) -> Outcome + 'a;

/// The part of the time that goes to the plan without preferences, if that is not proven before.
const BARE: f64 = 0.9;

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
#[derive(Clone)]
struct Answer<'a> {
    model: Rc<Model<'a>>,
    built: Built,
    /// Whether nothing is bought.
    existing_only: bool,
    outcome: Outcome,
}

impl Answer<'_> {
    /// Pods without a place by priority, the highest first, and cost in billionths of a dollar an hour: less is better.
    fn worth(&self) -> (Vec<u64>, i64) {
        let groups = &self.model.snapshot.pending;
        let priorities: Vec<i32> =
            groups.iter().map(|group| group.priority).collect::<BTreeSet<_>>().into_iter().collect();
        let mut left = vec![0; priorities.len()];
        let problem = &self.built.problem;
        let mut count = |priority: i32, pods: u64| {
            if let Ok(place) = priorities.binary_search(&priority) {
                left[priorities.len() - 1 - place] += pods;
            }
        };
        for (shape, units) in problem.shapes.iter().zip(&self.outcome.solution.unplaced) {
            count(shape.priority, u64::from(*units) * u64::from(shape.unit.pods));
        }
        for (pod, _) in &self.built.refused {
            count(groups[pod.group as usize].priority, 1);
        }
        (left, problem.cost(&self.outcome.solution))
    }
}

struct Planner<'a> {
    snapshot: &'a Snapshot,
    catalog: &'a Catalog,
    settings: &'a Settings,
    solve: &'a Solve<'a>,
    /// Names of bins that are left out.
    barred: BTreeSet<String>,
}

impl<'a> Planner<'a> {
    fn model(&self, options: &Options) -> Result<Model<'a>, BuildError> {
        Model::new(self.snapshot, self.catalog, options)
    }

    /// The problem of some parts, without the bins that are left out.
    fn assemble(&self, model: &Model, parts: &[Part], existing_only: bool) -> Built {
        let mut built = model.assemble(parts, existing_only);
        teams::bar(&mut built, &self.barred);
        built
    }

    /// All pods, team by team.
    fn plan(&mut self, options: &Options, control: &dyn Control) -> Result<Honoured<'a>, PlanError> {
        let model = Rc::new(self.model(options)?);
        let first = Slice::of(control, if model.preferences().is_empty() { 1.0 } else { BARE });
        if let Some(answer) = self.standing_only(&model, options, &first)? {
            let wishes = model.preferences().clone();
            return preferences::honour(self, options, answer, &wishes, control);
        }
        if self.settings.method != Method::Greedy
            && let Some(teams) = Teams::find(self, &model, options)?
        {
            self.barred.clone_from(&teams.barred);
            if let Some(plan) = self.plan_teams(&model, options, &teams, control)? {
                return Ok(plan);
            }
            self.barred.clear();
        }
        let wishes = model.preferences().clone();
        let alone = self.plan_team(&model, options, model.parts(), &wishes, &|_| true, control)?;
        alone.ok_or_else(|| PlanError::Solver("pods that are all there are have others beside them".to_owned()))
    }
}

/// Plans the waiting pods of a snapshot.
///
/// The bound of the plan is that of the problem without preferences, in which each pod may stand on the nodes that are
/// there and in the pools of the weight in which it is planned.
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
    let bare = bare(options);
    let mut planner = Planner { snapshot, catalog, settings, solve, barred: BTreeSet::new() };
    let honoured = planner.plan(&bare, control)?;
    let notes = honoured.notes();
    let best = honoured.answer;
    let violations = best.built.problem.violations(&best.outcome.solution);
    if let Some(violation) = violations.first() {
        return Err(PlanError::Solver(violation.to_string()));
    }
    let seconds = (start - control.remaining_seconds()).max(0.0);
    let mut plan = extract::plan(&best.model, &best.built, &best.outcome, seconds);
    plan.notes.extend(notes);
    plan.notes.extend_from_slice(best.model.notes());
    Ok(plan)
}

/// The problem that a plan comes down to, without preferences: each pod in the pools of the weight that the greedy leaves
/// it to, heavier ones first.
///
/// # Errors
/// Where an object can't be understood.
pub fn problem(
    snapshot: &Snapshot,
    catalog: &Catalog,
    options: &Options,
    control: &dyn Control,
    solve: &Solve,
) -> Result<Built, PlanError> {
    let bare = bare(options);
    let settings = Settings { method: Method::Greedy, ..Settings::default() };
    let planner = Planner { snapshot, catalog, settings: &settings, solve, barred: BTreeSet::new() };
    let model = planner.model(&bare)?;
    let parts = model.parts();
    Ok(planner.descend(&Rc::new(model), parts, None, control).built)
}

fn bare(options: &Options) -> Options {
    Options { preferences: BTreeSet::new(), existing_only: false, ..options.clone() }
}

#[cfg(test)]
mod levels_test;
#[cfg(test)]
mod reasons_test;
#[cfg(test)]
mod tests;
