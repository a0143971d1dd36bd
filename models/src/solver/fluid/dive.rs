//! Whole numbers of the dearer nodes by a dive through the fluid relaxation.

use super::Fluid;
use super::coarse::Coarse;
use super::program::{Part, Program};
use super::whole::{Whole, chosen};
use crate::problem::Problem;
use crate::solver::Control;
use crate::solver::columns::master::{Master, dollars};
use crate::solver::highs::{HighsError, Lp, LpSolution};

/// Bins beside those that the relaxation uses and the best of each size.
const MOST_SPARE: usize = 40;

/// What the nodes of a solution must be worth together, and what a node of each bin is worth at most.
#[derive(Clone, Debug)]
pub(in crate::solver) struct Worth {
    /// By bin.
    pub worth: Vec<f64>,
    /// Of all nodes.
    pub least: f64,
}

/// What a dive came to.
pub(in crate::solver) struct Dived {
    /// Whole nodes, and what is poured onto them and onto fractions of small ones.
    pub whole: Whole,
    /// Cost of the nodes and the fractions, in dollars an hour.
    pub cost: f64,
    /// Whether each shape was poured for itself.
    pub finest: bool,
}

/// Fixes the number of nodes of one bin after the other, that with the dearest nodes of which the relaxation buys
/// fractions first, to the better of fewer and more. Nodes that cost less than `small` (billionths of a dollar an hour)
/// stay fractions. Every node offers a share `slack` less than it does. Shapes without rules are merged to about `merged`:
/// the fewer the sooner it is done, but what is merged can't be told apart where one node has much of what one of them
/// takes and another node much of what the other does. `None` where the fixed numbers leave no way.
///
/// # Errors
/// What HiGHS says.
pub(in crate::solver) fn dive(
    problem: &Problem,
    fluid: &Fluid,
    small: i64,
    slack: f64,
    merged: usize,
    worths: &[Worth],
    control: &dyn Control,
) -> Result<Option<Dived>, HighsError> {
    let bins = near(problem, fluid);
    let mut usable = vec![false; problem.bins.len()];
    bins.iter().for_each(|&bin| usable[bin] = true);
    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let coarse = Coarse::new(problem, &demand, &usable, merged);
    let units = coarse.demand();
    let master = Master::whole(&coarse.problem, &units);
    let mut program = Program::new(&master);
    bins.into_iter().for_each(|bin| program.add(bin));
    worths.iter().for_each(|worth| program.demand_worth(&worth.worth, worth.least));
    program.lessen(slack);
    let mut lp = Lp::new(&program.rows)?;
    lp.add_columns(&program.columns)?;
    let mut solution = lp.solve(control)?;
    let price = |part: &Part| problem.bins[part.bin].price;
    loop {
        let dearest = program
            .parts
            .iter()
            .filter(|part| price(part) >= small && fraction(solution.columns[part.nodes]) > 1e-5)
            .max_by_key(|part| (price(part), std::cmp::Reverse(part.bin)));
        let Some(part) = dearest else { break };
        let (column, value) = (part.nodes, solution.columns[part.nodes]);
        let (lower, upper) = (program.columns[column].lower, program.columns[column].upper);
        let mut best: Option<((f64, f64), LpSolution)> = None;
        for sides in [(lower, value.floor()), (value.ceil(), upper)] {
            lp.bound_column(column, sides.0, sides.1)?;
            match lp.solve(control) {
                Ok(found) if best.as_ref().is_none_or(|(_, known)| found.objective < known.objective) => {
                    best = Some((sides, found));
                }
                Ok(_) | Err(HighsError::Status(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let Some((sides, found)) = best else { return Ok(None) };
        lp.bound_column(column, sides.0, sides.1)?;
        (program.columns[column].lower, program.columns[column].upper) = sides;
        solution = found;
    }
    let mut whole = Whole { nodes: Vec::new(), poured: vec![Vec::new(); problem.shapes.len()] };
    for part in &program.parts {
        let nodes = (solution.columns[part.nodes] + 1e-5).floor();
        if nodes >= 1.0 {
            whole.nodes.push((part.bin, nodes as u32));
        }
        coarse.pour(part, &solution.columns, &demand, &mut whole.poured);
    }
    let finest = coarse.members.iter().all(|shapes| shapes.len() == 1);
    Ok(Some(Dived { whole, cost: solution.objective, finest }))
}

fn fraction(value: f64) -> f64 {
    (value - value.round()).abs()
}

/// The bins that the relaxation uses, the best of each size, and those that lose the least of their price.
fn near(problem: &Problem, fluid: &Fluid) -> Vec<usize> {
    let mut near = chosen(problem, fluid);
    let loss = |bin: usize| {
        let worth = fluid.worth[bin].filter(|worth| *worth > 0.0)?;
        Some((dollars(problem.bins[bin].price) / worth, bin))
    };
    let others = (0..problem.bins.len()).filter(|bin| near.binary_search(bin).is_err());
    let mut others: Vec<(f64, usize)> = others.filter_map(loss).collect();
    others.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    near.extend(others.into_iter().take(MOST_SPARE).map(|(_, bin)| bin));
    near.sort_unstable();
    near
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::solver::fluid::relax;
    use crate::solver::heuristics_test::Time;
    use crate::solver::test_problems::zones;

    /// Poured, 23 units cost $23.00 on 2.3 big nodes; whole, $24.50 on two big and three small ones.
    #[test]
    fn a_dive_buys_whole_nodes() {
        let problem = zones(23);
        let fluid = relax(&problem, &[23], &[true; 6], true, &Time(f64::INFINITY)).unwrap();
        assert!((fluid.bound - 23.0).abs() < 1e-6, "{}", fluid.bound);
        let dived = dive(&problem, &fluid, 0, 0.0, 9, &[], &Time(f64::INFINITY)).unwrap().unwrap();
        assert!((dived.cost - 24.5).abs() < 1e-6, "{}", dived.cost);
        let of = |bins: std::ops::Range<usize>| -> u32 {
            dived.whole.nodes.iter().filter(|(bin, _)| bins.contains(bin)).map(|(_, nodes)| *nodes).sum()
        };
        assert_eq!((of(0..3), of(3..6)), (2, 3));
        // Small nodes stay fractions where they may; what a node must be worth is heeded.
        let worth = Worth { worth: vec![10.0, 10.0, 10.0, 0.0, 0.0, 0.0], least: 30.0 };
        let dived = dive(&problem, &fluid, 2_000_000_000, 0.0, 9, &[worth], &Time(f64::INFINITY)).unwrap().unwrap();
        assert!((dived.cost - 30.0).abs() < 1e-6, "{}", dived.cost);
        // A tenth less on each node: 23 units need 2.56 big ones, so two and 5 units on small ones of nine tenths.
        let dived = dive(&problem, &fluid, 2_000_000_000, 0.1, 9, &[], &Time(f64::INFINITY)).unwrap().unwrap();
        assert!((dived.cost - (20.0 + 1.5 * 5.0 / 0.9)).abs() < 1e-6, "{}", dived.cost);
    }

    /// Two shapes that take much of one resource each, and a bin for either: merged, nobody knows which fits where.
    #[test]
    fn a_finer_dive_is_cheaper() {
        let mut problem = zones(2);
        problem.resources.push("memory".to_owned());
        problem.shapes.push(problem.shapes[0].clone());
        let takes = |one: usize, other: usize| if one == other { 5_000 } else { 1_000 };
        problem.demand = ndarray::Array2::from_shape_fn((2, 2), |(shape, resource)| takes(shape, resource));
        problem.capacity = ndarray::Array2::from_shape_fn((6, 2), |(bin, resource)| 2 * takes(bin / 3, resource));
        for bin in &mut problem.bins {
            bin.admits = [0, 1].into_iter().collect();
            bin.price = 1_000_000_000;
        }
        let (demand, time) = ([2, 2], Time(f64::INFINITY));
        let fluid = relax(&problem, &demand, &[true; 6], true, &time).unwrap();
        let dived = |merged: usize| dive(&problem, &fluid, 0, 0.0, merged, &[], &time).unwrap().unwrap();
        let (coarse, fine) = (dived(1), dived(2));
        assert!(fine.finest && (fine.cost - 2.0).abs() < 1e-6, "{}", fine.cost);
        assert!(!coarse.finest && coarse.cost > 2.5, "{}", coarse.cost);
    }
}
