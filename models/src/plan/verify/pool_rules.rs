//! Rules of a pool: its limits, the order of weights, the flexibility it wants.

use std::collections::{BTreeSet, HashMap};

use super::affinity::selected;
use super::amounts::Amounts;
use super::broken::{Findings, Rule};
use super::offerings::unit;
use super::profile::Profile;
use super::state::{Machine, State};
use super::supply::Pool;
use super::volumes::Attachments;
use super::world::Offer;

/// What the nodes of a pool have together.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    capacity: Amounts,
    nodes: i64,
}

/// By pool (its first entry): what its nodes have, those that are there included.
pub(super) fn usage(state: &State) -> Vec<Usage> {
    let mut usage = usage_before(state);
    for (_, offer) in state.machines.iter().filter_map(|machine| machine.planned.as_ref()) {
        let pool = state.world.pools[offer.pool].first;
        usage[pool].take(&state.world.gives(offer.pool, offer.kind).capacity);
    }
    usage
}

/// The same without the nodes that the plan buys.
pub(super) fn usage_before(state: &State) -> Vec<Usage> {
    let mut usage = vec![Usage { capacity: Amounts::default(), nodes: 0 }; state.world.pools.len()];
    let by_name: HashMap<&str, usize> = state.world.pools.iter().map(|pool| (pool.name, pool.first)).collect();
    for node in &state.world.existing {
        if let Some(&pool) = node.pool().and_then(|name| by_name.get(name)) {
            usage[pool].take(&node.kind.capacity);
        }
    }
    usage
}

impl Usage {
    fn take(&mut self, capacity: &Amounts) {
        self.capacity.add(capacity, 1);
        self.nodes += 1;
    }

    /// The same with a node less and another one more.
    pub(super) fn exchanged(&self, less: &Amounts, more: &Amounts) -> Usage {
        let mut capacity = self.capacity.clone();
        capacity.add(less, -1);
        capacity.add(more, 1);
        Usage { capacity, nodes: self.nodes }
    }

    /// The first limit of the pool that is passed, if any: column, amount, limit (`None` for the number of nodes).
    pub(super) fn passes(&self, pool: &Pool) -> Option<(Option<usize>, i64, i64)> {
        let of_nodes = pool.most_nodes.filter(|most| self.nodes > *most).map(|most| (None, self.nodes, most));
        of_nodes.or_else(|| {
            pool.limits.iter().find_map(|&(column, most)| {
                let amount = self.capacity.get(column);
                (amount > most).then_some((Some(column), amount, most))
            })
        })
    }
}

/// Limits of pools that got a node.
pub(super) fn check_limits(state: &State, usage: &[Usage], findings: &mut Findings) {
    let bought: BTreeSet<usize> = state
        .machines
        .iter()
        .filter_map(|machine| Some(state.world.pools[machine.planned.as_ref()?.1.pool].first))
        .collect();
    for pool in bought {
        let pool_ref = &state.world.pools[pool];
        if let Some((column, amount, most)) = usage[pool].passes(pool_ref) {
            let name = column.map_or("nodes", |column| &state.world.table.names()[column]);
            let unit = unit(name);
            findings.add(Rule::Limits, pool_ref.name, format!("{name}: {amount}{unit} of at most {most}{unit}"));
        }
    }
}

/// Pods on a lighter pool though a heavier one admits them and has room within its limits for one more node.
///
/// Pods with rules that span nodes are not judged: a heavier pool may lack the domain they need. Nor are those whose
/// company others need there.
pub(super) fn check_weights(state: &State, usage: &[Usage], findings: &mut Findings) {
    let world = state.world;
    if world.options.ignore_weights || world.pools.iter().all(|pool| pool.weight == world.pools[0].weight) {
        return;
    }
    let mut judged: HashMap<(usize, i32), Option<usize>> = HashMap::new();
    for machine in &state.machines {
        let Some((_, offer)) = &machine.planned else { continue };
        let weight = world.pools[offer.pool].weight;
        for &(at, _) in &machine.pods {
            let profile = &world.profiles[at];
            if state.ties(at).any() {
                continue;
            }
            let better = *judged.entry((at, weight)).or_insert_with(|| {
                let heavier = |offer: &&Offer| world.pools[offer.pool].weight > weight;
                let takes = |offer: &&Offer| admits(state, profile, offer) && has_room(state, offer, usage);
                state.offers().iter().filter(heavier).find(takes).map(|offer| offer.pool)
            });
            if let Some(pool) = better.filter(|_| !is_company(state, machine, at)) {
                let message = format!(
                    "{} stands on NodePool {}, though {} is heavier and admits it",
                    profile.name, world.pools[offer.pool].name, world.pools[pool].name
                );
                findings.add(Rule::Weight, machine.name, message);
            }
        }
    }
}

/// Whether another pod of the machine needs this one beside it: then both must have room in the heavier pool.
fn is_company(state: &State, machine: &Machine, at: usize) -> bool {
    machine
        .pods
        .iter()
        .filter(|(other, _)| *other != at)
        .any(|&(other, _)| state.world.profiles[other].affinity.iter().any(|term| selected(state, term).contains(&at)))
}

/// Whether one more node of the offer stays within its pool's limits.
pub(super) fn has_room(state: &State, offer: &Offer, usage: &[Usage]) -> bool {
    // All choices of a pool's open labels share its limits.
    let first = state.world.pools[offer.pool].first;
    let mut after = usage[first].exchanged(&Amounts::default(), &state.world.gives(offer.pool, offer.kind).capacity);
    after.nodes += 1;
    after.passes(&state.world.pools[offer.pool]).is_none()
}

/// Whether the pod alone could stand on a fresh node of the offer, `minValues` included.
pub(super) fn admits(state: &State, profile: &Profile, offer: &Offer) -> bool {
    state.world.fits_alone(profile, offer) && lacking(state, offer.pool, &Load::of([(profile, 1)])).is_none()
}

/// The first requirement of the pool for which too few values are left among the offerings that could hold these pods:
/// its key, how many are left, and how many must be.
fn lacking<'s>(state: &'s State, pool: usize, load: &Load) -> Option<(&'s str, usize, u32)> {
    let (requirements, first) = (state.world.pools[pool].requirements, state.world.pools[pool].first);
    let wanting = requirements.iter().filter_map(|requirement| Some((requirement, requirement.min_values?)));
    let mut hosts: Option<Vec<&Offer>> = None;
    for (requirement, least) in wanting {
        let hosts = hosts.get_or_insert_with(|| {
            let offers = state.offers().iter().filter(|offer| state.world.pools[offer.pool].first == first);
            offers.filter(|offer| holds(state, offer, load)).collect()
        });
        let values: BTreeSet<&str> = hosts.iter().filter_map(|offer| offer.labels.get(&requirement.key)).collect();
        if (values.len() as u64) < u64::from(least) {
            return Some((&requirement.key, values.len(), least));
        }
    }
    None
}

/// Whether a fresh node of the offer holds all these pods, as far as one node's rules go.
pub(super) fn holds(state: &State, offer: &Offer, load: &Load) -> bool {
    let free = |port| !offer.ports.iter().any(|taken| taken.conflicts(port));
    load.asked.exceeds(&offer.room).is_none()
        && load.pods.iter().all(|profile| {
            profile.admitted(&offer.labels, state.world.pools[offer.pool].taints) && profile.ports.iter().all(free)
        })
        && state.world.attaches(offer, &load.pods, &load.volumes)
}

/// Pods on one node: what they ask for, and their profiles.
#[derive(Debug)]
pub(super) struct Load<'s> {
    asked: Amounts,
    pods: Vec<&'s Profile<'s>>,
    volumes: Attachments,
}

impl<'s> Load<'s> {
    fn of(pods: impl IntoIterator<Item = (&'s Profile<'s>, u32)>) -> Self {
        let mut load = Load { asked: Amounts::default(), pods: Vec::new(), volumes: Attachments::default() };
        for (profile, count) in pods {
            load.asked.add(&profile.requests, i64::from(count));
            load.volumes.add(profile, count);
            load.pods.push(profile);
        }
        load
    }
}

/// Pods that wait on one planned machine.
pub(super) fn load<'s>(state: &'s State, pods: &[(usize, u32)]) -> Load<'s> {
    Load::of(pods.iter().map(|&(at, count)| (&state.world.profiles[at], count)))
}

/// The key that leaves too few values, how many it leaves and how many it should; `None` where all leave enough.
type Lack<'a> = Option<(&'a str, usize, u32)>;

/// A pool, and what a node of it holds.
type Held<'a> = (usize, &'a [(usize, u32)]);

/// `minValues` of each planned node.
pub(super) fn check_min_values(state: &State, findings: &mut Findings) {
    let mut judged: HashMap<Held, Lack> = HashMap::new();
    for machine in &state.machines {
        let Some((_, offer)) = &machine.planned else { continue };
        let lack = *judged
            .entry((offer.pool, &machine.pods))
            .or_insert_with(|| lacking(state, offer.pool, &load(state, &machine.pods)));
        if let Some((key, left, least)) = lack {
            let pool = state.world.pools[offer.pool].name;
            let message = format!("{left} values of {key} could hold its pods, NodePool {pool} wants {least}");
            findings.add(Rule::MinValues, machine.name, message);
        }
    }
}
