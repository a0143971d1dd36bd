//! The pricing problem: the most valuable pattern of a bin under given values a unit, and an upper bound on its value.
//!
//! It is a bounded knapsack with several resources and the rules of one node. The bound is the surrogate relaxation: a
//! weighted sum of the resources as the one capacity, filled in fractions by falling value per weight (Dantzig), valid
//! for any weights. The search is depth first in that order, cut by the same bound; stopped early it still tells the
//! greatest bound of what it left out.

use crate::problem::{Pattern, Problem, ShapeSet, fits};

/// A unit that can stand on the bin.
#[derive(Clone, Debug)]
struct Item {
    shape: u32,
    most: u32,
    /// Pods a unit.
    pods: u32,
    demand: Vec<i64>,
    caps: Vec<usize>,
    spreads: Vec<Spreading>,
    sides: Vec<(usize, usize)>,
}

/// What a unit is in a rule of spread over nodes: who is judged, who counts, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spreading {
    rule: usize,
    owner: bool,
    member: bool,
}

/// What a bin holds, ready to be searched: the same for all bins of equal capacity, admission and rules.
#[derive(Clone, Debug)]
pub struct Knapsack {
    /// A bin it stands for.
    pub bin: usize,
    items: Vec<Item>,
    /// By resource that can bind.
    capacity: Vec<i64>,
    scale: Vec<f64>,
    cap_limits: Vec<u32>,
    spread_limits: Vec<i64>,
    exclusives: usize,
    /// By rule of company on a node: whether it must still be met here.
    lonely: Vec<bool>,
    /// The ways to meet them all; where they are too many only a whole pattern is judged by them.
    cases: Vec<Case>,
    judged: bool,
    /// By rule of other hosts: whether it speaks of this bin.
    hosted: Vec<bool>,
    flexible: bool,
}

/// A way to meet the rules of company on a node: items that are on it, and items that are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Case {
    with: Vec<usize>,
    without: Vec<usize>,
}

/// More cases than this are not looked at one by one.
const MOST_CASES: usize = 16;

/// For each rule of company that is still to be met, either one of the company is there or nobody who needs it. `None` where
/// there are too many ways.
fn cases(problem: &Problem, items: &[Item], lonely: &[bool]) -> Option<Vec<Case>> {
    let mut cases = vec![Case::default()];
    for (rule, _) in problem.rules.node_togethers.iter().zip(lonely).filter(|(_, lonely)| **lonely) {
        let of = |shapes: &ShapeSet| -> Vec<usize> {
            (0..items.len()).filter(|&item| shapes.contains(items[item].shape as usize)).collect()
        };
        let (members, anchors) = (of(&rule.members), of(&rule.anchors));
        if members.is_empty() {
            continue;
        }
        cases = cases
            .into_iter()
            .flat_map(|case| {
                let mut alone = case.clone();
                alone.without.extend(&members);
                let together = anchors.iter().map(move |&anchor| {
                    let mut together = case.clone();
                    together.with.push(anchor);
                    together
                });
                std::iter::once(alone).chain(together).collect::<Vec<_>>()
            })
            .filter(|case| !case.with.iter().any(|item| case.without.contains(item)))
            .collect();
        if cases.len() > MOST_CASES {
            return None;
        }
    }
    for case in &mut cases {
        case.with.sort_unstable();
        case.with.dedup();
    }
    Some(cases)
}

/// What a search came to.
#[derive(Clone, Debug, Default)]
pub struct Priced {
    /// Valid patterns' counts with their values, the best last.
    pub found: Vec<(f64, Vec<(u32, u32)>)>,
    /// No valid pattern is worth more.
    pub upper: f64,
    /// Steps of the search.
    pub work: u64,
}

impl Knapsack {
    /// The knapsack of a bin for at most `limits[s]` units of each shape.
    pub fn new(problem: &Problem, bin: usize, limits: &[u32]) -> Self {
        let rules = &problem.rules;
        let row = problem.capacity.row(bin);
        let mut items = Vec::new();
        let mut cap_ids = Vec::new();
        let mut cap_limits = Vec::new();
        for (index, cap) in rules.node_caps.iter().enumerate() {
            let present = cap.present.get(&bin).copied().unwrap_or(0);
            cap_ids.push(index);
            cap_limits.push(cap.limit.saturating_sub(present));
        }
        let spread_limits: Vec<i64> = rules.node_spreads.iter().map(|spread| spread.room(bin)).collect();
        for shape in problem.bins[bin].admits.ones().take_while(|shape| *shape < limits.len()) {
            let demand = problem.demand.row(shape);
            let mut most = limits[shape];
            for (&room, &take) in row.iter().zip(demand) {
                if take > 0 {
                    most = most.min(u32::try_from((room / take).max(0)).unwrap_or(u32::MAX));
                }
            }
            let pods = problem.shapes[shape].unit.pods.max(1);
            let mut caps = Vec::new();
            for &index in &cap_ids {
                if rules.node_caps[index].members.contains(shape) {
                    most = most.min(cap_limits[index] / pods);
                    caps.push(index);
                }
            }
            let mut spreads = Vec::new();
            for (rule, spread) in rules.node_spreads.iter().enumerate() {
                let (owner, member) = (spread.owners.contains(shape), spread.members.contains(shape));
                if owner || member {
                    spreads.push(Spreading { rule, owner, member });
                }
                if owner {
                    let taken = if member { i64::from(pods) } else { 0 };
                    most = if spread_limits[rule] < taken { 0 } else { most };
                }
            }
            let mut sides = Vec::new();
            for (index, exclusive) in rules.node_exclusives.iter().enumerate() {
                if exclusive.left.contains(shape) {
                    sides.push((index, 0));
                }
                if exclusive.right.contains(shape) {
                    sides.push((index, 1));
                }
            }
            if most > 0 {
                items.push(Item { shape: shape as u32, most, pods, demand: demand.to_vec(), caps, spreads, sides });
            }
        }
        // A resource that all units together can't exhaust never binds.
        let binds: Vec<usize> = (0..problem.resources.len())
            .filter(|&resource| {
                let sum: i128 =
                    items.iter().map(|item| i128::from(item.demand[resource]) * i128::from(item.most)).sum();
                sum > i128::from(row[resource])
            })
            .collect();
        let mut capacity: Vec<i64> = binds.iter().map(|&resource| row[resource]).collect();
        for item in &mut items {
            item.demand = binds.iter().map(|&resource| item.demand[resource]).collect();
        }
        if items.iter().any(|item| item.demand.iter().all(|take| *take == 0)) {
            // Units that take nothing of what binds would have no weight: they take one of themselves.
            capacity.push(items.iter().map(|item| i64::from(item.most)).sum());
            for item in &mut items {
                item.demand.push(1);
            }
        }
        let lonely: Vec<bool> = rules.node_togethers.iter().map(|rule| !rule.satisfied.contains(bin)).collect();
        let hosted: Vec<bool> = rules.flexibles.iter().map(|rule| rule.bins.contains(bin)).collect();
        let cases = cases(problem, &items, &lonely);
        let scale = capacity.iter().map(|&room| 1.0 / (room.max(1) as f64)).collect();
        Knapsack {
            bin,
            items,
            capacity,
            scale,
            cap_limits,
            spread_limits,
            exclusives: rules.node_exclusives.len(),
            judged: lonely.contains(&true),
            lonely,
            cases: cases.unwrap_or_default(),
            flexible: hosted.contains(&true),
            hosted,
        }
    }

    /// Whether nothing can stand on it.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The shapes that fit, and the most units of each.
    pub fn most_units(&self) -> Vec<(usize, u32)> {
        self.items.iter().map(|item| (item.shape as usize, item.most)).collect()
    }

    /// Whether some units are a pattern of the bin.
    pub fn holds(&self, problem: &Problem, counts: &[(u32, u32)]) -> bool {
        fits(problem, &Pattern { bin: self.bin as u32, counts: counts.to_vec() }).is_ok()
    }

    /// Whether an item is company that another one must have on this node.
    fn is_company(&self, problem: &Problem, item: usize) -> bool {
        let shape = self.items[item].shape as usize;
        let rules = problem.rules.node_togethers.iter().zip(&self.lonely);
        rules.into_iter().any(|(rule, lonely)| *lonely && rule.anchors.contains(shape))
    }

    /// Whether two knapsacks hold the same patterns at the same values whatever these are.
    pub fn same(&self, other: &Knapsack) -> bool {
        self.capacity == other.capacity
            && self.cap_limits == other.cap_limits
            && self.spread_limits == other.spread_limits
            && self.lonely == other.lonely
            && self.hosted == other.hosted
            && self.items.len() == other.items.len()
            && self.items.iter().zip(&other.items).all(|(left, right)| {
                left.shape == right.shape && left.most == right.most && left.demand == right.demand
            })
    }

    /// The surrogate bound for some weights (one a resource that can bind, 1 being "its whole capacity").
    fn fraction(&self, worth: &[(usize, f64)], weights: &[f64], order: &mut Vec<(f64, f64)>) -> f64 {
        order.clear();
        for &(index, value) in worth {
            let item = &self.items[index];
            let weight = self.weight(&item.demand, weights);
            order.push((value / weight, value * f64::from(item.most)));
        }
        order.sort_unstable_by(|left, right| right.0.total_cmp(&left.0));
        let mut room: f64 = weights.iter().sum();
        let mut sum = 0.0;
        for &(density, whole) in order.iter() {
            let take = whole / density;
            if take <= room {
                room -= take;
                sum += whole;
            } else {
                return sum + density * room;
            }
        }
        sum
    }

    fn weight(&self, demand: &[i64], weights: &[f64]) -> f64 {
        demand.iter().zip(&self.scale).zip(weights).map(|((&take, scale), weight)| take as f64 * scale * weight).sum()
    }

    /// Betters the weights by trying each resource heavier and lighter; tells the bound they give.
    fn tune(&self, worth: &[(usize, f64)], weights: &mut [f64]) -> f64 {
        let mut order = Vec::with_capacity(worth.len());
        let mut best = self.fraction(worth, weights, &mut order);
        for factor in [2.0, 1.3, 1.08] {
            for resource in 0..weights.len() {
                for factor in [factor, 1.0 / factor] {
                    for _ in 0..4 {
                        let before = weights[resource];
                        weights[resource] = (before * factor).clamp(1e-4, 1e4);
                        let bound = self.fraction(worth, weights, &mut order);
                        if bound < best {
                            best = bound;
                        } else {
                            weights[resource] = before;
                            break;
                        }
                    }
                }
            }
        }
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight = (*weight / sum).max(1e-4));
        best
    }

    /// Looks for patterns worth more than `target`, in at most `work` steps. `weights` are bettered for the next time.
    ///
    /// The upper bound told is never below `target`: a pattern worth less than that is not looked for.
    pub fn search(&self, problem: &Problem, values: &[f64], target: f64, work: u64, weights: &mut Vec<f64>) -> Priced {
        let worth: Vec<(usize, f64)> = self
            .items
            .iter()
            .enumerate()
            .map(|(index, item)| (index, values[item.shape as usize]))
            .filter(|(_, value)| *value > 0.0)
            .collect();
        if worth.is_empty() {
            return Priced { upper: target.max(0.0), ..Priced::default() };
        }
        if weights.len() != self.capacity.len() {
            *weights = vec![1.0 / self.capacity.len().max(1) as f64; self.capacity.len()];
        }
        if self.capacity.is_empty() {
            // Nothing binds: every unit fits at once; the search below still minds the rules.
            *weights = Vec::new();
        } else {
            let bound = self.tune(&worth, weights);
            if bound <= target {
                return Priced { upper: target, ..Priced::default() };
            }
        }
        let mut priced = Priced { upper: target.max(0.0), ..Priced::default() };
        let mut open = f64::NEG_INFINITY;
        let any = [Case::default()];
        for case in if self.cases.is_empty() { &any } else { self.cases.as_slice() } {
            // What others can't do without counts as well, though it be worth nothing or less.
            let counts = |item: usize, value: f64| {
                value > 0.0 && !case.without.contains(&item) || self.cases.is_empty() && self.is_company(problem, item)
            };
            let order = self.ordered(values, weights, counts);
            let found = std::mem::take(&mut priced.found);
            let mut search = self.begin(problem, order, weights, priced.upper, work);
            (search.found, search.work) = (found, priced.work);
            if let Some(value) = search.take(&case.with, values) {
                search.from(0, value);
            }
            priced = Priced { upper: search.best, found: search.found, work: search.work };
            open = open.max(search.open);
        }
        let upper = priced.upper.max(open);
        Priced { upper: upper * (1.0 + 1e-11) + 1e-11, ..priced }
    }

    /// The items that count, by falling value per weight.
    fn ordered(&self, values: &[f64], weights: &[f64], counts: impl Fn(usize, f64) -> bool) -> Vec<Weighted> {
        let mut order: Vec<Weighted> = self
            .items
            .iter()
            .enumerate()
            .map(|(index, item)| (index, values[item.shape as usize]))
            .filter(|&(index, value)| counts(index, value))
            .map(|(index, value)| {
                let weight = self.weight(&self.items[index].demand, weights).max(1e-12);
                Weighted { item: index, value, weight, density: value / weight }
            })
            .collect();
        order.sort_by(|left, right| right.density.total_cmp(&left.density).then(left.item.cmp(&right.item)));
        order
    }

    /// A search of an empty node for what is worth more than `best`.
    fn begin<'s>(
        &'s self,
        problem: &'s Problem,
        order: Vec<Weighted>,
        weights: &'s [f64],
        best: f64,
        limit: u64,
    ) -> Search<'s> {
        Search {
            knapsack: self,
            problem,
            order,
            weights,
            room: self.capacity.clone(),
            cap_room: self.cap_limits.clone(),
            spread_used: vec![(0, 0); self.spread_limits.len()],
            side_used: vec![[0; 2]; self.exclusives],
            taken: Vec::new(),
            held: Vec::new(),
            best,
            open: f64::NEG_INFINITY,
            found: Vec::new(),
            work: 0,
            limit,
        }
    }

    /// All patterns worth at least `target`, or `None` where there are more than `most` or the search takes more than
    /// `work` steps. Every shape counts, also one that is worth nothing: at a negative value it is left out only if the
    /// pattern falls below the target by it.
    ///
    /// Of the shapes in `filled` a pattern that has room for one more unit is left out: one more covers no less.
    pub fn enumerate(
        &self,
        problem: &Problem,
        values: &[f64],
        filled: &[bool],
        target: f64,
        most: usize,
        work: u64,
    ) -> Option<Vec<Vec<(u32, u32)>>> {
        let mut weights = vec![1.0 / self.capacity.len().max(1) as f64; self.capacity.len()];
        let worth: Vec<(usize, f64)> = self
            .items
            .iter()
            .enumerate()
            .map(|(index, item)| (index, values[item.shape as usize].max(0.0)))
            .filter(|(_, value)| *value > 0.0)
            .collect();
        if !worth.is_empty() && !self.capacity.is_empty() {
            let bound = self.tune(&worth, &mut weights);
            if bound < target {
                return Some(Vec::new());
            }
        }
        let order = self.ordered(values, &weights, |_, _| true);
        let mut search = self.begin(problem, order, &weights, target, work);
        let mut all = Vec::new();
        search.every(0, 0.0, filled, most, &mut all).then_some(all)
    }
}

/// A unit in the order of the search.
#[derive(Clone, Copy, Debug)]
struct Weighted {
    item: usize,
    value: f64,
    weight: f64,
    density: f64,
}

struct Search<'a> {
    knapsack: &'a Knapsack,
    problem: &'a Problem,
    order: Vec<Weighted>,
    weights: &'a [f64],
    room: Vec<i64>,
    cap_room: Vec<u32>,
    /// By rule of spread over nodes: units taken that are judged, and pods taken that count.
    spread_used: Vec<(u32, i64)>,
    side_used: Vec<[u32; 2]>,
    taken: Vec<(usize, u32)>,
    /// Items of which one unit each was taken beforehand.
    held: Vec<usize>,
    best: f64,
    /// The greatest bound of what was left out when work ran out.
    open: f64,
    found: Vec<(f64, Vec<(u32, u32)>)>,
    work: u64,
    limit: u64,
}

impl Search<'_> {
    /// What the units from `index` on can add at most.
    fn bound(&self, index: usize) -> f64 {
        let mut room = self.knapsack.weight(&self.room, self.weights);
        let mut sum = 0.0;
        for unit in &self.order[index..] {
            if unit.value <= 0.0 {
                break;
            }
            let whole = unit.weight * f64::from(self.knapsack.items[unit.item].most);
            if self.weights.is_empty() || whole <= room {
                room -= whole;
                sum += unit.value * f64::from(self.knapsack.items[unit.item].most);
            } else {
                return sum + unit.density * room;
            }
        }
        sum
    }

    /// How many units of an item still fit.
    fn most(&self, item: &Item) -> u32 {
        let held = self.held.iter().any(|&held| self.knapsack.items[held].shape == item.shape);
        let mut most = item.most - u32::from(held);
        for (&room, &take) in self.room.iter().zip(&item.demand) {
            if take > room {
                return 0;
            }
            if take > 0 {
                most = most.min(u32::try_from(room / take).unwrap_or(u32::MAX));
            }
        }
        for &cap in &item.caps {
            most = most.min(self.cap_room[cap] / item.pods);
        }
        for spreading in &item.spreads {
            let (owners, members) = self.spread_used[spreading.rule];
            if owners == 0 && !spreading.owner {
                continue;
            }
            let room = self.knapsack.spread_limits[spreading.rule] - members;
            if room < 0 {
                return 0;
            }
            if spreading.member {
                most = most.min(u32::try_from(room / i64::from(item.pods)).unwrap_or(u32::MAX));
            }
        }
        if item.sides.iter().any(|&(exclusive, side)| self.side_used[exclusive][1 - side] > 0) {
            return 0;
        }
        most
    }

    fn put(&mut self, item: usize, units: u32) {
        let taken = &self.knapsack.items[item];
        for (room, &take) in self.room.iter_mut().zip(&taken.demand) {
            *room -= take * i64::from(units);
        }
        for &cap in &taken.caps {
            self.cap_room[cap] -= units * taken.pods;
        }
        for spreading in &taken.spreads {
            let used = &mut self.spread_used[spreading.rule];
            used.0 += if spreading.owner { units } else { 0 };
            used.1 += if spreading.member { i64::from(units * taken.pods) } else { 0 };
        }
        for &(exclusive, side) in &taken.sides {
            self.side_used[exclusive][side] += units;
        }
        self.taken.push((item, units));
    }

    /// Takes one unit each of some items beforehand; their value, or `None` where they do not fit together.
    fn take(&mut self, items: &[usize], values: &[f64]) -> Option<f64> {
        let mut value = 0.0;
        for &item in items {
            if self.most(&self.knapsack.items[item]) == 0 {
                return None;
            }
            self.put(item, 1);
            self.held.push(item);
            value += values[self.knapsack.items[item].shape as usize];
        }
        Some(value)
    }

    fn take_back(&mut self) {
        if let Some((item, units)) = self.taken.pop() {
            let taken = &self.knapsack.items[item];
            for (room, &take) in self.room.iter_mut().zip(&taken.demand) {
                *room += take * i64::from(units);
            }
            for &cap in &taken.caps {
                self.cap_room[cap] += units * taken.pods;
            }
            for spreading in &taken.spreads {
                let used = &mut self.spread_used[spreading.rule];
                used.0 -= if spreading.owner { units } else { 0 };
                used.1 -= if spreading.member { i64::from(units * taken.pods) } else { 0 };
            }
            for &(exclusive, side) in &taken.sides {
                self.side_used[exclusive][side] -= units;
            }
        }
    }

    fn counts(&self) -> Vec<(u32, u32)> {
        let mut counts: Vec<(u32, u32)> =
            self.taken.iter().map(|&(item, units)| (self.knapsack.items[item].shape, units)).collect();
        counts.sort_unstable();
        counts.dedup_by(|later, first| {
            let same = later.0 == first.0;
            first.1 += if same { later.1 } else { 0 };
            same
        });
        counts
    }

    /// Whether what is taken is a pattern by the rules that only a whole pattern can be judged by.
    fn whole(&self, counts: &[(u32, u32)]) -> bool {
        if !self.knapsack.judged && !self.knapsack.flexible {
            return true;
        }
        self.knapsack.holds(self.problem, counts)
    }

    fn from(&mut self, start: usize, value: f64) {
        if value > self.best * (1.0 + 1e-12) + 1e-12 {
            let counts = self.counts();
            if self.whole(&counts) {
                self.best = value;
                if self.found.len() >= 3 {
                    self.found.remove(0);
                }
                self.found.push((value, counts));
            } else if self.knapsack.flexible && !self.knapsack.judged {
                // More units leave fewer hosts: nothing below is valid either.
                return;
            }
        }
        if value + self.bound(start) <= self.best * (1.0 + 1e-12) + 1e-12 {
            return;
        }
        for index in start..self.order.len() {
            let unit = self.order[index];
            let room = self.knapsack.weight(&self.room, self.weights);
            if !self.weights.is_empty() && value + unit.density.max(0.0) * room <= self.best {
                return;
            }
            let most = self.most(&self.knapsack.items[unit.item]);
            for units in (1..=most).rev() {
                self.work += 1;
                if self.work > self.limit {
                    self.open = self.open.max(value + self.bound(index));
                    return;
                }
                self.put(unit.item, units);
                self.from(index + 1, value + unit.value * f64::from(units));
                self.take_back();
                if self.work > self.limit {
                    self.open = self.open.max(value + self.bound(index));
                    return;
                }
                if value + unit.value.max(0.0) * f64::from(units - 1) + self.after(index, units - 1) <= self.best {
                    break;
                }
            }
        }
    }

    /// What units behind `index` can add at most once `units` of it are taken.
    fn after(&self, index: usize, units: u32) -> f64 {
        let Some(next) = self.order.get(index + 1) else { return 0.0 };
        if self.weights.is_empty() {
            return f64::INFINITY;
        }
        let room = self.knapsack.weight(&self.room, self.weights) - self.order[index].weight * f64::from(units);
        (next.density * room).max(0.0)
    }

    /// Whether one more unit of a shape in `filled` fits, by all rules.
    fn has_room(&self, filled: &[bool]) -> bool {
        if self.knapsack.judged || self.knapsack.flexible {
            return false;
        }
        self.knapsack.items.iter().enumerate().any(|(index, item)| {
            let held = self.taken.iter().find(|(taken, _)| *taken == index).map_or(0, |(_, units)| *units);
            filled[item.shape as usize] && held < item.most && self.most(item) > 0
        })
    }

    /// Lists every pattern worth at least the target; false where there are too many.
    fn every(
        &mut self,
        start: usize,
        value: f64,
        filled: &[bool],
        limit: usize,
        all: &mut Vec<Vec<(u32, u32)>>,
    ) -> bool {
        self.work += 1;
        if self.work > self.limit {
            return false;
        }
        if value >= self.best && !self.taken.is_empty() && !self.has_room(filled) {
            let counts = self.counts();
            if self.whole(&counts) {
                if all.len() >= limit {
                    return false;
                }
                all.push(counts);
            }
        }
        if value + self.bound(start) < self.best {
            return true;
        }
        for index in start..self.order.len() {
            if value + self.bound(index) < self.best {
                return true;
            }
            let unit = self.order[index];
            let most = self.most(&self.knapsack.items[unit.item]);
            for units in 1..=most {
                self.put(unit.item, units);
                let fine = self.every(index + 1, value + unit.value * f64::from(units), filled, limit, all);
                self.take_back();
                if !fine {
                    return false;
                }
            }
        }
        true
    }
}
