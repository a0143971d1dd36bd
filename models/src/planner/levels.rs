//! What is there before what is bought, and heavier pools before lighter ones.

use std::collections::BTreeMap;
use std::rc::Rc;

use fixedbitset::FixedBitSet;

use super::transfer::transfer;
use super::{Answer, PlanError, Planner};
use crate::problem::build::{Built, Model, Options, Part, Proto};
use crate::problem::{BinSource, Problem, Solution};
use crate::solver::Slice;
use crate::solver::{Control, Method, Outcome, Settings, Status};

/// Whether pods that are planned for themselves still have nothing to do with others in the pools that they come to.
pub(super) type Apart<'f, 'a> = dyn Fn(&Answer<'a>) -> bool + 'f;

impl<'a> Planner<'a> {
    /// The nodes that are there alone, if they hold every pod: nothing is cheaper, and no empty node will come.
    pub(super) fn standing_only(
        &self,
        model: &Model,
        options: &Options,
        control: &dyn Control,
    ) -> Result<Option<Answer<'a>>, PlanError> {
        if !model.has_standing() {
            return Ok(None);
        }
        let options = Options { existing_only: true, ..options.clone() };
        let model = Model::new(self.snapshot, self.catalog, &options)?;
        let built = self.assemble(&model, &model.parts(), true);
        if !built.refused.is_empty() || built.pods.is_empty() || too_small(&built.problem) {
            return Ok(None);
        }
        // Some of the time only: the answer may be that it can't be done.
        let share = Slice::of(control, 0.3);
        let mut outcome = (self.solve)(&built.problem, self.settings, &share);
        if outcome.solution.unplaced.iter().any(|units| *units > 0)
            || !built.problem.violations(&outcome.solution).is_empty()
        {
            return Ok(None);
        }
        outcome.status = Status::Optimal;
        outcome.lower_bound = Some(0);
        Ok(Some(Answer { model: Rc::new(model), built, existing_only: true, outcome }))
    }

    /// Each shape in the heaviest pools first; what finds no place there goes to the next ones.
    ///
    /// Nodes that are packed tighter in the end than before may leave room in heavier pools for what went to lighter ones:
    /// then it is taken back and solved once more.
    ///
    /// `None` where `apart` has no use for the pools that the pods come to, before time is spent on them.
    pub(super) fn solve_levels(
        &self,
        model: &Rc<Model<'a>>,
        parts: Vec<Part>,
        apart: &Apart<'_, 'a>,
        control: &dyn Control,
    ) -> Option<Answer<'a>> {
        let several = parts.iter().any(|part| model.weights(part.form).len() > 1);
        if self.settings.method == Method::Greedy {
            return Some(self.descend(model, parts, None, self.settings, control));
        }
        if !several {
            let built = self.assemble(model, &parts, false);
            let outcome = (self.solve)(&built.problem, self.settings, control);
            return Some(Answer { model: Rc::clone(model), built, existing_only: false, outcome });
        }
        let first = self.descend(model, parts, None, self.settings, control);
        let first = self.raised(&first).unwrap_or(first);
        if !apart(&first) {
            return None;
        }
        let solved = self.solve_from(&first, &Slice::of(control, SETTLED));
        let Some(raised) = self.raised(&solved).filter(|raised| apart(raised)) else { return Some(solved) };
        let again = self.solve_from(&raised, control);
        if self.raised(&again).is_none() {
            return Some(again);
        }
        // What leaves less room stands, beside the bound that holds for both.
        let solution = raised.outcome.solution;
        let status = Status::of(again.built.problem.cost(&solution), again.outcome.lower_bound);
        Some(Answer { outcome: Outcome { solution, status, ..again.outcome }, ..again })
    }

    /// The same problem solved, beginning with what is known.
    fn solve_from(&self, answer: &Answer<'a>, control: &dyn Control) -> Answer<'a> {
        let settings = Settings { start: Some(answer.outcome.solution.clone()), ..self.settings.clone() };
        let outcome = (self.solve)(&answer.built.problem, &settings, control);
        Answer { outcome, ..answer.clone() }
    }

    /// The answer with more pods in heavier pools, where those have room for one more node; `None` where they have none.
    pub(super) fn raised(&self, answer: &Answer<'a>) -> Option<Answer<'a>> {
        if answer.existing_only {
            return None;
        }
        let (model, built) = (&answer.model, &answer.built);
        let room = Room::new(model, built, &answer.outcome.solution);
        let mut parts: BTreeMap<(usize, Option<i32>), usize> = BTreeMap::new();
        let mut higher = false;
        for (part, _) in left_over(built, None) {
            let to = room.heavier(part);
            higher |= to.is_some();
            *parts.entry((part.form, to.or(part.weight))).or_default() += part.pods;
        }
        if !higher {
            return None;
        }
        let quick = Settings { method: Method::Greedy, ..self.settings.clone() };
        let raised = self.descend(model, numbered(parts), Some(answer), &quick, &NoTime);
        let no_more_wait = waiting(&raised.built, &raised.outcome) <= waiting(built, &answer.outcome);
        (no_more_wait && by_weight(&raised.built) > by_weight(built)).then_some(raised)
    }

    /// Parts in the pools of their weights, and what finds no place there in the next ones below.
    ///
    /// The greedy tells whether anything is left over; while it is, a round may have a small share of the time beside, so
    /// that the heavier pools take what they can. The greedy answers even without time, so the last round is always
    /// reached. Each round moves pods to lighter pools, of which there are finitely many, and begins with the nodes of the
    /// one before, or with those of an answer that is known.
    pub(super) fn descend(
        &self,
        model: &Rc<Model<'a>>,
        mut parts: Vec<Part>,
        known_answer: Option<&Answer<'a>>,
        settings: &Settings,
        control: &dyn Control,
    ) -> Answer<'a> {
        let mut known: Option<(Built, Solution)> = None;
        // What there was before company was moved for those who found no place beside it.
        let mut before: Option<(Built, Outcome)> = None;
        loop {
            let built = self.assemble(model, &parts, false);
            if let Some(next) = lighter(model, &built, None) {
                parts = next;
                continue;
            }
            let start = match known_answer {
                Some(answer) => Some(transfer(&answer.built, &answer.outcome.solution, &built)),
                None => known.as_ref().map(|(from, solution)| transfer(from, solution, &built)),
            };
            let quick = Settings { method: Method::Greedy, start: start.clone(), ..settings.clone() };
            let mut outcome = (self.solve)(&built.problem, &quick, &Slice::of(control, 0.1));
            let mut next = next_parts(model, &built, &outcome);
            if next.is_some() && settings.method != Method::Greedy && !control.exhausted() {
                // Who finds a place is all that counts here, whatever it costs.
                let settings = Settings { start, gap: 1.0, ..settings.clone() };
                outcome = (self.solve)(&built.problem, &settings, &Slice::of(control, 0.08));
                next = next_parts(model, &built, &outcome);
            }
            let now = waiting(&built, &outcome);
            let Some((next, company)) = next else {
                let (built, outcome) =
                    before.filter(|(built, known)| waiting(built, known) <= now).unwrap_or((built, outcome));
                return Answer { model: Rc::clone(model), built, existing_only: false, outcome };
            };
            parts = next;
            if company && before.as_ref().is_none_or(|(was, known)| now < waiting(was, known)) {
                before = Some((built.clone(), outcome.clone()));
            }
            known = Some((built, outcome.solution));
        }
    }
}

/// The part of the time after which pools are looked at once more for room that has become free.
const SETTLED: f64 = 0.85;

/// A control that has no time: the greedy answers.
pub(super) struct NoTime;

impl Control for NoTime {
    fn remaining_seconds(&self) -> f64 {
        0.0
    }
}

/// What pools may still buy beside a solution.
struct Room<'m, 'a> {
    model: &'m Model<'a>,
    /// What is left of the model's budgets.
    left: Vec<i64>,
    /// Forms that no rule ties to other nodes.
    loose: FixedBitSet,
}

impl<'m, 'a> Room<'m, 'a> {
    fn new(model: &'m Model<'a>, built: &Built, solution: &Solution) -> Self {
        let mut left: Vec<i64> = model.budgets.iter().map(|budget| budget.left).collect();
        let by_source: BTreeMap<usize, &Proto> = model
            .protos
            .iter()
            .filter_map(|proto| match proto.source {
                BinSource::Offering(host) => Some((host, proto)),
                BinSource::Existing(_) => None,
            })
            .collect();
        for (pattern, copies) in &solution.nodes {
            let BinSource::Offering(host) = built.problem.bins[pattern.bin as usize].source else { continue };
            for (budget, amount) in by_source.get(&host).map(|proto| &proto.takes).into_iter().flatten() {
                left[*budget] -= amount * i64::from(*copies);
            }
        }
        Room { model, left, loose: model.loose() }
    }

    /// The heaviest pools above those of a part that may buy one more node for it; not for those whose place depends on
    /// others.
    fn heavier(&self, part: &Part) -> Option<i32> {
        let may_buy = |proto: &&Proto| {
            proto.weight > part.weight
                && proto.takes.iter().all(|(budget, amount)| *amount <= self.left[*budget])
                && proto.holds(&self.model.forms[part.form])
        };
        let loose = self.loose.contains(part.form);
        self.model.protos.iter().filter(|_| loose).filter(may_buy).filter_map(|proto| proto.weight).max()
    }
}

/// Parts by form and weight, the heaviest of a form with its first pods.
fn numbered(pods: BTreeMap<(usize, Option<i32>), usize>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for ((form, weight), pods) in pods.into_iter().rev() {
        let first = parts.last().filter(|last| last.form == form).map_or(0, |last| last.first + last.pods);
        parts.push(Part { form, first, pods, weight });
    }
    parts.reverse();
    parts
}

/// Pods by the weight of their pools, the heaviest first: more in heavier ones is more.
fn by_weight(built: &Built) -> Vec<(Option<i32>, usize)> {
    let mut pods: BTreeMap<Option<i32>, usize> = BTreeMap::new();
    for (part, _) in left_over(built, None) {
        *pods.entry(part.weight).or_default() += part.pods;
    }
    pods.into_iter().rev().collect()
}

/// Where the parts go next, and whether it is company that moves.
fn next_parts(model: &Model, built: &Built, outcome: &Outcome) -> Option<(Vec<Part>, bool)> {
    lighter(model, built, Some(outcome))
        .map(|parts| (parts, false))
        .or_else(|| with_company(model, built, outcome).map(|parts| (parts, true)))
        .or_else(|| with_spread(model, built, outcome).map(|parts| (parts, true)))
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

/// The parts of a problem with the pods of each that were refused or found no place in an outcome.
fn left_over<'b>(built: &'b Built, outcome: Option<&'b Outcome>) -> impl Iterator<Item = (&'b Part, usize)> {
    let in_problem = built.parts.iter().enumerate().map(move |(shape, part)| {
        let units = outcome.map_or(0, |outcome| outcome.solution.unplaced[shape] as usize);
        (part, units * built.problem.shapes[shape].unit.pods as usize)
    });
    // Who is refused may be so only beside others that move: it stays among the parts in any case.
    in_problem.chain(built.refused_parts.iter().map(|part| (part, part.pods)))
}

/// Pods that are refused or have found no place.
fn waiting(built: &Built, outcome: &Outcome) -> usize {
    left_over(built, Some(outcome)).map(|(_, left)| left).sum()
}

/// The parts with what was refused, or found no place in an outcome, moved to the next lighter pools; `None` where there
/// is nothing to move.
fn lighter(model: &Model, built: &Built, outcome: Option<&Outcome>) -> Option<Vec<Part>> {
    let moves: Vec<Move> = left_over(built, outcome)
        .map(|(part, left)| (part, lighter_weight(model, part).filter(|_| left > 0).map(|weight| (left, weight))))
        .collect();
    moves.iter().any(|(_, to)| to.is_some()).then(|| moved(moves))
}

/// The parts with the company of those that found no place moved to the lighter pools that they have come to; `None`
/// where there is none to move.
fn with_company(model: &Model, built: &Built, outcome: &Outcome) -> Option<Vec<Part>> {
    let mut wanted: Vec<Move> = left_over(built, None).map(|(part, _)| (part, None)).collect();
    for (part, left) in left_over(built, Some(outcome)).filter(|(_, left)| *left > 0) {
        // Not for those that no pool of that weight could hold in any company.
        let Some(weight) = part.weight.filter(|weight| model.weights(part.form).contains(weight)) else { continue };
        for company in model.company(part.form) {
            let heavier = |other: &Part| other.form == company && other.weight > Some(weight);
            if !model.weights(company).contains(&weight) {
                continue;
            }
            if let Some((other, to)) = wanted.iter_mut().find(|(other, to)| to.is_none() && heavier(other)) {
                *to = Some((left.min(other.pods), weight));
                // One kind of company may be enough.
                break;
            }
        }
    }
    wanted.iter().any(|(_, to)| to.is_some()).then(|| moved(wanted))
}

/// The parts with pods of heavier pools moved to lighter ones where those that found no place would open a domain that
/// the spread of those pods counts, and that only the lighter pools have; `None` where there are none to move.
fn with_spread(model: &Model, built: &Built, outcome: &Outcome) -> Option<Vec<Part>> {
    let mut wanted: Vec<Move> = left_over(built, None).map(|(part, _)| (part, None)).collect();
    for (part, _) in left_over(built, Some(outcome)).filter(|(_, left)| *left > 0) {
        let Some(weight) = part.weight else { continue };
        for spread in model.woken(part.form, weight) {
            let heavier = |other: &Part| other.form == spread && other.weight > Some(weight);
            if let Some((other, to)) = wanted.iter_mut().find(|(other, to)| to.is_none() && heavier(other)) {
                // Half of them, so that however many must move there are few rounds.
                let unit = model.forms[other.form].unit as usize;
                *to = Some(((other.pods / unit).div_ceil(2) * unit, weight));
            }
        }
    }
    wanted.iter().any(|(_, to)| to.is_some()).then(|| moved(wanted))
}

/// A part, and how many of its pods go to the pools of which weight.
type Move<'b> = (&'b Part, Option<(usize, i32)>);

/// Parts of which the last so many pods are moved to the pools of a weight.
fn moved(moves: Vec<Move>) -> Vec<Part> {
    let mut parts = Vec::with_capacity(moves.len());
    for (part, to) in moves {
        let Some((pods, weight)) = to else {
            parts.push(part.clone());
            continue;
        };
        if part.pods > pods {
            parts.push(Part { pods: part.pods - pods, ..part.clone() });
        }
        parts.push(Part { first: part.first + part.pods - pods, pods, weight: Some(weight), ..part.clone() });
    }
    parts
}
