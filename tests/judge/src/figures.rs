//! What came of a plan.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Way;

/// A pod that is not bound, and why, in the words of whoever did not bind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// `namespace/name`.
    pub pod: String,
    /// The node that it was planned on.
    pub node: String,
    /// Why it is not bound.
    pub reason: String,
}

/// What came of one plan in one way.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The way.
    pub way: Way,
    /// Pods that the plan places.
    pub pods: usize,
    /// Of those, bound, to whatever node.
    pub bound: usize,
    /// Of those, bound to the node that was planned.
    pub as_planned: usize,
    /// Those that are not bound.
    pub pending: Vec<Pending>,
    /// Daemons' pods that found no room on a node that the plan puts pods on.
    pub daemons_pending: Vec<Pending>,
    /// Why planned pods were left to kube-scheduler, with how many.
    pub left: BTreeMap<String, usize>,
    /// Nodes that a second plan, of the cluster as it came out, would buy for the pods that wait.
    pub extra_nodes: u64,
    /// Pods that even the second plan finds no place for.
    pub stranded: u64,
    /// Cost of the planned nodes, dollars an hour.
    pub planned_cost: f64,
    /// Cost of the nodes that the second plan would buy, dollars an hour.
    pub extra_cost: f64,
    /// How long it took.
    pub took: Duration,
}

impl Figures {
    /// Cost with the nodes that have to be bought besides, over the plan's cost.
    pub fn cost_ratio(&self) -> f64 {
        if self.planned_cost > 0.0 { (self.planned_cost + self.extra_cost) / self.planned_cost } else { 1.0 }
    }

    /// Share of the planned pods that stand where they were planned.
    pub fn share_as_planned(&self) -> f64 {
        if self.pods > 0 { self.as_planned as f64 / self.pods as f64 } else { 1.0 }
    }
}
