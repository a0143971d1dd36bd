//! Asked to end in the middle of something: it ends in time, gives the lease back, and the next one goes on from there.

use std::time::Duration;

use serde_json::{Value, json};

use super::operation::{get, holder};
use super::stage::{Controller, Stage, label, run};
use crate::fixture::until;

/// Half of what Kubernetes gives a pod that says nothing of it, before it is killed.
const IN_TIME: Duration = Duration::from_secs(15);

/// Asks for the end, and sees to it that the lease is free by then.
async fn ends(stage: &Stage, mut controller: Controller) {
    controller.terminate();
    assert_eq!(controller.ended(IN_TIME), Some(0));
    assert_eq!(holder(stage).await, None, "{}", controller.log());
}

/// Pods of many sizes, for which the best mix of many machines is not soon found.
async fn mixed_pods(stage: &Stage) -> usize {
    let own = json!({"spec": {"nodeSelector": {"karpenter.sh/nodepool": "any"}}});
    for number in 0..20_u32 {
        let cpu = format!("{}m", 330 + number * number * 17 % 1900);
        stage.deployment(&format!("mixed-{number}"), 3, &cpu, own.clone()).await;
    }
    60
}

fn any_type() -> Value {
    json!([
        {"key": "karpenter.k8s.aws/instance-category", "operator": "In", "values": ["c", "m", "r"]},
        {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
    ])
}

#[test]
fn who_is_asked_to_end_in_the_middle_of_a_plan_or_of_its_claims_leaves_the_rest_to_the_next() {
    run(async |stage| {
        let lasting = json!({"consolidateAfter": "Never"});
        let any = json!({"disruption": lasting, "template": {"spec": {"requirements": any_type()}}});
        stage.pool("any", any).await;
        let mixed = mixed_pods(&stage).await;
        let first = stage.controller(&["--time-budget", "10m", "--gap", "0"]);
        let metrics = first.address("/metrics").await;
        let queue = format!("karpenter_scheduler_queue_depth{{controller=\"provisioner\"}} {mixed}");
        until("the plan to begin", async || get(&metrics, "/metrics").contains(&queue).then_some(())).await;
        // It is not done soon.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(stage.claims().await.is_empty(), "{}", first.log());
        ends(&stage, first).await;
        assert!(stage.claims().await.is_empty());

        // One of them to a machine.
        stage.pool("one", json!({"disruption": lasting})).await;
        let own = json!({"spec": {"nodeSelector": {"karpenter.sh/nodepool": "one"}}});
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
        let large = stage.nodes().await.iter().filter(|node| label(*node, "karpenter.sh/nodepool") == "one").count();
        assert_eq!(large, 30, "{}", third.log());
        ends(&stage, third).await;
    });
}
