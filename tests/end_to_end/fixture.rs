//! One control plane for all tests of this binary, and a corner of it for each of them.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use supercargo::api::Definition;
use test_cluster::{ControlPlane, PLAYED, Parts};

/// How long to wait for what the control plane does by itself; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(180);

/// The label that ties what has no namespace (nodes, pools) to the test it belongs to.
pub const TEST: &str = "supercargo.dev/test";

/// The control plane. A value that lives as long as the process is never dropped: its watchdog ends the programs when
/// the process does, by whatever way.
pub fn control_plane() -> &'static ControlPlane {
    static STARTED: OnceLock<ControlPlane> = OnceLock::new();
    STARTED.get_or_init(|| {
        let parts = Parts::built().unwrap();
        runtime().block_on(ControlPlane::start(&parts)).unwrap()
    })
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Installs the custom resources, and waits until they are served.
pub async fn install_definitions(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in supercargo::api::definitions().unwrap() {
        let apply = PatchParams::apply("test").force();
        api.patch(&definition.name, &apply, &Patch::Apply(&definition.object)).await.unwrap();
        let objects: Api<DynamicObject> = Api::all_with(client.clone(), &kind_of(&definition));
        let few = ListParams::default().limit(1);
        until("custom resources to be served", async || objects.list(&few).await.ok()).await;
    }
}

/// The kind that a definition defines.
fn kind_of(definition: &Definition) -> ApiResource {
    let spec = &definition.object["spec"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (group, version) = (text(&spec["group"]), text(&spec["versions"][0]["name"]));
    ApiResource {
        api_version: format!("{group}/{version}"),
        group,
        version,
        kind: definition.kind.clone(),
        plural: text(&spec["names"]["plural"]),
    }
}

/// Runs a test in a namespace of its own, which is named after it and made afresh.
pub fn run<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Corner) -> F) {
    let control_plane = control_plane();
    runtime().block_on(async {
        let client = control_plane.client().await.unwrap();
        let corner = Corner { control_plane, client, name: name.to_owned() };
        let namespace = json!({"metadata": {"name": name, "labels": {TEST: name}}});
        corner.create_all::<Namespace>(namespace).await;
        let accounts: Api<ServiceAccount> = Api::namespaced(corner.client.clone(), name);
        until("the namespace's service account", async || accounts.get_opt("default").await.unwrap()).await;
        test(corner).await;
    });
}

/// What belongs to one test: a namespace and the nodes and pools that bear its label.
#[derive(Clone)]
pub struct Corner {
    pub control_plane: &'static ControlPlane,
    pub client: Client,
    pub name: String,
}

impl Corner {
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// A node that kwok makes ready. Only pods that choose this test's nodes land on it: it has a taint against others.
    pub async fn node(&self, name: &str, cpu: &str, memory: &str, labels: &[(&str, &str)]) {
        let mut all: BTreeMap<&str, &str> = labels.iter().copied().collect();
        all.insert(TEST, &self.name);
        all.insert("kubernetes.io/hostname", name);
        let room = json!({"cpu": cpu, "memory": memory, "pods": "110"});
        let node = json!({
            "metadata": {"name": name, "labels": all, "annotations": {PLAYED.0: PLAYED.1}},
            "spec": {"taints": [{"key": TEST, "value": self.name, "effect": "NoSchedule"}]},
            "status": {"capacity": room, "allocatable": room},
        });
        self.create_all::<Node>(node).await;
    }

    /// A pod for this test's nodes; `spec` is laid over a container with the given requests.
    pub async fn pod(&self, name: &str, requests: Value, spec: Value) {
        let mut whole = json!({
            "containers": [{"name": "main", "image": "nothing", "resources": {"requests": requests}}],
            "nodeSelector": {TEST: self.name},
            "tolerations": [{"key": TEST, "value": self.name, "effect": "NoSchedule"}],
        });
        if let (Value::Object(whole), Value::Object(spec)) = (&mut whole, spec) {
            whole.extend(spec);
        }
        let pod = json!({"metadata": {"name": name}, "spec": whole});
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    /// Waits until the pod is bound, and says to which node.
    pub async fn bound(&self, name: &str) -> String {
        let pods = self.pods();
        until("the pod to be bound", async || pods.get(name).await.unwrap().spec.unwrap().node_name).await
    }

    /// Creates an object that has no namespace.
    pub async fn create_all<K>(&self, object: Value)
    where
        K: Resource<DynamicType = ()> + serde::Serialize + DeserializeOwned + Clone + std::fmt::Debug,
    {
        let object: K = serde_json::from_value(object).unwrap();
        Api::<K>::all(self.client.clone()).create(&PostParams::default(), &object).await.unwrap();
    }

    /// Installs the custom resources, and waits until they are served.
    pub async fn install_definitions(&self) {
        install_definitions(&self.client).await;
    }

    /// The objects of a definition's kind, untyped; those of this test's namespace where the kind has namespaces.
    pub fn objects(&self, definition: &Definition) -> Api<DynamicObject> {
        let kind = kind_of(definition);
        match definition.object["spec"]["scope"].as_str() {
            Some("Namespaced") => Api::namespaced_with(self.client.clone(), &self.name, &kind),
            _ => Api::all_with(self.client.clone(), &kind),
        }
    }

    /// A service account of this name in the test's namespace; the kubeconfig of one who may do nothing yet.
    pub async fn account(&self, name: &str) -> PathBuf {
        account(self.control_plane, &self.client, &self.name, name).await
    }

    /// This test's nodes.
    pub async fn nodes(&self) -> Vec<Node> {
        let own = ListParams::default().labels(&format!("{TEST}={}", self.name));
        Api::<Node>::all(self.client.clone()).list(&own).await.unwrap().items
    }
}

/// Makes a service account; the kubeconfig of one who may do nothing yet.
pub async fn account(control_plane: &ControlPlane, client: &Client, namespace: &str, name: &str) -> PathBuf {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let account = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": []}})).unwrap();
    let answer = accounts.create_token_request(name, &PostParams::default(), &request).await.unwrap();
    let user = format!("{namespace}-{name}");
    control_plane.kubeconfig_of_token(&user, &answer.status.unwrap().token.unwrap()).unwrap()
}

/// Asks until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
