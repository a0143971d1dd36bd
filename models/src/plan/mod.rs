//! The plan: a solution in Kubernetes' words.

mod types;

pub use types::{Alternative, ExistingNode, Plan, PlannedNode, Summary, Unschedulable};
