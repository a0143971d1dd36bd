//! How conditions of pools, claims and nodes change, and how long their ends take, under the names that Karpenter's status
//! controllers give them (<https://github.com/awslabs/operatorpkg/blob/main/status/metrics.go>). Only what is seen to happen
//! counts: what was so when an object was first read is nobody's change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Labels, Metrics, duration, seconds};

/// A kind of objects whose conditions are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// NodePools.
    Pool,
    /// NodeClaims.
    Claim,
    /// Nodes.
    Node,
}

/// A condition as an object has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why.
    pub reason: String,
    /// Since when it has been so.
    pub since: Option<Timestamp>,
}

/// Figures of changes.
pub(super) struct Transitions {
    pools: OfKind,
    claims: OfKind,
    nodes: OfKind,
}

struct OfKind {
    count: Family<Labels, Counter>,
    time: Family<Labels, Histogram, fn() -> Histogram>,
    ends: Family<Labels, Histogram, fn() -> Histogram>,
    /// By uid: the conditions as they were last seen, by type.
    seen: Mutex<HashMap<String, BTreeMap<String, Observed>>>,
}

impl OfKind {
    fn register(registry: &mut Registry, [count, time, ends]: [&'static str; 3]) -> Self {
        let of_kind = OfKind {
            count: Family::default(),
            time: Family::new_with_constructor(duration),
            ends: Family::new_with_constructor(duration),
            seen: Mutex::default(),
        };
        registry.register(count, "Conditions that became what they are", of_kind.count.clone());
        registry.register(time, "For how long conditions were what they were before", of_kind.time.clone());
        registry.register(ends, "From when an object's end is asked for until it is gone", of_kind.ends.clone());
        of_kind
    }
}

impl Transitions {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Transitions {
            pools: OfKind::register(
                registry,
                [
                    "operator_nodepool_status_condition_transitions",
                    "operator_nodepool_status_condition_transition_seconds",
                    "operator_nodepool_termination_duration_seconds",
                ],
            ),
            claims: OfKind::register(
                registry,
                [
                    "operator_nodeclaim_status_condition_transitions",
                    "operator_nodeclaim_status_condition_transition_seconds",
                    "operator_nodeclaim_termination_duration_seconds",
                ],
            ),
            nodes: OfKind::register(
                registry,
                [
                    "operator_node_status_condition_transitions",
                    "operator_node_status_condition_transition_seconds",
                    "operator_node_termination_duration_seconds",
                ],
            ),
        }
    }

    fn of(&self, kind: Kind) -> &OfKind {
        match kind {
            Kind::Pool => &self.pools,
            Kind::Claim => &self.claims,
            Kind::Node => &self.nodes,
        }
    }
}

impl Metrics {
    /// A watch tells of the conditions of an object of this pool, by type; `first` where the object was there before us.
    pub fn conditions_seen(
        &self,
        kind: Kind,
        uid: &str,
        pool: Option<&str>,
        conditions: BTreeMap<String, Observed>,
        first: bool,
    ) {
        let of_kind = self.transitions.of(kind);
        let mut seen = of_kind.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.insert(uid.to_owned(), conditions.clone());
        if before.is_none() && first {
            return;
        }
        let before = before.unwrap_or_default();
        for (name, now) in &conditions {
            let was = before.get(name);
            if was.is_some_and(|was| was.status == now.status) {
                continue;
            }
            let labels = [("type", name), ("status", &now.status), ("reason", &now.reason)];
            of_kind.count.get_or_create(&with_pool(labels, pool)).inc();
            if let Some((was, since, until)) = was.and_then(|was| Some((was, was.since?, now.since?))) {
                let labels = [("type", name), ("status", &was.status), ("to_status", &now.status)];
                of_kind.time.get_or_create(&with_pool(labels, pool)).observe(seconds(since, until));
            }
        }
    }

    /// An object of this pool is gone, whose end was asked for then.
    pub fn object_gone(&self, kind: Kind, uid: &str, pool: Option<&str>, asked: Option<Timestamp>, now: Timestamp) {
        let of_kind = self.transitions.of(kind);
        of_kind.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        if let Some(asked) = asked {
            of_kind.ends.get_or_create(&with_pool([], pool)).observe(seconds(asked, now));
        }
    }

    /// All objects of a kind have been read anew: whatever is not among them is gone.
    pub fn objects_read(&self, kind: Kind, uids: &BTreeSet<String>) {
        let mut seen = self.transitions.of(kind).seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|uid, _| uids.contains(uid));
    }
}

/// Labels, and the one that Karpenter makes of an object's label of its pool, where it has it.
fn with_pool<const N: usize>(labels: [(&'static str, &String); N], pool: Option<&str>) -> Labels {
    let pool = pool.map(|pool| ("karpenter_sh_nodepool", pool.to_owned()));
    labels.into_iter().map(|(name, value)| (name, value.clone())).chain(pool).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn conditions(status: &str, second: i64) -> BTreeMap<String, Observed> {
        let since = Timestamp::from_second(second).ok();
        [("Launched".to_owned(), Observed { status: status.into(), reason: status.into(), since })].into()
    }

    #[test]
    fn changes_of_conditions_are_counted_with_how_long_they_held() {
        let metrics = Metrics::default();
        let see = |uid: &str, status: &str, second, first| {
            metrics.conditions_seen(Kind::Claim, uid, Some("p"), conditions(status, second), first);
        };
        // Nobody knows when this one was launched.
        see("old", "True", 0, true);
        see("new", "Unknown", 10, false);
        see("new", "Unknown", 10, false);
        see("new", "True", 14, false);
        metrics.object_gone(
            Kind::Claim,
            "new",
            Some("p"),
            Timestamp::from_second(20).ok(),
            Timestamp::from_second(23).unwrap(),
        );
        metrics.objects_read(Kind::Claim, &BTreeSet::new());
        // It is read again after a pause of the watch: it was there before us.
        see("old", "False", 30, true);
        let text = metrics.encode().unwrap();
        let name = "operator_nodeclaim_status_condition_transition";
        for line in [
            format!(
                "{name}s_total{{type=\"Launched\",status=\"Unknown\",reason=\"Unknown\",karpenter_sh_nodepool=\"p\"}} 1\n"
            ),
            format!(
                "{name}s_total{{type=\"Launched\",status=\"True\",reason=\"True\",karpenter_sh_nodepool=\"p\"}} 1\n"
            ),
            format!(
                "{name}_seconds_sum{{type=\"Launched\",status=\"Unknown\",to_status=\"True\",karpenter_sh_nodepool=\"p\"}} 4.0\n"
            ),
            "operator_nodeclaim_termination_duration_seconds_sum{karpenter_sh_nodepool=\"p\"} 3.0\n".into(),
        ] {
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("status=\"False\""), "{text}");
    }
}
