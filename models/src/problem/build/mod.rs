//! From a snapshot and a catalogue to a problem.
//!
//! Pods become shapes (`forms`), offerings of pools become bins (`market`), nodes that are there become bins of one copy
//! (`standing`), and what pods and pools ask beyond that becomes rules (`crate::rules`). What is asked of labels is
//! evaluated once for each distinct question, not once a pod and offering.

mod attachments;
mod daemons;
mod draft;
mod forms;
mod machines;
mod market;
mod model;
mod open_labels;
mod overlays;
mod pools;
mod preferences;
mod protos;
mod reading;
mod sale;
mod standing;
mod variants;

use std::collections::BTreeSet;

use thiserror::Error;

pub(crate) use draft::Draft;
pub(crate) use forms::Form;
pub(crate) use market::{CAPACITY_TYPE, HOSTNAME, Host, OS, ZONE, label};
pub(crate) use model::Counted;
pub use model::{Model, Part};
pub use overlays::{Overlaid, OverlayFault, overlaid};
pub use pools::check_pool;
pub use preferences::Preference;
pub(crate) use protos::Proto;
pub(crate) use reading::Owned;
pub(crate) use variants::Variant;

use super::types::Problem;
use crate::catalog::Catalog;
use crate::kubernetes::Snapshot;

/// What the builder is asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only offerings of these capacity types (`spot`, `on-demand`, `reserved`); `None` for all.
    pub capacity_types: Option<Vec<String>>,
    /// Whether all pools are alike, whatever their weight.
    pub ignore_weights: bool,
    /// Whether what pods would rather have counts for nothing.
    pub ignore_preferences: bool,
    /// Preferences that count as rules.
    pub preferences: BTreeSet<Preference>,
    /// Whether nothing may be bought: only nodes that are there.
    pub existing_only: bool,
}

/// An object that can't be understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{object}: {problem}")]
pub struct BuildError {
    /// Where it was read from, its kind and name.
    pub object: String,
    /// The field, and what is wrong with it.
    pub problem: String,
}

impl BuildError {
    pub(crate) fn new(object: &str, problem: impl ToString) -> BuildError {
        BuildError { object: object.to_owned(), problem: problem.to_string() }
    }
}

/// A pod that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodRef {
    /// Index into the snapshot's pending groups.
    pub group: u32,
    /// Index within the group.
    pub index: u32,
}

/// A problem, and what its numbers stand for.
#[derive(Clone, Debug)]
pub struct Built {
    /// The problem.
    pub problem: Problem,
    /// By shape: its pods in order; a unit is so many in a row as [`crate::problem::Unit`] says.
    pub pods: Vec<Vec<PodRef>>,
    /// By shape: the part of the model that it came from.
    pub parts: Vec<Part>,
    /// Pods that no bin can hold, with the reason and the nearest fix.
    pub refused: Vec<(PodRef, String)>,
    /// The parts of the model that no bin of their pools' weight can hold; their pods are among the refused.
    pub refused_parts: Vec<Part>,
}

/// Builds the problem of all waiting pods.
///
/// # Errors
/// Where an object of the snapshot can't be understood; the error names object and field.
pub fn build(snapshot: &Snapshot, catalog: &Catalog, options: &Options) -> Result<Built, BuildError> {
    let model = Model::new(snapshot, catalog, options)?;
    Ok(model.assemble(&model.parts(), options.existing_only))
}
