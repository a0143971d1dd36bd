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

/// Fills nodes of the bins in `candidates` (for sale, without a limit) by falling worth for their price; stops where
/// the best is worth less than `least` of its price.
pub(super) fn fill(
    problem: &Problem,
    values: &[f64],
    candidates: &[usize],
    least: f64,
    rounds: u64,
    control: &dyn Control,
) -> Solution {
    let mut left: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let mut taken: Vec<(Pattern, u32)> = Vec::new();
    let mut weights: Vec<Vec<f64>> = vec![Vec::new(); candidates.len()];
    // Big units are harder to place late: they count a little more.
    let biased: Vec<f64> = values.iter().map(|value| value * (1.0 + 0.02 * (1.0 + value * 10.0).ln())).collect();
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
        if ratio < least {
            break;
        }
        let copies = counts.iter().map(|&(shape, units)| left[shape as usize] / units).min().unwrap_or(0).max(1);
        for &(shape, units) in &counts {
            left[shape as usize] = left[shape as usize].saturating_sub(units * copies);
        }
        taken.push((Pattern { bin: bin as u32, counts }, copies));
    }
    normalised(problem, taken)
}
