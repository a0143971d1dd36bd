//! A cloud whose calls are counted, as Karpenter's `pkg/cloudprovider/metrics/cloudprovider.go` counts them.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use serde_json::Value;
use supercargo_models::catalog::Catalog;
use supercargo_models::kubernetes::NodeClassReference;

use super::{ClaimKey, CloudError, CloudProvider, Launch, Machine, RepairPolicy};
use crate::api::NodeClaim;
use crate::telemetry::Metrics;

/// A cloud, and where its calls are counted. What it has at hand is not counted.
pub struct Metered {
    cloud: Arc<dyn CloudProvider>,
    metrics: Arc<Metrics>,
}

impl Metered {
    /// Counts the calls to a cloud, which is not to be counted already.
    pub fn new(cloud: Arc<dyn CloudProvider>, metrics: Arc<Metrics>) -> Self {
        Metered { cloud, metrics }
    }

    async fn counted<Done: Send>(
        &self,
        method: &str,
        call: impl Future<Output = Result<Done, CloudError>> + Send,
    ) -> Result<Done, CloudError> {
        let begin = Instant::now();
        let outcome = call.await;
        self.metrics.cloud_called(self.cloud.name(), method, begin.elapsed(), outcome.as_ref().err().map(word));
        outcome
    }
}

/// Karpenter's word for an error; empty for one that it has none for.
fn word(error: &CloudError) -> &'static str {
    match error {
        CloudError::InsufficientCapacity { .. } => "InsufficientCapacityError",
        CloudError::ClassNotReady { .. } => "NodeClassNotReadyError",
        CloudError::NotFound => "NodeClaimNotFoundError",
        CloudError::Failed(_) => "",
    }
}

#[async_trait]
impl CloudProvider for Metered {
    fn name(&self) -> &'static str {
        self.cloud.name()
    }

    async fn create(&self, claim: &NodeClaim, catalog: &Catalog) -> Result<Launch, CloudError> {
        self.counted("Create", self.cloud.create(claim, catalog)).await
    }

    async fn delete(&self, claim: &ClaimKey) -> Result<(), CloudError> {
        self.counted("Delete", self.cloud.delete(claim)).await
    }

    async fn get(&self, claim: &ClaimKey) -> Result<Machine, CloudError> {
        self.counted("Get", self.cloud.get(claim)).await
    }

    async fn list(&self) -> Result<Vec<Machine>, CloudError> {
        self.counted("List", self.cloud.list()).await
    }

    fn makes(&self, class: &NodeClassReference) -> bool {
        self.cloud.makes(class)
    }

    fn names(&self, provider_id: &str) -> bool {
        self.cloud.names(provider_id)
    }

    fn catalog(&self) -> Arc<Catalog> {
        self.cloud.catalog()
    }

    fn node_class(&self, reference: &NodeClassReference) -> Result<Value, CloudError> {
        self.cloud.node_class(reference)
    }

    fn interrupted(&self) -> Vec<ClaimKey> {
        self.cloud.interrupted()
    }

    async fn interruption(&self) {
        self.cloud.interruption().await;
    }

    async fn drifted(&self, claim: &NodeClaim) -> Result<Option<String>, CloudError> {
        self.counted("IsDrifted", self.cloud.drifted(claim)).await
    }

    fn repair_policies(&self) -> Vec<RepairPolicy> {
        self.cloud.repair_policies()
    }
}
