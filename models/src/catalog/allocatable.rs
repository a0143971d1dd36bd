//! What a node of an instance type has, and what it offers to pods.
//!
//! The rules are those of Karpenter's instance type reference (<https://karpenter.sh/docs/reference/instance-types/>) for
//! AL2023, each with its integer rounding:
//!
//! - memory: EC2's figure, less 64 MiB on arm64 (contiguous memory that the kernel keeps), less 7.5 % for the machine
//!   monitor and the kernel, that share rounded up to whole MiB; less 11 MiB a pod + 255 MiB for Kubernetes' daemons;
//!   less 100 MiB below which pods are evicted;
//! - cpu: less 6 % of the first CPU, 1 % of the second, 0.5 % of the third and fourth, 0.25 % of all others, each part
//!   rounded down to millicores;
//! - pods: what the network interfaces and their addresses allow (in the catalogue), or what the kubelet is set to;
//! - ephemeral storage: the root volume (20 GiB), less 1 GiB for Kubernetes' daemons, less 10 % below which pods are evicted;
//! - devices: as many as there are; huge pages are cut from the memory.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{CatalogError, InstanceType, KubeletSettings};
use crate::kubernetes::quantity;

const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;
/// Share of the memory that the machine monitor and the kernel keep.
const MEMORY_OVERHEAD: f64 = 0.075;
/// Contiguous memory that Graviton's kernel keeps.
const ARM_RESERVED_MIB: i64 = 64;
/// Root volume of a node whose class says nothing.
const ROOT_VOLUME: i64 = 20 * GIB;
/// From millicore, to millicore, share kept.
const CPU_TIERS: [(i64, i64, f64); 4] =
    [(0, 1000, 0.06), (1000, 2000, 0.01), (2000, 4000, 0.005), (4000, i64::MAX, 0.0025)];

/// What a node has before anything is kept for daemons: what a NodePool's limits count.
///
/// Millicores of `cpu`, bytes of `memory` and `ephemeral-storage`, ones of all others. Memory is what is left after the
/// machine monitor's share, which is what Karpenter counts.
pub fn capacity(instance: &InstanceType) -> BTreeMap<String, i64> {
    capacity_with(instance, &KubeletSettings::default())
}

fn capacity_with(instance: &InstanceType, kubelet: &KubeletSettings) -> BTreeMap<String, i64> {
    let mut capacity: BTreeMap<String, i64> = instance
        .gpus
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| (name.clone(), to_i64(*count)))
        .collect();
    capacity.insert("cpu".to_owned(), i64::from(instance.vcpu) * 1000);
    capacity.insert("memory".to_owned(), memory(instance));
    capacity.insert("ephemeral-storage".to_owned(), ephemeral_storage(instance, kubelet));
    capacity.insert("pods".to_owned(), pods(instance, kubelet));
    capacity
}

/// What a node offers to pods, daemon sets' included, under the settings of its class.
///
/// Millicores of `cpu`, bytes of `memory` and `ephemeral-storage`, ones of all others; never below zero. What the
/// catalogue states as `allocatable` wins, resource by resource; pods are capped by the kubelet's settings in any case.
///
/// # Errors
/// Where a quantity of the catalogue or of the settings can't be read; the error names the field.
pub fn allocatable(instance: &InstanceType, kubelet: &KubeletSettings) -> Result<BTreeMap<String, i64>, CatalogError> {
    let capacity = capacity_with(instance, kubelet);
    let amount = |resource: &str| capacity.get(resource).copied().unwrap_or_default();
    let kept = [
        kube_reserved(instance, amount("pods"), kubelet)?,
        quantities("spec.kubelet.systemReserved", kubelet.system_reserved.as_ref())?,
        eviction(amount("memory"), amount("ephemeral-storage"), kubelet)?,
    ];
    let huge: i64 = capacity.iter().filter(|(name, _)| name.starts_with("hugepages-")).map(|(_, amount)| *amount).sum();
    let mut offered = capacity;
    for (resource, offer) in &mut offered {
        let kept: i64 =
            kept.iter().filter_map(|kept| kept.get(resource)).fold(0, |sum, more| sum.saturating_add(*more));
        *offer = offer.saturating_sub(kept).max(0);
    }
    if let Some(stated) = &instance.allocatable {
        for (resource, value) in stated {
            let mut amount = stated_amount(&instance.name, resource, value)?;
            if resource == "pods" && (kubelet.max_pods.is_some() || kubelet.pods_per_core.is_some()) {
                amount = amount.min(pods(instance, kubelet));
            }
            offered.insert(resource.clone(), amount);
        }
    }
    // Huge pages are cut from the memory.
    offered.entry("memory".to_owned()).and_modify(|memory| *memory = memory.saturating_sub(huge).max(0));
    Ok(offered)
}

fn memory(instance: &InstanceType) -> i64 {
    let arm = if instance.arch == "arm64" { ARM_RESERVED_MIB } else { 0 };
    let bytes = to_i64(instance.memory_mib).saturating_sub(arm).max(0).saturating_mul(MIB);
    let overhead = (bytes as f64 * MEMORY_OVERHEAD / 1024.0 / 1024.0).ceil() as i64 * MIB;
    bytes - overhead
}

fn ephemeral_storage(instance: &InstanceType, kubelet: &KubeletSettings) -> i64 {
    let local = instance.labels.get("karpenter.k8s.aws/instance-local-nvme").and_then(|text| text.parse::<i64>().ok());
    match local {
        // EC2 states local disks in decimal gigabytes.
        Some(gigabytes) if kubelet.instance_store => gigabytes.saturating_mul(1_000_000_000),
        _ => kubelet.root_volume_bytes.unwrap_or(ROOT_VOLUME),
    }
}

fn pods(instance: &InstanceType, kubelet: &KubeletSettings) -> i64 {
    let most = i64::from(kubelet.max_pods.unwrap_or(instance.max_pods));
    match kubelet.pods_per_core {
        Some(per_core) if per_core > 0 => most.min(i64::from(per_core) * i64::from(instance.vcpu)),
        _ => most,
    }
}

/// What is kept for Kubernetes' daemons: computed, unless the settings say otherwise for a resource.
fn kube_reserved(
    instance: &InstanceType,
    pods: i64,
    kubelet: &KubeletSettings,
) -> Result<BTreeMap<String, i64>, CatalogError> {
    let millicores = i64::from(instance.vcpu) * 1000;
    // Each part is cut to whole millicores, as Go's conversion to an integer does.
    let cpu = CPU_TIERS
        .iter()
        .filter(|(start, _, _)| millicores > *start)
        .map(|(start, end, share)| ((millicores.min(*end) - start) as f64 * share) as i64)
        .sum();
    let mut kept = BTreeMap::from([
        ("cpu".to_owned(), cpu),
        ("memory".to_owned(), (11 * pods + 255) * MIB),
        ("ephemeral-storage".to_owned(), GIB),
    ]);
    kept.extend(quantities("spec.kubelet.kubeReserved", kubelet.kube_reserved.as_ref())?);
    Ok(kept)
}

/// What is kept so that the kubelet need not evict pods.
/// <https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#eviction-signals>
fn eviction(memory: i64, storage: i64, kubelet: &KubeletSettings) -> Result<BTreeMap<String, i64>, CatalogError> {
    let threshold = |signal: &str, capacity: i64, default: i64| {
        let setting = kubelet.eviction_hard.as_ref().and_then(|signals| signals.get(signal));
        setting.map_or(Ok(default), |text| signal_amount(signal, text, capacity))
    };
    Ok(BTreeMap::from([
        ("memory".to_owned(), threshold("memory.available", memory, 100 * MIB)?),
        (
            "ephemeral-storage".to_owned(),
            threshold("nodefs.available", storage, (storage as f64 / 100.0 * 10.0).ceil() as i64)?,
        ),
    ]))
}

fn signal_amount(signal: &str, text: &str, capacity: i64) -> Result<i64, CatalogError> {
    let field = format!("spec.kubelet.evictionHard.{signal}");
    let Some(number) = text.strip_suffix('%') else { return amount(&field, "memory", text) };
    let percent = number.parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
    match percent {
        // 100% switches the threshold off: https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/
        Some(100.0) => Ok(0),
        Some(percent) => Ok((capacity as f64 / 100.0 * percent).ceil() as i64),
        None => Err(CatalogError::Percentage { field, found: text.to_owned() }),
    }
}

fn quantities(field: &str, map: Option<&BTreeMap<String, String>>) -> Result<BTreeMap<String, i64>, CatalogError> {
    let entries = map.into_iter().flatten();
    entries.map(|(name, text)| Ok((name.clone(), amount(&format!("{field}.{name}"), name, text)?))).collect()
}

/// An amount kept back, rounded up.
fn amount(field: &str, resource: &str, text: &str) -> Result<i64, CatalogError> {
    let amount = quantity::parse_units(resource, text)
        .map_err(|problem| CatalogError::Quantity { field: field.to_owned(), problem })?;
    if amount < 0 {
        return Err(CatalogError::Negative { field: field.to_owned(), found: text.to_owned() });
    }
    Ok(amount)
}

/// An amount that a catalogue states as allocatable, rounded down.
pub(super) fn stated_amount(instance: &str, resource: &str, value: &Value) -> Result<i64, CatalogError> {
    let field = || format!("instance type {instance}: allocatable.{resource}");
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => {
            let found = other.to_string().chars().take(40).collect();
            return Err(CatalogError::NotAQuantity { field: field(), found });
        }
    };
    let milli = quantity::parse(&text).map_err(|problem| CatalogError::Quantity { field: field(), problem })?.milli;
    if milli < 0 {
        return Err(CatalogError::Negative { field: field(), found: text });
    }
    let amount = if resource == "cpu" { milli } else { milli / 1000 };
    Ok(i64::try_from(amount).unwrap_or(i64::MAX))
}

fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn m5_large() -> InstanceType {
        InstanceType {
            name: "m5.large".to_owned(),
            arch: "amd64".to_owned(),
            vcpu: 2,
            memory_mib: 8192,
            max_pods: 29,
            ..InstanceType::default()
        }
    }

    #[test]
    fn a_node_whose_class_says_nothing() {
        let offered = allocatable(&m5_large(), &KubeletSettings::default()).unwrap();
        assert_eq!(offered["cpu"], 1930);
        assert_eq!(offered["memory"], 6903 * MIB);
        assert_eq!(offered["pods"], 29);
        assert_eq!(offered["ephemeral-storage"], 17 * GIB);
        assert_eq!(offered.len(), 4);
    }

    #[test]
    fn capacity_is_what_is_there_before_daemons() {
        let instance = InstanceType {
            gpus: BTreeMap::from([("nvidia.com/gpu".to_owned(), 8), ("amd.com/gpu".to_owned(), 0)]),
            ..m5_large()
        };
        let capacity = capacity(&instance);
        assert_eq!(capacity["cpu"], 2000);
        assert_eq!(capacity["memory"], (8192 - 615) * MIB);
        assert_eq!(capacity["ephemeral-storage"], 20 * GIB);
        assert_eq!(capacity["nvidia.com/gpu"], 8);
        assert!(!capacity.contains_key("amd.com/gpu"));
    }

    #[test]
    fn more_pods_keep_more_memory() {
        let settings = KubeletSettings { max_pods: Some(110), ..KubeletSettings::default() };
        let offered = allocatable(&m5_large(), &settings).unwrap();
        assert_eq!(offered["pods"], 110);
        assert_eq!(offered["memory"], (8192 - 615 - 11 * 110 - 255 - 100) * MIB);
        let settings = KubeletSettings { max_pods: Some(110), pods_per_core: Some(4), ..KubeletSettings::default() };
        assert_eq!(allocatable(&m5_large(), &settings).unwrap()["pods"], 8);
    }

    #[test]
    fn settings_replace_what_is_computed_and_add_to_it() {
        let text = |key: &str, value: &str| Some(BTreeMap::from([(key.to_owned(), value.to_owned())]));
        let settings = KubeletSettings {
            kube_reserved: text("cpu", "200m"),
            system_reserved: text("memory", "1Gi"),
            eviction_hard: text("memory.available", "10%"),
            ..KubeletSettings::default()
        };
        let offered = allocatable(&m5_large(), &settings).unwrap();
        let memory = (8192 - 615) * MIB;
        assert_eq!(offered["cpu"], 1800);
        let evicted = (memory as f64 / 100.0 * 10.0).ceil() as i64;
        assert_eq!(offered["memory"], memory - (11 * 29 + 255) * MIB - GIB - evicted);
    }

    #[test]
    fn local_disks_hold_ephemeral_storage_where_the_class_says_so() {
        let mut instance = m5_large();
        instance.labels.insert("karpenter.k8s.aws/instance-local-nvme".to_owned(), "75".to_owned());
        let settings = KubeletSettings { instance_store: true, ..KubeletSettings::default() };
        let offered = allocatable(&instance, &settings).unwrap();
        assert_eq!(offered["ephemeral-storage"], 75_000_000_000 - GIB - 7_500_000_000);
        let offered = allocatable(&m5_large(), &settings).unwrap();
        assert_eq!(offered["ephemeral-storage"], 17 * GIB);
    }

    #[test]
    fn what_a_catalogue_states_wins_but_the_kubelet_caps_pods() {
        let stated = BTreeMap::from([
            ("cpu".to_owned(), json!("1.5")),
            ("pods".to_owned(), json!(20)),
            ("example.com/license".to_owned(), json!("3")),
        ]);
        let instance = InstanceType { allocatable: Some(stated), ..m5_large() };
        let offered = allocatable(&instance, &KubeletSettings::default()).unwrap();
        assert_eq!((offered["cpu"], offered["pods"], offered["example.com/license"]), (1500, 20, 3));
        assert_eq!(offered["memory"], 6903 * MIB);
        let settings = |pods| KubeletSettings { max_pods: Some(pods), ..KubeletSettings::default() };
        assert_eq!(allocatable(&instance, &settings(10)).unwrap()["pods"], 10);
        assert_eq!(allocatable(&instance, &settings(200)).unwrap()["pods"], 20);
    }

    #[test]
    fn reservations_above_what_is_there_leave_nothing() {
        let instance = InstanceType { memory_mib: 256, ..m5_large() };
        assert_eq!(allocatable(&instance, &KubeletSettings::default()).unwrap()["memory"], 0);
    }

    #[test]
    fn an_error_names_the_field() {
        let text = |key: &str, value: &str| Some(BTreeMap::from([(key.to_owned(), value.to_owned())]));
        let message = |settings| allocatable(&m5_large(), &settings).unwrap_err().to_string();
        let settings = KubeletSettings { kube_reserved: text("cpu", "lots"), ..KubeletSettings::default() };
        assert!(message(settings).starts_with("spec.kubelet.kubeReserved.cpu: \"lots\" is not a quantity"));
        let settings =
            KubeletSettings { eviction_hard: text("memory.available", "101%"), ..KubeletSettings::default() };
        assert!(message(settings).contains("evictionHard.memory.available: 101% is not a percentage"));
        let settings = KubeletSettings { system_reserved: text("memory", "-1Gi"), ..KubeletSettings::default() };
        assert!(message(settings).contains("systemReserved.memory: -1Gi is negative"));
        let stated = BTreeMap::from([("memory".to_owned(), json!([1]))]);
        let instance = InstanceType { allocatable: Some(stated), ..m5_large() };
        let error = allocatable(&instance, &KubeletSettings::default()).unwrap_err().to_string();
        assert_eq!(
            error,
            "instance type m5.large: allocatable.memory: a quantity is needed (such as \"2Gi\" or 29), not [1]"
        );
    }
}
