//! Pricing problems that the search of [`super::pricing`] doesn't finish, as integer programs on HiGHS: its cuts close in
//! milliseconds what the surrogate bound leaves open where a node holds many units.

use super::pricing::{Knapsack, Priced};
use crate::problem::Problem;
use crate::solver::Control;
use crate::solver::highs::{HighsError, MipLimits};
use crate::solver::integer;
use crate::solver::model::LinearModel;

/// Nodes of the search tree that a knapsack is worth.
const NODES: u64 = 2_000;

impl Knapsack {
    /// Betters what a search that ran out of steps told of the patterns worth more than `target`, to a relative gap.
    /// Tells whether it is within that gap now.
    ///
    /// # Errors
    /// What HiGHS says, other than having been stopped.
    pub fn settle(
        &self,
        problem: &Problem,
        values: &[f64],
        target: f64,
        gap: f64,
        priced: &mut Priced,
        control: &dyn Control,
    ) -> Result<bool, HighsError> {
        let model = self.model(problem, values);
        let limits = MipLimits { relative_gap: gap, absolute_gap: 1e-9, nodes: Some(NODES) };
        let outcome = match integer::run(&model, None, &limits, control) {
            Ok(outcome) => outcome,
            Err(HighsError::Stopped) => return Ok(false),
            Err(error) => return Err(error),
        };
        if outcome.dual_bound.is_finite() {
            // The program is minimised; a little is added for what HiGHS takes as nothing.
            let most = -outcome.dual_bound;
            priced.upper = priced.upper.min((most + 1e-7 * most.abs() + 1e-10).max(target));
        }
        if let Some(found) = outcome.values {
            let mut counts: Vec<(u32, u32)> = Vec::new();
            let mut value = 0.0;
            for (shape, units) in self.most_units().into_iter().map(|(shape, _)| shape).zip(found) {
                let units = units.round().max(0.0) as u32;
                if units > 0 {
                    counts.push((shape as u32, units));
                    value += values[shape] * f64::from(units);
                }
            }
            counts.sort_unstable();
            let best = priced.found.last().map_or(target.max(0.0), |(value, _)| *value);
            if value > best && self.holds(problem, &counts) {
                priced.found.push((value, counts));
            }
        }
        Ok(outcome.finished)
    }

    /// Units by item, and a binary for every rule of two sides.
    fn model(&self, problem: &Problem, values: &[f64]) -> LinearModel {
        let rules = &problem.rules;
        let mut model = LinearModel { title: "The pricing problem".to_owned(), ..Default::default() };
        let units = self.most_units();
        for &(shape, most) in &units {
            model.column(format!("u_{shape}"), -values[shape], (0.0, f64::from(most)), true);
        }
        let rowed = |members: &crate::problem::ShapeSet| -> Vec<(usize, f64)> {
            let here = units.iter().enumerate().filter(|(_, (shape, _))| members.contains(*shape));
            here.map(|(column, _)| (column, 1.0)).collect()
        };
        let most_of =
            |terms: &[(usize, f64)]| -> f64 { terms.iter().map(|&(column, _)| f64::from(units[column].1)).sum() };
        for (resource, name) in problem.resources.iter().enumerate() {
            let room = problem.capacity[[self.bin, resource]].max(1) as f64;
            let taken = |shape: usize| problem.demand[[shape, resource]];
            let all: f64 = units.iter().map(|&(shape, most)| taken(shape) as f64 * f64::from(most)).sum();
            if all > room {
                let terms = units.iter().enumerate().filter(|(_, (shape, _))| taken(*shape) > 0);
                let terms = terms.map(|(column, (shape, _))| (column, taken(*shape) as f64 / room)).collect();
                model.row(name.clone(), (f64::NEG_INFINITY, 1.0), terms);
            }
        }
        for (index, cap) in rules.node_caps.iter().enumerate() {
            let limit = f64::from(cap.limit.saturating_sub(cap.present.get(&self.bin).copied().unwrap_or(0)));
            let mut terms = rowed(&cap.members);
            for (column, factor) in &mut terms {
                *factor = f64::from(problem.shapes[units[*column].0].unit.pods.max(1));
            }
            let all: f64 = terms.iter().map(|&(column, factor)| factor * f64::from(units[column].1)).sum();
            if all > limit {
                model.row(format!("cap_{index}"), (f64::NEG_INFINITY, limit), terms);
            }
        }
        for (index, rule) in rules.node_exclusives.iter().enumerate() {
            let (mut left, mut right) = (rowed(&rule.left), rowed(&rule.right));
            if left.is_empty() || right.is_empty() {
                continue;
            }
            let side = model.column(format!("side_{index}"), 0.0, (0.0, 1.0), true);
            left.push((side, -most_of(&left)));
            let all = most_of(&right);
            right.push((side, all));
            model.row(format!("left_{index}"), (f64::NEG_INFINITY, 0.0), left);
            model.row(format!("right_{index}"), (f64::NEG_INFINITY, all), right);
        }
        for (index, rule) in rules.node_togethers.iter().enumerate() {
            let mut terms = rowed(&rule.members);
            if rule.satisfied.contains(self.bin) || terms.is_empty() {
                continue;
            }
            let all = most_of(&terms);
            terms.extend(rowed(&rule.anchors).into_iter().map(|(column, _)| (column, -all)));
            terms.sort_unstable_by_key(|term| term.0);
            model.row(format!("company_{index}"), (f64::NEG_INFINITY, 0.0), merged(terms));
        }
        model
    }
}

/// Terms of the same column as one.
fn merged(terms: Vec<(usize, f64)>) -> Vec<(usize, f64)> {
    let mut merged: Vec<(usize, f64)> = Vec::with_capacity(terms.len());
    for (column, factor) in terms {
        match merged.last_mut() {
            Some(last) if last.0 == column => last.1 += factor,
            _ => merged.push((column, factor)),
        }
    }
    merged
}
