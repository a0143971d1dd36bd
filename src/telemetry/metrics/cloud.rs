//! What is asked of the cloud (`pkg/cloudprovider/metrics/cloudprovider.go`).

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Labels, Metrics, caller};

/// The buckets that Go's client has where none are given, in seconds.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Figures of calls to the cloud.
pub(super) struct Calls {
    duration: Family<Labels, Histogram, fn() -> Histogram>,
    errors: Family<Labels, Counter>,
}

impl Calls {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let constructor: fn() -> Histogram = || Histogram::new(BUCKETS);
        let calls = Calls { duration: Family::new_with_constructor(constructor), errors: Family::default() };
        let name = "karpenter_cloudprovider_duration_seconds";
        registry.register(name, "Time that calls to the cloud take", calls.duration.clone());
        registry.register("karpenter_cloudprovider_errors", "Calls to the cloud that failed", calls.errors.clone());
        calls
    }
}

impl Metrics {
    /// A method of a cloud was called (`Create`), took so long, and perhaps failed with an error of this kind, empty for one
    /// that has no name.
    pub fn cloud_called(&self, provider: &str, method: &str, taken: Duration, error: Option<&str>) {
        let mut labels =
            vec![("controller", caller().to_owned()), ("method", method.to_owned()), ("provider", provider.to_owned())];
        self.calls.duration.get_or_create(&labels).observe(taken.as_secs_f64());
        if let Some(error) = error {
            labels.push(("error", error.to_owned()));
            self.calls.errors.get_or_create(&labels).inc();
        }
    }
}
