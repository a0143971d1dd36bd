//! The end of a machine: its pods leave in order, its volumes are detached, the cloud takes it back, and only then are node
//! and claim gone.
//!
//! Deleting the node or the claim is the same: each asks for the end of the other. Finalizers hold both until the machine is
//! gone, so a controller that dies on the way goes on where it was.

mod deadline;
mod drain;
mod eviction;
mod progress;
mod volumes;

use std::sync::Arc;
use std::time::Duration;

pub use deadline::{is_overdue, set_overdue};

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{DeleteParams, Preconditions};
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use serde_json::json;
use tracing::info;

use drain::Drain;
use progress::Progress;

use super::conditions::{self, Conditions, DISRUPTION_REASON, DRAINED, INSTANCE_TERMINATING};
use super::context::{Context, Error, lock};
use super::{stores, taints};
use crate::api::NodeClaim;
use crate::cloud::{ClaimKey, CloudError};
use crate::labels;

/// How often to ask whether a machine is gone.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long pods are given to leave before they are looked at without having been told of a change.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Brings the end of a claim one step on: its node first, then its machine, then the claim itself.
pub async fn end_claim(claim: &NodeClaim, context: &Context) -> Result<Action, Error> {
    if !claim.finalizers().iter().any(|finalizer| finalizer == labels::TERMINATION) {
        return Ok(Action::await_change());
    }
    if let Some(time) = deadline::missing(claim) {
        let patch = json!({"metadata": {"annotations": {labels::TERMINATION_TIME: time.to_string()}}});
        context.patch_claim(claim, patch).await?;
        deadline::tell(claim, time, context).await;
        return Ok(Action::await_change());
    }
    if let Some(node) = context.stores.node_of(claim) {
        if node.metadata.deletion_timestamp.is_none() {
            delete_node(&node, context).await?;
        }
        // The node's end comes first: when it is gone, this is called again.
        return Ok(Action::await_change());
    }
    let Some(claim) = end_machine(claim, context).await? else { return Ok(Action::requeue(ASK_AGAIN)) };
    let kept: Vec<&String> = claim.finalizers().iter().filter(|finalizer| *finalizer != labels::TERMINATION).collect();
    context.patch_claim(&claim, json!({"metadata": {"finalizers": kept}})).await?;
    lock(&context.pins).release(&claim.name_any());
    lock(&context.disrupting).remove(&claim.name_any());
    context.metrics.claim_terminated(&claim);
    let asked = conditions::true_since(&claim, INSTANCE_TERMINATING);
    context.metrics.claim_gone(&claim, asked, context.now());
    info!(claim = claim.name_any(), "gone");
    Ok(Action::await_change())
}

/// Looks after a node: brings its end one step on, or takes back the taint of an end that did not come.
pub async fn reconcile_node(node: Arc<Node>, context: Arc<Context>) -> Result<Action, Error> {
    let claim = context.stores.claim_of(&node);
    let ours = match &claim {
        Some(claim) => context.carries(claim),
        None => stores::provider_id(&node).is_none_or(|id| context.cloud.names(id)),
    };
    if !ours {
        return Ok(Action::await_change());
    }
    if node.metadata.deletion_timestamp.is_none() {
        return keep(&node, claim.as_deref(), &context).await;
    }
    if !node.finalizers().iter().any(|finalizer| finalizer == labels::TERMINATION) {
        return Ok(Action::await_change());
    }
    if let Some(claim) = &claim {
        context.end_claim(claim).await?;
        if claim.metadata.deletion_timestamp.is_none() {
            // Its deadline is written down first.
            return Ok(Action::await_change());
        }
        if deadline::missing(claim).is_some() {
            return Ok(Action::await_change());
        }
    }
    if let Some(patch) = closed(&node) {
        context.patch_node(&node, patch).await?;
        return Ok(Action::await_change());
    }
    if is_lost(&node, claim.as_deref(), &context).await? {
        // Its pods went with the machine, whatever would keep them: no kubelet is there to end them.
        return node_is_gone(&node, &context).await;
    }
    let now = context.now();
    let deadline = claim.as_deref().and_then(deadline::of);
    let over = deadline.is_some_and(|deadline| now >= deadline);
    if let Some(deadline) = deadline {
        deadline::tell(&*node, deadline, &context).await;
    }
    let left = Drain { node: &node, claim: claim.as_deref(), deadline, context: &context }.step(now).await?;
    let attached = volumes::attached(&node.name_any(), &context.stores, now);
    let progress = Progress::of(left, attached.len(), over);
    if progress == Progress::Detaching {
        let note = format!("Awaiting deletion of bound volumeattachments ({})", volumes::list(&attached));
        context.tell(&*node, EventType::Normal, "AwaitingVolumeDetachment", note).await;
    }
    // What is said is written before what can't be taken back: with the node goes the claim.
    let claim = match claim {
        Some(claim) => Some(say_progress(&newest(claim, &context), progress, &context).await?),
        None => None,
    };
    if !matches!(progress, Progress::Done { .. }) {
        return Ok(Action::requeue(LOOK_AGAIN));
    }
    let gone = match &claim {
        Some(claim) => end_machine(claim, &context).await?.is_some(),
        None => orphans_machine_is_gone(&node, &context).await?,
    };
    if !gone {
        return Ok(Action::requeue(ASK_AGAIN));
    }
    node_is_gone(&node, &context).await
}

/// Whether the machine of a node that is not ready is gone, as far as the cloud knows
/// (<https://github.com/kubernetes-sigs/karpenter>, `pkg/controllers/node/termination/controller.go`).
async fn is_lost(node: &Node, claim: Option<&NodeClaim>, context: &Context) -> Result<bool, Error> {
    match claim {
        Some(claim) if !stores::is_ready(node) => is_gone(&ClaimKey::of(claim), context).await,
        _ => Ok(false),
    }
}

/// Lets go of a node whose machine is gone.
async fn node_is_gone(node: &Node, context: &Context) -> Result<Action, Error> {
    let kept: Vec<&String> = node.finalizers().iter().filter(|finalizer| *finalizer != labels::TERMINATION).collect();
    context.patch_node(node, json!({"metadata": {"finalizers": kept}})).await?;
    context.pod_events.forget(&node.name_any());
    context.metrics.node_terminated(node);
    context.metrics.node_gone(node, context.now());
    info!(node = node.name_any(), "gone");
    Ok(Action::await_change())
}

/// A node that is not ending: a taint of ours that says otherwise is from a controller that died before it came to it, or
/// from a replacement that failed.
async fn keep(node: &Node, claim: Option<&NodeClaim>, context: &Context) -> Result<Action, Error> {
    let there = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    if !there.iter().any(|taint| taint.key == labels::DISRUPTED) {
        return Ok(Action::await_change());
    }
    let stale = claim.is_some_and(|claim| {
        claim.metadata.deletion_timestamp.is_none()
            && !lock(&context.disrupting).contains(&claim.name_any())
            && context.stores.replacements_of(claim).is_empty()
    });
    if let (true, Some(claim)) = (stale, claim) {
        say(claim, context, |conditions| conditions.clear(DISRUPTION_REASON)).await?;
        let patch = json!({"spec": {"taints": taints::without(there, labels::DISRUPTED)}});
        context.patch_node(node, patch).await?;
    }
    Ok(Action::await_change())
}

/// What keeps new pods and the cloud's load balancers off a node that ends; `None` where all of it is there.
fn closed(node: &Node) -> Option<serde_json::Value> {
    let there = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let disrupted = taints::disrupted();
    let tainted = there.iter().any(|taint| taints::same(taint, &disrupted));
    if tainted && node.labels().contains_key(labels::EXCLUDE_BALANCERS) {
        return None;
    }
    Some(json!({
        "metadata": {"labels": {labels::EXCLUDE_BALANCERS: "karpenter"}},
        "spec": {"taints": taints::with(there, [&disrupted])},
    }))
}

async fn delete_node(node: &Node, context: &Context) -> Result<(), Error> {
    let uid = node.metadata.uid.clone();
    let same =
        DeleteParams { preconditions: Some(Preconditions { uid, resource_version: None }), ..DeleteParams::default() };
    match context.nodes().delete(&node.name_any(), &same).await {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}

/// Asks for the end of a claim's machine, and says so; the claim as it is then, once the machine is gone.
async fn end_machine(claim: &NodeClaim, context: &Context) -> Result<Option<NodeClaim>, Error> {
    let key = ClaimKey::of(claim);
    let was_there = asked_to_end(&key, context).await?;
    // Who asked before may have died before it said so.
    let launched = was_there || claim.status.as_ref().is_some_and(|status| status.provider_id.is_some());
    let claim = match launched {
        true => say(claim, context, |conditions| conditions.achieve(INSTANCE_TERMINATING)).await?,
        false => claim.clone(),
    };
    let gone = !was_there || is_gone(&key, context).await?;
    Ok(gone.then_some(claim))
}

/// Asks for the end of a machine; whether there was one.
async fn asked_to_end(key: &ClaimKey, context: &Context) -> Result<bool, Error> {
    match context.cloud.delete(key).await {
        Err(CloudError::NotFound) => Ok(false),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(true),
    }
}

async fn is_gone(key: &ClaimKey, context: &Context) -> Result<bool, Error> {
    match context.cloud.get(key).await {
        Err(CloudError::NotFound) => Ok(true),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(false),
    }
}

/// The same for a node without a claim, whose machine only the cloud knows.
async fn orphans_machine_is_gone(node: &Node, context: &Context) -> Result<bool, Error> {
    let provider = stores::provider_id(node);
    let machine = context.cloud.list().await?.into_iter().find(|one| Some(one.provider_id.as_str()) == provider);
    match machine {
        Some(machine) => Ok(!asked_to_end(&machine.claim, context).await? || is_gone(&machine.claim, context).await?),
        None => Ok(true),
    }
}

/// A claim as it was last seen.
fn newest(claim: Arc<NodeClaim>, context: &Context) -> Arc<NodeClaim> {
    let seen = context.stores.claims.get(&ObjectRef::from_obj(&*claim));
    seen.filter(|seen| seen.metadata.uid == claim.metadata.uid).unwrap_or(claim)
}

/// Writes how far the end of a claim's node has come; the claim as it is then.
async fn say_progress(claim: &NodeClaim, progress: Progress, context: &Context) -> Result<NodeClaim, Error> {
    let told = say(claim, context, |conditions| progress.tell(conditions)).await?;
    if !conditions::is_true(claim, DRAINED) && conditions::is_true(&told, DRAINED) {
        context.metrics.node_drained(&told);
    }
    Ok(told)
}

/// Writes the conditions that a step of the end sets, all of them in one request; the claim as it is then.
///
/// # Errors
/// With code 409 where the claim has changed since it was seen: whoever went on would lose what was to be said.
async fn say(claim: &NodeClaim, context: &Context, tell: impl FnOnce(&mut Conditions)) -> Result<NodeClaim, Error> {
    let mut conditions = Conditions::of(claim, context.now());
    tell(&mut conditions);
    if !conditions.changed() {
        return Ok(claim.clone());
    }
    match context.patch_claim_status(claim, json!({"conditions": conditions.into_list()})).await {
        // Somebody took its finalizer away: there is nothing left that could say it.
        Err(error) if error.code() == Some(404) => Ok(claim.clone()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_node_that_ends_is_closed_once() {
        let mut node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n"}, "spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]},
        }))
        .unwrap();
        let patch = closed(&node).unwrap();
        assert_eq!(patch["spec"]["taints"][1]["key"], "karpenter.sh/disrupted");
        node.spec = serde_json::from_value(patch["spec"].clone()).unwrap();
        node.metadata.labels = serde_json::from_value(patch["metadata"]["labels"].clone()).unwrap();
        assert!(closed(&node).is_none());
    }
}
