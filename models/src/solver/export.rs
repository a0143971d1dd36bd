//! The integer program of a problem as one model: the master over the patterns that column generation finds.

use super::columns::{ColumnLimits, Columns, Pricing};
use super::highs::HighsError;
use super::model::LinearModel;
use super::{Control, Settings, greedy};
use crate::problem::Problem;

/// Rounds of column generation without an iteration budget: until none helps or time is out.
const ROUNDS: u64 = 10_000;

/// The master problem over the greedy's patterns and those that column generation adds until none helps, time is out or
/// `settings.iterations` rounds are done. Its relaxation is as strong as the configuration bound by then.
///
/// # Errors
/// What HiGHS says.
pub fn program(problem: &Problem, settings: &Settings, control: &dyn Control) -> Result<LinearModel, HighsError> {
    let first = greedy::greedy(problem, None, settings.seed, control);
    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let mut columns = Columns::new(problem, &demand, &first)?;
    let mut pricing = Pricing::new(&columns.master, &demand, &vec![true; problem.bins.len()]);
    let rounds = settings.iterations.unwrap_or(ROUNDS);
    // A gap below zero is never reached: the columns are wanted, not the bound.
    let limits = ColumnLimits { rounds, incumbent: i64::MAX / 4, gap: -1.0, ..ColumnLimits::default() };
    columns.generate(&mut pricing, &limits, control)?;
    let patterns: Vec<_> = columns.patterns.iter().cloned().collect();
    let mut model = columns.master.model(&patterns, true);
    model.title = format!(
        "supercargo: {} shapes, {} bins, {} patterns; dollars an hour",
        problem.shapes.len(),
        problem.bins.len(),
        patterns.len()
    );
    Ok(model)
}
