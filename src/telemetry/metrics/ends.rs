//! What is counted of the ends of nodes, claims and their pods: names, labels and buckets are Karpenter's
//! (`pkg/controllers/node/termination/metrics.go`, its `terminator/metrics.go` and `pkg/controllers/nodeclaim/lifecycle/metrics.go`
//! of <https://github.com/kubernetes-sigs/karpenter>).

use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::summary::Summary;
use super::{Labels, Metrics, pool_label, seconds};
use crate::api::NodeClaim;

/// A histogram for each set of labels.
type Times = Family<Labels, Histogram, fn() -> Histogram>;

/// Bounds of nodes' ages, in hours.
const AGES: [f64; 21] = [
    0.25, 0.5, 0.75, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0, 24.0, 48.0, 72.0, 120.0, 240.0, 360.0, 480.0,
    600.0, 720.0,
];

/// Figures of ends.
pub(super) struct Ends {
    nodes_drained: Family<Labels, Counter>,
    pods_drained: Family<Labels, Counter>,
    node_ends: Summary,
    node_lifetimes: Times,
    claim_ends: Times,
    machine_ends: Times,
}

impl Ends {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let (nodes_drained, pods_drained) = Default::default();
        let ends = Ends {
            nodes_drained,
            pods_drained,
            node_ends: Summary::new(
                "karpenter_nodes_termination_duration_seconds",
                "The time from when a node's end is asked for until it is gone",
            ),
            node_lifetimes: Family::new_with_constructor(|| Histogram::new(AGES.map(|hours| hours * 3600.0))),
            claim_ends: Family::new_with_constructor(|| Histogram::new(exponential_buckets(1.0, 2.0, 12))),
            machine_ends: Family::new_with_constructor(|| Histogram::new(exponential_buckets(1.0, 2.0, 11))),
        };
        registry.register("karpenter_nodes_drained", "Nodes that all pods have left", ends.nodes_drained.clone());
        let name = "karpenter_pods_drained";
        registry.register(name, "Pods that were asked to leave their node, by reason", ends.pods_drained.clone());
        let name = "karpenter_nodes_lifetime_duration_seconds";
        registry.register(name, "How old nodes were when they were gone", ends.node_lifetimes.clone());
        let name = "karpenter_nodeclaims_termination_duration_seconds";
        registry.register(name, "From when a claim's end is asked for until it is gone", ends.claim_ends.clone());
        let name = "karpenter_nodeclaims_instance_termination_duration_seconds";
        registry.register(name, "From when a machine's end is asked for until it is gone", ends.machine_ends.clone());
        ends
    }

    pub(super) fn encode(&self, text: &mut String) -> std::fmt::Result {
        self.node_ends.encode(text, Instant::now())
    }
}

impl Metrics {
    /// A claim says that all pods have left its node.
    pub fn node_drained(&self, claim: &NodeClaim) {
        self.ends.nodes_drained.get_or_create(&vec![pool_label(claim)]).inc();
    }

    /// A pod is leaving its node, for the reason of that one's end.
    pub fn pod_drained(&self, reason: &str) {
        self.ends.pods_drained.get_or_create(&vec![("reason", reason.to_owned())]).inc();
    }

    /// A node is gone.
    pub fn node_gone(&self, node: &Node, now: Timestamp) {
        let labels = vec![pool_label(node)];
        if let Some(asked) = &node.metadata.deletion_timestamp {
            self.ends.node_ends.observe(labels.clone(), seconds(asked.0, now), Instant::now());
        }
        if let Some(created) = &node.metadata.creation_timestamp {
            self.ends.node_lifetimes.get_or_create(&labels).observe(seconds(created.0, now));
        }
    }

    /// A claim is gone, whose machine was asked to end then, if it had one.
    pub fn claim_gone(&self, claim: &NodeClaim, machine: Option<Timestamp>, now: Timestamp) {
        let labels = vec![pool_label(claim)];
        if let Some(asked) = &claim.metadata.deletion_timestamp {
            self.ends.claim_ends.get_or_create(&labels).observe(seconds(asked.0, now));
        }
        if let Some(asked) = machine {
            self.ends.machine_ends.get_or_create(&labels).observe(seconds(asked, now));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn ends_are_counted_under_the_names_that_dashboards_know() {
        let metrics = Metrics::default();
        let metadata = json!({
            "name": "n", "labels": {"karpenter.sh/nodepool": "default"},
            "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-01T01:00:00Z",
        });
        let node: Node = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
        let mut claim = NodeClaim { metadata: node.metadata.clone(), ..NodeClaim::default() };
        let now = "2026-01-01T01:00:10Z".parse().unwrap();
        metrics.node_drained(&claim);
        metrics.pod_drained("Drifted");
        metrics.node_gone(&node, now);
        metrics.claim_gone(&claim, "2026-01-01T01:00:07Z".parse().ok(), now);
        // One that was never launched, and whose end was asked for by a clock that is ahead.
        claim.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T01:00:11Z")).unwrap();
        metrics.claim_gone(&claim, None, now);
        let text = metrics.encode().unwrap();
        for line in [
            "karpenter_nodes_drained_total{nodepool=\"default\"} 1\n",
            "karpenter_pods_drained_total{reason=\"Drifted\"} 1\n",
            "karpenter_nodes_termination_duration_seconds_sum{nodepool=\"default\"} 10\n",
            "karpenter_nodes_termination_duration_seconds{nodepool=\"default\",quantile=\"0.5\"} 10\n",
            "karpenter_nodes_lifetime_duration_seconds_sum{nodepool=\"default\"} 3610.0\n",
            "karpenter_nodes_lifetime_duration_seconds_bucket{le=\"3600.0\",nodepool=\"default\"} 0\n",
            "karpenter_nodeclaims_termination_duration_seconds_sum{nodepool=\"default\"} 10.0\n",
            "karpenter_nodeclaims_termination_duration_seconds_count{nodepool=\"default\"} 2\n",
            "karpenter_nodeclaims_instance_termination_duration_seconds_sum{nodepool=\"default\"} 3.0\n",
            "karpenter_nodeclaims_instance_termination_duration_seconds_count{nodepool=\"default\"} 1\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
