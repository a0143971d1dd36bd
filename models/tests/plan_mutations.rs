//! Takes valid plans, breaks one rule at a time, and sees that the checker names exactly that rule.
#![allow(clippy::unwrap_used)]

mod plan_support;

use plan_support::*;
use serde_json::{Value, json};
use supercargo_models::catalog::Catalog;
use supercargo_models::kubernetes::Snapshot;
use supercargo_models::plan::Plan;
use supercargo_models::plan::verify::{Rule, VerifyOptions};
use supercargo_models::solver::Status;

const OD: &str = "on-demand";

fn market() -> Catalog {
    let sold = |price: f64| -> Vec<(&'static str, &'static str, f64)> {
        ["a", "b", "c"].into_iter().flat_map(|zone| [(zone, OD, price), (zone, "spot", price / 2.0)]).collect()
    };
    catalog(vec![
        instance("m1.small", "amd64", 2000, 4096, 10, &sold(0.1)),
        instance("m1.large", "amd64", 4000, 8192, 20, &sold(0.2)),
        instance("c1.large", "arm64", 4000, 4096, 20, &sold(0.15)),
    ])
}

fn open_pool() -> Snapshot {
    Snapshot { node_pools: vec![pool("default", json!([]), json!({}))], ..Snapshot::default() }
}

#[track_caller]
fn expect(snapshot: &Snapshot, plan: &Plan, expected: &[Rule]) {
    let options = VerifyOptions::default();
    let found = rules(snapshot, &market(), &options, plan);
    let broken = supercargo_models::plan::verify(snapshot, &market(), &options, plan);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected, "{broken:#?}");
}

/// Four web pods of 1 core on two small nodes.
fn web() -> (Snapshot, Plan) {
    let mut snapshot = open_pool();
    snapshot.pending.push(workload("web", 4, "1000m", "512Mi", json!({})));
    let plan = plan(
        &snapshot,
        &market(),
        &[("default", "m1.small", "a", OD, &["web-0", "web-1"]), ("default", "m1.small", "b", OD, &["web-2", "web-3"])],
        &[],
        &[],
    );
    (snapshot, plan)
}

fn broken_web(change: impl FnOnce(&mut Plan), expected: &[Rule]) {
    let (snapshot, mut plan) = web();
    expect(&snapshot, &plan, &[]);
    change(&mut plan);
    expect(&snapshot, &plan, expected);
}

#[test]
fn pods_are_counted_one_by_one() {
    broken_web(
        |plan| {
            plan.nodes[1].pods.pop();
            plan.nodes[1].requested = plan_support_requested(1);
            plan.summary.scheduled = 3;
        },
        &[Rule::Pods],
    );
    broken_web(|plan| plan.nodes[1].pods[1] = "default/web-0".to_owned(), &[Rule::Pods, Rule::Requested]);
    broken_web(|plan| plan.nodes[1].pods[1] = "default/web-9".to_owned(), &[Rule::Pods, Rule::Requested]);
    broken_web(|plan| plan.nodes[1].pods[1] = "other/web-3".to_owned(), &[Rule::Pods, Rule::Requested]);
}

fn plan_support_requested(pods: u64) -> indexmap::IndexMap<String, String> {
    [("cpu", format!("{}", pods)), ("memory", format!("{}Mi", 512 * pods)), ("pods", pods.to_string())]
        .into_iter()
        .map(|(name, amount)| (name.to_owned(), amount))
        .collect()
}

#[test]
fn a_moved_pod_is_over_capacity() {
    broken_web(
        |plan| {
            let pod = plan.nodes[1].pods.pop().unwrap();
            plan.nodes[0].pods.push(pod);
            plan.nodes[0].requested = plan_support_requested(3);
            plan.nodes[1].requested = plan_support_requested(1);
        },
        &[Rule::Capacity],
    );
}

#[test]
fn names_offerings_prices_and_stated_amounts() {
    broken_web(|plan| plan.nodes[1].name = plan.nodes[0].name.clone(), &[Rule::NodeNames]);
    broken_web(|plan| plan.nodes[1].zone = "d".to_owned(), &[Rule::Offering]);
    broken_web(|plan| plan.nodes[1].instance_type = "m9.huge".to_owned(), &[Rule::Offering]);
    broken_web(
        |plan| {
            plan.nodes[1].hourly_price = 0.05;
            plan.summary.hourly_cost = 0.15;
            plan.summary.lower_bound = Some(0.15);
            plan.summary.greedy_hourly_cost = 0.15;
        },
        &[Rule::Price],
    );
    broken_web(|plan| plan.nodes[1].node_pool = "other".to_owned(), &[Rule::PoolRequirements]);
    broken_web(|plan| _ = plan.nodes[1].allocatable.insert("cpu".to_owned(), "2100m".to_owned()), &[Rule::Allocatable]);
    broken_web(|plan| _ = plan.nodes[1].allocatable.shift_remove("pods"), &[Rule::Allocatable]);
    broken_web(|plan| _ = plan.nodes[1].requested.insert("memory".to_owned(), "1Mi".to_owned()), &[Rule::Requested]);
    broken_web(|plan| _ = plan.nodes[1].requested.shift_remove("cpu"), &[Rule::Requested]);
    broken_web(|plan| _ = plan.nodes[1].requested.insert("gpu".to_owned(), "1".to_owned()), &[Rule::Requested]);
}

#[test]
fn an_empty_node_is_not_bought() {
    broken_web(
        |plan| {
            let mut spare = plan.nodes[0].clone();
            spare.name = "spare".to_owned();
            spare.pods.clear();
            spare.requested = plan_support_requested(0);
            plan.nodes.push(spare);
            plan.summary.new_nodes = 3;
            (plan.summary.hourly_cost, plan.summary.lower_bound) = (0.1 * 3.0, Some(0.1 * 3.0));
            plan.summary.greedy_hourly_cost = 0.1 * 3.0;
        },
        &[Rule::Pods],
    );
}

#[test]
fn the_summary_adds_up() {
    broken_web(|plan| plan.summary.pods = 5, &[Rule::Summary]);
    broken_web(|plan| plan.summary.scheduled = 3, &[Rule::Summary]);
    broken_web(|plan| plan.summary.unschedulable = 1, &[Rule::Summary]);
    broken_web(|plan| plan.summary.new_nodes = 1, &[Rule::Summary]);
    broken_web(|plan| plan.summary.hourly_cost = 0.1, &[Rule::Summary]);
    broken_web(|plan| plan.summary.gap = Some(0.1), &[Rule::Summary]);
    broken_web(|plan| plan.summary.gap = None, &[Rule::Summary]);
    broken_web(|plan| plan.summary.lower_bound = Some(0.3), &[Rule::Summary]);
    broken_web(|plan| plan.summary.greedy_hourly_cost = 0.1, &[Rule::Summary]);
    broken_web(|plan| (plan.summary.lower_bound, plan.summary.gap) = (Some(0.1), Some(0.5)), &[Rule::Summary]);
    broken_web(|plan| plan.summary.solver = "oracle".to_owned(), &[Rule::Summary]);
    broken_web(|plan| plan.kind = "Dream".to_owned(), &[Rule::Summary]);
    broken_web(
        |plan| {
            (plan.summary.lower_bound, plan.summary.gap) = (None, None);
            plan.summary.status = Status::Greedy;
        },
        &[],
    );
}

#[test]
fn only_capacity_types_that_were_asked_for_are_bought() {
    let (snapshot, plan) = web();
    let options = VerifyOptions { capacity_types: Some(vec!["spot".to_owned()]), ..VerifyOptions::default() };
    assert!(rules(&snapshot, &market(), &options, &plan).contains(&Rule::CapacityType));
}

/// One workload, its pods one by one on the nodes, valid with `zones` and broken by `rule` with `wrong`.
#[track_caller]
fn by_zone(spec: Value, zones: &[&str], wrong: &[&str], rule: Rule) {
    for (zones, expected) in [(zones, vec![]), (wrong, vec![rule])] {
        let mut snapshot = open_pool();
        snapshot.pending.push(workload("web", zones.len() as u32, "100m", "64Mi", spec.clone()));
        by_zone_in(&snapshot, zones, &expected);
    }
}

#[track_caller]
fn by_zone_in(snapshot: &Snapshot, zones: &[&str], expected: &[Rule]) {
    let names: Vec<String> = (0..zones.len()).map(|index| format!("web-{index}")).collect();
    let pods: Vec<[&str; 1]> = names.iter().map(|name| [name.as_str()]).collect();
    let nodes: Vec<NewNode> =
        zones.iter().zip(&pods).map(|(zone, pod)| ("default", "m1.small", *zone, OD, pod.as_slice())).collect();
    expect(snapshot, &plan(snapshot, &market(), &nodes, &[], &[]), expected);
}

#[test]
fn selectors_and_node_affinity() {
    let selector = json!({"nodeSelector": {"topology.kubernetes.io/zone": "a"}});
    by_zone(selector, &["a", "a"], &["a", "b"], Rule::NodeAffinity);
    let affinity = |expressions: Value| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": expressions}}}})
    };
    let or = json!([{"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a"]}]},
        {"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "NotIn", "values": ["a", "b"]}]}]);
    by_zone(affinity(or), &["a", "c"], &["a", "b"], Rule::NodeAffinity);
    let large = json!([{"matchExpressions":
        [{"key": "karpenter.k8s.aws/instance-cpu", "operator": "Lt", "values": ["3"]},
         {"key": "topology.ebs.csi.aws.com/zone", "operator": "In", "values": ["b"]}]}]);
    by_zone(affinity(large), &["b"], &["a"], Rule::NodeAffinity);
}

#[test]
fn taints_of_pools_and_nodes() {
    let taint = json!([{"key": "team", "value": "x", "effect": "NoSchedule"}]);
    let mut snapshot = open_pool();
    snapshot.pending.push(workload("web", 1, "100m", "64Mi", json!({})));
    snapshot.node_pools.push(pool("tainted", json!([]), json!({"template": {"spec": {"taints": taint}}})));
    let on = |pool| plan(&snapshot, &market(), &[(pool, "m1.small", "a", OD, &["web-0"])], &[], &[]);
    expect(&snapshot, &on("default"), &[]);
    expect(&snapshot, &on("tainted"), &[Rule::Taints]);
    let starts = json!({"template": {"spec": {"startupTaints": taint}}});
    let mut lifted = snapshot.clone();
    lifted.node_pools[1] = pool("tainted", json!([]), starts);
    expect(&lifted, &on("tainted"), &[]);
    let mut cordoned = snapshot.clone();
    cordoned.nodes.push(node("old", "2", "4Gi", json!({}), json!({"unschedulable": true})));
    expect(&cordoned, &plan(&cordoned, &market(), &[], &[("old", &["web-0"])], &[]), &[Rule::Taints]);
}

#[test]
fn pool_requirements_in_all_operators() {
    let cases = [
        ("karpenter.k8s.aws/instance-family", "In", json!(["c1"]), false),
        ("karpenter.k8s.aws/instance-family", "NotIn", json!(["c1"]), true),
        ("karpenter.k8s.aws/instance-gpu-name", "Exists", json!([]), false),
        ("karpenter.k8s.aws/instance-gpu-name", "DoesNotExist", json!([]), true),
        ("karpenter.k8s.aws/instance-cpu", "Gt", json!(["2"]), false),
        ("karpenter.k8s.aws/instance-cpu", "Gte", json!(["2"]), true),
        ("karpenter.k8s.aws/instance-cpu", "Lt", json!(["2"]), false),
        ("karpenter.k8s.aws/instance-cpu", "Lte", json!(["2"]), true),
        ("karpenter.sh/capacity-type", "In", json!(["spot"]), false),
        ("topology.kubernetes.io/zone", "In", json!(["a", "b"]), true),
        ("topology.kubernetes.io/zone", "NotIn", json!(["b"]), false),
        ("kubernetes.io/arch", "In", json!(["amd64"]), true),
        ("example.com/team", "In", json!(["x"]), true),
    ];
    for (key, operator, values, allowed) in cases {
        let (mut snapshot, plan) = web();
        snapshot.node_pools[0] =
            pool("default", json!([{"key": key, "operator": operator, "values": values}]), json!({}));
        expect(&snapshot, &plan, if allowed { &[] } else { &[Rule::PoolRequirements] });
    }
}

#[test]
fn a_requirement_on_a_key_of_ones_own_is_a_label() {
    let mut snapshot = open_pool();
    snapshot.node_pools.push(pool(
        "team",
        json!([{"key": "example.com/team", "operator": "In", "values": ["x"]}]),
        json!({"template": {"metadata": {"labels": {"tier": "gold"}}}}),
    ));
    let selector = json!({"nodeSelector": {"example.com/team": "x", "tier": "gold"}});
    snapshot.pending.push(workload("web", 1, "100m", "64Mi", selector));
    let on = |pool| plan(&snapshot, &market(), &[(pool, "m1.small", "a", OD, &["web-0"])], &[], &[]);
    expect(&snapshot, &on("team"), &[]);
    expect(&snapshot, &on("default"), &[Rule::NodeAffinity]);
}

fn spread(key: &str, skew: u32, more: Value) -> Value {
    let mut constraint = json!({"topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}});
    for (key, value) in more.as_object().unwrap() {
        constraint[key] = value.clone();
    }
    json!({"topologySpreadConstraints": [constraint]})
}

const ZONE: &str = "topology.kubernetes.io/zone";

#[test]
fn zone_spread() {
    by_zone(spread(ZONE, 1, json!({})), &["a", "b", "c", "a"], &["a", "a", "b", "c", "b", "a"], Rule::Spread);
    // Zone c is empty but could be opened: two in a are one too many.
    by_zone(spread(ZONE, 1, json!({})), &["a", "b"], &["a", "a"], Rule::Spread);
    by_zone(spread(ZONE, 2, json!({})), &["a", "a"], &["a", "a", "a"], Rule::Spread);
    by_zone(spread("karpenter.sh/capacity-type", 1, json!({})), &["a"], &["a", "b"], Rule::Spread);
    // Four zones are wanted and three are there: the least counts as 0.
    by_zone(spread(ZONE, 1, json!({"minDomains": 4})), &["a", "b", "c"], &["a", "b", "c", "a"], Rule::Spread);
}

#[test]
fn node_inclusion_policies() {
    let narrow = |policy: &str| {
        let mut spec = spread(ZONE, 1, json!({"nodeAffinityPolicy": policy}));
        spec["nodeSelector"] = json!({"pool": "here"});
        spec
    };
    let mut snapshot = open_pool();
    snapshot.node_pools.clear();
    for (zone, here) in [("a", "here"), ("b", "there")] {
        let labels = json!({"topology.kubernetes.io/zone": zone, "pool": here});
        snapshot.nodes.push(node(&format!("old-{zone}"), "2", "4Gi", labels, json!({})));
    }
    let on = |policy| {
        let mut snapshot = snapshot.clone();
        snapshot.pending.push(workload("web", 2, "100m", "64Mi", narrow(policy)));
        let plan = plan(&snapshot, &market(), &[], &[("old-a", &["web-0", "web-1"])], &[]);
        (snapshot, plan)
    };
    let (honoured, plan) = on("Honor");
    expect(&honoured, &plan, &[]);
    let (ignored, plan) = on("Ignore");
    expect(&ignored, &plan, &[Rule::Spread]);
}

#[test]
fn hostname_spread_counts_an_empty_node() {
    let mut snapshot = open_pool();
    snapshot.pending.push(workload("web", 3, "100m", "64Mi", spread("kubernetes.io/hostname", 2, json!({}))));
    let two = plan(
        &snapshot,
        &market(),
        &[("default", "m1.small", "a", OD, &["web-0", "web-1"]), ("default", "m1.small", "a", OD, &["web-2"])],
        &[],
        &[],
    );
    expect(&snapshot, &two, &[]);
    let one = plan(&snapshot, &market(), &[("default", "m1.small", "a", OD, &["web-0", "web-1", "web-2"])], &[], &[]);
    expect(&snapshot, &one, &[Rule::Spread]);
    // Without a new node the least of the nodes that are there counts.
    let mut there = snapshot.clone();
    there.nodes.push(node("old", "2", "4Gi", json!({}), json!({})));
    expect(&there, &plan(&there, &market(), &[], &[("old", &["web-0", "web-1", "web-2"])], &[]), &[]);
}

#[test]
fn present_pods_count_for_the_spread() {
    let mut snapshot = open_pool();
    snapshot.pending.push(workload("web", 1, "100m", "64Mi", spread(ZONE, 1, json!({}))));
    snapshot.nodes.push(node("old", "2", "4Gi", json!({"topology.kubernetes.io/zone": "a"}), json!({})));
    snapshot.bound.push(bound("web-x", "old", "100m", json!({"app": "web"}), json!({})));
    by_zone_in(&snapshot, &["b"], &[]);
    by_zone_in(&snapshot, &["a"], &[Rule::Spread]);
    // Where nothing is bought, the zones of the nodes that are there are all there is.
    expect(&snapshot, &plan(&snapshot, &market(), &[], &[("old", &["web-0"])], &[]), &[]);
    snapshot.bound[0].status.as_mut().unwrap().phase = Some("Succeeded".to_owned());
    by_zone_in(&snapshot, &["a"], &[]);
}

fn affinity(kind: &str, key: &str, app: &str) -> Value {
    json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution":
        [{"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}]}}})
}

#[test]
fn anti_affinity_in_both_directions() {
    let apart = affinity("podAntiAffinity", ZONE, "web");
    by_zone(apart, &["a", "b"], &["a", "a"], Rule::PodAntiAffinity);
    let mut snapshot = open_pool();
    snapshot.pending.push(workload("web", 1, "100m", "64Mi", json!({})));
    snapshot.pending.push(workload(
        "loner",
        1,
        "100m",
        "64Mi",
        affinity("podAntiAffinity", "kubernetes.io/hostname", "web"),
    ));
    let together = plan(&snapshot, &market(), &[("default", "m1.small", "a", OD, &["web-0", "loner-0"])], &[], &[]);
    expect(&snapshot, &together, &[Rule::PodAntiAffinity]);
    let nodes: [NewNode; 2] =
        [("default", "m1.small", "a", OD, &["web-0"]), ("default", "m1.small", "a", OD, &["loner-0"])];
    expect(&snapshot, &plan(&snapshot, &market(), &nodes, &[], &[]), &[]);
    // A pod that is there and wants to be alone keeps others away.
    let mut there = open_pool();
    there.pending.push(workload("web", 1, "100m", "64Mi", json!({})));
    there.nodes.push(node("old", "2", "4Gi", json!({"topology.kubernetes.io/zone": "a"}), json!({})));
    there.bound.push(bound("l", "old", "1", json!({"app": "l"}), affinity("podAntiAffinity", ZONE, "web")));
    by_zone_in(&there, &["b"], &[]);
    by_zone_in(&there, &["a"], &[Rule::PodAntiAffinity]);
}

#[test]
fn affinity_needs_company_in_some_order() {
    // The first of pods that select themselves needs nobody; the others need the first.
    by_zone(affinity("podAffinity", ZONE, "web"), &["a", "a", "a"], &["a", "b", "a"], Rule::PodAffinity);
    let mut snapshot = open_pool();
    snapshot.pending.push(workload("web", 1, "100m", "64Mi", affinity("podAffinity", ZONE, "cache")));
    by_zone_in(&snapshot, &["a"], &[Rule::PodAffinity]);
    snapshot.nodes.push(node("old", "2", "4Gi", json!({"topology.kubernetes.io/zone": "a"}), json!({})));
    snapshot.bound.push(bound("c", "old", "1", json!({"app": "cache"}), json!({})));
    by_zone_in(&snapshot, &["a"], &[]);
    by_zone_in(&snapshot, &["b"], &[Rule::PodAffinity]);
    // Two that need each other and not themselves can never begin.
    let mut circle = open_pool();
    circle.pending.push(workload("web", 1, "100m", "64Mi", affinity("podAffinity", ZONE, "db")));
    circle.pending.push(workload("db", 1, "100m", "64Mi", affinity("podAffinity", ZONE, "web")));
    let both = plan(&circle, &market(), &[("default", "m1.small", "a", OD, &["web-0", "db-0"])], &[], &[]);
    expect(&circle, &both, &[Rule::PodAffinity]);
}

#[test]
fn host_ports() {
    let ports = json!({"containers": [{"name": "main", "ports": [{"containerPort": 80, "hostPort": 80}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]});
    let mut snapshot = open_pool();
    snapshot.pending.push(workload("web", 2, "100m", "64Mi", ports));
    by_zone_in(&snapshot, &["a", "a"], &[]);
    let one = plan(&snapshot, &market(), &[("default", "m1.small", "a", OD, &["web-0", "web-1"])], &[], &[]);
    expect(&snapshot, &one, &[Rule::HostPorts]);
}

#[test]
fn volumes_tie_to_zones() {
    let mut snapshot = open_pool();
    let volume = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]});
    snapshot.pending.push(workload("web", 1, "100m", "64Mi", volume));
    by_zone_in(&snapshot, &["a"], &[Rule::Volumes]);
    let claim = json!({"metadata": {"name": "data", "namespace": "default"}, "spec": {"volumeName": "disk"}});
    let disk = json!({"metadata": {"name": "disk"}, "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms":
        [{"matchExpressions": [{"key": "topology.ebs.csi.aws.com/zone", "operator": "In", "values": ["b"]}]}]}}}});
    snapshot.volume_claims.push(serde_json::from_value(claim).unwrap());
    snapshot.volumes.push(serde_json::from_value(disk).unwrap());
    by_zone_in(&snapshot, &["b"], &[]);
    by_zone_in(&snapshot, &["a"], &[Rule::Volumes]);
}

#[test]
fn limits_weights_and_min_values() {
    let (mut snapshot, plan) = web();
    snapshot.node_pools[0] = pool("default", json!([]), json!({"limits": {"cpu": "4"}}));
    expect(&snapshot, &plan, &[]);
    for limits in [json!({"cpu": "3"}), json!({"nodes": "1"}), json!({"memory": "5Gi"})] {
        snapshot.node_pools[0] = pool("default", json!([]), json!({"limits": limits}));
        expect(&snapshot, &plan, &[Rule::Limits]);
    }
    // A node that is there counts.
    snapshot.node_pools[0] = pool("default", json!([]), json!({"limits": {"cpu": "4"}}));
    snapshot.nodes.push(node("old", "1", "1Gi", json!({"karpenter.sh/nodepool": "default"}), json!({})));
    expect(&snapshot, &plan, &[Rule::Limits]);

    let (mut snapshot, plan) = web();
    snapshot.node_pools.push(pool("heavy", json!([]), json!({"weight": 10})));
    expect(&snapshot, &plan, &[Rule::Weight]);
    let ignore = VerifyOptions { ignore_weights: true, ..VerifyOptions::default() };
    assert!(rules(&snapshot, &market(), &ignore, &plan).is_empty());
    snapshot.node_pools[1] = pool("heavy", json!([]), json!({"weight": 10, "limits": {"cpu": "1"}}));
    expect(&snapshot, &plan, &[]);

    let (mut snapshot, plan) = web();
    for (least, expected) in [(3, vec![]), (4, vec![Rule::MinValues])] {
        let requirement =
            json!([{"key": "node.kubernetes.io/instance-type", "operator": "Exists", "minValues": least}]);
        snapshot.node_pools[0] = pool("default", requirement, json!({}));
        expect(&snapshot, &plan, &expected);
    }
}

#[test]
fn alternatives_hold_the_same_pods() {
    let catalog = market();
    broken_web(|plan| plan.nodes[0].alternatives = vec![alternative(&catalog, "m1.large", "a", OD)], &[]);
    broken_web(|plan| plan.nodes[0].alternatives = vec![alternative(&catalog, "m1.small", "c", OD)], &[]);
    let mut wrong = alternative(&catalog, "m1.large", "a", OD);
    wrong.hourly_price = 0.01;
    broken_web(|plan| plan.nodes[0].alternatives = vec![wrong], &[Rule::Alternatives]);
    let dear = [alternative(&catalog, "m1.large", "a", OD), alternative(&catalog, "m1.small", "c", OD)];
    broken_web(|plan| plan.nodes[0].alternatives = dear.to_vec(), &[Rule::Alternatives]);

    let mut snapshot = open_pool();
    snapshot.pending.push(workload("web", 3, "1000m", "64Mi", spread(ZONE, 1, json!({}))));
    let one = |zone| -> Plan {
        let mut plan = plan(
            &snapshot,
            &catalog,
            &[
                ("default", "m1.large", "a", OD, &["web-0"]),
                ("default", "m1.large", "b", OD, &["web-1"]),
                ("default", "m1.large", "c", OD, &["web-2"]),
            ],
            &[],
            &[],
        );
        plan.nodes[0].alternatives = vec![alternative(&catalog, "m1.small", zone, OD)];
        plan
    };
    expect(&snapshot, &one("a"), &[]);
    expect(&snapshot, &one("b"), &[Rule::Alternatives]);
}

#[test]
fn pods_left_over_could_not_be_placed() {
    let mut snapshot = open_pool();
    snapshot.pending.push(workload("big", 1, "9000m", "64Mi", json!({})));
    let reason = "no offering has 9 CPUs";
    expect(&snapshot, &plan(&snapshot, &market(), &[], &[], &[("big-0", reason)]), &[]);
    expect(&snapshot, &plan(&snapshot, &market(), &[], &[], &[("big-0", "")]), &[Rule::Unschedulable]);
    snapshot.pending[0] = workload("big", 1, "3000m", "64Mi", json!({}));
    expect(&snapshot, &plan(&snapshot, &market(), &[], &[], &[("big-0", reason)]), &[Rule::Unschedulable]);
    snapshot.node_pools[0] = pool("default", json!([]), json!({"limits": {"cpu": "3"}}));
    expect(&snapshot, &plan(&snapshot, &market(), &[], &[], &[("big-0", "limits")]), &[]);
}

#[test]
fn existing_nodes_are_real_and_have_room() {
    let mut snapshot = open_pool();
    snapshot.pending.push(workload("web", 2, "1000m", "64Mi", json!({})));
    snapshot.nodes.push(node("old", "2", "4Gi", json!({}), json!({})));
    let placed = plan(&snapshot, &market(), &[], &[("old", &["web-0", "web-1"])], &[]);
    expect(&snapshot, &placed, &[]);
    snapshot.bound.push(bound("busy", "old", "1", json!({}), json!({})));
    expect(&snapshot, &placed, &[Rule::Capacity]);
    expect(&snapshot, &plan(&snapshot, &market(), &[], &[("gone", &["web-0", "web-1"])], &[]), &[Rule::NodeNames]);
}

#[test]
fn daemons_take_room_where_they_land() {
    let (mut snapshot, mut plan) = web();
    let daemon = |selector: Value| {
        serde_json::from_value(
            json!({"metadata": {"name": "agent", "namespace": "kube-system"}, "spec": {"selector": {},
            "template": {"spec": {"nodeSelector": selector, "containers": [{"name": "main",
                "resources": {"requests": {"cpu": "100m"}}}]}}}}),
        )
        .unwrap()
    };
    snapshot.daemon_sets = vec![daemon(json!({"kubernetes.io/arch": "arm64"}))];
    expect(&snapshot, &plan, &[]);
    snapshot.daemon_sets = vec![daemon(json!({"kubernetes.io/arch": "amd64"}))];
    for node in &mut plan.nodes {
        node.requested.insert("cpu".to_owned(), "2100m".to_owned());
        node.requested.insert("pods".to_owned(), "3".to_owned());
    }
    expect(&snapshot, &plan, &[Rule::Capacity]);
}

#[test]
fn overlays_change_prices_and_devices() {
    let (mut snapshot, plan) = web();
    let small = json!([{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["m1.small"]}]);
    let change = |name: &str, weight: u32, text: &str| {
        overlay(name, json!({"requirements": small, "weight": weight, "priceAdjustment": text}))
    };
    let at = |price: f64| {
        let mut plan = plan.clone();
        plan.nodes.iter_mut().for_each(|node| node.hourly_price = price);
        (plan.summary.hourly_cost, plan.summary.lower_bound) = (2.0 * price, Some(2.0 * price));
        plan.summary.greedy_hourly_cost = 2.0 * price;
        plan
    };
    snapshot.node_overlays = vec![change("a", 1, "-50%")];
    expect(&snapshot, &plan, &[Rule::Price]);
    expect(&snapshot, &at(0.05), &[]);
    // The heavier counts; of one weight the later name does, and the other one nowhere.
    snapshot.node_overlays.push(change("b", 2, "+0.1"));
    expect(&snapshot, &at(0.2), &[]);
    snapshot.node_overlays.push(change("c", 2, "-0.02"));
    expect(&snapshot, &at(0.08), &[]);
    snapshot.node_overlays[2].spec.requirements[0].values = Some(vec!["m1.large".to_owned(), "c1.large".to_owned()]);
    expect(&snapshot, &at(0.2), &[]);
    for (key, operator, value, selected) in [
        ("karpenter.k8s.aws/instance-cpu", "Gt", "2", false),
        ("karpenter.k8s.aws/instance-cpu", "Gte", "2", true),
        ("karpenter.k8s.aws/instance-cpu", "Lt", "2", false),
        ("karpenter.k8s.aws/instance-cpu", "Lte", "2", true),
        ("topology.kubernetes.io/zone", "NotIn", "c", true),
        ("karpenter.sh/nodepool", "In", "other", false),
        ("tier", "In", "gold", true),
    ] {
        let requirements = json!([{"key": key, "operator": operator, "values": [value]}]);
        snapshot.node_pools[0] =
            pool("default", json!([]), json!({"template": {"metadata": {"labels": {"tier": "gold"}}}}));
        snapshot.node_overlays = vec![overlay("x", json!({"requirements": requirements, "price": "0.5"}))];
        expect(&snapshot, &at(if selected { 0.5 } else { 0.1 }), &[]);
    }

    let mut snapshot = open_pool();
    let asks = json!({"containers": [{"name": "main", "resources":
        {"requests": {"cpu": "100m", "memory": "64Mi", "example.com/dongle": "1"}}}]});
    snapshot.pending.push(workload("web", 2, "100m", "64Mi", asks));
    let mut both = on_one_node(&snapshot);
    both.nodes[0].requested.insert("example.com/dongle".to_owned(), "2".to_owned());
    expect(&snapshot, &both, &[Rule::Capacity]);
    let gives = |name: &str, weight: u32, dongles: u32| {
        overlay(
            name,
            json!({"requirements": small, "weight": weight, "capacity": {"example.com/dongle": dongles.to_string()}}),
        )
    };
    snapshot.node_overlays = vec![gives("a", 1, 2)];
    expect(&snapshot, &both, &[]);
    snapshot.node_overlays.push(gives("b", 2, 1));
    expect(&snapshot, &both, &[Rule::Capacity]);
    snapshot.node_overlays.push(gives("c", 2, 4));
    expect(&snapshot, &both, &[]);
}

/// Both web pods on one small node.
fn on_one_node(snapshot: &Snapshot) -> Plan {
    plan(snapshot, &market(), &[("default", "m1.small", "a", OD, &["web-0", "web-1"])], &[], &[])
}

#[test]
fn machines_under_way_have_room_until_they_are_deleted() {
    let mut snapshot = open_pool();
    snapshot.pending.push(workload("web", 2, "1000m", "64Mi", json!({"nodeSelector": {"team": "x"}})));
    let requirements = json!([{"key": "team", "operator": "In", "values": ["x"]}]);
    let coming = |more: Value| claim("coming", "2", "4Gi", json!({"karpenter.sh/nodepool": "default"}), more);
    let placed = plan(&snapshot, &market(), &[], &[("coming", &["web-0", "web-1"])], &[]);
    expect(&snapshot, &placed, &[Rule::NodeNames]);
    snapshot.node_claims = vec![coming(json!({"spec": {"requirements": requirements}}))];
    expect(&snapshot, &placed, &[]);
    snapshot.node_claims[0] = coming(json!({}));
    expect(&snapshot, &placed, &[Rule::NodeAffinity]);
    // Taints that are lifted keep nobody away.
    let taint = json!([{"key": "gpu", "effect": "NoSchedule"}]);
    let tainted = |field: &str| coming(json!({"spec": {"requirements": requirements, field: taint}}));
    snapshot.node_claims[0] = tainted("startupTaints");
    expect(&snapshot, &placed, &[]);
    snapshot.node_claims[0] = tainted("taints");
    expect(&snapshot, &placed, &[Rule::Taints]);
    let small = json!({"spec": {"requirements": requirements}, "status": {"allocatable": {"cpu": "1500m"}}});
    snapshot.node_claims[0] = coming(small);
    expect(&snapshot, &placed, &[Rule::Capacity]);
    let leaving =
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"requirements": requirements}});
    snapshot.node_claims[0] = coming(leaving);
    expect(&snapshot, &placed, &[Rule::NodeNames]);

    // They count towards their pool's limits, and not a second time once their node is there.
    let (mut snapshot, plan) = web();
    snapshot.node_pools[0] = pool("default", json!([]), json!({"limits": {"cpu": "6"}}));
    snapshot.node_claims = vec![coming(json!({}))];
    expect(&snapshot, &plan, &[]);
    let labels = json!({"karpenter.sh/nodepool": "default"});
    snapshot.nodes.push(node("old", "2", "4Gi", labels, json!({"providerID": "aws:///a/coming"})));
    expect(&snapshot, &plan, &[]);
    snapshot.nodes[0].spec.as_mut().unwrap().provider_id = None;
    expect(&snapshot, &plan, &[Rule::Limits]);
}

#[test]
fn a_node_that_starts_is_as_its_claim_says() {
    let mut snapshot = open_pool();
    snapshot.pending.push(workload("web", 1, "1000m", "64Mi", json!({})));
    let starts = json!([{"key": "cni", "effect": "NoSchedule"}]);
    let taints = json!([{"key": "cni", "effect": "NoSchedule"}, {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]);
    snapshot.nodes.push(node("new", "0", "0", json!({}), json!({"providerID": "aws:///a/new", "taints": taints})));
    let placed = plan(&snapshot, &market(), &[], &[("new", &["web-0"])], &[]);
    expect(&snapshot, &placed, &[Rule::Capacity, Rule::Taints]);
    snapshot.node_claims = vec![claim("new", "2", "4Gi", json!({}), json!({"spec": {"startupTaints": starts}}))];
    expect(&snapshot, &placed, &[]);
    let labels = snapshot.nodes[0].metadata.labels.as_mut().unwrap();
    labels.insert("karpenter.sh/initialized".to_owned(), "true".to_owned());
    expect(&snapshot, &placed, &[Rule::Capacity, Rule::Taints]);
}

#[test]
fn volumes_are_attached_once_and_no_more_than_can_be() {
    let class = json!({"metadata": {"name": "gp3"}, "provisioner": "kubernetes.io/aws-ebs", "volumeBindingMode": "WaitForFirstConsumer"});
    let claim = |name: &str| {
        serde_json::from_value(
            json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"storageClassName": "gp3"}}),
        )
        .unwrap()
    };
    let mounts = |claim: &str| json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]});
    let mut snapshot = open_pool();
    snapshot.storage_classes = vec![serde_json::from_value(class).unwrap()];
    snapshot.volume_claims = vec![claim("data"), claim("data-web-*")];
    let mut sold = market();
    sold.instance_types[0].max_volume_attachments = Some(1);
    for (mounted, expected) in [("data", vec![]), ("data-web-*", vec![Rule::VolumeLimits])] {
        snapshot.pending = vec![workload("web", 2, "100m", "64Mi", mounts(mounted))];
        let plan = on_one_node(&snapshot);
        let found = rules(&snapshot, &sold, &VerifyOptions::default(), &plan);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected, "{mounted}");
    }
    // On a node that is there its own driver says how many, and the volumes of its pods count.
    snapshot.nodes.push(node("old", "2", "4Gi", json!({}), json!({})));
    let placed = plan(&snapshot, &market(), &[], &[("old", &["web-0", "web-1"])], &[]);
    expect(&snapshot, &placed, &[]);
    let csi_node = |count: u32| {
        let driver = json!({"name": "ebs.csi.aws.com", "nodeID": "i-0", "allocatable": {"count": count}});
        serde_json::from_value(json!({"metadata": {"name": "old"}, "spec": {"drivers": [driver]}})).unwrap()
    };
    snapshot.csi_nodes = vec![csi_node(2)];
    expect(&snapshot, &placed, &[]);
    snapshot.bound.push(bound("b", "old", "100m", json!({}), mounts("data")));
    expect(&snapshot, &placed, &[Rule::VolumeLimits]);
    snapshot.csi_nodes = vec![csi_node(3)];
    expect(&snapshot, &placed, &[]);
}
