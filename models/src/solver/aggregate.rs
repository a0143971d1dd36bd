//! Many shapes: the relaxation in which nodes are filled in fractions, over groups of shapes that are alike.
//!
//! `min sum c_b n_b`, every group spread over the bins, no more of a resource on a bin than its nodes offer. Its duals
//! are prices of the resources bin by bin; a unit of a shape is worth what it takes on the bin where that is least. No
//! pattern is then worth more than its node, so the worth of the demand is a lower bound. The groups only steer: the
//! bound is computed from the prices for each shape alone. The page `formulations/aggregate.md` has the mathematics.

use std::collections::BTreeMap;

use super::Control;
use super::columns::master::dollars;
use super::highs::{HighsError, Lp, LpColumn};
use crate::problem::Problem;

/// What the relaxation says.
pub(super) struct Aggregate {
    /// Worth of one unit of each shape in dollars an hour.
    pub values: Vec<f64>,
    /// Lower bound in dollars an hour.
    pub bound: f64,
    /// Nodes of each bin in the relaxation.
    pub nodes: Vec<f64>,
}

/// Shapes of one signature of admission and nearly the same proportions.
struct Group {
    shapes: Vec<usize>,
    demand: Vec<f64>,
}

/// Groups shapes: the same admission, and proportions of the resources in the same bucket of a logarithmic scale.
fn groups(problem: &Problem, demand: &[u32], buckets: f64) -> Vec<Group> {
    let mut by_key: BTreeMap<(Vec<usize>, Vec<i32>), Vec<usize>> = BTreeMap::new();
    let mut signature = vec![Vec::new(); problem.shapes.len()];
    for (bin, data) in problem.bins.iter().enumerate() {
        data.admits.ones().for_each(|shape| signature[shape].push(bin));
    }
    for (shape, signature) in signature.into_iter().enumerate() {
        if demand[shape] == 0 || signature.is_empty() {
            continue;
        }
        let row = problem.demand.row(shape);
        let first = row.iter().copied().find(|take| *take > 0).unwrap_or(1) as f64;
        let proportions = row
            .iter()
            .map(|&take| if take > 0 { ((take as f64 / first).ln() * buckets).round() as i32 } else { i32::MIN })
            .collect();
        by_key.entry((signature, proportions)).or_default().push(shape);
    }
    by_key
        .into_values()
        .map(|shapes| {
            let resources = problem.resources.len();
            let mut sum = vec![0.0; resources];
            for &shape in &shapes {
                for (sum, &take) in sum.iter_mut().zip(problem.demand.row(shape)) {
                    *sum += take as f64 * f64::from(demand[shape]);
                }
            }
            Group { shapes, demand: sum }
        })
        .collect()
}

/// Rows and columns: nodes by bin first, then the parts of the groups.
fn program(problem: &Problem, all: &[Group], bins: &[usize]) -> (Vec<(f64, f64)>, Vec<LpColumn>) {
    let resources = problem.resources.len();
    let capacity_row = |index: usize, resource: usize| all.len() + index * resources + resource;
    let mut rows = vec![(1.0, f64::INFINITY); all.len()];
    rows.extend(std::iter::repeat_n((f64::NEG_INFINITY, 0.0), bins.len() * resources));
    let mut columns = Vec::new();
    for (index, &bin) in bins.iter().enumerate() {
        columns.push(LpColumn {
            cost: dollars(problem.bins[bin].price),
            lower: 0.0,
            upper: problem.bins[bin].max_count.map_or(f64::INFINITY, f64::from),
            terms: (0..resources)
                .filter(|&resource| problem.capacity[[bin, resource]] > 0)
                .map(|resource| (capacity_row(index, resource), -1.0))
                .collect(),
        });
    }
    for (number, group) in all.iter().enumerate() {
        let Some(&first) = group.shapes.first() else { continue };
        for (index, &bin) in bins.iter().enumerate() {
            let holds =
                (0..resources).all(|resource| group.demand[resource] == 0.0 || problem.capacity[[bin, resource]] > 0);
            if !holds || !problem.bins[bin].admits.contains(first) {
                continue;
            }
            let mut terms = vec![(number, 1.0)];
            for resource in 0..resources {
                if group.demand[resource] > 0.0 {
                    let share = group.demand[resource] / problem.capacity[[bin, resource]] as f64;
                    terms.push((capacity_row(index, resource), share));
                }
            }
            columns.push(LpColumn { cost: 0.0, lower: 0.0, upper: f64::INFINITY, terms });
        }
    }
    (rows, columns)
}

/// Solves the relaxation over at most some hundred groups and the usable bins.
///
/// # Errors
/// What HiGHS says.
pub(super) fn solve(
    problem: &Problem,
    demand: &[u32],
    usable: &[bool],
    control: &dyn Control,
) -> Result<Aggregate, HighsError> {
    let mut buckets = 6.0;
    let mut all = groups(problem, demand, buckets);
    while all.len() > 120 && buckets > 0.2 {
        buckets /= 1.5;
        all = groups(problem, demand, buckets);
    }
    let resources = problem.resources.len();
    // Bins alike but for their domain are one here, unless their number is limited.
    let mut bins: Vec<usize> = Vec::new();
    for bin in (0..problem.bins.len()).filter(|&bin| usable[bin]) {
        let data = &problem.bins[bin];
        let alike = |&other: &usize| {
            let other_data = &problem.bins[other];
            data.max_count.is_none()
                && other_data.max_count.is_none()
                && data.price == other_data.price
                && data.admits == other_data.admits
                && problem.capacity.row(bin) == problem.capacity.row(other)
        };
        if !bins.iter().any(alike) {
            bins.push(bin);
        }
    }
    let (rows, columns) = program(problem, &all, &bins);
    let capacity_row = |index: usize, resource: usize| all.len() + index * resources + resource;
    let mut lp = Lp::new(&rows)?;
    lp.add_columns(&columns)?;
    let solution = lp.solve(control)?;
    let mut nodes = vec![0.0; problem.bins.len()];
    // Prices of a whole node's worth of each resource, brought below the bin's price where the number isn't limited.
    let mut prices: Vec<Vec<f64>> = Vec::with_capacity(bins.len());
    let mut lost = 0.0;
    for (index, &bin) in bins.iter().enumerate() {
        nodes[bin] = solution.columns[index];
        let mut own: Vec<f64> =
            (0..resources).map(|resource| (-solution.duals[capacity_row(index, resource)]).max(0.0)).collect();
        let worth: f64 = (0..resources)
            .filter(|&resource| problem.capacity[[bin, resource]] > 0)
            .map(|resource| own[resource])
            .sum();
        let price = dollars(problem.bins[bin].price);
        match problem.bins[bin].max_count {
            Some(most) => lost += f64::from(most) * (worth - price).max(0.0),
            // Bins of the same price and better prices elsewhere leave room: it is used up, which only adds worth.
            None if worth > 0.0 => own.iter_mut().for_each(|value| *value *= price / worth),
            None => {}
        }
        prices.push(own);
    }
    let values: Vec<f64> = (0..problem.shapes.len())
        .map(|shape| {
            let on = |index: usize, bin: usize| -> f64 {
                (0..resources)
                    .filter(|&resource| problem.demand[[shape, resource]] > 0)
                    .map(|resource| {
                        let room = problem.capacity[[bin, resource]].max(1) as f64;
                        prices[index][resource] * problem.demand[[shape, resource]] as f64 / room
                    })
                    .sum()
            };
            let least = bins
                .iter()
                .enumerate()
                .filter(|(_, bin)| problem.bins[**bin].admits.contains(shape))
                .map(|(index, bin)| on(index, *bin))
                .fold(f64::INFINITY, f64::min);
            if least.is_finite() { least } else { 0.0 }
        })
        .collect();
    let worth: f64 = values.iter().zip(demand).map(|(value, &count)| value * f64::from(count)).sum();
    Ok(Aggregate { values, bound: (worth - lost).max(0.0), nodes })
}

/// The relaxation of a problem as a plain program, every group one of its own.
#[cfg(test)]
pub(super) fn model(problem: &Problem) -> super::model::LinearModel {
    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let bins: Vec<usize> = (0..problem.bins.len()).collect();
    let (rows, columns) = program(problem, &groups(problem, &demand, 6.0), &bins);
    let mut model = super::model::LinearModel { title: "The relaxation over groups".to_owned(), ..Default::default() };
    for (index, (lower, upper)) in rows.into_iter().enumerate() {
        model.row(format!("r{index}"), (lower, upper), Vec::new());
    }
    for (index, column) in columns.into_iter().enumerate() {
        let name = if index < bins.len() { format!("n_{index}") } else { format!("f_{index}") };
        let handle = model.column(name, column.cost, (column.lower, column.upper), false);
        column.terms.into_iter().for_each(|(row, factor)| model.rows[row].terms.push((handle, factor)));
    }
    model
}
