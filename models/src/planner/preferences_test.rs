//! Preferences one by one, and what the bound of a plan is a bound of.

use super::*;
use crate::solver::{Progress, solve};

fn prefer_node(weight: i32, key: &str, value: &str) -> Value {
    json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": weight,
        "preference": {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]}}]}}})
}

const CPU: &str = "karpenter.k8s.aws/instance-cpu";

#[test]
fn only_the_wishes_that_cost_are_given_up() {
    let groups = vec![
        group("free", 1, "1500m", prefer_node(7, ZONE, "b")),
        group("dear", 1, "1500m", prefer_node(7, CPU, "8")),
        group("even", 2, "1500m", spread("even", ZONE, "ScheduleAnyway")),
    ];
    let plan = planned(&with(groups));
    let of = |name: &str| {
        let on = |node: &&crate::plan::PlannedNode| node.pods.iter().any(|pod| pod.contains(name));
        plan.nodes.iter().filter(on).map(|node| node.zone.as_str()).collect::<BTreeSet<_>>()
    };
    assert_eq!((of("free"), of("even").len()), (BTreeSet::from(["b"]), 2));
    assert_eq!(plan.notes.len(), 1, "{:?}", plan.notes);
    assert!(
        plan.notes[0].ends_with("Deployment default/dear (preferred node affinity of weight 7)"),
        "{:?}",
        plan.notes
    );
}

#[test]
fn the_heavier_of_two_wishes_that_exclude_each_other_is_kept() {
    let two = |first: i32, second: i32| {
        let term = |weight: i32, zone: &str| {
            json!({"weight": weight,
            "preference": {"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}})
        };
        json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
            [term(first, "a"), term(second, "b")]}}})
    };
    for (first, second, zone, lost) in [(60, 40, "a", 40), (40, 60, "b", 40)] {
        let plan = planned(&with(vec![group("web", 1, "1", two(first, second))]));
        assert_eq!(plan.nodes[0].zone, zone);
        assert!(plan.notes[0].contains(&format!("weight {lost}")), "{:?}", plan.notes);
    }
}

#[test]
fn without_time_untried_wishes_are_said_to_be_so() {
    struct Spent;
    impl Control for Spent {
        fn remaining_seconds(&self) -> f64 {
            0.0
        }
    }
    let snapshot = with(vec![group("web", 1, "1", prefer_node(7, ZONE, "b"))]);
    let plan = plan(&snapshot, &catalog(), &Options::default(), &Settings::default(), &Spent, &first_fit).unwrap();
    assert!(plan.notes[0].starts_with("there was no time to try all preferences: Deployment default/web"));
}

#[test]
fn wishes_that_are_to_be_ignored_count_for_nothing() {
    let snapshot = with(vec![group("web", 20, "1", spread("web", ZONE, "ScheduleAnyway"))]);
    for (ignore_preferences, zones) in [(false, 2), (true, 1)] {
        let options = Options { ignore_preferences, ..Options::default() };
        let plan = plan(&snapshot, &catalog(), &options, &Settings::default(), &Endless, &first_fit).unwrap();
        assert_eq!((pods_by(&plan, |node| node.zone.clone()).len(), plan.notes.len()), (zones, 0));
    }
}

#[test]
fn the_bound_is_that_of_the_problem_without_preferences() {
    let snapshot = with(vec![group("web", 20, "1", spread("web", ZONE, "ScheduleAnyway"))]);
    let bounded = |problem: &Problem, settings: &Settings, control: &dyn Control| {
        let mut outcome = first_fit(problem, settings, control);
        let cost = problem.cost(&outcome.solution);
        outcome.lower_bound = Some(if problem.rules.spreads.is_empty() { cost / 2 } else { 0 });
        outcome
    };
    let plan = plan(&snapshot, &catalog(), &Options::default(), &Settings::default(), &Endless, &bounded).unwrap();
    assert_eq!(pods_by(&plan, |node| node.zone.clone()).len(), 2);
    assert_eq!((plan.summary.gap, plan.notes.len()), (Some(0.5), 0));
}

#[test]
fn a_plan_with_preferences_that_places_more_is_begun_with() {
    let snapshot = with(vec![group("web", 20, "1", spread("web", ZONE, "ScheduleAnyway"))]);
    // Without the spread, and without help, it overlooks a node.
    let careless = |problem: &Problem, settings: &Settings, control: &dyn Control| {
        let mut outcome = first_fit(problem, settings, control);
        let whole = settings.start.as_ref().is_some_and(|start| {
            problem.placed(start).iter().zip(&problem.shapes).all(|(placed, shape)| *placed == u64::from(shape.count))
        });
        if problem.rules.spreads.is_empty() && !whole {
            let (lost, copies) = outcome.solution.nodes.remove(0);
            lost.counts.iter().for_each(|(shape, units)| outcome.solution.unplaced[*shape as usize] += units * copies);
        }
        outcome.lower_bound = Some(problem.cost(&outcome.solution));
        outcome
    };
    let plan = plan(&snapshot, &catalog(), &Options::default(), &Settings::default(), &Endless, &careless).unwrap();
    assert_eq!((plan.summary.scheduled, plan.summary.status, plan.summary.gap), (20, Status::Optimal, Some(0.0)));
    assert_eq!((pods_by(&plan, |node| node.zone.clone()).len(), plan.notes.len()), (2, 0));
}

#[test]
fn the_bound_is_that_of_the_same_order_of_pools() {
    // All four pods fit the light pool's m.small for $0.05 each, but the heavy pool, at twice the price, comes first.
    let mut snapshot = with(vec![group("web", 4, "1500m", json!({}))]);
    let cheap = json!({"template": {"spec": {"requirements": [
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]},
        {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]}}});
    let heavy = json!({"weight": 10, "limits": {"nodes": "2"}, "template": {"spec": {"requirements": [
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
        {"key": "karpenter.k8s.aws/instance-cpu", "operator": "In", "values": ["2"]}]}}});
    snapshot.node_pools = vec![
        serde_json::from_value(pool("light", cheap)).unwrap(),
        serde_json::from_value(pool("heavy", heavy)).unwrap(),
    ];
    let settings = Settings { iterations: Some(50), ..Settings::default() };
    let plan = plan(&snapshot, &catalog(), &Options::default(), &settings, &Endless, &solve).unwrap();
    assert_eq!(verify(&snapshot, &catalog(), &VerifyOptions::default(), &plan), Ok(()));
    let pools = pods_by(&plan, |node| node.node_pool.clone());
    assert_eq!(pools, BTreeMap::from([("heavy".to_owned(), 2), ("light".to_owned(), 2)]));
    assert_eq!(plan.summary.status, Status::Optimal);
    assert!((plan.summary.hourly_cost - 0.30).abs() < 1e-9, "{}", plan.summary.hourly_cost);
    assert_eq!(plan.summary.lower_bound, Some(plan.summary.hourly_cost));
}

#[test]
fn a_verdict_is_clear_at_the_target_or_with_a_bound_above_it() {
    let hears = |cost: f64, bound: Option<f64>| {
        let verdict = time::Verdict::new(&Endless, Some(2_000_000_000));
        verdict.report(&Progress { stage: "columns", cost, bound });
        verdict.interrupted()
    };
    assert!(hears(2.0, None) && hears(3.0, Some(2.5)));
    assert!(!hears(3.0, None) && !hears(3.0, Some(2.0)) && !hears(9e9, Some(2.5)));
}
