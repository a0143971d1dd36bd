//! Balanced packing: what is poured onto the nodes of a bin is shared out evenly over them.
//!
//! With many pods a node, nodes that hold the same mixture are all nearly full in every resource. Big units come first,
//! each shape in equal parts, and what does not divide goes to the nodes that have most room of what it takes, so that
//! the small units that come last level out what is left.

use super::split::Split;
use super::whole::Whole;
use crate::problem::Pattern;
use crate::solver::Control;
use crate::solver::packing::{Index, Node};

/// More nodes than this are not worth being filled one by one.
const MOST_NODES: u32 = 20_000;

/// Nodes that hold what was poured, as far as whole units can be made to fit; `None` where the nodes are too many or
/// time ran out.
pub(super) fn pack(index: &Index, split: &Split, whole: &Whole, control: &dyn Control) -> Option<Vec<(Pattern, u32)>> {
    if whole.nodes.iter().map(|(_, copies)| *copies).sum::<u32>() > MOST_NODES {
        return None;
    }
    let mut floor = Floor::new(index, whole);
    let shape_of = |part: usize| index.slots[split.slots[part]].shape;
    let mut order: Vec<(f64, usize)> = (0..split.slots.len())
        // Who needs company on its node is left for later.
        .filter(|&part| index.node_rules[shape_of(part)].company.is_empty())
        .map(|part| (floor.size(shape_of(part)), part))
        .collect();
    order.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    let mut rest: Vec<(usize, u32)> = Vec::new();
    for (_, part) in order {
        if control.exhausted() {
            return None;
        }
        let (slot, units) = (split.slots[part], split.problem.shapes[part].count);
        let left = floor.share_out(shape_of(part), slot, units, &whole.poured[part]);
        if left > 0 {
            rest.push((slot, left));
        }
    }
    for (slot, units) in rest {
        floor.squeeze(index.slots[slot].shape, slot, units);
    }
    Some(floor.nodes.iter().filter(|node| !node.counts.is_empty()).map(|node| (node.pattern(), 1)).collect())
}

/// The opened nodes, bin after bin.
struct Floor<'i, 'p> {
    index: &'i Index<'p>,
    nodes: Vec<Node>,
    /// Bin, first node, number of nodes, and by resource what was poured and not yet shared out, as a share of the
    /// bin's nodes.
    bins: Vec<(usize, usize, usize, Vec<f64>)>,
    /// By resource: one over what all nodes offer together.
    scale: Vec<f64>,
}

impl<'i, 'p> Floor<'i, 'p> {
    fn new(index: &'i Index<'p>, whole: &Whole) -> Self {
        let mut floor = Floor { index, nodes: Vec::new(), bins: Vec::new(), scale: vec![0.0; index.resources] };
        for &(bin, copies) in &whole.nodes {
            floor.bins.push((bin, floor.nodes.len(), copies as usize, vec![0.0; index.resources]));
            floor.nodes.extend((0..copies).map(|_| Node::open(index, bin)));
            for (sum, &room) in floor.scale.iter_mut().zip(index.capacity(bin)) {
                *sum += room.max(0) as f64 * f64::from(copies);
            }
        }
        floor.scale.iter_mut().for_each(|sum| *sum = if *sum > 0.0 { 1.0 / *sum } else { 0.0 });
        floor
    }

    /// The largest share of all there is that one unit takes.
    fn size(&self, shape: usize) -> f64 {
        self.index.demand(shape).iter().zip(&self.scale).map(|(&take, scale)| take as f64 * scale).fold(0.0, f64::max)
    }

    /// How well a node's room suits a shape: the more it has of what the shape takes much of, the better.
    fn suits(&self, node: usize, shape: usize) -> f64 {
        let node = &self.nodes[node];
        let capacity = self.index.capacity(node.bin);
        let rooms = node.room.iter().zip(capacity).zip(self.index.demand(shape));
        rooms.map(|((&room, &whole), &take)| room as f64 * take as f64 / (whole.max(1) as f64).powi(2)).sum()
    }

    /// Shares out a shape's units of one slot over the bins as poured and over each bin's nodes evenly; tells how many
    /// found no room.
    fn share_out(&mut self, shape: usize, slot: usize, units: u32, poured: &[(usize, f64)]) -> u32 {
        let index = self.index;
        let demand = index.demand(shape);
        let bins: Vec<(usize, f64)> = (0..self.bins.len())
            .filter_map(|place| {
                let bin = self.bins[place].0;
                if index.slot(shape, bin) != slot || !index.problem.bins[bin].admits.contains(shape) {
                    return None;
                }
                let share: f64 = poured.iter().filter(|(other, _)| *other == bin).map(|(_, units)| *units).sum();
                (share > 1e-9).then_some((place, share))
            })
            .collect();
        let sum: f64 = bins.iter().map(|(_, share)| *share).sum();
        if bins.is_empty() {
            return units;
        }
        let mut given: Vec<u32> = Vec::with_capacity(bins.len());
        for &(place, share) in &bins {
            let ideal = share / sum * f64::from(units);
            given.push((ideal + 1e-9).floor() as u32);
            self.owe(place, demand, ideal - (ideal + 1e-9).floor());
        }
        for _ in given.iter().sum::<u32>()..units {
            let owed = |place: usize| -> f64 {
                let (bin, _, _, owed) = &self.bins[place];
                let capacity = index.capacity(*bin);
                owed.iter()
                    .zip(demand)
                    .zip(capacity)
                    .map(|((owed, &take), &room)| owed * take as f64 / room.max(1) as f64)
                    .sum()
            };
            let most = (0..bins.len()).max_by(|&one, &other| owed(bins[one].0).total_cmp(&owed(bins[other].0)));
            let Some(most) = most else { break };
            given[most] += 1;
            self.owe(bins[most].0, demand, -1.0);
        }
        bins.iter().zip(given).map(|(&(place, _), units)| self.level(place, shape, units)).sum()
    }

    fn owe(&mut self, place: usize, demand: &[i64], units: f64) {
        let (bin, _, _, owed) = &mut self.bins[place];
        for ((owed, &take), &room) in owed.iter_mut().zip(demand).zip(self.index.capacity(*bin)) {
            *owed += units * take as f64 / room.max(1) as f64;
        }
    }

    /// Shares out units evenly over the nodes of a bin; tells how many found no room.
    fn level(&mut self, place: usize, shape: usize, units: u32) -> u32 {
        let index = self.index;
        let (_, first, copies, _) = self.bins[place];
        let mut left = units;
        let each = units / copies as u32;
        if each > 0 {
            for node in &mut self.nodes[first..first + copies] {
                let fits = node.most(index, shape, each);
                if fits > 0 {
                    node.add(index, shape, fits);
                    left -= fits;
                }
            }
        }
        if left > 0 {
            let mut suited: Vec<(f64, usize)> =
                (first..first + copies).map(|node| (self.suits(node, shape), node)).collect();
            suited.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
            for (_, node) in suited {
                if left == 0 {
                    break;
                }
                if self.nodes[node].most(index, shape, 1) > 0 {
                    self.nodes[node].add(index, shape, 1);
                    left -= 1;
                }
            }
        }
        left
    }

    /// Puts units wherever there is room.
    fn squeeze(&mut self, shape: usize, slot: usize, units: u32) {
        let index = self.index;
        let mut left = units;
        let mut suited: Vec<(f64, usize)> = (0..self.nodes.len())
            .filter(|&node| index.slot(shape, self.nodes[node].bin) == slot)
            .map(|node| (self.suits(node, shape), node))
            .collect();
        suited.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        for (_, node) in suited {
            let fits = self.nodes[node].most(index, shape, left);
            if fits > 0 {
                self.nodes[node].add(index, shape, fits);
                left -= fits;
            }
            if left == 0 {
                return;
            }
        }
    }
}
