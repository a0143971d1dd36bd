//! Pods as the builder sees them: what they ask, where they may stand, and which rules they own, each said once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fixedbitset::FixedBitSet;
use indexmap::IndexSet;
use k8s_openapi::api::core::v1::{PodAffinityTerm, PodSpec, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::market::OS;
use super::model::Counted;
use super::preferences::{Preference, SPREAD_LEVEL, Wishes, avoid_taints};
use super::{BuildError, Options};
use crate::kubernetes::ports::{HostPort, host_ports};
use crate::kubernetes::quantity::Resources;
use crate::kubernetes::requests::pod_requests;
use crate::kubernetes::requirements::{
    NodeRequirements, Operator, Requirement, RequirementError, Selector, current_key, read_term,
};
use crate::kubernetes::taints::{Tolerates, daemon_tolerations, tolerations, unloved};
use crate::kubernetes::volumes::{ATTACHABLE, Volumes};
use crate::kubernetes::{PodGroup, Snapshot};

/// Where pods may stand, apart from their size.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Admission {
    /// Index into [`Reading::labels`].
    pub labels: usize,
    /// Index into [`Reading::tolerations`].
    pub tolerations: usize,
    /// Whether `PreferNoSchedule` keeps it away too.
    pub strict: bool,
    /// Host ports it takes.
    pub ports: Vec<HostPort>,
}

/// Pods by namespace and label; `None` as namespaces means all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PodSet {
    pub namespaces: Option<BTreeSet<String>>,
    /// `None` matches no pod.
    pub selector: Option<Selector>,
}

impl PodSet {
    pub fn matches(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.namespaces.as_ref().is_none_or(|names| names.contains(namespace))
            && self.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }

    /// Pods of both sets.
    fn both(&self, other: &PodSet) -> PodSet {
        let namespaces = match (&self.namespaces, &other.namespaces) {
            (Some(left), Some(right)) => Some(left.intersection(right).cloned().collect()),
            (one, other) => one.clone().or_else(|| other.clone()),
        };
        let selector = self.selector.as_ref().zip(other.selector.as_ref()).map(|(left, right)| {
            let mut requirements = [left.requirements.as_slice(), right.requirements.as_slice()].concat();
            requirements.sort();
            requirements.dedup();
            Selector { requirements }
        });
        PodSet { namespaces, selector }
    }

    pub fn describe(&self) -> String {
        self.selector.as_ref().map_or_else(|| "no pod".to_owned(), Selector::describe)
    }
}

/// A rule that a pod brings along.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Owned {
    /// Evenly over the domains of a key.
    Spread {
        key: String,
        pods: usize,
        max_skew: u32,
        min_domains: Option<u32>,
        /// The nodes that count.
        counted: Counted,
    },
    /// Only in a domain with one of those pods.
    Together { key: String, pods: usize },
    /// Never in a domain with one of those pods.
    Apart { key: String, pods: usize },
}

/// What is known of one group of pods.
#[derive(Debug)]
pub(crate) struct Profile {
    pub requests: Resources,
    pub admission: usize,
    /// The same without what is only preferred.
    pub required: usize,
    pub owned: BTreeSet<Owned>,
    /// Pod sets it belongs to.
    pub member: FixedBitSet,
    /// Why no node will do, whatever there is.
    pub defect: Option<String>,
}

/// What is known of a daemon set.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub namespace: String,
    pub name: String,
    pub requests: Resources,
    pub labels: usize,
    pub tolerations: usize,
    pub ports: Vec<HostPort>,
}

/// A pod on a node.
#[derive(Debug)]
pub(crate) struct Bound {
    pub node: String,
    pub requests: Resources,
    pub ports: Vec<HostPort>,
    /// Topology key and pod set of its required anti-affinity.
    pub apart: Vec<(String, usize)>,
    /// Namespace and name of its daemon set.
    pub daemon_set: Option<(String, String)>,
    /// Driver and name of its volumes.
    pub volumes: BTreeSet<(String, String)>,
    pub member: FixedBitSet,
}

/// All pods, with what they share said once.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub labels: IndexSet<NodeRequirements>,
    pub tolerations: IndexSet<Vec<Tolerates>>,
    pub admissions: IndexSet<Admission>,
    pub pod_sets: IndexSet<PodSet>,
    /// One a pod group of the snapshot.
    pub profiles: Vec<Profile>,
    pub daemons: Vec<Daemon>,
    pub bound: Vec<Bound>,
    /// By profile: its workload.
    pub workloads: Vec<String>,
    /// What pods would rather have.
    pub wishes: Wishes,
}

impl Reading {
    /// Takes note of the workloads that would rather not stand on a node with these taints.
    pub fn note_taints(&mut self, taints: &[Taint]) {
        if !taints.iter().any(|taint| taint.effect == "PreferNoSchedule") {
            return;
        }
        for (profile, workload) in self.profiles.iter().zip(&self.workloads) {
            let tolerations = self.admissions[profile.admission].tolerations;
            if unloved(taints, &self.tolerations[tolerations]).is_some() {
                self.wishes.add(avoid_taints(workload));
            }
        }
    }
}

impl Reading {
    /// Pod sets with a pod that is bound already.
    pub fn present(&self) -> FixedBitSet {
        let mut present = FixedBitSet::with_capacity(self.pod_sets.len());
        self.bound.iter().for_each(|bound| present.union_with(&bound.member));
        present
    }
}

/// Reads all pods of a snapshot.
pub(crate) fn read(snapshot: &Snapshot, options: &Options) -> Result<Reading, BuildError> {
    let mut reader = Reader {
        volumes: Volumes::new(snapshot),
        namespaces: namespaces(snapshot),
        reading: Reading { wishes: Wishes::new(options), ..Reading::default() },
    };
    for daemon_set in &snapshot.daemon_sets {
        let name = daemon_set.metadata.name.clone().unwrap_or_default();
        let namespace = daemon_set.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let Some(spec) = daemon_set.spec.template.spec.as_ref() else { continue };
        let object = format!("DaemonSet {namespace}/{name}");
        let mut requests = pod_requests(spec).map_err(|error| BuildError::new(&object, error))?;
        add_volumes(&mut requests, &reader.volumes.attached(&namespace, &name, spec));
        let mut labels = node_requirements(spec).map_err(|error| BuildError::new(&object, error))?;
        require_system(spec, &mut labels);
        let tolerations =
            daemon_tolerations(spec.tolerations.as_deref().unwrap_or_default(), spec.host_network.unwrap_or(false));
        let daemon = Daemon {
            namespace,
            name,
            requests,
            labels: reader.reading.labels.insert_full(labels).0,
            tolerations: reader.reading.tolerations.insert_full(tolerations).0,
            ports: host_ports(spec),
        };
        reader.reading.daemons.push(daemon);
    }
    for group in &snapshot.pending {
        let profile = reader.profile(group)?;
        reader.reading.profiles.push(profile);
    }
    let mut kept = Vec::new();
    for pod in &snapshot.bound {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let (Some(spec), false) = (&pod.spec, matches!(phase, Some("Succeeded" | "Failed"))) else { continue };
        let Some(node) = spec.node_name.clone() else { continue };
        kept.push(pod);
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let object = format!("Pod {namespace}/{}", pod.metadata.name.as_deref().unwrap_or_default());
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let mut apart = Vec::new();
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        for term in affinity
            .and_then(|anti| anti.required_during_scheduling_ignored_during_execution.as_ref())
            .into_iter()
            .flatten()
        {
            apart.push(reader.term(namespace, &labels, term).map_err(|error| BuildError::new(&object, error))?);
        }
        let owners = pod.metadata.owner_references.iter().flatten();
        let daemon_set = owners
            .into_iter()
            .find(|owner| owner.kind == "DaemonSet")
            .map(|owner| (namespace.to_owned(), owner.name.clone()));
        let bound = Bound {
            node,
            requests: pod_requests(spec).map_err(|error| BuildError::new(&object, error))?,
            ports: host_ports(spec),
            apart,
            daemon_set,
            volumes: reader.volumes.attached(namespace, pod.metadata.name.as_deref().unwrap_or_default(), spec),
            member: FixedBitSet::new(),
        };
        reader.reading.bound.push(bound);
    }
    let mut reading = reader.reading;
    // Who is in which set: pods are found by one of their labels, not compared one by one.
    let empty = BTreeMap::new();
    let people: Vec<(&str, &BTreeMap<String, String>)> = snapshot
        .pending
        .iter()
        .map(|group| (group.namespace.as_str(), &group.labels))
        .chain(kept.iter().map(|pod| {
            (pod.metadata.namespace.as_deref().unwrap_or("default"), pod.metadata.labels.as_ref().unwrap_or(&empty))
        }))
        .collect();
    let mut by_label: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for (index, (_, labels)) in people.iter().enumerate() {
        for (key, value) in *labels {
            by_label.entry((key, value)).or_default().push(index);
        }
    }
    let sets = reading.pod_sets.len();
    let mut members = vec![FixedBitSet::with_capacity(sets); people.len()];
    let everyone: Vec<usize> = (0..people.len()).collect();
    for (set_index, set) in reading.pod_sets.iter().enumerate() {
        let exact = set.selector.as_ref().and_then(|selector| {
            selector.requirements.iter().find(|one| one.operator == Operator::In && one.values.len() == 1)
        });
        let candidates = match exact {
            Some(one) => {
                by_label.get(&(one.key.as_str(), one.values[0].as_str())).map(Vec::as_slice).unwrap_or_default()
            }
            None => &everyone,
        };
        for &candidate in candidates {
            if set.matches(people[candidate].0, people[candidate].1) {
                members[candidate].insert(set_index);
            }
        }
    }
    let mut members = members.into_iter();
    for (profile, member) in reading.profiles.iter_mut().zip(members.by_ref()) {
        profile.member = member;
    }
    for (bound, member) in reading.bound.iter_mut().zip(members) {
        bound.member = member;
    }
    Ok(reading)
}

/// Counts volumes as a resource of their driver.
fn add_volumes(requests: &mut Resources, volumes: &BTreeSet<(String, String)>) {
    for (driver, _) in volumes {
        *requests.entry(format!("{ATTACHABLE}{driver}")).or_insert(0) += 1;
    }
}

/// Namespaces with their labels; those that are only mentioned have the label that all have.
fn namespaces(snapshot: &Snapshot) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for namespace in &snapshot.namespaces {
        all.insert(
            namespace.metadata.name.clone().unwrap_or_default(),
            namespace.metadata.labels.clone().unwrap_or_default(),
        );
    }
    let bound = snapshot.bound.iter().filter_map(|pod| pod.metadata.namespace.as_ref());
    for name in snapshot.pending.iter().map(|group| &group.namespace).chain(bound) {
        if !all.contains_key(name) {
            all.insert(name.clone(), BTreeMap::new());
        }
    }
    for (name, labels) in &mut all {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.clone());
    }
    all
}

/// Node selector and required node affinity of a pod.
pub(crate) fn node_requirements(spec: &PodSpec) -> Result<NodeRequirements, RequirementError> {
    let mut requirements = NodeRequirements::default();
    if let Some(labels) = &spec.node_selector {
        requirements.add_labels(labels);
    }
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    if let Some(selector) = affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref())
    {
        requirements.add_selector(selector)?;
    }
    Ok(requirements)
}

/// Windows nodes alone run a pod for Windows: kube-scheduler does not look at `spec.os`, but a kubelet of another system
/// refuses the pod (<https://kubernetes.io/docs/concepts/workloads/pods/#pod-os>).
fn require_system(spec: &PodSpec, requirements: &mut NodeRequirements) {
    if spec.os.as_ref().is_some_and(|system| system.name == "windows") {
        requirements.all_of.push(vec![vec![Requirement::equals(OS, "windows")]]);
    }
}

struct Reader<'a> {
    volumes: Volumes<'a>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    reading: Reading,
}

impl Reader<'_> {
    /// Whether a wish of a workload is honoured in this build.
    fn honours(&mut self, level: i32, workload: &str, ordinal: usize, wish: String) -> bool {
        self.reading.wishes.add(Preference { level, workload: workload.to_owned(), ordinal, wish })
    }

    fn profile(&mut self, group: &PodGroup) -> Result<Profile, BuildError> {
        let spec = &group.spec;
        let workload = format!("{} {}/{}", group.owner.kind, group.namespace, group.owner.name);
        let object = group.describe();
        let mut ordinal = 0..;
        let mut next = || ordinal.next().unwrap_or_default();
        let failed = |error: RequirementError| BuildError::new(&object, error);
        let mut requests = pod_requests(spec).map_err(|error| BuildError::new(&object, error))?;
        add_volumes(&mut requests, &self.volumes.attached(&group.namespace, "", spec));
        let mut requirements = node_requirements(spec).map_err(failed)?;
        // Spread counts nodes by selector and affinity, not by volumes, operating systems or preferences.
        let counted = self.reading.labels.insert_full(requirements.clone()).0;
        require_system(spec, &mut requirements);
        let defect = self.volumes.require(&group.namespace, spec, &mut requirements).map_err(failed)?.err();
        let without_preferences = self.reading.labels.insert_full(requirements.clone()).0;
        let affinity = spec.affinity.clone().unwrap_or_default();
        let node = affinity.node_affinity.unwrap_or_default();
        for preferred in node.preferred_during_scheduling_ignored_during_execution.iter().flatten() {
            let term = read_term(&preferred.preference).map_err(failed)?;
            let wish = format!("preferred node affinity of weight {}", preferred.weight);
            if !term.is_empty() && self.honours(preferred.weight, &workload, next(), wish) {
                requirements.all_of.push(vec![term]);
            }
        }
        let mut owned = BTreeSet::new();
        let together = affinity.pod_affinity.unwrap_or_default();
        let mut keys = BTreeSet::new();
        let mut wanted: Option<PodSet> = None;
        for term in together.required_during_scheduling_ignored_during_execution.iter().flatten() {
            let (key, pods) = self.term(&group.namespace, &group.labels, term).map_err(failed)?;
            let set = self.reading.pod_sets[pods].clone();
            wanted = Some(wanted.map_or(set.clone(), |known| known.both(&set)));
            keys.insert(key);
        }
        // The scheduler counts only pods that match all terms (satisfyPodAffinity of its InterPodAffinity plugin).
        if let Some(wanted) = wanted {
            let pods = self.reading.pod_sets.insert_full(wanted).0;
            owned.extend(keys.into_iter().map(|key| Owned::Together { key, pods }));
        }
        for preferred in together.preferred_during_scheduling_ignored_during_execution.iter().flatten() {
            let (key, pods) =
                self.term(&group.namespace, &group.labels, &preferred.pod_affinity_term).map_err(failed)?;
            let wish = format!("preferred pod affinity of weight {} on {key}", preferred.weight);
            if self.honours(preferred.weight, &workload, next(), wish) {
                owned.insert(Owned::Together { key, pods });
            }
        }
        let apart = affinity.pod_anti_affinity.unwrap_or_default();
        for term in apart.required_during_scheduling_ignored_during_execution.iter().flatten() {
            let (key, pods) = self.term(&group.namespace, &group.labels, term).map_err(failed)?;
            owned.insert(Owned::Apart { key, pods });
        }
        for preferred in apart.preferred_during_scheduling_ignored_during_execution.iter().flatten() {
            let (key, pods) =
                self.term(&group.namespace, &group.labels, &preferred.pod_affinity_term).map_err(failed)?;
            let wish = format!("preferred pod anti-affinity of weight {} on {key}", preferred.weight);
            if self.honours(preferred.weight, &workload, next(), wish) {
                owned.insert(Owned::Apart { key, pods });
            }
        }
        let tolerations = tolerations(spec.tolerations.as_deref().unwrap_or_default());
        let tolerations = self.reading.tolerations.insert_full(tolerations).0;
        let firm = spec.topology_spread_constraints.iter().flatten();
        let firm = firm.filter(|spread| spread.when_unsatisfiable == "DoNotSchedule");
        let keys: BTreeSet<String> = firm.map(|spread| current_key(&spread.topology_key).to_owned()).collect();
        for spread in spec.topology_spread_constraints.iter().flatten() {
            let invalid = |problem: &str| {
                BuildError::new(&object, format!("spec.topologySpreadConstraints ({}): {problem}", spread.topology_key))
            };
            let max_skew = u32::try_from(spread.max_skew)
                .ok()
                .filter(|skew| *skew > 0)
                .ok_or_else(|| invalid("maxSkew must be above 0"))?;
            let min_domains = match spread.min_domains {
                None => None,
                Some(least) => Some(
                    u32::try_from(least)
                        .ok()
                        .filter(|least| *least > 0)
                        .ok_or_else(|| invalid("minDomains must be above 0"))?,
                ),
            };
            match spread.when_unsatisfiable.as_str() {
                "DoNotSchedule" => {}
                "ScheduleAnyway" => {
                    let wish = format!("topology spread on {} with ScheduleAnyway", current_key(&spread.topology_key));
                    if !self.honours(SPREAD_LEVEL, &workload, next(), wish) {
                        continue;
                    }
                }
                _ => return Err(invalid("whenUnsatisfiable must be DoNotSchedule or ScheduleAnyway")),
            }
            let mut selector = spread.label_selector.as_ref().map(Selector::new).transpose().map_err(failed)?;
            require_keys(&mut selector, &group.labels, spread.match_label_keys.as_deref(), true);
            let namespaces = Some(BTreeSet::from([group.namespace.clone()]));
            let honour = |policy: &Option<String>, default: &str| policy.as_deref().unwrap_or(default) == "Honor";
            owned.insert(Owned::Spread {
                key: current_key(&spread.topology_key).to_owned(),
                pods: self.reading.pod_sets.insert_full(PodSet { namespaces, selector }).0,
                max_skew,
                min_domains,
                counted: Counted {
                    labels: honour(&spread.node_affinity_policy, "Honor").then_some(counted),
                    tolerations: honour(&spread.node_taints_policy, "Ignore").then_some(tolerations),
                    keys: keys.iter().filter(|key| **key != spread.topology_key).cloned().collect(),
                },
            });
        }
        let strict = self.reading.wishes.avoids_taints(&workload);
        let labels = self.reading.labels.insert_full(requirements).0;
        let required = Admission { labels: without_preferences, tolerations, strict: false, ports: host_ports(spec) };
        let admission = Admission { labels, strict, ..required.clone() };
        let admission = self.reading.admissions.insert_full(admission).0;
        let required = self.reading.admissions.insert_full(required).0;
        self.reading.workloads.push(workload);
        Ok(Profile { requests, admission, required, owned, member: FixedBitSet::new(), defect })
    }

    /// Topology key and pods of an affinity term.
    fn term(
        &mut self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        term: &PodAffinityTerm,
    ) -> Result<(String, usize), RequirementError> {
        let mut selector = term.label_selector.as_ref().map(Selector::new).transpose()?;
        require_keys(&mut selector, labels, term.match_label_keys.as_deref(), true);
        require_keys(&mut selector, labels, term.mismatch_label_keys.as_deref(), false);
        let named = term.namespaces.as_deref().unwrap_or_default();
        let namespaces = match &term.namespace_selector {
            None if named.is_empty() => Some(BTreeSet::from([namespace.to_owned()])),
            None => Some(named.iter().cloned().collect()),
            Some(by_label) if *by_label == LabelSelector::default() => None,
            Some(by_label) => {
                let by_label = Selector::new(by_label)?;
                let selected = self.namespaces.iter().filter(|(_, labels)| by_label.matches(labels));
                Some(selected.map(|(name, _)| name).chain(named).cloned().collect())
            }
        };
        let pods = self.reading.pod_sets.insert_full(PodSet { namespaces, selector }).0;
        Ok((current_key(&term.topology_key).to_owned(), pods))
    }
}

/// Narrows a selector to pods with the same (or another) value of some labels; keys that the pod lacks don't count.
fn require_keys(
    selector: &mut Option<Selector>,
    labels: &BTreeMap<String, String>,
    keys: Option<&[String]>,
    equal: bool,
) {
    let Some(selector) = selector else { return };
    for key in keys.unwrap_or_default() {
        if let Some(value) = labels.get(key) {
            selector.require(key, value, equal);
        }
    }
}
