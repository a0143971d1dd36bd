//! A second look at what a pass left unplaced: higher priority first, and who found no place chooses first.

use super::fill::Recipe;
use super::greedy::Passes;
use super::packing::rank;
use super::prices;
use super::quota::Wish;
use crate::problem::{Pattern, Solution};

/// Tries to place what `solution` leaves over; returns the better of the two.
pub(crate) fn place_rest(
    passes: &mut Passes,
    start: &[(Pattern, u32)],
    mut solution: Solution,
    wishes: &[Wish],
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
    for round in 0..12 {
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
        let worth = if round % 2 == 0 { &values } else { &alone };
        let recipe = Recipe::new(index, worth.clone(), &|shape| worth[shape] * f64::from(1 + 3 * blamed[shape]));
        let mut nodes: Vec<(Pattern, u32)> = start.to_vec();
        for &least in &priorities {
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
            best = candidate_rank;
            solution = candidate;
            if best.0.iter().all(|pods| *pods == 0) {
                break;
            }
        }
    }
    solution
}
