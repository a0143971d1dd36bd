//! What an `EC2NodeClass` changes about a node: pods, reserved amounts, eviction thresholds, disks.
//! <https://karpenter.sh/docs/concepts/nodeclasses/>

use std::collections::BTreeMap;

use serde_json::Value;

use super::amounts::read;

const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;

/// The settings of one node class; the default is that of a class that says nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    max_pods: Option<i64>,
    pods_per_core: Option<i64>,
    kube_reserved: BTreeMap<String, i64>,
    system_reserved: BTreeMap<String, i64>,
    eviction: BTreeMap<String, String>,
    root_volume: Option<i64>,
    local_disks: bool,
    more_volumes: i64,
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn amounts(kubelet: &Value, field: &str) -> Result<BTreeMap<String, i64>, String> {
    let map = kubelet[field].as_object();
    map.into_iter().flatten().map(|(name, value)| Ok((name.clone(), read(name, &text(value))?))).collect()
}

impl Settings {
    /// Reads the object of a class.
    pub(super) fn new(class: &Value) -> Result<Self, String> {
        let spec = &class["spec"];
        let kubelet = &spec["kubelet"];
        let eviction = kubelet["evictionHard"].as_object();
        let disks = spec["blockDeviceMappings"].as_array().map(Vec::as_slice).unwrap_or_default();
        let root = disks
            .iter()
            .find(|disk| disk["rootVolume"] == Value::Bool(true))
            .or_else(|| disks.iter().find(|disk| disk["deviceName"] == "/dev/xvda"));
        let of_ebs = |disk: &Value| i64::from(!disk["ebs"].is_null());
        let volumes: i64 = disks.iter().map(of_ebs).sum();
        let more_volumes = volumes - root.map_or(0, of_ebs);
        let root = root.map(|disk| &disk["ebs"]["volumeSize"]).filter(|size| !size.is_null());
        Ok(Settings {
            max_pods: kubelet["maxPods"].as_i64(),
            pods_per_core: kubelet["podsPerCore"].as_i64().filter(|most| *most > 0),
            kube_reserved: amounts(kubelet, "kubeReserved")?,
            system_reserved: amounts(kubelet, "systemReserved")?,
            eviction: eviction.into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect(),
            root_volume: root.map(|size| read("ephemeral-storage", &text(size))).transpose()?,
            local_disks: spec["instanceStorePolicy"] == "RAID0",
            more_volumes,
        })
    }

    /// Whether the kubelet's own limit on pods is set.
    pub(super) fn limits_pods(&self) -> bool {
        self.max_pods.is_some() || self.pods_per_core.is_some()
    }

    /// The most pods, of a type with so many virtual CPUs and addresses for so many.
    pub(super) fn pods(&self, vcpu: i64, addresses: i64) -> i64 {
        let most = self.max_pods.unwrap_or(addresses);
        self.pods_per_core.map_or(most, |each| most.min(each * vcpu))
    }

    /// Bytes of disk that pods' ephemeral storage lies on; `local` is what the type's own disks have, in gigabytes.
    pub(super) fn storage(&self, local: Option<i64>) -> i64 {
        match local {
            Some(gigabytes) if self.local_disks => gigabytes * 1_000_000_000,
            _ => self.root_volume.unwrap_or(20 * GIB),
        }
    }

    /// The most EBS volumes of pods on a machine that takes so many beside its root volume: those of the class are taken off,
    /// and the driver reports at least one.
    pub(super) fn volumes(&self, beside_root: i64) -> i64 {
        (beside_root - self.more_volumes).max(1)
    }

    /// What pods can't use of a resource of which there is so much.
    pub(super) fn kept(&self, resource: &str, capacity: i64, vcpu: i64, pods: i64) -> Result<i64, String> {
        let kube = match resource {
            "cpu" => reserved_cpu(vcpu),
            "memory" => (11 * pods + 255) * MIB,
            "ephemeral-storage" => GIB,
            _ => 0,
        };
        let (signal, usual) = match resource {
            "memory" => ("memory.available", 100 * MIB),
            "ephemeral-storage" => ("nodefs.available", (capacity + 9) / 10),
            _ => ("", 0),
        };
        let evicted = match self.eviction.get(signal).map(String::as_str) {
            None => usual,
            Some("100%") => 0,
            Some(threshold) => match threshold.strip_suffix('%') {
                Some(percent) => {
                    let percent: f64 = percent.parse().map_err(|_| format!("{threshold} is not a percentage"))?;
                    (capacity as f64 / 100.0 * percent).ceil() as i64
                }
                None => read(resource, threshold)?,
            },
        };
        let system = self.system_reserved.get(resource).copied().unwrap_or(0);
        Ok(self.kube_reserved.get(resource).copied().unwrap_or(kube) + system + evicted)
    }
}

/// Millicores: 6 % of the first core, 1 % of the second, 0.5 % of the next two, 0.25 % of the rest.
fn reserved_cpu(vcpu: i64) -> i64 {
    let tenths: i64 = (1..=vcpu)
        .map(|core| match core {
            1 => 600,
            2 => 100,
            3 | 4 => 50,
            _ => 25,
        })
        .sum();
    tenths / 10
}
