//! The cloud of a dry run: it knows the classes of all clouds, and sells nothing.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::{BoxFuture, join_all};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use supercargo_models::catalog::Catalog;
use supercargo_models::kubernetes::NodeClassReference;

use super::class::{unready, usable};
use super::{ClaimKey, CloudError, CloudProvider, Launch, Machine, RepairPolicy};
use crate::api::{EC2NodeClass, KWOKNodeClass, NodeClaim};
use crate::watch::reflect;

/// Reasons of drift that are no cloud's: what they are found by is at hand, and may be no longer so.
const OF_POOLS: [&str; 3] = ["NodePoolDrifted", "RequirementsDrifted", "InstanceTypeNotFound"];

/// The cloud of a dry run.
pub struct Rehearsal {
    catalog: Arc<Catalog>,
    ec2: Store<EC2NodeClass>,
    kwok: Store<KWOKNodeClass>,
}

impl Rehearsal {
    /// The cloud, and what has to be polled for as long as it is to work: the watches of those classes that the cluster
    /// knows.
    pub async fn new(client: &Client, catalog: Arc<Catalog>) -> (Arc<Self>, BoxFuture<'static, ()>) {
        let mut watches = Vec::new();
        let ec2 = classes(client, &mut watches).await;
        let kwok = classes(client, &mut watches).await;
        let cloud = Arc::new(Rehearsal { catalog, ec2, kwok });
        (cloud, Box::pin(async move { drop(join_all(watches).await) }))
    }

    /// Waits until the classes were read for the first time.
    pub async fn ready(&self) {
        // A kind that is not served has no watch, and nothing to wait for.
        let _ = self.ec2.wait_until_ready().await;
        let _ = self.kwok.wait_until_ready().await;
    }
}

async fn classes<K>(client: &Client, watches: &mut Vec<BoxFuture<'static, ()>>) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    if client.list_api_group_resources(&K::api_version(&())).await.is_ok() {
        watches.push(reflect(Api::all(client.clone()), Config::default(), writer, |_| {}));
    }
    store
}

/// A class as it came, if it may be used; `conditions` are those of its status.
fn of_store<K>(
    store: &Store<K>,
    name: &str,
    conditions: impl Fn(&K) -> Option<&Vec<Condition>>,
) -> Result<Value, CloudError>
where
    K: Resource<DynamicType = ()> + Clone + Serialize + 'static,
{
    let class = usable(store, name, conditions)?;
    serde_json::to_value(&*class).map_err(|error| CloudError::Failed(error.to_string()))
}

fn nothing<T>() -> Result<T, CloudError> {
    Err(CloudError::Failed("this is a dry run".into()))
}

#[async_trait]
impl CloudProvider for Rehearsal {
    fn name(&self) -> &'static str {
        "dry-run"
    }

    async fn create(&self, _claim: &NodeClaim, _catalog: &Catalog) -> Result<Launch, CloudError> {
        nothing()
    }

    async fn delete(&self, _claim: &ClaimKey) -> Result<(), CloudError> {
        nothing()
    }

    async fn get(&self, _claim: &ClaimKey) -> Result<Machine, CloudError> {
        nothing()
    }

    async fn list(&self) -> Result<Vec<Machine>, CloudError> {
        nothing()
    }

    fn makes(&self, _class: &NodeClassReference) -> bool {
        true
    }

    fn names(&self, _provider_id: &str) -> bool {
        true
    }

    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog)
    }

    fn node_class(&self, reference: &NodeClassReference) -> Result<Value, CloudError> {
        let NodeClassReference { group, kind, name } = reference;
        match (group.as_str(), kind.as_str()) {
            ("karpenter.k8s.aws", "EC2NodeClass") => {
                of_store(&self.ec2, name, |class| class.status.as_ref()?.conditions.as_ref())
            }
            ("karpenter.kwok.sh", "KWOKNodeClass") => {
                of_store(&self.kwok, name, |class| class.status.as_ref()?.conditions.as_ref())
            }
            _ => {
                let words = format!("{kind} {name} of {group} is of a cloud that is not known");
                Err(unready("NodeClassNotReady", words))
            }
        }
    }

    fn interrupted(&self) -> Vec<ClaimKey> {
        Vec::new()
    }

    async fn interruption(&self) {
        std::future::pending().await
    }

    /// What the claim says, of which nobody but whoever has its machine can know.
    async fn drifted(&self, claim: &NodeClaim) -> Result<Option<String>, CloudError> {
        let conditions = claim.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let mut drifted = conditions.filter(|one| one.type_ == "Drifted" && one.status == "True");
        Ok(drifted.next().map(|one| one.reason.clone()).filter(|reason| !OF_POOLS.contains(&reason.as_str())))
    }

    fn repair_policies(&self) -> Vec<RepairPolicy> {
        Vec::new()
    }
}
