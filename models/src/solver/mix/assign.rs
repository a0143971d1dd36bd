//! Packing a mix unit by unit: which unit stands on which of its nodes, as one integer program.
//!
//! Patterns for every node of a mix at once are hard to come by where each node holds many units of many shapes; with the
//! nodes given HiGHS finds the units of each in a second, down to the last one where the mix is nearly full.

use crate::problem::{Pattern, Problem, Solution, fits};
use crate::solver::columns::Pricing;
use crate::solver::columns::master::{Master, dollars};
use crate::solver::fluid::program::Program;
use crate::solver::highs::{HighsError, MipLimits};
use crate::solver::incumbent::trimmed;
use crate::solver::{Control, Settings, integer, whole};

/// The most pairs of a node and a shape that the program is made of.
pub(super) const MOST: usize = 2_500;

/// The units of a problem on the nodes of a mix (bins and copies) as far as they fit, the dear ones first; `None` where
/// the program is too big or nothing was found in time. `prices` is what a unit of each resource is worth, in billionths
/// of a dollar an hour.
///
/// # Errors
/// What HiGHS says, other than having been stopped.
pub(super) fn assign(
    problem: &Problem,
    nodes: &[(usize, u32)],
    prices: &[f64],
    settings: &Settings,
    control: &dyn Control,
) -> Result<Option<Solution>, HighsError> {
    let pairs: usize =
        nodes.iter().map(|&(bin, copies)| copies as usize * problem.bins[bin].admits.count_ones(..)).sum();
    if pairs > MOST || control.exhausted() {
        return Ok(None);
    }
    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let worth = worths(problem, prices);
    let least = worth.iter().copied().fold(f64::INFINITY, f64::min);
    let master = Master::new(problem, &demand);
    let (model, opened) = whole::filled(&master, nodes, &worth);
    let limits = MipLimits { relative_gap: 0.0, absolute_gap: least / 2.0, nodes: settings.iterations };
    let outcome = match integer::run(&model, None, &limits, control) {
        Ok(outcome) => outcome,
        Err(HighsError::Stopped) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(values) = outcome.values else { return Ok(None) };
    let patterns = opened.iter().map(|node| {
        let units = node.holds.iter().map(|&(shape, column)| (shape as u32, values[column].round().max(0.0) as u32));
        let mut counts: Vec<(u32, u32)> = units.filter(|(_, units)| *units > 0).collect();
        counts.sort_unstable();
        Pattern { bin: node.bin as u32, counts }
    });
    // What has no short form in rows (enough other offerings) may be missed: such a node is packed anew by who completes.
    let patterns = patterns.filter(|pattern| fits(problem, pattern).is_ok()).map(|pattern| (pattern, 1));
    Ok(Some(trimmed(&master, patterns.collect())))
}

/// Nodes of classes of bins shared out over the bins of each, so that everything can be poured onto them; `None` where
/// that can't be or is not found in time. `mix` is bins and copies of each class.
///
/// # Errors
/// What HiGHS says, other than having been stopped.
pub(super) fn share_out(
    problem: &Problem,
    pricing: &Pricing,
    mix: &[(&[usize], u32)],
    settings: &Settings,
    control: &dyn Control,
) -> Result<Option<Vec<(usize, u32)>>, HighsError> {
    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let master = Master::whole(problem, &demand);
    let mut program = Program::new(&master);
    for &bin in mix.iter().flat_map(|(bins, _)| *bins) {
        program.add(bin);
        program.limit(bin, &pricing.most_units(bin));
    }
    program.place_all();
    let mut model = program.model(0.0);
    model.columns.iter_mut().for_each(|column| column.cost = 0.0);
    for (class, (bins, copies)) in mix.iter().enumerate() {
        let nodes = program.parts.iter().filter(|part| bins.contains(&part.bin));
        let terms = nodes.map(|part| (part.nodes, 1.0)).collect();
        model.row(format!("class_{class}"), (f64::from(*copies), f64::from(*copies)), terms);
    }
    let limits = MipLimits { relative_gap: 0.0, absolute_gap: 1e-9, nodes: settings.iterations };
    let outcome = match integer::run(&model, None, &limits, control) {
        Ok(outcome) => outcome,
        Err(HighsError::Stopped) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(values) = outcome.values else { return Ok(None) };
    let nodes = program.parts.iter().map(|part| (part.bin, values[part.nodes].round().max(0.0) as u32));
    Ok(Some(nodes.filter(|(_, copies)| *copies > 0).collect()))
}

/// What a unit of each shape that is left over costs: what it takes, and a part of the cheapest node that it would need.
fn worths(problem: &Problem, prices: &[f64]) -> Vec<f64> {
    let cheapest = problem.bins.iter().map(|bin| bin.price).filter(|price| *price > 0).min().unwrap_or(1);
    (0..problem.shapes.len())
        .map(|shape| {
            let takes: f64 =
                prices.iter().enumerate().map(|(of, price)| price * problem.demand[[shape, of]] as f64).sum();
            takes.max(0.0) * 1e-9 + dollars(cheapest) * 0.1
        })
        .collect()
}
