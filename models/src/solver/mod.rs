//! From a problem to a solution: anytime, with a proven bound, and never worse than the greedy.

mod blocks;
pub mod bound;
pub mod columns;
pub mod complete;
mod cover;
mod dive;
mod enumerate;
pub mod export;
mod fill;
mod fluid;
pub mod greedy;
#[cfg(test)]
mod heuristics_test;
pub mod highs;
pub mod improve;
mod incumbent;
mod integer;
mod known;
mod mix;
pub mod model;
mod packing;
mod parts;
mod pipeline;
mod prices;
mod quiet;
pub mod quota;
mod repair;
#[cfg(test)]
mod rules_test;
mod run;
mod sequence;
mod slice;
#[cfg(test)]
mod test_problems;
#[cfg(test)]
mod tests;
mod whole;
mod wish;

use serde::{Deserialize, Serialize};

use crate::problem::Solution;
pub use crate::status::Status;

pub use integer::run as run_model;
pub use known::{Known, Memory};
pub(crate) use parts::apart;
pub(crate) use quiet::needless_wakers;
pub use run::solve;
pub(crate) use run::summed;
pub use slice::{Beside, Slice};
pub use whole::export as export_nodes;

/// Time, interruption and an audience: all that the solver knows of the world outside.
pub trait Control: Sync {
    /// Seconds left of the time budget; 0 or less means: stop and answer with what there is.
    fn remaining_seconds(&self) -> f64;
    /// Whether someone asked to stop (Ctrl-C): answer with the incumbent now.
    fn interrupted(&self) -> bool {
        false
    }
    /// Hears of every better incumbent and bound.
    fn report(&self, _progress: &Progress) {}
    /// Whether to stop for either reason.
    fn exhausted(&self) -> bool {
        self.interrupted() || self.remaining_seconds() <= 0.0
    }
}

/// What the solver has so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The stage it is in, in a word or two: `greedy`, `columns`, `dive`, `integer`, `improve`.
    pub stage: &'static str,
    /// Cost of the incumbent in dollars an hour.
    pub cost: f64,
    /// Lower bound in dollars an hour, if there is one.
    pub bound: Option<f64>,
}

/// Which solver answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The integer program, with the greedy as its fallback.
    #[default]
    Auto,
    /// The integer program.
    Highs,
    /// The greedy alone: no bound.
    Greedy,
}

/// What the solver is asked for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which solver answers.
    pub method: Method,
    /// Stop as soon as (cost - bound) / cost is at most this; 0 for proven optimal.
    pub gap: f64,
    /// Threads it may use.
    pub threads: usize,
    /// Seed of every random choice.
    pub seed: u64,
    /// At most so many rounds in each stage instead of the clock: the same answer on every machine.
    pub iterations: Option<u64>,
    /// What is known already: a solution, or a part of one, that is completed and begun from where it is better than the
    /// greedy's answer. One that breaks a rule is not used.
    pub start: Option<Solution>,
    /// What is known of patterns and prices, in the numbers of the problem.
    pub known: Known,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            method: Method::Auto,
            gap: 0.0,
            threads: 2,
            seed: 1,
            iterations: None,
            start: None,
            known: Known::default(),
        }
    }
}

/// The solver's answer.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The best solution found; it obeys every rule of the problem.
    pub solution: Solution,
    /// No feasible solution that places the same units costs less (billionths of a dollar an hour, rounded down).
    /// `None` for the greedy alone.
    pub lower_bound: Option<i64>,
    /// How good it is known to be.
    pub status: Status,
    /// The cost of the greedy's own answer (billionths of a dollar an hour).
    pub greedy_cost: i64,
    /// What a person should know: why the greedy's answer stands, which stage ran out of time.
    pub notes: Vec<String>,
    /// Seconds in each stage by name, if the control tells time.
    pub stages: Vec<(&'static str, f64)>,
    /// What was learnt of patterns and prices.
    pub known: Known,
}
