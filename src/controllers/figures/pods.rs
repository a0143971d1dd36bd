//! Pods: where they are, and how long they have been waiting (`pkg/controllers/metrics/pod/controller.go`). Pods that have
//! ended are not known here, and not told.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;

use super::super::pods;
use super::by_name;
use crate::labels;
use crate::telemetry::{Gauges, Labels, Waiting, phase, seconds, since};

/// All figures of pods; `waiting` knows those that do not run yet by their uid.
pub(super) fn gauges(
    all: &[Arc<Pod>],
    nodes: &[Arc<Node>],
    waiting: impl Fn(&str) -> Option<Waiting>,
    now: Timestamp,
) -> Vec<Gauges> {
    let nodes = by_name(nodes);
    let mut state = Gauges::new("karpenter_pods_state", "One a pod, with where it is and how it is");
    let mut unstarted =
        Gauges::new("karpenter_pods_unstarted_time_seconds", "Since a pod was made that does not run yet");
    let mut unbound = Gauges::new("karpenter_pods_unbound_time_seconds", "Since a pod was made that is not bound yet");
    let mut planned_unstarted = Gauges::new(
        "karpenter_pods_provisioning_unstarted_time_seconds",
        "Since a plan has a place for a pod that does not run yet",
    );
    let mut planned_unbound = Gauges::new(
        "karpenter_pods_provisioning_unbound_time_seconds",
        "Since a plan has a place for a pod that is not bound yet",
    );
    let mut undecided = Gauges::new(
        "karpenter_pods_provisioning_scheduling_undecided_time_seconds",
        "Since a pod is known to wait that no plan has looked at yet",
    );
    for pod in all {
        let node = pods::node_of(pod).and_then(|name| nodes.get(name).copied());
        state.add(of_pod(pod, node), 1.0);
        let Some(waits) = pod.metadata.uid.as_deref().and_then(&waiting) else { continue };
        let named = || vec![("name", pod.name_any()), ("namespace", pod.namespace().unwrap_or_default())];
        let add = |gauges: &mut Gauges, begin: Option<Timestamp>| {
            begin.into_iter().for_each(|begin| gauges.add(named(), seconds(begin, now)));
        };
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        add(&mut unstarted, created);
        add(&mut planned_unstarted, waits.placed);
        if since(pod, "PodScheduled").is_none() {
            add(&mut unbound, created);
            add(&mut planned_unbound, waits.placed);
        }
        add(&mut undecided, waits.seen.filter(|_| !waits.is_decided));
    }
    let ignored = all.iter().filter(|pod| pods::is_ignored(pod)).count();
    let ignored = Gauges::single(
        "karpenter_scheduler_ignored_pods_count",
        "Pods that wait, and want no node of a pool",
        ignored as f64,
    );
    vec![state, unstarted, unbound, planned_unstarted, planned_unbound, undecided, ignored]
}

fn of_pod(pod: &Pod, node: Option<&Node>) -> Labels {
    let host = |key: &str| node.and_then(|node| node.labels().get(key).cloned()).unwrap_or_default();
    let namespace = pod.namespace().unwrap_or_default();
    let owner = pod.owner_references().first().map(|owner| {
        let kind = owner.kind.to_lowercase();
        format!("/apis/{}/namespaces/{namespace}/{kind}s/{}", owner.api_version, owner.name)
    });
    let bound = pods::node_of(pod);
    vec![
        ("name", pod.name_any()),
        ("namespace", namespace),
        ("owner", owner.unwrap_or_default()),
        ("node", bound.unwrap_or_default().to_owned()),
        ("scheduled", bound.is_some().to_string()),
        ("nodepool", host(labels::NODE_POOL)),
        ("zone", host(labels::ZONE)),
        ("arch", host(labels::ARCH)),
        ("capacity_type", host(labels::CAPACITY_TYPE)),
        ("instance_type", host(labels::INSTANCE_TYPE)),
        ("phase", phase(pod).to_owned()),
        ("ready", since(pod, "Ready").is_some().to_string()),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_told_with_its_node_and_while_it_waits_with_how_long() {
        let created = "2026-01-01T00:00:00Z";
        let runs = json!({
            "metadata": {"name": "runs", "namespace": "x", "uid": "1", "creationTimestamp": created, "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "r", "controller": true}]},
            "spec": {"nodeName": "n", "containers": []},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": created}]},
        });
        let waits = json!({
            "metadata": {"name": "waits", "namespace": "x", "uid": "2", "creationTimestamp": created},
            "spec": {"containers": []}, "status": {"phase": "Pending"},
        });
        let bound = json!({
            "metadata": {"name": "bound", "namespace": "x", "uid": "3", "creationTimestamp": created},
            "spec": {"nodeName": "n", "containers": []}, "status": {"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": created}]},
        });
        let pods: Vec<Arc<Pod>> = [runs, waits, bound].map(|pod| Arc::new(serde_json::from_value(pod).unwrap())).into();
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n", "labels": {
            "karpenter.sh/nodepool": "p", "topology.kubernetes.io/zone": "a", "kubernetes.io/arch": "amd64"}}}))
        .unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let known = Waiting { seen: Some(at("2026-01-01T00:00:10Z")), ..Waiting::default() };
        let waiting = |uid: &str| match uid {
            "2" => Some(known),
            "3" => Some(Waiting { is_decided: true, placed: Some(at("2026-01-01T00:00:20Z")), ..known }),
            _ => None,
        };
        let all = gauges(&pods, &[Arc::new(node)], waiting, at("2026-01-01T00:01:00Z"));
        let of = |name: &str| {
            let gauges = all.iter().find(|gauges| gauges.name == name).unwrap();
            let pods = gauges.series.iter().map(|(labels, value)| (labels[0].1.as_str(), *value));
            pods.collect::<Vec<_>>()
        };
        assert_eq!(of("karpenter_pods_state"), [("runs", 1.0), ("waits", 1.0), ("bound", 1.0)]);
        assert_eq!(of("karpenter_pods_unstarted_time_seconds"), [("waits", 60.0), ("bound", 60.0)]);
        assert_eq!(of("karpenter_pods_unbound_time_seconds"), [("waits", 60.0)]);
        assert_eq!(of("karpenter_pods_provisioning_unstarted_time_seconds"), [("bound", 40.0)]);
        assert_eq!(of("karpenter_pods_provisioning_unbound_time_seconds"), []);
        assert_eq!(of("karpenter_pods_provisioning_scheduling_undecided_time_seconds"), [("waits", 50.0)]);
        let labels: Vec<String> = all[0].series[0].0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let expected = "name=runs namespace=x owner=/apis/apps/v1/namespaces/x/replicasets/web node=n scheduled=true \
                        nodepool=p zone=a arch=amd64 capacity_type= instance_type= phase=Running ready=true";
        assert_eq!(labels.join(" "), expected);
    }
}
