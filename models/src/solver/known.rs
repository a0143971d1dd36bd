//! What one solve learns for the next: the next problem is mostly nearly the last one.
//!
//! Patterns and prices are remembered under names that outlive a problem: a bin by its name, a shape by its name and what
//! a unit of it takes. They only steer: a pattern that breaks a rule of the new problem is left out, and a bound is proven
//! under whatever prices it begins with.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use super::columns::Columns;
use super::{Control, Method, Outcome, Settings, solve};
use crate::problem::{Pattern, Problem, fits};

/// The most patterns, and the most prices, that are remembered; the oldest are forgotten.
const MOST: usize = 4_000;

/// Patterns and prices in the numbers of one problem.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Patterns that may be worth buying.
    pub patterns: Vec<Pattern>,
    /// By shape: about what a unit is worth in dollars an hour, where that is known.
    pub values: Vec<Option<f64>>,
}

impl Known {
    /// What the relaxation of patterns buys, and its prices.
    pub(super) fn of(columns: &Columns) -> Self {
        let bought = columns.solution.columns.iter().skip(columns.first_pattern());
        let bought = columns.patterns.iter().zip(bought).filter(|(_, copies)| **copies > 1e-9);
        let shapes = columns.master.problem.shapes.len();
        Known {
            patterns: bought.map(|(pattern, _)| pattern.clone()).collect(),
            values: columns.duals.iter().take(shapes).map(|value| Some(*value)).collect(),
        }
    }

    /// Duals to begin from: those given, with the price of each shape of which one is known.
    pub(super) fn center(&self, mut duals: Vec<f64>) -> Vec<f64> {
        for (dual, value) in duals.iter_mut().zip(&self.values) {
            *dual = value.unwrap_or(*dual);
        }
        duals
    }
}

/// A shape from problem to problem: its name, what a unit takes, and the pods of a unit.
type Key = (String, Vec<i64>, u32);

/// What solves have learnt so far.
#[derive(Debug, Default)]
pub struct Memory {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// How many solves taught something.
    solves: u64,
    /// The solve that bought a pattern last, by the name of its bin and its units.
    patterns: BTreeMap<(String, Vec<(Key, u32)>), u64>,
    /// What a unit was worth, and to which solve.
    values: BTreeMap<Key, (f64, u64)>,
}

impl Memory {
    /// [`solve`], beginning with what earlier solves have learnt, and learning for later ones. The greedy does neither.
    pub fn solve(&self, problem: &Problem, settings: &Settings, control: &dyn Control) -> Outcome {
        if settings.method == Method::Greedy {
            return solve(problem, settings, control);
        }
        let known = self.inner.lock().unwrap_or_else(PoisonError::into_inner).recall(problem);
        let outcome = solve(problem, &Settings { known, ..settings.clone() }, control);
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).learn(problem, &outcome.known);
        outcome
    }
}

impl Inner {
    /// What is known of a problem.
    fn recall(&self, problem: &Problem) -> Known {
        let mut shapes: HashMap<Key, Vec<usize>> = HashMap::new();
        for shape in 0..problem.shapes.len() {
            shapes.entry(key(problem, shape)).or_default().push(shape);
        }
        let bins: HashMap<&str, usize> =
            problem.bins.iter().enumerate().map(|(bin, row)| (row.name.as_str(), bin)).collect();
        let pattern = |(bin, units): &(String, Vec<(Key, u32)>)| {
            let bin = *bins.get(bin.as_str())?;
            let mut counts: Vec<(u32, u32)> = Vec::with_capacity(units.len());
            for (key, units) in units {
                let mut alike = shapes.get(key).into_iter().flatten();
                let Some(&shape) = alike.find(|shape| problem.bins[bin].admits.contains(**shape)) else { continue };
                counts.push((shape as u32, *units.min(&problem.shapes[shape].count)));
            }
            counts.retain(|(_, units)| *units > 0);
            counts.sort_unstable();
            counts.dedup_by_key(|(shape, _)| *shape);
            let pattern = Pattern { bin: bin as u32, counts };
            (!pattern.counts.is_empty() && fits(problem, &pattern).is_ok()).then_some(pattern)
        };
        let mut values = vec![None; problem.shapes.len()];
        for (key, shapes) in &shapes {
            let value = self.values.get(key).map(|(value, _)| *value);
            shapes.iter().for_each(|shape| values[*shape] = value);
        }
        Known { patterns: self.patterns.keys().filter_map(pattern).collect(), values }
    }

    fn learn(&mut self, problem: &Problem, known: &Known) {
        if known.patterns.is_empty() {
            return;
        }
        self.solves += 1;
        for pattern in &known.patterns {
            let units = pattern.counts.iter().map(|(shape, units)| (key(problem, *shape as usize), *units));
            let bin = problem.bins[pattern.bin as usize].name.clone();
            self.patterns.insert((bin, units.collect()), self.solves);
        }
        for (shape, value) in known.values.iter().enumerate().filter_map(|(shape, value)| Some((shape, (*value)?))) {
            self.values.insert(key(problem, shape), (value, self.solves));
        }
        forget(&mut self.patterns, |solve| *solve);
        forget(&mut self.values, |(_, solve)| *solve);
    }
}

fn key(problem: &Problem, shape: usize) -> Key {
    let row = &problem.shapes[shape];
    (row.name.clone(), problem.demand.row(shape).to_vec(), row.unit.pods)
}

/// Keeps the newest entries.
fn forget<K: Ord, V>(entries: &mut BTreeMap<K, V>, solve: impl Fn(&V) -> u64) {
    if entries.len() <= MOST {
        return;
    }
    let mut solves: Vec<u64> = entries.values().map(&solve).collect();
    solves.sort_unstable_by(|one, other| other.cmp(one));
    let oldest = solves[MOST];
    entries.retain(|_, entry| solve(entry) > oldest);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ndarray::Array2;

    use super::*;
    use crate::problem::{Bin, BinSource, Shape};
    use crate::solver::columns::{ColumnLimits, Pricing};
    use crate::solver::greedy::greedy;
    use crate::solver::test_problems::{Patient, page};

    /// The relaxation of patterns, begun with what is known.
    fn columns<'p>(problem: &'p Problem, known: &Known) -> Columns<'p> {
        let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
        let first = greedy(problem, None, 1, &Patient);
        let mut columns = Columns::new(problem, &demand, &first).unwrap();
        columns.add(known.patterns.iter().cloned()).unwrap();
        let mut pricing = Pricing::new(&columns.master, &demand, &vec![true; problem.bins.len()]);
        let center = known.center(vec![0.0; columns.master.rows.len()]);
        let center = known.values.iter().any(Option::is_some).then_some(center);
        let limits = ColumnLimits { rounds: 200, center, ..ColumnLimits::default() };
        columns.generate(&mut pricing, &limits, &Patient).unwrap();
        columns
    }

    /// Twelve shapes of which a node holds a few, and nodes of four sizes.
    fn some(seed: u64) -> Problem {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut problem = page();
        let shape = |index: usize| Shape { name: format!("shape {index}"), count: 12, ..problem.shapes[0].clone() };
        problem.shapes = (0..12).map(shape).collect();
        problem.demand = Array2::from_shape_fn((12, 2), |_| random.i64(7..=45));
        problem.capacity = Array2::from_shape_fn((4, 2), |(bin, _)| 50 * (bin as i64 + 1));
        let every = (0..12).collect();
        let bin = Bin { admits: every, ..problem.bins[0].clone() };
        let priced = |index: usize| (index as i64 + 1) * 100_000_000 - index as i64 * 3_000_000;
        problem.bins = (0..4)
            .map(|index| Bin {
                name: format!("bin {index}"),
                source: BinSource::Offering(index),
                price: priced(index),
                ..bin.clone()
            })
            .collect();
        problem
    }

    /// The problem with other counts, its shapes and bins in another order, and a bin and a shape less.
    fn next(problem: &Problem) -> Problem {
        let mut next = problem.clone();
        next.shapes.reverse();
        next.shapes.pop();
        next.shapes.iter_mut().enumerate().for_each(|(index, shape)| shape.count += index as u32 % 3);
        next.demand.invert_axis(ndarray::Axis(0));
        next.demand = next.demand.slice(ndarray::s![..11, ..]).to_owned();
        next.bins.reverse();
        next.bins.pop();
        next.bins.iter_mut().for_each(|bin| bin.admits = (0..11).collect());
        next.capacity.invert_axis(ndarray::Axis(0));
        next.capacity = next.capacity.slice(ndarray::s![..3, ..]).to_owned();
        next
    }

    #[test]
    fn what_was_learnt_saves_rounds_of_the_next_solve_and_changes_no_bound() {
        let (mut anew, mut again) = (0, 0);
        for seed in 0..6 {
            let (first, second) = (some(seed), next(&some(seed)));
            let mut memory = Inner::default();
            memory.learn(&first, &Known::of(&columns(&first, &Known::default())));
            let without = columns(&second, &Known::default());
            let with = columns(&second, &memory.recall(&second));
            anew += without.rounds;
            again += with.rounds;
            assert!((with.bound - without.bound).abs() <= 1e-4 * without.bound, "seed {seed}");
        }
        assert!(again * 3 < anew * 2, "{again} rounds with a memory, {anew} without");
    }

    #[test]
    fn what_no_longer_fits_is_not_recalled() {
        let problem = some(1);
        let pattern = |units| Pattern { bin: 1, counts: vec![(0, units), (1, 1)] };
        let mut inner = Inner::default();
        inner.learn(&problem, &Known { patterns: vec![pattern(1)], values: vec![Some(0.5); 12] });
        assert_eq!(inner.recall(&problem).patterns, [pattern(1)]);
        let mut fewer = problem.clone();
        fewer.shapes[0].count = 0;
        assert_eq!(inner.recall(&fewer).patterns, [Pattern { bin: 1, counts: vec![(1, 1)] }]);
        let mut smaller = problem.clone();
        smaller.capacity[[1, 0]] = 10;
        assert!(inner.recall(&smaller).patterns.is_empty());
        let mut bigger = problem.clone();
        bigger.demand[[0, 0]] += 1;
        let known = inner.recall(&bigger);
        assert_eq!((known.values[0], known.values[1]), (None, Some(0.5)));
    }

    #[test]
    fn the_greedy_teaches_nothing() {
        let problem = some(1);
        let memory = Memory::default();
        let known = Known { patterns: vec![Pattern { bin: 1, counts: vec![(0, 1)] }], values: vec![Some(0.5); 12] };
        memory.inner.lock().unwrap().learn(&problem, &known);
        let settings = Settings { method: Method::Greedy, ..Settings::default() };
        memory.solve(&problem, &settings, &Patient);
        assert!(solve(&problem, &Settings { known, ..settings }, &Patient).known.patterns.is_empty());
        assert_eq!(memory.inner.lock().unwrap().solves, 1);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let problem = some(1);
        let mut inner = Inner::default();
        for units in 0..MOST as u32 + 10 {
            let pattern = Pattern { bin: 1, counts: vec![(0, units + 1)] };
            inner.learn(&problem, &Known { patterns: vec![pattern], values: Vec::new() });
        }
        assert_eq!(inner.patterns.len(), MOST);
        let units: Vec<u32> = inner.patterns.keys().map(|(_, units)| units[0].1).collect();
        assert_eq!(units.into_iter().min(), Some(11));
    }
}
