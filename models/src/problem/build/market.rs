//! What can be bought: every offering of every pool, its labels, and what it offers pods after its daemons.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use fixedbitset::FixedBitSet;
use indexmap::IndexSet;

use super::attachments::Attachments;
use super::daemons::daemons_on;
use super::forms::Form;
use super::overlays::{OverlayFault, Overlays};
use super::reading::Reading;
use super::sale::{Questions, Sale};
use super::variants::{Variant, variants};
use super::{BuildError, Options};
use crate::catalog::{Catalog, InstanceType};
use crate::kubernetes::Snapshot;
use crate::kubernetes::quantity::Resources;
use crate::kubernetes::requirements::Requirement;
use crate::kubernetes::taints::{unloved, untolerated};
use crate::kubernetes::volumes::{ATTACHABLE, EBS};

/// Label of the zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Label of the capacity type.
pub const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";
/// Label of the pool.
pub const NODE_POOL: &str = "karpenter.sh/nodepool";
/// Label of the node's own name.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// Label of the operating system.
pub(crate) const OS: &str = "kubernetes.io/os";
const REGION: &str = "topology.kubernetes.io/region";
/// Label of the instance type.
pub(crate) const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";

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
    /// By variant: its hosts, those of one pool in the same order.
    pub ranges: Vec<Range<usize>>,
    /// By variant: the first one of the same pool whose hosts differ in the same places, if not in the same labels.
    pub twins: Vec<usize>,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl Market {
    /// A label of an offering's nodes.
    pub fn label<'a>(&'a self, catalog: &'a Catalog, host: &Host, key: &str) -> Option<&'a str> {
        let instance = &catalog.instance_types[host.instance as usize];
        label(catalog, &self.variants[host.variant as usize].labels, instance, Some(host.offering as usize), key)
    }

    /// The values of a label that offerings' nodes have.
    pub fn values<'a>(&'a self, catalog: &'a Catalog, key: &str) -> BTreeSet<&'a str> {
        let mut values = BTreeSet::new();
        let mut last = None;
        for (variant, range) in self.variants.iter().zip(&self.ranges).filter(|(_, range)| !range.is_empty()) {
            if variant.chosen.contains_key(key) {
                values.extend(self.label(catalog, &self.hosts[range.start], key));
            } else if last.replace(variant.pool) != Some(variant.pool) {
                values.extend(self.hosts[range.clone()].iter().filter_map(|host| self.label(catalog, host, key)));
            }
        }
        values
    }

    /// The offerings that admit a form and hold one unit of it.
    pub fn holding<'m>(&'m self, form: &'m Form) -> impl Iterator<Item = &'m Host> {
        let mut admitting = FixedBitSet::with_capacity(self.variants.len());
        for class in &self.classes {
            if form.admissions.iter().all(|one| class.admits.contains(*one)) {
                admitting.insert(class.variant);
            }
        }
        let ranges = self.ranges.iter().enumerate().filter(move |(variant, _)| admitting.contains(*variant));
        ranges.flat_map(|(_, range)| &self.hosts[range.clone()]).filter(|host| self.holds(host, form))
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
            OS => Some("linux"),
            "karpenter.sh/registered" | "karpenter.sh/initialized" => Some("true"),
            _ => None,
        }),
    }
}

pub(crate) fn of_offering(requirement: &Requirement) -> bool {
    requirement.key == ZONE || requirement.key == CAPACITY_TYPE
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
    let questions = Questions::new(&reading.labels);
    let asked = Asked { reading, questions: &questions, attachments, columns };
    for of_pool in variants.chunk_by(|left, right| left.pool == right.pool) {
        let mut sale = Sale::new(catalog, options, reading, &questions, &overlays, of_pool)?;
        // By the kinds and, numbered as they come, classes of a variant's hosts: the first such variant.
        let mut alike: HashMap<Vec<(u32, u32)>, usize> = HashMap::new();
        for variant in of_pool {
            let index = market.tolerated.len();
            let first = market.hosts.len();
            market.add(index, variant, &mut sale, &asked);
            market.ranges.push(first..market.hosts.len());
            let mut numbers: HashMap<u32, u32> = HashMap::new();
            let hosts = market.hosts[first..].iter().map(|host| {
                let next = numbers.len() as u32;
                let number = *numbers.entry(host.class).or_insert(next);
                // Of what admits nobody nothing is kept, so it is no twin of what admits somebody.
                let nobody = market.classes[host.class as usize].admits.is_clear();
                (host.kind, if nobody { u32::MAX } else { number })
            });
            market.twins.push(*alike.entry(hosts.collect()).or_insert(index));
        }
    }
    market.variants = variants;
    Ok(market)
}

/// What pods ask of what is for sale.
struct Asked<'r> {
    reading: &'r Reading,
    questions: &'r Questions<'r>,
    attachments: &'r Attachments<'r>,
    columns: &'r [String],
}

impl Market {
    /// Adds the offerings of a variant.
    fn add(&mut self, index: usize, variant: &Variant, sale: &mut Sale, asked: &Asked) {
        let Asked { reading, questions, attachments, columns } = asked;
        let tolerations = 0..reading.tolerations.len();
        let tolerated: FixedBitSet = tolerations
            .clone()
            .filter(|index| untolerated(&variant.taints, &reading.tolerations[*index]).is_none())
            .collect();
        let loved: FixedBitSet =
            tolerations.filter(|index| unloved(&variant.taints, &reading.tolerations[*index]).is_none()).collect();
        let labels = sale.labels(variant, questions);
        let wanted: Vec<FixedBitSet> = labels.iter().map(|labels| daemons_on(reading, labels, &tolerated)).collect();
        let mut classes: HashMap<(u32, FixedBitSet), u32> = HashMap::new();
        // By answer: the class where all daemons fit that want to land.
        let mut usual: Vec<Option<u32>> = vec![None; labels.len()];
        for row in 0..sale.rows.len() {
            let answer = sale.rows[row].answer as usize;
            let daemons = sale.landing(row, &wanted[answer]);
            let all = daemons.is_none();
            let daemons = daemons.unwrap_or_else(|| wanted[answer].clone());
            let kind = sale.kind(row, &daemons, |offer| {
                self.kinds.push(offer.kind(reading, &daemons, attachments, columns));
                self.kinds.len() as u32 - 1
            });
            let class = match usual[answer].filter(|_| all) {
                Some(class) => class,
                None => *classes.entry((answer as u32, daemons)).or_insert_with_key(|(_, daemons)| {
                    let labels = labels[answer].clone();
                    let ports = || daemons.ones().flat_map(|index| &reading.daemons[index].ports);
                    let granted = reading.admissions.iter().enumerate().filter(|(_, admission)| {
                        labels.contains(admission.labels)
                            && tolerated.contains(admission.tolerations)
                            && (!admission.strict || loved.contains(admission.tolerations))
                            && !admission.ports.iter().any(|port| ports().any(|other| other.conflicts(port)))
                    });
                    let admits = granted.map(|(index, _)| index).collect();
                    self.classes.insert_full(Class { variant: index, labels, admits }).0 as u32
                }),
            };
            if all {
                usual[answer] = Some(class);
            }
            let row = &sale.rows[row];
            let (instance, offering, price) = (row.instance, row.offering, row.price);
            self.hosts.push(Host { variant: index as u32, instance, offering, kind, class, price });
        }
        self.tolerated.push(tolerated);
    }
}

/// Whether a column counts EBS volumes.
pub(crate) fn is_ebs(column: &str) -> bool {
    column.strip_prefix(ATTACHABLE) == Some(EBS)
}
