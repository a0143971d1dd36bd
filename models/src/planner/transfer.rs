//! A solution of one problem in the numbers of another one over the same pods.

use std::collections::{BTreeMap, HashMap};

use crate::problem::build::{Built, PodRef};
use crate::problem::{BinSource, Pattern, Problem, Solution, fits};

/// A bin of the problem before, and the shapes and units on one node of it.
type Held = (u32, Vec<(u32, u32)>);

/// The nodes of `solution` as far as `to` can have them, each on the bin of the same name or else on the cheapest that is
/// no dearer and holds the same pods; pods that no such bin takes are left off. Rules that span nodes may be broken.
pub(super) fn transfer(from: &Built, solution: &Solution, to: &Built) -> Solution {
    let shape_of: HashMap<PodRef, usize> =
        to.pods.iter().enumerate().flat_map(|(shape, pods)| pods.iter().map(move |pod| (*pod, shape))).collect();
    let problem = &to.problem;
    let by_name: HashMap<&str, usize> =
        problem.bins.iter().enumerate().map(|(bin, row)| (row.name.as_str(), bin)).collect();
    let mut by_price: Vec<usize> = (0..problem.bins.len()).collect();
    by_price.sort_by_key(|bin| problem.bins[*bin].price);
    let mut homes: HashMap<Held, Option<Pattern>> = HashMap::new();
    let mut next = vec![0_usize; from.problem.shapes.len()];
    let mut nodes: BTreeMap<Pattern, u32> = BTreeMap::new();
    for (pattern, copies) in &solution.nodes {
        for _ in 0..*copies {
            let mut pods: BTreeMap<u32, u32> = BTreeMap::new();
            for &(shape, units) in &pattern.counts {
                let (shape, many) = (shape as usize, units * from.problem.shapes[shape as usize].unit.pods);
                for pod in &from.pods[shape][next[shape]..][..many as usize] {
                    if let Some(shape) = shape_of.get(pod) {
                        *pods.entry(*shape as u32).or_default() += 1;
                    }
                }
                next[shape] += many as usize;
            }
            // Whole units only.
            let counts: Vec<(u32, u32)> = pods
                .into_iter()
                .map(|(shape, pods)| (shape, pods / problem.shapes[shape as usize].unit.pods))
                .filter(|(_, units)| *units > 0)
                .collect();
            let home = homes
                .entry((pattern.bin, counts))
                .or_insert_with_key(|(bin, counts)| {
                    let row = &from.problem.bins[*bin as usize];
                    let same = by_name.get(row.name.as_str()).copied();
                    home(problem, same, matches!(row.source, BinSource::Existing(_)), row.price, &by_price, counts)
                })
                .clone();
            if let Some(home) = home {
                *nodes.entry(home).or_default() += 1;
            }
        }
    }
    Solution { nodes: nodes.into_iter().collect(), unplaced: Vec::new() }
}

/// By shape of `to`: units without a place in `solution`. Pods of one shape in `from` are of one shape in `to`.
pub(super) fn unplaced(from: &Built, solution: &Solution, to: &Built) -> Vec<u32> {
    let shape_of: HashMap<PodRef, usize> =
        to.pods.iter().enumerate().flat_map(|(shape, pods)| pods.iter().map(move |pod| (*pod, shape))).collect();
    let mut left = vec![0; to.problem.shapes.len()];
    for ((pods, shape), units) in from.pods.iter().zip(&from.problem.shapes).zip(&solution.unplaced) {
        let many = (units * shape.unit.pods) as usize;
        for pod in &pods[pods.len().saturating_sub(many)..] {
            if let Some(shape) = shape_of.get(pod) {
                left[*shape] += 1;
            }
        }
    }
    left.iter().zip(&to.problem.shapes).map(|(pods, shape): (&u32, _)| pods.div_ceil(shape.unit.pods)).collect()
}

/// The pattern of a node in its new problem.
fn home(
    problem: &Problem,
    same: Option<usize>,
    stands: bool,
    price: i64,
    by_price: &[usize],
    counts: &[(u32, u32)],
) -> Option<Pattern> {
    let on = |bin: usize| Pattern { bin: bin as u32, counts: counts.to_vec() };
    let whole = same.filter(|bin| fits(problem, &on(*bin)).is_ok()).or_else(|| {
        let for_sale = |bin: &usize| matches!(problem.bins[*bin].source, BinSource::Offering(_));
        let mut cheaper = by_price.iter().copied().take_while(|bin| problem.bins[*bin].price <= price);
        cheaper.find(|bin| !stands && for_sale(bin) && fits(problem, &on(*bin)).is_ok())
    });
    if let Some(bin) = whole {
        return Some(on(bin)).filter(|pattern| !pattern.counts.is_empty());
    }
    let bin = same?;
    let mut left = on(bin);
    left.counts.retain(|(shape, _)| problem.bins[bin].admits.contains(*shape as usize));
    (!left.counts.is_empty() && fits(problem, &left).is_ok()).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{Bin, Shape, Unit};

    fn pods(range: std::ops::Range<u32>) -> Vec<PodRef> {
        range.map(|index| PodRef { group: 0, index }).collect()
    }

    /// One resource; shapes as (pods a unit, demand, pods), bins as (name, price, capacity, shapes).
    fn built(shapes: &[(u32, i64, std::ops::Range<u32>)], bins: &[(&str, i64, i64, &[usize])]) -> Built {
        let mut problem = Problem { resources: vec!["cpu".to_owned()], ..Problem::default() };
        problem.demand = ndarray::Array2::from_shape_fn((shapes.len(), 1), |(shape, _)| shapes[shape].1);
        problem.capacity = ndarray::Array2::from_shape_fn((bins.len(), 1), |(bin, _)| bins[bin].2);
        for (unit, _, range) in shapes {
            let count = range.len() as u32 / unit;
            problem.shapes.push(Shape { name: String::new(), count, priority: 0, unit: Unit { pods: *unit } });
        }
        for (index, (name, price, _, admitted)) in bins.iter().enumerate() {
            let mut admits = fixedbitset::FixedBitSet::with_capacity(shapes.len());
            admits.extend(admitted.iter().copied());
            let source = BinSource::Offering(index);
            let bin =
                Bin { name: (*name).to_owned(), source, price: *price, max_count: None, admits, domains: Vec::new() };
            problem.bins.push(bin);
        }
        let pods = shapes.iter().map(|(_, _, range)| pods(range.clone())).collect();
        Built { problem, pods, parts: Vec::new(), refused: Vec::new(), refused_parts: Vec::new() }
    }

    #[test]
    fn pods_find_their_shapes_and_nodes_their_bins() {
        let from = built(&[(1, 1, 0..6)], &[("a", 5, 4, &[0]), ("b", 6, 4, &[0])]);
        let solution = Solution {
            nodes: vec![(Pattern { bin: 0, counts: vec![(0, 2)] }, 2), (Pattern { bin: 1, counts: vec![(0, 2)] }, 1)],
            unplaced: vec![0],
        };
        // The first three pods are now a shape of their own, which "a" no longer takes; "c" does for the same price.
        let to = built(&[(1, 1, 0..3), (1, 1, 3..6)], &[("a", 5, 4, &[1]), ("c", 5, 4, &[0]), ("b", 6, 4, &[0, 1])]);
        let moved = transfer(&from, &solution, &to);
        let expected = [
            (Pattern { bin: 0, counts: vec![(1, 1)] }, 1),
            (Pattern { bin: 1, counts: vec![(0, 2)] }, 1),
            (Pattern { bin: 2, counts: vec![(1, 2)] }, 1),
        ];
        assert_eq!(moved.nodes, expected);
        // Units of two pods: only those that are whole on a node are kept.
        let pairs = built(&[(2, 2, 0..6)], &[("a", 5, 4, &[0]), ("b", 6, 4, &[0])]);
        assert_eq!(transfer(&from, &solution, &pairs).nodes.len(), 2);
    }
}
