//! Nodes that hold nothing are taken away once they have rested long enough.

use kube::ResourceExt;
use tracing::warn;

use super::super::conditions::{self, CONSOLIDATABLE};
use super::super::context::{Context, Error};
use super::super::pods;
use super::candidates::{Candidate, candidates, end, room};
use super::obstacles::{obstacle, of_node};
use crate::api::{NodeClaim, NodePool};
use crate::labels;

/// The API's word for it, in budgets, metrics and conditions.
pub(super) const REASON: &str = "Empty";

/// Takes away the empty nodes of all pools.
pub(super) async fn pass(context: &Context) {
    let mut eligible = 0;
    for pool in context.stores.pools.state() {
        match take_away(&pool, context).await {
            Ok(empty) => eligible += empty,
            Err(error) => warn!(nodepool = pool.name_any(), "taking empty nodes away: {error}"),
        }
    }
    context.metrics.disruption_eligible(REASON, eligible);
}

/// As far as the pool's budgets allow; how many of its nodes are empty.
async fn take_away(pool: &NodePool, context: &Context) -> Result<usize, Error> {
    let rested = |claim: &NodeClaim| conditions::is_true(claim, CONSOLIDATABLE);
    let (eligible, chosen) = decide(pool, rested, context).await?;
    for candidate in chosen {
        if end(&candidate, REASON, |pods| !pods.iter().any(pods::holds_its_node), context).await? {
            context.metrics.disruption_decided("delete", REASON);
        }
    }
    Ok(eligible)
}

/// How many of a pool's nodes that have rested are empty, and those of them that its budgets allow to be taken away now.
pub(super) async fn decide(
    pool: &NodePool,
    rested: impl Fn(&NodeClaim) -> bool,
    context: &Context,
) -> Result<(usize, Vec<Candidate>), Error> {
    let name = pool.name_any();
    if pool.spec.replicas.is_some() {
        return Ok((0, Vec::new()));
    }
    let claims = context.stores.claims.state_filter(|claim| claim.labels().get(labels::NODE_POOL) == Some(&name));
    let mut empty = Vec::new();
    let budgets = context.stores.disruption_budgets.state();
    for candidate in candidates(&claims, rested, context).into_iter().filter(Candidate::is_empty) {
        candidate.tell_of_annotations(context).await;
        let now = context.now();
        // Daemons have a say as well.
        let of_pods = || obstacle(&candidate.claim, &candidate.pods, &budgets, now);
        match of_node(&candidate.node, now).or_else(of_pods) {
            Some(obstacle) => candidate.tell_blocked(&obstacle, context).await,
            None => empty.push(candidate),
        }
    }
    let eligible = empty.len();
    if eligible > 0 {
        empty.truncate(room(pool, &claims, REASON, context).await?);
    }
    Ok((eligible, empty))
}
