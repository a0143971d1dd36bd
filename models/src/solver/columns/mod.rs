//! Column generation: the master problem's linear relaxation over patterns made as they are needed.

mod exact;
pub mod master;
pub mod pricing;

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexSet;
use rayon::prelude::*;

use super::bound::{lagrangian, rounded};
use super::highs::{HighsError, Lp, LpColumn, LpSolution};
use super::{Control, Progress};
use crate::problem::{Pattern, Problem, Solution};
use master::{Master, dollars};
use pricing::{Knapsack, Priced};

/// The knapsacks of all usable bins, equal ones once.
pub struct Pricing<'a> {
    problem: &'a Problem,
    knapsacks: Vec<Knapsack>,
    /// By bin: its knapsack, `None` where it is not usable or holds nothing.
    pub knapsack_of: Vec<Option<usize>>,
    /// By bin: number of its combination of the domains that rows look at.
    class_of: Vec<usize>,
    /// A bin of each such combination.
    class_bin: Vec<usize>,
    weights: BTreeMap<(usize, usize), Vec<f64>>,
}

/// Knapsack and values of some bins, the least that a pattern must be worth, and those bins.
type Task = ((usize, usize), (f64, Vec<usize>));

/// Steps of the search of one knapsack; what it leaves open is for HiGHS.
const STEPS: u64 = 15_000;

/// A round betters the relaxation too little where that is less than this part of its distance to the bound.
const STALLED: f64 = 0.01;
/// Such rounds, one after the other, before pricing looks closer; and the first rounds, in which it never does.
const PATIENCE: u32 = 5;
const FIRST_ROUNDS: u64 = 20;
/// How many times more work pricing may do each time that it looks closer.
const MORE_WORK: u64 = 6;

/// A pricing problem that the search did not finish.
struct Open<'o> {
    knapsack: &'o Knapsack,
    values: &'o [f64],
    target: f64,
    priced: &'o mut Priced,
}

/// Betters what is known of some pricing problems, those first that spoil the bound the most: the bound falls by the
/// ratio of the worst of them, so those that are no worse than that one is when settled don't matter. Tells whether all
/// of them are known to the gap.
fn settle(problem: &Problem, mut open: Vec<Open>, gap: f64, control: &dyn Control) -> Result<bool, HighsError> {
    let ratio = |one: &Open| if one.target > 0.0 { one.priced.upper / one.target } else { f64::INFINITY };
    open.sort_by(|left, right| ratio(right).total_cmp(&ratio(left)));
    let mut settled = true;
    let mut worst = 1.0 + gap;
    for chunk in open.chunks_mut(4) {
        if control.exhausted() {
            return Ok(false);
        }
        if ratio(&chunk[0]) <= worst {
            return Ok(settled && worst <= 1.0 + gap);
        }
        let done: Vec<Result<bool, HighsError>> = chunk
            .par_iter_mut()
            .map(|one| one.knapsack.settle(problem, one.values, one.target, gap, one.priced, control))
            .collect();
        for done in done {
            settled &= done?;
        }
        worst = chunk.iter().filter(|one| one.target > 0.0).map(ratio).fold(worst, f64::max);
    }
    Ok(settled)
}

/// What a round of pricing came to.
pub struct Round {
    /// Patterns of negative reduced cost, the most negative first.
    pub patterns: Vec<Pattern>,
    /// By bin: no pattern of it is worth more; `None` for bins that no better solution uses.
    pub uppers: Vec<Option<f64>>,
    /// Whether every knapsack was searched to its end.
    pub exact: bool,
}

impl<'a> Pricing<'a> {
    /// The knapsacks of the usable bins for at most `limits[s]` units of each shape.
    pub fn new(master: &Master<'a>, limits: &[u32], usable: &[bool]) -> Self {
        let problem = master.problem;
        let mut knapsacks: Vec<Knapsack> = Vec::new();
        let mut knapsack_of = vec![None; problem.bins.len()];
        let mut classes: BTreeMap<Vec<Option<u16>>, usize> = BTreeMap::new();
        let mut class_of = vec![0; problem.bins.len()];
        let mut class_bin = Vec::new();
        let mut by_capacity: BTreeMap<Vec<i64>, Vec<usize>> = BTreeMap::new();
        for bin in 0..problem.bins.len() {
            let domains: Vec<Option<u16>> =
                master.topologies.iter().map(|&topology| problem.bins[bin].domains[topology]).collect();
            let next = classes.len();
            class_of[bin] = *classes.entry(domains).or_insert_with(|| {
                class_bin.push(bin);
                next
            });
            if !usable[bin] {
                continue;
            }
            let knapsack = Knapsack::new(problem, bin, limits);
            if knapsack.is_empty() {
                continue;
            }
            let alike = by_capacity.entry(problem.capacity.row(bin).to_vec()).or_default();
            let found = alike.iter().copied().find(|&other| knapsacks[other].same(&knapsack));
            knapsack_of[bin] = Some(found.unwrap_or_else(|| {
                knapsacks.push(knapsack);
                alike.push(knapsacks.len() - 1);
                knapsacks.len() - 1
            }));
        }
        Pricing { problem, knapsacks, knapsack_of, class_of, class_bin, weights: BTreeMap::new() }
    }

    /// The values of the units by combination of domains, equal ones once, and which of them each combination has.
    fn values(&self, master: &Master, duals: &[f64]) -> (Vec<Vec<f64>>, Vec<usize>) {
        let mut distinct: Vec<Vec<f64>> = Vec::new();
        let which = self
            .class_bin
            .iter()
            .map(|&bin| {
                let values = master.values(bin, duals);
                distinct.iter().position(|other| *other == values).unwrap_or_else(|| {
                    distinct.push(values);
                    distinct.len() - 1
                })
            })
            .collect();
        (distinct, which)
    }

    /// Prices every usable bin under some duals, with at most `work` steps a knapsack.
    pub fn round(
        &mut self,
        master: &Master,
        duals: &[f64],
        work: u64,
        control: &dyn Control,
    ) -> Result<Round, HighsError> {
        let problem = self.problem;
        let (values, which) = self.values(master, duals);
        // Bins by knapsack and values; what a pattern must be worth to be of use is the least of their prices.
        let mut tasks: BTreeMap<(usize, usize), (f64, Vec<usize>)> = BTreeMap::new();
        for bin in 0..problem.bins.len() {
            let Some(knapsack) = self.knapsack_of[bin] else { continue };
            let target = dollars(problem.bins[bin].price) - master.node_value(bin, duals, true);
            let task = tasks.entry((knapsack, which[self.class_of[bin]])).or_insert((f64::INFINITY, Vec::new()));
            task.0 = task.0.min(target);
            task.1.push(bin);
        }
        let tasks: Vec<Task> = tasks.into_iter().collect();
        let mut results: Vec<(Priced, Vec<f64>)> = tasks
            .par_iter()
            .map(|(key, (target, _))| {
                let mut weights = self.weights.get(key).cloned().unwrap_or_default();
                let aim = target.max(0.0);
                let steps = if control.exhausted() { 1 } else { work.min(STEPS) };
                let priced = self.knapsacks[key.0].search(problem, &values[key.1], aim, steps, &mut weights);
                (priced, weights)
            })
            .collect();
        let mut uppers = vec![None; problem.bins.len()];
        let mut patterns: Vec<(f64, Pattern)> = Vec::new();
        let exact = if work < STEPS {
            !control.exhausted() && results.iter().all(|(priced, _)| priced.work <= work)
        } else {
            let gap = if work > STEPS { 1e-7 } else { 1e-4 };
            let open = tasks.iter().zip(&mut results).filter(|(_, (priced, _))| priced.work > STEPS);
            let open = open.map(|((key, (target, _)), (priced, _))| Open {
                knapsack: &self.knapsacks[key.0],
                values: &values[key.1],
                target: target.max(0.0),
                priced,
            });
            settle(problem, open.collect(), gap, control)?
        };
        for ((key, (_, bins)), (priced, weights)) in tasks.into_iter().zip(results) {
            for &bin in &bins {
                uppers[bin] = Some(priced.upper);
                let price = dollars(problem.bins[bin].price) - master.node_value(bin, duals, true);
                for (value, counts) in priced.found.iter().rev() {
                    // Ranked by cost per value, so that dear bins do not come first for being dear.
                    if *value > price + 1e-9 * price.abs() + 1e-10 {
                        let rank = (price - value) / value.abs().max(1e-12);
                        patterns.push((rank, Pattern { bin: bin as u32, counts: counts.clone() }));
                    }
                }
            }
            self.weights.insert(key, weights);
        }
        patterns.sort_by(|left, right| left.0.total_cmp(&right.0).then_with(|| left.1.cmp(&right.1)));
        Ok(Round { patterns: patterns.into_iter().map(|(_, pattern)| pattern).collect(), uppers, exact })
    }

    /// By bin: no pattern of it is worth more under some duals; `None` for bins that no better solution uses. Bins in
    /// `closely` are worth an integer program each where the search does not come to its end.
    ///
    /// # Errors
    /// What HiGHS says, other than having been stopped.
    pub fn uppers(
        &self,
        master: &Master,
        duals: &[f64],
        closely: &[usize],
        control: &dyn Control,
    ) -> Result<Vec<Option<f64>>, HighsError> {
        let problem = self.problem;
        let (values, which) = self.values(master, duals);
        let mut tasks: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for bin in 0..problem.bins.len() {
            if let Some(knapsack) = self.knapsack_of[bin] {
                tasks.entry((knapsack, which[self.class_of[bin]])).or_default().push(bin);
            }
        }
        let tasks: Vec<((usize, usize), Vec<usize>)> = tasks.into_iter().collect();
        let mut found: Vec<Priced> = tasks
            .par_iter()
            .map(|(key, _)| {
                let mut weights = self.weights.get(key).cloned().unwrap_or_default();
                let steps = if control.exhausted() { 1 } else { STEPS };
                self.knapsacks[key.0].search(problem, &values[key.1], 0.0, steps, &mut weights)
            })
            .collect();
        let open = tasks
            .iter()
            .zip(&mut found)
            .filter(|((_, bins), priced)| priced.work > STEPS && bins.iter().any(|bin| closely.contains(bin)));
        let open = open.map(|((key, _), priced)| Open {
            knapsack: &self.knapsacks[key.0],
            values: &values[key.1],
            target: 0.0,
            priced,
        });
        settle(problem, open.collect(), 1e-5, control)?;
        let mut uppers = vec![None; problem.bins.len()];
        for ((_, bins), priced) in tasks.into_iter().zip(found) {
            bins.into_iter().for_each(|bin| uppers[bin] = Some(priced.upper));
        }
        Ok(uppers)
    }

    /// The shapes that fit a bin, and the most units of each on one node of it.
    pub fn most_units(&self, bin: usize) -> Vec<(usize, u32)> {
        self.knapsack_of[bin].map_or_else(Vec::new, |knapsack| self.knapsacks[knapsack].most_units())
    }

    /// All patterns of reduced cost below `slack` under some duals, without those that another one makes needless;
    /// `None` where they are more than `most`.
    pub fn enumerate(
        &self,
        master: &Master,
        duals: &[f64],
        slack: f64,
        most: usize,
        work: u64,
        control: &dyn Control,
    ) -> Option<Vec<Pattern>> {
        let problem = self.problem;
        let (values, which) = self.values(master, duals);
        let filled = master.filled();
        let plain = problem.rules.flexibles.is_empty() && problem.rules.node_budgets.is_empty();
        let mut order: Vec<usize> = (0..problem.bins.len()).filter(|&bin| self.knapsack_of[bin].is_some()).collect();
        order.sort_by_key(|&bin| (problem.bins[bin].price, bin));
        let mut all: IndexSet<Pattern> = IndexSet::new();
        let mut cheaper: BTreeSet<(usize, Vec<(u32, u32)>)> = BTreeSet::new();
        for bin in order {
            if control.exhausted() {
                return None;
            }
            let Some(knapsack) = self.knapsack_of[bin] else { continue };
            let price = dollars(problem.bins[bin].price) - master.node_value(bin, duals, true);
            let class = self.class_of[bin];
            let target = price - slack - 1e-9 * (1.0 + price.abs());
            let mut own = self.knapsacks[knapsack].clone();
            own.bin = bin;
            let free = plain && problem.bins[bin].max_count.is_none();
            for counts in own.enumerate(problem, &values[which[class]], &filled, target, most, work)? {
                // The same units on a bin that is no dearer, in the same domains, were listed before.
                if free && !cheaper.insert((class, counts.clone())) {
                    continue;
                }
                all.insert(Pattern { bin: bin as u32, counts });
                if all.len() > most {
                    return None;
                }
            }
        }
        Some(all.into_iter().collect())
    }
}

/// How column generation is limited.
#[derive(Clone, Debug)]
pub struct ColumnLimits {
    /// At most so many rounds.
    pub rounds: u64,
    /// Done where what columns can still add to the bound is less than this part of the gap to the incumbent.
    pub tail: f64,
    /// At most so many steps a knapsack.
    pub work: u64,
    /// Cost of the incumbent in billionths of a dollar an hour.
    pub incumbent: i64,
    /// Duals to start from, near which the optimal ones are thought to be.
    pub center: Option<Vec<f64>>,
    /// Done where (incumbent - bound) / incumbent is at most this.
    pub gap: f64,
    /// Done where the bound is at least this (dollars an hour).
    pub enough: f64,
    /// Done where the relaxation's value is no farther than this (dollars an hour) from the bound.
    pub near: f64,
}

impl Default for ColumnLimits {
    /// No limits but those of time.
    fn default() -> Self {
        ColumnLimits {
            rounds: u64::MAX,
            tail: 0.0,
            work: 100_000,
            incumbent: i64::MAX,
            center: None,
            gap: 0.0,
            enough: f64::INFINITY,
            near: f64::NEG_INFINITY,
        }
    }
}

/// The master problem's linear relaxation and its columns.
pub struct Columns<'a> {
    /// Rows and extras.
    pub master: Master<'a>,
    /// The patterns that are columns, in their order behind the extras.
    pub patterns: IndexSet<Pattern>,
    /// The duals that gave the best bound.
    pub duals: Vec<f64>,
    /// The best lower bound so far in dollars an hour.
    pub bound: f64,
    /// The last optimal solution of the relaxation.
    pub solution: LpSolution,
    /// Whether no pattern can better the relaxation any more.
    pub converged: bool,
    /// Rounds done.
    pub rounds: u64,
    lp: Lp,
}

impl<'a> Columns<'a> {
    /// The relaxation for a demand, with the patterns of a first solution as columns.
    ///
    /// # Errors
    /// Where HiGHS refuses.
    pub fn new(problem: &'a Problem, demand: &[u32], first: &Solution) -> Result<Self, HighsError> {
        let missing = first.unplaced.iter().any(|units| *units > 0);
        let master = if missing { Master::new(problem, demand) } else { Master::whole(problem, demand) };
        let bounds: Vec<(f64, f64)> = master.rows.iter().map(|row| (row.lower, row.upper)).collect();
        let mut lp = Lp::new(&bounds)?;
        let extras: Vec<LpColumn> = master
            .extras
            .iter()
            .enumerate()
            .map(|(index, extra)| LpColumn {
                cost: extra.cost,
                lower: extra.lower,
                upper: if index < problem.shapes.len() && !missing { 0.0 } else { extra.upper },
                terms: extra.terms.clone(),
            })
            .collect();
        lp.add_columns(&extras)?;
        let rows = master.rows.len();
        let mut columns = Columns {
            master,
            patterns: IndexSet::new(),
            duals: vec![0.0; rows],
            bound: 0.0,
            solution: LpSolution::default(),
            converged: false,
            rounds: 0,
            lp,
        };
        columns.add(first.nodes.iter().map(|(pattern, _)| pattern.clone()))?;
        Ok(columns)
    }

    /// The same patterns and duals with a linear program of its own.
    ///
    /// # Errors
    /// Where HiGHS refuses.
    pub fn fork(&self, demand: &[u32], first: &Solution) -> Result<Self, HighsError> {
        let problem = self.master.problem;
        let mut fork = Columns::new(problem, demand, first)?;
        fork.add(self.patterns.iter().cloned())?;
        fork.duals.clone_from(&self.duals);
        fork.bound = self.bound;
        fork.solution = self.solution.clone();
        Ok(fork)
    }

    /// Adds patterns that are not there yet; tells how many.
    ///
    /// # Errors
    /// Where HiGHS refuses.
    pub fn add(&mut self, patterns: impl IntoIterator<Item = Pattern>) -> Result<usize, HighsError> {
        let mut new = Vec::new();
        for pattern in patterns {
            if !self.patterns.contains(&pattern) {
                new.push(self.master.column(&pattern));
                self.patterns.insert(pattern);
            }
        }
        self.lp.add_columns(&new)?;
        Ok(new.len())
    }

    /// Index of the first pattern among the columns.
    pub fn first_pattern(&self) -> usize {
        self.master.extras.len()
    }

    /// The linear program, to fix columns in it.
    pub fn program(&mut self) -> &mut Lp {
        &mut self.lp
    }

    /// Generates columns until none helps, the bound meets the incumbent, or a limit is met.
    ///
    /// # Errors
    /// What HiGHS says, other than having been stopped.
    pub fn generate(
        &mut self,
        pricing: &mut Pricing<'a>,
        limits: &ColumnLimits,
        control: &dyn Control,
    ) -> Result<(), HighsError> {
        let problem = self.master.problem;
        let mut work = 400_u64;
        let mut smoothing = if limits.center.is_some() { 0.8 } else { 0.6 };
        let mut center: Option<Vec<f64>> = limits.center.clone();
        // The relaxation's value a round ago, and rounds since it last fell by much.
        let (mut last, mut stalled) = (f64::INFINITY, 0);
        if self.rounds > 0 && self.bound > 0.0 {
            center = Some(self.duals.clone());
        }
        let shapes = problem.shapes.len();
        while self.rounds < limits.rounds && !control.exhausted() {
            self.rounds += 1;
            self.solution = match self.lp.solve(control) {
                Ok(solution) => solution,
                Err(HighsError::Stopped) => return Ok(()),
                Err(error) => return Err(error),
            };
            let exact_duals = self.solution.duals.clone();
            // Nearer and nearer to the duals themselves until something is found that they miss.
            let mut round;
            let mut share = if self.rounds == 1 && center.is_some() { 1.0 } else { smoothing };
            let mut added;
            loop {
                let duals = match &center {
                    Some(center) if share > 0.0 => {
                        let pairs = exact_duals.iter().zip(center);
                        pairs.map(|(new, old)| share * old + (1.0 - share) * new).collect()
                    }
                    _ => {
                        share = 0.0;
                        exact_duals.clone()
                    }
                };
                round = pricing.round(&self.master, &duals, work, control)?;
                added = self.improve_bound(&duals, &round, &mut center)?;
                if added > 0 || share == 0.0 || control.exhausted() {
                    break;
                }
                share = if share > 0.5 { share - 0.3 } else { 0.0 };
            }
            if self.bound >= limits.enough || self.solution.objective - self.bound <= limits.near {
                return Ok(());
            }
            let bound = rounded(problem, self.bound);
            control.report(&Progress {
                stage: "columns",
                cost: dollars(limits.incumbent),
                bound: Some(dollars(bound.min(limits.incumbent))),
            });
            if bound >= limits.incumbent || (limits.incumbent - bound) as f64 <= limits.gap * limits.incumbent as f64 {
                return Ok(());
            }
            // Where rounds hardly better the relaxation any more it is the pricing that spoils the bound: it looks closer.
            let step = last - self.solution.objective;
            stalled = if step < STALLED * (self.solution.objective - self.bound) { stalled + 1 } else { 0 };
            last = self.solution.objective;
            if stalled >= PATIENCE && self.rounds > FIRST_ROUNDS {
                work = (work * MORE_WORK).min(limits.work);
                stalled = 0;
            }
            let close = (self.solution.objective - self.bound) <= 1e-7 * self.solution.objective.abs();
            let slack_free = self.solution.columns[..shapes].iter().all(|units| *units <= 1e-9);
            if close && slack_free {
                self.converged = true;
                return Ok(());
            }
            let open = dollars(limits.incumbent) - self.solution.objective;
            if slack_free && self.solution.objective - self.bound < limits.tail * open {
                // What is left of this gap is little beside the one that columns can't close.
                return Ok(());
            }
            if added == 0 {
                if round.exact {
                    self.converged = true;
                    return Ok(());
                }
                if work >= limits.work {
                    return Ok(());
                }
                work = (work * MORE_WORK).min(limits.work);
                smoothing = 0.3;
            }
        }
        Ok(())
    }

    fn improve_bound(
        &mut self,
        duals: &[f64],
        round: &Round,
        center: &mut Option<Vec<f64>>,
    ) -> Result<usize, HighsError> {
        let (bound, used) = lagrangian(&self.master, duals, &round.uppers);
        if bound > self.bound {
            self.bound = bound;
            self.duals = used;
            *center = Some(duals.to_vec());
        }
        if center.is_none() {
            *center = Some(duals.to_vec());
        }
        let most = 60 + self.master.rows.len() / 2;
        self.add(round.patterns.iter().take(most).cloned())
    }
}
