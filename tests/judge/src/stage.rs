//! Putting the objects of a case on a control plane, and taking them away again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::stream::{self, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{LimitRange, Namespace, Node, PersistentVolumeClaim, Pod, ServiceAccount, Taint};
use k8s_openapi::api::node::v1::{Overhead, RuntimeClass};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use supercargo_models::kubernetes::Snapshot;

use crate::case::Case;
use crate::provisioner::Provisioner;
use crate::{nodes, pods, volumes};

/// Requests at the same time.
const AT_ONCE: usize = 16;
/// How long to wait for what the control plane does by itself; far more than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// How often to look.
pub(crate) const PERIOD: Duration = Duration::from_millis(200);

/// Bears the first namespace of the case on all nodes that are made for it.
const CASE: &str = "supercargo.dev/judged";

/// As many pods as can be pinned to a node.
const MANY: &str = "1000";

/// A case whose objects are on a control plane, but for its waiting pods and its planned nodes.
pub(crate) struct Stage<'a> {
    pub client: Client,
    pub case: &'a Case,
    /// Namespaces of the pods.
    pub namespaces: BTreeSet<String>,
    _provisioner: Provisioner,
}

/// How to set up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setting {
    /// Whether pods may push out others of lower priority.
    pub preemption: bool,
    /// Taints that nodes of the input get if the plan puts pods on them.
    pub hold: Vec<Taint>,
}

impl<'a> Stage<'a> {
    /// Creates everything that is there before pods wait: namespaces, classes, limits, volumes, daemon sets, and the nodes
    /// of the input with the pods that are bound to them.
    pub(crate) async fn set(client: &Client, case: &'a Case, setting: &Setting) -> anyhow::Result<Self> {
        let snapshot = &case.snapshot;
        let namespaces = namespaces(snapshot);
        let labelled = |name: &String| {
            let known = snapshot.namespaces.iter().find(|known| known.metadata.name.as_ref() == Some(name));
            let labels = known.and_then(|known| known.metadata.labels.clone());
            Namespace {
                metadata: ObjectMeta { name: Some(name.clone()), labels, ..ObjectMeta::default() },
                ..Namespace::default()
            }
        };
        let all: Vec<Namespace> = namespaces.iter().map(labelled).collect();
        create_all(client, all).await?;
        let pods = snapshot.pending.iter().map(|group| (&group.namespace, &*group.spec));
        let accounts: BTreeSet<(&String, &str)> = pods
            .map(|(namespace, spec)| (namespace, spec.service_account_name.as_deref().unwrap_or("default")))
            .chain(namespaces.iter().map(|namespace| (namespace, "default")))
            .collect();
        let account = |(namespace, name): (&String, &str)| ServiceAccount {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        create(client, accounts.into_iter().map(account)).await?;
        let class = |class: &PriorityClass| {
            let mut class = PriorityClass { metadata: bare(&class.metadata), ..class.clone() };
            if !setting.preemption {
                class.preemption_policy = Some("Never".to_owned());
            }
            class
        };
        create_all(client, snapshot.priority_classes.iter().map(class)).await?;
        create_all(client, runtime_classes(snapshot)).await?;
        let range = |range: &LimitRange| LimitRange { metadata: bare(&range.metadata), ..range.clone() };
        create(client, snapshot.limit_ranges.iter().map(range)).await?;
        create_all(client, snapshot.storage_classes.iter().cloned()).await?;
        create_all(client, volumes::volumes(snapshot)).await?;
        let claims = volumes::claims(snapshot);
        create(client, claims.iter().cloned()).await?;
        wait_for_volumes(client, &claims).await?;
        let budget =
            |budget: &PodDisruptionBudget| PodDisruptionBudget { metadata: bare(&budget.metadata), ..budget.clone() };
        create(client, snapshot.disruption_budgets.iter().map(budget)).await?;
        let daemon_set = |set: &DaemonSet| {
            let mut set = DaemonSet { metadata: bare(&set.metadata), spec: set.spec.clone(), status: None };
            set.spec.template.spec = set.spec.template.spec.take().map(pods::admissible);
            set
        };
        create(client, snapshot.daemon_sets.iter().map(daemon_set)).await?;
        let provisioner = Provisioner::start(client.clone(), namespaces.iter().cloned().collect());
        let stage = Stage { client: client.clone(), case, namespaces, _provisioner: provisioner };

        let filled: BTreeSet<&str> = case.plan.existing_nodes.iter().map(|node| node.name.as_str()).collect();
        let existing = |node: &Node| {
            let held = filled.contains(node.metadata.name.as_deref().unwrap_or_default());
            nodes::existing(node, if held { &setting.hold } else { &[] })
        };
        stage.open(snapshot.nodes.iter().map(existing).collect()).await?;
        let bound = snapshot.bound.iter().filter(|pod| !belongs_to_daemon_set(pod, snapshot)).map(pods::bound);
        create(client, bound).await?;
        Ok(stage)
    }

    /// Creates nodes, and waits until all of them are ready and let pods in.
    pub(crate) async fn open(&self, mut nodes: Vec<Node>) -> anyhow::Result<()> {
        for node in &mut nodes {
            node.metadata.labels.get_or_insert_default().insert(CASE.to_owned(), self.mark());
            let resource = pods::resource_of(node.metadata.name.as_deref().unwrap_or_default());
            let status = node.status.get_or_insert_default();
            for list in [&mut status.capacity, &mut status.allocatable] {
                list.get_or_insert_default().insert(resource.clone(), Quantity(MANY.to_owned()));
            }
        }
        let mut names: BTreeSet<String> = nodes.iter().filter_map(|node| node.metadata.name.clone()).collect();
        create_all(&self.client, nodes).await?;
        let api: Api<Node> = Api::all(self.client.clone());
        let begin = Instant::now();
        while !names.is_empty() {
            for node in api.list(&self.own_nodes()).await? {
                if is_open(&node) {
                    names.remove(node.metadata.name.as_deref().unwrap_or_default());
                }
            }
            if begin.elapsed() > PATIENCE {
                bail!("nodes that do not get ready: {names:?}");
            }
            tokio::time::sleep(PERIOD).await;
        }
        Ok(())
    }

    /// Creates pods.
    pub(crate) async fn create_pods(&self, pods: impl IntoIterator<Item = Pod>) -> anyhow::Result<()> {
        create(&self.client, pods).await
    }

    /// All pods of the case's namespaces.
    pub(crate) async fn pods(&self) -> anyhow::Result<Vec<Pod>> {
        let mut all = Vec::new();
        for namespace in &self.namespaces {
            all.extend(
                Api::<Pod>::namespaced(self.client.clone(), namespace).list(&ListParams::default()).await?.items,
            );
        }
        Ok(all)
    }

    /// Deletes the nodes that were opened, and all pods of the case's namespaces, at once.
    pub(crate) async fn clear(&self) -> anyhow::Result<()> {
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        for namespace in &self.namespaces {
            // First those that would make pods anew.
            let sets: Api<DaemonSet> = Api::namespaced(self.client.clone(), namespace);
            sets.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            pods.delete_collection(&at_once, &ListParams::default()).await?;
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes.delete_collection(&DeleteParams::default(), &self.own_nodes()).await?;
        Ok(())
    }

    fn mark(&self) -> String {
        self.namespaces.first().cloned().unwrap_or_default()
    }

    fn own_nodes(&self) -> ListParams {
        ListParams::default().labels(&format!("{CASE}={}", self.mark()))
    }
}

/// Whether a node is ready, and Kubernetes knows it.
fn is_open(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    ready && !taints.into_iter().any(|taint| taint.key == "node.kubernetes.io/not-ready")
}

/// Whether a pod is one that a daemon set of the snapshot has made: its controller makes it again.
pub(crate) fn belongs_to_daemon_set(pod: &Pod, snapshot: &Snapshot) -> bool {
    pod.metadata.owner_references.iter().flatten().any(|owner| {
        owner.kind == "DaemonSet"
            && snapshot.daemon_sets.iter().any(|set| {
                set.metadata.name.as_ref() == Some(&owner.name) && set.metadata.namespace == pod.metadata.namespace
            })
    })
}

fn namespaces(snapshot: &Snapshot) -> BTreeSet<String> {
    let named = snapshot.namespaces.iter().filter_map(|namespace| namespace.metadata.name.clone());
    let of_pods = snapshot.pending.iter().map(|group| group.namespace.clone());
    let of_bound = snapshot.bound.iter().filter_map(|pod| pod.metadata.namespace.clone());
    let of_daemons = snapshot.daemon_sets.iter().filter_map(|set| set.metadata.namespace.clone());
    named.chain(of_pods).chain(of_bound).chain(of_daemons).collect()
}

/// The runtime classes that pods name, with the overhead that the pods of the snapshot have from them.
fn runtime_classes(snapshot: &Snapshot) -> Vec<RuntimeClass> {
    let mut classes: BTreeMap<&str, RuntimeClass> = BTreeMap::new();
    let bound = snapshot.bound.iter().filter_map(|pod| pod.spec.as_ref());
    for spec in snapshot.pending.iter().map(|group| &*group.spec).chain(bound) {
        if let Some(name) = spec.runtime_class_name.as_deref() {
            classes.entry(name).or_insert_with(|| RuntimeClass {
                metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
                handler: name.to_owned(),
                overhead: spec.overhead.clone().map(|pod_fixed| Overhead { pod_fixed: Some(pod_fixed) }),
                scheduling: None,
            });
        }
    }
    classes.into_values().collect()
}

/// Waits until the claims that name their volume have it.
async fn wait_for_volumes(client: &Client, claims: &[PersistentVolumeClaim]) -> anyhow::Result<()> {
    let begin = Instant::now();
    for claim in claims.iter().filter(|claim| claim.spec.as_ref().is_some_and(|spec| spec.volume_name.is_some())) {
        let namespace = claim.metadata.namespace.as_deref().unwrap_or("default");
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
        let phase = async || Ok::<_, kube::Error>(api.get(name).await?.status.and_then(|status| status.phase));
        while phase().await?.as_deref() != Some("Bound") {
            anyhow::ensure!(begin.elapsed() < PATIENCE, "claim {namespace}/{name} does not get its volume");
            tokio::time::sleep(PERIOD).await;
        }
    }
    Ok(())
}

/// Metadata without what only the API server sets.
fn bare(metadata: &ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        labels: metadata.labels.clone(),
        annotations: metadata.annotations.clone(),
        ..ObjectMeta::default()
    }
}

/// Creates objects that have a namespace. Those that are there already are left as they are.
async fn create<K>(client: &Client, objects: impl IntoIterator<Item = K>) -> anyhow::Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug,
{
    put(objects, |object: &K| Api::namespaced(client.clone(), object.meta().namespace.as_deref().unwrap_or("default")))
        .await
}

/// Creates objects that have no namespace. Those that are there already are left as they are.
async fn create_all<K>(client: &Client, objects: impl IntoIterator<Item = K>) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
{
    put(objects, |_: &K| Api::all(client.clone())).await
}

async fn put<K>(objects: impl IntoIterator<Item = K>, api: impl Fn(&K) -> Api<K>) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
{
    stream::iter(objects.into_iter().map(|object| Ok((api(&object), object))))
        .try_for_each_concurrent(AT_ONCE, |(api, object)| async move {
            match api.create(&PostParams::default(), &object).await {
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
                Err(error) => {
                    let name = object.meta().name.clone().unwrap_or_default();
                    Err(error).with_context(|| format!("creating {} {name}", K::kind(&())))
                }
                Ok(_) => Ok(()),
            }
        })
        .await
}
