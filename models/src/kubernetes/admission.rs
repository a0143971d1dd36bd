//! What the API server's admission adds to a pod: priority by class, and the defaults of limit ranges.
//!
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/>,
//! <https://kubernetes.io/docs/concepts/policy/limit-range/>.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, LimitRange, LimitRangeItem, PodSpec, ResourceRequirements};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use thiserror::Error;

use super::quantity::{self, Quantity};

/// Why a pod would not be admitted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AdmissionError {
    /// The pod names a priority class that is not there.
    #[error("there is no PriorityClass {0:?}")]
    NoPriorityClass(String),
    /// A limit range forbids what the pod asks for.
    #[error("{problem} (LimitRange {limit_range})")]
    LimitRange {
        /// Path of the field from the pod's spec, `containers[0].resources.requests.cpu`.
        field: String,
        /// Name of the limit range.
        limit_range: String,
        /// What is wrong.
        problem: String,
    },
}

/// A pod's priority: that of its class, else the number it states, else that of the class that is the default, else 0.
///
/// Of several default classes the one of the lowest value counts, as in the API server. `system-node-critical` and
/// `system-cluster-critical` are always there. Where no class at all is in the input and a pod names one, the class is
/// simply not part of the input: a number beside it counts.
pub fn priority(spec: &PodSpec, classes: &[PriorityClass]) -> Result<i32, AdmissionError> {
    if let Some(name) = spec.priority_class_name.as_deref().filter(|name| !name.is_empty()) {
        let class = classes.iter().find(|class| class.metadata.name.as_deref() == Some(name));
        return match (class, name, spec.priority) {
            (Some(class), _, _) => Ok(class.value.unwrap_or(0)),
            (None, "system-node-critical", _) => Ok(2_000_001_000),
            (None, "system-cluster-critical", _) => Ok(2_000_000_000),
            (None, _, Some(priority)) => Ok(priority),
            (None, _, None) => Err(AdmissionError::NoPriorityClass(name.to_string())),
        };
    }
    if let Some(priority) = spec.priority {
        return Ok(priority);
    }
    let default = classes.iter().filter(|class| class.global_default == Some(true)).filter_map(|class| class.value);
    Ok(default.min().unwrap_or(0))
}

/// Gives every container of a pod the requests and limits that the limit ranges of its namespace have as defaults, and
/// checks minimum, maximum and ratio for containers and for the pod as a whole.
///
/// As the admission plugin `LimitRanger`: a limit that is there stands in for a request that is not, before any
/// default does.
pub fn apply_limit_ranges(spec: &mut PodSpec, limit_ranges: &[&LimitRange]) -> Result<(), AdmissionError> {
    if limit_ranges.is_empty() {
        return Ok(());
    }
    for containers in [spec.init_containers.as_mut(), Some(&mut spec.containers)].into_iter().flatten() {
        for container in containers {
            limits_stand_in(container);
            for item in limit_ranges.iter().flat_map(|range| items(range, "Container")) {
                apply_defaults(container, item);
            }
        }
    }
    for range in limit_ranges {
        let name = range.metadata.name.as_deref().unwrap_or_default();
        for item in items(range, "Container") {
            let lists = [
                ("initContainers", spec.init_containers.as_deref().unwrap_or_default()),
                ("containers", spec.containers.as_slice()),
            ];
            for (field, containers) in lists {
                for (index, container) in containers.iter().enumerate() {
                    let empty = ResourceRequirements::default();
                    let resources = container.resources.as_ref().unwrap_or(&empty);
                    let asked = Asked {
                        requests: read(resources.requests.as_ref()),
                        limits: read(resources.limits.as_ref()),
                        path: format!("{field}[{index}].resources"),
                        whose: "container",
                    };
                    check(&asked, item, name)?;
                }
            }
        }
        for item in items(range, "Pod") {
            check(&whole_pod(spec), item, name)?;
        }
    }
    Ok(())
}

/// Gives every port of a pod in the host's network its host port; the API's own defaulting.
pub fn default_host_ports(spec: &mut PodSpec) {
    if spec.host_network != Some(true) {
        return;
    }
    for containers in [spec.init_containers.as_mut(), Some(&mut spec.containers)].into_iter().flatten() {
        for port in containers.iter_mut().flat_map(|container| container.ports.iter_mut().flatten()) {
            if port.host_port.unwrap_or(0) == 0 {
                port.host_port = Some(port.container_port);
            }
        }
    }
}

fn items<'a>(range: &'a LimitRange, kind: &'a str) -> impl Iterator<Item = &'a LimitRangeItem> {
    range.spec.iter().flat_map(|spec| &spec.limits).filter(move |item| item.type_ == kind)
}

/// A limit without a request is the request too; the API's own defaulting, which precedes admission.
fn limits_stand_in(container: &mut Container) {
    let Some(resources) = &mut container.resources else { return };
    let Some(limits) = &resources.limits else { return };
    let requests = resources.requests.get_or_insert_default();
    for (resource, limit) in limits {
        requests.entry(resource.clone()).or_insert_with(|| limit.clone());
    }
}

fn apply_defaults(container: &mut Container, item: &LimitRangeItem) {
    // The API server derives missing defaults from the maximum, and missing default requests from default and minimum.
    let mut limits = item.default.clone().unwrap_or_default();
    for (resource, maximum) in item.max.iter().flatten() {
        limits.entry(resource.clone()).or_insert_with(|| maximum.clone());
    }
    let mut requests = item.default_request.clone().unwrap_or_default();
    for source in [Some(&limits), item.min.as_ref()].into_iter().flatten() {
        for (resource, amount) in source {
            requests.entry(resource.clone()).or_insert_with(|| amount.clone());
        }
    }
    if limits.is_empty() && requests.is_empty() {
        return;
    }
    let resources = container.resources.get_or_insert_default();
    fill(&mut resources.requests, &requests);
    fill(&mut resources.limits, &limits);
}

fn fill(list: &mut Option<BTreeMap<String, ApiQuantity>>, defaults: &BTreeMap<String, ApiQuantity>) {
    if defaults.is_empty() {
        return;
    }
    let list = list.get_or_insert_default();
    for (resource, amount) in defaults {
        list.entry(resource.clone()).or_insert_with(|| amount.clone());
    }
}

type Amounts = BTreeMap<String, Quantity>;

/// Amounts that are quantities; the others are found by validation.
fn read(list: Option<&BTreeMap<String, ApiQuantity>>) -> Amounts {
    let entries = list.into_iter().flatten();
    entries.filter_map(|(name, amount)| Some((name.clone(), quantity::parse(&amount.0).ok()?))).collect()
}

struct Asked {
    requests: Amounts,
    limits: Amounts,
    path: String,
    whose: &'static str,
}

/// Requests and limits of a pod: the sum over its containers and sidecars, or the largest of its init containers where
/// that is more. A limit counts only where every container has one.
fn whole_pod(spec: &PodSpec) -> Asked {
    let side = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let initial: Vec<&Container> = spec.init_containers.iter().flatten().collect();
    let lasting: Vec<&Container> = spec.containers.iter().chain(initial.iter().copied().filter(side)).collect();
    let total = |pick: &dyn Fn(&ResourceRequirements) -> Option<&BTreeMap<String, ApiQuantity>>| {
        let amounts = |container: &Container| read(container.resources.as_ref().and_then(pick));
        let mut sum = Amounts::new();
        for container in &lasting {
            for (resource, amount) in amounts(container) {
                sum.entry(resource).or_default().milli += amount.milli;
            }
        }
        for container in initial.iter().filter(|container| !side(container)) {
            for (resource, amount) in amounts(container) {
                let sum = sum.entry(resource).or_default();
                *sum = (*sum).max(amount);
            }
        }
        sum
    };
    let requests = total(&|resources| resources.requests.as_ref());
    let mut limits = total(&|resources| resources.limits.as_ref());
    let limited = |container: &&Container, resource: &String| {
        let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
        limits.is_some_and(|limits| limits.contains_key(resource))
    };
    limits.retain(|resource, _| lasting.iter().all(|container| limited(container, resource)));
    Asked { requests, limits, path: "containers".into(), whose: "pod" }
}

fn check(asked: &Asked, item: &LimitRangeItem, limit_range: &str) -> Result<(), AdmissionError> {
    let whose = asked.whose;
    let fail = |list: &str, resource: &str, problem: String| {
        let field = match whose {
            "container" => format!("{}.{list}.{resource}", asked.path),
            _ => asked.path.clone(),
        };
        Err(AdmissionError::LimitRange { field, limit_range: limit_range.to_string(), problem })
    };
    let minimum = read(item.min.as_ref());
    let maximum = read(item.max.as_ref());
    let ratio = read(item.max_limit_request_ratio.as_ref());
    let written = |list: &Option<BTreeMap<String, ApiQuantity>>, resource: &str| {
        list.as_ref().and_then(|list| list.get(resource)).map(|amount| amount.0.clone()).unwrap_or_default()
    };
    let resources: BTreeSet<&String> = minimum.keys().chain(maximum.keys()).chain(ratio.keys()).collect();
    for resource in resources {
        let request = asked.requests.get(resource);
        let limit = asked.limits.get(resource);
        if let Some(minimum) = minimum.get(resource) {
            let text = written(&item.min, resource);
            match request {
                None => {
                    return fail(
                        "requests",
                        resource,
                        format!("the {whose} has to request {resource}, at least {text}"),
                    );
                }
                Some(request) if request < minimum => {
                    return fail("requests", resource, format!("the {whose} requests less {resource} than {text}"));
                }
                _ => {}
            }
            if limit.is_some_and(|limit| limit < minimum) {
                return fail("limits", resource, format!("the {whose}'s limit of {resource} is less than {text}"));
            }
        }
        if let Some(maximum) = maximum.get(resource) {
            let text = written(&item.max, resource);
            match limit {
                None => {
                    return fail("limits", resource, format!("the {whose} has to limit {resource}, at most {text}"));
                }
                Some(limit) if limit > maximum => {
                    return fail("limits", resource, format!("the {whose}'s limit of {resource} is more than {text}"));
                }
                _ => {}
            }
            if request.is_some_and(|request| request > maximum) {
                return fail("requests", resource, format!("the {whose} requests more {resource} than {text}"));
            }
        }
        if let Some(ratio) = ratio.get(resource)
            && let (Some(request), Some(limit)) = (request, limit)
            && limit.milli.saturating_mul(1000) > request.milli.saturating_mul(ratio.milli)
        {
            let text = written(&item.max_limit_request_ratio, resource);
            return fail(
                "limits",
                resource,
                format!("the {whose}'s limit of {resource} is more than {text} times its request"),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn pod(value: Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    fn range(limits: Value) -> LimitRange {
        serde_json::from_value(json!({"metadata": {"name": "defaults"}, "spec": {"limits": limits}})).unwrap()
    }

    fn class(name: &str, value: i32, default: bool) -> PriorityClass {
        serde_json::from_value(json!({"metadata": {"name": name}, "value": value, "globalDefault": default})).unwrap()
    }

    #[test]
    fn priorities() {
        let classes = [class("high", 1000, false), class("usual", 10, true), class("other", 20, true)];
        let of = |value| priority(&pod(value), &classes);
        assert_eq!(of(json!({"containers": [], "priorityClassName": "high", "priority": 5})), Ok(1000));
        assert_eq!(of(json!({"containers": []})), Ok(10));
        assert_eq!(of(json!({"containers": [], "priority": 7})), Ok(7));
        assert_eq!(of(json!({"containers": [], "priorityClassName": "system-node-critical"})), Ok(2_000_001_000));
        assert_eq!(
            of(json!({"containers": [], "priorityClassName": "low"})),
            Err(AdmissionError::NoPriorityClass("low".into()))
        );
        assert_eq!(priority(&pod(json!({"containers": []})), &[]), Ok(0));
    }

    #[test]
    fn defaults_fill_what_is_absent() {
        let range = range(json!([{"type": "Container", "default": {"cpu": "1", "memory": "1Gi"},
            "defaultRequest": {"cpu": "250m"}}]));
        let mut spec = pod(json!({"containers": [{"name": "a"},
            {"name": "b", "resources": {"limits": {"cpu": "2"}}}]}));
        apply_limit_ranges(&mut spec, &[&range]).unwrap();
        let found: Vec<Value> =
            spec.containers.iter().map(|container| serde_json::to_value(&container.resources).unwrap()).collect();
        assert_eq!(
            found,
            [
                json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "250m", "memory": "1Gi"}}),
                json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "2", "memory": "1Gi"}})
            ]
        );
    }

    #[test]
    fn minimum_maximum_and_ratio() {
        let check = |limits: Value, resources: Value| {
            let mut spec = pod(json!({"containers": [{"name": "a", "resources": resources}]}));
            apply_limit_ranges(&mut spec, &[&range(limits)]).map_err(|error| error.to_string())
        };
        let container = |field: &str, amount: &str| json!([{"type": "Container", field: {"cpu": amount}}]);
        assert_eq!(check(container("max", "1"), json!({"limits": {"cpu": "1"}})), Ok(()));
        assert_eq!(
            check(container("max", "1"), json!({"limits": {"cpu": "1500m"}})),
            Err("the container's limit of cpu is more than 1 (LimitRange defaults)".into())
        );
        assert_eq!(
            check(container("min", "500m"), json!({"requests": {"cpu": "100m"}})),
            Err("the container requests less cpu than 500m (LimitRange defaults)".into())
        );
        assert_eq!(
            check(
                json!([{"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}]),
                json!({"requests": {"cpu": "1"}, "limits": {"cpu": "3"}})
            ),
            Err("the container's limit of cpu is more than 2 times its request (LimitRange defaults)".into())
        );
        assert_eq!(
            check(json!([{"type": "Pod", "max": {"memory": "1Gi"}}]), json!({"requests": {"memory": "1Mi"}})),
            Err("the pod has to limit memory, at most 1Gi (LimitRange defaults)".into())
        );
    }
}
