//! How long a drain may take: a claim's `terminationGracePeriod`, counted from when its end was asked for.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::NodeClaim;
use crate::labels;

/// When the drain of a claim's node is over, whatever is left there.
pub(super) fn of(claim: &NodeClaim) -> Option<Timestamp> {
    claim.annotations().get(labels::TERMINATION_TIME)?.parse().ok()
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
        claim.spec.template.termination_grace_period = None;
        claim.annotations_mut().clear();
        assert_eq!(missing(&claim), None);
    }
}
