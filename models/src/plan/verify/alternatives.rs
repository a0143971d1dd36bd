//! Alternatives: offerings that could stand in for a planned node.

use std::collections::HashMap;

use super::broken::{Findings, Rule};
use super::offerings::{PRICE_TOLERANCE, find};
use super::pool_rules::{Usage, holds, load};
use super::spread::Count;
use super::state::{Machine, State};
use super::volumes::Attachments;
use super::world::Offer;
use crate::plan::types::Alternative;

/// Judges every alternative of every planned node.
pub(super) fn check(state: &State, usage: &[Usage], spreads: &[Count], findings: &mut Findings) {
    let mut offers: HashMap<(usize, &str, &str, &str), Result<Offer, String>> = HashMap::new();
    for machine in &state.machines {
        let Some((node, chosen)) = &machine.planned else { continue };
        let load = load(state, &machine.pods);
        let mut last = f64::NEG_INFINITY;
        for alternative in &node.alternatives {
            let key = (
                chosen.pool,
                alternative.instance_type.as_str(),
                alternative.zone.as_str(),
                alternative.capacity_type.as_str(),
            );
            let offer = offers.entry(key).or_insert_with(|| offer(state, chosen.pool, alternative));
            let refusal = match offer {
                Err(message) => Some(message.clone()),
                Ok(offer) if (offer.price - alternative.hourly_price).abs() > PRICE_TOLERANCE => {
                    Some(format!("costs ${}/h, not ${}/h", offer.price, alternative.hourly_price))
                }
                Ok(offer) if !holds(state, offer, &load) => Some("can't hold the node's pods".to_owned()),
                Ok(offer) => across(state, machine, chosen, offer, usage, spreads),
            };
            let refusal =
                refusal.or((alternative.hourly_price < last).then(|| "is not in the order of price".to_owned()));
            last = alternative.hourly_price;
            if let Some(refusal) = refusal {
                let message = format!(
                    "{} {} in {} {refusal}",
                    alternative.capacity_type, alternative.instance_type, alternative.zone
                );
                findings.add(Rule::Alternatives, machine.name, message);
            }
        }
    }
}

/// The offering that an alternative names, if it is for sale and the pool allows it.
fn offer<'s>(state: &'s State, pool: usize, alternative: &Alternative) -> Result<Offer<'s>, String> {
    let world = state.world;
    let (kind, offering) = find(world, &alternative.instance_type, &alternative.zone, &alternative.capacity_type)
        .ok_or_else(|| "is not for sale".to_owned())?;
    if !world.buys(&offering.capacity_type) {
        return Err("has a capacity type that was not asked for".to_owned());
    }
    let offer = world.offer(pool, kind, offering, None);
    match world.pools[pool].refuses(&offer.labels, world.catalog) {
        Some(requirement) => Err(format!("is refused by the pool ({})", requirement.key)),
        None => Ok(offer),
    }
}

/// What a rule that spans nodes says against the exchange of this one node.
fn across(
    state: &State,
    machine: &Machine,
    chosen: &Offer,
    offer: &Offer,
    usage: &[Usage],
    spreads: &[Count],
) -> Option<String> {
    let (less, more) =
        (&state.world.gives(chosen.pool, chosen.kind).capacity, &state.world.gives(offer.pool, offer.kind).capacity);
    let pool = &state.world.pools[chosen.pool];
    if usage[pool.first].exchanged(less, more).passes(pool).is_some() {
        return Some("passes the limits of the pool".to_owned());
    }
    let other = Machine {
        name: machine.name,
        labels: offer.labels,
        taints: machine.taints,
        allocatable: machine.allocatable,
        taken: machine.taken.clone(),
        ports: Vec::new(),
        volumes: Attachments::default(),
        most_volumes: machine.most_volumes,
        pods: Vec::new(),
        planned: None,
    };
    if spreads.iter().any(|count| !count.holds_with(machine, &other, state)) {
        return Some("breaks a topology spread".to_owned());
    }
    let moved = |key: &&&str| machine.labels.get(key) != other.labels.get(key);
    let tie = machine.pods.iter().find_map(|&(at, _)| state.ties(at).affinity.iter().find(moved));
    tie.map(|key| format!("leaves the {key} that a pod affinity or anti-affinity looks at"))
}
