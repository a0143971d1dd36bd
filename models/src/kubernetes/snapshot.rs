//! A cluster at one moment: the pods that wait, the machines that are there, and the rules that hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{LimitRange, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodSpec};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};

use super::{NodeClaim, NodeOverlay, NodePool};

/// All that a plan is made from, but for the catalogue.
///
/// Objects are as the API server would hold them after admission: `LimitRange` defaults are already in the pods'
/// resources and priorities are resolved (see [`PodGroup::priority`]).
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Pods that wait for a node, replicas of one workload together.
    pub pending: Vec<PodGroup>,
    /// Nodes that are there: capacity already paid for.
    pub nodes: Vec<Node>,
    /// Machines that were ordered: those without a node yet are capacity that is paid for, too.
    pub node_claims: Vec<NodeClaim>,
    /// Pods bound to those nodes, daemons included.
    pub bound: Vec<Pod>,
    /// Daemon sets, each an overhead on every new node it would land on.
    pub daemon_sets: Vec<DaemonSet>,
    /// What may be bought.
    pub node_pools: Vec<NodePool>,
    /// `EC2NodeClass` objects as they came (kubelet settings change what a node offers).
    pub node_classes: Vec<serde_json::Value>,
    /// What changes prices and devices of the offerings.
    pub node_overlays: Vec<NodeOverlay>,
    /// Claims on volumes, by which a pod is tied to a zone. One whose name ends with `*` (annotated
    /// `supercargo.dev/claim-template`) stands for the claims that all replicas of a stateful set are still to get: each
    /// replica has an unbound claim like it of its own.
    pub volume_claims: Vec<PersistentVolumeClaim>,
    /// Volumes, some of which can be reached from some zones only.
    pub volumes: Vec<PersistentVolume>,
    /// Storage classes, some of which make volumes in some zones only.
    pub storage_classes: Vec<StorageClass>,
    /// What the volume drivers of a node say: how many volumes they can attach to it.
    pub csi_nodes: Vec<CSINode>,
    /// Namespaces, whose labels a pod affinity term may select by.
    pub namespaces: Vec<Namespace>,
    /// Limit ranges (already applied to the pods).
    pub limit_ranges: Vec<LimitRange>,
    /// Priority classes (already applied to the pods).
    pub priority_classes: Vec<PriorityClass>,
    /// Disruption budgets.
    pub disruption_budgets: Vec<PodDisruptionBudget>,
}

/// Pods alike in everything but their name: the replicas of one workload, or one pod alone.
#[derive(Clone, Debug)]
pub struct PodGroup {
    /// Namespace of all of them.
    pub namespace: String,
    /// What they belong to.
    pub owner: Owner,
    /// What they are called.
    pub names: PodNames,
    /// Their labels, which others select them by.
    pub labels: BTreeMap<String, String>,
    /// Their annotations.
    pub annotations: BTreeMap<String, String>,
    /// Their priority: of two pods of which one must wait, the lower waits.
    pub priority: i32,
    /// What they ask for.
    pub spec: Arc<PodSpec>,
    /// File, document and object that they were read from, for messages.
    pub origin: String,
}

/// The workload that pods belong to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// `Deployment`, `StatefulSet`, ... or `Pod` for a pod alone.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// The names of a group of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodNames {
    /// `prefix-0` to `prefix-(count - 1)`.
    Replicas {
        /// The workload's name.
        prefix: String,
        /// How many.
        count: u32,
    },
    /// One pod of exactly this name.
    Single(String),
}

impl PodGroup {
    /// What an error calls it: where it was read from, and the workload.
    pub fn describe(&self) -> String {
        format!("{} ({} {}/{})", self.origin, self.owner.kind, self.namespace, self.owner.name)
    }
}

impl PodNames {
    /// How many pods there are.
    pub fn count(&self) -> u32 {
        match self {
            PodNames::Replicas { count, .. } => *count,
            PodNames::Single(_) => 1,
        }
    }

    /// The name of the pod at `index` (0-based).
    pub fn name(&self, index: u32) -> String {
        match self {
            PodNames::Replicas { prefix, .. } => format!("{prefix}-{index}"),
            PodNames::Single(name) => name.clone(),
        }
    }
}
