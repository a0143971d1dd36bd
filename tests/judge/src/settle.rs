//! Waiting until kube-scheduler has done all that it is going to do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;

use crate::stage::{PATIENCE, PERIOD, Stage};

/// A pod is tried again after 2 seconds at the latest once something has changed that may help it: no binding for this
/// long, and none is to come.
const QUIET: Duration = Duration::from_secs(5);
/// The time that the scheduler is given for each pod that waits, besides.
const EACH: Duration = Duration::from_millis(10);

/// How long daemon sets take to notice a node.
const DAEMONS: Duration = Duration::from_secs(2);

/// `namespace/name` of a pod.
pub(crate) fn key(pod: &Pod) -> String {
    let metadata = &pod.metadata;
    format!("{}/{}", metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

/// The node that a pod is bound to.
pub(crate) fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}

/// The node that the pod of a daemon set is meant for, if it is not bound: its controller names it in its affinity.
pub(crate) fn starved_node(pod: &Pod) -> Option<String> {
    if node(pod).is_some() || !pod.metadata.owner_references.iter().flatten().any(|owner| owner.kind == "DaemonSet") {
        return None;
    }
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let mut fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    fields.find_map(|field| field.values.iter().flatten().next().cloned())
}

/// Why kube-scheduler has not bound a pod, in its own words; empty if it has not tried yet.
pub(crate) fn reason(pod: &Pod) -> &str {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut scheduled = conditions.filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    scheduled.find_map(|condition| condition.message.as_deref()).unwrap_or_default()
}

/// Waits until every pod of `wanted` is bound, or nothing moves any more. A pod that was pushed out is created anew, as
/// its controller would do. Gives all pods of the case as they are then.
pub(crate) async fn settle(stage: &Stage<'_>, wanted: &[Pod]) -> anyhow::Result<Vec<Pod>> {
    let wanted: BTreeMap<String, &Pod> = wanted.iter().map(|pod| (key(pod), pod)).collect();
    let begin = Instant::now();
    let daemons = if stage.case.snapshot.daemon_sets.is_empty() { Duration::ZERO } else { DAEMONS };
    let mut last = BTreeSet::new();
    let mut since = begin;
    loop {
        let pods = stage.pods().await?;
        let there: BTreeSet<String> = pods.iter().map(key).collect();
        let missing = wanted.iter().filter(|(key, _)| !there.contains(*key)).map(|(_, pod)| (*pod).clone());
        stage.create_pods(missing).await?;
        let leaving = pods.iter().any(|pod| pod.metadata.deletion_timestamp.is_some());
        let bound: BTreeSet<String> = pods.iter().filter(|pod| node(pod).is_some()).map(key).collect();
        let waiting = pods.len() - bound.len();
        if begin.elapsed() >= daemons && !leaving && waiting == 0 && wanted.keys().all(|key| bound.contains(key)) {
            return Ok(pods);
        }
        // One without a reason has not been tried yet.
        let untried = pods.iter().any(|pod| node(pod).is_none() && reason(pod).is_empty());
        if leaving || bound != last || (untried && begin.elapsed() < PATIENCE) {
            since = Instant::now();
        }
        if since.elapsed() > QUIET + EACH * u32::try_from(waiting).unwrap_or(u32::MAX) {
            return Ok(pods);
        }
        last = bound;
        tokio::time::sleep(PERIOD).await;
    }
}

/// Waits until kube-scheduler has tried every pod once.
pub(crate) async fn tried(stage: &Stage<'_>) -> anyhow::Result<Vec<Pod>> {
    let begin = Instant::now();
    loop {
        let pods = stage.pods().await?;
        if pods.iter().all(|pod| node(pod).is_some() || !reason(pod).is_empty()) {
            return Ok(pods);
        }
        anyhow::ensure!(begin.elapsed() < PATIENCE, "kube-scheduler leaves pods untried for {PATIENCE:?}");
        tokio::time::sleep(PERIOD).await;
    }
}

/// As [`settle`], but pods that stay pending are made anew and tried again as long as that gets one of them bound: what
/// is shown is that there is an order in which all of them fit.
pub(crate) async fn settle_in_any_order(stage: &Stage<'_>, wanted: &[Pod]) -> anyhow::Result<Vec<Pod>> {
    let mut before = usize::MAX;
    loop {
        let pods = settle(stage, wanted).await?;
        let pending: Vec<&Pod> = pods.iter().filter(|pod| node(pod).is_none()).collect();
        if pending.is_empty() || pending.len() >= before {
            return Ok(pods);
        }
        before = pending.len();
        for pod in pending {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
            match Api::<Pod>::namespaced(stage.client.clone(), namespace).delete(name, &at_once).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                answer => drop(answer?),
            }
        }
    }
}
