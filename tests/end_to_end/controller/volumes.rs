//! What the end of a machine waits for beside its pods, and what it tells of itself.

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use supercargo::api::NodeClaim;

use super::stage::{Stage, condition, run, told_about};
use crate::fixture::until;

/// A node with one pod; its claim's name.
async fn one_node(stage: &Stage, pool: serde_json::Value, pod: serde_json::Value) -> String {
    stage.pool("default", pool).await;
    stage.deployment("inflate", 1, "1200m", pod).await;
    stage.run_pods(1).await;
    stage.whole(1).await;
    stage.claims().await[0].name_any()
}

async fn attach(stage: &Stage, node: &str) {
    let attachment = json!({"metadata": {"name": "held"}, "spec": {
        "attacher": "ebs.csi.aws.com", "nodeName": node, "source": {"persistentVolumeName": "volume"},
    }});
    stage.create(&stage.all::<VolumeAttachment>(), attachment).await;
}

#[test]
fn a_machine_ends_once_its_volumes_are_detached() {
    run(async |stage| {
        let _controller = stage.sole_controller(&[]);
        let name = one_node(&stage, json!({}), json!({})).await;
        attach(&stage, &name).await;
        stage.scale("inflate", 0).await;
        until("it to wait for the volume", async || {
            let claim = stage.all::<NodeClaim>().get(&name).await.unwrap();
            (condition(&claim, "VolumesDetached") == "Unknown").then_some(())
        })
        .await;
        assert_eq!((stage.nodes().await.len(), stage.machines().await.len()), (1, 1));
        let words = "Awaiting deletion of bound volumeattachments (held)";
        assert_eq!(told_about(&stage, "AwaitingVolumeDetachment", words).await, ["Node"]);
        stage.all::<VolumeAttachment>().delete("held", &DeleteParams::default()).await.unwrap();
        stage.whole(0).await;
    });
}

#[test]
fn after_its_grace_period_a_machine_ends_with_its_volumes() {
    run(async |stage| {
        let _controller = stage.sole_controller(&[]);
        let grace = json!({"template": {"spec": {"terminationGracePeriod": "5s"}}});
        let name = one_node(&stage, grace, json!({})).await;
        attach(&stage, &name).await;
        stage.scale("inflate", 0).await;
        let claim = stage.watch_to_the_end(1).await.remove(0);
        let said = ["Drained", "VolumesDetached", "InstanceTerminating"].map(|kind| condition(&claim, kind));
        assert_eq!(said, ["True", "False", "True"]);
        stage.whole(0).await;
        assert!(stage.all::<VolumeAttachment>().get_opt("held").await.unwrap().is_some());
    });
}

#[test]
fn the_pods_of_a_machine_that_is_lost_hold_its_node_no_longer() {
    run(async |stage| {
        let _controller = stage.sole_controller(&[]);
        let kept = json!({"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": "true"}}});
        let name = one_node(&stage, json!({}), kept).await;
        let now = jiff::Timestamp::now().to_string();
        // Its kubelet, which kwok plays, is silent from now on.
        let nodes = stage.all::<Node>();
        let silent = Patch::Merge(json!({"metadata": {"annotations": {"kwok.x-k8s.io/node": null}}}));
        nodes.patch(&name, &PatchParams::default(), &silent).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let unknown =
            json!({"type": "Ready", "status": "Unknown", "reason": "Test", "message": "", "lastTransitionTime": now});
        let patch = Patch::Strategic(json!({"status": {"conditions": [unknown]}}));
        nodes.patch_status(&name, &PatchParams::default(), &patch).await.unwrap();
        let machines: Api<ConfigMap> = Api::namespaced(stage.client.clone(), "kube-system");
        let machine = stage.machines().await[0].name_any();
        machines.delete(&machine, &DeleteParams::default()).await.unwrap();
        until("the node to go", async || nodes.get_opt(&name).await.unwrap().is_none().then_some(())).await;
    });
}
