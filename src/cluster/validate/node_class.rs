//! Node classes: the settings of kubelet and disks, which change what a node offers.
//!
//! <https://karpenter.sh/docs/concepts/nodeclasses/#speckubelet>.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;
use serde_json::{Map, Value};
use supercargo_models::catalog::{CatalogError, KubeletSettings};

use super::path::{Fault, Path};
use super::resources::{amount, amounts};
use crate::cluster::typed::{Misfit, UnknownField, from_value};

/// The kubelet settings of `karpenter.k8s.aws/v1`; those that say nothing of capacity are not looked into.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kubelet {
    max_pods: Option<u32>,
    pods_per_core: Option<u32>,
    system_reserved: Option<BTreeMap<String, Quantity>>,
    kube_reserved: Option<BTreeMap<String, Quantity>>,
    eviction_hard: Option<BTreeMap<String, String>>,
    eviction_soft: Option<BTreeMap<String, String>>,
    #[serde(rename = "clusterDNS")]
    _cluster_dns: Option<Vec<String>>,
    #[serde(rename = "evictionSoftGracePeriod")]
    _eviction_soft_grace_period: Option<BTreeMap<String, String>>,
    #[serde(rename = "evictionMaxPodGracePeriod")]
    _eviction_max_pod_grace_period: Option<i64>,
    #[serde(rename = "imageGCHighThresholdPercent")]
    _image_gc_high_threshold_percent: Option<i64>,
    #[serde(rename = "imageGCLowThresholdPercent")]
    _image_gc_low_threshold_percent: Option<i64>,
    #[serde(rename = "cpuCFSQuota")]
    _cpu_cfs_quota: Option<bool>,
}

/// A class with empty lists in place of those that every class needs: a plan asks neither for images nor for networks, so
/// that files may leave them out.
pub(crate) fn complete_node_class(mut class: Value) -> Value {
    let Value::Object(map) = &mut class else { return class };
    if let Value::Object(spec) = map.entry("spec").or_insert_with(|| Value::Object(Map::new())) {
        for field in ["amiSelectorTerms", "subnetSelectorTerms", "securityGroupSelectorTerms"] {
            spec.entry(field).or_insert_with(|| Value::Array(Vec::new()));
        }
    }
    class
}

/// Checks what says how much a node of a class offers: kubelet settings and disks. Gives the settings that are not known.
pub(crate) fn node_class(class: &Value) -> Result<Vec<UnknownField>, Fault> {
    let root = Path::ROOT;
    let spec = root.key("spec");
    let path = spec.key("kubelet");
    let kubelet = class.pointer("/spec/kubelet").cloned().unwrap_or(Value::Null);
    let prefixed = |field: &str| format!("{path}.{field}").trim_end_matches('.').to_string();
    let (kubelet, mut unknown) = from_value::<Option<Kubelet>>(kubelet)
        .map_err(|misfit| Fault::from(Misfit { path: prefixed(&misfit.path), ..misfit }))?;
    unknown.iter_mut().for_each(|field| field.path = prefixed(&field.path));
    KubeletSettings::from_node_class(class).map_err(in_place)?;
    let Some(kubelet) = kubelet else { return Ok(unknown) };
    for (field, count) in [("maxPods", kubelet.max_pods), ("podsPerCore", kubelet.pods_per_core)] {
        if count.is_some_and(|count| count > i32::MAX as u32) {
            return Err(path.key(field).fault("is too large"));
        }
    }
    amounts(kubelet.system_reserved.as_ref(), &path.key("systemReserved"))?;
    amounts(kubelet.kube_reserved.as_ref(), &path.key("kubeReserved"))?;
    for (field, thresholds) in [("evictionHard", kubelet.eviction_hard), ("evictionSoft", kubelet.eviction_soft)] {
        let path = path.key(field);
        for (signal, threshold) in thresholds.iter().flatten() {
            let path = path.key(signal);
            match threshold.strip_suffix('%') {
                Some(percent) if percent.parse::<f64>().is_ok_and(|percent| (0.0..=100.0).contains(&percent)) => {}
                Some(_) => return Err(path.fault(format!("{threshold:?} is not a percentage up to 100%"))),
                None => {
                    let resource = if signal.starts_with("memory.") { "memory" } else { "ephemeral-storage" };
                    amount(resource, &Quantity(threshold.clone()), &path)?;
                }
            }
        }
    }
    Ok(unknown)
}

/// An error of the settings that count, which begins with its field.
fn in_place(error: CatalogError) -> Fault {
    let text = error.to_string();
    let (field, problem) = text.split_once(": ").unwrap_or(("spec", &text));
    Fault { field: field.to_owned(), problem: problem.to_owned(), fix: None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn fault(kubelet: Value) -> String {
        let fault = match node_class(&json!({"spec": {"kubelet": kubelet}})) {
            Ok(mut unknown) => Fault::from(unknown.remove(0)),
            Err(fault) => fault,
        };
        format!("{}: {}", fault.field, fault.problem)
    }

    #[test]
    fn kubelet_settings_are_checked() {
        let good = json!({"maxPods": 20, "kubeReserved": {"cpu": "100m"}, "evictionHard": {"memory.available": "5%"}});
        assert_eq!(node_class(&json!({"spec": {"kubelet": good}})), Ok(Vec::new()));
        assert_eq!(node_class(&json!({"spec": {}})), Ok(Vec::new()));
        assert_eq!(fault(json!({"maxpods": 20})), "spec.kubelet.maxpods: is not a known field");
        assert!(fault(json!({"maxPods": -1})).starts_with("spec.kubelet.maxPods: is integer -1"));
        assert_eq!(
            fault(json!({"evictionHard": {"memory.available": "105%"}})),
            "spec.kubelet.evictionHard[\"memory.available\"]: \"105%\" is not a percentage up to 100%"
        );
        assert!(fault(json!({"kubeReserved": {"cpu": "x"}})).starts_with("spec.kubelet.kubeReserved.cpu: \"x\""));
        assert_eq!(
            fault(json!({"systemReserved": {"cpu": "1e18"}})),
            "spec.kubelet.systemReserved.cpu: quantity \"1e18\" is too large"
        );
    }
}
