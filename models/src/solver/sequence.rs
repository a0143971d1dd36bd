//! Node after node: the pattern that is worth most for its price among the units still left, again and again.
//!
//! With worths near those of the relaxation the nodes are filled to the brim until few units are left; those go to
//! [`super::complete`]. Fast enough for thousands of shapes, where a master problem of a row a shape is not.

use rayon::prelude::*;

use super::Control;
use super::columns::master::dollars;
use super::columns::pricing::Knapsack;
use super::incumbent::normalised;
use crate::problem::{Pattern, Problem, Solution};

/// How nodes are filled.
pub(super) struct Manner {
    /// How much more big units count than they are worth: they are harder to place late.
    pub bias: f64,
    /// Of the copies of a pattern that the units left allow, one in so many is taken.
    pub part: u32,
    /// The worth of a node for its price at which filling stops.
    pub least: f64,
}

/// Several ways; none is best everywhere.
pub(super) const MANNERS: [Manner; 6] = [
    Manner { bias: 0.02, part: 1, least: 0.97 },
    Manner { bias: 0.02, part: 3, least: 0.98 },
    Manner { bias: 0.10, part: 3, least: 0.98 },
    Manner { bias: 0.30, part: 3, least: 0.95 },
    Manner { bias: 0.05, part: 8, least: 0.99 },
    Manner { bias: 0.15, part: 8, least: 0.97 },
];

/// Fills nodes of the bins in `candidates` (for sale, without a limit) by falling worth for their price; stops where
/// the best is worth less than the manner's least part of its price.
pub(super) fn fill(
    problem: &Problem,
    values: &[f64],
    candidates: &[usize],
    manner: &Manner,
    rounds: u64,
    control: &dyn Control,
) -> Solution {
    let mut left: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let mut taken: Vec<(Pattern, u32)> = Vec::new();
    let mut weights: Vec<Vec<f64>> = vec![Vec::new(); candidates.len()];
    let biased: Vec<f64> = values.iter().map(|value| value * (1.0 + manner.bias * (1.0 + value * 10.0).ln())).collect();
    for _ in 0..rounds {
        if control.exhausted() || left.iter().all(|units| *units == 0) {
            break;
        }
        let best = candidates
            .par_iter()
            .zip(&mut weights)
            .filter_map(|(&bin, weights)| {
                let knapsack = Knapsack::new(problem, bin, &left);
                let found = knapsack.search(problem, &biased, 0.0, 300, weights).found.pop()?;
                let worth: f64 = found.1.iter().map(|&(shape, units)| values[shape as usize] * f64::from(units)).sum();
                Some((worth / dollars(problem.bins[bin].price).max(1e-9), bin, found.1))
            })
            .collect::<Vec<_>>()
            .into_iter()
            .max_by(|one, other| one.0.total_cmp(&other.0).then(other.1.cmp(&one.1)));
        let Some((ratio, bin, counts)) = best else { break };
        if ratio < manner.least {
            break;
        }
        let copies = counts.iter().map(|&(shape, units)| left[shape as usize] / units).min().unwrap_or(0);
        let copies = copies.div_ceil(manner.part).max(1);
        for &(shape, units) in &counts {
            left[shape as usize] = left[shape as usize].saturating_sub(units * copies);
        }
        taken.push((Pattern { bin: bin as u32, counts }, copies));
    }
    normalised(problem, taken)
}
