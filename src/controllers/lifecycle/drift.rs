//! Whether a claim is still what its pool and its class ask for: <https://karpenter.sh/docs/concepts/disruption/#drift>.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;
use supercargo_models::kubernetes::requirements::Requirement;
use tracing::{debug, info};

use super::super::conditions::{self, Conditions, DRIFTED, Known};
use super::super::context::{Context, Error};
use super::super::hash;
use super::super::overlays::Market;
use super::write;
use crate::api::{NodeClaim, NodePool, NodeSelectorRequirementWithMinValues};
use crate::cloud::{CloudError, Offer};
use crate::labels;

/// How often to look without having been told, as Karpenter does: classes and machines change untold.
pub(super) const PERIOD: Duration = Duration::from_secs(5 * 60);

/// The pool's template says something else by now; the word is the API's.
const POOL: &str = "NodePoolDrifted";
/// The pool's requirements do, and the node does not satisfy them.
const REQUIREMENTS: &str = "RequirementsDrifted";
/// What it was launched as is on sale no more.
const NOT_FOUND: &str = "InstanceTypeNotFound";

/// Brings `Drifted` of a launched claim up to date; whether it was written.
pub(super) async fn observe(claim: &NodeClaim, context: &Context, now: Timestamp) -> Result<bool, Error> {
    let Some(pool) = context.stores.pool_of(claim) else { return Ok(false) };
    let found = match found(claim, &pool, context).await {
        Ok(found) => found,
        Err(error) => {
            debug!(claim = claim.name_any(), "whether its machine has drifted: {error}");
            return Ok(false);
        }
    };
    let was = conditions::is_true(claim, DRIFTED);
    let mut conditions = Conditions::of(claim, now);
    match &found {
        Some((reason, message)) => conditions.set(DRIFTED, Known::True, reason, message),
        None => conditions.clear(DRIFTED),
    }
    if !conditions.changed() {
        return Ok(false);
    }
    write(claim, context, conditions, json!({})).await?;
    match found {
        Some((reason, message)) => info!(claim = claim.name_any(), "drifted: {reason}: {message}"),
        None if was => info!(claim = claim.name_any(), "no longer drifted"),
        None => {}
    }
    Ok(true)
}

/// Reason and message where a launched claim of a pool has drifted.
///
/// # Errors
/// If the cloud does not answer.
pub async fn found(
    claim: &NodeClaim,
    pool: &NodePool,
    context: &Context,
) -> Result<Option<(String, String)>, CloudError> {
    match of_pool(pool, claim).or_else(|| of_market(claim, &context.market())) {
        Some(found) => Ok(Some(found)),
        None => match context.cloud.drifted(claim).await {
            Ok(reason) => Ok(reason.map(|reason| (reason.clone(), reason))),
            Err(CloudError::NotFound) => Ok(None),
            Err(error) => Err(error),
        },
    }
}

/// Reason and message where a pool asks for something else than a claim is.
fn of_pool(pool: &NodePool, claim: &NodeClaim) -> Option<(String, String)> {
    // Fingerprints of another version say nothing: neither that one has drifted nor that one that had has not.
    let comparable = hash::is_current(pool) && hash::is_current(claim);
    let known = conditions::find(claim, DRIFTED).filter(|known| known.status == "True" && known.reason == POOL);
    if let Some(known) = known.filter(|_| !comparable) {
        return Some((POOL.into(), known.message.clone()));
    }
    // Not the pool's annotation, which is a step behind the pool.
    if comparable && claim.annotations().get(labels::NODE_POOL_HASH).is_some_and(|own| *own != hash::of(pool)) {
        return Some((POOL.into(), "the template of the pool has changed".into()));
    }
    let unmet = pool.spec.template.spec.requirements.iter().find_map(|one| unmet(one, claim))?;
    Some((REQUIREMENTS.into(), unmet))
}

/// Reason and message where nobody sells what a claim was launched as.
fn of_market(claim: &NodeClaim, market: &Market) -> Option<(String, String)> {
    let label = |key: &str| claim.labels().get(key).cloned();
    let offer = Offer {
        instance_type: label(labels::INSTANCE_TYPE)?,
        zone: label(labels::ZONE)?,
        capacity_type: label(labels::CAPACITY_TYPE)?,
    };
    let is_sold = market.price(claim, &offer).is_some();
    (!is_sold).then(|| (NOT_FOUND.into(), format!("{offer} is in the catalogue no more")))
}

/// What a claim's labels lack of a requirement of its pool.
fn unmet(one: &NodeSelectorRequirementWithMinValues, claim: &NodeClaim) -> Option<String> {
    let requirement = Requirement::try_from(one).ok()?;
    let value = claim.labels().get(&requirement.key).map(String::as_str);
    if requirement.matches(value) {
        return None;
    }
    // A label that nobody sets, although the claim was made with the same requirement: another machine would lack it, too.
    let alike = |other: &NodeSelectorRequirementWithMinValues| {
        (&other.key, &other.operator, &other.values) == (&one.key, &one.operator, &one.values)
    };
    if value.is_none() && claim.spec.template.requirements.iter().any(alike) {
        return None;
    }
    Some(format!("{} is asked for, and it is {}", requirement.describe(), value.unwrap_or("not there")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn pool(team: &str, requirements: Value) -> NodePool {
        serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool",
            "metadata": {"name": "p", "annotations": {"karpenter.sh/nodepool-hash-version": hash::VERSION}},
            "spec": {"template": {
                "metadata": {"labels": {"team": team}},
                "spec": {
                    "nodeClassRef": {"group": "g", "kind": "k", "name": "n"}, "requirements": requirements,
                },
            }},
        }))
        .unwrap()
    }

    fn claim(of: &NodePool, version: &str) -> NodeClaim {
        serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {
                "name": "c",
                "labels": {"kubernetes.io/arch": "amd64", "karpenter.k8s.aws/instance-cpu": "4"},
                "annotations": {
                    "karpenter.sh/nodepool-hash": hash::of(of), "karpenter.sh/nodepool-hash-version": version,
                },
            },
            "spec": {
                "nodeClassRef": {"group": "g", "kind": "k", "name": "n"},
                "requirements": [{"key": "disk", "operator": "Exists"}],
            },
        }))
        .unwrap()
    }

    fn reason(pool: &NodePool, claim: &NodeClaim) -> Option<String> {
        of_pool(pool, claim).map(|(reason, _)| reason)
    }

    #[test]
    fn a_template_that_has_changed_is_drift_if_both_fingerprints_are_of_one_version() {
        let (old, new) = (pool("blue", json!([])), pool("red", json!([])));
        assert_eq!(reason(&old, &claim(&old, hash::VERSION)), None);
        assert_eq!(reason(&new, &claim(&old, hash::VERSION)).as_deref(), Some("NodePoolDrifted"));
        assert_eq!(reason(&new, &claim(&old, "v3")), None);
        let mut unmarked = new.clone();
        unmarked.annotations_mut().clear();
        assert_eq!(reason(&unmarked, &claim(&old, hash::VERSION)), None);
    }

    #[test]
    fn what_has_drifted_stays_so_while_fingerprints_can_not_be_compared() {
        let pool = pool("blue", json!([]));
        let drifted = |version: &str| {
            let mut claim = claim(&pool, version);
            let condition = json!({"type": "Drifted", "status": "True", "reason": "NodePoolDrifted", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"});
            claim.status = Some(serde_json::from_value(json!({"conditions": [condition]})).unwrap());
            reason(&pool, &claim)
        };
        assert_eq!(drifted("v3").as_deref(), Some("NodePoolDrifted"));
        assert_eq!(drifted(hash::VERSION), None);
    }

    #[test]
    fn what_nobody_sells_any_more_has_drifted() {
        let catalog = crate::catalog::embedded().unwrap();
        let market = Market::new(std::sync::Arc::new(catalog), &[], &[]);
        let launched = |instance: &str| -> NodeClaim {
            serde_json::from_value(json!({
                "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
                "metadata": {"name": "c", "labels": {
                    "node.kubernetes.io/instance-type": instance, "topology.kubernetes.io/zone": "us-east-1a",
                    "karpenter.sh/capacity-type": "on-demand",
                }},
                "spec": {"nodeClassRef": {"group": "g", "kind": "k", "name": "n"}, "requirements": []},
            }))
            .unwrap()
        };
        assert_eq!(of_market(&launched("m5.large"), &market), None);
        let (reason, message) = of_market(&launched("m0.large"), &market).unwrap();
        assert_eq!(reason, "InstanceTypeNotFound");
        assert!(message.contains("m0.large"), "{message}");
        let mut unlabelled = launched("m0.large");
        unlabelled.metadata.labels = None;
        assert_eq!(of_market(&unlabelled, &market), None);
    }

    #[test]
    fn a_node_drifts_when_it_does_not_satisfy_the_requirements() {
        let drifts = |requirements: Value| {
            let pool = pool("blue", requirements);
            reason(&pool, &claim(&pool, hash::VERSION)).is_some()
        };
        let one = |key: &str, operator: &str, values: Value| {
            drifts(json!([{"key": key, "operator": operator, "values": values}]))
        };
        assert!(!one("kubernetes.io/arch", "In", json!(["amd64", "arm64"])));
        assert!(one("kubernetes.io/arch", "In", json!(["arm64"])));
        assert!(one("kubernetes.io/arch", "NotIn", json!(["amd64"])));
        assert!(one("karpenter.k8s.aws/instance-cpu", "Gt", json!(["4"])));
        assert!(!one("karpenter.k8s.aws/instance-cpu", "Gte", json!(["4"])));
        assert!(!one("other", "DoesNotExist", json!([])));
        assert!(one("other", "Exists", json!([])));
        // What the claim was asked for already, and nobody sets.
        assert!(!drifts(json!([{"key": "disk", "operator": "Exists"}])));
    }
}
