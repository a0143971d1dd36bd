//! Topology spread (`DoNotSchedule`): evenly over the domains of a key.
//!
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/>. On host names an empty node is a
//! domain of its own and can come at any time, so at most `maxSkew` stand on each node. On other keys the domains are
//! those of the nodes that are there and pass the inclusion policies, those where a node that holds the pod can be opened,
//! and those where one that passes the policies is opened for others.

use std::collections::BTreeMap;

use crate::problem::build::{Counted, Draft, HOSTNAME, Owned};
use crate::problem::types::{NodeCap, NodeSpread, ShapeSet, Spread};

/// A spread of one owned rule, before its rows are written.
struct Across<'a> {
    name: String,
    topology: usize,
    pods: usize,
    max_skew: u32,
    min_domains: Option<u32>,
    counted: &'a Counted,
}

/// A row for each rule: of one node on host names, across nodes on all other keys.
pub(crate) fn rows(draft: &mut Draft) {
    for (owned, owners) in draft.owners() {
        let Owned::Spread { key, pods, max_skew, min_domains, counted } = owned else { continue };
        let name = format!("topology spread on {key} of {}", draft.name_of(&owners));
        match draft.model.counted(key, counted) {
            None if key == HOSTNAME => {
                let members = draft.members(*pods);
                on_nodes(draft, name, &owners, &members, *pods, *max_skew);
            }
            None => draft.forbid(&owners, |_, _| true),
            Some(topology) => {
                let (max_skew, min_domains) = (*max_skew, *min_domains);
                let spread = Across { name, topology, pods: *pods, max_skew, min_domains, counted };
                across(draft, &spread, &owners);
            }
        }
    }
}

/// A row for the owners that may look for a place in the same domains.
fn across(draft: &mut Draft, spread: &Across, owners: &ShapeSet) {
    let Across { topology, counted, .. } = *spread;
    let members = draft.members(spread.pods);
    let domains = draft.model.topologies[topology].values.len();
    let mut standing = vec![false; domains];
    let mut present = vec![0; domains];
    let counts: Vec<bool> = draft
        .model
        .standing
        .iter()
        .map(|node| {
            !node.leaving && draft.model.counts(counted, &node.matching, &node.tolerated, |key| node.label(key))
        })
        .collect();
    for node in (0..counts.len()).filter(|node| counts[*node]) {
        if let Some(domain) = draft.domain_of(topology, node) {
            standing[domain] = true;
        }
    }
    for (node, count) in draft.present(spread.pods).into_iter().filter(|(node, _)| counts[*node]) {
        if let Some(domain) = draft.domain_of(topology, node) {
            present[domain] += count;
        }
    }
    // Where a node that holds the pod can be opened, within the limits that the nodes that are there leave, in the heaviest
    // pools that would take it or in those that it is planned in, whatever its other rules say; by shape, since volumes and
    // size keep some out of domains that others reach.
    let mut groups: BTreeMap<Vec<bool>, ShapeSet> = BTreeMap::new();
    for owner in owners.ones() {
        let mut eligible = standing.clone();
        let part = &draft.parts[owner];
        let heaviest = draft.model.weights(part.form).last().copied();
        let protos = draft.model.protos.iter().filter(|_| !draft.existing_only);
        for proto in protos.filter(|proto| proto.weight.is_some()) {
            if let Some(domain) = proto.domains[topology]
                && (proto.weight == part.weight || proto.weight == heaviest)
                && !eligible[usize::from(domain)]
                && proto.could_hold(draft.form(owner))
                && draft.model.is_within_limits(proto)
                && counted.finds_keys(|key| draft.model.proto_label(proto, key))
            {
                eligible[usize::from(domain)] = true;
            }
        }
        groups.entry(eligible).or_insert_with(|| draft.shape_set()).insert(owner);
    }
    for (eligible, owners) in groups {
        draft.forbid(&owners, |_, bin| bin.domains[topology].is_none_or(|domain| !eligible[usize::from(domain)]));
        let mut dormant = vec![false; domains];
        for (index, bin) in draft.bins.iter().enumerate() {
            let proto = draft.proto(index);
            if let Some(domain) = bin.domains[topology].map(usize::from)
                && proto.weight.is_some()
                && !eligible[domain]
            {
                let label = |key: &str| draft.model.proto_label(proto, key);
                dormant[domain] |= draft.model.counts(counted, &proto.matching, &proto.tolerated, label);
            }
        }
        draft.rules.spreads.push(Spread {
            name: spread.name.clone(),
            topology,
            owners,
            members: members.clone(),
            max_skew: spread.max_skew,
            min_domains: spread.min_domains,
            eligible,
            dormant,
            present: present.clone(),
        });
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
