//! Planner, solver and checker against brute force, on thousands of small random clusters.
//!
//! `PROPTEST_CASES` sets how many; the default takes well under a minute.
#![allow(clippy::unwrap_used)]

mod plan_support;

use std::time::Instant;

use plan_support::brute::{Worth, better};
use plan_support::random::{Case, case};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};
use supercargo_models::catalog::Catalog;
use supercargo_models::kubernetes::Snapshot;
use supercargo_models::plan::Plan;
use supercargo_models::plan::verify::{VerifyOptions, verify};
use supercargo_models::planner;
use supercargo_models::problem::build::Options;
use supercargo_models::solver::{Control, Method, Settings, Status, solve};

/// Cases where `PROPTEST_CASES` says nothing.
const CASES: u32 = 1_500;

/// A time budget by the clock.
struct Budget {
    start: Instant,
    seconds: f64,
}

impl Control for Budget {
    fn remaining_seconds(&self) -> f64 {
        self.seconds - self.start.elapsed().as_secs_f64()
    }
}

fn plan_of(snapshot: &Snapshot, catalog: &Catalog, method: Method) -> Result<Plan, String> {
    let settings = Settings { method, threads: 1, ..Settings::default() };
    let control = Budget { start: Instant::now(), seconds: 5.0 };
    let options = Options::default();
    planner::plan(snapshot, catalog, &options, &settings, &control, &|problem, settings, control| {
        solve(problem, settings, control)
    })
    .map_err(|error| error.to_string())
}

fn config() -> Config {
    let asked = std::env::var("PROPTEST_CASES").is_ok();
    let mut config = Config::default();
    config.failure_persistence = None;
    config.max_shrink_iters = 400;
    if !asked {
        config.cases = CASES;
    }
    config
}

fn fail(message: String, snapshot: &Snapshot, plan: &Plan) -> TestCaseError {
    let groups: Vec<String> = snapshot
        .pending
        .iter()
        .map(|group| format!("{} x{}: {}", group.owner.name, group.names.count(), json(&*group.spec)))
        .collect();
    let pools: Vec<String> = snapshot.node_pools.iter().map(|pool| json(&pool.spec)).collect();
    TestCaseError::fail(format!(
        "{message}\nsummary {}\nnodes {}\nexisting {}\nleft over {:?}\nwork {groups:#?}\npools {pools:#?}",
        json(&plan.summary),
        places(plan),
        json(&plan.existing_nodes),
        plan.unschedulable,
    ))
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

fn places(plan: &Plan) -> String {
    let place = |node: &supercargo_models::plan::PlannedNode| {
        format!(
            "{} {} {} {}: {}",
            node.node_pool,
            node.instance_type,
            node.zone,
            node.capacity_type,
            node.pods.join(" ")
        )
    };
    plan.nodes.iter().map(place).collect::<Vec<_>>().join("; ")
}

fn holds_up(case: &Case, method: Method) -> Result<(), TestCaseError> {
    let (snapshot, catalog) = (case.snapshot(), case.catalog());
    let options = VerifyOptions::default();
    let plan = plan_of(&snapshot, &catalog, method).map_err(TestCaseError::fail)?;
    if let Err(broken) = verify(&snapshot, &catalog, &options, &plan) {
        let broken: Vec<String> = broken.iter().map(ToString::to_string).collect();
        return Err(fail(format!("the plan is wrong: {broken:#?}"), &snapshot, &plan));
    }
    // With weights cost comes after the weight, and what the greedy leaves over is no claim.
    if case.has_weights() || method == Method::Greedy {
        return Ok(());
    }
    let found = Worth { left_over: plan.summary.unschedulable as u32, cost: plan.summary.hourly_cost };
    let Some((best, shown)) = better(&snapshot, &catalog, &options, found) else { return Ok(()) };
    let shown =
        || shown.as_ref().map_or_else(String::new, |plan| format!("{} | {}", places(plan), json(&plan.existing_nodes)));
    if best.left_over < found.left_over {
        return Err(fail(
            format!("{} more could be placed: {}", found.left_over - best.left_over, shown()),
            &snapshot,
            &plan,
        ));
    }
    let gain = found.cost - best.cost;
    if plan.summary.status == Status::Optimal && gain > 1e-6 {
        return Err(fail(format!("called optimal, but ${} is enough: {}", best.cost, shown()), &snapshot, &plan));
    }
    let bound = plan.summary.lower_bound.unwrap_or(0.0);
    // The bound speaks of the pods that are placed; where some are left over they may be others.
    if found.left_over == 0 && bound > best.cost + 1e-6 {
        return Err(fail(format!("the bound is above the optimum ${}: {}", best.cost, shown()), &snapshot, &plan));
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    /// Every plan passes the checker; what is called optimal is; no bound is above the optimum; and all pods that can be
    /// placed are.
    #[test]
    fn plans_are_as_good_as_brute_force(case in case()) {
        holds_up(&case, Method::Auto)?;
    }

    /// The greedy's plans obey every rule too.
    #[test]
    fn greedy_plans_obey_every_rule(case in case()) {
        holds_up(&case, Method::Greedy)?;
    }
}
