//! Packs a small pool of units onto new nodes for less than a given price.

use super::{Picked, Search};
use crate::solver::fill::{Recipe, fill};
use crate::solver::packing::Node;

impl Search<'_, '_> {
    /// A way of judging shapes, shaken at random, with the pool's shapes in the order in which nodes are filled.
    pub(super) fn recipe(&mut self) -> Recipe {
        let mut pooled: Vec<u32> = Vec::new();
        for (slot, _) in self.packing.left.iter().enumerate().filter(|(_, units)| **units > 0) {
            let shape = self.index.slots[slot].shape as u32;
            if !pooled.contains(&shape) {
                pooled.push(shape);
            }
        }
        let shake = 0.6 * self.random.f64();
        let by_worth = self.random.f64() < 0.7;
        let mut weighted: Vec<(bool, f64, u32)> = pooled
            .into_iter()
            .map(|shape| {
                let base = if by_worth { self.worth[shape as usize] } else { self.alone[shape as usize] };
                let company = !self.index.node_rules[shape as usize].company.is_empty();
                (company, base * (1.0 + shake * (self.random.f64() - 0.5) * 2.0), shape)
            })
            .collect();
        weighted.sort_by(|one, other| other.0.cmp(&one.0).then(other.1.total_cmp(&one.1)).then(one.2.cmp(&other.2)));
        let order = weighted.into_iter().map(|(_, _, shape)| shape).collect();
        let values = if self.random.f64() < 0.7 { self.worth.clone() } else { self.alone.clone() };
        Recipe { values, order, costs: Vec::new() }
    }

    /// New nodes for all that is left, together cheaper than `below`; the books are charged for them. `None` where
    /// none were found.
    pub(super) fn recreate(&mut self, picked: &Picked, below: i64) -> Option<(Vec<Node>, i64)> {
        let index = self.index;
        let bins = &index.problem.bins;
        let recipe = self.recipe();
        let mut order = recipe.order.clone();
        let mut free: Vec<usize> = picked
            .iter()
            .map(|&(group, _)| self.packing.groups[group].node.bin)
            .filter(|&bin| bins[bin].price == 0)
            .collect();
        free.sort_unstable();
        let skip = 0.6 * self.random.f64();
        let noise = 0.12 * self.random.f64();
        let mut made: Vec<Node> = Vec::new();
        let mut spent = 0;
        let mut best: Option<(Vec<Node>, i64)> = None;
        let mut scratch = Node { bin: 0, counts: Vec::new(), room: Vec::new() };
        while !order.is_empty() {
            let limit = best.as_ref().map_or(below, |(_, cost)| *cost);
            if let Some(node) = self.sole(&order, limit - spent) {
                let cost = spent + bins[node.bin].price;
                let mut nodes = made.clone();
                nodes.push(node);
                best = Some((nodes, cost));
            }
            let limit = best.as_ref().map_or(below, |(_, cost)| *cost) - spent;
            let mut top: Option<(f64, Node)> = None;
            let within = index.by_price.partition_point(|&bin| bins[bin].price < limit);
            for &bin in free.iter().chain(&index.by_price[..within]) {
                if bins[bin].price > 0 && self.random.f64() < skip || self.packing.openable(bin) == 0 {
                    continue;
                }
                scratch.reopen(index, bin);
                let value = fill(&mut scratch, &self.packing, &recipe, &order);
                let ratio = value / (bins[bin].price as f64).max(1e-3) * (1.0 - noise * self.random.f64());
                if value > 0.0 && top.as_ref().is_none_or(|(other, _)| ratio > *other) {
                    top = Some((ratio, scratch.clone()));
                }
            }
            let Some((_, node)) = top else { break };
            self.packing.take(node.bin, &node.counts, 1);
            self.packing.charge(node.bin, 1);
            spent += bins[node.bin].price;
            made.push(node);
            order.retain(|&shape| index.slots_of_shape[shape as usize].iter().any(|&slot| self.packing.left[slot] > 0));
            if spent >= best.as_ref().map_or(below, |(_, cost)| *cost) {
                break;
            }
        }
        if order.is_empty() && spent < best.as_ref().map_or(below, |(_, cost)| *cost) {
            return Some((made, spent));
        }
        let (nodes, cost) = best?;
        // The best way ended in a sole node: put the books right for it.
        for node in &made {
            self.packing.refund(node.bin, 1);
            for &(shape, units) in &node.counts {
                self.packing.left[index.slot(shape as usize, node.bin)] += units;
            }
        }
        for node in &nodes {
            self.packing.charge(node.bin, 1);
            self.packing.take(node.bin, &node.counts, 1);
        }
        Some((nodes, cost))
    }

    /// The cheapest node, cheaper than `below`, that holds all that is left.
    fn sole(&self, order: &[u32], below: i64) -> Option<Node> {
        let index = self.index;
        let mut counts: Vec<(u32, u32)> = Vec::with_capacity(order.len());
        let mut used = vec![0_i64; index.resources];
        for &shape in order {
            let units: u32 = index.slots_of_shape[shape as usize].iter().map(|&slot| self.packing.left[slot]).sum();
            for (sum, take) in used.iter_mut().zip(index.demand(shape as usize)) {
                *sum += take * i64::from(units);
            }
            counts.push((shape, units));
        }
        let mut node = Node { bin: 0, counts, room: Vec::new() };
        for &bin in &index.by_price {
            if index.problem.bins[bin].price >= below {
                return None;
            }
            let capacity = index.capacity(bin);
            if used.iter().zip(capacity).any(|(sum, room)| sum > room) {
                continue;
            }
            let here = |&(shape, units): &(u32, u32)| self.packing.left[index.slot(shape as usize, bin)] == units;
            if !node.counts.iter().all(here) || self.packing.openable(bin) == 0 {
                continue;
            }
            node.bin = bin;
            node.room.clear();
            node.room.extend(capacity.iter().zip(&used).map(|(room, sum)| room - sum));
            if node.fits_on(index, bin) {
                return Some(node);
            }
        }
        None
    }
}
