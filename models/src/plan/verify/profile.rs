//! A pod as kube-scheduler's filters see it: what it asks for and what it insists on.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodAffinityTerm, PodSpec, Toleration, TopologySpreadConstraint};

use super::amounts::{Amounts, Table, pod_requests};
use super::matching::{Labels, Selector, any_term, node_affinity_holds, untolerated};
use super::volumes::{Reach, Volume, Volumes};

/// Who a pod is, so far as others select it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity<'a> {
    /// Namespace.
    pub(super) namespace: &'a str,
    /// Labels.
    pub(super) labels: &'a BTreeMap<String, String>,
}

/// Which namespaces an affinity term looks into.
#[derive(Clone, Debug)]
struct Namespaces {
    named: Vec<String>,
    selector: Option<Selector>,
}

/// A required pod affinity or anti-affinity term.
#[derive(Clone, Debug)]
pub(super) struct Term {
    /// Label key whose values are the domains.
    pub(super) key: String,
    /// Whom it selects.
    pub(super) selector: Selector,
    namespaces: Namespaces,
}

/// A topology spread constraint that must hold.
#[derive(Clone, Debug)]
pub(super) struct Spread {
    /// Label key whose values are the domains.
    pub(super) key: String,
    /// Whom it counts, within the pod's namespace.
    pub(super) selector: Selector,
    /// The largest difference.
    pub(super) max_skew: i64,
    /// Below so many eligible domains the least counts as 0.
    pub(super) min_domains: i64,
    /// Whether only nodes that the pod's selector and affinity allow count.
    pub(super) honor_affinity: bool,
    /// Whether only nodes whose taints the pod tolerates count.
    pub(super) honor_taints: bool,
}

/// A port of the node that a pod takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPort {
    address: String,
    protocol: String,
    port: i32,
}

impl HostPort {
    /// Whether both can't be on one node: same port and protocol, and the same or any address.
    pub(super) fn conflicts(&self, other: &HostPort) -> bool {
        let any = |address: &str| address == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (any(&self.address) || any(&other.address) || self.address == other.address)
    }
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}/{}", self.address, self.port, self.protocol)
    }
}

/// All that decides where a pod may stand. The pods of a group share one.
#[derive(Clone, Debug)]
pub(super) struct Profile<'a> {
    /// For messages.
    pub(super) name: String,
    /// Who it is.
    pub(super) identity: Identity<'a>,
    /// The pod's specification.
    pub(super) spec: &'a PodSpec,
    /// What it asks for.
    pub(super) requests: Amounts,
    /// Host ports it takes.
    pub(super) ports: Vec<HostPort>,
    /// Where its volumes can be reached.
    pub(super) reach: Vec<Reach<'a>>,
    /// Volumes that its node must attach.
    pub(super) volumes: Vec<Volume>,
    /// Required pod affinity.
    pub(super) affinity: Vec<Term>,
    /// Required pod anti-affinity.
    pub(super) anti_affinity: Vec<Term>,
    /// Spread constraints that must hold.
    pub(super) spreads: Vec<Spread>,
    /// Whether it has a selector or required affinity for nodes at all.
    picky: bool,
}

impl<'a> Profile<'a> {
    /// Reads one; the error says what can't be read.
    pub(super) fn new(
        name: String,
        identity: Identity<'a>,
        spec: &'a PodSpec,
        table: &mut Table,
        volumes: &Volumes<'a>,
    ) -> Result<Self, String> {
        let required = spec.affinity.as_ref();
        let affinity = required
            .and_then(|affinity| affinity.pod_affinity.as_ref())
            .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_deref());
        let anti_affinity = required
            .and_then(|affinity| affinity.pod_anti_affinity.as_ref())
            .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_deref());
        let node_affinity = required
            .and_then(|affinity| affinity.node_affinity.as_ref())
            .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
        let terms = |list: Option<&[PodAffinityTerm]>| -> Vec<Term> {
            list.unwrap_or_default().iter().map(|term| read_term(term, identity)).collect()
        };
        Ok(Profile {
            requests: pod_requests(table, spec)?,
            ports: host_ports(spec),
            reach: volumes.reach(identity.namespace, spec),
            volumes: volumes.attached(identity.namespace, spec),
            affinity: terms(affinity),
            anti_affinity: terms(anti_affinity),
            spreads: spec
                .topology_spread_constraints
                .iter()
                .flatten()
                .filter(|constraint| constraint.when_unsatisfiable == "DoNotSchedule")
                .map(|constraint| read_spread(constraint, identity))
                .collect(),
            picky: node_affinity.is_some() || spec.node_selector.as_ref().is_some_and(|selector| !selector.is_empty()),
            name,
            identity,
            spec,
        })
    }

    /// The pod's tolerations.
    pub(super) fn tolerations(&self) -> &'a [Toleration] {
        self.spec.tolerations.as_deref().unwrap_or_default()
    }

    /// Whether the node obeys the pod's selector and required node affinity.
    pub(super) fn likes(&self, labels: &Labels) -> bool {
        !self.picky || node_affinity_holds(self.spec, labels)
    }

    /// Whether every volume can be reached from the node.
    pub(super) fn reaches(&self, labels: &Labels) -> bool {
        self.reach.iter().all(|reach| match reach {
            Reach::Nowhere(_) => false,
            Reach::Terms(terms) => any_term(terms, labels),
            Reach::Label { key, values } => {
                labels.get(key).is_some_and(|found| values.iter().any(|value| value == found))
            }
            Reach::Topologies(topologies) => topologies.iter().any(|topology| {
                topology.match_label_expressions.iter().flatten().all(|expression| {
                    labels
                        .get(&expression.key)
                        .is_some_and(|found| expression.values.iter().any(|value| value == found))
                })
            }),
        })
    }

    /// Whether the kubelet of the node runs it: no other system than Windows has what a pod for Windows is made of.
    pub(super) fn runs_on(&self, labels: &Labels) -> bool {
        let windows = self.spec.os.as_ref().is_some_and(|system| system.name == "windows");
        !windows || labels.get("kubernetes.io/os") == Some("windows")
    }

    /// Whether labels, operating system, taints and volumes allow the node.
    pub(super) fn admitted(&self, labels: &Labels, taints: &[k8s_openapi::api::core::v1::Taint]) -> bool {
        self.likes(labels)
            && self.runs_on(labels)
            && untolerated(self.tolerations(), taints).is_none()
            && self.reaches(labels)
    }
}

/// Adds what `matchLabelKeys` and `mismatchLabelKeys` mean; keys that the pod does not bear are left out.
fn narrow(selector: &mut Selector, identity: Identity, keys: Option<&Vec<String>>, operator: &str) {
    for key in keys.into_iter().flatten() {
        if let Some(value) = identity.labels.get(key) {
            selector.and(key, operator, value);
        }
    }
}

fn read_term(term: &PodAffinityTerm, identity: Identity) -> Term {
    let mut selector = Selector::new(term.label_selector.as_ref());
    narrow(&mut selector, identity, term.match_label_keys.as_ref(), "In");
    narrow(&mut selector, identity, term.mismatch_label_keys.as_ref(), "NotIn");
    let mut named = term.namespaces.clone().unwrap_or_default();
    if named.is_empty() && term.namespace_selector.is_none() {
        named.push(identity.namespace.to_owned());
    }
    let by_label = term.namespace_selector.as_ref().map(|selector| Selector::new(Some(selector)));
    Term { key: term.topology_key.clone(), selector, namespaces: Namespaces { named, selector: by_label } }
}

fn read_spread(constraint: &TopologySpreadConstraint, identity: Identity) -> Spread {
    let mut selector = Selector::new(constraint.label_selector.as_ref());
    narrow(&mut selector, identity, constraint.match_label_keys.as_ref(), "In");
    Spread {
        key: constraint.topology_key.clone(),
        selector,
        max_skew: i64::from(constraint.max_skew),
        min_domains: i64::from(constraint.min_domains.unwrap_or(1)),
        honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
        honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
    }
}

impl Term {
    /// Whether it selects a pod. `namespaces` are the labels of each namespace.
    pub(super) fn selects(&self, pod: Identity, namespaces: &BTreeMap<&str, BTreeMap<String, String>>) -> bool {
        self.selector.matches(pod.labels)
            && (self.namespaces.named.iter().any(|name| name == pod.namespace)
                || self.namespaces.selector.as_ref().is_some_and(|selector| match namespaces.get(pod.namespace) {
                    Some(labels) => selector.matches(labels),
                    None => selector.matches(&BTreeMap::from([(
                        "kubernetes.io/metadata.name".to_owned(),
                        pod.namespace.to_owned(),
                    )])),
                }))
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars =
        spec.init_containers.iter().flatten().filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let on_host = spec.host_network == Some(true);
    let of = |container: &Container| -> Vec<HostPort> {
        container
            .ports
            .iter()
            .flatten()
            .filter_map(|port| {
                let number = port.host_port.filter(|number| *number > 0).or(on_host.then_some(port.container_port))?;
                let address = port.host_ip.clone().filter(|address| !address.is_empty());
                Some(HostPort {
                    address: address.unwrap_or_else(|| "0.0.0.0".to_owned()),
                    protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                    port: number,
                })
            })
            .collect()
    };
    spec.containers.iter().chain(sidecars).flat_map(of).collect()
}
