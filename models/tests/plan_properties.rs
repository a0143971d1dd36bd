//! Planner, solver and checker against brute force, on thousands of small random clusters.
//!
//! `PROPTEST_CASES` sets how many; the default takes well under a minute.
#![allow(clippy::unwrap_used)]

mod plan_support;

use plan_support::judge::holds_up;
use plan_support::random::case;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};
use supercargo_models::solver::Method;

/// Cases where `PROPTEST_CASES` says nothing.
const CASES: u32 = 1_000;

fn config() -> Config {
    let standard = Config { failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    if std::env::var("PROPTEST_CASES").is_ok() { standard } else { Config { cases: CASES, ..standard } }
}

proptest! {
    #![proptest_config(config())]

    /// Every plan passes the checker; what is called optimal is; no bound is above the optimum; and all pods that can be
    /// placed are.
    #[test]
    fn plans_are_as_good_as_brute_force(case in case()) {
        holds_up(&case, Method::Auto).map_err(TestCaseError::fail)?;
    }

    /// The greedy's plans obey every rule too.
    #[test]
    fn greedy_plans_obey_every_rule(case in case()) {
        holds_up(&case, Method::Greedy).map_err(TestCaseError::fail)?;
    }
}
