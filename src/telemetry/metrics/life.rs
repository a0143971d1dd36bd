//! Claims and their nodes, from made to gone.
//!
//! Why a claim was ended by us, `reason` of `karpenter_nodeclaims_disrupted_total`: `empty`, `drifted`, `expired`,
//! `unhealthy`, `garbage_collected`, `insufficient_capacity`, `nodeclass_not_ready`, `launch_timeout`,
//! `registration_timeout`; `spot_interrupted` is the AWS provider's (`pkg/controllers/interruption`), and
//! `overprovisioned` (static capacity with too many nodes) Karpenter's word in `pkg/controllers/static/deprovisioning`,
//! which it does not count. Claims whose end somebody else asked for are not counted here.

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Labels, Metrics, pool_label, snake_case, zone_label};
use crate::api::NodeClaim;
use crate::labels;

/// Counters of claims and nodes.
pub(super) struct Life {
    claims_created: Family<Labels, Counter>,
    claims_launched: Family<Labels, Counter>,
    nodes_created: Family<Labels, Counter>,
    claims_initialized: Family<Labels, Counter>,
    claims_terminated: Family<Labels, Counter>,
    claims_disrupted: Family<Labels, Counter>,
    claims_unhealthy: Family<Labels, Counter>,
    nodes_terminated: Family<Labels, Counter>,
    launches_refused: Family<Labels, Counter>,
    evictions: Family<Labels, Counter>,
}

impl Life {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let mut counter = |name: &str, help: &str| {
            let family: Family<Labels, Counter> = Family::default();
            registry.register(name, help, family.clone());
            family
        };
        Life {
            claims_created: counter("karpenter_nodeclaims_created", "Claims made"),
            claims_launched: counter("supercargo_nodeclaims_launched", "Machines launched"),
            nodes_created: counter("karpenter_nodes_created", "Nodes that joined"),
            claims_initialized: counter("supercargo_nodeclaims_initialized", "Nodes ready for pods"),
            claims_terminated: counter("karpenter_nodeclaims_terminated", "Claims that ended"),
            claims_disrupted: counter("karpenter_nodeclaims_disrupted", "Claims ended by us, by reason"),
            claims_unhealthy: counter(
                "karpenter_nodeclaims_unhealthy_disrupted",
                "Claims ended because their node was sick",
            ),
            nodes_terminated: counter("karpenter_nodes_terminated", "Nodes that ended"),
            launches_refused: counter("supercargo_launches_refused", "Launches without capacity"),
            evictions: counter(
                "karpenter_pods_eviction_requests",
                "Evictions that were asked for, by what the API server answered",
            ),
        }
    }
}

impl Metrics {
    /// A claim was made: `provisioned`, or in place of one that has `drifted`.
    pub fn claim_created(&self, claim: &NodeClaim, reason: &str) {
        let relaxed = claim.annotations().get(labels::MIN_VALUES_RELAXED).map_or("false", String::as_str);
        let labels = [("reason", reason.to_owned()), ("min_values_relaxed", relaxed.to_owned())];
        self.life.claims_created.get_or_create(&[pool_label(claim)].into_iter().chain(labels).collect()).inc();
    }

    /// A claim's machine was launched.
    pub fn claim_launched(&self, claim: &NodeClaim) {
        self.life.claims_launched.get_or_create(&of_claim(claim)).inc();
    }

    /// A claim's node has joined.
    pub fn node_created(&self, claim: &NodeClaim) {
        self.life.nodes_created.get_or_create(&vec![pool_label(claim), zone_label(claim)]).inc();
    }

    /// A claim's node is ready for pods.
    pub fn claim_initialized(&self, claim: &NodeClaim) {
        self.life.claims_initialized.get_or_create(&of_claim(claim)).inc();
    }

    /// A claim is gone.
    pub fn claim_terminated(&self, claim: &NodeClaim) {
        let mut labels = of_claim(claim);
        labels.push(zone_label(claim));
        self.life.claims_terminated.get_or_create(&labels).inc();
    }

    /// We asked for the end of a claim.
    pub fn claim_disrupted(&self, claim: &NodeClaim, reason: &str) {
        let mut labels = of_claim(claim);
        labels.push(("reason", reason.to_owned()));
        self.life.claims_disrupted.get_or_create(&labels).inc();
    }

    /// We asked for the end of a claim because of a condition of its node.
    pub fn claim_unhealthy(&self, claim: &NodeClaim, condition: &str) {
        let mut labels = of_claim(claim);
        labels.push(("condition", snake_case(condition)));
        let image = claim.status.as_ref().and_then(|status| status.image_id.clone());
        labels.push(("image_id", image.unwrap_or_default()));
        self.life.claims_unhealthy.get_or_create(&labels).inc();
    }

    /// The cloud had nothing for a claim.
    pub fn launch_refused(&self, claim: &NodeClaim) {
        self.life.launches_refused.get_or_create(&of_claim(claim)).inc();
    }

    /// A node is gone.
    pub fn node_terminated(&self, node: &Node) {
        self.life.nodes_terminated.get_or_create(&vec![pool_label(node), zone_label(node)]).inc();
    }

    /// A pod was asked to leave its node, with this answer.
    pub fn eviction_requested(&self, code: u16) {
        self.life.evictions.get_or_create(&vec![("code", code.to_string())]).inc();
    }
}

fn of_claim(claim: &NodeClaim) -> Labels {
    let capacity_type = claim.labels().get(labels::CAPACITY_TYPE).cloned().unwrap_or_default();
    vec![pool_label(claim), ("capacity_type", capacity_type)]
}
