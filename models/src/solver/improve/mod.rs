//! Ruin and recreate: takes a few nodes apart and packs their units anew, cheaper if it can.
//!
//! One round picks two to six nodes, the badly used ones more often, pools their units, perhaps moves some to other
//! domains or into other nodes' spare room, and packs the pool again (merging two nodes to one, or m to n, swapping units
//! and changing the offering are all special cases). What is dearer is undone, though while the search is warm a little
//! dearer is kept for a while (simulated annealing: Kirkpatrick, Gelatt, Vecchi, Science 220, 1983). Nodes that are
//! alike are changed alike: time grows with the distinct patterns, not the nodes.

mod recreate;

use fastrand::Rng;

use super::greedy::Passes;
use super::packing::{Group, Index, Node, Packing, Tally, rank};
use super::{Control, Progress, Settings, prices};
use crate::problem::{Problem, Solution};

/// Rounds between two looks at the clock.
const ROUNDS_A_LOOK: u64 = 16;
/// Rounds in which the search cools down the first time, before it is warmed again from the best solution; each time
/// after that it takes twice as long.
const FIRST_CYCLE: u64 = 4_000;
/// How much dearer than before a move may be when the search is warmest, as a share of a mean node's price.
const WARMTH: f64 = 0.04;

/// A solution no worse than `solution`, which must obey every rule. Stops when `control` is exhausted, the cost is
/// within `settings.gap` of `lower_bound` (billionths of a dollar an hour), or after `settings.iterations` rounds.
pub fn improve(
    problem: &Problem,
    solution: Solution,
    lower_bound: Option<i64>,
    settings: &Settings,
    control: &dyn Control,
) -> Solution {
    let index = Index::new(problem);
    let mut best = solution;
    if best.unplaced.iter().any(|units| *units > 0) && !control.exhausted() {
        let more = Passes::new(&index, None, settings.seed).best(&best.nodes, control);
        if rank(problem, &more) < rank(problem, &best) {
            best = more;
        }
    }
    let mut search = Search::new(&index, &best, settings.seed);
    let good_enough = |cost: i64| {
        lower_bound.is_some_and(|bound| (cost - bound) as f64 <= settings.gap.max(0.0) * cost as f64 || cost <= bound)
    };
    let mut round = 0;
    while search.best_cost > 0 && !good_enough(search.best_cost) {
        if settings.iterations.is_some_and(|most| round >= most) {
            break;
        }
        if round % ROUNDS_A_LOOK == 0 && control.exhausted() {
            break;
        }
        let before = search.best_cost;
        search.round();
        round += 1;
        if search.best_cost < before {
            let bound = lower_bound.map(|bound| bound as f64 / 1e9);
            control.report(&Progress { stage: "improve", cost: search.best_cost as f64 / 1e9, bound });
        }
    }
    let found = search.finish();
    // The search's own books are not evidence: what it found stands only if it obeys every rule.
    if rank(problem, &found) < rank(problem, &best) && problem.violations(&found).is_empty() {
        best = found;
    }
    best
}

/// The walk from solution to solution.
struct Search<'i, 'p> {
    index: &'i Index<'p>,
    packing: Packing<'i, 'p>,
    tally: Tally<'i, 'p>,
    /// By shape: its worth by the prices of the resources it takes, and what it costs alone.
    worth: Vec<f64>,
    alone: Vec<f64>,
    cost: i64,
    best_cost: i64,
    /// The best nodes, unless they are the present ones.
    best: Option<Vec<Group>>,
    /// Whether all that is to be used of limits is used, and stays so.
    uses_up: bool,
    random: Rng,
    /// Rounds since the search was last warmed, and how many until it is again.
    phase: u64,
    cycle: u64,
}

/// Nodes to be taken apart: positions in the groups, the highest first, each with how many copies of it are in the pool.
type Picked = Vec<(usize, u32)>;

impl<'i, 'p> Search<'i, 'p> {
    fn new(index: &'i Index<'p>, solution: &Solution, seed: u64) -> Self {
        let packing = Packing::new(index, &solution.nodes, vec![0; index.slots.len()]);
        let cost = index.problem.cost(solution);
        Search {
            index,
            tally: packing.tally(),
            packing,
            worth: prices::by_resources(index, &prices::derive(index)),
            alone: prices::alone(index),
            cost,
            best_cost: cost,
            best: None,
            uses_up: index.problem.uses_up(solution),
            random: Rng::with_seed(seed ^ 0x5eed_0f1e_55ed_1357),
            phase: 0,
            cycle: FIRST_CYCLE,
        }
    }

    /// One ruin and recreate.
    fn round(&mut self) {
        self.phase += 1;
        if self.phase == self.cycle {
            self.restart();
            self.phase = 0;
            self.cycle *= 2;
        }
        if self.packing.groups.is_empty() {
            return;
        }
        let picked = self.pick();
        let batch = picked.iter().map(|&(group, times)| self.packing.groups[group].copies / times).min().unwrap_or(1);
        let heat = 1.0 - self.phase as f64 / self.cycle as f64;
        let nodes: u32 = self.packing.groups.iter().map(|group| group.copies).sum();
        let mean = self.cost as f64 / f64::from(nodes.max(1));
        let old: i64 = picked.iter().map(|&(group, times)| self.price(group) * i64::from(times)).sum();
        let slack = WARMTH * heat * heat * mean * -self.random.f64().max(1e-9).ln();
        // Strictly below this is welcome.
        let below = old + 1 + slack as i64;
        let before = self.packing.clone_books();
        for &(group, times) in &picked {
            let Group { node, .. } = &self.packing.groups[group];
            for &(shape, units) in &node.counts {
                self.packing.left[self.index.slot(shape as usize, node.bin)] += units * times;
            }
            let bin = node.bin;
            self.packing.refund(bin, times);
        }
        let moved = if batch == 1 && self.index.ruled.contains(&true) && self.random.f64() < 0.5 {
            self.move_domains()
        } else {
            Vec::new()
        };
        let spare = if self.random.f64() < 0.3 { self.use_spare_room(&picked) } else { Vec::new() };
        let made = self.recreate(&picked, below);
        match made {
            Some((nodes, cost))
                if self.packing.left.iter().all(|units| *units == 0)
                    && !(self.uses_up && self.packing.leaves_limits()) =>
            {
                self.accept(&picked, nodes, spare, batch, cost - old);
            }
            _ => {
                self.packing.restore_books(before);
                self.packing.left.iter_mut().for_each(|units| *units = 0);
                for (from, to, units) in moved.into_iter().rev() {
                    self.tally.remove(to, units);
                    self.tally.add(from, units);
                }
            }
        }
    }

    fn price(&self, group: usize) -> i64 {
        self.index.problem.bins[self.packing.groups[group].node.bin].price
    }

    /// What of a node's price its units are not worth.
    fn waste(&self, group: usize) -> f64 {
        let node = &self.packing.groups[group].node;
        let worth: f64 = node.counts.iter().map(|&(shape, units)| self.worth[shape as usize] * f64::from(units)).sum();
        1.0 - worth / self.index.problem.bins[node.bin].price.max(1) as f64
    }

    /// Two to six nodes, of three at random always the worst used one.
    fn pick(&mut self) -> Picked {
        let wanted = 2 + self.random.usize(0..5).min(self.random.usize(0..5));
        let groups = self.packing.groups.len();
        let mut picked: Picked = Vec::new();
        for _ in 0..wanted {
            let draws = [self.random.usize(0..groups), self.random.usize(0..groups), self.random.usize(0..groups)];
            let wastes = draws.map(|group| self.waste(group));
            let draw = if self.random.f64() < 0.3 {
                draws[0]
            } else {
                draws[(0..3).fold(0, |best, other| if wastes[other] > wastes[best] { other } else { best })]
            };
            match picked.iter_mut().find(|(group, _)| *group == draw) {
                Some((group, times)) if *times < self.packing.groups[*group].copies => *times += 1,
                Some(_) => {}
                None => picked.push((draw, 1)),
            }
        }
        picked.sort_unstable_by(|one, other| other.cmp(one));
        picked
    }

    /// Moves pooled units of one shape from a slot to another one where the rules across nodes still hold after.
    /// Returns what was moved: from, to, units.
    fn move_domains(&mut self) -> Vec<(usize, usize, u32)> {
        let pooled: Vec<usize> = (0..self.packing.left.len())
            .filter(|&slot| self.packing.left[slot] > 0 && self.index.ruled[self.index.slots[slot].shape])
            .collect();
        if pooled.is_empty() {
            return Vec::new();
        }
        let mut moved = Vec::new();
        for _ in 0..1 + self.random.usize(0..3) {
            let from = pooled[self.random.usize(0..pooled.len())];
            let slots = &self.index.slots_of_shape[self.index.slots[from].shape];
            let to = slots[self.random.usize(0..slots.len())];
            let units = self.packing.left[from];
            if to == from || units == 0 {
                continue;
            }
            let units = if self.random.bool() { units } else { 1 + self.random.u32(0..units) };
            self.tally.remove(from, units);
            self.tally.add(to, units);
            if self.tally.broken().is_some() {
                self.tally.remove(to, units);
                self.tally.add(from, units);
                continue;
            }
            self.packing.left[from] -= units;
            self.packing.left[to] += units;
            moved.push((from, to, units));
        }
        moved
    }

    /// Fills the spare room of up to 40 nodes that are not in the pool; returns them as they would become.
    fn use_spare_room(&mut self, picked: &Picked) -> Vec<(usize, Node)> {
        let groups = self.packing.groups.len();
        let recipe = self.recipe();
        let order = recipe.order.clone();
        let mut changed = Vec::new();
        let start = self.random.usize(0..groups);
        for step in 0..groups.min(40) {
            let group = (start + step) % groups;
            if picked.iter().any(|(other, _)| *other == group) {
                continue;
            }
            let mut node = self.packing.groups[group].node.clone();
            if super::fill::fill(&mut node, &self.packing, &recipe, &order) > 0.0 {
                let held = &self.packing.groups[group].node;
                let added: Vec<(u32, u32)> = node
                    .counts
                    .iter()
                    .map(|&(shape, units)| (shape, units - held.units(shape as usize)))
                    .filter(|(_, units)| *units > 0)
                    .collect();
                self.packing.take(node.bin, &added, 1);
                changed.push((group, node));
            }
        }
        changed
    }

    /// Makes the new nodes the present ones, `batch` times where the bins allow it.
    fn accept(&mut self, picked: &Picked, nodes: Vec<Node>, spare: Vec<(usize, Node)>, batch: u32, change: i64) {
        if change > 0 && self.best.is_none() && self.cost == self.best_cost {
            self.best = Some(self.packing.groups.clone());
        }
        // The round has charged one set of new nodes and refunded one set of old ones.
        let mut times = 1;
        if batch > 1 && change < 0 && spare.is_empty() && !self.uses_up {
            while times < batch && self.repeat(picked, &nodes) {
                times += 1;
            }
        }
        for (group, node) in spare {
            self.packing.groups[group].copies -= 1;
            self.packing.groups.push(Group { node, copies: 1 });
        }
        for &(group, taken) in picked {
            self.packing.groups[group].copies -= taken * times;
        }
        for node in nodes {
            match self
                .packing
                .groups
                .iter_mut()
                .find(|group| group.copies > 0 && group.node.bin == node.bin && group.node.pattern() == node.pattern())
            {
                Some(group) => group.copies += times,
                None => self.packing.groups.push(Group { node, copies: times }),
            }
        }
        self.packing.groups.retain(|group| group.copies > 0);
        self.cost += change * i64::from(times);
        if self.cost < self.best_cost {
            self.best_cost = self.cost;
            self.best = None;
        }
    }

    /// Charges the books for the same exchange once more, if the bins allow it.
    fn repeat(&mut self, picked: &Picked, nodes: &[Node]) -> bool {
        let before = self.packing.clone_books();
        for &(group, taken) in picked {
            let bin = self.packing.groups[group].node.bin;
            self.packing.refund(bin, taken);
        }
        for node in nodes {
            if self.packing.openable(node.bin) == 0 {
                self.packing.restore_books(before);
                return false;
            }
            self.packing.charge(node.bin, 1);
        }
        true
    }

    /// Goes back to the best nodes.
    fn restart(&mut self) {
        if let Some(groups) = self.best.take() {
            self.packing = Packing::new(self.index, &[], vec![0; self.index.slots.len()]);
            for group in groups {
                self.packing.open(group.node, group.copies);
            }
            self.tally = self.packing.tally();
            self.cost = self.best_cost;
        }
    }

    fn finish(mut self) -> Solution {
        self.restart();
        if !self.uses_up {
            self.packing.right_size();
        }
        self.packing.solution()
    }
}
