//! What a pod means to the controllers: whether it waits for a machine, holds a node, and may be moved.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Node, Pod, PodCondition};
use kube::ResourceExt;
use supercargo_models::kubernetes::taints::tolerations;

use crate::labels;

/// How long past its grace period a pod may be in its end before nobody waits for it any more, as Karpenter has it.
const STUCK: Duration = Duration::from_secs(60);

/// The node that a pod is bound to.
pub fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// The kind of the controller that owns a pod.
fn owner_kind(pod: &Pod) -> Option<&str> {
    let owners = pod.metadata.owner_references.as_ref()?;
    owners.iter().find(|owner| owner.controller == Some(true)).or(owners.first()).map(|owner| owner.kind.as_str())
}

/// Whether a pod belongs to a daemon set.
pub fn is_daemon(pod: &Pod) -> bool {
    owner_kind(pod) == Some("DaemonSet")
}

/// Whether a pod is a kubelet's own.
fn is_mirror(pod: &Pod) -> bool {
    owner_kind(pod) == Some("Node")
}

/// Whether a pod has ended or is ending.
fn is_over(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        || matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// Whether kube-scheduler found no node for a pod, and a machine may help: it does not wait for others to be preempted,
/// is no daemon, and does not refuse all of our nodes.
pub fn is_provisionable(pod: &Pod) -> bool {
    let nominated = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref()).unwrap_or_default();
    nominated.is_empty() && is_unplaced(pod)
}

/// The same of a pod that may be nominated to a node: what is planned for it still stands.
pub fn is_unplaced(pod: &Pod) -> bool {
    is_left_over(pod) && !refuses_pools(pod)
}

/// Whether a pod waits, and no machine of ours is for it: it refuses all of our nodes.
pub fn is_ignored(pod: &Pod) -> bool {
    is_left_over(pod) && refuses_pools(pod)
}

/// Whether a scheduler has yet to look at a pod that a machine may help.
pub fn is_unseen(pod: &Pod) -> bool {
    scheduled(pod).is_none() && is_for_machines(pod) && !refuses_pools(pod)
}

fn is_left_over(pod: &Pod) -> bool {
    let unschedulable = scheduled(pod)
        .is_some_and(|condition| condition.status == "False" && condition.reason.as_deref() == Some("Unschedulable"));
    unschedulable && is_for_machines(pod)
}

/// What a scheduler has said of a pod.
fn scheduled(pod: &Pod) -> Option<&PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == "PodScheduled")
}

/// Whether a pod has no node, and neither has ended nor is a kubelet's or a daemon set's.
fn is_for_machines(pod: &Pod) -> bool {
    node_of(pod).is_none() && !is_over(pod) && !is_daemon(pod) && !is_mirror(pod)
}

/// Whether a pod requires a node of no pool: `karpenter.sh/nodepool DoesNotExist` in each of its terms.
fn refuses_pools(pod: &Pod) -> bool {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
    let Some(selector) =
        affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref())
    else {
        return false;
    };
    !selector.node_selector_terms.is_empty()
        && selector.node_selector_terms.iter().all(|term| {
            term.match_expressions
                .iter()
                .flatten()
                .any(|one| one.key == labels::NODE_POOL && one.operator == "DoesNotExist")
        })
}

/// Whether a pod keeps its node from being empty: it would have to run elsewhere. One of a StatefulSet that is being deleted
/// comes back under its name (`IsReschedulable` in `pkg/utils/pod/scheduling.go` of
/// <https://github.com/kubernetes-sigs/karpenter>).
pub fn holds_its_node(pod: &Pod) -> bool {
    let comes_back = !is_ended(pod) && pod.owner_references().iter().any(|owner| owner.kind == "StatefulSet");
    (!is_over(pod) || comes_back) && !is_daemon(pod) && !is_mirror(pod)
}

/// Whether a drain has to wait for a pod: all but a kubelet's own, those that tolerate the end of their node, and those
/// whose end nobody confirms.
pub fn is_drainable(pod: &Pod, now: Timestamp) -> bool {
    !is_mirror(pod) && !tolerates_disruption(pod) && !is_ended(pod) && !is_stuck(pod, now)
}

/// Whether a pod has run to its end.
pub fn is_ended(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

fn tolerates_disruption(pod: &Pod) -> bool {
    let list = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let taint = crate::controllers::taints::disrupted();
    tolerations(list).iter().any(|toleration| toleration.tolerates(&taint))
}

fn is_stuck(pod: &Pod, now: Timestamp) -> bool {
    pod.metadata
        .deletion_timestamp
        .as_ref()
        .is_some_and(|due| now.duration_since(due.0) > STUCK.try_into().unwrap_or_default())
}

/// What the annotation `karpenter.sh/do-not-disrupt` of a pod, node or claim says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DoNotDisrupt {
    /// Never to be disrupted, or not for a duration that has not begun.
    Always,
    /// Not to be disrupted before this time, which may be over.
    Until(Timestamp),
    /// Neither `true` nor a duration above zero: it counts for nothing.
    Invalid(String),
}

impl DoNotDisrupt {
    /// Reads a value; a duration begins at `since`, if that is known.
    fn read(value: &str, since: Option<Timestamp>) -> Self {
        if value.trim() == "true" {
            return DoNotDisrupt::Always;
        }
        match crate::duration::parse(value).filter(|duration| !duration.is_zero()) {
            None => DoNotDisrupt::Invalid(format!("{value:?} is neither true nor a duration such as 30m")),
            Some(duration) => match since {
                Some(since) => DoNotDisrupt::Until(since.checked_add(duration).unwrap_or(Timestamp::MAX)),
                None => DoNotDisrupt::Always,
            },
        }
    }

    /// That of a pod that has not ended; a duration begins when the kubelet has seen it.
    pub fn of_pod(pod: &Pod) -> Option<Self> {
        let since = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
        let value = pod.annotations().get(labels::DO_NOT_DISRUPT).filter(|_| !is_over(pod))?;
        Some(DoNotDisrupt::read(value, since.map(|time| time.0)))
    }

    /// Whether it forbids to disrupt at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        match self {
            DoNotDisrupt::Always => true,
            DoNotDisrupt::Until(end) => now < *end,
            DoNotDisrupt::Invalid(_) => false,
        }
    }
}

/// Whether a pod's annotation forbids to evict it at `now`, be it a daemon.
pub fn forbids_disruption(pod: &Pod, now: Timestamp) -> bool {
    DoNotDisrupt::of_pod(pod).is_some_and(|said| said.holds(now))
}

/// Whether a node's or claim's annotation forbids to disrupt it at `now`.
pub fn node_forbids_disruption(node: &Node, now: Timestamp) -> bool {
    let value = node.annotations().get(labels::DO_NOT_DISRUPT);
    let since = node.metadata.creation_timestamp.as_ref().map(|time| time.0);
    value.is_some_and(|value| DoNotDisrupt::read(value, since).holds(now))
}

/// Takes away what neither planner nor controllers read: what containers run, mount and report.
pub fn thin(pod: &mut Pod) {
    if let Some(spec) = &mut pod.spec {
        for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
            *container = Container {
                name: std::mem::take(&mut container.name),
                ports: container.ports.take(),
                resources: container.resources.take(),
                restart_policy: container.restart_policy.take(),
                ..Container::default()
            };
        }
        spec.ephemeral_containers = None;
    }
    if let Some(status) = &mut pod.status {
        status.container_statuses = None;
        status.init_container_statuses = None;
        status.ephemeral_container_statuses = None;
    }
}

/// When pods last came to nodes or left them.
#[derive(Debug, Default)]
pub struct PodEvents {
    inner: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// By uid: the node of a pod that is bound, and whether it is over.
    pods: HashMap<String, (String, bool)>,
    /// By node: the last time.
    last: HashMap<String, Timestamp>,
}

impl PodEvents {
    /// Takes note of a pod as a watch told of it; whether it came to its node, ended or left. What a first reading tells
    /// happened when the pod's own condition says.
    pub fn saw(&self, pod: &Pod, gone: bool, first: bool) -> bool {
        let Some(node) = node_of(pod) else { return false };
        let uid = pod.uid().unwrap_or_default();
        let mut seen = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (node.to_owned(), is_over(pod));
        let before = if gone { seen.pods.remove(&uid) } else { seen.pods.insert(uid, now.clone()) };
        let moved = gone || before.as_ref() != Some(&now);
        if moved && !is_daemon(pod) && !is_mirror(pod) {
            let at = if first { bound_at(pod) } else { Some(Timestamp::now()) };
            if let Some(at) = at {
                let last = seen.last.entry(node.to_owned()).or_insert(at);
                *last = (*last).max(at);
            }
        }
        moved
    }

    /// When a pod last came to a node or left it.
    pub fn last(&self, node: &str) -> Option<Timestamp> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).last.get(node).copied()
    }

    /// Forgets a node that is gone.
    pub fn forget(&self, node: &str) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).last.remove(node);
    }
}

fn bound_at(pod: &Pod) -> Option<Timestamp> {
    let scheduled = scheduled(pod).filter(|condition| condition.status == "True")?;
    scheduled.last_transition_time.as_ref().map(|time| time.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn pod(overlay: serde_json::Value) -> Pod {
        let mut whole = json!({
            "metadata": {"name": "web", "uid": "u", "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "r", "controller": true}]},
            "spec": {"containers": []},
            "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]},
        });
        for (section, fields) in overlay.as_object().unwrap() {
            for (field, value) in fields.as_object().unwrap() {
                whole[section][field] = value.clone();
            }
        }
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn what_is_taken_away_changes_no_request_port_or_condition() {
        let resources = json!({"requests": {"cpu": "1"}});
        let mut pod = pod(json!({
            "spec": {
                "containers": [{"name": "main", "image": "x", "env": [{"name": "A", "value": "b"}],
                    "ports": [{"containerPort": 80, "hostPort": 80}], "resources": resources}],
                "initContainers": [{"name": "side", "restartPolicy": "Always", "resources": resources}],
            },
            "status": {"containerStatuses": []},
        }));
        let before = pod.clone();
        thin(&mut pod);
        let (spec, status) = (pod.spec.as_ref().unwrap(), pod.status.as_ref().unwrap());
        assert_eq!(
            (&spec.containers[0].image, &spec.containers[0].env, &status.container_statuses),
            (&None, &None, &None)
        );
        assert_eq!(spec.containers[0].ports, before.spec.as_ref().unwrap().containers[0].ports);
        assert_eq!(spec.init_containers, before.spec.as_ref().unwrap().init_containers);
        let requests = supercargo_models::kubernetes::requests::pod_requests;
        assert_eq!(requests(spec).unwrap(), requests(before.spec.as_ref().unwrap()).unwrap());
        assert!(is_provisionable(&pod));
    }

    #[test]
    fn daemons_forbid_disruption_and_a_duration_begins_with_the_pod() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let owner =
            |kind: &str| json!([{"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "o", "controller": true}]);
        let annotated = |value: &str, owners: serde_json::Value, status: serde_json::Value| {
            let annotations = json!({"karpenter.sh/do-not-disrupt": value});
            let created = "1970-01-01T00:00:00Z";
            let about = json!({"annotations": annotations, "ownerReferences": owners, "creationTimestamp": created});
            pod(json!({"metadata": about, "status": status}))
        };
        let daemon = annotated("true", owner("DaemonSet"), json!({}));
        assert!(forbids_disruption(&daemon, at(0)) && !holds_its_node(&daemon));
        let web = |value: &str, status: serde_json::Value| annotated(value, owner("ReplicaSet"), status);
        assert!(!forbids_disruption(&web("true", json!({"phase": "Succeeded"})), at(0)));
        // Nothing has begun yet, however long it has waited.
        assert!(forbids_disruption(&web("10s", json!({})), at(1000)));
        let runs = web("10s", json!({"startTime": "1970-01-01T00:01:00Z"}));
        assert!(forbids_disruption(&runs, at(69)) && !forbids_disruption(&runs, at(70)));
        assert!(!forbids_disruption(&web("soon", json!({})), at(0)));
        // Of a StatefulSet one comes back under its name.
        let leaving = |kind: &str| {
            pod(json!({"metadata": {"deletionTimestamp": "1970-01-01T00:00:30Z", "ownerReferences": owner(kind)}}))
        };
        assert!(holds_its_node(&leaving("StatefulSet")) && !holds_its_node(&leaving("ReplicaSet")));
    }

    #[test]
    fn who_waits_for_a_machine() {
        assert!(is_provisionable(&pod(json!({}))));
        let without = |section: &str, field: &str, value: serde_json::Value| {
            assert!(!is_provisionable(&pod(json!({section: {field: value}}))), "{field}");
        };
        without("status", "conditions", json!([]));
        without(
            "status",
            "conditions",
            json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]),
        );
        // Nobody has looked at it, or it is not to be looked at yet.
        assert!(is_unseen(&pod(json!({"status": {"conditions": []}}))) && !is_unseen(&pod(json!({}))));
        let gated = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]);
        assert!(!is_unseen(&pod(json!({"status": {"conditions": gated}}))));
        without("status", "nominatedNodeName", json!("node"));
        without("spec", "nodeName", json!("node"));
        without("metadata", "deletionTimestamp", json!("2026-01-01T00:00:00Z"));
        let owned =
            |kind: &str| json!([{"apiVersion": "v1", "kind": kind, "name": "x", "uid": "x", "controller": true}]);
        without("metadata", "ownerReferences", owned("DaemonSet"));
        without("metadata", "ownerReferences", owned("Node"));
        let term = json!({"matchExpressions": [{"key": "karpenter.sh/nodepool", "operator": "DoesNotExist"}]});
        let terms = |terms: serde_json::Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
        without("spec", "affinity", terms(json!([term])));
        let other = json!({"matchExpressions": [{"key": "disk", "operator": "Exists"}]});
        let either = pod(json!({"spec": {"affinity": terms(json!([term, other]))}}));
        assert!(is_provisionable(&either) && !is_ignored(&either));
        assert!(is_ignored(&pod(json!({"spec": {"affinity": terms(json!([term]))}}))));
    }

    #[test]
    fn disruption_can_be_forbidden_for_good_or_for_a_while() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let holds = |value: &str, second| DoNotDisrupt::read(value, Some(at(0))).holds(at(second));
        assert!(DoNotDisrupt::read("true", None).holds(at(0)) && DoNotDisrupt::read("10m", None).holds(at(600)));
        assert!(holds("10m", 599) && !holds("10m", 600));
        for nothing in ["false", "0s", "soon"] {
            assert!(matches!(DoNotDisrupt::read(nothing, None), DoNotDisrupt::Invalid(_)), "{nothing}");
            assert!(!holds(nothing, 0), "{nothing}");
        }
    }

    #[test]
    fn a_drain_waits_for_those_that_can_be_moved() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        assert!(is_drainable(&pod(json!({})), now));
        assert!(is_drainable(&pod(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:30Z"}})), now));
        assert!(!is_drainable(&pod(json!({"metadata": {"deletionTimestamp": "2025-12-31T23:59:59Z"}})), now));
        assert!(!is_drainable(&pod(json!({"spec": {"tolerations": [{"operator": "Exists"}]}})), now));
        assert!(!is_drainable(&pod(json!({"status": {"phase": "Succeeded"}})), now));
    }

    #[test]
    fn pods_that_come_and_go_are_remembered_and_others_change_nothing() {
        let events = PodEvents::default();
        let bound = pod(json!({"spec": {"nodeName": "n"}}));
        assert!(events.saw(&bound, false, false));
        let first = events.last("n").unwrap();
        assert!(!events.saw(&bound, false, false));
        assert_eq!(events.last("n"), Some(first));
        assert!(events.saw(&bound, true, false));
        assert!(events.last("n").unwrap() >= first);
        let known = pod(json!({"spec": {"nodeName": "m"}, "status": {"conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}));
        events.saw(&known, false, true);
        assert_eq!(events.last("m").unwrap().to_string(), "2026-01-01T00:00:00Z");
    }
}
