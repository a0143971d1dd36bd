//! What nodes and their pods say against their end: <https://karpenter.sh/docs/concepts/disruption/#controls>.

use std::borrow::Borrow;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::runtime::events::EventType;
use supercargo_models::kubernetes::requirements::Selector;

use super::super::pods::{self, DoNotDisrupt};
use crate::api::NodeClaim;

/// What a node itself says against being disrupted just now, in words; its drain's end does not matter.
pub fn of_node(node: &Node, now: Timestamp) -> Option<String> {
    let forbidden = pods::node_forbids_disruption(node, now);
    forbidden.then(|| "the node has the annotation karpenter.sh/do-not-disrupt".to_owned())
}

/// What keeps a node from being disrupted just now, of the pods on it, in words. Nothing does where the claim sets an end to
/// its drain: whoever sets `terminationGracePeriod` wants the node to end in time, whatever its pods say.
pub fn obstacle(
    claim: &NodeClaim,
    pods: &[impl Borrow<Pod>],
    budgets: &[Arc<PodDisruptionBudget>],
    now: Timestamp,
) -> Option<String> {
    if claim.spec.template.termination_grace_period.is_some() {
        return None;
    }
    pods.iter().map(Borrow::borrow).find_map(|pod: &Pod| {
        let name = || format!("pod {}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
        if pods::forbids_disruption(pod, now) {
            return Some(format!("{} has the annotation karpenter.sh/do-not-disrupt", name()));
        }
        if !pods::is_drainable(pod, now) || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let mut own = budgets.iter().filter(|budget| selects(budget, pod));
        let blocked = own.clone().find(|budget| is_exhausted(budget, pod));
        match (blocked, own.nth(1)) {
            (Some(budget), _) => Some(format!("{} may not be evicted: {}", name(), described(budget))),
            // The Eviction API refuses such a pod (https://kubernetes.io/docs/concepts/workloads/pods/disruptions/).
            (None, Some(_)) => Some(format!("{} has several disruption budgets", name())),
            (None, None) => None,
        }
    })
}

/// The event about a pod that tells what its annotation says, as type, reason and note, where that may not be clear; the
/// reasons are Karpenter's (`pkg/utils/pod/events.go` of <https://github.com/kubernetes-sigs/karpenter>).
pub(super) fn told(said: &DoNotDisrupt, now: Timestamp) -> Option<(EventType, &'static str, String)> {
    match said {
        DoNotDisrupt::Always => None,
        DoNotDisrupt::Invalid(why) => {
            let note = format!("Invalid karpenter.sh/do-not-disrupt annotation: {why}, ignoring annotation");
            Some((EventType::Warning, "InvalidDoNotDisruptAnnotation", note))
        }
        DoNotDisrupt::Until(end) if now < *end => {
            let note = format!("The karpenter.sh/do-not-disrupt grace period will elapse at {end:.0}");
            Some((EventType::Normal, "DoNotDisruptUntil", note))
        }
        DoNotDisrupt::Until(_) => {
            let note = "The karpenter.sh/do-not-disrupt grace period has elapsed, pod is now disruptable".to_owned();
            Some((EventType::Normal, "DoNotDisruptGracePeriodElapsed", note))
        }
    }
}

fn described(budget: &PodDisruptionBudget) -> String {
    format!("the disruption budget {} allows no more", budget.name_any())
}

/// Without a selector it is for no pod, with an empty one for all of its namespace.
fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    budget.namespace() == pod.namespace()
        && selector.and_then(|selector| Selector::new(selector).ok()).is_some_and(|one| one.matches(pod.labels()))
}

/// Whether a budget lets none of its pods go now. One that always lets sick pods go does not count for those.
fn is_exhausted(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let lets_sick_go = budget.spec.as_ref().and_then(|spec| spec.unhealthy_pod_eviction_policy.as_deref());
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
    if lets_sick_go == Some("AlwaysAllow") && !is_ready {
        return false;
    }
    budget.status.as_ref().is_none_or(|status| status.disruptions_allowed.unwrap_or_default() <= 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};

    use super::*;

    fn claim(period: Value) -> NodeClaim {
        serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": "c"},
            "spec": {
                "nodeClassRef": {"group": "g", "kind": "k", "name": "n"}, "requirements": [],
                "terminationGracePeriod": period,
            },
        }))
        .unwrap()
    }

    fn pod(annotations: Value, ready: &str) -> Arc<Pod> {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "x", "labels": {"app": "web"}, "annotations": annotations},
            "spec": {"containers": []},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .map(Arc::new)
        .unwrap()
    }

    fn budget(name: &str, app: Value, allowed: i32, policy: &str) -> Arc<PodDisruptionBudget> {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "x"},
            "spec": {"selector": {"matchLabels": app}, "unhealthyPodEvictionPolicy": policy},
            "status": {
                "disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1,
            },
        }))
        .map(Arc::new)
        .unwrap()
    }

    fn says(pod: Arc<Pod>, budgets: &[Arc<PodDisruptionBudget>]) -> Option<String> {
        obstacle(&claim(Value::Null), &[pod], budgets, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn annotations_and_exhausted_budgets_are_obstacles() {
        let plain = || pod(json!({}), "True");
        assert_eq!(says(plain(), &[]), None);
        let annotated = pod(json!({"karpenter.sh/do-not-disrupt": "true"}), "True");
        assert!(says(Arc::clone(&annotated), &[]).unwrap().contains("do-not-disrupt"));
        assert_eq!(obstacle(&claim(json!("1h")), &[annotated], &[], Timestamp::UNIX_EPOCH), None);
        let web = || json!({"app": "web"});
        assert_eq!(says(plain(), &[budget("a", web(), 1, "IfHealthyBudget")]), None);
        assert!(says(plain(), &[budget("a", web(), 0, "IfHealthyBudget")]).unwrap().contains("budget a"));
        assert!(says(plain(), &[budget("a", json!({}), 0, "IfHealthyBudget")]).is_some());
        assert_eq!(says(plain(), &[budget("a", json!({"app": "db"}), 0, "IfHealthyBudget")]), None);
        let two = [budget("a", web(), 1, "IfHealthyBudget"), budget("b", json!({}), 1, "IfHealthyBudget")];
        assert!(says(plain(), &two).unwrap().contains("several"));
    }

    #[test]
    fn what_an_annotation_says_is_told() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let reason = |value: &str, second| {
            let mut pod = (*pod(json!({"karpenter.sh/do-not-disrupt": value}), "True")).clone();
            pod.status.get_or_insert_default().start_time = Some(Time(at(0)));
            told(&DoNotDisrupt::of_pod(&pod).unwrap(), at(second)).map(|(_, reason, note)| (reason, note))
        };
        assert_eq!(reason("true", 0), None);
        assert_eq!(reason("soon", 0).unwrap().0, "InvalidDoNotDisruptAnnotation");
        let (until, note) = reason("1h", 3599).unwrap();
        assert_eq!(until, "DoNotDisruptUntil");
        assert!(note.ends_with("at 1970-01-01T01:00:00Z"), "{note}");
        assert_eq!(reason("1h", 3600).unwrap().0, "DoNotDisruptGracePeriodElapsed");
    }

    #[test]
    fn a_budget_may_let_sick_pods_go() {
        let sick = || pod(json!({}), "False");
        assert!(says(sick(), &[budget("a", json!({}), 0, "IfHealthyBudget")]).is_some());
        assert_eq!(says(sick(), &[budget("a", json!({}), 0, "AlwaysAllow")]), None);
        assert!(says(pod(json!({}), "True"), &[budget("a", json!({}), 0, "AlwaysAllow")]).is_some());
    }
}
