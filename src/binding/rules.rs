//! Which pods may be bound by someone else than kube-scheduler.
//!
//! Whoever binds a pod does what kube-scheduler would have done besides choosing the node. That is nothing for most
//! pods; for the others it is named here.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::api::storage::v1::StorageClass;
use thiserror::Error;

/// Tells a provisioner which node a volume is to be made for; kube-scheduler sets it.
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/#volume-kubernetes-io-selected-node>
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// The provisioner of classes whose volumes are made by hand.
const BY_HAND: &str = "kubernetes.io/no-provisioner";

/// Why a pod is not ours to bind: it is left to kube-scheduler, or to whom it belongs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Error)]
pub enum Reason {
    /// It has a node.
    #[error("is bound to {0} already")]
    Bound(String),
    /// It is being deleted, or has ended.
    #[error("has ended")]
    Ended,
    /// Another scheduler places it.
    #[error("belongs to the scheduler {0}")]
    OtherScheduler(String),
    /// Somebody holds it back.
    #[error("waits at the scheduling gate {0}")]
    Gated(String),
    /// Devices have to be chosen and reserved for it.
    #[error("has resource claims, which kube-scheduler allocates")]
    ResourceClaims,
    /// It is placed together with others, all or none.
    #[error("is scheduled as one of a group")]
    Group,
    /// A claim is not there.
    #[error("volume claim {0} is not there")]
    NoClaim(String),
    /// A claim has no volume, and naming a node would not get it one.
    #[error("volume claim {0} has no volume yet")]
    UnboundVolume(String),
    /// A volume is on its way, for another node.
    #[error("the volume of claim {claim} is being made for {node}")]
    VolumeElsewhere {
        /// The claim.
        claim: String,
        /// The node it was asked for.
        node: String,
    },
    /// A volume that one pod at a time may use: whether another one does is kube-scheduler's to know.
    #[error("volume claim {0} is for one pod alone")]
    ExclusiveVolume(String),
}

/// Names of the volume claims that a pod mounts, those of ephemeral volumes included.
/// <https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#persistentvolumeclaim-naming>
pub fn claims_of(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let name = |volume: &Volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some(source.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name)),
        _ => None,
    };
    volumes.filter_map(name).collect()
}

/// Whether we may bind a pod to a node, and the claims among `claims` (all that the pod has, as they are now) that must
/// first be annotated with [`SELECTED_NODE`] and get their volumes; `classes` are those that the claims name.
///
/// # Errors
/// Why the pod is left to others.
pub fn may_be_bound(
    pod: &Pod,
    node: &str,
    claims: &[PersistentVolumeClaim],
    classes: &[StorageClass],
) -> Result<Vec<String>, Reason> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed")) {
        return Err(Reason::Ended);
    }
    let Some(spec) = &pod.spec else { return Err(Reason::Ended) };
    if let Some(bound) = spec.node_name.as_deref().filter(|name| !name.is_empty()) {
        return Err(Reason::Bound(bound.to_owned()));
    }
    match spec.scheduler_name.as_deref() {
        None | Some("" | "default-scheduler") => {}
        Some(other) => return Err(Reason::OtherScheduler(other.to_owned())),
    }
    if let Some(gate) = spec.scheduling_gates.iter().flatten().next() {
        return Err(Reason::Gated(gate.name.clone()));
    }
    if spec.resource_claims.iter().flatten().next().is_some() {
        return Err(Reason::ResourceClaims);
    }
    if spec.scheduling_group.is_some() {
        return Err(Reason::Group);
    }
    let mut unbound = Vec::new();
    for name in claims_of(pod) {
        let Some(claim) = claims.iter().find(|claim| claim.metadata.name.as_deref() == Some(&name)) else {
            return Err(Reason::NoClaim(name));
        };
        let modes = claim.spec.iter().flat_map(|spec| spec.access_modes.iter().flatten());
        if modes.into_iter().any(|mode| mode == "ReadWriteOncePod") {
            return Err(Reason::ExclusiveVolume(name));
        }
        if is_bound(claim) {
            continue;
        }
        if is_half_bound(claim) && selected_node(claim) == Some(node) {
            unbound.push(name);
            continue;
        }
        if !waits_for_a_node(claim, classes) {
            return Err(Reason::UnboundVolume(name));
        }
        match selected_node(claim) {
            Some(other) if other != node => {
                return Err(Reason::VolumeElsewhere { claim: name, node: other.to_owned() });
            }
            _ => unbound.push(name),
        }
    }
    Ok(unbound)
}

/// The node that a claim's volume is asked for.
pub(super) fn selected_node(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.metadata.annotations.as_ref()?.get(SELECTED_NODE).map(String::as_str)
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    has_volume(claim) && phase(claim) == Some("Bound")
}

/// Whether the claim has its volume, but its status does not tell so yet: those are two writes of the volume's controller.
fn is_half_bound(claim: &PersistentVolumeClaim) -> bool {
    has_volume(claim) && phase(claim).is_none_or(|phase| phase == "Pending")
}

fn has_volume(claim: &PersistentVolumeClaim) -> bool {
    claim.spec.as_ref().and_then(|spec| spec.volume_name.as_ref()).is_some_and(|name| !name.is_empty())
}

fn phase(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.status.as_ref().and_then(|status| status.phase.as_deref())
}

/// Whether a provisioner makes the claim's volume as soon as a node is named.
fn waits_for_a_node(claim: &PersistentVolumeClaim, classes: &[StorageClass]) -> bool {
    if has_volume(claim) {
        return false;
    }
    let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    let class = classes.iter().find(|known| known.metadata.name.as_deref() == class);
    class.is_some_and(|class| {
        class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer") && class.provisioner != BY_HAND
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        let mut whole = json!({"containers": []});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({"metadata": {"name": "web-0", "namespace": "shop"}, "spec": whole})).unwrap()
    }

    fn judged(spec: Value) -> Result<Vec<String>, Reason> {
        may_be_bound(&pod(spec), "node-1", &[], &[])
    }

    #[test]
    fn pods_that_belong_to_others_are_left_to_them() {
        assert_eq!(judged(json!({})), Ok(vec![]));
        assert_eq!(judged(json!({"schedulerName": "default-scheduler"})), Ok(vec![]));
        assert_eq!(judged(json!({"nodeName": "n"})), Err(Reason::Bound("n".into())));
        assert_eq!(judged(json!({"schedulerName": "volcano"})), Err(Reason::OtherScheduler("volcano".into())));
        assert_eq!(judged(json!({"schedulingGates": [{"name": "quota"}]})), Err(Reason::Gated("quota".into())));
        let claims = json!({"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]});
        assert_eq!(judged(claims), Err(Reason::ResourceClaims));
        let mut leaving = pod(json!({}));
        leaving.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(may_be_bound(&leaving, "node-1", &[], &[]), Err(Reason::Ended));
    }

    fn claim(spec: Value, status: Value, annotations: Value) -> PersistentVolumeClaim {
        let metadata = json!({"name": "data-web-0", "namespace": "shop", "annotations": annotations});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
    }

    fn class(binding: &str, provisioner: &str) -> StorageClass {
        let class = json!({"metadata": {"name": "gp3"}, "provisioner": provisioner, "volumeBindingMode": binding});
        serde_json::from_value(class).unwrap()
    }

    #[test]
    fn a_claim_without_a_volume_needs_a_node_first_or_is_not_ours() {
        let pod = pod(json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-0"}}]}));
        let judged = |claim: PersistentVolumeClaim, class: StorageClass| {
            may_be_bound(&pod, "node-1", std::slice::from_ref(&claim), std::slice::from_ref(&class))
        };
        let waits = || class("WaitForFirstConsumer", "ebs.csi.aws.com");
        let of_class = || json!({"storageClassName": "gp3"});
        let name = || "data-web-0".to_owned();
        let bound = claim(json!({"volumeName": "pv"}), json!({"phase": "Bound"}), json!({}));
        assert_eq!(judged(bound, waits()), Ok(vec![]));
        assert_eq!(judged(claim(of_class(), json!({}), json!({})), waits()), Ok(vec![name()]));
        let asked = claim(of_class(), json!({}), json!({SELECTED_NODE: "node-1"}));
        assert_eq!(judged(asked, waits()), Ok(vec![name()]));
        let elsewhere = claim(of_class(), json!({}), json!({SELECTED_NODE: "node-2"}));
        let reason = Reason::VolumeElsewhere { claim: name(), node: "node-2".into() };
        assert_eq!(judged(elsewhere, waits()), Err(reason));
        for other in [class("Immediate", "ebs.csi.aws.com"), class("WaitForFirstConsumer", BY_HAND)] {
            assert_eq!(judged(claim(of_class(), json!({}), json!({})), other), Err(Reason::UnboundVolume(name())));
        }
        let half = |annotations: Value| {
            claim(json!({"storageClassName": "gp3", "volumeName": "pv"}), json!({"phase": "Pending"}), annotations)
        };
        assert_eq!(judged(half(json!({})), waits()), Err(Reason::UnboundVolume(name())));
        assert_eq!(judged(half(json!({SELECTED_NODE: "node-1"})), waits()), Ok(vec![name()]));
        assert_eq!(judged(half(json!({SELECTED_NODE: "node-2"})), waits()), Err(Reason::UnboundVolume(name())));
        let alone = claim(
            json!({"accessModes": ["ReadWriteOncePod"], "volumeName": "pv"}),
            json!({"phase": "Bound"}),
            json!({}),
        );
        assert_eq!(judged(alone, waits()), Err(Reason::ExclusiveVolume(name())));
        assert_eq!(may_be_bound(&pod, "node-1", &[], &[]), Err(Reason::NoClaim(name())));
    }

    #[test]
    fn an_ephemeral_volume_has_a_claim_named_after_the_pod() {
        let template = json!({"volumeClaimTemplate": {"spec": {}}});
        let pod = pod(json!({"volumes": [{"name": "scratch", "ephemeral": template}, {"name": "x", "emptyDir": {}}]}));
        assert_eq!(claims_of(&pod), ["web-0-scratch"]);
    }
}
