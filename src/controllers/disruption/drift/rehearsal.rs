//! What a dry run would do about nodes that have drifted: the same choice, with one plan for all of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use supercargo_models::plan::Plan;
use tracing::warn;

use super::super::super::context::{Context, Error, lock};
use super::super::super::provisioning::moving::{Fate, Without, fate, plan_without};
use super::super::candidates::{Candidate, room};
use super::{Drift, REASON, another, drifted_of, ending, offers, pools};
use crate::api::{NodeClaim, NodePool};

/// How soon the same nodes are planned for again: what is free on others changes all the time.
const PLANS_ANEW: Duration = Duration::from_secs(60);

/// A plan, with the nodes that are thought away in it.
#[derive(Debug)]
pub(super) struct Planned {
    leaving: BTreeSet<String>,
    at: Instant,
    plan: Option<Plan>,
}

/// A node that would be replaced.
#[derive(Debug)]
pub(in super::super) struct Replaced {
    /// The node.
    pub old: Candidate,
    /// What would be bought before it ends: `1x m5.xlarge on-demand us-east-1a`; empty where nothing would.
    pub by: String,
}

impl Drift {
    /// The nodes that would be replaced now, as far as budgets allow, of those that have `drifted`. All of them are planned
    /// for together, whereas one after the other is when they are replaced.
    pub(in super::super) async fn rehearse(
        &mut self,
        drifted: impl Fn(&NodeClaim) -> bool,
        context: &Arc<Context>,
    ) -> Vec<Replaced> {
        let mut chosen = Vec::new();
        for pool in pools(context) {
            match self.choose(&pool, &drifted, context).await {
                Ok(some) => chosen.extend(some),
                Err(error) => warn!(nodepool = pool.name_any(), "nodes that have drifted: {error}"),
            }
        }
        let moves = |one: &Replaced| one.by.is_empty() && !one.old.is_empty();
        let (moving, mut replaced): (Vec<Replaced>, Vec<Replaced>) = chosen.into_iter().partition(moves);
        if moving.is_empty() {
            return replaced;
        }
        let mut leaving = ending(context);
        let gone = lock(&context.disrupting).clone();
        let others = context.stores.claims.state_filter(|claim| gone.contains(&claim.name_any()));
        leaving.extend(others.iter().filter_map(|claim| context.stores.node_of(claim)).map(|node| node.name_any()));
        leaving.extend(moving.iter().chain(&replaced).map(|one| one.old.node.name_any()));
        let is_fresh = |one: &Planned| one.leaving == leaving && one.at.elapsed() < PLANS_ANEW;
        if !self.rehearsed.as_ref().is_some_and(is_fresh) {
            match plan_without(context, &Without { leaving: leaving.clone(), ..Without::default() }).await {
                Ok(plan) => self.rehearsed = Some(Planned { leaving, at: Instant::now(), plan }),
                Err(error) => {
                    warn!("where the pods of nodes that have drifted could run: {error}");
                    return replaced;
                }
            }
        }
        let plan = self.rehearsed.as_ref().and_then(|planned| planned.plan.as_ref());
        let mut bought = BTreeSet::new();
        let mut stuck = Vec::new();
        for one in moving {
            match fate(context, plan, &one.old.held()) {
                Fate::Fits | Fate::Waits => replaced.push(one),
                Fate::Needs(mut nodes) => {
                    // What pods of several nodes would share is told once.
                    nodes.retain(|node| bought.insert(node.name.clone()));
                    replaced.push(Replaced { by: offers(&nodes), ..one });
                }
                Fate::Stuck(reason) => stuck.push((one.old, reason)),
            }
        }
        for (old, reason) in stuck {
            self.tries.blocked(&old, &reason, context).await;
        }
        replaced
    }

    /// The nodes of a pool that its budgets, they themselves and their pods allow to be replaced.
    async fn choose(
        &mut self,
        pool: &NodePool,
        drifted: impl Fn(&NodeClaim) -> bool,
        context: &Context,
    ) -> Result<Vec<Replaced>, Error> {
        let (claims, found) = drifted_of(pool, drifted, context);
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let budgets = context.stores.disruption_budgets.state();
        let room = room(pool, &claims, REASON, context).await?;
        let mut chosen: Vec<Replaced> = Vec::new();
        for old in found {
            if chosen.len() == room {
                break;
            }
            if self.is_kept(&old, &budgets, context).await {
                continue;
            }
            if pool.spec.replicas.is_none() {
                chosen.push(Replaced { old, by: String::new() });
                continue;
            }
            match another(pool, chosen.len(), context)? {
                Ok((_, offer)) => chosen.push(Replaced { old, by: format!("1x {offer}") }),
                Err(reason) => self.tries.blocked(&old, reason, context).await,
            }
        }
        Ok(chosen)
    }
}
