//! The plan in numbers: whether they add up.

use super::broken::{Findings, Rule};
use crate::kubernetes::Snapshot;
use crate::plan::types::Plan;
use crate::status::Status;

/// Two sums of money that differ by less than this part of them are the same.
const TOLERANCE: f64 = 1e-6;

fn same(left: f64, right: f64) -> bool {
    (left - right).abs() <= TOLERANCE * left.abs().max(right.abs()).max(1e-3)
}

/// Judges every number of the summary.
pub(super) fn check(snapshot: &Snapshot, plan: &Plan, findings: &mut Findings) {
    let summary = &plan.summary;
    let mut wrong = |field: &str, message: String| findings.add(Rule::Summary, field, message);
    let on_new: usize = plan.nodes.iter().map(|node| node.pods.len()).sum();
    let on_existing: usize = plan.existing_nodes.iter().map(|node| node.pods.len()).sum();
    let counts = [
        ("pods", summary.pods, snapshot.pending.iter().map(|group| u64::from(group.names.count())).sum()),
        ("scheduled", summary.scheduled, (on_new + on_existing) as u64),
        ("unschedulable", summary.unschedulable, plan.unschedulable.len() as u64),
        ("newNodes", summary.new_nodes, plan.nodes.len() as u64),
    ];
    for (field, stated, counted) in counts {
        if stated != counted {
            wrong(field, format!("is {counted}, not {stated}"));
        }
    }
    let cost: f64 = plan.nodes.iter().map(|node| node.hourly_price).sum();
    if !same(summary.hourly_cost, cost) {
        wrong("hourlyCost", format!("the nodes cost {cost}, not {}", summary.hourly_cost));
    }
    if plan.api_version != "supercargo.dev/v1" || plan.kind != "Plan" {
        wrong("apiVersion", format!("{} {} is not a plan of supercargo.dev/v1", plan.api_version, plan.kind));
    }
    if !matches!(summary.solver.as_str(), "highs" | "greedy") {
        wrong("solver", format!("there is no solver {}", summary.solver));
    }
    if !summary.solve_seconds.is_finite() || summary.solve_seconds < 0.0 {
        wrong("solveSeconds", format!("{} is no time", summary.solve_seconds));
    }
    // Where pods are left over, the greedy may have left over more.
    let comparable = plan.unschedulable.is_empty();
    if comparable
        && summary.greedy_hourly_cost < summary.hourly_cost
        && !same(summary.greedy_hourly_cost, summary.hourly_cost)
    {
        wrong("greedyHourlyCost", format!("{} is less than the plan's own cost", summary.greedy_hourly_cost));
    }
    bound(plan, findings);
}

fn bound(plan: &Plan, findings: &mut Findings) {
    let summary = &plan.summary;
    let mut wrong = |field: &str, message: String| findings.add(Rule::Summary, field, message);
    match (summary.lower_bound, summary.gap) {
        (None, None) => {
            if summary.status != Status::Greedy {
                wrong("lowerBound", "is absent, though the status is not greedy".to_owned());
            }
        }
        (Some(bound), Some(gap)) => {
            if !bound.is_finite() || bound < 0.0 || (bound > summary.hourly_cost && !same(bound, summary.hourly_cost)) {
                wrong("lowerBound", format!("{bound} is not between 0 and the plan's cost"));
            }
            let cost = summary.hourly_cost;
            let expected = if cost > 0.0 { (cost - bound) / cost } else { 0.0 };
            if (gap - expected).abs() > TOLERANCE {
                wrong("gap", format!("is {expected}, not {gap}"));
            }
            if summary.status == Status::Optimal && expected > TOLERANCE {
                wrong("status", format!("is optimal, though the gap is {expected}"));
            }
        }
        (bound, gap) => wrong("gap", format!("lowerBound is {bound:?} and gap is {gap:?}: both or none")),
    }
}
