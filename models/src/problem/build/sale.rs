//! What a pool may buy, whatever values its open labels take.

use fixedbitset::FixedBitSet;
use indexmap::IndexSet;

use super::attachments::Attachments;
use super::daemons::strangers;
use super::market::{Kind, billionths, is_ebs, label, of_offering};
use super::overlays::{Overlays, with_devices};
use super::reading::Reading;
use super::variants::Variant;
use super::{BuildError, Options};
use crate::catalog::{Catalog, InstanceType, allocatable, capacity, volume_limit};
use crate::kubernetes::quantity::{Resources, add};
use crate::kubernetes::requirements::{NodeRequirements, Requirement};
use crate::kubernetes::volumes::ATTACHABLE;

/// What is asked of labels, taken apart into single requirements, each of which is answered once.
pub(super) struct Questions<'r> {
    single: IndexSet<&'r Requirement>,
    /// By what is asked: an OR of ANDs of single ones, all of which must hold.
    asked: Vec<Vec<Vec<Vec<usize>>>>,
}

impl<'r> Questions<'r> {
    pub fn new(labels: &'r IndexSet<NodeRequirements>) -> Questions<'r> {
        let mut single = IndexSet::new();
        let mut term = |term: &'r Vec<Requirement>| term.iter().map(|one| single.insert_full(one).0).collect();
        let asked = labels
            .iter()
            .map(|labels| labels.all_of.iter().map(|terms| terms.iter().map(&mut term).collect()).collect());
        let asked = asked.collect();
        Questions { single, asked }
    }

    /// What holds of all that is asked where these single requirements do.
    fn holding(&self, single: &FixedBitSet) -> FixedBitSet {
        let term = |term: &Vec<usize>| term.iter().all(|one| single.contains(*one));
        let holds = |all_of: &Vec<Vec<Vec<usize>>>| all_of.iter().all(|terms| terms.iter().any(term));
        (0..self.asked.len()).filter(|index| holds(&self.asked[*index])).collect()
    }
}

/// An offering of the pool.
pub(super) struct Row {
    pub instance: u32,
    pub offering: u32,
    /// Index into [`Sale::answers`].
    pub answer: u32,
    /// Billionths of a dollar an hour.
    pub price: i64,
    /// Index into [`Sale::offers`].
    offer: usize,
}

/// What a node of an instance type gives.
pub(super) struct Offer {
    allocatable: Resources,
    capacity: Resources,
    /// The most EBS volumes, where that is known.
    volumes: Option<i64>,
    /// Daemon sets that an empty node has no room for.
    strangers: FixedBitSet,
    /// With the daemon sets that land: what is left, as an index into the market's kinds.
    kinds: Vec<(FixedBitSet, u32)>,
}

/// What a pool may buy.
pub(super) struct Sale {
    pub rows: Vec<Row>,
    offers: Vec<Offer>,
    /// Which single requirements hold, but for those on open labels.
    answers: IndexSet<FixedBitSet>,
    /// Single requirements on open labels.
    open: Vec<usize>,
}

impl Offer {
    fn new(
        instance: &InstanceType,
        variant: &Variant,
        devices: Option<&Resources>,
        reading: &Reading,
    ) -> Result<Offer, BuildError> {
        let equipped = devices.map(|devices| with_devices(instance, devices));
        let instance = equipped.as_ref().unwrap_or(instance);
        let allocatable = allocatable(instance, &variant.kubelet).map_err(|error| {
            BuildError::new(&format!("instance type {} in pool {}", instance.name, variant.name), error)
        })?;
        let volumes = volume_limit(instance, &variant.kubelet);
        let strangers = strangers(reading, |resource| match resource.strip_prefix(ATTACHABLE) {
            Some(_) => volumes.filter(|_| is_ebs(resource)),
            None => Some(allocatable.get(resource).copied().unwrap_or(0)),
        });
        Ok(Offer { allocatable, capacity: capacity(instance), volumes, strangers, kinds: Vec::new() })
    }

    /// What is left beside daemons.
    pub fn kind(
        &self,
        reading: &Reading,
        daemons: &FixedBitSet,
        attachments: &Attachments,
        columns: &[String],
    ) -> Kind {
        let mut taken = Resources::new();
        for index in daemons.ones() {
            add(&mut taken, &reading.daemons[index].requests);
        }
        if !daemons.is_clear() {
            taken.insert("pods".to_owned(), daemons.count_ones(..) as i64);
        }
        let left = |name: &String| {
            let taken = taken.get(name).copied().unwrap_or(0);
            let volumes = attachments.left(name, self.volumes.filter(|_| is_ebs(name)), taken);
            volumes.unwrap_or_else(|| self.allocatable.get(name).copied().unwrap_or(0) - taken)
        };
        let room = columns.iter().map(left).collect();
        Kind { allocatable: self.allocatable.clone(), daemons: taken, capacity: self.capacity.clone(), room }
    }
}

impl Sale {
    /// All offerings that one pool allows, of which these are the variants.
    pub fn new(
        catalog: &Catalog,
        options: &Options,
        reading: &Reading,
        questions: &Questions,
        overlays: &Overlays,
        variants: &[Variant],
    ) -> Result<Sale, BuildError> {
        let is_open = |one: &Requirement| variants.iter().any(|variant| variant.chosen.contains_key(&one.key));
        let (open, settled): (Vec<_>, Vec<_>) = questions.single.iter().enumerate().partition(|(_, one)| is_open(one));
        let open = open.into_iter().map(|(index, _)| index).collect();
        let mut sale = Sale { rows: Vec::new(), offers: Vec::new(), answers: IndexSet::new(), open };
        let Some(variant) = variants.first() else { return Ok(sale) };
        let allowed = |capacity_type: &str| {
            options.capacity_types.as_ref().is_none_or(|types| types.iter().any(|one| one == capacity_type))
        };
        let (by_offering, by_type): (Vec<_>, Vec<_>) = variant.requirements.iter().partition(|one| of_offering(one));
        let (moving, still): (Vec<_>, Vec<_>) = settled.into_iter().partition(|(_, one)| of_offering(one));
        for (instance_index, instance) in catalog.instance_types.iter().enumerate() {
            let of_type = |key: &str| label(catalog, &variant.labels, instance, None, key);
            if !by_type.iter().all(|one| one.matches(of_type(&one.key))) {
                continue;
            }
            let mut base: Option<FixedBitSet> = None;
            for (offering_index, offering) in instance.offerings.iter().enumerate() {
                let of_this = |key: &str| label(catalog, &variant.labels, instance, Some(offering_index), key);
                if !allowed(&offering.capacity_type) || !by_offering.iter().all(|one| one.matches(of_this(&one.key))) {
                    continue;
                }
                let holds = |(_, one): &&(usize, &&Requirement)| one.matches(of_this(&one.key));
                let mut answer = match &base {
                    Some(base) => base.clone(),
                    None => {
                        sale.offers.push(Offer::new(
                            instance,
                            variant,
                            overlays.devices(variant.pool, instance_index),
                            reading,
                        )?);
                        let mut holding = FixedBitSet::with_capacity(questions.single.len());
                        holding.extend(still.iter().filter(holds).map(|(index, _)| *index));
                        base.insert(holding).clone()
                    }
                };
                answer.extend(moving.iter().filter(holds).map(|(index, _)| *index));
                let overlaid = overlays.price(variant.pool, instance_index, offering_index);
                sale.rows.push(Row {
                    instance: instance_index as u32,
                    offering: offering_index as u32,
                    answer: sale.answers.insert_full(answer).0 as u32,
                    price: overlaid.unwrap_or_else(|| billionths(offering.price)),
                    offer: sale.offers.len() - 1,
                });
            }
        }
        Ok(sale)
    }

    /// By answer: what holds on a variant's nodes of all that is asked of labels.
    pub fn labels(&self, variant: &Variant, questions: &Questions) -> Vec<FixedBitSet> {
        let holds = |index: &usize| {
            let one = questions.single[*index];
            one.matches(variant.chosen.get(&one.key).map(String::as_str))
        };
        let open: Vec<usize> = self.open.iter().copied().filter(holds).collect();
        let holding = |answer: &FixedBitSet| {
            let mut answer = answer.clone();
            answer.extend(open.iter().copied());
            questions.holding(&answer)
        };
        self.answers.iter().map(holding).collect()
    }

    /// Those of the daemon sets that want to land on a node that do; `None` for all of them.
    pub fn landing(&self, row: usize, wanted: &FixedBitSet) -> Option<FixedBitSet> {
        let strangers = &self.offers[self.rows[row].offer].strangers;
        if wanted.is_disjoint(strangers) {
            return None;
        }
        Some(wanted.difference(strangers).collect())
    }

    /// The kind of an offering with daemons, made where it is not known yet.
    pub fn kind(&mut self, row: usize, daemons: &FixedBitSet, make: impl FnOnce(&Offer) -> u32) -> u32 {
        let offer = &mut self.offers[self.rows[row].offer];
        if let Some((_, kind)) = offer.kinds.iter().find(|(known, _)| known == daemons) {
            return *kind;
        }
        let kind = make(offer);
        offer.kinds.push((daemons.clone(), kind));
        kind
    }
}
