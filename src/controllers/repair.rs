//! Node repair: a machine whose node has been sick for longer than its cloud hopes is ended without asking anybody, and what
//! ran there is planned elsewhere (<https://karpenter.sh/docs/concepts/disruption/#node-auto-repair>).
//!
//! Where many nodes are sick at once it is not the machines that are broken, and none is touched.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use kube::ResourceExt;
use kube::runtime::events::EventType;
use tracing::{debug, info, warn};

use super::context::{Context, Error};
use super::termination;
use crate::api::NodeClaim;
use crate::cloud::RepairPolicy;
use crate::labels;

/// How often nodes are looked at.
const PERIOD: Duration = Duration::from_secs(10);
/// The most nodes of a pool that may be sick while one of them is repaired, in percent, rounded up as Karpenter does
/// (`allowedUnhealthyPercent` in `pkg/controllers/node/health/controller.go`).
const MOST_SICK: usize = 20;

/// Repairs nodes for ever, if that was asked for.
pub async fn run(context: Arc<Context>) {
    if !context.settings.node_repair {
        return;
    }
    loop {
        let soonest = look(&context).await;
        tokio::time::sleep(soonest).await;
    }
}

/// What is wrong with a node.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sickness<'n> {
    condition: &'n str,
    /// When there is no more hope.
    until: Timestamp,
}

/// Looks at all nodes; when to look again.
async fn look(context: &Context) -> Duration {
    let policies = context.cloud.repair_policies();
    let nodes = context.stores.nodes.state();
    let mut soonest = PERIOD;
    for node in &nodes {
        let Some(sickness) = sickness(node, &policies) else { continue };
        let Some(claim) = context.stores.claim_of(node).filter(|claim| context.carries(claim)) else { continue };
        let left = Duration::try_from(sickness.until.duration_since(context.now())).unwrap_or_default();
        if !left.is_zero() {
            soonest = soonest.min(left);
            continue;
        }
        match repair(&claim, node, &nodes, &policies, sickness, context).await {
            Ok(()) => {}
            Err(error) if matches!(error.code(), Some(404 | 409)) => debug!("repairing {}: {error}", node.name_any()),
            Err(error) => warn!("repairing {}: {error}", node.name_any()),
        }
    }
    soonest
}

async fn repair(
    claim: &NodeClaim,
    node: &Node,
    nodes: &[Arc<Node>],
    policies: &[RepairPolicy],
    sickness: Sickness<'_>,
    context: &Context,
) -> Result<(), Error> {
    let ends = claim.metadata.deletion_timestamp.is_some();
    if ends && termination::is_overdue(claim, context.now()) {
        return Ok(());
    }
    let pool = claim.labels().get(labels::NODE_POOL);
    let beside = nodes.iter().filter(|other| pool.is_none() || other.labels().get(labels::NODE_POOL) == pool);
    if !may_repair(beside, policies) {
        let of = if pool.is_some() { "of its NodePool" } else { "of the cluster" };
        let note = format!("more than {MOST_SICK}% of the nodes {of} are unhealthy");
        context.tell(node, EventType::Warning, "NodeRepairBlocked", note).await;
        return Ok(());
    }
    info!(claim = claim.name_any(), node = node.name_any(), "unhealthy: {}: ended", sickness.condition);
    let claim = termination::set_overdue(claim, context).await?;
    if !ends {
        context.disrupt_claim(&claim, "Unhealthy").await?;
        context.metrics.claim_unhealthy(&claim, sickness.condition);
    }
    Ok(())
}

/// What a node suffers from; of several conditions the one for which hope ends first.
fn sickness<'n>(node: &'n Node, policies: &[RepairPolicy]) -> Option<Sickness<'n>> {
    let all = policies.iter().filter_map(|policy| {
        let found = of_policy(node, policy)?;
        let until = found.last_transition_time.as_ref()?.0.checked_add(policy.patience).ok()?;
        Some(Sickness { condition: &found.type_, until })
    });
    all.min_by_key(|sickness| sickness.until)
}

fn of_policy<'n>(node: &'n Node, policy: &RepairPolicy) -> Option<&'n NodeCondition> {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.find(|one| one.type_ == policy.condition && one.status == policy.status)
}

/// Whether few enough of these nodes are sick, for however long.
fn may_repair<'n>(nodes: impl Iterator<Item = &'n Arc<Node>>, policies: &[RepairPolicy]) -> bool {
    let (mut all, mut sick) = (0, 0);
    for node in nodes {
        all += 1;
        sick += usize::from(policies.iter().any(|policy| of_policy(node, policy).is_some()));
    }
    sick <= (all * MOST_SICK).div_ceil(100)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;
    use crate::cloud::repair_policies;

    fn node(conditions: Value) -> Arc<Node> {
        let node = json!({"metadata": {"name": "n"}, "status": {"conditions": conditions}});
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn condition(kind: &str, status: &str, since: &str) -> Value {
        json!({"type": kind, "status": status, "lastTransitionTime": since})
    }

    #[test]
    fn a_sick_node_is_given_the_time_of_its_condition() {
        let policies = repair_policies();
        let until = |conditions: Value| {
            let node = node(conditions);
            sickness(&node, &policies).map(|one| (one.condition.to_owned(), one.until.to_string()))
        };
        assert_eq!(until(json!([])), None);
        assert_eq!(until(json!([condition("Ready", "True", "2026-01-01T00:00:00Z")])), None);
        // Which is a good thing.
        assert_eq!(until(json!([condition("MemoryPressure", "False", "2026-01-01T00:00:00Z")])), None);
        let unknown = condition("Ready", "Unknown", "2026-01-01T00:00:00Z");
        assert_eq!(until(json!([unknown])), Some(("Ready".into(), "2026-01-01T00:30:00Z".into())));
        let hardware = condition("AcceleratedHardwareReady", "False", "2026-01-01T00:05:00Z");
        assert_eq!(
            until(json!([unknown, hardware])),
            Some(("AcceleratedHardwareReady".into(), "2026-01-01T00:15:00Z".into()))
        );
    }

    #[test]
    fn none_is_repaired_where_more_than_a_fifth_is_sick() {
        let policies = repair_policies();
        let may = |sick: usize, all: usize| {
            let of = |index: usize| {
                let status = if index < sick { "False" } else { "True" };
                node(json!([condition("Ready", status, "2026-01-01T00:00:00Z")]))
            };
            let nodes: Vec<Arc<Node>> = (0..all).map(of).collect();
            may_repair(nodes.iter(), &policies)
        };
        // A fifth is rounded up.
        assert!(may(1, 1) && may(1, 3) && may(1, 5) && may(2, 6) && may(2, 10));
        assert!(!may(2, 2) && !may(2, 5) && !may(3, 10) && !may(10, 10));
    }
}
