//! What the real kube-scheduler makes of supercargo's plans.
//!
//! A [`Case`] (objects, catalogue and the plan made of them) is put on a real control plane: the objects of the input,
//! the planned nodes as kwok plays them, and the pods. Then it is measured how far the cluster gets to where the plan
//! says it should be, in one of four [`Way`]s, from every pod pinned to its planned node to no help at all.

mod case;
mod figures;
mod nodes;
mod pods;
mod provisioner;
mod settle;
mod stage;
mod table;
mod unschedulable;
mod volumes;
mod ways;

pub use case::Case;
pub use figures::{Figures, Pending};
pub use table::page;
pub use unschedulable::Refuted;
pub use ways::{Way, judge, judge_both_ways};
