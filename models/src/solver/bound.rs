//! Lower bounds that hold whatever the numbers they come from.
//!
//! Any vector of duals gives a bound on the master problem by Lagrangian relaxation: what the rows are worth, plus what
//! each column with a negative reduced cost could add at most. Bins without a limit could add without end, so the duals
//! are scaled down until none of them has a negative reduced cost (A. A. Farley, "A note on bounding a class of linear
//! programming problems, including cutting stock problems", Operations Research 38(5), 1990). The values of patterns
//! come in as upper bounds, so the bound is valid while pricing is cut short.

use super::Control;
use super::columns::master::{Master, dollars};
use super::highs::{HighsError, Lp, LpColumn};
use crate::problem::{BinSource, Problem};

/// The lower bound that some duals give for placing exactly the units that the cover rows ask for, in dollars an hour; for
/// placing them or paying for those that are not, where the master problem allows that.
///
/// `uppers[b]` is at least the value of every pattern of bin `b` under the duals; `None` for a bin that no solution
/// needs (nothing fits, or it costs more than the incumbent).
///
/// Tells the duals as they were used, too: of the right sign, scaled, and without those on the copies of a bin. Under
/// them a pattern in a solution of cost `c` has a reduced cost of at most `c` less the bound.
pub fn lagrangian(master: &Master, duals: &[f64], uppers: &[Option<f64>]) -> (f64, Vec<f64>) {
    let problem = master.problem;
    let duals: Vec<f64> = master
        .rows
        .iter()
        .zip(duals)
        .map(|(row, &dual)| {
            let dual = if row.lower.is_finite() { dual } else { dual.min(0.0) };
            if row.upper.is_finite() { dual } else { dual.max(0.0) }
        })
        .collect();
    let worth: Vec<Option<f64>> = uppers
        .iter()
        .enumerate()
        .map(|(bin, upper)| upper.map(|upper| upper + master.node_value(bin, &duals, false)))
        .collect();
    let mut scale: f64 = 1.0;
    for (bin, worth) in worth.iter().enumerate() {
        let Some(worth) = *worth else { continue };
        if problem.bins[bin].max_count.is_none() && worth > 0.0 {
            scale = scale.min(dollars(problem.bins[bin].price) / worth);
        }
    }
    let mut copies = vec![false; master.rows.len()];
    master.copies_rows().into_iter().for_each(|row| copies[row] = true);
    let mut bound = 0.0;
    for (index, (row, &dual)) in master.rows.iter().zip(&duals).enumerate() {
        if dual != 0.0 && !copies[index] {
            bound += scale * dual * if dual > 0.0 { row.lower } else { row.upper };
        }
    }
    for (bin, worth) in worth.iter().enumerate() {
        if let (Some(worth), Some(most)) = (*worth, problem.bins[bin].max_count) {
            bound += f64::from(most) * (dollars(problem.bins[bin].price) - scale * worth).min(0.0);
        }
    }
    // Where units may stay unplaced the columns for that come first.
    let first = if master.places_all { problem.shapes.len() } else { 0 };
    for extra in &master.extras[first..] {
        let reduced: f64 =
            extra.cost - scale * extra.terms.iter().map(|&(row, factor)| factor * duals[row]).sum::<f64>();
        bound += reduced * if reduced > 0.0 { extra.lower } else { extra.upper };
    }
    let used = duals.iter().zip(&copies).map(|(dual, copies)| if *copies { 0.0 } else { scale * dual }).collect();
    (if bound.is_finite() { bound } else { 0.0 }, used)
}

/// The greatest common divisor of all prices: the cost of every solution is a multiple of it.
pub fn price_step(problem: &Problem) -> i64 {
    problem.bins.iter().fold(0_i64, |step, bin| greatest_common_divisor(step, bin.price)).max(1)
}

/// A bound in dollars as billionths: a little less for what floating point may have lost, then up to the next sum
/// that prices can make.
pub fn rounded(problem: &Problem, bound: f64) -> i64 {
    let safe = (bound - 1e-8 * bound.abs() - 2e-9).max(0.0);
    let step = price_step(problem);
    let whole = (safe * 1e9).ceil() as i64;
    (whole + step - 1) / step * step
}

/// The greatest whole number that both are multiples of; of 0 and another one, that one.
pub(super) fn greatest_common_divisor(left: i64, right: i64) -> i64 {
    if right == 0 { left } else { greatest_common_divisor(right, left % right) }
}

/// Prices of the resources (dollars an hour a unit of each resource) and the bound they prove.
#[derive(Clone, Debug)]
pub struct ResourcePrices {
    /// Dollars an hour for one unit (a millicore, a byte, ...) of each resource.
    pub prices: Vec<f64>,
    /// Lower bound in dollars an hour.
    pub bound: f64,
}

/// The most that the demand can be worth while no bin's capacity is worth more than its price: one row a bin, one
/// column a resource.
///
/// # Errors
/// What HiGHS says.
pub fn resource_prices(
    problem: &Problem,
    demand: &[u32],
    usable: &[bool],
    control: &dyn Control,
) -> Result<ResourcePrices, HighsError> {
    let resources = problem.resources.len();
    let total: Vec<f64> = (0..resources)
        .map(|resource| {
            demand
                .iter()
                .enumerate()
                .map(|(shape, &count)| problem.demand[[shape, resource]] as f64 * f64::from(count))
                .sum()
        })
        .collect();
    let bins: Vec<usize> = (0..problem.bins.len()).filter(|&bin| usable[bin]).collect();
    // What is there already may be worth something though it costs nothing: a column of its own, paid for by count.
    let rows: Vec<(f64, f64)> = bins.iter().map(|&bin| (f64::NEG_INFINITY, dollars(problem.bins[bin].price))).collect();
    // Each column is the price of the whole demand of a resource, so that all numbers are near one.
    let mut columns: Vec<LpColumn> = (0..resources)
        .map(|resource| LpColumn {
            cost: if total[resource] > 0.0 { -1.0 } else { 0.0 },
            lower: 0.0,
            upper: if total[resource] > 0.0 { f64::INFINITY } else { 0.0 },
            terms: bins
                .iter()
                .enumerate()
                .filter(|(_, bin)| total[resource] > 0.0 && problem.capacity[[**bin, resource]] > 0)
                .map(|(row, bin)| (row, problem.capacity[[*bin, resource]] as f64 / total[resource]))
                .collect(),
        })
        .collect();
    for (row, &bin) in bins.iter().enumerate() {
        if let Some(most) = problem.bins[bin].max_count {
            columns.push(LpColumn {
                cost: f64::from(most),
                lower: 0.0,
                upper: f64::INFINITY,
                terms: vec![(row, -1.0)],
            });
        }
    }
    // Demand that can't all be placed would be worth more and more: beyond what leaving it over costs, price is no matter.
    let dearest = problem.bins.iter().map(|bin| dollars(bin.price)).fold(0.01, f64::max);
    let most = 10.0 * dearest * demand.iter().map(|&units| f64::from(units)).sum::<f64>();
    columns.iter_mut().take(resources).for_each(|column| column.upper = column.upper.min(most));
    // A resource that no usable bin offers could be priced without end; such demand can't be placed at all.
    for column in columns.iter_mut().take(resources) {
        if column.terms.is_empty() {
            column.upper = 0.0;
        }
    }
    let mut lp = Lp::new(&rows)?;
    lp.add_columns(&columns)?;
    let solution = lp.solve(control)?;
    let prices: Vec<f64> = (0..resources)
        .map(|resource| if total[resource] > 0.0 { solution.columns[resource].max(0.0) / total[resource] } else { 0.0 })
        .collect();
    Ok(ResourcePrices { bound: price_bound(problem, &prices, &total, &bins), prices })
}

/// The bound that prices prove, computed again from the prices alone.
fn price_bound(problem: &Problem, prices: &[f64], total: &[f64], bins: &[usize]) -> f64 {
    let worth = |bin: usize| -> f64 {
        prices.iter().enumerate().map(|(resource, price)| price * problem.capacity[[bin, resource]] as f64).sum()
    };
    let mut scale: f64 = 1.0;
    for &bin in bins.iter().filter(|bin| problem.bins[**bin].max_count.is_none()) {
        let worth = worth(bin);
        if worth > 0.0 {
            scale = scale.min(dollars(problem.bins[bin].price) / worth);
        }
    }
    let mut bound: f64 = prices.iter().zip(total).map(|(price, total)| scale * price * total).sum();
    for &bin in bins {
        if let Some(most) = problem.bins[bin].max_count {
            bound += f64::from(most) * (dollars(problem.bins[bin].price) - scale * worth(bin)).min(0.0);
        }
    }
    bound.max(0.0)
}

/// Which bins a better solution than one of this cost could use: what is there, and what is for sale at no more.
pub fn usable(problem: &Problem, incumbent: i64) -> Vec<bool> {
    problem
        .bins
        .iter()
        .map(|bin| {
            !bin.admits.is_clear()
                && bin.max_count != Some(0)
                && (matches!(bin.source, BinSource::Existing(_)) || bin.price <= incumbent)
        })
        .collect()
}
