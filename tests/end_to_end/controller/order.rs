//! In which order pods leave a node that ends.

use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::{DeleteParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use supercargo::api::NodeClaim;

use super::stage::{Stage, run};
use crate::fixture::until;

/// The spec of a pod that ends a second after it is asked to.
fn spec(class: &str) -> Value {
    let mut spec = json!({
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": "nothing", "resources": {"requests": {"cpu": "300m"}}}],
    });
    if !class.is_empty() {
        spec["priorityClassName"] = json!(class);
    }
    spec
}

/// A pod that nobody makes anew.
async fn pod(stage: &Stage, name: &str, class: &str) {
    stage.create(&stage.pods(), json!({"metadata": {"name": name}, "spec": spec(class)})).await;
}

/// A DaemonSet for nodes of pools. Its pods do not tolerate the end of their node.
pub async fn daemons(stage: &Stage, name: &str, class: &str, annotations: Value) {
    let mut spec = spec(class);
    spec["nodeSelector"] = json!({"karpenter.sh/nodepool": "default"});
    let set = json!({
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}, "annotations": annotations}, "spec": spec},
        },
    });
    stage.create(&Api::<DaemonSet>::default_namespaced(stage.client.clone()), set).await;
}

/// What happens to pods until so many are gone: `NAME leaves`, `NAME is gone`.
async fn leaving(stage: &Stage, count: usize, order: &[&str]) -> Vec<String> {
    let pods = stage.pods();
    let params = WatchParams::default().timeout(120);
    let mut events = Box::pin(pods.watch(&params, "0").await.unwrap());
    let (mut told, mut gone) = (Vec::new(), 0);
    let mut tell = |pod: &k8s_openapi::api::core::v1::Pod, what: &str| {
        // Names of daemons' pods go on behind those of their set.
        let matching = order.iter().filter(|name| pod.name_any().starts_with(**name));
        let words = format!("{} {what}", matching.max_by_key(|name| name.len()).unwrap());
        if !told.contains(&words) {
            told.push(words);
        }
    };
    while gone < count {
        match events.try_next().await.unwrap().expect("more pods to leave") {
            WatchEvent::Modified(pod) if pod.metadata.deletion_timestamp.is_some() => tell(&pod, "leaves"),
            WatchEvent::Deleted(pod) => {
                tell(&pod, "is gone");
                gone += 1;
            }
            _ => {}
        }
    }
    told
}

#[test]
fn pods_leave_before_daemons_and_critical_ones_after_both() {
    run(async |stage| {
        let controller = stage.sole_controller(&[]);
        stage.pool("default", json!({})).await;
        // The other way round than they are to leave.
        daemons(&stage, "critical-daemon", "system-node-critical", json!({})).await;
        pod(&stage, "critical", "system-cluster-critical").await;
        daemons(&stage, "daemon", "", json!({})).await;
        pod(&stage, "web", "").await;
        stage.run_pods(4).await;
        stage.whole(1).await;
        let node = stage.nodes().await[0].name_any();
        let order = ["web", "daemon", "critical", "critical-daemon"];
        let (told, _) = futures::join!(leaving(&stage, 4, &order), async {
            stage.all::<NodeClaim>().delete(&node, &DeleteParams::default()).await.unwrap();
        });
        let expected: Vec<String> =
            order.iter().flat_map(|name| [format!("{name} leaves"), format!("{name} is gone")]).collect();
        assert_eq!(told, expected, "{}", controller.log());
        until("the node to go", async || stage.nodes().await.is_empty().then_some(())).await;
    });
}
