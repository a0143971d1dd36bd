//! The optimal cover of a demand by listed patterns where no rule spans nodes: best first over what is left to place.
//!
//! A state is what is left of each shape. What a state costs above the bound is the sum of the reduced costs of the
//! patterns taken and of the worth of units covered beyond the demand; both are never negative, so the first time that
//! nothing is left the cover is optimal (E. W. Dijkstra, "A note on two problems in connexion with graphs", 1959). Each
//! step covers the first shape that is not covered yet, so orders of the same patterns are one path.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::Control;
use super::columns::master::{Master, dollars};
use super::incumbent::trimmed;
use crate::problem::{Pattern, Solution};

/// States that are kept at most.
const STATES: usize = 3_000_000;

/// What the search came to.
pub(super) struct Covered {
    /// A cover cheaper than the incumbent.
    pub solution: Option<Solution>,
    /// No cover costs less (dollars an hour).
    pub bound: f64,
}

/// A state on the heap: its cost above the bound in billionths, and its number.
type Entry = Reverse<(i64, usize)>;

struct States {
    rest: Vec<Vec<u32>>,
    excess: Vec<i64>,
    /// The state before, and the pattern that led from it to this one.
    from: Vec<(usize, usize)>,
    done: Vec<bool>,
    number: BTreeMap<Vec<u32>, usize>,
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
    let mut states = States {
        rest: vec![demand.clone()],
        excess: vec![0],
        from: vec![(usize::MAX, usize::MAX)],
        done: vec![false],
        number: BTreeMap::from([(demand, 0)]),
    };
    let mut heap: BinaryHeap<Entry> = BinaryHeap::from([Reverse((0, 0))]);
    let mut taken = 0_u64;
    while let Some(Reverse((excess, number))) = heap.pop() {
        if states.done[number] {
            continue;
        }
        states.done[number] = true;
        taken += 1;
        let proven = base + excess as f64 * 1e-9 - 1e-9 * states.depth(number) as f64;
        if taken > steps || states.rest.len() > STATES || (taken.is_multiple_of(64) && control.exhausted()) {
            return Covered { solution: None, bound: proven };
        }
        let rest = states.rest[number].clone();
        let Some(&shape) = order.iter().find(|&&shape| rest[shape] > 0) else {
            return Covered { solution: Some(trimmed(master, states.path(number, patterns))), bound: proven };
        };
        for &index in &holding[shape] {
            let mut sum = excess + reduced[index];
            if sum > ceiling {
                break;
            }
            let mut next = rest.clone();
            for &(shape, units) in &patterns[index].counts {
                let shape = shape as usize;
                let beyond = units.saturating_sub(next[shape]);
                next[shape] -= units - beyond;
                sum += worth[shape] * i64::from(beyond);
            }
            if sum <= ceiling {
                states.reach(next, sum, (number, index), &mut heap);
            }
        }
    }
    // No path below the ceiling is left: the incumbent is optimal.
    Covered { solution: None, bound: dollars(incumbent) }
}

/// The shapes whose units are worth most first: they are on the fewest patterns.
fn order(demand: &[u32], duals: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..demand.len()).collect();
    order.sort_by(|&left, &right| duals[right].total_cmp(&duals[left]).then(left.cmp(&right)));
    order
}

impl States {
    fn reach(&mut self, rest: Vec<u32>, excess: i64, from: (usize, usize), heap: &mut BinaryHeap<Entry>) {
        if let Some(&number) = self.number.get(&rest) {
            if excess < self.excess[number] {
                self.excess[number] = excess;
                self.from[number] = from;
                heap.push(Reverse((excess, number)));
            }
            return;
        }
        let number = self.rest.len();
        self.number.insert(rest.clone(), number);
        self.rest.push(rest);
        self.excess.push(excess);
        self.from.push(from);
        self.done.push(false);
        heap.push(Reverse((excess, number)));
    }

    fn depth(&self, number: usize) -> usize {
        let mut depth = 0;
        let mut at = number;
        while self.from[at].0 != usize::MAX {
            depth += 1;
            at = self.from[at].0;
        }
        depth
    }

    fn path(&self, number: usize, patterns: &[Pattern]) -> Vec<(Pattern, u32)> {
        let mut nodes = Vec::new();
        let mut at = number;
        while self.from[at].0 != usize::MAX {
            nodes.push((patterns[self.from[at].1].clone(), 1));
            at = self.from[at].0;
        }
        nodes
    }
}
