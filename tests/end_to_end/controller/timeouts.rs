//! What does not come in time: machines that are never launched or never boot, replacements that are late, and plans and
//! launches that somebody else has to finish.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use serde_json::{Value, json};
use supercargo::api::{NodeClaim, NodePool};

use super::operation::get;
use super::stage::{Controller, Stage, TYPE, condition, either_type, label, run};
use crate::fixture::until;

/// A pool whose empty nodes stay: one machine too many would be found.
fn lasting() -> Value {
    json!({"disruption": {"consolidateAfter": "Never"}})
}

/// Waits until a claim and its machine are gone.
async fn gone(stage: &Stage, claim: &NodeClaim) {
    let machine = format!("kwok-{}", claim.uid().unwrap());
    until("claim and machine to go", async || {
        let claim = stage.all::<NodeClaim>().get_opt(&claim.name_any()).await.unwrap();
        let runs = stage.machines().await.iter().any(|one| one.name_any() == machine);
        (claim.is_none() && !runs).then_some(())
    })
    .await;
}

/// Waits until a claim is counted as given up for a reason.
async fn given_up(controller: &Controller, reason: &str) {
    let metrics = controller.address("/metrics").await;
    let is_told = |line: &str| {
        line.starts_with("karpenter_nodeclaims_disrupted_total") && line.contains(&format!("reason=\"{reason}\""))
    };
    until("it to be counted", async || get(&metrics, "/metrics").lines().any(is_told).then_some(())).await;
}

#[test]
fn pods_of_a_machine_that_never_boots_get_another() {
    run(async |stage| {
        stage.pool("default", lasting()).await;
        stage.faults(json!({"neverBoot": "true"})).await;
        stage.deployment("inflate", 2, "1200m", json!({})).await;
        let controller = stage.controller(&["--registration-timeout", "5s"]);
        let first = until("the launch", async || {
            stage.claims().await.into_iter().find(|claim| condition(claim, "Launched") == "True")
        })
        .await;
        gone(&stage, &first).await;
        assert!(stage.nodes().await.is_empty() && stage.running().await.is_empty());
        stage.faults(json!({})).await;
        stage.run_pods(2).await;
        stage.whole(1).await;
        assert_ne!(stage.claims().await[0].name_any(), first.name_any());
        assert!(controller.log().contains("given up: no registration within"), "{}", controller.log());
        given_up(&controller, "registration_timeout").await;
    });
}

/// Status and reason of a condition of the only pool.
async fn of_pool(stage: &Stage, kind: &str) -> [String; 2] {
    let pool = stage.all::<NodePool>().get("default").await.unwrap();
    let mut conditions = pool.status.into_iter().flat_map(|status| status.conditions.unwrap_or_default());
    conditions.find(|one| one.type_ == kind).map(|one| [one.status, one.reason]).unwrap_or_default()
}

#[test]
fn a_pool_says_that_its_machines_do_not_join_until_enough_of_them_have() {
    run(async |stage| {
        stage.pool("default", lasting()).await;
        stage.faults(json!({"neverBoot": "true"})).await;
        // One a machine.
        stage.deployment("inflate", 1, "3", json!({})).await;
        let controller = stage.controller(&["--registration-timeout", "3s"]);
        until("the pool to be sick", async || {
            (of_pool(&stage, "NodeRegistrationHealthy").await == ["False", "RegistrationFailed"]).then_some(())
        })
        .await;
        assert!(controller.log().matches("given up: no registration within").count() >= 2, "{}", controller.log());
        // Whether it can be bought for is another question.
        assert_eq!(of_pool(&stage, "Ready").await[0], "True");
        stage.faults(json!({})).await;
        stage.run_pods(1).await;
        assert_eq!(of_pool(&stage, "NodeRegistrationHealthy").await[0], "False");
        stage.scale("inflate", 4).await;
        stage.run_pods(4).await;
        until("the pool to be healthy", async || {
            (of_pool(&stage, "NodeRegistrationHealthy").await[0] == "True").then_some(())
        })
        .await;
    });
}

#[test]
fn a_claim_that_is_never_launched_is_given_up() {
    run(async |stage| {
        stage.pool("default", lasting()).await;
        stage.faults(json!({"fail": "out of order"})).await;
        stage.deployment("inflate", 2, "1200m", json!({})).await;
        let controller = stage.controller(&["--launch-timeout", "5s"]);
        let first = until("a claim", async || stage.claims().await.pop()).await;
        gone(&stage, &first).await;
        assert!(controller.log().contains("given up: no launch within"), "{}", controller.log());
        stage.made(0).await;
        stage.faults(json!({})).await;
        stage.run_pods(2).await;
        stage.whole(1).await;
        assert_ne!(stage.claims().await[0].name_any(), first.name_any());
        given_up(&controller, "launch_timeout").await;
        stage.made(1).await;
    });
}

#[test]
fn a_replacement_that_is_late_becomes_a_node_like_any_other() {
    run(async |stage| {
        let mut pool = lasting();
        pool["disruption"]["budgets"] = json!([{"nodes": "1"}]);
        stage.pool("default", pool).await;
        stage.deployment("inflate", 2, "1200m", json!({})).await;
        let controller = stage.controller(&["--replacement-timeout", "3s"]);
        stage.run_pods(2).await;
        stage.whole(1).await;
        let old = stage.claims().await.remove(0).name_any();
        // Longer than it takes to notice what nobody tells of, and to leave the old node alone for a while after that.
        stage.faults(json!({"bootDelay": "25s"})).await;
        stage.change_pool("default", json!({"template": {"metadata": {"labels": {"team": "new"}}}})).await;
        until("it to be late", async || controller.log().contains("is not initialized after 3 s").then_some(())).await;
        let new = until("the old node to be open, and what is late to be free", async || {
            let node = stage.all::<Node>().get(&old).await.unwrap();
            let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
            let new = stage.claims().await.into_iter().find(|claim| claim.name_any() != old)?;
            let is_free = !new.annotations().contains_key("supercargo.dev/replaces");
            (is_free && taints.iter().all(|taint| taint.key != "karpenter.sh/disrupted")).then_some(new)
        })
        .await;
        assert_eq!(condition(&new, "Ready"), "Unknown");
        assert_eq!(stage.running().await, [old.as_str(); 2]);
        // Once it is there, the pods of the old one fit on it, and nothing else is bought.
        until("the old claim to go", async || {
            let claims = stage.claims().await;
            let ends = claims.iter().any(|one| one.name_any() == old && one.metadata.deletion_timestamp.is_some());
            let is_ready =
                claims.iter().any(|one| one.name_any() == new.name_any() && condition(one, "Ready") == "True");
            assert!(is_ready || !ends, "{}", controller.log());
            claims.iter().all(|one| one.name_any() != old).then_some(())
        })
        .await;
        stage.run_pods(2).await;
        stage.whole(1).await;
        assert_eq!(stage.claims().await[0].name_any(), new.name_any());
        stage.made(2).await;
    });
}

#[test]
fn the_next_controller_finishes_the_launches_of_one_that_was_asked_to_end() {
    run(async |stage| {
        stage.pool("default", lasting()).await;
        let slowly = ["--kwok-boot-delay", "6s"];
        for round in 1..=2 {
            // A machine full.
            stage.deployment(&format!("inflate-{round}"), 3, "1200m", json!({})).await;
            let mut first = stage.controller(&slowly);
            until("a launch", async || {
                // First as soon as a machine is asked for, then while one boots.
                let under_way = if round == 1 { stage.claims().await.len() } else { stage.machines().await.len() };
                (under_way == round).then_some(())
            })
            .await;
            first.terminate();
            assert_eq!(first.ended(Duration::from_secs(10)), Some(0));
            assert_eq!(stage.nodes().await.len(), round - 1, "{}", first.log());
            let mut second = stage.controller(&slowly);
            stage.run_pods(3 * round).await;
            stage.whole(round).await;
            stage.made(round).await;
            second.terminate();
            assert_eq!(second.ended(Duration::from_secs(10)), Some(0));
        }
    });
}

#[test]
fn what_is_refused_is_planned_anew_without_waiting_for_more_pods() {
    run(async |stage| {
        let mut pool = lasting();
        pool["template"] = either_type();
        stage.pool("default", pool).await;
        stage.faults(json!({"fail": "out of order"})).await;
        stage.deployment("inflate", 3, "1200m", json!({})).await;
        let first = stage.sole_controller(&[]);
        until("a claim that is not launched", async || {
            (condition(stage.claims().await.first()?, "Launched") == "Unknown").then_some(())
        })
        .await;
        first.kill();
        stage.faults(json!({"refuse": TYPE})).await;
        // Its first batch would wait for far longer than the test does.
        let batch = ["--batch-idle-duration", "10m", "--batch-max-duration", "10m"];
        let second = stage.sole_controller(&batch);
        stage.run_pods(3).await;
        stage.whole(1).await;
        assert_eq!(label(&stage.nodes().await[0], "node.kubernetes.io/instance-type"), "m6i.2xlarge");
        assert!(second.log().contains("refused: none of"), "{}", second.log());
        stage.made(1).await;
    });
}
