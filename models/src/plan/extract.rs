//! From a solution back to Kubernetes' words: named nodes, named pods, quantities, stand-ins.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use indexmap::IndexMap;

use super::reasons;
use super::types::{Alternative, ExistingNode, Plan, PlannedNode, Summary, Unschedulable};
use crate::kubernetes::quantity::{Resources, format};
use crate::kubernetes::volumes::ATTACHABLE;
use crate::problem::build::{Built, CAPACITY_TYPE, Host, Model, PodRef, ZONE};
use crate::problem::{BinSource, Pattern};
use crate::solver::{Outcome, Status};

/// The most stand-ins that are named for a node.
const ALTERNATIVES: usize = 20;

/// Writes the plan of an outcome. `seconds` is what the solver took.
pub(crate) fn plan(model: &Model, built: &Built, outcome: &Outcome, seconds: f64) -> Plan {
    let problem = &built.problem;
    let mut next = vec![0_usize; problem.shapes.len()];
    let mut nodes = Vec::new();
    let mut existing: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
    let taken: BTreeSet<&str> = model.standing.iter().map(|node| node.name.as_str()).collect();
    let mut alternatives: HashMap<&Pattern, Vec<Alternative>> = HashMap::new();
    for (pattern, copies) in &outcome.solution.nodes {
        for _ in 0..*copies {
            let mut pods = Vec::new();
            for &(shape, units) in &pattern.counts {
                let shape = shape as usize;
                let count = (units * problem.shapes[shape].unit.pods) as usize;
                pods.extend(built.pods[shape][next[shape]..][..count].iter().map(|pod| model.pod_name(*pod)));
                next[shape] += count;
            }
            match problem.bins[pattern.bin as usize].source {
                BinSource::Existing(node) => existing.entry(node).or_default().extend(pods),
                BinSource::Offering(index) => {
                    let others =
                        alternatives.entry(pattern).or_insert_with(|| stand_ins(model, built, pattern)).clone();
                    let host = model.host(index);
                    let pool = &model.market.variants[host.variant as usize].name;
                    let number = numbers.entry(pool.clone()).or_insert(0);
                    let name = loop {
                        *number += 1;
                        let name = format!("{pool}-{number}");
                        if !taken.contains(name.as_str()) {
                            break name;
                        }
                    };
                    nodes.push(planned(model, built, pattern, &host, name, pods, others));
                }
            }
        }
    }
    let mut waiting: Vec<(PodRef, String)> = built.refused.clone();
    for (shape, placed) in next.into_iter().enumerate() {
        let left = &built.pods[shape][placed..];
        if !left.is_empty() {
            let reason = reasons::unplaced(model, built, &outcome.solution, shape);
            waiting.extend(left.iter().map(|pod| (*pod, reason.clone())));
        }
    }
    waiting.sort_by_key(|(pod, _)| *pod);
    let unschedulable: Vec<Unschedulable> =
        waiting.into_iter().map(|(pod, reason)| Unschedulable { pod: model.pod_name(pod), reason }).collect();
    let pods: u64 = model.snapshot.pending.iter().map(|group| u64::from(group.names.count())).sum();
    let cost = problem.cost(&outcome.solution);
    let gap = outcome.lower_bound.map(|bound| if cost > 0 { (cost - bound).max(0) as f64 / cost as f64 } else { 0.0 });
    let existing_nodes = existing
        .into_iter()
        .map(|(node, pods)| ExistingNode { name: model.standing[node].name.clone(), pods })
        .collect();
    Plan {
        api_version: "supercargo.dev/v1".to_owned(),
        kind: "Plan".to_owned(),
        summary: Summary {
            pods,
            scheduled: pods - unschedulable.len() as u64,
            unschedulable: unschedulable.len() as u64,
            new_nodes: nodes.len() as u64,
            hourly_cost: dollars(cost),
            lower_bound: outcome.lower_bound.map(|bound| dollars(bound.min(cost))),
            gap,
            status: outcome.status,
            solver: if outcome.status == Status::Greedy { "greedy" } else { "highs" }.to_owned(),
            solve_seconds: seconds,
            // A greedy that placed fewer pods is cheaper for that; its cost is no measure of the plan then.
            greedy_hourly_cost: dollars(outcome.greedy_cost.max(cost)),
            shapes: problem.shapes.len() as u64,
        },
        nodes,
        existing_nodes,
        unschedulable,
        notes: outcome.notes.clone(),
    }
}

/// Billionths to dollars.
pub(crate) fn dollars(billionths: i64) -> f64 {
    billionths as f64 / 1e9
}

fn planned(
    model: &Model,
    built: &Built,
    pattern: &Pattern,
    host: &Host,
    name: String,
    pods: Vec<String>,
    alternatives: Vec<Alternative>,
) -> PlannedNode {
    let kind = &model.market.kinds[host.kind as usize];
    let used = used(built, pattern);
    let mut requested: Resources = kind.daemons.clone();
    for (resource, amount) in built.problem.resources.iter().zip(used) {
        *requested.entry(resource.clone()).or_insert(0) += amount;
    }
    requested.retain(|resource, amount| *amount > 0 || resource == "cpu" || resource == "memory");
    // Volumes are no part of what a node states as allocatable.
    requested.retain(|resource, _| !resource.starts_with(ATTACHABLE));
    PlannedNode {
        name,
        node_pool: model.market.variants[host.variant as usize].name.clone(),
        instance_type: model.catalog.instance_types[host.instance as usize].name.clone(),
        zone: model.host_label(host, ZONE).unwrap_or_default().to_owned(),
        capacity_type: model.host_label(host, CAPACITY_TYPE).unwrap_or_default().to_owned(),
        hourly_price: dollars(host.price),
        labels: model.market.variants[host.variant as usize].chosen.clone(),
        allocatable: quantities(&kind.allocatable),
        requested: quantities(&requested),
        pods,
        alternatives,
    }
}

/// cpu, memory and pods first, then the others by name.
fn quantities(amounts: &Resources) -> IndexMap<String, String> {
    let first = ["cpu", "memory", "pods"];
    let others = amounts.keys().map(String::as_str).filter(|name| !first.contains(name));
    first
        .into_iter()
        .filter(|name| amounts.contains_key(*name))
        .chain(others)
        .map(|name| (name.to_owned(), format(name, amounts[name])))
        .collect()
}

/// What the pods of a pattern take, by column.
fn used(built: &Built, pattern: &Pattern) -> Vec<i64> {
    let mut used = vec![0; built.problem.resources.len()];
    for &(shape, units) in &pattern.counts {
        for (sum, need) in used.iter_mut().zip(built.problem.demand.row(shape as usize)) {
            *sum += need * i64::from(units);
        }
    }
    used
}

/// Offerings of the pool that hold the same pods in the same domains, and take no more of its limits, cheapest first.
fn stand_ins(model: &Model, built: &Built, pattern: &Pattern) -> Vec<Alternative> {
    let bin = &built.problem.bins[pattern.bin as usize];
    let BinSource::Offering(index) = bin.source else { return Vec::new() };
    let planned = model.host(index);
    let used = used(built, pattern);
    let admissions: Vec<usize> = pattern
        .counts
        .iter()
        .flat_map(|(shape, _)| &model.forms[built.parts[*shape as usize].form].admissions)
        .copied()
        .collect();
    let limited: Vec<&str> = model
        .budgets
        .iter()
        .filter(|budget| budget.pool == model.market.variants[planned.variant as usize].name)
        .map(|budget| budget.resource.as_str())
        .collect();
    let capacity =
        |host: &Host, name: &str| model.market.kinds[host.kind as usize].capacity.get(name).copied().unwrap_or(0);
    let mut found: Vec<(i64, usize)> = model.market.ranges[planned.variant as usize]
        .clone()
        .map(|other| (other, model.market.hosts[other]))
        .filter(|(other, host)| {
            *other != index
                && used.iter().zip(&model.market.kinds[host.kind as usize].room).all(|(used, room)| used <= room)
                && admissions.iter().all(|one| model.market.classes[host.class as usize].admits.contains(*one))
                && limited.iter().all(|name| capacity(host, name) <= capacity(&planned, name))
                && model
                    .topologies
                    .iter()
                    .all(|domains| model.host_label(host, &domains.key) == model.host_label(&planned, &domains.key))
        })
        .map(|(other, host)| (host.price, other))
        .collect();
    let name = |index: usize| &model.catalog.instance_types[model.host(index).instance as usize].name;
    found.sort_by(|(left_price, left), (right_price, right)| {
        left_price.cmp(right_price).then_with(|| name(*left).cmp(name(*right))).then(left.cmp(right))
    });
    found.truncate(ALTERNATIVES);
    found
        .into_iter()
        .map(|(price, index)| {
            let host = model.host(index);
            Alternative {
                instance_type: name(index).clone(),
                zone: model.host_label(&host, ZONE).unwrap_or_default().to_owned(),
                capacity_type: model.host_label(&host, CAPACITY_TYPE).unwrap_or_default().to_owned(),
                hourly_price: dollars(price),
            }
        })
        .collect()
}
