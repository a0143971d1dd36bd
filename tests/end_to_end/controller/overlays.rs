//! NodeOverlays: other prices and more devices, in what is bought and on the nodes.

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use supercargo::api::NodeOverlay;

use super::stage::{Stage, TYPE, label, run};
use crate::fixture::{install_definitions, until};

const DONGLE: &str = "example.com/dongle";
const KIND: &str = "node.kubernetes.io/instance-type";
const SMALL: &str = "m5.large";

/// An overlay of an instance type.
pub async fn overlay(stage: &Stage, name: &str, kind: &str, spec: Value) {
    let mut whole = json!({
        "apiVersion": "karpenter.sh/v1alpha1", "kind": "NodeOverlay", "metadata": {"name": name},
        "spec": {"requirements": [{"key": KIND, "operator": "In", "values": [kind]}]},
    });
    whole["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    stage.create(&stage.all::<NodeOverlay>(), whole).await;
}

/// Whether an overlay's condition `Ready` is this.
pub async fn is_ready(stage: &Stage, name: &str, status: &str) -> bool {
    let overlay = stage.all::<NodeOverlay>().get(name).await.unwrap();
    let conditions = overlay.status.and_then(|status| status.conditions).unwrap_or_default();
    conditions.iter().any(|one| one.type_ == "Ready" && one.status == status)
}

/// Waits until it is.
async fn ready(stage: &Stage, name: &str, status: &str) {
    until(&format!("overlay {name} to be Ready={status}"), async || is_ready(stage, name, status).await.then_some(()))
        .await;
}

/// A pool of two instance types, of which the small one costs half as much.
async fn pool(stage: &Stage) {
    let requirements = json!([
        {"key": KIND, "operator": "In", "values": [SMALL, TYPE]},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
    ]);
    stage.pool("default", json!({"template": {"spec": {"requirements": requirements}}})).await;
}

fn kinds(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(|node| label(node, KIND)).collect()
}

#[test]
fn what_is_bought_has_the_prices_and_devices_of_overlays() {
    run(async |stage| {
        let controller = stage.controller(&[]);
        pool(&stage).await;
        overlay(&stage, "dear", SMALL, json!({"price": "9"})).await;
        overlay(&stage, "clash", SMALL, json!({"priceAdjustment": "-50%"})).await;
        overlay(&stage, "dongles", TYPE, json!({"capacity": {DONGLE: "1"}})).await;
        ready(&stage, "dear", "True").await;
        ready(&stage, "dongles", "True").await;
        ready(&stage, "clash", "False").await;
        let clash = stage.all::<NodeOverlay>().get("clash").await.unwrap().status.unwrap().conditions.unwrap();
        let valid = clash.iter().find(|one| one.type_ == "ValidationSucceeded").unwrap();
        assert_eq!((valid.status.as_str(), valid.reason.as_str()), ("False", "Conflict"));
        assert!(valid.message.contains("dear"), "{}", valid.message);
        stage.deployment("plain", 1, "500m", json!({})).await;
        stage.run_pods(1).await;
        stage.whole(1).await;
        assert_eq!(kinds(&stage.nodes().await), [TYPE], "{}", controller.log());
        // One to a node, and the first is there.
        let resources = json!({"requests": {"cpu": "500m"}, "limits": {DONGLE: "1"}});
        let container = json!({"name": "main", "image": "nothing", "resources": resources});
        stage.deployment("plugged", 2, "500m", json!({"spec": {"containers": [container]}})).await;
        stage.run_pods(3).await;
        stage.whole(2).await;
        let one = Some(Quantity("1".into()));
        for node in stage.nodes().await {
            let status = node.status.unwrap();
            assert_eq!(status.capacity.unwrap().get(DONGLE).cloned(), one);
            assert_eq!(status.allocatable.unwrap().get(DONGLE).cloned(), one);
        }
        for claim in stage.claims().await {
            assert_eq!(claim.status.unwrap().capacity.unwrap().get(DONGLE).cloned(), one);
        }
    });
}

#[test]
fn a_cluster_may_do_without_overlays_and_get_to_know_them_later() {
    run(async |stage| {
        let definitions = stage.all::<CustomResourceDefinition>();
        let name = "nodeoverlays.karpenter.sh";
        definitions.delete(name, &DeleteParams::default()).await.unwrap();
        until("the definition to go", async || definitions.get_opt(name).await.unwrap().is_none().then_some(())).await;
        let controller = stage.controller(&[]);
        pool(&stage).await;
        stage.deployment("inflate", 1, "1200m", json!({})).await;
        stage.run_pods(1).await;
        assert_eq!(kinds(&stage.nodes().await), [SMALL]);
        assert_eq!(controller.log().matches("does not serve nodeoverlays").count(), 1, "{}", controller.log());
        install_definitions(&stage.client).await;
        overlay(&stage, "dear", SMALL, json!({"price": "9"})).await;
        ready(&stage, "dear", "True").await;
        stage.scale("inflate", 2).await;
        stage.run_pods(2).await;
        let mut kinds = kinds(&stage.nodes().await);
        kinds.sort();
        assert_eq!(kinds, [SMALL, TYPE], "{}", controller.log());
    });
}

#[test]
fn overlays_mean_nothing_where_their_gate_is_closed() {
    run(async |stage| {
        let _controller = stage.controller(&["--feature-gates", "NodeOverlay=false"]);
        pool(&stage).await;
        overlay(&stage, "dear", SMALL, json!({"price": "9"})).await;
        stage.deployment("plain", 1, "500m", json!({})).await;
        stage.run_pods(1).await;
        stage.whole(1).await;
        assert_eq!(kinds(&stage.nodes().await), [SMALL]);
        assert!(stage.all::<NodeOverlay>().get("dear").await.unwrap().status.is_none());
    });
}
