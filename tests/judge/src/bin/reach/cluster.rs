//! A control plane, the controller on it, and what is asked of both.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use supercargo::api::{KWOKNodeClass, NodeClaim, NodePool};
use test_cluster::{ControlPlane, Parts};

/// The namespace and name of the controller: it is a user of its own, so that its requests are told from ours.
const NAMESPACE: &str = "reach";
const NAME: &str = "controller";
/// How long to wait for what takes some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A control plane with the custom resources and a pool.
pub struct Cluster {
    control_plane: ControlPlane,
    client: Client,
    pods: reflector::Store<Pod>,
}

/// A controller that runs. It is killed when this is dropped.
pub struct Controller {
    child: Child,
    log: PathBuf,
}

impl Cluster {
    /// Starts it, and watches its pods.
    pub async fn start() -> anyhow::Result<Self> {
        let control_plane = ControlPlane::start(&Parts::built()?).await?;
        let client = control_plane.client().await?;
        let (pods, writer) = reflector::store();
        let all = watcher(Api::<Pod>::all(client.clone()), watcher::Config::default()).default_backoff();
        let changes = all.modify(|pod| pod.metadata.managed_fields = None).reflect(writer);
        tokio::spawn(changes.for_each(|_| std::future::ready(())));
        let cluster = Cluster { control_plane, client, pods };
        cluster.install().await?;
        Ok(cluster)
    }

    /// Custom resources, and what the README has people try the controller with, without a limit.
    async fn install(&self) -> anyhow::Result<()> {
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for definition in supercargo::api::definitions()? {
            let apply = PatchParams::apply("reach").force();
            definitions.patch(&definition.name, &apply, &Patch::Apply(&definition.object)).await?;
        }
        let classes: Api<KWOKNodeClass> = Api::all(self.client.clone());
        let pools: Api<NodePool> = Api::all(self.client.clone());
        let begin = Instant::now();
        while classes.list(&ListParams::default()).await.is_err() || pools.list(&ListParams::default()).await.is_err() {
            if begin.elapsed() > PATIENCE {
                bail!("the custom resources are not served");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        create(&classes, json!({"metadata": {"name": "default"}, "spec": {}})).await?;
        let is_in = |key: &str, values: Value| json!({"key": key, "operator": "In", "values": values});
        let spec = json!({
            "template": {"spec": {
                "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"},
                "requirements": [
                    is_in("kubernetes.io/arch", json!(["amd64"])),
                    is_in("karpenter.sh/capacity-type", json!(["spot", "on-demand"])),
                    is_in("karpenter.k8s.aws/instance-category", json!(["c", "m", "r"])),
                    {"key": "karpenter.k8s.aws/instance-generation", "operator": "Gt", "values": ["4"]},
                ],
            }},
            "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "30s", "budgets": [{"nodes": "100%"}]},
        });
        create(&pools, json!({"metadata": {"name": "default"}, "spec": spec})).await
    }

    /// Starts the controller with its defaults, and waits until it leads.
    pub async fn controller(&self, program: &Path) -> anyhow::Result<Controller> {
        let kubeconfig = self.account().await?;
        let log = self.control_plane.state().folder.join("controller.log");
        let child = Command::new(program)
            .args(["controller", "--cloud", "kwok", "--metrics-port", "0", "--health-probe-port", "0", "--kubeconfig"])
            .arg(kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let controller = Controller { child, log };
        let begin = Instant::now();
        while !controller.log().contains("leading") {
            if begin.elapsed() > PATIENCE {
                bail!("the controller does not lead:\n{}", controller.end());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(controller)
    }

    /// A kubeconfig for the controller, which may do everything.
    async fn account(&self) -> anyhow::Result<PathBuf> {
        create::<Namespace>(&Api::all(self.client.clone()), json!({"metadata": {"name": NAMESPACE}})).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), NAMESPACE);
        create(&accounts, json!({"metadata": {"name": NAME}})).await?;
        let binding = json!({
            "metadata": {"name": "reach"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
        });
        create::<ClusterRoleBinding>(&Api::all(self.client.clone()), binding).await?;
        let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": []}}))?;
        let answer = accounts.create_token_request(NAME, &PostParams::default(), &request).await?;
        let token = answer.status.context("no token")?.token.context("no token")?;
        self.control_plane.kubeconfig_of_token("controller", &token)
    }

    /// A Deployment of pods that ask for so much and end at once.
    pub async fn deploy(&self, name: &str, pods: u32, milli_cores: u32, mebibytes: u32) -> anyhow::Result<()> {
        let requests = json!({"cpu": format!("{milli_cores}m"), "memory": format!("{mebibytes}Mi")});
        let deployment = json!({
            "metadata": {"name": name},
            "spec": {
                "replicas": pods,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {
                        "terminationGracePeriodSeconds": 0,
                        "containers": [{"name": "main", "image": "nothing", "resources": {"requests": requests}}],
                    },
                },
            },
        });
        create(&self.deployments(), deployment).await
    }

    /// `kubectl scale`.
    pub async fn scale(&self, name: &str, pods: u32) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": pods}}));
        self.deployments().patch(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Deletes all of them, and with them their pods.
    pub async fn delete_deployments(&self) -> anyhow::Result<()> {
        self.deployments().delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
        Ok(())
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::default_namespaced(self.client.clone())
    }

    /// Pods that have a node.
    pub fn bound(&self) -> usize {
        let pods = self.pods.state();
        pods.iter().filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())).count()
    }

    /// How much there is of what the pods have brought about.
    pub async fn left(&self) -> anyhow::Result<[(&'static str, usize); 4]> {
        let all = ListParams::default();
        let machines: Api<ConfigMap> = Api::namespaced(self.client.clone(), "kube-system");
        let of_cloud = ListParams::default().labels("supercargo.dev/kwok=machine");
        Ok([
            ("pods", self.pods.state().len()),
            ("claims", Api::<NodeClaim>::all(self.client.clone()).list_metadata(&all).await?.items.len()),
            ("nodes", Api::<Node>::all(self.client.clone()).list_metadata(&all).await?.items.len()),
            ("machines", machines.list_metadata(&of_cloud).await?.items.len()),
        ])
    }

    /// What the controller has read from the API server so far but by its watches, as the audit log tells: verb and resource.
    pub fn reads(&self) -> anyhow::Result<Vec<String>> {
        let user = format!("system:serviceaccount:{NAMESPACE}:{NAME}");
        let mut log = self.control_plane.audit_log()?;
        log.retain(|event| event["user"]["username"] == *user && (event["verb"] == "get" || event["verb"] == "list"));
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(log.iter().map(|event| [word(&event["verb"]), word(&event["objectRef"]["resource"])].join(" ")).collect())
    }
}

impl Controller {
    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines that it has logged.
    pub fn end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The most memory that it has held so far, in MiB.
    pub fn peak_memory(&self) -> anyhow::Result<f64> {
        let file = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&file).with_context(|| format!("reading {file}: it has ended"))?;
        // https://docs.kernel.org/filesystems/proc.html: peak resident set size, in kB
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kibibytes: f64 = line.trim().trim_end_matches("kB").trim_end().parse()?;
        Ok(kibibytes / 1024.0)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn create<K>(api: &Api<K>, object: Value) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object)?;
    api.create(&PostParams::default(), &object).await.with_context(|| format!("creating a {}", K::kind(&())))?;
    Ok(())
}
