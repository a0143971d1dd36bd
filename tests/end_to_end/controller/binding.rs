//! Pods of a plan come to run where they were planned, or where kube-scheduler wants them, and no node stays closed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use test_cluster::Parts;

use super::operation::get;
use super::stage::{Controller, Stage, condition, run};
use crate::fixture::until;

/// Three workloads of different sizes, of which a plan leaves little room on its nodes.
const WORKLOADS: [(&str, u32, &str); 3] = [("small", 14, "300m"), ("middle", 12, "700m"), ("large", 10, "1200m")];
const PODS: usize = 36;

async fn workloads(stage: &Stage) {
    for (name, replicas, cpu) in WORKLOADS {
        stage.deployment(name, replicas, cpu, json!({})).await;
    }
}

/// The node of each pod that runs.
async fn places(stage: &Stage) -> BTreeMap<String, String> {
    let pods = stage.pods().list(&ListParams::default()).await.unwrap().items;
    pods.into_iter().filter_map(|pod| Some((pod.name_any(), pod.spec?.node_name?))).collect()
}

/// The claim that each pod was last planned onto, as the events tell.
async fn planned(stage: &Stage) -> BTreeMap<String, String> {
    let events = Api::<k8s_openapi::api::events::v1::Event>::default_namespaced(stage.client.clone());
    let events = events.list(&ListParams::default()).await.unwrap().items;
    let nominated = events.into_iter().filter(|event| event.reason.as_deref() == Some("Nominated"));
    nominated
        .filter_map(|event| {
            let claim = event.note?.strip_prefix("planned onto ")?.split(' ').next()?.to_owned();
            Some((event.regarding?.name?, claim))
        })
        .collect()
}

/// Requests of the controller, who uses the administrator's kubeconfig, for pods or a subresource of theirs.
fn requests(stage: &Stage, verb: &str, subresource: &str) -> Vec<Value> {
    let mut log = stage.control_plane.audit_log().unwrap();
    log.retain(|event| {
        let object = &event["objectRef"];
        event["verb"] == verb
            && object["resource"] == "pods"
            && object["subresource"].as_str().unwrap_or_default() == subresource
            && event["user"]["username"] == "admin"
    });
    log
}

/// Waits until a line of the metrics says so much.
async fn metric(controller: &Controller, line: &str) {
    let address = controller.address("/metrics").await;
    until(line, async || get(&address, "/metrics").lines().any(|one| one == line).then_some(())).await;
}

/// What the metrics say of one that has no labels.
fn value(told: &str, name: &str) -> f64 {
    let line = told.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
    line.split(' ').next_back().unwrap().parse().unwrap()
}

fn is_held(node: &Node) -> bool {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.into_iter().any(|taint| taint.key == "supercargo.dev/plan" && taint.effect == "NoSchedule")
}

#[test]
fn every_pod_of_a_plan_is_bound_where_it_was_planned() {
    run(async |stage| {
        workloads(&stage).await;
        stage.pool("default", json!({})).await;
        let controller = stage.sole_controller(&[]);
        stage.run_pods(PODS).await;
        // Of one plan no more pods are told of at once.
        let planned = until("an event for ten pods", async || {
            let planned = planned(&stage).await;
            (planned.len() >= 10).then_some(planned)
        })
        .await;
        let places = places(&stage).await;
        assert!(planned.len() < PODS && planned.iter().all(|(pod, claim)| places.get(pod) == Some(claim)));
        let claims = stage.claims().await;
        stage.whole(claims.len()).await;
        for node in stage.nodes().await {
            assert!(!is_held(&node), "{}", node.name_any());
        }
        metric(&controller, &format!("supercargo_pods_bound_as_planned_total {PODS}")).await;
        metric(&controller, "supercargo_pods_bound_elsewhere_total 0").await;
        metric(&controller, "supercargo_extra_nodes_total 0").await;
        let told = get(&controller.address("/metrics").await, "/metrics");
        let costs = ["supercargo_planned_cost_total", "supercargo_realised_cost_total"];
        let [planned, realised] = costs.map(|name| value(&told, name));
        assert!(planned > 0.0 && (planned - realised).abs() < 1e-9, "{planned} {realised}");
        until("the bindings in the audit log", async || {
            (requests(&stage, "create", "binding").len() == PODS).then_some(())
        })
        .await;
        // The watch has brought them.
        assert_eq!(requests(&stage, "get", "").len(), 0);
    });
}

/// The objects of a bundled workload, with the pools on simulated machines.
fn on_simulated_machines(file: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let (ours, kwoks) = (["karpenter.k8s.aws", "EC2NodeClass"], ["karpenter.kwok.sh", "KWOKNodeClass"]);
    let mut made = Vec::new();
    for object in text.split("\n---\n") {
        if object.contains(&format!("\nkind: {}\n", ours[1])) {
            let name = object.lines().find(|line| line.starts_with("  name: ")).unwrap();
            made.push(format!("apiVersion: {}/v1alpha1\nkind: {}\nmetadata:\n{name}\n", kwoks[0], kwoks[1]));
        } else {
            made.push(object.replace(ours[0], kwoks[0]).replace(ours[1], kwoks[1]));
        }
    }
    // Labels of instance types stay what they are.
    made.join("\n---\n").replace("karpenter.kwok.sh/instance-", "karpenter.k8s.aws/instance-")
}

fn is_unschedulable(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.reason.as_deref() == Some("Unschedulable"))
}

#[test]
fn a_thousand_mixed_pods_are_bound_as_planned() {
    run(async |stage| {
        let objects = stage.control_plane.state().folder.join("mixed.yaml");
        std::fs::write(&objects, on_simulated_machines("fixtures/workloads/mixed-1000.yaml")).unwrap();
        let kubectl = Parts::built().unwrap().program("kubectl");
        let applied = std::process::Command::new(kubectl)
            .args(["apply", "-f"])
            .arg(&objects)
            .env("KUBECONFIG", stage.control_plane.kubeconfig())
            .output()
            .unwrap();
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        // Who comes later finds room on nodes that are open by then, with no plan at all.
        until("kube-scheduler to look at all pods", async || {
            let pods = stage.all::<Pod>().list(&ListParams::default()).await.unwrap().items;
            (pods.iter().filter(|pod| is_unschedulable(pod)).count() == 1000).then_some(())
        })
        .await;
        let controller = stage.controller(&[]);
        let address = controller.address("/metrics").await;
        let told = |name: &'static str| {
            let address = address.clone();
            async move { value(&get(&address, "/metrics"), name) }
        };
        let (as_planned, elsewhere) =
            ("supercargo_pods_bound_as_planned_total", "supercargo_pods_bound_elsewhere_total");
        until("all pods to be bound", async || {
            let told = get(&address, "/metrics");
            if value(&told, as_planned) + value(&told, elsewhere) >= 1000.0 {
                return Some(());
            }
            // To tell of so many pods, nodes and offerings is work that the cluster waits for.
            tokio::time::sleep(Duration::from_secs(1)).await;
            None
        })
        .await;
        assert!(told(as_planned).await >= 990.0, "{} of 1000", told(as_planned).await);
        let (planned, realised) =
            (told("supercargo_planned_cost_total").await, told("supercargo_realised_cost_total").await);
        assert!(planned > 0.0 && realised <= 1.02 * planned, "{realised} for {planned}");
    });
}

#[test]
fn kube_scheduler_decides_alone_if_it_is_told_to() {
    run(async |stage| {
        workloads(&stage).await;
        stage.pool("default", json!({})).await;
        let _controller = stage.sole_controller(&["--bind", "off"]);
        stage.run_pods(PODS).await;
        for claim in stage.claims().await {
            assert_eq!(claim.spec.template.startup_taints, None, "{}", claim.name_any());
        }
        let bound_by_us = requests(&stage, "create", "binding");
        assert!(bound_by_us.is_empty(), "{bound_by_us:?}");
    });
}

#[test]
fn a_pod_of_another_scheduler_gets_a_node_and_is_left_to_that_scheduler() {
    run(async |stage| {
        stage.pool("default", json!({})).await;
        let _controller = stage.sole_controller(&[]);
        stage.deployment("gang", 1, "500m", json!({"spec": {"schedulerName": "volcano"}})).await;
        let pods = until("the pod", async || {
            let pods = stage.pods().list(&ListParams::default()).await.unwrap().items;
            (pods.len() == 1).then_some(pods)
        })
        .await;
        stage.finds_no_node(&pods[0]).await;
        let node = until("an open node", async || {
            let ready = stage.claims().await.iter().any(|claim| condition(claim, "Initialized") == "True");
            stage.nodes().await.into_iter().find(|node| ready && !is_held(node))
        })
        .await;
        assert!(places(&stage).await.is_empty() && requests(&stage, "create", "binding").is_empty());
        let name = pods[0].name_any();
        let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": node.name_any()}});
        let asked =
            stage.pods().create_subresource::<Value, Value>("binding", &name, &PostParams::default(), &binding).await;
        asked.unwrap();
        stage.run_pods(1).await;
        stage.whole(1).await;
    });
}

#[test]
fn kube_scheduler_is_told_of_the_plan_if_it_is_to_decide() {
    run(async |stage| {
        stage.deployment("inflate", 6, "1200m", json!({})).await;
        stage.pool("default", json!({})).await;
        let _controller = stage.sole_controller(&["--bind", "nominate"]);
        stage.run_pods(6).await;
        stage.whole(2).await;
        // One may be told twice: each step may be repeated.
        let nominated = || -> BTreeSet<String> {
            requests(&stage, "patch", "status").iter().map(|event| event["objectRef"]["name"].to_string()).collect()
        };
        until("six nominations", async || (nominated().len() == 6).then_some(())).await;
        assert!(requests(&stage, "create", "binding").is_empty());
        // What it was told is where the plan has them, wherever they run.
        let planned = until("an event for each pod", async || {
            let planned = planned(&stage).await;
            (planned.len() == 6).then_some(planned)
        })
        .await;
        for pod in stage.pods().list(&ListParams::default()).await.unwrap().items {
            let told = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_ref());
            assert!(told.is_none_or(|told| planned.get(&pod.name_any()) == Some(told)), "{told:?} of {planned:?}");
        }
    });
}

/// Requests of the controller to read one volume claim, storage class or pod.
fn reads(stage: &Stage) -> Vec<Value> {
    let mut log = stage.requests("admin");
    log.retain(|event| {
        let resource = event["objectRef"]["resource"].as_str().unwrap_or_default();
        event["verb"] == "get" && ["persistentvolumeclaims", "storageclasses", "pods"].contains(&resource)
    });
    log
}

/// A claim `data` of a class that waits for a node.
pub async fn waiting_claim(stage: &Stage) {
    let class = json!({
        "metadata": {"name": "slow"}, "provisioner": "example.com/nobody", "volumeBindingMode": "WaitForFirstConsumer",
    });
    stage.create(&stage.all::<StorageClass>(), class).await;
    let claim = json!({
        "metadata": {"name": "data"},
        "spec": {
            "storageClassName": "slow", "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    });
    stage.create(&Api::<PersistentVolumeClaim>::default_namespaced(stage.client.clone()), claim).await;
}

/// The claim of [`waiting_claim`] and the node that its volume is to be made for, once somebody has chosen one.
pub async fn chosen(stage: &Stage) -> Option<(PersistentVolumeClaim, String)> {
    let claims = Api::<PersistentVolumeClaim>::default_namespaced(stage.client.clone());
    // No `get`, which a test counts.
    let claim = claims.list(&ListParams::default()).await.unwrap().items.remove(0);
    let node = claim.annotations().get("volume.kubernetes.io/selected-node").cloned()?;
    Some((claim, node))
}

/// Makes the volume of [`waiting_claim`], as its provisioner would.
pub async fn make_volume(stage: &Stage, claim: &PersistentVolumeClaim) {
    let volume = json!({"metadata": {"name": "made"}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "slow",
        "claimRef": {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "default", "name": "data", "uid": claim.uid(),
        },
        "csi": {"driver": "example.com", "volumeHandle": "made"},
    }});
    stage.create(&stage.all::<PersistentVolume>(), volume).await;
}

/// A Deployment `stateful` of one pod that mounts the claim of [`waiting_claim`].
async fn stateful(stage: &Stage) {
    waiting_claim(stage).await;
    let volume = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    stage.deployment("stateful", 1, "1200m", json!({"spec": {"volumes": volume}})).await;
}

#[test]
fn a_pod_is_bound_when_its_volume_is_made_and_nothing_is_asked_meanwhile() {
    run(async |stage| {
        stateful(&stage).await;
        stage.pool("default", json!({})).await;
        let controller = stage.sole_controller(&[]);
        let (claim, node) = until("the claim to be told of its node", async || chosen(&stage).await).await;
        // So long as it takes to make a volume.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(is_held(&stage.nodes().await[0]), "{}", controller.log());
        make_volume(&stage, &claim).await;
        stage.run_pods(1).await;
        assert_eq!(stage.running().await, [node]);
        stage.whole(1).await;
        metric(&controller, "supercargo_pods_bound_as_planned_total 1").await;
        until("the binding in the audit log", async || {
            (requests(&stage, "create", "binding").len() == 1).then_some(())
        })
        .await;
        let reads = reads(&stage);
        assert!(reads.is_empty(), "{reads:#?}");
    });
}

/// A volume that nobody makes keeps a node closed; the controller is killed, and the next one knows of no plan.
#[test]
fn a_node_that_a_killed_controller_holds_is_opened_by_the_next() {
    run(async |stage| {
        stateful(&stage).await;
        stage.deployment("plain", 2, "1200m", json!({})).await;
        stage.pool("default", json!({})).await;
        let first = stage.sole_controller(&[]);
        // The others do not wait for the one that can't be bound.
        stage.run_pods(2).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let nodes = stage.nodes().await;
        assert_eq!(nodes.len(), 1, "{}", first.log());
        assert!(is_held(&nodes[0]), "{}", first.log());
        assert_eq!(condition(&stage.claims().await[0], "Initialized"), "Unknown");
        first.kill();
        let _second = stage.sole_controller(&["--bind-deadline", "15s"]);
        stage.whole(1).await;
        assert!(!is_held(&stage.nodes().await[0]));
    });
}
