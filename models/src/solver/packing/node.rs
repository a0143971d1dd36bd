//! One node being filled: what it holds, what room is left, and what the rules of one node still allow.

use super::index::Index;
use crate::problem::Pattern;

/// One node, or several alike.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub bin: usize,
    /// Shape and units, in no order, no zero entries.
    pub counts: Vec<(u32, u32)>,
    /// What is left by resource.
    pub room: Vec<i64>,
}

impl Node {
    /// An empty node of a bin.
    pub fn open(index: &Index, bin: usize) -> Self {
        Node { bin, counts: Vec::new(), room: index.capacity(bin).to_vec() }
    }

    /// Empties the node and makes it one of `bin`, keeping its memory.
    pub fn reopen(&mut self, index: &Index, bin: usize) {
        self.bin = bin;
        self.counts.clear();
        self.room.clear();
        self.room.extend_from_slice(index.capacity(bin));
    }

    /// A node that holds a pattern.
    pub fn of(index: &Index, pattern: &Pattern) -> Self {
        let mut node = Node::open(index, pattern.bin as usize);
        for &(shape, units) in &pattern.counts {
            node.add(index, shape as usize, units);
        }
        node
    }

    /// What it holds, in a pattern's order.
    pub fn pattern(&self) -> Pattern {
        let mut counts = self.counts.clone();
        counts.sort_unstable();
        Pattern { bin: self.bin as u32, counts }
    }

    /// Units of a shape that it holds.
    pub fn units(&self, shape: usize) -> u32 {
        self.counts.iter().find(|(held, _)| *held as usize == shape).map_or(0, |(_, units)| *units)
    }

    pub fn add(&mut self, index: &Index, shape: usize, units: u32) {
        for (room, take) in self.room.iter_mut().zip(index.demand(shape)) {
            *room -= take * i64::from(units);
        }
        match self.counts.iter_mut().find(|(held, _)| *held as usize == shape) {
            Some((_, held)) => *held += units,
            None => self.counts.push((shape as u32, units)),
        }
    }

    pub fn remove(&mut self, index: &Index, shape: usize, units: u32) {
        for (room, take) in self.room.iter_mut().zip(index.demand(shape)) {
            *room += take * i64::from(units);
        }
        for (held, count) in &mut self.counts {
            if *held as usize == shape {
                *count -= units;
            }
        }
        self.counts.retain(|(_, count)| *count > 0);
    }

    /// How many more units of a shape, `wanted` at most, the node takes by admission, capacity, caps, spreads, exclusives
    /// and flexibility; whether it has the company it needs is [`Node::accompanied`]'s to say.
    pub fn most(&self, index: &Index, shape: usize, wanted: u32) -> u32 {
        if wanted == 0 || !index.problem.bins[self.bin].admits.contains(shape) {
            return 0;
        }
        let demand = index.demand(shape);
        if demand.iter().zip(&self.room).any(|(take, room)| take > room) {
            return 0;
        }
        let mut most = i64::from(wanted);
        for (&take, &room) in demand.iter().zip(&self.room) {
            if take > 0 && take * most > room {
                most = room / take;
            }
        }
        let rules = &index.node_rules[shape];
        for &rule in &rules.caps {
            let cap = &index.problem.rules.node_caps[rule];
            let held = self.held(index, &cap.members) + cap.present.get(&self.bin).copied().unwrap_or(0);
            most = most.min(i64::from(cap.limit.saturating_sub(held) / index.pods(shape)));
        }
        for &rule in &rules.spreads {
            let spread = &index.problem.rules.node_spreads[rule];
            let owner = spread.owners.contains(shape);
            if !owner && !self.holds_any(&spread.owners) {
                continue;
            }
            let room = spread.room(self.bin) - i64::from(self.held(index, &spread.members));
            if room < 0 {
                return 0;
            }
            if spread.members.contains(shape) {
                most = most.min(room / i64::from(index.pods(shape)));
            }
        }
        for &rule in &rules.left {
            if self.holds_any(&index.problem.rules.node_exclusives[rule].right) {
                return 0;
            }
        }
        for &rule in &rules.right {
            if self.holds_any(&index.problem.rules.node_exclusives[rule].left) {
                return 0;
            }
        }
        if most > 0 && !index.flexibles[self.bin].is_empty() {
            return self.most_flexible(index, shape, most as u32);
        }
        most as u32
    }

    /// The most further units of a shape, `wanted` at most, that leave enough other offerings able to hold the node's
    /// units. Adding units never makes a node more flexible, so halving finds it.
    fn most_flexible(&self, index: &Index, shape: usize, wanted: u32) -> u32 {
        let (mut good, mut bad) = (0, wanted + 1);
        let mut probe = wanted;
        while bad - good > 1 {
            if self.flexible_with(index, shape, probe) {
                good = probe;
            } else {
                bad = probe;
            }
            probe = good + (bad - good) / 2;
        }
        good
    }

    /// Whether enough other offerings hold the node's units and `units` more of `shape`.
    fn flexible_with(&self, index: &Index, shape: usize, units: u32) -> bool {
        let capacity = index.capacity(self.bin);
        let demand = index.demand(shape);
        let extra = i64::from(units);
        index.flexibles[self.bin].iter().all(|&rule| {
            let flexible = &index.problem.rules.flexibles[rule];
            let mut seen: Vec<Vec<u32>> = vec![Vec::new(); flexible.minimum.len()];
            let mut wanting = flexible.minimum.iter().filter(|minimum| **minimum > 0).count();
            for &host in &index.hosts[rule] {
                if wanting == 0 {
                    break;
                }
                let host = &flexible.hosts[host];
                let holds = (0..index.resources).all(|resource| {
                    capacity[resource] - self.room[resource] + demand[resource] * extra <= host.capacity[resource]
                }) && (units == 0 || host.admits.contains(shape))
                    && self.counts.iter().all(|(held, _)| host.admits.contains(*held as usize));
                if !holds {
                    continue;
                }
                for (requirement, values) in seen.iter_mut().enumerate() {
                    if (values.len() as u32) < flexible.minimum[requirement]
                        && !values.contains(&host.values[requirement])
                    {
                        values.push(host.values[requirement]);
                        if values.len() as u32 == flexible.minimum[requirement] {
                            wanting -= 1;
                        }
                    }
                }
            }
            wanting == 0
        })
    }

    /// Pods it holds of the shapes in a set.
    fn held(&self, index: &Index, set: &crate::problem::ShapeSet) -> u32 {
        let members = self.counts.iter().filter(|(shape, _)| set.contains(*shape as usize));
        members.map(|&(shape, units)| units * index.pods(shape as usize)).sum()
    }

    fn holds_any(&self, set: &crate::problem::ShapeSet) -> bool {
        self.counts.iter().any(|(shape, _)| set.contains(*shape as usize))
    }

    /// Whether a unit of the shape finds here the company that its rules ask for.
    pub fn accompanied(&self, index: &Index, shape: usize) -> bool {
        self.missing_company(index, shape).is_none()
    }

    /// A together rule of the shape that nothing on the node satisfies.
    fn missing_company(&self, index: &Index, shape: usize) -> Option<usize> {
        index.node_rules[shape].company.iter().copied().find(|&rule| {
            let together = &index.problem.rules.node_togethers[rule];
            !together.satisfied.contains(self.bin) && !self.holds_any(&together.anchors)
        })
    }

    /// Adds one unit of the shape together with whatever company it (and that company in turn) needs, taking one unit
    /// of each where `left` says there is one. `None` where that can't be.
    pub fn with_company(&self, index: &Index, shape: usize, left: &dyn Fn(usize) -> u32) -> Option<Node> {
        let mut node = self.clone();
        if node.most(index, shape, 1) == 0 {
            return None;
        }
        node.add(index, shape, 1);
        let mut depth = 0;
        loop {
            let held: Vec<u32> = node.counts.iter().map(|(held, _)| *held).collect();
            let missing = held.into_iter().find_map(|held| node.missing_company(index, held as usize));
            let Some(rule) = missing else { return Some(node) };
            depth += 1;
            if depth > 8 {
                return None;
            }
            let anchors = index.problem.rules.node_togethers[rule].anchors.ones();
            let takes = |anchor: &usize| {
                let taken = node.units(*anchor) - self.units(*anchor);
                left(*anchor) > taken && node.most(index, *anchor, 1) > 0
            };
            // An anchor that brings no further needs comes first, then the smallest.
            let anchor = anchors
                .filter(takes)
                .min_by_key(|&anchor| (!node.accompanied(index, anchor), index.demand(anchor).iter().copied().max()))?;
            node.add(index, anchor, 1);
        }
    }

    /// Whether a node of another bin would hold the same units under every rule of one node, each unit counting where
    /// it counts now.
    pub fn fits_on(&self, index: &Index, bin: usize) -> bool {
        let problem = index.problem;
        let (mine, theirs) = (index.capacity(self.bin), index.capacity(bin));
        if (0..index.resources).any(|resource| mine[resource] - self.room[resource] > theirs[resource]) {
            return false;
        }
        let admits = &problem.bins[bin].admits;
        let same_slots = index.tuple_of[bin] == index.tuple_of[self.bin];
        for &(shape, _) in &self.counts {
            let shape = shape as usize;
            if !admits.contains(shape) || !(same_slots || index.slot(shape, bin) == index.slot(shape, self.bin)) {
                return false;
            }
            for &rule in &index.node_rules[shape].caps {
                let cap = &problem.rules.node_caps[rule];
                if self.held(index, &cap.members) + cap.present.get(&bin).copied().unwrap_or(0) > cap.limit {
                    return false;
                }
            }
            for &rule in &index.node_rules[shape].spreads {
                let spread = &problem.rules.node_spreads[rule];
                if self.holds_any(&spread.owners) && i64::from(self.held(index, &spread.members)) > spread.room(bin) {
                    return false;
                }
            }
            for &rule in &index.node_rules[shape].company {
                let together = &problem.rules.node_togethers[rule];
                if !together.satisfied.contains(bin) && !self.holds_any(&together.anchors) {
                    return false;
                }
            }
        }
        index.flexibles[bin].is_empty() || self.moved_to(index, bin).flexible_with(index, 0, 0)
    }

    /// The same units on a node of another bin.
    pub fn moved_to(&self, index: &Index, bin: usize) -> Node {
        let mut room = index.capacity(bin).to_vec();
        for (resource, room) in room.iter_mut().enumerate() {
            *room -= index.capacity(self.bin)[resource] - self.room[resource];
        }
        Node { bin, counts: self.counts.clone(), room }
    }
}
