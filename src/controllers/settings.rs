//! What the controllers were asked for.

use std::time::Duration;

use supercargo_models::problem::build::Options;
use supercargo_models::solver;

/// What the controllers were asked for.
#[derive(Clone, Debug)]
pub struct Settings {
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
    /// A claim that is not launched for so long is given up.
    pub launch_timeout: Duration,
    /// A claim whose node has not joined for so long is given up.
    pub registration_timeout: Duration,
    /// How often claims, nodes and machines are compared.
    pub collection_period: Duration,
}
