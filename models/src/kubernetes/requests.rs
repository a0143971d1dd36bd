//! What a pod asks of a node, as kube-scheduler counts it.
//!
//! Containers together, or the hungriest moment of the start-up if that is more; sidecars (restartable init
//! containers) run on beside everything that starts after them
//! (<https://github.com/kubernetes/enhancements/tree/master/keps/sig-node/753-sidecar-containers>); requests of the
//! pod as a whole stand above those of its containers
//! (<https://github.com/kubernetes/enhancements/tree/master/keps/sig-node/2837-pod-level-resource-spec>); the overhead
//! of the runtime class comes on top.

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use thiserror::Error;

use super::quantity::{ResourceError, Resources, add, raise, resources};

/// Why a pod's requests are not understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
pub struct RequestError {
    /// The field, `spec.containers[name].resources.requests`.
    pub field: String,
    /// What is wrong.
    pub problem: ResourceError,
}

/// What a pod of this spec takes of a node: millicores of `cpu`, whole units of the others. `pods` is not in it.
pub fn pod_requests(spec: &PodSpec) -> Result<Resources, RequestError> {
    let mut sum = Resources::new();
    for container in &spec.containers {
        add(&mut sum, &container_requests("containers", container)?);
    }
    let mut sidecars = Resources::new();
    let mut start_up = Resources::new();
    for container in spec.init_containers.iter().flatten() {
        let mut requests = container_requests("initContainers", container)?;
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sum, &requests);
            add(&mut sidecars, &requests);
            requests = sidecars.clone();
        } else {
            add(&mut requests, &sidecars);
        }
        raise(&mut start_up, &requests);
    }
    raise(&mut sum, &start_up);
    if let Some(whole) = &spec.resources {
        let requested = whole.requests.as_ref();
        for (name, amount) in requirements("spec.resources", whole)? {
            // A limit of the pod stands in only where neither the pod nor a container requests anything.
            let stated = requested.is_some_and(|requests| requests.contains_key(&name)) || !sum.contains_key(&name);
            if stated && (name == "cpu" || name == "memory" || name.starts_with("hugepages-")) {
                sum.insert(name, amount);
            }
        }
    }
    if let Some(overhead) = &spec.overhead {
        let overhead =
            resources(overhead).map_err(|problem| RequestError { field: "spec.overhead".to_owned(), problem })?;
        add(&mut sum, &overhead);
    }
    sum.retain(|_, amount| *amount != 0);
    Ok(sum)
}

fn container_requests(list: &str, container: &Container) -> Result<Resources, RequestError> {
    match &container.resources {
        Some(requirements_of) => requirements(&format!("spec.{list}[{}].resources", container.name), requirements_of),
        None => Ok(Resources::new()),
    }
}

/// Requests, and limits where no request is given.
fn requirements(field: &str, given: &ResourceRequirements) -> Result<Resources, RequestError> {
    let read = |part: &str, list| {
        resources(list).map_err(|problem| RequestError { field: format!("{field}.{part}"), problem })
    };
    let mut requests = match &given.limits {
        Some(limits) => read("limits", limits)?,
        None => Resources::new(),
    };
    if let Some(list) = &given.requests {
        requests.extend(read("requests", list)?);
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn requests(spec: serde_json::Value) -> Vec<(String, i64)> {
        pod_requests(&serde_json::from_value(spec).unwrap()).unwrap().into_iter().collect()
    }

    fn container(cpu: &str) -> serde_json::Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn containers_sum_and_limits_stand_in() {
        let spec = json!({"containers": [
            {"name": "a", "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "2", "memory": "1Ki"}}},
            {"name": "b", "resources": {"limits": {"nvidia.com/gpu": "1"}}},
            container("1"),
        ]});
        let expected = [("cpu", 1500), ("memory", 1024), ("nvidia.com/gpu", 1)];
        assert_eq!(requests(spec), expected.map(|(name, amount)| (name.to_owned(), amount)));
    }

    #[test]
    fn init_containers_count_at_their_most() {
        let spec = json!({"containers": [container("1")], "initContainers": [container("3"), container("2")]});
        assert_eq!(requests(spec), [("cpu".to_owned(), 3000)]);
    }

    #[test]
    fn sidecars_run_beside_what_starts_after_them() {
        let mut sidecar = container("1");
        sidecar["restartPolicy"] = json!("Always");
        let after = json!({"containers": [container("2")], "initContainers": [sidecar.clone(), container("5")]});
        assert_eq!(requests(after), [("cpu".to_owned(), 6000)]);
        let before = json!({"containers": [container("2")], "initContainers": [container("5"), sidecar]});
        assert_eq!(requests(before), [("cpu".to_owned(), 5000)]);
    }

    #[test]
    fn the_pod_as_a_whole_wins_and_overhead_is_added() {
        let spec = json!({"containers": [container("1")], "resources": {"requests": {"cpu": "4"}},
            "overhead": {"cpu": "250m", "memory": "10"}});
        assert_eq!(requests(spec), [("cpu".to_owned(), 4250), ("memory".to_owned(), 10)]);
    }

    #[test]
    fn a_bad_quantity_names_its_field() {
        let spec = json!({"containers": [{"name": "web", "resources": {"requests": {"cpu": "-1"}}}]});
        let error = pod_requests(&serde_json::from_value(spec).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "spec.containers[web].resources.requests: resource cpu: -1 is negative");
    }
}
