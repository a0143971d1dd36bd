//! The plan: a solution in Kubernetes' words.

pub(crate) mod extract;
pub(crate) mod reasons;
mod types;
pub mod verify;

pub use types::{Alternative, ExistingNode, Plan, PlannedNode, Summary, Unschedulable};
pub use verify::verify;
