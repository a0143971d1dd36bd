//! How many nodes of a pool may be disrupted at once: <https://karpenter.sh/docs/concepts/disruption/#nodepool-disruption-budgets>.

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::super::conditions::{self, INITIALIZED, INSTANCE_TERMINATING};
use crate::api::{Budget, NodeClaim, NodePool};

/// What a pool allows that has no budgets: the API's default.
const DEFAULT: &str = "10%";

/// Why a budget is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// Neither a count nor a percentage.
    #[error("spec.disruption.budgets: nodes: {0:?} is neither a count nor a percentage")]
    Nodes(String),
    /// Not a cron expression.
    #[error("spec.disruption.budgets: schedule: {0:?}: {1}")]
    Schedule(String, String),
    /// Not a duration.
    #[error("spec.disruption.budgets: duration: {0:?} is no duration such as 30m")]
    Duration(String),
}

/// Whether a claim's node counts as one of its pool's: it is initialized, and its machine is not ending already, for then
/// nothing is left to disrupt (`BuildDisruptionBudgetMapping` in `pkg/controllers/disruption/helpers.go` of
/// <https://github.com/kubernetes-sigs/karpenter>).
pub fn counts(claim: &NodeClaim) -> bool {
    conditions::is_true(claim, INITIALIZED) && !conditions::is_true(claim, INSTANCE_TERMINATING)
}

/// How many of a pool's `nodes` may be disrupted for a reason at `now`, those that are being disrupted among them: the least
/// that an active budget allows.
///
/// # Errors
/// The first budget that is not understood: nothing is to be disrupted then.
pub fn allowed(pool: &NodePool, reason: &str, nodes: usize, now: Timestamp) -> Result<usize, BudgetError> {
    let budgets = pool.spec.disruption.as_ref().and_then(|disruption| disruption.budgets.as_deref());
    let Some(budgets) = budgets.filter(|budgets| !budgets.is_empty()) else { return share(DEFAULT, nodes) };
    let mut least = nodes;
    for budget in budgets {
        let concerned = budget.reasons.as_ref().is_none_or(|reasons| reasons.iter().any(|one| one == reason));
        if concerned && is_active(budget, now)? {
            least = least.min(share(&budget.nodes, nodes)?);
        }
    }
    Ok(least)
}

/// A count, or a percentage of the nodes, rounded up.
fn share(text: &str, nodes: usize) -> Result<usize, BudgetError> {
    let wrong = || BudgetError::Nodes(text.to_owned());
    match text.strip_suffix('%') {
        Some(percent) => {
            let percent: usize = percent.parse().ok().filter(|percent| *percent <= 100).ok_or_else(wrong)?;
            Ok((nodes * percent).div_ceil(100))
        }
        None => text.parse().map_err(|_| wrong()),
    }
}

/// Whether a budget holds now: always, or for its duration since its schedule last came round, in UTC.
fn is_active(budget: &Budget, now: Timestamp) -> Result<bool, BudgetError> {
    let (Some(schedule), Some(duration)) = (&budget.schedule, &budget.duration) else { return Ok(true) };
    let wrong = |error: &dyn std::fmt::Display| BudgetError::Schedule(schedule.clone(), error.to_string());
    let length = crate::duration::parse(duration).ok_or_else(|| BudgetError::Duration(duration.clone()))?;
    let cron: Cron =
        CronParser::builder().seconds(Seconds::Disallowed).build().parse(schedule).map_err(|error| wrong(&error))?;
    // The first time at or after the moment at which a budget that began there would just be over.
    let begin = now.checked_sub(length).map_err(|error| wrong(&error))?;
    let begin: Zoned = begin.to_zoned(TimeZone::UTC);
    let next = cron.find_next_occurrence(&begin, false).map_err(|error| wrong(&error))?;
    Ok(next.timestamp() <= now)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn pool(budgets: Value) -> NodePool {
        serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "p"},
            "spec": {
                "disruption": {"consolidateAfter": "30s", "budgets": budgets},
                "template": {"spec": {"requirements": [], "nodeClassRef": {"group": "g", "kind": "k", "name": "n"}}},
            },
        }))
        .unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn counts_percentages_and_the_least_of_them() {
        let now = at("2026-01-01T00:00:00Z");
        let empty = |budgets: Value, nodes: usize| allowed(&pool(budgets), "Empty", nodes, now).unwrap();
        assert_eq!(empty(json!([]), 15), 2);
        assert_eq!(empty(json!([{"nodes": "10%"}]), 1), 1);
        assert_eq!(empty(json!([{"nodes": "0"}]), 5), 0);
        assert_eq!(empty(json!([{"nodes": "0%"}]), 5), 0);
        assert_eq!(empty(json!([{"nodes": "3"}, {"nodes": "50%"}]), 4), 2);
        assert_eq!(empty(json!([{"nodes": "100"}]), 4), 4);
        assert!(allowed(&pool(json!([{"nodes": "many"}])), "Empty", 4, now).is_err());
        assert!(allowed(&pool(json!([{"nodes": "101%"}])), "Empty", 4, now).is_err());
    }

    #[test]
    fn a_budget_may_be_for_some_reasons_only() {
        let now = at("2026-01-01T00:00:00Z");
        let drift = pool(json!([{"nodes": "0", "reasons": ["Drifted"]}, {"nodes": "2"}]));
        assert_eq!(allowed(&drift, "Drifted", 9, now).unwrap(), 0);
        assert_eq!(allowed(&drift, "Empty", 9, now).unwrap(), 2);
    }

    #[test]
    fn a_schedule_holds_for_its_duration() {
        let office = pool(json!([{"nodes": "0", "schedule": "0 9 * * mon-fri", "duration": "8h"}]));
        let at_time = |text: &str| allowed(&office, "Empty", 9, at(text)).unwrap();
        // The first of January 2026 is a Thursday.
        assert_eq!(at_time("2026-01-01T08:59:59Z"), 9);
        assert_eq!(at_time("2026-01-01T09:00:00Z"), 0);
        assert_eq!(at_time("2026-01-01T16:59:59Z"), 0);
        assert_eq!(at_time("2026-01-01T17:00:01Z"), 9);
        assert_eq!(at_time("2026-01-03T12:00:00Z"), 9);
        let daily = pool(json!([{"nodes": "1", "schedule": "@daily", "duration": "10m"}]));
        assert_eq!(allowed(&daily, "Empty", 9, at("2026-01-01T00:05:00Z")).unwrap(), 1);
        let wrong = pool(json!([{"nodes": "1", "schedule": "whenever", "duration": "10m"}]));
        assert!(allowed(&wrong, "Empty", 9, at("2026-01-01T00:05:00Z")).is_err());
    }
}
