//! Which pods belong to which workload, and which of them wait.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use supercargo_models::kubernetes::Owner;

use super::objects::{Objects, Read};

/// A workload: kind, namespace and name.
pub(crate) type Key = (String, String, String);

/// The pods of the input by what becomes of them.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// Pods on nodes of the input.
    pub bound: Vec<Read<Pod>>,
    /// Pods that wait for a node, with what they belong to.
    pub waiting: Vec<(Read<Pod>, Owner)>,
    /// Names of the replicas of each workload that are there, wherever they run.
    pub present: BTreeMap<Key, BTreeSet<String>>,
    /// The `pod-template-hash` of a workload's replicas, where one is there.
    pub hashes: BTreeMap<Key, String>,
    /// Pods left out, by the reason.
    pub left_out: BTreeMap<&'static str, Vec<String>>,
    /// CronJobs of which a job is in the input.
    pub started: BTreeSet<Key>,
}

/// The label by which a replica set tells its pods from those of an older template.
pub(crate) const TEMPLATE_HASH: &str = "pod-template-hash";

/// Reasons why a pod is neither bound nor planned for.
pub(crate) mod reason {
    pub const ELSEWHERE: &str = "run on nodes that are not in the input";
    pub const GATED: &str = "wait at scheduling gates";
    pub const SUSPENDED: &str = "are suspended";
    pub const FIXED: &str = "name their node themselves";
}

/// The controller among an object's owners.
fn controller(metadata: &ObjectMeta) -> Option<(&str, &str)> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let owner = owners.iter().find(|owner| owner.controller == Some(true)).or(owners.first())?;
    Some((owner.kind.as_str(), owner.name.as_str()))
}

fn key(kind: &str, metadata: &ObjectMeta, name: &str) -> Key {
    (kind.to_string(), metadata.namespace.clone().unwrap_or_default(), name.to_string())
}

fn name(metadata: &ObjectMeta) -> String {
    metadata.name.clone().unwrap_or_default()
}

/// Who owns whom, from the workloads of the input.
pub(crate) struct Workloads {
    /// Replica sets that a deployment of the input owns, with that deployment's name.
    deployments: BTreeMap<Key, String>,
    /// All workloads of the input.
    known: BTreeSet<Key>,
}

impl Workloads {
    /// Looks through the workloads.
    pub fn of(objects: &Objects) -> Self {
        let mut known = BTreeSet::new();
        known.extend(
            objects
                .deployments
                .iter()
                .map(|read| key("Deployment", &read.object.metadata, &name(&read.object.metadata))),
        );
        let mut deployments = BTreeMap::new();
        for read in &objects.replica_sets {
            let metadata = &read.object.metadata;
            known.insert(key("ReplicaSet", metadata, &name(metadata)));
            if let Some(("Deployment", owner)) = controller(metadata)
                && known.contains(&key("Deployment", metadata, owner))
            {
                deployments.insert(key("ReplicaSet", metadata, &name(metadata)), owner.to_string());
            }
        }
        Workloads { deployments, known }
    }

    /// Whether a deployment of the input owns this replica set, so that it is no workload of its own.
    pub fn is_owned(&self, replica_set: &ObjectMeta) -> bool {
        self.deployments.contains_key(&key("ReplicaSet", replica_set, &name(replica_set)))
    }

    /// The workload that a pod belongs to; `None` for a pod alone.
    fn owner(&self, pod: &Pod) -> Option<Key> {
        let metadata = &pod.metadata;
        let (kind, owner) = controller(metadata)?;
        let direct = key(kind, metadata, owner);
        if kind != "ReplicaSet" {
            return Some(direct);
        }
        if let Some(deployment) = self.deployments.get(&direct) {
            return Some(key("Deployment", metadata, deployment));
        }
        // An export without replica sets: theirs is the deployment's name with the template's hash.
        let hash = metadata.labels.as_ref().and_then(|labels| labels.get(TEMPLATE_HASH));
        let deployment =
            hash.and_then(|hash| owner.strip_suffix(hash.as_str())).and_then(|rest| rest.strip_suffix('-'));
        if let Some(deployment) = deployment
            && !self.known.contains(&direct)
            && self.known.contains(&key("Deployment", metadata, deployment))
        {
            return Some(key("Deployment", metadata, deployment));
        }
        Some(direct)
    }
}

/// The revision of a deployment that a replica set was made for.
fn revision(metadata: &ObjectMeta) -> u64 {
    let annotations = metadata.annotations.as_ref();
    let text = annotations.and_then(|annotations| annotations.get("deployment.kubernetes.io/revision"));
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Sorts the pods of the input.
pub(crate) fn sort(objects: &mut Objects, workloads: &Workloads) -> Sorted {
    let nodes: BTreeSet<&str> = objects.nodes.iter().filter_map(|read| read.object.metadata.name.as_deref()).collect();
    let mut sorted = Sorted::default();
    // A deployment's newest replica set lends its hash; where the input has none, a pod does.
    let mut sets: Vec<_> = objects.replica_sets.iter().map(|read| &read.object).collect();
    sets.sort_by_key(|set| revision(&set.metadata));
    for set in sets {
        let deployment = workloads.deployments.get(&key("ReplicaSet", &set.metadata, &name(&set.metadata)));
        let made = set.spec.template.as_ref().and_then(|template| template.metadata.as_ref());
        let labels = made.and_then(|metadata| metadata.labels.as_ref());
        if let (Some(deployment), Some(hash)) = (deployment, labels.and_then(|labels| labels.get(TEMPLATE_HASH))) {
            sorted.hashes.insert(key("Deployment", &set.metadata, deployment), hash.clone());
        }
    }
    for job in &objects.jobs {
        if let Some(("CronJob", owner)) = controller(&job.object.metadata) {
            sorted.started.insert(key("CronJob", &job.object.metadata, owner));
        }
    }
    for read in std::mem::take(&mut objects.pods) {
        let pod = &read.object;
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) || pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let owner = workloads.owner(pod);
        let label = format!("{}/{}", pod.metadata.namespace.as_deref().unwrap_or_default(), name(&pod.metadata));
        if let Some(owner) = &owner {
            let hash = pod.metadata.labels.as_ref().and_then(|labels| labels.get(TEMPLATE_HASH));
            if let Some(hash) = hash {
                sorted.hashes.entry(owner.clone()).or_insert_with(|| hash.clone());
            }
            sorted.present.entry(owner.clone()).or_default().insert(name(&pod.metadata));
        }
        let Some(spec) = &pod.spec else { continue };
        if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
            if nodes.contains(node) {
                sorted.bound.push(read);
            } else {
                sorted.left_out.entry(reason::ELSEWHERE).or_default().push(label);
            }
            continue;
        }
        let of_daemon = owner.as_ref().is_some_and(|(kind, _, _)| kind == "DaemonSet" || kind == "Node");
        if of_daemon {
            // It waits for the node it is meant for; new nodes count the daemon set itself.
            continue;
        }
        if spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
            sorted.left_out.entry(reason::GATED).or_default().push(label);
        } else {
            let owner = match owner {
                Some((kind, _, name)) => Owner { kind, name },
                None => Owner { kind: "Pod".into(), name: name(&pod.metadata) },
            };
            sorted.waiting.push((read, owner));
        }
    }
    sorted
}
