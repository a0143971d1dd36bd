//! Each rule alone: what the greedy makes of it, on a problem small enough to know the answer.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use fixedbitset::FixedBitSet;
use ndarray::Array2;

use super::heuristics_test::Time;
use super::{Settings, complete, greedy, improve, quota};
use crate::problem::{
    Bin, BinSource, DomainCap, DomainExclusive, DomainTogether, Exhausted, Flexible, FlexibleHost, NodeBudget, NodeCap,
    NodeExclusive, NodeTogether, Pattern, Problem, Rules, Shape, ShapeSet, Solution, Spread, Topology, Unit,
};

fn of(members: &[usize]) -> ShapeSet {
    let mut set = FixedBitSet::with_capacity(8);
    members.iter().for_each(|&member| set.insert(member));
    set
}

/// Shapes of (count, cpu), and for each of three zones a small bin (4 cpu for 40) and a big one (16 cpu for 128); the
/// second and third zone are each dearer by 1.
fn problem(shapes: &[(u32, i64)]) -> Problem {
    let bins = (0..6).map(|bin| Bin {
        name: format!("bin-{bin}"),
        source: BinSource::Offering(bin),
        price: if bin % 2 == 0 { 40 } else { 128 } + bin as i64 / 2,
        max_count: None,
        admits: of(&(0..shapes.len()).collect::<Vec<usize>>()),
        domains: vec![Some(bin as u16 / 2)],
    });
    Problem {
        resources: vec!["cpu".into()],
        shapes: shapes
            .iter()
            .map(|&(count, _)| Shape { name: "shape".into(), count, priority: 0, unit: Unit { pods: 1 } })
            .collect(),
        bins: bins.collect(),
        demand: Array2::from_shape_fn((shapes.len(), 1), |(shape, _)| shapes[shape].1),
        capacity: Array2::from_shape_fn((6, 1), |(bin, _)| if bin % 2 == 0 { 4 } else { 16 }),
        topologies: vec![Topology { key: "zone".into(), values: vec!["a".into(), "b".into(), "c".into()] }],
        rules: Rules::default(),
    }
}

/// The greedy's answer, which must break nothing.
fn solve(problem: &Problem) -> Solution {
    let solution = greedy::greedy(problem, None, 1, &Time(1e9));
    assert_eq!(problem.violations(&solution), vec![]);
    solution
}

fn all_placed(problem: &Problem) -> Solution {
    let solution = solve(problem);
    assert!(solution.unplaced.iter().all(|units| *units == 0), "{solution:?}");
    solution
}

fn nodes(solution: &Solution) -> u32 {
    solution.nodes.iter().map(|(_, copies)| copies).sum()
}

/// Units of a shape by zone.
fn by_zone(problem: &Problem, solution: &Solution, shape: usize) -> [u32; 3] {
    let mut zones = [0; 3];
    for (pattern, copies) in &solution.nodes {
        let zone = problem.bins[pattern.bin as usize].domains[0].unwrap();
        let held = pattern.counts.iter().filter(|(held, _)| *held as usize == shape);
        zones[usize::from(zone)] += held.map(|(_, units)| units * copies).sum::<u32>();
    }
    zones
}

#[test]
fn without_rules_the_cheapest_nodes_are_full() {
    let problem = problem(&[(17, 1)]);
    assert_eq!(problem.cost(&all_placed(&problem)), 128 + 40);
}

#[test]
fn a_node_cap_opens_more_nodes() {
    let mut problem = problem(&[(5, 1)]);
    let present = BTreeMap::new();
    problem.rules.node_caps.push(NodeCap { name: "cap".into(), members: of(&[0]), limit: 2, present });
    let solution = all_placed(&problem);
    assert_eq!((nodes(&solution), problem.cost(&solution)), (3, 120));
}

#[test]
fn exclusive_shapes_share_no_node() {
    let mut problem = problem(&[(1, 1), (1, 1)]);
    problem.rules.node_exclusives.push(NodeExclusive { name: "x".into(), left: of(&[0]), right: of(&[1]) });
    assert_eq!(nodes(&all_placed(&problem)), 2);
}

#[test]
fn company_is_brought_to_every_node() {
    let mut problem = problem(&[(3, 3), (3, 1)]);
    problem.capacity.column_mut(0).mapv_inplace(|room| room.min(4));
    let satisfied = FixedBitSet::with_capacity(6);
    problem.rules.node_togethers.push(NodeTogether {
        name: "together".into(),
        members: of(&[0]),
        anchors: of(&[1]),
        satisfied,
    });
    assert_eq!(nodes(&all_placed(&problem)), 3);
    problem.shapes[1].count = 2;
    assert_eq!(solve(&problem).unplaced, vec![1, 0]);
}

#[test]
fn flexibility_keeps_nodes_small_enough_for_other_offerings() {
    let mut problem = problem(&[(16, 1)]);
    let host = |room: i64, value: u32| FlexibleHost { capacity: vec![room], admits: of(&[0]), values: vec![value] };
    let mut bins = FixedBitSet::with_capacity(6);
    bins.insert_range(..);
    problem.rules.flexibles.push(Flexible {
        name: "minValues".into(),
        bins,
        minimum: vec![2],
        hosts: vec![host(16, 0), host(8, 1), host(4, 2)],
    });
    let solution = all_placed(&problem);
    assert!(solution.nodes.iter().all(|(pattern, _)| pattern.counts[0].1 <= 8), "{solution:?}");
}

#[test]
fn a_spread_is_even_and_the_rest_goes_where_it_is_cheap() {
    let mut problem = problem(&[(7, 4)]);
    problem.rules.spreads.push(Spread {
        name: "spread".into(),
        topology: 0,
        owners: of(&[0]),
        members: of(&[0]),
        max_skew: 1,
        min_domains: None,
        eligible: vec![true; 3],
        dormant: Vec::new(),
        present: vec![0; 3],
    });
    assert_eq!(by_zone(&problem, &all_placed(&problem), 0), [3, 2, 2]);
    problem.rules.spreads[0].present = vec![2, 0, 0];
    assert_eq!(by_zone(&problem, &all_placed(&problem), 0), [1, 3, 3]);
    problem.rules.spreads[0].present = vec![0; 3];
    problem.rules.spreads[0].min_domains = Some(4);
    assert_eq!(solve(&problem).unplaced, vec![4]);
}

#[test]
fn a_domain_cap_spills_over_and_then_stops() {
    let mut problem = problem(&[(4, 1)]);
    problem.rules.domain_caps.push(DomainCap {
        name: "cap".into(),
        topology: 0,
        members: of(&[0]),
        limit: 1,
        present: vec![0, 1, 0],
    });
    let solution = solve(&problem);
    assert_eq!((by_zone(&problem, &solution, 0), solution.unplaced), ([1, 0, 1], vec![2]));
}

#[test]
fn exclusive_shapes_share_no_domain() {
    let mut problem = problem(&[(4, 1), (4, 1)]);
    problem.rules.domain_exclusives.push(DomainExclusive {
        name: "x".into(),
        topology: 0,
        left: of(&[0]),
        right: of(&[1]),
    });
    let solution = all_placed(&problem);
    let (one, other) = (by_zone(&problem, &solution, 0), by_zone(&problem, &solution, 1));
    assert!((0..3).all(|zone| one[zone] == 0 || other[zone] == 0));
}

#[test]
fn those_who_need_a_domain_follow_their_anchor() {
    let mut problem = problem(&[(4, 1), (1, 1)]);
    // The anchor stands in the dearest zone alone.
    (0..4).for_each(|bin| problem.bins[bin].admits.remove(1));
    let present = vec![false; 3];
    let (members, anchors) = (of(&[0]), of(&[1]));
    problem.rules.domain_togethers.push(DomainTogether { name: "t".into(), topology: 0, members, anchors, present });
    assert_eq!(by_zone(&problem, &all_placed(&problem), 0), [0, 0, 4]);
    problem.rules.domain_togethers[0].anchors.clear();
    let zones = by_zone(&problem, &all_placed(&problem), 0);
    assert_eq!(zones.iter().filter(|units| **units > 0).count(), 1);
}

#[test]
fn what_is_there_is_used_first() {
    let mut problem = problem(&[(5, 4)]);
    problem.bins[2].source = BinSource::Existing(0);
    problem.bins[2].price = 0;
    problem.bins[2].max_count = Some(1);
    assert_eq!(problem.cost(&all_placed(&problem)), 128);
}

#[test]
fn within_a_budget_the_lower_priority_waits() {
    let mut problem = problem(&[(4, 4), (2, 4), (2, 4)]);
    problem.shapes[1].priority = 10;
    problem.shapes[2].priority = -5;
    let per_node = (0..6).map(|bin| (bin, if bin % 2 == 0 { 1 } else { 5 })).collect();
    problem.rules.node_budgets.push(NodeBudget { name: "limits".into(), per_node, limit: 5 });
    assert_eq!(solve(&problem).unplaced, vec![1, 0, 2]);
    problem.rules.node_budgets[0].limit = -3;
    assert_eq!(solve(&problem).unplaced, vec![4, 2, 2]);
}

#[test]
fn completion_keeps_to_what_stands() {
    let mut problem = problem(&[(6, 4)]);
    problem.rules.spreads.push(Spread {
        name: "spread".into(),
        topology: 0,
        owners: of(&[0]),
        members: of(&[0]),
        max_skew: 1,
        min_domains: None,
        eligible: vec![true; 3],
        dormant: Vec::new(),
        present: vec![0; 3],
    });
    let partial = Solution { nodes: vec![(Pattern { bin: 4, counts: vec![(0, 1)] }, 2)], unplaced: vec![0] };
    let solution = complete::complete(&problem, &partial, None, &Time(1e9));
    assert_eq!(problem.violations(&solution), vec![]);
    assert_eq!((by_zone(&problem, &solution, 0), solution.unplaced), ([2, 2, 2], vec![0]));
}

#[test]
fn improvement_merges_what_stands_apart_and_stops_at_the_bound() {
    let problem = problem(&[(16, 1)]);
    let apart = Solution { nodes: vec![(Pattern { bin: 4, counts: vec![(0, 1)] }, 16)], unplaced: vec![0] };
    let settings = Settings { iterations: Some(2_000), ..Settings::default() };
    assert_eq!(problem.cost(&improve::improve(&problem, apart.clone(), None, &settings, &Time(1e9))), 128);
    // At the bound, or without time, only the offerings change.
    let bound = Some(problem.cost(&apart));
    assert_eq!(nodes(&improve::improve(&problem, apart.clone(), bound, &settings, &Time(1e9))), 16);
    assert_eq!(nodes(&improve::improve(&problem, apart, None, &settings, &Time(0.0))), 16);
}

#[test]
fn what_is_to_be_used_of_a_limit_stays_used() {
    let mut problem = problem(&[(8, 1)]);
    // Bounds are told to a billionth of a dollar.
    problem.bins.iter_mut().for_each(|bin| bin.price *= 1_000_000);
    let per_node = (0..6).map(|bin| (bin, if bin % 2 == 0 { 1 } else { 3 })).collect();
    problem.rules.node_budgets.push(NodeBudget { name: "limits".into(), per_node, limit: 3 });
    problem.rules.exhausted.push(Exhausted { limits: vec![0], nodes: vec![vec![2], vec![1]] });
    let big = Solution { nodes: vec![(Pattern { bin: 1, counts: vec![(0, 8)] }, 1)], unplaced: vec![0] };
    // Two small nodes are the cheapest, but a third one could be bought beside them.
    let small = solve(&problem);
    assert_eq!(
        (problem.cost(&small), problem.leaves_room(&small), problem.leaves_room(&big)),
        (80_000_000, true, false)
    );
    let settings = Settings { iterations: Some(50), start: Some(big.clone()), ..Settings::default() };
    let outcome = crate::solver::solve(&problem, &settings, &Time(1e9));
    for found in [outcome.solution, improve::improve(&problem, big, None, &settings, &Time(1e9))] {
        assert_eq!((problem.violations(&found), problem.leaves_room(&found)), (vec![], false));
        assert!(problem.cost(&found) <= 128_000_000);
    }
    // The bound is that of solutions that leave no room: those that do may cost less.
    assert_eq!(outcome.lower_bound, Some(120_000_000));
}

#[test]
fn a_preference_is_followed_as_far_as_the_rules_allow() {
    let mut problem = problem(&[(6, 1)]);
    problem.rules.domain_caps.push(DomainCap {
        name: "cap".into(),
        topology: 0,
        members: of(&[0]),
        limit: 3,
        present: vec![0; 3],
    });
    let (tuples, tuple_of_bin) = quota::domains(&problem);
    assert_eq!((tuples.len(), tuple_of_bin), (3, vec![0, 0, 1, 1, 2, 2]));
    let preference = Array2::from_shape_vec((1, 3), vec![0.6, 0.4, 5.0]).unwrap();
    let quotas = quota::assign(&problem, Some(&preference));
    let units: u32 = quotas.shares[0].iter().map(|share| share.units).sum();
    let dearest = quotas.shares[0].iter().find(|share| share.tuple == [Some(2)]).unwrap();
    assert_eq!((units, dearest.units, quotas.unassigned[0]), (6, 3, 0));
}
