//! Amounts of resources: what the API server accepts as requests, limits and overhead.
//!
//! <https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/>.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use supercargo_models::kubernetes::quantity;

use super::names::is_label_key;
use super::path::{Checked, Fault, Path};

/// Whose resources are checked: they may name different ones.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A container.
    Container,
    /// A pod as a whole (pod-level resources, KEP-2837).
    Pod,
}

/// Checks that a quantity of a resource is one, can be counted in the resource's unit, and is not below zero.
pub(crate) fn amount(resource: &str, quantity: &Quantity, path: &Path<'_>) -> Result<quantity::Quantity, Fault> {
    let amount = quantity::parse(&quantity.0).map_err(|error| path.fault(error.to_string()))?;
    quantity::parse_units(resource, &quantity.0).map_err(|error| path.fault(error.to_string()))?;
    if amount.milli < 0 {
        return Err(path.fault(format!("{:?} is negative", quantity.0)));
    }
    Ok(amount)
}

/// Checks all amounts of a list.
pub(crate) fn amounts(list: Option<&BTreeMap<String, Quantity>>, path: &Path<'_>) -> Checked {
    for (resource, quantity) in list.into_iter().flatten() {
        amount(resource, quantity, &path.key(resource))?;
    }
    Ok(())
}

/// Whether a resource is neither the kubelet's own nor in Kubernetes' name space: devices and the like, counted in
/// whole ones and never overcommitted.
fn is_extended(resource: &str) -> bool {
    resource.contains('/') && !resource.split('/').next().is_some_and(|domain| domain.ends_with("kubernetes.io"))
}

fn check_name(resource: &str, holder: Holder, path: &Path<'_>) -> Checked {
    let known = match resource {
        "cpu" | "memory" => true,
        "ephemeral-storage" => holder == Holder::Container,
        _ if resource.starts_with("hugepages-") => true,
        _ => holder == Holder::Container && resource.contains('/') && is_label_key(resource),
    };
    if known {
        return Ok(());
    }
    let fault = match holder {
        Holder::Container => path
            .fault(format!("{resource:?} is not a resource that a container can ask for"))
            .with_fix("cpu, memory, ephemeral-storage, hugepages-* or a name with a domain such as nvidia.com/gpu"),
        Holder::Pod => path
            .fault(format!("{resource:?} is not a resource that a pod as a whole can ask for"))
            .with_fix("cpu, memory or hugepages-*"),
    };
    Err(fault)
}

/// Checks requests and limits: names, amounts, and that no request is above its limit.
pub(crate) fn requirements(resources: &ResourceRequirements, holder: Holder, path: &Path<'_>) -> Checked {
    let limits_path = path.key("limits");
    let requests_path = path.key("requests");
    for (resource, quantity) in resources.limits.iter().flatten() {
        let path = limits_path.key(resource);
        check_name(resource, holder, &path)?;
        whole(resource, quantity, amount(resource, quantity, &path)?, &path)?;
    }
    for (resource, quantity) in resources.requests.iter().flatten() {
        let path = requests_path.key(resource);
        check_name(resource, holder, &path)?;
        let request = amount(resource, quantity, &path)?;
        whole(resource, quantity, request, &path)?;
        let exact = is_extended(resource) || resource.starts_with("hugepages-");
        match resources.limits.as_ref().and_then(|limits| limits.get(resource)) {
            Some(limit) => {
                let limit_amount = amount(resource, limit, &limits_path.key(resource))?;
                if request > limit_amount {
                    return path.fail(format!("request {} is above the limit {}", quantity.0, limit.0));
                }
                if exact && request != limit_amount {
                    return path.fail(format!(
                        "request {} is not equal to the limit {}, and {resource} cannot be overcommitted",
                        quantity.0, limit.0
                    ));
                }
            }
            None if exact => {
                return Err(path
                    .fault(format!("{resource} is requested without a limit, and cannot be overcommitted"))
                    .with_fix(format!("set limits to {} as well", quantity.0)));
            }
            None => {}
        }
    }
    Ok(())
}

/// Extended resources come in whole ones.
fn whole(resource: &str, quantity: &Quantity, amount: quantity::Quantity, path: &Path<'_>) -> Checked {
    if is_extended(resource) && amount.milli % 1000 != 0 {
        return path.fail(format!("{:?} is not a whole number", quantity.0));
    }
    Ok(())
}
