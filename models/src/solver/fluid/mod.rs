//! The fluid relaxation: units are poured, nodes are filled in fractions. Near the truth where a node holds many pods.
//!
//! `min sum price_b n_b`: every unit poured onto bins, no more of a resource on a bin than its nodes offer together, and
//! all rules that span nodes as in the master problem. Its duals are prices of the resources bin by bin; a unit of a
//! shape is worth what it takes on the bin where that is least. No pattern is then worth more than its node, so the
//! worth of the demand is a lower bound. Shapes that are alike are poured together: that only steers, for the bound is
//! computed from the prices for each shape alone. Bins join the program when a node of theirs could be worth more than
//! its price. The page `formulations/fluid.md` has the mathematics.

mod coarse;
pub(super) mod dive;
mod pack;
pub(super) mod program;
mod split;
pub(super) mod whole;

use std::collections::BTreeMap;

use self::coarse::Coarse;
use self::program::Program;
use self::split::Split;
use self::whole::Whole;
use super::bound::{lagrangian, resource_prices};
use super::columns::Pricing;
use super::columns::master::{Master, dollars};
use super::highs::{HighsError, Lp, LpSolution, MipLimits};
use super::incumbent::normalised;
use super::packing::{Index, Tally};
use super::pipeline::State;
use super::quota::{self, Wish};
use super::slice::Slice;
use super::{Control, Settings, complete};
use crate::problem::{Problem, ShapeSet, Solution};

/// Merged shapes beside those under rules, at most about so many.
const MOST_MERGED: usize = 120;
/// Domains for which bins to begin with are looked for one by one.
const MOST_CLASSES: usize = 24;
/// Bins that join the program in one round, and rounds.
const JOINING: usize = 24;
const ROUNDS: usize = 20;
/// Shares of every node that are kept free when whole nodes are chosen.
const SLACKS: [f64; 4] = [0.0, 0.001, 0.003, 0.01];

/// Units on a mean node from which on packing by the relaxation is worth its time.
const FEWEST_ON_A_NODE: f64 = 30.0;

/// What the relaxation says.
pub(in crate::solver) struct Fluid {
    /// Duals of the master problem's rows; those of the cover rows are the worth of one unit in dollars an hour.
    pub duals: Vec<f64>,
    /// Lower bound in dollars an hour.
    pub bound: f64,
    /// Nodes of each bin in the relaxation.
    pub nodes: Vec<f64>,
    /// By shape: bins, each with the units poured there.
    poured: Vec<Vec<(usize, f64)>>,
    /// By bin: no pattern of it is worth more dollars an hour; `None` for bins that can't be used.
    worth: Vec<Option<f64>>,
}

impl Fluid {
    /// By bin: no pattern of it is worth more dollars an hour under the duals; `None` for bins that can't be used.
    pub fn worth(&self) -> &[Option<f64>] {
        &self.worth
    }

    /// The problem without the caps of one node that nothing of what was poured uses up.
    pub fn without_needless_caps(&self, problem: &Problem) -> Problem {
        let mut lean = problem.clone();
        let on = |bin: usize, members: &ShapeSet| -> f64 {
            let poured = |shape: usize| self.poured[shape].iter().filter(|(other, _)| *other == bin);
            let pods = |shape: usize| f64::from(problem.shapes[shape].unit.pods);
            members.ones().map(|shape| poured(shape).map(|(_, units)| units * pods(shape)).sum::<f64>()).sum()
        };
        let used: Vec<usize> = (0..problem.bins.len()).filter(|&bin| self.nodes[bin] > 1e-6).collect();
        lean.rules.node_caps.retain(|cap| {
            used.iter().any(|&bin| {
                let room = cap.limit.saturating_sub(cap.present.get(&bin).copied().unwrap_or(0));
                let held = on(bin, &cap.members);
                held > 1e-6 && held >= self.nodes[bin] * f64::from(room) * (1.0 - 1e-6)
            })
        });
        lean
    }

    /// Whether nodes hold so many units that pouring is near the truth.
    pub fn holds(&self, demand: &[u32]) -> bool {
        let units: f64 = demand.iter().map(|&units| f64::from(units)).sum();
        units >= FEWEST_ON_A_NODE * self.nodes.iter().sum::<f64>().max(1.0)
    }
}

/// Solves the relaxation for a demand over the usable bins. `whole` tells that every unit must be placed.
///
/// # Errors
/// What HiGHS says; [`HighsError::Stopped`] where time ran out before there was anything to tell.
pub(super) fn relax(
    problem: &Problem,
    demand: &[u32],
    usable: &[bool],
    whole: bool,
    control: &dyn Control,
) -> Result<Fluid, HighsError> {
    let rows = if whole { Master::whole } else { Master::new };
    let coarse = Coarse::new(problem, demand, usable, MOST_MERGED);
    let units = coarse.demand();
    let master = rows(&coarse.problem, &units);
    let same = representatives(&master, usable);
    let candidates: Vec<bool> = (0..problem.bins.len()).map(|bin| usable[bin] && same[bin] == bin).collect();
    let mut pricing = Pricing::new(&master, &units, &candidates);
    let mut program = Program::new(&master);
    let mut lp = Lp::new(&program.rows)?;
    lp.add_columns(&program.columns)?;
    let mut solution: Option<LpSolution> = None;
    let mut joining = first_bins(&master, &units, &candidates, control)?;
    let mut joined = vec![false; problem.bins.len()];
    for _ in 0..ROUNDS {
        let (rows, columns) = (program.rows.len(), program.columns.len());
        for bin in joining {
            joined[bin] = true;
            program.add(bin);
        }
        lp.add_rows(&program.rows[rows..])?;
        lp.add_columns(&program.columns[columns..])?;
        match lp.solve(control) {
            Ok(found) => solution = Some(found),
            Err(HighsError::Stopped) => {
                program.parts.retain(|part| part.nodes < columns);
                break;
            }
            // Limits keep the bins that have joined from holding all: the others join.
            Err(HighsError::Status(_)) if (0..joined.len()).any(|bin| candidates[bin] && !joined[bin]) => {
                joining = (0..joined.len()).filter(|&bin| candidates[bin] && !joined[bin]).collect();
                continue;
            }
            Err(error) => return Err(error),
        }
        let Some(found) = &solution else { break };
        let duals = &found.duals[..master.rows.len()];
        let uppers = pricing.round(&master, duals, 1, control)?.uppers;
        let mut better: Vec<(f64, usize)> = (0..problem.bins.len())
            .filter(|&bin| candidates[bin] && !joined[bin])
            .filter_map(|bin| {
                let worth = uppers[bin]? + master.node_value(bin, duals, true);
                let price = dollars(problem.bins[bin].price);
                (worth > price * (1.0 + 1e-4) + 1e-9).then_some((price / worth, bin))
            })
            .collect();
        better.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        if better.is_empty() || control.exhausted() {
            break;
        }
        joining = better.into_iter().take(JOINING).map(|(_, bin)| bin).collect();
    }
    let Some(solution) = solution else { return Err(HighsError::Stopped) };
    let mut nodes = vec![0.0; problem.bins.len()];
    let mut poured = vec![Vec::new(); problem.shapes.len()];
    for part in &program.parts {
        nodes[part.bin] = solution.columns[part.nodes];
        coarse.pour(part, &solution.columns, demand, &mut poured);
    }
    let own = rows(problem, demand);
    let (bound, duals, worth) = prove(&own, demand, usable, &same, &program, &solution.duals, control)?;
    Ok(Fluid { duals, bound, nodes, poured, worth })
}

/// Whole nodes by the relaxation, packed evenly; every solution so found is offered to the state.
///
/// # Errors
/// What HiGHS says.
pub(super) fn realise(
    state: &State,
    demand: &[u32],
    fluid: &Fluid,
    prices: &[f64],
    settings: &Settings,
    control: &dyn Control,
) -> Result<(), HighsError> {
    each_solution(state.problem, demand, fluid, prices, settings, control, &mut |solution| {
        state.offer(solution, "fluid");
    })
}

/// Packs whole nodes with more and more room kept free, until every unit finds its place.
fn each_solution(
    problem: &Problem,
    demand: &[u32],
    fluid: &Fluid,
    prices: &[f64],
    settings: &Settings,
    control: &dyn Control,
    take: &mut dyn FnMut(Solution),
) -> Result<(), HighsError> {
    let index = Index::new(problem);
    let split = Split::new(&index, &quotas(&index, demand, &fluid.poured, prices));
    for slack in SLACKS {
        if control.exhausted() {
            break;
        }
        let limits = MipLimits { relative_gap: 5e-4, absolute_gap: 1e-6, nodes: settings.iterations };
        let slice = Slice::of(control, 0.3);
        let whole = match whole::nodes(&split.problem, fluid, slack, &limits, &slice) {
            Ok(Some(whole)) => whole,
            Ok(None) | Err(HighsError::Stopped) => continue,
            Err(error) => return Err(error),
        };
        let Some(nodes) = pack::pack(&index, &split, &whole, control) else { break };
        let partial = normalised(problem, nodes);
        let all = partial.unplaced.iter().all(|units| *units == 0);
        take(complete::complete(problem, &partial, Some(prices), control));
        if all {
            // More room on every node only costs more.
            break;
        }
    }
    Ok(())
}

/// A solution that packs what was poured onto whole nodes; the rest goes where there is room, or onto more nodes. `None`
/// where the nodes are too many or time ran out. `prices` is what a unit of each resource is worth.
pub(super) fn packed(
    problem: &Problem,
    demand: &[u32],
    whole: &Whole,
    prices: &[f64],
    control: &dyn Control,
) -> Option<Solution> {
    let index = Index::new(problem);
    let split = Split::new(&index, &quotas(&index, demand, &whole.poured, prices));
    let on_slot = |&slot: &usize| {
        let shape = index.slots[slot].shape;
        whole.poured[shape].iter().filter(|(bin, _)| index.slot(shape, *bin) == slot).copied().collect()
    };
    let split_whole = Whole { nodes: whole.nodes.clone(), poured: split.slots.iter().map(on_slot).collect() };
    let nodes = pack::pack(&index, &split, &split_whole, control)?;
    Some(complete::complete(problem, &normalised(problem, nodes), Some(prices), control))
}

/// Every solution that the relaxation leads to.
#[cfg(test)]
pub(super) fn solutions(
    problem: &Problem,
    demand: &[u32],
    fluid: &Fluid,
    settings: &Settings,
    control: &dyn Control,
) -> Result<Vec<Solution>, HighsError> {
    let mut found = Vec::new();
    let prices = vec![1.0; problem.resources.len()];
    each_solution(problem, demand, fluid, &prices, settings, control, &mut |solution| found.push(solution))?;
    Ok(found)
}

/// The relaxation with whole nodes over all bins, as a plain program.
#[cfg(test)]
pub(super) fn model(problem: &Problem) -> super::model::LinearModel {
    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let master = Master::new(problem, &demand);
    let mut program = Program::new(&master);
    (0..problem.bins.len()).for_each(|bin| program.add(bin));
    let mut model = program.model(0.0);
    model.columns.iter_mut().for_each(|column| column.integer = false);
    model.title = "The fluid relaxation".to_owned();
    model
}

/// Units by slot that obey the rules across nodes, near to where they were poured.
fn quotas(index: &Index, demand: &[u32], poured: &[Vec<(usize, f64)>], prices: &[f64]) -> Vec<u32> {
    let mut wish = Wish::by_price(index, prices);
    let mut target = vec![0.0; index.slots.len()];
    for (shape, poured) in poured.iter().enumerate() {
        for &(bin, units) in poured {
            target[index.slot(shape, bin)] += units;
        }
    }
    wish.target = Some(target);
    quota::split(index, &mut Tally::new(index), demand, &wish, &quota::room_by_slot(index))
}

/// By bin: the first usable bin that is the same in every row, where their number isn't limited.
fn representatives(master: &Master, usable: &[bool]) -> Vec<usize> {
    let problem = master.problem;
    let mut by_price: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    (0..problem.bins.len())
        .map(|bin| {
            let data = &problem.bins[bin];
            if data.max_count.is_some() || !usable[bin] {
                return bin;
            }
            let known = by_price.entry(data.price).or_default();
            let alike = known.iter().copied().find(|&other| {
                let there = &problem.bins[other];
                master.topologies.iter().all(|&topology| data.domains[topology] == there.domains[topology])
                    && data.admits == there.admits
                    && problem.capacity.row(bin) == problem.capacity.row(other)
                    && master.node_terms(bin) == master.node_terms(other)
            });
            alike.unwrap_or_else(|| {
                known.push(bin);
                bin
            })
        })
        .collect()
}

/// The bins that are worth their price by the resources alone, in each domain that a rule looks at; then those for the
/// shapes that none of them admits.
fn first_bins(
    master: &Master,
    demand: &[u32],
    candidates: &[bool],
    control: &dyn Control,
) -> Result<Vec<usize>, HighsError> {
    let problem = master.problem;
    let mut classes: BTreeMap<Vec<Option<u16>>, Vec<usize>> = BTreeMap::new();
    for bin in (0..problem.bins.len()).filter(|&bin| candidates[bin]) {
        let domains = master.topologies.iter().map(|&topology| problem.bins[bin].domains[topology]).collect();
        classes.entry(domains).or_default().push(bin);
    }
    let classes: Vec<Vec<usize>> = if classes.len() > MOST_CLASSES {
        vec![classes.into_values().flatten().collect()]
    } else {
        classes.into_values().collect()
    };
    let mut first = Vec::new();
    for class in classes {
        let mut left = demand.to_vec();
        let mut bins = class.clone();
        for _ in 0..4 {
            let mut mask = vec![false; problem.bins.len()];
            bins.iter().for_each(|&bin| mask[bin] = true);
            let prices = match resource_prices(problem, &left, &mask, control) {
                Ok(found) => found.prices,
                // Limited bins that can't hold all of it have no highest prices: they all begin.
                Err(HighsError::Status(_)) => {
                    first.extend_from_slice(&bins);
                    break;
                }
                Err(error) => return Err(error),
            };
            for &bin in &bins {
                let room = problem.capacity.row(bin);
                let offer: f64 = prices.iter().zip(room).map(|(price, &room)| price * room as f64).sum();
                if offer >= 0.999 * dollars(problem.bins[bin].price) {
                    first.push(bin);
                    problem.bins[bin].admits.ones().for_each(|shape| left[shape] = 0);
                }
            }
            let admits = |bin: usize, shape: usize| problem.bins[bin].admits.contains(shape);
            let Some(shape) =
                (0..left.len()).find(|&shape| left[shape] > 0 && class.iter().any(|&bin| admits(bin, shape)))
            else {
                break;
            };
            bins = class.iter().copied().filter(|&bin| admits(bin, shape)).collect();
        }
    }
    first.sort_unstable();
    first.dedup();
    Ok(first)
}

/// A bound in dollars an hour, the duals that gave it, and by bin the most that a pattern is worth under them.
type Proof = (f64, Vec<f64>, Vec<Option<f64>>);

/// The bound that the duals of the program give for the whole problem, and the duals as they were used.
fn prove(
    master: &Master,
    demand: &[u32],
    usable: &[bool],
    same: &[usize],
    program: &Program,
    found: &[f64],
    control: &dyn Control,
) -> Result<Proof, HighsError> {
    let problem = master.problem;
    let shapes = problem.shapes.len();
    // Rules have the same rows whatever the shapes were merged to.
    let known: BTreeMap<&str, f64> = program
        .master
        .rows
        .iter()
        .zip(found)
        .skip(program.master.problem.shapes.len())
        .map(|(row, &dual)| (row.name.as_str(), dual))
        .collect();
    let mut duals = vec![0.0; master.rows.len()];
    for (row, dual) in master.rows.iter().zip(&mut duals).skip(shapes) {
        let signed = known.get(row.name.as_str()).copied().unwrap_or(0.0);
        let signed = if row.lower.is_finite() { signed } else { signed.min(0.0) };
        *dual = if row.upper.is_finite() { signed } else { signed.max(0.0) };
    }
    // What a unit of each shape is worth: no more than it takes, on any bin of the program.
    let mut worth = vec![f64::INFINITY; shapes];
    for part in &program.parts {
        let by_rules = master.values(part.bin, &duals);
        let mut takes: Vec<f64> = (0..shapes).map(|shape| part.take(problem, found, shape)).collect();
        for (rule, price) in part.cap_prices(found).filter(|(_, price)| *price > 0.0) {
            for shape in problem.rules.node_caps[rule].members.ones() {
                takes[shape] += price * f64::from(problem.shapes[shape].unit.pods.max(1));
            }
        }
        for shape in problem.bins[part.bin].admits.ones() {
            worth[shape] = worth[shape].min(takes[shape] - by_rules[shape]);
        }
    }
    for (shape, worth) in worth.into_iter().enumerate().filter(|(shape, worth)| demand[*shape] > 0 && worth.is_finite())
    {
        duals[shape] = if master.surplus[shape] { worth.max(0.0) } else { worth };
    }
    let mut pricing = Pricing::new(master, demand, usable);
    let mut uppers = pricing.round(master, &duals, 1, control)?.uppers;
    for (bin, upper) in uppers.iter_mut().enumerate() {
        let part = program.parts.iter().find(|part| part.bin == same[bin]);
        if let (Some(upper), Some(part)) = (upper, part) {
            *upper = upper.min(part.offer(found));
        }
    }
    let (bound, duals) = lagrangian(master, &duals, &uppers);
    Ok((bound, duals, uppers))
}
