//! The optimal cover of a demand by listed patterns where no rule spans nodes: best first over what is left to place.
//!
//! A state is what is left of each shape. What a state costs above the bound is the sum of the reduced costs of the
//! patterns taken and of the worth of units covered beyond the demand; both are never negative, so the first time that
//! nothing is left the cover is optimal (E. W. Dijkstra, "A note on two problems in connexion with graphs", 1959). Each
//! step covers the first shape that is not covered yet, so orders of the same patterns are one path.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Control;
use super::columns::master::{Master, dollars};
use super::incumbent::trimmed;
use crate::problem::{Pattern, Problem, Solution};

/// The most states that a table is kept for.
const STATES: usize = 6_000_000;

/// What the search came to.
pub(super) struct Covered {
    /// A cover cheaper than the incumbent.
    pub solution: Option<Solution>,
    /// No cover costs less (dollars an hour).
    pub bound: f64,
}

/// A state on the heap: its cost above the bound in billionths, and its number.
type Entry = Reverse<(i64, usize)>;

/// States by number: what is left of each shape, in a mixed radix, so that a state is one number and a table holds all.
struct States {
    strides: Vec<usize>,
    /// Cost above the bound so far, by state; the greatest number where it was not reached.
    excess: Vec<i64>,
    /// The state before, and the pattern that led from it to this one.
    from: Vec<(u32, u32)>,
    done: Vec<bool>,
}

/// Looks for the cheapest cover below the incumbent's cost. The patterns must be all of reduced cost at most
/// `incumbent` less the duals' bound.
pub(super) fn search(
    master: &Master,
    patterns: &[Pattern],
    duals: &[f64],
    incumbent: i64,
    steps: u64,
    control: &dyn Control,
) -> Covered {
    let problem = master.problem;
    let shapes = problem.shapes.len();
    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let units: u32 = demand.iter().sum();
    let base: f64 = demand.iter().zip(duals).map(|(&count, dual)| f64::from(count) * dual).sum();
    // In whole billionths, rounded down, so that no path seems longer than it is by more than what `ceiling` adds.
    let reduced: Vec<i64> = patterns
        .iter()
        .map(|pattern| {
            let worth: f64 =
                pattern.counts.iter().map(|&(shape, units)| f64::from(units) * duals[shape as usize]).sum();
            (((dollars(problem.bins[pattern.bin as usize].price) - worth) * 1e9).floor() as i64).max(0)
        })
        .collect();
    let worth: Vec<i64> = duals[..shapes].iter().map(|dual| ((dual * 1e9).floor() as i64).max(0)).collect();
    let ceiling = incumbent - (base * 1e9).floor() as i64 + 1;
    let order = order(&demand, duals);
    let mut holding: Vec<Vec<usize>> = vec![Vec::new(); shapes];
    for (index, pattern) in patterns.iter().enumerate() {
        for &(shape, _) in &pattern.counts {
            holding[shape as usize].push(index);
        }
    }
    for list in &mut holding {
        list.sort_by_key(|&index| (reduced[index], index));
    }
    let nothing = Covered { solution: None, bound: 0.0 };
    let Some(mut states) = States::new(&demand) else { return nothing };
    let all = states.excess.len() - 1;
    states.excess[all] = 0;
    let mut heap: BinaryHeap<Entry> = BinaryHeap::from([Reverse((0, all))]);
    let mut rest = demand.clone();
    let mut taken = 0_u64;
    while let Some(Reverse((excess, number))) = heap.pop() {
        if states.done[number] {
            continue;
        }
        states.done[number] = true;
        taken += 1;
        let proven = base + excess as f64 * 1e-9 - 1e-9 * f64::from(units);
        if taken > steps || (taken.is_multiple_of(64) && control.exhausted()) {
            return Covered { solution: None, bound: proven };
        }
        states.rest(number, &mut rest);
        let Some(&shape) = order.iter().find(|&&shape| rest[shape] > 0) else {
            return Covered { solution: Some(trimmed(master, states.path(number, patterns))), bound: proven };
        };
        for &index in &holding[shape] {
            let mut sum = excess + reduced[index];
            if sum > ceiling {
                break;
            }
            let mut next = number;
            for &(shape, units) in &patterns[index].counts {
                let shape = shape as usize;
                let covered = units.min(rest[shape]);
                next -= states.strides[shape] * covered as usize;
                sum += worth[shape] * i64::from(units - covered);
            }
            if sum <= ceiling && sum < states.excess[next] {
                states.excess[next] = sum;
                states.from[next] = (number as u32, index as u32);
                heap.push(Reverse((sum, next)));
            }
        }
    }
    // No path below the ceiling is left: the incumbent is optimal.
    Covered { solution: None, bound: dollars(incumbent) }
}

/// Whether the states of a problem fit the table.
pub(super) fn holds(problem: &Problem) -> bool {
    let states = problem.shapes.iter().try_fold(1_usize, |states, shape| {
        states.checked_mul(shape.count as usize + 1).filter(|states| *states <= STATES)
    });
    states.is_some()
}

/// The shapes whose units are worth most first: they are on the fewest patterns.
fn order(demand: &[u32], duals: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..demand.len()).collect();
    order.sort_by(|&left, &right| duals[right].total_cmp(&duals[left]).then(left.cmp(&right)));
    order
}

impl States {
    /// A table for all states, or `None` where they are too many.
    fn new(demand: &[u32]) -> Option<Self> {
        let mut strides = Vec::with_capacity(demand.len());
        let mut size = 1_usize;
        for &count in demand {
            strides.push(size);
            size = size.checked_mul(count as usize + 1).filter(|size| *size <= STATES)?;
        }
        Some(States {
            strides,
            excess: vec![i64::MAX; size],
            from: vec![(u32::MAX, u32::MAX); size],
            done: vec![false; size],
        })
    }

    fn rest(&self, number: usize, rest: &mut [u32]) {
        let mut left = number;
        for (count, &stride) in rest.iter_mut().zip(&self.strides).rev() {
            *count = (left / stride) as u32;
            left %= stride;
        }
    }

    fn path(&self, number: usize, patterns: &[Pattern]) -> Vec<(Pattern, u32)> {
        let mut nodes = Vec::new();
        let mut at = self.from[number];
        while at.0 != u32::MAX {
            nodes.push((patterns[at.1 as usize].clone(), 1));
            at = self.from[at.0 as usize];
        }
        nodes
    }
}
