//! From settings to an outcome: the greedy for every part of a problem that stands alone, then all else for one part
//! after the other, and what happens where it fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rayon::prelude::*;

use super::columns::master::dollars;
use super::highs::HighsError;
use super::incumbent::normalised;
use super::parts::{Part, independent};
use super::pipeline::{Stages, State, prove, worth};
use super::quiet::without_needless_wakers;
use super::slice::{Beside, Slice};
use super::{Control, Known, Method, Outcome, Progress, Settings, Status, complete, greedy};
use crate::problem::{Problem, Solution};

/// The cheapest solution that can be found and proven in the time there is.
///
/// The answer obeys every rule of the problem, is never dearer than the greedy's, and comes with a lower bound that
/// holds whenever it is stopped. Where the integer program fails the greedy's answer stands, and a note says why.
pub fn solve(problem: &Problem, settings: &Settings, control: &dyn Control) -> Outcome {
    solve_by(problem, settings, control, prove)
}

/// All stages behind the greedy, as a function, so that a test can put one in their place that fails.
type Proof = fn(&Problem, &State, &Settings, &mut Stages, &dyn Control) -> Result<(), HighsError>;

/// [`solve`] with the stages behind the greedy given.
pub(super) fn solve_by(problem: &Problem, settings: &Settings, control: &dyn Control, proof: Proof) -> Outcome {
    let unclocked = Unclocked { inner: control };
    let control: &dyn Control = if settings.iterations.is_some() { &unclocked } else { control };
    let thinned = without_needless_wakers(problem);
    let parts = independent(&thinned);
    with_threads(settings.threads, || {
        let mut stages = Stages::new(control);
        let mut outcomes: Vec<Outcome> = parts.par_iter().map(|part| begin(part, settings, control)).collect();
        stages.end("greedy");
        let mut done = stages.done;
        let first = joined(problem, &parts, &outcomes);
        // A cost without all units says nothing to those who wait for a cheap solution; the stages tell of better ones.
        if first.solution.unplaced.iter().all(|units| *units == 0) {
            control.report(&Progress { stage: "greedy", cost: dollars(problem.cost(&first.solution)), bound: None });
        }
        if settings.method != Method::Greedy {
            one_by_one(problem, &parts, &mut outcomes, settings, control, proof);
        }
        let mut outcome = joined(problem, &parts, &outcomes);
        done.append(&mut outcome.stages);
        Outcome { stages: done, ..outcome }
    })
}

/// The stages behind the greedy for each part, those with the smallest share of the work first: the time that they leave
/// is for the others.
fn one_by_one(
    problem: &Problem,
    parts: &[Part],
    outcomes: &mut [Outcome],
    settings: &Settings,
    control: &dyn Control,
    proof: Proof,
) {
    let shares = shares(problem, parts, outcomes);
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by(|left, right| shares[*left].total_cmp(&shares[*right]));
    for (at, place) in order.iter().copied().enumerate() {
        let own = &parts[place].problem;
        let left: f64 = order[at..].iter().map(|part| shares[*part]).sum();
        let slice = Slice::of(control, if left > 0.0 { shares[place] / left } else { 1.0 });
        let others = || (0..parts.len()).filter(|other| *other != place);
        let whole = others().all(|other| outcomes[other].solution.unplaced.iter().all(|units| *units == 0));
        let cost = others().map(|other| parts[other].problem.cost(&outcomes[other].solution)).sum();
        let bound = others().map(|other| outcomes[other].lower_bound.unwrap_or(0)).sum();
        let beside = Beside { inner: &slice, whole, cost: dollars(cost), bound: dollars(bound) };
        let settings = Settings { known: parts[place].project_known(&settings.known), ..settings.clone() };
        let found = proven(own, outcomes[place].clone(), &settings, &beside, proof, parts.len() > 1);
        outcomes[place] = found;
    }
}

/// By part, its share of the work: the mean of its share of the shapes, which make it slow, and of its share of the cost,
/// by which its gap weighs.
fn shares(problem: &Problem, parts: &[Part], outcomes: &[Outcome]) -> Vec<f64> {
    let costs: Vec<f64> =
        parts.iter().zip(outcomes).map(|(part, own)| dollars(part.problem.cost(&own.solution))).collect();
    let total: f64 = costs.iter().sum();
    let by_cost = |cost: f64| if total > 0.0 { cost / total } else { 0.0 };
    let by_shapes = |part: &Part| part.problem.shapes.len() as f64 / problem.shapes.len().max(1) as f64;
    parts.iter().zip(costs).map(|(part, cost)| (by_shapes(part) + by_cost(cost)) / 2.0).collect()
}

/// The greedy's answer for a part, or what the settings begin with, completed, if that is better.
fn begin(part: &Part, settings: &Settings, control: &dyn Control) -> Outcome {
    let problem: &Problem = &part.problem;
    let first = catch_unwind(AssertUnwindSafe(|| greedy::greedy(problem, None, settings.seed, control)));
    let mut notes = Vec::new();
    let first = match first {
        Ok(solution) if problem.violations(&solution).is_empty() => solution,
        _ => {
            notes.push("the greedy failed; its answer is not used".to_owned());
            normalised(problem, [])
        }
    };
    let greedy_cost = problem.cost(&first);
    let start = settings.start.as_ref().map(|start| part.project(start));
    let solution = begun(problem, first, start.as_ref(), control);
    let (stages, known) = (Vec::new(), Known::default());
    Outcome { solution, lower_bound: None, status: Status::Greedy, greedy_cost, notes, stages, known }
}

/// The better one of the greedy's answer and what the settings begin with, completed.
fn begun(problem: &Problem, greedy: Solution, start: Option<&Solution>, control: &dyn Control) -> Solution {
    let Some(start) = start else { return greedy };
    let completed = catch_unwind(AssertUnwindSafe(|| {
        let known = normalised(problem, start.nodes.iter().cloned());
        let whole = known.unplaced.iter().all(|units| *units == 0) && problem.violations(&known).is_empty();
        // Worth only a little of the time: the greedy is there already.
        if whole { known } else { complete::complete(problem, &known, None, &Slice::of(control, 0.05)) }
    }));
    match completed {
        Ok(solution)
            if worth(problem, &solution) < worth(problem, &greedy) && problem.violations(&solution).is_empty() =>
        {
            solution
        }
        _ => greedy,
    }
}

/// An outcome of the greedy with what the stages behind it make of it; `one_of_several` parts is named where they fail.
fn proven(
    problem: &Problem,
    mut outcome: Outcome,
    settings: &Settings,
    control: &dyn Control,
    proof: Proof,
    one_of_several: bool,
) -> Outcome {
    let state = State::new(problem, outcome.solution.clone(), control);
    let mut stages = Stages::new(control);
    let result = catch_unwind(AssertUnwindSafe(|| proof(problem, &state, settings, &mut stages, control)));
    outcome.stages.extend(stages.done);
    let failure = match result {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the integer program came to an inner contradiction".to_owned()),
    };
    outcome.known = state.learnt();
    let (solution, lower_bound, mut said) = state.into_parts();
    outcome.notes.append(&mut said);
    match (failure, lower_bound) {
        (None, Some(lower_bound)) => {
            outcome.status = Status::Feasible;
            outcome.lower_bound = Some(lower_bound);
            outcome.solution = solution;
        }
        (failure, _) => {
            let reason = failure.unwrap_or_else(|| "time ran out before there was a bound".to_owned());
            let whose = match problem.shapes.as_slice() {
                [first, ..] if one_of_several => format!(" for {} and all that shares nodes with it", first.name),
                _ => String::new(),
            };
            outcome.notes.push(format!("the greedy's plan stands{whose}: {reason}"));
        }
    }
    outcome
}

/// The outcomes of the parts as one of the whole. Where some part has no bound, it costs at least nothing.
fn joined(problem: &Problem, parts: &[Part], outcomes: &[Outcome]) -> Outcome {
    let mut solution = Solution { nodes: Vec::new(), unplaced: vec![0; problem.shapes.len()] };
    parts.iter().zip(outcomes).for_each(|(part, own)| part.add_to(&mut solution, &own.solution));
    solution.nodes.sort();
    let mut known = Known { patterns: Vec::new(), values: vec![None; problem.shapes.len()] };
    parts.iter().zip(outcomes).for_each(|(part, own)| part.add_known_to(&mut known, &own.known));
    Outcome { known, ..summed(problem, solution, outcomes) }
}

/// A solution that is made of those of parts, with what is known of them. Where some part has no bound, it costs at least
/// nothing.
pub(crate) fn summed(problem: &Problem, solution: Solution, outcomes: &[Outcome]) -> Outcome {
    let mut notes = Vec::new();
    let mut stages: Vec<(&'static str, f64)> = Vec::new();
    for own in outcomes {
        notes.extend(own.notes.iter().cloned());
        for (stage, seconds) in &own.stages {
            match stages.iter_mut().find(|(known, _)| known == stage) {
                Some((_, sum)) if outcomes.len() > 1 => *sum += seconds,
                _ => stages.push((stage, *seconds)),
            }
        }
    }
    let bounds: Vec<i64> = outcomes.iter().filter_map(|own| own.lower_bound).collect();
    let lower_bound = (!bounds.is_empty() || outcomes.is_empty()).then(|| bounds.iter().sum());
    let status = Status::of(problem.cost(&solution), lower_bound);
    let greedy_cost = outcomes.iter().map(|own| own.greedy_cost).sum();
    Outcome { solution, lower_bound, status, greedy_cost, notes, stages, known: Known::default() }
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    match rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build() {
        Ok(pool) => pool.install(work),
        Err(_) => work(),
    }
}

/// A control without a clock: what ends then is counted in rounds.
struct Unclocked<'a> {
    inner: &'a dyn Control,
}

impl Control for Unclocked<'_> {
    fn remaining_seconds(&self) -> f64 {
        f64::INFINITY
    }
    fn interrupted(&self) -> bool {
        self.inner.interrupted()
    }
    fn report(&self, progress: &Progress) {
        self.inner.report(progress);
    }
}
