//! What is counted of the ends of nodes, claims and their pods: names, labels and buckets are Karpenter's
//! (`pkg/controllers/node/termination/metrics.go`, its `terminator/metrics.go` and `pkg/controllers/nodeclaim/lifecycle/metrics.go`
//! of <https://github.com/kubernetes-sigs/karpenter>).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::metrics::{Labels, pool_label};
use crate::api::NodeClaim;

/// A histogram for each set of labels.
type Times = Family<Labels, Histogram, fn() -> Histogram>;

/// Bounds of nodes' ages, in hours.
const AGES: [f64; 21] = [
    0.25, 0.5, 0.75, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0, 24.0, 48.0, 72.0, 120.0, 240.0, 360.0, 480.0,
    600.0, 720.0,
];

/// The counters of ends.
#[derive(Debug)]
pub struct Ends {
    nodes_drained: Family<Labels, Counter>,
    pods_drained: Family<Labels, Counter>,
    node_ends: Times,
    node_lifetimes: Times,
    claim_ends: Times,
    machine_ends: Times,
}

impl Default for Ends {
    fn default() -> Self {
        let (nodes_drained, pods_drained) = Default::default();
        Ends {
            nodes_drained,
            pods_drained,
            // A summary with quantiles there, for which the format's library has no type: sum and count are the same.
            node_ends: Family::new_with_constructor(|| Histogram::new(exponential_buckets(1.0, 2.0, 12))),
            node_lifetimes: Family::new_with_constructor(|| Histogram::new(AGES.map(|hours| hours * 3600.0))),
            claim_ends: Family::new_with_constructor(|| Histogram::new(exponential_buckets(1.0, 2.0, 12))),
            machine_ends: Family::new_with_constructor(|| Histogram::new(exponential_buckets(1.0, 2.0, 11))),
        }
    }
}

impl Ends {
    /// Has them told of.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("karpenter_nodes_drained", "Nodes that all pods have left", self.nodes_drained.clone());
        let name = "karpenter_pods_drained";
        registry.register(name, "Pods that were asked to leave their node, by reason", self.pods_drained.clone());
        let name = "karpenter_nodes_termination_duration_seconds";
        registry.register(name, "From when a node's end is asked for until it is gone", self.node_ends.clone());
        let name = "karpenter_nodes_lifetime_duration_seconds";
        registry.register(name, "How old nodes were when they were gone", self.node_lifetimes.clone());
        let name = "karpenter_nodeclaims_termination_duration_seconds";
        registry.register(name, "From when a claim's end is asked for until it is gone", self.claim_ends.clone());
        let name = "karpenter_nodeclaims_instance_termination_duration_seconds";
        registry.register(name, "From when a machine's end is asked for until it is gone", self.machine_ends.clone());
    }

    /// A claim says that all pods have left its node.
    pub fn node_drained(&self, claim: &NodeClaim) {
        self.nodes_drained.get_or_create(&vec![pool_label(claim)]).inc();
    }

    /// A pod is leaving its node, for the reason of that one's end.
    pub fn pod_drained(&self, reason: &str) {
        self.pods_drained.get_or_create(&vec![("reason", reason.to_owned())]).inc();
    }

    /// A node is gone.
    pub fn node_gone(&self, node: &Node, now: Timestamp) {
        let labels = vec![pool_label(node)];
        if let Some(seconds) = seconds(node.metadata.deletion_timestamp.as_ref().map(|time| time.0), now) {
            self.node_ends.get_or_create(&labels).observe(seconds);
        }
        if let Some(seconds) = seconds(node.metadata.creation_timestamp.as_ref().map(|time| time.0), now) {
            self.node_lifetimes.get_or_create(&labels).observe(seconds);
        }
    }

    /// A claim is gone, whose machine was asked to end then, if it had one.
    pub fn claim_gone(&self, claim: &NodeClaim, machine: Option<Timestamp>, now: Timestamp) {
        let labels = vec![pool_label(claim)];
        if let Some(seconds) = seconds(claim.metadata.deletion_timestamp.as_ref().map(|time| time.0), now) {
            self.claim_ends.get_or_create(&labels).observe(seconds);
        }
        if let Some(seconds) = seconds(machine, now) {
            self.machine_ends.get_or_create(&labels).observe(seconds);
        }
    }
}

/// From then to now; nothing less, since clocks of other machines may be ahead.
fn seconds(then: Option<Timestamp>, now: Timestamp) -> Option<f64> {
    then.map(|then| now.duration_since(then).as_secs_f64().max(0.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use prometheus_client::encoding::text::encode;
    use serde_json::json;

    use super::*;

    #[test]
    fn ends_are_counted_under_the_names_that_dashboards_know() {
        let ends = Ends::default();
        let metadata = json!({
            "name": "n", "labels": {"karpenter.sh/nodepool": "default"},
            "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-01T01:00:00Z",
        });
        let node: Node = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
        let mut claim = NodeClaim { metadata: node.metadata.clone(), ..NodeClaim::default() };
        let now = "2026-01-01T01:00:10Z".parse().unwrap();
        ends.node_drained(&claim);
        ends.pod_drained("Drifted");
        ends.node_gone(&node, now);
        ends.claim_gone(&claim, "2026-01-01T01:00:07Z".parse().ok(), now);
        // One that was never launched, and whose end was asked for by a clock that is ahead.
        claim.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T01:00:11Z")).unwrap();
        ends.claim_gone(&claim, None, now);
        let mut registry = Registry::default();
        ends.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "karpenter_nodes_drained_total{nodepool=\"default\"} 1\n",
            "karpenter_pods_drained_total{reason=\"Drifted\"} 1\n",
            "karpenter_nodes_termination_duration_seconds_sum{nodepool=\"default\"} 10.0\n",
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
