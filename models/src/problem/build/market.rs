//! What can be bought: every offering of every pool, its labels, and what it offers pods after its daemons.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fixedbitset::FixedBitSet;
use indexmap::IndexSet;
use k8s_openapi::api::core::v1::Taint;

use super::attachments::Attachments;
use super::forms::Form;
use super::overlays::{OverlayFault, Overlays, with_devices};
use super::reading::Reading;
use super::{BuildError, Options, pools};
use crate::catalog::{Catalog, InstanceType, KubeletSettings, allocatable, capacity, volume_limit};
use crate::kubernetes::quantity::{Resources, add};
use crate::kubernetes::requirements::{Operator, Requirement, current_key};
use crate::kubernetes::taints::{unloved, untolerated};
use crate::kubernetes::volumes::{ATTACHABLE, EBS};
use crate::kubernetes::{NodeClassReference, NodeSelectorRequirementWithMinValues, Snapshot};

/// Label of the zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Label of the capacity type.
pub const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";
/// Label of the pool.
pub const NODE_POOL: &str = "karpenter.sh/nodepool";
/// Label of the node's own name.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
const REGION: &str = "topology.kubernetes.io/region";
/// Label of the instance type.
pub(crate) const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";

/// A pool with one choice of values for the labels that it leaves open.
#[derive(Debug)]
pub(crate) struct Variant {
    /// Index into the snapshot's pools.
    pub pool: usize,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Those of them that the pool leaves open, with the value chosen here.
    pub chosen: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    pub weight: i32,
    pub requirements: Vec<Requirement>,
    /// Labels of which the offerings that could hold a node's pods must have at least so many values (`minValues`).
    pub least_values: Vec<(String, u32)>,
    pub kubelet: KubeletSettings,
}

/// An offering of a variant; a row of the table that [`crate::problem::BinSource::Offering`] points into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    pub variant: u32,
    pub instance: u32,
    pub offering: u32,
    /// Index into [`Market::kinds`].
    pub kind: u32,
    /// Index into [`Market::classes`].
    pub class: u32,
    /// Billionths of a dollar an hour.
    pub price: i64,
}

/// An instance type in a variant with a set of daemons.
#[derive(Debug)]
pub(crate) struct Kind {
    pub allocatable: Resources,
    pub daemons: Resources,
    /// What a pool's limits count.
    pub capacity: Resources,
    /// What is left for pods, by column of the problem; negative where the daemons alone are too much.
    pub room: Vec<i64>,
}

/// What offerings have in common for all pods.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Class {
    pub variant: usize,
    /// Label requirements that hold.
    pub labels: FixedBitSet,
    /// Admissions that it grants.
    pub admits: FixedBitSet,
}

/// All that can be bought.
#[derive(Debug, Default)]
pub(crate) struct Market {
    pub variants: Vec<Variant>,
    pub hosts: Vec<Host>,
    pub kinds: Vec<Kind>,
    pub classes: IndexSet<Class>,
    /// By variant: toleration lists that its taints let in.
    pub tolerated: Vec<FixedBitSet>,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl Market {
    /// A label of an offering's nodes.
    pub fn label<'a>(&'a self, catalog: &'a Catalog, host: &Host, key: &str) -> Option<&'a str> {
        let instance = &catalog.instance_types[host.instance as usize];
        label(catalog, &self.variants[host.variant as usize].labels, instance, Some(host.offering as usize), key)
    }

    /// Whether an offering admits a form and holds one unit of it.
    pub fn holds(&self, host: &Host, form: &Form) -> bool {
        let admits = &self.classes[host.class as usize].admits;
        form.admissions.iter().all(|one| admits.contains(*one))
            && form.demand.iter().zip(&self.kinds[host.kind as usize].room).all(|(need, room)| need <= room)
    }
}

/// Dollars an hour to billionths.
pub(crate) fn billionths(dollars: f64) -> i64 {
    (dollars * 1e9).round() as i64
}

/// Whether a label comes from the cloud or Kubernetes, so that a pool's requirement on it selects and doesn't set.
fn is_known(key: &str, catalog_keys: &BTreeSet<&str>) -> bool {
    let prefix = key.split_once('/').map(|(prefix, _)| prefix).unwrap_or_default();
    if prefix == "node-restriction.kubernetes.io" || prefix.ends_with(".node-restriction.kubernetes.io") {
        return false; // the part of Kubernetes' domain that is the user's own
    }
    catalog_keys.contains(key)
        || prefix == "kubernetes.io"
        || prefix.ends_with(".kubernetes.io")
        || prefix == "karpenter.sh"
        || prefix.ends_with("k8s.aws")
}

/// A label of an offering, in a pool that gives its nodes these.
pub(crate) fn label<'a>(
    catalog: &'a Catalog,
    of_pool: &'a BTreeMap<String, String>,
    instance: &'a InstanceType,
    offering: Option<usize>,
    key: &str,
) -> Option<&'a str> {
    match key {
        ZONE => offering.map(|index| instance.offerings[index].zone.as_str()),
        CAPACITY_TYPE => offering.map(|index| instance.offerings[index].capacity_type.as_str()),
        INSTANCE_TYPE => Some(&instance.name),
        REGION => Some(&catalog.region),
        _ => of_pool.get(key).or_else(|| instance.labels.get(key)).map(String::as_str).or(match key {
            "kubernetes.io/arch" => Some(&instance.arch),
            "kubernetes.io/os" => Some("linux"),
            "karpenter.sh/registered" | "karpenter.sh/initialized" => Some("true"),
            _ => None,
        }),
    }
}

pub(crate) fn of_offering(requirement: &Requirement) -> bool {
    requirement.key == ZONE || requirement.key == CAPACITY_TYPE
}

/// The variants of all pools that buy for pods: a pool that leaves a label of its own open has one for each value.
fn variants(
    snapshot: &Snapshot,
    catalog: &Catalog,
    options: &Options,
    reading: &Reading,
) -> Result<Vec<Variant>, BuildError> {
    let catalog_keys: BTreeSet<&str> =
        catalog.instance_types.iter().flat_map(|instance| instance.labels.keys()).map(String::as_str).collect();
    let mut all = Vec::new();
    for (index, pool) in snapshot.node_pools.iter().enumerate() {
        if pool.spec.replicas.is_some() {
            continue;
        }
        let name = pool.metadata.name.clone().unwrap_or_default();
        let spec = &pool.spec.template.spec;
        let mut labels = pool.spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
        labels.insert(NODE_POOL.to_owned(), name.clone());
        if let Some(class) = &spec.node_class_ref {
            let group = if class.group.is_empty() { "karpenter.k8s.aws" } else { &class.group };
            labels.insert(format!("{group}/{}", class.kind.to_lowercase()), class.name.clone());
        }
        let mut requirements = Vec::new();
        let mut open: BTreeMap<String, Vec<Requirement>> = BTreeMap::new();
        for read in pools::requirements(pool)? {
            if is_known(&read.key, &catalog_keys) || labels.contains_key(&read.key) {
                requirements.push(read);
            } else {
                open.entry(read.key.clone()).or_default().push(read);
            }
        }
        let mut choices = vec![labels];
        for (key, limits) in &open {
            let values = open_values(key, limits, reading);
            if !values.is_empty() {
                choices = choices
                    .iter()
                    .flat_map(|labels| {
                        values.iter().map(move |value| {
                            let mut labels = labels.clone();
                            labels.insert(key.clone(), value.clone());
                            labels
                        })
                    })
                    .take(256)
                    .collect();
            }
        }
        let kubelet = kubelet(snapshot, spec.node_class_ref.as_ref())?;
        let least = |one: &NodeSelectorRequirementWithMinValues| one.min_values.filter(|least| *least > 0);
        let least_values: Vec<(String, u32)> =
            spec.requirements.iter().filter_map(|one| Some((current_key(&one.key).to_owned(), least(one)?))).collect();
        for labels in choices {
            let chosen =
                |(key, value): (&String, &String)| open.contains_key(key).then(|| (key.clone(), value.clone()));
            all.push(Variant {
                pool: index,
                name: name.clone(),
                chosen: labels.iter().filter_map(chosen).collect(),
                labels,
                taints: spec.taints.clone().unwrap_or_default(),
                weight: if options.ignore_weights { 0 } else { pool.spec.weight.unwrap_or(0) },
                requirements: requirements.clone(),
                least_values: least_values.clone(),
                kubelet: kubelet.clone(),
            });
        }
    }
    Ok(all)
}

/// Values that a node may be given for a label that its pool leaves open: those that pods ask for, or the first.
fn open_values(key: &str, limits: &[Requirement], reading: &Reading) -> BTreeSet<String> {
    let listed: Vec<&String> =
        limits.iter().filter(|one| one.operator == Operator::In).flat_map(|one| &one.values).collect();
    let asked = reading.labels.iter().flat_map(|labels| labels.iter()).filter(|one| one.key == key);
    let asked: BTreeSet<&String> = asked.flat_map(|one| &one.values).collect();
    let allowed = |value: &str| limits.iter().all(|one| one.matches(Some(value)));
    let mut values: BTreeSet<String> = asked.into_iter().filter(|value| allowed(value)).cloned().collect();
    if let Some(first) = listed.into_iter().filter(|value| allowed(value)).find(|value| !values.contains(*value)) {
        // One that nobody asks for, so that those who avoid all the others find a node too.
        values.insert(first.clone());
    }
    values
}

/// Kubelet settings of a class; one that is not there says nothing.
pub(crate) fn kubelet(
    snapshot: &Snapshot,
    reference: Option<&NodeClassReference>,
) -> Result<KubeletSettings, BuildError> {
    let Some(reference) = reference else { return Ok(KubeletSettings::default()) };
    let class = snapshot.node_classes.iter().find(|class| {
        class.pointer("/metadata/name").and_then(serde_json::Value::as_str) == Some(reference.name.as_str())
    });
    match class {
        None => Ok(KubeletSettings::default()),
        Some(class) => KubeletSettings::from_node_class(class)
            .map_err(|error| BuildError::new(&format!("EC2NodeClass {}", reference.name), error)),
    }
}

/// Lists all offerings that the pools allow.
pub(crate) fn market(
    snapshot: &Snapshot,
    catalog: &Catalog,
    options: &Options,
    reading: &mut Reading,
    attachments: &Attachments,
    columns: &[String],
) -> Result<Market, BuildError> {
    let variants = variants(snapshot, catalog, options, reading)?;
    variants.iter().for_each(|variant| reading.note_taints(&variant.taints));
    let overlays = Overlays::new(&snapshot.node_overlays, &snapshot.node_pools, catalog);
    let mut market = Market::default();
    for (_, fault) in &overlays.faults {
        match fault {
            OverlayFault::Invalid(error) => return Err(error.clone()),
            OverlayFault::Conflict(words) => market.notes.push(words.clone()),
        }
    }
    let allowed = |capacity_type: &str| {
        options.capacity_types.as_ref().is_none_or(|types| types.iter().any(|one| one == capacity_type))
    };
    let moving: Vec<usize> =
        (0..reading.labels.len()).filter(|index| reading.labels[*index].iter().any(of_offering)).collect();
    let still: Vec<usize> = (0..reading.labels.len()).filter(|index| !moving.contains(index)).collect();
    for (variant_index, variant) in variants.iter().enumerate() {
        let tolerated: FixedBitSet = (0..reading.tolerations.len())
            .filter(|index| untolerated(&variant.taints, &reading.tolerations[*index]).is_none())
            .collect();
        let loved: FixedBitSet = (0..reading.tolerations.len())
            .filter(|index| unloved(&variant.taints, &reading.tolerations[*index]).is_none())
            .collect();
        let (by_offering, by_type): (Vec<_>, Vec<_>) = variant.requirements.iter().partition(|one| of_offering(one));
        let mut known_classes: HashMap<FixedBitSet, (u32, FixedBitSet)> = HashMap::new();
        for (instance_index, instance) in catalog.instance_types.iter().enumerate() {
            let of_type = |key: &str| label(catalog, &variant.labels, instance, None, key);
            if !by_type.iter().all(|one| one.matches(of_type(&one.key))) {
                continue;
            }
            let mut base = FixedBitSet::with_capacity(reading.labels.len());
            let mut based = false;
            let mut kinds: Vec<(FixedBitSet, u32)> = Vec::new();
            for (offering_index, offering) in instance.offerings.iter().enumerate() {
                let of_this = |key: &str| label(catalog, &variant.labels, instance, Some(offering_index), key);
                if !allowed(&offering.capacity_type) || !by_offering.iter().all(|one| one.matches(of_this(&one.key))) {
                    continue;
                }
                if !based {
                    based = true;
                    base.extend(still.iter().copied().filter(|index| reading.labels[*index].matches(&of_this)));
                }
                let mut labels = base.clone();
                labels.extend(moving.iter().copied().filter(|index| reading.labels[*index].matches(&of_this)));
                let known = known_classes.get(&labels).cloned();
                let (class, daemons) = match known {
                    Some(known) => known,
                    None => {
                        let daemons = daemons_on(reading, &labels, &tolerated);
                        let admits = reading
                            .admissions
                            .iter()
                            .enumerate()
                            .filter(|(_, admission)| {
                                labels.contains(admission.labels)
                                    && tolerated.contains(admission.tolerations)
                                    && (!admission.strict || loved.contains(admission.tolerations))
                                    && !admission.ports.iter().any(|port| {
                                        daemons.ones().any(|index| {
                                            reading.daemons[index].ports.iter().any(|other| other.conflicts(port))
                                        })
                                    })
                            })
                            .map(|(index, _)| index)
                            .collect::<FixedBitSet>();
                        let class = Class { variant: variant_index, labels: labels.clone(), admits };
                        let class = market.classes.insert_full(class).0 as u32;
                        known_classes.insert(labels.clone(), (class, daemons.clone()));
                        (class, daemons)
                    }
                };
                let kind = match kinds.iter().find(|(known, _)| *known == daemons) {
                    Some((_, kind)) => *kind,
                    None => {
                        let kind = market.kinds.len() as u32;
                        let devices = overlays.devices(variant.pool, instance_index);
                        market.kinds.push(new_kind(
                            instance,
                            variant,
                            devices,
                            reading,
                            &daemons,
                            attachments,
                            columns,
                        )?);
                        kinds.push((daemons, kind));
                        kind
                    }
                };
                market.hosts.push(Host {
                    variant: variant_index as u32,
                    instance: instance_index as u32,
                    offering: offering_index as u32,
                    kind,
                    class,
                    price: overlays
                        .price(variant.pool, instance_index, offering_index)
                        .unwrap_or_else(|| billionths(offering.price)),
                });
            }
        }
        market.tolerated.push(tolerated);
    }
    market.variants = variants;
    Ok(market)
}

/// Daemon sets that land on a node where these label requirements hold and these tolerations do.
pub(crate) fn daemons_on(reading: &Reading, labels: &FixedBitSet, tolerated: &FixedBitSet) -> FixedBitSet {
    reading
        .daemons
        .iter()
        .enumerate()
        .filter(|(_, daemon)| labels.contains(daemon.labels) && tolerated.contains(daemon.tolerations))
        .map(|(index, _)| index)
        .collect()
}

/// Whether a column counts EBS volumes.
pub(crate) fn is_ebs(column: &str) -> bool {
    column.strip_prefix(ATTACHABLE) == Some(EBS)
}

fn new_kind(
    instance: &InstanceType,
    variant: &Variant,
    devices: Option<&Resources>,
    reading: &Reading,
    daemons: &FixedBitSet,
    attachments: &Attachments,
    columns: &[String],
) -> Result<Kind, BuildError> {
    let equipped = devices.map(|devices| with_devices(instance, devices));
    let instance = equipped.as_ref().unwrap_or(instance);
    let allocatable = allocatable(instance, &variant.kubelet).map_err(|error| {
        BuildError::new(&format!("instance type {} in pool {}", instance.name, variant.name), error)
    })?;
    let capacity = capacity(instance);
    let mut taken = Resources::new();
    for index in daemons.ones() {
        add(&mut taken, &reading.daemons[index].requests);
    }
    if !daemons.is_clear() {
        taken.insert("pods".to_owned(), daemons.count_ones(..) as i64);
    }
    let room = columns
        .iter()
        .map(|name| {
            let taken = taken.get(name).copied().unwrap_or(0);
            let limit = is_ebs(name).then(|| volume_limit(instance, &variant.kubelet)).flatten();
            let volumes = attachments.left(name, limit, taken);
            volumes.unwrap_or_else(|| allocatable.get(name).copied().unwrap_or(0) - taken)
        })
        .collect();
    Ok(Kind { allocatable, daemons: taken, capacity, room })
}
