//! From a node that has joined to one that pods can run on.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use serde_json::json;
use tracing::info;

use super::super::conditions::{Conditions, INITIALIZED, Known};
use super::super::context::{Context, Error};
use super::super::{provisioning::hold, taints};
use super::write;
use crate::api::NodeClaim;
use crate::{binding, labels};

/// Marks claim and node initialized once nothing is missing; else says what is. When to look again, unless something changes
/// before.
pub(super) async fn initialize(
    claim: &NodeClaim,
    context: &Context,
    now: Timestamp,
) -> Result<Option<Duration>, Error> {
    let mut conditions = Conditions::of(claim, now);
    let Some(node) = context.stores.node_of(claim) else {
        conditions.set(INITIALIZED, Known::Unknown, "NodeNotFound", "the node is gone");
        write(claim, context, conditions, json!({})).await?;
        return Ok(None);
    };
    let held = hold::is_held(&node);
    if let Some((reason, message)) = missing(&node, claim) {
        conditions.set(INITIALIZED, Known::Unknown, reason, &message);
        write(claim, context, conditions, json!({})).await?;
        if !held {
            return Ok(None);
        }
        // It may be a daemon of what is missing that the taint of the plan keeps away.
        let left = hold::left(claim, context.settings.bind_deadline, now);
        if left.is_zero() {
            context.patch_node(&node, json!({"spec": {"taints": hold::opened(&node)}})).await?;
            return Ok(None);
        }
        return Ok(Some(left));
    }
    let mut patch = json!({"metadata": {"labels": {labels::INITIALIZED: "true"}}});
    if held {
        if let Some(pause) = hold::serve(claim, &node, context, now).await? {
            let words = "the node is held for the pods that were planned onto it";
            conditions.set(INITIALIZED, Known::Unknown, "StartupTaintsExist", words);
            write(claim, context, conditions, json!({})).await?;
            return Ok(Some(pause));
        }
        patch["spec"]["taints"] = json!(hold::opened(&node));
    }
    if held || node.labels().get(labels::INITIALIZED).is_none() {
        context.patch_node(&node, patch).await?;
    }
    conditions.achieve(INITIALIZED);
    // What the kubelet says of itself counts more than what the cloud promised.
    let told = node.status.as_ref();
    let fields = json!({
        "capacity": told.and_then(|status| status.capacity.as_ref()),
        "allocatable": told.and_then(|status| status.allocatable.as_ref()),
    });
    write(claim, context, conditions, fields).await?;
    info!(claim = claim.name_any(), node = node.name_any(), "ready for pods");
    context.metrics.claim_initialized(claim);
    Ok(None)
}

/// What a node lacks besides being open, as reason and message; the reasons are the API's.
fn missing(node: &Node, claim: &NodeClaim) -> Option<(&'static str, String)> {
    let status = node.status.as_ref();
    let ready = status.iter().flat_map(|status| status.conditions.iter().flatten()).find(|one| one.type_ == "Ready");
    if ready.is_none_or(|ready| ready.status != "True") {
        return Some(("NodeNotReady", "the node is not ready".into()));
    }
    let there = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let start_up = claim.spec.template.startup_taints.as_deref().unwrap_or_default();
    let others = || there.iter().filter(|taint| taint.key != binding::TAINT);
    if let Some(taint) = others().find(|taint| start_up.iter().any(|other| taints::same(taint, other))) {
        return Some((
            "StartupTaintsExist",
            format!("the start-up taint {}:{} is still there", taint.key, taint.effect),
        ));
    }
    if let Some(taint) = there.iter().find(|taint| taints::is_ephemeral(taint)) {
        return Some(("KnownEphemeralTaintsExist", format!("the taint {}:{} is still there", taint.key, taint.effect)));
    }
    let requests = claim.spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let promised = claim.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let offered = status.and_then(|status| status.allocatable.as_ref());
    let is_none = |amount: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity>| {
        amount.is_none_or(|amount| amount.0.is_empty() || amount.0 == "0")
    };
    let absent = requests.into_iter().flatten().find(|(name, amount)| {
        !is_none(Some(amount))
            && !is_none(promised.and_then(|promised| promised.get(*name)))
            && is_none(offered.and_then(|offered| offered.get(*name)))
    });
    absent.map(|(name, _)| ("ResourceNotRegistered", format!("the resource {name} was not registered")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lacks(taints: serde_json::Value, ready: &str, gpus: &str) -> Option<&'static str> {
        let node = serde_json::from_value(json!({
            "metadata": {"name": "n"},
            "spec": {"taints": taints},
            "status": {
                "conditions": [{"type": "Ready", "status": ready}],
                "allocatable": {"cpu": "2", "nvidia.com/gpu": gpus},
            },
        }));
        let claim = serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {"name": "c"},
            "spec": {
                "nodeClassRef": {"group": "g", "kind": "k", "name": "n"},
                "requirements": [],
                "startupTaints": [
                    {"key": "supercargo.dev/plan", "effect": "NoSchedule"}, {"key": "cni", "effect": "NoExecute"},
                ],
                "resources": {"requests": {"cpu": "1", "nvidia.com/gpu": "1"}},
            },
            "status": {"allocatable": {"cpu": "2", "nvidia.com/gpu": "1"}},
        }));
        missing(&node.unwrap(), &claim.unwrap()).map(|(reason, _)| reason)
    }

    #[test]
    fn a_node_is_initialized_when_nothing_keeps_pods_off() {
        assert_eq!(lacks(json!([]), "True", "1"), None);
        assert_eq!(lacks(json!([]), "False", "1"), Some("NodeNotReady"));
        assert_eq!(lacks(json!([{"key": "cni", "effect": "NoExecute"}]), "True", "1"), Some("StartupTaintsExist"));
        let not_ready = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]);
        assert_eq!(lacks(not_ready, "True", "1"), Some("KnownEphemeralTaintsExist"));
        assert_eq!(lacks(json!([]), "True", "0"), Some("ResourceNotRegistered"));
        assert_eq!(lacks(json!([{"key": "other", "effect": "NoSchedule"}]), "True", "1"), None);
        // Whoever looks after held nodes opens it.
        assert_eq!(lacks(json!([{"key": "supercargo.dev/plan", "effect": "NoSchedule"}]), "True", "1"), None);
    }
}
