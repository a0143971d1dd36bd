//! Mixes of classes of bins: bins that differ in nothing but domains that cost nothing are taken as one.
//!
//! In zones of equal prices the relaxation of patterns buys the same node many times over, and column generation spends
//! its time on telling zones apart. Merged, the fluid relaxation is a few times smaller. A dive through it settles how
//! many nodes of each size to buy in the time of one round of pricing; after that the inequalities that pouring gives
//! raise the bound. Rules about the domains that the bins of a class differ in are left out, so it is one of the whole
//! problem. The mixes are shared out over the bins of their classes, packed evenly and bettered.

use std::cell::Cell;

use super::assign::{self, share_out};
use super::classes::Classes;
use super::cuts::Mixes;
use super::pack::{Fitted, Packed, fitted, held, unit_by_unit};
use super::pour::{Pour, Poured};
use super::{MOST, Nearly, Packer, Search, blocks_of, bought, middle};
use crate::problem::{Pattern, Problem};
use crate::solver::blocks::{Least, blocks};
use crate::solver::columns::Pricing;
use crate::solver::columns::master::{Master, dollars};
use crate::solver::fluid::dive::{Dived, Worth, dive};
use crate::solver::fluid::whole::Whole;
use crate::solver::fluid::{Fluid, packed, relax};
use crate::solver::highs::HighsError;
use crate::solver::improve::improve;
use crate::solver::pipeline::State;
use crate::solver::slice::{Silent, Slice};
use crate::solver::{Control, Settings, bound, complete};

/// Nodes that cost less than the incumbent by this factor are left to the packing.
const SMALL: i64 = 100;

/// To how many shapes a dive merges them: a mix of much merged ones is soon there, one of few merged ones is cheaper.
const FINER: [usize; 3] = [40, 120, 400];

/// Shares of every node that are kept free by the dives, so that whole pods fit as well.
const SLACKS: [f64; 4] = [0.0, 0.003, 0.01, 0.02];

/// The problem with its bins merged, and what is known of it.
pub(super) struct Merged<'s, 'a> {
    state: &'s State<'a>,
    classes: Classes<'a>,
    demand: Vec<u32>,
    fluid: Fluid,
    /// What is known of mixes of bins, said of classes.
    worths: Vec<Worth>,
    /// What blocks cost at the least.
    least: Vec<Least>,
    pricing: &'s Pricing<'a>,
    /// Whether all is one block; several are packed one by one, not here.
    alone: bool,
    /// The patterns that are known, on the bins of classes.
    patterns: Vec<Pattern>,
    /// What a unit of each resource is worth, in billionths of a dollar an hour.
    prices: &'s [f64],
    settings: &'s Settings,
}

impl<'s, 'a> Merged<'s, 'a> {
    /// Merges the bins of mixes and offers the bound of their fluid relaxation; `None` where there is no telling in time.
    ///
    /// # Errors
    /// Where HiGHS refuses; having been stopped is none.
    pub fn new(
        state: &'s State<'a>,
        mixes: &Mixes,
        patterns: &[Pattern],
        pricing: &'s Pricing<'a>,
        prices: &'s [f64],
        settings: &'s Settings,
        control: &dyn Control,
    ) -> Result<Option<Self>, HighsError> {
        let problem = state.problem;
        let classes = Classes::new(problem, &mixes.bins);
        let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
        let fluid = match relax(&classes.problem, &demand, &vec![true; classes.problem.bins.len()], true, control) {
            Ok(fluid) => fluid,
            // Nothing is learnt where not even fractions of nodes obey every rule.
            Err(HighsError::Stopped | HighsError::Status(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        state.offer_bound(bound::rounded(problem, fluid.bound));
        let worths = mixes.worths(&classes.members);
        let least = mixes.least.clone();
        let alone = blocks(problem).len() < 2;
        let patterns = patterns.iter().filter_map(|pattern| classes.pattern(pattern)).collect();
        Ok(Some(Merged { state, classes, demand, fluid, worths, least, pricing, alone, patterns, prices, settings }))
    }

    /// Whether mixes are so small that they can be packed unit by unit.
    pub fn fine(&self) -> bool {
        let held = |class: usize| {
            self.fluid.nodes[class].ceil() * self.classes.problem.bins[class].admits.count_ones(..) as f64
        };
        (0..self.fluid.nodes.len()).map(held).sum::<f64>() <= assign::MOST as f64
    }

    /// Betters the incumbent by mixes that a dive through the relaxation makes whole.
    ///
    /// # Errors
    /// Where HiGHS refuses; having been stopped is none.
    pub fn dive(&self, gap: f64, control: &dyn Control) -> Result<(), HighsError> {
        let lean = self.fluid.without_needless_caps(&self.classes.problem);
        let small = self.state.cost() / SMALL;
        let mut finer = FINER.to_vec();
        for slack in SLACKS {
            if self.state.done(gap) || control.exhausted() {
                break;
            }
            let mut best: Option<Dived> = None;
            for merged in std::mem::take(&mut finer) {
                match dive(&lean, &self.fluid, small, slack, merged, &self.worths, &Slice::of(control, 0.5)) {
                    Ok(Some(mix)) => best = Some(mix),
                    Ok(None) | Err(HighsError::Stopped | HighsError::Status(_)) => break,
                    Err(error) => return Err(error),
                }
                // The next mixes are looked for as finely as time allows.
                finer = vec![merged];
                if best.as_ref().is_some_and(|mix| mix.finest) {
                    break;
                }
            }
            let Some(mix) = best else { break };
            // More room on every node only costs more.
            if mix.cost >= dollars(self.state.cost()) || !self.offer(&mix.whole, control) {
                break;
            }
        }
        Ok(())
    }

    /// Betters the bound by inequalities on the mixes of classes, and the incumbent by packing those that obey all.
    ///
    /// # Errors
    /// Where HiGHS refuses; having been stopped is none.
    pub fn close(&self, gap: f64, control: &dyn Control) -> Result<(), HighsError> {
        let Merged { state, classes, fluid, settings, .. } = self;
        if classes.members.iter().all(|members| members.len() == 1) {
            return Ok(());
        }
        let master = Master::whole(&classes.problem, &self.demand);
        let pricing = Pricing::new(&master, &self.demand, &vec![true; classes.problem.bins.len()]);
        let mut mixes = Mixes::new(&master, &fluid.duals, fluid.worth(), fluid.bound, state.cost(), &self.least);
        self.worths.iter().for_each(|worth| mixes.demand(worth));
        let parts: usize = mixes.bins.iter().map(|&class| pricing.most_units(class).len()).sum();
        if parts > MOST {
            return Ok(());
        }
        let own: Vec<Vec<usize>> = mixes.bins.iter().map(|&bin| vec![bin]).collect();
        let pour = Pour::new(&master, &pricing, &middle(&fluid.nodes, &own))?;
        let (slow, tried) = (Cell::new(false), Cell::new(false));
        let nearly = |mix: &[u32], poured: &Poured| {
            self.offer(&whole_of(mix, poured), &Slice::of(control, 0.2));
        };
        let pack = |mix: &[u32], poured: &Poured| {
            let whole = whole_of(mix, poured);
            // Fractions of patterns say more than what is poured, as long as they are found soon.
            if self.fine() && !slow.get() {
                let problem = held(&classes.problem, mix);
                match fitted(&problem, &master, &self.patterns, settings, &Slice::of(control, 0.15))? {
                    Fitted::Lacking(duals) => {
                        // What is left over of such a mix is mostly little.
                        if self.alone && !tried.replace(true) {
                            self.assign(&whole, &Slice::of(control, 0.5))?;
                        }
                        return Ok(Packed::Lacking(duals));
                    }
                    Fitted::Stopped => slow.set(true),
                    Fitted::Fits(_) => {}
                }
            }
            if self.fine() && (!self.alone || self.assign(&whole, control)?) {
                return Ok(Packed::Offered);
            }
            Ok(if self.offer(&whole, control) { Packed::Offered } else { Packed::Stopped })
        };
        let known = || classes.counts(&bought(&state.solution()));
        let (master, pricing) = (&master, &pricing);
        let blocks = blocks_of(master);
        let fine = self.fine();
        let nearly: Option<&Nearly> = if fine && self.alone { Some(&nearly) } else { None };
        let packer = Packer { whole: &pack, nearly, fine };
        let mut search =
            Search { state, master, pricing, settings, control, mixes, blocks, pour, packer, known: &known };
        if fine && !self.alone {
            search.run(0.0, true, gap)?;
            return search.run(0.0, false, gap).map(drop);
        }
        search.close(gap)
    }

    /// Packs a mix of classes unit by unit and offers what comes of it; whether it holds everything.
    fn assign(&self, mix: &Whole, control: &dyn Control) -> Result<bool, HighsError> {
        let Merged { state, prices, settings, .. } = self;
        let slice = Slice::of(control, 0.5);
        let members = &self.classes.members;
        let classes: Vec<(&[usize], u32)> =
            mix.nodes.iter().map(|&(class, copies)| (members[class].as_slice(), copies)).collect();
        let shared = share_out(state.problem, self.pricing, &classes, settings, &Slice::of(&slice, 0.3))?;
        let nodes = shared.unwrap_or_else(|| self.classes.evenly(mix).nodes);
        unit_by_unit(state, &nodes, prices, settings, &slice)
    }

    /// Packs a mix of classes, betters it while its nodes are held and then without, and offers what comes of it; false
    /// where it can't be packed.
    fn offer(&self, mix: &Whole, control: &dyn Control) -> bool {
        let Merged { state, prices, settings, .. } = self;
        let problem = state.problem;
        let whole = self.classes.evenly(mix);
        let held = paid_for(problem, &whole.nodes, state.cost() / SMALL);
        let Some(solution) = packed(&held, &self.demand, &whole, prices, control) else { return false };
        let slice = Slice::of(control, 0.2);
        let solution = improve(&held, solution, None, settings, &Silent { inner: &Slice::of(&slice, 0.6) });
        let solution = complete::complete(problem, &solution, Some(prices), control);
        state.offer(solution.clone(), "mix");
        state.offer(improve(problem, solution, None, settings, &slice), "mix");
        true
    }
}

/// A mix (nodes by bin) and what was poured onto it.
fn whole_of(mix: &[u32], poured: &Poured) -> Whole {
    let nodes = mix.iter().copied().enumerate().filter(|(_, nodes)| *nodes > 0).collect();
    Whole { nodes, poured: poured.units.clone() }
}

/// The problem once these nodes are paid for: of the others only those cheaper than `small` can be bought.
fn paid_for(problem: &Problem, nodes: &[(usize, u32)], small: i64) -> Problem {
    let mut held = problem.clone();
    for bin in held.bins.iter_mut().filter(|bin| bin.price >= small.max(1)) {
        bin.price = 0;
        bin.max_count = Some(0);
    }
    for &(bin, copies) in nodes.iter().filter(|(bin, _)| problem.bins[*bin].price >= small.max(1)) {
        held.bins[bin].max_count = Some(copies);
    }
    held
}
