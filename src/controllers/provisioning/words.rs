//! What the log says of a plan: what it buys, for how many pods, and what that costs at least.

use std::collections::BTreeMap;

use supercargo_models::plan::{Plan, PlannedNode};
use tracing::{debug, info};

use super::offer_of;

/// What the new nodes of a plan cost together, and what they cost at least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Dollars an hour.
    total: f64,
    /// Dollars an hour; none where nothing is proven.
    bound: Option<f64>,
}

impl Cost {
    /// That of a plan.
    pub fn of(plan: &Plan) -> Self {
        Cost { total: plan.summary.hourly_cost, bound: plan.summary.lower_bound }
    }

    /// The price of some of the plan's nodes, with what the whole plan costs and its bound: `$0.4100/h, bound $0.4000/h`, or
    /// `$0.0627/h of $0.6732/h, bound $0.6700/h`.
    pub fn words(&self, price: f64) -> String {
        let [price, total] = [price, self.total].map(|dollars| format!("${dollars:.4}/h"));
        let bound = self.bound.map_or_else(|| "no bound".into(), |bound| format!("bound ${bound:.4}/h"));
        match price == total {
            true => format!("{price}, {bound}"),
            false => format!("{price} of {total}, {bound}"),
        }
    }
}

/// Nodes of one pool and offering: how many, for how many pods, their price together.
pub fn alike<'p>(nodes: impl Iterator<Item = &'p PlannedNode>) -> BTreeMap<(&'p str, String), (usize, usize, f64)> {
    let mut alike: BTreeMap<(&str, String), (usize, usize, f64)> = BTreeMap::new();
    for node in nodes {
        let entry = alike.entry((&node.node_pool, offer_of(node).to_string())).or_default();
        *entry = (entry.0 + 1, entry.1 + node.pods.len(), entry.2 + node.hourly_price);
    }
    alike
}

/// One line a decision: `claimed 2x c7i.2xlarge spot us-east-1b for 31 pods: $0.4100/h, bound $0.4000/h`.
pub fn say<'p>(plan: &Plan, done: &str, nodes: impl Iterator<Item = &'p PlannedNode>) {
    let cost = Cost::of(plan);
    let mut count = 0;
    for ((pool, offer), (nodes, pods, price)) in alike(nodes) {
        info!(nodepool = pool, "{done} {nodes}x {offer} for {pods} pods: {}", cost.words(price));
        count += nodes;
    }
    let summary = &plan.summary;
    let there: usize = plan.existing_nodes.iter().map(|node| node.pods.len()).sum();
    info!(
        "planned {} pods: {count} new nodes for {}, {there} pods onto nodes that are there or to come, {} find no place",
        summary.pods,
        cost.words(summary.hourly_cost),
        summary.unschedulable
    );
    for one in &plan.unschedulable {
        debug!(pod = one.pod, "no place: {}", one.reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_told_with_the_bound_of_its_plan() {
        let cost = Cost { total: 0.6732, bound: Some(0.67) };
        assert_eq!(cost.words(0.67321), "$0.6732/h, bound $0.6700/h");
        assert_eq!(cost.words(0.0627), "$0.0627/h of $0.6732/h, bound $0.6700/h");
        assert_eq!(Cost { total: 1.0, bound: None }.words(1.0), "$1.0000/h, no bound");
    }
}
