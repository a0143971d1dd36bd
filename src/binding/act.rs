//! One pod, one node.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Binding, ObjectReference, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Status};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::rules::{Reason, SELECTED_NODE, claims_of, may_be_bound, selected_node};

/// How often a pod is read again after a conflict that nobody else's binding explains.
const CONFLICTS: u32 = 3;

/// A pod by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl PodKey {
    /// Reads a plan's `namespace/name`.
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        Some(PodKey { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl std::fmt::Display for PodKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A pod as watches have brought it, with what it mounts.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Its volume claims that are there.
    pub claims: Vec<PersistentVolumeClaim>,
    /// The classes of those that [`class_to_read`] names one for.
    pub classes: Vec<StorageClass>,
}

/// What came of trying to bind a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It is bound to the node.
    Bound,
    /// Its volumes are being made for the node: try again later.
    VolumesOnTheirWay,
    /// It is left to others.
    Left(Reason),
    /// There is no such pod.
    Gone,
}

/// Reads the pod and what it mounts, and binds it to the node if it is ours to bind and waits for nothing else.
///
/// A pod that watches have brought with what it mounts (`seen`) is not read first: the API server itself refuses one that was
/// bound or deleted meanwhile (409). Then all of it is read, and one of another uid is not bound.
///
/// Claims that wait for a node are told of this one. If someone is quicker, their binding stands: the API server answers
/// 409, and the pod is read again to see whose it was.
///
/// # Errors
/// If the API server refuses or does not answer.
pub async fn attempt(client: &Client, key: &PodKey, node: &str, mut seen: Option<Seen>) -> kube::Result<Attempt> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &key.namespace);
    let planned = seen.as_ref().and_then(|seen| seen.pod.metadata.uid.clone());
    let mut conflicts = 0;
    loop {
        let Seen { pod, claims, classes } = match seen.take() {
            Some(seen) => seen,
            None => match pods.get_opt(&key.name).await? {
                Some(pod) if planned.is_none() || pod.metadata.uid == planned => with_mounts(client, key, pod).await?,
                _ => return Ok(Attempt::Gone),
            },
        };
        match may_be_bound(&pod, node, &claims, &classes) {
            Err(Reason::Bound(place)) if place == node => return Ok(Attempt::Bound),
            Err(reason) => return Ok(Attempt::Left(reason)),
            Ok(unbound) if !unbound.is_empty() => {
                for claim in claims.iter().filter(|claim| selected_node(claim).is_none()) {
                    let name = claim.metadata.name.as_deref().unwrap_or_default();
                    if unbound.iter().any(|unbound| unbound == name) {
                        select_node(client, key, claim, node).await?;
                    }
                }
                return Ok(Attempt::VolumesOnTheirWay);
            }
            Ok(_) => {}
        }
        let binding = Binding {
            // With its uid, so that a namesake that was made meanwhile is not bound in its place.
            metadata: ObjectMeta {
                name: Some(key.name.clone()),
                uid: pod.metadata.uid.clone(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        match pods.create_subresource::<_, Status>("binding", &key.name, &PostParams::default(), &binding).await {
            Ok(_) => return Ok(Attempt::Bound),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Attempt::Gone),
            Err(kube::Error::Api(status)) if status.code == 409 && conflicts < CONFLICTS => conflicts += 1,
            Err(error) => return Err(error),
        }
    }
}

/// The class that a claim without a volume names: what becomes of it is the class's affair.
pub fn class_to_read(claim: &PersistentVolumeClaim) -> Option<&str> {
    let spec = claim.spec.as_ref()?;
    spec.storage_class_name.as_deref().filter(|_| spec.volume_name.is_none())
}

/// A pod with what it mounts, from the API server.
async fn with_mounts(client: &Client, key: &PodKey, pod: Pod) -> kube::Result<Seen> {
    let known: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &key.namespace);
    let mut claims = Vec::new();
    let mut classes: Vec<StorageClass> = Vec::new();
    for name in claims_of(&pod) {
        let Some(claim) = known.get_opt(&name).await? else { continue };
        if let Some(class) = class_to_read(&claim)
            && !classes.iter().any(|known| known.metadata.name.as_deref() == Some(class))
        {
            classes.extend(Api::<StorageClass>::all(client.clone()).get_opt(class).await?);
        }
        claims.push(claim);
    }
    Ok(Seen { pod: Arc::new(pod), claims, classes })
}

/// Tells the provisioner of a claim's class which node its volume is for, unless kube-scheduler was quicker.
async fn select_node(client: &Client, key: &PodKey, claim: &PersistentVolumeClaim, node: &str) -> kube::Result<()> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &key.namespace);
    let patch = json!({"metadata": {
        "resourceVersion": claim.metadata.resource_version,
        "annotations": {SELECTED_NODE: node},
    }});
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    match claims.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        // It has changed or is gone: the next attempt sees how.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        answer => answer.map(|_| ()),
    }
}

/// Sets `status.nominatedNodeName`: a hint, of which kube-scheduler makes what it will.
///
/// # Errors
/// If the API server refuses or does not answer. A pod that is gone or bound by now is no error.
pub async fn nominate(client: &Client, key: &PodKey, node: &str) -> kube::Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &key.namespace);
    let patch = Patch::Merge(json!({"status": {"nominatedNodeName": node}}));
    match pods.patch_status(&key.name, &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        // The API server says 422 to a nomination of a pod that was bound meanwhile.
        Err(kube::Error::Api(status)) if status.code == 422 => match pods.get_opt(&key.name).await? {
            Some(pod) if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_none()) => {
                Err(kube::Error::Api(status))
            }
            _ => Ok(()),
        },
        answer => answer.map(|_| ()),
    }
}
