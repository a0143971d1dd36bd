//! Nodes that hold nothing are taken away once they have rested long enough.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use tracing::{info, warn};

use super::super::conditions::{self, CONSOLIDATABLE, INITIALIZED};
use super::super::context::{Context, Error, lock};
use super::super::provisioning::{self, Place};
use super::super::{pods, taints};
use super::budgets;
use crate::api::{NodeClaim, NodePool};
use crate::labels;

/// The API's word for it, in budgets, metrics and conditions.
const REASON: &str = "Empty";
/// How often to look without having been told: schedules of budgets begin and end untold.
const PERIOD: Duration = Duration::from_secs(10);
/// Changes that come so soon after each other are looked at together.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes empty nodes away for ever.
pub async fn run(context: Arc<Context>) {
    loop {
        let _ = tokio::time::timeout(PERIOD, context.bells.empty.notified()).await;
        tokio::time::sleep(PAUSE).await;
        // A pod that is yet to be planned may need what is empty now; after a restart that is every pod that waits.
        if !provisioning::is_settled(&context) {
            continue;
        }
        for pool in context.stores.pools.state() {
            if let Err(error) = take_away(&pool, &context).await {
                warn!(nodepool = pool.name_any(), "taking empty nodes away: {error}");
            }
        }
    }
}

/// A node that may go.
struct Candidate {
    claim: Arc<NodeClaim>,
    node: Arc<Node>,
}

async fn take_away(pool: &NodePool, context: &Context) -> Result<(), Error> {
    let name = pool.name_any();
    if pool.spec.replicas.is_some() {
        return Ok(());
    }
    let claims = context.stores.claims.state_filter(|claim| claim.labels().get(labels::NODE_POOL) == Some(&name));
    let candidates = candidates(&claims, context, context.now());
    if candidates.is_empty() {
        return Ok(());
    }
    let counted: Vec<&Arc<NodeClaim>> = claims.iter().filter(|claim| conditions::is_true(claim, INITIALIZED)).collect();
    let leaving = counted.iter().filter(|claim| is_leaving(claim, context)).count();
    let allowed = budgets::allowed(pool, REASON, counted.len(), context.now())
        .map_err(|error| Error::Object(format!("NodePool {name}: {error}")))?;
    context.metrics.disruption_allowed(&name, REASON, allowed);
    let now = allowed.saturating_sub(leaving);
    for candidate in candidates.into_iter().take(now) {
        end(&candidate, context).await?;
    }
    Ok(())
}

/// Whether a claim's node counts as one that is being disrupted: it goes, or is not ready.
fn is_leaving(claim: &NodeClaim, context: &Context) -> bool {
    claim.metadata.deletion_timestamp.is_some()
        || context.stores.node_of(claim).is_none_or(|node| !is_node_ready(&node))
}

fn is_node_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Claims that have rested, of nodes that hold nothing and may be disrupted; the oldest first.
fn candidates(claims: &[Arc<NodeClaim>], context: &Context, now: Timestamp) -> Vec<Candidate> {
    let mut rested: Vec<&Arc<NodeClaim>> = claims
        .iter()
        .filter(|claim| claim.metadata.deletion_timestamp.is_none() && context.carries(claim))
        .filter(|claim| conditions::is_true(claim, INITIALIZED) && conditions::is_true(claim, CONSOLIDATABLE))
        .collect();
    if rested.is_empty() {
        return Vec::new();
    }
    let mut held: BTreeMap<String, usize> = BTreeMap::new();
    for pod in context.stores.pods.state() {
        if let Some(node) = pods::node_of(&pod).filter(|_| pods::holds_its_node(&pod)) {
            *held.entry(node.to_owned()).or_default() += 1;
        }
    }
    rested.sort_by_key(|claim| (claim.metadata.creation_timestamp.clone().map(|time| time.0), claim.name_any()));
    rested
        .into_iter()
        .filter_map(|claim| Some(Candidate { claim: Arc::clone(claim), node: context.stores.node_of(claim)? }))
        .filter(|one| {
            !held.contains_key(&one.node.name_any())
                && one.node.metadata.deletion_timestamp.is_none()
                && !pods::node_forbids_disruption(&one.node, now)
                && !lock(&context.pins).is_taken(&Place::Claim(one.claim.name_any()))
        })
        .collect()
}

/// Closes the node, looks again, and takes it away; opens it again if a pod has come in the meantime.
async fn end(candidate: &Candidate, context: &Context) -> Result<(), Error> {
    let name = candidate.claim.name_any();
    lock(&context.disrupting).insert(name.clone());
    let outcome = close_and_end(candidate, context).await;
    if !matches!(outcome, Ok(true)) {
        lock(&context.disrupting).remove(&name);
        // Whoever looks after the node takes the taint away.
        let _ = context.bells.nodes.unbounded_send(kube::runtime::reflector::ObjectRef::from_obj(&*candidate.node));
    }
    outcome.map(drop)
}

async fn close_and_end(candidate: &Candidate, context: &Context) -> Result<bool, Error> {
    let Candidate { claim, node } = candidate;
    let there = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let disrupted = taints::disrupted();
    if !there.iter().any(|taint| taints::same(taint, &disrupted)) {
        context.patch_node(node, json!({"spec": {"taints": taints::with(there, [&disrupted])}})).await?;
    }
    // The watch may be late: from the API server itself.
    let bound = ListParams::default().fields(&format!("spec.nodeName={}", node.name_any()));
    let now = Api::<Pod>::all(context.client.clone()).list(&bound).await?;
    if now.items.iter().any(pods::holds_its_node) {
        return Ok(false);
    }
    info!(claim = claim.name_any(), node = node.name_any(), "empty: taken away");
    context.delete_claim(claim, "empty").await?;
    Ok(true)
}
