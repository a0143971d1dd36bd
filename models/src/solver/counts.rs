//! Whole nodes, parts of pods: how many nodes of each bin a solution buys, and what it costs at least.
//!
//! The relaxation of patterns buys a third of a big node and knows no better; here the number of nodes of a bin is whole
//! and only what stands on them together is not. What the nodes of a bin hold is limited by their capacity, by how many
//! units of a shape one node takes, and by every inequality that pricing proves: under values `v` no pattern of bin `b`
//! is worth more than `U`, so what stands on `n` nodes of it is worth at most `U n`. With the values that gave the bound
//! of the patterns the program is never weaker than that bound. The page `formulations/counts.md` has the mathematics.
//!
//! A mix that it proposes is packed; where no fractions of patterns fit it, their duals are the next inequality
//! (J. F. Benders, "Partitioning procedures for solving mixed-variables programming problems", 1962).

use super::columns::master::{Master, dollars};
use super::columns::{ColumnLimits, Columns, Pricing};
use super::highs::{HighsError, MipLimits};
use super::incumbent::normalised;
use super::model::{LinearModel, plain_name};
use super::pipeline::{Slice, State};
use super::{Control, Settings, bound, complete, dive, integer};
use crate::problem::{Pattern, Solution};

/// The most parts (bin and shape) that are worth a program.
const MOST: usize = 12_000;

/// The most mixes that are tried.
const MIXES: u64 = 12;

/// An inequality for each bin: what stands on `n` of its nodes is worth at most `most n`.
struct Cut {
    /// By bin that the program has: the worth of one unit of each shape.
    values: Vec<Vec<f64>>,
    /// By bin that the program has: the most that one node is worth.
    most: Vec<f64>,
}

/// The program: bins, what they hold, and the inequalities known.
struct Program<'a> {
    master: &'a Master<'a>,
    bins: Vec<usize>,
    /// By bin of the program: shapes, and the most units of each on one node.
    holds: Vec<Vec<(usize, u32)>>,
    cuts: Vec<Cut>,
}

impl<'a> Program<'a> {
    /// The bins of which one node can be in a solution that costs `slack` more than the bound of the duals; `None`
    /// where the program would be too large.
    fn new(master: &'a Master<'a>, pricing: &Pricing, duals: &[f64], slack: f64, work: u64) -> Option<Self> {
        let problem = master.problem;
        let uppers = pricing.uppers(master, duals, work);
        let mut program = Program { master, bins: Vec::new(), holds: Vec::new(), cuts: Vec::new() };
        let mut parts = 0;
        for (bin, upper) in uppers.iter().enumerate() {
            let Some(upper) = *upper else { continue };
            let reduced = dollars(problem.bins[bin].price) - master.node_value(bin, duals, false) - upper;
            if reduced > slack + 1e-9 {
                continue;
            }
            let holds = pricing.most_units(bin);
            parts += holds.len();
            program.bins.push(bin);
            program.holds.push(holds);
        }
        if parts > MOST {
            return None;
        }
        program.cut(duals, &uppers);
        Some(program)
    }

    /// Adds the inequalities that some duals and the uppers under them prove.
    fn cut(&mut self, duals: &[f64], uppers: &[Option<f64>]) {
        let values = self.bins.iter().map(|&bin| self.master.values(bin, duals)).collect();
        let most = self.bins.iter().map(|&bin| uppers[bin].unwrap_or(0.0)).collect();
        self.cuts.push(Cut { values, most });
    }

    /// Extras first, then the nodes of each bin, then the parts.
    fn model(&self, incumbent: i64) -> LinearModel {
        let master = self.master;
        let problem = master.problem;
        let mut model = LinearModel { title: "Whole nodes, parts of pods".to_owned(), ..Default::default() };
        for row in &master.rows {
            model.row(plain_name(&row.name), (row.lower, row.upper), Vec::new());
        }
        for (index, extra) in master.extras.iter().enumerate() {
            let upper = if index < problem.shapes.len() { 0.0 } else { extra.upper };
            let column = model.column(plain_name(&extra.name), extra.cost, (extra.lower, upper), extra.integer);
            for &(row, factor) in &extra.terms {
                model.rows[row].terms.push((column, factor));
            }
        }
        for &bin in &self.bins {
            let price = problem.bins[bin].price;
            let affordable = if price > 0 { (incumbent / price) as f64 } else { f64::INFINITY };
            let most = problem.bins[bin].max_count.map_or(affordable, |most| affordable.min(f64::from(most)));
            let column = model.column(format!("n_{bin}"), dollars(price), (0.0, most), true);
            for (row, factor) in master.node_terms(bin) {
                model.rows[row].terms.push((column, factor));
            }
        }
        for index in 0..self.bins.len() {
            self.parts(&mut model, index);
        }
        model.rows.retain(|row| !row.terms.is_empty() || row.lower > 0.0 || row.upper < 0.0);
        model
    }

    /// What stands on the nodes of a bin, and what limits it.
    fn parts(&self, model: &mut LinearModel, index: usize) {
        let problem = self.master.problem;
        let bin = self.bins[index];
        let nodes = self.master.extras.len() + index;
        let mut columns = Vec::with_capacity(self.holds[index].len());
        for &(shape, most) in &self.holds[index] {
            let count = f64::from(problem.shapes[shape].count);
            let column = model.column(format!("f_{bin}_{shape}"), 0.0, (0.0, count), false);
            for (row, factor) in self.master.unit_terms(bin, shape) {
                model.rows[row].terms.push((column, factor));
            }
            let row = vec![(column, 1.0), (nodes, -f64::from(most))];
            model.row(format!("most_{bin}_{shape}"), (f64::NEG_INFINITY, 0.0), row);
            columns.push((shape, column));
        }
        for (resource, name) in problem.resources.iter().enumerate() {
            let room = problem.capacity[[bin, resource]].max(1) as f64;
            let mut row: Vec<(usize, f64)> = columns
                .iter()
                .filter(|(shape, _)| problem.demand[[*shape, resource]] > 0)
                .map(|&(shape, column)| (column, problem.demand[[shape, resource]] as f64 / room))
                .collect();
            if row.len() > 1 {
                row.push((nodes, -1.0));
                model.row(format!("room_{bin}_{}", plain_name(name)), (f64::NEG_INFINITY, 0.0), row);
            }
        }
        for (number, cap) in problem.rules.node_caps.iter().enumerate() {
            let mut row: Vec<(usize, f64)> = columns
                .iter()
                .filter(|(shape, _)| cap.members.contains(*shape))
                .map(|&(_, column)| (column, 1.0))
                .collect();
            if row.len() > 1 {
                let limit = cap.limit.saturating_sub(cap.present.get(&bin).copied().unwrap_or(0));
                row.push((nodes, -f64::from(limit)));
                model.row(format!("cap_{bin}_{number}"), (f64::NEG_INFINITY, 0.0), row);
            }
        }
        for (number, cut) in self.cuts.iter().enumerate() {
            let mut row: Vec<(usize, f64)> = columns
                .iter()
                .map(|&(shape, column)| (column, cut.values[index][shape]))
                .filter(|(_, value)| *value > 0.0)
                .collect();
            if row.len() > 1 {
                row.push((nodes, -cut.most[index]));
                model.row(format!("worth_{bin}_{number}"), (f64::NEG_INFINITY, 0.0), row);
            }
        }
    }
}

/// Betters the bound by whole nodes, and the incumbent by packing the mixes of nodes that it is reached with.
///
/// # Errors
/// Where HiGHS refuses; having been stopped is none.
pub(super) fn close(
    state: &State,
    columns: &Columns,
    pricing: &Pricing,
    gap: f64,
    settings: &Settings,
    control: &dyn Control,
) -> Result<(), HighsError> {
    let slack = dollars(state.cost()) - columns.bound;
    let Some(mut program) = Program::new(&columns.master, pricing, &columns.duals, slack, 2_000) else {
        return Ok(());
    };
    let problem = state.problem;
    for _ in 0..MIXES.min(settings.iterations.unwrap_or(MIXES)) {
        if control.exhausted() {
            break;
        }
        let model = program.model(state.cost());
        let step = dollars(bound::price_step(problem)) * 0.99;
        let limits = MipLimits { relative_gap: gap.max(1e-7) / 4.0, absolute_gap: step, nodes: settings.iterations };
        let outcome = match integer::run(&model, None, &limits, &Slice::of(control, 0.6)) {
            Ok(outcome) => outcome,
            Err(HighsError::Stopped) => break,
            Err(error) => return Err(error),
        };
        if outcome.infeasible {
            // Nothing that costs no more than the incumbent: the incumbent itself ought to have been found.
            break;
        }
        if outcome.dual_bound.is_finite() {
            state.offer_bound(bound::rounded(problem, outcome.dual_bound * (1.0 - 1e-7)));
        }
        let Some(values) = outcome.values else { break };
        let first = columns.master.extras.len();
        let mut mix = vec![0_u32; problem.bins.len()];
        for (index, &bin) in program.bins.iter().enumerate() {
            mix[bin] = values[first + index].round().max(0.0) as u32;
        }
        if state.done(gap) {
            break;
        }
        let Some(duals) = pack(state, columns, &mix, settings, control)? else { break };
        let uppers = pricing.uppers(&columns.master, &duals, 20_000);
        program.cut(&duals, &uppers);
    }
    Ok(())
}

/// Packs a mix of nodes and offers what comes of it. Tells the duals that prove that even fractions of patterns don't
/// fit, if that is so.
fn pack(
    state: &State,
    columns: &Columns,
    mix: &[u32],
    settings: &Settings,
    control: &dyn Control,
) -> Result<Option<Vec<f64>>, HighsError> {
    let mut problem = state.problem.clone();
    for (bin, &nodes) in problem.bins.iter_mut().zip(mix) {
        bin.max_count = Some(nodes);
    }
    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let nothing = normalised(&problem, []);
    let mut own = Columns::new(&problem, &demand, &nothing)?;
    let known = columns.patterns.iter().filter(|pattern| mix[pattern.bin as usize] > 0).cloned();
    own.add(known)?;
    let usable: Vec<bool> = mix.iter().map(|nodes| *nodes > 0).collect();
    let mut pricing = Pricing::new(&own.master, &demand, &usable);
    let rounds = settings.iterations.unwrap_or(u64::MAX);
    let limits = ColumnLimits { rounds, incumbent: i64::MAX, tail: 0.0, work: 20_000, center: None, gap: 0.0 };
    own.generate(&mut pricing, &limits, control)?;
    if own.solution.duals.is_empty() {
        return Ok(None);
    }
    let shapes = problem.shapes.len();
    let missing: f64 = own.solution.columns.iter().take(shapes).sum();
    let offer = |partial: &Solution, stage| {
        state.offer(complete::complete(state.problem, partial, None, control), stage);
    };
    let (partial, patterns) = match dive::dive(&problem, &own, &nothing, i64::MAX, rounds, control) {
        Ok(found) => found,
        Err(HighsError::Stopped) => return Ok(None),
        Err(error) => return Err(error),
    };
    offer(&partial, "counts");
    own.add(patterns)?;
    let patterns: Vec<Pattern> = integer::chosen_patterns(&own, &partial, 2_000);
    let mip = MipLimits { relative_gap: 1e-4, absolute_gap: 1e-9, nodes: settings.iterations };
    match integer::restricted_master(&problem, &own, &patterns, Some(&partial), &mip, control) {
        Ok((Some(solution), _)) => {
            offer(&solution, "counts");
        }
        Ok((None, _)) | Err(HighsError::Stopped) => {}
        Err(error) => return Err(error),
    }
    Ok((missing > 1e-6).then_some(own.solution.duals))
}

/// The program of a problem with all its bins, and one inequality from a value of each shape.
#[cfg(test)]
pub(super) fn model(problem: &crate::problem::Problem, values: &[f64]) -> LinearModel {
    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let master = Master::new(problem, &demand);
    let pricing = Pricing::new(&master, &demand, &bound::usable(problem, i64::MAX));
    let mut duals = vec![0.0; master.rows.len()];
    duals[..values.len()].copy_from_slice(values);
    let dearest: i64 = problem.bins.iter().map(|bin| bin.price).sum();
    let units: u32 = demand.iter().sum();
    let program = Program::new(&master, &pricing, &duals, f64::INFINITY, 1_000);
    program.map(|program| program.model(dearest * i64::from(units))).unwrap_or_default()
}
