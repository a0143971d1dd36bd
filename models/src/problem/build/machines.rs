//! Machines that are there and machines under way: nodes, and node claims whose node has yet to join the cluster.
//!
//! As Karpenter sees them (`StateNode` of <https://github.com/kubernetes-sigs/karpenter>): a machine is as its claim says
//! until its node is initialised, and taints that something lifts by then keep nobody away.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::BuildError;
use super::market::{HOSTNAME, INSTANCE_TYPE};
use super::variants::kubelet;
use crate::catalog::{Catalog, volume_limit};
use crate::kubernetes::quantity::{Resources, resources};
use crate::kubernetes::requirements::current_key;
use crate::kubernetes::{NodeClaim, Snapshot};

/// Taints that a node bears until it is ready and its controllers have seen it.
const PASSING: [&str; 4] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.cloudprovider.kubernetes.io/uninitialized",
    "karpenter.sh/unregistered",
];

/// The taint of a cordoned node; kube-scheduler lets those pods onto it that tolerate it, whether or not it is there yet
/// (the `NodeUnschedulable` plugin).
const CORDONED: &str = "node.kubernetes.io/unschedulable";

/// A machine, before the pods on it are counted.
#[derive(Debug)]
pub(crate) struct Machine {
    /// The node's name; the claim's where there is no node yet.
    pub name: String,
    /// Under their current names.
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    /// What a pool's limits count.
    pub capacity: Resources,
    pub allocatable: Resources,
    /// The most EBS volumes, where only its instance type says so: its driver has yet to come.
    pub ebs_volumes: Option<i64>,
    /// Whether pods can be placed on it.
    pub usable: bool,
    /// Whether it is being deleted: neither it nor what stands on it counts.
    pub leaving: bool,
}

/// All machines of a snapshot: its nodes in order, then the claims without a node. A claim that is being deleted and has no
/// node is none.
pub(crate) fn machines(snapshot: &Snapshot, catalog: &Catalog) -> Result<Vec<Machine>, BuildError> {
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    let mut by_provider: HashMap<&str, usize> = HashMap::new();
    for (index, claim) in snapshot.node_claims.iter().enumerate() {
        by_name.extend(claim.status.node_name.as_deref().filter(|name| !name.is_empty()).map(|name| (name, index)));
        by_provider.extend(claim.status.provider_id.as_deref().filter(|id| !id.is_empty()).map(|id| (id, index)));
    }
    let mut joined = vec![false; snapshot.node_claims.len()];
    let mut machines = Vec::new();
    for node in &snapshot.nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let provider = node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref()).unwrap_or_default();
        let claim = by_provider.get(provider).or_else(|| by_name.get(name)).copied();
        claim.into_iter().for_each(|claim| joined[claim] = true);
        let claim = claim.map(|claim| &snapshot.node_claims[claim]);
        machines.push(of_node(node, claim, snapshot, catalog)?);
    }
    for (claim, _) in snapshot.node_claims.iter().zip(joined).filter(|(_, joined)| !joined) {
        if claim.metadata.deletion_timestamp.is_none() {
            machines.push(of_claim(claim, snapshot, catalog)?);
        }
    }
    Ok(machines)
}

fn read(object: &str, list: Option<&BTreeMap<String, Quantity>>) -> Result<Resources, BuildError> {
    match list {
        Some(list) => resources(list).map_err(|error| BuildError::new(object, format!("status: {error}"))),
        None => Ok(Resources::new()),
    }
}

fn of_node(
    node: &Node,
    claim: Option<&NodeClaim>,
    snapshot: &Snapshot,
    catalog: &Catalog,
) -> Result<Machine, BuildError> {
    let name = node.metadata.name.clone().unwrap_or_default();
    let object = format!("Node {name}");
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in node.metadata.labels.iter().flatten() {
        labels.entry(current_key(key).to_owned()).or_insert_with(|| value.clone());
    }
    let status = node.status.as_ref();
    let mut capacity = read(&object, status.and_then(|status| status.capacity.as_ref()))?;
    let mut allocatable = match status.and_then(|status| status.allocatable.as_ref()) {
        Some(list) => read(&object, Some(list))?,
        None => capacity.clone(),
    };
    let spec = node.spec.as_ref();
    let mut taints: Vec<Taint> = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let leaving = node.metadata.deletion_timestamp.is_some();
    let (mut ready, mut ebs_volumes) = (is_ready(node), None);
    let starting = claim.filter(|claim| {
        claim.metadata.deletion_timestamp.is_none()
            && labels.get("karpenter.sh/initialized").is_none_or(|initialised| initialised != "true")
    });
    if let Some(claim) = starting {
        let promised = of_claim(claim, snapshot, catalog)?;
        ebs_volumes = promised.ebs_volumes;
        // What the node knows of itself already counts more than what was promised.
        for (known, promised) in [(&mut capacity, promised.capacity), (&mut allocatable, promised.allocatable)] {
            for (resource, amount) in promised {
                let known = known.entry(resource).or_insert(0);
                *known = if *known == 0 { amount } else { *known };
            }
        }
        let lifted = claim.spec.startup_taints.as_deref().unwrap_or_default();
        taints.retain(|taint| {
            let same = |other: &Taint| other.key == taint.key && other.effect == taint.effect;
            !PASSING.contains(&taint.key.as_str()) && !lifted.iter().any(same)
        });
        ready = true;
    }
    if spec.is_some_and(|spec| spec.unschedulable.unwrap_or(false)) && !taints.iter().any(|taint| taint.key == CORDONED)
    {
        taints.push(Taint { key: CORDONED.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() });
    }
    let usable = ready && !leaving;
    Ok(Machine { name, labels, taints, capacity, allocatable, ebs_volumes, usable, leaving })
}

/// Whether a node is ready, or says nothing of it.
fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    ready.is_none_or(|condition| condition.status == "True")
}

/// A machine without a node; usable once it is launched.
fn of_claim(claim: &NodeClaim, snapshot: &Snapshot, catalog: &Catalog) -> Result<Machine, BuildError> {
    let name = claim.metadata.name.clone().unwrap_or_default();
    let object = format!("NodeClaim {name}");
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in claim.metadata.labels.iter().flatten() {
        labels.entry(current_key(key).to_owned()).or_insert_with(|| value.clone());
    }
    for requirement in claim.spec.requirements.iter().filter(|requirement| requirement.operator == "In") {
        if let Some([only]) = requirement.values.as_deref() {
            labels.entry(current_key(&requirement.key).to_owned()).or_insert_with(|| only.clone());
        }
    }
    labels.entry(HOSTNAME.to_owned()).or_insert_with(|| name.clone());
    let capacity = read(&object, claim.status.capacity.as_ref())?;
    let allocatable = match &claim.status.allocatable {
        Some(list) => read(&object, Some(list))?,
        None => capacity.clone(),
    };
    let instance = labels.get(INSTANCE_TYPE);
    let instance = catalog.instance_types.iter().find(|known| Some(&known.name) == instance);
    let settings = kubelet(snapshot, claim.spec.node_class_ref.as_ref())?;
    Ok(Machine {
        ebs_volumes: instance.and_then(|instance| volume_limit(instance, &settings)),
        usable: !allocatable.is_empty(),
        name,
        labels,
        taints: claim.spec.taints.clone().unwrap_or_default(),
        capacity,
        allocatable,
        leaving: false,
    })
}
