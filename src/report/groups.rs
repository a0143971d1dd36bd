//! Nodes that are alike, told once: same pool, offering and pods but for the replicas' names.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use supercargo_models::kubernetes::quantity;
use supercargo_models::plan::{Plan, PlannedNode, Unschedulable};

use super::Workloads;

/// Nodes that are alike.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// The first of them.
    pub node: &'a PlannedNode,
    /// How many there are.
    pub copies: u64,
    /// The names of all.
    pub names: Vec<&'a str>,
    /// Pods on each by workload, most first.
    pub workloads: Vec<(&'a str, u64)>,
}

/// How much of a resource the pods and daemons of a node take.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// Resource name.
    pub resource: String,
    /// What is asked for, in millicores, bytes or ones.
    pub requested: f64,
    /// What there is, in the same unit.
    pub allocatable: f64,
}

impl Usage {
    /// Share that is taken, 0 where there is nothing to take.
    pub fn share(&self) -> f64 {
        if self.allocatable > 0.0 { self.requested / self.allocatable } else { 0.0 }
    }
}

/// Groups the plan's nodes, the dearest group first.
pub fn groups<'a>(plan: &'a Plan, workloads: &'a Workloads) -> Vec<Group<'a>> {
    // Two nodes are alike if this key is; prices and quantities follow from it but are compared for safety.
    type Key<'a> = (&'a str, &'a str, &'a str, &'a str, u64, Vec<(&'a str, u64)>);
    let mut found: IndexMap<Key<'a>, Group<'a>> = IndexMap::new();
    for node in &plan.nodes {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for pod in &node.pods {
            *counts.entry(workloads.name(pod)).or_default() += 1;
        }
        let mut counts: Vec<(&str, u64)> = counts.into_iter().collect();
        counts.sort_by(|left, right| right.1.cmp(&left.1).then(left.0.cmp(right.0)));
        let key = (
            node.node_pool.as_str(),
            node.instance_type.as_str(),
            node.zone.as_str(),
            node.capacity_type.as_str(),
            node.hourly_price.to_bits(),
            counts.clone(),
        );
        let group = found.entry(key).or_insert_with(|| Group { node, copies: 0, names: Vec::new(), workloads: counts });
        group.copies += 1;
        group.names.push(&node.name);
    }
    let mut groups: Vec<Group<'_>> = found.into_values().collect();
    groups.sort_by(|left, right| {
        right
            .cost()
            .total_cmp(&left.cost())
            .then_with(|| left.node.instance_type.cmp(&right.node.instance_type))
            .then_with(|| left.node.zone.cmp(&right.node.zone))
            .then_with(|| left.workloads.cmp(&right.workloads))
    });
    groups
}

impl Group<'_> {
    /// Dollars an hour of all copies.
    pub fn cost(&self) -> f64 {
        self.node.hourly_price * self.copies as f64
    }
}

/// What is used of each resource of a node; cpu and memory first, `pods` last.
pub fn usages(node: &PlannedNode) -> Vec<Usage> {
    let units = |resource: &str, text: &str| quantity::parse_units(resource, text).unwrap_or(0) as f64;
    let mut usages: Vec<Usage> = node
        .allocatable
        .iter()
        .map(|(resource, allocatable)| Usage {
            resource: resource.clone(),
            requested: node.requested.get(resource).map_or(0.0, |text| units(resource, text)),
            allocatable: units(resource, allocatable),
        })
        .collect();
    usages.sort_by_key(|usage| match usage.resource.as_str() {
        "cpu" => 0,
        "memory" => 1,
        "pods" => 3,
        _ => 2,
    });
    usages
}

/// What is used of one resource of a node.
pub fn usage(node: &PlannedNode, resource: &str) -> Option<Usage> {
    usages(node).into_iter().find(|usage| usage.resource == resource)
}

/// Resources beyond cpu, memory, storage and pods of which some node's pods ask for some.
pub fn extended_resources(plan: &Plan) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for node in &plan.nodes {
        for (name, amount) in &node.requested {
            let ordinary = matches!(name.as_str(), "cpu" | "memory" | "pods" | "ephemeral-storage");
            if !ordinary && amount != "0" && !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    names.sort();
    names
}

/// Utilisation of all new nodes together.
pub fn total(plan: &Plan, resource: &str) -> Usage {
    let mut sum = Usage { resource: resource.to_owned(), requested: 0.0, allocatable: 0.0 };
    for usage in plan.nodes.iter().filter_map(|node| usage(node, resource)) {
        sum.requested += usage.requested;
        sum.allocatable += usage.allocatable;
    }
    sum
}

/// Pods that one and the same reason stops.
#[derive(Clone, Debug)]
pub struct Stopped<'a> {
    /// The reason.
    pub reason: &'a str,
    /// Pods by workload, most first.
    pub workloads: Vec<(&'a str, u64)>,
}

impl Stopped<'_> {
    /// How many pods.
    pub fn count(&self) -> u64 {
        self.workloads.iter().map(|(_, pods)| pods).sum()
    }
}

/// The pods that found no place by reason, the reason that stops most first.
pub fn stopped<'a>(unschedulable: &'a [Unschedulable], workloads: &'a Workloads) -> Vec<Stopped<'a>> {
    let mut by_reason: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for entry in unschedulable {
        *by_reason.entry(&entry.reason).or_default().entry(workloads.name(&entry.pod)).or_default() += 1;
    }
    let mut stopped: Vec<Stopped<'_>> = by_reason
        .into_iter()
        .map(|(reason, counts)| {
            let mut workloads: Vec<(&str, u64)> = counts.into_iter().collect();
            workloads.sort_by(|left, right| right.1.cmp(&left.1).then(left.0.cmp(right.0)));
            Stopped { reason, workloads }
        })
        .collect();
    stopped.sort_by_key(|stopped| std::cmp::Reverse(stopped.count()));
    stopped
}

/// The namespace that all pods of the plan share, if they do: it need not be said at each of them.
pub fn common_namespace(plan: &Plan) -> Option<&str> {
    let pods = plan.nodes.iter().flat_map(|node| &node.pods);
    let pods = pods.chain(plan.existing_nodes.iter().flat_map(|node| &node.pods));
    let mut names = pods.chain(plan.unschedulable.iter().map(|entry| &entry.pod)).map(|pod| namespace(pod));
    let first = names.next()?;
    names.all(|name| name == first).then_some(first)
}

fn namespace(pod: &str) -> &str {
    pod.split_once('/').map_or("", |(namespace, _)| namespace)
}

/// A workload's name without the namespace, if that is `common`.
pub fn short<'a>(workload: &'a str, common: Option<&str>) -> &'a str {
    match workload.split_once('/') {
        Some((namespace, name)) if Some(namespace) == common => name,
        _ => workload,
    }
}
