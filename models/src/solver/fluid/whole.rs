//! Whole nodes: the fluid relaxation as an integer program over a few bins.

use std::collections::BTreeMap;

use super::Fluid;
use super::coarse::Coarse;
use super::program::Program;
use crate::problem::Problem;
use crate::solver::Control;
use crate::solver::columns::master::{Master, dollars};
use crate::solver::highs::{HighsError, MipLimits};
use crate::solver::integer;

/// Merged shapes beside those under rules.
const MOST_MERGED: usize = 40;
/// Bins beside those that the relaxation uses.
const MOST_SPARE: usize = 24;

/// Whole nodes and what is poured onto them.
#[derive(Debug)]
pub(in crate::solver) struct Whole {
    /// Bins with their number of nodes.
    pub nodes: Vec<(usize, u32)>,
    /// By shape of the problem: bins, each with the units poured there.
    pub poured: Vec<Vec<(usize, f64)>>,
}

/// How many nodes of which bin to open where every node offers a share `slack` less than it does.
///
/// # Errors
/// What HiGHS says.
pub(super) fn nodes(
    problem: &Problem,
    fluid: &Fluid,
    slack: f64,
    limits: &MipLimits,
    control: &dyn Control,
) -> Result<Option<Whole>, HighsError> {
    let bins = chosen(problem, fluid);
    let mut usable = vec![false; problem.bins.len()];
    bins.iter().for_each(|&bin| usable[bin] = true);
    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let coarse = Coarse::new(problem, &demand, &usable, MOST_MERGED);
    let units = coarse.demand();
    let master = Master::new(&coarse.problem, &units);
    let mut program = Program::new(&master);
    bins.into_iter().for_each(|bin| program.add(bin));
    let outcome = integer::run(&program.model(slack), None, limits, control)?;
    let Some(values) = outcome.values else { return Ok(None) };
    let mut whole = Whole { nodes: Vec::new(), poured: vec![Vec::new(); problem.shapes.len()] };
    for part in &program.parts {
        let nodes = values[part.nodes].round();
        if nodes < 1.0 {
            continue;
        }
        whole.nodes.push((part.bin, nodes as u32));
        coarse.pour(part, &values, &demand, &mut whole.poured);
    }
    Ok(Some(whole))
}

/// A power of two of the price, and the domains.
type Kind<'a> = (u32, &'a [Option<u16>]);

/// The bins of the relaxation, and of each domain and size those that lose the least of their price.
pub(super) fn chosen(problem: &Problem, fluid: &Fluid) -> Vec<usize> {
    let mut chosen: Vec<usize> = (0..problem.bins.len()).filter(|&bin| fluid.nodes[bin] > 1e-6).collect();
    let mut spare: BTreeMap<Kind, (f64, usize)> = BTreeMap::new();
    for (bin, data) in problem.bins.iter().enumerate() {
        let Some(worth) = fluid.worth[bin] else { continue };
        if fluid.nodes[bin] > 1e-6 || worth <= 0.0 {
            continue;
        }
        let size = (dollars(data.price).max(1e-6) * 1e6).log2() as u32;
        let ratio = dollars(data.price) / worth;
        let best = spare.entry((size, data.domains.as_slice())).or_insert((ratio, bin));
        if ratio < best.0 {
            *best = (ratio, bin);
        }
    }
    let mut spare: Vec<(f64, usize)> = spare.into_values().collect();
    spare.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    chosen.extend(spare.into_iter().take(MOST_SPARE).map(|(_, bin)| bin));
    chosen.sort_unstable();
    chosen
}
