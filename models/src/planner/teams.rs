//! Pods that decide nothing for each other: each team of them is planned for itself, with levels and preferences of its
//! own, and the plans are put together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::levels::{Apart, NoTime};
use super::preferences::{Honoured, honour, parts_by_weight, weights};
use super::transfer::transfer;
use super::{Answer, PlanError, Planner};
use crate::problem::build::{Built, Model, Options, Part, Preference};
use crate::problem::{Pattern, Solution};
use crate::solver::{Beside, Control, Outcome, Slice, apart, needless_wakers, summed};

/// The teams among waiting pods.
pub(super) struct Teams<'a> {
    /// Indices into the snapshot's pending groups, by team.
    pub groups: Vec<BTreeSet<u32>>,
    /// Names of the bins that are left out, so that no team's node wakes a domain that another one spreads over: each has
    /// a twin that does as well.
    pub barred: BTreeSet<String>,
    /// The greedy's answer for all of them.
    pub greedy: Answer<'a>,
}

impl<'a> Teams<'a> {
    /// The teams of a snapshot, in the order of their first groups; `None` where all are one. Who shares a node, a rule or
    /// a limit, with all preferences as rules or with none, is of one team.
    ///
    /// That is so in the pools that the greedy leaves the pods to. In others they may come together again, so that plans
    /// of teams must still be shown to add up to one.
    pub fn find(
        planner: &Planner<'a>,
        model: &Rc<Model<'a>>,
        options: &Options,
    ) -> Result<Option<Teams<'a>>, PlanError> {
        if model.forms.len() < 2 {
            return Ok(None);
        }
        let settle = || planner.descend(model, model.parts(), None, &NoTime);
        let several = (0..model.forms.len()).any(|form| model.weights(form).len() > 1);
        let settled = several.then(settle);
        let bare =
            settled.as_ref().map_or_else(|| model.assemble(&model.parts(), false), |settled| settled.built.clone());
        let wishes = model.preferences();
        let weights = weights(model, &bare);
        let mut problems = vec![bare];
        if !wishes.is_empty() {
            let wished = planner.model(&Options { preferences: wishes.clone(), ..options.clone() })?;
            let Some(parts) = parts_by_weight(&wished, &weights) else { return Ok(None) };
            problems.push(wished.assemble(&parts, false));
        }
        // Who finds no node may find one yet, beside whomever.
        if !problems[0].refused_parts.is_empty() {
            return Ok(None);
        }
        let barred = barred(&problems);
        let mut groups: Vec<BTreeSet<u32>> = Vec::new();
        for built in &mut problems {
            bar(built, &barred);
            for shapes in apart(&built.problem) {
                unite(&mut groups, groups_of(built, &shapes));
            }
        }
        // One workload's groups share its preferences.
        for workload in model.groups_by_workload() {
            unite(&mut groups, workload);
        }
        if groups.len() < 2 {
            return Ok(None);
        }
        groups.sort_by_key(|team| team.first().copied());
        Ok(Some(Teams { groups, barred, greedy: settled.unwrap_or_else(settle) }))
    }
}

/// Pod groups of some shapes.
fn groups_of(built: &Built, shapes: &[usize]) -> BTreeSet<u32> {
    shapes.iter().flat_map(|shape| &built.pods[*shape]).map(|pod| pod.group).collect()
}

/// Leaves bins out by their names.
pub(super) fn bar(built: &mut Built, names: &BTreeSet<String>) {
    for bin in built.problem.bins.iter_mut().filter(|bin| names.contains(&bin.name)) {
        bin.admits.clear();
    }
}

/// Whether the bounds of teams add up to one of the whole problem: it has no use for what is left out, and no two teams
/// have anything to do with each other.
fn add_up(mut built: Built, teams: &Teams) -> bool {
    let needless = needless_wakers(&built.problem);
    let bins = &built.problem.bins;
    let all_needless =
        bins.iter().enumerate().all(|(index, bin)| !teams.barred.contains(&bin.name) || needless.contains(&index));
    bar(&mut built, &teams.barred);
    let in_one = |shapes: &Vec<usize>| {
        let groups = groups_of(&built, shapes);
        teams.groups.iter().any(|team| groups.is_subset(team))
    };
    all_needless && apart(&built.problem).iter().all(in_one)
}

/// The bins that no problem needs.
fn barred(problems: &[Built]) -> BTreeSet<String> {
    let needless: Vec<BTreeSet<usize>> =
        problems.iter().map(|built| needless_wakers(&built.problem).into_iter().collect()).collect();
    let mut barred = BTreeSet::new();
    let mut needed = BTreeSet::new();
    for (built, needless) in problems.iter().zip(&needless) {
        for (index, bin) in built.problem.bins.iter().enumerate() {
            let names = if needless.contains(&index) { &mut barred } else { &mut needed };
            names.insert(bin.name.clone());
        }
    }
    barred.retain(|name| !needed.contains(name));
    barred
}

/// Adds a set to disjoint ones, together with those that it touches.
fn unite(sets: &mut Vec<BTreeSet<u32>>, mut set: BTreeSet<u32>) {
    sets.retain(|known| {
        let apart = known.is_disjoint(&set);
        if !apart {
            set.extend(known.iter().copied());
        }
        apart
    });
    if !set.is_empty() {
        sets.push(set);
    }
}

impl<'a> Planner<'a> {
    /// The plans of several teams as one; `None` where they don't add up to a plan.
    pub(super) fn plan_teams(
        &self,
        model: &Rc<Model<'a>>,
        options: &Options,
        teams: &Teams<'a>,
        control: &dyn Control,
    ) -> Result<Option<Honoured<'a>>, PlanError> {
        let count = teams.groups.len();
        let team_of: HashMap<u32, usize> = teams
            .groups
            .iter()
            .enumerate()
            .flat_map(|(team, groups)| groups.iter().map(move |group| (*group, team)))
            .collect();
        let mut parts: Vec<Vec<Part>> = vec![Vec::new(); count];
        for part in model.parts() {
            let team = model.forms[part.form].pods.first().and_then(|pod| team_of.get(&pod.group));
            team.into_iter().for_each(|team| parts[*team].push(part.clone()));
        }
        let mut wishes: Vec<BTreeSet<Preference>> = vec![BTreeSet::new(); count];
        for (group, team) in &team_of {
            let own = model.preferences().iter().filter(|wish| wish.workload == model.workload(*group));
            wishes[*team].extend(own.cloned());
        }
        let mut costs = Cost::by_team(&teams.greedy, &team_of, count);
        let shares = shares(&costs);
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|left, right| shares[*left].total_cmp(&shares[*right]));
        let mut answers: Vec<Honoured<'a>> = Vec::new();
        // By pod: weight of the pools it is planned in, by its team or by the greedy until then.
        let mut planned = weights(&teams.greedy.model, &teams.greedy.built);
        for (at, team) in order.iter().copied().enumerate() {
            let left: f64 = order[at..].iter().map(|team| shares[*team]).sum();
            let slice = Slice::of(control, if left > 0.0 { shares[team] / left } else { 1.0 });
            let others = || costs.iter().enumerate().filter(|(other, _)| *other != team).map(|(_, cost)| cost);
            let beside = Beside {
                inner: &slice,
                whole: others().all(|other| other.whole),
                cost: others().map(|other| other.dollars).sum(),
                bound: others().map(|other| other.bound).sum(),
            };
            let apart = |answer: &Answer<'a>| {
                let mut both = planned.clone();
                both.extend(weights(&answer.model, &answer.built));
                parts_by_weight(model, &both).is_some_and(|parts| add_up(model.assemble(&parts, false), teams))
            };
            let parts = std::mem::take(&mut parts[team]);
            // All of the time would be lost if their plans did not add up in the end.
            let Some(answer) = self.plan_team(model, options, parts, &wishes[team], &apart, &beside)? else {
                return Ok(None);
            };
            planned.extend(weights(&answer.answer.model, &answer.answer.built));
            costs[team] = Cost::of(&answer.answer);
            answers.push(answer);
        }
        self.together(model, options, teams, answers)
    }

    /// Levels, then preferences, of the pods of some parts; `None` where they come to pools that `apart` has no use for.
    pub(super) fn plan_team(
        &self,
        model: &Rc<Model<'a>>,
        options: &Options,
        parts: Vec<Part>,
        wishes: &BTreeSet<Preference>,
        apart: &Apart<'_, 'a>,
        control: &dyn Control,
    ) -> Result<Option<Honoured<'a>>, PlanError> {
        let first = Slice::of(control, if wishes.is_empty() { 1.0 } else { super::BARE });
        let Some(without) = self.solve_levels(model, parts, apart, &first) else { return Ok(None) };
        honour(self, options, without, wishes, control).map(Some)
    }

    /// The answers of all teams as one of the whole.
    fn together(
        &self,
        bare: &Rc<Model<'a>>,
        options: &Options,
        teams: &Teams<'a>,
        answers: Vec<Honoured<'a>>,
    ) -> Result<Option<Honoured<'a>>, PlanError> {
        let weights = answers.iter().flat_map(|one| weights(&one.answer.model, &one.answer.built)).collect();
        let Some(parts) = parts_by_weight(bare, &weights) else { return Ok(None) };
        if !add_up(bare.assemble(&parts, false), teams) {
            return Ok(None);
        }
        let kept: BTreeSet<Preference> = answers.iter().flat_map(|one| one.kept.iter().cloned()).collect();
        let model = match kept.is_empty() {
            true => Rc::clone(bare),
            false => Rc::new(self.model(&Options { preferences: kept.clone(), ..options.clone() })?),
        };
        let Some(parts) = parts_by_weight(&model, &weights) else { return Ok(None) };
        let built = self.assemble(&model, &parts, false);
        let mut nodes: BTreeMap<Pattern, u32> = BTreeMap::new();
        let mut unplaced: Vec<u32> = built.problem.shapes.iter().map(|shape| shape.count).collect();
        let mut outcomes: Vec<Outcome> = Vec::new();
        let (mut dear, mut untried) = (Vec::new(), Vec::new());
        let (mut cost, mut waiting) = (0, 0);
        for one in answers {
            let Answer { built: from, outcome, .. } = one.answer;
            for (pattern, copies) in transfer(&from, &outcome.solution, &built).nodes {
                for &(shape, units) in &pattern.counts {
                    unplaced[shape as usize] = unplaced[shape as usize].saturating_sub(units * copies);
                }
                *nodes.entry(pattern).or_default() += copies;
            }
            cost += from.problem.cost(&outcome.solution);
            waiting += outcome.solution.unplaced.iter().sum::<u32>();
            outcomes.push(outcome);
            dear.extend(one.dear);
            untried.extend(one.untried);
        }
        let solution = Solution { nodes: nodes.into_iter().collect(), unplaced };
        let adds_up = built.problem.cost(&solution) == cost
            && solution.unplaced.iter().sum::<u32>() == waiting
            && built.problem.violations(&solution).is_empty();
        if !adds_up {
            return Ok(None);
        }
        let outcome = summed(&built.problem, solution, &outcomes);
        let answer = Answer { model, built, existing_only: false, outcome };
        Ok(Some(Honoured { answer, kept, dear, untried }))
    }
}

/// What a team's plan costs.
struct Cost {
    /// Dollars an hour.
    dollars: f64,
    /// Dollars an hour.
    bound: f64,
    /// Whether all that can be placed has its place.
    whole: bool,
    shapes: usize,
}

impl Cost {
    fn of(answer: &Answer) -> Cost {
        let Answer { built, outcome, .. } = answer;
        Cost {
            dollars: built.problem.cost(&outcome.solution) as f64 / 1e9,
            bound: outcome.lower_bound.unwrap_or(0) as f64 / 1e9,
            whole: outcome.solution.unplaced.iter().all(|units| *units == 0),
            shapes: built.problem.shapes.len(),
        }
    }

    /// What the teams cost in an answer for all.
    fn by_team(answer: &Answer, team_of: &HashMap<u32, usize>, teams: usize) -> Vec<Cost> {
        let mut costs: Vec<Cost> =
            (0..teams).map(|_| Cost { dollars: 0.0, bound: 0.0, whole: true, shapes: 0 }).collect();
        let Answer { built, outcome, .. } = answer;
        let team = |shape: usize| built.pods[shape].first().and_then(|pod| team_of.get(&pod.group)).copied();
        for (shape, unplaced) in outcome.solution.unplaced.iter().enumerate() {
            let Some(cost) = team(shape).and_then(|team| costs.get_mut(team)) else { continue };
            cost.shapes += 1;
            cost.whole &= *unplaced == 0;
        }
        for (pattern, copies) in &outcome.solution.nodes {
            let team = pattern.counts.first().and_then(|(shape, _)| team(*shape as usize));
            if let Some(cost) = team.and_then(|team| costs.get_mut(team)) {
                cost.dollars += built.problem.bins[pattern.bin as usize].price as f64 / 1e9 * f64::from(*copies);
            }
        }
        costs
    }
}

/// By team, its share of the work: the mean of its share of the shapes, which make it slow, and of its share of the cost,
/// by which its gap weighs.
fn shares(costs: &[Cost]) -> Vec<f64> {
    let dollars: f64 = costs.iter().map(|team| team.dollars).sum();
    let shapes: usize = costs.iter().map(|team| team.shapes).sum();
    let by_cost = |team: &Cost| if dollars > 0.0 { team.dollars / dollars } else { 0.0 };
    costs.iter().map(|team| (team.shapes as f64 / shapes.max(1) as f64 + by_cost(team)) / 2.0).collect()
}
