//! The independent checker: whether a plan obeys every rule of Kubernetes, of its pools and of the catalogue.
//!
//! It reads the objects and the plan, builds the state that the plan leads to, and judges that state pod by pod as
//! kube-scheduler's filters would. It shares no code with what makes the plan: requests, selectors, taints, allocatable
//! and prices are all read anew, so that a mistake there shows here.

mod account;
mod affinity;
mod alternatives;
mod amounts;
mod broken;
mod claims;
mod kubelet;
mod matching;
mod node_rules;
mod offerings;
mod open_labels;
mod overlays;
mod pool_rules;
mod profile;
mod spread;
mod state;
mod summary;
mod supply;
mod unschedulable;
mod volumes;
mod world;

pub use broken::{Broken, Rule};

use crate::catalog::Catalog;
use crate::kubernetes::Snapshot;
use crate::plan::types::Plan;
use broken::Findings;
use state::State;
use world::World;

/// What the plan was asked for, as far as it changes what is right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Whether any pool may be used before a heavier one.
    pub ignore_weights: bool,
    /// Capacity types that may be bought; `None` for all.
    pub capacity_types: Option<Vec<String>>,
}

/// Proves a plan against the objects and the catalogue it was made from.
///
/// # Errors
/// Every rule that is broken, with the node, pod or field it is broken at; at most 50 of each rule, then a count.
pub fn verify(snapshot: &Snapshot, catalog: &Catalog, options: &VerifyOptions, plan: &Plan) -> Result<(), Vec<Broken>> {
    let mut findings = Findings::default();
    let Some(world) = World::read(snapshot, catalog, options, plan, &mut findings) else { return findings.finish() };
    offerings::check_names(&world, plan, &mut findings);
    let state = State::new(&world, &snapshot.pending, plan, &mut findings);
    offerings::check_stated(&state, &mut findings);
    node_rules::check(&state, &mut findings);
    let spreads = spread::counts(&state, &mut findings);
    for count in &spreads {
        count.check(&state, &mut findings);
    }
    affinity::check_anti(&state, &mut findings);
    affinity::check_affinity(&state, &mut findings);
    let usage = pool_rules::usage(&state);
    pool_rules::check_limits(&state, &usage, &mut findings);
    pool_rules::check_weights(&state, &usage, &mut findings);
    pool_rules::check_min_values(&state, &mut findings);
    alternatives::check(&state, &usage, &spreads, &mut findings);
    unschedulable::check(&state, &usage, &spreads, &mut findings);
    summary::check(snapshot, plan, &mut findings);
    findings.finish()
}
