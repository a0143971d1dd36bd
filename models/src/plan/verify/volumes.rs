//! Volumes: from where a pod's claims can be reached, and how many a node has to attach.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim, PodSpec, TopologySelectorTerm,
};
use k8s_openapi::api::storage::v1::StorageClass;

use super::matching::ZONE;
use super::profile::Profile;
use crate::kubernetes::Snapshot;

/// The driver of EBS volumes.
pub(super) const EBS: &str = "ebs.csi.aws.com";

/// A volume that is attached to the node of its pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Volume {
    /// The driver that attaches it.
    driver: String,
    /// What it is called; `None` where each pod has one of its own.
    name: Option<String>,
}

impl Volume {
    /// Whether a node that attaches so many volumes by driver attaches none of this driver's.
    pub(super) fn has_no_place(&self, most: &BTreeMap<String, i64>) -> bool {
        most.get(&self.driver) == Some(&0)
    }
}

/// The volumes of a node: each counts once, however many pods mount it.
/// <https://kubernetes.io/docs/concepts/storage/storage-limits/>
#[derive(Clone, Debug, Default)]
pub(super) struct Attachments {
    own: BTreeMap<String, i64>,
    shared: BTreeSet<Volume>,
}

impl Attachments {
    /// Adds the volumes of so many pods.
    pub(super) fn add(&mut self, profile: &Profile, pods: u32) {
        for volume in &profile.volumes {
            match volume.name {
                None => *self.own.entry(volume.driver.clone()).or_default() += i64::from(pods),
                Some(_) => _ = self.shared.insert(volume.clone()),
            }
        }
    }

    /// Both together.
    pub(super) fn and(&self, other: &Attachments) -> Attachments {
        let mut all = self.clone();
        for (driver, count) in &other.own {
            *all.own.entry(driver.clone()).or_default() += count;
        }
        all.shared.extend(other.shared.iter().cloned());
        all
    }

    /// The first driver of these pods that has more volumes than it can attach: its name, how many, and the most.
    pub(super) fn exceed<'p>(
        &self,
        most: &BTreeMap<String, i64>,
        pods: impl Iterator<Item = &'p Profile<'p>>,
    ) -> Option<(String, i64, i64)> {
        let drivers: BTreeSet<&String> = pods.flat_map(|pod| &pod.volumes).map(|volume| &volume.driver).collect();
        drivers.into_iter().find_map(|driver| {
            let most = *most.get(driver)?;
            let shared = self.shared.iter().filter(|volume| volume.driver == *driver).count() as i64;
            let count = shared + self.own.get(driver).copied().unwrap_or(0);
            (count > most).then(|| (driver.clone(), count, most))
        })
    }
}

/// What one volume asks of a node.
#[derive(Clone, Debug)]
pub(super) enum Reach<'a> {
    /// One of the terms must match (a bound volume's node affinity).
    Terms(&'a [NodeSelectorTerm]),
    /// No node will do: why.
    Nowhere(String),
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
    /// where its class makes volumes for their first consumer. A claim that is missing or still to be bound at once, and a
    /// volume that is missing, keep the pod waiting.
    /// <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#node-affinity>,
    /// <https://kubernetes.io/docs/concepts/storage/storage-classes/#allowed-topologies>
    pub(super) fn reach(&self, namespace: &str, spec: &'a PodSpec) -> Vec<Reach<'a>> {
        let mut reach = Vec::new();
        for volume in spec.volumes.iter().flatten() {
            if let Some(source) = &volume.persistent_volume_claim {
                match self.claims.get(&(namespace, source.claim_name.as_str())) {
                    Some(claim) => self.of_claim(claim, &mut reach),
                    None => reach.push(Reach::Nowhere(format!("claim {} is missing", source.claim_name))),
                }
            } else if let Some(template) = volume.ephemeral.as_ref().and_then(|it| it.volume_claim_template.as_ref()) {
                reach.extend(self.class(template.spec.storage_class_name.as_deref()).and_then(topologies));
            }
        }
        reach
    }

    /// The volumes that a pod's node must attach; those of an unknown driver are not counted.
    pub(super) fn attached(&self, namespace: &str, spec: &PodSpec) -> Vec<Volume> {
        let mut attached = BTreeSet::new();
        let mut templates = Vec::new();
        for volume in spec.volumes.iter().flatten() {
            if let Some(source) = &volume.persistent_volume_claim {
                let name = source.claim_name.as_str();
                let found = self.claims.get(&(namespace, name)).and_then(|claim| self.of(claim, namespace, name));
                match found {
                    // It stands for a claim of each replica.
                    Some(volume) if name.ends_with('*') => templates.push(Volume { name: None, ..volume }),
                    found => attached.extend(found),
                }
            } else if let Some(template) = volume.ephemeral.as_ref().and_then(|it| it.volume_claim_template.as_ref()) {
                let driver = self.driver(template.spec.storage_class_name.as_deref());
                templates.extend(driver.map(|driver| Volume { driver, name: None }));
            } else if let Some(disk) = &volume.aws_elastic_block_store {
                attached.insert(Volume { driver: EBS.to_owned(), name: Some(disk.volume_id.clone()) });
            }
        }
        attached.into_iter().chain(templates).collect()
    }

    /// The volume of a claim.
    fn of(&self, claim: &PersistentVolumeClaim, namespace: &str, name: &str) -> Option<Volume> {
        let spec = claim.spec.as_ref()?;
        match spec.volume_name.as_deref() {
            None | Some("") => {
                let driver = self.driver(spec.storage_class_name.as_deref())?;
                Some(Volume { driver, name: Some(format!("{namespace}/{name}")) })
            }
            Some(bound) => {
                let volume = self.volumes.get(bound)?.spec.as_ref()?;
                if let Some(csi) = &volume.csi {
                    return Some(Volume { driver: csi.driver.clone(), name: Some(csi.volume_handle.clone()) });
                }
                let disk = volume.aws_elastic_block_store.as_ref()?;
                Some(Volume { driver: EBS.to_owned(), name: Some(disk.volume_id.clone()) })
            }
        }
    }

    /// The driver of a class's volumes; what once was part of Kubernetes is EBS's driver now, or attaches nothing.
    fn driver(&self, class: Option<&str>) -> Option<String> {
        let provisioner = &self.class(class)?.provisioner;
        if provisioner == "kubernetes.io/aws-ebs" {
            return Some(EBS.to_owned());
        }
        (!provisioner.starts_with("kubernetes.io/")).then(|| provisioner.clone())
    }

    fn of_claim(&self, claim: &PersistentVolumeClaim, reach: &mut Vec<Reach<'a>>) {
        let spec = claim.spec.as_ref();
        let bound = spec.and_then(|spec| spec.volume_name.as_deref()).filter(|name| !name.is_empty());
        let Some(name) = bound else {
            let class = self.class(spec.and_then(|spec| spec.storage_class_name.as_deref()));
            match class {
                Some(class) if class.volume_binding_mode.as_deref().unwrap_or("Immediate") == "Immediate" => {
                    reach.push(Reach::Nowhere("its claim waits to be bound".to_owned()));
                }
                class => reach.extend(class.and_then(topologies)),
            }
            return;
        };
        let Some(volume) = self.volumes.get(name) else {
            reach.push(Reach::Nowhere(format!("volume {name} is missing")));
            return;
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
    }

    /// The class of that name; without one, the default class.
    fn class(&self, name: Option<&str>) -> Option<&'a StorageClass> {
        match name {
            Some(name) => self.classes.get(name).copied(),
            None => self.classes.values().copied().find(|class| {
                class.metadata.annotations.as_ref().is_some_and(|annotations| {
                    annotations.get("storageclass.kubernetes.io/is-default-class").is_some_and(|value| value == "true")
                })
            }),
        }
    }
}

/// Where a class makes volumes, if it says so.
fn topologies(class: &StorageClass) -> Option<Reach<'_>> {
    let topologies = class.allowed_topologies.as_deref().filter(|topologies| !topologies.is_empty())?;
    Some(Reach::Topologies(topologies))
}
