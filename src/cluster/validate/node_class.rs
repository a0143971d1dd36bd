//! Node classes: the settings of the kubelet, which change what a node offers.
//!
//! <https://karpenter.sh/docs/concepts/nodeclasses/#speckubelet>.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;
use serde_json::Value;

use super::path::{Checked, Path};
use super::resources::amounts;
use crate::cluster::typed::from_value;

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

/// Checks the kubelet settings of a node class.
pub(crate) fn node_class(class: &Value) -> Checked {
    let root = Path::ROOT;
    let spec = root.key("spec");
    let path = spec.key("kubelet");
    let kubelet = match class.pointer("/spec/kubelet") {
        None | Some(Value::Null) => return Ok(()),
        Some(settings) => settings.clone(),
    };
    let (kubelet, unknown) = from_value::<Option<Kubelet>>(kubelet).map_err(|misfit| {
        let mut fault = path.fault(misfit.problem);
        fault.field = format!("{}.{}", fault.field, misfit.path).trim_end_matches('.').to_string();
        fault
    })?;
    let Some(kubelet) = kubelet else { return Ok(()) };
    if let Some(field) = unknown.first() {
        let fault = path.key(&field.path).fault("is not a known field");
        return Err(match field.nearest {
            Some(nearest) => fault.with_fix(format!("did you mean {nearest}?")),
            None => fault,
        });
    }
    for (field, count) in [("maxPods", kubelet.max_pods), ("podsPerCore", kubelet.pods_per_core)] {
        if count.is_some_and(|count| count > i32::MAX as u32) {
            return path.key(field).fail("is too large");
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
                Some(_) => return path.fail(format!("{threshold:?} is not a percentage up to 100%")),
                None => {
                    super::resources::amount(&Quantity(threshold.clone()), &path)?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn fault(kubelet: Value) -> String {
        let fault = node_class(&json!({"spec": {"kubelet": kubelet}})).unwrap_err();
        format!("{}: {}", fault.field, fault.problem)
    }

    #[test]
    fn kubelet_settings_are_checked() {
        let good = json!({"maxPods": 20, "kubeReserved": {"cpu": "100m"}, "evictionHard": {"memory.available": "5%"}});
        assert_eq!(node_class(&json!({"spec": {"kubelet": good}})), Ok(()));
        assert_eq!(node_class(&json!({"spec": {}})), Ok(()));
        assert_eq!(fault(json!({"maxpods": 20})), "spec.kubelet.maxpods: is not a known field");
        assert!(fault(json!({"maxPods": -1})).starts_with("spec.kubelet.maxPods: invalid value"));
        assert_eq!(
            fault(json!({"evictionHard": {"memory.available": "105%"}})),
            "spec.kubelet.evictionHard[\"memory.available\"]: \"105%\" is not a percentage up to 100%"
        );
        assert!(fault(json!({"kubeReserved": {"cpu": "x"}})).starts_with("spec.kubelet.kubeReserved.cpu: \"x\""));
    }
}
