//! Topology spread (`DoNotSchedule`): evenly over the domains of a key.
//!
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/>. On host names an empty node is a
//! domain of its own and can come at any time, so at most `maxSkew` stand on each node. On other keys the domains are
//! those of the nodes that are there and pass the inclusion policies, and those where a node that holds the pod can be
//! opened.

use std::collections::BTreeMap;

use crate::problem::build::{Draft, HOSTNAME, Owned};
use crate::problem::types::{NodeCap, NodeSpread, ShapeSet, Spread};

/// A row for each rule: of one node on host names, across nodes on all other keys.
pub(crate) fn rows(draft: &mut Draft) {
    // Bins in domains that would count but can't hold the pods: a node there would hold the minimum at what it is.
    let mut harmful: Vec<usize> = Vec::new();
    for (owned, owners) in draft.owners() {
        let Owned::Spread { key, pods, max_skew, min_domains, labels, tolerations } = owned else { continue };
        let members = draft.members(*pods);
        let name = format!("topology spread on {key} of {}", draft.name_of(&owners));
        match draft.topology(key) {
            None if key == HOSTNAME => on_nodes(draft, name, &owners, &members, *pods, *max_skew),
            None => draft.forbid(&owners, |_, _| true),
            Some(topology) => {
                let passes = |matching: &ShapeSet, tolerated: &ShapeSet| {
                    labels.is_none_or(|index| matching.contains(index))
                        && tolerations.is_none_or(|index| tolerated.contains(index))
                };
                let domains = draft.model.topologies[topology].1.len();
                let mut eligible = vec![false; domains];
                for (index, node) in draft.model.standing.iter().enumerate().filter(|(_, node)| !node.leaving) {
                    if passes(&node.matching, &node.tolerated)
                        && let Some(domain) = draft.domain_of(topology, index)
                    {
                        eligible[domain] = true;
                    }
                }
                for (index, bin) in draft.bins.iter().enumerate() {
                    if let Some(domain) = bin.domains[topology]
                        && draft.proto(index).weight.is_some()
                        && !bin.admits.is_disjoint(&owners)
                    {
                        eligible[usize::from(domain)] = true;
                    }
                }
                let mut present = vec![0; domains];
                for (node, count) in draft.present(*pods) {
                    let standing = &draft.model.standing[node];
                    if passes(&standing.matching, &standing.tolerated)
                        && let Some(domain) = draft.domain_of(topology, node)
                    {
                        present[domain] += count;
                    }
                }
                draft.forbid(&owners, |_, bin| {
                    bin.domains[topology].is_none_or(|domain| !eligible[usize::from(domain)])
                });
                harmful.extend((0..draft.bins.len()).filter(|index| {
                    let proto = draft.proto(*index);
                    proto.weight.is_some()
                        && proto.domains[topology].is_some_and(|domain| !eligible[usize::from(domain)])
                        && passes(&proto.matching, &proto.tolerated)
                }));
                draft.rules.spreads.push(Spread {
                    name,
                    topology,
                    owners,
                    members,
                    max_skew: *max_skew,
                    min_domains: *min_domains,
                    eligible,
                    present,
                });
            }
        }
    }
    harmful.sort_unstable();
    harmful.dedup();
    let mut held = draft.shape_set();
    let kept = draft.bins.iter().enumerate().filter(|(index, _)| harmful.binary_search(index).is_err());
    kept.for_each(|(_, bin)| held.union_with(&bin.admits));
    for bin in harmful {
        // Unless that is the only place for someone.
        let admits = &mut draft.bins[bin].admits;
        if admits.is_subset(&held) {
            admits.clear();
        }
    }
}

/// A node with an owner holds at most `max_skew` of those that count. Where owners and counted are the same pods that is
/// a plain cap.
fn on_nodes(draft: &mut Draft, name: String, owners: &ShapeSet, members: &ShapeSet, pods: usize, max_skew: u32) {
    let present: BTreeMap<usize, u32> = draft
        .present(pods)
        .into_iter()
        .filter_map(|(node, count)| draft.bin_of(node).map(|bin| (bin, count)))
        .collect();
    let mut counted: ShapeSet = owners.intersection(members).collect();
    counted.grow(draft.parts.len());
    let mut uncounted: ShapeSet = owners.difference(members).collect();
    uncounted.grow(draft.parts.len());
    draft.forbid_without(owners, HOSTNAME);
    // Who counts itself needs room for one more; who doesn't may join as many as there may be.
    draft.forbid(&counted, |bin, _| present.get(&bin).is_some_and(|count| *count >= max_skew));
    draft.forbid(&uncounted, |bin, _| present.get(&bin).is_some_and(|count| *count > max_skew));
    let waiting: u64 = members.ones().map(|shape| draft.parts[shape].pods as u64).sum();
    let most = waiting + u64::from(present.values().copied().max().unwrap_or(0));
    if owners != members && most > u64::from(max_skew) {
        let (owners, members, present) = (owners.clone(), members.clone(), present.clone());
        draft.rules.node_spreads.push(NodeSpread { name: name.clone(), owners, members, limit: max_skew, present });
    }
    if !counted.is_clear() {
        draft.rules.node_caps.push(NodeCap { name, members: counted, limit: max_skew, present });
    }
}
