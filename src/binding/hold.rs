//! Planned nodes from the moment they are there until they are open to everyone.

use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::Semaphore;

use super::act::{Attempt, PodKey, attempt};
use super::rules::Reason;

/// Key of the taint that keeps others from a node until its planned pods are bound to it.
pub const TAINT: &str = "supercargo.dev/plan";

/// Requests that are under way at the same time.
const AT_ONCE: usize = 32;
/// How long to wait before what was not ready is looked at again.
const PAUSE: Duration = Duration::from_millis(250);

/// The taint, as a new node is to bear it.
pub fn taint() -> Taint {
    Taint { key: TAINT.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() }
}

/// A node that is held for the pods that the plan puts on it.
#[derive(Clone, Debug)]
pub struct Hold {
    /// The node's name in the cluster.
    pub node: String,
    /// Its pods.
    pub pods: Vec<PodKey>,
}

/// What became of a planned pod.
#[derive(Debug)]
pub enum Fate {
    /// Bound as planned.
    Bound,
    /// Left to others.
    Left(Reason),
    /// There is no such pod.
    Gone,
    /// Node or volumes were not ready in time.
    Late,
    /// The API server refused or did not answer in time.
    Failed(kube::Error),
}

/// What became of the pods and nodes of a plan.
#[derive(Debug, Default)]
pub struct Report {
    /// Each pod with its fate.
    pub pods: Vec<(PodKey, Fate)>,
    /// Nodes that still bear the taint, and why.
    pub closed: Vec<(String, kube::Error)>,
}

/// Binds the pods of all nodes, and opens the nodes when every pod is bound or left to others, or when `patience` is
/// over. None is opened before: kube-scheduler would put pods there that others are about to be bound for, and push out
/// those of lower priority.
pub async fn bind_all(client: &Client, holds: &[Hold], patience: Duration) -> Report {
    let binder = Binder { client, gate: Semaphore::new(AT_ONCE), until: Instant::now() + patience };
    let fates = join_all(holds.iter().map(|hold| binder.fill(hold))).await;
    let opened = join_all(holds.iter().map(|hold| binder.open(hold))).await;
    let mut report = Report::default();
    for ((hold, fates), opened) in holds.iter().zip(fates).zip(opened) {
        report.pods.extend(hold.pods.iter().cloned().zip(fates));
        report.closed.extend(opened.err().map(|error| (hold.node.clone(), error)));
    }
    report
}

struct Binder<'a> {
    client: &'a Client,
    gate: Semaphore,
    until: Instant,
}

impl Binder<'_> {
    /// The fates of a node's pods, in their order.
    async fn fill(&self, hold: &Hold) -> Vec<Fate> {
        match self.wait_for_node(&hold.node).await {
            true => join_all(hold.pods.iter().map(|pod| self.bind(pod, &hold.node))).await,
            false => hold.pods.iter().map(|_| Fate::Late).collect(),
        }
    }

    async fn open(&self, hold: &Hold) -> kube::Result<()> {
        let _turn = self.gate.acquire().await;
        lift(self.client, &hold.node).await
    }

    async fn bind(&self, pod: &PodKey, node: &str) -> Fate {
        loop {
            let answer = {
                let _turn = self.gate.acquire().await;
                attempt(self.client, pod, node, None).await
            };
            let last = Instant::now() >= self.until;
            match answer {
                Ok(Attempt::Bound) => return Fate::Bound,
                Ok(Attempt::Left(reason)) => return Fate::Left(reason),
                Ok(Attempt::Gone) => return Fate::Gone,
                Ok(Attempt::VolumesOnTheirWay) if last => return Fate::Late,
                Err(error) if last => return Fate::Failed(error),
                Ok(Attempt::VolumesOnTheirWay) | Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Whether the node gets ready in time.
    async fn wait_for_node(&self, name: &str) -> bool {
        let nodes: Api<Node> = Api::all(self.client.clone());
        loop {
            let found = {
                let _turn = self.gate.acquire().await;
                nodes.get_opt(name).await
            };
            if matches!(&found, Ok(Some(node)) if is_ready(node)) {
                return true;
            }
            if Instant::now() >= self.until {
                return false;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Whether a node's kubelet says that it takes pods.
fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Takes the taint of the plan from a node; one that is gone or open already is no error.
///
/// # Errors
/// If the API server refuses or does not answer.
pub async fn lift(client: &Client, name: &str) -> kube::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    loop {
        let Some(node) = nodes.get_opt(name).await? else { return Ok(()) };
        let Some(taints) = without_ours(&node) else { return Ok(()) };
        // Taints are replaced as a whole: only if nobody else has changed the node meanwhile.
        let version = node.metadata.resource_version;
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}});
        match nodes.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            answer => return answer.map(|_| ()),
        }
    }
}

/// The other taints of a node that bears ours.
fn without_ours(node: &Node) -> Option<Vec<Taint>> {
    let taints = node.spec.as_ref()?.taints.as_ref()?;
    let others: Vec<Taint> = taints.iter().filter(|taint| taint.key != TAINT).cloned().collect();
    (others.len() < taints.len()).then_some(others)
}
