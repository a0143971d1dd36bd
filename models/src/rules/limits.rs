//! Limits of a NodePool: what all its nodes together may have.
//!
//! Karpenter counts what the nodes have, not what they offer pods; nodes that are there count
//! (<https://karpenter.sh/docs/concepts/nodepools/#speclimits>).

use std::collections::BTreeMap;

use crate::kubernetes::quantity::describe;
use crate::problem::build::Draft;
use crate::problem::types::NodeBudget;

/// One row for each limited resource of each pool. Bins that alone are beyond it admit nothing.
pub(crate) fn rows(draft: &mut Draft) {
    for (index, budget) in draft.model.budgets.iter().enumerate() {
        let per_node: BTreeMap<usize, i64> = (0..draft.bins.len())
            .filter_map(|bin| {
                let takes = draft.proto(bin).takes.iter().find(|(budget, _)| *budget == index);
                takes.map(|(_, amount)| (bin, *amount))
            })
            .collect();
        if per_node.is_empty() {
            continue;
        }
        let limit = budget.left;
        let everyone = {
            let mut all = draft.shape_set();
            all.insert_range(..);
            all
        };
        draft.forbid(&everyone, |bin, _| per_node.get(&bin).is_some_and(|amount| *amount > limit));
        let stated = describe(&budget.resource, budget.stated);
        let name = format!("limit {} {stated} of pool {}", budget.resource, budget.pool);
        draft.rules.node_budgets.push(NodeBudget { name, per_node, limit: limit.max(0) });
    }
}
