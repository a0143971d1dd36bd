//! Volumes: from where a pod's claims can be reached.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim, PodSpec, TopologySelectorTerm,
};
use k8s_openapi::api::storage::v1::StorageClass;

use super::matching::ZONE;
use crate::kubernetes::Snapshot;

/// What one volume asks of a node.
#[derive(Clone, Debug)]
pub(super) enum Reach<'a> {
    /// One of the terms must match (a bound volume's node affinity).
    Terms(&'a [NodeSelectorTerm]),
    /// A label must have one of the values (a volume's own zone label).
    Label {
        /// Label key.
        key: &'static str,
        /// Values, one of which must be there.
        values: Vec<String>,
    },
    /// One of the topologies must match (a class that makes volumes in some places only).
    Topologies(&'a [TopologySelectorTerm]),
}

/// The claims, volumes and classes by name.
#[derive(Debug, Default)]
pub(super) struct Volumes<'a> {
    claims: BTreeMap<(&'a str, &'a str), &'a PersistentVolumeClaim>,
    volumes: BTreeMap<&'a str, &'a PersistentVolume>,
    classes: BTreeMap<&'a str, &'a StorageClass>,
}

impl<'a> Volumes<'a> {
    /// From a snapshot.
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let claims = snapshot.volume_claims.iter().map(|claim| {
            let namespace = claim.metadata.namespace.as_deref().unwrap_or("default");
            ((namespace, claim.metadata.name.as_deref().unwrap_or_default()), claim)
        });
        let volumes =
            snapshot.volumes.iter().map(|volume| (volume.metadata.name.as_deref().unwrap_or_default(), volume));
        let classes =
            snapshot.storage_classes.iter().map(|class| (class.metadata.name.as_deref().unwrap_or_default(), class));
        Volumes { claims: claims.collect(), volumes: volumes.collect(), classes: classes.collect() }
    }

    /// From where all claims of a pod can be reached: a bound claim from where its volume can, an unbound one from
    /// where its class makes volumes. A claim that isn't in the snapshot says nothing.
    /// <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#node-affinity>,
    /// <https://kubernetes.io/docs/concepts/storage/storage-classes/#allowed-topologies>
    pub(super) fn reach(&self, namespace: &str, pod: &str, spec: &'a PodSpec) -> Result<Vec<Reach<'a>>, String> {
        let mut reach = Vec::new();
        for volume in spec.volumes.iter().flatten() {
            if let Some(claim) = &volume.persistent_volume_claim {
                if let Some(claim) = self.claims.get(&(namespace, claim.claim_name.as_str())) {
                    self.of_claim(claim, &mut reach)?;
                }
            } else if let Some(ephemeral) = &volume.ephemeral {
                let pod = pod.rsplit('/').next().unwrap_or(pod);
                if let Some(claim) = self.claims.get(&(namespace, format!("{pod}-{}", volume.name).as_str())) {
                    self.of_claim(claim, &mut reach)?;
                } else if let Some(template) = &ephemeral.volume_claim_template {
                    self.of_class(template.spec.storage_class_name.as_deref(), &mut reach);
                }
            }
        }
        Ok(reach)
    }

    fn of_claim(&self, claim: &PersistentVolumeClaim, reach: &mut Vec<Reach<'a>>) -> Result<(), String> {
        let spec = claim.spec.as_ref();
        let bound = spec.and_then(|spec| spec.volume_name.as_deref()).filter(|name| !name.is_empty());
        let Some(volume) = bound.and_then(|name| self.volumes.get(name)) else {
            if bound.is_none() {
                self.of_class(spec.and_then(|spec| spec.storage_class_name.as_deref()), reach);
            }
            return Ok(());
        };
        let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
        if let Some(required) = affinity.and_then(|affinity| affinity.required.as_ref()) {
            reach.push(Reach::Terms(&required.node_selector_terms));
        }
        for key in [ZONE, "failure-domain.beta.kubernetes.io/zone"] {
            if let Some(zones) = volume.metadata.labels.as_ref().and_then(|labels| labels.get(key)) {
                reach.push(Reach::Label { key: ZONE, values: zones.split("__").map(str::to_owned).collect() });
            }
        }
        Ok(())
    }

    fn of_class(&self, name: Option<&str>, reach: &mut Vec<Reach<'a>>) {
        let class = match name {
            Some(name) => self.classes.get(name).copied(),
            None => self.classes.values().copied().find(|class| {
                class.metadata.annotations.as_ref().is_some_and(|annotations| {
                    annotations.get("storageclass.kubernetes.io/is-default-class").is_some_and(|value| value == "true")
                })
            }),
        };
        if let Some(topologies) = class.and_then(|class| class.allowed_topologies.as_deref())
            && !topologies.is_empty()
        {
            reach.push(Reach::Topologies(topologies));
        }
    }
}
