//! The program of mixes: how many nodes of each bin, under all inequalities that are known.

use std::collections::BTreeMap;

use super::alike::exchanges;
use crate::problem::Problem;
use crate::solver::blocks::Least;
use crate::solver::columns::master::{Master, dollars};
use crate::solver::fluid::dive::Worth;
use crate::solver::model::{LinearModel, plain_name};
use crate::solver::wish;

/// `sum of worth(b) n(b) >= least`, in dollars an hour.
pub(super) struct Cut {
    /// By bin of the program: no node of it is worth more under the duals of the cut.
    worth: Vec<f64>,
    /// What the units wanted are worth.
    least: f64,
}

/// The bins that a better solution could hold, and what is known of their mixes.
pub(super) struct Mixes<'a> {
    pub master: &'a Master<'a>,
    /// The bins of the program.
    pub bins: Vec<usize>,
    /// By bin of the program: no better solution has more nodes of it.
    most: Vec<u32>,
    cuts: Vec<Cut>,
    /// What blocks cost at the least.
    pub least: Vec<Least>,
    /// Ways to exchange the bins of the program that the problem does not notice.
    exchanges: Vec<Vec<usize>>,
}

impl<'a> Mixes<'a> {
    /// The bins of which a node can be in a solution that costs no more than the incumbent, where `duals` prove the
    /// bound `bound` (dollars an hour); their inequality is the first cut. A node of a bin costs its reduced cost above
    /// that bound, which limits how many there can be.
    pub fn new(
        master: &'a Master<'a>,
        duals: &[f64],
        uppers: &[Option<f64>],
        bound: f64,
        incumbent: i64,
        least: &[Least],
    ) -> Self {
        let problem = master.problem;
        let mut mixes = Mixes {
            master,
            bins: Vec::new(),
            most: Vec::new(),
            cuts: Vec::new(),
            least: least.to_vec(),
            exchanges: Vec::new(),
        };
        let slack = (dollars(incumbent) - bound).max(0.0) + 1e-9;
        for (bin, upper) in uppers.iter().enumerate() {
            let Some(upper) = *upper else { continue };
            let price = problem.bins[bin].price;
            let reduced = dollars(price) - master.node_value(bin, duals, false) - upper;
            let limits = [
                problem.bins[bin].max_count.map_or(f64::INFINITY, f64::from),
                if price > 0 { (incumbent / price) as f64 } else { f64::INFINITY },
                if reduced > 0.0 { (slack / reduced).floor() } else { f64::INFINITY },
            ];
            let most = limits.into_iter().fold(f64::from(units(problem)), f64::min) as u32;
            if most > 0 {
                mixes.bins.push(bin);
                mixes.most.push(most);
            }
        }
        mixes.exchanges = exchanges(problem, &mixes.bins);
        let none = vec![0.0; mixes.bins.len()];
        mixes.cut(duals, uppers, &none, 0.0);
        mixes
    }

    /// Adds what some duals prove: the units wanted are worth so much under them, no node of a bin holds more than
    /// `uppers` of it. Tells whether a mix (nodes by bin of the program) that could be chosen before no longer can,
    /// where every node is worth a share `slack` less.
    pub fn cut(&mut self, duals: &[f64], uppers: &[Option<f64>], mix: &[f64], slack: f64) -> bool {
        let master = self.master;
        let shapes = master.problem.shapes.len();
        let mut copies = vec![false; master.rows.len()];
        master.copies_rows().into_iter().for_each(|row| copies[row] = true);
        // A row that has no such side says nothing on that side.
        let duals: Vec<f64> = master
            .rows
            .iter()
            .zip(duals)
            .zip(&copies)
            .map(|((row, &dual), &copies)| {
                let dual = if row.lower.is_finite() { dual } else { dual.min(0.0) };
                let dual = if row.upper.is_finite() { dual } else { dual.max(0.0) };
                if copies { 0.0 } else { dual }
            })
            .collect();
        let mut least = 0.0;
        for (row, &dual) in master.rows.iter().zip(&duals).filter(|(_, dual)| **dual != 0.0) {
            least += dual * if dual > 0.0 { row.lower } else { row.upper };
        }
        for extra in &master.extras[shapes..] {
            let value: f64 = extra.terms.iter().map(|&(row, factor)| factor * duals[row]).sum();
            least -= (value * extra.lower).max(value * extra.upper);
        }
        let worth: Vec<f64> = self
            .bins
            .iter()
            .map(|&bin| uppers[bin].map_or(0.0, |upper| upper + master.node_value(bin, &duals, false)))
            .collect();
        if !least.is_finite() {
            return false;
        }
        let held: f64 = worth.iter().zip(mix).map(|(worth, nodes)| worth * nodes).sum();
        let forbids = held < least * (1.0 + slack) - 1e-6 * least.abs();
        if forbids || mix.iter().all(|nodes| *nodes == 0.0) {
            let mut all = vec![worth];
            for exchange in &self.exchanges {
                let other: Vec<f64> = exchange.iter().map(|&place| all[0][place]).collect();
                let same =
                    |known: &Vec<f64>| known.iter().zip(&other).all(|(one, two)| (one - two).abs() <= 1e-9 * one.abs());
                if !all.iter().any(same) {
                    all.push(other);
                }
            }
            self.cuts.extend(all.into_iter().map(|worth| Cut { worth, least }));
        }
        forbids
    }

    /// Adds what another program proves of the bins of the problem.
    pub fn demand(&mut self, worth: &Worth) {
        self.cuts.push(Cut { worth: self.bins.iter().map(|&bin| worth.worth[bin]).collect(), least: worth.least });
    }

    /// What every cut says of classes of bins: no class is worth more than its best bin.
    pub fn worths(&self, classes: &[Vec<usize>]) -> Vec<Worth> {
        let place: BTreeMap<usize, usize> = self.bins.iter().enumerate().map(|(place, &bin)| (bin, place)).collect();
        self.cuts
            .iter()
            .map(|cut| {
                let of = |bin: &usize| place.get(bin).map_or(0.0, |&place| cut.worth[place]);
                let best = |bins: &Vec<usize>| bins.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
                Worth { worth: classes.iter().map(best).collect(), least: cut.least }
            })
            .collect()
    }

    /// The cheapest mix under the cuts when every node is worth a share `slack` less; none that costs less than
    /// `bound` dollars an hour.
    pub fn model(&self, slack: f64, bound: f64) -> LinearModel {
        let problem = self.master.problem;
        let mut model = LinearModel { title: "Mixes of whole nodes".to_owned(), ..Default::default() };
        for (&bin, &most) in self.bins.iter().zip(&self.most) {
            model.column(format!("n_{bin}"), dollars(problem.bins[bin].price), (0.0, f64::from(most)), true);
        }
        for place in 0..self.bins.len() {
            if (0..self.bins.len()).any(|other| self.beats(other, place)) {
                model.columns[place].upper = 0.0;
            }
        }
        for (number, cut) in self.cuts.iter().enumerate() {
            let scale = cut.worth.iter().fold(0.0_f64, |most, worth| most.max(worth.abs())).max(1e-12);
            let terms = cut
                .worth
                .iter()
                .enumerate()
                .filter(|(_, worth)| **worth != 0.0)
                .map(|(column, worth)| (column, worth / scale))
                .collect();
            let least = cut.least / scale * (1.0 + slack);
            model.row(format!("worth_{number}"), (least - 1e-9 * least.abs(), f64::INFINITY), terms);
        }
        for (number, budget) in problem.rules.node_budgets.iter().enumerate() {
            let scale = budget.per_node.values().copied().max().unwrap_or(1).max(1) as f64;
            let terms: Vec<(usize, f64)> = self
                .bins
                .iter()
                .enumerate()
                .filter_map(|(column, bin)| budget.per_node.get(bin).map(|&take| (column, take as f64 / scale)))
                .collect();
            if !terms.is_empty() {
                let limit = budget.limit as f64 / scale;
                model.row(format!("budget_{number}_{}", plain_name(&budget.name)), (f64::NEG_INFINITY, limit), terms);
            }
        }
        for (number, least) in self.least.iter().enumerate().filter(|(_, least)| least.cost > 0) {
            let holds = |bin: &usize| !problem.bins[*bin].admits.is_disjoint(&least.block);
            let columns = self.bins.iter().enumerate().filter(|(_, bin)| holds(bin));
            let terms = columns.map(|(column, &bin)| (column, dollars(problem.bins[bin].price))).collect();
            // A little less, for what HiGHS takes for whole.
            model.row(format!("block_{number}"), (dollars(least.cost) * (1.0 - 1e-7), f64::INFINITY), terms);
        }
        let nodes: Vec<(usize, usize)> = self.bins.iter().copied().enumerate().collect();
        wish::add(problem, &nodes, &mut model);
        if bound > 0.0 {
            let terms = model.columns.iter().enumerate().map(|(column, data)| (column, data.cost)).collect();
            model.row("bound".to_owned(), (bound, f64::INFINITY), terms);
        }
        model
    }

    /// Whether a node of one bin of the program is in the place of one of another bin never dearer and never worth less; of
    /// two that are equal the first beats the second.
    fn beats(&self, one: usize, other: usize) -> bool {
        let problem = self.master.problem;
        let data = |place: usize| &problem.bins[self.bins[place]];
        if one == other || data(one).max_count.is_some() || data(one).price > data(other).price {
            return false;
        }
        // In a block that is known to cost more a cheaper node is worth less.
        let in_block = |place: usize, least: &Least| !data(place).admits.is_disjoint(&least.block);
        let paid = |place: usize, least: &Least| if in_block(place, least) { data(place).price } else { 0 };
        if self.least.iter().any(|least| paid(one, least) < paid(other, least)) {
            return false;
        }
        let mut same = data(one).price == data(other).price && data(other).max_count.is_none();
        for cut in &self.cuts {
            if cut.worth[one] < cut.worth[other] {
                return false;
            }
            same &= cut.worth[one] == cut.worth[other];
        }
        for budget in &problem.rules.node_budgets {
            let take = |place: usize| budget.per_node.get(&self.bins[place]).copied().unwrap_or(0);
            // Where limits are to be used, taking less is not better.
            if take(one) > take(other) || (!problem.rules.exhausted.is_empty() && take(one) < take(other)) {
                return false;
            }
            same &= take(one) == take(other);
        }
        !same || one < other
    }

    /// The columns of the program for a mix by bin of the problem; `None` where it has other nodes as well.
    pub fn values(&self, mix: &[u32]) -> Option<Vec<f64>> {
        let mut nodes = self.nodes(mix);
        let all: f64 = mix.iter().map(|&nodes| f64::from(nodes)).sum();
        let some = nodes.iter().sum::<f64>() == all;
        let bins = 0..self.master.problem.bins.len();
        let opened: Vec<u64> = bins.map(|bin| mix.get(bin).map_or(0, |&nodes| nodes.into())).collect();
        nodes.extend(wish::values(self.master.problem, &opened));
        some.then_some(nodes)
    }

    /// A mix by bin of the problem as numbers by bin of the program.
    pub fn nodes(&self, mix: &[u32]) -> Vec<f64> {
        self.bins.iter().map(|&bin| f64::from(mix.get(bin).copied().unwrap_or(0))).collect()
    }

    /// The mix by bin of the problem that the columns of the program stand for.
    pub fn mix(&self, values: &[f64]) -> Vec<u32> {
        let mut mix = vec![0; self.master.problem.bins.len()];
        for (&bin, value) in self.bins.iter().zip(values) {
            let data = &self.master.problem.bins[bin];
            // What costs nothing is taken whole.
            let free = data.max_count.filter(|_| data.price == 0);
            mix[bin] = free.unwrap_or(value.round().max(0.0) as u32);
        }
        mix
    }
}

fn units(problem: &Problem) -> u32 {
    problem.shapes.iter().fold(0_u32, |sum, shape| sum.saturating_add(shape.count))
}

/// The program over all bins with one cut, from a value of each shape.
#[cfg(test)]
pub(in crate::solver) fn model(
    problem: &Problem,
    values: &[f64],
    control: &dyn crate::solver::Control,
) -> Result<LinearModel, crate::solver::highs::HighsError> {
    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let master = Master::new(problem, &demand);
    let pricing =
        crate::solver::columns::Pricing::new(&master, &demand, &crate::solver::bound::usable(problem, i64::MAX));
    let mut duals = vec![0.0; master.rows.len()];
    duals[..values.len()].copy_from_slice(values);
    let uppers = pricing.uppers(&master, &duals, &[], control)?;
    let dearest: i64 = problem.bins.iter().map(|bin| bin.price).sum();
    let most = dearest * i64::from(units(problem));
    Ok(Mixes::new(&master, &duals, &uppers, f64::NEG_INFINITY, most, &[]).model(0.0, 0.0))
}
