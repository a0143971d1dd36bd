//! Where a pod's volumes can be reached from.
//!
//! A bound claim ties the pod to its volume's zone; a claim that waits for its first consumer to where its class makes
//! volumes; any other claim without a volume keeps the pod waiting
//! (<https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode>).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PodSpec};
use k8s_openapi::api::storage::v1::StorageClass;

use super::Snapshot;
use super::requirements::{NodeRequirements, Requirement, RequirementError, Term};

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
