//! Conditions of pools, claims and nodes, and how long the end of one takes, under the names that Karpenter's status controller
//! gives them (<https://github.com/awslabs/operatorpkg/blob/main/status/metrics.go>).

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use crate::api::{NodeClaim, NodePool};
use crate::labels;
use crate::telemetry::{Gauges, Labels, seconds};

/// The families of one kind of object.
struct Families {
    count: Gauges,
    time: Gauges,
    ending: Gauges,
}

impl Families {
    fn new([count, time, ending]: [&'static str; 3]) -> Self {
        Families {
            count: Gauges::new(count, "One a condition, with what is known of it"),
            time: Gauges::new(time, "For how many seconds a condition has been what it is"),
            ending: Gauges::new(ending, "Seconds since the end of an object was asked for"),
        }
    }

    fn add<'c, K: ResourceExt>(
        &mut self,
        object: &K,
        conditions: impl Iterator<Item = [Option<&'c str>; 3]>,
        times: &[Option<Timestamp>],
        now: Timestamp,
    ) {
        // Where an object has it: pools do not.
        let pool = object.labels().get(labels::NODE_POOL).map(|pool| ("karpenter_sh_nodepool", pool.clone()));
        for ([kind, status, reason], since) in conditions.zip(times) {
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            let mut labels: Labels = vec![
                ("name", object.name_any()),
                ("type", text(kind)),
                ("status", text(status)),
                ("reason", text(reason)),
            ];
            labels.extend(pool.clone());
            if let Some(since) = since {
                self.time.add(labels.clone(), seconds(*since, now));
            }
            self.count.add(labels, 1.0);
        }
        if let Some(asked) = &object.meta().deletion_timestamp {
            self.ending.add([("name", object.name_any())].into_iter().chain(pool).collect(), seconds(asked.0, now));
        }
    }

    /// The same of an object whose conditions are the API's own.
    fn add_all<K: ResourceExt>(&mut self, object: &K, conditions: Option<&Vec<Condition>>, now: Timestamp) {
        let list = conditions.map_or(&[][..], Vec::as_slice);
        let times: Vec<Option<Timestamp>> = list.iter().map(|one| Some(one.last_transition_time.0)).collect();
        let told = list.iter().map(|one| [&one.type_, &one.status, &one.reason].map(|text| Some(text.as_str())));
        self.add(object, told, &times, now);
    }

    fn into_list(self) -> [Gauges; 3] {
        [self.count, self.time, self.ending]
    }
}

/// All figures of conditions.
pub(super) fn gauges(
    pools: &[Arc<NodePool>],
    claims: &[Arc<NodeClaim>],
    nodes: &[Arc<Node>],
    now: Timestamp,
) -> Vec<Gauges> {
    let mut of_pools = Families::new([
        "operator_nodepool_status_condition_count",
        "operator_nodepool_status_condition_current_status_seconds",
        "operator_nodepool_termination_current_time_seconds",
    ]);
    for pool in pools {
        of_pools.add_all(&**pool, pool.status.as_ref().and_then(|status| status.conditions.as_ref()), now);
    }
    let mut of_claims = Families::new([
        "operator_nodeclaim_status_condition_count",
        "operator_nodeclaim_status_condition_current_status_seconds",
        "operator_nodeclaim_termination_current_time_seconds",
    ]);
    for claim in claims {
        of_claims.add_all(&**claim, claim.status.as_ref().and_then(|status| status.conditions.as_ref()), now);
    }
    let mut of_nodes = Families::new([
        "operator_node_status_condition_count",
        "operator_node_status_condition_current_status_seconds",
        "operator_node_termination_current_time_seconds",
    ]);
    for node in nodes {
        let list = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let times: Vec<Option<Timestamp>> =
            list.iter().map(|one| one.last_transition_time.as_ref().map(|time| time.0)).collect();
        let told = list.iter().map(|one| [Some(one.type_.as_str()), Some(&one.status), one.reason.as_deref()]);
        of_nodes.add(&**node, told, &times, now);
    }
    [of_pools, of_claims, of_nodes].into_iter().flat_map(Families::into_list).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_are_told_with_how_long_they_have_held() {
        let claim: NodeClaim = serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {
                "name": "c", "deletionTimestamp": "2026-01-01T00:00:50Z", "labels": {"karpenter.sh/nodepool": "p"},
            },
            "spec": {"nodeClassRef": {"group": "g", "kind": "k", "name": "n"}, "requirements": []},
            "status": {"conditions": [{"type": "Launched", "status": "False", "reason": "LaunchFailed", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:20Z"}]},
        }))
        .unwrap();
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"conditions": [
            {"type": "Ready", "status": "True", "reason": "KubeletReady"}]}}))
        .unwrap();
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let all = gauges(&[], &[Arc::new(claim)], &[Arc::new(node)], now);
        let told: Vec<String> = all
            .iter()
            .flat_map(|gauges| gauges.series.iter().map(move |(labels, value)| (gauges.name, labels, value)))
            .map(|(name, labels, value)| {
                let labels: Vec<&str> = labels.iter().map(|(_, value)| value.as_str()).collect();
                format!("{name} {} {value}", labels.join(","))
            })
            .collect();
        let expected = [
            "operator_nodeclaim_status_condition_count c,Launched,False,LaunchFailed,p 1",
            "operator_nodeclaim_status_condition_current_status_seconds c,Launched,False,LaunchFailed,p 40",
            "operator_nodeclaim_termination_current_time_seconds c,p 10",
            "operator_node_status_condition_count n,Ready,True,KubeletReady 1",
        ];
        assert_eq!(told, expected);
    }
}
