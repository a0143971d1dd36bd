//! What can be bought: which offerings a pool allows, and what a node of one gives.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::api::storage::v1::CSINode;

use super::amounts::{Amounts, CPU, MEMORY, PODS, Table, read, read_map};
use super::kubelet::Settings;
use super::matching::{CAPACITY_TYPE, HOSTNAME, INSTANCE_TYPE, Labels, NODE_POOL, OfferingLabels, ZONE, obeys};
use super::open_labels::{Wishes, choices};
use super::volumes::EBS;
use crate::catalog::{Catalog, InstanceType, Offering};
use crate::kubernetes::{NodePool, NodeSelectorRequirementWithMinValues};

const MIB: i64 = 1 << 20;

/// What a node of an instance type has, and what of it pods may use.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    /// `status.capacity`, which pool limits count.
    pub(super) capacity: Amounts,
    /// `status.allocatable`, which pods share.
    pub(super) allocatable: Amounts,
    /// By driver: the most volumes that can be attached; no limit where a driver is missing.
    pub(super) volumes: BTreeMap<String, i64>,
}

impl Kind {
    /// By the documented rules; where the catalogue states an allocatable amount, that one wins.
    ///
    /// Memory: an arm64 machine keeps 64 MiB for itself, 7.5 % are the virtual machine's overhead
    /// (<https://karpenter.sh/docs/reference/settings/>, `vmMemoryOverheadPercent`). Reserved CPU: 6 % of the first
    /// core, 1 % of the second, 0.5 % of the next two, 0.25 % of the rest; reserved memory: 11 MiB a pod and 255 MiB
    /// (<https://github.com/awslabs/amazon-eks-ami>, kubelet setup). Eviction: 100 MiB. The root volume has 20 GiB, of
    /// which 1 GiB is reserved and 10 % kept free. Volumes: what EC2 states, less the root volume
    /// (<https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-limits.html>). The node class may say otherwise (see
    /// [`Settings`]).
    pub(super) fn new(table: &mut Table, instance: &InstanceType, settings: &Settings) -> Result<Self, String> {
        let vcpu = i64::from(instance.vcpu);
        let pods = settings.pods(vcpu, i64::from(instance.max_pods));
        let stated = i64::try_from(instance.memory_mib).map_err(|_| "too much memory".to_owned())?;
        let given = (stated - if instance.arch == "arm64" { 64 } else { 0 }).max(0);
        let local = instance.labels.get("karpenter.k8s.aws/instance-local-nvme").and_then(|text| text.parse().ok());
        let mut capacity = Amounts::default();
        capacity.set(CPU, vcpu * 1000);
        capacity.set(MEMORY, (given - (given * 75 + 999) / 1000) * MIB);
        capacity.set(PODS, pods);
        capacity.set(table.column("ephemeral-storage"), settings.storage(local));
        for (name, count) in &instance.gpus {
            capacity.set(table.column(name), i64::try_from(*count).map_err(|_| format!("too much {name}"))?);
        }
        let mut allocatable = Amounts::default();
        for (column, amount) in capacity.present() {
            let kept = settings.kept(&table.names()[column], amount, vcpu, pods)?;
            allocatable.set(column, (amount - kept).max(0));
        }
        for (name, value) in instance.allocatable.iter().flatten() {
            let text = match value {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let mut amount = read(name, &text)?;
            if name == "pods" && settings.limits_pods() {
                amount = amount.min(pods);
            }
            allocatable.set(table.column(name), amount);
        }
        let mut volumes = BTreeMap::new();
        if let Some(stated) = instance.max_volume_attachments {
            // The driver counts at most 39 devices on a machine of Xen, the root volume among them.
            let xen = instance.labels.get("karpenter.k8s.aws/instance-hypervisor").map(String::as_str) == Some("xen");
            let stated = i64::from(if xen { stated.min(38) } else { stated });
            volumes.insert(EBS.to_owned(), settings.volumes(stated));
        }
        Ok(Kind { capacity, allocatable, volumes })
    }
}

/// A pool, ready to judge by, with one choice of values for the labels of its own that it leaves open: the nodes of a
/// pool that requires `team In (x, y)` bear one of the two, whichever their pods ask for.
#[derive(Clone, Debug)]
pub(super) struct Pool<'a> {
    /// Index of the first entry for the same pool.
    pub(super) first: usize,
    /// Whether it is of static capacity: nothing is bought for pods that wait.
    pub(super) is_static: bool,
    /// Its name.
    pub(super) name: &'a str,
    /// Weight; more is preferred.
    pub(super) weight: i32,
    /// Taints that its nodes keep.
    pub(super) taints: &'a [Taint],
    /// Labels that its nodes get from it.
    pub(super) labels: BTreeMap<String, String>,
    /// What it allows.
    pub(super) requirements: &'a [NodeSelectorRequirementWithMinValues],
    /// Name of the class of its nodes.
    pub(super) class: &'a str,
    /// Limits, by column.
    pub(super) limits: Vec<(usize, i64)>,
    /// The most nodes.
    pub(super) most_nodes: Option<i64>,
}

fn is_well_known(key: &str, catalog: &Catalog) -> bool {
    matches!(
        key,
        ZONE | CAPACITY_TYPE
            | INSTANCE_TYPE
            | HOSTNAME
            | NODE_POOL
            | "kubernetes.io/arch"
            | "kubernetes.io/os"
            | "topology.kubernetes.io/region"
    ) || key.split_once('/').is_some_and(|(domain, _)| {
        matches!(domain, "kubernetes.io" | "karpenter.sh" | "karpenter.k8s.aws") || domain.ends_with(".kubernetes.io")
    }) || catalog.instance_types.iter().any(|instance| instance.labels.contains_key(key))
}

impl<'a> Pool<'a> {
    /// Reads one, once for each choice of its open labels, to stand at `first` and after; the error says what can't be
    /// read.
    pub(super) fn read(
        table: &mut Table,
        pool: &'a NodePool,
        catalog: &Catalog,
        wishes: &Wishes,
        first: usize,
    ) -> Result<Vec<Self>, String> {
        let name = pool.metadata.name.as_deref().unwrap_or_default();
        let template = &pool.spec.template;
        let given = template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
        let mut labels: BTreeMap<String, String> =
            given.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        labels.insert(NODE_POOL.to_owned(), name.to_owned());
        if let Some(class) = &template.spec.node_class_ref {
            let group = if class.group.is_empty() { "karpenter.k8s.aws" } else { &class.group };
            labels.insert(format!("{group}/{}", class.kind.to_lowercase()), class.name.clone());
        }
        let limits = pool.spec.limits.clone().unwrap_or_default();
        let most_nodes = limits.get("nodes").map(|most| read("nodes", &most.0)).transpose()?;
        let amounts = limits.iter().filter(|(name, _)| *name != "nodes");
        let columns = amounts.map(|(name, most)| Ok((table.column(name), read(name, &most.0)?)));
        let columns = columns.collect::<Result<Vec<_>, String>>()?;
        let requirements = &template.spec.requirements;
        let is_open = |key: &str| !labels.contains_key(key) && !is_well_known(key, catalog);
        let choices = choices(name, &labels, requirements, is_open, wishes);
        let one = |labels| Pool {
            first,
            is_static: pool.spec.replicas.is_some(),
            name,
            weight: pool.spec.weight.unwrap_or(0),
            taints: template.spec.taints.as_deref().unwrap_or_default(),
            labels,
            requirements,
            class: template.spec.node_class_ref.as_ref().map_or("", |class| &class.name),
            limits: columns.clone(),
            most_nodes,
        };
        Ok(choices.into_iter().map(one).collect())
    }

    /// The first requirement that the offering does not meet, if any. A requirement on a key that no offering bears
    /// becomes a label of the pool's nodes instead.
    pub(super) fn refuses(
        &self,
        labels: &Labels,
        catalog: &Catalog,
    ) -> Option<&'a NodeSelectorRequirementWithMinValues> {
        self.requirements.iter().find(|requirement| {
            let values = requirement.values.as_deref().unwrap_or_default();
            !obeys(labels.get(&requirement.key), &requirement.operator, values)
                && (labels.get(&requirement.key).is_some() || is_well_known(&requirement.key, catalog))
        })
    }

    /// The labels of its nodes of an offering.
    pub(super) fn node_labels<'b>(
        &'b self,
        catalog: &'b Catalog,
        instance: &'b InstanceType,
        offering: &'b Offering,
        name: &'b str,
    ) -> Labels<'b> {
        Labels {
            name,
            offering: Some(OfferingLabels {
                zone: &offering.zone,
                capacity_type: &offering.capacity_type,
                instance_type: &instance.name,
                arch: &instance.arch,
                region: &catalog.region,
                pool: &self.labels,
            }),
            base: &instance.labels,
        }
    }
}

/// Reads what a node that is there offers and has, and what its volume drivers say.
pub(super) fn existing(table: &mut Table, node: &Node, drivers: &[CSINode]) -> Result<Kind, String> {
    let status = node.status.as_ref();
    let capacity = status.and_then(|status| status.capacity.as_ref());
    let allocatable = status.and_then(|status| status.allocatable.as_ref()).or(capacity);
    let capacity = capacity.or(allocatable);
    let own = drivers.iter().filter(|drivers| drivers.metadata.name == node.metadata.name);
    let stated = own.flat_map(|drivers| &drivers.spec.drivers).filter_map(|driver| {
        let count = driver.allocatable.as_ref()?.count?;
        Some((driver.name.clone(), i64::from(count)))
    });
    Ok(Kind {
        capacity: read_map(table, capacity.into_iter().flatten())?,
        allocatable: read_map(table, allocatable.into_iter().flatten())?,
        volumes: stated.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(vcpu: u32, memory_mib: u64, max_pods: u32, arch: &str) -> InstanceType {
        InstanceType { vcpu, memory_mib, max_pods, arch: arch.to_owned(), ..InstanceType::default() }
    }

    /// Rows of the instance-type reference of Karpenter's documentation (v1.14).
    #[test]
    fn allocatable_is_as_documented() -> Result<(), String> {
        let rows = [
            (2, 8192, 29, "amd64", 1930, 6903),
            (8, 16384, 58, "arm64", 7910, 14103),
            (16, 32768, 234, "arm64", 15890, 27322),
            (2, 4096, 29, "arm64", 1930, 3055),
            (1, 2048, 8, "arm64", 940, 1392),
        ];
        for (vcpu, memory, pods, arch, cpu, mebibytes) in rows {
            let kind = Kind::new(&mut Table::new(), &instance(vcpu, memory, pods, arch), &Settings::default())?;
            assert_eq!((kind.allocatable.get(CPU), kind.allocatable.get(MEMORY) / MIB), (cpu, mebibytes));
        }
        Ok(())
    }

    #[test]
    fn a_stated_allocatable_wins() -> Result<(), String> {
        let mut stated = instance(2, 8192, 29, "amd64");
        stated.allocatable = Some(BTreeMap::from([
            ("cpu".to_owned(), serde_json::Value::from("1.5")),
            ("pods".to_owned(), serde_json::Value::from(7)),
        ]));
        let kind = Kind::new(&mut Table::new(), &stated, &Settings::default())?;
        assert_eq!((kind.allocatable.get(CPU), kind.allocatable.get(PODS)), (1500, 7));
        assert_eq!(kind.allocatable.get(MEMORY) / MIB, 6903);
        Ok(())
    }

    #[test]
    fn a_node_class_changes_pods_and_what_is_kept() -> Result<(), String> {
        let class = serde_json::json!({"spec": {
            "kubelet": {"maxPods": 10, "kubeReserved": {"memory": "1Gi"}, "systemReserved": {"cpu": "100m"},
                "evictionHard": {"memory.available": "5%"}},
            "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"volumeSize": "100Gi"}}]}});
        let mut table = Table::new();
        let kind = Kind::new(&mut table, &instance(2, 8192, 29, "amd64"), &Settings::new(&class)?)?;
        assert_eq!((kind.allocatable.get(CPU), kind.allocatable.get(PODS)), (1830, 10));
        let memory = (8192 - 615) * MIB;
        assert_eq!(kind.allocatable.get(MEMORY), memory - 1024 * MIB - (memory as f64 / 100.0 * 5.0).ceil() as i64);
        let storage = table.column("ephemeral-storage");
        assert_eq!(kind.allocatable.get(storage), (100 - 1 - 10) << 30);
        Ok(())
    }
}
