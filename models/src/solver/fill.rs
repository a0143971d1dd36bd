//! Fills nodes: residual room first, then new nodes, always the one whose pattern is worth most for its price, with
//! as many copies as what is left allows.

use std::collections::BinaryHeap;

use super::packing::{Index, Node, Packing};

/// How a greedy pass judges shapes and bins.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// By shape: what placing one unit is worth, above 0.
    pub values: Vec<f64>,
    /// Shapes in the order in which a node is filled.
    pub order: Vec<u32>,
    /// By bin: what opening a node costs.
    pub costs: Vec<f64>,
}

impl Recipe {
    /// Fills nodes by descending `weight` (the largest first).
    pub fn new(index: &Index, values: Vec<f64>, weight: &dyn Fn(usize) -> f64) -> Self {
        let mut order: Vec<u32> = (0..index.problem.shapes.len() as u32).collect();
        let weights: Vec<f64> = (0..order.len()).map(weight).collect();
        let company = |shape: u32| !index.node_rules[shape as usize].company.is_empty();
        // Who needs company comes first: later there may be none left.
        order.sort_by(|&one, &other| {
            company(other)
                .cmp(&company(one))
                .then(weights[other as usize].total_cmp(&weights[one as usize]))
                .then(one.cmp(&other))
        });
        let costs = index.problem.bins.iter().map(|bin| bin.price as f64).collect();
        Recipe { values, order, costs }
    }
}

/// A bin and the worth per price of the pattern last filled into it.
struct Candidate {
    ratio: f64,
    bin: usize,
    /// The step at which the ratio was worked out; what is left has shrunk since.
    step: u32,
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Candidate {}
impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.ratio.total_cmp(&other.ratio).then(other.bin.cmp(&self.bin))
    }
}

/// Adds to the node what fits of what is left, in the recipe's order; returns the value added.
pub(crate) fn fill(node: &mut Node, packing: &Packing, recipe: &Recipe, order: &[u32]) -> f64 {
    let index = packing.index;
    let mut value = 0.0;
    let mut base: Option<Node> = None;
    for &shape in order {
        let shape = shape as usize;
        let mut left = packing.left[index.slot(shape, node.bin)];
        if left == 0 {
            continue;
        }
        if index.demand(shape).iter().zip(&node.room).any(|(take, room)| take > room) {
            continue;
        }
        if let Some(base) = &base {
            left = left.saturating_sub(node.units(shape) - base.units(shape));
        }
        if !index.node_rules[shape].company.is_empty() && !node.accompanied(index, shape) {
            let before = base.get_or_insert_with(|| node.clone());
            let available = |other: usize| {
                packing.left[index.slot(other, node.bin)].saturating_sub(node.units(other) - before.units(other))
            };
            if left == 0 {
                continue;
            }
            let Some(joined) = node.with_company(index, shape, &available) else { continue };
            for &(held, units) in &joined.counts {
                value += recipe.values[held as usize] * f64::from(units - node.units(held as usize));
            }
            *node = joined;
            left -= 1;
        }
        let units = node.most(index, shape, left);
        if units > 0 {
            node.add(index, shape, units);
            value += recipe.values[shape] * f64::from(units);
        }
    }
    value
}

/// Fills the room on the nodes that are there already, in the order of the groups.
pub(crate) fn fill_open(packing: &mut Packing, recipe: &Recipe) {
    let mut order = waiting(packing, recipe);
    let mut waitlist = std::mem::take(&mut packing.groups);
    waitlist.reverse();
    while let Some(mut group) = waitlist.pop() {
        if order.is_empty() {
            packing.groups.push(group);
            continue;
        }
        let mut node = group.node.clone();
        if fill(&mut node, packing, recipe, &order) == 0.0 {
            packing.groups.push(group);
            continue;
        }
        let added: Vec<(u32, u32)> = node
            .counts
            .iter()
            .map(|&(shape, units)| (shape, units - group.node.units(shape as usize)))
            .filter(|(_, units)| *units > 0)
            .collect();
        let copies = packing.times(node.bin, &added).min(group.copies);
        packing.take(node.bin, &added, copies);
        packing.groups.push(super::packing::Group { node, copies });
        group.copies -= copies;
        if group.copies > 0 {
            waitlist.push(group);
        }
        order.retain(|&shape| is_waiting(packing, shape));
    }
}

/// Opens what costs nothing and fills it.
pub(crate) fn open_free(packing: &mut Packing, recipe: &Recipe) {
    let mut order = waiting(packing, recipe);
    for &bin in &packing.index.free {
        while !order.is_empty() && open_best_copies(packing, recipe, bin, &order) > 0 {
            order.retain(|&shape| is_waiting(packing, shape));
        }
    }
}

/// Opens nodes until nothing more of what is left can be placed.
pub(crate) fn open_new(packing: &mut Packing, recipe: &Recipe) {
    let index = packing.index;
    let mut order = waiting(packing, recipe);
    let mut heap: BinaryHeap<Candidate> =
        index.by_price.iter().map(|&bin| Candidate { ratio: f64::INFINITY, bin, step: 0 }).collect();
    let mut step = 1;
    let mut scratch = Node { bin: 0, counts: Vec::new(), room: Vec::new() };
    while let Some(candidate) = heap.pop() {
        if order.is_empty() {
            return;
        }
        let bin = candidate.bin;
        if packing.openable(bin) == 0 {
            continue;
        }
        if candidate.step < step {
            scratch.reopen(index, bin);
            let value = fill(&mut scratch, packing, recipe, &order);
            if value > 0.0 {
                heap.push(Candidate { ratio: value / recipe.costs[bin].max(1e-9), bin, step });
            }
            continue;
        }
        open_best_copies(packing, recipe, bin, &order);
        order.retain(|&shape| is_waiting(packing, shape));
        heap.push(Candidate { ratio: candidate.ratio, bin, step });
        step += 1;
    }
}

/// Opens as many copies of the bin's filled node as what is left and the bin's count allow; returns how many.
fn open_best_copies(packing: &mut Packing, recipe: &Recipe, bin: usize, order: &[u32]) -> u32 {
    let openable = packing.openable(bin);
    if openable == 0 {
        return 0;
    }
    let mut node = Node::open(packing.index, bin);
    if fill(&mut node, packing, recipe, order) == 0.0 {
        return 0;
    }
    let copies = packing.times(bin, &node.counts).min(openable);
    packing.take(bin, &node.counts, copies);
    packing.open(node, copies);
    copies
}

/// Shapes with units left, in the recipe's order.
fn waiting(packing: &Packing, recipe: &Recipe) -> Vec<u32> {
    recipe.order.iter().copied().filter(|&shape| is_waiting(packing, shape)).collect()
}

fn is_waiting(packing: &Packing, shape: u32) -> bool {
    packing.index.slots_of_shape[shape as usize].iter().any(|&slot| packing.left[slot] > 0)
}
