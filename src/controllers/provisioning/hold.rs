//! Nodes that are held for the pods that were planned onto them.
//!
//! The claim of such a node bears the taint of the plan among its start-up taints. When all else is ready, its pods are
//! bound, or nominated, and the taint is lifted. How long it may be held is counted from when the claim found its node,
//! which the claim itself tells: so a controller that was started again, and knows of no plan, opens it in time as well.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tracing::{debug, info, warn};

use super::super::conditions::{self, REGISTERED};
use super::super::context::{Context, Error, lock};
use super::super::settings::Bind;
use super::super::stores::Stores;
use super::super::taints;
use super::Place;
use crate::api::NodeClaim;
use crate::binding::{self, Attempt, PodKey, Seen};

/// Pods of one node that are bound at once.
const AT_ONCE: usize = 16;
/// How long after its registration a node may stay closed when its own pods are bound, for those of the same plan whose
/// machines are a little later: kube-scheduler would put them here. Those that are just being bound elsewhere are waited
/// for until the deadline.
const COMPANY: Duration = Duration::from_secs(10);
/// How soon volumes that are being made, or plans that are being acted on, are looked at again.
const PAUSE: Duration = Duration::from_millis(250);

/// Whether a node is held.
pub fn is_held(node: &Node) -> bool {
    taints_of(node).iter().any(|taint| taint.key == binding::TAINT)
}

/// The taints of a node that is open.
pub fn opened(node: &Node) -> Vec<Taint> {
    taints::without(taints_of(node), binding::TAINT)
}

fn taints_of(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

/// For how long yet the node of a claim may be held.
pub fn left(claim: &NodeClaim, deadline: Duration, now: Timestamp) -> Duration {
    let begun = conditions::true_since(claim, REGISTERED);
    // A clock that was set back does not prolong it for ever.
    let held = begun.map(|begun| Duration::try_from(now.duration_since(begun)).unwrap_or(deadline));
    held.map_or(Duration::ZERO, |held| deadline.saturating_sub(held))
}

/// Sees to the pods that are planned onto a node that is ready for them; when to look again, unless all is done that can
/// be done and the node may be opened.
///
/// # Errors
/// None that keeps a node closed for longer than it may be: what the API server refuses is tried again until then.
pub async fn serve(
    claim: &NodeClaim,
    node: &Node,
    context: &Context,
    now: Timestamp,
) -> Result<Option<Duration>, Error> {
    let settings = &context.settings;
    let left = left(claim, settings.bind_deadline, now);
    if left.is_zero() {
        info!(node = node.name_any(), "held for {} s: opened", settings.bind_deadline.as_secs());
        return Ok(None);
    }
    let again = Some(PAUSE.min(left));
    if settings.bind == Bind::Off {
        return Ok(None);
    }
    if !lock(&context.pins).are_complete() {
        return Ok(again);
    }
    let uids = lock(&context.pins).to_bind(&Place::Claim(claim.name_any()));
    let is_planned = |pod: &Pod| pod.metadata.uid.as_ref().is_some_and(|uid| uids.contains(uid));
    let planned = if uids.is_empty() { Vec::new() } else { context.stores.pods.state_filter(is_planned) };
    let known = planned.iter().map(|pod| {
        let key = PodKey { namespace: pod.namespace().unwrap_or_default(), name: pod.name_any() };
        (key, Arc::clone(pod))
    });
    lock(&context.pins).set_binding(&claim.name_any(), true);
    let outcomes: Vec<(PodKey, Option<String>, kube::Result<Attempt>)> = stream::iter(known)
        .map(|(key, pod)| async {
            let uid = pod.uid();
            let outcome = match settings.bind {
                Bind::Planned => {
                    let seen = with_mounts(pod, &context.stores);
                    binding::attempt(&context.client, &key, &node.name_any(), Some(seen)).await
                }
                // The scheduler's turn comes when the node is open.
                Bind::Nominate | Bind::Off => {
                    binding::nominate(&context.client, &key, &node.name_any()).await.map(|()| Attempt::Bound)
                }
            };
            (key, uid, outcome)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    lock(&context.pins).set_binding(&claim.name_any(), false);
    let mut wait = false;
    let mut bound = 0_usize;
    for (pod, uid, outcome) in outcomes {
        match outcome {
            Ok(Attempt::Bound) => {
                bound += 1;
                uid.into_iter().for_each(|uid| lock(&context.pins).set_bound(&uid));
            }
            Ok(Attempt::VolumesOnTheirWay) => wait = true,
            Ok(Attempt::Left(reason)) => debug!("pod {pod} is left to its scheduler: it {reason}"),
            Ok(Attempt::Gone) => {}
            Err(error) => {
                warn!(node = node.name_any(), "binding pod {pod}: {error}");
                wait = true;
            }
        }
    }
    if wait {
        return Ok(again);
    }
    let done = if settings.bind == Bind::Planned { "bound" } else { "nominated" };
    if !planned.is_empty() {
        info!(node = node.name_any(), "{bound} of {} planned pods {done}", planned.len());
    }
    let pins = lock(&context.pins);
    let waits = settings.bind == Bind::Planned && pins.has_others_to_bind(&claim.name_any());
    let longest = if pins.are_others_being_bound(&claim.name_any()) { Duration::MAX } else { COMPANY };
    drop(pins);
    let company = self::left(claim, longest.min(settings.bind_deadline), now);
    Ok((waits && !company.is_zero()).then(|| PAUSE.min(company)))
}

/// A pod with what it mounts, as the watches have brought it.
fn with_mounts(pod: Arc<Pod>, stores: &Stores) -> Seen {
    let namespace = pod.namespace().unwrap_or_default();
    let claims = binding::claims_of(&pod).into_iter();
    let claims = claims.filter_map(|name| stores.volume_claims.get(&ObjectRef::new(&name).within(&namespace)));
    let claims: Vec<_> = claims.map(Arc::unwrap_or_clone).collect();
    let classes: BTreeSet<&str> = claims.iter().filter_map(binding::class_to_read).collect();
    let classes = classes.into_iter().filter_map(|name| stores.storage_classes.get(&ObjectRef::new(name)));
    let classes = classes.map(Arc::unwrap_or_clone).collect();
    Seen { pod, claims, classes }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_held_from_its_registration_to_the_deadline() {
        let claim: NodeClaim = serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": "c"},
            "spec": {"nodeClassRef": {"group": "g", "kind": "k", "name": "n"}, "requirements": []},
            "status": {"conditions": [{
                "type": "Registered", "status": "True", "reason": "Registered", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]},
        }))
        .unwrap();
        let deadline = Duration::from_secs(60);
        let left_at = |time: &str| left(&claim, deadline, time.parse().unwrap());
        assert_eq!(left_at("2026-01-01T00:00:20Z"), Duration::from_secs(40));
        assert_eq!(left_at("2026-01-01T00:01:00Z"), Duration::ZERO);
        assert_eq!(left_at("2027-01-01T00:00:00Z"), Duration::ZERO);
        assert_eq!(left_at("2025-12-31T23:59:00Z"), Duration::ZERO);
    }

    #[test]
    fn opening_takes_the_taint_of_the_plan_alone() {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"}, "spec": {"taints": [
            {"key": "gpu", "effect": "NoSchedule"}, {"key": "supercargo.dev/plan", "effect": "NoSchedule"}]}}))
        .unwrap();
        assert!(is_held(&node));
        assert_eq!(opened(&node).iter().map(|taint| taint.key.as_str()).collect::<Vec<_>>(), ["gpu"]);
        assert!(!is_held(&Node::default()));
    }
}
