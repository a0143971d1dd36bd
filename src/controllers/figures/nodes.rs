//! Nodes: what they have, what is asked of them, how old they are (`pkg/controllers/metrics/node/controller.go`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use supercargo_models::kubernetes::quantity::{Resources, add};
use supercargo_models::kubernetes::requests::{pod_limits, pod_requests};
use supercargo_models::kubernetes::restricted;

use super::super::pods;
use super::super::stores::provider_id;
use super::{amounts, listed};
use crate::api::NodeClaim;
use crate::labels;
use crate::telemetry::{Gauges, Labels, seconds};

/// Labels of nodes that their figures bear, beside those of [`restricted::DOMAINS`].
const COMMON: [&str; 7] = [
    labels::ZONE,
    labels::REGION,
    labels::INSTANCE_TYPE,
    labels::ARCH,
    labels::OS,
    "node.kubernetes.io/windows-build",
    "topology.k8s.aws/zone-id",
];

/// Each label of a node with its name in metrics: what comes after the domain, `instance_type`.
static LABELS: LazyLock<Vec<(&'static str, &'static str)>> = LazyLock::new(|| {
    let chosen = restricted::DOMAINS.iter().flat_map(|(_, chosen)| chosen.iter().copied());
    let all = COMMON.into_iter().chain(chosen.filter(|key| *key != "karpenter.k8s.aws/ec2nodeclass"));
    let name = |key: &'static str| {
        let name = key.split('/').next_back()?.replace('-', "_");
        // For as long as the program runs, as the key itself.
        Some((key, &*String::leak(name)))
    };
    all.filter_map(name).collect()
});

/// What the pods of a node ask for.
#[derive(Debug, Default)]
struct Asked {
    requests: Resources,
    limits: Resources,
    daemon_requests: Resources,
    daemon_limits: Resources,
}

/// All figures of nodes.
pub(super) fn gauges(nodes: &[Arc<Node>], pods: &[Arc<Pod>], claims: &[Arc<NodeClaim>], now: Timestamp) -> Vec<Gauges> {
    let managed: HashSet<&str> = claims.iter().filter_map(|claim| provider_of(claim)).collect();
    let asked = asked(pods);
    let nothing = Asked::default();
    let mut allocatable = Gauges::new("karpenter_nodes_allocatable", "What a node offers to pods");
    let mut overhead = Gauges::new("karpenter_nodes_system_overhead", "What a node has and does not offer to pods");
    let mut requests = Gauges::new("karpenter_nodes_total_pod_requests", "What the pods of a node request");
    let mut limits = Gauges::new("karpenter_nodes_total_pod_limits", "What the pods of a node may use at most");
    let mut daemon_requests =
        Gauges::new("karpenter_nodes_total_daemon_requests", "What the daemons of a node request");
    let mut daemon_limits =
        Gauges::new("karpenter_nodes_total_daemon_limits", "What the daemons of a node may use at most");
    let mut lifetime = Gauges::new("karpenter_nodes_current_lifetime_seconds", "Seconds since a node was made");
    let mut utilization =
        Gauges::new("karpenter_cluster_utilization_percent", "What pods request of what all nodes offer");
    let (mut offered, mut used) = (Resources::new(), Resources::new());
    for node in nodes {
        let asked = asked.get(node.name_any().as_str()).unwrap_or(&nothing);
        let status = node.status.as_ref();
        let has = listed(status.and_then(|status| status.capacity.as_ref()));
        let offers = listed(status.and_then(|status| status.allocatable.as_ref()));
        let kept = has.iter().map(|(name, amount)| (name.clone(), amount - offers.get(name).copied().unwrap_or(0)));
        let own = of_node(node, &managed);
        for (gauges, of) in [
            (&mut allocatable, &offers),
            (&mut overhead, &kept.collect()),
            (&mut requests, &asked.requests),
            (&mut limits, &asked.limits),
            (&mut daemon_requests, &asked.daemon_requests),
            (&mut daemon_limits, &asked.daemon_limits),
        ] {
            for (resource, amount) in amounts(of) {
                gauges.add(own.iter().cloned().chain([("resource_type", resource)]).collect(), amount);
            }
        }
        if let Some(created) = &node.metadata.creation_timestamp {
            lifetime.add(own, seconds(created.0, now));
        }
        add(&mut offered, &offers);
        add(&mut used, &asked.requests);
    }
    for (resource, amount) in amounts(&offered).filter(|(_, amount)| *amount > 0.0) {
        let used = amounts(&used).find(|(name, _)| *name == resource).map_or(0.0, |(_, used)| used);
        utilization.add(vec![("resource_type", resource)], 100.0 * used / amount);
    }
    let there: HashSet<&str> = nodes.iter().filter_map(|node| provider_id(node)).collect();
    let coming = claims.iter().filter_map(|claim| provider_of(claim)).filter(|id| !there.contains(id)).count();
    let count = Gauges::single(
        "karpenter_cluster_state_node_count",
        "Nodes, and machines that have not joined yet",
        (nodes.len() + coming) as f64,
    );
    vec![allocatable, overhead, requests, limits, daemon_requests, daemon_limits, lifetime, utilization, count]
}

fn provider_of(claim: &NodeClaim) -> Option<&str> {
    claim.status.as_ref()?.provider_id.as_deref()
}

/// By node: what its pods ask for, each of them as one of `pods`, too.
fn asked(pods: &[Arc<Pod>]) -> HashMap<&str, Asked> {
    let mut all: HashMap<&str, Asked> = HashMap::new();
    for pod in pods {
        let (Some(node), Some(spec)) = (pods::node_of(pod), &pod.spec) else { continue };
        let one = BTreeMap::from([("pods".to_owned(), 1)]);
        // What can't be understood is refused by the API server already.
        let (requests, limits) = (pod_requests(spec).unwrap_or_default(), pod_limits(spec).unwrap_or_default());
        let asked = all.entry(node).or_default();
        let mut count = |into: fn(&mut Asked) -> [&mut Resources; 2]| {
            let [requested, limited] = into(asked);
            for (sum, amounts) in [(requested, &requests), (limited, &limits)] {
                add(sum, amounts);
                add(sum, &one);
            }
        };
        count(|asked| [&mut asked.requests, &mut asked.limits]);
        if pods::is_daemon(pod) {
            count(|asked| [&mut asked.daemon_requests, &mut asked.daemon_limits]);
        }
    }
    all
}

/// The labels of a node's figures.
fn of_node(node: &Node, managed: &HashSet<&str>) -> Labels {
    let phase = node.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    let is_managed = provider_id(node).is_some_and(|id| managed.contains(id));
    let mut own = vec![("node_name", node.name_any()), ("phase", phase), ("managed", is_managed.to_string())];
    own.extend(LABELS.iter().filter_map(|(key, name)| Some((*name, node.labels().get(*key)?.clone()))));
    own
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, owner: &str, resources: Value) -> Arc<Pod> {
        let owner = json!({"apiVersion": "apps/v1", "kind": owner, "name": "o", "uid": "o", "controller": true});
        let containers = json!([{"name": "main", "resources": resources}]);
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "x", "ownerReferences": [owner]},
                "spec": {"nodeName": "n", "containers": containers},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn a_node_is_told_with_what_is_asked_of_it() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {
                "karpenter.sh/nodepool": "p", "karpenter.sh/capacity-type": "spot", "team": "blue",
                "topology.kubernetes.io/zone": "a", "karpenter.k8s.aws/instance-cpu": "4"}},
            "spec": {"providerID": "kwok:///a/1"},
            "status": {"capacity": {"cpu": "4", "ephemeral-storage": "20Gi"},
                "allocatable": {"cpu": "3900m", "ephemeral-storage": "18Gi"}},
        }))
        .unwrap();
        let claim: NodeClaim = serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": "c"},
            "spec": {"nodeClassRef": {"group": "g", "kind": "k", "name": "n"}, "requirements": []},
            "status": {"providerID": "kwok:///a/1"},
        }))
        .unwrap();
        let coming = NodeClaim {
            status: serde_json::from_value(json!({"providerID": "kwok:///a/2"})).unwrap(),
            ..claim.clone()
        };
        let pods = [
            pod("web", "ReplicaSet", json!({"requests": {"cpu": "1500m"}, "limits": {"cpu": "2"}})),
            pod("agent", "DaemonSet", json!({"requests": {"cpu": "450m"}})),
        ];
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let all = gauges(&[Arc::new(node)], &pods, &[Arc::new(claim), Arc::new(coming)], now);
        let of = |name: &str, resource: &str| {
            let gauges = all.iter().find(|gauges| gauges.name == name).unwrap();
            let is = |labels: &Labels| {
                resource.is_empty() || labels.iter().any(|(key, value)| *key == "resource_type" && value == resource)
            };
            gauges.series.iter().find(|(labels, _)| is(labels)).map(|(_, value)| *value)
        };
        assert_eq!(of("karpenter_nodes_allocatable", "cpu"), Some(3.9));
        assert_eq!(of("karpenter_nodes_allocatable", "ephemeral_storage"), Some(18.0 * (1_u64 << 30) as f64));
        assert_eq!(of("karpenter_nodes_system_overhead", "cpu"), Some(0.1));
        assert_eq!(of("karpenter_nodes_total_pod_requests", "cpu"), Some(1.95));
        assert_eq!(of("karpenter_nodes_total_pod_requests", "pods"), Some(2.0));
        assert_eq!(of("karpenter_nodes_total_pod_limits", "cpu"), Some(2.0));
        assert_eq!(of("karpenter_nodes_total_daemon_requests", "cpu"), Some(0.45));
        assert_eq!(of("karpenter_nodes_total_daemon_limits", "cpu"), None);
        assert_eq!(of("karpenter_nodes_total_daemon_limits", "pods"), Some(1.0));
        assert_eq!(of("karpenter_nodes_current_lifetime_seconds", ""), Some(3600.0));
        assert_eq!(of("karpenter_cluster_utilization_percent", "cpu"), Some(50.0));
        assert_eq!(of("karpenter_cluster_state_node_count", ""), Some(2.0));
        let lifetime = all.iter().find(|gauges| gauges.name.ends_with("lifetime_seconds")).unwrap();
        let mut labels: Vec<String> =
            lifetime.series[0].0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        labels.sort();
        let expected =
            ["capacity_type=spot", "instance_cpu=4", "managed=true", "node_name=n", "nodepool=p", "phase=", "zone=a"];
        assert_eq!(labels, expected);
    }
}
