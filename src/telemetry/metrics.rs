//! What is counted. What means the same as a metric of Karpenter's carries its name and labels
//! (<https://karpenter.sh/docs/reference/metrics/>; `pkg/metrics/metrics.go` and the `metrics.go` of each controller of
//! <https://github.com/kubernetes-sigs/karpenter>); our own begin with `supercargo_`.
//!
//! Why a claim was ended by us, `reason` of `karpenter_nodeclaims_disrupted_total`: `empty`, `drifted`, `expired`,
//! `unhealthy`, `garbage_collected`, `insufficient_capacity`, `nodeclass_not_ready`, `launch_timeout`,
//! `registration_timeout`; `spot_interrupted` is the AWS provider's (`pkg/controllers/interruption`), and
//! `overprovisioned` (static capacity with too many nodes) Karpenter's word in `pkg/controllers/static/deprovisioning`,
//! which it does not count. Claims whose end somebody else asked for are not counted here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use supercargo_models::kubernetes::quantity;
use supercargo_models::plan::Plan;

use super::ends::Ends;
use crate::api::{NodeClaim, NodePool};
use crate::labels;

/// Names and values of a metric's labels.
pub(super) type Labels = Vec<(&'static str, String)>;
type Float = Gauge<f64, AtomicU64>;

/// All counters.
pub struct Metrics {
    registry: Registry,
    /// What is counted of ends.
    pub ends: Ends,
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
    allowed_disruptions: Family<Labels, Gauge>,
    eligible: Family<Labels, Gauge>,
    decisions: Family<Labels, Counter>,
    replacements_failed: Family<Labels, Counter>,
    usage: Family<Labels, Float>,
    limit: Family<Labels, Float>,
    queue: Gauge,
    unschedulable: Gauge,
    duration: Histogram,
    plan_cost: Float,
    plan_bound: Float,
    plan_gap: Float,
    planned_pods: Counter,
    bound_as_planned: Counter,
    bound_elsewhere: Counter,
    extra_nodes: Counter,
    planned_cost: Counter<f64, AtomicU64>,
    realised_cost: Counter<f64, AtomicU64>,
    leader: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let mut metrics = Metrics {
            registry: Registry::default(),
            ends: Ends::default(),
            claims_created: Family::default(),
            claims_launched: Family::default(),
            nodes_created: Family::default(),
            claims_initialized: Family::default(),
            claims_terminated: Family::default(),
            claims_disrupted: Family::default(),
            claims_unhealthy: Family::default(),
            nodes_terminated: Family::default(),
            launches_refused: Family::default(),
            evictions: Family::default(),
            allowed_disruptions: Family::default(),
            eligible: Family::default(),
            decisions: Family::default(),
            replacements_failed: Family::default(),
            usage: Family::default(),
            limit: Family::default(),
            queue: Gauge::default(),
            unschedulable: Gauge::default(),
            duration: Histogram::new(exponential_buckets(0.005, 2.0, 14)),
            plan_cost: Float::default(),
            plan_bound: Float::default(),
            plan_gap: Float::default(),
            planned_pods: Counter::default(),
            bound_as_planned: Counter::default(),
            bound_elsewhere: Counter::default(),
            extra_nodes: Counter::default(),
            planned_cost: Counter::default(),
            realised_cost: Counter::default(),
            leader: Gauge::default(),
        };
        let all = &metrics;
        all.ends.register(&mut registry);
        registry.register("karpenter_nodeclaims_created", "Claims made", all.claims_created.clone());
        registry.register("supercargo_nodeclaims_launched", "Machines launched", all.claims_launched.clone());
        registry.register("karpenter_nodes_created", "Nodes that joined", all.nodes_created.clone());
        registry.register("supercargo_nodeclaims_initialized", "Nodes ready for pods", all.claims_initialized.clone());
        registry.register("karpenter_nodeclaims_terminated", "Claims that ended", all.claims_terminated.clone());
        registry.register(
            "karpenter_nodeclaims_disrupted",
            "Claims ended by us, by reason",
            all.claims_disrupted.clone(),
        );
        let name = "karpenter_nodeclaims_unhealthy_disrupted";
        registry.register(name, "Claims ended because their node was sick", all.claims_unhealthy.clone());
        registry.register("karpenter_nodes_terminated", "Nodes that ended", all.nodes_terminated.clone());
        registry.register("supercargo_launches_refused", "Launches without capacity", all.launches_refused.clone());
        let name = "karpenter_pods_eviction_requests";
        registry.register(
            name,
            "Evictions that were asked for, by what the API server answered",
            all.evictions.clone(),
        );
        let name = "karpenter_nodepools_allowed_disruptions";
        registry.register(name, "Nodes that budgets allow to be disrupted at once", all.allowed_disruptions.clone());
        let name = "karpenter_voluntary_disruption_eligible_nodes";
        registry.register(name, "Nodes that may be disrupted, by reason", all.eligible.clone());
        let name = "karpenter_voluntary_disruption_decisions";
        registry.register(name, "Nodes that were deleted or replaced, by reason", all.decisions.clone());
        let name = "karpenter_voluntary_disruption_queue_failures";
        registry.register(name, "Replacements that did not come", all.replacements_failed.clone());
        registry.register("karpenter_nodepools_usage", "What a pool's nodes have together", all.usage.clone());
        registry.register("karpenter_nodepools_limit", "The most that a pool's nodes may have", all.limit.clone());
        let scheduler = registry.sub_registry_with_label(("controller".into(), "provisioner".into()));
        scheduler.register("karpenter_scheduler_queue_depth", "Pods that wait to be planned", all.queue.clone());
        let name = "karpenter_scheduler_unschedulable_pods_count";
        scheduler.register(name, "Pods that the last plan found no place for", all.unschedulable.clone());
        let name = "karpenter_scheduler_scheduling_duration_seconds";
        scheduler.register(name, "Time a plan takes", all.duration.clone());
        registry.register(
            "supercargo_plan_cost",
            "Dollars an hour of the last plan's new nodes",
            all.plan_cost.clone(),
        );
        registry.register("supercargo_plan_bound", "What they cost at least", all.plan_bound.clone());
        registry.register(
            "supercargo_plan_gap",
            "By how much the last plan can be beaten at most",
            all.plan_gap.clone(),
        );
        registry.register("supercargo_planned_pods", "Pods that plans found a place for", all.planned_pods.clone());
        registry.register(
            "supercargo_pods_bound_as_planned",
            "Pods that run where they were planned",
            all.bound_as_planned.clone(),
        );
        registry.register(
            "supercargo_pods_bound_elsewhere",
            "Pods that run elsewhere than planned",
            all.bound_elsewhere.clone(),
        );
        let name = "supercargo_extra_nodes";
        registry.register(name, "Nodes for pods that did not come to run where planned", all.extra_nodes.clone());
        let name = "supercargo_planned_cost";
        let help = "Dollars an hour that launched machines were planned to cost, without extra nodes";
        registry.register(name, help, all.planned_cost.clone());
        let name = "supercargo_realised_cost";
        let help = "Dollars an hour that launched machines cost, extra nodes among them";
        registry.register(name, help, all.realised_cost.clone());
        registry.register("supercargo_leader", "Whether this replica acts", all.leader.clone());
        metrics.registry = registry;
        metrics
    }
}

impl Metrics {
    /// All of them in OpenMetrics' text.
    ///
    /// # Errors
    /// None but for want of memory.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Whether this replica acts.
    pub fn set_leader(&self, leader: bool) {
        self.leader.set(i64::from(leader));
    }

    /// Pods wait to be planned.
    pub fn waiting(&self, pods: usize) {
        self.queue.set(i64::try_from(pods).unwrap_or(i64::MAX));
    }

    /// A plan was made.
    pub fn planned(&self, plan: &Plan, taken: Duration) {
        let summary = &plan.summary;
        self.duration.observe(taken.as_secs_f64());
        self.plan_cost.set(summary.hourly_cost);
        self.plan_bound.set(summary.lower_bound.unwrap_or(f64::NAN));
        self.plan_gap.set(summary.gap.unwrap_or(f64::NAN));
        self.planned_pods.inc_by(summary.scheduled);
        self.unschedulable.set(i64::try_from(summary.unschedulable).unwrap_or(i64::MAX));
        self.queue.set(0);
    }

    /// A planned pod was bound: where it was planned, or elsewhere.
    pub fn pod_bound(&self, as_planned: bool) {
        match as_planned {
            true => self.bound_as_planned.inc(),
            false => self.bound_elsewhere.inc(),
        };
    }

    /// A node was asked for on behalf of pods that had been planned before.
    pub fn extra_node(&self) {
        self.extra_nodes.inc();
    }

    /// A machine was launched: what it was planned to cost, and what it costs.
    pub fn cost(&self, planned: f64, realised: f64) {
        self.planned_cost.inc_by(planned);
        self.realised_cost.inc_by(realised);
    }

    /// A claim was made: `provisioned`, or in place of one that has `drifted`.
    pub fn claim_created(&self, claim: &NodeClaim, reason: &str) {
        let relaxed = claim.annotations().get(labels::MIN_VALUES_RELAXED).map_or("false", String::as_str);
        let labels = [("reason", reason.to_owned()), ("min_values_relaxed", relaxed.to_owned())];
        self.claims_created.get_or_create(&[pool_label(claim)].into_iter().chain(labels).collect()).inc();
    }

    /// A claim's machine was launched.
    pub fn claim_launched(&self, claim: &NodeClaim) {
        self.claims_launched.get_or_create(&of_claim(claim)).inc();
    }

    /// A claim's node has joined.
    pub fn node_created(&self, claim: &NodeClaim) {
        self.nodes_created.get_or_create(&vec![pool_label(claim), zone_label(claim)]).inc();
    }

    /// A claim's node is ready for pods.
    pub fn claim_initialized(&self, claim: &NodeClaim) {
        self.claims_initialized.get_or_create(&of_claim(claim)).inc();
    }

    /// A claim is gone.
    pub fn claim_terminated(&self, claim: &NodeClaim) {
        let mut labels = of_claim(claim);
        labels.push(zone_label(claim));
        self.claims_terminated.get_or_create(&labels).inc();
    }

    /// We asked for the end of a claim.
    pub fn claim_disrupted(&self, claim: &NodeClaim, reason: &str) {
        let mut labels = of_claim(claim);
        labels.push(("reason", reason.to_owned()));
        self.claims_disrupted.get_or_create(&labels).inc();
    }

    /// We asked for the end of a claim because of a condition of its node.
    pub fn claim_unhealthy(&self, claim: &NodeClaim, condition: &str) {
        let mut labels = of_claim(claim);
        labels.push(("condition", snake_case(condition)));
        let image = claim.status.as_ref().and_then(|status| status.image_id.clone());
        labels.push(("image_id", image.unwrap_or_default()));
        self.claims_unhealthy.get_or_create(&labels).inc();
    }

    /// The cloud had nothing for a claim.
    pub fn launch_refused(&self, claim: &NodeClaim) {
        self.launches_refused.get_or_create(&of_claim(claim)).inc();
    }

    /// A node is gone.
    pub fn node_terminated(&self, node: &Node) {
        self.nodes_terminated.get_or_create(&vec![pool_label(node), zone_label(node)]).inc();
    }

    /// A pod was asked to leave its node, with this answer.
    pub fn eviction_requested(&self, code: u16) {
        self.evictions.get_or_create(&vec![("code", code.to_string())]).inc();
    }

    /// How many of a pool's nodes may be disrupted at once.
    pub fn disruption_allowed(&self, pool: &str, reason: &str, nodes: usize) {
        let labels = vec![("nodepool", pool.to_owned()), ("reason", reason.to_owned())];
        self.allowed_disruptions.get_or_create(&labels).set(i64::try_from(nodes).unwrap_or(i64::MAX));
    }

    /// How many nodes may be disrupted for a reason, whatever budgets say.
    pub fn disruption_eligible(&self, reason: &str, nodes: usize) {
        let labels = vec![("reason", snake_case(reason))];
        self.eligible.get_or_create(&labels).set(i64::try_from(nodes).unwrap_or(i64::MAX));
    }

    /// A node is to be disrupted: `delete` or `replace`.
    pub fn disruption_decided(&self, decision: &str, reason: &str) {
        self.decisions.get_or_create(&decided(decision, reason)).inc();
    }

    /// What was to take a node's place did not come.
    pub fn replacement_failed(&self, reason: &str) {
        self.replacements_failed.get_or_create(&decided("replace", reason)).inc();
    }

    /// What a pool's nodes have together, beside its limits.
    pub fn pool(&self, pool: &NodePool, usage: &BTreeMap<String, Quantity>) {
        let set = |family: &Family<Labels, Float>, amounts: &BTreeMap<String, Quantity>| {
            for (resource, amount) in amounts {
                let labels = vec![("nodepool", pool.name_any()), ("resource_type", resource.clone())];
                // Cores, bytes, ones.
                let amount = quantity::parse(&amount.0).map_or(f64::NAN, |amount| amount.milli as f64 / 1000.0);
                family.get_or_create(&labels).set(amount);
            }
        };
        set(&self.usage, usage);
        if let Some(limits) = &pool.spec.limits {
            set(&self.limit, limits);
        }
    }
}

/// The pool that an object belongs to; empty where it belongs to none.
pub(super) fn pool_label<K: ResourceExt>(object: &K) -> (&'static str, String) {
    ("nodepool", object.labels().get(labels::NODE_POOL).cloned().unwrap_or_default())
}

fn zone_label<K: ResourceExt>(object: &K) -> (&'static str, String) {
    ("zone", object.labels().get(labels::ZONE).cloned().unwrap_or_default())
}

fn decided(decision: &str, reason: &str) -> Labels {
    // Of Karpenter's methods, emptiness has a name as a way of consolidation, and drift is none.
    let consolidation = if reason == "Empty" { "empty" } else { "" };
    vec![
        ("decision", decision.to_owned()),
        ("reason", snake_case(reason)),
        ("consolidation_type", consolidation.to_owned()),
    ]
}

/// `KernelReady` as `kernel_ready`.
fn snake_case(words: &str) -> String {
    let mut snake = String::with_capacity(words.len() + 4);
    for (at, letter) in words.char_indices() {
        if letter.is_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

fn of_claim(claim: &NodeClaim) -> Labels {
    let capacity_type = claim.labels().get(labels::CAPACITY_TYPE).cloned().unwrap_or_default();
    vec![pool_label(claim), ("capacity_type", capacity_type)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn metrics_carry_the_names_that_dashboards_know() {
        let metrics = Metrics::default();
        let mut claim = NodeClaim::default();
        claim.labels_mut().insert("karpenter.sh/nodepool".into(), "default".into());
        metrics.claim_created(&claim, "provisioned");
        metrics.node_created(&claim);
        metrics.disruption_decided("delete", "Empty");
        metrics.claim_disrupted(&claim, "empty");
        metrics.claim_unhealthy(&claim, "AcceleratedHardwareReady");
        let text = metrics.encode().unwrap();
        for line in [
            "karpenter_nodeclaims_created_total{nodepool=\"default\",reason=\"provisioned\",min_values_relaxed=\"false\"} 1\n",
            "karpenter_nodes_created_total{nodepool=\"default\",zone=\"\"} 1\n",
            "karpenter_nodeclaims_disrupted_total{nodepool=\"default\",capacity_type=\"\",reason=\"empty\"} 1\n",
            "karpenter_nodeclaims_unhealthy_disrupted_total{nodepool=\"default\",capacity_type=\"\",\
             condition=\"accelerated_hardware_ready\",image_id=\"\"} 1\n",
            "decisions_total{decision=\"delete\",reason=\"empty\",consolidation_type=\"empty\"} 1\n",
            "karpenter_scheduler_queue_depth{controller=\"provisioner\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
