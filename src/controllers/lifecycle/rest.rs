//! Whether a node has rested long enough after its last pod event to be taken away.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, json};

use super::super::conditions::{self, CONSOLIDATABLE, Conditions, INITIALIZED};
use super::super::context::{Context, Error};
use super::write;
use crate::api::{NodeClaim, NodePool};

/// Pod events that follow one another so closely are written down once, as Karpenter does it.
const PRECISION: Duration = Duration::from_secs(10);

/// Keeps `lastPodEventTime` and `Consolidatable` up to date; when to look again, untold.
pub(super) async fn rest(claim: &NodeClaim, context: &Context, now: Timestamp) -> Result<Option<Duration>, Error> {
    let written = written(claim);
    let (last, rested) = observed(claim, context, now);
    let mut fields = Map::new();
    if let Some(last) = last
        && written.is_none_or(|written| last.duration_since(written) > PRECISION.try_into().unwrap_or_default())
    {
        fields.insert("lastPodEventTime".into(), json!(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(last)));
    }
    let mut conditions = Conditions::of(claim, now);
    let again = match rested {
        Rest::Over => {
            conditions.achieve(CONSOLIDATABLE);
            None
        }
        Rest::Never => {
            conditions.clear(CONSOLIDATABLE);
            None
        }
        Rest::For(left) => {
            conditions.clear(CONSOLIDATABLE);
            Some(left)
        }
    };
    write(claim, context, conditions, fields.into()).await?;
    if rested == Rest::Over {
        context.bells.disruption.notify_one();
    }
    Ok(again)
}

/// Whether a claim's node has rested long enough, whatever its conditions say.
pub fn is_rested(claim: &NodeClaim, context: &Context, now: Timestamp) -> bool {
    observed(claim, context, now).1 == Rest::Over
}

fn written(claim: &NodeClaim) -> Option<Timestamp> {
    claim.status.as_ref()?.last_pod_event_time.as_ref().map(|time| time.0)
}

/// The last pod event on a claim's node, and how long the node has to rest yet.
fn observed(claim: &NodeClaim, context: &Context, now: Timestamp) -> (Option<Timestamp>, Rest) {
    let node = claim.status.as_ref().and_then(|status| status.node_name.as_deref());
    let last = node.and_then(|node| context.pod_events.last(node)).max(written(claim));
    let since = conditions::true_since(claim, INITIALIZED).max(last);
    let pool = context.stores.pool_of(claim);
    (last, pool.map_or(Rest::Never, |pool| rested(&pool, since, now)))
}

/// How long a node has to rest yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Over,
    For(Duration),
    Never,
}

/// What a pool's `consolidateAfter` says of a node that was last busy `since`. One that can't be read is `Never`.
fn rested(pool: &NodePool, since: Option<Timestamp>, now: Timestamp) -> Rest {
    let after = pool.spec.disruption.as_ref().and_then(|disruption| disruption.consolidate_after.as_deref());
    let Ok(Some(after)) = crate::duration::parse_or_never(after.unwrap_or("0s")) else { return Rest::Never };
    let Some(since) = since else { return Rest::Never };
    let taken = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    match after.checked_sub(taken).filter(|left| !left.is_zero()) {
        None => Rest::Over,
        Some(left) => Rest::For(left),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_node_rests_as_long_as_its_pool_says() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let pool = |after: &str| {
            let pool = json!({
                "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "p"},
                "spec": {
                    "disruption": {"consolidateAfter": after},
                    "template": {"spec": {"requirements": [], "nodeClassRef": {"group": "g", "kind": "k", "name": "n"}}},
                },
            });
            serde_json::from_value::<NodePool>(pool).unwrap()
        };
        assert_eq!(rested(&pool("30s"), Some(at(0)), at(10)), Rest::For(Duration::from_secs(20)));
        assert_eq!(rested(&pool("30s"), Some(at(0)), at(30)), Rest::Over);
        assert_eq!(rested(&pool("0s"), Some(at(0)), at(0)), Rest::Over);
        assert_eq!(rested(&pool("Never"), Some(at(0)), at(1000)), Rest::Never);
        assert_eq!(rested(&pool("30s"), None, at(1000)), Rest::Never);
    }
}
