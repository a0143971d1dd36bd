//! The greedy: a full answer within milliseconds, by several measures, the best of which stands.
//!
//! A pass decides the domains first ([`super::quota`]), then fills what is open, then opens the node whose pattern is
//! worth most for its price, again and again ([`super::fill`]), and at last moves every node to the cheapest bin that
//! holds it. Passes differ in what a unit is worth and in which order a node is filled. After each, the worth of shapes
//! that stood on badly used nodes rises and the next pass deals with them sooner (sequential value correction:
//! Mukhacheva, Belov, Kartak, Mukhacheva, "Linear one-dimensional cutting-packing problems", 2000).

use fastrand::Rng;

use super::Control;
use super::fill::{Recipe, fill_open, open_free, open_new};
use super::packing::{Index, Packing, rank};
use super::quiet::wakes;
use super::quota::{self, Wish};
use super::{prices, repair};
use crate::problem::{Bin, Pattern, Problem, Solution};

/// Shape-times-bin looks that the greedy may spend: the same on every machine, some tens of milliseconds.
const EFFORT: u64 = 30_000_000;

/// A solution that obeys every rule and places what it can; the rest is unplaced, lower priority first. `prices` is
/// what one unit of each resource is worth, in billionths of a dollar an hour.
///
/// Where `control` is exhausted from the start the first pass alone answers.
pub fn greedy(problem: &Problem, prices: Option<&[f64]>, seed: u64, control: &dyn Control) -> Solution {
    let index = Index::new(problem);
    let found = Passes::new(&index, prices, seed).best(&[], control);
    let valid = |solution: &Solution| problem.violations(solution).is_empty();
    let fine = valid(&found);
    if fine && found.unplaced.iter().all(|units| *units == 0) {
        return found;
    }
    // Units wait or a rule is broken, perhaps because domains were thought of as awake that can be left asleep.
    let Some(quiet) = without_dormant(problem) else { return found };
    let index = Index::new(&quiet);
    let other = Passes::new(&index, prices, seed).best(&[], control);
    if valid(&other) && (!fine || rank(problem, &other) < rank(problem, &found)) { other } else { found }
}

/// The problem without nodes in the domains that wake up only by being used; `None` where there are none.
fn without_dormant(problem: &Problem) -> Option<Problem> {
    let wakes_some = |bin: &Bin| problem.rules.spreads.iter().any(|spread| wakes(spread, bin));
    let asleep: Vec<usize> = (0..problem.bins.len()).filter(|&bin| wakes_some(&problem.bins[bin])).collect();
    if asleep.is_empty() {
        return None;
    }
    let mut quiet = problem.clone();
    asleep.into_iter().for_each(|bin| quiet.bins[bin].admits.clear());
    quiet.rules.spreads.iter_mut().for_each(|spread| spread.dormant.clear());
    Some(quiet)
}

/// The passes over one problem.
pub(crate) struct Passes<'i, 'p> {
    index: &'i Index<'p>,
    prices: Vec<f64>,
    random: Rng,
}

impl<'i, 'p> Passes<'i, 'p> {
    pub fn new(index: &'i Index<'p>, prices: Option<&[f64]>, seed: u64) -> Self {
        let prices = match prices {
            Some(prices) if prices.len() == index.resources => prices.to_vec(),
            _ => prices::derive(index),
        };
        Passes { index, prices, random: Rng::with_seed(seed) }
    }

    /// The best completion of `start` (nodes that stay what they hold, though perhaps on a cheaper bin) that the
    /// passes find.
    pub fn best(&mut self, start: &[(Pattern, u32)], control: &dyn Control) -> Solution {
        let index = self.index;
        let by_resources = prices::by_resources(index, &self.prices);
        let alone = prices::alone(index);
        let mixed: Vec<f64> = by_resources.iter().zip(&alone).map(|(one, other)| (one * other).sqrt()).collect();
        let wish = Wish::by_price(index, &self.prices);
        let mut wishes = vec![wish.clone()];
        if index.ruled.contains(&true) {
            let mut together = wish.clone();
            together.concentrate(index);
            wishes.push(together);
        }
        let starts = [&by_resources, &alone, &mixed];
        let mut best: Option<((Vec<u64>, i64), Solution)> = None;
        let work = (index.problem.shapes.len() * index.problem.bins.len()) as u64 + 1;
        let passes = (EFFORT / (work * 20)).clamp(4, 60);
        let mut chains: Vec<Vec<f64>> = starts.iter().map(|values| (*values).clone()).collect();
        for pass in 0..passes {
            let chain = pass as usize % chains.len();
            let weights = if (pass as usize / chains.len()).is_multiple_of(2) { &by_resources } else { &chains[chain] };
            let recipe = Recipe::new(index, chains[chain].clone(), &|shape| weights[shape]);
            let wish = &wishes[(pass as usize / chains.len()) % wishes.len()];
            let packing = self.attempt(start, &recipe, wish);
            correct(&packing, &mut chains[chain]);
            let solution = packing.solution();
            let rank = rank(index.problem, &solution);
            if best.as_ref().is_none_or(|(other, _)| rank < *other) {
                best = Some((rank, solution));
            }
            if control.exhausted() {
                break;
            }
        }
        let (_, solution) = best.unwrap_or_default();
        repair::place_rest(self, start, solution, &wishes, control)
    }

    /// One pass. Where units of a domain find no room, the domains are split again with what was learnt.
    pub fn attempt(&self, start: &[(Pattern, u32)], recipe: &Recipe, wish: &Wish) -> Packing<'i, 'p> {
        let everyone: Vec<bool> = vec![true; self.index.problem.shapes.len()];
        self.attempt_for(start, recipe, wish, &everyone)
    }

    /// One pass for some of the shapes; the others stay unplaced.
    pub fn attempt_for(
        &self,
        start: &[(Pattern, u32)],
        recipe: &Recipe,
        wish: &Wish,
        wanted: &[bool],
    ) -> Packing<'i, 'p> {
        let index = self.index;
        let mut room = quota::room_by_slot(index);
        let mut missing: Vec<u32> = index.problem.shapes.iter().map(|shape| shape.count).collect();
        for (pattern, copies) in start {
            for &(shape, units) in &pattern.counts {
                missing[shape as usize] = missing[shape as usize].saturating_sub(units * copies);
            }
        }
        for (missing, _) in missing.iter_mut().zip(wanted).filter(|(_, wanted)| !**wanted) {
            *missing = 0;
        }
        for _ in 0..4 {
            let mut packing = Packing::new(index, start, vec![0; index.slots.len()]);
            let mut tally = packing.tally();
            let quotas = quota::split(index, &mut tally, &missing, wish, &room);
            packing.left.clone_from(&quotas);
            fill_open(&mut packing, recipe);
            open_free(&mut packing, recipe);
            open_new(&mut packing, recipe);
            let mut learnt = false;
            for (slot, &left) in packing.left.iter().enumerate().filter(|(_, left)| **left > 0) {
                if index.ruled[index.slots[slot].shape] {
                    room[slot] = quotas[slot] - left;
                    learnt = true;
                }
            }
            if !learnt {
                packing.trim();
                if wanted.iter().all(|wanted| *wanted) {
                    packing.right_size();
                }
                return packing;
            }
        }
        let mut packing = Packing::new(index, start, vec![0; index.slots.len()]);
        let mut tally = packing.tally();
        packing.left = quota::split(index, &mut tally, &missing, wish, &room);
        fill_open(&mut packing, recipe);
        open_free(&mut packing, recipe);
        open_new(&mut packing, recipe);
        packing.trim();
        if wanted.iter().all(|wanted| *wanted) {
            packing.right_size();
        }
        packing
    }

    pub fn index(&self) -> &'i Index<'p> {
        self.index
    }

    pub fn prices(&self) -> &[f64] {
        &self.prices
    }

    pub fn random(&mut self) -> &mut Rng {
        &mut self.random
    }
}

/// Moves the worth of each shape half way towards its share of the price of the nodes it stood on.
fn correct(packing: &Packing, values: &mut [f64]) {
    let mut paid = vec![(0.0_f64, 0.0_f64); values.len()];
    for group in &packing.groups {
        let price = packing.index.problem.bins[group.node.bin].price as f64;
        let worth: f64 =
            group.node.counts.iter().map(|&(shape, units)| values[shape as usize] * f64::from(units)).sum();
        if price <= 0.0 || worth <= 0.0 {
            continue;
        }
        for &(shape, units) in &group.node.counts {
            let units = f64::from(units) * f64::from(group.copies);
            paid[shape as usize].0 += units * values[shape as usize] * price / worth;
            paid[shape as usize].1 += units;
        }
    }
    for (value, (sum, units)) in values.iter_mut().zip(paid).filter(|(_, (_, units))| *units > 0.0) {
        *value = (0.5 * (*value + sum / units)).max(1.0);
    }
}
