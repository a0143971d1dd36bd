//! Replays a saved problem: `solve_problem FILE [SECONDS] [GAP] [ITERATIONS]`.
//!
//! Prints one line: name, shapes, units, cost, bound, gap, the greedy's cost, status, and seconds by stage.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use supercargo_models::problem::Problem;
use supercargo_models::solver::{Control, Settings, solve};

struct Clock {
    start: Instant,
    budget: f64,
}

impl Control for Clock {
    fn remaining_seconds(&self) -> f64 {
        self.budget - self.start.elapsed().as_secs_f64()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, rest @ ..] = arguments.as_slice() else {
        return Err("usage: solve_problem FILE [SECONDS] [GAP] [ITERATIONS]".into());
    };
    let number = |index: usize, default: f64| rest.get(index).map_or(Ok(default), |text| text.parse::<f64>());
    let problem: Problem = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let control = Clock { start: Instant::now(), budget: number(0, 5.0)? };
    let iterations = rest.get(2).map(|text| text.parse::<u64>()).transpose()?;
    let settings = Settings { gap: number(1, 0.0)?, iterations, ..Settings::default() };
    let outcome = solve(&problem, &settings, &control);
    let seconds = control.start.elapsed().as_secs_f64();
    let cost = problem.cost(&outcome.solution);
    let violations = problem.violations(&outcome.solution);
    if !violations.is_empty() {
        return Err(format!("{path}: {} violations, the first: {}", violations.len(), violations[0]).into());
    }
    let bound = outcome.lower_bound.map_or(f64::NAN, |bound| bound as f64 * 1e-9);
    let units: u64 = problem.shapes.iter().map(|shape| u64::from(shape.count)).sum();
    let unplaced: u32 = outcome.solution.unplaced.iter().sum();
    let stages: Vec<String> = outcome.stages.iter().map(|(stage, seconds)| format!("{stage} {seconds:.3}")).collect();
    println!(
        "{:28} {:5} shapes {:6} units {:3} unplaced  cost {:11.4}  bound {:11.4}  gap {:7.4} %  greedy {:11.4}  {:?}  {:.2} s ({}) {}",
        Path::new(path).file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned()),
        problem.shapes.len(),
        units,
        unplaced,
        cost as f64 * 1e-9,
        bound,
        (1.0 - bound / (cost as f64 * 1e-9)) * 100.0,
        outcome.greedy_cost as f64 * 1e-9,
        outcome.status,
        seconds,
        stages.join(", "),
        outcome.notes.join("; "),
    );
    Ok(())
}
