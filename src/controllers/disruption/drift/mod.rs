//! Nodes that have drifted are replaced: what their pods need is made first, and once it is ready the old node ends.
//!
//! ```text
//!   Drifted ──> planned ──> replacements made, node closed ──> all initialized ──> planned again ──> claim deleted
//!                  │        (each names the claim that          │                     │             (its pods leave,
//!                  └─────    it replaces)                       └── one failed:       └── no longer  and kube-scheduler
//!               pods fit on what is there                           open again,           enough:    has room for them)
//!               or there are none: deleted at once                  tried later           one more
//! ```
//!
//! What is under way is read off the claims that come, so a controller that was started again goes on with it.

#[cfg(test)]
mod one_turn;
mod rehearsal;
mod tries;
mod under_way;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use supercargo_models::plan::PlannedNode;
use tracing::{info, warn};
use tries::Tries;

use super::super::conditions::{self, DRIFTED};
use super::super::context::{Context, Error};
use super::super::provisioning::Cost;
use super::super::provisioning::moving::{Fate, Without, claim_in_place_of, fate, make, plan_without};
use super::super::{pods, provisioning, static_capacity};
use super::candidates::{Candidate, candidates, close, end, replacing, room};
use super::obstacles::{obstacle, of_node};
use crate::api::{NodeClaim, NodePool};
use crate::cloud::Offer;
use crate::labels;

/// The API's word for it, in budgets, metrics and conditions.
pub(super) const REASON: &str = "Drifted";
/// How soon a node whose pods found no other place is planned for again.
const STUCK_PAUSE: Duration = Duration::from_secs(30);

/// What is remembered from one pass to the next; all of it may be forgotten.
#[derive(Debug, Default)]
pub(super) struct Drift {
    tries: Tries,
    /// What a dry run has planned last.
    rehearsed: Option<rehearsal::Planned>,
}

/// What to do after a candidate was looked at.
enum Next {
    /// Another pass: much may be different now.
    Pass,
    /// Nothing until something changes.
    Bell,
    /// Look at the next candidate.
    Candidate,
}

impl Drift {
    /// Goes on with what is under way and begins what budgets allow; whether there may be more to begin.
    pub(super) async fn pass(&mut self, context: &Arc<Context>) -> bool {
        let began = self.go_on(context).await;
        self.begin(context).await | began
    }

    /// Begins with the next nodes that budgets allow; whether there may be more.
    async fn begin(&mut self, context: &Arc<Context>) -> bool {
        let mut eligible = 0;
        let mut more = false;
        for pool in pools(context) {
            let drifted = |claim: &NodeClaim| conditions::is_true(claim, DRIFTED);
            let (claims, mut found) = drifted_of(&pool, drifted, context);
            eligible += found.iter().filter(|one| of_node(&one.node, context.now()).is_none()).count();
            // One plan a pass: what came meanwhile is looked at before the next.
            if found.is_empty() || more {
                continue;
            }
            found.retain(|one| context.stores.replacements_of(&one.claim).is_empty());
            match self.begin_some(&pool, &claims, found, context).await {
                Ok(again) => more = again,
                Err(error) => more = failed(&pool.name_any(), &error),
            }
        }
        context.metrics.disruption_eligible(REASON, eligible);
        more
    }

    /// Begins with the first of a pool's candidates that can be replaced, after all empty ones; whether there may be more.
    async fn begin_some(
        &mut self,
        pool: &NodePool,
        claims: &[Arc<NodeClaim>],
        found: Vec<Candidate>,
        context: &Arc<Context>,
    ) -> Result<bool, Error> {
        let budgets = context.stores.disruption_budgets.state();
        let mut room = room(pool, claims, REASON, context).await?;
        for candidate in found {
            if room == 0 {
                break;
            }
            if self.tries.of(&candidate.claim).rests_until.is_some_and(|until| until > Instant::now()) {
                continue;
            }
            if self.is_kept(&candidate, &budgets, context).await {
                continue;
            }
            if pool.spec.replicas.is_some() {
                room -= usize::from(self.replace_static(&candidate, pool, context).await?);
                continue;
            }
            if candidate.is_empty() {
                room -= usize::from(end_empty(&candidate, context).await?);
                continue;
            }
            match self.replace(&candidate, context).await? {
                Next::Pass => return Ok(true),
                Next::Bell => return Ok(false),
                Next::Candidate => {}
            }
        }
        Ok(false)
    }

    /// Whether what a node and its pods say keeps it from being replaced now; people are told of it.
    async fn is_kept(
        &mut self,
        candidate: &Candidate,
        budgets: &[Arc<PodDisruptionBudget>],
        context: &Context,
    ) -> bool {
        candidate.tell_of_annotations(context).await;
        let now = context.now();
        let of_pods = || obstacle(&candidate.claim, &candidate.pods, budgets, now);
        let Some(reason) = of_node(&candidate.node, now).or_else(of_pods) else { return false };
        self.tries.blocked(candidate, &reason, context).await;
        true
    }

    /// Makes what the pods of a node need, or ends it where they need nothing.
    async fn replace(&mut self, candidate: &Candidate, context: &Arc<Context>) -> Result<Next, Error> {
        let _turn = context.buying.lock().await;
        let mut leaving = ending(context);
        leaving.insert(candidate.node.name_any());
        for one in replacing(&context.stores.claims.state()) {
            leaving.extend(context.stores.node_of(&one.old).map(|node| node.name_any()));
        }
        let plan = plan_without(context, &Without { leaving, ..Without::default() }).await?;
        // It took its time: what the plan knew may be no longer so.
        let settled = provisioning::is_settled(context);
        if !settled || is_ending(&candidate.claim, context) || no_longer(candidate, context).is_some() {
            return Ok(Next::Bell);
        }
        let held = candidate.held();
        match fate(context, plan.as_ref(), &held) {
            Fate::Fits => {
                info!(
                    claim = candidate.claim.name_any(),
                    "drifted: its {} pods fit on nodes that are there",
                    held.len()
                );
                if !end_drifted(candidate, context).await? {
                    return Ok(Next::Candidate);
                }
                context.metrics.disruption_decided("delete", REASON);
                Ok(Next::Pass)
            }
            // Whatever is on its way rings when it is there.
            Fate::Waits => Ok(Next::Bell),
            Fate::Needs(nodes) => {
                let cost = plan.as_ref().map(Cost::of);
                self.launch(candidate, &nodes, held.len(), cost, context).await?;
                Ok(Next::Pass)
            }
            Fate::Stuck(reason) => {
                self.tries.blocked(candidate, &reason, context).await;
                self.tries.of(&candidate.claim).rests_until = Some(Instant::now() + STUCK_PAUSE);
                Ok(Next::Candidate)
            }
        }
    }

    /// Makes another node of a pool of static capacity, whatever is on the old one; whether it could.
    async fn replace_static(
        &mut self,
        candidate: &Candidate,
        pool: &NodePool,
        context: &Context,
    ) -> Result<bool, Error> {
        let turn = context.static_turn.lock().await;
        let (claim, _) = match another(pool, 0, context)? {
            Ok(another) => another,
            Err(reason) => {
                drop(turn);
                self.tries.blocked(candidate, reason, context).await;
                return Ok(false);
            }
        };
        info!(claim = candidate.claim.name_any(), nodepool = pool.name_any(), "drifted: another one takes its place");
        self.tries.of(&candidate.claim).begun = true;
        let made = make(context, claim, Some(&candidate.claim)).await?;
        drop(turn);
        launching(&[made], candidate, context).await?;
        Ok(true)
    }

    async fn launch(
        &mut self,
        candidate: &Candidate,
        nodes: &[PlannedNode],
        pods: usize,
        cost: Option<Cost>,
        context: &Context,
    ) -> Result<(), Error> {
        let price: f64 = nodes.iter().map(|node| node.hourly_price).sum();
        let name = candidate.claim.name_any();
        let words = cost.map_or_else(|| format!("${price:.4}/h"), |cost| cost.words(price));
        info!(claim = name, "drifted: {} for its {pods} pods: {words}", offers(nodes));
        self.tries.of(&candidate.claim).begun = true;
        let made = claim_in_place_of(context, &candidate.claim, nodes).await?;
        launching(&made, candidate, context).await
    }
}

/// The pools that stay, in the order in which they have their turn.
fn pools(context: &Context) -> Vec<Arc<NodePool>> {
    let mut pools = context.stores.pools.state_filter(|pool| pool.metadata.deletion_timestamp.is_none());
    pools.sort_by_key(|pool| pool.name_any());
    pools
}

/// All claims of a pool, and its nodes that have drifted and may be disrupted as far as claims and plans say. Empty ones come
/// first: no pod is to move onto a node that has to go as well.
fn drifted_of(
    pool: &NodePool,
    drifted: impl Fn(&NodeClaim) -> bool,
    context: &Context,
) -> (Vec<Arc<NodeClaim>>, Vec<Candidate>) {
    let name = pool.name_any();
    let claims = context.stores.claims.state_filter(|claim| claim.labels().get(labels::NODE_POOL) == Some(&name));
    let mut found = candidates(&claims, drifted, context);
    found.sort_by_key(|one| (!one.is_empty(), conditions::true_since(&one.claim, DRIFTED)));
    (claims, found)
}

/// The claim for another node of a pool of static capacity beside `besides` that are to be made already, and what it would be
/// bought as; or why there is none.
fn another(
    pool: &NodePool,
    besides: usize,
    context: &Context,
) -> Result<Result<(NodeClaim, Offer), &'static str>, Error> {
    if static_capacity::left(pool, context)? <= besides {
        return Ok(Err("limits.nodes of its pool leaves no room for another one"));
    }
    Ok(static_capacity::claim(pool, context)?.ok_or("none of the offerings that its pool allows can be had now"))
}

/// Logs why a pool's or claim's turn did not come to its end; whether it is to have another one at once.
fn failed(name: &str, error: &Error) -> bool {
    // Someone else changed an object meanwhile.
    let again = error.code() == Some(409);
    if !again {
        warn!("replacing drifted nodes: {name}: {error}");
    }
    again
}

/// Closes a node, and says what comes in its place.
async fn launching(made: &[NodeClaim], candidate: &Candidate, context: &Context) -> Result<(), Error> {
    close(&candidate.node, context).await?;
    context.metrics.disruption_decided("replace", REASON);
    for claim in made {
        let note = format!("Launching NodeClaim: {REASON}: it takes the place of {}", candidate.claim.name_any());
        context.tell(claim, EventType::Normal, "DisruptionLaunching", note).await;
    }
    Ok(())
}

/// Why a node is not to be replaced after all.
fn no_longer(candidate: &Candidate, context: &Context) -> Option<String> {
    let claim = context.stores.claims.get(&ObjectRef::from_obj(&*candidate.claim))?;
    if !conditions::is_true(&claim, DRIFTED) {
        return Some("it is no longer drifted".into());
    }
    // A disruption budget that is exhausted now only holds up the drain.
    let of_pods = || obstacle(&claim, &context.stores.pods_on(&candidate.node.name_any()), &[], context.now());
    of_node(&candidate.node, context.now()).or_else(of_pods)
}

/// Whether a claim ends, or is gone.
fn is_ending(claim: &NodeClaim, context: &Context) -> bool {
    let now = context.stores.claims.get(&ObjectRef::from_obj(claim));
    now.is_none_or(|now| now.metadata.deletion_timestamp.is_some())
}

/// Nodes that end: their pods need a place as well.
fn ending(context: &Context) -> BTreeSet<String> {
    let stores = &context.stores;
    let nodes = stores.nodes.state_filter(|node| node.metadata.deletion_timestamp.is_some());
    let claims = stores.claims.state_filter(|claim| claim.metadata.deletion_timestamp.is_some());
    let of_claims = claims.iter().filter_map(|claim| stores.node_of(claim));
    nodes.into_iter().chain(of_claims).map(|node| node.name_any()).collect()
}

/// Ends a node whose pods have a place elsewhere; whether it ends.
async fn end_drifted(candidate: &Candidate, context: &Context) -> Result<bool, Error> {
    let now = context.now();
    end(candidate, REASON, |pods: &[Pod]| obstacle(&candidate.claim, pods, &[], now).is_none(), context).await
}

/// Ends a node that holds nothing; whether it ends.
async fn end_empty(candidate: &Candidate, context: &Context) -> Result<bool, Error> {
    let ends = end(candidate, REASON, |pods| !pods.iter().any(pods::holds_its_node), context).await?;
    if ends {
        context.metrics.disruption_decided("delete", REASON);
    }
    Ok(ends)
}

/// `2x m5.xlarge on-demand us-east-1a, 1x ...`.
fn offers(nodes: &[PlannedNode]) -> String {
    let mut alike: BTreeMap<String, usize> = BTreeMap::new();
    for node in nodes {
        *alike.entry(provisioning::offer_of(node).to_string()).or_default() += 1;
    }
    alike.iter().map(|(offer, count)| format!("{count}x {offer}")).collect::<Vec<_>>().join(", ")
}
