//! Integer programs built with good_lp and solved on HiGHS: the restricted master over the patterns found so far.

use good_lp::SolverModel as _;
use good_lp::solvers::highs::highs;

use super::Control;
use super::columns::Columns;
use super::highs::{HighsError, MipLimits, MipOutcome, solve_mip};
use super::incumbent::trimmed;
use super::model::LinearModel;
use super::wish;
use crate::problem::{Pattern, Problem, Solution};

/// Runs a program on HiGHS under the watch of a control.
///
/// # Errors
/// What HiGHS says.
pub fn run(
    model: &LinearModel,
    start: Option<&[f64]>,
    limits: &MipLimits,
    control: &dyn Control,
) -> Result<MipOutcome, HighsError> {
    let (variables, objective, constraints, _) = model.to_good_lp();
    let program = variables.minimise(objective).using(highs).with_all(constraints);
    solve_mip(program, start, limits, control)
}

/// The patterns that a restricted master is made of: those of the incumbent, and those of the least reduced cost.
pub fn chosen_patterns(columns: &Columns, incumbent: &Solution, most: usize) -> Vec<Pattern> {
    let mut chosen: Vec<Pattern> = incumbent.nodes.iter().map(|(pattern, _)| pattern.clone()).collect();
    let mut ranked: Vec<(f64, usize)> = columns
        .patterns
        .iter()
        .enumerate()
        .map(|(index, pattern)| {
            let column = columns.master.column(pattern);
            let worth: f64 = column.terms.iter().map(|&(row, factor)| factor * columns.solution.duals[row]).sum();
            ((column.cost - worth) / column.cost.max(1e-3), index)
        })
        .collect();
    ranked.sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
    chosen.extend(ranked.into_iter().take(most).filter_map(|(_, index)| columns.patterns.get_index(index).cloned()));
    chosen.sort();
    chosen.dedup();
    chosen
}

/// Solves the integer program over some patterns, from the incumbent; the solution, if there is one that obeys every
/// rule, and what HiGHS said.
///
/// # Errors
/// What HiGHS says.
pub fn restricted_master(
    problem: &Problem,
    columns: &Columns,
    patterns: &[Pattern],
    start: Option<&Solution>,
    limits: &MipLimits,
    control: &dyn Control,
) -> Result<(Option<Solution>, MipOutcome), HighsError> {
    let unplaced = start.is_none_or(|solution| solution.unplaced.iter().any(|units| *units > 0));
    let master = &columns.master;
    let mut model = master.model(patterns, unplaced);
    let first = master.extras.len();
    let nodes: Vec<(usize, usize)> =
        patterns.iter().enumerate().map(|(index, pattern)| (first + index, pattern.bin as usize)).collect();
    wish::add(problem, &nodes, &mut model);
    // Where rules across nodes need binaries, HiGHS finds its own first solution.
    let values = start.filter(|_| first == problem.shapes.len()).map(|solution| {
        let mut values = vec![0.0; model.columns.len()];
        for (shape, &units) in solution.unplaced.iter().enumerate() {
            values[shape] = f64::from(units);
        }
        for (pattern, copies) in &solution.nodes {
            if let Ok(index) = patterns.binary_search(pattern) {
                values[first + index] += f64::from(*copies);
            }
        }
        let used = wish::values(problem, &problem.opened(solution));
        let last = values.len() - used.len();
        values[last..].copy_from_slice(&used);
        values
    });
    let outcome = run(&model, values.as_deref(), limits, control)?;
    let solution = outcome.values.as_ref().and_then(|values| {
        let nodes =
            patterns.iter().zip(&values[first..]).map(|(pattern, value)| (pattern.clone(), value.round() as u32));
        let solution = trimmed(master, nodes.filter(|(_, copies)| *copies > 0).collect());
        problem.violations(&solution).is_empty().then_some(solution)
    });
    Ok((solution, outcome))
}
