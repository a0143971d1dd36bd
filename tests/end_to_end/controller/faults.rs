//! What a cloud may do to those who buy from it: take machines back, and move prices.

use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;

use super::stage::{TYPE, label, run};
use crate::fixture::until;

const ZONE: &str = "topology.kubernetes.io/zone";

#[test]
fn pods_of_a_machine_that_is_taken_back_get_one_of_another_offering() {
    run(async |stage| {
        let spot = json!([
            {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [TYPE]},
            {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]},
        ]);
        stage.pool("default", json!({"template": {"spec": {"requirements": spot}}})).await;
        stage.deployment("inflate", 3, "1200m", json!({})).await;
        let controller = stage.sole_controller(&[]);
        stage.run_pods(3).await;
        stage.whole(1).await;
        let first = stage.claims().await.remove(0);
        let zone = label(&first, ZONE);
        // An hour of notice: the node is emptied long before its machine ends.
        stage.faults(json!({"interrupt": format!("*/{zone}/spot"), "notice": "1h"})).await;
        until("the first claim to end", async || {
            stage.claims().await.iter().all(|claim| claim.name_any() != first.name_any()).then_some(())
        })
        .await;
        stage.run_pods(3).await;
        stage.whole(1).await;
        assert_ne!(label(&stage.claims().await[0], ZONE), zone, "{}", controller.log());
        let events = stage.all::<Event>().list(&ListParams::default()).await.unwrap().items;
        let told = events.iter().filter(|event| event.reason.as_deref() == Some("SpotInterrupted"));
        let mut told: Vec<String> = told.filter_map(|event| event.regarding.as_ref()?.kind.clone()).collect();
        told.sort();
        assert_eq!(told, ["Node", "NodeClaim"]);
    });
}

/// Nobody listens when the warning comes, nor when the machine ends.
#[test]
fn a_machine_that_was_taken_back_while_nobody_led_is_replaced() {
    run(async |stage| {
        stage.pool("default", json!({})).await;
        stage.deployment("inflate", 3, "1200m", json!({})).await;
        let controller = stage.sole_controller(&[]);
        stage.run_pods(3).await;
        stage.whole(1).await;
        let first = stage.claims().await.remove(0).name_any();
        stage.faults(json!({"interrupt": "*", "notice": "1s"})).await;
        until("the machine to be warned", async || controller.log().contains("to be taken back").then_some(())).await;
        controller.kill();
        // Whatever comes next is left alone.
        stage.faults(json!({})).await;
        let _second = stage.sole_controller(&[]);
        until("the first claim to end", async || {
            stage.claims().await.iter().all(|claim| claim.name_any() != first).then_some(())
        })
        .await;
        stage.run_pods(3).await;
        stage.whole(1).await;
    });
}

#[test]
fn machines_are_bought_at_the_prices_that_hold() {
    run(async |stage| {
        stage.pool("default", json!({})).await;
        stage.deployment("inflate", 2, "1200m", json!({})).await;
        stage.faults(json!({"prices": "*/us-east-1c/on-demand 0.01"})).await;
        let controller = stage.sole_controller(&[]);
        stage.run_pods(2).await;
        assert_eq!(label(&stage.claims().await[0], ZONE), "us-east-1c");
        assert!(controller.log().contains("for 2 pods: $0.0100/h"), "{}", controller.log());
        stage.faults(json!({"prices": "*/us-east-1b/on-demand 0.001"})).await;
        stage.deployment("more", 2, "1200m", json!({})).await;
        stage.run_pods(4).await;
        let mut zones: Vec<String> = stage.claims().await.iter().map(|claim| label(claim, ZONE)).collect();
        zones.sort();
        assert_eq!(zones, ["us-east-1b", "us-east-1c"], "{}", controller.log());
    });
}
