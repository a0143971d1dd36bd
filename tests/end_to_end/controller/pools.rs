//! What is observed of pools, and what a pool that can't be bought for does to the others.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use supercargo::api::{KWOKNodeClass, NodeClaim, NodePool};

use super::stage::{Stage, TYPE, condition, label, run, told_that};
use crate::fixture::until;

const HASH: &str = "karpenter.sh/nodepool-hash";
const VERSION: &str = "karpenter.sh/nodepool-hash-version";

/// Waits until a condition of a pool has this status.
async fn observed(stage: &Stage, pool: &str, kind: &str, status: &str) -> Condition {
    until(&format!("{kind}={status} of pool {pool}"), async || {
        let pool = stage.all::<NodePool>().get(pool).await.unwrap();
        pool.status?.conditions?.into_iter().find(|one| one.type_ == kind && one.status == status)
    })
    .await
}

/// The fingerprint that an object bears, and its version.
fn fingerprint(object: &impl ResourceExt) -> [Option<String>; 2] {
    [HASH, VERSION].map(|key| object.annotations().get(key).cloned())
}

/// Gives an object a fingerprint that another version has made.
async fn age<K>(api: &Api<K>, name: &str)
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let patch = Patch::Merge(json!({"metadata": {"annotations": {HASH: "1", VERSION: "v3"}}}));
    api.patch(name, &PatchParams::default(), &patch).await.unwrap();
}

#[test]
fn a_pool_that_means_nothing_does_not_stand_in_the_way_of_others() {
    run(async |stage| {
        let _controller = stage.controller(&[]);
        // A quantity, and more than a number has room for.
        stage.pool("odd", json!({"weight": 50, "limits": {"cpu": "9e30"}})).await;
        stage.pool("default", json!({})).await;
        stage.deployment("inflate", 1, "1200m", json!({})).await;
        stage.run_pods(1).await;
        assert_eq!(label(&stage.nodes().await[0], "karpenter.sh/nodepool"), "default");
        let valid = observed(&stage, "odd", "ValidationSucceeded", "False").await;
        assert_eq!(valid.reason, "NodePoolValidationFailed");
        assert!(valid.message.contains("spec.limits.cpu: "), "{}", valid.message);
        let ready = observed(&stage, "odd", "Ready", "False").await;
        assert_eq!(
            (ready.reason.as_str(), ready.message.as_str()),
            ("UnhealthyDependents", "ValidationSucceeded=False")
        );
        observed(&stage, "default", "Ready", "True").await;
        // It is bought for as soon as it makes sense. That a label is there is all that is asked for, as with Karpenter.
        let mended = json!([
            {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [TYPE]},
            {"key": "karpenter.k8s.aws/instance-category", "operator": "Exists", "values": ["c"]},
        ]);
        let change = json!({"limits": {"cpu": "100"}, "template": {"spec": {"requirements": mended}}});
        stage.change_pool("odd", change).await;
        observed(&stage, "odd", "Ready", "True").await;
        stage.scale("inflate", 4).await;
        stage.run_pods(4).await;
        let nodes = stage.nodes().await;
        assert!(nodes.iter().any(|node| label(node, "karpenter.sh/nodepool") == "odd"));
    });
}

#[test]
fn fingerprints_of_another_version_are_replaced_and_nothing_drifts_for_that() {
    run(async |stage| {
        let first = stage.sole_controller(&[]);
        stage.pool("default", json!({"disruption": {"consolidateAfter": "Never"}})).await;
        stage.deployment("inflate", 1, "1200m", json!({})).await;
        stage.run_pods(1).await;
        stage.whole(1).await;
        let claim = stage.claims().await.remove(0);
        let own = fingerprint(&claim);
        assert!(own.iter().all(Option::is_some));
        first.kill();
        let name = claim.name_any();
        let claims = stage.all::<NodeClaim>();
        age(&claims, &name).await;
        age(&stage.all::<NodePool>(), "default").await;
        let second = stage.sole_controller(&[]);
        until("the pool's fingerprint", async || {
            let pool = stage.all::<NodePool>().get("default").await.unwrap();
            (fingerprint(&pool) == own).then_some(())
        })
        .await;
        assert_eq!(fingerprint(&claims.get(&name).await.unwrap()), own);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let there = stage.claims().await;
        assert_eq!(there.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), [name], "{}", second.log());
        assert_eq!(condition(&there[0], "Drifted"), "");
    });
}

#[test]
fn a_pool_is_as_ready_as_its_class_and_healthy_once_a_node_has_joined() {
    run(async |stage| {
        let _controller = stage.controller(&[]);
        stage.pool("default", json!({})).await;
        observed(&stage, "default", "Ready", "True").await;
        observed(&stage, "default", "NodeRegistrationHealthy", "Unknown").await;
        let classes = stage.all::<KWOKNodeClass>();
        let say = async |status: &str, reason: &str| {
            let ready = json!({"type": "Ready", "status": status, "reason": reason, "message": "no subnet",
                "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let patch = Patch::Merge(json!({"status": {"conditions": [ready]}}));
            classes.patch_status("default", &PatchParams::default(), &patch).await.unwrap();
        };
        say("False", "SubnetsNotFound").await;
        let class = observed(&stage, "default", "NodeClassReady", "False").await;
        assert_eq!(class.reason, "SubnetsNotFound");
        assert!(class.message.contains("no subnet"), "{}", class.message);
        stage.deployment("inflate", 1, "1200m", json!({})).await;
        told_that(&stage, "FailedScheduling", "no NodePool that is ready").await;
        assert!(stage.claims().await.is_empty());
        say("True", "Ready").await;
        stage.run_pods(1).await;
        observed(&stage, "default", "NodeRegistrationHealthy", "True").await;
        let status = stage.all::<NodePool>().get("default").await.unwrap().status.unwrap();
        assert_eq!(status.node_class_observed_generation, Some(1));
        // Any other spec has to prove itself anew; times are told in seconds.
        tokio::time::sleep(Duration::from_secs(2)).await;
        stage.change_pool("default", json!({"limits": {"cpu": "100"}})).await;
        observed(&stage, "default", "NodeRegistrationHealthy", "Unknown").await;
        stage.scale("inflate", 0).await;
        stage.whole(0).await;
        classes.delete("default", &DeleteParams::default()).await.unwrap();
        let class = observed(&stage, "default", "NodeClassReady", "False").await;
        assert_eq!(class.reason, "NodeClassNotFound");
    });
}
