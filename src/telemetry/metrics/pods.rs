//! How long pods take to be decided on, bound and running, as Karpenter counts it (`pkg/controllers/metrics/pod/controller.go`,
//! `MarkPodSchedulingDecisions` in `pkg/controllers/state/cluster.go`).
//!
//! Only of pods that were seen while they were pending: of those that were there before us nobody knows. The API server's
//! times are in whole seconds.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::summary::Summary;
use super::{Metrics, duration};

/// Figures of the times of pods.
pub(super) struct PodTimes {
    startup: Summary,
    bound: Histogram,
    decision: Histogram,
    planned_bound: Histogram,
    planned_startup: Histogram,
    /// By uid, from the first time that a pod is seen pending until it runs or is gone.
    waiting: Mutex<HashMap<String, Waiting>>,
}

/// A pod that does not run yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Since when we know that it waits for a machine.
    pub seen: Option<Timestamp>,
    /// Whether a plan has looked at it.
    pub is_decided: bool,
    /// Since when there is a place for it.
    pub placed: Option<Timestamp>,
    /// Whether it was counted as bound.
    pub is_bound: bool,
}

impl PodTimes {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let mut histogram = |name: &str, help: &str| {
            let histogram = duration();
            registry.register(name, help, histogram.clone());
            histogram
        };
        PodTimes {
            startup: Summary::new(
                "karpenter_pods_startup_duration_seconds",
                "The time from a pod's creation until it is running",
            ),
            bound: histogram(
                "karpenter_pods_bound_duration_seconds",
                "The time from a pod's creation until it is bound",
            ),
            decision: histogram(
                "karpenter_pods_scheduling_decision_duration_seconds",
                "The time from when a pod is known to wait until a plan has looked at it",
            ),
            planned_bound: histogram(
                "karpenter_pods_provisioning_bound_duration_seconds",
                "The time from when a plan has a place for a pod until it is bound",
            ),
            planned_startup: histogram(
                "karpenter_pods_provisioning_startup_duration_seconds",
                "The time from when a plan has a place for a pod until it is running",
            ),
            waiting: Mutex::default(),
        }
    }

    pub(super) fn encode(&self, text: &mut String) -> std::fmt::Result {
        self.startup.encode(text, Instant::now())
    }
}

impl Metrics {
    /// A watch tells of a pod at `now`; `provisionable` says that it waits for a machine.
    pub fn pod_seen(&self, pod: &Pod, provisionable: bool, now: Timestamp) {
        let Some(uid) = pod.metadata.uid.as_deref() else { return };
        let times = &self.pod_times;
        let mut waiting = times.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if phase(pod) == "Pending" {
            let one = waiting.entry(uid.to_owned()).or_default();
            if provisionable {
                one.seen.get_or_insert(now);
            }
            return;
        }
        let Some(one) = waiting.get_mut(uid) else { return };
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        if let Some(bound) = since(pod, "PodScheduled").filter(|_| !one.is_bound) {
            one.is_bound = true;
            created.into_iter().for_each(|created| times.bound.observe(seconds(created, bound)));
            one.placed.into_iter().for_each(|placed| times.planned_bound.observe(seconds(placed, bound)));
        }
        if let Some(ready) = since(pod, "Ready") {
            created
                .into_iter()
                .for_each(|created| times.startup.observe(Vec::new(), seconds(created, ready), Instant::now()));
            one.placed.into_iter().for_each(|placed| times.planned_startup.observe(seconds(placed, ready)));
            waiting.remove(uid);
        }
    }

    /// A pod is gone.
    pub fn pod_gone(&self, uid: &str) {
        self.pod_times.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// All pods have been read anew: whatever is not among them is gone.
    pub fn pods_read(&self, uids: &BTreeSet<String>) {
        self.pod_times.waiting.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| uids.contains(uid));
    }

    /// A plan has looked at a pod, and has a place for it or none.
    pub fn pod_decided(&self, uid: &str, has_place: bool, now: Timestamp) {
        let mut waiting = self.pod_times.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(one) = waiting.get_mut(uid) else { return };
        one.placed = one.placed.or(Some(now)).filter(|_| has_place);
        if !std::mem::replace(&mut one.is_decided, true)
            && let Some(seen) = one.seen
        {
            self.pod_times.decision.observe(seconds(seen, now));
        }
    }

    /// What is known of a pod that does not run yet; `None` of all others.
    pub fn pod_waiting(&self, uid: &str) -> Option<Waiting> {
        self.pod_times.waiting.lock().unwrap_or_else(PoisonError::into_inner).get(uid).copied()
    }
}

/// A pod's phase; a pod without one is pending.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Since when a condition of a pod is true.
pub fn since(pod: &Pod, kind: &str) -> Option<Timestamp> {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let found = conditions.find(|condition| condition.type_ == kind && condition.status == "True")?;
    found.last_transition_time.as_ref().map(|time| time.0)
}

/// Seconds from one time to another, none where clocks disagree.
pub fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    fn pod(phase: &str, conditions: &[(&str, i64)]) -> Pod {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(
                |(kind, second)| json!({"type": kind, "status": "True", "lastTransitionTime": at(*second).to_string()}),
            )
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": "a", "uid": "u", "creationTimestamp": at(0).to_string()},
            "status": {"phase": phase, "conditions": conditions},
        }))
        .unwrap()
    }

    fn told(metrics: &Metrics, name: &str) -> Vec<String> {
        let text = metrics.encode().unwrap();
        let ends = |line: &&str| line.starts_with(&format!("{name}_sum")) || line.starts_with(&format!("{name}_count"));
        text.lines().filter(ends).map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
    }

    #[test]
    fn the_times_of_a_pod_are_counted_once() {
        let metrics = Metrics::default();
        metrics.pod_seen(&pod("Pending", &[]), false, at(1));
        assert_eq!(metrics.pod_waiting("u"), Some(Waiting::default()));
        metrics.pod_seen(&pod("Pending", &[]), true, at(2));
        metrics.pod_seen(&pod("Pending", &[]), true, at(3));
        assert_eq!(metrics.pod_waiting("u").unwrap().seen, Some(at(2)));
        metrics.pod_decided("u", false, at(4));
        assert_eq!(metrics.pod_waiting("u").unwrap().placed, None);
        metrics.pod_decided("u", true, at(6));
        metrics.pod_decided("u", true, at(7));
        assert_eq!(metrics.pod_waiting("u").unwrap().placed, Some(at(6)));
        assert_eq!(told(&metrics, "karpenter_pods_scheduling_decision_duration_seconds"), ["2.0", "1"]);
        let bound = [("PodScheduled", 20)];
        metrics.pod_seen(&pod("Pending", &bound), false, at(21));
        for second in [30, 31] {
            metrics.pod_seen(&pod("Running", &bound), false, at(second));
        }
        assert_eq!(told(&metrics, "karpenter_pods_bound_duration_seconds"), ["20.0", "1"]);
        assert_eq!(told(&metrics, "karpenter_pods_provisioning_bound_duration_seconds"), ["14.0", "1"]);
        for second in [40, 41] {
            metrics.pod_seen(&pod("Running", &[("PodScheduled", 20), ("Ready", 36)]), false, at(second));
        }
        assert_eq!(told(&metrics, "karpenter_pods_startup_duration_seconds"), ["36", "1"]);
        assert_eq!(told(&metrics, "karpenter_pods_provisioning_startup_duration_seconds"), ["30.0", "1"]);
        assert_eq!(metrics.pod_waiting("u"), None);
    }

    #[test]
    fn pods_that_ran_before_or_are_gone_are_not_counted() {
        let metrics = Metrics::default();
        let runs = pod("Running", &[("PodScheduled", 20), ("Ready", 36)]);
        metrics.pod_seen(&runs, false, at(40));
        metrics.pod_seen(&pod("Pending", &[]), true, at(1));
        metrics.pod_gone("u");
        metrics.pod_seen(&runs, false, at(40));
        metrics.pod_seen(&pod("Pending", &[]), true, at(1));
        metrics.pods_read(&BTreeSet::from(["other".to_owned()]));
        metrics.pod_seen(&runs, false, at(40));
        assert!(told(&metrics, "karpenter_pods_startup_duration_seconds").is_empty());
        assert_eq!(told(&metrics, "karpenter_pods_bound_duration_seconds"), ["0.0", "0"]);
    }
}
