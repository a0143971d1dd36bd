//! A planned node's own entry: pool, offering, price, and the amounts it states.

use std::collections::{BTreeSet, HashSet};

use indexmap::IndexMap;

use super::amounts::{Amounts, read};
use super::broken::{Findings, Rule};
use super::state::{Machine, State};
use super::world::{Offer, World};
use crate::catalog::Offering;
use crate::plan::types::{Plan, PlannedNode};

/// Two prices that differ by less than this are the same one, in dollars an hour.
pub(super) const PRICE_TOLERANCE: f64 = 1e-9;

/// The catalogue's entry for a type, zone and capacity type: index of the type, and the offering.
pub(super) fn find<'a>(
    world: &World<'a>,
    instance_type: &str,
    zone: &str,
    capacity_type: &str,
) -> Option<(usize, &'a Offering)> {
    let kind = world.kind(instance_type)?;
    let offerings = &world.catalog.instance_types[kind].offerings;
    let found = offerings.iter().find(|offering| offering.zone == zone && offering.capacity_type == capacity_type)?;
    Some((kind, found))
}

/// The offering that a planned node names, checked against catalogue and pool; `None` if there is no such thing. Labels
/// that the pool leaves open are those that the plan states or, where it states none, those that the node's pods ask for.
pub(super) fn of_node<'a>(
    world: &'a World<'a>,
    node: &'a PlannedNode,
    pods: &[(usize, u32)],
    findings: &mut Findings,
) -> Option<Offer<'a>> {
    let Some((kind, offering)) = find(world, &node.instance_type, &node.zone, &node.capacity_type) else {
        let message = format!("{} {} in {} is not for sale", node.capacity_type, node.instance_type, node.zone);
        findings.add(Rule::Offering, &node.name, message);
        return None;
    };
    if !world.buys(&offering.capacity_type) {
        findings.add(Rule::CapacityType, &node.name, format!("{} was not asked for", offering.capacity_type));
    }
    let choices: Vec<usize> = (0..world.pools.len()).filter(|at| world.pools[*at].name == node.node_pool).collect();
    let Some(&first) = choices.first() else {
        findings.add(Rule::PoolRequirements, &node.name, format!("there is no NodePool {}", node.node_pool));
        return None;
    };
    let suits = |pool: &usize| {
        let labels =
            world.pools[*pool].node_labels(world.catalog, &world.catalog.instance_types[kind], offering, &node.name);
        pods.iter().all(|&(at, _)| world.profiles[at].likes(&labels))
    };
    let states =
        |pool: &usize| node.labels.iter().all(|(key, value)| world.pools[*pool].labels.get(key) == Some(value));
    let choices: Vec<usize> = choices.into_iter().filter(states).collect();
    if choices.is_empty() {
        let labels: Vec<String> = node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let message = format!("NodePool {} gives no node the labels {}", node.node_pool, labels.join(", "));
        findings.add(Rule::PoolRequirements, &node.name, message);
    }
    let pool = match choices.as_slice() {
        [] => first,
        [only] => *only,
        [stated, ..] => choices.iter().copied().find(suits).unwrap_or(*stated),
    };
    let offer = world.offer(pool, kind, offering, Some(&node.name));
    if (offer.price - node.hourly_price).abs() > PRICE_TOLERANCE {
        let message = format!("costs ${}/h, ${}/h in the plan", offer.price, node.hourly_price);
        findings.add(Rule::Price, &node.name, message);
    }
    if let Some(requirement) = world.pools[pool].refuses(&offer.labels, world.catalog) {
        let values = requirement.values.as_deref().unwrap_or_default().join(", ");
        let found = offer.labels.get(&requirement.key).unwrap_or("nothing");
        let message = format!(
            "NodePool {} requires {} {} [{values}], the offering has {found}",
            node.node_pool, requirement.key, requirement.operator
        );
        findings.add(Rule::PoolRequirements, &node.name, message);
    }
    Some(offer)
}

/// Names of nodes: given, unique, and not those of nodes that are there.
pub(super) fn check_names(world: &World, plan: &Plan, findings: &mut Findings) {
    let mut seen: HashSet<&str> = world.existing.iter().map(|node| node.name).collect();
    for node in &plan.nodes {
        if node.name.is_empty() {
            findings.add(Rule::NodeNames, "nodes", "a node has no name");
        } else if !seen.insert(&node.name) {
            findings.add(Rule::NodeNames, &node.name, "is the name of two nodes");
        }
    }
}

/// What each planned node says that it offers and that its pods ask for.
pub(super) fn check_stated(state: &State, findings: &mut Findings) {
    for machine in &state.machines {
        let Some((node, _)) = &machine.planned else { continue };
        compare(state, Rule::Allocatable, machine, &node.allocatable, machine.allocatable, findings);
        compare(state, Rule::Requested, machine, &node.requested, &requested(state, machine), findings);
    }
}

/// What daemons, bound pods and waiting pods of a machine ask for together.
pub(super) fn requested(state: &State, machine: &Machine) -> Amounts {
    let mut sum = machine.taken.clone();
    for &(profile, count) in &machine.pods {
        sum.add(&state.world.profiles[profile].requests, i64::from(count));
    }
    sum
}

fn compare(
    state: &State,
    rule: Rule,
    machine: &Machine,
    stated: &IndexMap<String, String>,
    computed: &Amounts,
    findings: &mut Findings,
) {
    let table = &state.world.table;
    for (name, text) in stated {
        let wanted = table.find(name).map_or(0, |column| computed.get(column));
        match read(name, text) {
            Ok(amount) if amount == wanted => {}
            Ok(_) => findings.add(rule, machine.name, format!("{name} is {wanted}{}, not {text}", unit(name))),
            Err(message) => findings.add(rule, machine.name, format!("{name}: {message}")),
        }
    }
    let required: BTreeSet<&str> = match rule {
        Rule::Allocatable => BTreeSet::from(["cpu", "memory", "pods"]),
        _ => computed.present().map(|(column, _)| table.names()[column].as_str()).collect(),
    };
    for name in required {
        let amount = table.find(name).map_or(0, |column| computed.get(column));
        if amount > 0 && !stated.contains_key(name) {
            findings.add(rule, machine.name, format!("{name} is {amount}{}, but is not stated", unit(name)));
        }
    }
}

/// The unit in which amounts of a resource are counted here.
pub(super) fn unit(resource: &str) -> &'static str {
    match resource {
        "cpu" => "m",
        "memory" | "ephemeral-storage" => " bytes",
        _ => "",
    }
}
