//! Gauges that are read off the cluster at the moment that somebody asks for them: one of a thing that is gone is not there
//! any more, and nobody keeps them up to date in between.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::{Labels, Metrics};

/// A family of gauges.
#[derive(Debug)]
pub struct Gauges {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// One a set of labels; those with an empty value are the same as without.
    pub series: Vec<(Labels, f64)>,
}

impl Gauges {
    /// A family, without a series so far.
    pub fn new(name: &'static str, help: &'static str) -> Self {
        Gauges { name, help, series: Vec::new() }
    }

    /// One that is a single number.
    pub fn single(name: &'static str, help: &'static str, value: f64) -> Self {
        Gauges { name, help, series: vec![(Labels::new(), value)] }
    }

    /// Adds a series.
    pub fn add(&mut self, labels: Labels, value: f64) {
        self.series.push((labels, value));
    }
}

type Source = Box<dyn Fn() -> Vec<Gauges> + Send + Sync>;

/// Whoever knows the cluster, once there is somebody.
#[derive(Clone, Default)]
pub(super) struct Observed(Arc<Mutex<Option<Source>>>);

impl fmt::Debug for Observed {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.debug_struct("Observed").finish_non_exhaustive()
    }
}

impl Collector for Observed {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for gauges in source.iter().flat_map(|source| source()).filter(|gauges| !gauges.series.is_empty()) {
            let mut metric =
                encoder.encode_descriptor(gauges.name, &format!("{}.", gauges.help), None, MetricType::Gauge)?;
            for (mut labels, value) in gauges.series {
                labels.retain(|(_, value)| !value.is_empty());
                metric.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

impl Metrics {
    /// From now on these gauges are told, too; in place of those of whoever was asked before.
    pub fn observe(&self, source: impl Fn() -> Vec<Gauges> + Send + Sync + 'static) {
        *self.observed.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(source));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn what_is_gone_is_not_told() {
        let metrics = Metrics::default();
        let there = Arc::new(AtomicUsize::new(2));
        let known = Arc::clone(&there);
        metrics.observe(move || {
            let mut nodes = Gauges::new("karpenter_nodes_any", "Any");
            for node in 0..known.load(Ordering::Relaxed) {
                nodes.add(vec![("node_name", format!("n{node}")), ("zone", String::new())], 1.5);
            }
            vec![nodes]
        });
        let text = metrics.encode().unwrap();
        assert!(
            text.contains("# TYPE karpenter_nodes_any gauge\nkarpenter_nodes_any{node_name=\"n0\"} 1.5\n"),
            "{text}"
        );
        assert!(text.contains("karpenter_nodes_any{node_name=\"n1\"} 1.5\n"), "{text}");
        there.store(1, Ordering::Relaxed);
        assert!(!metrics.encode().unwrap().contains("n1"));
        there.store(0, Ordering::Relaxed);
        assert!(!metrics.encode().unwrap().contains("karpenter_nodes_any"));
    }
}
