//! Asked to end in the middle of something: it ends in time, gives the lease back, and the next one goes on from there.

use std::time::Duration;

use serde_json::{Value, json};

use super::operation::{get, holder};
use super::stage::{Controller, Stage, label, run};
use crate::fixture::until;

const POOL: &str = "karpenter.sh/nodepool";
/// Half of what Kubernetes gives a pod that says nothing of it, before it is killed.
const IN_TIME: Duration = Duration::from_secs(15);

/// Asks for the end, and sees to it that the lease is free by then.
async fn ends(stage: &Stage, mut controller: Controller) {
    controller.terminate();
    assert_eq!(controller.ended(IN_TIME), Some(0));
    assert_eq!(holder(stage).await, None, "{}", controller.log());
}

/// Pods of many sizes, for which the best mix of these machines is not soon found; how many.
async fn mixed_pods(stage: &Stage) -> usize {
    let types = json!([
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["m5.xlarge", "m5.2xlarge", "c5.2xlarge", "r5.xlarge"]},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
    ]);
    stage.pool("any", lasting(json!({"template": {"spec": {"requirements": types}}}))).await;
    for number in 0..40_u32 {
        let (cpu, memory) = (330 + number.pow(2) * 17 % 1900, 500 + number.pow(3) * 37 % 5000);
        let requests = json!({"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi")});
        let own = json!({"spec": {
            "nodeSelector": {POOL: "any"},
            "containers": [{"name": "main", "image": "nothing", "resources": {"requests": requests}}],
        }});
        stage.deployment(&format!("mixed-{number}"), 2, "0", own).await;
    }
    80
}

/// A pool whose nodes stay: one too many would be found.
fn lasting(mut spec: Value) -> Value {
    spec["disruption"] = json!({"consolidateAfter": "Never"});
    spec
}

#[test]
fn who_is_asked_to_end_in_the_middle_of_a_plan_or_of_its_claims_leaves_the_rest_to_the_next() {
    run(async |stage| {
        let mixed = mixed_pods(&stage).await;
        let first = stage.controller(&["--time-budget", "10m", "--gap", "0"]);
        let metrics = first.address("/metrics").await;
        let queue = format!("karpenter_scheduler_queue_depth{{controller=\"provisioner\"}} {mixed}");
        until("the plan to begin", async || get(&metrics, "/metrics").contains(&queue).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        ends(&stage, first).await;
        assert!(stage.claims().await.is_empty());

        // One of them to a machine.
        stage.pool("one", lasting(json!({}))).await;
        let own = json!({"spec": {"nodeSelector": {POOL: "one"}}});
        stage.deployment("large", 30, "3", own).await;
        let second = stage.controller(&[]);
        until("the first claim", async || (!stage.claims().await.is_empty()).then_some(())).await;
        ends(&stage, second).await;
        let begun = stage.claims().await.len();

        let third = stage.controller(&[]);
        stage.run_pods(mixed + 30).await;
        let claims = stage.claims().await.len();
        println!("{begun} of {claims} claims were made by then");
        stage.whole(claims).await;
        stage.made(claims).await;
        let large = stage.nodes().await.iter().filter(|node| label(*node, POOL) == "one").count();
        assert_eq!(large, 30, "{}", third.log());
        ends(&stage, third).await;
    });
}
