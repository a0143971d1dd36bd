//! What is observed of a pool: what its nodes have together, whether it can be bought for, and the fingerprint of its template.

mod readiness;
mod registration;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
pub use readiness::is_ready;
pub use registration::Registrations;
use serde_json::{Value, json};
use supercargo_models::kubernetes::quantity::{self, Resources};
use tracing::warn;

use super::conditions::{self, Conditions, DRIFTED, Known, READY, VALID};
use super::context::{Context, Error, lock};
use super::hash;
use crate::api::{NodeClaim, NodePool};
use crate::cloud::CloudError;
use crate::cloud::kwok::quantities;
use crate::labels;

/// Machines can be made of its class.
const CLASS_READY: &str = "NodeClassReady";
/// Why a pool is not valid; the word is the API's.
const INVALID: &str = "NodePoolValidationFailed";
/// How often to look without having been told: classes ring no bell of their pools. It asks the API server for nothing.
const PERIOD: Duration = Duration::from_secs(5);

/// Brings a pool's fingerprint and status up to date.
pub async fn reconcile(pool: Arc<NodePool>, context: Arc<Context>) -> Result<Action, Error> {
    if pool.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let name = pool.name_any();
    let claims = context.stores.claims.state_filter(|claim| claim.labels().get(labels::NODE_POOL) == Some(&name));
    let fingerprint = hash::of(&pool);
    if !hash::is_current(&*pool) {
        // Made by another version: what claims bear can't be compared, and none has drifted for that.
        for claim in claims.iter().filter(|claim| !hash::is_current(&***claim)) {
            context.patch_claim(claim, json!({"metadata": {"annotations": migrated(claim, &fingerprint)}})).await?;
        }
    }
    if !hash::is_current(&*pool) || pool.annotations().get(labels::NODE_POOL_HASH) != Some(&fingerprint) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations(&fingerprint)}}));
        context.pools().patch(&name, &PatchParams::default(), &patch).await?;
        return Ok(Action::await_change());
    }
    let fault = readiness::fault(&pool);
    let class = readiness::class(&pool, &*context.cloud);
    let old = pool.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(old.conditions.unwrap_or_default(), pool.metadata.generation, context.now());
    match &fault {
        None => conditions.achieve(VALID),
        Some(fault) => conditions.set(VALID, Known::False, INVALID, fault),
    }
    match &class {
        Ok(_) => conditions.achieve(CLASS_READY),
        Err(CloudError::ClassNotReady { reason, message }) => {
            conditions.set(CLASS_READY, Known::False, reason, message);
        }
        Err(error) => conditions.set(CLASS_READY, Known::Unknown, "NodeClassReadinessUnknown", &error.to_string()),
    }
    conditions.sum_up(&[VALID, CLASS_READY], READY);
    let seen = old.node_class_observed_generation;
    let generation = class.as_ref().ok().and_then(|class| class["metadata"]["generation"].as_i64());
    if class.is_ok() {
        let mut registrations = lock(&context.registrations);
        let machines = registrations.of(&pool.uid().unwrap_or_default());
        registration::judge(&mut conditions, &claims, seen == generation, machines);
    }
    let generation = generation.or(seen);
    if conditions.changed() {
        let problems = fault.into_iter().chain(class.err().map(|error| error.to_string()));
        problems.for_each(|problem| warn!(nodepool = name, "nothing is bought for it: {problem}"));
    }
    let resources = quantities(&together(&claims)?);
    let nodes = i64::try_from(claims.len()).unwrap_or(i64::MAX);
    if conditions.changed()
        || old.nodes != Some(nodes)
        || old.resources.as_ref() != Some(&resources)
        || seen != generation
    {
        let mut status = status(
            &old_keys(pool.status.as_ref().and_then(|status| status.resources.as_ref())),
            resources,
            nodes,
            conditions.into_list(),
        );
        status["nodeClassObservedGeneration"] = json!(generation);
        let patch = Patch::Merge(json!({ "status": status }));
        context.pools().patch_status(&name, &PatchParams::default(), &patch).await?;
    }
    Ok(Action::requeue(PERIOD))
}

/// The annotations of a claim whose fingerprint another version has made. One that has drifted keeps its fingerprint, as in
/// Karpenter: nobody can tell whether it would be what its pool asks for.
fn migrated(claim: &NodeClaim, fingerprint: &str) -> Value {
    match conditions::find(claim, DRIFTED) {
        None => annotations(fingerprint),
        Some(_) => json!({labels::NODE_POOL_HASH_VERSION: hash::VERSION}),
    }
}

fn annotations(fingerprint: &str) -> Value {
    json!({labels::NODE_POOL_HASH: fingerprint, labels::NODE_POOL_HASH_VERSION: hash::VERSION})
}

fn old_keys<T>(map: Option<&BTreeMap<String, T>>) -> Vec<String> {
    map.into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

/// A status laid over the old one: resources that are no longer there are taken away.
fn status<T: serde::Serialize>(
    old: &[String],
    resources: BTreeMap<String, T>,
    nodes: i64,
    conditions: Vec<Condition>,
) -> Value {
    let gone = old.iter().filter(|key| !resources.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let mut all: serde_json::Map<String, Value> = gone.collect();
    all.extend(resources.iter().map(|(key, amount)| (key.clone(), json!(amount))));
    json!({"resources": all, "nodes": nodes, "conditions": conditions})
}

/// What the machines of claims have together, `nodes` among it.
fn together(claims: &[Arc<NodeClaim>]) -> Result<Resources, Error> {
    let mut sum = Resources::new();
    for claim in claims {
        let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref());
        let capacity = capacity
            .map_or_else(|| Ok(Resources::new()), quantity::resources)
            .map_err(|error| Error::Object(format!("NodeClaim {}: status.capacity: {error}", claim.name_any())))?;
        quantity::add(&mut sum, &capacity);
    }
    let nodes = i64::try_from(claims.len()).unwrap_or(i64::MAX);
    sum.insert("nodes".into(), nodes);
    Ok(sum)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_gone_is_taken_out_of_the_status() {
        let now = BTreeMap::from([("cpu".to_owned(), "4")]);
        let laid = status(&["cpu".to_owned(), "nvidia.com/gpu".to_owned()], now, 1, Vec::new());
        assert_eq!(laid, json!({"resources": {"nvidia.com/gpu": null, "cpu": "4"}, "nodes": 1, "conditions": []}));
    }

    fn claim(status: Value) -> NodeClaim {
        serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": "c"},
            "spec": {"nodeClassRef": {"group": "g", "kind": "k", "name": "n"}, "requirements": []}, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn what_has_drifted_keeps_the_fingerprint_of_another_version() {
        let drifted = json!({"conditions": [{"type": "Drifted", "status": "True", "reason": "NodePoolDrifted",
            "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        let version = json!({"karpenter.sh/nodepool-hash-version": hash::VERSION});
        assert_eq!(migrated(&claim(drifted), "7"), version);
        assert_eq!(migrated(&claim(json!({})), "7"), annotations("7"));
    }

    #[test]
    fn what_claims_have_adds_up() {
        let claim = claim(json!({"capacity": {"cpu": "2", "memory": "1Gi"}}));
        let sum = together(&[Arc::new(claim.clone()), Arc::new(claim)]).unwrap();
        assert_eq!((sum["cpu"], sum["memory"], sum["nodes"]), (4000, 2 << 30, 2));
    }
}
