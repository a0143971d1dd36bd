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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use serde_json::json;
use supercargo_models::plan::PlannedNode;
use tracing::{info, warn};

use super::super::conditions::{self, DRIFTED, INITIALIZED};
use super::super::context::{Context, Error};
use super::super::provisioning;
use super::super::provisioning::moving::{Fate, Without, claim_in_place_of, fate, plan_without};
use super::candidates::{Candidate, Replacing, candidates, close, end, replacing, room};
use super::obstacles::obstacle;
use crate::api::{NodeClaim, NodePool};
use crate::labels;

/// The API's word for it, in budgets, metrics and conditions.
const REASON: &str = "Drifted";
/// How long a replacement is waited for, as Karpenter has it.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// How often more may be bought for one node because others took what was meant for its pods.
const MOST_EXTRA: u32 = 3;
/// How long a node is left alone after its replacement failed for the first time; twice as long after each further time.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// But not longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);
/// How soon a node whose pods found no other place is planned for again.
const STUCK_PAUSE: Duration = Duration::from_secs(30);
/// How soon the same is told again of the same node.
const TELL_AGAIN: Duration = Duration::from_secs(15 * 60);

/// What is remembered from one pass to the next; all of it may be forgotten.
#[derive(Debug, Default)]
pub(super) struct Drift {
    /// By claim.
    tries: BTreeMap<String, Try>,
}

/// How it went with one claim so far.
#[derive(Clone, Debug, Default)]
struct Try {
    /// Replacements are on their way, or were the last time.
    begun: bool,
    failures: u32,
    extra: u32,
    rests_until: Option<Instant>,
    told: Option<(String, Instant)>,
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

impl Try {
    fn failed(&mut self, now: Instant) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        let told = self.told.take();
        *self = Try { failures: self.failures + 1, rests_until: Some(now + pause), told, ..Try::default() };
        pause
    }
}

impl Drift {
    /// Goes on with what is under way and begins what budgets allow; whether there may be more to begin.
    pub(super) async fn pass(&mut self, context: &Arc<Context>) -> Result<bool, Error> {
        let claims = context.stores.claims.state();
        let under_way = replacing(&claims);
        self.tidy(&claims, &under_way, context);
        let mut ready = Vec::new();
        for one in &under_way {
            ready.extend(self.go_on(one, context).await?);
        }
        if !ready.is_empty() {
            self.finish(ready, &under_way, context).await?;
        }
        self.begin(context).await
    }

    fn of(&mut self, claim: &NodeClaim) -> &mut Try {
        self.tries.entry(claim.name_any()).or_default()
    }

    /// Forgets claims that are gone, and takes note of replacements that are gone while the claim is still there.
    fn tidy(&mut self, claims: &[Arc<NodeClaim>], under_way: &[Replacing], context: &Context) {
        let there: BTreeSet<String> = claims
            .iter()
            .filter(|claim| claim.metadata.deletion_timestamp.is_none())
            .map(|claim| claim.name_any())
            .collect();
        self.tries.retain(|name, _| there.contains(name));
        let under_way: BTreeSet<String> = under_way.iter().map(|one| one.old.name_any()).collect();
        for name in &under_way {
            self.tries.entry(name.clone()).or_default().begun = true;
        }
        for (name, one) in self.tries.iter_mut().filter(|(name, one)| one.begun && !under_way.contains(*name)) {
            let pause = one.failed(Instant::now());
            info!(claim = name, "its replacement failed: it stays, and is tried again after {} s", pause.as_secs());
            context.metrics.replacement_failed(REASON);
        }
    }

    /// Looks after one that is being replaced; gives it where its replacements are ready.
    async fn go_on(&mut self, one: &Replacing, context: &Context) -> Result<Option<Candidate>, Error> {
        let Replacing { old, new } = one;
        let Some(node) = context.stores.node_of(old).filter(|_| context.carries(old)) else { return Ok(None) };
        let candidate = Candidate { claim: Arc::clone(old), pods: context.stores.pods_on(&node.name_any()), node };
        if is_ending(old, context) {
            return Ok(None);
        }
        if let Some(why) = no_longer(&candidate, context) {
            self.of(old).begun = false;
            give_back(one, &why, context).await?;
            return Ok(None);
        }
        for late in new.iter().filter(|claim| is_late(claim, context)) {
            info!(claim = late.name_any(), "given up: not initialized within {} s", PATIENCE.as_secs());
            context.delete_claim(late, "replacement_timeout").await?;
        }
        close(&candidate.node, context).await?;
        Ok(new.iter().all(|claim| conditions::is_true(claim, INITIALIZED)).then_some(candidate))
    }

    /// Ends those whose replacements are ready, if their pods still fit.
    async fn finish(
        &mut self,
        ready: Vec<Candidate>,
        under_way: &[Replacing],
        context: &Arc<Context>,
    ) -> Result<(), Error> {
        let mut without = Without { leaving: ending(context), ..Without::default() };
        without.leaving.extend(ready.iter().map(|one| one.node.name_any()));
        // What comes for the others is theirs.
        let is_ready = |old: &NodeClaim| ready.iter().any(|one| one.claim.metadata.name == old.metadata.name);
        for claim in under_way.iter().filter(|one| !is_ready(&one.old)).flat_map(|one| &one.new) {
            let node = context.stores.node_of(claim);
            without.closed.insert(node.map_or_else(|| claim.name_any(), |node| node.name_any()));
        }
        let plan = plan_without(context, &without).await?;
        if !provisioning::is_settled(context) {
            return Ok(());
        }
        let mut made = BTreeSet::new();
        for candidate in ready {
            match fate(context, plan.as_ref(), &candidate.held()) {
                Fate::Fits => {
                    end_drifted(&candidate, context).await?;
                }
                Fate::Waits => {}
                Fate::Needs(mut nodes) => {
                    nodes.retain(|node| made.insert(node.name.clone()));
                    self.need_more(&candidate, &nodes, under_way, context).await?;
                }
                Fate::Stuck(reason) => self.give_up(&candidate, &reason, under_way, context).await?,
            }
        }
        Ok(())
    }

    /// Others took what was meant for the pods of a node.
    async fn need_more(
        &mut self,
        candidate: &Candidate,
        nodes: &[PlannedNode],
        under_way: &[Replacing],
        context: &Context,
    ) -> Result<(), Error> {
        if nodes.is_empty() {
            return Ok(());
        }
        let tries = self.of(&candidate.claim);
        tries.extra += 1;
        if tries.extra > MOST_EXTRA {
            return self.give_up(candidate, "what came for its pods is never enough", under_way, context).await;
        }
        info!(claim = candidate.claim.name_any(), "drifted: what came for its pods is taken; {} more", offers(nodes));
        claim_in_place_of(context, &candidate.claim, nodes).await?;
        Ok(())
    }

    async fn give_up(
        &mut self,
        candidate: &Candidate,
        reason: &str,
        under_way: &[Replacing],
        context: &Context,
    ) -> Result<(), Error> {
        self.blocked(candidate, reason, context).await;
        self.of(&candidate.claim).failed(Instant::now());
        context.metrics.replacement_failed(REASON);
        match under_way.iter().find(|one| one.old.metadata.name == candidate.claim.metadata.name) {
            Some(one) => give_back(one, reason, context).await,
            None => Ok(()),
        }
    }

    /// Begins with the next nodes that budgets allow; whether there may be more.
    async fn begin(&mut self, context: &Arc<Context>) -> Result<bool, Error> {
        let mut pools = context.stores.pools.state_filter(|pool| pool.metadata.deletion_timestamp.is_none());
        pools.sort_by_key(|pool| pool.name_any());
        let mut eligible = 0;
        let mut more = false;
        for pool in pools {
            let name = pool.name_any();
            let claims =
                context.stores.claims.state_filter(|claim| claim.labels().get(labels::NODE_POOL) == Some(&name));
            let drifted = |claim: &NodeClaim| conditions::is_true(claim, DRIFTED);
            let mut found = candidates(&claims, drifted, context, context.now());
            eligible += found.len();
            // One plan a pass: what came meanwhile is looked at before the next.
            if found.is_empty() || more {
                continue;
            }
            found.retain(|one| context.stores.replacements_of(&one.claim).is_empty());
            // Empty ones first: no pod is to move onto a node that has to go as well.
            found.sort_by_key(|one| (!one.is_empty(), conditions::true_since(&one.claim, DRIFTED)));
            match self.begin_some(&pool, &claims, found, context).await {
                Ok(again) => more = again,
                // Someone else changed an object meanwhile.
                Err(error) if error.code() == Some(409) => more = true,
                Err(error) => warn!(nodepool = name, "replacing drifted nodes: {error}"),
            }
        }
        context.metrics.disruption_eligible(REASON, eligible);
        Ok(more)
    }

    /// Begins with the first of a pool's candidates that can be replaced, after all empty ones; whether there may be more.
    async fn begin_some(
        &mut self,
        pool: &NodePool,
        claims: &[Arc<NodeClaim>],
        found: Vec<Candidate>,
        context: &Arc<Context>,
    ) -> Result<bool, Error> {
        if pool.spec.replicas.is_some() {
            return Ok(false);
        }
        let budgets = context.stores.disruption_budgets.state();
        let mut room = room(pool, claims, REASON, context)?;
        for candidate in found {
            if room == 0 {
                break;
            }
            if self.of(&candidate.claim).rests_until.is_some_and(|until| until > Instant::now()) {
                continue;
            }
            if let Some(reason) = obstacle(&candidate.claim, &candidate.pods, &budgets, context.now()) {
                self.blocked(&candidate, &reason, context).await;
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

    /// Makes what the pods of a node need, or ends it where they need nothing.
    async fn replace(&mut self, candidate: &Candidate, context: &Arc<Context>) -> Result<Next, Error> {
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
                self.launch(candidate, &nodes, held.len(), context).await?;
                Ok(Next::Pass)
            }
            Fate::Stuck(reason) => {
                self.blocked(candidate, &reason, context).await;
                self.of(&candidate.claim).rests_until = Some(Instant::now() + STUCK_PAUSE);
                Ok(Next::Candidate)
            }
        }
    }

    async fn launch(
        &mut self,
        candidate: &Candidate,
        nodes: &[PlannedNode],
        pods: usize,
        context: &Context,
    ) -> Result<(), Error> {
        let price: f64 = nodes.iter().map(|node| node.hourly_price).sum();
        let name = candidate.claim.name_any();
        info!(claim = name, "drifted: {} for its {pods} pods: ${price:.4}/h", offers(nodes));
        self.of(&candidate.claim).begun = true;
        let made = claim_in_place_of(context, &candidate.claim, nodes).await?;
        close(&candidate.node, context).await?;
        context.metrics.disruption_decided("replace", REASON);
        for claim in &made {
            let note = format!("Launching NodeClaim: {REASON}: it takes the place of {name}");
            context.tell(claim, EventType::Normal, "DisruptionLaunching", note).await;
        }
        Ok(())
    }

    /// Says why a node that has drifted stays.
    async fn blocked(&mut self, candidate: &Candidate, reason: &str, context: &Context) {
        let told = &mut self.of(&candidate.claim).told;
        if told.as_ref().is_some_and(|(last, at)| last == reason && at.elapsed() < TELL_AGAIN) {
            return;
        }
        *told = Some((reason.to_owned(), Instant::now()));
        info!(claim = candidate.claim.name_any(), "drifted, and stays: {reason}");
        context.tell(&*candidate.node, EventType::Normal, "DisruptionBlocked", reason.to_owned()).await;
        context.tell(&*candidate.claim, EventType::Normal, "DisruptionBlocked", reason.to_owned()).await;
    }
}

/// Why a node is not to be replaced after all.
fn no_longer(candidate: &Candidate, context: &Context) -> Option<String> {
    let claim = context.stores.claims.get(&ObjectRef::from_obj(&*candidate.claim))?;
    if !conditions::is_true(&claim, DRIFTED) {
        return Some("it is no longer drifted".into());
    }
    if super::super::pods::node_forbids_disruption(&candidate.node, context.now()) {
        return Some("the node has the annotation karpenter.sh/do-not-disrupt".into());
    }
    // A disruption budget that is exhausted now only holds up the drain.
    obstacle(&claim, &context.stores.pods_on(&candidate.node.name_any()), &[], context.now())
}

/// Whether a claim ends, or is gone.
fn is_ending(claim: &NodeClaim, context: &Context) -> bool {
    let now = context.stores.claims.get(&ObjectRef::from_obj(claim));
    now.is_none_or(|now| now.metadata.deletion_timestamp.is_some())
}

/// Whether a replacement has taken too long.
fn is_late(claim: &NodeClaim, context: &Context) -> bool {
    let made = claim.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let taken = made.and_then(|made| Duration::try_from(context.now().duration_since(made)).ok());
    !conditions::is_true(claim, INITIALIZED) && taken.is_some_and(|taken| taken > PATIENCE)
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
    let ends = end(candidate, REASON, |pods| !pods.iter().any(super::super::pods::holds_its_node), context).await?;
    if ends {
        context.metrics.disruption_decided("delete", REASON);
    }
    Ok(ends)
}

/// Leaves a node where it is: its replacements become nodes like any other, and it is opened again.
async fn give_back(one: &Replacing, why: &str, context: &Context) -> Result<(), Error> {
    info!(claim = one.old.name_any(), "stays after all: {why}");
    for new in &one.new {
        let unmarked = context.patch_claim(new, json!({"metadata": {"annotations": {labels::REPLACES: null}}})).await;
        match unmarked {
            Err(error) if error.code() == Some(404) => {}
            other => drop(other?),
        }
    }
    context.stores.brought(|stores| stores.replacements_of(&one.old).is_empty()).await;
    if let Some(node) = context.stores.node_of(&one.old) {
        let _ = context.bells.nodes.unbounded_send(ObjectRef::from_obj(&*node));
    }
    Ok(())
}

/// `2x m5.xlarge on-demand us-east-1a, 1x ...`.
fn offers(nodes: &[PlannedNode]) -> String {
    let mut alike: BTreeMap<String, usize> = BTreeMap::new();
    for node in nodes {
        *alike.entry(provisioning::offer_of(node).to_string()).or_default() += 1;
    }
    alike.iter().map(|(offer, count)| format!("{count}x {offer}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_whose_replacement_failed_is_left_alone_for_longer_each_time() {
        let now = Instant::now();
        let mut one = Try { begun: true, ..Try::default() };
        assert_eq!(one.failed(now), FIRST_PAUSE);
        assert!(!one.begun);
        assert_eq!(one.failed(now), 2 * FIRST_PAUSE);
        assert_eq!(one.rests_until, Some(now + 2 * FIRST_PAUSE));
        for _ in 0..40 {
            one.failed(now);
        }
        assert_eq!(one.failed(now), LONGEST_PAUSE);
    }
}
