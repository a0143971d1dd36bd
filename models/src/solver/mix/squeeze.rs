//! Packing a mix by exchange: every unit stands on some node of it, too much for some of them at first; units are moved and
//! swapped until no node holds more than it may.
//!
//! Packings that overload nodes a little are close to each other, where those that obey every rule are far apart: a walk
//! through the former finds packings with hardly any room to spare. Each step makes the best exchange of an overloaded
//! node, even if it is a bad one, and does not take it back for a while (F. Glover, "Tabu Search", ORSA Journal on
//! Computing 1, 1989). Rules across nodes hold all the while.

use std::collections::HashMap;

use fastrand::Rng;

use super::floor::{Floor, Node};
use crate::problem::{Pattern, Problem, Solution, fits};
use crate::solver::Control;
use crate::solver::incumbent::normalised;
use crate::solver::packing::{Index, Node as Held, Packing, Tally};

/// The most pairs of a node and a shape that are worth the walk.
const MOST: usize = 200_000;

/// Steps without a better packing until a mix is given up.
const PATIENCE: u32 = 2_000;

/// Steps between two looks at the clock.
const STEPS_A_LOOK: u32 = 16;

/// The most nodes that one step looks at.
const NEAR: usize = 50;

/// For how many steps a shape does not come back to a node that it left, and as many more at the most.
const TABU: u32 = 6;

/// Whether a mix (bins and copies) is small enough to be squeezed.
pub(super) fn is_small(problem: &Problem, mix: &[(usize, u32)]) -> bool {
    let nodes: usize = mix.iter().map(|(_, copies)| *copies as usize).sum();
    nodes.saturating_mul(problem.shapes.len()) <= MOST
}

/// The units of a problem on the nodes of a mix (bins and copies), of which a solution holds as many as it can; a node that
/// is overloaded in the end becomes one of the cheapest bin that holds its units. `None` where there is none, or a unit has
/// no place that the rules across nodes allow.
pub(super) fn squeeze(
    problem: &Problem,
    mix: &[(usize, u32)],
    partial: &Solution,
    seed: u64,
    control: &dyn Control,
) -> Option<Solution> {
    let index = Index::new(problem);
    let mut walk = Walk::new(&index, mix, partial)?;
    walk.run(&mut Rng::with_seed(seed), control);
    let mut nodes = walk.best();
    let mut packing = Packing::new(&index, &[], Vec::new());
    nodes.iter().for_each(|node| packing.charge(node.bin as usize, 1));
    for node in nodes.iter_mut().filter(|node| fits(problem, node).is_err()) {
        packing.refund(node.bin as usize, 1);
        let bin = packing.cheapest(&Held::of(&index, node), i64::MAX)?;
        node.bin = bin as u32;
        // Being moved breaks no rule, but an overloaded node may have broken one before.
        fits(problem, node).ok()?;
        packing.charge(bin, 1);
    }
    Some(normalised(problem, nodes.into_iter().map(|node| (node, 1))))
}

/// Moves between slots, from one to another.
type Moves = Vec<(usize, usize)>;

/// An exchange: a unit of one shape goes from a node to another one, and a unit of another shape may come back.
#[derive(Clone, Copy)]
struct Exchange {
    change: f64,
    from: usize,
    to: usize,
    goes: usize,
    comes: Option<usize>,
}

/// The walk from packing to packing.
struct Walk<'i, 'p> {
    floor: Floor<'i, 'p>,
    tally: Tally<'i, 'p>,
    /// Whether moves between slots keep to the rules across nodes; forgotten when one is made.
    known: HashMap<Moves, bool>,
    /// By node and shape: the step until which the shape does not come back.
    tabu: Vec<u32>,
    /// The counts of the best packing so far, by node.
    best: Vec<Vec<u32>>,
}

impl<'i, 'p> Walk<'i, 'p> {
    fn new(index: &'i Index<'p>, mix: &[(usize, u32)], partial: &Solution) -> Option<Self> {
        let bins: Vec<usize> =
            mix.iter().flat_map(|&(bin, copies)| std::iter::repeat_n(bin, copies as usize)).collect();
        let shapes = index.problem.shapes.len();
        let tabu = vec![0; bins.len() * shapes];
        let mut walk = Walk {
            floor: Floor::new(index, &bins),
            tally: Tally::new(index),
            known: HashMap::new(),
            tabu,
            best: Vec::new(),
        };
        let mut left: Vec<u32> = index.problem.shapes.iter().map(|shape| shape.count).collect();
        let mut empty = vec![true; bins.len()];
        for (pattern, copies) in &partial.nodes {
            for _ in 0..*copies {
                let mut places = (0..bins.len()).filter(|&place| empty[place] && bins[place] == pattern.bin as usize);
                let Some(place) = places.next() else { break };
                empty[place] = false;
                for &(shape, units) in &pattern.counts {
                    let units = units.min(left[shape as usize]);
                    left[shape as usize] -= units;
                    walk.put(place, shape as usize, units);
                }
            }
        }
        walk.place(&left)?;
        walk.keep();
        Some(walk)
    }

    /// Puts units, the big ones first, where they hurt least.
    fn place(&mut self, left: &[u32]) -> Option<()> {
        let index = self.floor.index;
        let mut order: Vec<(f64, usize)> =
            (0..left.len()).filter(|&shape| left[shape] > 0).map(|shape| (self.floor.size(shape), shape)).collect();
        order.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
        for (_, shape) in order {
            for _ in 0..left[shape] {
                let nodes = self.floor.nodes.iter().enumerate().filter(|(_, node)| {
                    index.problem.bins[node.bin].admits.contains(shape)
                        && self.tally.allows(index.slot(shape, node.bin))
                });
                let changes =
                    nodes.map(|(place, node)| (self.floor.with(place, Some(shape), None) - node.penalty(), place));
                let (_, place) = changes.min_by(|one, other| one.0.total_cmp(&other.0))?;
                self.put(place, shape, 1);
            }
        }
        Some(())
    }

    fn put(&mut self, place: usize, shape: usize, units: u32) {
        if units > 0 {
            self.tally.add(self.slot(shape, place), units);
            self.floor.put(place, shape, units);
        }
    }

    fn take(&mut self, place: usize, shape: usize) {
        self.tally.remove(self.slot(shape, place), 1);
        self.floor.take(place, shape);
    }

    fn slot(&self, shape: usize, place: usize) -> usize {
        self.floor.index.slot(shape, self.floor.nodes[place].bin)
    }

    fn keep(&mut self) {
        self.best = self.floor.nodes.iter().map(|node| node.counts.clone()).collect();
    }

    /// The nodes of the best packing that hold anything.
    fn best(&self) -> Vec<Pattern> {
        let patterns = self.floor.nodes.iter().zip(&self.best).map(|(node, counts)| node.pattern(counts));
        patterns.filter(|pattern| !pattern.counts.is_empty()).collect()
    }

    /// Exchange after exchange until nothing is too much, or nothing gets better for long.
    fn run(&mut self, random: &mut Rng, control: &dyn Control) {
        let mut best = self.floor.total();
        let (mut step, mut since) = (0, 0);
        while best > 0.0 && since < PATIENCE {
            if step % STEPS_A_LOOK == 0 && control.exhausted() {
                break;
            }
            (step, since) = (step + 1, since + 1);
            let nodes = self.floor.nodes.iter().enumerate();
            let over: Vec<usize> = nodes.filter(|(_, node)| node.penalty() > 0.0).map(|(place, _)| place).collect();
            let from = over[random.usize(0..over.len())];
            let Some(exchange) = self.best_exchange(from, step, best, random) else { continue };
            self.make(exchange, step, random);
            let total = self.floor.total();
            if total < best - 1e-12 || total == 0.0 {
                (best, since) = (total, 0);
                self.keep();
            }
        }
    }

    /// The best exchange of a node that keeps to the rules across nodes and takes nothing back that was done lately, unless
    /// it leads to the best packing so far.
    fn best_exchange(&mut self, from: usize, step: u32, best: f64, random: &mut Rng) -> Option<Exchange> {
        let total = self.floor.total();
        let all = self.floor.nodes.len();
        let first = if all > NEAR { random.usize(0..all) } else { 0 };
        let mut found: Option<Exchange> = None;
        for to in (0..all.min(NEAR)).map(|near| (first + near) % all).filter(|to| *to != from) {
            for (goes, comes) in self.pairs(from, to) {
                let least = found.map_or(f64::INFINITY, |found| found.change);
                let before = self.floor.nodes[from].penalty() + self.floor.nodes[to].penalty();
                let after = self.floor.with(from, comes, Some(goes));
                if after - before >= least {
                    continue;
                }
                let change = after + self.floor.with(to, Some(goes), comes) - before;
                let exchange = Exchange { change, from, to, goes, comes };
                let welcome = total + change < best - 1e-9 || !self.is_back(&exchange, step);
                if change < least && welcome && self.is_allowed(&exchange) {
                    found = Some(exchange);
                }
            }
        }
        found
    }

    /// What may go from one node to another one, and what may come back.
    fn pairs(&self, from: usize, to: usize) -> Vec<(usize, Option<usize>)> {
        let bins = &self.floor.index.problem.bins;
        let admitted = |on: &Node, by: &Node| -> Vec<usize> {
            on.held.iter().copied().filter(|shape| bins[by.bin].admits.contains(*shape)).collect()
        };
        let (one, other) = (&self.floor.nodes[from], &self.floor.nodes[to]);
        let (there, back) = (admitted(one, other), admitted(other, one));
        let of = |goes: usize| {
            let back = back.iter().filter(move |comes| **comes != goes).map(|comes| Some(*comes));
            std::iter::once(None).chain(back).map(move |comes| (goes, comes))
        };
        there.into_iter().flat_map(of).collect()
    }

    /// Whether an exchange brings a shape back to a node that it left lately.
    fn is_back(&self, exchange: &Exchange, step: u32) -> bool {
        let shapes = self.floor.index.problem.shapes.len();
        let left = |place: usize, shape: usize| self.tabu[place * shapes + shape] > step;
        left(exchange.to, exchange.goes) || exchange.comes.is_some_and(|comes| left(exchange.from, comes))
    }

    /// The slots between which an exchange moves units.
    fn moves(&self, exchange: &Exchange) -> Moves {
        let &Exchange { from, to, goes, comes, .. } = exchange;
        let there = (self.slot(goes, from), self.slot(goes, to));
        let back = comes.map(|comes| (self.slot(comes, to), self.slot(comes, from)));
        std::iter::once(there).chain(back).filter(|(from, to)| from != to).collect()
    }

    /// Whether the rules across nodes hold after an exchange.
    fn is_allowed(&mut self, exchange: &Exchange) -> bool {
        let tuple = |place: usize| self.floor.index.tuple_of[self.floor.nodes[place].bin];
        if tuple(exchange.from) == tuple(exchange.to) {
            return true;
        }
        let moves = self.moves(exchange);
        if moves.is_empty() {
            return true;
        }
        if let Some(known) = self.known.get(&moves) {
            return *known;
        }
        for &(from, to) in &moves {
            self.tally.remove(from, 1);
            self.tally.add(to, 1);
        }
        let holds = self.tally.broken().is_none();
        for &(from, to) in &moves {
            self.tally.remove(to, 1);
            self.tally.add(from, 1);
        }
        self.known.insert(moves, holds);
        holds
    }

    fn make(&mut self, exchange: Exchange, step: u32, random: &mut Rng) {
        let shapes = self.floor.index.problem.shapes.len();
        let Exchange { from, to, goes, comes, .. } = exchange;
        if !self.moves(&exchange).is_empty() {
            self.known.clear();
        }
        let until = step + TABU + random.u32(0..=TABU);
        self.take(from, goes);
        self.put(to, goes, 1);
        self.tabu[from * shapes + goes] = until;
        if let Some(comes) = comes {
            self.take(to, comes);
            self.put(from, comes, 1);
            self.tabu[to * shapes + comes] = until;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::solver::test_problems::{Patient, optimum, random};

    #[test]
    fn the_mix_of_an_optimum_is_packed_again_within_the_rules() {
        let (mut tried, mut packed) = (0, 0);
        for (seed, rules) in (0..120).zip([0, 1, 2, 4, 8, 16, 32, 3, 24, 63].into_iter().cycle()) {
            let problem = random(seed, rules);
            let best = optimum(&problem);
            if best.unplaced.iter().any(|units| *units > 0) {
                continue;
            }
            tried += 1;
            let mix: Vec<(usize, u32)> =
                best.nodes.iter().map(|(pattern, copies)| (pattern.bin as usize, *copies)).collect();
            let nothing = normalised(&problem, []);
            let Some(found) = squeeze(&problem, &mix, &nothing, seed, &Patient) else { continue };
            assert!(found.unplaced.iter().all(|units| *units == 0), "seed {seed}");
            // A unit whose place depends on one that came later may stand where it can't: that is for the caller to see.
            if problem.violations(&found).is_empty() {
                assert!(problem.cost(&found) >= problem.cost(&best), "seed {seed}");
                packed += usize::from(problem.cost(&found) == problem.cost(&best));
            }
        }
        assert!(tried > 60 && packed * 10 > tried * 7, "{packed} of {tried} are packed");
    }
}
