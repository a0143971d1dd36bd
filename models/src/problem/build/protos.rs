//! Bins before they are numbered: what is for sale, without what is dominated, and what is there.

use std::collections::{BTreeMap, HashMap};

use fixedbitset::FixedBitSet;
use indexmap::IndexSet;

use super::forms::Form;
use super::model::{Domains, Model, taken_of};
use crate::problem::BinSource;

/// Domains of a topology by their values.
type Index<'v> = HashMap<&'v str, u16>;

/// A bin before it is numbered.
#[derive(Debug)]
pub(crate) struct Proto {
    pub source: BinSource,
    pub price: i64,
    pub room: Vec<i64>,
    /// Admissions that it grants.
    pub admits: FixedBitSet,
    /// Label requirements that hold on it, and toleration lists that its taints let in.
    pub matching: FixedBitSet,
    pub tolerated: FixedBitSet,
    /// Its domain by topology.
    pub domains: Vec<Option<u16>>,
    /// Its pool's weight; `None` for a node that is there.
    pub weight: Option<i32>,
    /// What a node of it takes of [`Model::budgets`].
    pub takes: Vec<(usize, i64)>,
    /// Its pool, if that asks for flexibility.
    pub flexible: Option<usize>,
}

impl Proto {
    /// Whether it admits a form and holds one unit of it.
    pub fn holds(&self, form: &Form) -> bool {
        self.fits(form) && form.admissions.iter().all(|one| self.admits.contains(*one))
    }

    /// Whether there is room for one unit of a form.
    pub fn fits(&self, form: &Form) -> bool {
        form.demand.iter().zip(&self.room).all(|(need, room)| need <= room)
    }

    /// Whether it admits a form and holds one unit of it, whatever the form prefers.
    pub fn could_hold(&self, form: &Form) -> bool {
        self.fits(form) && form.required.iter().all(|one| self.admits.contains(*one))
    }

    /// Where it is no dearer, admits no less and is in the same domains: no smaller, taking no more of any budget.
    fn dominates(&self, other: &Proto) -> bool {
        self.weight == other.weight
            && self.flexible == other.flexible
            && self.room.iter().zip(&other.room).all(|(own, room)| own >= room)
            && self
                .takes
                .iter()
                .all(|(budget, amount)| other.takes.iter().any(|(same, more)| same == budget && more >= amount))
    }
}

/// Which forms bins admit, found once for all bins that grant the same.
#[derive(Default)]
pub(super) struct Admitted<'p> {
    known: HashMap<&'p FixedBitSet, Vec<usize>>,
}

impl<'p> Admitted<'p> {
    /// The places of those forms that a bin admits, whatever their size.
    pub fn by<'f>(&mut self, proto: &'p Proto, forms: impl Iterator<Item = &'f Form>) -> &[usize] {
        self.known.entry(&proto.admits).or_insert_with(|| {
            let admits = |form: &Form| form.admissions.iter().all(|one| proto.admits.contains(*one));
            forms.enumerate().filter(|(_, form)| admits(form)).map(|(place, _)| place).collect()
        })
    }
}

impl Model<'_> {
    pub(super) fn find_protos(&mut self, existing_only: bool) -> Vec<Proto> {
        let values: Vec<Index> = self
            .topologies
            .iter()
            .map(|domains| {
                domains.values.iter().enumerate().map(|(index, value)| (value.as_str(), index as u16)).collect()
            })
            .collect();
        let mut protos = Vec::new();
        if !existing_only {
            protos = self.for_sale(&values);
        }
        for (index, node) in self.standing.iter().enumerate().filter(|(_, node)| node.usable) {
            protos.push(Proto {
                source: BinSource::Existing(index),
                price: 0,
                room: node.room.clone(),
                admits: node.admits.clone(),
                matching: node.matching.clone(),
                tolerated: node.tolerated.clone(),
                domains: self.domains(&values, |key| node.label(key)),
                weight: None,
                takes: Vec::new(),
                flexible: None,
            });
        }
        drop(values);
        self.tell_counted_apart(&mut protos);
        let (standing, for_sale) = protos.into_iter().partition(|proto| proto.weight.is_none());
        let mut protos = undominated(for_sale);
        protos.extend::<Vec<Proto>>(standing);
        protos
    }

    /// The offerings, cheapest first; of each variant those alone that no other one with the same labels dominates.
    fn for_sale(&self, values: &[Index]) -> Vec<Proto> {
        let place = |index: usize| {
            let host = &self.market.hosts[index];
            let instance = &self.catalog.instance_types[host.instance as usize];
            let offering = &instance.offerings[host.offering as usize];
            (host.price, &offering.zone, &offering.capacity_type, &instance.name, index)
        };
        // By variant that stands for its twins: which of its hosts are kept.
        let mut kept: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut order: Vec<usize> = Vec::new();
        for (twin, range) in self.market.twins.iter().zip(&self.market.ranges) {
            let offsets = kept.entry(*twin).or_insert_with(|| {
                // Of offerings alike but for price and place, the cheapest.
                let mut cheapest: HashMap<(u32, u32, Vec<Option<u16>>), usize> = HashMap::new();
                for index in range.clone() {
                    let host = self.host(index);
                    let domains = self.domains(values, |key| self.host_label(&host, key));
                    let known = cheapest.entry((host.kind, host.class, domains)).or_insert(index);
                    if place(index) < place(*known) {
                        *known = index;
                    }
                }
                let mut hosts: Vec<usize> = cheapest.into_values().collect();
                hosts.sort_by(|left, right| place(*left).cmp(&place(*right)));
                let mut by_class: BTreeMap<u32, Vec<Proto>> = BTreeMap::new();
                for index in hosts {
                    by_class.entry(self.host(index).class).or_default().push(self.proto(index, values));
                }
                let sources = by_class.into_values().flat_map(undominated).filter_map(|proto| match proto.source {
                    BinSource::Offering(index) => Some(index - range.start),
                    BinSource::Existing(_) => None,
                });
                sources.collect()
            });
            order.extend(offsets.iter().map(|offset| range.start + offset));
        }
        order.sort_by(|left, right| place(*left).cmp(&place(*right)));
        order.into_iter().map(|index| self.proto(index, values)).collect()
    }

    fn domains<'b>(&'b self, index: &[Index], lookup: impl Fn(&str) -> Option<&'b str>) -> Vec<Option<u16>> {
        self.topologies
            .iter()
            .zip(index)
            .map(|(Domains { key, .. }, values)| lookup(key).and_then(|value| values.get(value).copied()))
            .collect()
    }

    /// Whether a node of it stays within the limits of its pool, beside those that are there.
    pub(crate) fn is_within_limits(&self, proto: &Proto) -> bool {
        proto.takes.iter().all(|(index, amount)| *amount <= self.budgets[*index].left)
    }

    fn proto(&self, index: usize, values: &[Index]) -> Proto {
        let host = self.host(index);
        let domains = self.domains(values, |key| self.host_label(&host, key));
        let class = &self.market.classes[host.class as usize];
        let variant = &self.market.variants[class.variant];
        let kind = &self.market.kinds[host.kind as usize];
        let takes = self
            .budgets
            .iter()
            .enumerate()
            .filter(|(_, budget)| budget.pool == variant.name)
            .map(|(index, budget)| (index, taken_of(&budget.resource, &kind.capacity)))
            .filter(|(index, amount)| *amount > 0 || self.budgets[*index].left < 0)
            .collect();
        let asks = self.snapshot.node_pools[variant.pool].spec.template.spec.requirements.iter();
        Proto {
            source: BinSource::Offering(index),
            price: host.price,
            room: kind.room.clone(),
            admits: class.admits.clone(),
            matching: class.labels.clone(),
            tolerated: self.market.tolerated[class.variant].clone(),
            domains,
            weight: Some(variant.weight),
            takes,
            flexible: asks.map(|one| one.min_values.unwrap_or(0)).any(|least| least > 0).then_some(variant.pool),
        }
    }
}

/// Drops what is dominated; the input is sorted by price.
fn undominated(protos: Vec<Proto>) -> Vec<Proto> {
    let mut kept: Vec<Proto> = Vec::new();
    let mut grants = Grants::default();
    // By domains and grants: those that are kept.
    let mut rivals: HashMap<(Vec<Option<u16>>, usize), Vec<usize>> = HashMap::new();
    let mut sorted = protos;
    // At one price the larger first, so that it stands for the smaller.
    sorted.sort_by(|left, right| left.price.cmp(&right.price).then_with(|| right.room.cmp(&left.room)));
    for proto in sorted {
        if proto.room.iter().any(|room| *room < 0) || proto.admits.is_clear() {
            continue;
        }
        let granted = grants.number(&proto.admits);
        let mut place = (proto.domains.clone(), granted);
        let dominated = grants.wider[granted].iter().any(|wider| {
            place.1 = *wider;
            rivals.get(&place).is_some_and(|rivals| rivals.iter().any(|rival| kept[*rival].dominates(&proto)))
        });
        if !dominated {
            place.1 = granted;
            rivals.entry(place).or_default().push(kept.len());
            kept.push(proto);
        }
    }
    kept
}

/// The different sets of admissions that bins grant.
#[derive(Default)]
struct Grants {
    all: IndexSet<FixedBitSet>,
    /// By set: those that hold all of it, itself among them.
    wider: Vec<Vec<usize>>,
}

impl Grants {
    fn number(&mut self, admits: &FixedBitSet) -> usize {
        if let Some(known) = self.all.get_index_of(admits) {
            return known;
        }
        let number = self.all.len();
        for (known, _) in self.all.iter().enumerate().filter(|(_, other)| other.is_subset(admits)) {
            self.wider[known].push(number);
        }
        let wider = self.all.iter().enumerate().filter(|(_, other)| admits.is_subset(other)).map(|(known, _)| known);
        self.wider.push(wider.chain([number]).collect());
        self.all.insert(admits.clone());
        number
    }
}
