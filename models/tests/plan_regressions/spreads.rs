//! Topology spread: which domains count, and who has a place in them.

use serde_json::{Value, json};
use supercargo_models::kubernetes::Snapshot;
use supercargo_models::solver::Method;

use crate::plan_support::{bound, catalog, instance, merge, node, pool, workload};
use crate::{CAPACITY_TYPE, HOSTNAME, ZONE, best, of, small, sound, spread, without_spot};

/// A pod's first spread and its second one.
fn both(mut first: Value, second: &Value) -> Value {
    let constraints = first["topologySpreadConstraints"].as_array_mut().unwrap();
    constraints.push(second["topologySpreadConstraints"][0].clone());
    first
}

#[test]
fn where_no_node_can_come_the_fullest_node_is_the_only_host_name() {
    // Too big for what is sold: it stands on the node that is there, beside the pod that counts there, or nowhere.
    let mut snapshot = Snapshot {
        pending: vec![workload("w0", 1, "1250m", "256Mi", spread(HOSTNAME, 1, json!({})))],
        node_pools: vec![pool("p0", json!([]), json!({}))],
        nodes: vec![node("n0", "2", "4Gi", json!({ZONE: "a"}), json!({}))],
        bound: vec![bound("b0", "n0", "250m", json!({"app": "w0"}), json!({}))],
        ..Snapshot::default()
    };
    let tiny = catalog(vec![instance("m0.size", "amd64", 1000, 1024, 2, &[("a", "on-demand", 0.04)])]);
    let plan = best(&snapshot, &tiny);
    assert_eq!((plan.summary.scheduled, plan.summary.new_nodes), (1, 0));
    // With a second pod that needs a new node, host names start from none.
    snapshot.pending.push(workload("w1", 1, "250m", "256Mi", json!({"nodeSelector": {ZONE: "c"}})));
    let mixed = catalog(vec![
        instance("m0.size", "amd64", 1000, 1024, 2, &[("a", "on-demand", 0.04)]),
        instance("m1.size", "amd64", 1000, 1024, 2, &[("c", "on-demand", 0.04)]),
    ]);
    let plan = best(&snapshot, &mixed);
    assert_eq!((plan.summary.scheduled, plan.summary.unschedulable), (1, 1));
}

#[test]
fn domains_of_the_heaviest_pool_count_for_pods_that_its_limits_push_to_a_lighter_one() {
    let in_a_or_b = json!([{"key": ZONE, "operator": "In", "values": ["a", "b"]}]);
    let snapshot = Snapshot {
        pending: vec![
            workload("w0", 1, "250m", "256Mi", json!({})),
            workload("w1", 1, "1000m", "256Mi", spread(ZONE, 2, json!({}))),
        ],
        node_pools: vec![
            pool("p0", without_spot(), json!({"limits": {"cpu": "1"}, "weight": 1})),
            pool("p1", in_a_or_b, json!({})),
        ],
        nodes: vec![node("n0", "1", "4Gi", json!({ZONE: "a"}), json!({}))],
        bound: vec![bound("b0", "n0", "250m", json!({"app": "w0"}), json!({}))],
        ..Snapshot::default()
    };
    sound(&snapshot, &catalog(vec![small()]), Method::Auto);
}

#[test]
fn pods_of_a_heavy_pool_spread_to_a_lighter_one_where_another_pod_opens_a_domain() {
    let snapshot = Snapshot {
        pending: vec![
            workload("w0", 1, "250m", "256Mi", json!({"nodeSelector": {CAPACITY_TYPE: "spot"}})),
            workload("w1", 2, "250m", "256Mi", spread(CAPACITY_TYPE, 1, of("w1"))),
        ],
        node_pools: vec![pool("p0", without_spot(), json!({"weight": 1})), pool("p1", json!([]), json!({}))],
        ..Snapshot::default()
    };
    let offerings = [("a", "on-demand", 0.04), ("a", "spot", 0.016)];
    let plan = sound(&snapshot, &catalog(vec![instance("m1.size", "amd64", 2000, 2048, 2, &offerings)]), Method::Auto);
    assert_eq!(plan.summary.unschedulable, 0, "{:?}", plan.unschedulable);
}

#[test]
fn a_pod_may_wait_because_its_node_would_open_a_domain_that_others_spread_over() {
    let snapshot = Snapshot {
        pending: vec![
            workload("w1", 3, "250m", "256Mi", {
                let mut spec = spread(ZONE, 1, of("w1"));
                spec["volumes"] = json!([{"name": "claim", "persistentVolumeClaim": {"claimName": "claim"}}]);
                spec
            }),
            workload("w2", 1, "250m", "256Mi", json!({"nodeSelector": {ZONE: "c"}})),
        ],
        node_pools: vec![pool("p0", json!([]), json!({}))],
        nodes: vec![node("n0", "1", "4Gi", json!({ZONE: "b"}), json!({}))],
        volumes: vec![
            serde_json::from_value(json!({"metadata": {"name": "claim"}, "spec": {"nodeAffinity": {"required":
            {"nodeSelectorTerms": [{"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["b"]}]}]}}}}))
            .unwrap(),
        ],
        volume_claims: vec![
            serde_json::from_value(json!({"metadata": {"name": "claim", "namespace": "default"},
            "spec": {"volumeName": "claim"}}))
            .unwrap(),
        ],
        ..Snapshot::default()
    };
    let plan =
        best(&snapshot, &catalog(vec![instance("m0.size", "amd64", 1000, 1024, 2, &[("c", "on-demand", 0.04)])]));
    assert_eq!((plan.summary.scheduled, plan.unschedulable[0].pod.as_str()), (3, "default/w2-0"));
}

/// A preference that is honoured takes no domain out of the least: kube-scheduler knows it as a wish alone.
#[test]
fn a_preferred_zone_leaves_the_others_among_the_domains_of_a_spread() {
    let keeps_away = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": of("w1"), "topologyKey": ZONE}]}}});
    let prefers = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 10, "preference": {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["c"]}]}}]}}});
    let mut spreads = spread(ZONE, 2, of("w0"));
    merge(&mut spreads, prefers);
    let device = json!({"nodeSelector": {CAPACITY_TYPE: "on-demand"},
        "affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 10, "podAffinityTerm": {"labelSelector": of("w2"), "topologyKey": HOSTNAME}}]}}});
    let mut devices = workload("w2", 2, "250m", "2048Mi", device);
    let mut spec = (*devices.spec).clone();
    let requests = spec.containers[0].resources.as_mut().unwrap().requests.as_mut().unwrap();
    requests.insert(
        "example.com/device".to_owned(),
        k8s_openapi::apimachinery::pkg::api::resource::Quantity("1".to_owned()),
    );
    devices.spec = std::sync::Arc::new(spec);
    let family = "karpenter.k8s.aws/instance-family";
    let unlabelled = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": family, "operator": "DoesNotExist"}]}]}}}});
    let there =
        json!({CAPACITY_TYPE: "on-demand", ZONE: "a", "karpenter.sh/nodepool": "p0", "kubernetes.io/arch": "amd64"});
    let mut snapshot = Snapshot {
        pending: vec![
            workload("w0", 3, "2000m", "512Mi", spreads),
            workload("w1", 1, "250m", "2048Mi", unlabelled),
            devices,
        ],
        node_pools: vec![pool("p0", json!([]), json!({}))],
        nodes: vec![
            node("n0", "1", "4Gi", there.clone(), json!({"providerID": "aws:///a/n0"})),
            node("n1", "3", "4Gi", there, json!({"providerID": "aws:///a/n1"})),
        ],
        bound: vec![
            bound("b0-0", "n0", "500m", json!({"app": "w0"}), keeps_away),
            bound("b0-1", "n0", "500m", json!({"app": "w1"}), json!({})),
            bound("b1-0", "n1", "750m", json!({"app": "w1"}), json!({})),
            bound("b1-1", "n1", "500m", json!({"app": "w3"}), json!({})),
        ],
        ..Snapshot::default()
    };
    let sold = [("a", 0.088, 0.22), ("b", 0.098, 0.22), ("c", 0.108, 0.22)];
    let sold: Vec<_> =
        sold.iter().flat_map(|(zone, spot, other)| [(*zone, "on-demand", *other), (*zone, "spot", *spot)]).collect();
    let sold = vec![
        instance("m0.size", "amd64", 2000, 5120, 6, &sold),
        instance("m1.size", "amd64", 1000, 3072, 2, &[("c", "on-demand", 0.15), ("c", "spot", 0.08)]),
        instance("m2.size", "amd64", 1000, 4096, 5, &[("c", "on-demand", 0.2), ("c", "spot", 0.1)]),
    ];
    let daemon = json!({"metadata": {"name": "agent", "namespace": "default"}, "spec": {
        "selector": {"matchLabels": {"app": "agent"}},
        "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {
            "nodeSelector": {CAPACITY_TYPE: "spot"},
            "containers": [{"name": "main", "resources": {"requests": {"cpu": "600m"}}}]}}}});
    snapshot.daemon_sets.push(serde_json::from_value(daemon).unwrap());
    sound(&snapshot, &catalog(sold), Method::Auto);
}

/// Domains where nothing can be bought any more, and nothing is, do not count.
#[test]
fn pods_that_a_pool_at_its_limit_can_bring_no_new_domain_spread_over_those_that_are_there() {
    let mut near = spread(ZONE, 1, of("w1"));
    merge(
        &mut near,
        json!({"tolerations": [{"key": "team", "operator": "Exists"}],
            "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": of("w1"), "topologyKey": HOSTNAME}]}}}),
    );
    let there =
        json!({"kubernetes.io/arch": "amd64", CAPACITY_TYPE: "on-demand", ZONE: "b", "karpenter.sh/nodepool": "p0"});
    let snapshot = Snapshot {
        pending: vec![workload("w0", 1, "750m", "1536Mi", json!({})), workload("w1", 3, "500m", "1280Mi", near)],
        node_pools: vec![pool(
            "p0",
            json!([{"key": "example.com/team", "operator": "In", "values": ["x", "y"]}]),
            json!({"limits": {"cpu": "1"}, "template": {"spec": {"taints": [{"effect": "NoSchedule", "key": "team", "value": "x"}]}}}),
        )],
        nodes: vec![node("n0", "3", "4Gi", there, json!({"providerID": "aws:///a/n0"}))],
        bound: vec![
            bound("b0-0", "n0", "750m", json!({"app": "w1"}), json!({})),
            bound("b0-1", "n0", "500m", json!({"app": "w2"}), json!({})),
        ],
        ..Snapshot::default()
    };
    let sold = vec![
        instance("m0.size", "arm64", 1000, 1024, 5, &[("a", "on-demand", 0.19), ("a", "spot", 0.076)]),
        instance("m1.size", "amd64", 4000, 3072, 2, &[("a", "on-demand", 0.39), ("b", "on-demand", 0.39)]),
        instance("m2.size", "amd64", 1000, 2048, 3, &[("a", "on-demand", 0.24), ("c", "spot", 0.116)]),
    ];
    let plan = best(&snapshot, &catalog(sold));
    assert_eq!(plan.summary.scheduled, 3, "{plan:#?}");
}

/// A node without a label is in no domain of it, and neither is what could stand in for that node.
#[test]
fn a_spread_over_a_label_that_only_one_pool_gives_says_nothing_of_other_nodes() {
    let mut racked = spread("rack", 1, of("web"));
    merge(&mut racked, json!({"tolerations": [{"key": "racked", "operator": "Exists"}]}));
    let taints = json!([{"key": "racked", "effect": "NoSchedule"}]);
    let template = json!({"template": {"metadata": {"labels": {"rack": "a"}}, "spec": {"taints": taints}}});
    let snapshot = Snapshot {
        pending: vec![workload("web", 2, "250m", "64Mi", racked), workload("other", 3, "900m", "256Mi", json!({}))],
        node_pools: vec![pool("racked", json!([]), template), pool("general", json!([]), json!({}))],
        ..Snapshot::default()
    };
    let plan = sound(&snapshot, &catalog(vec![small()]), Method::Auto);
    assert_eq!(plan.summary.scheduled, 5, "{plan:#?}");
}

#[test]
fn a_node_without_one_label_of_a_pods_spreads_is_no_domain_of_the_others() {
    let both = both(spread(CAPACITY_TYPE, 1, json!({})), &spread("team", 1, json!({})));
    let there = json!({"team": "x", CAPACITY_TYPE: "on-demand"});
    let snapshot = Snapshot {
        pending: vec![workload("w0", 2, "250m", "256Mi", both), workload("w1", 1, "900m", "256Mi", json!({}))],
        node_pools: vec![pool("p0", json!([]), json!({}))],
        nodes: vec![node("n0", "1", "4Gi", there, json!({}))],
        ..Snapshot::default()
    };
    let offerings = [("a", "on-demand", 0.04), ("a", "spot", 0.016)];
    let plan = sound(&snapshot, &catalog(vec![instance("m0.size", "amd64", 2000, 2048, 2, &offerings)]), Method::Auto);
    // Spot nodes of the pool bear no team.
    assert_eq!(plan.existing_nodes[0].pods.len(), 2, "{plan:#?}");
}

#[test]
fn zones_where_only_nodes_without_another_label_of_a_pods_spreads_are_sold_do_not_count() {
    let both = both(spread(ZONE, 1, of("w0")), &spread("team", 1, of("w1")));
    let snapshot = Snapshot {
        pending: vec![workload("w0", 2, "1250m", "256Mi", both)],
        node_pools: vec![pool("p0", json!([]), json!({}))],
        nodes: vec![node("n0", "3", "4Gi", json!({"team": "y", ZONE: "b"}), json!({}))],
        bound: vec![bound("b0", "n0", "750m", json!({"app": "w0"}), json!({}))],
        ..Snapshot::default()
    };
    let plan = best(&snapshot, &catalog(vec![small()]));
    assert_eq!((plan.summary.scheduled, plan.summary.unschedulable), (1, 1));
}

#[test]
fn pools_that_are_fallen_back_to_count_in_a_spread_with_their_own_domains() {
    // The heavier pool's limit is too small for any node, so both capacity types are those of the lighter one.
    let snapshot = Snapshot {
        pending: vec![
            workload("w0", 2, "250m", "256Mi", spread(CAPACITY_TYPE, 1, json!({}))),
            workload("w1", 1, "250m", "256Mi", json!({})),
        ],
        node_pools: vec![
            pool("p0", json!([]), json!({})),
            pool("p1", json!([]), json!({"limits": {"cpu": "1"}, "weight": 1})),
        ],
        ..Snapshot::default()
    };
    let offerings = [("a", "on-demand", 0.04), ("a", "spot", 0.016)];
    let plan = best(&snapshot, &catalog(vec![instance("m0.size", "amd64", 2000, 2048, 2, &offerings)]));
    assert_eq!(plan.nodes.len(), 2);
    assert_ne!(plan.nodes[0].capacity_type, plan.nodes[1].capacity_type);
}
