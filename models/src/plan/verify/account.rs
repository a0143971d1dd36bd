//! Every waiting pod exactly once, and no other.

use std::collections::{BTreeMap, HashMap};

use super::broken::{Findings, Rule};
use crate::kubernetes::PodGroup;
use crate::plan::types::Unschedulable;

/// The waiting pods by name, and which of them were seen.
pub(super) struct Roll {
    pods: HashMap<String, (usize, bool)>,
    groups: usize,
}

impl Roll {
    /// From the groups that wait.
    pub(super) fn new(groups: &[PodGroup]) -> Self {
        let total = groups.iter().map(|group| group.names.count() as usize).sum();
        let mut pods = HashMap::with_capacity(total);
        for (at, group) in groups.iter().enumerate() {
            for index in 0..group.names.count() {
                pods.insert(format!("{}/{}", group.namespace, group.names.name(index)), (at, false));
            }
        }
        Roll { pods, groups: groups.len() }
    }

    fn see(&mut self, pod: &str, place: &str, findings: &mut Findings) -> Option<usize> {
        match self.pods.get_mut(pod) {
            None => {
                findings.add(Rule::Pods, pod, format!("no such pod waits ({place})"));
                None
            }
            Some((_, true)) => {
                findings.add(Rule::Pods, pod, format!("appears a second time ({place})"));
                None
            }
            Some((group, seen)) => {
                *seen = true;
                Some(*group)
            }
        }
    }

    /// The pods of one node, counted by group.
    pub(super) fn call(&mut self, pods: &[String], place: &str, findings: &mut Findings) -> Vec<(usize, u32)> {
        let mut counts: BTreeMap<usize, u32> = BTreeMap::new();
        for pod in pods {
            if let Some(group) = self.see(pod, place, findings) {
                *counts.entry(group).or_default() += 1;
            }
        }
        counts.into_iter().collect()
    }

    /// The pods left over, counted by group; tells of those that are nowhere.
    pub(super) fn finish(mut self, left_over: &[Unschedulable], findings: &mut Findings) -> Vec<u32> {
        let mut counts = vec![0; self.groups];
        for entry in left_over {
            if let Some(group) = self.see(&entry.pod, "unschedulable", findings) {
                counts[group] += 1;
            }
            if entry.reason.trim().is_empty() {
                findings.add(Rule::Unschedulable, &entry.pod, "is left over without a reason");
            }
        }
        let mut missing: Vec<&String> = self.pods.iter().filter(|(_, (_, seen))| !seen).map(|(name, _)| name).collect();
        missing.sort_unstable();
        for pod in missing {
            findings.add(Rule::Pods, pod, "is neither placed nor called unschedulable");
        }
        counts
    }
}
