//! The four ways from a plan to a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use futures::stream::{self, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use supercargo::binding::{self, Fate, Hold, PodKey};
use supercargo::cluster::{Target, read_live};
use supercargo_models::plan::Plan;
use test_cluster::ControlPlane;

use crate::case::{Case, plan};
use crate::figures::{Figures, Pending};
use crate::settle::{key, node, reason, settle, settle_in_any_order, starved_node, tried};
use crate::stage::{Setting, Stage};
use crate::unschedulable::{Refuted, refute};
use crate::{nodes, pods};

/// How long our own binding may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// Requests at the same time.
const AT_ONCE: usize = 32;

/// How pods come to their nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Every pod is pinned to its planned node; kube-scheduler still runs all of its filters.
    Forced,
    /// kube-scheduler places them, and is told nothing.
    Free,
    /// kube-scheduler places them, and each pod's planned node is its `status.nominatedNodeName`.
    Nominated,
    /// They are bound by us while nodes are held for them; kube-scheduler places what is left to it.
    Bound,
}

impl Way {
    /// All of them.
    pub const ALL: [Way; 4] = [Way::Forced, Way::Free, Way::Nominated, Way::Bound];
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Forced => "forced",
            Way::Free => "free",
            Way::Nominated => "nominated",
            Way::Bound => "bound by us",
        })
    }
}

/// Puts a case on a control plane that holds nothing else in the case's namespaces and no node that the case's pods fit
/// on, gets its pods to nodes in one way, and takes it away again.
///
/// # Errors
/// If the control plane fails, refuses an object, or a node does not get ready; not if pods stay pending.
pub async fn judge(control_plane: &ControlPlane, case: &Case, way: Way) -> anyhow::Result<Figures> {
    let begin = Instant::now();
    let client = control_plane.client().await?;
    let setting = Setting {
        preemption: way != Way::Forced,
        hold: if way == Way::Bound { vec![binding::taint()] } else { Vec::new() },
    };
    let stage = Stage::set(&client, case, &setting).await?;
    let waiting: Vec<Pod> = case.snapshot.pending.iter().flat_map(pods::of_group).collect();
    let mut fates = BTreeMap::new();
    let after = match way {
        Way::Forced => forced(&stage, waiting).await?,
        Way::Free => {
            stage.create_pods(waiting.iter().cloned()).await?;
            tried(&stage).await?;
            stage.open(planned_nodes(case, false)?).await?;
            settle(&stage, &waiting).await?
        }
        Way::Nominated => {
            stage.create_pods(waiting.iter().cloned()).await?;
            tried(&stage).await?;
            stage.open(planned_nodes(case, true)?).await?;
            let hints = case.places().filter_map(|(pod, node)| Some(Ok((PodKey::parse(pod)?, node))));
            stream::iter(hints)
                .try_for_each_concurrent(AT_ONCE, |(pod, node)| {
                    let client = &client;
                    async move { binding::nominate(client, &pod, node).await }
                })
                .await?;
            stream::iter(case.plan.nodes.iter().map(Ok))
                .try_for_each_concurrent(AT_ONCE, |node| binding::lift(&client, &node.name))
                .await?;
            settle(&stage, &waiting).await?
        }
        Way::Bound => {
            stage.create_pods(waiting.iter().cloned()).await?;
            tried(&stage).await?;
            stage.open(planned_nodes(case, true)?).await?;
            let report = binding::bind_all(&client, &holds(case), DEADLINE).await;
            anyhow::ensure!(report.closed.is_empty(), "nodes that stay closed: {:?}", report.closed);
            for (pod, fate) in report.pods {
                let words = match fate {
                    Fate::Bound => continue,
                    Fate::Left(reason) => reason.to_string(),
                    Fate::Gone => "was not there".to_owned(),
                    Fate::Late => "its node or volumes were not ready in time".to_owned(),
                    Fate::Failed(error) => error.to_string(),
                };
                fates.insert(pod.to_string(), words);
            }
            settle(&stage, &waiting).await?
        }
    };
    let mut figures = count(case, way, &after, begin);
    for words in fates.into_values() {
        *figures.left.entry(words).or_insert(0) += 1;
    }
    if !figures.pending.is_empty() {
        let second = second_plan(control_plane, &stage).await?;
        figures.extra_nodes = second.summary.new_nodes;
        figures.extra_cost = second.summary.hourly_cost;
        figures.stranded = second.summary.unschedulable;
    }
    figures.took = begin.elapsed();
    stage.clear().await?;
    Ok(figures)
}

/// As [`judge`] with every pod forced, and then the pods that the plan leaves over are tried on one more node of every
/// offering: gives those that were bound, though the plan says that they have no place.
///
/// # Errors
/// As [`judge`].
pub async fn judge_both_ways(control_plane: &ControlPlane, case: &Case) -> anyhow::Result<(Figures, Vec<Refuted>)> {
    let begin = Instant::now();
    let client = control_plane.client().await?;
    let stage = Stage::set(&client, case, &Setting::default()).await?;
    let waiting = case.snapshot.pending.iter().flat_map(pods::of_group).collect();
    let after = forced(&stage, waiting).await?;
    let figures = count(case, Way::Forced, &after, begin);
    let refuted = refute(&stage).await?;
    stage.clear().await?;
    Ok((figures, refuted))
}

/// Pins the planned ones of the waiting pods to their nodes, and has kube-scheduler bind them.
async fn forced(stage: &Stage<'_>, mut waiting: Vec<Pod>) -> anyhow::Result<Vec<Pod>> {
    stage.open(planned_nodes(stage.case, false)?).await?;
    let places: BTreeMap<&str, &str> = stage.case.places().collect();
    waiting.retain_mut(|pod| {
        let place = places.get(key(pod).as_str());
        place.map(|node| pods::pin(pod.spec.get_or_insert_default(), node)).is_some()
    });
    stage.create_pods(waiting.iter().cloned()).await?;
    settle_in_any_order(stage, &waiting).await
}

fn planned_nodes(case: &Case, held: bool) -> anyhow::Result<Vec<Node>> {
    let more = if held { vec![binding::taint()] } else { Vec::new() };
    case.plan.nodes.iter().map(|node| nodes::planned(case, node, &more)).collect()
}

fn holds(case: &Case) -> Vec<Hold> {
    let new = case.plan.nodes.iter().map(|node| (&node.name, &node.pods));
    let existing = case.plan.existing_nodes.iter().map(|node| (&node.name, &node.pods));
    new.chain(existing)
        .map(|(node, pods)| Hold {
            node: node.clone(),
            pods: pods.iter().filter_map(|pod| PodKey::parse(pod)).collect(),
        })
        .collect()
}

fn count(case: &Case, way: Way, after: &[Pod], begin: Instant) -> Figures {
    let mut figures = Figures {
        way,
        pods: 0,
        bound: 0,
        as_planned: 0,
        pending: Vec::new(),
        daemons_pending: Vec::new(),
        left: BTreeMap::new(),
        extra_nodes: 0,
        stranded: 0,
        planned_cost: case.plan.summary.hourly_cost,
        extra_cost: 0.0,
        took: begin.elapsed(),
    };
    let by_key: BTreeMap<String, &Pod> = after.iter().map(|pod| (key(pod), pod)).collect();
    for (name, place) in case.places() {
        figures.pods += 1;
        let pod = by_key.get(name);
        match pod.and_then(|pod| node(pod)) {
            Some(found) => {
                figures.bound += 1;
                figures.as_planned += usize::from(found == place);
            }
            None => {
                let reason = pod.map_or("is not there", |pod| reason(pod));
                figures.pending.push(Pending {
                    pod: name.to_owned(),
                    node: place.to_owned(),
                    reason: reason.to_owned(),
                });
            }
        }
    }
    // A node that is full without the plan's doing is no fault of the plan.
    let filled: BTreeSet<&str> = case.places().map(|(_, node)| node).collect();
    for pod in after {
        if let Some(node) = starved_node(pod).filter(|node| filled.contains(node.as_str())) {
            figures.daemons_pending.push(Pending { pod: key(pod), node, reason: reason(pod).to_owned() });
        }
    }
    figures
}

/// What supercargo would buy next, as it sees the live cluster.
async fn second_plan(control_plane: &ControlPlane, stage: &Stage<'_>) -> anyhow::Result<Plan> {
    let target = Target { kubeconfig: Some(control_plane.kubeconfig()), context: None };
    let loaded = tokio::task::spawn_blocking(move || read_live(&target)).await??;
    let (case, mut snapshot) = (stage.case, loaded.snapshot);
    // Karpenter's kinds are not installed there.
    snapshot.node_pools = case.snapshot.node_pools.clone();
    snapshot.node_classes = case.snapshot.node_classes.clone();
    snapshot.node_overlays = case.snapshot.node_overlays.clone();
    let own: BTreeSet<&str> = stage.namespaces.iter().map(String::as_str).collect();
    snapshot.pending.retain(|group| own.contains(group.namespace.as_str()));
    plan(&snapshot, &case.catalog, None)
}
