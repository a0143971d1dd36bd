//! Nodes that may be disrupted, how many of them at once, and how one of them is ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};
use serde_json::json;
use tracing::info;

use super::super::conditions::{self, INITIALIZED};
use super::super::context::{Context, Error, lock};
use super::super::provisioning::Place;
use super::super::{pods, stores, taints};
use super::budgets;
use super::obstacles::told;
use crate::api::{NodeClaim, NodePool};
use crate::labels;

/// A node that may go.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Its claim.
    pub claim: Arc<NodeClaim>,
    /// The node.
    pub node: Arc<Node>,
    /// All pods on it.
    pub pods: Vec<Arc<Pod>>,
}

impl Candidate {
    /// The pods that would have to run elsewhere.
    pub fn held(&self) -> Vec<Arc<Pod>> {
        self.pods.iter().filter(|pod| pods::holds_its_node(pod)).cloned().collect()
    }

    /// Whether nothing has to run elsewhere.
    pub fn is_empty(&self) -> bool {
        !self.pods.iter().any(|pod| pods::holds_its_node(pod))
    }

    /// Says what the annotations `karpenter.sh/do-not-disrupt` of its pods mean just now.
    pub async fn tell_of_annotations(&self, context: &Context) {
        let now = context.now();
        for pod in &self.pods {
            let said = pods::DoNotDisrupt::of_pod(pod);
            if let Some((type_, reason, note)) = said.and_then(|said| told(&said, now)) {
                context.tell(&**pod, type_, reason, note).await;
            }
        }
    }

    /// Says why it stays.
    pub async fn tell_blocked(&self, reason: &str, context: &Context) {
        context.tell(&*self.node, EventType::Normal, "DisruptionBlocked", reason.to_owned()).await;
        context.tell(&*self.claim, EventType::Normal, "DisruptionBlocked", reason.to_owned()).await;
    }
}

/// Claims of a kind whose initialized nodes may be disrupted as far as claims and plans say, the oldest first. A node that pods
/// are planned onto may not (in a dry run, would be), nor one that is to take the place of another one that is still there: its pods are to come.
pub(super) fn candidates(
    claims: &[Arc<NodeClaim>],
    wanted: impl Fn(&NodeClaim) -> bool,
    context: &Context,
) -> Vec<Candidate> {
    let mut wanted: Vec<&Arc<NodeClaim>> = claims
        .iter()
        .filter(|claim| claim.metadata.deletion_timestamp.is_none() && context.carries(claim))
        .filter(|claim| conditions::is_true(claim, INITIALIZED) && wanted(claim))
        .filter(|claim| context.stores.replaced_by(claim).is_none())
        // We had it end already, and the watch has yet to bring it.
        .filter(|claim| !lock(&context.disrupting).contains(&claim.name_any()))
        .filter(|claim| !lock(&context.rehearsed).taken.contains(&Place::Claim(claim.name_any())))
        .collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    wanted.sort_by_key(|claim| (claim.metadata.creation_timestamp.clone().map(|time| time.0), claim.name_any()));
    let mut on_nodes: HashMap<String, Vec<Arc<Pod>>> = HashMap::new();
    for pod in context.stores.pods.state() {
        if let Some(node) = pods::node_of(&pod) {
            on_nodes.entry(node.to_owned()).or_default().push(pod);
        }
    }
    let mut candidate = |claim: &Arc<NodeClaim>| {
        let node = context.stores.node_of(claim)?;
        let pods = on_nodes.remove(&node.name_any()).unwrap_or_default();
        Some(Candidate { claim: Arc::clone(claim), node, pods })
    };
    let free = |one: &Candidate| {
        one.node.metadata.deletion_timestamp.is_none()
            && !lock(&context.pins).is_taken(&Place::Claim(one.claim.name_any()))
    };
    wanted.into_iter().filter_map(&mut candidate).filter(free).collect()
}

/// A claim, and those that are to take its place.
#[derive(Clone, Debug)]
pub struct Replacing {
    /// The claim that is to go.
    pub old: Arc<NodeClaim>,
    /// Those that come.
    pub new: Vec<Arc<NodeClaim>>,
}

/// The claims that others are to take the place of, as those say, as far as neither ends already.
pub fn replacing(claims: &[Arc<NodeClaim>]) -> Vec<Replacing> {
    let stays = |claim: &&Arc<NodeClaim>| claim.metadata.deletion_timestamp.is_none();
    let mut by_old: BTreeMap<&str, Vec<Arc<NodeClaim>>> = BTreeMap::new();
    for new in claims.iter().filter(stays) {
        if let Some(old) = new.annotations().get(labels::REPLACES) {
            by_old.entry(old).or_default().push(Arc::clone(new));
        }
    }
    if by_old.is_empty() {
        return Vec::new();
    }
    let mut all: Vec<Replacing> = claims
        .iter()
        .filter(stays)
        .filter_map(|old| Some(Replacing { old: Arc::clone(old), new: by_old.remove(old.metadata.name.as_deref()?)? }))
        .collect();
    all.sort_by_key(|one| one.old.name_any());
    all
}

/// How many more nodes of a pool may be disrupted for a reason now. Where its budgets allow none at all, people are told of it
/// in Karpenter's words (`pkg/controllers/disruption/events/events.go`).
pub(super) async fn room(
    pool: &NodePool,
    claims: &[Arc<NodeClaim>],
    reason: &str,
    context: &Context,
) -> Result<usize, Error> {
    let name = pool.name_any();
    let counted: Vec<&Arc<NodeClaim>> = claims.iter().filter(|claim| budgets::counts(claim)).collect();
    let replaced: BTreeSet<String> =
        replacing(&context.stores.claims.state()).into_iter().map(|one| one.old.name_any()).collect();
    let leaving =
        counted.iter().filter(|claim| is_leaving(claim, context) || replaced.contains(&claim.name_any())).count();
    let allowed = budgets::allowed(pool, reason, counted.len(), context.now())
        .map_err(|error| Error::Object(format!("NodePool {name}: {error}")))?;
    if allowed == 0 && !counted.is_empty() {
        let note = format!("No allowed disruptions for disruption reason {reason} due to blocking budget");
        context.tell(pool, EventType::Normal, "DisruptionBlocked", note).await;
    }
    Ok(allowed.saturating_sub(leaving))
}

/// Whether a claim's node counts as one that is being disrupted: it goes, or is not ready. The watch may not have brought yet
/// that we had it end.
fn is_leaving(claim: &NodeClaim, context: &Context) -> bool {
    claim.metadata.deletion_timestamp.is_some()
        || lock(&context.disrupting).contains(&claim.name_any())
        || context.stores.node_of(claim).is_none_or(|node| !stores::is_ready(&node))
}

/// Closes a node, looks at its pods again, and has it end; leaves it, as open as it may be, if its pods no longer allow it.
/// The reason is the API's word (`Empty`). Whether it ends.
pub(super) async fn end(
    candidate: &Candidate,
    reason: &str,
    allow: impl Fn(&[Pod]) -> bool,
    context: &Context,
) -> Result<bool, Error> {
    let name = candidate.claim.name_any();
    lock(&context.disrupting).insert(name.clone());
    let outcome = close_and_end(candidate, reason, allow, context).await;
    if !matches!(outcome, Ok(true)) {
        lock(&context.disrupting).remove(&name);
        // Whoever looks after the node takes the taint away.
        let _ = context.bells.nodes.unbounded_send(kube::runtime::reflector::ObjectRef::from_obj(&*candidate.node));
    }
    outcome
}

async fn close_and_end(
    candidate: &Candidate,
    reason: &str,
    allow: impl Fn(&[Pod]) -> bool,
    context: &Context,
) -> Result<bool, Error> {
    let Candidate { claim, node, .. } = candidate;
    close(node, context).await?;
    // The watch may be late: from the API server itself.
    let bound = ListParams::default().fields(&format!("spec.nodeName={}", node.name_any()));
    let now = Api::<Pod>::all(context.client.clone()).list(&bound).await?;
    if !allow(&now.items) {
        return Ok(false);
    }
    let word = reason.to_lowercase();
    info!(claim = claim.name_any(), node = node.name_any(), "{word}: taken away");
    context.disrupt_claim(claim, reason).await?;
    let note = format!("Disrupting Node: {reason}");
    context.tell(&**node, EventType::Normal, "DisruptionTerminating", note.clone()).await;
    context.tell(&**claim, EventType::Normal, "DisruptionTerminating", note).await;
    Ok(true)
}

/// Keeps new pods off a node that is to end.
pub(super) async fn close(node: &Node, context: &Context) -> Result<(), Error> {
    let newest = context.stores.node(&node.name_any());
    let node = newest.as_deref().unwrap_or(node);
    let there = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let disrupted = taints::disrupted();
    if !there.iter().any(|taint| taints::same(taint, &disrupted)) {
        context.patch_node(node, json!({"spec": {"taints": taints::with(there, [&disrupted])}})).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::Value;

    use super::*;

    fn claim(name: &str, metadata: Value) -> Arc<NodeClaim> {
        let mut whole = json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": name},
            "spec": {"nodeClassRef": {"group": "g", "kind": "k", "name": "n"}, "requirements": []},
        });
        whole["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        Arc::new(serde_json::from_value(whole).unwrap())
    }

    #[test]
    fn what_is_replaced_is_read_off_the_claims_that_come() {
        let for_old = |old: &str| json!({"annotations": {"supercargo.dev/replaces": old}});
        let ending = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let mut failed = for_old("c");
        failed["deletionTimestamp"] = ending["deletionTimestamp"].clone();
        let claims = [
            claim("b", json!({})),
            claim("a", json!({})),
            claim("c", json!({})),
            claim("ending", ending),
            claim("new-1", for_old("b")),
            claim("new-2", for_old("b")),
            claim("new-3", for_old("a")),
            claim("new-4", for_old("ending")),
            claim("new-5", for_old("gone")),
            claim("failed", failed),
        ];
        let found: Vec<(String, usize)> =
            replacing(&claims).iter().map(|one| (one.old.name_any(), one.new.len())).collect();
        assert_eq!(found, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    }
}
