//! The age at which a claim ends: its `expireAfter`, counted from when it was made.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::NodeClaim;

/// What is left of a claim's life; zero once it is over, `None` where it has no end.
pub(super) fn left(claim: &NodeClaim, now: Timestamp) -> Option<Duration> {
    let after = crate::duration::parse_or_never(claim.spec.template.expire_after.as_deref()?).ok()??;
    let made = claim.metadata.creation_timestamp.as_ref()?.0;
    let age = Duration::try_from(now.duration_since(made)).unwrap_or_default();
    Some(after.saturating_sub(age))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_ends_at_its_age() {
        let claim = |after: &str| {
            serde_json::from_value::<NodeClaim>(json!({
                "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
                "metadata": {"name": "c", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {
                    "nodeClassRef": {"group": "g", "kind": "k", "name": "n"}, "requirements": [], "expireAfter": after,
                },
            }))
            .unwrap()
        };
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        assert_eq!(left(&claim("90m"), now), Some(Duration::from_secs(1800)));
        assert_eq!(left(&claim("1h"), now), Some(Duration::ZERO));
        assert_eq!(left(&claim("30m"), now), Some(Duration::ZERO));
        assert_eq!(left(&claim("Never"), now), None);
    }
}
