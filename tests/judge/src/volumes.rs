//! Claims, volumes and classes of a snapshot, as the API server takes them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, PersistentVolume, PersistentVolumeClaim, PodSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use supercargo_models::kubernetes::Snapshot;

const ONE_NODE: &str = "ReadWriteOnce";
/// The driver of the volumes that a snapshot says nothing about.
pub(crate) const DRIVER: &str = "ebs.csi.aws.com";

/// In place of a stateful set's template of claims, the claim of one replica.
pub(crate) fn claim_for_replica(spec: &mut PodSpec, index: u32) {
    for volume in spec.volumes.iter_mut().flatten() {
        if let Some(source) = &mut volume.persistent_volume_claim
            && let Some(stem) = source.claim_name.strip_suffix('*')
        {
            source.claim_name = format!("{stem}{index}");
        }
    }
}

/// The claims, those that replicas would get included.
pub(crate) fn claims(snapshot: &Snapshot) -> Vec<PersistentVolumeClaim> {
    let mut all = Vec::new();
    for claim in &snapshot.volume_claims {
        let (name, namespace) = (claim.metadata.name.as_deref().unwrap_or_default(), &claim.metadata.namespace);
        let Some(stem) = name.strip_suffix('*') else {
            all.push(whole_claim(claim, name));
            continue;
        };
        let mounts = |spec: &PodSpec| {
            let sources = spec.volumes.iter().flatten().filter_map(|volume| volume.persistent_volume_claim.as_ref());
            sources.into_iter().any(|source| source.claim_name == name)
        };
        for group in snapshot.pending.iter().filter(|group| Some(&group.namespace) == namespace.as_ref()) {
            if mounts(&group.spec) {
                let replicas = (0..group.names.count()).map(|index| whole_claim(claim, &format!("{stem}{index}")));
                all.extend(replicas);
            }
        }
    }
    all
}

fn whole_claim(claim: &PersistentVolumeClaim, name: &str) -> PersistentVolumeClaim {
    let mut claim = claim.clone();
    let metadata = &mut claim.metadata;
    metadata.name = Some(name.to_owned());
    (metadata.uid, metadata.resource_version, metadata.owner_references) = (None, None, None);
    claim.status = None;
    let spec = claim.spec.get_or_insert_default();
    spec.access_modes.get_or_insert_with(|| vec![ONE_NODE.to_owned()]);
    // A claim that names its volume is not to get another one from the default class.
    if spec.volume_name.is_some() {
        spec.storage_class_name.get_or_insert_default();
    }
    spec.resources.get_or_insert_with(|| VolumeResourceRequirements { requests: Some(size()), limits: None });
    claim
}

fn size() -> BTreeMap<String, Quantity> {
    BTreeMap::from([("storage".to_owned(), Quantity("1Gi".to_owned()))])
}

/// The volumes.
pub(crate) fn volumes(snapshot: &Snapshot) -> Vec<PersistentVolume> {
    let whole = |volume: &PersistentVolume| {
        let mut volume = volume.clone();
        (volume.metadata.uid, volume.metadata.resource_version) = (None, None);
        volume.status = None;
        let name = volume.metadata.name.clone().unwrap_or_default();
        let spec = volume.spec.get_or_insert_default();
        if let Some(claim) = &mut spec.claim_ref {
            (claim.uid, claim.resource_version) = (None, None);
        }
        spec.access_modes.get_or_insert_with(|| vec![ONE_NODE.to_owned()]);
        spec.capacity.get_or_insert_with(size);
        spec.csi.get_or_insert_with(|| CSIPersistentVolumeSource {
            driver: DRIVER.to_owned(),
            volume_handle: name,
            ..CSIPersistentVolumeSource::default()
        });
        volume
    };
    snapshot.volumes.iter().map(whole).collect()
}
