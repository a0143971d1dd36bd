//! Which daemons land on a node.
//!
//! The DaemonSet controller makes a pod for each node that its selector, affinity and tolerations allow, whatever the pod
//! asks for; kube-scheduler then leaves waiting for ever those that an empty node has no room for
//! (<https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/#how-daemon-pods-are-scheduled>). Those take
//! nothing of the node. (Karpenter counts them all the same, and so never buys a type on which one of them can't run.)

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

fn of(reading: &Reading, chosen: impl Fn(&Daemon) -> bool) -> FixedBitSet {
    let all = reading.daemons.iter().enumerate();
    all.filter(|(_, daemon)| chosen(daemon)).map(|(index, _)| index).collect()
}
