//! How long a drain may take: a claim's `terminationGracePeriod`, counted from when its end was asked for, or no longer.

use jiff::Timestamp;
use kube::runtime::events::EventType;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::super::context::{Context, Error};
use crate::api::NodeClaim;
use crate::labels;

/// When the drain of a claim's node is over, whatever is left there.
pub(super) fn of(claim: &NodeClaim) -> Option<Timestamp> {
    claim.annotations().get(labels::TERMINATION_TIME)?.parse().ok()
}

/// Whether the drain of a claim's node is over, whatever is left there.
pub fn is_overdue(claim: &NodeClaim, now: Timestamp) -> bool {
    of(claim).is_some_and(|deadline| deadline <= now)
}

/// Has the drain of a claim's node be over now, whatever is left there. The claim as it is then.
///
/// # Errors
/// If the API server fails, or the claim has changed since (409).
pub async fn set_overdue(claim: &NodeClaim, context: &Context) -> Result<NodeClaim, Error> {
    let now = context.now();
    if is_overdue(claim, now) {
        return Ok(claim.clone());
    }
    let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let patch = json!({"metadata": {"annotations": {labels::TERMINATION_TIME: whole.to_string()}}});
    context.patch_claim(claim, patch).await
}

/// Says when the drain of a claim's node is over, about the claim or the node, in Karpenter's words.
pub(super) async fn tell<K: Resource<DynamicType = ()>>(object: &K, deadline: Timestamp, context: &Context) {
    let note = format!("All pods will be deleted by {deadline}");
    context.tell(object, EventType::Warning, "TerminationGracePeriodExpiring", note).await;
}

/// The deadline of a claim that ends, where it has one and it is not written down yet.
pub(super) fn missing(claim: &NodeClaim) -> Option<Timestamp> {
    if of(claim).is_some() {
        return None;
    }
    let period = crate::duration::parse(claim.spec.template.termination_grace_period.as_deref()?)?;
    claim.metadata.deletion_timestamp.as_ref()?.0.checked_add(period).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deadline_is_written_down_once() {
        let mut claim: NodeClaim = serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {"name": "c", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {
                "nodeClassRef": {"group": "g", "kind": "k", "name": "n"},
                "requirements": [],
                "terminationGracePeriod": "1m30s",
            },
        }))
        .unwrap();
        let due = missing(&claim).unwrap();
        assert_eq!(due.to_string(), "2026-01-01T00:01:30Z");
        claim.annotations_mut().insert(labels::TERMINATION_TIME.into(), due.to_string());
        assert_eq!(missing(&claim), None);
        assert_eq!(of(&claim), Some(due));
        assert!(is_overdue(&claim, due) && !is_overdue(&claim, Timestamp::UNIX_EPOCH));
        claim.spec.template.termination_grace_period = None;
        claim.annotations_mut().clear();
        assert_eq!(missing(&claim), None);
    }
}
