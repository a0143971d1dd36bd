//! Small random problems with every rule, and their optimum by trying everything.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use fixedbitset::FixedBitSet;
use ndarray::Array2;

use crate::problem::{
    Bin, BinSource, DomainCap, DomainExclusive, DomainTogether, NodeBudget, NodeCap, NodeExclusive, NodeTogether,
    Pattern, Problem, Rules, Shape, ShapeSet, Solution, Spread, Topology, Unit, fits,
};
use crate::solver::Control;
use crate::solver::incumbent::normalised;
use crate::solver::pipeline::worth;

/// A control whose time has no end.
pub struct Patient;

impl Control for Patient {
    fn remaining_seconds(&self) -> f64 {
        f64::INFINITY
    }
}

fn set(length: usize, members: &[usize]) -> ShapeSet {
    let mut set = FixedBitSet::with_capacity(length);
    members.iter().for_each(|&member| set.insert(member));
    set
}

/// A problem of two or three shapes with up to six units, four bins in two domains, and the rules that `rules` asks
/// for by bit.
pub fn random(seed: u64, rules: u32) -> Problem {
    let mut random = fastrand::Rng::with_seed(seed);
    let shapes = random.usize(2..=3);
    let demand = Array2::from_shape_fn((shapes, 2), |_| random.i64(1..=5));
    let sizes = [(4, 5), (9, 8)];
    let capacity = Array2::from_shape_fn((4, 2), |(bin, resource)| {
        let size = sizes[bin / 2];
        if resource == 0 { size.0 } else { size.1 }
    });
    let bins = (0..4)
        .map(|bin| {
            let admitted: Vec<usize> = (0..shapes)
                .filter(|&shape| (0..2).all(|resource| demand[[shape, resource]] <= capacity[[bin, resource]]))
                .collect();
            Bin {
                name: format!("bin {bin}"),
                source: BinSource::Offering(bin),
                price: [100, 100, 185, 180][bin] * 1_000_000 + random.i64(0..=9) * 1_000_000,
                max_count: random.bool().then(|| random.u32(1..=3)).filter(|_| rules & 64 != 0),
                admits: set(shapes, &admitted),
                domains: vec![Some((bin % 2) as u16)],
            }
        })
        .collect();
    let all: Vec<usize> = (0..shapes).collect();
    let (left, right) = (set(shapes, &[0]), set(shapes, &[1]));
    let has = |bit: u32| rules & bit != 0;
    let mut made = Rules::default();
    if has(1) {
        let limit = random.u32(1..=2);
        made.node_caps.push(NodeCap {
            name: "cap".into(),
            members: set(shapes, &all),
            limit,
            present: BTreeMap::new(),
        });
    }
    if has(2) {
        made.node_exclusives.push(NodeExclusive { name: "apart".into(), left: left.clone(), right: right.clone() });
    }
    if has(4) {
        let satisfied = FixedBitSet::with_capacity(4);
        made.node_togethers.push(NodeTogether {
            name: "near".into(),
            members: right.clone(),
            anchors: left.clone(),
            satisfied,
        });
    }
    if has(8) {
        let members = if random.bool() { left.clone() } else { set(shapes, &all) };
        made.spreads.push(Spread {
            name: "spread".into(),
            topology: 0,
            owners: left.clone(),
            members,
            max_skew: 1,
            min_domains: random.bool().then_some(random.u32(1..=3)),
            eligible: vec![true, true],
            dormant: Vec::new(),
            present: vec![random.u32(0..=1), 0],
        });
    }
    if has(16) {
        made.domain_caps.push(DomainCap {
            name: "few".into(),
            topology: 0,
            members: right.clone(),
            limit: 2,
            present: vec![random.u32(0..=1), 0],
        });
    }
    if has(32) {
        made.domain_exclusives.push(DomainExclusive {
            name: "elsewhere".into(),
            topology: 0,
            left: left.clone(),
            right: right.clone(),
        });
    }
    if has(128) {
        let anchors = if random.bool() { left } else { set(shapes, &[]) };
        made.domain_togethers.push(DomainTogether {
            name: "same zone".into(),
            topology: 0,
            members: right,
            anchors,
            present: vec![false, false],
        });
    }
    if has(256) {
        let per_node = (0..4).map(|bin| (bin, if bin < 2 { 4 } else { 9 })).collect();
        made.node_budgets.push(NodeBudget { name: "limit".into(), per_node, limit: random.i64(9..=30) });
    }
    Problem {
        resources: vec!["cpu".into(), "memory".into()],
        shapes: (0..shapes)
            .map(|shape| Shape {
                name: format!("shape {shape}"),
                count: random.u32(1..=if shapes == 2 { 3 } else { 2 }),
                priority: 0,
                unit: Unit { pods: 1 },
            })
            .collect(),
        bins,
        demand,
        capacity,
        topologies: vec![Topology { key: "zone".into(), values: vec!["a".into(), "b".into()] }],
        rules: made,
    }
}

/// The instance of the formulations' pages: shapes of 2 and 3 millicores, three and two units, on bins of 4 and 8.
pub fn page() -> Problem {
    let mut problem = random(1, 0);
    problem.demand = Array2::from_shape_vec((2, 2), vec![2, 1, 3, 2]).unwrap();
    problem.capacity = Array2::from_shape_vec((2, 2), vec![4, 4, 8, 6]).unwrap();
    problem.shapes.resize(2, problem.shapes[0].clone());
    problem.shapes[0].count = 3;
    problem.shapes[1].count = 2;
    problem.bins.truncate(2);
    for (bin, price) in problem.bins.iter_mut().zip([100_000_000, 180_000_000]) {
        bin.price = price;
        bin.admits = set(2, &[0, 1]);
    }
    problem
}

/// One shape of a thousand millicores, bins that hold ten units for $10 and one unit for $1.50, both in three zones.
pub fn zones(count: u32) -> Problem {
    let mut problem = page();
    let one = problem.shapes[0].clone();
    problem.shapes = vec![Shape { count, ..one }];
    problem.resources = vec!["cpu".into()];
    problem.demand = Array2::from_elem((1, 1), 1_000);
    problem.capacity = Array2::from_shape_fn((6, 1), |(bin, _)| if bin < 3 { 10_000 } else { 1_000 });
    let values = ["a", "b", "c"].map(str::to_owned).to_vec();
    problem.topologies = vec![Topology { key: "topology.kubernetes.io/zone".into(), values }];
    problem.bins = (0..6)
        .map(|bin| Bin {
            name: format!("{} in {}", if bin < 3 { "big" } else { "small" }, ["a", "b", "c"][bin % 3]),
            source: BinSource::Offering(bin),
            price: if bin < 3 { 10_000_000_000 } else { 1_500_000_000 },
            max_count: None,
            admits: set(1, &[0]),
            domains: vec![Some((bin % 3) as u16)],
        })
        .collect();
    problem
}

/// The best solution there is: every multiset of valid patterns; units are left out last, and limits used up before.
pub fn optimum(problem: &Problem) -> Solution {
    let mut patterns = Vec::new();
    for bin in 0..problem.bins.len() {
        let mut counts = vec![0_u32; problem.shapes.len()];
        while let Some(at) = (0..counts.len()).find(|&shape| counts[shape] < problem.shapes[shape].count) {
            counts[..at].iter_mut().for_each(|count| *count = 0);
            counts[at] += 1;
            let held =
                counts.iter().enumerate().filter(|(_, n)| **n > 0).map(|(shape, &n)| (shape as u32, n)).collect();
            let pattern = Pattern { bin: bin as u32, counts: held };
            if fits(problem, &pattern).is_ok() {
                patterns.push(pattern);
            }
        }
    }
    let left: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let mut best = normalised(problem, []);
    let mut taken = Vec::new();
    descend(problem, &patterns, 0, &left, &mut taken, &mut best);
    best
}

fn descend(
    problem: &Problem,
    patterns: &[Pattern],
    start: usize,
    left: &[u32],
    taken: &mut Vec<Pattern>,
    best: &mut Solution,
) {
    let solution = normalised(problem, taken.iter().map(|pattern| (pattern.clone(), 1)));
    if worth(problem, &solution) < worth(problem, best) && problem.violations(&solution).is_empty() {
        *best = solution;
    }
    for index in start..patterns.len() {
        let pattern = &patterns[index];
        if pattern.counts.iter().all(|&(shape, units)| units <= left[shape as usize]) {
            let mut rest = left.to_vec();
            pattern.counts.iter().for_each(|&(shape, units)| rest[shape as usize] -= units);
            taken.push(pattern.clone());
            descend(problem, patterns, index, &rest, taken, best);
            taken.pop();
        }
    }
}
