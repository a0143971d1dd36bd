//! Machines that are there or under way: what is left on them, and what stands there already.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fixedbitset::FixedBitSet;

use super::BuildError;
use super::attachments::Attachments;
use super::daemons::{daemons_on, misfits};
use super::machines::{Machine, machines};
use super::market::{NODE_POOL, is_ebs};
use super::reading::Reading;
use crate::catalog::Catalog;
use crate::kubernetes::Snapshot;
use crate::kubernetes::quantity::Resources;
use crate::kubernetes::requirements::NAME_FIELD;
use crate::kubernetes::taints::{unloved, untolerated};
use crate::kubernetes::volumes::ATTACHABLE;

/// A node that is there, or that is on its way; in the order of [`machines`].
#[derive(Debug)]
pub(crate) struct Standing {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Whether pods can be placed on it.
    pub usable: bool,
    /// Whether it is being deleted: neither it nor what stands on it counts.
    pub leaving: bool,
    /// What is left, by column of the problem.
    pub room: Vec<i64>,
    /// What a pool's limits count.
    pub capacity: Resources,
    /// Label requirements that hold.
    pub matching: FixedBitSet,
    /// Toleration lists that its taints let in.
    pub tolerated: FixedBitSet,
    /// Admissions that it grants.
    pub admits: FixedBitSet,
    /// Pods on it, as indices into [`Reading::bound`].
    pub pods: Vec<usize>,
}

impl Standing {
    /// A label by its current name; the node's name under [`NAME_FIELD`].
    pub fn label(&self, key: &str) -> Option<&str> {
        if key == NAME_FIELD { Some(&self.name) } else { self.labels.get(key).map(String::as_str) }
    }

    /// The pool it belongs to.
    pub fn pool(&self) -> Option<&str> {
        self.label(NODE_POOL)
    }
}

/// Reads all machines of a snapshot.
pub(crate) fn standing(
    snapshot: &Snapshot,
    catalog: &Catalog,
    reading: &mut Reading,
    attachments: &Attachments,
    columns: &[String],
) -> Result<Vec<Standing>, BuildError> {
    let machines = machines(snapshot, catalog)?;
    machines.iter().for_each(|machine| reading.note_taints(&machine.taints));
    let mut by_node: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, pod) in reading.bound.iter().enumerate() {
        by_node.entry(&pod.node).or_default().push(index);
    }
    let mut all = Vec::new();
    for Machine { name, labels, taints, capacity, allocatable, ebs_volumes, usable, leaving } in machines {
        let pods = by_node.get(name.as_str()).cloned().unwrap_or_default();
        let lookup =
            |key: &str| if key == NAME_FIELD { Some(name.as_str()) } else { labels.get(key).map(String::as_str) };
        let matching: FixedBitSet =
            (0..reading.labels.len()).filter(|index| reading.labels[*index].matches(&lookup)).collect();
        let tolerated: FixedBitSet = (0..reading.tolerations.len())
            .filter(|index| untolerated(&taints, &reading.tolerations[*index]).is_none())
            .collect();
        let volume_limit =
            |column: &str| attachments.stated(&name, column).or_else(|| ebs_volumes.filter(|_| is_ebs(column)));
        let misfits = misfits(reading, |resource| match resource.strip_prefix(ATTACHABLE) {
            Some(_) => volume_limit(resource),
            None => Some(allocatable.get(resource).copied().unwrap_or(0)),
        });
        // Daemons that have yet to come keep their room.
        let coming: Vec<usize> = daemons_on(reading, &matching, &tolerated)
            .difference(&misfits)
            .filter(|index| {
                let daemon = &reading.daemons[*index];
                !pods.iter().any(|pod| {
                    reading.bound[*pod]
                        .daemon_set
                        .as_ref()
                        .is_some_and(|(namespace, name)| *namespace == daemon.namespace && *name == daemon.name)
                })
            })
            .collect();
        let taken = pods
            .iter()
            .map(|pod| &reading.bound[*pod].requests)
            .chain(coming.iter().map(|daemon| &reading.daemons[*daemon].requests));
        let taken: Vec<&Resources> = taken.collect();
        let volumes: BTreeSet<&(String, String)> = pods.iter().flat_map(|pod| &reading.bound[*pod].volumes).collect();
        let room = columns
            .iter()
            .map(|column| {
                if let Some(driver) = column.strip_prefix(ATTACHABLE) {
                    let there = volumes.iter().filter(|(of, _)| of == driver).count() as i64;
                    let coming = taken.iter().filter_map(|requests| requests.get(column)).sum::<i64>();
                    return attachments.left(column, volume_limit(column), there + coming).unwrap_or(0);
                }
                let used: i64 = if column == "pods" {
                    taken.len() as i64
                } else {
                    taken.iter().filter_map(|requests| requests.get(column)).sum()
                };
                allocatable.get(column).copied().unwrap_or(0) - used
            })
            .collect();
        let ports = |port| {
            pods.iter()
                .flat_map(|pod| &reading.bound[*pod].ports)
                .chain(coming.iter().flat_map(|daemon| &reading.daemons[*daemon].ports))
                .any(|other: &crate::kubernetes::ports::HostPort| other.conflicts(port))
        };
        let admits = reading
            .admissions
            .iter()
            .enumerate()
            .filter(|(_, admission)| {
                matching.contains(admission.labels)
                    && tolerated.contains(admission.tolerations)
                    && (!admission.strict || unloved(&taints, &reading.tolerations[admission.tolerations]).is_none())
                    && !admission.ports.iter().any(ports)
            })
            .map(|(index, _)| index)
            .collect();
        all.push(Standing { usable, leaving, name, labels, room, capacity, matching, tolerated, admits, pods });
    }
    Ok(all)
}
