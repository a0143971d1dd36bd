//! Nodes as the cloud would bring them up: what a plan says of them, and what it leaves to pool and catalogue.
//!
//! Labels are put together here anew, by what Karpenter documents (<https://karpenter.sh/docs/concepts/scheduling/>), so
//! that a label which only the planner believes in shows.

use std::collections::BTreeMap;

use anyhow::Context;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use supercargo_models::catalog::Catalog;
use supercargo_models::kubernetes::Snapshot;
use supercargo_models::plan::PlannedNode;
use test_cluster::PLAYED;

use crate::case::Case;

const ZONE: &str = "topology.kubernetes.io/zone";
/// Set by the driver of EBS volumes; the volumes that it makes ask for it.
const EBS_ZONE: &str = "topology.ebs.csi.aws.com/zone";

/// Where and as what a node is bought.
pub(crate) struct Purchase<'a> {
    pub pool: &'a str,
    pub instance_type: &'a str,
    pub zone: &'a str,
    pub capacity_type: &'a str,
    /// Labels that the pool leaves open.
    pub chosen: &'a BTreeMap<String, String>,
}

/// A planned node, with more taints than its pool's if asked for.
pub(crate) fn planned(case: &Case, node: &PlannedNode, more: &[Taint]) -> anyhow::Result<Node> {
    let allocatable = node.allocatable.iter().map(|(name, amount)| (name.clone(), amount.clone())).collect();
    let purchase = Purchase {
        pool: &node.node_pool,
        instance_type: &node.instance_type,
        zone: &node.zone,
        capacity_type: &node.capacity_type,
        chosen: &node.labels,
    };
    let mut made = bought(&case.snapshot, &case.catalog, &node.name, &purchase, &allocatable)?;
    made.spec.get_or_insert_default().taints.get_or_insert_default().extend_from_slice(more);
    Ok(made)
}

/// A node that was bought.
pub(crate) fn bought(
    snapshot: &Snapshot,
    catalog: &Catalog,
    name: &str,
    purchase: &Purchase<'_>,
    allocatable: &BTreeMap<String, String>,
) -> anyhow::Result<Node> {
    let Purchase { pool, instance_type, zone, capacity_type, chosen } = *purchase;
    let pool = snapshot.node_pools.iter().find(|known| known.metadata.name.as_deref() == Some(pool));
    let pool = pool.with_context(|| format!("NodePool {} of node {name}", purchase.pool))?;
    let instance = catalog.instance_types.iter().find(|known| known.name == instance_type);
    let instance = instance.with_context(|| format!("instance type {instance_type} of node {name}"))?;
    let template = &pool.spec.template;
    let mut labels: BTreeMap<String, String> = instance.labels.clone();
    labels.extend(template.metadata.iter().flat_map(|metadata| metadata.labels.clone()).flatten());
    labels.extend(chosen.clone());
    if let Some(class) = &template.spec.node_class_ref {
        let group = if class.group.is_empty() { "karpenter.k8s.aws" } else { &class.group };
        labels.insert(format!("{group}/{}", class.kind.to_lowercase()), class.name.clone());
    }
    let more = [
        ("karpenter.sh/nodepool", purchase.pool),
        ("karpenter.sh/capacity-type", capacity_type),
        ("karpenter.sh/registered", "true"),
        ("karpenter.sh/initialized", "true"),
        ("kubernetes.io/arch", &instance.arch),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("node.kubernetes.io/instance-type", instance_type),
        ("topology.kubernetes.io/region", &catalog.region),
        (ZONE, zone),
        (EBS_ZONE, zone),
    ];
    labels.extend(more.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let amounts: BTreeMap<String, Quantity> =
        allocatable.iter().map(|(name, amount)| (name.clone(), Quantity(amount.clone()))).collect();
    Ok(played(Node {
        metadata: ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() },
        spec: Some(NodeSpec { taints: template.spec.taints.clone(), ..NodeSpec::default() }),
        status: Some(NodeStatus {
            capacity: Some(amounts.clone()),
            allocatable: Some(amounts),
            ..NodeStatus::default()
        }),
    }))
}

/// A node that is there already, for kwok to play, with more taints if asked for.
pub(crate) fn existing(node: &Node, more: &[Taint]) -> Node {
    let mut node = played(node.clone());
    let metadata = &mut node.metadata;
    metadata.resource_version = None;
    metadata.uid = None;
    metadata.owner_references = None;
    metadata.finalizers = None;
    metadata.managed_fields = None;
    let labels = metadata.labels.get_or_insert_default();
    if let Some(zone) = labels.get(ZONE).cloned() {
        labels.entry(EBS_ZONE.to_owned()).or_insert(zone);
    }
    if let Some(status) = &mut node.status {
        // Kwok fills in the rest as long as the node is not ready.
        status.conditions = None;
    }
    node.spec.get_or_insert_default().taints.get_or_insert_default().extend_from_slice(more);
    node
}

fn played(mut node: Node) -> Node {
    let (key, value) = PLAYED;
    node.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
    node
}
