//! Packing a mix: patterns for just these nodes.

use std::collections::BTreeMap;

use indexmap::IndexSet;

use crate::problem::{Pattern, Solution};
use crate::solver::columns::master::Master;
use crate::solver::columns::{ColumnLimits, Columns, Pricing};
use crate::solver::highs::{HighsError, MipLimits};
use crate::solver::incumbent::normalised;
use crate::solver::pipeline::State;
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

/// Packs a mix of nodes and offers what comes of it.
///
/// # Errors
/// What HiGHS says.
pub(super) fn pack(
    state: &State,
    master: &Master,
    known: &IndexSet<Pattern>,
    mix: &[u32],
    settings: &Settings,
    control: &dyn Control,
) -> Result<Packed, HighsError> {
    let mut problem = state.problem.clone();
    for (bin, &nodes) in problem.bins.iter_mut().zip(mix) {
        bin.max_count = Some(nodes);
        // They are bought: all that counts is what they don't hold.
        bin.price = 0;
    }
    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let nothing = normalised(&problem, []);
    let mut own = Columns::new(&problem, &demand, &nothing)?;
    own.add(known.iter().filter(|pattern| mix[pattern.bin as usize] > 0).cloned())?;
    let usable: Vec<bool> = mix.iter().map(|nodes| *nodes > 0).collect();
    let mut pricing = Pricing::new(&own.master, &demand, &usable);
    let rounds = settings.iterations.unwrap_or(u64::MAX);
    let limits = ColumnLimits { rounds, incumbent: i64::MAX, tail: 0.0, work: 14_000, center: None, gap: 0.0 };
    own.generate(&mut pricing, &limits, control)?;
    if own.solution.duals.is_empty() {
        return Ok(Packed::Stopped);
    }
    let missing: f64 = own.solution.columns.iter().take(problem.shapes.len()).sum();
    if missing > 1e-6 {
        // The mix has rows of its own for the copies of its nodes; all others have the same names.
        let by_name: BTreeMap<&str, f64> =
            own.master.rows.iter().zip(&own.solution.duals).map(|(row, &dual)| (row.name.as_str(), dual)).collect();
        let duals = master.rows.iter().map(|row| by_name.get(row.name.as_str()).copied().unwrap_or(0.0));
        return Ok(Packed::Lacking(duals.collect()));
    }
    let offer = |partial: &Solution| state.offer(complete::complete(state.problem, partial, None, control), "mix");
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
