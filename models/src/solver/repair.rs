//! A second look at what a pass left unplaced: higher priority first, and who found no place chooses first.

use std::collections::BTreeMap;

use super::Control;
use super::fill::Recipe;
use super::greedy::Passes;
use super::packing::{Index, Packing, rank};
use super::prices;
use super::quota::Wish;
use crate::problem::{Pattern, Problem, Solution, fits};

/// Rounds of placing in another order, at most and without success.
const ROUNDS: usize = 12;
const IN_VAIN: u32 = 4;

/// Tries to place what `solution` leaves over; returns the better of the two.
pub(crate) fn place_rest(
    passes: &mut Passes,
    start: &[(Pattern, u32)],
    mut solution: Solution,
    wishes: &[Wish],
    control: &dyn Control,
) -> Solution {
    let index = passes.index();
    let problem = index.problem;
    let placeable = |shape: usize| problem.bins.iter().any(|bin| bin.admits.contains(shape));
    if !(0..problem.shapes.len()).any(|shape| solution.unplaced[shape] > 0 && placeable(shape)) {
        return solution;
    }
    let values = prices::by_resources(index, passes.prices());
    let alone = prices::alone(index);
    let mut best = rank(problem, &solution);
    let mut priorities: Vec<i32> = problem.shapes.iter().map(|shape| shape.priority).collect();
    priorities.sort_unstable_by(|one, other| other.cmp(one));
    priorities.dedup();
    let mut blamed = vec![0_u32; problem.shapes.len()];
    let mut in_vain = 0;
    for round in 0..ROUNDS {
        // One round at least: it is the one that lets the lower priority wait.
        if in_vain > IN_VAIN || round > 0 && control.exhausted() {
            break;
        }
        in_vain += 1;
        for (blame, unplaced) in blamed.iter_mut().zip(&solution.unplaced) {
            *blame += u32::from(*unplaced > 0);
        }
        let mut wish = wishes[round % wishes.len()].clone();
        if round >= 2 {
            wish.perturb(passes.random(), 0.5, false);
        }
        wish.order.sort_by_key(|&shape| {
            (std::cmp::Reverse(problem.shapes[shape].priority), std::cmp::Reverse(blamed[shape]))
        });
        // Blame weighs in the order in which a node is filled and in which node is opened next.
        let worth = if round % 2 == 0 { &values } else { &alone };
        let blamed_worth: Vec<f64> =
            worth.iter().zip(&blamed).map(|(value, blame)| value * f64::from(1 + 3 * blame)).collect();
        let mut recipe = Recipe::new(index, blamed_worth.clone(), &|shape| blamed_worth[shape]);
        if round % 3 == 1 {
            recipe.costs = scarcity(index);
        }
        let mut nodes: Vec<(Pattern, u32)> = start.to_vec();
        // Now and then all at once: a pod of high priority can perhaps do with another node.
        for &least in priorities.iter().filter(|_| round % 4 != 3) {
            let wanted: Vec<bool> = problem.shapes.iter().map(|shape| shape.priority >= least).collect();
            nodes = passes.attempt_for(&nodes, &recipe, &wish, &wanted).solution().nodes;
        }
        let all = vec![true; problem.shapes.len()];
        let candidate = passes.attempt_for(&nodes, &recipe, &wish, &all).solution();
        let candidate_rank = rank(problem, &candidate);
        for (blame, unplaced) in blamed.iter_mut().zip(&candidate.unplaced) {
            *blame += u32::from(*unplaced > 0);
        }
        if candidate_rank < best {
            in_vain = 0;
            best = candidate_rank;
            solution = candidate;
            if best.0.iter().all(|pods| *pods == 0) {
                break;
            }
        }
    }
    if best.0.iter().any(|pods| *pods > 0)
        && let Some(candidate) = exhaustive(problem, start)
        && rank(problem, &candidate) < best
    {
        let mut packing = Packing::new(index, &candidate.nodes, vec![0; index.slots.len()]);
        packing.right_size();
        solution = packing.solution();
    }
    solution
}

/// By bin: what a node takes of what is scarce (node budgets, its own count), with the price as a tie-break.
fn scarcity(index: &Index) -> Vec<f64> {
    let problem = index.problem;
    let dearest = problem.bins.iter().map(|bin| bin.price).max().unwrap_or(0).max(1) as f64;
    let costs = problem.bins.iter().enumerate().map(|(bin, facts)| {
        let budgets = index.budgets[bin].iter();
        let shares =
            budgets.map(|&(budget, take)| take as f64 / problem.rules.node_budgets[budget].limit.max(1) as f64);
        let count = facts.max_count.map_or(0.0, |most| 1.0 / f64::from(most.max(1)));
        shares.fold(count, f64::max) + 0.01 * facts.price as f64 / dearest
    });
    costs.collect()
}

/// Above so many units the exhaustive search is left out.
const FEW_UNITS: u32 = 8;
/// Looks at patterns that the exhaustive search may take.
const LOOKS: usize = 200_000;
/// What a look at a whole solution counts for each of its nodes: about as many looks at patterns take as long.
const WHOLE: usize = 10;

/// For a handful of units: tries the ways to place them all on whole patterns, and takes the first that obeys every
/// rule. Where rules interplay so that no order of placing one after the other succeeds, this still does.
fn exhaustive(problem: &Problem, start: &[(Pattern, u32)]) -> Option<Solution> {
    let mut missing: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    for (pattern, copies) in start {
        for &(shape, units) in &pattern.counts {
            missing[shape as usize] = missing[shape as usize].saturating_sub(units * copies);
        }
    }
    let hopeless = |shape: usize| !problem.bins.iter().any(|bin| bin.admits.contains(shape));
    let unplaced: Vec<u32> =
        missing.iter().enumerate().map(|(shape, units)| if hopeless(shape) { *units } else { 0 }).collect();
    missing.iter_mut().zip(&unplaced).for_each(|(missing, unplaced)| *missing -= unplaced);
    if missing.iter().sum::<u32>() > FEW_UNITS {
        return None;
    }
    let mut patterns = Vec::new();
    for bin in 0..problem.bins.len() {
        let mut counts = Vec::new();
        patterns_of(problem, bin, &missing, 0, &mut counts, &mut patterns);
    }
    // Big patterns of cheap bins first: what is found first should not be dear.
    let units = |pattern: &Pattern| pattern.counts.iter().map(|(_, units)| i64::from(*units)).sum::<i64>();
    patterns.sort_by_key(|pattern| (problem.bins[pattern.bin as usize].price / units(pattern).max(1), pattern.clone()));
    let mut search = Exhaustive { problem, patterns, missing, nodes: start.to_vec(), unplaced, looks: LOOKS };
    search.descend(0).then(|| search.solution())
}

/// All patterns of the bin with at most `missing` units that one node holds by its own rules.
fn patterns_of(
    problem: &Problem,
    bin: usize,
    missing: &[u32],
    shape: usize,
    counts: &mut Vec<(u32, u32)>,
    patterns: &mut Vec<Pattern>,
) {
    if shape == missing.len() {
        let pattern = Pattern { bin: bin as u32, counts: counts.clone() };
        if !counts.is_empty() && fits(problem, &pattern).is_ok() {
            patterns.push(pattern);
        }
        return;
    }
    let most = if problem.bins[bin].admits.contains(shape) { missing[shape] } else { 0 };
    for units in 0..=most {
        if units > 0 {
            counts.push((shape as u32, units));
        }
        patterns_of(problem, bin, missing, shape + 1, counts, patterns);
        if units > 0 {
            counts.pop();
        }
    }
}

struct Exhaustive<'p> {
    problem: &'p Problem,
    patterns: Vec<Pattern>,
    missing: Vec<u32>,
    nodes: Vec<(Pattern, u32)>,
    unplaced: Vec<u32>,
    looks: usize,
}

impl Exhaustive<'_> {
    /// Places what is missing with patterns from `first` on; whether it found a way.
    fn descend(&mut self, first: usize) -> bool {
        if self.missing.iter().all(|units| *units == 0) {
            self.looks = self.looks.saturating_sub(WHOLE * self.nodes.len());
            return self.problem.violations(&self.solution()).is_empty();
        }
        for position in first..self.patterns.len() {
            if self.looks == 0 {
                return false;
            }
            self.looks -= 1;
            if self.patterns[position].counts.iter().any(|&(shape, units)| self.missing[shape as usize] < units) {
                continue;
            }
            let pattern = self.patterns[position].clone();
            pattern.counts.iter().for_each(|&(shape, units)| self.missing[shape as usize] -= units);
            self.nodes.push((pattern.clone(), 1));
            if self.descend(position) {
                return true;
            }
            self.nodes.pop();
            pattern.counts.iter().for_each(|&(shape, units)| self.missing[shape as usize] += units);
        }
        false
    }

    fn solution(&self) -> Solution {
        let mut nodes: BTreeMap<Pattern, u32> = BTreeMap::new();
        for (pattern, copies) in &self.nodes {
            *nodes.entry(pattern.clone()).or_default() += copies;
        }
        Solution { nodes: nodes.into_iter().collect(), unplaced: self.unplaced.clone() }
    }
}
