//! Whether the machines of a pool join the cluster as nodes.

use std::sync::Arc;

use super::super::conditions::{self, Conditions, Known, REGISTERED};
use crate::api::NodeClaim;

/// The machines of a pool join the cluster.
const HEALTHY: &str = "NodeRegistrationHealthy";

/// Keeps `NodeRegistrationHealthy` up to date: unknown anew whenever the pool or its class has changed, true once a machine
/// has joined since then.
///
/// Karpenter makes it false after several machines that have not joined in time. Here nobody counts those: the condition then
/// stays as it is, and metrics tell of claims that were given up.
pub(super) fn judge(conditions: &mut Conditions, claims: &[Arc<NodeClaim>], same_class: bool) {
    if !same_class || !conditions.is_current(HEALTHY) {
        conditions.set(
            HEALTHY,
            Known::Unknown,
            "AwaitingReconciliation",
            "no machine has joined since the last change",
        );
    }
    let waits = conditions.get(HEALTHY).filter(|condition| condition.status == "Unknown");
    let Some(since) = waits.map(|condition| condition.last_transition_time.0) else { return };
    let joined = |claim: &Arc<NodeClaim>| conditions::true_since(claim, REGISTERED).is_some_and(|time| time >= since);
    if claims.iter().any(joined) {
        conditions.achieve(HEALTHY);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn claim(joined: &str) -> Arc<NodeClaim> {
        let registered = json!({"type": "Registered", "status": "True", "reason": "Registered", "message": "",
            "lastTransitionTime": joined});
        Arc::new(
            serde_json::from_value(json!({
                "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": "c"},
                "spec": {"nodeClassRef": {"group": "g", "kind": "k", "name": "n"}, "requirements": []},
                "status": {"conditions": [registered]},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn a_pool_is_healthy_once_a_machine_has_joined_since_it_changed() {
        let at = |minute: u32| format!("2026-01-01T00:{minute:02}:00Z").parse::<Timestamp>().unwrap();
        let mut list = Vec::new();
        let mut told = |generation: i64, minute: u32, claims: &[Arc<NodeClaim>], same_class: bool| {
            let mut conditions = Conditions::new(list.clone(), Some(generation), at(minute));
            judge(&mut conditions, claims, same_class);
            list = conditions.into_list();
            list[0].status.clone()
        };
        let early = claim("2026-01-01T00:05:00Z");
        assert_eq!(told(1, 1, &[], true), "Unknown");
        assert_eq!(told(1, 6, &[Arc::clone(&early)], true), "True");
        assert_eq!(told(1, 7, &[], true), "True");
        assert_eq!(told(2, 8, &[Arc::clone(&early)], true), "Unknown");
        assert_eq!(told(2, 10, &[early, claim("2026-01-01T00:09:00Z")], true), "True");
        assert_eq!(told(2, 11, &[], false), "Unknown");
    }
}
