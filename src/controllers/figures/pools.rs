//! Pools: what they have, may have and cost, and how many of their nodes may be disrupted
//! (`pkg/controllers/metrics/nodepool`, `pkg/controllers/metrics/cluster`, `pkg/controllers/disruption/helpers.go`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::super::conditions::{self, LAUNCHED};
use super::super::disruption::{REASONS, allowed, counts};
use super::super::overlays::Market;
use super::{amounts, listed};
use crate::api::{NodeClaim, NodePool};
use crate::cloud::Offer;
use crate::labels;
use crate::telemetry::{Gauges, Labels};

/// All figures of pools.
pub(super) fn gauges(
    pools: &[Arc<NodePool>],
    claims: &[Arc<NodeClaim>],
    market: &Market,
    now: Timestamp,
) -> Vec<Gauges> {
    let mut usage = Gauges::new("karpenter_nodepools_usage", "What a pool's nodes have together");
    let mut limit = Gauges::new("karpenter_nodepools_limit", "The most that a pool's nodes may have");
    let mut cost = Gauges::new("karpenter_nodepools_cost_total", "Dollars an hour that a pool's nodes cost");
    let mut disruptions = Gauges::new(
        "karpenter_nodepools_allowed_disruptions",
        "Nodes of a pool that its budgets allow to be disrupted at once, by reason",
    );
    let mut own: HashMap<&str, Vec<&NodeClaim>> = HashMap::new();
    for claim in claims {
        if let Some(pool) = claim.labels().get(labels::NODE_POOL) {
            own.entry(pool).or_default().push(claim);
        }
    }
    for pool in pools {
        let name = pool.name_any();
        let labelled = |key: &'static str, value: String| -> Labels { vec![("nodepool", name.clone()), (key, value)] };
        let has = pool.status.as_ref().and_then(|status| status.resources.as_ref());
        for (gauges, list) in [(&mut usage, has), (&mut limit, pool.spec.limits.as_ref())] {
            for (resource, amount) in amounts(&listed(list)) {
                gauges.add(labelled("resource_type", resource), amount);
            }
        }
        let claims = own.get(name.as_str()).map_or(&[][..], Vec::as_slice);
        cost.add(vec![("nodepool", name.clone())], together(claims, market));
        let nodes = claims.iter().filter(|claim| counts(claim)).count();
        for reason in REASONS {
            // A budget that can't be understood allows nothing.
            let most = allowed(pool, reason, nodes, now).unwrap_or(0);
            disruptions.add(labelled("reason", reason.to_owned()), most as f64);
        }
    }
    vec![usage, limit, cost, disruptions]
}

/// What the machines of claims cost together, those whose offering is on sale no longer left out.
fn together(claims: &[&NodeClaim], market: &Market) -> f64 {
    let mut prices: BTreeMap<Offer, f64> = BTreeMap::new();
    let mut sum = 0.0;
    for claim in claims.iter().filter(|claim| conditions::is_true(claim, LAUNCHED)) {
        let label = |key: &str| claim.labels().get(key).cloned().unwrap_or_default();
        let offer = Offer {
            instance_type: label(labels::INSTANCE_TYPE),
            zone: label(labels::ZONE),
            capacity_type: label(labels::CAPACITY_TYPE),
        };
        sum += match prices.get(&offer) {
            Some(price) => *price,
            None => {
                let price = market.price(claim, &offer).unwrap_or(0.0);
                prices.insert(offer, price);
                price
            }
        };
    }
    sum
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;
    use supercargo_models::catalog::{Catalog, InstanceType, Offering};

    use super::*;

    #[test]
    fn a_pool_is_told_with_what_it_has_and_costs() {
        let pool: NodePool = serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "p", "uid": "u"},
            "spec": {
                "limits": {"cpu": "10", "ephemeral-storage": "1Ki"},
                "disruption": {"budgets": [{"nodes": "50%", "reasons": ["Empty"]}, {"nodes": "1", "reasons": ["Drifted"]}]},
                "template": {"spec": {"requirements": []}},
            },
            "status": {"resources": {"cpu": "3500m", "nodes": "4"}},
        }))
        .unwrap();
        let claim = |name: &str, initialized: &str| -> Arc<NodeClaim> {
            let condition = |kind: &str, status: &str| {
                json!({"type": kind, "status": status, "reason": kind, "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"})
            };
            let claim = json!({
                "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": name, "labels": {
                    "karpenter.sh/nodepool": "p", "node.kubernetes.io/instance-type": "m5.large",
                    "topology.kubernetes.io/zone": "a", "karpenter.sh/capacity-type": "spot"}},
                "spec": {"nodeClassRef": {"group": "g", "kind": "k", "name": "n"}, "requirements": []},
                "status": {"conditions": [condition("Launched", "True"), condition("Initialized", initialized)]},
            });
            Arc::new(serde_json::from_value(claim).unwrap())
        };
        let claims: Vec<Arc<NodeClaim>> =
            [("a", "True"), ("b", "True"), ("c", "True"), ("d", "True"), ("e", "Unknown")]
                .map(|(name, initialized)| claim(name, initialized))
                .into();
        let offering = Offering { zone: "a".into(), capacity_type: "spot".into(), price: 0.25, ..Offering::default() };
        let instance = InstanceType { name: "m5.large".into(), offerings: vec![offering], ..InstanceType::default() };
        let catalog = Catalog { instance_types: vec![instance], ..Catalog::default() };
        let pools = [Arc::new(pool)];
        let market = Market::new(Arc::new(catalog), &[], &pools);
        let all = gauges(&pools, &claims, &market, Timestamp::UNIX_EPOCH);
        let series: Vec<String> = all
            .iter()
            .flat_map(|gauges| gauges.series.iter().map(move |(labels, value)| (gauges.name, labels, value)))
            .map(|(name, labels, value)| {
                let labels: Vec<&str> = labels.iter().skip(1).map(|(_, value)| value.as_str()).collect();
                format!("{} {} {value}", name.trim_start_matches("karpenter_nodepools_"), labels.join(" "))
            })
            .collect();
        let expected = [
            "usage cpu 3.5",
            "usage nodes 4",
            "limit cpu 10",
            "limit ephemeral_storage 1024",
            "cost_total  1.25",
            "allowed_disruptions Empty 2",
            "allowed_disruptions Drifted 1",
        ];
        assert_eq!(series, expected);
        assert!(all.iter().all(|gauges| gauges.series.iter().all(|(labels, _)| labels[0].1 == "p")));
        assert!(gauges(&[], &claims, &market, Timestamp::UNIX_EPOCH).iter().all(|gauges| gauges.series.is_empty()));
    }
}
