//! The problem once the domains are decided: every shape's units of one slot are a shape of their own.

use crate::problem::{Problem, Rules, Shape, ShapeSet};
use crate::solver::packing::Index;

/// A problem without rules across nodes but for the number of nodes.
pub(super) struct Split {
    pub problem: Problem,
    /// By shape of the new problem: the slot that its units belong to.
    pub slots: Vec<usize>,
}

impl Split {
    /// Splits the shapes by `quotas[slot]` units. Rules that need more than counting on one node are left out.
    pub fn new(index: &Index, quotas: &[u32]) -> Self {
        let old = index.problem;
        let slots: Vec<usize> = (0..quotas.len()).filter(|&slot| quotas[slot] > 0).collect();
        let shape_of = |new: usize| index.slots[slots[new]].shape;
        let mut problem = Problem {
            resources: old.resources.clone(),
            shapes: Vec::with_capacity(slots.len()),
            bins: old.bins.clone(),
            demand: ndarray::Array2::zeros((slots.len(), index.resources)),
            capacity: old.capacity.clone(),
            topologies: old.topologies.clone(),
            rules: Rules::default(),
        };
        for (new, &slot) in slots.iter().enumerate() {
            let shape = shape_of(new);
            problem.shapes.push(Shape { count: quotas[slot], ..old.shapes[shape].clone() });
            problem.demand.row_mut(new).assign(&old.demand.row(shape));
        }
        for (bin, data) in problem.bins.iter_mut().enumerate() {
            let mut admits = ShapeSet::with_capacity(slots.len());
            for (new, &slot) in slots.iter().enumerate() {
                let shape = shape_of(new);
                if old.bins[bin].admits.contains(shape) && index.slot(shape, bin) == slot {
                    admits.insert(new);
                }
            }
            data.admits = admits;
        }
        problem.rules.node_budgets.clone_from(&old.rules.node_budgets);
        problem.rules.node_caps.clone_from(&old.rules.node_caps);
        for cap in &mut problem.rules.node_caps {
            let mut members = ShapeSet::with_capacity(slots.len());
            (0..slots.len()).filter(|&new| cap.members.contains(shape_of(new))).for_each(|new| members.insert(new));
            cap.members = members;
        }
        Split { problem, slots }
    }
}
