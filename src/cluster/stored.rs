//! Objects that someone holds already, typed: a controller's watches.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{LimitRange, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde_json::Value;
use supercargo_models::kubernetes::{NodeOverlay, NodePool};

use super::documents::Place;
use super::objects::{Objects, Origin, Read};
use super::{InputError, Loaded, expansion};

/// The objects of a live cluster that decide on a plan, as the API server holds them: admitted and checked by it.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Pods that are bound, and those that are to be planned for.
    pub pods: Vec<Pod>,
    /// Nodes.
    pub nodes: Vec<Node>,
    /// Pools; there must be one.
    pub node_pools: Vec<NodePool>,
    /// Overlays, in the order of their names.
    pub node_overlays: Vec<NodeOverlay>,
    /// Class objects of the pools, as they came.
    pub node_classes: Vec<Value>,
    /// Daemon sets.
    pub daemon_sets: Vec<Arc<DaemonSet>>,
    /// Claims on volumes.
    pub volume_claims: Vec<Arc<PersistentVolumeClaim>>,
    /// Volumes.
    pub volumes: Vec<Arc<PersistentVolume>>,
    /// Storage classes.
    pub storage_classes: Vec<Arc<StorageClass>>,
    /// How many volumes nodes can attach.
    pub csi_nodes: Vec<Arc<CSINode>>,
    /// Namespaces.
    pub namespaces: Vec<Arc<Namespace>>,
    /// Limit ranges.
    pub limit_ranges: Vec<Arc<LimitRange>>,
    /// Priority classes.
    pub priority_classes: Vec<Arc<PriorityClass>>,
    /// Runtime classes: they count for the daemons that are to come.
    pub runtime_classes: Vec<Arc<RuntimeClass>>,
    /// Disruption budgets.
    pub disruption_budgets: Vec<Arc<PodDisruptionBudget>>,
}

/// Makes a snapshot of objects that are held already, by the way that files and live clusters go.
///
/// # Errors
/// The first object that can't be planned with, named.
pub fn of_stored(stored: Stored) -> Result<Loaded, InputError> {
    let place = Place::whole("the cluster");
    let mut objects = Objects::of_cluster();
    objects.pods = owned(stored.pods, &place);
    objects.nodes = owned(stored.nodes, &place);
    let name = |about: &ObjectMeta| about.name.clone().unwrap_or_default();
    objects.node_pools = untyped("NodePool", stored.node_pools, |pool| name(&pool.metadata), &place);
    objects.node_overlays = untyped("NodeOverlay", stored.node_overlays, |overlay| name(&overlay.metadata), &place);
    let class = |class: &Value| class.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    objects.node_classes = untyped("node class", stored.node_classes, class, &place);
    objects.daemon_sets = shared(stored.daemon_sets, &place);
    objects.volume_claims = shared(stored.volume_claims, &place);
    objects.volumes = shared(stored.volumes, &place);
    objects.storage_classes = shared(stored.storage_classes, &place);
    objects.csi_nodes = shared(stored.csi_nodes, &place);
    objects.namespaces = shared(stored.namespaces, &place);
    objects.limit_ranges = shared(stored.limit_ranges, &place);
    objects.priority_classes = shared(stored.priority_classes, &place);
    objects.runtime_classes = shared(stored.runtime_classes, &place);
    objects.disruption_budgets = shared(stored.disruption_budgets, &place);
    expansion::snapshot(objects)
}

fn shared<K: Resource<DynamicType = ()> + Clone>(list: Vec<Arc<K>>, place: &Place) -> Vec<Read<K>> {
    owned(list.into_iter().map(Arc::unwrap_or_clone).collect(), place)
}

fn owned<K: Resource<DynamicType = ()>>(mut list: Vec<K>, place: &Place) -> Vec<Read<K>> {
    // A store has no order; a plan is to depend on none.
    list.sort_by_cached_key(|object| (object.namespace(), object.name_any()));
    list.into_iter()
        .map(|object| {
            let origin = named(&K::kind(&()), object.namespace().as_deref(), &object.name_any(), place);
            Read { object, origin }
        })
        .collect()
}

/// Objects whose type does not know what the API calls them.
fn untyped<T>(kind: &str, list: Vec<T>, name: impl Fn(&T) -> String, place: &Place) -> Vec<Read<T>> {
    list.into_iter().map(|object| Read { origin: named(kind, None, &name(&object), place), object }).collect()
}

fn named(kind: &str, namespace: Option<&str>, name: &str, place: &Place) -> Origin {
    let label = match namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    };
    Origin { label, place: place.clone() }
}
