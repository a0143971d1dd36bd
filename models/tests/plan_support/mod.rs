//! Small clusters, catalogues and plans for the tests of plans.
#![allow(dead_code, clippy::unwrap_used)]

pub mod brute;
pub mod judge;
pub mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use indexmap::IndexMap;
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};
use serde_json::{Value, json};
use supercargo_models::catalog::{Catalog, InstanceType, Offering};
use supercargo_models::kubernetes::{NodeClaim, NodeOverlay, NodePool, Owner, PodGroup, PodNames, Snapshot};
use supercargo_models::plan::verify::{Rule, VerifyOptions, verify};
use supercargo_models::plan::{Alternative, ExistingNode, Plan, PlannedNode, Summary, Unschedulable};
use supercargo_models::solver::Status;

/// An instance type that offers exactly this to pods: millicores, MiB, pods.
pub fn instance(
    name: &str,
    arch: &str,
    cpu: u32,
    memory: u64,
    pods: u32,
    offerings: &[(&str, &str, f64)],
) -> InstanceType {
    let family = name.split('.').next().unwrap_or(name);
    InstanceType {
        name: name.to_owned(),
        arch: arch.to_owned(),
        vcpu: cpu.div_ceil(1000),
        memory_mib: memory,
        max_pods: pods,
        gpus: BTreeMap::new(),
        labels: BTreeMap::from([
            ("karpenter.k8s.aws/instance-family".to_owned(), family.to_owned()),
            ("karpenter.k8s.aws/instance-cpu".to_owned(), cpu.div_ceil(1000).to_string()),
            ("karpenter.k8s.aws/instance-category".to_owned(), family[..1].to_owned()),
            ("kubernetes.io/arch".to_owned(), arch.to_owned()),
            ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        ]),
        allocatable: Some(BTreeMap::from([
            ("cpu".to_owned(), json!(format!("{cpu}m"))),
            ("memory".to_owned(), json!(format!("{memory}Mi"))),
            ("pods".to_owned(), json!(pods)),
        ])),
        offerings: offerings
            .iter()
            .map(|(zone, capacity_type, price)| Offering {
                zone: (*zone).to_owned(),
                capacity_type: (*capacity_type).to_owned(),
                price: *price,
                estimated: false,
                interruption: None,
            })
            .collect(),
        ..InstanceType::default()
    }
}

/// A catalogue of zones `a`, `b` and `c`.
pub fn catalog(instance_types: Vec<InstanceType>) -> Catalog {
    Catalog {
        region: "us-east-1".to_owned(),
        as_of: "2026-07-20".to_owned(),
        zones: ["a", "b", "c"].map(str::to_owned).to_vec(),
        instance_types,
    }
}

/// A pool from its spec's template requirements and any other fields of `spec`.
pub fn pool(name: &str, requirements: Value, more: Value) -> NodePool {
    let mut spec = json!({"template": {"spec": {"requirements": requirements}}});
    merge(&mut spec, more);
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// A workload of equal pods: one container with these requests, and any other fields of the pod's spec.
pub fn workload(name: &str, count: u32, cpu: &str, memory: &str, more: Value) -> PodGroup {
    let mut spec = json!({"containers": [{"name": "main", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]});
    merge(&mut spec, more);
    let spec: PodSpec = serde_json::from_value(spec).unwrap();
    PodGroup {
        namespace: "default".to_owned(),
        owner: Owner { kind: "Deployment".to_owned(), name: name.to_owned() },
        names: PodNames::Replicas { prefix: name.to_owned(), count },
        labels: BTreeMap::from([("app".to_owned(), name.to_owned())]),
        annotations: BTreeMap::new(),
        priority: 0,
        spec: Arc::new(spec),
        origin: "test".to_owned(),
    }
}

/// A node that is there.
pub fn node(name: &str, cpu: &str, memory: &str, labels: Value, spec: Value) -> Node {
    let mut all = json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"});
    merge(&mut all, labels);
    let amounts = json!({"cpu": cpu, "memory": memory, "pods": "20"});
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": all}, "spec": spec,
        "status": {"capacity": amounts, "allocatable": amounts}
    }))
    .unwrap()
}

/// A machine that was ordered and launched, and any other fields of it.
pub fn claim(name: &str, cpu: &str, memory: &str, labels: Value, more: Value) -> NodeClaim {
    let amounts = json!({"cpu": cpu, "memory": memory, "pods": "20"});
    let mut claim = json!({"metadata": {"name": name, "labels": labels}, "spec": {},
        "status": {"capacity": amounts, "allocatable": amounts, "providerID": format!("aws:///a/{name}")}});
    merge(&mut claim, more);
    serde_json::from_value(claim).unwrap()
}

/// A pod that is bound to a node.
pub fn bound(name: &str, node: &str, cpu: &str, labels: Value, more: Value) -> Pod {
    let mut spec = json!({"nodeName": node,
        "containers": [{"name": "main", "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}}]});
    merge(&mut spec, more);
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default", "labels": labels}, "spec": spec, "status": {"phase": "Running"}
    }))
    .unwrap()
}

/// Where to put pods: pool, instance type, zone, capacity type, pods.
pub type NewNode<'a> = (&'a str, &'a str, &'a str, &'a str, &'a [&'a str]);

/// The offering's price.
pub fn price(catalog: &Catalog, instance_type: &str, zone: &str, capacity_type: &str) -> f64 {
    let instance = catalog.instance_types.iter().find(|instance| instance.name == instance_type).unwrap();
    let matches = |offering: &&Offering| offering.zone == zone && offering.capacity_type == capacity_type;
    instance.offerings.iter().find(matches).unwrap().price
}

/// The offering's price in a pool, after the overlays of the snapshot. Those of these tests select by pool, instance type,
/// zone and capacity type alone.
pub fn price_in(snapshot: &Snapshot, catalog: &Catalog, pool: &str, offering: (&str, &str, &str)) -> f64 {
    type Place<'a> = (&'a str, &'a str, &'a str, &'a str);
    let selects = |overlay: &NodeOverlay, (pool, instance_type, zone, capacity_type): Place| {
        overlay.spec.requirements.iter().all(|one| {
            let found = match one.key.as_str() {
                "karpenter.sh/nodepool" => pool,
                "node.kubernetes.io/instance-type" => instance_type,
                "topology.kubernetes.io/zone" => zone,
                "karpenter.sh/capacity-type" => capacity_type,
                other => panic!("{other}"),
            };
            assert_eq!(one.operator, "In");
            one.values.iter().flatten().any(|value| value == found)
        })
    };
    let pools = snapshot.node_pools.iter().map(|pool| pool.metadata.name.as_deref().unwrap());
    let places: Vec<Place> = pools
        .flat_map(|pool| {
            catalog.instance_types.iter().flat_map(move |kind| {
                let sold = kind.offerings.iter();
                sold.map(move |one| (pool, kind.name.as_str(), one.zone.as_str(), one.capacity_type.as_str()))
            })
        })
        .collect();
    let of_type = |overlay: &NodeOverlay, (pool, kind): (&str, &str)| {
        places.iter().any(|place| (place.0, place.1) == (pool, kind) && selects(overlay, *place))
    };
    let gives = |overlay: &NodeOverlay| overlay.spec.capacity.is_some();
    let prices = |overlay: &NodeOverlay| overlay.spec.price.is_some() || overlay.spec.price_adjustment.is_some();
    let mut sorted: Vec<&NodeOverlay> = snapshot.node_overlays.iter().collect();
    sorted.sort_by_key(|overlay| (overlay.spec.weight, overlay.metadata.name.clone()));
    let mut applied: Vec<&NodeOverlay> = Vec::new();
    for overlay in sorted.into_iter().rev() {
        // All of these tests that give something give the same resource.
        let met = applied.iter().filter(|other| other.spec.weight == overlay.spec.weight).any(|other| {
            places.iter().any(|place| {
                let (own, others) = (selects(overlay, *place), selects(other, *place));
                let kind = (place.0, place.1);
                (prices(overlay) && prices(other) && own && others)
                    || (gives(overlay) && gives(other) && of_type(overlay, kind) && of_type(other, kind))
            })
        });
        if !met {
            applied.push(overlay);
        }
    }
    let before = price(catalog, offering.0, offering.1, offering.2);
    let place = (pool, offering.0, offering.1, offering.2);
    let Some(overlay) = applied.into_iter().find(|overlay| prices(overlay) && selects(overlay, place)) else {
        return before;
    };
    if let Some(price) = &overlay.spec.price {
        return price.parse().unwrap();
    }
    let change = overlay.spec.price_adjustment.as_ref().unwrap();
    let after = match change.strip_suffix('%') {
        Some(percent) => before * (1.0 + percent.parse::<f64>().unwrap() / 100.0),
        None => before + change.parse::<f64>().unwrap(),
    };
    after.max(0.0)
}

/// An overlay from its spec.
pub fn overlay(name: &str, spec: Value) -> NodeOverlay {
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

fn namespaced(pods: &[&str]) -> Vec<String> {
    pods.iter().map(|pod| format!("default/{pod}")).collect()
}

/// A plan with these nodes whose numbers all add up, for workloads of one container and without daemons.
pub fn plan(
    snapshot: &Snapshot,
    catalog: &Catalog,
    nodes: &[NewNode],
    existing: &[(&str, &[&str])],
    left_over: &[(&str, &str)],
) -> Plan {
    let mut of_pod: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for group in &snapshot.pending {
        let requests = group.spec.containers[0].resources.as_ref().unwrap().requests.as_ref().unwrap();
        let cpu: u64 = requests["cpu"].0.trim_end_matches('m').parse().unwrap();
        let memory: u64 = requests["memory"].0.trim_end_matches("Mi").parse().unwrap();
        for index in 0..group.names.count() {
            of_pod.insert(group.names.name(index), (cpu, memory));
        }
    }
    let nodes: Vec<PlannedNode> = nodes
        .iter()
        .enumerate()
        .map(|(index, (pool, instance_type, zone, capacity_type, pods))| {
            let instance = catalog.instance_types.iter().find(|instance| instance.name == *instance_type).unwrap();
            let stated = instance.allocatable.as_ref().unwrap();
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let sum =
                |part: fn(&(u64, u64)) -> u64| pods.iter().filter_map(|pod| of_pod.get(*pod)).map(part).sum::<u64>();
            PlannedNode {
                name: format!("{pool}-{index}"),
                node_pool: (*pool).to_owned(),
                instance_type: (*instance_type).to_owned(),
                zone: (*zone).to_owned(),
                capacity_type: (*capacity_type).to_owned(),
                hourly_price: price_in(snapshot, catalog, pool, (instance_type, zone, capacity_type)),
                labels: BTreeMap::new(),
                allocatable: stated.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
                requested: IndexMap::from([
                    ("cpu".to_owned(), format!("{}m", sum(|it| it.0))),
                    ("memory".to_owned(), format!("{}Mi", sum(|it| it.1))),
                    ("pods".to_owned(), pods.len().to_string()),
                ]),
                pods: namespaced(pods),
                alternatives: Vec::new(),
            }
        })
        .collect();
    let cost: f64 = nodes.iter().map(|node| node.hourly_price).sum();
    let existing_nodes: Vec<ExistingNode> =
        existing.iter().map(|(name, pods)| ExistingNode { name: (*name).to_owned(), pods: namespaced(pods) }).collect();
    let scheduled = nodes.iter().map(|node| node.pods.len()).sum::<usize>()
        + existing_nodes.iter().map(|node| node.pods.len()).sum::<usize>();
    Plan {
        api_version: "supercargo.dev/v1".to_owned(),
        kind: "Plan".to_owned(),
        summary: Summary {
            pods: snapshot.pending.iter().map(|group| u64::from(group.names.count())).sum(),
            scheduled: scheduled as u64,
            unschedulable: left_over.len() as u64,
            new_nodes: nodes.len() as u64,
            hourly_cost: cost,
            lower_bound: Some(cost),
            gap: Some(0.0),
            status: Status::Optimal,
            solver: "highs".to_owned(),
            solve_seconds: 0.1,
            greedy_hourly_cost: cost,
            shapes: snapshot.pending.len() as u64,
        },
        nodes,
        existing_nodes,
        unschedulable: left_over
            .iter()
            .map(|(pod, reason)| Unschedulable { pod: format!("default/{pod}"), reason: (*reason).to_owned() })
            .collect(),
        notes: Vec::new(),
    }
}

/// An alternative to a planned node.
pub fn alternative(catalog: &Catalog, instance_type: &str, zone: &str, capacity_type: &str) -> Alternative {
    Alternative {
        instance_type: instance_type.to_owned(),
        zone: zone.to_owned(),
        capacity_type: capacity_type.to_owned(),
        hourly_price: price(catalog, instance_type, zone, capacity_type),
    }
}

/// The rules that the plan breaks.
pub fn rules(snapshot: &Snapshot, catalog: &Catalog, options: &VerifyOptions, plan: &Plan) -> BTreeSet<Rule> {
    match verify(snapshot, catalog, options, plan) {
        Ok(()) => BTreeSet::new(),
        Err(broken) => broken.into_iter().map(|broken| broken.rule).collect(),
    }
}
