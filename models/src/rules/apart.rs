//! Required pod anti-affinity: never in one domain with a pod that matches, in both directions.
//!
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity>. A node
//! without the key is in no domain, and the rule does not speak of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::problem::build::{Draft, HOSTNAME, Owned};
use crate::problem::types::{DomainCap, DomainExclusive, NodeCap, NodeExclusive, ShapeSet};

/// Owners and those they avoid: at most one of those that are both; never one of each.
pub(crate) fn rows(draft: &mut Draft) {
    for (owned, owners) in draft.owners() {
        let Owned::Apart { key, pods } = owned else { continue };
        let avoided = draft.members(*pods);
        let there: Vec<usize> = draft.present(*pods).into_iter().map(|(node, _)| node).collect();
        keep_off(draft, &owners, key, &there);
        let both: ShapeSet = owners.intersection(&avoided).collect();
        let only_owners: ShapeSet = owners.difference(&avoided).collect();
        let only_avoided: ShapeSet = avoided.difference(&owners).collect();
        let name = format!("pod anti-affinity on {key} of {}", draft.name_of(&owners));
        let sized = |set: ShapeSet| {
            let mut set = set;
            set.grow(draft.parts.len());
            set
        };
        let (both, only_owners, only_avoided) = (sized(both), sized(only_owners), sized(only_avoided));
        let pairs = [(owners.clone(), only_avoided), (only_owners, both.clone())];
        match draft.topology(key) {
            Some(topology) => {
                if !both.is_clear() {
                    let present = vec![0; draft.model.topologies[topology].values.len()];
                    let cap = DomainCap { name: name.clone(), topology, members: both, limit: 1, present };
                    draft.rules.domain_caps.push(cap);
                }
                for (left, right) in pairs.into_iter().filter(|(left, right)| !left.is_clear() && !right.is_clear()) {
                    draft.rules.domain_exclusives.push(DomainExclusive { name: name.clone(), topology, left, right });
                }
            }
            None => {
                if !both.is_clear() {
                    let cap = NodeCap { name: name.clone(), members: both, limit: 1, present: BTreeMap::new() };
                    draft.rules.node_caps.push(cap);
                }
                for (left, right) in pairs.into_iter().filter(|(left, right)| !left.is_clear() && !right.is_clear()) {
                    draft.rules.node_exclusives.push(NodeExclusive { name: name.clone(), left, right });
                }
            }
        }
    }
    // The other direction: what stands there already avoids some of those that wait.
    let mut avoided: BTreeMap<(&str, usize), Vec<usize>> = BTreeMap::new();
    for (index, node) in draft.model.standing.iter().enumerate().filter(|(_, node)| !node.leaving) {
        for (key, pods) in node.pods.iter().flat_map(|pod| &draft.model.reading.bound[*pod].apart) {
            avoided.entry((key, *pods)).or_default().push(index);
        }
    }
    for ((key, pods), nodes) in avoided {
        let members = draft.members(pods);
        keep_off(draft, &members, key, &nodes);
    }
}

/// Keeps shapes off the domains of these nodes.
fn keep_off(draft: &mut Draft, shapes: &ShapeSet, key: &str, nodes: &[usize]) {
    if shapes.is_clear() || nodes.is_empty() {
        return;
    }
    if key == HOSTNAME {
        let bins: BTreeSet<usize> = nodes.iter().filter_map(|node| draft.bin_of(*node)).collect();
        draft.forbid(shapes, |index, _| bins.contains(&index));
    } else if let Some(topology) = draft.topology(key) {
        let taken: BTreeSet<usize> = nodes.iter().filter_map(|node| draft.domain_of(topology, *node)).collect();
        draft.forbid(shapes, |_, bin| bin.domains[topology].is_some_and(|domain| taken.contains(&usize::from(domain))));
    }
}
