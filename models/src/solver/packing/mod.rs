//! The state the heuristics work on: nodes with copies, units left by slot, and what the rules have counted.

mod index;
mod node;
mod state;
mod tally;

pub(crate) use index::{Index, Slot, tuples_of_bins};
pub(crate) use node::Node;
pub(crate) use state::{Group, Packing, rank};
pub(crate) use tally::Tally;
