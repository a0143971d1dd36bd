//! Packing a mix: patterns for just these nodes.

use std::collections::BTreeMap;

use super::assign::assign;
use super::squeeze::{is_small, squeeze};
use crate::problem::{Pattern, Problem, Solution};
use crate::solver::columns::master::Master;
use crate::solver::columns::{ColumnLimits, Columns, Pricing};
use crate::solver::highs::{HighsError, MipLimits};
use crate::solver::incumbent::normalised;
use crate::solver::pipeline::State;
use crate::solver::slice::Slice;
use crate::solver::{Control, Settings, complete, dive, integer};

/// What packing a mix came to.
pub(super) enum Packed {
    /// Not even fractions of patterns fit; the duals of the master problem's rows that prove it.
    Lacking(Vec<f64>),
    /// Fractions fit. Whole patterns were offered, with more nodes where they did not.
    Offered,
    /// Time ran out.
    Stopped,
}

/// What packing a mix in fractions of patterns came to.
pub(super) enum Fitted<'p> {
    /// Not even those fit; the duals of the master problem's rows that prove it.
    Lacking(Vec<f64>),
    /// They do.
    Fits(Box<Columns<'p>>),
    /// Time ran out.
    Stopped,
}

/// A problem with the nodes of a mix and no others. They are bought: all that counts is what they don't hold.
pub(super) fn held(problem: &Problem, mix: &[u32]) -> Problem {
    let mut held = problem.clone();
    for (bin, &nodes) in held.bins.iter_mut().zip(mix) {
        bin.max_count = Some(nodes);
        bin.price = 0;
    }
    held
}

/// Packs the nodes of a mix, all there are in `problem`, in fractions of patterns.
///
/// # Errors
/// What HiGHS says.
pub(super) fn fitted<'p>(
    problem: &'p Problem,
    master: &Master,
    known: &[Pattern],
    settings: &Settings,
    control: &dyn Control,
) -> Result<Fitted<'p>, HighsError> {
    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let usable: Vec<bool> = problem.bins.iter().map(|bin| bin.max_count != Some(0)).collect();
    let mut own = Columns::new(problem, &demand, &normalised(problem, []))?;
    own.add(known.iter().filter(|pattern| usable[pattern.bin as usize]).cloned())?;
    let mut pricing = Pricing::new(&own.master, &demand, &usable);
    let rounds = settings.iterations.unwrap_or(u64::MAX);
    let limits = ColumnLimits { rounds, work: 14_000, ..ColumnLimits::default() };
    own.generate(&mut pricing, &limits, control)?;
    if own.solution.duals.is_empty() {
        return Ok(Fitted::Stopped);
    }
    let missing: f64 = own.solution.columns.iter().take(problem.shapes.len()).sum();
    if missing <= 1e-6 {
        return Ok(Fitted::Fits(Box::new(own)));
    }
    // The mix has rows of its own for the copies of its nodes; all others have the same names.
    let by_name: BTreeMap<&str, f64> =
        own.master.rows.iter().zip(&own.solution.duals).map(|(row, &dual)| (row.name.as_str(), dual)).collect();
    let duals = master.rows.iter().map(|row| by_name.get(row.name.as_str()).copied().unwrap_or(0.0));
    Ok(Fitted::Lacking(duals.collect()))
}

/// Packs nodes (bins and copies) unit by unit and offers what comes of it; whether they hold everything.
///
/// # Errors
/// What HiGHS says, other than having been stopped.
pub(super) fn unit_by_unit(
    state: &State,
    nodes: &[(usize, u32)],
    prices: &[f64],
    settings: &Settings,
    control: &dyn Control,
) -> Result<bool, HighsError> {
    let problem = state.problem;
    let mut mix = vec![0; problem.bins.len()];
    nodes.iter().for_each(|&(bin, copies)| mix[bin] += copies);
    let squeezed = || {
        let held = held(problem, &mix);
        // The greedy's packing is a good one to begin with.
        let begun = complete::complete(&held, &normalised(&held, []), Some(prices), control);
        squeeze(problem, nodes, &begun, settings.seed, &Slice::of(control, 0.5))
    };
    if is_small(problem, nodes)
        && let Some(whole) = squeezed()
    {
        let cost: i64 = nodes.iter().map(|&(bin, copies)| problem.bins[bin].price * i64::from(copies)).sum();
        let holds = problem.cost(&whole) <= cost && problem.violations(&whole).is_empty();
        state.offer(whole, "mix");
        if holds {
            return Ok(true);
        }
    }
    let Some(partial) = assign(problem, nodes, prices, settings, control)? else { return Ok(false) };
    state.offer(complete::complete(problem, &partial, Some(prices), control), "mix");
    Ok(partial.unplaced.iter().all(|units| *units == 0))
}

/// Packs a mix of nodes and offers what comes of it. `prices` is what a unit of each resource is worth.
///
/// # Errors
/// What HiGHS says.
pub(super) fn pack(
    state: &State,
    master: &Master,
    known: &[Pattern],
    mix: &[u32],
    prices: &[f64],
    settings: &Settings,
    control: &dyn Control,
) -> Result<Packed, HighsError> {
    let problem = held(state.problem, mix);
    let mut own = match fitted(&problem, master, known, settings, control)? {
        Fitted::Lacking(duals) => return Ok(Packed::Lacking(duals)),
        Fitted::Stopped => return Ok(Packed::Stopped),
        Fitted::Fits(own) => own,
    };
    let nodes: Vec<(usize, u32)> = mix.iter().copied().enumerate().filter(|(_, copies)| *copies > 0).collect();
    if unit_by_unit(state, &nodes, prices, settings, &Slice::of(control, 0.5))? {
        return Ok(Packed::Offered);
    }
    let offer = |partial: &Solution| state.offer(complete::complete(state.problem, partial, None, control), "mix");
    let nothing = normalised(&problem, []);
    let rounds = settings.iterations.unwrap_or(u64::MAX);
    let (partial, patterns) = match dive::dive(&problem, &own, &nothing, i64::MAX, rounds, control) {
        Ok(found) => found,
        Err(HighsError::Stopped) => return Ok(Packed::Stopped),
        Err(error) => return Err(error),
    };
    offer(&partial);
    if partial.unplaced.iter().all(|units| *units == 0) {
        return Ok(Packed::Offered);
    }
    own.add(patterns)?;
    let patterns: Vec<Pattern> = integer::chosen_patterns(&own, &partial, 2_000);
    let mip = MipLimits { relative_gap: 1e-4, absolute_gap: 1e-9, nodes: settings.iterations };
    match integer::restricted_master(&problem, &own, &patterns, Some(&partial), &mip, control) {
        Ok((Some(solution), _)) => offer(&solution),
        Ok((None, _)) | Err(HighsError::Stopped) => {}
        Err(error) => return Err(error),
    }
    Ok(Packed::Offered)
}
