//! What Karpenter's dashboards and people look for, of nodes that come, drift and go: metrics and events.

use serde_json::json;

use super::operation::get;
use super::stage::{run, told_about, told_that};
use crate::fixture::until;

#[test]
fn conditions_and_work_are_counted_and_annotations_of_pods_are_explained() {
    run(async |stage| {
        let controller = stage.sole_controller(&[]);
        stage.pool("default", json!({})).await;
        let pod = |value: &str| json!({"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": value}}});
        stage.deployment("patient", 1, "1", pod("1h")).await;
        stage.deployment("mistaken", 1, "1", pod("forever")).await;
        stage.run_pods(2).await;
        stage.whole(1).await;
        let metrics = get(&controller.address("/metrics").await, "/metrics");
        for line in [
            "operator_nodeclaim_status_condition_transitions_total{type=\"Launched\",status=\"True\",reason=\"Launched\",\
             karpenter_sh_nodepool=\"default\"} 1\n",
            "operator_nodeclaim_status_condition_transition_seconds_count{type=\"Registered\",status=\"Unknown\",\
             to_status=\"True\",karpenter_sh_nodepool=\"default\"} 1\n",
            "operator_nodepool_status_condition_transitions_total{type=\"Ready\",status=\"True\",reason=\"Ready\"} 1\n",
            "controller_runtime_reconcile_total{controller=\"nodeclaim.lifecycle\",result=\"",
            "controller_runtime_reconcile_time_seconds_count{controller=\"nodepool.counter\"} ",
            "controller_runtime_max_concurrent_reconciles{controller=\"node.termination\"} 64\n",
            "workqueue_unfinished_work_seconds{name=\"nodeclaim.lifecycle\",controller=\"nodeclaim.lifecycle\"} ",
        ] {
            assert!(metrics.contains(line), "{line} is not in\n{metrics}");
        }
        // The node is to be replaced, and its pods have a say.
        stage.change_pool("default", json!({"template": {"metadata": {"labels": {"team": "new"}}}})).await;
        told_that(&stage, "DoNotDisruptUntil", "will elapse at 2").await;
        told_that(&stage, "InvalidDoNotDisruptAnnotation", "\"forever\" is neither true nor a duration").await;
        assert_eq!(told_about(&stage, "DoNotDisruptUntil", "").await, ["Pod"]);
        // It has an end of its own.
        stage.scale("patient", 0).await;
        stage.scale("mistaken", 0).await;
        stage.whole(0).await;
        let line = "operator_nodeclaim_termination_duration_seconds_count{karpenter_sh_nodepool=\"default\"} 1\n";
        let address = controller.address("/metrics").await;
        until("its end to be counted", async || get(&address, "/metrics").contains(line).then_some(())).await;
    });
}
