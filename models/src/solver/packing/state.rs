//! A packing in the making: nodes with copies, what is left to place, and what may still be opened.

use std::collections::BTreeMap;

use super::index::Index;
use super::node::Node;
use super::tally::Tally;
use crate::problem::{Pattern, Problem, Solution};

/// Nodes that are all alike.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub node: Node,
    pub copies: u32,
}

/// Nodes so far, units left, and how much more may be opened.
#[derive(Clone)]
pub(crate) struct Packing<'i, 'p> {
    pub index: &'i Index<'p>,
    pub groups: Vec<Group>,
    /// By slot: units still to be placed there.
    pub left: Vec<u32>,
    /// By bin: nodes opened.
    opened: Vec<u32>,
    /// By node budget: what is left to take.
    budgets: Vec<i64>,
}

impl<'i, 'p> Packing<'i, 'p> {
    /// The nodes of a partial solution, and units to place by slot.
    pub fn new(index: &'i Index<'p>, nodes: &[(Pattern, u32)], left: Vec<u32>) -> Self {
        let problem = index.problem;
        let mut packing = Packing {
            index,
            groups: Vec::new(),
            left,
            opened: vec![0; problem.bins.len()],
            budgets: problem.rules.node_budgets.iter().map(|budget| budget.limit).collect(),
        };
        for (pattern, copies) in nodes {
            packing.open(Node::of(index, pattern), *copies);
        }
        packing
    }

    /// How many more nodes of a bin may be opened.
    pub fn openable(&self, bin: usize) -> u32 {
        let most = self.index.problem.bins[bin].max_count.unwrap_or(u32::MAX);
        let mut openable = most.saturating_sub(self.opened[bin]);
        for &(budget, take) in &self.index.budgets[bin] {
            let nodes = self.budgets[budget].max(0) / take;
            openable = openable.min(u32::try_from(nodes).unwrap_or(u32::MAX));
        }
        openable
    }

    /// Counts nodes of a bin as opened.
    pub fn charge(&mut self, bin: usize, copies: u32) {
        self.opened[bin] += copies;
        for &(budget, take) in &self.index.budgets[bin] {
            self.budgets[budget] -= take * i64::from(copies);
        }
    }

    /// Counts nodes of a bin as given back.
    pub fn refund(&mut self, bin: usize, copies: u32) {
        self.opened[bin] -= copies;
        for &(budget, take) in &self.index.budgets[bin] {
            self.budgets[budget] += take * i64::from(copies);
        }
    }

    /// Whether something is left of limits that is to be used.
    pub fn leaves_limits(&self) -> bool {
        self.index.problem.rules.exhausted.iter().any(|wish| wish.leaves_room(&self.budgets))
    }

    /// What has been opened and taken from the budgets, to be put back by [`Packing::restore_books`].
    pub fn clone_books(&self) -> (Vec<u32>, Vec<i64>) {
        (self.opened.clone(), self.budgets.clone())
    }

    /// Undoes charges and refunds.
    pub fn restore_books(&mut self, (opened, budgets): (Vec<u32>, Vec<i64>)) {
        self.opened = opened;
        self.budgets = budgets;
    }

    /// Adds nodes; `left` is the caller's to change.
    pub fn open(&mut self, node: Node, copies: u32) {
        self.charge(node.bin, copies);
        self.groups.push(Group { node, copies });
    }

    /// Takes a node's units out of what is left, `copies` times.
    pub fn take(&mut self, bin: usize, counts: &[(u32, u32)], copies: u32) {
        for &(shape, units) in counts {
            self.left[self.index.slot(shape as usize, bin)] -= units * copies;
        }
    }

    /// How often all of `counts` is left.
    pub fn times(&self, bin: usize, counts: &[(u32, u32)]) -> u32 {
        let slots = counts.iter().map(|&(shape, units)| self.left[self.index.slot(shape as usize, bin)] / units);
        slots.min().unwrap_or(0)
    }

    /// By slot: units that stand on nodes.
    pub fn placed(&self) -> Vec<u32> {
        let mut placed = vec![0; self.index.slots.len()];
        for group in &self.groups {
            for &(shape, units) in &group.node.counts {
                placed[self.index.slot(shape as usize, group.node.bin)] += units * group.copies;
            }
        }
        placed
    }

    /// What the rules across nodes count.
    pub fn tally(&self) -> Tally<'i, 'p> {
        let mut tally = Tally::new(self.index);
        for (slot, units) in self.placed().into_iter().enumerate().filter(|(_, units)| *units > 0) {
            tally.add(slot, units);
        }
        tally
    }

    /// Moves every node to the cheapest bin that holds its units under every rule.
    pub fn right_size(&mut self) {
        for group in std::mem::take(&mut self.groups) {
            self.refund(group.node.bin, group.copies);
            if group.node.counts.is_empty() {
                continue;
            }
            let own = group.node.bin;
            let mut copies = group.copies;
            while copies > 0 {
                let cheaper = self.cheapest(&group.node, self.index.problem.bins[own].price);
                let Some(bin) = cheaper.filter(|&bin| self.leaves_room(bin, own, copies)) else { break };
                let taken = copies.min(self.openable(bin));
                self.open(group.node.moved_to(self.index, bin), taken);
                copies -= taken;
            }
            if copies > 0 {
                self.open(group.node, copies);
            }
        }
    }

    /// Whether as many of `copies` nodes as can be are opened of `bin` and the rest still can be of `own`.
    fn leaves_room(&mut self, bin: usize, own: usize, copies: u32) -> bool {
        let taken = copies.min(self.openable(bin));
        self.charge(bin, taken);
        let fits = self.openable(own) >= copies - taken;
        self.refund(bin, taken);
        fits
    }

    /// The cheapest bin, cheaper than `below`, that can be opened and holds the node's units.
    pub fn cheapest(&self, node: &Node, below: i64) -> Option<usize> {
        let bins = &self.index.problem.bins;
        let candidates = self.index.free.iter().chain(&self.index.by_price).copied();
        candidates
            .take_while(|&bin| bins[bin].price < below)
            .find(|&bin| node.fits_on(self.index, bin) && self.openable(bin) > 0)
    }

    /// Removes units until every rule across nodes holds, and with them whoever needed their company on the node.
    /// The units go back to what is left.
    pub fn trim(&mut self) {
        let mut tally = self.tally();
        while let Some(excess) = tally.broken() {
            let mut chosen: Option<(i32, usize, usize)> = None;
            for (position, group) in self.groups.iter().enumerate() {
                for &(shape, _) in &group.node.counts {
                    let shape = shape as usize;
                    let slot = self.index.slot(shape, group.node.bin);
                    if excess.shapes.contains(shape) && self.index.slots[slot].tuple[excess.topology] == excess.domain {
                        let rank = (self.index.problem.shapes[shape].priority, position, shape);
                        chosen = Some(chosen.map_or(rank, |best| best.min(rank)));
                    }
                }
            }
            let Some((_, mut position, shape)) = chosen else { return };
            let units = excess.pods.div_ceil(u64::from(self.index.pods(shape)));
            let held = self.groups[position].node.units(shape);
            let units = u32::try_from(units).unwrap_or(u32::MAX).min(held);
            if self.groups[position].copies > 1 {
                self.groups[position].copies -= 1;
                let node = self.groups[position].node.clone();
                self.groups.push(Group { node, copies: 1 });
                position = self.groups.len() - 1;
            }
            self.drop_units(position, shape, units, &mut tally);
        }
        let empty: Vec<(usize, u32)> = self
            .groups
            .iter()
            .filter(|group| group.node.counts.is_empty())
            .map(|group| (group.node.bin, group.copies))
            .collect();
        self.groups.retain(|group| !group.node.counts.is_empty());
        empty.into_iter().for_each(|(bin, copies)| self.refund(bin, copies));
    }

    /// Takes units off a single node, and then whoever lost the company needed.
    fn drop_units(&mut self, position: usize, shape: usize, units: u32, tally: &mut Tally) {
        let index = self.index;
        let mut goes = Some((shape, units));
        while let Some((shape, units)) = goes {
            let node = &mut self.groups[position].node;
            let slot = index.slot(shape, node.bin);
            node.remove(index, shape, units);
            tally.remove(slot, units);
            self.left[slot] += units;
            let lonely = node.counts.iter().find(|(held, _)| !node.accompanied(index, *held as usize));
            goes = lonely.map(|&(held, units)| (held as usize, units));
        }
    }

    /// The nodes as a solution: alike ones together, sorted; what stands on no node is unplaced.
    pub fn solution(&self) -> Solution {
        let problem = self.index.problem;
        let mut nodes: BTreeMap<Pattern, u32> = BTreeMap::new();
        let mut unplaced: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
        for group in self.groups.iter().filter(|group| group.copies > 0 && !group.node.counts.is_empty()) {
            let pattern = group.node.pattern();
            for &(shape, units) in &pattern.counts {
                unplaced[shape as usize] = unplaced[shape as usize].saturating_sub(units * group.copies);
            }
            *nodes.entry(pattern).or_default() += group.copies;
        }
        Solution { nodes: nodes.into_iter().collect(), unplaced }
    }
}

/// How good a solution is, the least first: pods left over by priority, the highest first, then the price.
pub(crate) fn rank(problem: &Problem, solution: &Solution) -> (Vec<u64>, i64) {
    let mut by_priority: BTreeMap<std::cmp::Reverse<i32>, u64> = BTreeMap::new();
    for (shape, units) in problem.shapes.iter().zip(&solution.unplaced) {
        *by_priority.entry(std::cmp::Reverse(shape.priority)).or_default() +=
            u64::from(*units) * u64::from(shape.unit.pods);
    }
    (by_priority.into_values().collect(), problem.cost(solution))
}
