//! Mixes from the fluid relaxation of the problem with its bins merged to classes, packed evenly and bettered.
//!
//! In zones of equal prices the relaxation of patterns buys the same node many times over, and column generation spends
//! its time on telling zones apart. Merged, the relaxation is a few times smaller, and a dive through it settles how many
//! nodes of each size to buy in the time of one round of pricing.

use super::classes::Classes;
use super::cuts::Mixes;
use crate::problem::Problem;
use crate::solver::columns::master::dollars;
use crate::solver::fluid::dive::dive;
use crate::solver::fluid::{packed, relax};
use crate::solver::highs::HighsError;
use crate::solver::improve::improve;
use crate::solver::pipeline::State;
use crate::solver::slice::Slice;
use crate::solver::{Control, Settings, bound, complete};

/// Nodes that cost less than the incumbent by this factor are left to the packing.
const SMALL: i64 = 100;

/// Shares of every node that are kept free, so that whole pods fit as well.
const SLACKS: [f64; 4] = [0.0, 0.003, 0.01, 0.02];

/// Betters the bound by the relaxation over classes of bins and the incumbent by packing mixes that hold everything when
/// it is poured. `prices` is what a unit of each resource is worth, in billionths of a dollar an hour.
///
/// # Errors
/// Where HiGHS refuses; having been stopped is none.
pub(super) fn close(
    state: &State,
    mixes: &Mixes,
    prices: &[f64],
    gap: f64,
    settings: &Settings,
    control: &dyn Control,
) -> Result<(), HighsError> {
    let problem = state.problem;
    let classes = Classes::new(problem, &mixes.bins);
    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let fluid = match relax(&classes.problem, &demand, &vec![true; classes.problem.bins.len()], control) {
        Ok(fluid) => fluid,
        // Nothing is learnt where not even fractions of nodes obey every rule.
        Err(HighsError::Stopped | HighsError::Status(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    state.offer_bound(bound::rounded(problem, fluid.bound));
    let lean = fluid.without_needless_caps(&classes.problem);
    let worths = mixes.worths(&classes.members);
    let small = state.cost() / SMALL;
    for slack in SLACKS {
        if state.done(gap) || control.exhausted() {
            break;
        }
        let mix = match dive(&lean, &fluid, small, slack, &worths, control) {
            Ok(Some(mix)) => mix,
            Ok(None) | Err(HighsError::Stopped | HighsError::Status(_)) => break,
            Err(error) => return Err(error),
        };
        if mix.cost >= dollars(state.cost()) {
            // More room on every node only costs more.
            break;
        }
        let whole = classes.evenly(&mix.whole);
        let held = bought(problem, &whole.nodes, small);
        let Some(solution) = packed(&held, &demand, &whole, prices, control) else { break };
        let slice = Slice::of(control, 0.2);
        let solution = improve(&held, solution, None, settings, &Slice::of(&slice, 0.6));
        let solution = complete::complete(problem, &solution, Some(prices), control);
        state.offer(solution.clone(), "mix");
        state.offer(improve(problem, solution, None, settings, &slice), "mix");
    }
    Ok(())
}

/// The problem once these nodes are paid for: of the others only those cheaper than `small` can be bought.
fn bought(problem: &Problem, nodes: &[(usize, u32)], small: i64) -> Problem {
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
