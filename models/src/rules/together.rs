//! Required pod affinity: only in a domain with a pod that matches.
//!
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity>. The first of
//! pods that match themselves may stand anywhere as long as none is placed; the others follow it. Those that must all
//! share one node are one unit already.
//!
//! A plan holds whatever the order in which kube-scheduler takes its pods. Where others that match can be placed before
//! them, pods that match themselves therefore stand with those others, and nobody counts on the company of pods that
//! wait for him in turn.

use fixedbitset::FixedBitSet;

use crate::problem::build::{Draft, Owned};
use crate::problem::types::{DomainTogether, NodeTogether, ShapeSet};

/// Owners that match themselves and owners that need others are told apart; each becomes a row.
pub(crate) fn rows(draft: &mut Draft) {
    let all = draft.owners();
    for (owned, owners) in all.clone() {
        let Owned::Together { key, pods } = owned else { continue };
        let wanted = draft.members(*pods);
        let there = draft.present(*pods);
        let of_themselves = sized(draft, owners.intersection(&wanted).collect());
        let of_others = sized(draft, owners.difference(&wanted).collect());
        let name = format!("pod affinity on {key} of {}", draft.name_of(&owners));
        let topology = draft.topology(key);
        if let Some(topology) = topology {
            draft.forbid(&owners, |_, bin| bin.domains[topology].is_none());
        } else {
            draft.forbid_without(&owners, key);
        }
        let units: usize = of_themselves.ones().map(|shape| draft.parts[shape].pods).sum();
        let parts = of_themselves.count_ones(..);
        let single_unit = parts == 1 && of_themselves.ones().all(|shape| draft.form(shape).unit as usize == units);
        let mut others = sized(draft, wanted.difference(&of_themselves).collect());
        // Two rules whose pods are company to each other: those of the later one join those of the earlier.
        let mut waiting = of_themselves.clone();
        for later in all.iter().filter(|(other, _)| **other > owned) {
            let Owned::Together { pods, .. } = later.0 else { continue };
            let theirs = draft.members(*pods);
            if !theirs.is_disjoint(&of_themselves) {
                let theirs: ShapeSet = later.1.intersection(&theirs).collect();
                waiting.union_with(&theirs);
            }
        }
        others = first_without(draft, &waiting, others);
        // (who, whose company)
        let mut asks: Vec<(ShapeSet, ShapeSet)> = Vec::new();
        let one_anywhere = single_unit && there.is_empty() && others.is_clear();
        if !of_themselves.is_clear() && !one_anywhere {
            asks.push((of_themselves, others));
        }
        if !of_others.is_clear() && wanted.is_clear() && there.is_empty() {
            // Whose company they need is not there and has no place itself.
            draft.forbid(&of_others, |_, _| true);
        } else if !of_others.is_clear() {
            let company = first_without(draft, &of_others, wanted);
            asks.push((of_others, company));
        }
        for (members, anchors) in asks {
            match topology {
                Some(topology) => {
                    let mut present = vec![false; draft.model.topologies[topology].values.len()];
                    for (node, _) in &there {
                        if let Some(domain) = draft.domain_of(topology, *node) {
                            present[domain] = true;
                        }
                    }
                    draft.rules.domain_togethers.push(DomainTogether {
                        name: name.clone(),
                        topology,
                        members: members.clone(),
                        anchors: anchors.clone(),
                        present: present.clone(),
                    });
                    if anchors.is_clear() && present.contains(&true) {
                        draft.forbid(&members, |_, bin| {
                            bin.domains[topology].is_none_or(|domain| !present[usize::from(domain)])
                        });
                    }
                }
                None => {
                    let mut satisfied = FixedBitSet::with_capacity(draft.bins.len());
                    satisfied.extend(there.iter().filter_map(|(node, _)| draft.bin_of(*node)));
                    if anchors.is_clear() {
                        draft.forbid(&members, |index, _| !satisfied.contains(index));
                    }
                    draft.rules.node_togethers.push(NodeTogether { name: name.clone(), members, anchors, satisfied });
                }
            }
        }
    }
}

/// Those of `company` that can be placed before any of `waiting` is: chains of required affinity that don't lead through
/// them.
fn first_without(draft: &Draft, waiting: &ShapeSet, company: ShapeSet) -> ShapeSet {
    if company.is_clear() {
        return company;
    }
    let mut available = draft.model.reading.present();
    let mut placed = draft.shape_set();
    let mut changed = true;
    while changed {
        changed = false;
        for shape in 0..draft.parts.len() {
            let form = draft.form(shape);
            if !placed.contains(shape) && !waiting.contains(shape) && form.finds_company(&available) {
                placed.insert(shape);
                available.union_with(&form.member);
                changed = true;
            }
        }
    }
    sized(draft, company.intersection(&placed).collect())
}

fn sized(draft: &Draft, mut set: ShapeSet) -> ShapeSet {
    set.grow(draft.parts.len());
    set
}
