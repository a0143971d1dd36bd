//! Required pod affinity: only in a domain with a pod that matches.
//!
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity>. The first of
//! pods that match themselves may stand anywhere as long as none is placed; the others follow it. Those that must all
//! share one node are one unit already.

use fixedbitset::FixedBitSet;

use crate::problem::build::{Draft, Owned};
use crate::problem::types::{DomainTogether, NodeTogether, ShapeSet};

/// Owners that match themselves and owners that need others are told apart; each becomes a row.
pub(crate) fn rows(draft: &mut Draft) {
    for (owned, owners) in draft.owners() {
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
        let followers = sized(draft, wanted.difference(&of_themselves).collect());
        // (who, whose company)
        let mut asks: Vec<(ShapeSet, ShapeSet)> = Vec::new();
        if !of_themselves.is_clear() {
            if !there.is_empty() || (units == 1 && !followers.is_clear()) {
                asks.push((of_themselves, followers));
            } else if !single_unit {
                asks.push((of_themselves, draft.shape_set()));
            }
        }
        if !of_others.is_clear() && wanted.is_clear() && there.is_empty() {
            // Whose company they need is not there and has no place itself.
            draft.forbid(&of_others, |_, _| true);
        } else if !of_others.is_clear() {
            asks.push((of_others, wanted));
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

fn sized(draft: &Draft, mut set: ShapeSet) -> ShapeSet {
    set.grow(draft.parts.len());
    set
}
