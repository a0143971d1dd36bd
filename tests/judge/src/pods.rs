//! The pods of a snapshot, one by one, as the API server takes them.

use k8s_openapi::api::core::v1::{NodeAffinity, NodeSelector, NodeSelectorTerm, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use supercargo_models::kubernetes::PodGroup;

use crate::volumes;

/// All pods of a group, under the names that the plan gives them.
pub(crate) fn of_group(group: &PodGroup) -> impl Iterator<Item = Pod> {
    (0..group.names.count()).map(|index| {
        let mut spec = admissible((*group.spec).clone());
        volumes::claim_for_replica(&mut spec, index);
        Pod {
            metadata: ObjectMeta {
                name: Some(group.names.name(index)),
                namespace: Some(group.namespace.clone()),
                labels: Some(group.labels.clone()),
                annotations: Some(group.annotations.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(spec),
            status: None,
        }
    })
}

/// A pod of the input that is bound already. Nothing owns it: garbage collection would miss the owner.
pub(crate) fn bound(pod: &Pod) -> Pod {
    Pod {
        metadata: ObjectMeta {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            labels: pod.metadata.labels.clone(),
            annotations: pod.metadata.annotations.clone(),
            ..ObjectMeta::default()
        },
        spec: pod.spec.clone().map(admissible),
        status: None,
    }
}

/// What a controller would own, with what the API server asks for and a planner can do without.
pub(crate) fn admissible(mut spec: PodSpec) -> PodSpec {
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        container.image.get_or_insert_with(|| "none".to_owned());
    }
    // Worked out by the API server from the class; another value would be refused.
    spec.priority = None;
    spec
}

/// The resource that only this node has.
pub(crate) fn resource_of(node: &str) -> String {
    format!("supercargo.dev/{node}")
}

/// Lets a pod onto one node only, by asking for what only that node has. Node affinity or a taint would also change which
/// domains its spread counts.
pub(crate) fn pin(spec: &mut PodSpec, node: &str) {
    if let Some(container) = spec.containers.first_mut() {
        let resources = container.resources.get_or_insert_default();
        for list in [&mut resources.requests, &mut resources.limits] {
            list.get_or_insert_default().insert(resource_of(node), Quantity("1".to_owned()));
        }
    }
}

/// Adds to what a pod requires of a node: to each of the terms that it has, of which one must hold.
pub(crate) fn require(spec: &mut PodSpec, add: impl Fn(&mut NodeSelectorTerm)) {
    let affinity: &mut NodeAffinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    let selector: &mut NodeSelector =
        affinity.required_during_scheduling_ignored_during_execution.get_or_insert_default();
    if selector.node_selector_terms.is_empty() {
        selector.node_selector_terms.push(NodeSelectorTerm::default());
        add(&mut selector.node_selector_terms[0]);
        return;
    }
    // A term without anything matches nothing, and must not begin to match.
    let is_empty = |term: &NodeSelectorTerm| {
        term.match_expressions.iter().flatten().next().is_none() && term.match_fields.iter().flatten().next().is_none()
    };
    selector.node_selector_terms.iter_mut().filter(|term| !is_empty(term)).for_each(add);
}
