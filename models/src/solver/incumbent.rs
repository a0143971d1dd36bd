//! The best solution so far, and the way from what a program says to a solution that obeys every rule.

use crate::problem::{Pattern, Problem, Solution};
use crate::solver::columns::master::Master;

/// A solution with its nodes in order, equal ones together, and the unplaced units counted again.
pub fn normalised(problem: &Problem, nodes: impl IntoIterator<Item = (Pattern, u32)>) -> Solution {
    let mut together = std::collections::BTreeMap::<Pattern, u32>::new();
    for (pattern, copies) in nodes {
        if copies > 0 && !pattern.counts.is_empty() {
            *together.entry(pattern).or_default() += copies;
        }
    }
    let mut solution = Solution { nodes: together.into_iter().collect(), unplaced: Vec::new() };
    let placed = problem.placed(&solution);
    solution.unplaced = problem
        .shapes
        .iter()
        .zip(placed)
        .map(|(shape, placed)| u32::try_from(u64::from(shape.count).saturating_sub(placed)).unwrap_or(shape.count))
        .collect();
    solution
}

/// The nodes with every unit beyond its shape's count taken off again, where that can break no rule.
pub fn trimmed(master: &Master, nodes: Vec<(Pattern, u32)>) -> Solution {
    let problem = master.problem;
    let mut surplus: Vec<i64> = problem.shapes.iter().map(|shape| -i64::from(shape.count)).collect();
    for (pattern, copies) in &nodes {
        for &(shape, units) in &pattern.counts {
            surplus[shape as usize] += i64::from(units) * i64::from(*copies);
        }
    }
    let touches =
        |pattern: &Pattern, surplus: &[i64]| pattern.counts.iter().any(|&(shape, _)| surplus[shape as usize] > 0);
    let mut kept = Vec::new();
    // The dearest nodes are emptied first: what is left on them may fit a cheaper one.
    let mut nodes = nodes;
    nodes.sort_by_key(|(pattern, _)| std::cmp::Reverse(problem.bins[pattern.bin as usize].price));
    for (pattern, copies) in nodes {
        let mut left = copies;
        while left > 0 && touches(&pattern, &surplus) {
            let mut own = pattern.clone();
            for (shape, units) in &mut own.counts {
                let shape = *shape as usize;
                if master.surplus[shape] && surplus[shape] > 0 {
                    let off = u32::try_from(surplus[shape]).unwrap_or(u32::MAX).min(*units);
                    *units -= off;
                    surplus[shape] -= i64::from(off);
                }
            }
            own.counts.retain(|(_, units)| *units > 0);
            kept.push((own, 1));
            left -= 1;
        }
        kept.push((pattern, left));
    }
    normalised(problem, kept)
}
