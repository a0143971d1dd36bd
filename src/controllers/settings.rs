//! What the controllers were asked for.

use std::time::Duration;

use clap::ValueEnum;
use supercargo_models::problem::build::Options;
use supercargo_models::solver;

/// Who sees to it that the pods planned onto a new machine come to run there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Bind {
    /// The controller binds them before the node is open to others.
    #[default]
    Planned,
    /// kube-scheduler, which is told of the plan by status.nominatedNodeName.
    Nominate,
    /// kube-scheduler alone.
    Off,
}

/// What becomes of a pod that no offering suits as flexibly as `minValues` asks for; the words are Karpenter's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum MinValues {
    /// It waits.
    #[default]
    #[value(name = "Strict")]
    Strict,
    /// Its node is bought with as many values as there are.
    #[value(name = "BestEffort")]
    BestEffort,
}

/// What counts of what pods would rather have; the words are Karpenter's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Preferences {
    /// What costs nothing is done.
    #[default]
    #[value(name = "Respect")]
    Respect,
    /// None of it.
    #[value(name = "Ignore")]
    Ignore,
}

/// What the controllers were asked for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What this program calls itself, unlike any other one.
    pub identity: String,
    /// A batch of pods is planned once no other has come for so long.
    pub batch_idle: Duration,
    /// And at the latest so long after the first.
    pub batch_max: Duration,
    /// The longest to think about a batch.
    pub time_budget: Duration,
    /// What the solver is asked for.
    pub solver: solver::Settings,
    /// What the planner is asked for.
    pub options: Options,
    /// What becomes of pods that `minValues` leaves no offering.
    pub min_values: MinValues,
    /// A claim that is not launched for so long is given up.
    pub launch_timeout: Duration,
    /// A claim whose node has not joined for so long is given up.
    pub registration_timeout: Duration,
    /// A replacement that is not ready for so long is no longer waited for.
    pub replacement_timeout: Duration,
    /// Who binds the pods of a new machine.
    pub bind: Bind,
    /// How long a node is held for its pods at most, from the moment it has joined.
    pub bind_deadline: Duration,
    /// Where to publish plans in place of acting on them: the namespace of the ConfigMap.
    pub dry_run: Option<String>,
    /// Whether machines whose nodes are sick are replaced.
    pub node_repair: bool,
    /// Whether NodeOverlays count.
    pub node_overlay: bool,
    /// How often claims, nodes and machines are compared.
    pub collection_period: Duration,
}
