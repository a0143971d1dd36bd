//! Objects and catalogue, read once: pods, pools, daemons, nodes that are there, and what could be opened.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint, Toleration};

use super::amounts::{Amounts, Table};
use super::broken::{Findings, Rule};
use super::kubelet::Settings;
use super::matching::{Labels, NODE_POOL};
use super::open_labels::Wishes;
use super::overlays::Overlays;
use super::profile::{HostPort, Identity, Profile};
use super::supply::{Kind, Pool, existing};
use super::volumes::{Attachments, Volumes};
use super::{VerifyOptions, claims, matching};
use crate::catalog::{Catalog, Offering};
use crate::kubernetes::Snapshot;
use crate::plan::types::Plan;

/// What never changes while a plan is judged: objects and catalogue, read.
#[derive(Debug)]
pub(super) struct World<'a> {
    /// The catalogue.
    pub(super) catalog: &'a Catalog,
    /// How to judge.
    pub(super) options: &'a VerifyOptions,
    /// Names of resources.
    pub(super) table: Table,
    /// By node class that a pool names (the first says nothing) and instance type: what a node gives.
    kinds: Vec<Vec<Kind>>,
    /// By pool: its node class, as an index into `kinds`.
    class_of: Vec<usize>,
    /// What overlays change of that, and of prices.
    overlays: Overlays<'a>,
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
    /// Nodes that are there or under way.
    pub(super) existing: Vec<Existing<'a>>,
}

/// A node that is there or under way.
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
    /// Daemon sets, as `namespace/name`, that have their pod on it already.
    served: BTreeSet<String>,
    /// Whether it is being deleted: nothing may be placed on it, and what stands on it doesn't count.
    pub(super) leaving: bool,
}

impl Existing<'_> {
    /// Its labels.
    pub(super) fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// Its taints, the one of a cordoned node included.
    pub(super) fn taints(&self) -> &[Taint] {
        &self.taints
    }

    /// Daemon sets, as `namespace/name`, that have their pod on it already.
    pub(super) fn served(&self) -> &BTreeSet<String> {
        &self.served
    }

    /// Profiles of the pods bound to it.
    pub(super) fn bound(&self) -> &[usize] {
        &self.bound
    }

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
    /// Dollars an hour, overlays counted in.
    pub(super) price: f64,
    /// Labels of its nodes.
    pub(super) labels: Labels<'a>,
    /// What the daemons that land on it take.
    pub(super) overhead: Amounts,
    /// What is left for waiting pods.
    pub(super) room: Amounts,
    /// Host ports that daemons take.
    pub(super) ports: Vec<HostPort>,
    /// Volumes that daemons have attached.
    pub(super) volumes: Attachments,
}

/// What the daemons of a node take.
#[derive(Clone, Debug, Default)]
pub(super) struct Overhead {
    /// Amounts.
    pub(super) amounts: Amounts,
    /// Host ports.
    pub(super) ports: Vec<HostPort>,
    /// Volumes.
    pub(super) volumes: Attachments,
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
    /// Reads objects and catalogue, and the labels that a plan chooses; what can't be read is told, and `None` returned.
    pub(super) fn read(
        snapshot: &'a Snapshot,
        catalog: &'a Catalog,
        options: &'a VerifyOptions,
        plan: &Plan,
        findings: &mut Findings,
    ) -> Option<Self> {
        let mut readable = true;
        let mut table = Table::new();
        let volumes = Volumes::new(snapshot);
        let mut note = |subject: &str, message: String| {
            findings.add(Rule::Input, subject, message);
            readable = false;
        };
        let mut pools = Vec::new();
        let daemon_specs = snapshot.daemon_sets.iter().filter_map(|daemon| daemon.spec.template.spec.as_ref());
        let wishes = Wishes::new(
            snapshot.pending.iter().map(|group| group.spec.as_ref()).chain(daemon_specs),
            snapshot.bound.iter().filter(|pod| !is_gone(pod)).filter_map(|pod| pod.spec.as_ref()),
            plan.nodes.iter().map(|node| (node.node_pool.as_str(), &node.labels)),
        );
        for pool in &snapshot.node_pools {
            match Pool::read(&mut table, pool, catalog, &wishes, pools.len()) {
                Ok(choices) => pools.extend(choices),
                Err(message) => note(pool.metadata.name.as_deref().unwrap_or_default(), message),
            }
        }
        let (mut settings, mut class_of) = (vec![Settings::default()], Vec::new());
        for pool in &pools {
            let class = snapshot.node_classes.iter().find(|class| class["metadata"]["name"] == pool.class);
            match class.map(Settings::new) {
                None => class_of.push(0),
                Some(Ok(read)) => {
                    class_of.push(settings.len());
                    settings.push(read);
                }
                Some(Err(message)) => note(pool.class, message),
            }
        }
        let mut kinds: Vec<Vec<Kind>> = Vec::new();
        for settings in &settings {
            let mut of_class = Vec::with_capacity(catalog.instance_types.len());
            for instance in &catalog.instance_types {
                match Kind::new(&mut table, instance, settings) {
                    Ok(kind) => of_class.push(kind),
                    Err(message) => note(&instance.name, message),
                }
            }
            kinds.push(of_class);
        }
        let mut overlays = Overlays::default();
        if !snapshot.node_overlays.is_empty() {
            match Overlays::read(snapshot, catalog, &pools) {
                Ok(read) => overlays = read,
                Err((name, message)) => note(name, message),
            }
            let gives = |pool: usize, kind: usize| kinds.get(*class_of.get(pool)?)?.get(kind).cloned();
            if let Err(message) = overlays.extend(&mut table, gives) {
                note("NodeOverlay", message);
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
        let mut served: HashMap<&str, BTreeSet<String>> = HashMap::new();
        for pod in snapshot.bound.iter().filter(|pod| !is_gone(pod)) {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
            let name = format!("{namespace}/{}", pod.metadata.name.as_deref().unwrap_or_default());
            let Some(spec) = &pod.spec else { continue };
            let node = spec.node_name.as_deref().unwrap_or_default();
            let owners = pod.metadata.owner_references.iter().flatten();
            for owner in owners.filter(|owner| owner.kind == "DaemonSet") {
                served.entry(node).or_default().insert(format!("{namespace}/{}", owner.name));
            }
            let identity = Identity { namespace, labels: pod.metadata.labels.as_ref().unwrap_or(&EMPTY) };
            match Profile::new(name.clone(), identity, spec, &mut table, &volumes) {
                Ok(profile) => {
                    bound_to.entry(node).or_default().push(profiles.len());
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
            let claim = claims::starting(&snapshot.node_claims, node);
            let mut read = existing(&mut table, node, &snapshot.csi_nodes);
            if let Some(claim) = claim {
                let promised = claims::kind(&mut table, claim, catalog, &snapshot.node_classes);
                read = read.and_then(|said| Ok(claims::complete(said, promised?)));
            }
            match read {
                Ok(kind) => existing_nodes.push(Existing {
                    name,
                    labels: node.metadata.labels.as_ref().map_or(Cow::Borrowed(&EMPTY), Cow::Borrowed),
                    taints: claims::lasting(taints_of(node), claim),
                    kind,
                    bound: bound_to.remove(name).unwrap_or_default(),
                    served: served.remove(name).unwrap_or_default(),
                    leaving: node.metadata.deletion_timestamp.is_some(),
                }),
                Err(message) => note(name, message),
            }
        }
        for claim in claims::under_way(&snapshot.node_claims, &snapshot.nodes) {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            match claims::kind(&mut table, claim, catalog, &snapshot.node_classes) {
                Ok(kind) => existing_nodes.push(Existing {
                    name,
                    labels: claims::labels(claim),
                    taints: claim.spec.taints.clone().unwrap_or_default(),
                    kind,
                    bound: Vec::new(),
                    served: BTreeSet::new(),
                    leaving: false,
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
            class_of,
            overlays,
            kind_of,
            pools,
            profiles,
            waiting,
            daemons,
            namespaces,
            existing: existing_nodes,
        })
    }

    /// What a node of an instance type gives in a pool.
    pub(super) fn gives(&self, pool: usize, kind: usize) -> &Kind {
        let overlaid = self.overlays.gives(self.pools[pool].first, kind);
        overlaid.unwrap_or(&self.kinds[self.class_of[pool]][kind])
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

    /// What the daemons that land on a node take; without those that are there already, and those of which `lands` says that
    /// they wait there for ever: the DaemonSet controller makes their pods all the same, but kube-scheduler never binds them.
    pub(super) fn daemons_on(
        &self,
        labels: &Labels,
        taints: &[Taint],
        served: &BTreeSet<String>,
        lands: impl Fn(&Profile) -> bool,
    ) -> Overhead {
        let mut overhead = Overhead::default();
        for (daemon, tolerations) in &self.daemons {
            if !served.contains(&daemon.name)
                && daemon.likes(labels)
                && daemon.runs_on(labels)
                && daemon.reaches(labels)
                && matching::untolerated(tolerations, taints).is_none()
                && lands(daemon)
            {
                overhead.amounts.add(&daemon.requests, 1);
                overhead.ports.extend(daemon.ports.iter().cloned());
                overhead.volumes.add(daemon, 1);
            }
        }
        overhead
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
        let gives = self.gives(pool, kind);
        // A node that is too small for a daemon that is meant for it is not to be bought.
        let lands = |daemon: &Profile| !lacks(gives, daemon);
        let Overhead { amounts: overhead, ports, volumes } =
            self.daemons_on(&labels, self.pools[pool].taints, &BTreeSet::new(), lands);
        let mut room = gives.allocatable.clone();
        room.add(&overhead, -1);
        let price = self.overlays.price(self.pools[pool].first, kind, offering);
        Offer { pool, kind, offering, price, labels, overhead, room, ports, volumes }
    }

    /// Every offering that the pool allows.
    pub(super) fn offers_of<'b>(&'b self, pool: usize) -> Vec<Offer<'b>> {
        let mut offers = Vec::new();
        if self.pools[pool].is_static {
            return offers;
        }
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

    /// Whether a fresh node of the offer can attach the volumes of these pods, besides those of its daemons.
    pub(super) fn attaches(&self, offer: &Offer, pods: &[&Profile], volumes: &Attachments) -> bool {
        let most = &self.gives(offer.pool, offer.kind).volumes;
        volumes.and(&offer.volumes).exceed(most, pods.iter().copied()).is_none()
    }

    /// Whether a pod alone could stand on a fresh node of the offer.
    pub(super) fn fits_alone(&self, profile: &Profile, offer: &Offer) -> bool {
        profile.requests.exceeds(&offer.room).is_none()
            && profile.admitted(&offer.labels, self.pools[offer.pool].taints)
            && !profile.ports.iter().any(|port| offer.ports.iter().any(|taken| taken.conflicts(port)))
            && (profile.volumes.is_empty() || {
                let mut volumes = Attachments::default();
                volumes.add(profile, 1);
                self.attaches(offer, &[profile], &volumes)
            })
    }
}

/// Whether a pod asks for something of which a kind of node has nothing.
fn lacks(kind: &Kind, pod: &Profile) -> bool {
    pod.requests.asks_for_none_of(&kind.allocatable)
        || pod.volumes.iter().any(|volume| volume.has_no_place(&kind.volumes))
}

/// Whether a node on which nothing runs has room for a pod.
pub(super) fn has_room(kind: &Kind, pod: &Profile) -> bool {
    let mut volumes = Attachments::default();
    volumes.add(pod, 1);
    pod.requests.exceeds(&kind.allocatable).is_none() && volumes.exceed(&kind.volumes, std::iter::once(pod)).is_none()
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
