//! Closing the gap: every pattern that a better solution could hold, and the integer program over all of them.
//!
//! Under duals of bound `L`, each pattern of a solution of cost `c` has a reduced cost of at most `c - L`. So the
//! patterns below `incumbent - L` are all that a better solution is made of, and the integer program over them has its
//! optimum (R. Baldacci, N. Christofides, A. Mingozzi, "An exact algorithm for the vehicle routing problem based on the
//! set partitioning formulation", Mathematical Programming 115, 2008). Where they are too many the gap stays what it is.

use super::columns::master::dollars;
use super::columns::{Columns, Pricing};
use super::highs::{HighsError, MipLimits};
use super::pipeline::State;
use super::{Control, Settings, bound, cover, integer};

/// The most patterns that are worth an integer program.
const MOST: usize = 20_000;

/// Up to so many units it is worth listing every pattern to learn who must wait.
const FEW_UNITS: u64 = 40;

/// Settles which units must wait, where they and the patterns are few: the integer program over all patterns there are.
/// Whether it is settled.
///
/// # Errors
/// Where HiGHS refuses the program; having been stopped is none.
pub(super) fn settle(
    state: &State,
    columns: &Columns,
    pricing: &Pricing,
    settings: &Settings,
    control: &dyn Control,
) -> Result<bool, HighsError> {
    let problem = state.problem;
    if problem.shapes.iter().map(|shape| u64::from(shape.count)).sum::<u64>() > FEW_UNITS {
        return Ok(false);
    }
    let (master, duals) = (&columns.master, &columns.solution.duals);
    let Some(mut patterns) = pricing.enumerate(master, duals, f64::INFINITY, MOST / 4, 50_000, control) else {
        return Ok(false);
    };
    patterns.sort();
    patterns.dedup();
    let incumbent = state.solution();
    let limits = MipLimits { relative_gap: 0.0, absolute_gap: 1e-9, nodes: settings.iterations };
    // The incumbent says that units may wait; it is no first solution where a rule needs binaries.
    match integer::restricted_master(problem, columns, &patterns, Some(&incumbent), &limits, control) {
        Ok((Some(solution), outcome)) => {
            state.offer(solution, "enumerate");
            Ok(outcome.finished)
        }
        Ok((None, _)) | Err(HighsError::Stopped) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Proves the incumbent optimal or finds the optimum, where the patterns are few enough.
///
/// # Errors
/// Where HiGHS refuses the program; having been stopped is none.
pub(super) fn close(
    state: &State,
    columns: &Columns,
    pricing: &Pricing,
    settings: &Settings,
    control: &dyn Control,
) -> Result<(), HighsError> {
    let problem = state.problem;
    let slack = dollars(state.cost()) - columns.bound + 1e-9;
    let work = 200_000;
    let Some(mut patterns) = pricing.enumerate(&columns.master, &columns.duals, slack, MOST, work, control) else {
        return Ok(());
    };
    patterns.sort();
    patterns.dedup();
    let master = &columns.master;
    let plain = master.extras.len() == problem.shapes.len() && master.rows.len() == problem.shapes.len();
    if plain && cover::holds(problem) {
        let steps = settings.iterations.map_or(u64::MAX, |iterations| iterations.saturating_mul(1000));
        let found = cover::search(master, &patterns, &columns.duals, state.cost(), steps, control);
        if let Some(solution) = found.solution {
            state.offer(solution, "enumerate");
        }
        state.offer_bound(bound::rounded(problem, found.bound.max(columns.bound)));
        return Ok(());
    }
    // A solution that costs less costs at least one step of prices less.
    let step = dollars(bound::price_step(problem)) * 0.99;
    let limits = MipLimits { relative_gap: 0.0, absolute_gap: step, nodes: settings.iterations };
    match integer::restricted_master(problem, columns, &patterns, None, &limits, control) {
        Ok((solution, outcome)) => {
            let cost = solution.as_ref().map(|solution| problem.cost(solution));
            if let Some(solution) = solution {
                state.offer(solution, "enumerate");
            }
            // The program's bound is taken only where HiGHS is done, was given no first solution, and its objective is
            // what the solution costs.
            let honest = cost.is_some_and(|cost| (dollars(cost) - outcome.objective).abs() <= 1e-6 * dollars(cost));
            if outcome.finished && honest && outcome.dual_bound <= outcome.objective + 1e-9 {
                state.offer_bound(bound::rounded(problem, outcome.dual_bound));
            } else if outcome.infeasible {
                state.offer_bound(state.cost());
            }
        }
        Err(HighsError::Stopped) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}
