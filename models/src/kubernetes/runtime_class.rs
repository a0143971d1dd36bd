//! What the API server's admission makes of a pod's runtime class: the overhead of its sandbox, and where it may stand.
//!
//! <https://kubernetes.io/docs/concepts/containers/runtime-class/>; the plugin is
//! <https://github.com/kubernetes/kubernetes/blob/master/plugin/pkg/admission/runtimeclass/admission.go>.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use thiserror::Error;

use super::quantity;

/// Why a pod of a runtime class would not be admitted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RuntimeClassError {
    /// It states another overhead than its class has.
    #[error("is not the overhead of RuntimeClass {class} ({stated}); the API server refuses such pods")]
    Overhead {
        /// Name of the class.
        class: String,
        /// The class's overhead in words.
        stated: String,
    },
    /// It wants nodes with another label than its class does.
    #[error("{found:?} is not {wanted:?}, which RuntimeClass {class} wants; the API server refuses such pods")]
    Selector {
        /// Name of the class.
        class: String,
        /// The label's key.
        key: String,
        /// The label's value as the pod wants it.
        found: String,
        /// The label's value as the class wants it.
        wanted: String,
    },
}

/// The name of the runtime class of a pod, if it is not the default one.
pub fn name(spec: &PodSpec) -> Option<&str> {
    spec.runtime_class_name.as_deref().filter(|name| !name.is_empty())
}

/// Gives a pod the overhead of its class.
///
/// # Errors
/// If the pod states another one, which is then left as it is.
pub fn apply_overhead(spec: &mut PodSpec, class: &RuntimeClass) -> Result<(), RuntimeClassError> {
    let fixed = class.overhead.as_ref().and_then(|overhead| overhead.pod_fixed.as_ref());
    let fixed = fixed.filter(|fixed| !fixed.is_empty());
    match (spec.overhead.as_ref().filter(|stated| !stated.is_empty()), fixed) {
        (None, fixed) => spec.overhead = fixed.cloned(),
        (Some(stated), Some(fixed)) if alike(stated, fixed) => {}
        (Some(_), _) => {
            let list = fixed.into_iter().flatten().map(|(resource, amount)| format!("{resource} {}", amount.0));
            let stated = list.collect::<Vec<_>>().join(", ");
            let stated = if stated.is_empty() { "none".to_owned() } else { stated };
            return Err(RuntimeClassError::Overhead { class: called(class), stated });
        }
    }
    Ok(())
}

/// Ties a pod to the nodes of its class, whose taints it then tolerates.
///
/// # Errors
/// If the pod wants other nodes; it then is as it was.
pub fn apply_scheduling(spec: &mut PodSpec, class: &RuntimeClass) -> Result<(), RuntimeClassError> {
    let Some(scheduling) = &class.scheduling else { return Ok(()) };
    let selector = scheduling.node_selector.as_ref().filter(|selector| !selector.is_empty());
    for (key, wanted) in selector.into_iter().flatten() {
        let found = spec.node_selector.as_ref().and_then(|own| own.get(key));
        if let Some(found) = found.filter(|found| *found != wanted) {
            let (found, wanted) = (found.clone(), wanted.clone());
            return Err(RuntimeClassError::Selector { class: called(class), key: key.clone(), found, wanted });
        }
    }
    if let Some(selector) = selector {
        spec.node_selector.get_or_insert_default().extend(selector.clone());
    }
    for toleration in scheduling.tolerations.iter().flatten() {
        let own = spec.tolerations.get_or_insert_default();
        if !own.contains(toleration) {
            own.push(toleration.clone());
        }
    }
    Ok(())
}

/// Whether two lists say the same, in whatever words (`1`, `1000m`).
fn alike(one: &BTreeMap<String, Quantity>, other: &BTreeMap<String, Quantity>) -> bool {
    let read = |list: &BTreeMap<String, Quantity>| -> Option<BTreeMap<String, quantity::Quantity>> {
        list.iter().map(|(name, amount)| Some((name.clone(), quantity::parse(&amount.0).ok()?))).collect()
    };
    one == other || read(one).is_some_and(|one| Some(one) == read(other))
}

fn called(class: &RuntimeClass) -> String {
    class.metadata.name.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn pod(more: Value) -> PodSpec {
        let mut spec = json!({"containers": [], "runtimeClassName": "kata"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    fn class(more: Value) -> RuntimeClass {
        let mut class = json!({"metadata": {"name": "kata"}, "handler": "kata-qemu"});
        class.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(class).unwrap()
    }

    #[test]
    fn the_overhead_is_that_of_the_class() {
        let class = class(json!({"overhead": {"podFixed": {"cpu": "250m", "memory": "160Mi"}}}));
        let mut silent = pod(json!({}));
        apply_overhead(&mut silent, &class).unwrap();
        assert_eq!(silent.overhead.unwrap()["cpu"].0, "250m");
        let mut same = pod(json!({"overhead": {"cpu": "0.25", "memory": "163840Ki"}}));
        assert_eq!(apply_overhead(&mut same, &class), Ok(()));
        let mut other = pod(json!({"overhead": {"cpu": "100m"}}));
        assert_eq!(
            apply_overhead(&mut other, &class).unwrap_err().to_string(),
            "is not the overhead of RuntimeClass kata (cpu 250m, memory 160Mi); the API server refuses such pods"
        );
        assert_eq!(other.overhead.unwrap()["cpu"].0, "100m");
    }

    #[test]
    fn a_class_without_overhead_allows_none() {
        let mut stated = pod(json!({"overhead": {"cpu": "100m"}}));
        let error = apply_overhead(&mut stated, &class(json!({}))).unwrap_err();
        assert!(error.to_string().contains("RuntimeClass kata (none)"), "{error}");
        let mut silent = pod(json!({}));
        apply_overhead(&mut silent, &class(json!({}))).unwrap();
        assert_eq!(silent.overhead, None);
    }

    #[test]
    fn nodes_are_chosen_by_both() {
        let class = class(json!({"scheduling": {"nodeSelector": {"sandbox": "kata"},
            "tolerations": [{"key": "sandbox", "operator": "Exists"}]}}));
        let mut spec = pod(json!({"nodeSelector": {"disk": "ssd"}}));
        // Once more changes nothing: a pod may have been admitted already.
        for _ in 0..2 {
            apply_scheduling(&mut spec, &class).unwrap();
            let selector = serde_json::to_value(&spec.node_selector).unwrap();
            assert_eq!(selector, json!({"disk": "ssd", "sandbox": "kata"}));
            assert_eq!(spec.tolerations.as_ref().unwrap().len(), 1);
        }
        let mut elsewhere = pod(json!({"nodeSelector": {"sandbox": "gvisor"}}));
        assert_eq!(
            apply_scheduling(&mut elsewhere, &class).unwrap_err().to_string(),
            "\"gvisor\" is not \"kata\", which RuntimeClass kata wants; the API server refuses such pods"
        );
        assert_eq!(elsewhere.tolerations, None);
    }

    #[test]
    fn the_default_runtime_has_no_class() {
        assert_eq!(name(&pod(json!({}))), Some("kata"));
        assert_eq!(name(&pod(json!({"runtimeClassName": ""}))), None);
    }
}
