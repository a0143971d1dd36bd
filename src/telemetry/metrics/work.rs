//! The work of those who bring objects of a queue on one by one, as controller-runtime and client-go's workqueue count it
//! (<https://github.com/kubernetes-sigs/controller-runtime/blob/main/pkg/internal/controller/metrics/metrics.go>;
//! <https://github.com/kubernetes-sigs/controller-runtime/blob/main/pkg/metrics/workqueue.go>). How many wait in a queue is not
//! told: they wait in kube's scheduler, which does not say.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Labels, Metrics, caller, duration};

/// Figures of work.
pub(super) struct Work {
    done: Family<Labels, Counter>,
    failed: Family<Labels, Counter>,
    time: Family<Labels, Histogram, fn() -> Histogram>,
    active: Family<Labels, Gauge>,
    at_most: Family<Labels, Gauge>,
    running: Running,
}

/// By controller: when each piece of work that is under way has begun.
#[derive(Clone, Debug, Default)]
struct Running(Arc<Mutex<BTreeMap<&'static str, Vec<Instant>>>>);

impl Work {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let work = Work {
            done: Family::default(),
            failed: Family::default(),
            time: Family::new_with_constructor(duration),
            active: Family::default(),
            at_most: Family::default(),
            running: Running::default(),
        };
        registry.register("controller_runtime_reconcile", "Looks at objects, by how they ended", work.done.clone());
        let name = "controller_runtime_reconcile_errors";
        registry.register(name, "Looks at objects that failed", work.failed.clone());
        let name = "controller_runtime_reconcile_time_seconds";
        registry.register(name, "Time that a look at an object takes", work.time.clone());
        let name = "controller_runtime_active_workers";
        registry.register(name, "Objects that are worked on now", work.active.clone());
        let name = "controller_runtime_max_concurrent_reconciles";
        registry.register(name, "Objects that are worked on at once at most", work.at_most.clone());
        registry.register_collector(Box::new(work.running.clone()));
        work
    }
}

impl Collector for Running {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times: Vec<(&str, Vec<f64>)> = running
            .iter()
            .map(|(controller, begun)| (*controller, begun.iter().map(|at| at.elapsed().as_secs_f64()).collect()))
            .collect();
        drop(running);
        let mut family = |name: &str, help: &str, value: fn(&[f64]) -> f64| -> fmt::Result {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (controller, times) in &times {
                let labels = [("name", *controller), ("controller", *controller)];
                metric.encode_family(&labels)?.encode_gauge(&value(times))?;
            }
            Ok(())
        };
        family(
            "workqueue_unfinished_work_seconds",
            "For how long all work that is under way has been so, together.",
            |times| times.iter().sum(),
        )?;
        family(
            "workqueue_longest_running_processor_seconds",
            "For how long the longest work that is under way has been so.",
            |times| times.iter().copied().fold(0.0, f64::max),
        )
    }
}

/// Work on an object that is under way; over when it is dropped.
#[derive(Debug)]
pub struct Begun<'m> {
    metrics: &'m Metrics,
    controller: &'static str,
    at: Instant,
}

impl Begun<'_> {
    /// It has come to an end: `success`, `requeue_after` or `error`.
    pub fn ended(self, result: &str) {
        let work = &self.metrics.work;
        let labels: Labels = vec![("controller", self.controller.to_owned())];
        work.time.get_or_create(&labels).observe(self.at.elapsed().as_secs_f64());
        if result == "error" {
            work.failed.get_or_create(&labels).inc();
        }
        let labels = labels.into_iter().chain([("result", result.to_owned())]).collect();
        work.done.get_or_create(&labels).inc();
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let work = &self.metrics.work;
        let mut running = work.running.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(begun) = running.get_mut(self.controller)
            && let Some(index) = begun.iter().position(|at| *at == self.at)
        {
            begun.swap_remove(index);
        }
        work.active.get_or_create(&vec![("controller", self.controller.to_owned())]).dec();
    }
}

impl Metrics {
    /// Whoever acts works on so many objects at once at most.
    pub fn works_on_at_most(&self, objects: u16) {
        let controller = caller();
        self.work.at_most.get_or_create(&vec![("controller", controller.to_owned())]).set(objects.into());
        let mut running = self.work.running.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.entry(controller).or_default();
    }

    /// Whoever acts begins to work on an object.
    pub fn work_begins(&self) -> Begun<'_> {
        let (controller, at) = (caller(), Instant::now());
        self.work.running.0.lock().unwrap_or_else(PoisonError::into_inner).entry(controller).or_default().push(at);
        self.work.active.get_or_create(&vec![("controller", controller.to_owned())]).inc();
        Begun { metrics: self, controller, at }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::acting_as;
    use super::*;

    #[tokio::test]
    async fn work_is_counted_while_it_goes_on_and_when_it_ends() {
        let metrics = Metrics::default();
        let first = acting_as("nodeclaim.lifecycle", async {
            metrics.works_on_at_most(64);
            let first = metrics.work_begins();
            metrics.work_begins().ended("error");
            // One that is broken off.
            drop(metrics.work_begins());
            first
        })
        .await;
        let contains = |line: &str| {
            let text = metrics.encode().unwrap();
            assert!(text.contains(line), "{line} is not in\n{text}");
        };
        contains("controller_runtime_active_workers{controller=\"nodeclaim.lifecycle\"} 1\n");
        contains("controller_runtime_max_concurrent_reconciles{controller=\"nodeclaim.lifecycle\"} 64\n");
        contains("controller_runtime_reconcile_total{controller=\"nodeclaim.lifecycle\",result=\"error\"} 1\n");
        contains("controller_runtime_reconcile_errors_total{controller=\"nodeclaim.lifecycle\"} 1\n");
        contains("workqueue_unfinished_work_seconds{name=\"nodeclaim.lifecycle\",controller=\"nodeclaim.lifecycle\"} ");
        first.ended("requeue_after");
        contains("controller_runtime_active_workers{controller=\"nodeclaim.lifecycle\"} 0\n");
        contains("controller_runtime_reconcile_total{controller=\"nodeclaim.lifecycle\",result=\"requeue_after\"} 1\n");
        contains("controller_runtime_reconcile_time_seconds_count{controller=\"nodeclaim.lifecycle\"} 2\n");
        contains(
            "workqueue_longest_running_processor_seconds{name=\"nodeclaim.lifecycle\",controller=\"nodeclaim.lifecycle\"} \
             0.0\n",
        );
    }
}
