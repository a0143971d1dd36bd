//! Finishes a partial solution: what is missing goes into residual room, then onto new nodes.

use super::Control;
use super::greedy::Passes;
use super::packing::Index;
use crate::problem::{Problem, Solution};

/// Places the units that `partial` lacks (count less placed; what it calls unplaced is tried too) in residual room and
/// on new nodes, under all rules, and moves every node to the cheapest bin that holds it. `prices` is what one unit of
/// each resource is worth, in billionths of a dollar an hour.
///
/// Domain rules that the partial solution does not meet yet (a spread whose other domains are still empty) are met by
/// what is added, or by taking off the least of what stands.
pub fn complete(problem: &Problem, partial: &Solution, prices: Option<&[f64]>, control: &dyn Control) -> Solution {
    let index = Index::new(problem);
    Passes::new(&index, prices, 1).best(&partial.nodes, control)
}
