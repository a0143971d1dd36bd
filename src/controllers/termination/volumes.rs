//! Volumes that a node still holds after its pods have left.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::super::pods;
use super::super::stores::Stores;

/// How many volumes are attached to a node that no pod which stays there uses. A volume that is still attached can't be
/// attached elsewhere.
pub(super) fn attached(node: &str, stores: &Stores, now: Timestamp) -> usize {
    let staying = stores.pods_on(node).into_iter().filter(|pod| !pods::is_drainable(pod, now));
    let used: BTreeSet<String> = staying.flat_map(|pod| volumes_of(&pod, stores)).collect();
    let held = stores.attachments.state_filter(|attachment| {
        attachment.spec.node_name == node
            && attachment.spec.source.persistent_volume_name.as_ref().is_some_and(|name| !used.contains(name))
    });
    held.len()
}

fn volumes_of(pod: &Pod, stores: &Stores) -> Vec<String> {
    let namespace = pod.namespace().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| {
            let claim = match (&volume.persistent_volume_claim, &volume.ephemeral) {
                (Some(source), _) => source.claim_name.clone(),
                (None, Some(_)) => format!("{}-{}", pod.name_any(), volume.name),
                (None, None) => return None,
            };
            stores.volume_claims.get(&ObjectRef::new(&claim).within(&namespace))?.spec.as_ref()?.volume_name.clone()
        })
        .collect()
}
