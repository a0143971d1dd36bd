//! Topology spread constraints, judged in the final state.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/>
//!
//! A domain that received a pod of the constraint's owner may hold at most `maxSkew` matching pods more than the least
//! of the eligible domains. kube-scheduler judges a pod when it is placed; that each constraint holds in the end for all who
//! have it is a little more than that it held at some time, and it means that no order of the pods is stuck for good.
//!
//! Eligible are the values on nodes that the inclusion policies let count and, where a node may come (the plan buys one,
//! or leaves over pods that one may be bought for), the values on which the heaviest pools that take the pod, or those that
//! its new node is bought from, could open a node for it within the limits that the nodes that are there leave. On the
//! hostname an empty node is always such a domain then, so the least is 0.

use std::collections::{BTreeMap, BTreeSet};

use super::broken::{Findings, Rule};
use super::matching::{HOSTNAME, Labels, untolerated};
use super::pool_rules::{Usage, has_room, usage_before};
use super::profile::{Profile, Spread};
use super::state::{Machine, State};
use super::world::Offer;

/// One constraint of one profile, counted for those of its pods that are on new nodes of pools of one weight, or that are not.
#[derive(Debug)]
pub(super) struct Count<'s> {
    /// Profile that it is of.
    pub(super) owner: usize,
    constraint: &'s Spread,
    /// Weight of the pools that the owner's pods come to; `None` where all are alike, and for nodes that are there.
    weight: Option<i32>,
    /// Matching pods by domain; every eligible domain is there.
    matching: BTreeMap<&'s str, i64>,
    /// Owner's pods by domain.
    owners: BTreeMap<&'s str, i64>,
    /// Profiles that match.
    members: Vec<usize>,
    /// Whether the least counts as 0 whatever the domains hold.
    from_zero: bool,
}

/// All constraints of the waiting pods that are placed.
pub(super) fn counts<'s>(state: &'s State, findings: &mut Findings) -> Vec<Count<'s>> {
    let mut counts = Vec::new();
    let usage = usage_before(state);
    for (owner, profile) in state.world.profiles.iter().enumerate().take(state.world.waiting) {
        if profile.spreads.is_empty() || state.by_profile[owner].is_empty() {
            continue;
        }
        let weights: BTreeSet<Option<i32>> =
            state.residents_of(owner).map(|resident| weight_of(state, &state.machines[resident.machine])).collect();
        for constraint in &profile.spreads {
            counts.extend(weights.iter().map(|&weight| count(state, owner, constraint, weight, &usage, findings)));
        }
    }
    counts
}

/// Whether no pool is to be preferred.
fn alike(state: &State) -> bool {
    let weights = state.world.pools.iter().map(|pool| pool.weight);
    state.world.options.ignore_weights || weights.clone().min() == weights.max()
}

/// The weight of the pool that a node is bought from, where weights matter.
fn weight_of(state: &State, machine: &Machine) -> Option<i32> {
    let (_, offer) = machine.planned.as_ref().filter(|_| !alike(state))?;
    Some(state.world.pools[offer.pool].weight)
}

/// Whether the node's pods count for the constraint.
fn counted(profile: &Profile, constraint: &Spread, machine: &Machine) -> bool {
    profile.spreads.iter().all(|spread| machine.labels.get(&spread.key).is_some())
        && (!constraint.honor_affinity || profile.likes(&machine.labels))
        && (!constraint.honor_taints || untolerated(profile.tolerations(), machine.taints).is_none())
}

fn count<'s>(
    state: &'s State,
    owner: usize,
    constraint: &'s Spread,
    weight: Option<i32>,
    usage: &[Usage],
    findings: &mut Findings,
) -> Count<'s> {
    let profile = &state.world.profiles[owner];
    let namespace = profile.identity.namespace;
    let members = state.select(constraint.selector.pivot(), |pod| {
        pod.namespace == namespace && constraint.selector.matches(pod.labels)
    });
    let from_zero = constraint.key == HOSTNAME && !state.is_closed();
    let mut matching: BTreeMap<&str, i64> = BTreeMap::new();
    let mut owners: BTreeMap<&str, i64> = BTreeMap::new();
    for resident in state.residents_of(owner) {
        let machine = &state.machines[resident.machine];
        if weight_of(state, machine) != weight {
            continue;
        }
        match machine.labels.get(&constraint.key) {
            Some(domain) => *owners.entry(domain).or_default() += resident.count,
            None => {
                let message = format!("{} spreads by {}, which the node lacks", profile.name, constraint.key);
                findings.add(Rule::Spread, machine.name, message);
            }
        }
    }
    for &member in &members {
        for resident in state.residents_of(member) {
            let machine = &state.machines[resident.machine];
            if counted(profile, constraint, machine)
                && let Some(domain) = machine.labels.get(&constraint.key)
            {
                *matching.entry(domain).or_default() += resident.count;
            }
        }
    }
    if !from_zero {
        for domain in eligible(state, profile, constraint, weight, usage) {
            matching.entry(domain).or_default();
        }
    }
    Count { owner, constraint, weight, matching, owners, members, from_zero }
}

/// Domains that count towards the least for pods that come to pools of a weight.
fn eligible<'s>(
    state: &'s State,
    profile: &Profile,
    constraint: &Spread,
    own: Option<i32>,
    usage: &[Usage],
) -> BTreeSet<&'s str> {
    let mut domains: BTreeSet<&str> = state
        .machines
        .iter()
        .filter(|machine| counted(profile, constraint, machine))
        .filter_map(|machine| machine.labels.get(&constraint.key))
        .collect();
    if constraint.key != HOSTNAME && !state.is_closed() {
        let weight = |offer: &Offer| state.world.pools[offer.pool].weight;
        // Nodes that lack one of its keys are closed to the pod, and don't count.
        let could = |offer: &&Offer| {
            profile.spreads.iter().all(|spread| offer.labels.get(&spread.key).is_some())
                && state.world.fits_alone(profile, offer)
                && has_room(state, offer, usage)
        };
        let fits = |offer: &&Offer| state.world.fits_alone(profile, offer);
        let heaviest = if alike(state) { None } else { state.offers().iter().filter(fits).map(weight).max() };
        for offer in state.offers() {
            if heaviest.is_none_or(|heaviest| weight(offer) == heaviest || own == Some(weight(offer)))
                && let Some(domain) = offer.labels.get(&constraint.key)
                && !domains.contains(domain)
                && could(&offer)
            {
                domains.insert(domain);
            }
        }
    }
    domains
}

impl Count<'_> {
    /// The first domain that holds too many, with how many, and the least.
    fn excess(&self, owners: &BTreeMap<&str, i64>, matching: &BTreeMap<&str, i64>) -> Option<(String, i64, i64)> {
        let few = (matching.len() as i64) < self.constraint.min_domains;
        let least = if self.from_zero || few { 0 } else { matching.values().copied().min().unwrap_or(0) };
        owners.iter().filter(|(_, count)| **count > 0).find_map(|(domain, _)| {
            let held = matching.get(domain).copied().unwrap_or(0);
            (held - least > self.constraint.max_skew).then(|| ((*domain).to_owned(), held, least))
        })
    }

    /// Whether a node with these labels would be in a domain that does not count yet.
    pub(super) fn lacks_domain_of(&self, labels: &Labels) -> bool {
        !self.from_zero && labels.get(&self.constraint.key).is_some_and(|domain| !self.matching.contains_key(domain))
    }

    /// Tells if the constraint is broken.
    pub(super) fn check(&self, state: &State, findings: &mut Findings) {
        if let Some((domain, held, least)) = self.excess(&self.owners, &self.matching) {
            let message = format!(
                "{held} matching pods in {} {domain}, the least is {least}, maxSkew is {}",
                self.constraint.key, self.constraint.max_skew
            );
            findings.add(Rule::Spread, &state.world.profiles[self.owner].name, message);
        }
    }

    /// Whether it would still hold if all waiting pods of a planned machine stood on `other` instead.
    pub(super) fn holds_with(&self, machine: &Machine, other: &Machine, state: &State) -> bool {
        let key = &self.constraint.key;
        // Without the label it is in no domain: nobody who is judged may stand there, and nobody there counts.
        let (from, to) = (machine.labels.get(key), other.labels.get(key));
        if from == to || key == HOSTNAME {
            return true;
        }
        let profile = &state.world.profiles[self.owner];
        let (mut owners, mut matching) = (self.owners.clone(), self.matching.clone());
        for &(at, count) in &machine.pods {
            let count = i64::from(count);
            if at == self.owner && weight_of(state, machine) == self.weight {
                let Some(to) = to else { return false };
                if let Some(from) = from {
                    *owners.entry(from).or_default() -= count;
                }
                *owners.entry(to).or_default() += count;
            }
            if self.members.contains(&at) {
                if let Some(from) = from.filter(|_| counted(profile, self.constraint, machine)) {
                    *matching.entry(from).or_default() -= count;
                }
                if let Some(to) = to.filter(|_| counted(profile, self.constraint, other)) {
                    *matching.entry(to).or_default() += count;
                }
            }
        }
        self.excess(&owners, &matching).is_none()
    }
}
