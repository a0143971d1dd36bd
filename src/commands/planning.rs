//! From arguments to a plan that is proven to obey every rule: what `plan`, `explain` and `bench` share.

use std::sync::Mutex;
use std::time::Instant;

use anyhow::Context;
use supercargo_models::catalog::Catalog;
use supercargo_models::kubernetes::requests::pod_requests;
use supercargo_models::kubernetes::{Owner, PodGroup, PodNames, Snapshot};
use supercargo_models::plan::Plan;
use supercargo_models::plan::verify::{VerifyOptions, verify};
use supercargo_models::planner::{self, PlanError};
use supercargo_models::problem::build::Options;
use supercargo_models::solver::Memory;

use super::arguments::{CatalogArguments, InputArguments, PlanningArguments, Validation};
use crate::cli::BadInput;
use crate::cluster::{self, InputError, LiveError, ReadOptions, Target, Validate};
use crate::control::WallClock;
use crate::report::{Demand, Workloads};

/// Broken rules that are told one by one.
const MOST_BROKEN: usize = 20;

/// What is to be planned.
#[derive(Debug)]
pub struct Question {
    /// The objects.
    pub snapshot: Snapshot,
    /// The priced offerings.
    pub catalog: Catalog,
    /// What a person should know about the objects.
    pub notes: Vec<String>,
}

/// A plan that passed the checker.
#[derive(Debug)]
pub struct Answer {
    /// The plan.
    pub plan: Plan,
    /// Seconds by stage of the solver; empty where rounds are counted instead.
    pub stages: Vec<(String, f64)>,
}

/// Reads objects and catalogue.
///
/// # Errors
/// A [`BadInput`] where no objects are named and there is no cluster, or where objects or catalogue can't be read.
pub fn read(input: &InputArguments, catalog: &CatalogArguments) -> anyhow::Result<Question> {
    // The embedded catalogue takes longer to unpack than most manifests to read.
    let (catalog, loaded) = std::thread::scope(|scope| {
        let catalog = scope.spawn(|| read_catalog(catalog));
        let loaded = read_objects(input);
        let catalog = catalog.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (catalog, loaded)
    });
    let (loaded, catalog) = (loaded?, catalog?);
    Ok(Question { snapshot: loaded.snapshot, catalog, notes: loaded.notes })
}

/// Reads the catalogue that is named, or the embedded one.
///
/// # Errors
/// A [`BadInput`] where it can't be read or is of another region.
pub fn read_catalog(arguments: &CatalogArguments) -> anyhow::Result<Catalog> {
    crate::catalog::load(arguments.catalog.as_deref(), arguments.region.as_deref())
}

/// Reads the objects that are named, or where none are, those of the live cluster.
///
/// # Errors
/// A [`BadInput`] where there are none or one can't be read; else the cluster failed.
pub fn read_objects(input: &InputArguments) -> anyhow::Result<cluster::Loaded> {
    if input.filenames.is_empty() {
        let target = Target { kubeconfig: input.kubeconfig.clone(), context: input.context.clone() };
        return cluster::read_live(&target).map_err(bad_cluster);
    }
    let validate = match input.validate {
        Validation::Strict => Validate::Strict,
        Validation::Warn => Validate::Warn,
        Validation::Ignore => Validate::Ignore,
    };
    cluster::read(&input.filenames, &ReadOptions { validate }).map_err(|error| bad_objects(error).into())
}

/// The error of a live cluster: one that the person can mend, except where the cluster itself failed.
fn bad_cluster(error: LiveError) -> anyhow::Error {
    let hint = match &error {
        LiveError::Input(_) => None,
        LiveError::Nowhere => {
            Some("name a file, a folder, a glob or - for standard input with -f, or a live cluster with --kubeconfig")
        }
        LiveError::ServiceAccount(_) => Some("--kubeconfig names one, -f reads files instead"),
        LiveError::Kubeconfig(_) => Some("--kubeconfig and --context choose another, -f reads files instead"),
        LiveError::Refused { .. } => Some("supercargo needs the verb list on it; the README has the whole ClusterRole"),
        LiveError::Failed { .. } => return error.into(),
    };
    match error {
        LiveError::Input(error) => bad_objects(error).into(),
        error => {
            let bad = BadInput::from_error(error);
            match hint {
                Some(hint) => bad.hint(hint).into(),
                None => bad.into(),
            }
        }
    }
}

/// The error of an input with its fix as the hint.
fn bad_objects(mut error: InputError) -> BadInput {
    match error.fix.take() {
        Some(fix) => BadInput::new(error.to_string()).hint(fix),
        None => BadInput::new(error.to_string()),
    }
}

/// Tells the notes on standard error.
pub fn tell(notes: &[String], quiet: bool) {
    if quiet {
        return;
    }
    let yellow = anstyle::AnsiColor::Yellow.on_default();
    for note in notes {
        anstream::eprintln!("{yellow}note:{yellow:#} {note}");
    }
}

/// Plans, and proves the plan with the checker that shares nothing with the planner.
///
/// With an iteration budget no second is told, so that the same input gives the same bytes.
///
/// # Errors
/// A [`BadInput`] where an object can't be understood; else a fault of the program: a plan that breaks a rule is never
/// handed out.
pub fn plan(
    snapshot: &Snapshot,
    catalog: &Catalog,
    arguments: &PlanningArguments,
    clock: &WallClock,
) -> anyhow::Result<Answer> {
    let options = Options {
        capacity_types: arguments.capacity_types(),
        ignore_weights: arguments.ignore_weights,
        ..Options::default()
    };
    let stages: Mutex<Vec<(String, f64)>> = Mutex::new(Vec::new());
    let start = Instant::now();
    let memory = Memory::default();
    let planned =
        planner::plan(snapshot, catalog, &options, &arguments.settings(), clock, &|problem, settings, control| {
            let outcome = memory.solve(problem, settings, control);
            if let Ok(mut stages) = stages.lock() {
                for (name, seconds) in &outcome.stages {
                    match stages.iter_mut().find(|stage| stage.0 == *name) {
                        Some(stage) => stage.1 += seconds,
                        None => stages.push(((*name).to_owned(), *seconds)),
                    }
                }
            }
            outcome
        });
    let seconds = start.elapsed().as_secs_f64();
    clock.finish();
    let mut plan = match planned {
        Ok(plan) => plan,
        Err(PlanError::Build(error)) => return Err(BadInput::from_error(error).into()),
        Err(error) => return Err(error).context("supercargo failed inside"),
    };
    let counted = arguments.iterations.is_some();
    plan.summary.solve_seconds = if counted { 0.0 } else { (seconds * 1e4).round() / 1e4 };
    let stages = if counted { Vec::new() } else { stages.into_inner().unwrap_or_default() };
    let checked = VerifyOptions { ignore_weights: options.ignore_weights, capacity_types: options.capacity_types };
    verify(snapshot, catalog, &checked, &plan).map_err(|broken| {
        let mut lines: Vec<String> = broken.iter().take(MOST_BROKEN).map(|rule| format!("\n  {rule}")).collect();
        if broken.len() > MOST_BROKEN {
            lines.push(format!("\n  and {} more", broken.len() - MOST_BROKEN));
        }
        anyhow::anyhow!(
            "supercargo failed inside: the plan it made breaks rules, so it is not shown:{}",
            lines.concat()
        )
    })?;
    Ok(Answer { plan, stages })
}

/// What the waiting pods belong to and ask for, by their names in the plan.
pub fn workloads(snapshot: &Snapshot) -> Workloads {
    let mut workloads = Workloads::default();
    for group in &snapshot.pending {
        // Objects that the planner took can be counted; for any other the report does without.
        let requests = pod_requests(&group.spec).unwrap_or_default();
        let demand = Demand { workload: format!("{}/{}", group.namespace, workload(group)), requests };
        match &group.names {
            PodNames::Replicas { prefix, .. } => {
                workloads.add_replicas(format!("{}/{prefix}", group.namespace), demand);
            }
            PodNames::Single(name) => workloads.add_single(format!("{}/{name}", group.namespace), demand),
        }
    }
    workloads
}

/// The name of a group's workload: a ReplicaSet made by a Deployment goes by the Deployment's name.
fn workload(group: &PodGroup) -> &str {
    let Owner { kind, name } = &group.owner;
    match group.labels.get("pod-template-hash") {
        Some(hash) if kind == "ReplicaSet" => {
            name.strip_suffix(hash.as_str()).and_then(|stem| stem.strip_suffix('-')).unwrap_or(name)
        }
        _ => name,
    }
}
