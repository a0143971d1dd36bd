//! What watches tell that is counted: pods that come to run, conditions that change, objects that are gone.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};

use super::pods;
use crate::labels;
use crate::telemetry::{Kind, Metrics, Observed};

/// Counts what an event tells of a pod.
pub fn pod(store: &Store<Pod>, metrics: &Metrics, event: &Event<Pod>) {
    match event {
        Event::Apply(pod) | Event::InitApply(pod) => {
            metrics.pod_seen(pod, pods::is_provisionable(pod), Timestamp::now());
        }
        Event::Delete(pod) => metrics.pod_gone(&pod.uid().unwrap_or_default()),
        Event::InitDone => metrics.pods_read(&store.state().iter().filter_map(|pod| pod.uid()).collect()),
        Event::Init => {}
    }
}

/// Counts what an event tells of the conditions of an object, and that it is gone.
pub fn conditions<K>(
    kind: Kind,
    store: &Store<K>,
    metrics: &Metrics,
    event: &Event<K>,
    of: impl Fn(&K) -> BTreeMap<String, Observed>,
) where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let pool = |object: &K| object.labels().get(labels::NODE_POOL).cloned();
    match event {
        Event::Apply(object) | Event::InitApply(object) => {
            let first = matches!(event, Event::InitApply(_));
            let uid = object.uid().unwrap_or_default();
            metrics.conditions_seen(kind, &uid, pool(object).as_deref(), of(object), first);
        }
        Event::Delete(object) => {
            let asked = object.meta().deletion_timestamp.as_ref().map(|time| time.0);
            let uid = object.uid().unwrap_or_default();
            metrics.object_gone(kind, &uid, pool(object).as_deref(), asked, Timestamp::now());
        }
        Event::InitDone => {
            metrics.objects_read(kind, &store.state().iter().filter_map(|object| object.uid()).collect());
        }
        Event::Init => {}
    }
}

/// Conditions of the API's own type, by type.
pub fn observed(conditions: Option<&Vec<Condition>>) -> BTreeMap<String, Observed> {
    let one = |one: &Condition| {
        let since = Some(one.last_transition_time.0);
        (one.type_.clone(), Observed { status: one.status.clone(), reason: one.reason.clone(), since })
    };
    conditions.into_iter().flatten().map(one).collect()
}

/// Conditions of a node, by type.
pub fn of_node(node: &Node) -> BTreeMap<String, Observed> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .map(|one| {
            let since = one.last_transition_time.as_ref().map(|time| time.0);
            let reason = one.reason.clone().unwrap_or_default();
            (one.type_.clone(), Observed { status: one.status.clone(), reason, since })
        })
        .collect()
}
