//! What is asked for by flags under Karpenter's names.

use serde_json::json;
use supercargo::api::NodeClaim;

use super::operation::get;
use super::stage::{Stage, run, told_that};

const TYPES: &str = "node.kubernetes.io/instance-type";

/// A pool of three types that wants three to choose among, a pod that any of them suits, and one that one of them suits.
async fn choosy(stage: &Stage) {
    let requirements = json!([
        {"key": TYPES, "operator": "In", "values": ["m5.large", "m5.xlarge", "m5.2xlarge"], "minValues": 3},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
    ]);
    stage.pool("default", json!({"template": {"spec": {"requirements": requirements}}})).await;
    stage.deployment("any", 1, "1200m", json!({})).await;
    stage.deployment("one", 1, "1200m", json!({"spec": {"nodeSelector": {TYPES: "m5.2xlarge"}}})).await;
}

/// How many values a claim asks to choose among, how many there are, and whether it says that these are fewer than wanted.
fn least(claim: &NodeClaim) -> (Option<u32>, usize, String) {
    let types = claim.spec.template.requirements.iter().find(|one| one.key == TYPES).unwrap();
    let relaxed = claim.metadata.annotations.as_ref().unwrap()["karpenter.sh/nodeclaim-min-values-relaxed"].clone();
    (types.min_values, types.values.as_ref().unwrap().len(), relaxed)
}

#[test]
fn a_pod_that_min_values_leaves_too_few_offerings_waits() {
    run(async |stage| {
        choosy(&stage).await;
        let nothing = json!([{"key": TYPES, "operator": "In", "values": ["none.such"]}]);
        stage.pool("nothing", json!({"template": {"spec": {"requirements": nothing}}})).await;
        let _controller = stage.sole_controller(&[]);
        stage.run_pods(1).await;
        let words = told_that(&stage, "NoCompatibleInstanceTypes", "").await;
        assert_eq!(words, "NodePool requirements filtered out all compatible available instance types");
        told_that(&stage, "FailedScheduling", "minValues").await;
        let claims = stage.claims().await;
        assert_eq!(claims.iter().map(least).collect::<Vec<_>>(), [(Some(3), 3, "false".to_owned())]);
    });
}

#[test]
fn with_best_effort_its_node_is_bought_with_what_there_is() {
    run(async |stage| {
        choosy(&stage).await;
        let controller = stage.sole_controller(&["--min-values-policy", "BestEffort"]);
        stage.run_pods(2).await;
        // The second plan counts as well.
        let told = get(&controller.address("/metrics").await, "/metrics");
        assert!(told.contains("supercargo_planned_pods_total 2\n"), "{told}");
        stage.whole(2).await;
        let mut claims = stage.claims().await;
        claims.sort_by_key(|claim| least(claim).0);
        assert_eq!(least(&claims[0]), (Some(1), 1, "true".to_owned()));
        assert_eq!(least(&claims[1]), (Some(3), 3, "false".to_owned()));
    });
}
