//! What real pods ask for and the small clusters of the planner's own tests do not: preferences, `matchLabelKeys`, every
//! operator of node affinity.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerPort, NodeSelectorTerm, PodSpec, VolumeResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use proptest::prelude::*;
use serde_json::{Value, json};
use supercargo_models::kubernetes::{PodGroup, Snapshot};

const TOPOLOGIES: [&str; 2] = ["topology.kubernetes.io/zone", "kubernetes.io/hostname"];
/// Workloads of a case, at most.
const WORKLOADS: usize = 3;

/// Something that a workload asks for besides.
#[derive(Clone, Copy, Debug)]
pub enum Extra {
    Expression(usize),
    PreferredZone(usize),
    PreferredCompany { key: usize, target: usize },
    PreferredDistance { key: usize, target: usize },
    ScheduleAnyway(usize),
    OwnRevisionOnly,
}

/// One expression for each operator, and values that some offerings and nodes have.
fn expression(index: usize) -> Value {
    const CPU: &str = "karpenter.k8s.aws/instance-cpu";
    [
        json!({"key": CPU, "operator": "Gt", "values": ["1"]}),
        json!({"key": CPU, "operator": "Lt", "values": ["4"]}),
        json!({"key": "karpenter.k8s.aws/instance-family", "operator": "Exists"}),
        json!({"key": "karpenter.k8s.aws/instance-family", "operator": "DoesNotExist"}),
        json!({"key": "karpenter.k8s.aws/instance-family", "operator": "In", "values": ["m0", "m1"]}),
        json!({"key": "karpenter.sh/capacity-type", "operator": "NotIn", "values": ["spot"]}),
    ][index]
        .clone()
}

fn extra() -> impl Strategy<Value = Extra> {
    prop_oneof![
        3 => (0..6_usize).prop_map(Extra::Expression),
        1 => (0..3_usize).prop_map(Extra::PreferredZone),
        1 => (0..2_usize, 0..WORKLOADS).prop_map(|(key, target)| Extra::PreferredCompany { key, target }),
        1 => (0..2_usize, 0..WORKLOADS).prop_map(|(key, target)| Extra::PreferredDistance { key, target }),
        1 => (0..2_usize).prop_map(Extra::ScheduleAnyway),
        2 => Just(Extra::OwnRevisionOnly),
    ]
}

/// For each workload of a case one of them, or none.
pub fn extras() -> impl Strategy<Value = Vec<Option<Extra>>> {
    prop::collection::vec(prop::option::weighted(0.5, extra()), WORKLOADS)
}

/// Adds them, and takes away what the API server would refuse.
pub fn add(extras: &[Option<Extra>], snapshot: &mut Snapshot) {
    for (group, extra) in snapshot.pending.iter_mut().zip(extras) {
        if let Some(extra) = extra {
            apply(*extra, group);
        }
        make_admissible(Arc::make_mut(&mut group.spec));
    }
    let daemons = snapshot.daemon_sets.iter_mut().filter_map(|set| set.spec.template.spec.as_mut());
    daemons.for_each(make_admissible);
}

fn apply(extra: Extra, group: &mut PodGroup) {
    let revision = "pod-template-hash";
    let name = group.owner.name.clone();
    let spec = Arc::make_mut(&mut group.spec);
    let selector = |target: usize| json!({"matchLabels": {"app": format!("w{target}")}});
    let term = |key: usize, target: usize| json!({"weight": 10, "podAffinityTerm": {"topologyKey": TOPOLOGIES[key], "labelSelector": selector(target)}});
    match extra {
        Extra::Expression(index) => {
            let expression: k8s_openapi::api::core::v1::NodeSelectorRequirement =
                serde_json::from_value(expression(index)).unwrap();
            let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
            let required = affinity.required_during_scheduling_ignored_during_execution.get_or_insert_default();
            if required.node_selector_terms.is_empty() {
                required.node_selector_terms.push(NodeSelectorTerm::default());
            }
            for term in &mut required.node_selector_terms {
                term.match_expressions.get_or_insert_default().push(expression.clone());
            }
        }
        Extra::PreferredZone(zone) => {
            let zone = ["a", "b", "c"][zone];
            let zone = json!({"key": TOPOLOGIES[0], "operator": "In", "values": [zone]});
            let preferred = json!([{"weight": 10, "preference": {"matchExpressions": [zone]}}]);
            let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
            affinity.preferred_during_scheduling_ignored_during_execution = serde_json::from_value(preferred).unwrap();
        }
        Extra::PreferredCompany { key, target } => {
            let affinity = spec.affinity.get_or_insert_default().pod_affinity.get_or_insert_default();
            affinity.preferred_during_scheduling_ignored_during_execution =
                serde_json::from_value(json!([term(key, target)])).unwrap();
        }
        Extra::PreferredDistance { key, target } => {
            let affinity = spec.affinity.get_or_insert_default().pod_anti_affinity.get_or_insert_default();
            affinity.preferred_during_scheduling_ignored_during_execution =
                serde_json::from_value(json!([term(key, target)])).unwrap();
        }
        Extra::ScheduleAnyway(key) => {
            let spread = json!({"topologyKey": TOPOLOGIES[key], "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app": name}}});
            let spreads = spec.topology_spread_constraints.get_or_insert_default();
            spreads.push(serde_json::from_value(spread).unwrap());
        }
        Extra::OwnRevisionOnly => {
            for spread in spec.topology_spread_constraints.iter_mut().flatten() {
                spread.match_label_keys = Some(vec![revision.to_owned()]);
            }
            group.labels.insert(revision.to_owned(), format!("of-{name}"));
        }
    }
}

/// Changes what the API server would refuse: two spreads over the same key, the same host port twice, volumes of no size,
/// devices that are asked for and not limited.
fn make_admissible(spec: &mut PodSpec) {
    let mut seen = BTreeSet::new();
    if let Some(spreads) = &mut spec.topology_spread_constraints {
        spreads.retain(|spread| seen.insert((spread.topology_key.clone(), spread.when_unsatisfiable.clone())));
    }
    for container in &mut spec.containers {
        let mut seen = BTreeSet::new();
        let fresh = |port: &ContainerPort| port.host_port.is_none_or(|port| seen.insert(port));
        if let Some(ports) = &mut container.ports {
            ports.retain(fresh);
        }
    }
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        let Some(resources) = &mut container.resources else { continue };
        let devices = resources.requests.iter().flatten().filter(|(name, _)| name.contains('/'));
        let devices: Vec<_> = devices.map(|(name, amount)| (name.clone(), amount.clone())).collect();
        resources.limits.get_or_insert_default().extend(devices);
    }
    let templates = spec.volumes.iter_mut().flatten().filter_map(|volume| volume.ephemeral.as_mut());
    for template in templates.filter_map(|source| source.volume_claim_template.as_mut()) {
        let claim = &mut template.spec;
        claim.access_modes.get_or_insert_with(|| vec!["ReadWriteOnce".to_owned()]);
        let size = BTreeMap::from([("storage".to_owned(), Quantity("1Gi".to_owned()))]);
        claim.resources.get_or_insert(VolumeResourceRequirements { requests: Some(size), limits: None });
    }
}
