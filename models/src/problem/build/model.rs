//! All that is known before shapes and bins are numbered; problems are assembled from it.

use std::collections::{BTreeMap, BTreeSet};

use fixedbitset::FixedBitSet;

use super::attachments::Attachments;
use super::draft::Draft;
use super::forms::{Form, Places, Refused, forms};
use super::market::{HOSTNAME, Host, Market, market};
use super::preferences::Preference;
use super::protos::{Admitted, Proto};
use super::reading::{Owned, Reading, read};
use super::standing::{Standing, standing};
use super::{BuildError, Built, Options, PodRef, pools};
use crate::catalog::Catalog;
use crate::kubernetes::Snapshot;
use crate::kubernetes::quantity::Resources;
use crate::problem::BinSource;

/// A label key by which rules divide nodes, with the values that occur.
#[derive(Debug)]
pub(crate) struct Domains {
    pub key: String,
    /// Sorted.
    pub values: Vec<String>,
    /// For whom it counts the nodes; `None` where all nodes of a value are its domain.
    pub counted: Option<Counted>,
}

/// Which nodes a topology spread counts: a pod on another one is in no domain.
///
/// <https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/#conventions>
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Counted {
    /// Label requirements (`nodeAffinityPolicy`); `None` counts all nodes.
    pub labels: Option<usize>,
    /// Toleration list (`nodeTaintsPolicy`); `None` counts all nodes.
    pub tolerations: Option<usize>,
    /// Keys that a node must have: those of all the pod's constraints.
    pub keys: BTreeSet<String>,
}

impl Counted {
    /// Whether a node with these labels has all keys.
    pub fn finds_keys<'b>(&self, label: impl Fn(&str) -> Option<&'b str>) -> bool {
        self.keys.iter().all(|key| key == HOSTNAME || label(key).is_some())
    }
}

/// A limit of a pool.
#[derive(Debug)]
pub(crate) struct PoolBudget {
    pub pool: String,
    pub resource: String,
    /// As the pool states it.
    pub stated: i64,
    /// What is left beside the nodes that are there.
    pub left: i64,
}

impl PoolBudget {
    /// Whether it leaves room for a node of some capacity. What is beyond its limit already gets no node at all, even one
    /// that has nothing of the resource.
    pub fn allows(&self, capacity: &Resources) -> bool {
        taken_of(&self.resource, capacity) <= self.left
    }
}

/// A form, or some of its pods, that may use the pools of one weight (and all nodes that are there).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Index into the model's forms.
    pub(crate) form: usize,
    /// First pod of it.
    pub(crate) first: usize,
    /// How many pods.
    pub(crate) pods: usize,
    /// The weight of the pools it may use; `None` for none.
    pub(crate) weight: Option<i32>,
}

/// A snapshot and a catalogue, understood.
#[derive(Debug)]
pub struct Model<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) catalog: &'a Catalog,
    pub(crate) columns: Vec<String>,
    pub(crate) reading: Reading,
    pub(crate) market: Market,
    pub(crate) standing: Vec<Standing>,
    pub(crate) forms: Vec<Form>,
    pub(crate) refused: Refused,
    pub(crate) topologies: Vec<Domains>,
    pub(crate) budgets: Vec<PoolBudget>,
    /// Bins for sale that are not dominated, then nodes that are there.
    pub(crate) protos: Vec<Proto>,
    /// By form: weights of the pools that can hold a unit of it.
    weights: Vec<BTreeSet<i32>>,
}

impl<'a> Model<'a> {
    /// Reads a snapshot and a catalogue.
    ///
    /// # Errors
    /// Where an object can't be understood; the error names object and field.
    pub fn new(snapshot: &'a Snapshot, catalog: &'a Catalog, options: &Options) -> Result<Model<'a>, BuildError> {
        let mut reading = read(snapshot, options)?;
        let mut columns = columns(&reading);
        let attachments = Attachments::new(snapshot, &reading, &columns);
        let mut market = market(snapshot, catalog, options, &mut reading, &attachments, &columns)?;
        let mut standing = standing(snapshot, catalog, &mut reading, &attachments, &columns)?;
        for column in attachments.idle(&reading, &market, &standing, &columns).into_iter().rev() {
            columns.remove(column);
            market.kinds.iter_mut().for_each(|kind| _ = kind.room.remove(column));
            standing.iter_mut().for_each(|node| _ = node.room.remove(column));
        }
        let budgets = find_budgets(snapshot, &standing)?;
        let nothing = Market::default();
        let for_sale = if options.existing_only { &nothing } else { &market };
        let places = Places { catalog, market: for_sale, standing: &standing, budgets: &budgets };
        let (forms, refused) = forms(snapshot, &reading, &places, &columns);
        let mut model = Model {
            snapshot,
            catalog,
            columns,
            reading,
            market,
            standing,
            forms,
            refused,
            topologies: Vec::new(),
            budgets,
            protos: Vec::new(),
            weights: Vec::new(),
        };
        model.topologies = model.find_topologies(options.existing_only);
        model.protos = model.find_protos(options.existing_only);
        model.weights = model.find_weights();
        Ok(model)
    }

    /// What pods would rather have, honoured or not.
    pub fn preferences(&self) -> &BTreeSet<Preference> {
        &self.reading.wishes.known
    }

    /// What a person should know of the objects: overlays that are not applied.
    pub fn notes(&self) -> &[String] {
        &self.market.notes
    }

    /// The workload of a group of waiting pods: kind, namespace and name.
    pub(crate) fn workload(&self, group: u32) -> &str {
        &self.reading.workloads[group as usize]
    }

    /// Groups of waiting pods by workload.
    pub(crate) fn groups_by_workload(&self) -> Vec<BTreeSet<u32>> {
        let mut groups: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        for (group, workload) in self.reading.workloads.iter().enumerate() {
            groups.entry(workload).or_default().insert(group as u32);
        }
        groups.into_values().collect()
    }

    /// Whether there is a node that takes pods.
    pub fn has_standing(&self) -> bool {
        self.standing.iter().any(|node| node.usable)
    }

    /// All forms, each for the pools of the heaviest weight that admits it.
    pub fn parts(&self) -> Vec<Part> {
        (0..self.forms.len())
            .map(|form| Part {
                form,
                first: 0,
                pods: self.forms[form].pods.len(),
                weight: self.weights(form).last().copied(),
            })
            .collect()
    }

    /// Forms whose company the pods of a form need, on their node or in their zone.
    pub(crate) fn company(&self, form: usize) -> Vec<usize> {
        let needs = |other: &Form| {
            self.forms[form]
                .owned
                .iter()
                .any(|owned| matches!(owned, Owned::Together { pods, .. } if other.member.contains(*pods)))
        };
        (0..self.forms.len()).filter(|&other| other != form && needs(&self.forms[other])).collect()
    }

    /// Forms whose topology spread counts a domain once a node is opened there for another form in pools of a weight, a
    /// domain that their own heaviest pools don't have; those pools could hold them there.
    pub(crate) fn woken(&self, by: usize, weight: i32) -> Vec<usize> {
        let domains = |form: usize, weight: Option<i32>, topology: usize| -> BTreeSet<u16> {
            let protos = self.protos.iter().filter(|proto| proto.weight.is_some() && proto.weight == weight);
            protos.filter(|proto| proto.holds(&self.forms[form])).filter_map(|proto| proto.domains[topology]).collect()
        };
        let wakes = |form: usize, key: &str| {
            let Some(topology) = self.topologies.iter().position(|one| one.key == key && one.counted.is_none()) else {
                return false;
            };
            let own = domains(form, self.weights(form).last().copied(), topology);
            let there = domains(form, Some(weight), topology);
            domains(by, Some(weight), topology).iter().any(|domain| !own.contains(domain) && there.contains(domain))
        };
        let spreads = |form: usize| {
            self.forms[form].owned.iter().any(|owned| matches!(owned, Owned::Spread { key, .. } if wakes(form, key)))
        };
        (0..self.forms.len()).filter(|form| *form != by && spreads(*form)).collect()
    }

    /// Weights of the pools that can hold a unit of the form, ascending.
    pub(crate) fn weights(&self, form: usize) -> &BTreeSet<i32> {
        &self.weights[form]
    }

    fn find_weights(&self) -> Vec<BTreeSet<i32>> {
        let mut weights = vec![BTreeSet::new(); self.forms.len()];
        let mut admitted = Admitted::default();
        for proto in &self.protos {
            let Some(weight) = proto.weight else { continue };
            for &form in admitted.by(proto, self.forms.iter()) {
                if !weights[form].contains(&weight) && proto.fits(&self.forms[form]) {
                    weights[form].insert(weight);
                }
            }
        }
        weights
    }

    /// Forms whose pods may stand on a node of their own wherever other pods are: they need no company, and no rule over
    /// other domains than nodes looks at them.
    pub(crate) fn loose(&self) -> FixedBitSet {
        let mut loose = FixedBitSet::with_capacity(self.forms.len());
        loose.insert_range(..);
        for (owner, form) in self.forms.iter().enumerate() {
            for owned in &form.owned {
                let (Owned::Spread { key, pods, .. }
                | Owned::Together { key, pods, .. }
                | Owned::Apart { key, pods, .. }) = owned;
                let company = matches!(owned, Owned::Together { .. });
                if key != HOSTNAME || company {
                    loose.set(owner, false);
                }
                if key != HOSTNAME {
                    (0..self.forms.len())
                        .filter(|other| self.forms[*other].member.contains(*pods))
                        .for_each(|other| loose.set(other, false));
                }
            }
        }
        loose
    }

    /// Numbers the parts and the bins, and writes the rules between them.
    pub fn assemble(&self, parts: &[Part], existing_only: bool) -> Built {
        Draft::assemble(self, parts, existing_only)
    }

    pub(crate) fn host(&self, index: usize) -> Host {
        self.market.hosts[index]
    }

    pub(crate) fn host_label(&self, host: &Host, key: &str) -> Option<&str> {
        self.market.label(self.catalog, host, key)
    }

    /// `namespace/name` of a pod.
    pub fn pod_name(&self, pod: PodRef) -> String {
        let group = &self.snapshot.pending[pod.group as usize];
        format!("{}/{}", group.namespace, group.names.name(pod.index))
    }

    fn find_topologies(&self, existing_only: bool) -> Vec<Domains> {
        let mut keys: BTreeSet<&str> = BTreeSet::new();
        // Those of refused pods too: whoever binds the plan may still look at their terms.
        for owned in self.reading.profiles.iter().flat_map(|profile| &profile.owned) {
            let (Owned::Spread { key, .. } | Owned::Together { key, .. } | Owned::Apart { key, .. }) = owned;
            keys.insert(key);
        }
        let seen: FixedBitSet = self.forms.iter().flat_map(|form| form.member.ones()).collect();
        for (key, pods) in self.reading.bound.iter().flat_map(|bound| &bound.apart) {
            if seen.contains(*pods) {
                keys.insert(key);
            }
        }
        if !existing_only {
            keys.remove(HOSTNAME);
        }
        keys.into_iter()
            .map(|key| {
                let mut values: BTreeSet<&str> = self.standing.iter().filter_map(|node| node.label(key)).collect();
                if !existing_only {
                    values.extend(self.market.values(self.catalog, key));
                }
                let values = values.into_iter().map(str::to_owned).collect();
                Domains { key: key.to_owned(), values, counted: None }
            })
            .collect()
    }

    /// The topology of a key as a spread counts it: its own where that matters, or else that of all nodes.
    pub(crate) fn counted(&self, key: &str, counted: &Counted) -> Option<usize> {
        let of_key = |domains: &&Domains| domains.key == key;
        let own =
            self.topologies.iter().position(|domains| of_key(&domains) && domains.counted.as_ref() == Some(counted));
        own.or_else(|| self.topologies.iter().position(|domains| of_key(&domains) && domains.counted.is_none()))
    }

    /// Whether a node with these properties is counted.
    pub(crate) fn counts<'b>(
        &self,
        counted: &Counted,
        matching: &FixedBitSet,
        tolerated: &FixedBitSet,
        label: impl Fn(&str) -> Option<&'b str>,
    ) -> bool {
        counted.labels.is_none_or(|index| matching.contains(index))
            && counted.tolerations.is_none_or(|index| tolerated.contains(index))
            && counted.finds_keys(label)
    }

    /// A label of a bin's node.
    pub(crate) fn proto_label(&self, proto: &Proto, key: &str) -> Option<&str> {
        match proto.source {
            BinSource::Offering(host) => self.host_label(&self.host(host), key),
            BinSource::Existing(node) => self.standing[node].label(key),
        }
    }

    /// Adds a topology for each spread that does not count all nodes of a domain alike: some of those it counts, or of
    /// those whose presence it counts, can stand where it does not look.
    pub(super) fn tell_counted_apart(&mut self, protos: &mut [Proto]) {
        let mut own: BTreeSet<(usize, Counted)> = BTreeSet::new();
        let distinct: BTreeSet<&Owned> = self.reading.profiles.iter().flat_map(|profile| &profile.owned).collect();
        for owned in distinct {
            let Owned::Spread { key, pods, counted, .. } = owned else { continue };
            let Some(topology) = self.topologies.iter().position(|domains| domains.key == *key) else { continue };
            if own.contains(&(topology, counted.clone())) {
                continue;
            }
            let others: Vec<&Form> =
                self.forms.iter().filter(|form| form.member.contains(*pods) && !form.owned.contains(owned)).collect();
            let owners: Vec<&Form> = self.forms.iter().filter(|form| form.owned.contains(owned)).collect();
            let passes = |proto: &Proto| {
                self.counts(counted, &proto.matching, &proto.tolerated, |key| self.proto_label(proto, key))
            };
            let (inside, outside): (Vec<&Proto>, Vec<&Proto>) = protos.iter().partition(|proto| passes(proto));
            let awake: BTreeSet<u16> = protos
                .iter()
                .filter(|proto| owners.iter().any(|form| proto.holds(form)))
                .filter_map(|proto| proto.domains[topology])
                .collect();
            // Domains that come to be when a node is opened there for someone else.
            let dormant: BTreeSet<u16> = inside
                .iter()
                .filter(|proto| proto.weight.is_some())
                .filter_map(|proto| proto.domains[topology])
                .filter(|domain| !awake.contains(domain))
                .collect();
            let apart = outside.iter().any(|proto| {
                others.iter().any(|form| proto.holds(form))
                    || proto.weight.is_some() && proto.domains[topology].is_some_and(|domain| dormant.contains(&domain))
            });
            if apart {
                own.insert((topology, counted.clone()));
            }
        }
        for (topology, counted) in own {
            let domains: Vec<Option<u16>> = protos
                .iter()
                .map(|proto| {
                    let label = |key: &str| self.proto_label(proto, key);
                    let inside = self.counts(&counted, &proto.matching, &proto.tolerated, label);
                    proto.domains[topology].filter(|_| inside)
                })
                .collect();
            protos.iter_mut().zip(domains).for_each(|(proto, domain)| proto.domains.push(domain));
            let Domains { key, values, .. } = &self.topologies[topology];
            let domains = Domains { key: key.clone(), values: values.clone(), counted: Some(counted) };
            self.topologies.push(domains);
        }
    }
}

/// What the limits of all pools leave beside the nodes that are there.
fn find_budgets(snapshot: &Snapshot, standing: &[Standing]) -> Result<Vec<PoolBudget>, BuildError> {
    let mut budgets = Vec::new();
    for pool in &snapshot.node_pools {
        let name = pool.metadata.name.clone().unwrap_or_default();
        for (resource, stated) in pools::limits(pool)? {
            let used = standing
                .iter()
                .filter(|node| node.pool() == Some(&name))
                .map(|node| taken_of(&resource, &node.capacity))
                .fold(0, i64::saturating_add);
            let left = stated.saturating_sub(used);
            budgets.push(PoolBudget { pool: name.clone(), resource, stated, left });
        }
    }
    Ok(budgets)
}

/// What a node of some capacity takes of a limit.
pub(super) fn taken_of(resource: &str, capacity: &Resources) -> i64 {
    if resource == "nodes" { 1 } else { capacity.get(resource).copied().unwrap_or(0) }
}

/// Resources that any waiting pod asks for; cpu, memory and pods always.
fn columns(reading: &Reading) -> Vec<String> {
    let mut names: BTreeSet<&str> =
        reading.profiles.iter().flat_map(|profile| profile.requests.keys()).map(String::as_str).collect();
    let first = ["cpu", "memory", "pods"];
    for name in first {
        names.remove(name);
    }
    first.into_iter().chain(names).map(str::to_owned).collect()
}
