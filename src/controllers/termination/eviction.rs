//! The order in which pods leave a node, and those for whom the time is over.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::super::pods;

/// Grace period of a pod that names none: the API's default.
const GRACE: i64 = 30;

/// What a drain does next.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Step<'a> {
    /// Pods to evict, as far as their disruption budgets allow.
    pub evict: Vec<&'a Pod>,
    /// Pods to delete without asking, each with the seconds it gets: the deadline comes before their grace period is over.
    pub delete: Vec<(&'a Pod, u32)>,
    /// Pods that the drain waits for.
    pub left: usize,
}

/// Which of a node's pods leave now: of those that it waits for, only the first of four groups that has any: pods,
/// daemons, critical pods, critical daemons. Those who forbid it stay until the deadline.
pub(super) fn step<'a>(all: &'a [impl AsRef<Pod>], deadline: Option<Timestamp>, now: Timestamp) -> Step<'a> {
    let waited: Vec<&Pod> = all.iter().map(AsRef::as_ref).filter(|pod| pods::is_drainable(pod, now)).collect();
    let mut step = Step { left: waited.len(), ..Step::default() };
    if let Some(deadline) = deadline {
        for pod in &waited {
            if let Some(seconds) = overdue(pod, deadline, now) {
                step.delete.push((pod, seconds));
            }
        }
    }
    let Some(first) = waited.iter().map(|pod| group(pod)).min() else { return step };
    step.evict = waited
        .into_iter()
        .filter(|pod| group(pod) == first && pod.metadata.deletion_timestamp.is_none())
        .filter(|pod| !pods::forbids_disruption(pod, now))
        .filter(|pod| !step.delete.iter().any(|(other, _)| std::ptr::eq(*other, *pod)))
        .collect();
    step
}

/// The group that a pod leaves with.
fn group(pod: &Pod) -> u8 {
    let class = pod.spec.as_ref().and_then(|spec| spec.priority_class_name.as_deref());
    let critical = matches!(class, Some("system-cluster-critical" | "system-node-critical"));
    2 * u8::from(critical) + u8::from(pods::is_daemon(pod))
}

/// The seconds that a pod has to end in once it is asked to.
pub(super) fn grace(pod: &Pod) -> i64 {
    pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(GRACE)
}

/// The seconds that are left to a pod whose grace period would end after the deadline; `None` where there is time, or its
/// end comes in time already. At least one, as Karpenter has it: with none the pod would be forgotten while it runs.
fn overdue(pod: &Pod, deadline: Timestamp, now: Timestamp) -> Option<u32> {
    if let Some(due) = &pod.metadata.deletion_timestamp
        && due.0 <= deadline
    {
        return None;
    }
    let left = Duration::try_from(deadline.duration_since(now)).unwrap_or_default();
    let grace = Duration::from_secs(u64::try_from(grace(pod)).unwrap_or(0));
    (left <= grace).then(|| u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn pod(name: &str, kind: &str, class: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": "x", "controller": true}]},
            "spec": {"containers": [], "priorityClassName": class, "terminationGracePeriodSeconds": 10},
        }))
        .unwrap()
    }

    fn names(pods: &[&Pod]) -> Vec<String> {
        pods.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn pods_then_daemons_then_the_critical_ones() {
        let mut left: Vec<Arc<Pod>> = [
            pod("critical-daemon", "DaemonSet", "system-node-critical"),
            pod("critical", "ReplicaSet", "system-cluster-critical"),
            pod("daemon", "DaemonSet", ""),
            pod("web", "ReplicaSet", ""),
        ]
        .map(Arc::new)
        .into();
        for expected in ["web", "daemon", "critical", "critical-daemon"] {
            assert_eq!(names(&step(&left, None, at(0)).evict), [expected]);
            left.pop();
        }
        assert_eq!(step(&left, None, at(0)), Step::default());
    }

    #[test]
    fn the_next_group_waits_until_the_one_before_has_left() {
        let mut leaving = pod("web", "ReplicaSet", "");
        leaving.metadata.deletion_timestamp = serde_json::from_value(json!("1970-01-01T00:00:10Z")).unwrap();
        let all = [Arc::new(leaving), Arc::new(pod("daemon", "DaemonSet", ""))];
        let step = step(&all, None, at(0));
        assert!(step.evict.is_empty());
        assert_eq!(step.left, 2);
    }

    #[test]
    fn who_forbids_it_stays_until_the_deadline() {
        let mut stubborn = pod("stubborn", "ReplicaSet", "");
        stubborn.metadata.annotations = serde_json::from_value(json!({"karpenter.sh/do-not-disrupt": "true"})).unwrap();
        let all = [Arc::new(stubborn)];
        assert_eq!(step(&all, None, at(0)), Step { left: 1, ..Step::default() });
        let early = step(&all, Some(at(100)), at(89));
        assert!(early.evict.is_empty() && early.delete.is_empty());
        // Not a fraction of a second before its time.
        let nearly = Timestamp::new(89, 900_000_000).unwrap();
        assert!(step(&all, Some(at(100)), nearly).delete.is_empty());
        let late = step(&all, Some(at(100)), at(95));
        assert_eq!(late.delete.len(), 1);
        assert_eq!(late.delete[0].1, 5);
        assert_eq!(step(&all, Some(at(100)), at(101)).delete[0].1, 1);
    }

    #[test]
    fn whose_grace_period_would_be_cut_short_goes_ahead_of_its_turn() {
        let mut slow = pod("slow", "DaemonSet", "system-node-critical");
        slow.spec.as_mut().unwrap().termination_grace_period_seconds = Some(60);
        let all = [Arc::new(slow), Arc::new(pod("web", "ReplicaSet", ""))];
        let step = step(&all, Some(at(100)), at(40));
        assert_eq!(step.delete.iter().map(|(pod, seconds)| (grace(pod), *seconds)).collect::<Vec<_>>(), [(60, 60)]);
        assert_eq!(names(&step.evict), ["web"]);
    }

    #[test]
    fn an_end_that_comes_too_late_is_brought_forward() {
        let mut slow = pod("slow", "ReplicaSet", "");
        slow.metadata.deletion_timestamp = serde_json::from_value(json!("1970-01-01T00:05:00Z")).unwrap();
        let all = [Arc::new(slow)];
        assert_eq!(step(&all, Some(at(100)), at(95)).delete[0].1, 5);
        assert!(step(&all, Some(at(400)), at(395)).delete.is_empty());
    }
}
