//! What a person should know about the objects that were read.

use std::collections::BTreeSet;

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
    let nodes: BTreeSet<&str> = objects.nodes.iter().filter_map(|read| read.object.metadata.name.as_deref()).collect();
    let under_way: Vec<String> = objects
        .node_claims
        .iter()
        .filter(|claim| {
            let node = claim.object.pointer("/status/nodeName").and_then(|name| name.as_str());
            !node.is_some_and(|node| nodes.contains(node))
        })
        .filter_map(|claim| claim.object.pointer("/metadata/name")?.as_str().map(str::to_string))
        .collect();
    if !under_way.is_empty() {
        notes.push(format!("NodeClaims without a node in the input do not count: {}", shorten(&under_way)));
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
