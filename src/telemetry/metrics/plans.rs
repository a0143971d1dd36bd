//! Plans: how many pods wait for one, how long one takes, what it costs, and what became of it.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use supercargo_models::plan::Plan;

use super::{Float, Labels, Metrics, caller, duration};

/// Figures of plans.
pub(super) struct Plans {
    queue: Gauge,
    unschedulable: Gauge,
    duration: Family<Labels, Histogram, fn() -> Histogram>,
    cost: Float,
    bound: Float,
    gap: Float,
    planned_pods: Counter,
    bound_as_planned: Counter,
    bound_elsewhere: Counter,
    extra_nodes: Counter,
    planned_cost: Counter<f64, AtomicU64>,
    realised_cost: Counter<f64, AtomicU64>,
}

impl Plans {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let plans = Plans {
            queue: Gauge::default(),
            unschedulable: Gauge::default(),
            duration: Family::new_with_constructor(duration),
            cost: Float::default(),
            bound: Float::default(),
            gap: Float::default(),
            planned_pods: Counter::default(),
            bound_as_planned: Counter::default(),
            bound_elsewhere: Counter::default(),
            extra_nodes: Counter::default(),
            planned_cost: Counter::default(),
            realised_cost: Counter::default(),
        };
        let name = "karpenter_scheduler_scheduling_duration_seconds";
        registry.register(name, "Time a plan takes", plans.duration.clone());
        let scheduler = registry.sub_registry_with_label(("controller".into(), "provisioner".into()));
        scheduler.register("karpenter_scheduler_queue_depth", "Pods that wait to be planned", plans.queue.clone());
        let name = "karpenter_scheduler_unschedulable_pods_count";
        scheduler.register(name, "Pods that the last plan found no place for", plans.unschedulable.clone());
        registry.register("supercargo_plan_cost", "Dollars an hour of the last plan's new nodes", plans.cost.clone());
        registry.register("supercargo_plan_bound", "What they cost at least", plans.bound.clone());
        let help = "By how much the last plan can be beaten at most";
        registry.register("supercargo_plan_gap", help, plans.gap.clone());
        registry.register("supercargo_planned_pods", "Pods that plans found a place for", plans.planned_pods.clone());
        let help = "Pods that run where they were planned";
        registry.register("supercargo_pods_bound_as_planned", help, plans.bound_as_planned.clone());
        let help = "Pods that run elsewhere than planned";
        registry.register("supercargo_pods_bound_elsewhere", help, plans.bound_elsewhere.clone());
        let help = "Nodes for pods that did not come to run where planned";
        registry.register("supercargo_extra_nodes", help, plans.extra_nodes.clone());
        let help = "Dollars an hour that launched machines were planned to cost, without extra nodes";
        registry.register("supercargo_planned_cost", help, plans.planned_cost.clone());
        let help = "Dollars an hour that launched machines cost, extra nodes among them";
        registry.register("supercargo_realised_cost", help, plans.realised_cost.clone());
        plans
    }
}

impl Metrics {
    /// Pods wait to be planned.
    pub fn waiting(&self, pods: usize) {
        self.plans.queue.set(i64::try_from(pods).unwrap_or(i64::MAX));
    }

    /// A plan was made, for whomever and whatever it is for.
    pub fn planning_took(&self, taken: Duration) {
        self.plans.duration.get_or_create(&vec![("controller", caller().to_owned())]).observe(taken.as_secs_f64());
    }

    /// A plan was made for pods that waited.
    pub fn planned(&self, plan: &Plan) {
        let plans = &self.plans;
        let summary = &plan.summary;
        plans.cost.set(summary.hourly_cost);
        plans.bound.set(summary.lower_bound.unwrap_or(f64::NAN));
        plans.gap.set(summary.gap.unwrap_or(f64::NAN));
        plans.planned_pods.inc_by(summary.scheduled);
        plans.unschedulable.set(i64::try_from(summary.unschedulable).unwrap_or(i64::MAX));
        plans.queue.set(0);
    }

    /// A second plan was made, for those whom the one before left no place: its figures come on top of that one's.
    pub fn planned_besides(&self, plan: &Plan) {
        let plans = &self.plans;
        let summary = &plan.summary;
        let cost = plans.cost.get() + summary.hourly_cost;
        let bound = plans.bound.get() + summary.lower_bound.unwrap_or(f64::NAN);
        plans.cost.set(cost);
        plans.bound.set(bound);
        plans.gap.set(if cost > 0.0 { (cost - bound) / cost } else { 0.0 });
        plans.planned_pods.inc_by(summary.scheduled);
        plans.unschedulable.set(i64::try_from(summary.unschedulable).unwrap_or(i64::MAX));
    }

    /// A planned pod was bound: where it was planned, or elsewhere.
    pub fn pod_bound(&self, as_planned: bool) {
        match as_planned {
            true => self.plans.bound_as_planned.inc(),
            false => self.plans.bound_elsewhere.inc(),
        };
    }

    /// A node was asked for on behalf of pods that had been planned before.
    pub fn extra_node(&self) {
        self.plans.extra_nodes.inc();
    }

    /// A machine was launched: what it was planned to cost, and what it costs.
    pub fn cost(&self, planned: f64, realised: f64) {
        self.plans.planned_cost.inc_by(planned);
        self.plans.realised_cost.inc_by(realised);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn plan(pods: u64, unschedulable: u64, cost: f64, bound: f64) -> Plan {
        serde_json::from_value(json!({
            "apiVersion": "supercargo.dev/v1", "kind": "Plan",
            "summary": {
                "pods": pods + unschedulable, "scheduled": pods, "unschedulable": unschedulable, "newNodes": 0,
                "hourlyCost": cost, "lowerBound": bound, "gap": (cost - bound) / cost, "status": "greedy",
                "solver": "greedy", "solveSeconds": 0.0, "greedyHourlyCost": cost,
            },
            "nodes": [], "existingNodes": [], "unschedulable": [],
        }))
        .unwrap()
    }

    #[test]
    fn what_a_second_plan_adds_comes_on_top() {
        let metrics = Metrics::default();
        metrics.planned(&plan(5, 3, 3.0, 2.0));
        metrics.planned_besides(&plan(2, 1, 1.0, 1.0));
        let text = metrics.encode().unwrap();
        for line in [
            "supercargo_planned_pods_total 7\n",
            "supercargo_plan_cost 4.0\n",
            "supercargo_plan_bound 3.0\n",
            "supercargo_plan_gap 0.25\n",
            "karpenter_scheduler_unschedulable_pods_count{controller=\"provisioner\"} 1\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        metrics.planned(&plan(1, 0, 2.0, 2.0));
        assert!(metrics.encode().unwrap().contains("supercargo_plan_cost 2.0\n"));
    }
}
