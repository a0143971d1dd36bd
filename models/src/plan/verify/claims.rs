//! Node claims: machines under way, and what they say of nodes that have just joined.
//!
//! A claim belongs to the node with its provider ID or, failing that, its name. One without a node counts as a node that
//! is there, unless it is being deleted. Until a node is initialised its claim says what it will offer, and taints that
//! are lifted by then keep nobody away. <https://karpenter.sh/docs/concepts/nodeclaims/>

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Taint};

use super::amounts::{Amounts, Table, read_map};
use super::kubelet::Settings;
use super::matching::{HOSTNAME, INSTANCE_TYPE};
use super::supply::Kind;
use crate::catalog::Catalog;
use crate::kubernetes::NodeClaim;

/// Taints that every node bears at first.
const AT_FIRST: [&str; 4] = [
    "karpenter.sh/unregistered",
    "node.cloudprovider.kubernetes.io/uninitialized",
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
];

/// Whether a claim has become a node.
fn is_of(claim: &NodeClaim, node: &Node) -> bool {
    let same = |own: &Option<String>, other: Option<&String>| {
        own.as_ref().is_some_and(|own| !own.is_empty() && Some(own) == other)
    };
    let provider = node.spec.as_ref().and_then(|spec| spec.provider_id.as_ref());
    same(&claim.status.provider_id, provider) || same(&claim.status.node_name, node.metadata.name.as_ref())
}

/// The claim of a node that is not initialised yet.
pub(super) fn starting<'a>(claims: &'a [NodeClaim], node: &Node) -> Option<&'a NodeClaim> {
    let initialised = node.metadata.labels.as_ref().and_then(|labels| labels.get("karpenter.sh/initialized"));
    if initialised.is_some_and(|text| text == "true") {
        return None;
    }
    claims.iter().find(|claim| claim.metadata.deletion_timestamp.is_none() && is_of(claim, node))
}

/// Claims that count as nodes.
pub(super) fn under_way<'a>(claims: &'a [NodeClaim], nodes: &[Node]) -> Vec<&'a NodeClaim> {
    let stays = |claim: &&NodeClaim| claim.metadata.deletion_timestamp.is_none();
    claims.iter().filter(stays).filter(|claim| !nodes.iter().any(|node| is_of(claim, node))).collect()
}

/// Labels of the node that a claim will become: its own, and those that its requirements leave one value for.
pub(super) fn labels(claim: &NodeClaim) -> Cow<'_, BTreeMap<String, String>> {
    let mut labels = claim.metadata.labels.clone().unwrap_or_default();
    let mut add = |key: &str, value: &str| {
        labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    };
    for requirement in &claim.spec.requirements {
        if let ("In", Some([value])) = (requirement.operator.as_str(), requirement.values.as_deref()) {
            add(&requirement.key, value);
        }
    }
    add(HOSTNAME, claim.metadata.name.as_deref().unwrap_or_default());
    Cow::Owned(labels)
}

/// What the machine of a claim has and offers; its volumes are those of its instance type and class.
pub(super) fn kind(
    table: &mut Table,
    claim: &NodeClaim,
    catalog: &Catalog,
    classes: &[serde_json::Value],
) -> Result<Kind, String> {
    let capacity = read_map(table, claim.status.capacity.iter().flatten())?;
    let allocatable = match &claim.status.allocatable {
        Some(allocatable) => read_map(table, allocatable)?,
        None => capacity.clone(),
    };
    let labels = labels(claim);
    let wanted = labels.get(INSTANCE_TYPE);
    let instance = catalog.instance_types.iter().find(|instance| Some(&instance.name) == wanted);
    let class = claim.spec.node_class_ref.as_ref().map(|class| class.name.as_str());
    let class = classes.iter().find(|known| class.is_some_and(|class| known["metadata"]["name"] == class));
    let settings = class.map(Settings::new).transpose()?.unwrap_or_default();
    let volumes = instance.map(|instance| Kind::new(table, instance, &settings)).transpose()?;
    Ok(Kind { capacity, allocatable, volumes: volumes.map(|kind| kind.volumes).unwrap_or_default() })
}

/// What a node has and offers: what it says, and what it is silent about as its claim says.
pub(super) fn complete(mut said: Kind, promised: Kind) -> Kind {
    let fill = |said: &mut Amounts, promised: &Amounts| {
        for (column, amount) in promised.present() {
            if said.get(column) == 0 {
                said.set(column, amount);
            }
        }
    };
    fill(&mut said.capacity, &promised.capacity);
    fill(&mut said.allocatable, &promised.allocatable);
    for (driver, most) in promised.volumes {
        said.volumes.entry(driver).or_insert(most);
    }
    said
}

/// The taints of a node that stay once it is initialised; all of them where it has no claim or is initialised already.
pub(super) fn lasting(taints: Vec<Taint>, starting: Option<&NodeClaim>) -> Vec<Taint> {
    let Some(claim) = starting else { return taints };
    let lifted = claim.spec.startup_taints.as_deref().unwrap_or_default();
    let passes = |taint: &Taint| {
        AT_FIRST.contains(&taint.key.as_str())
            || lifted.iter().any(|start| (&start.key, &start.effect) == (&taint.key, &taint.effect))
    };
    taints.into_iter().filter(|taint| !passes(taint)).collect()
}
