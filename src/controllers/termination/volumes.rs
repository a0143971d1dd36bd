//! Volumes that a node still holds after its pods have left.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::super::pods;
use super::super::stores::Stores;
use crate::binding::claims_of;

/// How many attachments a message names.
const NAMED: usize = 5;

/// Names of the attachments of volumes to a node that no pod which stays there uses. A volume that is still attached can't be
/// attached elsewhere.
pub(super) fn attached(node: &str, stores: &Stores, now: Timestamp) -> Vec<String> {
    let all = stores.attachments.state_filter(|attachment| attachment.spec.node_name == node);
    if all.is_empty() {
        return Vec::new();
    }
    let volume = |namespace: &str, claim: &str| {
        stores.volume_claims.get(&ObjectRef::new(claim).within(namespace))?.spec.as_ref()?.volume_name.clone()
    };
    waited_for(&all, &stores.pods_on(node), volume, now)
}

/// Those of a node's attachments that its end waits for: all but the volumes of pods that a drain leaves there
/// (`filterVolumeAttachments` in `pkg/controllers/node/termination/controller.go` of
/// <https://github.com/kubernetes-sigs/karpenter>), and those that are no PersistentVolume's. `volume` is that of a claim, by
/// namespace and name.
fn waited_for(
    attachments: &[Arc<VolumeAttachment>],
    pods: &[Arc<Pod>],
    volume: impl Fn(&str, &str) -> Option<String>,
    now: Timestamp,
) -> Vec<String> {
    let mut used = BTreeSet::new();
    for pod in pods.iter().filter(|pod| !pods::is_ended(pod) && !pods::is_drainable(pod, now)) {
        let namespace = pod.namespace().unwrap_or_default();
        used.extend(claims_of(pod).iter().filter_map(|claim| volume(&namespace, claim)));
    }
    let is_waited_for = |attachment: &&Arc<VolumeAttachment>| {
        attachment.spec.source.persistent_volume_name.as_ref().is_some_and(|name| !used.contains(name))
    };
    let mut names: Vec<String> = attachments.iter().filter(is_waited_for).map(|one| one.name_any()).collect();
    names.sort();
    names
}

/// The first of them, and how many others there are.
pub(super) fn list(names: &[String]) -> String {
    let (first, others) = names.split_at(names.len().min(NAMED));
    match others.len() {
        0 => first.join(", "),
        count => format!("{} and {count} other(s)", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn attachment(name: &str, source: Value) -> Arc<VolumeAttachment> {
        let spec = json!({"attacher": "ebs.csi.aws.com", "nodeName": "n", "source": source});
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap())
    }

    /// A pod that mounts the claim `NAME` and the ephemeral volume `scratch`.
    fn pod(name: &str, overlay: Value) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"containers": [], "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": name}},
                {"name": "scratch", "ephemeral": {}},
                {"name": "plain", "emptyDir": {}},
            ]},
        });
        for (section, fields) in overlay.as_object().unwrap() {
            for (field, value) in fields.as_object().unwrap() {
                pod[section][field] = value.clone();
            }
        }
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    /// Which attachments are waited for beside a pod, whose volumes are `of-web` and `of-web-scratch`.
    fn beside(overlay: Value) -> Vec<String> {
        let names = ["of-web", "of-web-scratch", "of-nobody"];
        let mut all: Vec<_> = names
            .iter()
            .map(|name| attachment(name, json!({"persistentVolumeName": format!("volume-{name}")})))
            .collect();
        all.push(attachment("inline", json!({"inlineVolumeSpec": {"accessModes": [], "capacity": {}}})));
        let volume = |namespace: &str, claim: &str| (namespace == "shop").then(|| format!("volume-of-{claim}"));
        waited_for(&all, &[pod("web", overlay)], volume, "2026-01-01T00:01:00Z".parse().unwrap())
    }

    #[test]
    fn volumes_of_pods_that_stay_are_not_waited_for() {
        let all = ["of-nobody", "of-web", "of-web-scratch"];
        assert_eq!(beside(json!({})), all);
        let stays = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        assert_eq!(beside(stays), ["of-nobody"]);
        let static_pod = json!([{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "n", "controller": true}]);
        assert_eq!(beside(json!({"metadata": {"ownerReferences": static_pod}})), ["of-nobody"]);
        // Nobody confirms its end any more.
        assert_eq!(beside(json!({"metadata": {"deletionTimestamp": "2025-12-31T23:59:00Z"}})), ["of-nobody"]);
        // It is about to leave, or has ended: its volumes will be free.
        assert_eq!(beside(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:50Z"}})), all);
        assert_eq!(beside(json!({"status": {"phase": "Succeeded"}})), all);
        // One that forbids its disruption is waited for, and with it its volumes.
        assert_eq!(beside(json!({"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": "true"}}})), all);
        // The claims of another namespace are others.
        let elsewhere = json!({"metadata": {"namespace": "bank"}, "spec": {"tolerations": [{"operator": "Exists"}]}});
        assert_eq!(beside(elsewhere), all);
    }

    #[test]
    fn a_few_are_named_and_the_others_counted() {
        let names: Vec<String> = (1..=7).map(|number| format!("a-{number}")).collect();
        assert_eq!(list(&names[..2]), "a-1, a-2");
        assert_eq!(list(&names[..5]), "a-1, a-2, a-3, a-4, a-5");
        assert_eq!(list(&names), "a-1, a-2, a-3, a-4, a-5 and 2 other(s)");
    }
}
