//! A control plane of its own for one test of the controller, which acts on all of a cluster.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use supercargo::api::{KWOKNodeClass, NodeClaim, NodePool};
use test_cluster::{ControlPlane, Parts};

use crate::fixture::{install_definitions, until};

/// The one instance type of the tests' pools: 4 cores, of which 3,920m are for pods.
pub const TYPE: &str = "m5.xlarge";

/// Two control planes and two controllers at once would be too much for a small machine.
static TURN: Mutex<()> = Mutex::new(());

/// A control plane with the custom resources, and nobody else on it.
pub struct Stage {
    pub control_plane: ControlPlane,
    pub client: Client,
    _turn: MutexGuard<'static, ()>,
}

/// Runs a test on a stage of its own.
pub fn run(test: impl AsyncFnOnce(Stage)) {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let control_plane = ControlPlane::start(&Parts::built().unwrap()).await.unwrap();
        let client = control_plane.client().await.unwrap();
        install_definitions(&client).await;
        test(Stage { control_plane, client, _turn: turn }).await;
    });
}

/// A controller that runs. It is killed when this is dropped.
pub struct Controller {
    child: Child,
    log: PathBuf,
}

impl Controller {
    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end; the exit code, if it was no signal.
    pub fn ended(&mut self, patience: Duration) -> Option<i32> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begin.elapsed() < patience, "still there after {patience:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        signal(self.child.id(), "TERM");
    }

    /// Lets it stand still where it is, until it is to go on.
    pub fn stand_still(&self) {
        signal(self.child.id(), "STOP");
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        signal(self.child.id(), "CONT");
    }

    /// The address of a line such as `/metrics on 0.0.0.0:1234`.
    pub async fn address(&self, line: &str) -> String {
        let port = until("the address", async || {
            let log = self.log();
            let rest = log.split_once(&format!("{line} on 0.0.0.0:"))?.1;
            Some(rest.chars().take_while(char::is_ascii_digit).collect::<String>())
        })
        .await;
        format!("127.0.0.1:{port}")
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the controller's log:\n{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

impl Stage {
    /// A controller of its own that plans quickly.
    pub fn controller(&self, arguments: &[&str]) -> Controller {
        self.controller_as(&self.control_plane.kubeconfig(), &[&["--cloud", "kwok"], arguments].concat())
    }

    /// One with the rights of a kubeconfig.
    pub fn controller_as(&self, kubeconfig: &Path, arguments: &[&str]) -> Controller {
        let quickly = ["--batch-idle-duration", "200ms", "--time-budget", "1s", "--collection-period", "2s"];
        let unless_given = quickly.chunks(2).filter(|pair| !arguments.contains(&pair[0])).flatten();
        let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
        command
            .args(["controller", "--metrics-port", "0", "--health-probe-port", "0"])
            .args(unless_given)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(arguments)
            .env_remove("KUBECONFIG");
        self.start(command)
    }

    /// One that is told everything by its environment.
    pub fn controller_by_environment(&self, environment: &[(&str, &str)]) -> Controller {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
        command.arg("controller").env("KUBECONFIG", self.control_plane.kubeconfig()).envs(environment.iter().copied());
        self.start(command)
    }

    fn start(&self, mut command: Command) -> Controller {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let log = self.control_plane.state().folder.join(format!("controller-{number}.log"));
        let output = File::create(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).spawn().unwrap();
        Controller { child, log }
    }

    /// One that does not stand for election, for tests that start many after one another.
    pub fn sole_controller(&self, arguments: &[&str]) -> Controller {
        self.controller(&[&["--disable-leader-election"], arguments].concat())
    }

    /// Objects of all namespaces or of none.
    pub fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// Pods of the default namespace.
    pub fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    pub async fn create<K>(&self, api: &Api<K>, object: Value)
    where
        K: Resource<DynamicType = ()> + serde::Serialize + DeserializeOwned + Clone + std::fmt::Debug,
    {
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    /// A class and a pool of on-demand machines of one type, gone a second after they are empty; `spec` is laid over it.
    pub async fn pool(&self, name: &str, spec: Value) {
        let class = json!({"apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass", "metadata": {"name": name}, "spec": {}});
        self.create(&self.all::<KWOKNodeClass>(), class).await;
        let mut whole = json!({
            "template": {"spec": {
                "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": name},
                "requirements": [
                    {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [TYPE]},
                    {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
                ],
            }},
            "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "1s", "budgets": [{"nodes": "100%"}]},
        });
        merge(&mut whole, spec);
        let pool =
            json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name}, "spec": whole});
        self.create(&self.all::<NodePool>(), pool).await;
    }

    /// Lays fields over a pool's spec.
    pub async fn change_pool(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.all::<NodePool>().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// A Deployment of pods that ask for so much cpu and end at once; `pod` is laid over their template.
    pub async fn deployment(&self, name: &str, replicas: u32, cpu: &str, pod: Value) {
        let mut template = json!({
            "metadata": {"labels": {"app": name}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "main", "image": "nothing", "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}}],
            },
        });
        merge(&mut template, pod);
        let deployment = json!({
            "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template},
        });
        self.create(&Api::<Deployment>::default_namespaced(self.client.clone()), deployment).await;
    }

    pub async fn scale(&self, name: &str, replicas: u32) {
        let api: Api<Deployment> = Api::default_namespaced(self.client.clone());
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        api.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// What a scheduler writes of a pod that it has no node for.
    pub async fn finds_no_node(&self, pod: &Pod) {
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable"});
        let patch = Patch::Merge(json!({"status": {"conditions": [condition]}}));
        self.pods().patch_status(&pod.name_any(), &PatchParams::default(), &patch).await.unwrap();
    }

    pub async fn disruption_budget(&self, name: &str, spec: Value) {
        let api: Api<PodDisruptionBudget> = Api::default_namespaced(self.client.clone());
        self.create(&api, json!({"metadata": {"name": name}, "spec": spec})).await;
    }

    /// What the simulated cloud is to do wrong; all at once, as it was never asked before.
    pub async fn faults(&self, data: Value) {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "supercargo-kwok", "labels": {"supercargo.dev/kwok": "faults"}},
            "data": data,
        });
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), "kube-system");
        let apply = PatchParams::apply("test").force();
        api.patch("supercargo-kwok", &apply, &Patch::Apply(map)).await.unwrap();
    }

    pub async fn claims(&self) -> Vec<NodeClaim> {
        self.all::<NodeClaim>().list(&ListParams::default()).await.unwrap().items
    }

    pub async fn nodes(&self) -> Vec<Node> {
        self.all::<Node>().list(&ListParams::default()).await.unwrap().items
    }

    /// Records of the simulated cloud's machines.
    pub async fn machines(&self) -> Vec<ConfigMap> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), "kube-system");
        api.list(&ListParams::default().labels("supercargo.dev/kwok=machine")).await.unwrap().items
    }

    /// Names of the nodes that pods run on, one a pod.
    pub async fn running(&self) -> Vec<String> {
        let pods = self.pods().list(&ListParams::default()).await.unwrap().items;
        let runs = |pod: &Pod| {
            pod.metadata.deletion_timestamp.is_none()
                && pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
        };
        pods.into_iter().filter(runs).filter_map(|pod| pod.spec?.node_name).collect()
    }

    /// Waits until exactly so many pods run.
    pub async fn run_pods(&self, count: usize) {
        until(&format!("{count} pods to run"), async || (self.running().await.len() == count).then_some(())).await;
    }

    /// Watches claims until so many are gone: each of those as it was last.
    pub async fn watch_to_the_end(&self, count: usize) -> Vec<NodeClaim> {
        let claims = self.all::<NodeClaim>();
        let params = WatchParams::default().timeout(120);
        let mut events = Box::pin(claims.watch(&params, "0").await.unwrap());
        let mut gone = Vec::new();
        while gone.len() < count {
            if let WatchEvent::Deleted(claim) = events.try_next().await.unwrap().expect("more claims to go") {
                gone.push(claim);
            }
        }
        gone
    }

    /// Waits until there are exactly so many claims, all ready, and as many nodes and machines.
    pub async fn whole(&self, count: usize) {
        until(&format!("{count} claims, nodes and machines"), async || {
            let claims = self.claims().await;
            let ready = claims.iter().filter(|claim| condition(claim, "Ready") == "True").count();
            let numbers = [claims.len(), ready, self.nodes().await.len(), self.machines().await.len()];
            (numbers == [count; 4]).then_some(())
        })
        .await;
    }
}

/// The template of a pool of on-demand machines of two types: the usual one, and a larger and dearer one.
pub fn either_type() -> Value {
    json!({"spec": {"requirements": [
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [TYPE, "m6i.2xlarge"]},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
    ]}})
}

/// The note of an event with this reason, about an object of the default namespace or of none.
pub async fn told(stage: &Stage, reason: &str) -> String {
    told_that(stage, reason, "").await
}

/// The same for a note with these words: kube-scheduler gives some of our reasons, too.
pub async fn told_that(stage: &Stage, reason: &str, words: &str) -> String {
    until(&format!("an event {reason}: {words}"), async || {
        let events: Api<Event> = Api::default_namespaced(stage.client.clone());
        let events = events.list(&ListParams::default()).await.unwrap().items;
        let of_reason = events.into_iter().filter(|event| event.reason.as_deref() == Some(reason));
        of_reason.filter_map(|event| event.note).find(|note| note.contains(words))
    })
    .await
}

/// Kinds of the objects that events with this reason and words are about, in their order.
pub async fn told_about(stage: &Stage, reason: &str, words: &str) -> Vec<String> {
    told_that(stage, reason, words).await;
    let events: Api<Event> = Api::default_namespaced(stage.client.clone());
    let mut events = events.list(&ListParams::default()).await.unwrap().items;
    events.retain(|event| {
        event.reason.as_deref() == Some(reason) && event.note.as_ref().is_some_and(|note| note.contains(words))
    });
    let mut kinds: Vec<String> = events.into_iter().filter_map(|event| event.regarding?.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// Sends a process a signal.
pub fn signal(process: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status().unwrap();
    assert!(status.success());
}

/// The status of a claim's condition; empty where it has none.
pub fn condition(claim: &NodeClaim, kind: &str) -> String {
    let conditions = claim.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|one| one.type_ == kind).map(|one| one.status.clone()).next().unwrap_or_default()
}

/// The value of a label, empty where there is none.
pub fn label(object: &impl ResourceExt, key: &str) -> String {
    object.labels().get(key).cloned().unwrap_or_default()
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
