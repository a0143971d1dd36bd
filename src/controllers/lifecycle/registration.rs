//! From a machine to a node of the cluster that is known to be the claim's.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};
use tracing::info;

use super::super::conditions::{self, Conditions, INITIALIZED, Known, LAUNCHED, REGISTERED};
use super::super::context::{Context, Error};
use super::super::taints;
use super::{left, write};
use crate::api::NodeClaim;
use crate::labels;

/// Why a claim is not registered whose node is not there.
pub(super) const NOT_JOINED: &str = "the machine has not joined the cluster yet";

/// Why one is not whose node is there, and takes pods already.
const UNTAINTED: &str = "UnregisteredTaintNotFound";

/// Looks for the claim's node and makes it ours: finalizer, owner, labels, annotations, taints.
pub(super) async fn register(claim: &NodeClaim, context: &Context, now: Timestamp) -> Result<Action, Error> {
    let nodes = context.stores.nodes_of(claim);
    let mut conditions = Conditions::of(claim, now);
    if let Some((known, reason, message)) = missing(&nodes) {
        conditions.set(REGISTERED, known, reason, message);
        write(claim, context, conditions, json!({})).await?;
        if reason == UNTAINTED {
            let note = format!(
                "Missing {} taint which prevents registration related race conditions on Karpenter-managed nodes",
                labels::UNREGISTERED
            );
            context.tell(claim, EventType::Warning, "UnregisteredTaintMissing", note).await;
        }
        let launched = conditions::true_since(claim, LAUNCHED);
        return Ok(Action::requeue(left(launched, context.settings.registration_timeout, now)));
    }
    let Some(node) = nodes.into_iter().next() else { return Ok(Action::await_change()) };
    context.patch_node(&node, joined(&node, claim)).await?;
    conditions.achieve(REGISTERED);
    conditions.set(INITIALIZED, Known::Unknown, "NodeNotReady", "the node has joined and is not ready yet");
    write(claim, context, conditions, json!({"nodeName": node.name_any()})).await?;
    info!(claim = claim.name_any(), node = node.name_any(), "registered");
    context.metrics.node_created(claim);
    context.has_joined(claim);
    Ok(Action::await_change())
}

/// What keeps the nodes of a claim's machine from being registered: what is known, with the reason and words of it; the
/// reasons are the API's. In Karpenter what is False stays so until the claim is given up; here it may still come right.
fn missing(nodes: &[Arc<Node>]) -> Option<(Known, &'static str, &'static str)> {
    let [node] = nodes else {
        return Some(match nodes.is_empty() {
            true => (Known::Unknown, "NodeNotFound", NOT_JOINED),
            false => (Known::False, "MultipleNodesFound", "more than one node says that it runs on the machine"),
        });
    };
    let there = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    // The label is there, and the taint gone, if it only remains to write the condition.
    if node.labels().contains_key(labels::REGISTERED)
        || there.iter().any(|taint| taints::same(taint, &taints::unregistered()))
    {
        return None;
    }
    Some((Known::False, UNTAINTED, "the node has joined without the taint karpenter.sh/unregistered"))
}

/// What makes a node the claim's, laid over it.
fn joined(node: &Node, claim: &NodeClaim) -> Value {
    let mut finalizers = node.finalizers().to_vec();
    if !finalizers.iter().any(|finalizer| finalizer == labels::TERMINATION) {
        finalizers.push(labels::TERMINATION.into());
    }
    let mut owners = node.owner_references().to_vec();
    if !owners.iter().any(|owner| Some(&owner.uid) == claim.metadata.uid.as_ref()) {
        owners.push(OwnerReference {
            api_version: NodeClaim::api_version(&()).into_owned(),
            kind: NodeClaim::kind(&()).into_owned(),
            name: claim.name_any(),
            uid: claim.metadata.uid.clone().unwrap_or_default(),
            block_owner_deletion: Some(true),
            controller: None,
        });
    }
    let mut own: BTreeMap<String, String> = claim.labels().clone();
    own.insert(labels::REGISTERED.into(), "true".into());
    json!({
        "metadata": {
            "finalizers": finalizers,
            "ownerReferences": owners,
            "labels": own,
            "annotations": claim.annotations(),
        },
        "spec": {"taints": joined_taints(node, claim)},
    })
}

/// The node's taints with those of the claim, and without the one that says that it is unregistered.
fn joined_taints(node: &Node, claim: &NodeClaim) -> Vec<Taint> {
    let there = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let there = taints::without(there, labels::UNREGISTERED);
    if node.labels().get(labels::DO_NOT_SYNC_TAINTS).is_some_and(|value| value == "true") {
        return there;
    }
    let template = &claim.spec.template;
    taints::with(&there, template.taints.iter().flatten().chain(template.startup_taints.iter().flatten()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn objects(node_labels: Value) -> (Node, NodeClaim) {
        let node = serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": node_labels, "finalizers": ["other"]},
            "spec": {"taints": [
                {"key": "karpenter.sh/unregistered", "effect": "NoExecute"},
                {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"},
            ]},
        }));
        let claim = serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {"name": "c", "uid": "u", "labels": {"team": "blue"}, "annotations": {"note": "x"}},
            "spec": {
                "nodeClassRef": {"group": "g", "kind": "k", "name": "n"},
                "requirements": [],
                "taints": [{"key": "gpu", "effect": "NoSchedule"}],
                "startupTaints": [{"key": "cni", "effect": "NoExecute"}],
            },
        }));
        (node.unwrap(), claim.unwrap())
    }

    fn keys(patch: &Value) -> Vec<&str> {
        patch["spec"]["taints"].as_array().unwrap().iter().map(|taint| taint["key"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_node_becomes_the_claims() {
        let (node, claim) = objects(json!({}));
        let patch = joined(&node, &claim);
        assert_eq!(patch["metadata"]["finalizers"], json!(["other", "karpenter.sh/termination"]));
        assert_eq!(patch["metadata"]["ownerReferences"][0]["uid"], "u");
        assert_eq!(patch["metadata"]["labels"], json!({"team": "blue", "karpenter.sh/registered": "true"}));
        assert_eq!(patch["metadata"]["annotations"], json!({"note": "x"}));
        assert_eq!(keys(&patch), ["node.kubernetes.io/not-ready", "gpu", "cni"]);
    }

    #[test]
    fn a_node_is_registered_that_is_alone_and_waits_for_it() {
        let reason = |nodes: &[Arc<Node>]| missing(nodes).map(|(known, reason, _)| (known, reason));
        let (node, _) = objects(json!({}));
        let mut bare = node.clone();
        bare.spec = None;
        let mut done = bare.clone();
        done.labels_mut().insert(labels::REGISTERED.into(), "true".into());
        let [node, bare, done] = [node, bare, done].map(Arc::new);
        assert_eq!(reason(&[]), Some((Known::Unknown, "NodeNotFound")));
        assert_eq!(reason(&[Arc::clone(&node), Arc::clone(&bare)]), Some((Known::False, "MultipleNodesFound")));
        assert_eq!(reason(&[bare]), Some((Known::False, "UnregisteredTaintNotFound")));
        assert_eq!(reason(&[node]), None);
        assert_eq!(reason(&[done]), None);
    }

    #[test]
    fn a_node_may_keep_its_taints_to_itself() {
        let (node, claim) = objects(json!({"karpenter.sh/do-not-sync-taints": "true"}));
        assert_eq!(keys(&joined(&node, &claim)), ["node.kubernetes.io/not-ready"]);
    }
}
