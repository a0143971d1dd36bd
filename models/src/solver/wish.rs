//! What is to be used of limits ([`Exhausted`](crate::problem::Exhausted)), as rows of an integer program.
//!
//! A node can't be bought any more if of one of its limits less is left than it takes of it: a binary chooses that limit,
//! `taken(l) >= (limit(l) - take(l) + 1) z(l)`, `sum of z >= 1`. Whatever takes more of every limit can't be bought either.

use super::bound::greatest_common_divisor;
use super::model::LinearModel;
use crate::problem::{Exhausted, NodeBudget, Problem};

/// A limit of which at least so much is to be taken.
struct Choice<'p> {
    budget: &'p NodeBudget,
    least: i64,
}

/// By node that is not to be left room for: limits, of one of which so much is to be taken.
fn choices(problem: &Problem) -> Vec<Vec<Choice<'_>>> {
    let mut all = Vec::new();
    for wish in &problem.rules.exhausted {
        for takes in smallest(wish) {
            let limits = wish.limits.iter().map(|&limit| &problem.rules.node_budgets[limit]).zip(takes);
            let choices = limits.filter(|(_, take)| **take > 0).map(|(budget, take)| {
                // Nodes take multiples of what all of their takes are multiples of.
                let step =
                    budget.per_node.values().copied().filter(|take| *take > 0).fold(0, greatest_common_divisor).max(1);
                let least = (budget.limit - take + 1).max(0);
                Choice { budget, least: least.saturating_add(step - 1) / step * step }
            });
            let choices: Vec<Choice> = choices.collect();
            if choices.iter().all(|choice| choice.least > 0) {
                all.push(choices.into_iter().filter(|choice| choice.least <= choice.budget.limit).collect());
            }
        }
    }
    all
}

/// The nodes of a wish that take no more of every limit than others do.
fn smallest(wish: &Exhausted) -> Vec<&Vec<i64>> {
    let no_more = |one: &Vec<i64>, other: &Vec<i64>| one.iter().zip(other).all(|(one, other)| one <= other);
    let mut found: Vec<&Vec<i64>> = Vec::new();
    for takes in &wish.nodes {
        if !found.iter().any(|known| no_more(known, takes)) {
            found.retain(|known| !no_more(takes, known));
            found.push(takes);
        }
    }
    found
}

/// Adds the rows to a program; `nodes` are columns that count nodes, each with their bin. The binaries become the last
/// columns.
pub(super) fn add(problem: &Problem, nodes: &[(usize, usize)], model: &mut LinearModel) {
    for (number, choices) in choices(problem).into_iter().enumerate() {
        let mut one = Vec::with_capacity(choices.len());
        for (limit, choice) in choices.iter().enumerate() {
            let scale = choice.least as f64;
            let take = |&(column, bin): &(usize, usize)| {
                choice.budget.per_node.get(&bin).map(|&take| (column, take as f64 / scale))
            };
            let mut terms: Vec<(usize, f64)> = nodes.iter().filter_map(take).collect();
            let chosen = model.column(format!("used_{number}_{limit}"), 0.0, (0.0, 1.0), true);
            terms.push((chosen, -1.0));
            model.row(format!("used_{number}_{limit}"), (0.0, f64::INFINITY), terms);
            one.push((chosen, 1.0));
        }
        model.row(format!("used_{number}"), (1.0, f64::INFINITY), one);
    }
}

/// The values of the binaries for nodes by bin, in the order of their columns.
pub(super) fn values(problem: &Problem, opened: &[u64]) -> Vec<f64> {
    let choices = choices(problem).into_iter().flatten();
    choices.map(|choice| f64::from(u8::from(choice.budget.taken(opened) >= choice.least))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::problem::{Bin, BinSource};
    use crate::solver::test_problems::{Patient, optimum, random};
    use crate::solver::{Settings, solve};

    /// Two bins that take 2 and 6 of the first limit, and 10 and 3 of the second one.
    fn problem(limits: [i64; 2], nodes: &[[i64; 2]]) -> Problem {
        let bin = Bin {
            name: String::new(),
            source: BinSource::Offering(0),
            price: 1,
            max_count: None,
            admits: Default::default(),
            domains: Vec::new(),
        };
        let mut problem = Problem { bins: vec![bin.clone(), bin], ..Problem::default() };
        let budget = |limit, takes: [i64; 2]| NodeBudget {
            name: String::new(),
            per_node: takes.into_iter().enumerate().collect(),
            limit,
        };
        problem.rules.node_budgets = vec![budget(limits[0], [2, 6]), budget(limits[1], [10, 3])];
        let nodes = nodes.iter().map(|takes| takes.to_vec()).collect();
        problem.rules.exhausted.push(Exhausted { limits: vec![0, 1], nodes });
        problem
    }

    #[test]
    fn rows_hold_for_those_mixes_that_leave_no_room() {
        for (limits, nodes) in [
            ([9, 30], vec![[2, 10]]),
            ([20, 13], vec![[2, 10], [6, 3]]),
            ([20, 13], vec![[2, 10], [6, 3], [6, 10]]),
            ([5, 1_000], vec![[6, 3]]),
            ([17, 23], vec![[6, 3]]),
        ] {
            let problem = problem(limits, &nodes);
            let mut model = LinearModel::default();
            let columns: Vec<(usize, usize)> =
                (0..2).map(|bin| (model.column(format!("n_{bin}"), 1.0, (0.0, 100.0), true), bin)).collect();
            add(&problem, &columns, &mut model);
            let within = |mix: [u32; 2]| {
                let opened = mix.map(u64::from);
                problem.rules.node_budgets.iter().all(|budget| budget.taken(&opened) <= budget.limit)
            };
            let (mut held, mut refused) = (0, 0);
            for mix in (0..12).flat_map(|one| (0..6).map(move |other| [one, other])).filter(|mix| within(*mix)) {
                let opened = mix.map(u64::from);
                let left: Vec<i64> =
                    problem.rules.node_budgets.iter().map(|budget| budget.limit - budget.taken(&opened)).collect();
                let room = problem.rules.exhausted[0].leaves_room(&left);
                let columns: Vec<f64> = mix.map(f64::from).into_iter().chain(values(&problem, &opened)).collect();
                assert_eq!(columns.len(), model.columns.len());
                let misses = model.infeasibility(&columns) > 1e-9;
                assert_eq!(misses, room, "{limits:?} {nodes:?} {mix:?}");
                held += usize::from(!misses);
                refused += usize::from(misses);
            }
            assert!(held > 0 && (refused > 0 || limits[0] < 6), "{limits:?}: {held} {refused}");
        }
    }

    #[test]
    fn bounds_are_those_of_solutions_that_use_limits_up() {
        let (mut wished, mut dearer, mut proven) = (0, 0, 0);
        for (seed, rules) in (0..150).zip([256, 257, 258, 260, 264, 272, 288, 259].into_iter().cycle()) {
            let mut problem = random(seed, rules);
            let takes = problem.rules.node_budgets[0].per_node.values().map(|take| vec![*take]);
            let nodes = takes.filter(|takes| takes[0] > 0).collect();
            let plain = problem.cost(&optimum(&problem));
            problem.rules.exhausted.push(Exhausted { limits: vec![0], nodes });
            let best = optimum(&problem);
            if best.unplaced.iter().any(|units| *units > 0) || problem.leaves_room(&best) {
                continue;
            }
            let cost = problem.cost(&best);
            // One of the dearest that use the limit up: what is dearer than the incumbent is not looked at.
            let mut reversed = problem.clone();
            let dearest = problem.bins.iter().map(|bin| bin.price).max().unwrap();
            reversed.bins.iter_mut().for_each(|bin| bin.price = dearest + 1 - bin.price);
            let start = Some(optimum(&reversed));
            let settings = Settings { iterations: Some(40), threads: 1, start, ..Settings::default() };
            let outcome = solve(&problem, &settings, &Patient);
            assert!(problem.violations(&outcome.solution).is_empty(), "seed {seed}");
            assert!(outcome.solution.unplaced.iter().all(|units| *units == 0), "seed {seed}");
            assert!(!problem.leaves_room(&outcome.solution), "seed {seed}");
            let (bound, found) = (outcome.lower_bound.unwrap_or(0), problem.cost(&outcome.solution));
            wished += 1;
            dearer += usize::from(cost > plain);
            assert!(bound <= cost && cost <= found, "seed {seed}: {bound}, {cost}, {found}");
            proven += usize::from(bound == found);
        }
        assert!(wished > 20 && dearer > 5 && proven * 2 > wished, "{wished} wished, {dearer} dearer, {proven} proven");
    }
}
