//! What a person should know about the objects that were read.

use super::Expansion;
use crate::cluster::objects::Objects;

/// What a person should know, besides the pools.
pub(super) fn notes(objects: &Objects, expansion: &Expansion) -> Vec<String> {
    let mut notes = objects.notes.clone();
    if !objects.skipped.is_empty() {
        let total: usize = objects.skipped.values().sum();
        let kinds: Vec<String> = objects.skipped.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let noun = if total == 1 { "object of a kind that does" } else { "objects of kinds that do" };
        notes.push(format!("skipped {total} {noun} not matter here: {}", kinds.join(", ")));
    }
    for (reason, labels) in &expansion.sorted.left_out {
        notes.push(format!("left out, because they {reason}: {}", shorten(labels)));
    }
    for (class, pod) in &expansion.absent_classes {
        notes.push(format!("PriorityClass {class} is not in the input: its pods ({pod}, ...) count with priority 0"));
    }
    for (class, pod) in &expansion.absent_runtimes {
        notes.push(format!(
            "RuntimeClass {class} is not in the input: its pods ({pod}, ...) count without its overhead, nodeSelector and \
             tolerations"
        ));
    }
    notes.extend(expansion.refused.iter().map(|refused| format!("no such pods can be made: {refused}")));
    let nodes = || objects.nodes.iter().map(|read| &read.object);
    let coming: Vec<_> = objects
        .node_claims
        .iter()
        .map(|read| &read.object)
        .filter(|claim| claim.metadata.deletion_timestamp.is_none() && !nodes().any(|node| claim.is_of(node)))
        .collect();
    let told = [
        (true, "NodeClaims whose node is on its way count as capacity that is there"),
        (false, "NodeClaims that are not launched yet offer no room"),
    ];
    for (launched, words) in told {
        let names = coming.iter().filter(|claim| claim.is_launched() == launched);
        let names: Vec<String> = names.filter_map(|claim| claim.metadata.name.clone()).collect();
        if !names.is_empty() {
            notes.push(format!("{words}: {}", shorten(&names)));
        }
    }
    notes
}

/// The first three of a list, and how many more.
fn shorten(labels: &[String]) -> String {
    match labels.len() {
        0..=3 => labels.join(", "),
        more => format!("{} and {} more", labels[..3].join(", "), more - 3),
    }
}
