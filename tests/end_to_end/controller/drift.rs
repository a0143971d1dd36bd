//! Nodes that are not what their pool asks for any more are replaced: the new one first, one at a time, and not where pods
//! forbid it.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use supercargo::api::NodeClaim;

use super::stage::{Stage, TYPE, condition, either_type, label, run, told, told_that};
use crate::fixture::until;

/// Changes a pool's spec.
fn team(name: &str) -> Value {
    json!({"template": {"metadata": {"labels": {"team": name}}}})
}

/// A pool of which one node may be disrupted at once, whose nodes are never too empty.
fn one_at_a_time() -> Value {
    json!({"disruption": {"consolidateAfter": "Never", "budgets": [{"nodes": "1"}]}})
}

async fn names(stage: &Stage) -> BTreeSet<String> {
    stage.claims().await.iter().map(ResourceExt::name_any).collect()
}

/// So many pods, three to a machine, that run on nodes of their own; the claims of those.
async fn filled(stage: &Stage, pods: u32) -> BTreeSet<String> {
    let many = pods as usize;
    stage.deployment("inflate", pods, "1200m", json!({})).await;
    stage.run_pods(many).await;
    stage.whole(many.div_ceil(3)).await;
    names(stage).await
}

fn is_closed(node: &Node) -> bool {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.into_iter().any(|taint| taint.key == "karpenter.sh/disrupted")
}

/// The reason of a claim's drift; empty where it has not drifted.
fn drift(claim: &NodeClaim) -> String {
    let conditions = claim.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut drifted = conditions.filter(|one| one.type_ == "Drifted" && one.status == "True");
    drifted.next().map(|one| one.reason.clone()).unwrap_or_default()
}

fn replaces(claim: &NodeClaim) -> Option<&String> {
    claim.annotations().get("supercargo.dev/replaces")
}

/// Waits until claims are gone, and sees to it that never more than one is disrupted, and each ends only when what takes its
/// place is initialized.
async fn replaced(stage: &Stage, old: &BTreeSet<String>) {
    until("the old claims to go", async || {
        // Nodes first: the next is closed only when the one before is gone.
        let nodes = stage.nodes().await;
        let claims = stage.claims().await;
        let ending: BTreeSet<String> =
            claims.iter().filter(|one| one.metadata.deletion_timestamp.is_some()).map(ResourceExt::name_any).collect();
        for name in &ending {
            let ready = claims.iter().any(|one| replaces(one) == Some(name) && condition(one, "Initialized") == "True");
            assert!(ready, "{name} ends before its replacement is ready");
        }
        let closed = nodes.iter().filter(|node| is_closed(node)).map(ResourceExt::name_any);
        let disrupted: BTreeSet<String> = closed.chain(ending).collect();
        assert!(disrupted.len() <= 1, "{disrupted:?} at once");
        claims.iter().all(|claim| !old.contains(&claim.name_any())).then_some(())
    })
    .await;
}

#[test]
fn a_changed_label_replaces_the_nodes_of_a_pool_one_after_another() {
    run(async |stage| {
        let controller = stage.controller(&["--kwok-boot-delay", "1s"]);
        stage.pool("default", one_at_a_time()).await;
        let old = filled(&stage, 9).await;
        stage.change_pool("default", team("new")).await;
        until("drift", async || {
            let claims = stage.claims().await;
            claims.iter().any(|claim| drift(claim) == "NodePoolDrifted").then_some(())
        })
        .await;
        replaced(&stage, &old).await;
        stage.run_pods(9).await;
        stage.whole(3).await;
        for node in stage.nodes().await {
            assert_eq!(label(&node, "team"), "new");
            assert!(!is_closed(&node));
        }
        assert!(stage.claims().await.iter().all(|claim| drift(claim).is_empty()));
        told(&stage, "DisruptionTerminating").await;
        told_that(&stage, "Evicted", "Evicted pod: Drifted").await;
        assert_eq!(controller.log().matches("drifted: taken away").count(), 3, "{}", controller.log());
    });
}

#[test]
fn a_pod_that_forbids_it_keeps_a_drifted_node() {
    run(async |stage| {
        let _controller = stage.controller(&[]);
        stage.pool("default", one_at_a_time()).await;
        let annotated = json!({"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": "true"}}});
        stage.deployment("stubborn", 1, "1200m", annotated).await;
        stage.run_pods(1).await;
        stage.whole(1).await;
        let old = names(&stage).await;
        stage.change_pool("default", team("new")).await;
        let note = told(&stage, "DisruptionBlocked").await;
        assert!(note.contains("karpenter.sh/do-not-disrupt"), "{note}");
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(names(&stage).await, old);
        assert_eq!(drift(&stage.claims().await[0]), "NodePoolDrifted");
        assert!(!is_closed(&stage.nodes().await[0]));
        // As soon as the pod allows it.
        let pods = stage.pods().list(&ListParams::default()).await.unwrap().items;
        let allow = Patch::Merge(json!({"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": null}}}));
        let pods_api: Api<Pod> = stage.pods();
        pods_api.patch(&pods[0].name_any(), &PatchParams::default(), &allow).await.unwrap();
        replaced(&stage, &old).await;
        stage.run_pods(1).await;
    });
}

#[test]
fn a_node_that_forbids_it_stays_as_long_as_it_does() {
    run(async |stage| {
        let controller = stage.controller(&[]);
        stage.pool("default", one_at_a_time()).await;
        let old = filled(&stage, 1).await;
        let annotate = async |value: Value| {
            let patch = Patch::Merge(json!({"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": value}}}));
            let name = stage.nodes().await[0].name_any();
            stage.all::<Node>().patch(&name, &PatchParams::default(), &patch).await.unwrap();
        };
        annotate(json!("true")).await;
        stage.change_pool("default", team("new")).await;
        let note = told(&stage, "DisruptionBlocked").await;
        assert!(note.contains("the node has the annotation karpenter.sh/do-not-disrupt"), "{note}");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(names(&stage).await, old, "{}", controller.log());
        annotate(Value::Null).await;
        replaced(&stage, &old).await;
        stage.run_pods(1).await;
    });
}

#[test]
fn requirements_that_a_node_does_not_satisfy_are_drift_until_they_are_taken_back() {
    run(async |stage| {
        let _controller = stage.controller(&[]);
        let mut pool = one_at_a_time();
        pool["disruption"]["budgets"] = json!([{"nodes": "0", "reasons": ["Drifted"]}]);
        stage.pool("default", pool).await;
        let old = filled(&stage, 2).await;
        let of_type = |name: &str| {
            json!({"template": {"spec": {"requirements": [
                {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [name]},
                {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
            ]}}})
        };
        let drifts = async |reason: &str| {
            until("drift to be told", async || (drift(&stage.claims().await[0]) == reason).then_some(())).await;
        };
        stage.change_pool("default", of_type("m6i.xlarge")).await;
        drifts("RequirementsDrifted").await;
        stage.change_pool("default", of_type(TYPE)).await;
        drifts("").await;
        stage.change_pool("default", of_type("m6i.xlarge")).await;
        drifts("RequirementsDrifted").await;
        // Its budget allows none.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(names(&stage).await, old);
        stage.change_pool("default", json!({"disruption": {"budgets": [{"nodes": "1"}]}})).await;
        replaced(&stage, &old).await;
        stage.run_pods(2).await;
        stage.whole(1).await;
        assert_eq!(label(&stage.nodes().await[0], "node.kubernetes.io/instance-type"), "m6i.xlarge");
    });
}

#[test]
fn an_empty_node_that_has_drifted_just_ends() {
    run(async |stage| {
        let controller = stage.controller(&[]);
        stage.pool("default", one_at_a_time()).await;
        filled(&stage, 1).await;
        stage.scale("inflate", 0).await;
        stage.run_pods(0).await;
        stage.change_pool("default", team("new")).await;
        stage.whole(0).await;
        assert_eq!(controller.log().matches("registered").count(), 1, "{}", controller.log());
    });
}

#[test]
fn the_next_controller_goes_on_with_a_replacement_that_was_begun() {
    run(async |stage| {
        let first = stage.sole_controller(&["--kwok-boot-delay", "5s"]);
        let mut pool = one_at_a_time();
        // What has just come is empty until the old node is drained.
        pool["disruption"]["consolidateAfter"] = json!("0s");
        stage.pool("default", pool).await;
        let old = filled(&stage, 3).await;
        let only = old.first().unwrap();
        stage.change_pool("default", team("new")).await;
        until("the old node to be closed", async || {
            is_closed(&stage.all::<Node>().get(only).await.unwrap()).then_some(())
        })
        .await;
        first.kill();
        let second = stage.sole_controller(&["--kwok-boot-delay", "5s"]);
        replaced(&stage, &old).await;
        stage.run_pods(3).await;
        stage.whole(1).await;
        let now = stage.claims().await.remove(0);
        assert_eq!(replaces(&now), Some(only));
        for decision in ["claimed ", " for its "] {
            assert!(!second.log().contains(decision), "it bought another one: {}", second.log());
        }
    });
}

#[test]
fn a_node_is_open_again_when_its_replacement_can_not_be_had() {
    run(async |stage| {
        let controller = stage.sole_controller(&[]);
        stage.pool("default", one_at_a_time()).await;
        let old = filled(&stage, 2).await;
        let only = old.first().unwrap();
        stage.faults(json!({"refuse": TYPE})).await;
        stage.change_pool("default", team("new")).await;
        until("the failure", async || controller.log().contains("its replacement failed").then_some(())).await;
        let is_alone = async || {
            let node = stage.all::<Node>().get(only).await.unwrap();
            (!is_closed(&node) && names(&stage).await == old).then_some(())
        };
        until("the old node to be alone and open", is_alone).await;
        assert_eq!(stage.running().await, [only.as_str(); 2]);
        // The next one does not know what was refused.
        drop(controller);
        stage.faults(json!({})).await;
        let _next = stage.sole_controller(&[]);
        replaced(&stage, &old).await;
        stage.run_pods(2).await;
        stage.whole(1).await;
    });
}

#[test]
fn a_machine_that_the_cloud_finds_wrong_has_drifted() {
    run(async |stage| {
        let mut pool = one_at_a_time();
        pool["template"] = either_type();
        pool["disruption"]["budgets"] = json!([{"nodes": "0", "reasons": ["Drifted"]}]);
        stage.pool("default", pool).await;
        stage.deployment("inflate", 2, "1200m", json!({})).await;
        let first = stage.sole_controller(&[]);
        stage.run_pods(2).await;
        stage.whole(1).await;
        // Nothing tells the controller of it: the next one looks at all claims, and it looks again by itself in its time.
        drop(first);
        stage.faults(json!({"drift": TYPE, "refuse": TYPE})).await;
        let _second = stage.sole_controller(&[]);
        let old = names(&stage).await;
        until("drift", async || (drift(&stage.claims().await[0]) == "MachineDrifted").then_some(())).await;
        stage.change_pool("default", json!({"disruption": {"budgets": [{"nodes": "1"}]}})).await;
        replaced_by_retrying(&stage, &old).await;
        stage.run_pods(2).await;
        stage.whole(1).await;
        assert_eq!(label(&stage.nodes().await[0], "node.kubernetes.io/instance-type"), "m6i.2xlarge");
    });
}

/// The same as `replaced`, where the first replacement is refused.
async fn replaced_by_retrying(stage: &Stage, old: &BTreeSet<String>) {
    until("the old claims to go", async || {
        let claims = stage.claims().await;
        claims.iter().all(|claim| !old.contains(&claim.name_any())).then_some(())
    })
    .await;
}

/// Killed between any two of its writes: the next controller ends the old node once, and buys nothing twice.
#[test]
fn a_controller_that_dies_after_any_of_its_writes_replaces_a_node_once() {
    run(async |stage| {
        let mut pool = one_at_a_time();
        // What comes is empty until the old node is drained.
        pool["disruption"]["consolidateAfter"] = json!("0s");
        stage.pool("default", pool).await;
        stage.deployment("inflate", 2, "1200m", json!({})).await;
        let first = stage.sole_controller(&[]);
        stage.run_pods(2).await;
        stage.whole(1).await;
        drop(first);
        let is_replaced = async |team: &str| {
            let claims = stage.claims().await;
            assert!(claims.len() <= 2, "{} claims", claims.len());
            let [claim] = claims.as_slice() else { return false };
            let alone = stage.nodes().await.len() == 1 && stage.machines().await.len() == 1;
            alone
                && label(claim, "team") == team
                && condition(claim, "Ready") == "True"
                && stage.running().await.len() == 2
        };
        let mut died = 0;
        for writes in 1.. {
            let argument = writes.to_string();
            let name = format!("team-{writes}");
            let mut dying = stage.sole_controller(&["--die-after-writes", &argument]);
            stage.change_pool("default", team(&name)).await;
            let has_died = until("the end of it", async || match dying.has_ended() {
                true => Some(true),
                false => is_replaced(&name).await.then_some(false),
            })
            .await;
            drop(dying);
            let next = stage.sole_controller(&[]);
            until("the node to be replaced", async || is_replaced(&name).await.then_some(())).await;
            drop(next);
            died += u32::from(has_died);
            if !has_died {
                break;
            }
        }
        println!("died {died} times");
        assert!(died >= 12, "died {died} times");
    });
}
