//! The rows of the master problem: one cover row a shape, and a row for every rule that spans nodes.
//!
//! A column is a pattern (one node: its bin and what it holds), bought any whole number of times. Next to the patterns
//! stand a few columns that no pricing makes: the units left unplaced, the free minimum of a spread and the binaries of
//! rules that speak of "this domain or not". The page `formulations/master.md` has the mathematics.

use crate::problem::{Pattern, Problem, ShapeSet, Spread};
use crate::solver::highs::LpColumn;
use crate::solver::model::{LinearModel, plain_name};

/// Dollars an hour of a price in billionths.
pub fn dollars(price: i64) -> f64 {
    price as f64 / 1e9
}

/// A row of the master problem.
#[derive(Clone, Debug)]
pub struct Row {
    /// For people.
    pub name: String,
    /// Least value.
    pub lower: f64,
    /// Greatest value.
    pub upper: f64,
}

/// A column that is no pattern.
#[derive(Clone, Debug)]
pub struct Extra {
    /// For people.
    pub name: String,
    /// Coefficient in the objective (dollars an hour).
    pub cost: f64,
    /// Least value.
    pub lower: f64,
    /// Greatest value, always finite.
    pub upper: f64,
    /// Whether it takes whole numbers only.
    pub integer: bool,
    /// Row index and coefficient, ascending.
    pub terms: Vec<(usize, f64)>,
}

/// What one unit of a shape adds to a row when its node's domain of a topology is this one.
#[derive(Clone, Copy, Debug)]
struct DomainTerm {
    topology: usize,
    domain: u16,
    row: usize,
    factor: f64,
}

/// The rows, the columns beside the patterns, and the way from a pattern to its column.
pub struct Master<'a> {
    /// The problem.
    pub problem: &'a Problem,
    /// Cover rows by shape first, all others behind.
    pub rows: Vec<Row>,
    /// Unplaced units by shape first, all others behind.
    pub extras: Vec<Extra>,
    /// By shape: whether more units than wanted may be covered (surplus is taken off afterwards).
    pub surplus: Vec<bool>,
    /// Whether every unit must be placed.
    pub places_all: bool,
    /// Topologies that a row looks at.
    pub topologies: Vec<usize>,
    domain_terms: Vec<Vec<DomainTerm>>,
    bin_terms: Vec<Vec<(usize, f64)>>,
    /// Extras with the least value that they have where every unit is placed.
    least: Vec<(usize, f64)>,
}

/// Which shapes must be covered exactly: where taking a unit off a node could break a rule.
fn exact_shapes(problem: &Problem) -> ShapeSet {
    let mut exact = ShapeSet::with_capacity(problem.shapes.len());
    for spread in &problem.rules.spreads {
        exact.union_with(&spread.members);
        exact.union_with(&spread.owners);
    }
    for together in &problem.rules.domain_togethers {
        exact.union_with(&together.anchors);
    }
    for together in &problem.rules.node_togethers {
        exact.union_with(&together.anchors);
    }
    exact
}

impl<'a> Master<'a> {
    /// The rows of a problem of which `demand[s]` units of each shape must all be placed: the minimum of a spread is then
    /// at least what whole pods make it.
    pub fn whole(problem: &'a Problem, demand: &[u32]) -> Self {
        let mut master = Self::new(problem, demand);
        master.places_all = true;
        for (index, least) in std::mem::take(&mut master.least) {
            master.extras[index].lower = least;
        }
        master
    }

    /// The rows of a problem of which `demand[s]` units of each shape must be placed or paid for as unplaced.
    pub fn new(problem: &'a Problem, demand: &[u32]) -> Self {
        let exact = exact_shapes(problem);
        let shapes = problem.shapes.len();
        let mut master = Master {
            problem,
            rows: Vec::new(),
            extras: Vec::new(),
            surplus: (0..shapes).map(|shape| !exact.contains(shape)).collect(),
            places_all: false,
            topologies: Vec::new(),
            domain_terms: vec![Vec::new(); shapes],
            bin_terms: vec![Vec::new(); problem.bins.len()],
            least: Vec::new(),
        };
        for (index, shape) in problem.shapes.iter().enumerate() {
            let count = f64::from(demand[index]);
            let upper = if master.surplus[index] { f64::INFINITY } else { count };
            master.rows.push(Row { name: format!("cover_{index}_{}", shape.name), lower: count, upper });
        }
        let penalties = penalties(problem);
        for (index, shape) in problem.shapes.iter().enumerate() {
            master.extras.push(Extra {
                name: format!("unplaced_{index}_{}", shape.name),
                cost: penalties[index],
                lower: 0.0,
                upper: f64::from(demand[index]),
                integer: false,
                terms: vec![(index, 1.0)],
            });
        }
        for (index, bin) in problem.bins.iter().enumerate() {
            if let Some(most) = bin.max_count {
                let row = master.row(format!("copies_{index}_{}", bin.name), f64::NEG_INFINITY, f64::from(most));
                master.bin_terms[index].push((row, 1.0));
            }
        }
        for (index, budget) in problem.rules.node_budgets.iter().enumerate() {
            // Millicores and bytes differ by nine orders of magnitude: scaled so that the greatest take is 1.
            let scale = budget.per_node.values().copied().max().unwrap_or(1).max(1) as f64;
            let row =
                master.row(format!("budget_{index}_{}", budget.name), f64::NEG_INFINITY, budget.limit as f64 / scale);
            for (&bin, &take) in &budget.per_node {
                master.bin_terms[bin].push((row, take as f64 / scale));
            }
        }
        let total = |set: &ShapeSet| -> f64 { set.ones().map(|shape| f64::from(demand[shape])).sum() };
        master.spreads(demand, &total);
        master.domain_caps();
        master.domain_exclusives(&total);
        master.domain_togethers(&total);
        for extra in &mut master.extras {
            extra.terms.sort_unstable_by_key(|term| term.0);
        }
        master.topologies.sort_unstable();
        master.topologies.dedup();
        master
    }

    fn row(&mut self, name: String, lower: f64, upper: f64) -> usize {
        self.rows.push(Row { name, lower, upper });
        self.rows.len() - 1
    }

    fn extra(&mut self, name: String, upper: f64, integer: bool) -> usize {
        self.extras.push(Extra { name, cost: 0.0, lower: 0.0, upper, integer, terms: Vec::new() });
        self.extras.len() - 1
    }

    /// Counts the units of a set in a domain.
    fn count(&mut self, row: usize, topology: usize, domain: usize, set: &ShapeSet, factor: f64) {
        self.topologies.push(topology);
        for shape in set.ones() {
            self.domain_terms[shape].push(DomainTerm { topology, domain: domain as u16, row, factor });
        }
    }

    /// Counts the pods of a set in a domain.
    fn count_pods(&mut self, row: usize, topology: usize, domain: usize, set: &ShapeSet) {
        self.topologies.push(topology);
        for shape in set.ones() {
            let factor = f64::from(self.problem.shapes[shape].unit.pods);
            self.domain_terms[shape].push(DomainTerm { topology, domain: domain as u16, row, factor });
        }
    }

    /// `N(d) - m <= max_skew` in each domain that owners stand in, with `m` a free minimum below every eligible `N(e)`.
    fn spreads(&mut self, demand: &[u32], total: &dyn Fn(&ShapeSet) -> f64) {
        let problem = self.problem;
        for (index, rule) in problem.rules.spreads.iter().enumerate() {
            if rule.owners.is_clear() {
                continue;
            }
            let eligible = rule.eligible.iter().filter(|eligible| **eligible).count();
            let missing = rule.min_domains.map_or(0, |least| (least as usize).saturating_sub(eligible));
            let sleepers = (0..rule.present.len()).filter(|&at| rule.is_dormant(at) && !rule.eligible[at]).count();
            let short = missing > sleepers;
            let pods = |shape: usize| f64::from(problem.shapes[shape].unit.pods);
            let placed: f64 = rule.members.ones().map(|shape| f64::from(demand[shape]) * pods(shape)).sum();
            let all = placed + rule.present.iter().map(|&count| f64::from(count)).sum::<f64>();
            let level = if short || eligible == 0 { 0.0 } else { (all / eligible as f64).floor() };
            let minimum = self.extra(format!("least_{index}"), level, false);
            if missing == 0 && sleepers == 0 && rule.members.is_subset(&rule.owners) {
                self.least.push((minimum, f64::from(least_minimum(rule, placed as u64, level as u32))));
            }
            // The minimum counts only once enough of the dormant domains are awake.
            let enough = (missing > 0 && level > 0.0).then(|| {
                let enough = self.extra(format!("enough_{index}"), 1.0, true);
                let row = self.row(format!("enough_{index}"), f64::NEG_INFINITY, 0.0);
                self.extras[minimum].terms.push((row, 1.0));
                self.extras[enough].terms.push((row, -level));
                let row = self.row(format!("awake_{index}"), f64::NEG_INFINITY, sleepers as f64);
                self.extras[enough].terms.push((row, missing as f64));
                row
            });
            for domain in 0..rule.present.len() {
                let present = f64::from(rule.present[domain]);
                let dormant = rule.is_dormant(domain) && !rule.eligible[domain];
                if (rule.eligible[domain] || dormant) && level > 0.0 {
                    // present + placed >= minimum, in a dormant domain only once a node wakes it
                    let row = self.row(format!("least_{index}_{domain}"), -present, f64::INFINITY);
                    self.count_pods(row, rule.topology, domain, &rule.members);
                    self.extras[minimum].terms.push((row, -1.0));
                    if dormant {
                        let asleep = self.extra(format!("asleep_{index}_{domain}"), 1.0, true);
                        self.extras[asleep].terms.push((row, level));
                        if let Some(row) = enough {
                            self.extras[asleep].terms.push((row, 1.0));
                        }
                        let nodes: f64 = demand.iter().map(|&units| f64::from(units)).sum();
                        let row = self.row(format!("nodes_{index}_{domain}"), f64::NEG_INFINITY, nodes);
                        self.extras[asleep].terms.push((row, nodes));
                        for (bin, facts) in problem.bins.iter().enumerate() {
                            if facts.domains[rule.topology] == Some(domain as u16) {
                                self.bin_terms[bin].push((row, 1.0));
                            }
                        }
                    }
                }
                let skew = f64::from(rule.max_skew);
                let plain = rule.members.is_subset(&rule.owners) && rule.present[domain] == 0;
                if plain {
                    let row = self.row(format!("skew_{index}_{domain}"), f64::NEG_INFINITY, skew);
                    self.count_pods(row, rule.topology, domain, &rule.members);
                    self.extras[minimum].terms.push((row, -1.0));
                } else {
                    // Judged only where an owner is placed: a binary opens the domain to owners.
                    let most = (placed + present - skew).max(0.0);
                    let open = self.extra(format!("open_{index}_{domain}"), 1.0, true);
                    let row = self.row(format!("skew_{index}_{domain}"), f64::NEG_INFINITY, skew - present + most);
                    self.count_pods(row, rule.topology, domain, &rule.members);
                    self.extras[minimum].terms.push((row, -1.0));
                    self.extras[open].terms.push((row, most));
                    let row = self.row(format!("opened_{index}_{domain}"), f64::NEG_INFINITY, 0.0);
                    self.count(row, rule.topology, domain, &rule.owners, 1.0);
                    self.extras[open].terms.push((row, -total(&rule.owners)));
                }
            }
        }
    }

    fn domain_caps(&mut self) {
        let problem = self.problem;
        for (index, rule) in problem.rules.domain_caps.iter().enumerate() {
            for domain in 0..rule.present.len() {
                let room = rule.limit.saturating_sub(rule.present[domain]);
                let row = self.row(format!("most_{index}_{domain}"), f64::NEG_INFINITY, f64::from(room));
                self.count_pods(row, rule.topology, domain, &rule.members);
            }
        }
    }

    /// `left(d) <= L z`, `right(d) <= R (1 - z)`.
    fn domain_exclusives(&mut self, total: &dyn Fn(&ShapeSet) -> f64) {
        let problem = self.problem;
        for (index, rule) in problem.rules.domain_exclusives.iter().enumerate() {
            let (left, right) = (total(&rule.left), total(&rule.right));
            for domain in 0..problem.topologies[rule.topology].values.len() {
                let side = self.extra(format!("side_{index}_{domain}"), 1.0, true);
                let row = self.row(format!("left_{index}_{domain}"), f64::NEG_INFINITY, 0.0);
                self.count(row, rule.topology, domain, &rule.left, 1.0);
                self.extras[side].terms.push((row, -left));
                let row = self.row(format!("right_{index}_{domain}"), f64::NEG_INFINITY, right);
                self.count(row, rule.topology, domain, &rule.right, 1.0);
                self.extras[side].terms.push((row, right));
            }
        }
    }

    /// `members(d) <= M w`, `w <= anchors(d)`; where they only need one another, `sum of w <= 1` instead.
    fn domain_togethers(&mut self, total: &dyn Fn(&ShapeSet) -> f64) {
        let problem = self.problem;
        for (index, rule) in problem.rules.domain_togethers.iter().enumerate() {
            let free = rule.anchors.is_clear() && !rule.present.contains(&true);
            let members = total(&rule.members);
            let one = free.then(|| self.row(format!("one_{index}"), f64::NEG_INFINITY, 1.0));
            for domain in 0..rule.present.len() {
                if rule.present[domain] {
                    continue;
                }
                let open = self.extra(format!("with_{index}_{domain}"), 1.0, true);
                let row = self.row(format!("with_{index}_{domain}"), f64::NEG_INFINITY, 0.0);
                self.count(row, rule.topology, domain, &rule.members, 1.0);
                self.extras[open].terms.push((row, -members));
                if let Some(row) = one {
                    self.extras[open].terms.push((row, 1.0));
                } else {
                    let row = self.row(format!("anchor_{index}_{domain}"), f64::NEG_INFINITY, 0.0);
                    self.count(row, rule.topology, domain, &rule.anchors, -1.0);
                    self.extras[open].terms.push((row, 1.0));
                }
            }
        }
    }

    /// What a unit of each shape is worth on a node of a bin under the duals of the rows.
    pub fn values(&self, bin: usize, duals: &[f64]) -> Vec<f64> {
        let domains = &self.problem.bins[bin].domains;
        self.domain_terms
            .iter()
            .enumerate()
            .map(|(shape, terms)| {
                let rules: f64 = terms
                    .iter()
                    .filter(|term| domains[term.topology] == Some(term.domain))
                    .map(|term| term.factor * duals[term.row])
                    .sum();
                duals[shape] + rules
            })
            .collect()
    }

    /// What opening a node of a bin is worth under the duals, whatever it holds: the duals of limits, without those on
    /// its own copies where `copies` is false.
    pub fn node_value(&self, bin: usize, duals: &[f64], copies: bool) -> f64 {
        let skip = usize::from(!copies && self.problem.bins[bin].max_count.is_some());
        self.bin_terms[bin].iter().skip(skip).map(|&(row, factor)| factor * duals[row]).sum()
    }

    /// By row: whether it counts nothing but units of these shapes, and nodes that admit some of them.
    pub fn rows_of(&self, shapes: &ShapeSet) -> Vec<bool> {
        let mut own = vec![true; self.rows.len()];
        for (shape, terms) in self.domain_terms.iter().enumerate().filter(|(shape, _)| !shapes.contains(*shape)) {
            own[shape] = false;
            terms.iter().for_each(|term| own[term.row] = false);
        }
        for (bin, terms) in self.problem.bins.iter().zip(&self.bin_terms) {
            if bin.admits.is_disjoint(shapes) {
                terms.iter().for_each(|(row, _)| own[*row] = false);
            }
        }
        own
    }

    /// By shape: whether one unit more on a node never hurts in any row.
    pub fn filled(&self) -> Vec<bool> {
        self.surplus.iter().zip(&self.domain_terms).map(|(surplus, terms)| *surplus && terms.is_empty()).collect()
    }

    /// The rows that limit the copies of a bin.
    pub fn copies_rows(&self) -> Vec<usize> {
        let limited = self.problem.bins.iter().zip(&self.bin_terms).filter(|(bin, _)| bin.max_count.is_some());
        limited.filter_map(|(_, terms)| terms.first().map(|term| term.0)).collect()
    }

    /// The rows that count nodes whatever they hold: copies of bins and limits of pools.
    pub fn node_rows(&self) -> std::ops::Range<usize> {
        let first = self.problem.shapes.len();
        first..first + self.copies_rows().len() + self.problem.rules.node_budgets.len()
    }

    /// What opening a node of a bin adds to the rows.
    pub fn node_terms(&self, bin: usize) -> Vec<(usize, f64)> {
        self.bin_terms[bin].clone()
    }

    /// What a unit of a shape on a node of a bin adds to the rows.
    pub fn unit_terms(&self, bin: usize, shape: usize) -> Vec<(usize, f64)> {
        let domains = &self.problem.bins[bin].domains;
        let terms = self.domain_terms[shape].iter().filter(|term| domains[term.topology] == Some(term.domain));
        std::iter::once((shape, 1.0)).chain(terms.map(|term| (term.row, term.factor))).collect()
    }

    /// The column of a pattern.
    pub fn column(&self, pattern: &Pattern) -> LpColumn {
        let bin = pattern.bin as usize;
        let domains = &self.problem.bins[bin].domains;
        let mut terms: Vec<(usize, f64)> = Vec::with_capacity(pattern.counts.len() * 2);
        for &(shape, units) in &pattern.counts {
            let units = f64::from(units);
            terms.push((shape as usize, units));
            for term in &self.domain_terms[shape as usize] {
                if domains[term.topology] == Some(term.domain) {
                    terms.push((term.row, term.factor * units));
                }
            }
        }
        terms.extend_from_slice(&self.bin_terms[bin]);
        terms.sort_unstable_by_key(|term| term.0);
        let mut merged: Vec<(usize, f64)> = Vec::with_capacity(terms.len());
        for (row, factor) in terms {
            match merged.last_mut() {
                Some(last) if last.0 == row => last.1 += factor,
                _ => merged.push((row, factor)),
            }
        }
        LpColumn { cost: dollars(self.problem.bins[bin].price), lower: 0.0, upper: f64::INFINITY, terms: merged }
    }

    /// The integer program over some patterns: extras first, then the patterns in their order.
    pub fn model(&self, patterns: &[Pattern], unplaced: bool) -> LinearModel {
        let mut model = LinearModel { title: "The master problem over some patterns".to_owned(), ..Default::default() };
        for row in &self.rows {
            model.row(plain_name(&row.name), (row.lower, row.upper), Vec::new());
        }
        for (index, extra) in self.extras.iter().enumerate() {
            let upper = if index < self.problem.shapes.len() && !unplaced { 0.0 } else { extra.upper };
            let lower = if unplaced { 0.0 } else { extra.lower };
            let column = model.column(plain_name(&extra.name), extra.cost, (lower, upper), extra.integer);
            for &(row, factor) in &extra.terms {
                model.rows[row].terms.push((column, factor));
            }
        }
        for (index, pattern) in patterns.iter().enumerate() {
            let column = self.column(pattern);
            let most = self.problem.bins[pattern.bin as usize].max_count.map_or(f64::INFINITY, f64::from);
            let handle = model.column(format!("x_{index}_b{}", pattern.bin), column.cost, (0.0, most), true);
            for (row, factor) in column.terms {
                model.rows[row].terms.push((handle, factor));
            }
        }
        model.rows.retain(|row| !row.terms.is_empty() || row.lower > 0.0 || row.upper < 0.0);
        model
    }
}

/// The least that the minimum of a spread can be where all who count are judged and `placed` of them come: below it the
/// domains could not hold them, each at most `max_skew` above it or what it holds already. At most `level`.
fn least_minimum(rule: &Spread, placed: u64, level: u32) -> u32 {
    let eligible = rule.present.iter().zip(&rule.eligible).filter(|(_, eligible)| **eligible);
    let present: Vec<u64> = eligible.map(|(&present, _)| u64::from(present)).collect();
    let all = placed + present.iter().sum::<u64>();
    let holds = |minimum: u32| -> u64 {
        let most = u64::from(minimum) + u64::from(rule.max_skew);
        // In the domain that has the fewest there are no more than the minimum.
        present.iter().map(|&present| most.max(present)).sum::<u64>() + u64::from(minimum) - most
    };
    let (mut below, mut enough) = (0, level);
    while below < enough {
        let middle = below.midpoint(enough);
        if holds(middle) >= all {
            enough = middle;
        } else {
            below = middle + 1;
        }
    }
    enough
}

/// What a unit left unplaced costs (dollars an hour): each of its pods more than placing it could ever cost, and more the
/// higher its priority.
pub fn penalties(problem: &Problem) -> Vec<f64> {
    let of_pods = penalties_of_pods(problem).zip(&problem.shapes);
    of_pods.map(|(penalty, shape)| penalty * f64::from(shape.unit.pods)).collect()
}

/// The least penalty of a pod: all that is left unplaced costs a multiple of it.
pub fn least_penalty(problem: &Problem) -> f64 {
    penalties_of_pods(problem).fold(f64::INFINITY, f64::min)
}

/// By shape: what one pod of it costs.
fn penalties_of_pods(problem: &Problem) -> impl Iterator<Item = f64> {
    let dearest = problem.bins.iter().map(|bin| dollars(bin.price)).fold(0.01, f64::max);
    let mut priorities: Vec<i32> = problem.shapes.iter().map(|shape| shape.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    problem.shapes.iter().map(move |shape| {
        let rank = priorities.binary_search(&shape.priority).unwrap_or(0) as i32;
        (dearest * 10.0).ceil() * 4.0_f64.powi(rank.min(6))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least minimum over all ways to place `left` pods in the domains from `domain` on that obey the spread.
    fn tried(present: &[u32], skew: u32, left: u32, placed: &mut Vec<u32>) -> Option<u32> {
        let domain = placed.len();
        if domain == present.len() {
            let counts: Vec<u32> = present.iter().zip(placed.iter()).map(|(there, placed)| there + placed).collect();
            let least = counts.iter().copied().min()?;
            let obeys = placed.iter().zip(&counts).all(|(placed, count)| *placed == 0 || count - least <= skew);
            return (left == 0 && obeys).then_some(least);
        }
        let mut best: Option<u32> = None;
        for pods in 0..=left {
            placed.push(pods);
            let found = tried(present, skew, left - pods, placed);
            placed.pop();
            best = [best, found].into_iter().flatten().min();
        }
        best
    }

    #[test]
    fn the_least_minimum_of_a_spread_is_what_trying_everything_finds() {
        for code in 0..4_u32.pow(3) {
            let present: Vec<u32> = (0..3).map(|domain| code / 4_u32.pow(domain) % 4).collect();
            for (skew, placed) in (1..4).flat_map(|skew| (0..8).map(move |placed| (skew, placed))) {
                let rule = Spread {
                    name: String::new(),
                    topology: 0,
                    owners: ShapeSet::new(),
                    members: ShapeSet::new(),
                    max_skew: skew,
                    min_domains: None,
                    eligible: vec![true; 3],
                    dormant: Vec::new(),
                    present: present.clone(),
                };
                let level = (present.iter().sum::<u32>() + placed) / 3;
                let told = least_minimum(&rule, u64::from(placed), level);
                let Some(least) = tried(&present, skew, placed, &mut Vec::new()) else { continue };
                assert!(told <= least, "{present:?} skew {skew} placed {placed}: {told} > {least}");
                if present == [0, 0, 0] {
                    assert_eq!(told, least, "skew {skew} placed {placed}");
                }
            }
        }
    }
}
