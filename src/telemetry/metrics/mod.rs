//! What is counted. What means the same as a metric of Karpenter's carries its name and labels
//! (<https://karpenter.sh/docs/reference/metrics/>; `pkg/metrics/metrics.go` and the `metrics.go` of each controller of
//! <https://github.com/kubernetes-sigs/karpenter>); our own begin with `supercargo_`.
//!
//! What happens is counted by whom it happens to; what is so (how much of a node is asked for, which phase a pod is in) is
//! read off the cluster when somebody asks for it ([`Gauges`]).

mod caller;
mod cloud;
mod disruption;
mod ends;
mod life;
mod observed;
mod plans;
mod pods;
mod summary;
mod transitions;
mod work;

use std::fmt;
use std::sync::atomic::AtomicU64;

pub use caller::acting_as;
use caller::caller;
use kube::ResourceExt;
pub use observed::Gauges;
pub use pods::{Waiting, phase, seconds, since};
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
pub use transitions::{Kind, Observed};

use crate::labels;

/// Labels of a series.
pub type Labels = Vec<(&'static str, String)>;
type Float = Gauge<f64, AtomicU64>;

/// The buckets of Karpenter's durations, in seconds (`DurationBuckets` in `pkg/metrics/constants.go`).
const DURATIONS: [f64; 45] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5,
    1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 120.0,
    150.0, 300.0, 450.0, 600.0,
];

/// All of them.
pub struct Metrics {
    registry: Registry,
    life: life::Life,
    disruption: disruption::Disruption,
    ends: ends::Ends,
    plans: plans::Plans,
    pod_times: pods::PodTimes,
    calls: cloud::Calls,
    transitions: transitions::Transitions,
    work: work::Work,
    observed: observed::Observed,
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
        let (observed, leader) = (observed::Observed::default(), Gauge::default());
        let built: Family<Labels, Gauge> = Family::default();
        built.get_or_create(&build()).set(1);
        registry.register("karpenter_build_info", "What this program was built from", built);
        registry.register("supercargo_leader", "Whether this replica acts", leader.clone());
        registry.register_collector(Box::new(observed.clone()));
        Metrics {
            life: life::Life::register(&mut registry),
            disruption: disruption::Disruption::register(&mut registry),
            ends: ends::Ends::register(&mut registry),
            plans: plans::Plans::register(&mut registry),
            pod_times: pods::PodTimes::register(&mut registry),
            calls: cloud::Calls::register(&mut registry),
            transitions: transitions::Transitions::register(&mut registry),
            work: work::Work::register(&mut registry),
            registry,
            observed,
            leader,
        }
    }
}

impl Metrics {
    /// All of them in OpenMetrics' text.
    ///
    /// # Errors
    /// None but for want of memory.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        self.pod_times.encode(&mut text)?;
        self.ends.encode(&mut text)?;
        encode_eof(&mut text)?;
        Ok(text)
    }

    /// Whether this replica acts.
    pub fn set_leader(&self, leader: bool) {
        self.leader.set(i64::from(leader));
    }
}

/// A histogram of durations.
fn duration() -> Histogram {
    Histogram::new(DURATIONS)
}

/// Karpenter's labels but for the version and commit of Go; the architecture has the name that Go has for it.
fn build() -> Labels {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("goarch", architecture.to_owned())]
}

fn pool_label<K: ResourceExt>(object: &K) -> (&'static str, String) {
    ("nodepool", object.labels().get(labels::NODE_POOL).cloned().unwrap_or_default())
}

fn zone_label<K: ResourceExt>(object: &K) -> (&'static str, String) {
    ("zone", object.labels().get(labels::ZONE).cloned().unwrap_or_default())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::api::NodeClaim;

    #[test]
    fn metrics_carry_the_names_that_dashboards_know() {
        let metrics = Metrics::default();
        let mut claim = NodeClaim::default();
        claim.labels_mut().insert("karpenter.sh/nodepool".into(), "default".into());
        metrics.claim_created(&claim, "provisioned");
        metrics.node_created(&claim);
        metrics.disruption_decided("delete", "Empty");
        metrics.disruption_evaluated("Drifted", Duration::from_millis(20));
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
            "evaluation_duration_seconds_bucket{le=\"0.025\",reason=\"drifted\",consolidation_type=\"\"} 1\n",
            "karpenter_scheduler_queue_depth{controller=\"provisioner\"} 0\n",
            "# TYPE karpenter_pods_startup_duration_seconds summary\n",
            &format!("karpenter_build_info{{version=\"{}\",", env!("CARGO_PKG_VERSION")),
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn calls_are_counted_by_whom_they_come_from() {
        let metrics = Metrics::default();
        acting_as("nodeclaim.lifecycle", async {
            metrics.cloud_called("kwok", "Create", Duration::from_millis(30), Some("InsufficientCapacityError"));
            metrics.planning_took(Duration::from_secs(2));
        })
        .await;
        metrics.cloud_called("kwok", "List", Duration::from_secs(1), None);
        let text = metrics.encode().unwrap();
        for line in [
            "karpenter_cloudprovider_errors_total{controller=\"nodeclaim.lifecycle\",method=\"Create\",provider=\"kwok\",\
             error=\"InsufficientCapacityError\"} 1\n",
            "karpenter_cloudprovider_duration_seconds_count{controller=\"nodeclaim.lifecycle\",method=\"Create\",\
             provider=\"kwok\"} 1\n",
            "karpenter_cloudprovider_duration_seconds_count{controller=\"\",method=\"List\",provider=\"kwok\"} 1\n",
            "karpenter_scheduler_scheduling_duration_seconds_sum{controller=\"nodeclaim.lifecycle\"} 2.0\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("cloudprovider_errors_total{").count(), 1, "{text}");
    }
}
