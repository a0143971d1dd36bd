//! Pods that wait and a node that has drifted, and a pool whose limit leaves one more node: whoever plans second has to know
//! what the first has bought.

#![allow(clippy::unwrap_used)]

use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{Method, Request, Response};
use futures::poll;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::client::Body;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::Event;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use supercargo_models::catalog::Catalog;
use supercargo_models::kubernetes::NodeClassReference;
use supercargo_models::problem::build::Options;
use supercargo_models::solver;
use tower::service_fn;

use super::super::super::context::{Context, lock};
use super::super::super::provisioning;
use super::super::super::settings::{Bind, MinValues, Settings};
use super::super::super::stores::{Bells, Stores};
use super::Drift;
use crate::api::{NodeClaim, NodePool};
use crate::cloud::{ClaimKey, CloudError, CloudProvider, Launch, Machine, RepairPolicy};
use crate::telemetry::Metrics;

/// Four cores, of which a pod that asks for three leaves no room for another.
const TYPE: &str = "m5.xlarge";
/// Far more than planning two pods takes.
const PATIENCE: Duration = Duration::from_secs(2);

/// A cloud with a price list and nothing else.
struct Shop(Arc<Catalog>);

#[async_trait]
impl CloudProvider for Shop {
    fn name(&self) -> &'static str {
        "shop"
    }

    async fn create(&self, _claim: &NodeClaim, _catalog: &Catalog) -> Result<Launch, CloudError> {
        Err(CloudError::NotFound)
    }

    async fn delete(&self, _claim: &ClaimKey) -> Result<(), CloudError> {
        Err(CloudError::NotFound)
    }

    async fn get(&self, _claim: &ClaimKey) -> Result<Machine, CloudError> {
        Err(CloudError::NotFound)
    }

    async fn list(&self) -> Result<Vec<Machine>, CloudError> {
        Ok(Vec::new())
    }

    fn makes(&self, _class: &NodeClassReference) -> bool {
        true
    }

    fn names(&self, _provider_id: &str) -> bool {
        true
    }

    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.0)
    }

    fn node_class(&self, reference: &NodeClassReference) -> Result<Value, CloudError> {
        let NodeClassReference { group, kind, name } = reference;
        Ok(json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": name}, "spec": {}}))
    }

    fn interrupted(&self) -> Vec<ClaimKey> {
        Vec::new()
    }

    async fn interruption(&self) {
        std::future::pending().await
    }

    async fn drifted(&self, _claim: &NodeClaim) -> Result<Option<String>, CloudError> {
        Ok(None)
    }

    fn repair_policies(&self) -> Vec<RepairPolicy> {
        Vec::new()
    }
}

/// A store that was read, and who fills it.
fn store<K>(objects: Vec<Value>) -> (Store<K>, Writer<K>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + 'static,
{
    let (store, mut writer) = reflector::store();
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        writer.apply_watcher_event(&Event::InitApply(serde_json::from_value(object).unwrap()));
    }
    writer.apply_watcher_event(&Event::InitDone);
    (store, writer)
}

fn empty<K>() -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + 'static,
{
    store(Vec::new()).0
}

/// An API server that makes claims, which are seen at once; what else is written has the answer that it was written.
fn api_server(claims: Writer<NodeClaim>) -> Client {
    let claims = Arc::new(Mutex::new((claims, 0)));
    let service = service_fn(move |request: Request<Body>| {
        let claims = Arc::clone(&claims);
        async move {
            let (about, body) = request.into_parts();
            let mut object: Value = serde_json::from_slice(&body.collect_bytes().await?).unwrap_or_default();
            if about.method == Method::POST && about.uri.path().ends_with("/nodeclaims") {
                let mut claims = lock(&claims);
                claims.1 += 1;
                object["metadata"]["name"] = json!(format!("new-{}", claims.1));
                object["metadata"]["uid"] = json!(format!("uid-{}", claims.1));
                object["metadata"]["creationTimestamp"] = json!("2026-01-02T00:00:00Z");
                claims.0.apply_watcher_event(&Event::Apply(serde_json::from_value(object.clone()).unwrap()));
            }
            Ok::<_, kube::Error>(Response::new(Body::from(serde_json::to_vec(&object).unwrap())))
        }
    });
    Client::new(service, "default")
}

fn pool() -> Value {
    json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "default", "uid": "pool"},
        "spec": {
            "limits": {"nodes": "2"},
            "disruption": {"consolidateAfter": "Never", "budgets": [{"nodes": "100%"}]},
            "template": {"spec": {
                "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"},
                "requirements": [
                    {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [TYPE]},
                    {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
                ],
            }},
        },
    })
}

/// Labels and room of the one machine that is there.
fn machine() -> [Value; 2] {
    let labels = json!({
        "karpenter.sh/nodepool": "default", "node.kubernetes.io/instance-type": TYPE, "kubernetes.io/hostname": "old",
        "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": "us-east-1a",
        "karpenter.sh/capacity-type": "on-demand", "karpenter.sh/registered": "true",
    });
    [labels, json!({"cpu": "3920m", "memory": "14Gi", "pods": "58"})]
}

fn drifted_claim() -> Value {
    let is_true = |kind: &str| json!({"type": kind, "status": "True", "reason": kind, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let [labels, room] = machine();
    json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
        "metadata": {"name": "old", "uid": "old", "labels": labels, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": pool()["spec"]["template"]["spec"],
        "status": {
            "providerID": "shop://old", "nodeName": "old", "capacity": room, "allocatable": room,
            "conditions": (["Launched", "Registered", "Initialized", "Ready", "Drifted"].map(is_true)),
        },
    })
}

fn node() -> Value {
    let [labels, room] = machine();
    json!({
        "metadata": {"name": "old", "uid": "node", "labels": labels},
        "spec": {"providerID": "shop://old"},
        "status": {"capacity": room, "allocatable": room, "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// A pod that needs a machine of its own, on a node or waiting for one.
fn pod(name: &str, node: Option<&str>) -> Value {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": "x", "controller": true}]},
        "spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": "3"}}}]},
        "status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]},
    });
    if let Some(node) = node {
        pod["spec"]["nodeName"] = json!(node);
        pod["status"] = json!({"phase": "Running"});
    }
    pod
}

fn settings() -> Settings {
    let long = Duration::from_secs(600);
    Settings {
        identity: "one".into(),
        batch_idle: Duration::ZERO,
        batch_max: Duration::ZERO,
        time_budget: Duration::from_secs(10),
        solver: solver::Settings::default(),
        options: Options::default(),
        min_values: MinValues::Strict,
        launch_timeout: long,
        registration_timeout: long,
        replacement_timeout: long,
        bind: Bind::Planned,
        bind_deadline: long,
        dry_run: None,
        node_repair: false,
        node_overlay: false,
        collection_period: long,
    }
}

/// A cluster with one node, which is full and has drifted; and who fills the store of its pods.
fn cluster() -> (Arc<Context>, Writer<Pod>) {
    let (pods, pods_writer) = store(vec![pod("there", Some("old"))]);
    let (claims, claims_writer) = store(vec![drifted_claim()]);
    let (nodes, _) = store::<Node>(vec![node()]);
    let (pools, _) = store::<NodePool>(vec![pool()]);
    let client = api_server(claims_writer);
    let stores = Stores {
        pods,
        nodes,
        claims,
        pools,
        overlays: empty(),
        daemon_sets: empty(),
        volume_claims: empty(),
        volumes: empty(),
        storage_classes: empty(),
        csi_nodes: empty(),
        attachments: empty(),
        namespaces: empty(),
        limit_ranges: empty(),
        priority_classes: empty(),
        runtime_classes: empty(),
        disruption_budgets: empty(),
    };
    let context = Context {
        client: client.clone(),
        cloud: Arc::new(Shop(Arc::new(crate::catalog::embedded().unwrap()))),
        stores,
        bells: Bells::new().0,
        pod_events: Arc::default(),
        pins: Mutex::default(),
        refused: Mutex::default(),
        disrupting: Mutex::default(),
        inherited: OnceLock::new(),
        registrations: Mutex::default(),
        rehearsed: Mutex::default(),
        last_market: Mutex::default(),
        buying: tokio::sync::Mutex::default(),
        static_turn: tokio::sync::Mutex::default(),
        memory: solver::Memory::default(),
        settings: settings(),
        metrics: Arc::new(Metrics::default()),
        recorder: Recorder::new(client, Reporter { controller: "test".into(), instance: None }),
        told: Mutex::default(),
    };
    (Arc::new(context), pods_writer)
}

#[tokio::test]
async fn two_who_plan_at_once_buy_no_more_than_a_limit_leaves() {
    let (context, mut pods) = cluster();
    let mut provisioning = pin!(provisioning::run(Arc::clone(&context)));
    let mut drift = Drift::default();
    {
        let mut replacing = pin!(drift.pass(&context));
        // It has asked its question, and the planner thinks about it.
        assert!(poll!(&mut replacing).is_pending());
        let waiting = serde_json::from_value(pod("waiting", None)).unwrap();
        pods.apply_watcher_event(&Event::Apply(waiting));
        context.bells.batch.notify_one();
        // As far as the others may get in the meantime.
        let _ = tokio::time::timeout(PATIENCE, &mut provisioning).await;
        replacing.await;
    }
    let _ = tokio::time::timeout(PATIENCE, &mut provisioning).await;
    // What was not bought for want of room is not bought later either.
    drift.pass(&context).await;
    let claims = context.stores.claims.state();
    let names: Vec<_> = claims.iter().map(|claim| claim.metadata.name.as_deref().unwrap_or_default()).collect();
    assert_eq!(claims.len(), 2, "the limit is two: {names:?}");
    assert!(lock(&context.pins).place("waiting").is_some());
}
