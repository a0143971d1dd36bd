//! Pods bound to the nodes that a plan puts them on, by us and not by kube-scheduler.
//!
//! kube-scheduler knows nothing of the plan: it spreads pods over the nodes that it finds, and where nodes are as full as
//! a good plan makes them, pods are left over. So new nodes carry a taint of ours while their pods are bound through the
//! Binding API. kube-scheduler then finds them full, and places what is left to it ([`Reason`] says which pods) once the
//! taint is lifted; it is lifted after a deadline in any case.
//!
//! The plan has proven that the pods fit together under all their rules; here each pod is read again before it is bound,
//! and whoever was quicker is right.

mod act;
mod hold;
mod rules;

pub use act::{Attempt, PodKey, Seen, attempt, class_to_read, nominate};
pub use hold::{Fate, Hold, Report, TAINT, bind_all, lift, taint};
pub use rules::{Reason, SELECTED_NODE, claims_of, may_be_bound};
