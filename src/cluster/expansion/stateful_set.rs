//! The replicas of a stateful set, each with its claims on volumes.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, PodSpec, Volume};
use std::sync::Arc;
use supercargo_models::kubernetes::PodNames;

use super::{Expansion, Workload};
use crate::cluster::error::InputError;
use crate::cluster::objects::Read;

/// Marks a claim that stands for the claims of all replicas of a stateful set that do not have theirs yet.
const TEMPLATE_ANNOTATION: &str = "supercargo.dev/claim-template";

impl Expansion {
    /// The replicas of a stateful set that are not there yet.
    pub(super) fn stateful_set(&mut self, read: Read<StatefulSet>) -> Result<(), InputError> {
        let spec = read.object.spec;
        let workload = Workload {
            kind: "StatefulSet",
            metadata: &read.object.metadata,
            origin: &read.origin,
            field: "spec.template.spec",
            count_field: "spec.replicas",
        };
        let wanted = u32::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
        let start = spec.ordinals.and_then(|ordinals| ordinals.start).and_then(|start| u32::try_from(start).ok());
        let start = start.unwrap_or(0);
        let name = workload.name();
        let namespace = workload.namespace();
        let present = self.sorted.present.get(&workload.key()).cloned().unwrap_or_default();
        let left = u64::from(wanted).saturating_sub(present.len() as u64);
        self.count(left, &read.origin, workload.count_field)?;
        let templates = spec.volume_claim_templates.unwrap_or_default();
        // Replicas with a claim of their own in the input go alone: that claim may tie them to a zone.
        let mut alone = Vec::new();
        let mut together = Vec::new();
        for ordinal in (0..wanted).map(|index| start.saturating_add(index)) {
            if present.contains(&format!("{name}-{ordinal}")) {
                continue;
            }
            let has_claim = templates.iter().any(|template| {
                let claim = format!("{}-{name}-{ordinal}", template.metadata.name.as_deref().unwrap_or_default());
                self.claims.contains(&(namespace.clone(), claim))
            });
            if has_claim { alone.push(ordinal) } else { together.push(ordinal) }
        }
        if alone.is_empty() && together.is_empty() {
            return Ok(());
        }
        let Some(base) = self.group(&workload, spec.template)? else { return Ok(()) };
        let prefix = self.prefix(&workload);
        // Only ordinals from 0 on can be told as a count.
        let contiguous = together.iter().enumerate().all(|(index, ordinal)| *ordinal as usize == index);
        let mut groups: Vec<(PodNames, Option<u32>)> = Vec::new();
        if contiguous && !together.is_empty() {
            let count = u32::try_from(together.len()).unwrap_or(u32::MAX);
            groups.push((PodNames::Replicas { prefix: prefix.clone(), count }, None));
        } else {
            let single = |ordinal: &u32| (PodNames::Single(format!("{prefix}-{ordinal}")), Some(*ordinal));
            groups.extend(together.iter().map(single));
        }
        for ordinal in &alone {
            groups.push((PodNames::Single(format!("{prefix}-{ordinal}")), Some(*ordinal)));
        }
        for (names, ordinal) in groups {
            let mut group = base.clone();
            if let Some(ordinal) = ordinal {
                let pod = format!("{name}-{ordinal}");
                group.labels.insert("statefulset.kubernetes.io/pod-name".into(), pod);
                group.labels.insert("apps.kubernetes.io/pod-index".into(), ordinal.to_string());
            }
            if !templates.is_empty() {
                let mut spec = (*group.spec).clone();
                for template in &templates {
                    let claim = self.claim_of(template, &name, &namespace, ordinal);
                    mount(&mut spec, template.metadata.name.as_deref().unwrap_or_default(), claim);
                }
                group.spec = Arc::new(spec);
            }
            group.names = names;
            self.groups.push(group);
        }
        Ok(())
    }

    /// The name of a replica's claim. Where the input has no such claim, one unbound claim of the template's storage
    /// class stands for those of all such replicas; its name ends with `*`, which no real claim's can.
    fn claim_of(
        &mut self,
        template: &PersistentVolumeClaim,
        set: &str,
        namespace: &str,
        ordinal: Option<u32>,
    ) -> String {
        let template_name = template.metadata.name.as_deref().unwrap_or_default();
        if let Some(ordinal) = ordinal {
            let own = format!("{template_name}-{set}-{ordinal}");
            if self.claims.contains(&(namespace.to_string(), own.clone())) {
                return own;
            }
        }
        let shared = format!("{template_name}-{set}-*");
        if self.claims.insert((namespace.to_string(), shared.clone())) {
            let mut claim = template.clone();
            claim.metadata.name = Some(shared.clone());
            claim.metadata.namespace = Some(namespace.to_string());
            claim
                .metadata
                .annotations
                .get_or_insert_default()
                .insert(TEMPLATE_ANNOTATION.into(), format!("{set}/{template_name}"));
            claim.status = None;
            self.made_claims.push(claim);
        }
        shared
    }
}

/// Mounts a claim as the volume `name`, in place of one that is called so.
fn mount(spec: &mut PodSpec, name: &str, claim: String) {
    let volumes = spec.volumes.get_or_insert_default();
    volumes.retain(|volume| volume.name != name);
    volumes.push(Volume {
        name: name.to_string(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource { claim_name: claim, read_only: None }),
        ..Volume::default()
    });
}
