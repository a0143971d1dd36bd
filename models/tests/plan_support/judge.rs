//! One random cluster planned, checked, and compared with brute force.

use std::collections::BTreeMap;

use supercargo_models::catalog::Catalog;
use supercargo_models::kubernetes::{PodGroup, Snapshot};
use supercargo_models::plan::Plan;
use supercargo_models::plan::verify::{VerifyOptions, verify};
use supercargo_models::planner;
use supercargo_models::problem::build::Options;
use supercargo_models::solver::{Control, Method, Settings, Status, solve};

use super::brute::{Rival, Worth, better};
use super::random::Case;

/// No clock: what ends a stage is counted in rounds, so that a case is the same on every machine.
struct Unhurried;

impl Control for Unhurried {
    fn remaining_seconds(&self) -> f64 {
        f64::INFINITY
    }
}

/// Rounds of each stage.
const ROUNDS: u64 = 100;

fn plan_of(snapshot: &Snapshot, catalog: &Catalog, method: Method) -> Result<Plan, String> {
    let settings = Settings { method, threads: 1, iterations: Some(ROUNDS), ..Settings::default() };
    let options = Options::default();
    planner::plan(snapshot, catalog, &options, &settings, &Unhurried, &|problem, settings, control| {
        solve(problem, settings, control)
    })
    .map_err(|error| error.to_string())
}

fn fail(message: String, snapshot: &Snapshot, catalog: &Catalog, plan: &Plan) -> String {
    let groups: Vec<String> = snapshot
        .pending
        .iter()
        .map(|group| format!("{} x{}: {}", group.owner.name, group.names.count(), json(&*group.spec)))
        .collect();
    let nodes = snapshot
        .nodes
        .iter()
        .map(|node| format!("{} {} {}", json(&node.metadata), json(&node.spec), json(&node.status)));
    let daemons = snapshot.daemon_sets.iter().map(json);
    let claims = snapshot.node_claims.iter().map(json).chain(snapshot.csi_nodes.iter().map(json));
    let there: Vec<String> = nodes.chain(claims).chain(snapshot.bound.iter().map(json)).chain(daemons).collect();
    let pools: Vec<String> = snapshot.node_pools.iter().map(|pool| json(&pool.spec)).collect();
    let overlays: Vec<String> = snapshot.node_overlays.iter().map(json).collect();
    let sold = catalog.instance_types.iter().map(|kind| {
        let offerings: Vec<String> =
            kind.offerings.iter().map(|one| format!("{} {} ${}", one.zone, one.capacity_type, one.price)).collect();
        let volumes = kind.max_volume_attachments;
        format!("{} {} {} {volumes:?}: {}", kind.name, kind.arch, json(&kind.allocatable), offerings.join(", "))
    });
    let sold: Vec<String> = sold.collect();
    format!(
        "{message}\nsummary {}\nnodes {}\nexisting {}\nleft over {:?}\nnotes {:?}\nwork {groups:#?}\npools {pools:#?}\noverlays {overlays:#?}\nthere {there:#?}\nsold {sold:#?}",
        json(&plan.summary),
        places(plan),
        json(&plan.existing_nodes),
        plan.unschedulable,
        plan.notes,
    )
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

/// Which claims of a plan are compared with brute force.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// Its cost, its bound, and how many pods it leaves over.
    pub all: bool,
    /// The same where it leaves pods over.
    pub left_over: bool,
}

/// Plans the case and judges the plan; an error says what is wrong, with all it takes to see why.
pub fn holds_up(case: &Case, method: Method) -> Result<(), String> {
    // What the greedy leaves over is no claim, nor, with weights, what was planned for other pools before. Pods that follow
    // others are left over with them; without those others they could stand alone.
    let left_over = !case.has_followers() && !case.has_weights();
    let compared = Compared { all: method != Method::Greedy, left_over };
    judged(&case.snapshot(), &case.catalog(), method, compared).map(|_| ())
}

/// What brute force may do better: the same pods in pools of the same weights.
fn rival(snapshot: &Snapshot, plan: &Plan) -> Rival {
    let weight = |name: &str| {
        let pool = snapshot.node_pools.iter().find(|pool| pool.metadata.name.as_deref() == Some(name));
        pool.unwrap().spec.weight.unwrap_or(0)
    };
    let of_group = |group: &PodGroup| {
        let own: Vec<String> =
            (0..group.names.count()).map(|pod| format!("{}/{}", group.namespace, group.names.name(pod))).collect();
        let left = plan.unschedulable.iter().filter(|left| own.contains(&left.pod)).count() as u32;
        let mut bought = BTreeMap::new();
        for node in &plan.nodes {
            let count = node.pods.iter().filter(|pod| own.contains(pod)).count() as u32;
            *bought.entry(weight(&node.node_pool)).or_default() += count;
        }
        (left, bought)
    };
    let (left_over, bought) = snapshot.pending.iter().map(of_group).unzip();
    Rival { left_over, bought }
}

/// Plans a cluster and judges the plan.
pub fn judged(snapshot: &Snapshot, catalog: &Catalog, method: Method, compared: Compared) -> Result<Plan, String> {
    let options = VerifyOptions::default();
    let plan = plan_of(snapshot, catalog, method)?;
    if let Err(broken) = verify(snapshot, catalog, &options, &plan) {
        let broken: Vec<String> = broken.iter().map(ToString::to_string).collect();
        return Err(fail(format!("the plan is wrong: {broken:#?}"), snapshot, catalog, &plan));
    }
    let found = Worth { left_over: plan.summary.unschedulable as u32, cost: plan.summary.hourly_cost };
    if !compared.all || (found.left_over > 0 && !compared.left_over) {
        return Ok(plan);
    }
    let rival = rival(snapshot, &plan);
    let Some((best, shown)) = better(snapshot, catalog, &options, found, &rival) else { return Ok(plan) };
    let shown =
        || shown.as_ref().map_or_else(String::new, |plan| format!("{} | {}", places(plan), json(&plan.existing_nodes)));
    if best.left_over < found.left_over {
        let more = found.left_over - best.left_over;
        return Err(fail(format!("{more} more could be placed: {}", shown()), snapshot, catalog, &plan));
    }
    let gain = found.cost - best.cost;
    if plan.summary.status == Status::Optimal && gain > 1e-6 {
        let message = format!("called optimal, but ${} is enough: {}", best.cost, shown());
        return Err(fail(message, snapshot, catalog, &plan));
    }
    let bound = plan.summary.lower_bound.unwrap_or(0.0);
    // The bound speaks of the pods that are placed; where some are left over they may be others.
    if found.left_over == 0 && bound > best.cost + 1e-6 {
        let message = format!("the bound is above the optimum ${}: {}", best.cost, shown());
        return Err(fail(message, snapshot, catalog, &plan));
    }
    Ok(plan)
}
