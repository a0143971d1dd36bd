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
    let mut sum = of_containers(spec, container_requests)?;
    if let Some(whole) = &spec.resources {
        let requested = whole.requests.as_ref();
        for (name, amount) in requirements("spec.resources", whole)? {
            // A limit of the pod stands in only where neither the pod nor a container requests anything.
            let stated = requested.is_some_and(|requests| requests.contains_key(&name)) || !sum.contains_key(&name);
            if stated && is_of_pods(&name) {
                sum.insert(name, amount);
            }
        }
    }
    add(&mut sum, &overhead(spec)?);
    sum.retain(|_, amount| *amount != 0);
    Ok(sum)
}

/// The most that a pod of this spec may use, of what its limits name: counted as requests are, the overhead on top of what is
/// limited (`PodLimits` in <https://github.com/kubernetes/component-helpers/blob/master/resource/helpers.go>).
pub fn pod_limits(spec: &PodSpec) -> Result<Resources, RequestError> {
    let of = |list: &str, container: &Container| match &container.resources {
        Some(given) => limits(&format!("spec.{list}[{}].resources", container.name), given),
        None => Ok(Resources::new()),
    };
    let mut sum = of_containers(spec, of)?;
    if let Some(whole) = &spec.resources {
        sum.extend(limits("spec.resources", whole)?.into_iter().filter(|(name, _)| is_of_pods(name)));
    }
    let mut overhead = overhead(spec)?;
    overhead.retain(|name, _| sum.get(name).is_some_and(|amount| *amount != 0));
    add(&mut sum, &overhead);
    sum.retain(|_, amount| *amount != 0);
    Ok(sum)
}

/// Containers together, or the hungriest moment of the start-up.
fn of_containers(
    spec: &PodSpec,
    of: impl Fn(&str, &Container) -> Result<Resources, RequestError>,
) -> Result<Resources, RequestError> {
    let mut sum = Resources::new();
    for container in &spec.containers {
        add(&mut sum, &of("containers", container)?);
    }
    let mut sidecars = Resources::new();
    let mut start_up = Resources::new();
    for container in spec.init_containers.iter().flatten() {
        let mut amounts = of("initContainers", container)?;
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sum, &amounts);
            add(&mut sidecars, &amounts);
            amounts = sidecars.clone();
        } else {
            add(&mut amounts, &sidecars);
        }
        raise(&mut start_up, &amounts);
    }
    raise(&mut sum, &start_up);
    Ok(sum)
}

/// Whether a resource can be stated for a pod as a whole.
fn is_of_pods(resource: &str) -> bool {
    resource == "cpu" || resource == "memory" || resource.starts_with("hugepages-")
}

/// What the runtime class takes for itself.
fn overhead(spec: &PodSpec) -> Result<Resources, RequestError> {
    let given = spec.overhead.as_ref();
    given
        .map_or_else(|| Ok(Resources::new()), resources)
        .map_err(|problem| RequestError { field: "spec.overhead".to_owned(), problem })
}

fn container_requests(list: &str, container: &Container) -> Result<Resources, RequestError> {
    match &container.resources {
        Some(requirements_of) => requirements(&format!("spec.{list}[{}].resources", container.name), requirements_of),
        None => Ok(Resources::new()),
    }
}

/// Requests, and limits where no request is given.
fn requirements(field: &str, given: &ResourceRequirements) -> Result<Resources, RequestError> {
    let mut requests = limits(field, given)?;
    if let Some(list) = &given.requests {
        let wrong = |problem| RequestError { field: format!("{field}.requests"), problem };
        requests.extend(resources(list).map_err(wrong)?);
    }
    Ok(requests)
}

fn limits(field: &str, given: &ResourceRequirements) -> Result<Resources, RequestError> {
    let wrong = |problem| RequestError { field: format!("{field}.limits"), problem };
    given.limits.as_ref().map_or_else(|| Ok(Resources::new()), resources).map_err(wrong)
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
    fn limits_are_counted_as_requests_are() {
        let limited = |cpu: &str| json!({"name": "c", "resources": {"limits": {"cpu": cpu}}});
        let spec = json!({
            "containers": [limited("1"), container("4"), {"name": "d", "resources": {"limits": {"memory": "1Ki"}}}],
            "initContainers": [limited("3")],
            "overhead": {"cpu": "250m", "ephemeral-storage": "1Ki"},
        });
        let limits = |spec: serde_json::Value| pod_limits(&serde_json::from_value(spec).unwrap()).unwrap();
        assert_eq!(limits(spec.clone()), [("cpu".to_owned(), 3250), ("memory".to_owned(), 1024)].into());
        let mut whole = spec;
        whole["resources"] = json!({"limits": {"cpu": "2", "nvidia.com/gpu": "1"}});
        assert_eq!(limits(whole)["cpu"], 2250);
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
