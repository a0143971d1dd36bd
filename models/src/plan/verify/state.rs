//! The final state that a plan leads to: every node, with what stands on it.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1::Taint;

use super::amounts::Amounts;
use super::broken::{Findings, Rule};
use super::matching::{HOSTNAME, Labels};
use super::profile::{HostPort, Identity};
use super::volumes::Attachments;
use super::world::{Offer, Overhead, World, has_room};
use super::{account, offerings};
use crate::kubernetes::PodGroup;
use crate::plan::types::{Plan, PlannedNode};

/// A node of the final state.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its labels.
    pub(super) labels: Labels<'a>,
    /// Its taints.
    pub(super) taints: &'a [Taint],
    /// What pods may use of it in all.
    pub(super) allocatable: &'a Amounts,
    /// What daemons (new) or bound pods (existing) take.
    pub(super) taken: Amounts,
    /// Host ports that those take.
    pub(super) ports: Vec<HostPort>,
    /// Volumes of those.
    pub(super) volumes: Attachments,
    /// The most volumes, by driver.
    pub(super) most_volumes: &'a BTreeMap<String, i64>,
    /// Waiting pods on it: profile and count.
    pub(super) pods: Vec<(usize, u32)>,
    /// The plan's entry and its offering, if it is to be bought.
    pub(super) planned: Option<(&'a PlannedNode, Offer<'a>)>,
}

/// Pods of one profile on one machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resident {
    /// Whose.
    pub(super) profile: usize,
    /// Where.
    pub(super) machine: usize,
    /// How many.
    pub(super) count: i64,
}

/// What ties a profile's pods to other nodes or pods than their own, by rules of its own or of others.
#[derive(Clone, Debug, Default)]
pub(super) struct Ties<'a> {
    /// Label keys, but for the hostname, of pod affinity and anti-affinity.
    pub(super) affinity: BTreeSet<&'a str>,
    /// Whether a topology spread by another key than the hostname counts them.
    pub(super) spread: bool,
    /// Whether they need company on their own node.
    company: bool,
}

impl Ties<'_> {
    /// Whether a pod of the profile alone on a fresh node could break a rule or lack something.
    pub(super) fn any(&self) -> bool {
        self.spread || self.company || !self.affinity.is_empty()
    }
}

/// The final state.
#[derive(Debug)]
pub(super) struct State<'a> {
    /// Objects and catalogue.
    pub(super) world: &'a World<'a>,
    /// The plan.
    pub(super) plan: &'a Plan,
    /// All nodes that could be read.
    pub(super) machines: Vec<Machine<'a>>,
    /// All pods on them.
    pub(super) residents: Vec<Resident>,
    /// Indices into `residents`, by profile.
    pub(super) by_profile: Vec<Vec<usize>>,
    /// By waiting profile: how many the plan leaves over.
    pub(super) left_over: Vec<u32>,
    /// Profiles that bear a label, for quick selection.
    by_label: HashMap<(&'a str, &'a str), Vec<usize>>,
    offers: OnceCell<Vec<Offer<'a>>>,
    ties: OnceCell<Vec<Ties<'a>>>,
}

impl<'a> State<'a> {
    /// The state that the plan leads to. Tells of pods that are missing, doubled or unknown, of nodes that don't exist,
    /// and of offerings that aren't for sale.
    pub(super) fn new(world: &'a World<'a>, groups: &'a [PodGroup], plan: &'a Plan, findings: &mut Findings) -> Self {
        let mut roll = account::Roll::new(groups);
        let mut state = State {
            world,
            plan,
            machines: Vec::with_capacity(plan.nodes.len() + world.existing.len()),
            residents: Vec::new(),
            by_profile: vec![Vec::new(); world.profiles.len()],
            left_over: Vec::new(),
            by_label: HashMap::new(),
            offers: OnceCell::new(),
            ties: OnceCell::new(),
        };
        for node in &plan.nodes {
            let pods = roll.call(&node.pods, &node.name, findings);
            if pods.is_empty() {
                findings.add(Rule::Pods, &node.name, "is to be bought but holds no waiting pod");
            }
            if let Some(offer) = offerings::of_node(world, node, &pods, findings) {
                let kind = world.gives(offer.pool, offer.kind);
                state.machines.push(Machine {
                    name: &node.name,
                    labels: offer.labels,
                    taints: world.pools[offer.pool].taints,
                    allocatable: &kind.allocatable,
                    taken: offer.overhead.clone(),
                    ports: offer.ports.clone(),
                    volumes: offer.volumes.clone(),
                    most_volumes: &kind.volumes,
                    pods,
                    planned: Some((node, offer)),
                });
            }
        }
        let mut on_existing: HashMap<&str, Vec<(usize, u32)>> = HashMap::new();
        for node in &plan.existing_nodes {
            let pods = roll.call(&node.pods, &node.name, findings);
            if on_existing.insert(&node.name, pods).is_some() {
                findings.add(Rule::NodeNames, &node.name, "is listed twice");
            }
        }
        for node in world.existing.iter().filter(|node| !node.leaving) {
            let labels = Labels { name: node.name, offering: None, base: node.labels() };
            let Overhead { amounts: mut taken, mut ports, mut volumes } =
                world.daemons_on(&labels, node.taints(), node.served(), |daemon| has_room(&node.kind, daemon));
            for &bound in node.bound() {
                taken.add(&world.profiles[bound].requests, 1);
                ports.extend(world.profiles[bound].ports.iter().cloned());
                volumes.add(&world.profiles[bound], 1);
            }
            let machine = state.machines.len();
            for &profile in node.bound() {
                state.add(Resident { profile, machine, count: 1 });
            }
            state.machines.push(Machine {
                name: node.name,
                labels,
                taints: node.taints(),
                allocatable: &node.kind.allocatable,
                taken,
                ports,
                volumes,
                most_volumes: &node.kind.volumes,
                pods: on_existing.remove(node.name).unwrap_or_default(),
                planned: None,
            });
        }
        let mut unknown: Vec<&str> = on_existing.into_keys().collect();
        unknown.sort_unstable();
        for name in unknown {
            findings.add(Rule::NodeNames, name, "is no node of the cluster that stays");
        }
        for machine in 0..state.machines.len() {
            for (profile, count) in state.machines[machine].pods.clone() {
                state.add(Resident { profile, machine, count: i64::from(count) });
            }
        }
        state.left_over = roll.finish(&plan.unschedulable, findings);
        for (at, profile) in world.profiles.iter().enumerate() {
            for (key, value) in profile.identity.labels {
                state.by_label.entry((key, value)).or_default().push(at);
            }
        }
        state
    }

    fn add(&mut self, resident: Resident) {
        self.by_profile[resident.profile].push(self.residents.len());
        self.residents.push(resident);
    }

    /// Profiles that satisfy `selects`, which only those can that bear the `pivot` label, if there is one.
    pub(super) fn select(&self, pivot: Option<(&str, &str)>, selects: impl Fn(Identity) -> bool) -> Vec<usize> {
        let mut chosen = self.select_any(pivot, selects);
        chosen.retain(|at| !self.by_profile[*at].is_empty());
        chosen
    }

    /// The same, of all profiles, whether or not one of their pods is placed.
    fn select_any(&self, pivot: Option<(&str, &str)>, selects: impl Fn(Identity) -> bool) -> Vec<usize> {
        let chosen = |at: &usize| selects(self.world.profiles[*at].identity);
        match pivot {
            Some(pivot) => self.by_label.get(&pivot).into_iter().flatten().copied().filter(chosen).collect(),
            None => (0..self.world.profiles.len()).filter(chosen).collect(),
        }
    }

    /// The label keys that tie a profile's pods to other nodes.
    pub(super) fn ties(&self, profile: usize) -> &Ties<'a> {
        &self.ties.get_or_init(|| self.find_ties())[profile]
    }

    fn find_ties(&self) -> Vec<Ties<'a>> {
        let world = self.world;
        let mut ties = vec![Ties::default(); world.profiles.len()];
        for (owner, profile) in world.profiles.iter().enumerate() {
            for term in profile.affinity.iter().chain(&profile.anti_affinity) {
                let chosen = self.select_any(term.selector.pivot(), |pod| term.selects(pod, &world.namespaces));
                for at in chosen.into_iter().chain([owner]) {
                    ties[at].affinity.insert(&term.key);
                }
            }
            for spread in profile.spreads.iter().filter(|spread| spread.key != HOSTNAME) {
                let chosen = self.select_any(spread.selector.pivot(), |pod| {
                    pod.namespace == profile.identity.namespace && spread.selector.matches(pod.labels)
                });
                for at in chosen.into_iter().chain([owner]) {
                    ties[at].spread = true;
                }
            }
            ties[owner].company = profile.affinity.iter().any(|term| term.key == HOSTNAME);
        }
        for tie in &mut ties {
            tie.affinity.remove(HOSTNAME);
        }
        ties
    }

    /// The pods of a profile, by machine.
    pub(super) fn residents_of(&self, profile: usize) -> impl Iterator<Item = Resident> {
        self.by_profile[profile].iter().map(|&at| self.residents[at])
    }

    /// Whether the pods of a profile wait (and are not bound already).
    pub(super) fn waits(&self, profile: usize) -> bool {
        profile < self.world.waiting
    }

    /// Whether no node will come: the plan buys none and leaves no pod over for which one could be bought later.
    pub(super) fn is_closed(&self) -> bool {
        self.plan.nodes.is_empty() && self.plan.unschedulable.is_empty()
    }

    /// Every node that could be opened, pool by pool.
    pub(super) fn offers(&self) -> &[Offer<'a>] {
        self.offers.get_or_init(|| (0..self.world.pools.len()).flat_map(|pool| self.world.offers_of(pool)).collect())
    }
}
