//! Replacements that are under way: waited for, judged by one more plan, and given back where they fail.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use serde_json::json;
use supercargo_models::plan::PlannedNode;
use tracing::info;

use super::super::super::conditions::{self, INITIALIZED};
use super::super::super::context::{Context, Error};
use super::super::super::provisioning;
use super::super::super::provisioning::moving::{Fate, Without, claim_in_place_of, fate, plan_without};
use super::super::candidates::{Candidate, Replacing, close, replacing};
use super::{Drift, REASON, end_drifted, ending, failed, is_ending, no_longer, offers};
use crate::api::NodeClaim;
use crate::labels;

/// How often more may be bought for one node because others took what was meant for its pods.
const MOST_EXTRA: u32 = 3;

impl Drift {
    /// Looks after all that are being replaced, and ends those whose replacements are ready; whether to look again at once.
    pub(super) async fn go_on(&mut self, context: &Arc<Context>) -> bool {
        let claims = context.stores.claims.state();
        let under_way = replacing(&claims);
        self.tries.tidy(&claims, &under_way, context);
        let mut again = false;
        let mut ready = Vec::new();
        for one in &under_way {
            match self.look_after(one, context).await {
                Ok(candidate) => ready.extend(candidate),
                Err(error) => again |= failed(&one.old.name_any(), &error),
            }
        }
        if let Err(error) = self.finish(ready, &under_way, context).await {
            again |= failed("ending what is replaced", &error);
        }
        again
    }

    /// Looks after one that is being replaced; gives it where its replacements are ready.
    async fn look_after(&mut self, one: &Replacing, context: &Context) -> Result<Option<Candidate>, Error> {
        let Replacing { old, new } = one;
        let Some(node) = context.stores.node_of(old).filter(|_| context.carries(old)) else { return Ok(None) };
        let candidate = Candidate { claim: Arc::clone(old), pods: context.stores.pods_on(&node.name_any()), node };
        if is_ending(old, context) {
            return Ok(None);
        }
        if let Some(why) = no_longer(&candidate, context) {
            self.tries.of(old).begun = false;
            give_back(one, &why, context).await?;
            return Ok(None);
        }
        let patience = context.settings.replacement_timeout;
        if let Some(late) = new.iter().find(|claim| is_late(claim, patience, context.now())) {
            // Which may still become a node like any other; if not, it is given up like any other.
            let why = format!("{} is not initialized after {} s", late.name_any(), patience.as_secs());
            give_back(one, &why, context).await?;
            return Ok(None);
        }
        close(&candidate.node, context).await?;
        Ok(new.iter().all(|claim| conditions::is_true(claim, INITIALIZED)).then_some(candidate))
    }

    /// Ends those whose replacements are ready, if their pods still fit. A pool of static capacity has as many nodes as it
    /// is to have, whatever their pods need.
    async fn finish(
        &mut self,
        ready: Vec<Candidate>,
        under_way: &[Replacing],
        context: &Arc<Context>,
    ) -> Result<(), Error> {
        let is_static =
            |one: &Candidate| context.stores.pool_of(&one.claim).is_some_and(|pool| pool.spec.replicas.is_some());
        let (fixed, ready): (Vec<Candidate>, Vec<Candidate>) = ready.into_iter().partition(is_static);
        for candidate in &fixed {
            end_drifted(candidate, context).await?;
        }
        if ready.is_empty() {
            return Ok(());
        }
        let _turn = context.buying.lock().await;
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
        let tries = self.tries.of(&candidate.claim);
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
        self.tries.blocked(candidate, reason, context).await;
        self.tries.of(&candidate.claim).failed(Instant::now());
        context.metrics.replacement_failed(REASON);
        match under_way.iter().find(|one| one.old.metadata.name == candidate.claim.metadata.name) {
            Some(one) => give_back(one, reason, context).await,
            None => Ok(()),
        }
    }
}

/// Whether a replacement has taken longer than it may.
fn is_late(claim: &NodeClaim, patience: Duration, now: Timestamp) -> bool {
    let made = claim.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let taken = made.and_then(|made| Duration::try_from(now.duration_since(made)).ok());
    !conditions::is_true(claim, INITIALIZED) && taken.is_some_and(|taken| taken > patience)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_replacement_is_late_if_it_is_not_initialized_in_time() {
        let patience = Duration::from_secs(10 * 60);
        let at = |minute: i64| Timestamp::from_second(60 * minute).unwrap();
        let claim = |status: &str| -> NodeClaim {
            let initialized = json!({
                "type": INITIALIZED, "status": status, "reason": "x", "message": "", "lastTransitionTime": "1970-01-01T00:00:00Z",
            });
            serde_json::from_value(json!({
                "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
                "metadata": {"name": "c", "creationTimestamp": "1970-01-01T00:01:00Z"},
                "spec": {"nodeClassRef": {"group": "g", "kind": "k", "name": "n"}, "requirements": []},
                "status": {"conditions": [initialized]},
            }))
            .unwrap()
        };
        let is_late = |status: &str, minute| is_late(&claim(status), patience, at(minute));
        assert!(!is_late("Unknown", 11) && is_late("Unknown", 12));
        assert!(!is_late("True", 12));
    }
}
