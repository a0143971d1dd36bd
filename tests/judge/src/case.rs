//! What is judged: objects, a catalogue, and the plan that supercargo makes of them.

use std::path::Path;
use std::time::Duration;

use supercargo::cluster::{ReadOptions, read};
use supercargo::commands::arguments::{PlanningArguments, Solver};
use supercargo::commands::planning;
use supercargo::control::WallClock;
use supercargo_models::catalog::Catalog;
use supercargo_models::kubernetes::Snapshot;
use supercargo_models::plan::Plan;

/// The longest to think about a plan; what the command line's default is.
const BUDGET: Duration = Duration::from_secs(5);

/// Objects, the catalogue, and a plan that passed the checker.
#[derive(Clone, Debug)]
pub struct Case {
    /// What waits, and what is there.
    pub snapshot: Snapshot,
    /// What is for sale.
    pub catalog: Catalog,
    /// What supercargo says.
    pub plan: Plan,
}

impl Case {
    /// Reads the objects of a file and plans them with the embedded catalogue, as `supercargo plan -f` does.
    ///
    /// # Errors
    /// If they can't be read or planned.
    pub fn of_file(file: &Path) -> anyhow::Result<Self> {
        let loaded = read(&[file.display().to_string()], &ReadOptions::default())?;
        Case::of(loaded.snapshot, supercargo::catalog::embedded()?, None)
    }

    /// Plans a snapshot; with `iterations` rounds are counted in place of seconds.
    ///
    /// # Errors
    /// If it can't be planned.
    pub fn of(snapshot: Snapshot, catalog: Catalog, iterations: Option<u64>) -> anyhow::Result<Self> {
        let plan = plan(&snapshot, &catalog, iterations)?;
        Ok(Case { snapshot, catalog, plan })
    }

    /// Each planned pod (`namespace/name`) with the name of its node.
    pub fn places(&self) -> impl Iterator<Item = (&str, &str)> {
        let new = self.plan.nodes.iter().map(|node| (&node.pods, &node.name));
        let existing = self.plan.existing_nodes.iter().map(|node| (&node.pods, &node.name));
        new.chain(existing).flat_map(|(pods, node)| pods.iter().map(move |pod| (pod.as_str(), node.as_str())))
    }
}

/// A plan as the command line makes it.
pub(crate) fn plan(snapshot: &Snapshot, catalog: &Catalog, iterations: Option<u64>) -> anyhow::Result<Plan> {
    let arguments = PlanningArguments {
        capacity_type: Vec::new(),
        time_budget: BUDGET,
        gap: None,
        solver: Solver::Auto,
        threads: iterations.map(|_| 1),
        seed: 1,
        iterations,
        ignore_weights: false,
    };
    let clock = WallClock::start(arguments.clock_budget(), true);
    Ok(planning::plan(snapshot, catalog, &arguments, &clock)?.plan)
}
