//! Required pod affinity: only in a domain with a pod that matches.
//!
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity>. The first of
//! pods that match themselves may stand anywhere as long as none is placed; the others follow it. Those that must all
//! share one node are one unit already.
//!
//! A plan holds whatever the order in which kube-scheduler takes its pods. Where others that match can be placed before
//! them, pods that match themselves therefore stand with those others, and nobody counts on the company of pods that
//! wait for him in turn.

use std::collections::BTreeMap;

use fixedbitset::FixedBitSet;

use crate::problem::build::{Draft, HOSTNAME, Owned};
use crate::problem::types::{DomainTogether, NodeTogether, ShapeSet};

/// Those who need company by one rule, all of whom match it or none, and whose company they need.
struct Ask {
    name: String,
    key: String,
    members: ShapeSet,
    anchors: ShapeSet,
    /// Whether the members match their own rule, so that the first of them may stand anywhere while nobody matches.
    of_themselves: bool,
    /// Nodes with a pod that matches.
    there: Vec<usize>,
}

/// Owners that match themselves and owners that need others are told apart; each becomes a row.
pub(crate) fn rows(draft: &mut Draft) {
    let asks = asks(draft);
    let order = Order::new(&asks, draft.parts.len());
    for ask in asks {
        let mut by_anchors: BTreeMap<Vec<usize>, ShapeSet> = BTreeMap::new();
        for member in ask.members.ones() {
            let anchors = ask.anchors.ones().filter(|anchor| order.precedes(*anchor, member)).collect();
            by_anchors.entry(anchors).or_insert_with(|| draft.shape_set()).insert(member);
        }
        for (anchors, members) in by_anchors {
            let anchors = sized(draft, anchors.into_iter().collect());
            if anchors.is_clear() && ask.there.is_empty() && !ask.of_themselves {
                draft.forbid(&members, |_, _| true);
            } else {
                row(draft, &ask, members, anchors);
            }
        }
    }
}

/// What the owners of each rule ask for. Takes them off the nodes that are in no domain.
fn asks(draft: &mut Draft) -> Vec<Ask> {
    let all = draft.owners();
    // Whose own node is enough may follow those who look at a whole zone, not the other way round.
    let rank = |owned: &Owned| match owned {
        Owned::Together { key, .. } => key == HOSTNAME,
        _ => false,
    };
    let mut asks = Vec::new();
    for (owned, owners) in all.clone() {
        let Owned::Together { key, pods } = owned else { continue };
        let wanted = draft.members(*pods);
        // A node that is in no domain is no company.
        let topology = draft.topology(key);
        let has_domain = |node: usize| topology.is_none_or(|topology| draft.domain_of(topology, node).is_some());
        let there: Vec<usize> =
            draft.present(*pods).into_iter().map(|(node, _)| node).filter(|node| has_domain(*node)).collect();
        let of_themselves = sized(draft, owners.intersection(&wanted).collect());
        let of_others = sized(draft, owners.difference(&wanted).collect());
        let name = format!("pod affinity on {key} of {}", draft.name_of(&owners));
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
        for (later, theirs) in all.iter().filter(|(other, _)| (rank(other), **other) > (rank(owned), owned)) {
            let Owned::Together { pods, .. } = later else { continue };
            let selected = draft.members(*pods);
            if !selected.is_disjoint(&of_themselves) {
                let theirs: ShapeSet = theirs.intersection(&selected).collect();
                waiting.union_with(&theirs);
            }
        }
        others = first_without(draft, &waiting, others);
        let one_anywhere = single_unit && there.is_empty() && others.is_clear();
        let ask = |members: ShapeSet, anchors: ShapeSet, of_themselves: bool| Ask {
            name: name.clone(),
            key: key.clone(),
            members,
            anchors,
            of_themselves,
            there: there.clone(),
        };
        if !of_themselves.is_clear() && !one_anywhere {
            asks.push(ask(of_themselves, others, true));
        }
        if !of_others.is_clear() {
            let company = first_without(draft, &of_others, wanted);
            asks.push(ask(of_others, company, false));
        }
    }
    asks
}

/// Writes the row of some members of an ask.
fn row(draft: &mut Draft, ask: &Ask, members: ShapeSet, anchors: ShapeSet) {
    let name = ask.name.clone();
    match draft.topology(&ask.key) {
        Some(topology) => {
            let mut present = vec![false; draft.model.topologies[topology].values.len()];
            for node in &ask.there {
                if let Some(domain) = draft.domain_of(topology, *node) {
                    present[domain] = true;
                }
            }
            if anchors.is_clear() && present.contains(&true) {
                draft.forbid(&members, |_, bin| {
                    bin.domains[topology].is_none_or(|domain| !present[usize::from(domain)])
                });
            }
            draft.rules.domain_togethers.push(DomainTogether { name, topology, members, anchors, present });
        }
        None => {
            let mut satisfied = FixedBitSet::with_capacity(draft.bins.len());
            satisfied.extend(ask.there.iter().filter_map(|node| draft.bin_of(*node)));
            if anchors.is_clear() {
                draft.forbid(&members, |index, _| !satisfied.contains(index));
            }
            draft.rules.node_togethers.push(NodeTogether { name, members, anchors, satisfied });
        }
    }
}

/// Who is company to whom where pods need each other in a circle.
///
/// A pod that is there can be company to the first of such a circle, in its own domain. In another domain nobody would be
/// the first, though each has company. So of two in a circle the later one counts on the earlier, not the other way round.
struct Order {
    /// By shape: those whose company it needs, or they in turn.
    needs: Vec<ShapeSet>,
    /// By shape: the round in which it finds company somewhere.
    round: Vec<usize>,
}

impl Order {
    fn new(asks: &[Ask], shapes: usize) -> Order {
        let mut needs = vec![ShapeSet::with_capacity(shapes); shapes];
        for ask in asks {
            ask.members.ones().for_each(|member| needs[member].union_with(&ask.anchors));
        }
        let direct = needs.clone();
        for (shape, needs) in needs.iter_mut().enumerate() {
            let mut open: Vec<usize> = direct[shape].ones().collect();
            while let Some(next) = open.pop() {
                for further in direct[next].difference(&needs.clone()) {
                    needs.insert(further);
                    open.push(further);
                }
            }
        }
        let mut round = vec![usize::MAX; shapes];
        for now in 0..=shapes {
            let placed = |shape: usize| round[shape] < now;
            let finds = |ask: &Ask| {
                !ask.there.is_empty() || (ask.of_themselves && ask.anchors.is_clear()) || ask.anchors.ones().any(placed)
            };
            let alone: Vec<bool> = asks.iter().map(|ask| !finds(ask)).collect();
            let next: Vec<usize> = (0..shapes)
                .filter(|shape| {
                    round[*shape] == usize::MAX
                        && !asks.iter().zip(&alone).any(|(ask, alone)| *alone && ask.members.contains(*shape))
                })
                .collect();
            if next.is_empty() {
                break;
            }
            next.into_iter().for_each(|shape| round[shape] = now);
        }
        Order { needs, round }
    }

    /// Whether a shape's company counts for another one.
    fn precedes(&self, anchor: usize, member: usize) -> bool {
        !self.needs[anchor].contains(member) || (self.round[anchor], anchor) < (self.round[member], member)
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
