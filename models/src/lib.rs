//! The deciding core of supercargo: which machines to buy for the pods that wait.
//!
//! Data flows one way. A [`kubernetes::Snapshot`] (what the cluster holds and wants) and a [`catalog::Catalog`] (what
//! can be bought, and for how much) become a [`problem::Problem`] (shapes, bins and rules, in integers); the
//! [`solver`] turns that into a [`problem::Solution`] with a proven lower bound; [`plan`] names it in Kubernetes' words
//! again and checks it with code that shares nothing with the problem and the solver.
//!
//! Nothing in here reads a clock, a file, a socket or an environment variable: time and interruption come in through
//! [`solver::Control`].

pub mod catalog;
pub mod kubernetes;
pub mod plan;
pub mod planner;
pub mod problem;
mod rules;
pub mod solver;
mod status;
