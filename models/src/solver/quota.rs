//! Decides how many units of each shape go to which domain, so that the rules across nodes hold: the water-filling of
//! kube-scheduler, one unit after the other into the best domain that the rules allow. After that, packing is about
//! admission only.
//!
//! A rule across nodes never breaks by adding a unit that [`Tally::allows`], so what is assigned one after the other
//! obeys all rules at every step.

use fastrand::Rng;
use ndarray::Array2;

use super::packing::{Index, Slot, Tally, tuples_of_bins};
use crate::problem::Problem;

/// Units of one shape that go to one tuple of domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// By topology of the problem: the domain; `None` in a topology that no rule on the shape looks at (any domain
    /// will do), or whose label the nodes lack.
    pub tuple: Vec<Option<u16>>,
    /// So many units.
    pub units: u32,
}

/// Where the units of each shape go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// By shape: its units by tuple of domains; one share of all units where no rule looks at where it stands.
    pub shares: Vec<Vec<Share>>,
    /// By shape: units that the rules leave no domain for.
    pub unassigned: Vec<u32>,
}

/// The distinct tuples of domains among the bins (over the topologies that a rule across nodes looks at) and, by bin,
/// the index of its own: the columns of [`assign`]'s preference.
pub fn domains(problem: &Problem) -> (Vec<Vec<Option<u16>>>, Vec<usize>) {
    let rules = &problem.rules;
    let mut used = vec![false; problem.topologies.len()];
    rules.spreads.iter().for_each(|rule| used[rule.topology] = true);
    rules.domain_caps.iter().for_each(|rule| used[rule.topology] = true);
    rules.domain_exclusives.iter().for_each(|rule| used[rule.topology] = true);
    rules.domain_togethers.iter().for_each(|rule| used[rule.topology] = true);
    tuples_of_bins(problem, &used)
}

/// Splits the units of every shape over the domains so that all rules across nodes hold. `preference` (shapes x
/// tuples of [`domains`], in units) says where they would best go, a linear program's fractional split for instance;
/// without it the cheapest domains fill up first.
pub fn assign(problem: &Problem, preference: Option<&Array2<f64>>) -> Quotas {
    let index = Index::new(problem);
    let mut wish = Wish::by_price(&index, &vec![0.0; problem.resources.len()]);
    if let Some(preference) = preference {
        wish.prefer(&index, preference);
    }
    let missing: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let mut tally = Tally::new(&index);
    let units = split(&index, &mut tally, &missing, &wish, &room_by_slot(&index));
    let mut quotas = Quotas { shares: vec![Vec::new(); problem.shapes.len()], unassigned: missing };
    for (Slot { shape, tuple }, units) in index.slots.iter().zip(units).filter(|(_, units)| *units > 0) {
        quotas.unassigned[*shape] -= units;
        quotas.shares[*shape].push(Share { tuple: tuple.clone(), units });
    }
    quotas
}

/// What a split should be like: the rules leave room for taste.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// By slot: price of a unit there, in any unit of money; infinite where it can't be bought.
    pub price: Vec<f64>,
    /// By slot: units that would best go there.
    pub target: Option<Vec<f64>>,
    /// Shapes in the order in which they choose.
    pub order: Vec<usize>,
}

impl Wish {
    /// Every shape to its cheapest domains; the most constrained shapes choose first. `prices` (a unit of each
    /// resource) tell how well an offering's price is used; where they are all 0, what one unit's largest share of an
    /// offering costs.
    pub fn by_price(index: &Index, prices: &[f64]) -> Self {
        let priced = prices.iter().any(|price| *price > 0.0);
        let worth =
            |amounts: &[i64]| -> f64 { amounts.iter().zip(prices).map(|(have, price)| *have as f64 * price).sum() };
        let mut price = vec![f64::INFINITY; index.slots.len()];
        for shape in 0..index.problem.shapes.len() {
            if !index.ruled[shape] {
                continue;
            }
            let demand = index.demand(shape);
            for &bin in &index.sold_to[shape] {
                let capacity = index.capacity(bin);
                let share = if priced {
                    worth(demand) / worth(capacity).max(f64::MIN_POSITIVE)
                } else {
                    let shares = demand.iter().zip(capacity).filter(|(take, _)| **take > 0);
                    shares.map(|(take, room)| *take as f64 / (*room).max(1) as f64).fold(0.0, f64::max)
                };
                let slot = index.slot(shape, bin);
                price[slot] = price[slot].min(index.problem.bins[bin].price as f64 * share);
            }
        }
        Wish { price, target: None, order: order_of_choice(index) }
    }

    /// Makes all shapes rank the domains alike, so that what is small stands together: by the mean over the shapes of
    /// how much dearer a domain is than the shape's cheapest.
    pub fn concentrate(&mut self, index: &Index) {
        let mut dearer = vec![(0.0_f64, 0_u32); index.tuples.len()];
        let mut slots_of_tuple = vec![Vec::new(); index.tuples.len()];
        for shape in (0..index.problem.shapes.len()).filter(|shape| index.ruled[*shape]) {
            let slots = &index.slots_of_shape[shape];
            let least = slots.iter().map(|&slot| self.price[slot]).fold(f64::INFINITY, f64::min);
            for bin in 0..index.problem.bins.len() {
                let (slot, tuple) = (index.slot(shape, bin), index.tuple_of[bin]);
                if slots_of_tuple[tuple].last() != Some(&slot) && !slots_of_tuple[tuple].contains(&slot) {
                    slots_of_tuple[tuple].push(slot);
                    let times = if self.price[slot].is_finite() { self.price[slot] / least.max(1e-9) } else { 10.0 };
                    dearer[tuple].0 += times.min(10.0);
                    dearer[tuple].1 += 1;
                }
            }
        }
        for (tuple, slots) in slots_of_tuple.iter().enumerate() {
            let mean = dearer[tuple].0 / f64::from(dearer[tuple].1.max(1));
            for &slot in slots {
                if self.price[slot].is_finite() {
                    self.price[slot] = mean;
                }
            }
        }
    }

    /// Shifts every price at random by up to a share, and shuffles who chooses first where `shuffle` is set.
    pub fn perturb(&mut self, random: &mut Rng, share: f64, shuffle: bool) {
        for price in &mut self.price {
            *price *= 1.0 + share * random.f64();
        }
        if shuffle {
            random.shuffle(&mut self.order);
        }
    }

    /// Wants the units where a table of shapes x tuples says.
    pub fn prefer(&mut self, index: &Index, preference: &Array2<f64>) {
        let mut target = vec![0.0; index.slots.len()];
        for shape in 0..index.problem.shapes.len() {
            let mut seen = vec![false; index.tuples.len()];
            for bin in 0..index.problem.bins.len() {
                let tuple = index.tuple_of[bin];
                if !std::mem::replace(&mut seen[tuple], true) {
                    target[index.slot(shape, bin)] += preference.get([shape, tuple]).copied().unwrap_or(0.0);
                }
            }
        }
        self.target = Some(target);
    }
}

/// Anchors before who needs them, then higher priority, then who has the fewest domains to choose from, then the most
/// units.
fn order_of_choice(index: &Index) -> Vec<usize> {
    let problem = index.problem;
    let mut depth = vec![0_u32; problem.shapes.len()];
    for _ in 0..4 {
        for rule in &problem.rules.domain_togethers {
            let above = rule.anchors.ones().map(|anchor| depth[anchor] + 1).max().unwrap_or(0);
            rule.members.ones().for_each(|shape| depth[shape] = depth[shape].max(above));
        }
    }
    let choices: Vec<usize> = (0..problem.shapes.len())
        .map(|shape| {
            let mut slots: Vec<usize> = (0..problem.bins.len())
                .filter(|&bin| problem.bins[bin].admits.contains(shape))
                .map(|bin| index.slot(shape, bin))
                .collect();
            slots.sort_unstable();
            slots.dedup();
            slots.len()
        })
        .collect();
    let mut order: Vec<usize> = (0..problem.shapes.len()).collect();
    order.sort_by_key(|&shape| {
        let facts = &problem.shapes[shape];
        (depth[shape], std::cmp::Reverse(facts.priority), choices[shape], std::cmp::Reverse(facts.count), shape)
    });
    order
}

/// By slot: the most units that all its bins together could ever hold, their counts and budgets considered.
pub(crate) fn room_by_slot(index: &Index) -> Vec<u32> {
    let problem = index.problem;
    let mut room = vec![0_u64; index.slots.len()];
    for (bin, facts) in problem.bins.iter().enumerate() {
        let mut copies = u64::from(facts.max_count.unwrap_or(u32::MAX));
        for &(budget, take) in &index.budgets[bin] {
            copies = copies.min((problem.rules.node_budgets[budget].limit.max(0) / take) as u64);
        }
        for shape in facts.admits.ones().filter(|_| copies > 0) {
            room[index.slot(shape, bin)] += copies * u64::from(index.most_alone(shape, bin));
        }
    }
    room.into_iter().map(|units| units.min(u64::from(u32::MAX)) as u32).collect()
}

/// Splits `missing` units of each shape over its slots, on top of what `tally` has counted (and counts on), at most
/// `room` by slot. What finds no slot is in none.
pub(crate) fn split(index: &Index, tally: &mut Tally, missing: &[u32], wish: &Wish, room: &[u32]) -> Vec<u32> {
    let mut units = vec![0_u32; index.slots.len()];
    let mut waiting = missing.to_vec();
    for (shape, waiting) in waiting.iter_mut().enumerate().filter(|(shape, _)| !index.ruled[*shape]) {
        if let Some(&slot) = index.slots_of_shape[shape].first() {
            units[slot] = std::mem::take(waiting);
        }
    }
    // A unit may have to wait for another shape's (the least domain fills up, an anchor comes): rounds until none moves.
    loop {
        let mut moved = false;
        for &shape in wish.order.iter().filter(|shape| index.ruled[**shape]) {
            while waiting[shape] > 0 {
                let Some(slot) = best_slot(index, tally, shape, &units, wish, room) else { break };
                tally.add(slot, 1);
                units[slot] += 1;
                waiting[shape] -= 1;
                moved = true;
            }
        }
        if !moved {
            return units;
        }
    }
}

/// The allowed slot furthest below its target, then the cheapest.
fn best_slot(index: &Index, tally: &Tally, shape: usize, units: &[u32], wish: &Wish, room: &[u32]) -> Option<usize> {
    let short = |slot: usize| -> f64 {
        wish.target.as_ref().map_or(0.0, |target| (target[slot] - f64::from(units[slot])).max(0.0))
    };
    let mut best: Option<(f64, f64, usize)> = None;
    for &slot in &index.slots_of_shape[shape] {
        if units[slot] >= room[slot] {
            continue;
        }
        let (short, price) = (short(slot), wish.price[slot]);
        let better = best.is_none_or(|(other, dear, _)| short > other || (short == other && price < dear));
        if better && tally.allows(slot) {
            best = Some((short, price, slot));
        }
    }
    best.map(|(_, _, slot)| slot)
}
