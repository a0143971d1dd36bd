//! The plan as it is written: the JSON contract `supercargo.dev/v1`.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::status::Status;

/// The nodes to buy, what stands on each, and how good that is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// `supercargo.dev/v1`.
    pub api_version: String,
    /// `Plan`.
    pub kind: String,
    /// The plan in numbers.
    pub summary: Summary,
    /// Nodes to buy.
    pub nodes: Vec<PlannedNode>,
    /// Pods placed on nodes that are there.
    pub existing_nodes: Vec<ExistingNode>,
    /// Pods that found no place.
    pub unschedulable: Vec<Unschedulable>,
    /// What a person should know: preferences given up, why the greedy's answer stands, estimated prices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The plan in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Pods that wait.
    pub pods: u64,
    /// Of those, placed.
    pub scheduled: u64,
    /// Of those, not placed.
    pub unschedulable: u64,
    /// Nodes to buy.
    pub new_nodes: u64,
    /// Their price, dollars an hour.
    pub hourly_cost: f64,
    /// No feasible plan for the same scheduled pods costs less, dollars an hour; absent for the greedy alone.
    pub lower_bound: Option<f64>,
    /// (hourlyCost - lowerBound) / hourlyCost; absent without a bound.
    pub gap: Option<f64>,
    /// How good the plan is known to be.
    pub status: Status,
    /// `highs` or `greedy`.
    pub solver: String,
    /// Seconds the solver took.
    pub solve_seconds: f64,
    /// What the greedy's own answer costs, dollars an hour; the plan's cost where the greedy placed fewer pods for less.
    pub greedy_hourly_cost: f64,
    /// Shapes the pods came to.
    #[serde(default)]
    pub shapes: u64,
}

/// A node to buy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedNode {
    /// A name unique in the plan: pool and a running number.
    pub name: String,
    /// The pool it belongs to.
    pub node_pool: String,
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// `on-demand`, `spot` or `reserved`.
    pub capacity_type: String,
    /// Dollars an hour.
    pub hourly_price: f64,
    /// The labels that its pool leaves open (`team In (x, y)`), with the value that this node is to bear.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What it offers pods, daemons included, as Kubernetes quantities.
    pub allocatable: IndexMap<String, String>,
    /// What its pods ask for, daemons included.
    pub requested: IndexMap<String, String>,
    /// `namespace/name` of the pods that wait.
    pub pods: Vec<String>,
    /// Offerings that hold the same pods under the same rules, cheapest first.
    pub alternatives: Vec<Alternative>,
}

/// An offering that could stand in for a planned one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alternative {
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// `on-demand`, `spot` or `reserved`.
    pub capacity_type: String,
    /// Dollars an hour.
    pub hourly_price: f64,
}

/// A node that is there, with the waiting pods that the plan puts on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExistingNode {
    /// The node's name.
    pub name: String,
    /// `namespace/name` of the pods.
    pub pods: Vec<String>,
}

/// A pod that found no place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unschedulable {
    /// `namespace/name`.
    pub pod: String,
    /// The rule that stops it, and the nearest fix.
    pub reason: String,
}
