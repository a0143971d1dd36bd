//! Pools with `spec.replicas`: so many nodes, whatever the pods need.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use supercargo::api::{NodeClaim, NodePool};

use super::stage::{Stage, condition, label, run};
use crate::fixture::until;

/// `kubectl scale nodepool/fixed --replicas`.
async fn scale(stage: &Stage, replicas: u32) {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    stage.all::<NodePool>().patch_scale("fixed", &PatchParams::default(), &patch).await.unwrap();
}

async fn names(stage: &Stage) -> BTreeSet<String> {
    stage.claims().await.iter().map(ResourceExt::name_any).collect()
}

/// Waits until the pool says that it has so many nodes.
async fn counted(stage: &Stage, nodes: i32) {
    until("the pool's status", async || {
        let scale = stage.all::<NodePool>().get_scale("fixed").await.unwrap();
        (scale.status.map(|status| status.replicas) == Some(nodes)).then_some(())
    })
    .await;
}

fn fixed(replicas: u32, limit: u32) -> Value {
    json!({"replicas": replicas, "limits": {"nodes": limit.to_string()}})
}

#[test]
fn a_pool_has_as_many_nodes_as_its_replicas_say() {
    run(async |stage| {
        let _controller = stage.controller(&["--kwok-boot-delay", "1s"]);
        stage.pool("fixed", fixed(0, 4)).await;
        scale(&stage, 3).await;
        stage.whole(3).await;
        counted(&stage, 3).await;
        // No pod needs them, and they stay. A fifth is more than the limit allows.
        scale(&stage, 5).await;
        stage.whole(4).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(stage.claims().await.len(), 4);
        counted(&stage, 4).await;
        // One that is deleted is replaced.
        let deleted = stage.nodes().await[0].name_any();
        stage.all::<Node>().delete(&deleted, &DeleteParams::default()).await.unwrap();
        until("another one", async || {
            let names = names(&stage).await;
            assert!(names.len() <= 4, "{names:?}");
            (names.len() == 4 && !names.contains(&deleted)).then_some(())
        })
        .await;
        stage.whole(4).await;
        // The empty ones go, and the one with a pod stays.
        stage.deployment("inflate", 1, "1200m", json!({})).await;
        stage.run_pods(1).await;
        let kept = stage.running().await.remove(0);
        scale(&stage, 1).await;
        stage.whole(1).await;
        counted(&stage, 1).await;
        assert_eq!(stage.nodes().await[0].name_any(), kept);
        assert_eq!(stage.running().await, [kept]);
    });
}

#[test]
fn nodes_that_may_not_be_disrupted_are_kept_when_a_pool_shrinks() {
    run(async |stage| {
        let _controller = stage.controller(&[]);
        stage.pool("fixed", json!({"replicas": 2})).await;
        let annotated = json!({"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": "true"}}});
        stage.deployment("stubborn", 1, "1200m", annotated).await;
        stage.run_pods(1).await;
        stage.whole(2).await;
        let kept = stage.running().await.remove(0);
        scale(&stage, 0).await;
        stage.whole(1).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(names(&stage).await, BTreeSet::from([kept]));
        let pod = stage.pods().list(&ListParams::default()).await.unwrap().items.remove(0);
        let allow = Patch::Merge(json!({"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": null}}}));
        stage.pods().patch(&pod.name_any(), &PatchParams::default(), &allow).await.unwrap();
        stage.whole(0).await;
    });
}

#[test]
fn pods_use_static_capacity_first_and_what_they_leave_of_it_stays() {
    run(async |stage| {
        let controller = stage.controller(&[]);
        stage.pool("fixed", json!({"replicas": 1})).await;
        stage.whole(1).await;
        let there = names(&stage).await;
        stage.pool("default", json!({})).await;
        // Three to a machine.
        stage.deployment("inflate", 4, "1200m", json!({})).await;
        stage.run_pods(4).await;
        stage.whole(2).await;
        let bought = stage.claims().await.into_iter().find(|claim| !there.contains(&claim.name_any())).unwrap();
        assert_eq!(label(&bought, "karpenter.sh/nodepool"), "default");
        stage.scale("inflate", 0).await;
        until("what was bought to go", async || (names(&stage).await == there).then_some(())).await;
        // Longer than a node is left empty elsewhere.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(names(&stage).await, there, "{}", controller.log());
    });
}

#[test]
fn drifted_nodes_of_static_capacity_are_replaced_within_the_limit() {
    run(async |stage| {
        let controller = stage.controller(&["--kwok-boot-delay", "1s"]);
        let mut spec = fixed(2, 2);
        spec["disruption"] = json!({"budgets": [{"nodes": "1"}]});
        stage.pool("fixed", spec).await;
        stage.deployment("inflate", 4, "1200m", json!({})).await;
        stage.run_pods(4).await;
        stage.whole(2).await;
        let old = names(&stage).await;
        stage.change_pool("fixed", json!({"template": {"metadata": {"labels": {"team": "new"}}}})).await;
        until("it to say why it waits", async || controller.log().contains("limits.nodes").then_some(())).await;
        assert_eq!(names(&stage).await, old);
        stage.change_pool("fixed", json!({"limits": {"nodes": "3"}})).await;
        until("the old ones to go", async || {
            let claims = stage.claims().await;
            assert!(claims.len() <= 3, "{} claims", claims.len());
            let ready = |one: &&NodeClaim| condition(one, "Ready") == "True";
            assert!(claims.iter().filter(ready).count() >= 2, "fewer nodes than replicas");
            claims.iter().all(|claim| !old.contains(&claim.name_any())).then_some(())
        })
        .await;
        stage.run_pods(4).await;
        stage.whole(2).await;
        assert!(stage.nodes().await.iter().all(|node| label(node, "team") == "new"));
    });
}
