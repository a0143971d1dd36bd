//! Nodes that are taken away or replaced by our own choice.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Labels, Metrics, duration, snake_case};

/// Counters of disruption.
pub(super) struct Disruption {
    eligible: Family<Labels, Gauge>,
    decisions: Family<Labels, Counter>,
    replacements_failed: Family<Labels, Counter>,
    evaluation: Family<Labels, Histogram, fn() -> Histogram>,
}

impl Disruption {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let disruption = Disruption {
            eligible: Family::default(),
            decisions: Family::default(),
            replacements_failed: Family::default(),
            evaluation: Family::new_with_constructor(duration),
        };
        let name = "karpenter_voluntary_disruption_eligible_nodes";
        registry.register(name, "Nodes that may be disrupted, by reason", disruption.eligible.clone());
        let name = "karpenter_voluntary_disruption_decisions";
        registry.register(name, "Nodes that were deleted or replaced, by reason", disruption.decisions.clone());
        let name = "karpenter_voluntary_disruption_queue_failures";
        registry.register(name, "Replacements that did not come", disruption.replacements_failed.clone());
        let name = "karpenter_voluntary_disruption_decision_evaluation_duration_seconds";
        registry.register(name, "Time it takes to look for nodes to disrupt", disruption.evaluation.clone());
        disruption
    }
}

impl Metrics {
    /// How many nodes may be disrupted for a reason, whatever budgets say.
    pub fn disruption_eligible(&self, reason: &str, nodes: usize) {
        let labels = vec![("reason", snake_case(reason))];
        self.disruption.eligible.get_or_create(&labels).set(i64::try_from(nodes).unwrap_or(i64::MAX));
    }

    /// A node is to be disrupted: `delete` or `replace`.
    pub fn disruption_decided(&self, decision: &str, reason: &str) {
        self.disruption.decisions.get_or_create(&decided(decision, reason)).inc();
    }

    /// What was to take a node's place did not come.
    pub fn replacement_failed(&self, reason: &str) {
        self.disruption.replacements_failed.get_or_create(&decided("replace", reason)).inc();
    }

    /// Nodes to disrupt for a reason were looked for, which took so long.
    pub fn disruption_evaluated(&self, reason: &str, taken: Duration) {
        self.disruption.evaluation.get_or_create(&of_reason(reason)).observe(taken.as_secs_f64());
    }
}

fn decided(decision: &str, reason: &str) -> Labels {
    [("decision", decision.to_owned())].into_iter().chain(of_reason(reason)).collect()
}

fn of_reason(reason: &str) -> Labels {
    // Of Karpenter's methods, emptiness has a name as a way of consolidation, and drift is none.
    let consolidation = if reason == "Empty" { "empty" } else { "" };
    vec![("reason", snake_case(reason)), ("consolidation_type", consolidation.to_owned())]
}
