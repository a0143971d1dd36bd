//! Where a pod's volumes can be reached from, and how many of them a node must be able to attach.
//!
//! A bound claim ties the pod to its volume's zone; a claim that waits for its first consumer to where its class makes
//! volumes; any other claim without a volume keeps the pod waiting
//! (<https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode>).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PodSpec};
use k8s_openapi::api::storage::v1::StorageClass;

use super::Snapshot;
use super::requirements::{NodeRequirements, Requirement, RequirementError, Term};

/// What the resources begin with that count attached volumes, one a driver; kube-scheduler's own name for them.
pub const ATTACHABLE: &str = "attachable-volumes-csi-";
/// The driver of EBS volumes.
pub const EBS: &str = "ebs.csi.aws.com";

/// The snapshot's volumes, claims and classes by name.
pub struct Volumes<'a> {
    claims: BTreeMap<(&'a str, &'a str), &'a PersistentVolumeClaim>,
    volumes: BTreeMap<&'a str, &'a PersistentVolume>,
    classes: BTreeMap<&'a str, &'a StorageClass>,
}

/// What the volumes ask of the node, or why the pod must wait.
pub type VolumeAnswer = Result<(), String>;

impl<'a> Volumes<'a> {
    /// Looks up by name in a snapshot.
    pub fn new(snapshot: &'a Snapshot) -> Volumes<'a> {
        let name = |metadata: &'a k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
            metadata.name.as_deref().unwrap_or_default()
        };
        Volumes {
            claims: snapshot
                .volume_claims
                .iter()
                .map(|claim| ((claim.metadata.namespace.as_deref().unwrap_or("default"), name(&claim.metadata)), claim))
                .collect(),
            volumes: snapshot.volumes.iter().map(|volume| (name(&volume.metadata), volume)).collect(),
            classes: snapshot.storage_classes.iter().map(|class| (name(&class.metadata), class)).collect(),
        }
    }

    /// Adds what the pod's volumes ask of a node. The inner result says in words why no node will do.
    pub fn require(
        &self,
        namespace: &str,
        spec: &PodSpec,
        requirements: &mut NodeRequirements,
    ) -> Result<VolumeAnswer, RequirementError> {
        for volume in spec.volumes.iter().flatten() {
            if let Some(source) = &volume.persistent_volume_claim {
                let Some(claim) = self.claims.get(&(namespace, source.claim_name.as_str())) else {
                    return Ok(Err(format!(
                        "volume claim {} is not there: create PersistentVolumeClaim {namespace}/{}",
                        source.claim_name, source.claim_name
                    )));
                };
                if let Err(reason) = self.require_claim(&source.claim_name, claim, requirements)? {
                    return Ok(Err(reason));
                }
            }
            let template = volume.ephemeral.as_ref().and_then(|source| source.volume_claim_template.as_ref());
            if let Some(template) = template {
                self.require_class(template.spec.storage_class_name.as_deref(), requirements)?;
            }
        }
        Ok(Ok(()))
    }

    /// Driver and name of each volume that a pod has attached to its node. Volumes that nothing attaches (config maps, empty
    /// folders, volumes of an unknown class) are not among them.
    ///
    /// <https://kubernetes.io/docs/concepts/storage/storage-limits/>: each volume counts once on a node, however many pods
    /// mount it. Volumes of the in-tree driver of EBS are the CSI driver's (CSI migration).
    pub fn attached(&self, namespace: &str, pod: &str, spec: &PodSpec) -> BTreeSet<(String, String)> {
        let mut attached = BTreeSet::new();
        for volume in spec.volumes.iter().flatten() {
            if let Some(source) = &volume.persistent_volume_claim {
                let claim = self.claims.get(&(namespace, source.claim_name.as_str()));
                attached.extend(claim.and_then(|claim| self.of_claim(namespace, &source.claim_name, claim)));
            }
            if let Some(template) = volume.ephemeral.as_ref().and_then(|source| source.volume_claim_template.as_ref()) {
                let driver = self.driver(template.spec.storage_class_name.as_deref());
                attached.extend(driver.map(|driver| (driver, format!("{namespace}/{pod}-{}", volume.name))));
            }
            if let Some(disk) = &volume.aws_elastic_block_store {
                attached.insert((EBS.to_owned(), disk.volume_id.clone()));
            }
        }
        attached
    }

    /// Driver and name of a claim's volume; of one that is still to be made, that of the claim.
    fn of_claim(&self, namespace: &str, name: &str, claim: &PersistentVolumeClaim) -> Option<(String, String)> {
        let spec = claim.spec.as_ref()?;
        let Some(volume) = spec.volume_name.as_deref().filter(|volume| !volume.is_empty()) else {
            let driver = self.driver(spec.storage_class_name.as_deref())?;
            return Some((driver, format!("{namespace}/{name}")));
        };
        let source = self.volumes.get(volume)?.spec.as_ref()?;
        let csi = source.csi.as_ref().map(|csi| (csi.driver.clone(), csi.volume_handle.clone()));
        let disk = || Some((EBS.to_owned(), source.aws_elastic_block_store.as_ref()?.volume_id.clone()));
        csi.or_else(disk)
    }

    /// The driver that attaches the volumes of a class.
    fn driver(&self, class: Option<&str>) -> Option<String> {
        match self.class(class)?.provisioner.as_str() {
            "kubernetes.io/aws-ebs" => Some(EBS.to_owned()),
            other => (!other.starts_with("kubernetes.io/")).then(|| other.to_owned()),
        }
    }

    fn require_claim(
        &self,
        name: &str,
        claim: &PersistentVolumeClaim,
        requirements: &mut NodeRequirements,
    ) -> Result<VolumeAnswer, RequirementError> {
        let spec = claim.spec.as_ref();
        let volume = spec.and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
        if !volume.is_empty() {
            let Some(volume) = self.volumes.get(volume) else {
                return Ok(Err(format!("volume claim {name} is bound to volume {volume}, which is not there")));
            };
            let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
            if let Some(selector) = affinity.and_then(|affinity| affinity.required.as_ref()) {
                requirements.add_selector(selector)?;
            }
            // The scheduler's VolumeZone plugin: several zones are joined by two underscores.
            for key in ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"] {
                if let Some(zones) = volume.metadata.labels.as_ref().and_then(|labels| labels.get(key)) {
                    let zones: Vec<String> = zones.split("__").map(str::to_owned).collect();
                    let zone = Requirement::new("topology.kubernetes.io/zone", "In", &zones)?;
                    requirements.all_of.push(vec![vec![zone]]);
                }
            }
            return Ok(Ok(()));
        }
        let class = spec.and_then(|spec| spec.storage_class_name.as_deref());
        if let Some(class) = self.class(class)
            && class.volume_binding_mode.as_deref().unwrap_or("Immediate") == "Immediate"
        {
            return Ok(Err(format!(
                "volume claim {name} is not bound yet, and its class {} binds at once: wait for the volume, or set \
                 volumeBindingMode: WaitForFirstConsumer",
                class.metadata.name.as_deref().unwrap_or_default()
            )));
        }
        self.require_class(class, requirements)?;
        Ok(Ok(()))
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

    fn require_class(&self, name: Option<&str>, requirements: &mut NodeRequirements) -> Result<(), RequirementError> {
        let topologies = self.class(name).and_then(|class| class.allowed_topologies.as_ref());
        let mut terms: Vec<Term> = Vec::new();
        for topology in topologies.into_iter().flatten() {
            let term: Term = topology
                .match_label_expressions
                .iter()
                .flatten()
                .map(|expression| Requirement::new(&expression.key, "In", &expression.values))
                .collect::<Result<_, _>>()?;
            if !term.is_empty() {
                terms.push(term);
            }
        }
        if !terms.is_empty() {
            requirements.all_of.push(terms);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn snapshot(claim: serde_json::Value, binding: &str) -> Snapshot {
        Snapshot {
            volume_claims: vec![serde_json::from_value(claim).unwrap()],
            volumes: vec![
                serde_json::from_value(json!({"metadata": {"name": "pv"}, "spec": {"nodeAffinity": {"required":
                    {"nodeSelectorTerms": [{"matchExpressions": [{"key": "topology.ebs.csi.aws.com/zone",
                    "operator": "In", "values": ["b"]}]}]}}}}))
                .unwrap(),
            ],
            storage_classes: vec![
                serde_json::from_value(json!({"metadata": {"name": "gp3"}, "provisioner": "x", "volumeBindingMode":
                    binding, "allowedTopologies": [{"matchLabelExpressions": [{"key": "topology.kubernetes.io/zone",
                    "values": ["a", "c"]}]}]}))
                .unwrap(),
            ],
            ..Snapshot::default()
        }
    }

    fn zones(snapshot: &Snapshot) -> Result<Vec<&'static str>, String> {
        let spec: PodSpec = serde_json::from_value(
            json!({"containers": [], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}),
        )
        .unwrap();
        let mut requirements = NodeRequirements::default();
        Volumes::new(snapshot).require("default", &spec, &mut requirements).unwrap()?;
        let zone = |zone| requirements.matches(&|key: &str| (key == "topology.kubernetes.io/zone").then_some(zone));
        Ok(["a", "b", "c"].into_iter().filter(|name| zone(*name)).collect())
    }

    #[test]
    fn volumes_are_counted_once_by_their_driver() {
        let mut snapshot = snapshot(
            json!({"metadata": {"name": "data", "namespace": "default"}, "spec": {"storageClassName": "old"}}),
            "WaitForFirstConsumer",
        );
        let class = |name: &str, provisioner: &str| {
            serde_json::from_value(json!({"metadata": {"name": name}, "provisioner": provisioner})).unwrap()
        };
        snapshot
            .storage_classes
            .extend([class("old", "kubernetes.io/aws-ebs"), class("local", "kubernetes.io/no-provisioner")]);
        snapshot.volumes[0].spec.as_mut().unwrap().csi =
            Some(serde_json::from_value(json!({"driver": "efs", "volumeHandle": "fs-1"})).unwrap());
        let bound = json!({"metadata": {"name": "bound", "namespace": "default"}, "spec": {"volumeName": "pv"}});
        snapshot.volume_claims.push(serde_json::from_value(bound).unwrap());
        let scratch = |class: &str| json!({"volumeClaimTemplate": {"spec": {"storageClassName": class}}});
        let mounts = |claim: &str| json!({"claimName": claim});
        let spec: PodSpec = serde_json::from_value(json!({"containers": [], "volumes": [
            {"name": "a", "persistentVolumeClaim": mounts("data")}, {"name": "b", "persistentVolumeClaim": mounts("data")},
            {"name": "c", "persistentVolumeClaim": mounts("bound")}, {"name": "d", "persistentVolumeClaim": mounts("gone")},
            {"name": "e", "ephemeral": scratch("gp3")}, {"name": "f", "ephemeral": scratch("local")},
            {"name": "g", "awsElasticBlockStore": {"volumeID": "vol-1"}}, {"name": "h", "emptyDir": {}}]}))
        .unwrap();
        let attached = Volumes::new(&snapshot).attached("default", "pod", &spec);
        let pair = |driver: &str, name: &str| (driver.to_owned(), name.to_owned());
        let expected = [pair(EBS, "default/data"), pair(EBS, "vol-1"), pair("efs", "fs-1"), pair("x", "default/pod-e")];
        assert_eq!(attached.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn claims_tie_pods_to_zones() {
        let meta = json!({"name": "data", "namespace": "default"});
        let bound = snapshot(json!({"metadata": meta, "spec": {"volumeName": "pv"}}), "Immediate");
        assert_eq!(zones(&bound), Ok(vec!["b"]));
        let waits = json!({"metadata": meta, "spec": {"storageClassName": "gp3"}});
        assert_eq!(zones(&snapshot(waits.clone(), "WaitForFirstConsumer")), Ok(vec!["a", "c"]));
        assert!(zones(&snapshot(waits, "Immediate")).unwrap_err().contains("not bound yet"));
        let mut labelled = bound.clone();
        labelled.volumes[0].spec = None;
        labelled.volumes[0].metadata.labels =
            Some([("failure-domain.beta.kubernetes.io/zone".to_owned(), "a__c".to_owned())].into());
        assert_eq!(zones(&labelled), Ok(vec!["a", "c"]));
        let other = json!({"metadata": {"name": "other"}});
        assert!(zones(&snapshot(other, "Immediate")).unwrap_err().contains("is not there"));
    }
}
