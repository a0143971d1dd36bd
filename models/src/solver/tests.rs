//! The solver against trying everything, against a second solver, and without HiGHS.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::columns::Pricing;
use super::columns::master::Master;
use super::columns::pricing::Knapsack;
use super::highs::HighsError;
use super::model::LinearModel;
use super::run::solve_by;
use super::test_problems::{optimum, page, random, zones};
use super::{Control, Method, Settings, Status, export_nodes as export, solve};
use super::{fluid, mix};
use crate::problem::{NodeBudget, Problem};

struct Patient;

impl Control for Patient {
    fn remaining_seconds(&self) -> f64 {
        20.0
    }
}

/// A clock that strikes after some looks at it.
struct Impatient {
    looks: AtomicU64,
    most: u64,
}

impl Control for Impatient {
    fn remaining_seconds(&self) -> f64 {
        if self.looks.fetch_add(1, Ordering::Relaxed) < self.most { 1.0 } else { 0.0 }
    }
}

fn settings() -> Settings {
    Settings { iterations: Some(200), ..Settings::default() }
}

fn agrees(problem: &Problem, name: &str) {
    let outcome = solve(problem, &settings(), &Patient);
    let best = optimum(problem);
    assert!(problem.violations(&outcome.solution).is_empty(), "{name}: {:?}", problem.violations(&outcome.solution));
    let missing = |units: &[u32]| units.iter().sum::<u32>();
    assert!(missing(&outcome.solution.unplaced) >= missing(&best.unplaced), "{name}: fewer left than possible");
    let cost = problem.cost(&outcome.solution);
    let bound = outcome.lower_bound.unwrap_or_else(|| panic!("{name}: no bound: {:?}", outcome.notes));
    assert!(bound <= cost, "{name}: bound {bound} above {cost}");
    if outcome.solution.unplaced == best.unplaced {
        let least = problem.cost(&best);
        assert!(bound <= least, "{name}: bound {bound} above the optimum {least}");
        assert!(cost >= least, "{name}: {cost} is below the optimum {least}");
        if outcome.status == Status::Optimal {
            assert_eq!(cost, least, "{name}: called optimal");
        }
    }
}

#[test]
fn never_contradicts_trying_everything() {
    for rules in [0, 1, 2, 4, 8, 16, 32, 64, 128, 256] {
        for seed in 0..12 {
            agrees(&random(seed, rules), &format!("rules {rules}, seed {seed}"));
        }
    }
    for seed in 0..60 {
        let rules = (seed as u32).wrapping_mul(2_654_435_761) >> 23;
        agrees(&random(1000 + seed, rules), &format!("rules {rules}, seed {}", 1000 + seed));
    }
}

#[test]
fn proves_small_plans_optimal() {
    let proven =
        (0..40).filter(|&seed| solve(&random(seed, 0), &settings(), &Patient).status == Status::Optimal).count();
    assert_eq!(proven, 40);
}

/// Each rule alone, and rules across nodes together: spread, caps, exclusion and company by domain, limits, copies.
#[test]
fn a_second_solver_finds_the_same_optimum() {
    let (mut all, mut reached) = (0, 0);
    for rules in [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 8 + 256, 8 + 16 + 64, 32 + 256, 8 + 128 + 256, 16 + 64 + 128] {
        let mut compared = 0;
        for seed in 0..8 {
            let problem = random(seed, rules);
            let best = optimum(&problem);
            if best.unplaced.iter().any(|units| *units > 0) {
                continue;
            }
            let name = format!("rules {rules}, seed {seed}");
            let model = export(&problem);
            if rules & (8 + 16 + 32 + 128 + 256) != 0 {
                assert!(model.rows.len() > problem.shapes.len(), "{name}: a rule across nodes has a row of its own");
            }
            let by_microlp = model.solve_with(good_lp::microlp).unwrap();
            let by_highs = model.solve_with(good_lp::highs).unwrap();
            assert!(model.infeasibility(&by_microlp) < 1e-6, "{name}");
            let (found, again) = (model.objective(&by_microlp), model.objective(&by_highs));
            assert!((found - again).abs() < 1e-6, "{name}: microlp {found}, HiGHS {again}");
            let cost = problem.cost(&best) as f64 * 1e-9;
            assert!(found > cost - 1e-6, "{name}: microlp {found}, trying everything {cost}");
            compared += 1;
            // The program has the patterns that its relaxation wants; now and then the best plan needs another one.
            reached += usize::from((found - cost).abs() < 1e-6);
        }
        assert!(compared >= 2, "rules {rules}: only {compared} problems could be compared");
        all += compared;
    }
    assert!(reached * 10 >= all * 9, "{reached} of {all} programs hold the best plan");
}

#[test]
fn stopped_at_any_moment_the_answer_is_valid() {
    let problem = random(7, 8);
    let least = problem.cost(&optimum(&problem));
    for most in [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89] {
        let clock = Impatient { looks: AtomicU64::new(0), most };
        let outcome = solve(&problem, &Settings::default(), &clock);
        assert!(problem.violations(&outcome.solution).is_empty());
        if outcome.solution.unplaced.iter().all(|units| *units == 0) {
            assert!(outcome.lower_bound.unwrap_or(0) <= least);
        }
        assert!(problem.cost(&outcome.solution) <= outcome.greedy_cost);
    }
}

#[test]
fn the_same_answer_for_the_same_seed_and_iterations() {
    for seed in 0..5 {
        let problem = random(seed, 9);
        let (one, other) = (solve(&problem, &settings(), &Patient), solve(&problem, &settings(), &Patient));
        assert_eq!(one.solution, other.solution);
        assert_eq!(one.lower_bound, other.lower_bound);
    }
}

#[test]
fn greedy_alone_has_no_bound() {
    let outcome = solve(&random(1, 0), &Settings { method: Method::Greedy, ..settings() }, &Patient);
    assert_eq!(outcome.status, Status::Greedy);
    assert_eq!(outcome.lower_bound, None);
}

#[test]
fn begins_with_what_is_known_where_it_is_better() {
    let mut dearer = 0;
    for seed in 0..40 {
        let problem = random(seed, 9);
        let best = optimum(&problem);
        let greedy = Settings { method: Method::Greedy, ..settings() };
        let outcome = solve(&problem, &Settings { start: Some(best.clone()), ..greedy.clone() }, &Patient);
        assert!(problem.violations(&outcome.solution).is_empty());
        if outcome.solution.unplaced == best.unplaced {
            assert_eq!(problem.cost(&outcome.solution), problem.cost(&best), "seed {seed}");
        }
        dearer += usize::from(outcome.greedy_cost > problem.cost(&best));
        // A part of it is completed; nonsense is left aside.
        let half = best.nodes.iter().map(|(pattern, _)| (pattern.clone(), 1)).take(1).collect();
        let start = Some(crate::problem::Solution { nodes: half, unplaced: Vec::new() });
        let outcome = solve(&problem, &Settings { start, ..greedy.clone() }, &Patient);
        assert!(problem.violations(&outcome.solution).is_empty());
        let mut broken = best;
        broken.nodes.iter_mut().for_each(|(_, copies)| *copies += 1000);
        let outcome = solve(&problem, &Settings { start: Some(broken), ..greedy }, &Patient);
        assert!(problem.violations(&outcome.solution).is_empty());
        assert!(problem.cost(&outcome.solution) <= outcome.greedy_cost);
    }
    assert!(dearer > 0, "the greedy finds every optimum: the start proves nothing");
}

#[test]
fn there_is_a_bound_even_where_the_time_is_up_before_it_is_looked_for() {
    let mut seen = 0;
    for seed in 0..20 {
        let problem = random(seed, 0);
        let clock = Impatient { looks: AtomicU64::new(0), most: 0 };
        let outcome = solve(&problem, &Settings::default(), &clock);
        let least = problem.cost(&optimum(&problem));
        if outcome.solution.unplaced.iter().all(|units| *units == 0) && least > 0 {
            let bound = outcome.lower_bound.unwrap_or(0);
            assert!(bound <= least, "seed {seed}: {bound} {least}");
            // Where all would fit on what is there but for the rules, the resources alone cost nothing.
            seen += u32::from(bound > 0);
        }
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn where_highs_fails_the_greedy_stands_and_says_why() {
    let problem = random(3, 0);
    let fails = solve_by(&problem, &settings(), &Patient, |_, _, _, _, _| Err(HighsError::Status(4)));
    assert_eq!(fails.status, Status::Greedy);
    assert_eq!(problem.cost(&fails.solution), fails.greedy_cost);
    assert!(fails.notes.iter().any(|note| note.contains("model status 4")), "{:?}", fails.notes);

    let panics = solve_by(&problem, &settings(), &Patient, |_, _, _, _, _| panic!("as a test asks for"));
    assert_eq!(panics.status, Status::Greedy);
    assert!(panics.lower_bound.is_none() && !panics.notes.is_empty());
}

#[test]
fn a_solution_below_the_bound_is_refused() {
    let problem = random(3, 0);
    let best = optimum(&problem);
    let cost = problem.cost(&best);
    let outcome = solve_by(&problem, &settings(), &Patient, |problem, state, _, _, _| {
        state.offer_bound(i64::MAX);
        state.offer(optimum(problem), "test");
        Ok(())
    });
    // The bound came down to the incumbent's cost, and nothing cheaper was believed after that.
    assert_eq!(problem.cost(&outcome.solution), outcome.greedy_cost);
    assert!(outcome.greedy_cost == cost || !outcome.notes.is_empty());
}

/// Compares a program with the instance beside its page (written anew where `SUPERCARGO_BLESS` is set), and tells its
/// optimum by two solvers that must agree.
fn instance(name: &str, model: &LinearModel) -> f64 {
    let path = Path::new("formulations").join(name);
    if std::env::var_os("SUPERCARGO_BLESS").is_some() {
        std::fs::write(&path, model.to_lp()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), model.to_lp(), "{name}");
    let by_microlp = model.solve_with(good_lp::microlp).unwrap();
    let by_highs = model.solve_with(good_lp::highs).unwrap();
    assert!(model.infeasibility(&by_microlp) < 1e-6 && model.infeasibility(&by_highs) < 1e-6);
    assert!((model.objective(&by_microlp) - model.objective(&by_highs)).abs() < 1e-6);
    model.objective(&by_highs)
}

#[test]
fn the_fluid_bound_is_below_every_optimum_and_what_is_packed_obeys_every_rule() {
    let mut packed = 0;
    for seed in 0..120 {
        let rules = (seed as u32).wrapping_mul(2_654_435_761) >> 23;
        let problem = random(seed, rules);
        let best = optimum(&problem);
        if best.unplaced.iter().any(|units| *units > 0) {
            continue;
        }
        let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
        let usable = vec![true; problem.bins.len()];
        let found = fluid::relax(&problem, &demand, &usable, true, &Patient).unwrap();
        let least = problem.cost(&best) as f64 * 1e-9;
        assert!(found.bound <= least + 1e-9, "seed {seed}, rules {rules}: {} above {least}", found.bound);
        for solution in fluid::solutions(&problem, &demand, &found, &settings(), &Patient).unwrap() {
            let wrong = problem.violations(&solution);
            assert!(wrong.is_empty(), "seed {seed}, rules {rules}: {wrong:?}");
            packed += 1;
        }
    }
    assert!(packed > 20, "only {packed} were packed");
}

#[test]
fn bins_that_limits_make_necessary_join_the_fluid_relaxation() {
    let mut problem = zones(23);
    // Two big nodes at the most: three units must stand on small ones, which cost more a unit.
    let per_node = (0..3).map(|bin| (bin, 1)).collect();
    problem.rules.node_budgets.push(NodeBudget { name: "nodes of the pool".into(), per_node, limit: 2 });
    let found = fluid::relax(&problem, &[23], &[true; 6], true, &Patient).unwrap();
    assert!((found.bound - 24.5).abs() < 1e-6, "{}", found.bound);
}

#[test]
fn the_instances_of_the_formulations() {
    let problem = page();
    let best = problem.cost(&optimum(&problem)) as f64 * 1e-9;
    assert!((best - 0.28).abs() < 1e-9, "{best}");

    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let master = Master::new(&problem, &demand);
    let pricing = Pricing::new(&master, &demand, &[true, true]);
    let duals = vec![0.0; master.rows.len()];
    let patterns = pricing.enumerate(&master, &duals, 1.0, 100, 10_000, &Patient).unwrap();
    assert!((instance("master.lp", &master.model(&patterns, true)) - best).abs() < 1e-6);
    assert!((instance("nodes.lp", &export(&problem)) - best).abs() < 1e-6);
    let relaxed = instance("fluid.lp", &fluid::model(&problem));
    let found = fluid::relax(&problem, &demand, &[true, true], true, &Patient).unwrap();
    assert!(found.bound <= relaxed + 1e-9 && relaxed <= best + 1e-9, "{} {relaxed} {best}", found.bound);
    assert!((relaxed - 0.27).abs() < 1e-6, "{relaxed}");

    let whole = instance("mix.lp", &mix::model(&problem, &[0.05, 0.065], &Patient).unwrap());
    assert!((whole - 0.28).abs() < 1e-6, "{whole}");
}

#[test]
fn whole_nodes_never_cost_more_than_the_optimum() {
    let mut compared = 0;
    for seed in 0..120 {
        let problem = random(seed, (seed % 128) as u32);
        let best = optimum(&problem);
        if best.unplaced.iter().any(|units| *units > 0) {
            continue;
        }
        let cost = problem.cost(&best) as f64 * 1e-9;
        for values in [0.02, 0.05] {
            let model = mix::model(&problem, &vec![values; problem.shapes.len()], &Patient).unwrap();
            let found = model.solve_with(good_lp::highs).unwrap();
            assert!(model.objective(&found) <= cost + 1e-6, "seed {seed}: {} {cost}", model.objective(&found));
            compared += 1;
        }
    }
    assert!(compared > 50, "{compared}");
}

#[test]
fn company_worth_less_than_nothing_is_priced_with_those_who_need_it() {
    let mut problem = page();
    let set = |shape: usize| {
        let mut set = crate::problem::ShapeSet::with_capacity(2);
        set.insert(shape);
        set
    };
    problem.rules.node_togethers.push(crate::problem::NodeTogether {
        name: "company".into(),
        members: set(0),
        anchors: set(1),
        satisfied: fixedbitset::FixedBitSet::with_capacity(2),
    });
    let knapsack = Knapsack::new(&problem, 1, &[3, 2]);
    let priced = knapsack.search(&problem, &[1.0, -0.2], 0.0, 1_000, &mut Vec::new());
    assert!(priced.upper >= 1.8, "{}", priced.upper);
    assert_eq!(priced.found.last().map(|(_, counts)| counts.clone()), Some(vec![(0, 2), (1, 1)]));
    // Those who need company are worth no more than the room beside it, which is known without a search.
    let node = problem.capacity.row(1).to_owned();
    problem.demand.row_mut(1).assign(&node);
    let knapsack = Knapsack::new(&problem, 1, &[3, 2]);
    let priced = knapsack.search(&problem, &[1.0, 0.0], 0.0, 1, &mut Vec::new());
    assert!(priced.upper < 1e-6, "{}", priced.upper);
}

#[test]
fn a_search_that_is_cut_short_tells_no_less_than_the_best_pattern_is_worth() {
    let mut random_values = fastrand::Rng::with_seed(3);
    let mut with_company = 0;
    for (seed, rules) in (0..300).zip([4, 5, 6, 7, 1, 2].into_iter().cycle()) {
        let problem = random(seed, rules);
        let limits: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
        let values: Vec<f64> = limits.iter().map(|_| random_values.f64() - 0.3).collect();
        for bin in 0..problem.bins.len() {
            let knapsack = Knapsack::new(&problem, bin, &limits);
            let worth = |counts: &[(u32, u32)]| -> f64 {
                counts.iter().map(|&(shape, units)| values[shape as usize] * f64::from(units)).sum()
            };
            let best = all_counts(&limits)
                .into_iter()
                .filter(|counts| knapsack.holds(&problem, counts))
                .map(|counts| worth(&counts))
                .fold(0.0, f64::max);
            for work in [1, 2, 3, 5, 1_000] {
                let priced = knapsack.search(&problem, &values, 0.0, work, &mut Vec::new());
                assert!(priced.upper >= best, "seed {seed}, bin {bin}: {} is below {best}", priced.upper);
                let found = priced.found.last().map_or(0.0, |(value, counts)| {
                    assert!(knapsack.holds(&problem, counts) && (worth(counts) - value).abs() < 1e-9);
                    *value
                });
                assert!(work < 1_000 || (found - best).abs() < 1e-9, "seed {seed}, bin {bin}: {found} for {best}");
                assert!(work < 1_000 || priced.upper < best + 1e-9, "seed {seed}, bin {bin}: {}", priced.upper);
            }
            with_company += usize::from(best > 0.0 && rules & 4 != 0);
        }
    }
    assert!(with_company > 100, "{with_company}");
}

/// Every number of units of each shape up to the limits, without those that are none.
fn all_counts(limits: &[u32]) -> Vec<Vec<(u32, u32)>> {
    limits.iter().enumerate().fold(vec![Vec::new()], |all, (shape, &most)| {
        let with = |counts: Vec<(u32, u32)>| {
            (0..=most).map(move |units| {
                let own = (units > 0).then_some((shape as u32, units));
                counts.iter().copied().chain(own).collect()
            })
        };
        all.into_iter().flat_map(with).collect()
    })
}

#[test]
fn a_knapsack_as_an_integer_program_is_worth_what_the_search_finds() {
    let mut compared = 0;
    for seed in 0..60 {
        let problem = random(seed, (seed % 128) as u32);
        let limits: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
        let values: Vec<f64> = (0..limits.len()).map(|shape| 0.03 + 0.011 * ((shape * 7) % 5) as f64).collect();
        for bin in 0..problem.bins.len() {
            let knapsack = Knapsack::new(&problem, bin, &limits);
            if knapsack.is_empty() || !problem.rules.flexibles.is_empty() {
                continue;
            }
            let whole = knapsack.search(&problem, &values, 0.0, 1_000_000, &mut Vec::new());
            let mut short = knapsack.search(&problem, &values, 0.0, 1, &mut Vec::new());
            let done = knapsack.settle(&problem, &values, 0.0, 1e-9, &mut short, &Patient).unwrap();
            let best = |priced: &super::columns::pricing::Priced| priced.found.last().map_or(0.0, |found| found.0);
            assert!(done && short.upper >= best(&whole) - 1e-9, "seed {seed}, bin {bin}");
            assert!((best(&short) - best(&whole)).abs() < 1e-6, "seed {seed}, bin {bin}");
            assert!(short.upper <= best(&whole) + 1e-5, "seed {seed}, bin {bin}: {}", short.upper);
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
}
