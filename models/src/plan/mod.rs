//! The plan: a solution in Kubernetes' words.

mod types;
pub mod verify;

pub use types::{Alternative, ExistingNode, Plan, PlannedNode, Summary, Unschedulable};
pub use verify::verify;
