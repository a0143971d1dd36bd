//! How good a plan is known to be: said by the solver, stated in the plan, judged by the verifier.

use serde::{Deserialize, Serialize};

/// How good an answer is known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing is cheaper: gap 0 within 1e-6.
    Optimal,
    /// Obeys every rule; the gap says how far from optimal it can be.
    Feasible,
    /// The greedy's answer, because it was asked for or the integer program failed.
    Greedy,
}

/// A gap that counts as none.
const PROVEN: f64 = 1e-6;

impl Status {
    /// What a cost is known to be beside a lower bound, both in billionths of a dollar an hour.
    pub(crate) fn of(cost: i64, lower_bound: Option<i64>) -> Status {
        match lower_bound {
            None => Status::Greedy,
            Some(bound) if (cost - bound) as f64 <= PROVEN * cost as f64 => Status::Optimal,
            Some(_) => Status::Feasible,
        }
    }
}
