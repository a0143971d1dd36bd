//! Settings of the kubelet and of its disk that change what a node offers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::CatalogError;
use crate::kubernetes::quantity;

/// Settings of `EC2NodeClass.spec` (`kubelet`, `blockDeviceMappings`, `instanceStorePolicy`) that change what a node offers
/// to pods; the default is a class that says nothing. <https://karpenter.sh/docs/concepts/nodeclasses/>
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubeletSettings {
    /// The most pods, instead of what the network interfaces allow.
    pub max_pods: Option<u32>,
    /// The most pods by virtual CPU; 0 is no limit.
    pub pods_per_core: Option<u32>,
    /// By resource: what is kept for Kubernetes' own daemons, instead of the computed amount.
    pub kube_reserved: Option<BTreeMap<String, String>>,
    /// By resource: what is kept for the operating system; nothing where absent.
    pub system_reserved: Option<BTreeMap<String, String>>,
    /// By signal (`memory.available`, `nodefs.available`): a quantity or a percentage below which pods are evicted.
    pub eviction_hard: Option<BTreeMap<String, String>>,
    /// Size of the root volume in bytes; 20 GiB where absent.
    pub root_volume_bytes: Option<i64>,
    /// Volumes that a node has besides its root volume from the start.
    pub extra_volumes: u32,
    /// Whether local disks are joined to one that pods' ephemeral storage lies on (`instanceStorePolicy: RAID0`).
    pub instance_store: bool,
}

impl KubeletSettings {
    /// Reads the settings of an `EC2NodeClass` object as it came.
    ///
    /// # Errors
    /// Where a field that counts here is of another kind than the API says; the error names it.
    pub fn from_node_class(class: &Value) -> Result<Self, CatalogError> {
        let Some(spec) = present(class, "spec") else { return Ok(KubeletSettings::default()) };
        let mut settings = KubeletSettings {
            root_volume_bytes: root_volume(spec)?,
            extra_volumes: extra_volumes(spec)?,
            ..KubeletSettings::default()
        };
        match present(spec, "instanceStorePolicy") {
            None => {}
            Some(Value::String(policy)) if policy == "RAID0" => settings.instance_store = true,
            Some(other) => return Err(wrong("spec.instanceStorePolicy", "RAID0", other)),
        }
        if let Some(kubelet) = present(spec, "kubelet") {
            settings.max_pods = count(kubelet, "maxPods")?;
            settings.pods_per_core = count(kubelet, "podsPerCore")?;
            settings.kube_reserved = texts(kubelet, "kubeReserved")?;
            settings.system_reserved = texts(kubelet, "systemReserved")?;
            settings.eviction_hard = texts(kubelet, "evictionHard")?;
        }
        Ok(settings)
    }
}

fn present<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    object.get(field).filter(|value| !value.is_null())
}

fn wrong(field: &str, needed: &str, found: &Value) -> CatalogError {
    let found = found.to_string().chars().take(60).collect();
    CatalogError::Field { field: field.to_owned(), needed: needed.to_owned(), found }
}

fn count(kubelet: &Value, name: &str) -> Result<Option<u32>, CatalogError> {
    let Some(value) = present(kubelet, name) else { return Ok(None) };
    let read = value.as_u64().and_then(|number| u32::try_from(number).ok());
    read.map(Some).ok_or_else(|| wrong(&format!("spec.kubelet.{name}"), "a whole number from 0 on", value))
}

fn texts(kubelet: &Value, name: &str) -> Result<Option<BTreeMap<String, String>>, CatalogError> {
    let Some(value) = present(kubelet, name) else { return Ok(None) };
    let field = format!("spec.kubelet.{name}");
    let object = value.as_object().ok_or_else(|| wrong(&field, "a map from name to quantity", value))?;
    let mut read = BTreeMap::new();
    for (key, entry) in object {
        let text = match entry {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            other => return Err(wrong(&format!("{field}.{key}"), "a quantity", other)),
        };
        read.insert(key.clone(), text);
    }
    Ok(Some(read))
}

/// The mapping of the root volume: the one marked `rootVolume`, else the one of AL2023's root device.
fn root_mapping(list: &[Value]) -> Option<usize> {
    const ROOT_DEVICE: &str = "/dev/xvda";
    let marked = list.iter().position(|mapping| mapping.get("rootVolume") == Some(&Value::Bool(true)));
    let named =
        || list.iter().position(|mapping| mapping.get("deviceName").and_then(Value::as_str) == Some(ROOT_DEVICE));
    marked.or_else(named)
}

fn mappings(spec: &Value) -> Result<&[Value], CatalogError> {
    let Some(mappings) = present(spec, "blockDeviceMappings") else { return Ok(&[]) };
    let list = mappings.as_array().ok_or_else(|| wrong("spec.blockDeviceMappings", "a list", mappings))?;
    Ok(list)
}

/// EBS volumes of a class besides the root volume.
fn extra_volumes(spec: &Value) -> Result<u32, CatalogError> {
    let list = mappings(spec)?;
    let root = root_mapping(list);
    let extra = list.iter().enumerate().filter(|(index, one)| Some(*index) != root && present(one, "ebs").is_some());
    Ok(u32::try_from(extra.count()).unwrap_or(u32::MAX))
}

/// Size of the root volume.
fn root_volume(spec: &Value) -> Result<Option<i64>, CatalogError> {
    let list = mappings(spec)?;
    let Some(index) = root_mapping(list) else { return Ok(None) };
    let Some(size) = present(&list[index], "ebs").and_then(|ebs| present(ebs, "volumeSize")) else { return Ok(None) };
    let field = format!("spec.blockDeviceMappings[{index}].ebs.volumeSize");
    let text = match size {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => return Err(wrong(&field, "a quantity", other)),
    };
    let bytes = quantity::parse_units("ephemeral-storage", &text)
        .map_err(|problem| CatalogError::Quantity { field: field.clone(), problem })?;
    if bytes < 0 {
        return Err(CatalogError::Negative { field, found: text });
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_class_that_says_nothing_changes_nothing() {
        assert_eq!(KubeletSettings::from_node_class(&json!({})).unwrap(), KubeletSettings::default());
        let class = json!({"spec": {"amiFamily": "AL2023", "kubelet": null}});
        assert_eq!(KubeletSettings::from_node_class(&class).unwrap(), KubeletSettings::default());
    }

    #[test]
    fn settings_are_read_from_a_class() {
        let class = json!({"spec": {
            "kubelet": {"maxPods": 42, "podsPerCore": 2, "kubeReserved": {"cpu": "200m", "memory": 1000},
                        "evictionHard": {"memory.available": "5%"}},
            "blockDeviceMappings": [{"deviceName": "/dev/xvdb", "ebs": {"volumeSize": "500Gi"}},
                                    {"deviceName": "/dev/xvda", "ebs": {"volumeSize": "100Gi"}}],
            "instanceStorePolicy": "RAID0"}});
        let settings = KubeletSettings::from_node_class(&class).unwrap();
        assert_eq!(settings.max_pods, Some(42));
        assert_eq!(settings.pods_per_core, Some(2));
        assert_eq!(settings.kube_reserved.unwrap()["memory"], "1000");
        assert_eq!(settings.eviction_hard.unwrap()["memory.available"], "5%");
        assert_eq!((settings.root_volume_bytes, settings.extra_volumes), (Some(100 << 30), 1));
        assert!(settings.instance_store);
    }

    #[test]
    fn the_mapping_marked_root_wins() {
        let class = json!({"spec": {"blockDeviceMappings": [
            {"deviceName": "/dev/xvda", "ebs": {"volumeSize": "30Gi"}},
            {"deviceName": "/dev/sda1", "rootVolume": true, "ebs": {"volumeSize": "70Gi"}}]}});
        assert_eq!(KubeletSettings::from_node_class(&class).unwrap().root_volume_bytes, Some(70 << 30));
    }

    #[test]
    fn an_error_names_the_field() {
        let message = |spec: Value| KubeletSettings::from_node_class(&json!({"spec": spec})).unwrap_err().to_string();
        assert_eq!(
            message(json!({"kubelet": {"maxPods": -1}})),
            "spec.kubelet.maxPods: a whole number from 0 on is needed, not -1"
        );
        assert!(message(json!({"kubelet": {"kubeReserved": []}})).starts_with("spec.kubelet.kubeReserved: "));
        assert!(message(json!({"instanceStorePolicy": "RAID1"})).starts_with("spec.instanceStorePolicy: RAID0"));
        let mappings = json!({"blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"volumeSize": "-1Gi"}}]});
        assert_eq!(message(mappings), "spec.blockDeviceMappings[0].ebs.volumeSize: -1Gi is negative");
    }
}
