//! What can be bought: which offerings a pool allows, and what a node of one gives.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Taint;

use super::amounts::{Amounts, CPU, MEMORY, PODS, Table, read, read_map};
use super::matching::{CAPACITY_TYPE, HOSTNAME, INSTANCE_TYPE, Labels, NODE_POOL, OfferingLabels, ZONE, obeys};
use crate::catalog::{Catalog, InstanceType, Offering};
use crate::kubernetes::{NodePool, NodeSelectorRequirementWithMinValues};

const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;

/// What a node of an instance type has, and what of it pods may use.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    /// `status.capacity`, which pool limits count.
    pub(super) capacity: Amounts,
    /// `status.allocatable`, which pods share.
    pub(super) allocatable: Amounts,
}

impl Kind {
    /// By the documented rules; where the catalogue states an allocatable amount, that one wins.
    ///
    /// Memory: Graviton keeps 64 MiB for itself, 7.5 % are the virtual machine's overhead
    /// (<https://karpenter.sh/docs/reference/settings/>, `vmMemoryOverheadPercent`). Reserved CPU: 6 % of the first
    /// core, 1 % of the second, 0.5 % of the next two, 0.25 % of the rest; reserved memory: 11 MiB a pod and 255 MiB
    /// (<https://github.com/awslabs/amazon-eks-ami>, kubelet setup). Eviction: 100 MiB. The root volume has 20 GiB, of
    /// which 1 GiB is reserved and 10 % kept free.
    pub(super) fn new(table: &mut Table, instance: &InstanceType) -> Result<Self, String> {
        let pods = i64::from(instance.max_pods);
        let graviton = instance.labels.get("karpenter.k8s.aws/instance-cpu-manufacturer").is_some_and(|by| by == "aws");
        let stated = i64::try_from(instance.memory_mib).map_err(|_| "too much memory".to_owned())?;
        let given = stated - if graviton { 64 } else { 0 };
        let memory = given - (given * 75 + 999) / 1000;
        let storage = table.column("ephemeral-storage");
        let mut capacity = Amounts::default();
        capacity.set(CPU, i64::from(instance.vcpu) * 1000);
        capacity.set(MEMORY, memory * MIB);
        capacity.set(PODS, pods);
        capacity.set(storage, 20 * GIB);
        for (name, count) in &instance.gpus {
            capacity.set(table.column(name), i64::try_from(*count).map_err(|_| format!("too much {name}"))?);
        }
        let tenths_of_millicore: i64 = (1..=i64::from(instance.vcpu))
            .map(|core| match core {
                1 => 600,
                2 => 100,
                3 | 4 => 50,
                _ => 25,
            })
            .sum();
        let mut allocatable = capacity.clone();
        allocatable.set(CPU, capacity.get(CPU) - tenths_of_millicore / 10);
        allocatable.set(MEMORY, (memory - (11 * pods + 255) - 100).max(0) * MIB);
        allocatable.set(storage, 20 * GIB - GIB - 2 * GIB);
        for (name, value) in instance.allocatable.iter().flatten() {
            let text = match value {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            allocatable.set(table.column(name), read(name, &text)?);
        }
        Ok(Kind { capacity, allocatable })
    }
}

/// A pool, ready to judge by.
#[derive(Clone, Debug)]
pub(super) struct Pool<'a> {
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
    ) || key.starts_with("karpenter.k8s.aws/")
        || catalog.instance_types.iter().any(|instance| instance.labels.contains_key(key))
}

impl<'a> Pool<'a> {
    /// Reads one; the error says what can't be read.
    pub(super) fn new(table: &mut Table, pool: &'a NodePool, catalog: &Catalog) -> Result<Self, String> {
        let name = pool.metadata.name.as_deref().unwrap_or_default();
        let template = &pool.spec.template;
        let mut labels = BTreeMap::new();
        for requirement in &template.spec.requirements {
            if let ("In", Some([value])) = (requirement.operator.as_str(), requirement.values.as_deref())
                && !is_well_known(&requirement.key, catalog)
            {
                labels.insert(requirement.key.clone(), value.clone());
            }
        }
        let given = template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
        labels.extend(given.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
        labels.insert(NODE_POOL.to_owned(), name.to_owned());
        let limits = pool.spec.limits.clone().unwrap_or_default();
        let most_nodes = limits.get("nodes").map(|most| read("nodes", &most.0)).transpose()?;
        let amounts = limits.iter().filter(|(name, _)| *name != "nodes");
        let columns = amounts.map(|(name, most)| Ok((table.column(name), read(name, &most.0)?)));
        Ok(Pool {
            name,
            weight: pool.spec.weight.unwrap_or(0),
            taints: template.spec.taints.as_deref().unwrap_or_default(),
            labels,
            requirements: &template.spec.requirements,
            limits: columns.collect::<Result<_, String>>()?,
            most_nodes,
        })
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

/// Reads what a node that is there offers and has.
pub(super) fn existing(table: &mut Table, node: &k8s_openapi::api::core::v1::Node) -> Result<Kind, String> {
    let status = node.status.as_ref();
    let capacity = status.and_then(|status| status.capacity.as_ref());
    let allocatable = status.and_then(|status| status.allocatable.as_ref()).or(capacity);
    let capacity = capacity.or(allocatable);
    Ok(Kind {
        capacity: read_map(table, capacity.into_iter().flatten())?,
        allocatable: read_map(table, allocatable.into_iter().flatten())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(vcpu: u32, memory_mib: u64, max_pods: u32, by: &str) -> InstanceType {
        let labels = BTreeMap::from([("karpenter.k8s.aws/instance-cpu-manufacturer".to_owned(), by.to_owned())]);
        InstanceType { vcpu, memory_mib, max_pods, labels, ..InstanceType::default() }
    }

    /// Rows of the instance-type reference of Karpenter's documentation (v1.14).
    #[test]
    fn allocatable_is_as_documented() -> Result<(), String> {
        let rows = [
            (2, 8192, 29, "intel", 1930, 6903),
            (8, 16384, 58, "aws", 7910, 14103),
            (16, 32768, 234, "aws", 15890, 27322),
            (2, 4096, 29, "aws", 1930, 3055),
            (1, 2048, 8, "aws", 940, 1392),
        ];
        for (vcpu, memory, pods, by, cpu, mebibytes) in rows {
            let kind = Kind::new(&mut Table::new(), &instance(vcpu, memory, pods, by))?;
            assert_eq!((kind.allocatable.get(CPU), kind.allocatable.get(MEMORY) / MIB), (cpu, mebibytes));
        }
        Ok(())
    }

    #[test]
    fn a_stated_allocatable_wins() -> Result<(), String> {
        let mut stated = instance(2, 8192, 29, "intel");
        stated.allocatable = Some(BTreeMap::from([
            ("cpu".to_owned(), serde_json::Value::from("1.5")),
            ("pods".to_owned(), serde_json::Value::from(7)),
        ]));
        let kind = Kind::new(&mut Table::new(), &stated)?;
        assert_eq!((kind.allocatable.get(CPU), kind.allocatable.get(PODS)), (1500, 7));
        assert_eq!(kind.allocatable.get(MEMORY) / MIB, 6903);
        Ok(())
    }
}
