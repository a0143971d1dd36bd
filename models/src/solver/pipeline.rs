//! The stages behind the greedy in their order, and the incumbent and the bound between them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::columns::master::{dollars, least_penalty, penalties};
use super::columns::{ColumnLimits, Columns, Pricing};
use super::highs::{HighsError, MipLimits};
use super::incumbent::normalised;
use super::packing::rank;
use super::slice::Slice;
use super::{
    Control, Known, Progress, Settings, blocks, bound, complete, cover, dive, enumerate, improve, integer, mix,
};
use super::{fluid, sequence};
use crate::problem::{Pattern, Problem, Solution};

/// More shapes than this are placed node after node by their worth, too.
const MANY: usize = 20;

/// More units than this as well.
const CROWD: u64 = 5_000;

/// So few units are mostly proven by a list of all patterns.
const FEW: u64 = 200;

/// Seconds that the first bound may take though the time is up: it takes some milliseconds, and a plan without any bound is
/// worth less than a plan a little later.
const GRACE: f64 = 0.1;

/// The share of the time in which the greedy's answer is bettered before anything is proven: much of what there is to gain is
/// gained at once.
const EARLY: f64 = 0.06;

/// The same where there are few units, which are mostly proven before much could be gained.
const EARLY_OF_FEW: f64 = 0.006;

/// The share of the time in which whole nodes are looked for without regard to what is the same but for its zone; most
/// problems need less.
const REALISED: f64 = 0.15;

/// The share of the time that goes to blocks, one by one, while another thread proves the bound of the whole.
const BLOCKS: f64 = 0.75;

/// A control that stops as soon as a solution places every unit.
struct UntilWhole<'a> {
    inner: &'a dyn Control,
    heard: AtomicBool,
    /// Whether it is waited for at all.
    waits: bool,
}

impl Control for UntilWhole<'_> {
    fn remaining_seconds(&self) -> f64 {
        self.inner.remaining_seconds()
    }
    fn interrupted(&self) -> bool {
        self.heard.load(Ordering::Relaxed) || self.inner.interrupted()
    }
    fn report(&self, progress: &Progress) {
        // Only whole solutions are told of as the incumbent; without one the cost is that of none.
        self.heard.store(self.waits && progress.cost < dollars(i64::MAX) * 0.9, Ordering::Relaxed);
        self.inner.report(progress);
    }
}

/// A control that stops as soon as nothing more is wanted.
struct Until<'a> {
    inner: &'a dyn Control,
    done: &'a (dyn Fn() -> bool + Sync),
}

impl Control for Until<'_> {
    fn remaining_seconds(&self) -> f64 {
        self.inner.remaining_seconds()
    }
    fn interrupted(&self) -> bool {
        self.inner.interrupted() || (self.done)()
    }
    fn report(&self, progress: &Progress) {
        self.inner.report(progress);
    }
}

/// Seconds by stage.
pub(super) struct Stages<'a> {
    control: &'a dyn Control,
    since: f64,
    pub(super) done: Vec<(&'static str, f64)>,
}

impl<'a> Stages<'a> {
    pub(super) fn new(control: &'a dyn Control) -> Self {
        Stages { control, since: control.remaining_seconds(), done: Vec::new() }
    }

    pub(super) fn end(&mut self, stage: &'static str) {
        let now = self.control.remaining_seconds();
        if now.is_finite() && self.since.is_finite() {
            self.done.push((stage, self.since - now));
        }
        self.since = now;
    }
}

/// The best solution and the best bound, shared by stages that run side by side.
pub(super) struct State<'a> {
    pub(super) problem: &'a Problem,
    control: &'a dyn Control,
    inner: Mutex<Best>,
}

pub(super) struct Best {
    worth: Worth,
    solution: Solution,
    /// Of the solutions that place as many units, and leave nothing of limits where this one leaves nothing.
    pub(super) bound: Option<i64>,
    notes: Vec<String>,
    learnt: Known,
}

/// Of two solutions the lesser one is better: by the units that find no place, whether it leaves of limits what is to be
/// used, and the cost.
pub(super) type Worth = (Vec<u64>, bool, i64);

pub(super) fn worth(problem: &Problem, solution: &Solution) -> Worth {
    let (unplaced, cost) = rank(problem, solution);
    (unplaced, problem.leaves_room(solution), cost)
}

impl<'a> State<'a> {
    pub(super) fn new(problem: &'a Problem, solution: Solution, control: &'a dyn Control) -> Self {
        let worth = worth(problem, &solution);
        let (notes, learnt) = (Vec::new(), Known::default());
        let best = Best { worth, solution, bound: None, notes, learnt };
        State { problem, control, inner: Mutex::new(best) }
    }

    /// The patterns and prices that were learnt last.
    pub(super) fn learnt(&self) -> Known {
        self.best(|best| best.learnt.clone())
    }

    fn learn(&self, columns: &Columns) {
        let learnt = Known::of(columns);
        self.best(|best| best.learnt = learnt);
    }

    pub(super) fn best<T>(&self, look: impl FnOnce(&mut Best) -> T) -> T {
        let mut guard = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        look(&mut guard)
    }

    pub(super) fn solution(&self) -> Solution {
        self.best(|best| best.solution.clone())
    }

    pub(super) fn cost(&self) -> i64 {
        self.best(|best| best.worth.2)
    }

    /// Takes a solution that is better than the incumbent and obeys every rule.
    pub(super) fn offer(&self, solution: Solution, stage: &'static str) {
        let found = worth(self.problem, &solution);
        if self.best(|best| found >= best.worth) || !self.problem.violations(&solution).is_empty() {
            return;
        }
        let told = self.best(|best| {
            if found >= best.worth {
                return None;
            }
            if best.bound.is_some_and(|bound| found.2 < bound) && found.0 == best.worth.0 {
                // One of the two is wrong: neither is believed.
                best.notes.push(format!("a solution of stage {stage} below the bound was refused"));
                return None;
            }
            best.worth = found;
            best.solution = solution;
            let whole = best.worth.0.iter().all(|units| *units == 0);
            whole.then(|| Progress { stage, cost: dollars(best.worth.2), bound: best.bound.map(dollars) })
        });
        if let Some(progress) = told {
            self.control.report(&progress);
        }
    }

    /// Takes a bound for the units that the incumbent places.
    pub(super) fn offer_bound(&self, bound: i64) {
        self.best(|best| best.bound = best.bound.max(Some(bound.min(best.worth.2))));
    }

    pub(super) fn note(&self, text: String) {
        self.best(|best| best.notes.push(text));
    }

    /// The gap between the incumbent and the bound, as a share of the incumbent's cost.
    pub(super) fn gap(&self) -> f64 {
        self.best(|best| {
            let cost = best.worth.2.max(1);
            (cost - best.bound.unwrap_or(0).min(cost)) as f64 / cost as f64
        })
    }

    /// Whether the gap is as small as asked for.
    pub(super) fn done(&self, gap: f64) -> bool {
        self.best(|best| {
            let cost = best.worth.2;
            best.bound.is_some_and(|bound| cost <= bound || (cost - bound) as f64 <= gap.max(1e-9) * cost as f64)
        })
    }

    /// The incumbent, its bound and what there is to say.
    pub(super) fn into_parts(self) -> (Solution, Option<i64>, Vec<String>) {
        let best = self.inner.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        (best.solution, best.bound, best.notes)
    }
}

/// All stages behind the greedy.
pub(super) fn prove(
    problem: &Problem,
    state: &State,
    settings: &Settings,
    stages: &mut Stages,
    control: &dyn Control,
) -> Result<(), HighsError> {
    let hopeless: Vec<u32> = (0..problem.shapes.len())
        .map(|shape| if placeable(problem, shape) { 0 } else { problem.shapes[shape].count })
        .collect();
    let first = state.solution();
    let mut known = settings.known.clone();
    if first.unplaced.iter().zip(&hopeless).any(|(missing, hopeless)| missing > hopeless) {
        // Who must wait is settled first; the bound is for those who don't.
        let slice = Slice::of(control, 0.4);
        let mut free = problem.clone();
        free.rules.exhausted.clear();
        // Counted rounds must give the same answer always, so nothing is cut short then.
        let whole = UntilWhole { inner: &slice, heard: AtomicBool::new(false), waits: settings.iterations.is_none() };
        let found = search(&free, &first, &known, None, settings, stages, &whole)?;
        state.offer(found.solution(), "integer");
        known = found.learnt();
    }
    let chosen = state.solution();
    let mut placed = problem.clone();
    for (shape, missing) in placed.shapes.iter_mut().zip(&chosen.unplaced) {
        shape.count -= missing;
    }
    let start = normalised(&placed, chosen.nodes.clone());
    if placed.leaves_room(&start) {
        // What is dearer than an incumbent that leaves room is not looked at: nothing is told of those that leave none.
        placed.rules.exhausted.clear();
    }
    let found = search(&placed, &start, &known, Some(settings.gap), settings, stages, control)?;
    state.best(|best| best.learnt = found.learnt());
    let (solution, bound, notes) = found.into_parts();
    notes.into_iter().for_each(|note| state.note(note));
    state.offer(normalised(problem, solution.nodes), "integer");
    if let Some(bound) = bound {
        state.offer_bound(bound);
    }
    Ok(())
}

fn units(problem: &Problem) -> u64 {
    problem.shapes.iter().map(|shape| u64::from(shape.count)).sum()
}

/// Plans node after node by the worths of the relaxation, on the bins that it uses most. Tells the patterns of all these
/// plans: a relaxation that begins with them needs fewer rounds.
fn fill_by_worth(
    state: &State,
    found: &fluid::Fluid,
    prices: &[f64],
    settings: &Settings,
    control: &dyn Control,
) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    let problem = state.problem;
    let mut candidates: Vec<usize> = (0..problem.bins.len())
        .filter(|&bin| found.nodes[bin] > 1e-6 && problem.bins[bin].max_count.is_none() && problem.bins[bin].price > 0)
        .collect();
    candidates.sort_by(|&left, &right| {
        let share = |bin: usize| found.nodes[bin] * dollars(problem.bins[bin].price);
        share(right).total_cmp(&share(left)).then(left.cmp(&right))
    });
    candidates.truncate(12);
    let rounds = settings.iterations.unwrap_or(u64::MAX);
    for manner in sequence::MANNERS.iter().take(usize::try_from(rounds).unwrap_or(usize::MAX)) {
        if control.exhausted() {
            break;
        }
        let partial =
            sequence::fill(problem, &found.duals[..problem.shapes.len()], &candidates, manner, rounds, control);
        let solution = complete::complete(problem, &partial, Some(prices), control);
        patterns.extend(solution.nodes.iter().map(|(pattern, _)| pattern.clone()));
        state.offer(solution, "sequence");
    }
    patterns
}

/// So little time is left that another walk is not begun, in seconds.
const TOO_LATE: f64 = 0.05;

/// Betters the incumbent until the end, walk after walk from the one that is the best by then.
fn polish(state: &State, gap: f64, settings: &Settings, control: &dyn Control) {
    let mut own = Settings { gap, ..settings.clone() };
    while control.remaining_seconds() > TOO_LATE && !control.exhausted() && !state.done(gap) {
        own.seed = own.seed.wrapping_add(1);
        let bound = state.best(|best| best.bound);
        let slice = Slice::of(control, 0.25);
        state.offer(improve::improve(state.problem, state.solution(), bound, &own, &slice), "polish");
    }
}

/// The duals that column generation starts from. Few units end in a list of patterns, which duals of rules that come from
/// fractions of nodes make longer: there the rules start from nothing.
fn first_duals(problem: &Problem, found: &fluid::Fluid) -> Vec<f64> {
    let mut duals = found.duals.clone();
    if units(problem) <= FEW {
        duals[problem.shapes.len()..].fill(0.0);
    }
    duals
}

/// A bound (dollars an hour, penalties included) that proves that no sensible solution leaves fewer units unplaced than a
/// given one does; infinite where penalties don't tell. The sums of penalties are multiples of the least one.
fn none_fewer(problem: &Problem, solution: &Solution) -> f64 {
    let penalties = penalties(problem);
    let sum: f64 = penalties.iter().zip(&solution.unplaced).map(|(penalty, &units)| penalty * f64::from(units)).sum();
    let half = least_penalty(problem) / 2.0;
    if dollars(problem.cost(solution)) * 2.0 <= half { sum - half } else { f64::INFINITY }
}

/// Whether one unit of a shape fits some node alone.
fn placeable(problem: &Problem, shape: usize) -> bool {
    (0..problem.bins.len()).any(|bin| {
        problem.bins[bin].admits.contains(shape)
            && problem.bins[bin].max_count != Some(0)
            && problem.demand.row(shape).iter().zip(problem.capacity.row(bin)).all(|(take, room)| take <= room)
    })
}

/// Bound, columns and integer phases for a problem. With a `gap` the first solution places every unit and the bound
/// counts; without, units may stay unplaced and only the solution does.
pub(super) fn search<'a>(
    problem: &'a Problem,
    first: &Solution,
    known: &Known,
    gap: Option<f64>,
    settings: &Settings,
    stages: &mut Stages,
    control: &'a dyn Control,
) -> Result<State<'a>, HighsError> {
    let state = State::new(problem, first.clone(), control);
    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let rounds = settings.iterations.unwrap_or(u64::MAX);
    let cost = state.cost();
    // Where units are missing a dearer solution may be the better one.
    let ceiling = if gap.is_some() { cost } else { i64::MAX };
    let usable = bound::usable(problem, ceiling);
    if gap.is_some() {
        state.offer_bound(0);
    }
    let grace = Slice::at_least(control, if gap.is_some() { GRACE } else { 0.0 });
    let prices = match bound::resource_prices(problem, &demand, &usable, &grace) {
        Ok(found) => {
            if gap.is_some() {
                state.offer_bound(bound::rounded(problem, found.bound));
            }
            found.prices.iter().map(|price| price * 1e9).collect::<Vec<f64>>()
        }
        Err(HighsError::Stopped) => return Ok(state),
        Err(error) => return Err(error),
    };
    stages.end("bound");
    if gap.is_some_and(|gap| state.done(gap)) || control.exhausted() {
        return Ok(state);
    }
    let fluid = match fluid::relax(problem, &demand, &usable, gap.is_some(), &Slice::of(control, 0.2)) {
        Ok(found) => Some(found),
        Err(HighsError::Stopped) => None,
        // Where units may stay unplaced there need be no way to place them all.
        Err(_) if gap.is_none() => None,
        Err(error) => return Err(error),
    };
    let mut filled = Vec::new();
    if let Some(found) = &fluid {
        if gap.is_some() {
            state.offer_bound(bound::rounded(problem, found.bound));
        }
        if gap.is_some() && units(problem) > CROWD && found.holds(&demand) {
            fluid::realise(&state, &demand, found, &prices, settings, &Slice::of(control, REALISED))?;
            stages.end("realise");
        }
        if problem.shapes.len() > MANY || units(problem) > CROWD {
            filled = fill_by_worth(&state, found, &prices, settings, &Slice::of(control, 0.4));
        }
    }
    stages.end("fluid");
    if gap.is_some() && cover::holds(problem) {
        let share = if units(problem) > FEW { EARLY } else { EARLY_OF_FEW };
        let (bound, slice) = (state.best(|best| best.bound), Slice::of(control, share));
        state.offer(improve::improve(problem, state.solution(), bound, settings, &slice), "improve");
        stages.end("early");
    }
    let mut columns = Columns::new(problem, &demand, first)?;
    columns.add(state.solution().nodes.into_iter().map(|(pattern, _)| pattern))?;
    columns.add(filled)?;
    columns.add(known.patterns.iter().filter(|pattern| usable[pattern.bin as usize]).cloned())?;
    let mut pricing = Pricing::new(&columns.master, &demand, &usable);
    let limits = ColumnLimits {
        rounds,
        tail: 0.05,
        work: 100_000,
        incumbent: ceiling,
        gap: gap.unwrap_or(0.0),
        enough: if gap.is_some() { f64::INFINITY } else { none_fewer(problem, &state.solution()) },
        // Who of many waits is a question of whole penalties; few are settled by a list of patterns, which needs good duals.
        near: if gap.is_none() && units(problem) > FEW { least_penalty(problem) / 4.0 } else { f64::NEG_INFINITY },
        center: fluid.as_ref().map(|found| known.center(first_duals(problem, found))),
    };
    // The bound of a few columns is enough to begin with mixes on another thread.
    let share = if gap.is_some() { 0.05 } else { 0.5 };
    columns.generate(&mut pricing, &limits, &Slice::of(control, share))?;
    if gap.is_some() {
        state.offer_bound(bound::rounded(problem, columns.bound));
    }
    state.learn(&columns);
    stages.end("columns");
    if columns.bound >= limits.enough {
        return Ok(state);
    }
    if gap.is_some_and(|gap| state.done(gap)) || control.exhausted() || columns.solution.duals.is_empty() {
        return Ok(state);
    }
    if let Some(gap) = gap {
        enumerate::close(&state, &columns, &pricing, settings, &Slice::of(control, 0.02))?;
        if state.done(gap) {
            return Ok(state);
        }
        let proof = |columns: &Columns, control: &dyn Control| -> Result<(), HighsError> {
            let pricing = Pricing::new(&columns.master, &demand, &usable);
            mix::close(&state, columns, &pricing, &prices, gap, settings, control)
        };
        let end =
            End { state: &state, columns: &mut columns, pricing: &mut pricing, limits, prices: &prices, settings };
        if settings.threads > 1 && settings.iterations.is_none() {
            let known = end.columns.fork(&demand, first)?;
            let control = Until { inner: control, done: &|| state.done(gap) };
            let (proven, found) = rayon::join(
                || {
                    proof(&known, &control)?;
                    polish(&state, gap, settings, &control);
                    Ok(())
                },
                || {
                    let alone = Settings { threads: 1, ..settings.clone() };
                    blocks::better(&state, gap, &alone, &Slice::of(&control, BLOCKS))?;
                    stages.end("blocks");
                    end.run(gap, stages, &control)
                },
            );
            proven.and(found)?;
        } else {
            blocks::better(&state, gap, settings, &Slice::of(control, 0.5))?;
            stages.end("blocks");
            if state.done(gap) {
                return Ok(state);
            }
            proof(end.columns, &Slice::of(control, 0.7))?;
            stages.end("mix");
            end.run(gap, stages, control)?;
        }
        stages.end("mix");
        return Ok(state);
    }
    // Counted rounds must give the same answer always, so nothing is cut short then.
    let proven = if settings.iterations.is_some() { f64::NEG_INFINITY } else { columns.bound };
    let enough = || proven >= none_fewer(problem, &state.solution());
    let control = &Until { inner: control, done: &enough };
    if !enumerate::settle(&state, &columns, &pricing, settings, &Slice::of(control, 0.4))? {
        integer_phase(&state, &mut columns, Some(&prices), gap, settings, control)?;
    }
    stages.end("integer");
    Ok(state)
}

/// What is done for a better incumbent once the relaxation of patterns is solved.
struct End<'s, 'a> {
    state: &'s State<'a>,
    columns: &'s mut Columns<'a>,
    pricing: &'s mut Pricing<'a>,
    limits: ColumnLimits,
    prices: &'s [f64],
    settings: &'s Settings,
}

impl End<'_, '_> {
    fn run(self, gap: f64, stages: &mut Stages, control: &dyn Control) -> Result<(), HighsError> {
        let End { state, columns, pricing, limits, prices, settings } = self;
        let problem = state.problem;
        if state.done(gap) {
            return Ok(());
        }
        columns.generate(pricing, &limits, &Slice::of(control, 0.45))?;
        state.offer_bound(bound::rounded(problem, columns.bound));
        state.learn(columns);
        stages.end("more columns");
        // The better the duals the fewer patterns are to be listed.
        columns.generate(pricing, &ColumnLimits { tail: 0.0, ..limits }, &Slice::of(control, 0.15))?;
        state.offer_bound(bound::rounded(problem, columns.bound));
        // A better incumbent first: the patterns to be listed are fewer the nearer it is to the bound.
        let short = Slice::of(control, 0.06);
        let rounds = settings.iterations.unwrap_or(u64::MAX);
        if let Ok((partial, _)) = dive::dive(problem, columns, &state.solution(), state.cost(), rounds, &short) {
            state.offer(complete::complete(problem, &partial, Some(prices), &short), "dive");
        }
        let known = state.best(|best| best.bound);
        if cover::holds(problem) && !state.done(gap) {
            state.offer(improve::improve(problem, state.solution(), known, settings, &short), "improve");
        }
        stages.end("first dive");
        if state.done(gap) {
            return Ok(());
        }
        let slice = Slice::of(control, 0.6);
        enumerate::close(state, columns, pricing, settings, &slice)?;
        stages.end("enumerate");
        if state.done(gap) || control.exhausted() {
            return Ok(());
        }
        integer_phase(state, columns, Some(prices), Some(gap), settings, control)?;
        stages.end("integer");
        if !state.done(gap) && !control.exhausted() {
            let bound = state.best(|best| best.bound);
            let own = Settings { gap, ..settings.clone() };
            state.offer(improve::improve(problem, state.solution(), bound, &own, control), "improve");
            stages.end("improve");
        }
        Ok(())
    }
}

/// The dive and the restricted master side by side, then the restricted master over what both know.
fn integer_phase(
    state: &State,
    columns: &mut Columns,
    prices: Option<&[f64]>,
    gap: Option<f64>,
    settings: &Settings,
    control: &dyn Control,
) -> Result<(), HighsError> {
    let problem = state.problem;
    let rounds = settings.iterations.unwrap_or(u64::MAX);
    let ceiling = if gap.is_some() { state.cost() } else { i64::MAX };
    let mip =
        MipLimits { relative_gap: gap.unwrap_or(0.0).max(1e-7) / 2.0, absolute_gap: 1e-9, nodes: settings.iterations };
    let slice = Slice::of(control, 0.3);
    let incumbent = state.solution();
    let patterns = integer::chosen_patterns(columns, &incumbent, 1500);
    let shared: &Columns = columns;
    let (dived, solved) = rayon::join(
        || dive::dive(problem, shared, &incumbent, ceiling, rounds, &slice),
        || integer::restricted_master(problem, shared, &patterns, Some(&incumbent), &mip, &slice),
    );
    match solved {
        Ok((Some(solution), _)) => state.offer(solution, "integer"),
        Ok((None, _)) | Err(HighsError::Stopped) => {}
        Err(error) => state.note(format!("the restricted master: {error}")),
    }
    match dived {
        Ok((partial, patterns)) => {
            state.offer(complete::complete(problem, &partial, prices, control), "dive");
            columns.add(patterns)?;
        }
        Err(HighsError::Stopped) => {}
        Err(error) => state.note(format!("the dive: {error}")),
    }
    if gap.is_some_and(|gap| state.done(gap)) || control.exhausted() {
        return Ok(());
    }
    let incumbent = state.solution();
    let patterns = integer::chosen_patterns(columns, &incumbent, 2500);
    let slice = Slice::of(control, 0.7);
    match integer::restricted_master(problem, columns, &patterns, Some(&incumbent), &mip, &slice) {
        Ok((Some(solution), _)) => state.offer(solution, "integer"),
        Ok((None, _)) | Err(HighsError::Stopped) => {}
        Err(error) => state.note(format!("the restricted master: {error}")),
    }
    Ok(())
}
