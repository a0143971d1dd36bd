//! The problem in integers: shapes of pods, bins that can hold them, and the rules between them.
//!
//! Nothing in here knows Kubernetes' words: a [`Problem`] can be written to a file and replayed.

mod bits;
pub mod build;
mod check;
pub(crate) mod types;

pub use check::{Violation, fits};
pub use types::{
    Bin, BinSource, DomainCap, DomainExclusive, DomainTogether, Exhausted, Flexible, FlexibleHost, NodeBudget, NodeCap,
    NodeExclusive, NodeSpread, NodeTogether, Pattern, Problem, Rules, Shape, ShapeSet, Solution, Spread, Topology,
    Unit,
};
