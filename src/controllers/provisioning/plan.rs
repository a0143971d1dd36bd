//! The solver, off the async threads: a question in, a plan that the independent checker passed out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use supercargo_models::catalog::Catalog;
use supercargo_models::kubernetes::Snapshot;
use supercargo_models::plan::Plan;
use supercargo_models::plan::verify::{VerifyOptions, verify};
use supercargo_models::planner;
use supercargo_models::solver::{self, Control};

use super::super::context::Error;
use super::super::settings::Settings;

/// What is to be planned.
#[derive(Debug)]
pub(super) struct Question {
    /// The cluster.
    pub snapshot: Snapshot,
    /// What can be bought now.
    pub catalog: Arc<Catalog>,
}

/// The clock of one plan.
struct Deadline {
    start: Instant,
    budget: Duration,
}

impl Control for Deadline {
    fn remaining_seconds(&self) -> f64 {
        self.budget.as_secs_f64() - self.start.elapsed().as_secs_f64()
    }

    fn interrupted(&self) -> bool {
        false
    }
}

/// Plans within the time budget, and has the plan checked by the checker that shares nothing with the planner.
///
/// # Errors
/// Where an object can't be understood, or the plan breaks a rule: it is not acted on then.
pub(super) fn plan(question: &Question, settings: &Settings) -> Result<Plan, Error> {
    let Question { snapshot, catalog } = question;
    let clock = Deadline { start: Instant::now(), budget: settings.time_budget };
    let plan = planner::plan(snapshot, catalog, &settings.options, &settings.solver, &clock, &solver::solve)
        .map_err(|error| Error::Object(error.to_string()))?;
    let checked = VerifyOptions {
        ignore_weights: settings.options.ignore_weights,
        capacity_types: settings.options.capacity_types.clone(),
    };
    verify(snapshot, catalog, &checked, &plan).map_err(|broken| {
        let first = broken.first().map(ToString::to_string).unwrap_or_default();
        Error::Object(format!("supercargo failed inside: the plan breaks {} rules, the first: {first}", broken.len()))
    })?;
    Ok(plan)
}
