#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::kubernetes::{NodePool, Owner, PodGroup, PodNames};
use crate::plan::verify::{VerifyOptions, verify};
use crate::problem::build::build;
use crate::problem::{Pattern, Solution, Violation};
use crate::solver::Status;

pub(super) struct Endless;

impl Control for Endless {
    fn remaining_seconds(&self) -> f64 {
        1e6
    }
}

/// First fit, checking every rule at each step; enough for a handful of pods.
pub(super) fn first_fit(problem: &Problem, _: &Settings, _: &dyn Control) -> Outcome {
    fit(problem, &Solution::default(), false)
}

/// First fit beside what stands already; each unit on a node of its own, if `alone`.
pub(super) fn fit(problem: &Problem, start: &Solution, alone: bool) -> Outcome {
    let mut nodes: Vec<Pattern> = Vec::new();
    let mut unplaced: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    for (pattern, copies) in &start.nodes {
        nodes.extend(std::iter::repeat_n(pattern.clone(), *copies as usize));
        pattern.counts.iter().for_each(|(shape, units)| unplaced[*shape as usize] -= units * copies);
    }
    let solution = |nodes: &[Pattern], unplaced: &[u32]| {
        let mut sorted = nodes.to_vec();
        sorted.sort();
        let mut merged: Vec<(Pattern, u32)> = Vec::new();
        for node in sorted {
            match merged.last_mut() {
                Some((last, copies)) if *last == node => *copies += 1,
                _ => merged.push((node, 1)),
            }
        }
        Solution { nodes: merged, unplaced: unplaced.to_vec() }
    };
    let mut bins: Vec<usize> = (0..problem.bins.len()).collect();
    bins.sort_by_key(|bin| problem.bins[*bin].price);
    let follows = |shape: usize| {
        let rules = &problem.rules;
        rules.node_togethers.iter().any(|row| row.members.contains(shape))
            || rules.domain_togethers.iter().any(|row| row.members.contains(shape))
    };
    let mut order: Vec<usize> = (0..problem.shapes.len()).collect();
    order.sort_by_key(|shape| follows(*shape));
    for shape in order {
        while unplaced[shape] > 0 {
            unplaced[shape] -= 1;
            let mut found = None;
            for choice in if alone { nodes.len() } else { 0 }..nodes.len() + bins.len() {
                let mut next = nodes.clone();
                if choice < nodes.len() {
                    let counts = &mut next[choice].counts;
                    match counts.iter_mut().find(|(known, _)| *known == shape as u32) {
                        Some((_, units)) => *units += 1,
                        None => counts.push((shape as u32, 1)),
                    }
                    counts.sort_unstable();
                } else {
                    next.push(Pattern { bin: bins[choice - nodes.len()] as u32, counts: vec![(shape as u32, 1)] });
                }
                if problem
                    .violations(&solution(&next, &unplaced))
                    .iter()
                    .all(|one| matches!(one, Violation::Count { .. }))
                {
                    found = Some(next);
                    break;
                }
            }
            match found {
                Some(next) => nodes = next,
                None => {
                    unplaced[shape] += 1;
                    break;
                }
            }
        }
    }
    let solution = solution(&nodes, &unplaced);
    let cost = problem.cost(&solution);
    Outcome {
        solution,
        lower_bound: Some(0),
        status: Status::Feasible,
        greedy_cost: cost,
        notes: Vec::new(),
        stages: Vec::new(),
        known: Default::default(),
    }
}

/// Two sizes of one family and an arm one, in two zones, spot at half the price.
pub(super) fn catalog() -> Catalog {
    let instance = |name: &str, arch: &str, cpu: u32, price: f64| {
        let mut offerings = Vec::new();
        for zone in ["a", "b"] {
            offerings.push(json!({"zone": zone, "capacityType": "on-demand", "price": price}));
            offerings.push(json!({"zone": zone, "capacityType": "spot", "price": price / 2.0}));
        }
        json!({"name": name, "arch": arch, "vcpu": cpu, "memoryMiB": cpu * 4096, "maxPods": 20,
            "labels": {"kubernetes.io/arch": arch, "karpenter.k8s.aws/instance-cpu": cpu.to_string(),
                "karpenter.k8s.aws/instance-family": name.split('.').next().unwrap()},
            "allocatable": {"cpu": cpu.to_string(), "memory": format!("{}Gi", cpu * 4), "pods": 20},
            "offerings": offerings})
    };
    serde_json::from_value(json!({"region": "r", "asOf": "2026-01-01", "zones": ["a", "b"], "instanceTypes": [
        instance("m.small", "amd64", 2, 0.10), instance("m.large", "amd64", 8, 0.36), instance("g.large", "arm64", 8, 0.30),
    ]}))
    .unwrap()
}

pub(super) fn pool(name: &str, spec: Value) -> Value {
    let mut pool = json!({"metadata": {"name": name}, "spec": {"template": {"spec": {"requirements": [
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
        {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
    ]}}}});
    merge(&mut pool["spec"], spec);
    pool
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

pub(super) fn snapshot() -> Snapshot {
    Snapshot { node_pools: vec![serde_json::from_value(pool("default", json!({}))).unwrap()], ..Snapshot::default() }
}

/// A Deployment labelled `app=name` whose pods ask for `cpu`.
pub(super) fn group(name: &str, count: u32, cpu: &str, more: Value) -> PodGroup {
    let mut spec = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}]});
    merge(&mut spec, more);
    PodGroup {
        namespace: "default".to_owned(),
        owner: Owner { kind: "Deployment".to_owned(), name: name.to_owned() },
        names: PodNames::Replicas { prefix: name.to_owned(), count },
        labels: BTreeMap::from([("app".to_owned(), name.to_owned())]),
        annotations: BTreeMap::new(),
        priority: 0,
        spec: Arc::new(serde_json::from_value(spec).unwrap()),
        origin: "test.yaml".to_owned(),
    }
}

pub(super) fn planned(snapshot: &Snapshot) -> Plan {
    let plan = plan(snapshot, &catalog(), &Options::default(), &Settings::default(), &Endless, &first_fit).unwrap();
    let broken = verify(snapshot, &catalog(), &VerifyOptions::default(), &plan).err().unwrap_or_default();
    assert!(broken.is_empty(), "{broken:#?}");
    plan
}

fn built(snapshot: &Snapshot, options: &Options) -> Built {
    build(snapshot, &catalog(), options).unwrap()
}

pub(super) fn with(groups: Vec<PodGroup>) -> Snapshot {
    Snapshot { pending: groups, ..snapshot() }
}

pub(super) fn pods_by(plan: &Plan, key: impl Fn(&crate::plan::PlannedNode) -> String) -> BTreeMap<String, usize> {
    let mut sums = BTreeMap::new();
    for node in &plan.nodes {
        *sums.entry(key(node)).or_insert(0) += node.pods.len();
    }
    sums
}

fn term(app: &str, key: &str) -> Value {
    json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key})
}

fn anti(app: &str, key: &str) -> Value {
    json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(app, key)]}}})
}

fn near(app: &str, key: &str) -> Value {
    json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(app, key)]}}})
}

pub(super) fn spread(app: &str, key: &str, when: &str) -> Value {
    json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when,
        "labelSelector": {"matchLabels": {"app": app}}}]})
}

pub(super) const HOST: &str = "kubernetes.io/hostname";
pub(super) const ZONE: &str = "topology.kubernetes.io/zone";

fn node(name: &str, zone: &str, cpu: &str) -> k8s_openapi::api::core::v1::Node {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {ZONE: zone, HOST: name, "kubernetes.io/arch": "amd64", "karpenter.sh/nodepool": "default"}},
        "status": {"allocatable": {"cpu": cpu, "memory": "32Gi", "pods": "10"}, "capacity": {"cpu": cpu},
            "conditions": [{"type": "Ready", "status": "True"}]}}))
    .unwrap()
}

fn bound(app: &str, node: &str, cpu: &str, more: Value) -> k8s_openapi::api::core::v1::Pod {
    let mut spec = json!({"nodeName": node, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]});
    merge(&mut spec, more);
    let meta = json!({"name": format!("{app}-there"), "namespace": "default", "labels": {"app": app}});
    serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
}

#[test]
fn replicas_are_one_shape_and_get_names_nodes_and_stand_ins() {
    let plan = planned(&with(vec![group("web", 3, "500m", json!({}))]));
    assert_eq!((plan.summary.shapes, plan.summary.scheduled, plan.summary.new_nodes), (1, 3, 1));
    let node = &plan.nodes[0];
    assert_eq!((node.name.as_str(), node.instance_type.as_str(), node.zone.as_str()), ("default-1", "m.small", "a"));
    assert_eq!(node.pods, ["default/web-0", "default/web-1", "default/web-2"]);
    assert_eq!((node.requested["cpu"].as_str(), node.requested["memory"].as_str()), ("1500m", "3Gi"));
    assert_eq!((node.allocatable["cpu"].as_str(), node.allocatable["pods"].as_str()), ("2", "20"));
    assert_eq!((node.alternatives[0].zone.as_str(), node.alternatives[0].hourly_price), ("b", 0.10));
    assert_eq!(plan.summary.hourly_cost, 0.10);
}

#[test]
fn labels_count_only_as_far_as_a_selector_sees_them() {
    let mut snapshot = with(vec![group("a", 1, "1", json!({})), group("b", 1, "1", json!({}))]);
    assert_eq!(built(&snapshot, &Options::default()).problem.shapes.len(), 1);
    snapshot.pending.push(group("c", 1, "1", anti("a", HOST)));
    assert_eq!(built(&snapshot, &Options::default()).problem.shapes.len(), 3);
}

#[test]
fn dominated_offerings_are_no_bins() {
    let mut snapshot = with(vec![group("web", 1, "500m", json!({}))]);
    snapshot.node_pools =
        vec![serde_json::from_value(json!({"metadata": {"name": "all"}, "spec": {"template": {"spec": {}}}})).unwrap()];
    let problem = built(&snapshot, &Options::default()).problem;
    let names: Vec<_> = problem.bins.iter().map(|bin| bin.name.as_str()).collect();
    assert_eq!(names, ["all/m.small/a/spot", "all/g.large/a/spot"]);
    let options = Options { capacity_types: Some(vec!["on-demand".to_owned()]), ..Options::default() };
    assert!(built(&snapshot, &options).problem.bins.iter().all(|bin| bin.name.ends_with("on-demand")));
}

#[test]
fn reasons_name_the_rule_and_the_fix() {
    let reason = |pod: PodGroup, pools: Vec<Value>| {
        let mut snapshot = with(vec![pod]);
        snapshot.node_pools = pools.into_iter().map(|pool| serde_json::from_value(pool).unwrap()).collect();
        planned(&snapshot).unschedulable[0].reason.clone()
    };
    let plain = || vec![pool("default", json!({}))];
    let large = reason(group("x", 1, "200", json!({})), plain());
    assert!(
        large.starts_with("no offering has 200 cpu: the largest allowed by pool default (m.large) offers 8;"),
        "{large}"
    );
    let selector = reason(group("x", 1, "1", json!({"nodeSelector": {"disktype": "ssd"}})), plain());
    assert!(selector.starts_with("node selector disktype=ssd matches no pool; add the label"), "{selector}");
    let taint = json!({"template": {"spec": {"taints": [{"key": "gpu", "value": "true", "effect": "NoSchedule"}]}}});
    let tainted = reason(group("x", 1, "1", json!({})), vec![pool("gpu", taint)]);
    assert!(tainted.starts_with("taint gpu=true:NoSchedule of pool gpu is not tolerated"), "{tainted}");
    let gpu = json!({"containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]});
    let device = reason(group("x", 1, "1", gpu), plain());
    assert!(device.starts_with("no offering has nvidia.com/gpu (it asks for 1)"), "{device}");
    let limited = reason(group("x", 9, "2", json!({})), vec![pool("default", json!({"limits": {"cpu": "10"}}))]);
    assert_eq!(limited, "limit cpu 10 of pool default is used up; raise the limit");
    let tiny = reason(group("x", 1, "2", json!({})), vec![pool("default", json!({"limits": {"cpu": "1"}}))]);
    assert!(tiny.starts_with("limit cpu 1 of pool default leaves no room"), "{tiny}");
    let none = reason(group("x", 1, "1", json!({})), Vec::new());
    assert!(none.contains("add a NodePool"), "{none}");
    let claim = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]});
    let missing = reason(group("x", 1, "1", claim), plain());
    assert!(missing.starts_with("volume claim data is not there"), "{missing}");
}

#[test]
fn bad_fields_are_errors_that_name_them() {
    let affinity = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Is", "values": ["a"]}]}]}}}});
    let error = build(&with(vec![group("web", 1, "1", affinity)]), &catalog(), &Options::default()).unwrap_err();
    assert_eq!(error.to_string(), "test.yaml (Deployment default/web): key zone: operator \"Is\" is not known");
    let error = build(&with(vec![group("web", 1, "-1", json!({}))]), &catalog(), &Options::default()).unwrap_err();
    assert!(error.to_string().contains("spec.containers[c].resources.requests: resource cpu: -1 is negative"));
}

#[test]
fn daemons_take_room_where_they_land() {
    let daemon = |selector: Value| {
        let spec = json!({"nodeSelector": selector, "containers": [{"name": "d", "ports": [{"containerPort": 1, "hostPort": 9100}],
            "resources": {"requests": {"cpu": "1"}}}]});
        serde_json::from_value(json!({"metadata": {"name": "d", "namespace": "kube-system"},
            "spec": {"selector": {}, "template": {"spec": spec}}}))
        .unwrap()
    };
    let mut snapshot = with(vec![group("web", 1, "2", json!({}))]);
    snapshot.daemon_sets = vec![daemon(json!({"kubernetes.io/arch": "amd64"}))];
    let plan = planned(&snapshot);
    assert_eq!((plan.nodes[0].instance_type.as_str(), plan.nodes[0].requested["cpu"].as_str()), ("m.large", "3"));
    snapshot.daemon_sets = vec![daemon(json!({"kubernetes.io/arch": "arm64"}))];
    assert_eq!(planned(&snapshot).nodes[0].instance_type, "m.small");
    snapshot.daemon_sets = vec![daemon(json!({}))];
    let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 9100}]}]});
    snapshot.pending = vec![group("web", 1, "1", port)];
    assert!(planned(&snapshot).unschedulable[0].reason.contains("host ports"));
}

#[test]
fn host_ports_keep_pods_apart() {
    let port = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}},
        "ports": [{"containerPort": 80, "hostPort": 80}]}]});
    assert_eq!(planned(&with(vec![group("web", 3, "100m", port)])).summary.new_nodes, 3);
}

#[test]
fn spread_over_host_names_is_a_cap_above_what_is_there() {
    let mut snapshot = with(vec![group("web", 4, "100m", spread("web", HOST, "DoNotSchedule"))]);
    assert_eq!(planned(&snapshot).summary.new_nodes, 4);
    snapshot.nodes = vec![node("full", "a", "1"), node("free", "a", "4")];
    snapshot.bound = vec![bound("web", "full", "1", json!({}))];
    let plan = planned(&snapshot);
    assert_eq!((plan.summary.new_nodes, plan.existing_nodes.len()), (3, 1));
    assert_eq!(plan.existing_nodes[0].name, "free");
}

#[test]
fn spread_over_zones_is_even_and_counts_what_is_there() {
    let mut snapshot = with(vec![group("web", 4, "100m", spread("web", ZONE, "DoNotSchedule"))]);
    let zones = pods_by(&planned(&snapshot), |node| node.zone.clone());
    assert_eq!(zones, BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 2)]));
    snapshot.nodes = vec![node("n", "a", "0")];
    snapshot.bound = vec![bound("web", "n", "0", json!({})), bound("web", "n", "0", json!({}))];
    let zones = pods_by(&planned(&snapshot), |node| node.zone.clone());
    assert_eq!(zones, BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 3)]));
}

#[test]
fn spread_counts_only_domains_that_the_pod_may_use() {
    let mut more = spread("web", ZONE, "DoNotSchedule");
    more["nodeSelector"] = json!({ZONE: "b"});
    let zones = pods_by(&planned(&with(vec![group("web", 4, "100m", more.clone())])), |node| node.zone.clone());
    assert_eq!(zones, BTreeMap::from([("b".to_owned(), 4)]));
    // Where all nodes count, the empty zone holds the others back.
    more["topologySpreadConstraints"][0]["nodeAffinityPolicy"] = json!("Ignore");
    let problem = built(&with(vec![group("web", 4, "100m", more)]), &Options::default()).problem;
    assert!(problem.bins.iter().all(|bin| bin.admits.is_clear() || bin.name.contains("/b/")));
}

#[test]
fn spread_over_capacity_types() {
    let mut snapshot =
        with(vec![group("web", 4, "100m", spread("web", "karpenter.sh/capacity-type", "DoNotSchedule"))]);
    let both = json!({"template": {"spec": {"requirements": []}}});
    snapshot.node_pools = vec![serde_json::from_value(pool("default", both)).unwrap()];
    let types = pods_by(&planned(&snapshot), |node| node.capacity_type.clone());
    assert_eq!(types, BTreeMap::from([("on-demand".to_owned(), 2), ("spot".to_owned(), 2)]));
}

#[test]
fn spread_without_the_label_anywhere_has_a_reason() {
    let plan = planned(&with(vec![group("web", 1, "1", spread("web", "rack", "DoNotSchedule"))]));
    assert!(plan.unschedulable[0].reason.starts_with("topology spread on rack (app=web) leaves no place"));
}

#[test]
fn anti_affinity_holds_in_both_directions() {
    let alone = planned(&with(vec![group("web", 3, "100m", anti("web", HOST))]));
    assert_eq!(alone.summary.new_nodes, 3);
    let other = planned(&with(vec![group("web", 2, "100m", anti("db", HOST)), group("db", 2, "100m", json!({}))]));
    assert_eq!(other.summary.new_nodes, 2);
    let zones = planned(&with(vec![group("web", 3, "100m", anti("web", ZONE))]));
    assert_eq!((zones.summary.scheduled, zones.summary.unschedulable), (2, 1));
    assert!(zones.unschedulable[0].reason.contains("anti-affinity on topology.kubernetes.io/zone"));
}

#[test]
fn anti_affinity_of_pods_that_are_there_counts() {
    let mut snapshot = with(vec![group("web", 1, "100m", json!({}))]);
    snapshot.nodes = vec![node("n", "a", "4")];
    snapshot.bound = vec![bound("db", "n", "1", anti("web", ZONE))];
    let plan = planned(&snapshot);
    assert_eq!((plan.existing_nodes.len(), plan.nodes[0].zone.as_str()), (0, "b"));
}

#[test]
fn pods_that_must_share_a_node_are_one_unit() {
    let problem = built(&with(vec![group("web", 4, "1", near("web", HOST))]), &Options::default()).problem;
    assert_eq!((problem.shapes[0].count, problem.shapes[0].unit.pods, problem.demand[[0, 0]]), (1, 4, 4000));
    let plan = planned(&with(vec![group("web", 10, "1", near("web", HOST))]));
    assert_eq!((plan.summary.scheduled, plan.summary.new_nodes, plan.unschedulable.len()), (8, 1, 2));
    assert!(plan.unschedulable[0].reason.contains("must share one node"), "{}", plan.unschedulable[0].reason);
}

#[test]
fn pods_that_must_share_a_zone_share_one() {
    let plan = planned(&with(vec![group("web", 12, "1", near("web", ZONE))]));
    assert_eq!((plan.summary.scheduled, pods_by(&plan, |node| node.zone.clone()).len()), (12, 1));
}

#[test]
fn followers_go_where_their_company_is() {
    let plan = planned(&with(vec![group("web", 2, "100m", near("db", HOST)), group("db", 1, "1", json!({}))]));
    assert_eq!((plan.summary.new_nodes, plan.nodes[0].pods.len()), (1, 3));
    let mut snapshot = with(vec![group("web", 1, "100m", near("db", ZONE))]);
    snapshot.nodes = vec![node("n", "b", "0")];
    snapshot.bound = vec![bound("db", "n", "0", json!({}))];
    assert_eq!(planned(&snapshot).nodes[0].zone, "b");
}

#[test]
fn circles_and_missing_company_have_reasons() {
    let circle = planned(&with(vec![group("a", 1, "1", near("b", ZONE)), group("b", 1, "1", near("a", ZONE))]));
    assert_eq!(circle.unschedulable.len(), 2);
    assert!(circle.unschedulable[0].reason.contains("can't be placed before it"));
    let missing = planned(&with(vec![group("a", 1, "1", near("nobody", HOST))]));
    assert!(missing.unschedulable[0].reason.contains("no pod matches app=nobody"));
}

/// A pool without limits, and a heavier one that may buy two nodes of two cores.
pub(super) fn light_and_heavy() -> Vec<NodePool> {
    let heavy = json!({"weight": 10, "limits": {"cpu": "4"}});
    [pool("light", json!({})), pool("heavy", heavy)].map(|pool| serde_json::from_value(pool).unwrap()).to_vec()
}

#[test]
fn heavier_pools_first_and_their_overflow_to_the_next() {
    let mut snapshot = with(vec![group("web", 4, "2", json!({}))]);
    snapshot.node_pools = light_and_heavy();
    let pools = pods_by(&planned(&snapshot), |node| node.node_pool.clone());
    assert_eq!(pools, BTreeMap::from([("heavy".to_owned(), 2), ("light".to_owned(), 2)]));
    let options = Options { ignore_weights: true, ..Options::default() };
    let problem = built(&snapshot, &options).problem;
    assert!(problem.bins.iter().any(|bin| bin.name.starts_with("light") && !bin.admits.is_clear()));
}

#[test]
fn company_follows_to_a_lighter_pool_those_who_find_no_place_beside_it() {
    // Two cores at most in the heavy pool: "web" fits there, "cache" beside it does not.
    let mut snapshot = with(vec![group("web", 1, "1", json!({})), group("cache", 1, "2", near("web", HOST))]);
    snapshot.node_pools = vec![
        serde_json::from_value(pool("light", json!({}))).unwrap(),
        serde_json::from_value(pool("heavy", json!({"weight": 10, "limits": {"cpu": "2"}}))).unwrap(),
    ];
    let settings = Settings { iterations: Some(20), ..Settings::default() };
    let solved = |snapshot: &Snapshot| {
        let options = Options::default();
        let plan = plan(snapshot, &catalog(), &options, &settings, &Endless, &crate::solver::solve).unwrap();
        let broken = verify(snapshot, &catalog(), &VerifyOptions::default(), &plan).err().unwrap_or_default();
        assert!(broken.is_empty(), "{broken:#?}");
        plan
    };
    let plan = solved(&snapshot);
    assert_eq!(plan.summary.unschedulable, 0, "{:?}", plan.unschedulable);
    let pools = pods_by(&plan, |node| node.node_pool.clone());
    assert_eq!(pools, BTreeMap::from([("light".to_owned(), 2)]));

    // Where that is of no help to them it stays where it was.
    snapshot.pending[1] = group(
        "cache",
        1,
        "2",
        json!({"affinity": {"podAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [term("web", HOST), term("cache", HOST), term("nobody", ZONE)]}}}),
    );
    let plan = solved(&snapshot);
    assert_eq!(plan.summary.unschedulable, 1);
    let pools = pods_by(&plan, |node| node.node_pool.clone());
    assert_eq!(pools, BTreeMap::from([("heavy".to_owned(), 1)]));
}

#[test]
fn limits_count_nodes_that_are_there() {
    let mut snapshot = with(vec![group("web", 5, "2", json!({}))]);
    snapshot.node_pools =
        vec![serde_json::from_value(pool("default", json!({"limits": {"cpu": "8", "nodes": "3"}}))).unwrap()];
    snapshot.nodes = vec![node("n", "a", "2")];
    let plan = planned(&snapshot);
    // One on the node that is there, then two nodes up to the third.
    assert_eq!((plan.existing_nodes[0].pods.len(), plan.summary.new_nodes), (1, 2));
    let budgets = built(&snapshot, &Options::default()).problem.rules.node_budgets;
    assert_eq!(budgets.iter().map(|row| row.limit).collect::<Vec<_>>(), [6000, 2]);
}

#[test]
fn nodes_that_are_there_come_first_and_cost_nothing() {
    let mut snapshot = with(vec![group("web", 2, "1", json!({}))]);
    snapshot.nodes = vec![node("n", "a", "4")];
    snapshot.bound = vec![bound("db", "n", "2", json!({}))];
    let plan = planned(&snapshot);
    assert_eq!((plan.summary.hourly_cost, plan.summary.status), (0.0, Status::Optimal));
    assert_eq!(plan.existing_nodes[0].pods, ["default/web-0", "default/web-1"]);
    snapshot.nodes[0].spec = serde_json::from_value(json!({"unschedulable": true})).unwrap();
    assert_eq!(planned(&snapshot).summary.new_nodes, 1);
}

#[test]
fn spread_on_nodes_that_are_there_counts_their_minimum() {
    // Three on each of two nodes: more than maxSkew a node, but even.
    let mut snapshot = with(vec![group("web", 6, "100m", spread("web", HOST, "DoNotSchedule"))]);
    snapshot.nodes = vec![node("n", "a", "4"), node("m", "a", "4")];
    let plan = planned(&snapshot);
    assert_eq!((plan.summary.new_nodes, plan.existing_nodes.len()), (0, 2));
    assert!(plan.existing_nodes.iter().all(|node| node.pods.len() == 3));
}

#[test]
fn flexibility_keeps_enough_stand_ins() {
    let requirements = json!({"template": {"spec": {"requirements": [
        {"key": "node.kubernetes.io/instance-type", "operator": "Exists", "minValues": 2}]}}});
    let mut snapshot = with(vec![group("web", 1, "1", json!({}))]);
    snapshot.node_pools = vec![serde_json::from_value(pool("default", requirements)).unwrap()];
    let row = &built(&snapshot, &Options::default()).problem.rules.flexibles[0];
    assert_eq!((row.minimum.as_slice(), row.hosts.len()), ([2].as_slice(), 3));
    assert_eq!(planned(&snapshot).summary.scheduled, 1);
}

#[test]
fn pools_with_replicas_buy_nothing_for_pods() {
    let mut snapshot = with(vec![group("web", 1, "1", json!({}))]);
    snapshot.node_pools = vec![serde_json::from_value(pool("static", json!({"replicas": 3}))).unwrap()];
    assert_eq!(planned(&snapshot).summary.unschedulable, 1);
}

#[test]
fn labels_that_a_pool_leaves_open_follow_the_pods() {
    let open =
        json!({"template": {"spec": {"requirements": [{"key": "team", "operator": "In", "values": ["x", "y", "z"]}]}}});
    let select = |team: &str| json!({"nodeSelector": {"team": team}});
    let mut snapshot = with(vec![group("a", 1, "100m", select("x")), group("b", 1, "100m", select("y"))]);
    snapshot.node_pools = vec![serde_json::from_value(pool("default", open)).unwrap()];
    assert_eq!(planned(&snapshot).summary.new_nodes, 2);
    snapshot.pending.push(group("c", 1, "100m", select("w")));
    assert_eq!(planned(&snapshot).summary.unschedulable, 1);
}

#[test]
fn preferences_are_honoured_when_free_and_given_up_when_not() {
    let prefer = |zone: &str, key: &str| {
        json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 7,
            "preference": {"matchExpressions": [{"key": key, "operator": "In", "values": [zone]}]}}]}}})
    };
    let free = planned(&with(vec![group("web", 1, "1", prefer("b", ZONE))]));
    assert_eq!((free.nodes[0].zone.as_str(), free.notes.len()), ("b", 0));
    let dear = planned(&with(vec![group("web", 1, "1", prefer("8", "karpenter.k8s.aws/instance-cpu"))]));
    assert_eq!(dear.nodes[0].instance_type, "m.small");
    let note = "Deployment default/web (preferred node affinity of weight 7)";
    assert!(dear.notes[0].contains(note), "{:?}", dear.notes);
    let even = planned(&with(vec![group("web", 20, "1", spread("web", ZONE, "ScheduleAnyway"))]));
    assert_eq!(pods_by(&even, |node| node.zone.clone()).len(), 2);
}

#[test]
fn who_fits_no_heavy_pool_goes_to_the_lighter_ones_even_without_time() {
    struct Spent;
    impl Control for Spent {
        fn remaining_seconds(&self) -> f64 {
            0.0
        }
    }
    // The heavy pool is refused for want of stand-ins, the middle one is soon full.
    let rare = json!({"weight": 20, "template": {"spec": {"requirements": [
        {"key": "node.kubernetes.io/instance-type", "operator": "Exists", "minValues": 9}]}}});
    let mut snapshot = with(vec![group("big", 1, "100", json!({})), group("web", 4, "2", json!({}))]);
    let tight = json!({"weight": 10, "limits": {"cpu": "4"}});
    snapshot.node_pools = [pool("rare", rare), pool("tight", tight), pool("light", json!({}))]
        .into_iter()
        .map(|pool| serde_json::from_value(pool).unwrap())
        .collect();
    let options = Options::default();
    let plan = plan(&snapshot, &catalog(), &options, &Settings::default(), &Spent, &first_fit).unwrap();
    assert_eq!((plan.summary.pods, plan.summary.scheduled, plan.unschedulable.len()), (5, 4, 1));
    let pools = pods_by(&plan, |node| node.node_pool.clone());
    assert_eq!(pools, BTreeMap::from([("light".to_owned(), 2), ("tight".to_owned(), 2)]));
    assert!(plan.summary.greedy_hourly_cost >= plan.summary.hourly_cost);
}

#[test]
fn company_must_match_all_terms() {
    let both = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        [term("web", ZONE), term("db", ZONE)]}}});
    let plan = planned(&with(vec![group("web", 1, "1", both), group("db", 1, "1", json!({}))]));
    assert_eq!(plan.unschedulable.len(), 1);
    assert!(plan.unschedulable[0].reason.contains("no pod matches"), "{}", plan.unschedulable[0].reason);
}

#[test]
fn owners_of_a_spread_that_do_not_count_may_join_as_many_as_there_may_be() {
    let mut snapshot = with(vec![group("web", 1, "1", spread("db", HOST, "DoNotSchedule"))]);
    snapshot.nodes = vec![node("n", "a", "4")];
    snapshot.bound = vec![bound("db", "n", "1", json!({}))];
    let plan = planned(&snapshot);
    assert_eq!((plan.summary.new_nodes, plan.existing_nodes.len()), (0, 1));
}

#[path = "preferences_test.rs"]
mod preferences_test;
