//! Blocks: shapes that no node for sale holds together with others, such as those of two pools. Nodes that are there, and
//! rules that span nodes, tie them to one program; but block by block, with the nodes of all others held, each is a small
//! problem that all stages are good at (a large neighbourhood search whose neighbourhoods the problem itself gives).

use super::highs::HighsError;
use super::incumbent::normalised;
use super::parts::{Groups, Part};
use super::pipeline::{Stages, State, search};
use super::slice::{Silent, Slice};
use super::{Control, Known, Settings};
use crate::problem::{Pattern, Problem, ShapeSet, Solution};

/// Betters the incumbent block by block; nothing where all is one block.
///
/// # Errors
/// Where HiGHS refuses; having been stopped is none.
pub(super) fn better(state: &State, gap: f64, settings: &Settings, control: &dyn Control) -> Result<(), HighsError> {
    let problem = state.problem;
    let blocks = blocks(problem);
    if blocks.len() < 2 {
        return Ok(());
    }
    let first = state.solution();
    let shares: Vec<f64> = blocks.iter().map(|block| share(problem, &first, block)).collect();
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by(|left, right| shares[*right].total_cmp(&shares[*left]));
    for (at, place) in order.iter().copied().enumerate() {
        if state.done(gap) || control.exhausted() {
            return Ok(());
        }
        let left: f64 = order[at..].iter().map(|block| shares[*block]).sum();
        let slice = Slice::of(control, if left > 0.0 { shares[place] / left } else { 1.0 });
        let incumbent = state.solution();
        let (held, free) = divided(&incumbent, &blocks[place]);
        let around = beside(problem, &held);
        let (own, _) = solved(&around, &blocks[place], free, settings, &slice)?;
        state.offer(together(problem, held, own), "blocks");
    }
    Ok(())
}

/// The nodes that hold a block's units and no others, beginning with some, and a bound of what they cost.
fn solved(
    problem: &Problem,
    block: &ShapeSet,
    first: Nodes,
    settings: &Settings,
    control: &dyn Control,
) -> Result<(Nodes, Option<i64>), HighsError> {
    let part = Part::new(problem, block.ones().collect());
    let first = part.project(&Solution { nodes: first, unplaced: Vec::new() });
    let first = normalised(&part.problem, first.nodes);
    let (silent, nothing) = (Silent { inner: control }, Known::default());
    let found = search(&part.problem, &first, &nothing, Some(0.0), settings, &mut Stages::new(&silent), &silent)?;
    let mut own = Solution { nodes: Vec::new(), unplaced: vec![0; problem.shapes.len()] };
    part.add_to(&mut own, &found.solution());
    Ok((own.nodes, found.best(|best| best.bound)))
}

/// The most units of a block that is worth bounding alone: it is mostly proven at once, and what whole nodes cost beyond
/// fractions of them weighs most there.
const SMALL: u32 = 60;

/// What the nodes that hold some units of a block cost at the least.
#[derive(Clone, Debug)]
pub(super) struct Least {
    /// The shapes of the block.
    pub block: ShapeSet,
    /// In billionths of a dollar an hour.
    pub cost: i64,
}

/// What each small block costs at the least, had it the nodes that are there to itself; nothing where all is one block.
///
/// # Errors
/// Where HiGHS refuses; having been stopped is none.
pub(super) fn least(state: &State, settings: &Settings, control: &dyn Control) -> Result<Vec<Least>, HighsError> {
    let problem = state.problem;
    let blocks = blocks(problem);
    if blocks.len() < 2 {
        return Ok(Vec::new());
    }
    let incumbent = state.solution();
    let units = |block: &ShapeSet| block.ones().map(|shape| problem.shapes[shape].count).fold(0, u32::saturating_add);
    let small: Vec<&ShapeSet> = blocks.iter().filter(|block| units(block) <= SMALL).collect();
    let mut found = Vec::new();
    for (at, block) in small.iter().copied().enumerate() {
        let slice = Slice::of(control, 1.0 / (small.len() - at) as f64);
        let (_, bound) = solved(&alone(problem, block), block, incumbent.nodes.clone(), settings, &slice)?;
        found.push(Least { block: block.clone(), cost: bound.unwrap_or(0) });
    }
    Ok(found)
}

/// A problem without the rules that ask something of a block's units which depends on those of others. What is left of it
/// for the block alone holds in every solution of the whole.
fn alone(problem: &Problem, block: &ShapeSet) -> Problem {
    let mut alone = problem.clone();
    let rules = &mut alone.rules;
    // A limit that others take from as well may be used up by them.
    let own = |limit: &usize| {
        let mut bins = rules.node_budgets[*limit].per_node.keys();
        bins.all(|bin| problem.bins[*bin].admits.is_subset(block))
    };
    let exhausted = std::mem::take(&mut rules.exhausted);
    rules.exhausted = exhausted.into_iter().filter(|wish| wish.limits.iter().all(own)).collect();
    rules.node_togethers.retain(|rule| rule.anchors.is_subset(block));
    rules.domain_togethers.retain(|rule| rule.anchors.is_subset(block));
    rules.spreads.retain(|rule| {
        // A node of others wakes a dormant domain up.
        rule.owners.is_subset(block) && rule.members.is_subset(block) && !rule.dormant.contains(&true)
    });
    alone
}

/// The blocks of a problem that have any units.
pub(super) fn blocks(problem: &Problem) -> Vec<ShapeSet> {
    let mut groups = Groups::new(problem.shapes.len());
    for bin in problem.bins.iter().filter(|bin| bin.max_count != Some(1)) {
        groups.unite(bin.admits.ones());
    }
    let some = |shapes: &Vec<usize>| shapes.iter().any(|&shape| problem.shapes[shape].count > 0);
    let sets = groups.members().into_iter().filter(some);
    sets.map(|shapes| {
        let mut set = ShapeSet::with_capacity(problem.shapes.len());
        set.extend(shapes);
        set
    })
    .collect()
}

/// A block's share of the work: the mean of its shares of the shapes and of the cost.
fn share(problem: &Problem, solution: &Solution, block: &ShapeSet) -> f64 {
    let holds = |pattern: &Pattern| pattern.counts.iter().any(|&(shape, _)| block.contains(shape as usize));
    let cost: i64 = solution
        .nodes
        .iter()
        .filter(|(pattern, _)| holds(pattern))
        .map(|(pattern, copies)| problem.bins[pattern.bin as usize].price * i64::from(*copies))
        .sum();
    let by_cost = cost as f64 / problem.cost(solution).max(1) as f64;
    let by_shapes = block.count_ones(..) as f64 / problem.shapes.len().max(1) as f64;
    (by_cost + by_shapes) / 2.0
}

/// Nodes with their copies.
type Nodes = Vec<(Pattern, u32)>;

/// What a solution holds of other blocks, and of this one.
fn divided(solution: &Solution, block: &ShapeSet) -> (Nodes, Nodes) {
    let only = |own: bool| -> Nodes {
        let nodes = solution.nodes.iter().map(|(pattern, copies)| {
            let counts = pattern.counts.iter().copied();
            let counts = counts.filter(|&(shape, _)| block.contains(shape as usize) == own).collect();
            (Pattern { bin: pattern.bin, counts }, *copies)
        });
        nodes.filter(|(pattern, _)| !pattern.counts.is_empty()).collect()
    };
    (only(false), only(true))
}

/// The problem with some nodes bought and filled: their units are present, and what they take is gone. A few rules that
/// look back at them are left to whoever checks the whole.
fn beside(problem: &Problem, held: &[(Pattern, u32)]) -> Problem {
    let mut rest = problem.clone();
    for (pattern, copies) in held {
        let bin = pattern.bin as usize;
        if problem.bins[bin].max_count == Some(1) {
            occupy(&mut rest, pattern);
        } else {
            rest.bins[bin].max_count = rest.bins[bin].max_count.map(|most| most.saturating_sub(*copies));
            for budget in &mut rest.rules.node_budgets {
                budget.limit -= budget.per_node.get(&bin).copied().unwrap_or(0) * i64::from(*copies);
            }
        }
        for &(shape, units) in &pattern.counts {
            let shape = shape as usize;
            let pods = units * copies * problem.shapes[shape].unit.pods;
            let domain = |topology: usize| problem.bins[bin].domains[topology].map(usize::from);
            for rule in rest.rules.spreads.iter_mut().filter(|rule| rule.members.contains(shape)) {
                domain(rule.topology).into_iter().for_each(|domain| rule.present[domain] += pods);
            }
            for rule in rest.rules.domain_caps.iter_mut().filter(|rule| rule.members.contains(shape)) {
                domain(rule.topology).into_iter().for_each(|domain| rule.present[domain] += pods);
            }
            for rule in &mut rest.rules.domain_togethers {
                // Those who only need one another follow the first of them.
                let company = if rule.anchors.is_clear() { &rule.members } else { &rule.anchors };
                if company.contains(shape) {
                    domain(rule.topology).into_iter().for_each(|domain| rule.present[domain] = true);
                }
            }
        }
    }
    rest
}

/// Puts units on a node of which there is only one, where others may come as well.
fn occupy(rest: &mut Problem, pattern: &Pattern) {
    let bin = pattern.bin as usize;
    for &(shape, units) in &pattern.counts {
        let shape = shape as usize;
        let pods = units * rest.shapes[shape].unit.pods;
        for resource in 0..rest.resources.len() {
            rest.capacity[[bin, resource]] -= rest.demand[[shape, resource]] * i64::from(units);
        }
        let rules = &mut rest.rules;
        for rule in rules.node_caps.iter_mut().filter(|rule| rule.members.contains(shape)) {
            *rule.present.entry(bin).or_default() += pods;
        }
        for rule in rules.node_spreads.iter_mut().filter(|rule| rule.members.contains(shape)) {
            *rule.present.entry(bin).or_default() += pods;
        }
        for rule in &rules.node_exclusives {
            if rule.left.contains(shape) {
                rest.bins[bin].admits.difference_with(&rule.right);
            } else if rule.right.contains(shape) {
                rest.bins[bin].admits.difference_with(&rule.left);
            }
        }
        for rule in rules.node_togethers.iter_mut().filter(|rule| rule.anchors.contains(shape)) {
            rule.satisfied.grow(bin + 1);
            rule.satisfied.insert(bin);
        }
    }
}

/// The held nodes and new ones as one solution; a node of which there is only one holds the units of both.
fn together(problem: &Problem, held: Nodes, own: Nodes) -> Solution {
    let mut nodes = held;
    for (pattern, copies) in own {
        let single = problem.bins[pattern.bin as usize].max_count == Some(1);
        match nodes.iter_mut().find(|(known, _)| single && known.bin == pattern.bin) {
            Some((known, _)) => {
                known.counts.extend(pattern.counts);
                known.counts.sort_unstable();
            }
            None => nodes.push((pattern, copies)),
        }
    }
    normalised(problem, nodes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::problem::DomainTogether;
    use crate::solver::greedy::greedy;
    use crate::solver::mix;
    use crate::solver::test_problems::{Patient, optimum, random};

    /// A random problem in which a bin for sale takes either shapes of even number or of odd number, and bin 0 is there
    /// and takes both.
    fn tied(seed: u64, rules: u32) -> Problem {
        let mut problem = random(seed, rules);
        for (place, bin) in problem.bins.iter_mut().enumerate().skip(1) {
            let side: ShapeSet = (place % 2..problem.shapes.len()).step_by(2).collect();
            bin.admits.intersect_with(&side);
            bin.max_count = None;
        }
        (problem.bins[0].price, problem.bins[0].max_count) = (0, Some(1));
        problem
    }

    #[test]
    fn blocks_are_bettered_within_the_rules() {
        let (mut several, mut bettered) = (0, 0);
        for (seed, rules) in (0..60).zip([0, 1, 2, 4, 8, 16, 32, 3, 63].into_iter().cycle()) {
            let problem = tied(seed, rules);
            let first = greedy(&problem, None, 1, &Patient);
            if first.unplaced.iter().any(|units| *units > 0) {
                continue;
            }
            several += usize::from(blocks(&problem).len() > 1);
            let settings = Settings { iterations: Some(40), threads: 1, ..Settings::default() };
            let state = State::new(&problem, first.clone(), &Patient);
            assert!(better(&state, 0.0, &settings, &Patient).is_ok(), "seed {seed}");
            let found = state.solution();
            assert!(problem.violations(&found).is_empty(), "seed {seed}");
            let cost = problem.cost(&found);
            assert!(cost <= problem.cost(&first) && cost >= problem.cost(&optimum(&problem)), "seed {seed}");
            bettered += usize::from(cost < problem.cost(&first));
        }
        assert!(several > 10, "only {several} problems have more than one block");
        assert!(bettered > 0, "nothing was bettered in {several} problems");
    }

    #[test]
    fn those_who_only_need_one_another_follow_those_of_other_blocks() {
        let mut problem = random(1, 0);
        let members: ShapeSet = [0, 1].into_iter().collect();
        let domains = problem.topologies[0].values.len();
        let rule = |anchors: ShapeSet| DomainTogether {
            name: String::new(),
            topology: 0,
            members: members.clone(),
            anchors,
            present: vec![false; domains],
        };
        problem.rules.domain_togethers = vec![rule(ShapeSet::new()), rule([2].into_iter().collect())];
        let bin = problem.bins.iter().position(|bin| bin.domains[0] == Some(1)).unwrap();
        let held = (Pattern { bin: bin as u32, counts: vec![(1, 1)] }, 1);
        let rest = beside(&problem, &[held]);
        let present = |rule: usize| rest.rules.domain_togethers[rule].present.clone();
        assert_eq!(present(0), (0..domains).map(|domain| domain == 1).collect::<Vec<_>>());
        assert_eq!(present(1), vec![false; domains]);
    }

    #[test]
    fn rows_of_blocks_never_prove_more_than_the_optimum() {
        let (mut several, mut proven) = (0, 0);
        for (seed, rules) in (0..60).zip([0, 1, 2, 4, 8, 16, 32, 3, 63].into_iter().cycle()) {
            let problem = tied(seed, rules);
            let first = greedy(&problem, None, 1, &Patient);
            if first.unplaced.iter().any(|units| *units > 0) || blocks(&problem).len() < 2 {
                continue;
            }
            several += 1;
            let best = problem.cost(&optimum(&problem));
            let bound = mix::proven(&problem, first);
            assert!(bound <= best, "seed {seed}: {bound} is above {best}");
            proven += usize::from(bound == best);
        }
        assert!(several > 10 && proven * 4 > several, "{proven} of {several} are proven");
    }
}
