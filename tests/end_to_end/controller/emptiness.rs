//! Empty nodes: which budgets hold them back, and whose daemons.

use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::order::daemons;
use super::stage::{Stage, condition, run, told_that};
use crate::fixture::until;

/// A volume that is attached to each node, which then does not end before [`detach`].
async fn attach(stage: &Stage) {
    for node in stage.nodes().await {
        let name = node.name_any();
        let attachment = json!({"metadata": {"name": name}, "spec": {
            "attacher": "ebs.csi.aws.com", "nodeName": name, "source": {"persistentVolumeName": "volume"},
        }});
        stage.create(&stage.all::<VolumeAttachment>(), attachment).await;
    }
}

async fn detach(stage: &Stage) {
    let attachments = stage.all::<VolumeAttachment>();
    attachments.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
}

/// Claims that end.
async fn ending(stage: &Stage) -> usize {
    stage.claims().await.iter().filter(|claim| claim.metadata.deletion_timestamp.is_some()).count()
}

/// A budget of none at all for an hour of every day, which begins so many minutes from now.
fn none_from(minutes: i64) -> Value {
    let begin = Timestamp::now() + minutes.minutes();
    json!({"nodes": "0", "schedule": begin.strftime("%M %H * * *").to_string(), "duration": "1h"})
}

#[test]
fn empty_nodes_end_as_far_as_the_budgets_allow_that_hold_now_and_for_that_reason() {
    run(async |stage| {
        let controller = stage.sole_controller(&[]);
        let half = json!({"nodes": "50%"});
        stage.pool("default", json!({"disruption": {"budgets": [half, none_from(-10)]}})).await;
        // One to a machine.
        stage.deployment("inflate", 4, "3", json!({})).await;
        stage.run_pods(4).await;
        stage.whole(4).await;
        attach(&stage).await;
        stage.scale("inflate", 0).await;
        until("all to be consolidatable", async || {
            let claims = stage.claims().await;
            claims.iter().all(|claim| condition(claim, "Consolidatable") == "True").then_some(())
        })
        .await;
        told_that(&stage, "DisruptionBlocked", "No allowed disruptions for disruption reason Empty").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(ending(&stage).await, 0, "{}", controller.log());
        // What is for later, or for another reason, does not count.
        let drifted = json!({"nodes": "0", "reasons": ["Drifted"]});
        stage.change_pool("default", json!({"disruption": {"budgets": [none_from(120), drifted, half]}})).await;
        until("two of four to end", async || (ending(&stage).await == 2).then_some(())).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(ending(&stage).await, 2, "{}", controller.log());
        detach(&stage).await;
        stage.whole(0).await;
    });
}

#[test]
fn a_daemon_that_forbids_disruption_keeps_an_empty_node() {
    run(async |stage| {
        let controller = stage.sole_controller(&[]);
        stage.pool("default", json!({})).await;
        daemons(&stage, "agent", "", json!({"karpenter.sh/do-not-disrupt": "true"})).await;
        stage.deployment("inflate", 1, "1200m", json!({})).await;
        stage.run_pods(2).await;
        stage.whole(1).await;
        stage.scale("inflate", 0).await;
        stage.run_pods(1).await;
        let agent = stage.pods().list(&ListParams::default().labels("app=agent")).await.unwrap().items.remove(0);
        let words = format!("pod default/{} has the annotation karpenter.sh/do-not-disrupt", agent.name_any());
        told_that(&stage, "DisruptionBlocked", &words).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((stage.claims().await.len(), ending(&stage).await), (1, 0), "{}", controller.log());
        let allow = Patch::Merge(json!({"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": null}}}));
        stage.pods().patch(&agent.name_any(), &PatchParams::default(), &allow).await.unwrap();
        stage.whole(0).await;
    });
}
