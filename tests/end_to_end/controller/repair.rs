//! Node repair: machines whose nodes are sick are replaced, whatever their pods say.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::operation::get;
use super::stage::{Stage, run, told};
use crate::fixture::until;

/// Gives a node a condition that means that its machine is broken, or one that means that it is well.
pub async fn kernel(stage: &Stage, node: &str, status: &str) {
    let now = jiff::Timestamp::now().to_string();
    let condition = json!({
        "type": "KernelReady", "status": status, "reason": "Test", "message": "",
        "lastHeartbeatTime": now, "lastTransitionTime": now,
    });
    let patch = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
    stage.all::<Node>().patch_status(node, &PatchParams::default(), &patch).await.unwrap();
}

#[test]
fn a_sick_node_is_replaced_unless_many_are_sick() {
    run(async |stage| {
        let controller = stage.controller(&["--feature-gates", "NodeRepair=true"]);
        stage.faults(json!({"repairAfter": "2s"})).await;
        stage.pool("default", json!({})).await;
        // Three to a machine, and none of them wants to leave.
        let annotated = json!({"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": "true"}}});
        stage.deployment("inflate", 6, "1200m", annotated).await;
        stage.run_pods(6).await;
        stage.whole(2).await;
        let names: Vec<String> = stage.nodes().await.iter().map(ResourceExt::name_any).collect();
        for name in &names {
            kernel(&stage, name, "False").await;
        }
        let note = told(&stage, "NodeRepairBlocked").await;
        assert!(note.contains("20%"), "{note}");
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(stage.running().await.len(), 6);
        kernel(&stage, &names[1], "True").await;
        until("the sick node to go", async || {
            let left = stage.nodes().await;
            assert!(left.iter().any(|node| node.name_any() == names[1]), "{}", controller.log());
            left.iter().all(|node| node.name_any() != names[0]).then_some(())
        })
        .await;
        stage.run_pods(6).await;
        stage.whole(2).await;
        let metrics = controller.address("/metrics").await;
        let counted = "karpenter_nodeclaims_unhealthy_disrupted_total{nodepool=\"default\"";
        assert!(get(&metrics, "/metrics").contains(counted), "{}", controller.log());
    });
}
