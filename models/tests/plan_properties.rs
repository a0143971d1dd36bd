//! Planner, solver and checker against brute force, on thousands of small random clusters.
//!
//! Every case has a number from which it is made, so a run is the same everywhere. `SUPERCARGO_CASES` sets how many are
//! tried and `SUPERCARGO_FIRST_CASE` with which to begin; the default takes well under a minute.
#![allow(clippy::unwrap_used)]

mod plan_support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use plan_support::judge::holds_up;
use plan_support::random::{Case, case};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use supercargo_models::solver::Method;

/// Cases where `SUPERCARGO_CASES` says nothing.
const CASES: u64 = 1_500;
/// Failures that are told of; one cause mostly breaks many cases.
const TOLD: usize = 3;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// The case of a number, if it fails: what is wrong with the smallest case that fails too.
fn failure(number: u64, check: fn(&Case) -> Result<(), String>) -> Option<String> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut tree = case().new_tree(&mut TestRunner::new_with_rng(Config::default(), random)).unwrap();
    let mut failed = check(&tree.current()).err()?;
    let mut simpler = tree.simplify();
    for _ in 0..600 {
        if !simpler {
            break;
        }
        simpler = match check(&tree.current()) {
            Ok(()) => tree.complicate(),
            Err(message) => {
                failed = message;
                tree.simplify()
            }
        };
    }
    Some(format!("case {number}: {failed}"))
}

/// Tries all cases on all cores.
fn try_all(check: fn(&Case) -> Result<(), String>) {
    let first = setting("SUPERCARGO_FIRST_CASE", 0);
    let last = first + setting("SUPERCARGO_CASES", CASES);
    let (next, failures) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= last || failures.lock().unwrap().len() >= TOLD {
                        return;
                    }
                    if let Some(message) = failure(number, check) {
                        failures.lock().unwrap().push(message);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Every plan passes the checker; what is called optimal is; no bound is above the optimum; and all pods that can be
/// placed are.
#[test]
fn plans_are_as_good_as_brute_force() {
    try_all(|case| holds_up(case, Method::Auto));
}

/// The greedy's plans obey every rule too, and are never cheaper.
#[test]
fn greedy_plans_obey_every_rule() {
    try_all(|case| holds_up(case, Method::Greedy));
}
