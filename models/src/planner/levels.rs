//! What is there before what is bought, and heavier pools before lighter ones.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use fixedbitset::FixedBitSet;

use super::transfer::transfer;
use super::{Answer, PlanError, Planner};
use crate::problem::build::{Built, Form, Model, Options, Part, Proto};
use crate::problem::{Bin, BinSource, Exhausted, Problem, Solution};
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
    /// Nodes that are packed tighter than the greedy's may leave room in heavier pools for what went to lighter ones: after
    /// some of the time it is taken back, and solved so that none is left again.
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
        if !several {
            let built = self.assemble(model, &parts, false);
            let outcome = (self.solve)(&built.problem, self.settings, control);
            return Some(Answer { model: Rc::clone(model), built, existing_only: false, outcome });
        }
        let first = self.descend(model, parts, None, control);
        let first = self.raised(&first).unwrap_or(first);
        if self.settings.method == Method::Greedy {
            return Some(first);
        }
        if !apart(&first) {
            return None;
        }
        if wishes(&first).is_empty() {
            return Some(self.solve_from(&first, control));
        }
        let settled = self.solve_from(&first, &Slice::of(control, SETTLED));
        let from = match self.raised(&settled) {
            None if !leaves_room(&settled) => settled,
            Some(raised) if apart(&raised) => raised,
            // Its bound holds for what it began with, too.
            _ => standing(&first, settled.outcome),
        };
        if is_good_enough(&from, self.settings.gap) {
            return Some(from);
        }
        let mut wished = from.clone();
        wished.built.problem.rules.exhausted = wishes(&from);
        let mut outcome = self.solve_from(&wished, control).outcome;
        if from.outcome.lower_bound > outcome.lower_bound {
            outcome.lower_bound = from.outcome.lower_bound;
            outcome.status = Status::of(from.built.problem.cost(&outcome.solution), outcome.lower_bound);
        }
        let solved = Answer { outcome, ..from.clone() };
        Some(if leaves_room(&solved) { standing(&from, solved.outcome) } else { solved })
    }

    /// The same problem solved, beginning with what is known.
    fn solve_from(&self, answer: &Answer<'a>, control: &dyn Control) -> Answer<'a> {
        let settings = Settings { start: Some(answer.outcome.solution.clone()), ..self.settings.clone() };
        let outcome = (self.solve)(&answer.built.problem, &settings, control);
        Answer { outcome, ..answer.clone() }
    }

    /// The answer with more pods in heavier pools, until those have no room for one more node; `None` where there was none.
    fn raised(&self, answer: &Answer<'a>) -> Option<Answer<'a>> {
        let mut raised: Option<Answer<'a>> = None;
        // Each time pods are in heavier pools than before, so that this ends.
        while let Some(next) = self.raised_once(raised.as_ref().unwrap_or(answer)) {
            raised = Some(next);
        }
        raised
    }

    /// The answer with pods of one shape in the heavier pools that have room for them.
    fn raised_once(&self, answer: &Answer<'a>) -> Option<Answer<'a>> {
        let (model, built) = (&answer.model, &answer.built);
        let parts: Vec<&Part> = left_over(built, None).map(|(part, _)| part).collect();
        let least = waiting(built, &answer.outcome);
        let tries = too_low(answer).into_iter().flat_map(|(shape, weight, pods)| {
            // One unit has room for sure; of more some may have to stay.
            let unit = model.forms[parts[shape].form].unit as usize;
            [pods, unit].map(|pods| (shape, weight, pods))
        });
        tries.take(TRIES).find_map(|(shape, weight, pods)| {
            let moves = parts.iter().enumerate().map(|(at, part)| (*part, (at == shape).then_some((pods, weight))));
            let raised = self.descend(model, numbered(moved(moves.collect())), Some(answer), &NoTime);
            let more = by_weight(&raised.built) > by_weight(built);
            (more && waiting(&raised.built, &raised.outcome) <= least).then_some(raised)
        })
    }

    /// Parts in the pools of their weights, and what finds no place there in the next ones below.
    ///
    /// The greedy tells whether anything is left over; it answers even without time, so the last round is always reached.
    /// Each round moves pods to lighter pools, of which there are finitely many, and begins with the nodes of the one
    /// before, or with those of an answer that is known.
    pub(super) fn descend(
        &self,
        model: &Rc<Model<'a>>,
        mut parts: Vec<Part>,
        known_answer: Option<&Answer<'a>>,
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
            let quick = Settings { method: Method::Greedy, start, ..self.settings.clone() };
            let outcome = (self.solve)(&built.problem, &quick, &Slice::of(control, 0.1));
            let next = next_parts(model, &built, &outcome);
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

/// The part of the time after which pools are looked at once more for room that has become free; from then on none is
/// to become free.
const SETTLED: f64 = 0.1;

/// Whether an answer is within a gap of its bound.
fn is_good_enough(answer: &Answer, gap: f64) -> bool {
    let cost = answer.built.problem.cost(&answer.outcome.solution);
    answer.outcome.lower_bound.is_some_and(|bound| (cost - bound) as f64 <= gap.max(1e-9) * cost as f64)
}

/// How often the greedy is asked whether pods can be moved to a heavier pool before they are left where they are.
const TRIES: usize = 16;

/// A control that has no time: the greedy answers.
pub(super) struct NoTime;

impl Control for NoTime {
    fn remaining_seconds(&self) -> f64 {
        0.0
    }
}

/// Whether pods stand in lighter pools though a heavier one has room for one more node for them.
pub(super) fn leaves_room(answer: &Answer) -> bool {
    !too_low(answer).is_empty()
}

/// Shapes with pods in lighter pools though heavier ones have room for one more node for them; each with the weight of
/// the heaviest of those, and how many of its pods they could take at the most. Pods that others on their node need there
/// are not meant.
fn too_low(answer: &Answer) -> Vec<(usize, i32, usize)> {
    let (built, room) = (&answer.built, Room::of(answer));
    let form = |shape: u32| built.parts[shape as usize].form;
    let mut low = BTreeSet::new();
    for (pattern, _) in &answer.outcome.solution.nodes {
        if let BinSource::Offering(_) = built.problem.bins[pattern.bin as usize].source {
            let needed: BTreeSet<usize> =
                pattern.counts.iter().flat_map(|(shape, _)| answer.model.company(form(*shape))).collect();
            let counts = pattern.counts.iter().filter(|(shape, _)| !needed.contains(&form(*shape)));
            low.extend(counts.map(|(shape, _)| *shape as usize));
        }
    }
    let heavier = |shape: usize| room.heavier(&built.parts[shape]).map(|(weight, pods)| (shape, weight, pods));
    low.into_iter().filter_map(heavier).collect()
}

/// What pools may still buy beside a solution.
struct Room<'m, 'a> {
    model: &'m Model<'a>,
    /// What is left of the model's budgets.
    left: Vec<i64>,
    /// Forms that no rule ties to other nodes.
    loose: FixedBitSet,
    /// Nodes for sale by their hosts.
    by_source: BTreeMap<usize, &'m Proto>,
}

impl<'m, 'a> Room<'m, 'a> {
    fn of(answer: &'m Answer<'a>) -> Self {
        let Answer { model, built, outcome, .. } = answer;
        let mut left: Vec<i64> = model.budgets.iter().map(|budget| budget.left).collect();
        let by_source: BTreeMap<usize, &Proto> = model
            .protos
            .iter()
            .filter_map(|proto| match proto.source {
                BinSource::Offering(host) => Some((host, proto)),
                BinSource::Existing(_) => None,
            })
            .collect();
        for (pattern, copies) in &outcome.solution.nodes {
            let BinSource::Offering(host) = built.problem.bins[pattern.bin as usize].source else { continue };
            for (budget, amount) in by_source.get(&host).map(|proto| &proto.takes).into_iter().flatten() {
                left[*budget] -= amount * i64::from(*copies);
            }
        }
        Room { model, left, loose: model.loose(), by_source }
    }

    /// The heaviest pools above those of a part that may buy one more node for it, and how many of its pods they could
    /// take at the most; not for those whose place depends on others.
    fn heavier(&self, part: &Part) -> Option<(i32, usize)> {
        let form = &self.model.forms[part.form];
        let room = |proto: &Proto| {
            let weight = proto.weight.filter(|weight| Some(*weight) > part.weight)?;
            let units = self.nodes(proto).saturating_mul(held(proto, form));
            let pods = usize::try_from(units).unwrap_or(usize::MAX).saturating_mul(form.unit as usize);
            (proto.could_hold(form) && pods > 0).then_some((weight, pods.min(part.pods)))
        };
        self.model.protos.iter().filter(|_| self.loose.contains(part.form)).filter_map(room).max()
    }

    /// How many more nodes may be bought.
    fn nodes(&self, proto: &Proto) -> i64 {
        let within = |(budget, amount): &(usize, i64)| (*amount > 0).then(|| self.left[*budget] / amount);
        proto.takes.iter().filter_map(within).min().unwrap_or(i64::MAX).max(0)
    }
}

/// That heavier pools have no room for what is planned for lighter ones, as far as they have none in an answer.
fn wishes(answer: &Answer) -> Vec<Exhausted> {
    let room = Room::of(answer);
    let parts = answer.built.parts.iter().filter(|part| room.loose.contains(part.form));
    let parts: Vec<(&Form, Option<i32>)> = parts.map(|part| (&room.model.forms[part.form], part.weight)).collect();
    // By limits, what nodes take of them.
    let mut wished: BTreeMap<Vec<usize>, BTreeSet<Vec<i64>>> = BTreeMap::new();
    for proto in room.model.protos.iter().filter(|proto| proto.weight.is_some() && room.nodes(proto) == 0) {
        let lower = |(form, weight): &(&Form, Option<i32>)| proto.weight > *weight && proto.could_hold(form);
        if parts.iter().any(|part| lower(part) && held(proto, part.0) > 0) {
            let (budgets, takes) = proto.takes.iter().copied().unzip();
            wished.entry(budgets).or_default().insert(takes);
        }
    }
    // Of two that take the same either one will do.
    let own = |budget: usize| {
        let takes = |(bin, row): (usize, &Bin)| {
            let BinSource::Offering(host) = row.source else { return None };
            room.by_source.get(&host)?.takes.iter().find(|(taken, _)| *taken == budget).map(|(_, takes)| (bin, *takes))
        };
        let problem = &answer.built.problem;
        let per_node: BTreeMap<usize, i64> = problem.bins.iter().enumerate().filter_map(takes).collect();
        let limit = room.model.budgets[budget].left;
        problem.rules.node_budgets.iter().position(|own| own.limit == limit && own.per_node == per_node)
    };
    let wishes = wished.into_iter().filter_map(|(budgets, nodes)| {
        let limits = budgets.into_iter().map(own).collect::<Option<_>>()?;
        Some(Exhausted { limits, nodes: nodes.into_iter().collect() })
    });
    wishes.collect()
}

/// How many units of a form a node has room for.
fn held(proto: &Proto, form: &Form) -> i64 {
    let within = |(need, room): (&i64, &i64)| (*need > 0).then(|| room / need);
    form.demand.iter().zip(&proto.room).filter_map(within).min().unwrap_or(i64::MAX)
}

/// An answer with what a solver found out about its problem since: its solution stands.
fn standing<'a>(answer: &Answer<'a>, outcome: Outcome) -> Answer<'a> {
    let solution = answer.outcome.solution.clone();
    let status = Status::of(answer.built.problem.cost(&solution), outcome.lower_bound);
    Answer { outcome: Outcome { solution, status, ..outcome }, ..answer.clone() }
}

/// Parts with those of one form and weight as one, the heaviest of a form with its first pods.
fn numbered(parts: Vec<Part>) -> Vec<Part> {
    let mut pods: BTreeMap<(usize, Option<i32>), usize> = BTreeMap::new();
    for part in parts {
        *pods.entry((part.form, part.weight)).or_default() += part.pods;
    }
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
