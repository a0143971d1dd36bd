//! The dive: whole nodes are taken from the relaxation, the rest of the demand is priced again, until all is placed.

use super::columns::master::Master;
use super::columns::{Columns, Pricing};
use super::highs::HighsError;
use super::incumbent::normalised;
use super::{Control, bound};
use crate::problem::{Pattern, Problem, Solution, fits};

/// Takes nodes from the relaxation of `columns` one by one; what it can't place is left unplaced. Tells all patterns it
/// knows, too.
///
/// Each step takes the whole part of every pattern, or one copy of the pattern nearest to one; the rows lose what that
/// covers, patterns that hold more than is left are cut to it, and new patterns are priced for the rest.
///
/// # Errors
/// What HiGHS says, other than having been stopped.
pub fn dive<'a>(
    problem: &'a Problem,
    columns: &Columns<'a>,
    incumbent: &Solution,
    cost: i64,
    rounds: u64,
    control: &dyn Control,
) -> Result<(Solution, Vec<Pattern>), HighsError> {
    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let missing = Solution { nodes: incumbent.nodes.clone(), unplaced: vec![1; problem.shapes.len()] };
    let mut own = Columns::new(problem, &demand, &missing)?;
    own.add(columns.patterns.iter().cloned())?;
    let mut rest = Rest {
        units: demand,
        sides: own.master.rows.iter().map(|row| (row.lower, row.upper)).collect(),
        active: vec![true; own.patterns.len()],
    };
    let usable = bound::usable(problem, cost);
    let mut taken: Vec<(Pattern, u32)> = Vec::new();
    'steps: for _ in 0..rounds {
        if control.exhausted() || rest.units.iter().all(|units| *units == 0) {
            break;
        }
        let mut pricing = Pricing::new(&own.master, &rest.units, &usable);
        for _ in 0..3 {
            match own.program().solve(control) {
                Ok(solution) => own.solution = solution,
                Err(HighsError::Stopped | HighsError::Status(_)) => break 'steps,
                Err(error) => return Err(error),
            }
            let duals = own.solution.duals.clone();
            let priced = pricing.round(&own.master, &duals, 200, control)?;
            if priced.patterns.is_empty() || own.add(priced.patterns.into_iter().take(40))? == 0 {
                break;
            }
            rest.active.resize(own.patterns.len(), true);
        }
        let first = own.first_pattern();
        let values: Vec<f64> = (0..own.patterns.len())
            .map(|index| own.solution.columns.get(first + index).copied().unwrap_or(0.0))
            .collect();
        let mut chosen: Vec<(usize, u32)> = values
            .iter()
            .enumerate()
            .filter(|(_, value)| **value >= 1.0 - 1e-6)
            .map(|(index, value)| (index, (value + 1e-6).floor() as u32))
            .collect();
        if chosen.is_empty() {
            let nearest = values
                .iter()
                .enumerate()
                .filter(|(_, value)| **value > 1e-6)
                .max_by(|left, right| left.1.total_cmp(right.1).then(right.0.cmp(&left.0)));
            let Some((index, _)) = nearest else { break };
            chosen.push((index, 1));
        }
        let mut any = false;
        for (index, copies) in chosen {
            let Some(pattern) = own.patterns.get_index(index).cloned() else { continue };
            let copies = copies.min(rest.copies(problem, &pattern));
            if copies > 0 {
                rest.take(&own.master, &pattern, copies);
                taken.push((pattern, copies));
                any = true;
            }
        }
        if !any {
            break;
        }
        rest.apply(problem, &mut own)?;
    }
    Ok((normalised(problem, taken), own.patterns.into_iter().collect()))
}

/// What is left to be placed.
struct Rest {
    units: Vec<u32>,
    sides: Vec<(f64, f64)>,
    active: Vec<bool>,
}

impl Rest {
    /// How many copies of a pattern hold no more than is left.
    fn copies(&self, problem: &Problem, pattern: &Pattern) -> u32 {
        let by_units =
            pattern.counts.iter().map(|&(shape, units)| self.units[shape as usize] / units).min().unwrap_or(0);
        by_units.min(problem.bins[pattern.bin as usize].max_count.unwrap_or(u32::MAX))
    }

    fn take(&mut self, master: &Master, pattern: &Pattern, copies: u32) {
        for &(shape, units) in &pattern.counts {
            self.units[shape as usize] -= units * copies;
        }
        for (row, factor) in master.column(pattern).terms {
            let sum = factor * f64::from(copies);
            self.sides[row].0 -= sum;
            self.sides[row].1 -= sum;
        }
    }

    /// Tells the program what is left: rows, patterns that hold too much, and cut ones in their place.
    fn apply(&mut self, problem: &Problem, own: &mut Columns) -> Result<(), HighsError> {
        for row in 0..self.sides.len() {
            let (lower, upper) = self.sides[row];
            let lower = if row < problem.shapes.len() { lower.max(0.0) } else { lower };
            own.program().bound_row(row, lower, upper.max(lower))?;
        }
        let first = own.first_pattern();
        let mut cut = Vec::new();
        for index in 0..self.active.len() {
            if !self.active[index] {
                continue;
            }
            let Some(pattern) = own.patterns.get_index(index) else { continue };
            if pattern.counts.iter().all(|&(shape, units)| units <= self.units[shape as usize]) {
                continue;
            }
            let counts: Vec<(u32, u32)> = pattern
                .counts
                .iter()
                .map(|&(shape, units)| (shape, units.min(self.units[shape as usize])))
                .filter(|(_, units)| *units > 0)
                .collect();
            let pattern = Pattern { bin: pattern.bin, counts };
            if !pattern.counts.is_empty() && own.solution.columns.get(first + index).is_some_and(|value| *value > 1e-9)
            {
                cut.push(pattern);
            }
            self.active[index] = false;
            own.program().bound_column(first + index, 0.0, 0.0)?;
        }
        cut.retain(|pattern| fits(problem, pattern).is_ok());
        own.add(cut)?;
        self.active.resize(own.patterns.len(), true);
        Ok(())
    }
}
