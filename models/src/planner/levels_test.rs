//! Pools with room left over, and pods that are planned apart.

#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::levels::NoTime;
use super::tests::{Endless, ZONE, catalog, fit, group, light_and_heavy, pods_by, pool, spread, with};
use super::*;
use crate::kubernetes::Snapshot;
use crate::plan::verify::{VerifyOptions, verify};
use crate::problem::Solution;

fn checked(snapshot: &Snapshot, settings: &Settings, control: &dyn Control, solve: &Solve) -> Plan {
    let plan = plan(snapshot, &catalog(), &Options::default(), settings, control, solve).unwrap();
    let broken = verify(snapshot, &catalog(), &VerifyOptions::default(), &plan).err().unwrap_or_default();
    assert!(broken.is_empty(), "{broken:#?}");
    plan
}

#[test]
fn room_that_a_tighter_packing_leaves_in_a_heavier_pool_is_taken() {
    let mut snapshot = with(vec![group("web", 6, "500m", json!({}))]);
    snapshot.node_pools = light_and_heavy();
    // The greedy wastes the heavy pool's two nodes on one pod each, and there is no time for more.
    let careless = |problem: &Problem, settings: &Settings, _: &dyn Control| {
        let start = settings.start.clone();
        let alone = settings.method == Method::Greedy && start.is_none();
        fit(problem, &start.filter(|_| settings.method == Method::Greedy).unwrap_or_default(), alone)
    };
    let plan = checked(&snapshot, &Settings::default(), &NoTime, &careless);
    assert_eq!(pods_by(&plan, |node| node.node_pool.clone()), BTreeMap::from([("heavy".to_owned(), 6)]));
}

#[test]
fn room_in_a_heavier_pool_is_taken_pod_by_pod_where_more_find_no_place_at_once() {
    let mut snapshot = with(vec![group("web", 6, "500m", json!({}))]);
    snapshot.node_pools = light_and_heavy();
    // As above, and this greedy finds no place in the heavy pool for more than one pod beside others.
    let clumsy = |problem: &Problem, settings: &Settings, _: &dyn Control| {
        let start = settings.start.clone().filter(|_| settings.method == Method::Greedy);
        let Some(start) = start else { return fit(problem, &Solution::default(), settings.method == Method::Greedy) };
        let heavy =
            |shape: usize| problem.bins.iter().any(|bin| bin.name.starts_with("heavy") && bin.admits.contains(shape));
        let mut few = problem.clone();
        let missing: Vec<u32> = (0..problem.shapes.len())
            .map(|shape| {
                let held = start
                    .nodes
                    .iter()
                    .flat_map(|(pattern, copies)| pattern.counts.iter().map(move |one| (one, copies)));
                let held: u32 =
                    held.filter(|(one, _)| one.0 as usize == shape).map(|(one, copies)| one.1 * copies).sum();
                let missing = problem.shapes[shape].count - held;
                if heavy(shape) && missing > 1 { missing } else { 0 }
            })
            .collect();
        few.shapes.iter_mut().zip(&missing).for_each(|(shape, missing)| shape.count -= missing);
        let mut outcome = fit(&few, &start, false);
        outcome.solution.unplaced.iter_mut().zip(&missing).for_each(|(left, missing)| *left += missing);
        outcome
    };
    let plan = checked(&snapshot, &Settings::default(), &NoTime, &clumsy);
    assert_eq!(pods_by(&plan, |node| node.node_pool.clone()), BTreeMap::from([("heavy".to_owned(), 6)]));
}

/// "near" spreads over the zones of its pool, of which there is only "a"; "far" has both zones.
fn two_teams() -> Snapshot {
    let mut near = json!({"nodeSelector": {"karpenter.sh/nodepool": "near"}});
    near["topologySpreadConstraints"] = spread("near", ZONE, "DoNotSchedule")["topologySpreadConstraints"].take();
    near["topologySpreadConstraints"][0]["nodeAffinityPolicy"] = json!("Ignore");
    let far = json!({"nodeSelector": {"karpenter.sh/nodepool": "far"},
        "topologySpreadConstraints": spread("far", "kubernetes.io/hostname", "ScheduleAnyway")["topologySpreadConstraints"]});
    let mut snapshot = with(vec![group("near", 3, "1", near), group("far", 2, "500m", far)]);
    let mut near = pool("near", json!({}));
    let zone = json!({"key": ZONE, "operator": "In", "values": ["a"]});
    near["spec"]["template"]["spec"]["requirements"].as_array_mut().unwrap().push(zone);
    snapshot.node_pools =
        vec![serde_json::from_value(near).unwrap(), serde_json::from_value(pool("far", json!({}))).unwrap()];
    snapshot
}

#[test]
fn pods_that_decide_nothing_for_each_other_are_planned_apart() {
    let seen = RefCell::new(BTreeSet::new());
    let solve = |problem: &Problem, settings: &Settings, control: &dyn Control| {
        if settings.method != Method::Greedy {
            seen.borrow_mut().insert(problem.shapes.iter().map(|shape| shape.name.clone()).collect::<Vec<_>>());
        }
        crate::solver::solve(problem, settings, control)
    };
    let settings = Settings { iterations: Some(20), ..Settings::default() };
    let plan = checked(&two_teams(), &settings, &Endless, &solve);
    let alone = |name: &str| vec![format!("Deployment default/{name}")];
    assert_eq!(seen.into_inner(), BTreeSet::from([alone("near"), alone("far")]));
    // The second zone stays asleep, or two of the three would find no place.
    assert_eq!(plan.summary.unschedulable, 0);
    assert!(plan.nodes.iter().all(|node| node.zone == "a"), "{:#?}", plan.nodes);
    // Two small nodes for one team, one for the other, whose wish would cost one more.
    assert_eq!((plan.summary.new_nodes, plan.summary.lower_bound), (3, Some(plan.summary.hourly_cost)));
    assert!(plan.notes.iter().any(|note| note.contains("Deployment default/far")), "{:?}", plan.notes);
}
