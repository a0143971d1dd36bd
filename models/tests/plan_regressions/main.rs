//! Small clusters that were planned wrong once, each named after what went wrong: planned, checked, and compared with
//! brute force.
#![allow(clippy::unwrap_used)]

#[path = "../plan_support/mod.rs"]
mod plan_support;
mod spreads;

use plan_support::judge::{Compared, judged};
use plan_support::{bound, catalog, claim, instance, node, overlay, pool, rules, workload};
use serde_json::{Value, json};
use supercargo_models::catalog::{Catalog, InstanceType};
use supercargo_models::kubernetes::Snapshot;
use supercargo_models::plan::Plan;
use supercargo_models::plan::verify::{Rule, VerifyOptions};
use supercargo_models::solver::Method;

const ZONE: &str = "topology.kubernetes.io/zone";
const HOSTNAME: &str = "kubernetes.io/hostname";
const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";

/// A plan that obeys every rule and is as good as the best.
fn best(snapshot: &Snapshot, catalog: &Catalog) -> Plan {
    judged(snapshot, catalog, Method::Auto, Compared { all: true, left_over: true }).unwrap()
}

/// A plan that obeys every rule, pools' weights among them, which brute force does not weigh.
fn sound(snapshot: &Snapshot, catalog: &Catalog, method: Method) -> Plan {
    judged(snapshot, catalog, method, Compared { all: false, left_over: false }).unwrap()
}

fn spread(key: &str, skew: u32, selector: Value) -> Value {
    json!({"topologySpreadConstraints": [{"topologyKey": key, "maxSkew": skew, "labelSelector": selector,
        "whenUnsatisfiable": "DoNotSchedule"}]})
}

fn of(app: &str) -> Value {
    json!({"matchLabels": {"app": app}})
}

/// Two cores for $0.04 on demand in zones `a` and `c`.
fn small() -> InstanceType {
    instance("m0.size", "amd64", 2000, 1024, 2, &[("a", "on-demand", 0.04), ("c", "on-demand", 0.04)])
}

fn without_spot() -> Value {
    json!([{"key": CAPACITY_TYPE, "operator": "NotIn", "values": ["spot"]}])
}

#[test]
fn nodes_say_which_value_they_bear_of_a_label_that_their_pool_leaves_open() {
    let open = json!([{"key": "example.com/team", "operator": "In", "values": ["x", "y"]}]);
    let mut selects = spread(ZONE, 2, json!({}));
    selects["nodeSelector"] = json!({"example.com/team": "x"});
    let snapshot = Snapshot {
        pending: vec![workload("w0", 1, "250m", "256Mi", selects), workload("w1", 2, "250m", "256Mi", json!({}))],
        node_pools: vec![pool("p0", open, json!({}))],
        ..Snapshot::default()
    };
    let mut plan = best(&snapshot, &catalog(vec![small()]));
    assert_eq!(plan.summary.scheduled, 3);
    assert!(plan.nodes.iter().all(|node| node.labels.contains_key("example.com/team")), "{:?}", plan.nodes);
    let greedy = sound(&snapshot, &catalog(vec![small()]), Method::Greedy);
    assert_eq!(greedy.summary.scheduled, 3);
    // The checker takes what the plan says, as far as the pool allows it.
    plan.nodes[0].labels.insert("example.com/team".to_owned(), "z".to_owned());
    let broken = rules(&snapshot, &catalog(vec![small()]), &VerifyOptions::default(), &plan);
    assert!(broken.contains(&Rule::PoolRequirements), "{broken:?}");
}

#[test]
fn pods_that_must_share_a_node_are_no_more_than_their_pool_has_stand_ins_and_limits_for() {
    let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        [{"topologyKey": HOSTNAME, "labelSelector": of("w1")}]}}});
    let flexible = json!([{"key": "node.kubernetes.io/instance-type", "operator": "Exists", "minValues": 2}]);
    let sold = catalog(vec![
        instance("m0.size", "amd64", 1000, 1024, 4, &[("a", "on-demand", 0.04)]),
        instance("m1.size", "amd64", 2000, 2048, 4, &[("a", "on-demand", 0.07)]),
    ]);
    for pool in [pool("p0", flexible, json!({})), pool("p0", json!([]), json!({"limits": {"cpu": "1"}}))] {
        let snapshot = Snapshot {
            pending: vec![workload("w1", 2, "1000m", "256Mi", near.clone())],
            node_pools: vec![pool],
            ..Snapshot::default()
        };
        let plan = best(&snapshot, &sold);
        assert_eq!((plan.summary.scheduled, plan.summary.unschedulable), (1, 1));
        let reason = &plan.unschedulable[0].reason;
        assert!(reason.contains("must share one node"), "{reason}");
    }
}

#[test]
fn where_pods_must_wait_as_few_wait_as_can_be() {
    let volume = json!({"metadata": {"name": "claim"}, "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms":
        [{"matchExpressions": [{"key": "topology.ebs.csi.aws.com/zone", "operator": "In", "values": ["c"]}]}]}}}});
    let claim = json!({"metadata": {"name": "claim", "namespace": "default"}, "spec": {"volumeName": "claim"}});
    let alone = json!({
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            [{"topologyKey": ZONE, "labelSelector": of("w2")}]}},
        "volumes": [{"name": "claim", "persistentVolumeClaim": {"claimName": "claim"}}]});
    let labels = json!({ZONE: "a", CAPACITY_TYPE: "on-demand", "kubernetes.io/arch": "amd64",
        "karpenter.sh/nodepool": "p0"});
    let snapshot = Snapshot {
        pending: vec![
            workload("w0", 1, "250m", "256Mi", alone),
            workload("w1", 2, "250m", "256Mi", spread(CAPACITY_TYPE, 1, of("w1"))),
            workload("w2", 2, "250m", "256Mi", spread(ZONE, 1, json!({}))),
        ],
        node_pools: vec![pool("p0", json!([]), json!({"limits": {"nodes": "3"}}))],
        nodes: vec![node("n0", "2", "4Gi", labels, json!({}))],
        bound: vec![bound("b0", "n0", "250m", json!({"app": "w1"}), json!({}))],
        volumes: vec![serde_json::from_value(volume).unwrap()],
        volume_claims: vec![serde_json::from_value(claim).unwrap()],
        ..Snapshot::default()
    };
    let (in_b_and_c, in_a_and_c) = (
        [("b", "on-demand", 0.1), ("c", "on-demand", 0.1)],
        [("a", "on-demand", 0.04), ("a", "spot", 0.016), ("c", "on-demand", 0.04), ("c", "spot", 0.036)],
    );
    let sold = catalog(vec![
        instance("m0.size", "arm64", 2000, 3072, 2, &in_b_and_c),
        instance("m1.size", "amd64", 2000, 1024, 1, &in_a_and_c),
    ]);
    assert_eq!(best(&snapshot, &sold).summary.unschedulable, 1);
}

fn near(key: &str, selector: Value) -> Value {
    json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        [{"topologyKey": key, "labelSelector": selector}]}}})
}

#[test]
fn pods_that_need_each_other_begin_where_one_of_them_is_there() {
    // On the node in b is one of each, but no room; elsewhere neither w0 nor w1 could come first.
    let mut snapshot = Snapshot {
        pending: vec![
            workload("w0", 1, "750m", "256Mi", near(ZONE, of("w1"))),
            workload("w1", 1, "1250m", "256Mi", near(ZONE, of("w0"))),
        ],
        node_pools: vec![pool("p0", json!([]), json!({}))],
        nodes: vec![node("n0", "1", "4Gi", json!({ZONE: "b"}), json!({}))],
        bound: ["w0", "w1"].map(|app| bound(app, "n0", "250m", json!({"app": app}), json!({}))).to_vec(),
        ..Snapshot::default()
    };
    let in_a = [("a", "on-demand", 0.04)];
    let plan = best(&snapshot, &catalog(vec![instance("m0.size", "amd64", 3000, 3072, 3, &in_a)]));
    assert_eq!(plan.summary.scheduled, 0);
    // Where a node can be had in b they follow, one after the other.
    let in_both = [("a", "on-demand", 0.04), ("b", "on-demand", 0.06)];
    let sold = catalog(vec![instance("m0.size", "amd64", 3000, 3072, 3, &in_both)]);
    let plan = best(&snapshot, &sold);
    assert_eq!((plan.summary.scheduled, plan.nodes[0].zone.as_str()), (2, "b"));
    // One that matches itself does not come first where a pod that it wants is there.
    snapshot.pending[1] = workload("w1", 1, "1250m", "256Mi", near(ZONE, json!({})));
    let plan = best(&snapshot, &sold);
    assert_eq!((plan.summary.scheduled, plan.nodes[0].zone.as_str()), (2, "b"));
}

#[test]
fn who_needs_company_on_its_node_stands_with_those_who_need_it_in_the_zone() {
    // Either may come first, and then the other must find it.
    let snapshot = |cpu: &str| Snapshot {
        pending: vec![
            workload("w0", 1, "750m", "256Mi", near(HOSTNAME, json!({}))),
            workload("w1", 1, cpu, "256Mi", near(ZONE, json!({}))),
        ],
        node_pools: vec![pool("p0", json!([]), json!({}))],
        ..Snapshot::default()
    };
    let sold = catalog(vec![small()]);
    let plan = best(&snapshot("1000m"), &sold);
    assert_eq!((plan.summary.scheduled, plan.summary.new_nodes), (2, 1));
    let plan = sound(&snapshot("1500m"), &sold, Method::Auto);
    assert_eq!(plan.summary.scheduled, 1);
}

#[test]
fn no_more_company_goes_to_a_lighter_pool_than_is_needed() {
    let mut away = near(HOSTNAME, json!({}));
    away["affinity"]["nodeAffinity"] = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
        [{"matchExpressions": [{"key": ZONE, "operator": "NotIn", "values": ["a"]}]}]}});
    let in_a_or_b = json!([{"key": ZONE, "operator": "In", "values": ["a", "b"]}]);
    let snapshot = Snapshot {
        pending: vec![
            workload("w0", 1, "250m", "256Mi", json!({})),
            workload("w1", 2, "250m", "512Mi", json!({})),
            workload("w2", 1, "250m", "256Mi", away),
        ],
        node_pools: vec![pool("p0", in_a_or_b, json!({"weight": 2})), pool("p1", json!([]), json!({}))],
        ..Snapshot::default()
    };
    let plan = sound(&snapshot, &catalog(vec![small()]), Method::Auto);
    assert_eq!((plan.summary.scheduled, plan.summary.new_nodes), (4, 2));
}

#[test]
fn a_pool_without_stand_ins_enough_is_named() {
    let flexible = json!([{"key": "node.kubernetes.io/instance-type", "operator": "Exists", "minValues": 2}]);
    let snapshot = Snapshot {
        pending: vec![workload("w0", 1, "1500m", "256Mi", json!({}))],
        node_pools: vec![pool("p0", flexible, json!({}))],
        ..Snapshot::default()
    };
    let sold = catalog(vec![
        instance("m0.size", "amd64", 1000, 1024, 4, &[("a", "on-demand", 0.04)]),
        instance("m1.size", "amd64", 2000, 2048, 4, &[("a", "on-demand", 0.07)]),
    ]);
    let reason = &best(&snapshot, &sold).unschedulable[0].reason;
    assert_eq!(
        reason,
        "pool p0 wants 2 values of node.kubernetes.io/instance-type among the offerings that could hold it (minValues), \
         and there is 1; lower minValues or allow more offerings"
    );
}

#[test]
fn pods_that_a_pool_limit_refuses_are_told_which() {
    let snapshot = |limits: Value, cpu: &str| Snapshot {
        pending: vec![workload("w0", 3, cpu, "256Mi", json!({}))],
        node_pools: vec![pool("p0", json!([]), json!({"limits": limits}))],
        ..Snapshot::default()
    };
    let sold = catalog(vec![small()]);
    // None of its nodes is within the limit.
    let plan = best(&snapshot(json!({"cpu": "1"}), "1000m"), &sold);
    assert_eq!((plan.summary.scheduled, plan.summary.unschedulable), (0, 3));
    let reason = &plan.unschedulable[0].reason;
    assert_eq!(reason, "limit cpu 1 of pool p0 leaves no room for a node that holds it; raise the limit");
    // One node is, and it is full.
    for limits in [json!({"cpu": "3"}), json!({"nodes": "1"})] {
        let plan = best(&snapshot(limits.clone(), "1000m"), &sold);
        assert_eq!((plan.summary.scheduled, plan.summary.unschedulable), (2, 1));
        let (resource, limit) = limits.as_object().unwrap().iter().next().unwrap();
        let stated = format!("limit {resource} {} of pool p0 is used up; raise the limit", limit.as_str().unwrap());
        assert_eq!(plan.unschedulable[0].reason, stated);
    }
}

#[test]
fn the_heaviest_overlay_prices_an_offering_and_a_rival_of_its_weight_is_named() {
    let two = [("m0.size", 0.04), ("m1.size", 0.05)];
    let sold =
        catalog(two.map(|(name, price)| instance(name, "amd64", 2000, 1024, 2, &[("a", "on-demand", price)])).to_vec());
    let change = |name: &str, weight: Option<u32>, of: &str, text: &str| {
        let of = json!([{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [of]}]);
        overlay(name, json!({"requirements": of, "weight": weight, "priceAdjustment": text}))
    };
    let mut snapshot = Snapshot {
        pending: vec![workload("w0", 1, "250m", "256Mi", json!({}))],
        node_pools: vec![pool("p0", json!([]), json!({}))],
        ..Snapshot::default()
    };
    let bought = |snapshot: &Snapshot| {
        let plan = best(snapshot, &sold);
        (plan.nodes[0].instance_type.clone(), plan.summary.hourly_cost, plan.notes)
    };
    assert_eq!(bought(&snapshot), ("m0.size".to_owned(), 0.04, vec![]));
    snapshot.node_overlays = vec![change("savings", None, "m1.size", "-50%")];
    assert_eq!(bought(&snapshot), ("m1.size".to_owned(), 0.025, vec![]));
    snapshot.node_overlays.push(change("licence", Some(10), "m1.size", "+0.2"));
    assert_eq!(bought(&snapshot), ("m0.size".to_owned(), 0.04, vec![]));
    snapshot.node_overlays[0].spec.weight = Some(10);
    let note = "NodeOverlay licence is not applied: NodeOverlay savings of the same weight 10 changes the price of m1.size \
                in NodePool p0 already; give one of them another weight";
    assert_eq!(bought(&snapshot), ("m1.size".to_owned(), 0.025, vec![note.to_owned()]));
    // For nothing, as if bought already.
    snapshot.node_overlays = vec![change("free", None, "m1.size", "-100%")];
    assert_eq!(bought(&snapshot), ("m1.size".to_owned(), 0.0, vec![]));
}

#[test]
fn devices_of_an_overlay_are_on_the_nodes_that_it_selects() {
    let asks = json!({"containers": [{"name": "main", "resources":
        {"requests": {"cpu": "250m", "memory": "256Mi", "example.com/device": "1"}}}]});
    let in_spot = json!([{"key": CAPACITY_TYPE, "operator": "In", "values": ["spot"]}]);
    let mut snapshot = Snapshot {
        pending: vec![workload("w0", 3, "250m", "256Mi", asks)],
        node_pools: vec![pool("p0", json!([]), json!({}))],
        ..Snapshot::default()
    };
    let sold = catalog(vec![
        instance("m0.size", "amd64", 2000, 1024, 8, &[("a", "on-demand", 0.04)]),
        instance("m1.size", "amd64", 2000, 2048, 8, &[("a", "on-demand", 0.06), ("b", "spot", 0.05)]),
    ]);
    let plan = best(&snapshot, &sold);
    assert_eq!(plan.summary.scheduled, 0);
    assert!(plan.unschedulable[0].reason.starts_with("no offering has example.com/device"), "{:?}", plan.unschedulable);
    // One offering that is selected is enough for the whole instance type.
    snapshot.node_overlays =
        vec![overlay("devices", json!({"requirements": in_spot, "capacity": {"example.com/device": "2"}}))];
    let plan = best(&snapshot, &sold);
    assert_eq!((plan.summary.scheduled, plan.summary.hourly_cost), (3, 0.1));
    assert!(plan.nodes.iter().all(|node| node.allocatable["example.com/device"] == "2"), "{:?}", plan.nodes);
    // They count towards a limit of the pool.
    snapshot.node_pools[0] = pool("p0", json!([]), json!({"limits": {"example.com/device": "3"}}));
    let plan = best(&snapshot, &sold);
    assert_eq!((plan.summary.scheduled, plan.summary.new_nodes), (2, 1));
}

#[test]
fn nothing_is_bought_for_pods_whose_machine_is_on_its_way() {
    let starts = json!([{"key": "cni", "effect": "NoSchedule"}]);
    let labels = json!({ZONE: "a", "karpenter.sh/nodepool": "p0"});
    let mut snapshot = Snapshot {
        pending: vec![workload("w0", 3, "1000m", "256Mi", json!({"nodeSelector": {ZONE: "a"}}))],
        node_pools: vec![pool("p0", json!([]), json!({"limits": {"cpu": "4"}}))],
        node_claims: vec![claim("c0", "2", "4Gi", labels.clone(), json!({"spec": {"startupTaints": starts}}))],
        ..Snapshot::default()
    };
    let sold = catalog(vec![small()]);
    let plan = best(&snapshot, &sold);
    assert_eq!((plan.summary.scheduled, plan.summary.new_nodes), (3, 1));
    assert_eq!((plan.existing_nodes[0].name.as_str(), plan.existing_nodes[0].pods.len()), ("c0", 2));
    // Once the node is there, ready or not, it is that node.
    let not_ready = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]);
    let mut node = node("n0", "2", "4Gi", labels, json!({"providerID": "aws:///a/c0", "taints": not_ready}));
    let conditions = json!([{"type": "Ready", "status": "False"}]);
    node.status.as_mut().unwrap().conditions = Some(serde_json::from_value(conditions).unwrap());
    snapshot.nodes.push(node);
    let plan = best(&snapshot, &sold);
    assert_eq!((plan.summary.scheduled, plan.existing_nodes[0].name.as_str()), (3, "n0"));
    // One that is not launched yet offers nothing, but counts as a node of its pool.
    snapshot.nodes.clear();
    snapshot.node_claims[0].status.allocatable = None;
    snapshot.node_claims[0].status.capacity = None;
    snapshot.node_pools[0] = pool("p0", json!([]), json!({"limits": {"nodes": "2"}}));
    let plan = best(&snapshot, &sold);
    assert_eq!((plan.summary.scheduled, plan.summary.new_nodes), (2, 1));
    // One that is being deleted is nothing at all.
    let gone = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    snapshot.node_claims = vec![claim("c0", "2", "4Gi", json!({"karpenter.sh/nodepool": "p0"}), gone)];
    let plan = best(&snapshot, &sold);
    assert_eq!((plan.summary.scheduled, plan.summary.new_nodes), (3, 2));
}

#[test]
fn pods_that_must_share_a_node_fill_what_is_there_where_no_zone_is_opened() {
    // A second zone that could be opened counts for the spread only once it is.
    let mut together = near(HOSTNAME, of("w0"));
    together["topologySpreadConstraints"] = spread(ZONE, 1, json!({}))["topologySpreadConstraints"].clone();
    let snapshot = Snapshot {
        pending: vec![workload("w0", 2, "250m", "256Mi", together), workload("w1", 1, "250m", "256Mi", json!({}))],
        node_pools: vec![pool("p0", json!([]), json!({}))],
        nodes: vec![node("n0", "1", "4Gi", json!({ZONE: "b"}), json!({}))],
        ..Snapshot::default()
    };
    let plan = best(&snapshot, &catalog(vec![small()]));
    assert_eq!((plan.summary.scheduled, plan.summary.new_nodes), (3, 0));
}

/// A volume of its own for each pod, so many a pod.
fn disks(count: usize) -> Value {
    let disk = |index| json!({"name": format!("v{index}"), "ephemeral": {"volumeClaimTemplate": {"spec": {"storageClassName": "gp3"}}}});
    json!({"volumes": (0..count).map(disk).collect::<Vec<_>>()})
}

fn gp3() -> Value {
    json!({"metadata": {"name": "gp3"}, "provisioner": "ebs.csi.aws.com", "volumeBindingMode": "WaitForFirstConsumer"})
}

#[test]
fn no_node_holds_more_volumes_than_can_be_attached_to_it() {
    let mut attaches = small();
    attaches.max_volume_attachments = Some(2);
    attaches.max_pods = 8;
    attaches.allocatable.as_mut().unwrap().insert("pods".to_owned(), json!(8));
    let sold = catalog(vec![attaches]);
    let mut snapshot = Snapshot {
        pending: vec![workload("w0", 5, "250m", "64Mi", disks(1))],
        node_pools: vec![pool("p0", json!([]), json!({}))],
        storage_classes: vec![serde_json::from_value(gp3()).unwrap()],
        ..Snapshot::default()
    };
    let plan = best(&snapshot, &sold);
    assert_eq!((plan.summary.scheduled, plan.summary.new_nodes), (5, 3));
    // What is no part of the node's own figures is not told as if it were.
    assert!(
        plan.nodes
            .iter()
            .all(|node| node.requested.keys().all(|name| ["cpu", "memory", "pods"].contains(&name.as_str())))
    );
    // A volume that the class mounts on every node takes its place.
    let class = json!({"metadata": {"name": "c"}, "spec": {"blockDeviceMappings": [
        {"deviceName": "/dev/xvda", "ebs": {"volumeSize": "20Gi"}}, {"deviceName": "/dev/xvdb", "ebs": {"volumeSize": "20Gi"}}]}});
    let of_class = json!({"template": {"spec": {"nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "c"}}}});
    let mut mounted = snapshot.clone();
    mounted.node_classes = vec![class];
    mounted.node_pools[0] = pool("p0", json!([]), of_class);
    assert_eq!(best(&mounted, &sold).summary.new_nodes, 5);
    // A node that is there says itself what it can attach, and what is attached counts.
    let labels = json!({"node.kubernetes.io/instance-type": "m0.size", "topology.kubernetes.io/zone": "a"});
    snapshot.nodes.push(node("n0", "8", "16Gi", labels.clone(), json!({})));
    assert_eq!(best(&snapshot, &sold).summary.new_nodes, 0);
    let csi_node = json!({"metadata": {"name": "n0"}, "spec": {"drivers": [
        {"name": "ebs.csi.aws.com", "nodeID": "i-0", "allocatable": {"count": 4}}]}});
    snapshot.csi_nodes = vec![serde_json::from_value(csi_node).unwrap()];
    snapshot.bound = vec![bound("b0", "n0", "250m", json!({}), disks(1))];
    let plan = best(&snapshot, &sold);
    assert_eq!((plan.existing_nodes[0].pods.len(), plan.summary.new_nodes), (3, 1));
    // One that is on its way takes what its instance type does.
    snapshot.nodes.clear();
    snapshot.bound.clear();
    snapshot.node_claims = vec![claim("c0", "8", "16Gi", labels, json!({}))];
    let plan = best(&snapshot, &sold);
    assert_eq!((plan.existing_nodes[0].pods.len(), plan.summary.new_nodes), (2, 2));
    // A pod that no node can serve is told so.
    snapshot.node_claims.clear();
    snapshot.pending = vec![workload("w0", 1, "250m", "64Mi", disks(3))];
    assert_eq!(
        best(&snapshot, &sold).unschedulable[0].reason,
        "3 volumes of ebs.csi.aws.com are more than can be attached to a node: the most in pool p0 are 2, to m0.size; mount \
         fewer of them, or allow other instance types in the pool"
    );
}

#[test]
fn a_node_with_more_volumes_than_it_can_attach_takes_pods_that_have_none() {
    let agent = json!({"metadata": {"name": "agent", "namespace": "kube-system"}, "spec": {"selector": {},
        "template": {"spec": {"containers": [{"name": "main"}], "volumes": disks(1)["volumes"]}}}});
    let drivers = json!({"metadata": {"name": "n0"}, "spec": {"drivers":
        [{"name": "ebs.csi.aws.com", "nodeID": "i-0", "allocatable": {"count": 0}}]}});
    let snapshot = Snapshot {
        pending: vec![workload("w0", 1, "250m", "256Mi", json!({})), workload("w1", 1, "250m", "256Mi", disks(1))],
        node_pools: vec![pool("p0", json!([]), json!({}))],
        nodes: vec![node("n0", "1", "4Gi", json!({ZONE: "a"}), json!({}))],
        daemon_sets: vec![serde_json::from_value(agent).unwrap()],
        storage_classes: vec![serde_json::from_value(gp3()).unwrap()],
        csi_nodes: vec![serde_json::from_value(drivers).unwrap()],
        ..Snapshot::default()
    };
    let plan = best(&snapshot, &catalog(vec![small()]));
    assert_eq!(
        (plan.existing_nodes[0].pods.as_slice(), plan.summary.new_nodes),
        (["default/w0-0".to_owned()].as_slice(), 1)
    );
}

/// A second plan for a cluster in which the nodes of the first one stand under the names that it gave them.
#[test]
fn a_planned_node_has_no_name_of_one_that_is_there() {
    let snapshot = Snapshot {
        pending: vec![workload("w0", 1, "900m", "256Mi", json!({}))],
        node_pools: vec![pool("p0", json!([]), json!({}))],
        nodes: ["p0-1", "p0-3"].map(|name| node(name, "100m", "1Gi", json!({ZONE: "a"}), json!({}))).into(),
        ..Snapshot::default()
    };
    let plan = best(&snapshot, &catalog(vec![small()]));
    assert_eq!(plan.nodes[0].name, "p0-2");
}

/// As Karpenter has it: what is beyond one of its limits is out.
#[test]
fn a_pool_that_is_beyond_a_limit_already_gets_no_node_that_has_nothing_of_the_resource() {
    let mut there = node("n0", "100m", "1Gi", json!({ZONE: "a", "karpenter.sh/nodepool": "p0"}), json!({}));
    let capacity = there.status.as_mut().unwrap().capacity.get_or_insert_default();
    capacity.insert(
        "example.com/device".to_owned(),
        k8s_openapi::apimachinery::pkg::api::resource::Quantity("2".to_owned()),
    );
    let snapshot = Snapshot {
        pending: vec![workload("w0", 1, "900m", "256Mi", json!({}))],
        node_pools: vec![pool("p0", json!([]), json!({"limits": {"example.com/device": "1"}}))],
        nodes: vec![there],
        ..Snapshot::default()
    };
    let plan = best(&snapshot, &catalog(vec![small()]));
    assert_eq!((plan.summary.new_nodes, plan.summary.unschedulable), (0, 1));
}

#[test]
fn nodes_with_more_than_can_be_counted_leave_nothing_of_a_limit() {
    let rich = |name: &str| {
        let mut there = node(name, "100m", "1Gi", json!({ZONE: "a", "karpenter.sh/nodepool": "p0"}), json!({}));
        let capacity = there.status.as_mut().unwrap().capacity.get_or_insert_default();
        let most = k8s_openapi::apimachinery::pkg::api::resource::Quantity("9000000000000000000".to_owned());
        capacity.insert("example.com/device".to_owned(), most);
        there
    };
    let snapshot = Snapshot {
        pending: vec![workload("w0", 1, "900m", "256Mi", json!({}))],
        node_pools: vec![pool("p0", json!([]), json!({"limits": {"example.com/device": "1"}}))],
        nodes: vec![rich("n0"), rich("n1")],
        ..Snapshot::default()
    };
    assert_eq!(best(&snapshot, &catalog(vec![small()])).summary.unschedulable, 1);
}

#[test]
fn pods_that_wait_are_counted_one_by_one_whoever_must_share_a_node() {
    // The node holds one big pod or three small ones, which need each other on it.
    let snapshot = Snapshot {
        pending: vec![
            workload("w0", 2, "1500m", "1280Mi", json!({})),
            workload("w1", 3, "250m", "256Mi", near(HOSTNAME, of("w1"))),
        ],
        node_pools: vec![pool("p0", json!([]), json!({}))],
        nodes: vec![node("n0", "2", "4Gi", json!({ZONE: "a"}), json!({}))],
        ..Snapshot::default()
    };
    let sold = instance("m0.size", "amd64", 3000, 1024, 2, &[("a", "on-demand", 0.04)]);
    assert_eq!(best(&snapshot, &catalog(vec![sold])).summary.scheduled, 3);
}

#[test]
fn company_on_a_node_that_is_in_no_domain_is_none() {
    for key in [ZONE, CAPACITY_TYPE] {
        let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            [{"labelSelector": of("db"), "topologyKey": key}]}}});
        let snapshot = Snapshot {
            pending: vec![workload("web", 1, "250m", "64Mi", near)],
            node_pools: vec![pool("p0", json!([]), json!({}))],
            nodes: vec![node("n0", "2", "4Gi", json!({}), json!({}))],
            bound: vec![bound("db", "n0", "250m", json!({"app": "db"}), json!({}))],
            ..Snapshot::default()
        };
        let plan = best(&snapshot, &catalog(vec![small()]));
        assert_eq!((plan.summary.new_nodes, plan.summary.unschedulable), (0, 1), "{key}: {plan:#?}");
    }
}
