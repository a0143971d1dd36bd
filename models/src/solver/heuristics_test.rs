//! The heuristics against brute force: random small problems with every rule.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use fastrand::Rng;
use fixedbitset::FixedBitSet;
use ndarray::Array2;
use proptest::prelude::*;

use super::packing::rank;
use super::{Control, Settings, complete, greedy, improve, quota};
use crate::problem::{
    Bin, BinSource, DomainCap, DomainExclusive, DomainTogether, Flexible, FlexibleHost, NodeBudget, NodeCap,
    NodeExclusive, NodeTogether, Pattern, Problem, Rules, Shape, ShapeSet, Solution, Spread, Topology, Unit, fits,
};

/// A control with all the time there is, or none.
pub(super) struct Time(pub f64);

impl Control for Time {
    fn remaining_seconds(&self) -> f64 {
        self.0
    }
}

fn set(random: &mut Rng, size: usize, share: f64) -> ShapeSet {
    let mut set = FixedBitSet::with_capacity(size);
    (0..size).filter(|_| random.f64() < share).for_each(|index| set.insert(index));
    set
}

fn two_sets(random: &mut Rng, size: usize) -> (ShapeSet, ShapeSet) {
    let left = set(random, size, 0.4);
    let mut right = set(random, size, 0.4);
    right.difference_with(&left);
    (left, right)
}

/// A random problem of at most `most_units` units, with each kind of rule now and then.
pub(super) fn random_problem(seed: u64, most_units: u32) -> Problem {
    let mut random = Rng::with_seed(seed);
    let random = &mut random;
    let shapes = random.usize(1..=4);
    let mut units = most_units;
    let counts: Vec<u32> = (0..shapes)
        .map(|_| {
            let count = random.u32(0..=units.min(4));
            units -= count;
            count
        })
        .collect();
    let topologies: Vec<Topology> = (0..random.usize(0..=2))
        .map(|index| Topology {
            key: format!("topology-{index}"),
            values: (0..random.usize(1..=3)).map(|value| value.to_string()).collect(),
        })
        .collect();
    let bins = random.usize(1..=5);
    let resources = 2;
    let domain = |random: &mut Rng, topology: &Topology| {
        (random.f64() < 0.9).then(|| random.u16(0..topology.values.len() as u16))
    };
    let mut problem = Problem {
        resources: vec!["cpu".into(), "pods".into()],
        shapes: (0..shapes)
            .map(|index| Shape {
                name: format!("shape-{index}"),
                count: counts[index],
                priority: random.i32(0..2),
                unit: Unit { pods: 1 },
            })
            .collect(),
        bins: Vec::new(),
        demand: Array2::from_shape_fn(
            (shapes, resources),
            |(_, resource)| {
                if resource == 0 { random.i64(1..=5) } else { 1 }
            },
        ),
        capacity: Array2::from_shape_fn((bins, resources), |(_, resource)| {
            if resource == 0 { random.i64(3..=12) } else { random.i64(1..=5) }
        }),
        topologies,
        rules: Rules::default(),
    };
    for bin in 0..bins {
        let there = random.f64() < 0.2;
        let mut admits = set(random, shapes, 0.8);
        for shape in 0..shapes {
            if (0..resources).any(|resource| problem.demand[[shape, resource]] > problem.capacity[[bin, resource]]) {
                admits.remove(shape);
            }
        }
        let domains = problem.topologies.iter().map(|topology| domain(random, topology)).collect();
        problem.bins.push(Bin {
            name: format!("bin-{bin}"),
            source: if there { BinSource::Existing(bin) } else { BinSource::Offering(bin) },
            price: if there { 0 } else { random.i64(1..=20) * 1_000 },
            max_count: if there { Some(1) } else { (random.f64() < 0.3).then(|| random.u32(1..=3)) },
            admits,
            domains,
        });
    }
    node_rules(&mut problem, random);
    domain_rules(&mut problem, random);
    problem
}

fn node_rules(problem: &mut Problem, random: &mut Rng) {
    let (shapes, bins) = (problem.shapes.len(), problem.bins.len());
    let existing: Vec<usize> =
        (0..bins).filter(|&bin| matches!(problem.bins[bin].source, BinSource::Existing(_))).collect();
    if random.f64() < 0.3 {
        let present: BTreeMap<usize, u32> = existing.iter().map(|&bin| (bin, random.u32(0..2))).collect();
        let members = set(random, shapes, 0.5);
        problem.rules.node_caps.push(NodeCap { name: "cap".into(), members, limit: random.u32(1..=2), present });
    }
    if random.f64() < 0.3 {
        let (left, right) = two_sets(random, shapes);
        problem.rules.node_exclusives.push(NodeExclusive { name: "exclusive".into(), left, right });
    }
    if random.f64() < 0.3 {
        let (members, anchors) = two_sets(random, shapes);
        let mut satisfied = FixedBitSet::with_capacity(bins);
        existing.iter().filter(|_| random.bool()).for_each(|&bin| satisfied.insert(bin));
        problem.rules.node_togethers.push(NodeTogether { name: "together".into(), members, anchors, satisfied });
    }
    if random.f64() < 0.2 {
        let mut sold = FixedBitSet::with_capacity(bins);
        (0..bins).filter(|bin| !existing.contains(bin)).for_each(|bin| sold.insert(bin));
        let hosts = (0..random.usize(1..=5))
            .map(|_| FlexibleHost {
                capacity: vec![random.i64(4..=14), random.i64(1..=6)],
                admits: set(random, shapes, 0.9),
                values: vec![random.u32(0..3)],
            })
            .collect();
        problem.rules.flexibles.push(Flexible {
            name: "flexible".into(),
            bins: sold,
            minimum: vec![random.u32(1..=2)],
            hosts,
        });
    }
    if random.f64() < 0.2 {
        let per_node = (0..bins).filter(|bin| !existing.contains(bin)).map(|bin| (bin, random.i64(1..=3))).collect();
        problem.rules.node_budgets.push(NodeBudget { name: "budget".into(), per_node, limit: random.i64(1..=8) });
    }
}

fn domain_rules(problem: &mut Problem, random: &mut Rng) {
    let shapes = problem.shapes.len();
    for topology in 0..problem.topologies.len() {
        let domains = problem.topologies[topology].values.len();
        let counts = |random: &mut Rng| (0..domains).map(|_| random.u32(0..4).saturating_sub(2)).collect::<Vec<u32>>();
        if random.f64() < 0.4 {
            let owners = set(random, shapes, 0.5);
            let mut members = owners.clone();
            if random.f64() < 0.3 {
                members = set(random, shapes, 0.6);
            }
            let eligible: Vec<bool> = (0..domains).map(|_| random.f64() < 0.85).collect();
            for bin in &mut problem.bins {
                if !bin.domains[topology].is_some_and(|domain| eligible[usize::from(domain)]) {
                    bin.admits.difference_with(&owners);
                }
            }
            problem.rules.spreads.push(Spread {
                name: "spread".into(),
                topology,
                owners,
                members,
                max_skew: random.u32(1..=2),
                min_domains: (random.f64() < 0.2).then(|| random.u32(1..=3)),
                eligible,
                present: counts(random),
                dormant: Vec::new(),
            });
        }
        if random.f64() < 0.2 {
            problem.rules.domain_caps.push(DomainCap {
                name: "domain cap".into(),
                topology,
                members: set(random, shapes, 0.5),
                limit: random.u32(1..=3),
                present: counts(random),
            });
        }
        if random.f64() < 0.2 {
            let (left, right) = two_sets(random, shapes);
            problem.rules.domain_exclusives.push(DomainExclusive {
                name: "domain exclusive".into(),
                topology,
                left,
                right,
            });
        }
        if random.f64() < 0.25 {
            let (members, mut anchors) = two_sets(random, shapes);
            if random.bool() {
                anchors.clear();
            }
            problem.rules.domain_togethers.push(DomainTogether {
                name: "domain together".into(),
                topology,
                members,
                anchors,
                present: (0..domains).map(|_| random.f64() < 0.2).collect(),
            });
        }
    }
}

/// The least price at which all units can be placed, by trying everything.
pub(super) fn brute_force(problem: &Problem) -> Option<i64> {
    let mut patterns = Vec::new();
    let counts: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let mut odometer = vec![0_u32; counts.len()];
    while let Some(wheel) = (0..counts.len()).find(|&wheel| odometer[wheel] < counts[wheel]) {
        odometer[..wheel].fill(0);
        odometer[wheel] += 1;
        for bin in 0..problem.bins.len() {
            let held = odometer.iter().enumerate().filter(|(_, units)| **units > 0);
            let pattern =
                Pattern { bin: bin as u32, counts: held.map(|(shape, units)| (shape as u32, *units)).collect() };
            if fits(problem, &pattern).is_ok() {
                patterns.push(pattern);
            }
        }
    }
    fn descend(
        problem: &Problem,
        patterns: &[Pattern],
        missing: &mut [u32],
        chosen: &mut BTreeMap<Pattern, u32>,
        best: &mut Option<i64>,
    ) {
        if missing.iter().all(|units| *units == 0) {
            let nodes = chosen.iter().map(|(pattern, copies)| (pattern.clone(), *copies)).collect();
            let solution = Solution { nodes, unplaced: vec![0; missing.len()] };
            let cost = problem.cost(&solution);
            if best.is_none_or(|best| cost < best) && problem.violations(&solution).is_empty() {
                *best = Some(cost);
            }
            return;
        }
        for (position, pattern) in patterns.iter().enumerate() {
            if pattern.counts.iter().all(|&(shape, units)| units <= missing[shape as usize]) {
                pattern.counts.iter().for_each(|&(shape, units)| missing[shape as usize] -= units);
                *chosen.entry(pattern.clone()).or_default() += 1;
                descend(problem, &patterns[position..], missing, chosen, best);
                pattern.counts.iter().for_each(|&(shape, units)| missing[shape as usize] += units);
                match chosen.get_mut(pattern) {
                    Some(copies) if *copies > 1 => *copies -= 1,
                    _ => drop(chosen.remove(pattern)),
                }
            }
        }
    }
    let mut best = None;
    descend(problem, &patterns, &mut counts.clone(), &mut BTreeMap::new(), &mut best);
    best
}

fn check(problem: &Problem, solution: &Solution) -> Result<(), TestCaseError> {
    prop_assert_eq!(problem.violations(solution), vec![]);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn greedy_places_whatever_brute_force_places(seed in any::<u64>()) {
        let problem = random_problem(seed, 6);
        let solution = greedy::greedy(&problem, None, 1, &Time(1e9));
        check(&problem, &solution)?;
        let improved = improve::improve(
            &problem,
            solution.clone(),
            None,
            &Settings { iterations: Some(200), ..Settings::default() },
            &Time(1e9),
        );
        check(&problem, &improved)?;
        prop_assert!(rank(&problem, &improved) <= rank(&problem, &solution));
        if let Some(least) = brute_force(&problem) {
            prop_assert!(solution.unplaced.iter().all(|units| *units == 0), "seed {}: {:?}", seed, solution.unplaced);
            prop_assert!(problem.cost(&improved) >= least);
        }
    }

    #[test]
    fn larger_problems_obey_every_rule_at_every_budget(seed in any::<u64>()) {
        let problem = random_problem(seed, 40);
        let hurried = greedy::greedy(&problem, None, 1, &Time(0.0));
        check(&problem, &hurried)?;
        let solution = greedy::greedy(&problem, None, 1, &Time(1e9));
        check(&problem, &solution)?;
        prop_assert_eq!(&solution, &greedy::greedy(&problem, None, 1, &Time(1e9)));
        let settings = Settings { iterations: Some(100), ..Settings::default() };
        let improved = improve::improve(&problem, solution.clone(), None, &settings, &Time(1e9));
        check(&problem, &improved)?;
        prop_assert!(rank(&problem, &improved) <= rank(&problem, &solution));
        prop_assert_eq!(&improved, &improve::improve(&problem, solution.clone(), None, &settings, &Time(1e9)));
        let half: Vec<(Pattern, u32)> = solution.nodes.iter().step_by(2).cloned().collect();
        let partial = Solution { nodes: half, unplaced: vec![0; problem.shapes.len()] };
        check(&problem, &complete::complete(&problem, &partial, None, &Time(1e9)))?;
    }

    #[test]
    fn quotas_add_up_and_stay_within_the_rules(seed in any::<u64>()) {
        let problem = random_problem(seed, 40);
        let quotas = quota::assign(&problem, None);
        for (shape, facts) in problem.shapes.iter().enumerate() {
            let shares: u32 = quotas.shares[shape].iter().map(|share| share.units).sum();
            prop_assert_eq!(shares + quotas.unassigned[shape], facts.count);
        }
        for cap in &problem.rules.domain_caps {
            for domain in 0..cap.present.len() {
                let units: u32 = cap
                    .members
                    .ones()
                    .flat_map(|shape| &quotas.shares[shape])
                    .filter(|share| share.tuple[cap.topology] == Some(domain as u16))
                    .map(|share| share.units)
                    .sum();
                prop_assert!(units == 0 || units + cap.present[domain] <= cap.limit);
            }
        }
    }
}
