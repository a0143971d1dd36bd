//! The nodes that a plan may count on: those that are there, and those that are still to come.
//!
//! A claim without a node is a node that is there already, as far as planning goes: what was bought is not bought again. A
//! node that is not initialized yet is what it will be: without the taints that it starts with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use supercargo_models::catalog::{self, Catalog};

use super::super::conditions::{self, INITIALIZED};
use super::super::{stores, taints};
use crate::api::NodeClaim;
use crate::cloud::kwok::quantities;
use crate::labels;

/// All nodes that count, with the claims that are still to become nodes among them, each under its claim's name. What is on
/// sale for a claim says what the machine has that it was planned with.
pub fn nodes<'c>(
    nodes: &[Arc<Node>],
    claims: &[Arc<NodeClaim>],
    on_sale: impl Fn(&NodeClaim) -> &'c Catalog,
) -> Vec<Node> {
    let of_provider = |claim: &NodeClaim| claim.status.as_ref().and_then(|status| status.provider_id.clone());
    let by_provider: BTreeMap<String, &NodeClaim> =
        claims.iter().filter_map(|claim| Some((of_provider(claim)?, &**claim))).collect();
    let mut all: Vec<Node> = Vec::with_capacity(nodes.len() + claims.len());
    let mut there = BTreeSet::new();
    for node in nodes {
        let claim = stores::provider_id(node).and_then(|id| by_provider.get(id));
        let Some(claim) = claim else {
            // One that its claim has not found yet is that claim's, which counts as what it will be.
            if !is_unregistered(node) {
                all.push((**node).clone());
            }
            continue;
        };
        there.insert(claim.name_any());
        let mut node = (**node).clone();
        if !conditions::is_true(claim, INITIALIZED) {
            grow_up(&mut node, claim);
        }
        if claim.metadata.deletion_timestamp.is_some() {
            close(&mut node);
        }
        all.push(node);
    }
    for claim in claims.iter().filter(|claim| !there.contains(&claim.name_any())) {
        all.push(to_come(claim, on_sale(claim)));
    }
    all
}

fn is_unregistered(node: &Node) -> bool {
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.any(|taint| taints::same(taint, &taints::unregistered()))
}

/// Makes of a node what it will be once it is initialized.
fn grow_up(node: &mut Node, claim: &NodeClaim) {
    for (key, value) in claim.labels() {
        node.labels_mut().entry(key.clone()).or_insert_with(|| value.clone());
    }
    let start_up = claim.spec.template.startup_taints.as_deref().unwrap_or_default();
    let spec = node.spec.get_or_insert_default();
    if let Some(list) = &mut spec.taints {
        list.retain(|taint| !taints::is_ephemeral(taint) && !start_up.iter().any(|other| taints::same(other, taint)));
    }
    let status = node.status.get_or_insert_default();
    status.conditions = None;
    let promised = claim.status.as_ref();
    let fill = |told: &mut Option<BTreeMap<String, Quantity>>, promised: Option<&BTreeMap<String, Quantity>>| {
        for (name, amount) in promised.into_iter().flatten() {
            told.get_or_insert_default().entry(name.clone()).or_insert_with(|| amount.clone());
        }
    };
    fill(&mut status.capacity, promised.and_then(|promised| promised.capacity.as_ref()));
    fill(&mut status.allocatable, promised.and_then(|promised| promised.allocatable.as_ref()));
}

/// Keeps new pods off a node.
pub(super) fn close(node: &mut Node) {
    node.spec.get_or_insert_default().unschedulable = Some(true);
}

/// The node that a claim will become. Before its launch it offers no more than it was asked to hold, and takes of its pool's
/// limits what the offering that it was planned with takes.
fn to_come(claim: &NodeClaim, catalog: &Catalog) -> Node {
    let template = &claim.spec.template;
    let name = claim.name_any();
    let mut own = claim.labels().clone();
    for one in &template.requirements {
        if let ("In", Some([value])) = (one.operator.as_str(), one.values.as_deref()) {
            own.entry(one.key.clone()).or_insert_with(|| value.clone());
        }
    }
    own.entry(labels::HOSTNAME.into()).or_insert_with(|| name.clone());
    let promised = claim.status.as_ref();
    let requests = claim.spec.resources.as_ref().and_then(|resources| resources.requests.clone());
    let planned = planned(claim, catalog);
    let capacity = promised.and_then(|promised| promised.capacity.clone()).or(planned).or_else(|| requests.clone());
    let allocatable = promised.and_then(|promised| promised.allocatable.clone()).or(requests);
    let taints: Vec<Taint> = template.taints.clone().unwrap_or_default();
    let mut node = Node {
        metadata: ObjectMeta {
            name: Some(name),
            labels: Some(own),
            annotations: claim.metadata.annotations.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec { taints: Some(taints), ..NodeSpec::default() }),
        status: Some(NodeStatus { capacity, allocatable, ..NodeStatus::default() }),
    };
    if claim.metadata.deletion_timestamp.is_some() {
        close(&mut node);
    }
    node
}

/// What the machine has that a claim was planned with.
fn planned(claim: &NodeClaim, catalog: &Catalog) -> Option<BTreeMap<String, Quantity>> {
    let kind = claim.annotations().get(labels::PLANNED)?.split(' ').next()?;
    let instance = catalog.instance_types.iter().find(|instance| instance.name == kind)?;
    Some(quantities(&catalog::capacity(instance)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn claim(metadata: Value, status: Value) -> Arc<NodeClaim> {
        let mut whole = json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {
                "name": "c", "uid": "u",
                "labels": {"karpenter.sh/nodepool": "p"},
                "annotations": {"supercargo.dev/planned-offering": "m5.large spot us-east-1a"},
            },
            "spec": {
                "nodeClassRef": {"group": "g", "kind": "k", "name": "n"},
                "requirements": [
                    {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["us-east-1a"]},
                    {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["m5.large", "m5.xlarge"]},
                ],
                "taints": [{"key": "gpu", "effect": "NoSchedule"}],
                "startupTaints": [{"key": "cni", "effect": "NoExecute"}],
                "resources": {"requests": {"cpu": "1500m"}},
            },
            "status": status,
        });
        whole["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        Arc::new(serde_json::from_value(whole).unwrap())
    }

    fn amount(node: &Node, of: impl Fn(&NodeStatus) -> &Option<BTreeMap<String, Quantity>>) -> String {
        of(node.status.as_ref().unwrap()).as_ref().unwrap()["cpu"].0.clone()
    }

    #[test]
    fn a_claim_before_its_launch_holds_what_it_was_made_for() {
        let catalog = crate::catalog::embedded().unwrap();
        let all = nodes(&[], &[claim(json!({}), json!({}))], |_| &catalog);
        let [node] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(node.name_any(), "c");
        assert_eq!(node.labels()["topology.kubernetes.io/zone"], "us-east-1a");
        assert!(!node.labels().contains_key("node.kubernetes.io/instance-type"));
        assert_eq!(amount(node, |status| &status.allocatable), "1500m");
        assert_eq!(amount(node, |status| &status.capacity), "2");
        let taints = node.spec.as_ref().unwrap().taints.as_ref().unwrap();
        assert_eq!(taints.len(), 1);
        assert_eq!(taints[0].key, "gpu");
    }

    #[test]
    fn a_node_whose_claim_does_not_know_of_its_machine_yet_counts_once() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "c"},
            "spec": {"providerID": "kwok://c", "taints": [
                {"key": "karpenter.sh/unregistered", "effect": "NoExecute"},
                {"key": "supercargo.dev/plan", "effect": "NoSchedule"},
            ]},
        }))
        .unwrap();
        let catalog = Catalog::default();
        let all = nodes(&[Arc::new(node)], &[claim(json!({}), json!({}))], |_| &catalog);
        let [node] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(node.spec.as_ref().unwrap().taints.as_ref().unwrap()[0].key, "gpu");
    }

    #[test]
    fn a_claim_that_ends_takes_of_the_limits_and_holds_nothing_new() {
        let catalog = Catalog::default();
        let ending = claim(
            json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
            json!({"capacity": {"cpu": "4"}, "allocatable": {"cpu": "3900m"}}),
        );
        let all = nodes(&[], &[ending], |_| &catalog);
        assert_eq!(amount(&all[0], |status| &status.capacity), "4");
        assert_eq!(all[0].spec.as_ref().unwrap().unschedulable, Some(true));
    }

    #[test]
    fn a_node_that_is_not_initialized_is_what_it_will_be() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n"},
            "spec": {"providerID": "kwok://c", "taints": [
                {"key": "karpenter.sh/unregistered", "effect": "NoExecute"},
                {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"},
                {"key": "cni", "effect": "NoExecute"},
                {"key": "gpu", "effect": "NoSchedule"},
            ]},
            "status": {"conditions": [{"type": "Ready", "status": "False"}]},
        }))
        .unwrap();
        let status = json!({"providerID": "kwok://c", "allocatable": {"cpu": "1930m"}, "capacity": {"cpu": "2"}});
        let other: Node = serde_json::from_value(json!({"metadata": {"name": "other"}})).unwrap();
        let catalog = Catalog::default();
        let all = nodes(&[Arc::new(node), Arc::new(other)], &[claim(json!({}), status)], |_| &catalog);
        assert_eq!(all.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["n", "other"]);
        let node = &all[0];
        let taints: Vec<&str> =
            node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).map(|taint| taint.key.as_str()).collect();
        assert_eq!(taints, ["gpu"]);
        assert_eq!(node.labels()["karpenter.sh/nodepool"], "p");
        assert_eq!(amount(node, |status| &status.allocatable), "1930m");
        assert!(node.status.as_ref().unwrap().conditions.is_none());
    }
}
