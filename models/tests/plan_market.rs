//! What is for sale and what is left of it: labels that pools leave open, and daemons.
#![allow(clippy::unwrap_used)]

mod plan_support;

use std::collections::{BTreeMap, BTreeSet};

use plan_support::judge::{Compared, judged};
use plan_support::{bound, catalog, instance, node, pool, workload};
use serde_json::{Value, json};
use supercargo_models::catalog::{Catalog, InstanceType};
use supercargo_models::kubernetes::Snapshot;
use supercargo_models::plan::Plan;
use supercargo_models::solver::Method;

const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";
const DEVICE: &str = "nvidia.com/gpu";

/// A plan that obeys every rule and is as good as the best.
fn best(snapshot: &Snapshot, catalog: &Catalog) -> Plan {
    judged(snapshot, catalog, Method::Auto, Compared { all: true, left_over: true }).unwrap()
}

/// A plan that obeys every rule.
fn sound(snapshot: &Snapshot, catalog: &Catalog) -> Plan {
    judged(snapshot, catalog, Method::Auto, Compared { all: false, left_over: false }).unwrap()
}

/// Two cores, $0.04 on demand and $0.01 spot.
fn small() -> Catalog {
    catalog(vec![instance("m0.size", "amd64", 2000, 4096, 8, &[("a", "on-demand", 0.04), ("a", "spot", 0.01)])])
}

fn one_of(key: &str, values: &[&str]) -> Value {
    json!({"key": key, "operator": "In", "values": values})
}

fn everyone(key: &str) -> Value {
    json!([{"topologyKey": key, "labelSelector": {}}])
}

/// Pods by the value of a label on their nodes.
fn by_label<'p>(plan: &'p Plan, key: &str) -> BTreeMap<&'p str, usize> {
    let mut pods = BTreeMap::new();
    for node in &plan.nodes {
        *pods.entry(node.labels.get(key).map_or("", String::as_str)).or_default() += node.pods.len();
    }
    pods
}

#[test]
fn pods_spread_over_all_values_that_pools_list_for_a_label_of_their_own() {
    // The ratio of on-demand and spot of Karpenter's documentation: one value on demand, four spot.
    let spread = json!({"topologySpreadConstraints": [{"topologyKey": "capacity-spread", "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]});
    let snapshot = Snapshot {
        pending: vec![workload("web", 10, "500m", "256Mi", spread)],
        node_pools: vec![
            pool("od", json!([one_of(CAPACITY_TYPE, &["on-demand"]), one_of("capacity-spread", &["1"])]), json!({})),
            pool(
                "spot",
                json!([one_of(CAPACITY_TYPE, &["spot"]), one_of("capacity-spread", &["2", "3", "4", "5"])]),
                json!({}),
            ),
        ],
        ..Snapshot::default()
    };
    let plan = sound(&snapshot, &small());
    assert_eq!(by_label(&plan, "capacity-spread"), BTreeMap::from([("1", 2), ("2", 2), ("3", 2), ("4", 2), ("5", 2)]));
}

#[test]
fn pods_that_keep_each_other_off_a_label_of_the_pool_get_a_value_each() {
    let apart = json!({"affinity": {"podAntiAffinity":
        {"requiredDuringSchedulingIgnoredDuringExecution": everyone("team")}}});
    let mut snapshot = Snapshot {
        pending: vec![workload("web", 3, "500m", "256Mi", apart.clone())],
        node_pools: vec![pool("p0", json!([one_of("team", &["x", "y", "z"])]), json!({}))],
        ..Snapshot::default()
    };
    let plan = best(&snapshot, &small());
    assert_eq!(by_label(&plan, "team"), BTreeMap::from([("x", 1), ("y", 1), ("z", 1)]));

    // A pod that is there keeps others off the first value, which they themselves say nothing of.
    snapshot.pending = vec![workload("web", 1, "500m", "256Mi", json!({}))];
    snapshot.nodes = vec![node("n0", "1", "4Gi", json!({"team": "x"}), json!({}))];
    snapshot.bound = vec![bound("b0", "n0", "900m", json!({}), apart)];
    let plan = best(&snapshot, &small());
    assert!(plan.nodes.len() == 1 && plan.nodes[0].labels["team"] != "x", "{:?}", plan.nodes);
}

#[test]
fn pods_join_those_whose_value_of_an_open_label_they_need() {
    let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        [{"topologyKey": "team", "labelSelector": {"matchLabels": {"app": "cache"}}}]}}});
    let snapshot = Snapshot {
        pending: vec![workload("web", 2, "500m", "256Mi", near)],
        node_pools: vec![pool("p0", json!([one_of("team", &["x", "y", "z"])]), json!({}))],
        nodes: vec![node("n0", "1", "4Gi", json!({"team": "z"}), json!({}))],
        bound: vec![bound("b0", "n0", "900m", json!({"app": "cache"}), json!({}))],
        ..Snapshot::default()
    };
    assert_eq!(by_label(&best(&snapshot, &small()), "team"), BTreeMap::from([("z", 2)]));
}

#[test]
fn each_pod_finds_a_node_however_many_values_the_labels_of_its_pool_have() {
    let names = |prefix: &str| (0..40).map(|index| format!("{prefix}{index:02}")).collect::<Vec<String>>();
    let (teams, tiers) = (names("team"), names("tier"));
    let requirements = json!([{"key": "team", "operator": "In", "values": teams},
        {"key": "tier", "operator": "In", "values": tiers}]);
    let pairs = || teams.iter().zip(tiers.iter().rev());
    let snapshot = Snapshot {
        pending: pairs()
            .map(|(team, tier)| {
                workload(
                    &format!("of-{team}"),
                    1,
                    "500m",
                    "256Mi",
                    json!({"nodeSelector": {"team": team, "tier": tier}}),
                )
            })
            .collect(),
        node_pools: vec![pool("p0", requirements, json!({}))],
        ..Snapshot::default()
    };
    let plan = sound(&snapshot, &small());
    assert_eq!(plan.unschedulable.len(), 0, "{:?}", plan.unschedulable);
    let label = |key: &'static str| plan.nodes.iter().map(move |node| &node.labels[key]);
    let found: BTreeSet<(&String, &String)> = label("team").zip(label("tier")).collect();
    assert_eq!(found, pairs().collect());
}

#[test]
fn pods_that_ask_for_different_open_labels_share_a_node() {
    let selects = |key: &str, value: &str| json!({"nodeSelector": {key: value}});
    let avoids = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [{"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]}]}}}});
    let snapshot = Snapshot {
        pending: vec![
            workload("w0", 1, "500m", "256Mi", selects("team", "b")),
            workload("w1", 1, "500m", "256Mi", selects("tier", "gold")),
            workload("w2", 1, "500m", "256Mi", avoids),
        ],
        node_pools: vec![pool(
            "p0",
            json!([one_of("team", &["a", "b"]), one_of("tier", &["gold", "silver"])]),
            json!({}),
        )],
        ..Snapshot::default()
    };
    assert_eq!(best(&snapshot, &small()).nodes.len(), 1);
}

#[test]
fn a_label_that_a_pool_only_wants_to_exist_has_a_value_for_those_who_want_it() {
    let wants = |operator: &str, values: Value| {
        let one = json!({"key": "generation", "operator": operator, "values": values});
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": [one]}]}}}})
    };
    let open = |operator: &str, values: Value| {
        let one = json!({"key": "generation", "operator": operator, "values": values});
        vec![pool("p0", json!([one]), json!({}))]
    };
    let exists = || wants("Exists", json!(null));
    let cases = [
        (open("Exists", json!(null)), exists(), true),
        (open("NotIn", json!(["3"])), exists(), true),
        (open("Gt", json!(["4"])), wants("Lt", json!(["6"])), true),
        (open("Exists", json!(null)), wants("Gt", json!(["7"])), true),
        (open("In", json!(["1", "2", "3", "4", "5"])), wants("Gt", json!(["3"])), true),
        (open("In", json!(["1", "2"])), wants("Gt", json!(["3"])), false),
        (open("DoesNotExist", json!(null)), exists(), false),
    ];
    for (node_pools, more, placed) in cases {
        let pending = vec![workload("web", 1, "500m", "256Mi", more)];
        let snapshot = Snapshot { pending, node_pools, ..Snapshot::default() };
        let plan = sound(&snapshot, &small());
        assert_eq!(plan.nodes.len(), usize::from(placed), "{snapshot:?} {:?}", plan.unschedulable);
    }
}

fn daemon(requests: Value) -> k8s_openapi::api::apps::v1::DaemonSet {
    let pod = json!({"containers": [{"name": "main", "resources": {"requests": requests},
        "ports": [{"containerPort": 80, "hostPort": 8080}]}]});
    serde_json::from_value(json!({"metadata": {"name": "agent", "namespace": "kube-system"},
        "spec": {"selector": {}, "template": {"spec": pod}}}))
    .unwrap()
}

#[test]
fn a_daemon_that_a_node_has_nothing_for_takes_nothing_of_it() {
    let port = json!({"containers": [{"name": "main", "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}},
        "ports": [{"containerPort": 80, "hostPort": 8080}]}]});
    for requests in [json!({"cpu": "100m", DEVICE: "1"}), json!({DEVICE: "1"})] {
        let mut snapshot = Snapshot {
            pending: vec![workload("web", 4, "500m", "256Mi", json!({}))],
            node_pools: vec![pool("p0", json!([]), json!({}))],
            daemon_sets: vec![daemon(requests.clone())],
            ..Snapshot::default()
        };
        // All of the node is there for pods.
        assert_eq!(best(&snapshot, &small()).nodes.len(), 1, "{requests}");
        snapshot.pending = vec![workload("web", 1, "500m", "256Mi", port.clone())];
        assert_eq!(best(&snapshot, &small()).nodes.len(), 1, "{requests}: its port is free");
        snapshot.nodes = vec![node("n0", "2", "4Gi", json!({}), json!({}))];
        assert_eq!(best(&snapshot, &small()).existing_nodes.len(), 1, "{requests}: on the node that is there");
    }
}

#[test]
fn a_node_that_is_too_small_for_a_daemon_is_used_where_it_is_there_and_not_bought() {
    for requests in [json!({"memory": "8Gi"}), json!({"cpu": "2100m"})] {
        let mut snapshot = Snapshot {
            pending: vec![workload("web", 2, "500m", "256Mi", json!({}))],
            node_pools: vec![pool("p0", json!([]), json!({}))],
            daemon_sets: vec![daemon(requests.clone())],
            ..Snapshot::default()
        };
        assert_eq!(best(&snapshot, &small()).unschedulable.len(), 2, "{requests}");
        snapshot.nodes = vec![node("n0", "2", "4Gi", json!({}), json!({}))];
        assert_eq!(best(&snapshot, &small()).existing_nodes[0].pods.len(), 2, "{requests}");
    }
}

#[test]
fn a_daemon_that_an_empty_node_has_room_for_lands_there() {
    let mut snapshot = Snapshot {
        pending: vec![workload("web", 4, "500m", "256Mi", json!({}))],
        node_pools: vec![pool("p0", json!([]), json!({}))],
        daemon_sets: vec![daemon(json!({"cpu": "2000m"}))],
        ..Snapshot::default()
    };
    assert_eq!(best(&snapshot, &small()).unschedulable.len(), 4);
    snapshot.daemon_sets = vec![daemon(json!({"cpu": "500m"}))];
    assert_eq!(best(&snapshot, &small()).nodes.len(), 2);
}

#[test]
fn a_daemon_lands_on_the_types_alone_that_have_what_it_asks_for() {
    let plain = instance("m0.size", "amd64", 2000, 4096, 8, &[("a", "on-demand", 0.04)]);
    let mut equipped = InstanceType {
        gpus: BTreeMap::from([(DEVICE.to_owned(), 1)]),
        ..instance("g0.size", "amd64", 2000, 4096, 8, &[("a", "on-demand", 0.03)])
    };
    equipped.allocatable.as_mut().unwrap().insert(DEVICE.to_owned(), json!(1));
    let snapshot = Snapshot {
        pending: vec![workload("web", 4, "500m", "256Mi", json!({}))],
        node_pools: vec![pool("p0", json!([]), json!({}))],
        daemon_sets: vec![daemon(json!({"cpu": "1000m", DEVICE: "1"}))],
        ..Snapshot::default()
    };
    // The equipped one is cheaper, but half of it goes to the daemon.
    let plan = best(&snapshot, &catalog(vec![plain, equipped]));
    assert_eq!(plan.nodes.iter().map(|node| node.instance_type.as_str()).collect::<Vec<_>>(), ["m0.size"]);
}

#[test]
fn pods_that_tolerate_it_stand_on_a_cordoned_node() {
    let tolerates = json!({"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]});
    let mut snapshot = Snapshot {
        pending: vec![workload("web", 1, "500m", "256Mi", tolerates)],
        node_pools: vec![pool("p0", json!([]), json!({}))],
        nodes: vec![node("n0", "2", "4Gi", json!({}), json!({"unschedulable": true}))],
        ..Snapshot::default()
    };
    assert_eq!(best(&snapshot, &small()).nodes.len(), 0);
    snapshot.pending = vec![workload("web", 1, "500m", "256Mi", json!({}))];
    assert_eq!(best(&snapshot, &small()).existing_nodes.len(), 0);
}

#[test]
fn pods_for_windows_stand_on_windows_alone() {
    let for_windows = || json!({"os": {"name": "windows"}});
    let mut agent = daemon(json!({"cpu": "1900m"}));
    agent.spec.template.spec.as_mut().unwrap().os = serde_json::from_value(json!({"name": "windows"})).unwrap();
    let mut snapshot = Snapshot {
        pending: vec![workload("web", 1, "500m", "256Mi", for_windows())],
        node_pools: vec![pool("p0", json!([]), json!({}))],
        nodes: vec![node("n0", "2", "4Gi", json!({"kubernetes.io/os": "linux"}), json!({}))],
        ..Snapshot::default()
    };
    assert_eq!(best(&snapshot, &small()).unschedulable.len(), 1);
    snapshot.nodes.push(node("n1", "2", "4Gi", json!({"kubernetes.io/os": "windows"}), json!({})));
    assert_eq!(best(&snapshot, &small()).existing_nodes[0].name, "n1");
    // A daemon of Windows takes nothing of the others.
    snapshot.daemon_sets = vec![agent];
    assert_eq!(best(&snapshot, &small()).unschedulable.len(), 1);
    snapshot.pending = vec![workload("web", 1, "500m", "256Mi", json!({}))];
    assert_eq!(best(&snapshot, &small()).existing_nodes[0].name, "n0");

    // A catalogue may have such offerings.
    let mut sold = small();
    sold.instance_types[0].labels.insert("kubernetes.io/os".to_owned(), "windows".to_owned());
    snapshot = Snapshot {
        pending: vec![workload("web", 1, "500m", "256Mi", for_windows())],
        node_pools: snapshot.node_pools,
        ..Snapshot::default()
    };
    assert_eq!(best(&snapshot, &sold).nodes.len(), 1);
}
