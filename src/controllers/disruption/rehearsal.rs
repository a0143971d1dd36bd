//! What a dry run would end, and what it would make whether pods need it or not: told, and not done.
//!
//! The decisions are those that the controllers act on. Nobody may be there who keeps the conditions `Consolidatable` and
//! `Drifted` up to date, so what they tell is found anew.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use serde::Serialize;
use serde_json::json;
use tracing::{debug, info, warn};

use super::super::conditions::{self, INITIALIZED};
use super::super::context::{Context, Error, lock};
use super::super::provisioning::rehearsal::{REASON as EVENT, write};
use super::super::static_capacity::{self, Decision};
use super::super::{lifecycle, provisioning};
use super::{PERIOD, drift, emptiness};
use crate::api::{NodeClaim, NodePool};
use crate::labels;

/// Who writes these keys of the ConfigMap, for server-side apply.
const MANAGER: &str = "supercargo-dry-run-changes";
/// Changes of the cluster that come so soon after each other are looked at together.
const PAUSE: Duration = Duration::from_secs(1);

/// How many changes the ConfigMap names, beside a plan: a few hundred bytes each.
const MOST: usize = 300;

/// Something that a dry run would do to a node, unasked for by pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// `end` or `make`.
    pub action: &'static str,
    /// `Empty`, `Drifted`, `Expired` or `Overprovisioned`; `Static` of what would be made.
    pub reason: &'static str,
    /// The node's pool; empty for a claim of none.
    pub node_pool: String,
    /// How many nodes.
    pub nodes: usize,
    /// The claim that would end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_claim: Option<String>,
    /// Its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Why, in words.
    pub message: String,
    /// What would be bought, before a node ends: `1x m5.xlarge on-demand us-east-1a`; empty where nothing would.
    pub bought: String,
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let Change { action, reason, bought, .. } = self;
        write!(formatter, "would {action} {}: {reason}", self.node_claim.as_ref().unwrap_or(bought))?;
        if !self.message.is_empty() {
            write!(formatter, ": {}", self.message)?;
        }
        match self.node_claim.is_some() && !bought.is_empty() {
            true => write!(formatter, "; {bought} would be bought first"),
            false => Ok(()),
        }
    }
}

/// Tells what would be changed for ever, each time that it is something else than before.
pub async fn run(context: Arc<Context>, namespace: &str) {
    let mut drift = drift::Drift::default();
    let mut published = false;
    loop {
        let _ = tokio::time::timeout(PERIOD, context.bells.disruption.notified()).await;
        tokio::time::sleep(PAUSE).await;
        // As those who act: a pod that is yet to be planned may need what is empty now.
        if !provisioning::is_settled(&context) {
            continue;
        }
        let changes = changes(&mut drift, &context).await;
        lock(&context.disrupting).clear();
        if published && lock(&context.rehearsed).changes == changes {
            continue;
        }
        match publish(&changes, namespace, &context).await {
            Ok(()) => published = true,
            Err(error) => {
                warn!("publishing what would be changed: {error}");
                continue;
            }
        }
        let before = std::mem::replace(&mut lock(&context.rehearsed).changes, changes.clone());
        for change in changes.iter().filter(|change| !before.contains(change)) {
            info!(nodepool = change.node_pool, "{change}");
            tell(change, &context).await;
        }
    }
}

/// All that would be changed now. What is chosen counts as disrupted in the budgets of what is looked at after it.
async fn changes(drift: &mut drift::Drift, context: &Arc<Context>) -> Vec<Change> {
    let mut changes = Changes { context, list: Vec::new() };
    lock(&context.disrupting).clear();
    let now = context.now();
    let mut claims = context.stores.claims.state();
    claims.retain(|claim| claim.metadata.deletion_timestamp.is_none() && context.carries(claim));
    claims.sort_by_key(|claim| claim.name_any());
    for claim in claims.iter().filter(|claim| lifecycle::is_expired(claim, now)) {
        let age = claim.spec.template.expire_after.as_deref().unwrap_or_default();
        changes.end(claim, "Expired", format!("it is older than {age}"), String::new());
    }
    let mut pools = context.stores.pools.state();
    pools.sort_by_key(|pool| pool.name_any());
    let stays = |pool: &&Arc<NodePool>| pool.spec.replicas.is_some() && pool.metadata.deletion_timestamp.is_none();
    for pool in pools.iter().filter(stays) {
        match static_capacity::decide(pool, context) {
            Ok(decision) => changes.of_static(pool, decision),
            Err(error) => warn!(nodepool = pool.name_any(), "static capacity: {error}"),
        }
    }
    for pool in &pools {
        let rested = |claim: &NodeClaim| lifecycle::is_rested(claim, context, now);
        match emptiness::decide(pool, rested, context).await {
            Ok((_, chosen)) => {
                for one in chosen {
                    changes.end(&one.claim, emptiness::REASON, String::new(), String::new());
                }
            }
            Err(error) => warn!(nodepool = pool.name_any(), "empty nodes: {error}"),
        }
    }
    let reasons = reasons(&claims, context).await;
    for one in drift.rehearse(|claim| reasons.contains_key(&claim.name_any()), context).await {
        let reason = reasons.get(&one.old.claim.name_any()).cloned().unwrap_or_default();
        changes.end(&one.old.claim, drift::REASON, reason, one.by);
    }
    changes.list
}

/// Why claims have drifted, by name.
async fn reasons(claims: &[Arc<NodeClaim>], context: &Context) -> BTreeMap<String, String> {
    let mut reasons = BTreeMap::new();
    for claim in claims.iter().filter(|claim| conditions::is_true(claim, INITIALIZED)) {
        let Some(pool) = context.stores.pool_of(claim) else { continue };
        match lifecycle::drifted(claim, &pool, context).await {
            Ok(Some((reason, message))) if reason == message => drop(reasons.insert(claim.name_any(), reason)),
            Ok(Some((reason, message))) => drop(reasons.insert(claim.name_any(), format!("{reason}: {message}"))),
            Ok(None) => {}
            Err(error) => debug!(claim = claim.name_any(), "whether its machine has drifted: {error}"),
        }
    }
    reasons
}

/// What was found so far.
struct Changes<'c> {
    context: &'c Context,
    list: Vec<Change>,
}

impl Changes<'_> {
    /// A claim would end.
    fn end(&mut self, claim: &NodeClaim, reason: &'static str, message: String, bought: String) {
        // Once is enough.
        if !lock(&self.context.disrupting).insert(claim.name_any()) {
            return;
        }
        self.list.push(Change {
            action: "end",
            reason,
            node_pool: claim.labels().get(labels::NODE_POOL).cloned().unwrap_or_default(),
            nodes: 1,
            node_claim: Some(claim.name_any()),
            node: self.context.stores.node_of(claim).map(|node| node.name_any()),
            message,
            bought,
        });
    }

    fn of_static(&mut self, pool: &NodePool, decision: Decision) {
        let replicas = pool.spec.replicas.unwrap_or_default();
        match decision {
            Decision::Stay => {}
            Decision::Make(nodes, _, offer) => self.list.push(Change {
                action: "make",
                reason: "Static",
                node_pool: pool.name_any(),
                nodes,
                node_claim: None,
                node: None,
                message: format!("spec.replicas of NodePool {} is {replicas}", pool.name_any()),
                bought: format!("{nodes}x {offer}"),
            }),
            Decision::End { ends, .. } => {
                for one in ends {
                    let message = format!("spec.replicas of NodePool {} is {replicas}", pool.name_any());
                    self.end(&one.claim, "Overprovisioned", message, String::new());
                }
            }
        }
    }
}

async fn publish(changes: &[Change], namespace: &str, context: &Context) -> Result<(), Error> {
    let (changes, others) = changes.split_at(changes.len().min(MOST));
    let mut words = match changes {
        [] => "no node would end, and none would be made that no pod waits for".to_owned(),
        changes => changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    };
    if !others.is_empty() {
        words += &format!("\nand {} others", others.len());
    }
    let text = serde_json::to_string_pretty(changes).map_err(|error| Error::Object(error.to_string()))?;
    write(context, namespace, MANAGER, json!({"changes": words, "changes.json": text})).await
}

/// Tells of a change by events, about what it would be made to.
async fn tell(change: &Change, context: &Context) {
    let note = change.to_string();
    match &change.node_claim {
        Some(name) => {
            if let Some(claim) = context.stores.claims.get(&ObjectRef::new(name)) {
                context.tell(&*claim, EventType::Normal, EVENT, note.clone()).await;
            }
            if let Some(node) = change.node.as_ref().and_then(|name| context.stores.node(name)) {
                context.tell(&*node, EventType::Normal, EVENT, note).await;
            }
        }
        None => {
            if let Some(pool) = context.stores.pools.get(&ObjectRef::new(&change.node_pool)) {
                context.tell(&*pool, EventType::Normal, EVENT, note).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_in_one_line() {
        let change = Change {
            action: "end",
            reason: "Drifted",
            node_pool: "default".into(),
            nodes: 1,
            node_claim: Some("default-1".into()),
            node: None,
            message: "NodePoolDrifted".into(),
            bought: "1x m5.xlarge on-demand us-east-1a".into(),
        };
        let words =
            "would end default-1: Drifted: NodePoolDrifted; 1x m5.xlarge on-demand us-east-1a would be bought first";
        assert_eq!(change.to_string(), words);
        let empty = Change { reason: "Empty", message: String::new(), bought: String::new(), ..change.clone() };
        assert_eq!(empty.to_string(), "would end default-1: Empty");
        let made = Change { action: "make", reason: "Static", node_claim: None, message: "2 of 3".into(), ..change };
        assert_eq!(made.to_string(), "would make 1x m5.xlarge on-demand us-east-1a: Static: 2 of 3");
    }
}
