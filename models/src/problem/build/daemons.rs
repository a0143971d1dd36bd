//! Which daemons land on a node.
//!
//! The DaemonSet controller makes a pod for each node that its selector, affinity and tolerations allow, whatever the pod
//! asks for; kube-scheduler then leaves waiting for ever those that an empty node has no room for
//! (<https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/#how-daemon-pods-are-scheduled>). Those take
//! nothing of a node that is there. A node that is too small for its daemons is not bought, as with Karpenter: it would
//! lack its network, or its logs. What asks for a device that a type has none of is not meant for it, and takes nothing.

use fixedbitset::FixedBitSet;

use super::reading::{Daemon, Reading};

/// Daemon sets that want to land on a node where these label requirements hold and these tolerations do.
pub(super) fn daemons_on(reading: &Reading, labels: &FixedBitSet, tolerated: &FixedBitSet) -> FixedBitSet {
    let wants = |daemon: &Daemon| labels.contains(daemon.labels) && tolerated.contains(daemon.tolerations);
    of(reading, wants)
}

/// Daemon sets whose pod has no room even on an empty node with so much of each resource; `None` for no limit.
pub(super) fn misfits(reading: &Reading, limit: impl Fn(&str) -> Option<i64>) -> FixedBitSet {
    let beyond = |(resource, need): (&String, &i64)| *need > 0 && limit(resource).is_some_and(|most| *need > most);
    let full = limit("pods").is_some_and(|most| most < 1);
    of(reading, |daemon| full || daemon.requests.iter().any(beyond))
}

/// Daemon sets whose pod asks for something of which a kind of node has nothing.
pub(super) fn strangers(reading: &Reading, amount: impl Fn(&str) -> Option<i64>) -> FixedBitSet {
    let lacks = |(resource, need): (&String, &i64)| *need > 0 && amount(resource) == Some(0);
    of(reading, |daemon| daemon.requests.iter().any(lacks))
}

fn of(reading: &Reading, chosen: impl Fn(&Daemon) -> bool) -> FixedBitSet {
    let all = reading.daemons.iter().enumerate();
    all.filter(|(_, daemon)| chosen(daemon)).map(|(index, _)| index).collect()
}
