//! Mixes of whole nodes: how many nodes of each bin a solution buys, and what it costs at least.
//!
//! The relaxation of patterns buys a third of a big node and knows no better. Here the numbers of nodes are whole, and
//! what they hold is known by inequalities: under duals, no node of a bin is worth more than pricing says, and together
//! they must be worth what the units wanted are. A mix that obeys all of them is tried: first the units are poured onto
//! it, then they are packed in fractions of patterns; where either fails its duals are the next inequality (J. F.
//! Benders, "Partitioning procedures for solving mixed-variables programming problems", Numerische Mathematik 4, 1962).
//! Before that, a dive through the fluid relaxation proposes mixes that are packed at once.
//! The page `formulations/mix.md` has the mathematics.

mod alike;
mod assign;
mod classes;
mod cuts;
mod floor;
mod merged;
mod pack;
mod pour;
mod squeeze;

use self::classes::Classes;
use self::cuts::Mixes;
use self::merged::Merged;
use self::pack::{Packed, pack};
use self::pour::{Pour, Poured};
use super::blocks::{blocks, least};
use super::columns::master::Master;
use super::columns::{Columns, Pricing};
use super::highs::{HighsError, MipLimits};
use super::pipeline::State;
use super::slice::Slice;
use super::{Control, Settings, bound, integer};
#[cfg(test)]
use crate::problem::Problem;
use crate::problem::{Pattern, Solution};

#[cfg(test)]
pub(super) use self::cuts::model;

/// The share of the time in which small blocks are bounded one by one.
const LEAST: f64 = 0.1;

/// The most parts (bin and shape) that are worth pouring again and again.
const MOST: usize = 80_000;

/// The gap to which mixes are chosen while they still lack room, and the share of the open gap that is fine enough; the share
/// that is when they are to prove the bound.
const COARSE: f64 = 2e-3;
const SHARE: f64 = 0.15;
const FINE: f64 = 0.002;

/// The share of the middle mix that may be wanting where a mix is packed all the same: a few small nodes make up for it.
const NEARLY: f64 = 0.02;

/// The share of the open gap that such a mix must promise to close, and how often in a row that may turn out untrue.
const WORTHWHILE: f64 = 0.5;
const IN_VAIN: u32 = 3;

/// Shares of every node that are kept free, so that whole pods fit as well; none proves a bound.
const SLACKS: [f64; 5] = [0.0, 0.003, 0.006, 0.01, 0.02];

/// Betters the bound by mixes of whole nodes, and the incumbent by packing them. `prices` is what a unit of each resource
/// is worth, in billionths of a dollar an hour.
///
/// # Errors
/// Where HiGHS refuses; having been stopped is none.
pub(super) fn close(
    state: &State,
    columns: &Columns,
    pricing: &Pricing<'_>,
    prices: &[f64],
    gap: f64,
    settings: &Settings,
    control: &dyn Control,
) -> Result<(), HighsError> {
    let master = &columns.master;
    let alone = Settings { threads: 1, ..settings.clone() };
    let least = least(state, &alone, &Slice::of(control, LEAST))?;
    let uppers = pricing.uppers(master, &columns.duals, &[], control)?;
    let mixes = Mixes::new(master, &columns.duals, &uppers, columns.bound, state.cost(), &least);
    let patterns: Vec<Pattern> = columns.patterns.iter().cloned().collect();
    let merged = Merged::new(state, &mixes, &patterns, pricing, prices, settings, &Slice::of(control, 0.4))?;
    if let Some(merged) = merged {
        // What is packed unit by unit needs no mixes with room to spare.
        if !merged.fine() {
            merged.dive(gap, &Slice::of(control, 0.4))?;
        }
        merged.close(gap, &Slice::of(control, if merged.fine() { 0.9 } else { 0.7 }))?;
    }
    // A better incumbent has use for fewer bins.
    let mixes = Mixes::new(master, &columns.duals, &uppers, columns.bound, state.cost(), &least);
    let parts: usize = mixes.bins.iter().map(|&bin| pricing.most_units(bin).len()).sum();
    if parts > MOST {
        return Ok(());
    }
    let classes = Classes::new(master.problem, &mixes.bins).members;
    let pour = Pour::new(master, pricing, &middle(&nodes_of(columns), &classes))?;
    let pack =
        |mix: &[u32], _: &Poured| pack(state, master, &patterns, mix, prices, settings, &Slice::of(control, 0.25));
    let known = || bought(&state.solution());
    let blocks = blocks_of(master);
    let packer = Packer { whole: &pack, nearly: None, fine: false };
    Search { state, master, pricing, settings, control, mixes, blocks, pour, packer, known: &known }.close(gap)
}

/// The rows of each block; none where all is one.
fn blocks_of(master: &Master) -> Vec<Vec<bool>> {
    let blocks = blocks(master.problem);
    if blocks.len() < 2 { Vec::new() } else { blocks.iter().map(|block| master.rows_of(block)).collect() }
}

/// The nodes of each bin in the relaxation of patterns.
fn nodes_of(columns: &Columns) -> Vec<f64> {
    let first = columns.first_pattern();
    let mut nodes = vec![0.0; columns.master.problem.bins.len()];
    for (pattern, bought) in columns.patterns.iter().zip(columns.solution.columns.iter().skip(first)) {
        nodes[pattern.bin as usize] += bought;
    }
    nodes
}

/// The mix of a relaxation, and a little of every bin that is in one class with one of its.
fn middle(nodes: &[f64], classes: &[Vec<usize>]) -> Vec<f64> {
    let used = |class: &&Vec<usize>| class.iter().any(|&bin| nodes[bin] > 1e-6);
    let bins: Vec<usize> = classes.iter().filter(used).flatten().copied().collect();
    let share = 0.1 * nodes.iter().sum::<f64>() / bins.len().max(1) as f64;
    let mut middle = vec![0.0; nodes.len()];
    bins.iter().for_each(|&bin| middle[bin] = 0.9 * nodes[bin] + share);
    middle
}

/// What is done with a mix (nodes by bin) that holds everything when it is poured.
type Pack<'s> = dyn Fn(&[u32], &Poured) -> Result<Packed, HighsError> + 's;

/// Packs a mix that holds nearly everything at once, with what little is missing on more nodes.
type Nearly<'s> = dyn Fn(&[u32], &Poured) + 's;

/// How mixes are packed.
struct Packer<'s> {
    whole: &'s Pack<'s>,
    /// The better the incumbent the fewer bins there are; `None` where it is good already.
    nearly: Option<&'s Nearly<'s>>,
    /// Whether mixes are packed unit by unit.
    fine: bool,
}

struct Search<'s, 'a> {
    state: &'s State<'a>,
    /// The rows of the problem whose bins are mixed: the state's, or one of which every solution of that is one.
    master: &'s Master<'s>,
    pricing: &'s Pricing<'s>,
    settings: &'s Settings,
    control: &'s dyn Control,
    mixes: Mixes<'s>,
    /// By block, where there are several: its own rows. What duals say of them alone is a cut as well.
    blocks: Vec<Vec<bool>>,
    pour: Pour<'s>,
    packer: Packer<'s>,
    /// The nodes of the incumbent by bin.
    known: &'s dyn Fn() -> Vec<u32>,
}

impl Search<'_, '_> {
    /// Mixes with more and more room kept free, until one is packed whole; then those that prove the bound.
    fn close(&mut self, gap: f64) -> Result<(), HighsError> {
        for slack in SLACKS {
            if self.state.done(gap) || self.control.exhausted() {
                return Ok(());
            }
            if self.run(slack, true, gap)? {
                // More room on every node only costs more.
                break;
            }
            if slack == 0.0 {
                // Room is of little use to those who pack unit by unit; the cheapest mix is nearer then. To all others the
                // better incumbent that there may be by now is worth a closer look.
                self.run(0.0, !self.packer.fine, gap)?;
            }
        }
        self.run(0.0, false, gap)?;
        Ok(())
    }

    /// Mix after mix until one holds everything at least in fractions of patterns. Tells whether a mix was packed whole.
    fn run(&mut self, slack: f64, rough: bool, gap: f64) -> Result<bool, HighsError> {
        let (state, control) = (self.state, self.control);
        let master = self.master;
        let problem = master.problem;
        let step = bound::price_step(problem) as f64 * 0.99e-9;
        let rounds = self.settings.iterations.unwrap_or(u64::MAX);
        let mut in_vain = 0;
        for _ in 0..rounds {
            if control.exhausted() {
                break;
            }
            let relative_gap =
                if rough { (SHARE * state.gap()).max(COARSE) } else { (FINE * state.gap()).max(gap.max(1e-7) / 4.0) };
            let limits = MipLimits { relative_gap, absolute_gap: step, nodes: self.settings.iterations };
            let known = state.best(|best| best.bound).unwrap_or(0) as f64 * 1e-9;
            let model = self.mixes.model(slack, known * (1.0 - 1e-9));
            let start = if slack > 0.0 { None } else { self.mixes.values(&(self.known)()) };
            let outcome = match integer::run(&model, start.as_deref(), &limits, &Slice::of(control, 0.5)) {
                Ok(outcome) => outcome,
                Err(HighsError::Stopped) => break,
                Err(error) => return Err(error),
            };
            if outcome.infeasible {
                break;
            }
            if slack == 0.0 && outcome.dual_bound.is_finite() {
                state.offer_bound(bound::rounded(problem, outcome.dual_bound * (1.0 - 1e-7)));
                if state.done(gap) {
                    break;
                }
            }
            let Some(values) = outcome.values else { break };
            let mix = self.mixes.mix(&values);
            let cost: i64 = mix.iter().zip(&problem.bins).map(|(&nodes, bin)| i64::from(nodes) * bin.price).sum();
            if cost >= state.cost() {
                break;
            }
            let nodes = self.mixes.nodes(&mix);
            let poured = match self.pour.onto(&mix, slack, control) {
                Ok(poured) => poured,
                // Rules that no number of nodes obeys in fractions: nothing is learnt here.
                Err(HighsError::Stopped | HighsError::Status(_)) => break,
                Err(error) => return Err(error),
            };
            if let Some(nearly) = self.packer.nearly
                && in_vain < IN_VAIN
                && poured.missing < NEARLY
                && self.worthwhile(cost as f64 * (1.0 + poured.missing))
            {
                let before = state.cost();
                nearly(&mix, &poured);
                in_vain = if state.cost() < before { 0 } else { in_vain + 1 };
            }
            let duals = if poured.missing > 1e-7 {
                poured.duals
            } else {
                match (self.packer.whole)(&mix, &poured)? {
                    Packed::Lacking(duals) => duals,
                    Packed::Stopped => break,
                    Packed::Offered => {
                        return Ok(state.cost() <= cost);
                    }
                }
            };
            let uppers = self.pricing.uppers(master, &duals, &[], control)?;
            let mut forbids = self.mixes.cut(&duals, &uppers, &nodes, slack);
            for rows in &self.blocks {
                let own: Vec<f64> = duals.iter().zip(rows).map(|(&dual, &own)| if own { dual } else { 0.0 }).collect();
                if own.iter().any(|dual| *dual != 0.0) {
                    let uppers = self.pricing.uppers(master, &own, &[], control)?;
                    forbids |= self.mixes.cut(&own, &uppers, &nodes, slack);
                }
            }
            if forbids {
                continue;
            }
            let closely: Vec<usize> = (0..mix.len()).filter(|&bin| mix[bin] > 0).collect();
            let uppers = self.pricing.uppers(master, &duals, &closely, control)?;
            if !self.mixes.cut(&duals, &uppers, &nodes, slack) {
                // Pricing can't confirm what the relaxation says of this mix.
                break;
            }
        }
        Ok(false)
    }

    /// Whether a solution of this cost, in billionths of a dollar an hour, would close much of the open gap.
    fn worthwhile(&self, cost: f64) -> bool {
        let incumbent = self.state.cost() as f64;
        cost < incumbent * (1.0 - WORTHWHILE * self.state.gap())
    }
}

/// The nodes of a solution by bin.
fn bought(solution: &Solution) -> Vec<u32> {
    let mut mix = Vec::new();
    for (pattern, copies) in &solution.nodes {
        let bin = pattern.bin as usize;
        if mix.len() <= bin {
            mix.resize(bin + 1, 0);
        }
        mix[bin] += copies;
    }
    mix
}

/// What mixes prove of a problem whose first solution places every unit, in billionths of a dollar an hour.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) fn proven(problem: &Problem, first: Solution) -> i64 {
    use super::columns::ColumnLimits;
    use super::test_problems::Patient;
    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let mut columns = Columns::new(problem, &demand, &first).unwrap();
    let mut pricing = Pricing::new(&columns.master, &demand, &vec![true; problem.bins.len()]);
    columns.generate(&mut pricing, &ColumnLimits { rounds: 40, ..ColumnLimits::default() }, &Patient).unwrap();
    let settings = Settings { iterations: Some(40), threads: 1, ..Settings::default() };
    let state = State::new(problem, first, &Patient);
    close(&state, &columns, &pricing, &vec![0.0; problem.resources.len()], 0.0, &settings, &Patient).unwrap();
    state.best(|best| best.bound).unwrap_or(0)
}
