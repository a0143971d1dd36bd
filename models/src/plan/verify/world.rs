//! The final state that a plan leads to: every node, with what stands on it.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint, Toleration};

use super::amounts::{Amounts, Table};
use super::broken::{Findings, Rule};
use super::matching::{Labels, NODE_POOL};
use super::profile::{HostPort, Identity, Profile};
use super::supply::{Kind, Pool, existing};
use super::volumes::Volumes;
use super::{VerifyOptions, matching};
use crate::catalog::{Catalog, Offering};
use crate::kubernetes::{PodGroup, Snapshot};
use crate::plan::types::{Plan, PlannedNode};

/// What never changes while a plan is judged: objects and catalogue, read.
#[derive(Debug)]
pub(super) struct World<'a> {
    /// The catalogue.
    pub(super) catalog: &'a Catalog,
    /// How to judge.
    pub(super) options: &'a VerifyOptions,
    /// Names of resources.
    pub(super) table: Table,
    /// By instance type of the catalogue: what a node of it gives.
    pub(super) kinds: Vec<Kind>,
    /// Position of each instance type.
    kind_of: HashMap<&'a str, usize>,
    /// The pools.
    pub(super) pools: Vec<Pool<'a>>,
    /// Waiting groups first (in the snapshot's order), then bound pods.
    pub(super) profiles: Vec<Profile<'a>>,
    /// How many of them wait.
    pub(super) waiting: usize,
    /// Daemons, with the tolerations that every daemon has.
    daemons: Vec<(Profile<'a>, Vec<Toleration>)>,
    /// Labels of each namespace.
    pub(super) namespaces: BTreeMap<&'a str, BTreeMap<String, String>>,
    /// Nodes that are there.
    pub(super) existing: Vec<Existing<'a>>,
}

/// A node that is there.
#[derive(Debug)]
pub(super) struct Existing<'a> {
    /// The object.
    pub(super) name: &'a str,
    /// Its labels.
    labels: Cow<'a, BTreeMap<String, String>>,
    /// Its taints, the one of a cordoned node included.
    taints: Vec<Taint>,
    /// What it has and offers.
    pub(super) kind: Kind,
    /// Profiles of the pods bound to it.
    bound: Vec<usize>,
}

impl Existing<'_> {
    /// The pool it belongs to, if any.
    pub(super) fn pool(&self) -> Option<&str> {
        self.labels.get(NODE_POOL).map(String::as_str)
    }
}

/// One offering for one pool: a node that could be opened.
#[derive(Clone, Debug)]
pub(super) struct Offer<'a> {
    /// Index of the pool.
    pub(super) pool: usize,
    /// Index of the instance type.
    pub(super) kind: usize,
    /// The offering.
    pub(super) offering: &'a Offering,
    /// Labels of its nodes.
    pub(super) labels: Labels<'a>,
    /// What the daemons that land on it take.
    pub(super) overhead: Amounts,
    /// What is left for waiting pods.
    pub(super) room: Amounts,
    /// Host ports that daemons take.
    pub(super) ports: Vec<HostPort>,
}

/// The name of a node that isn't planned: no pod selects it.
const NAMELESS: &str = "";

/// Tolerations that every daemon's pods get from the DaemonSet controller.
/// <https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/#taints-and-tolerations>
const DAEMON_TOLERATIONS: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

fn is_gone(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

impl<'a> World<'a> {
    /// Reads objects and catalogue; what can't be read is told, and `None` returned.
    pub(super) fn read(
        snapshot: &'a Snapshot,
        catalog: &'a Catalog,
        options: &'a VerifyOptions,
        findings: &mut Findings,
    ) -> Option<Self> {
        let mut readable = true;
        let mut table = Table::new();
        let volumes = Volumes::new(snapshot);
        let mut note = |subject: &str, message: String| {
            findings.add(Rule::Input, subject, message);
            readable = false;
        };
        let mut kinds = Vec::with_capacity(catalog.instance_types.len());
        for instance in &catalog.instance_types {
            match Kind::new(&mut table, instance) {
                Ok(kind) => kinds.push(kind),
                Err(message) => note(&instance.name, message),
            }
        }
        let mut pools = Vec::new();
        for pool in &snapshot.node_pools {
            match Pool::new(&mut table, pool, catalog) {
                Ok(pool) => pools.push(pool),
                Err(message) => note(pool.metadata.name.as_deref().unwrap_or_default(), message),
            }
        }
        let mut profiles = Vec::with_capacity(snapshot.pending.len() + snapshot.bound.len());
        for group in &snapshot.pending {
            let name = format!("{}/{}", group.namespace, group.names.name(0));
            let identity = Identity { namespace: &group.namespace, labels: &group.labels };
            match Profile::new(name.clone(), identity, &group.spec, &mut table, &volumes) {
                Ok(profile) => profiles.push(profile),
                Err(message) => note(&name, message),
            }
        }
        let waiting = profiles.len();
        let mut bound_to: HashMap<&str, Vec<usize>> = HashMap::new();
        for pod in snapshot.bound.iter().filter(|pod| !is_gone(pod)) {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
            let name = format!("{namespace}/{}", pod.metadata.name.as_deref().unwrap_or_default());
            let Some(spec) = &pod.spec else { continue };
            let identity = Identity { namespace, labels: pod.metadata.labels.as_ref().unwrap_or(&EMPTY) };
            match Profile::new(name.clone(), identity, spec, &mut table, &volumes) {
                Ok(profile) => {
                    bound_to.entry(spec.node_name.as_deref().unwrap_or_default()).or_default().push(profiles.len());
                    profiles.push(profile);
                }
                Err(message) => note(&name, message),
            }
        }
        let mut daemons = Vec::new();
        for daemon in &snapshot.daemon_sets {
            let namespace = daemon.metadata.namespace.as_deref().unwrap_or("default");
            let name = format!("{namespace}/{}", daemon.metadata.name.as_deref().unwrap_or_default());
            let template = &daemon.spec.template;
            let Some(spec) = &template.spec else { continue };
            let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref()).unwrap_or(&EMPTY);
            match Profile::new(name.clone(), Identity { namespace, labels }, spec, &mut table, &volumes) {
                Ok(profile) => daemons.push((profile, daemon_tolerations(spec))),
                Err(message) => note(&name, message),
            }
        }
        let mut existing_nodes = Vec::new();
        for node in &snapshot.nodes {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            match existing(&mut table, node) {
                Ok(kind) => existing_nodes.push(Existing {
                    name,
                    labels: node.metadata.labels.as_ref().map_or(Cow::Borrowed(&EMPTY), |labels| Cow::Borrowed(labels)),
                    taints: taints_of(node),
                    kind,
                    bound: bound_to.remove(name).unwrap_or_default(),
                }),
                Err(message) => note(name, message),
            }
        }
        let namespaces = snapshot.namespaces.iter().map(|namespace| {
            let name = namespace.metadata.name.as_deref().unwrap_or_default();
            let mut labels = namespace.metadata.labels.clone().unwrap_or_default();
            labels.entry("kubernetes.io/metadata.name".to_owned()).or_insert_with(|| name.to_owned());
            (name, labels)
        });
        let namespaces = namespaces.collect();
        let kind_of = catalog.instance_types.iter().enumerate().map(|(at, kind)| (kind.name.as_str(), at)).collect();
        readable.then_some(World {
            catalog,
            options,
            table,
            kinds,
            kind_of,
            pools,
            profiles,
            waiting,
            daemons,
            namespaces,
            existing: existing_nodes,
        })
    }

    /// Index of an instance type.
    pub(super) fn kind(&self, name: &str) -> Option<usize> {
        self.kind_of.get(name).copied()
    }

    /// Whether a capacity type may be bought.
    pub(super) fn buys(&self, capacity_type: &str) -> bool {
        self.options
            .capacity_types
            .as_ref()
            .is_none_or(|allowed| allowed.iter().any(|capacity| capacity == capacity_type))
    }

    /// A node of an offering for a pool, with the daemons that land on it.
    pub(super) fn offer<'b>(
        &'b self,
        pool: usize,
        kind: usize,
        offering: &'b Offering,
        name: Option<&'b str>,
    ) -> Offer<'b> {
        let instance = &self.catalog.instance_types[kind];
        let labels = self.pools[pool].node_labels(self.catalog, instance, offering, name.unwrap_or(NAMELESS));
        let mut overhead = Amounts::default();
        let mut ports = Vec::new();
        for (daemon, tolerations) in &self.daemons {
            if daemon.likes(&labels)
                && daemon.reaches(&labels)
                && matching::untolerated(tolerations, self.pools[pool].taints).is_none()
            {
                overhead.add(&daemon.requests, 1);
                ports.extend(daemon.ports.iter().cloned());
            }
        }
        let mut room = self.kinds[kind].allocatable.clone();
        room.add(&overhead, -1);
        Offer { pool, kind, offering, labels, overhead, room, ports }
    }

    /// Every offering that the pool allows.
    fn offers_of<'b>(&'b self, pool: usize) -> Vec<Offer<'b>> {
        let mut offers = Vec::new();
        for (kind, instance) in self.catalog.instance_types.iter().enumerate() {
            for offering in instance.offerings.iter().filter(|offering| self.buys(&offering.capacity_type)) {
                let labels = self.pools[pool].node_labels(self.catalog, instance, offering, NAMELESS);
                if self.pools[pool].refuses(&labels, self.catalog).is_none() {
                    offers.push(self.offer(pool, kind, offering, None));
                }
            }
        }
        offers
    }

    /// Whether a pod alone could stand on a fresh node of the offer.
    pub(super) fn fits_alone(&self, profile: &Profile, offer: &Offer) -> bool {
        profile.requests.exceeds(&offer.room).is_none()
            && profile.admitted(&offer.labels, self.pools[offer.pool].taints)
            && !profile.ports.iter().any(|port| offer.ports.iter().any(|taken| taken.conflicts(port)))
    }
}

static EMPTY: BTreeMap<String, String> = BTreeMap::new();

fn daemon_tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let network = (spec.host_network == Some(true)).then_some(("node.kubernetes.io/network-unavailable", "NoSchedule"));
    let always = DAEMON_TOLERATIONS.into_iter().chain(network).map(|(key, effect)| Toleration {
        key: Some(key.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some(effect.to_owned()),
        ..Toleration::default()
    });
    spec.tolerations.iter().flatten().cloned().chain(always).collect()
}

fn taints_of(node: &Node) -> Vec<Taint> {
    let spec = node.spec.as_ref();
    let mut taints = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let key = "node.kubernetes.io/unschedulable";
    if spec.and_then(|spec| spec.unschedulable) == Some(true) && taints.iter().all(|taint| taint.key != key) {
        taints.push(Taint { key: key.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() });
    }
    taints
}

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
        let mut roll = super::account::Roll::new(groups);
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
            if let Some(offer) = super::offerings::of_node(world, node, findings) {
                state.machines.push(Machine {
                    name: &node.name,
                    labels: offer.labels,
                    taints: world.pools[offer.pool].taints,
                    allocatable: &world.kinds[offer.kind].allocatable,
                    taken: offer.overhead.clone(),
                    ports: offer.ports.clone(),
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
        for node in &world.existing {
            let mut taken = Amounts::default();
            let mut ports = Vec::new();
            for &bound in &node.bound {
                taken.add(&world.profiles[bound].requests, 1);
                ports.extend(world.profiles[bound].ports.iter().cloned());
            }
            let machine = state.machines.len();
            for &profile in &node.bound {
                state.add(Resident { profile, machine, count: 1 });
            }
            state.machines.push(Machine {
                name: node.name,
                labels: Labels { name: node.name, offering: None, base: &node.labels },
                taints: &node.taints,
                allocatable: &node.kind.allocatable,
                taken,
                ports,
                pods: on_existing.remove(node.name).unwrap_or_default(),
                planned: None,
            });
        }
        let mut unknown: Vec<&str> = on_existing.into_keys().collect();
        unknown.sort_unstable();
        for name in unknown {
            findings.add(Rule::NodeNames, name, "is no node of the cluster");
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
            for spread in profile.spreads.iter().filter(|spread| spread.key != matching::HOSTNAME) {
                let chosen = self.select_any(spread.selector.pivot(), |pod| {
                    pod.namespace == profile.identity.namespace && spread.selector.matches(pod.labels)
                });
                for at in chosen.into_iter().chain([owner]) {
                    ties[at].spread = true;
                }
            }
            ties[owner].company = profile.affinity.iter().any(|term| term.key == matching::HOSTNAME);
        }
        for tie in &mut ties {
            tie.affinity.remove(matching::HOSTNAME);
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

    /// Every node that could be opened, pool by pool.
    pub(super) fn offers(&self) -> &[Offer<'a>] {
        self.offers.get_or_init(|| (0..self.world.pools.len()).flat_map(|pool| self.world.offers_of(pool)).collect())
    }
}
