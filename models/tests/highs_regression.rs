//! HiGHS 1.16.0 told a wrong optimum for this restricted master when a first solution was given under default presolve.
//! Whatever the version: the objective that we take must be what the solution costs.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use supercargo_models::solver::Control;
use supercargo_models::solver::highs::MipLimits;
use supercargo_models::solver::model::LinearModel;
use supercargo_models::solver::run_model;

struct Patient;

impl Control for Patient {
    fn remaining_seconds(&self) -> f64 {
        60.0
    }
}

/// Reads the sections that the fixture has: rows of kind G, whole columns, right-hand sides and bounds.
fn read(text: &str) -> LinearModel {
    let mut model = LinearModel::default();
    let mut rows = std::collections::BTreeMap::new();
    let mut columns = std::collections::BTreeMap::new();
    let mut section = "";
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if !line.starts_with(' ') {
            section = words.first().copied().unwrap_or("");
            continue;
        }
        match (section, words.as_slice()) {
            ("ROWS", ["G", name]) => {
                let row = model.row((*name).to_owned(), (0.0, f64::INFINITY), Vec::new());
                rows.insert((*name).to_owned(), row);
            }
            ("COLUMNS", [_, "'MARKER'", _]) => {}
            ("COLUMNS", [name, pairs @ ..]) => {
                let column = *columns
                    .entry((*name).to_owned())
                    .or_insert_with(|| model.column((*name).to_owned(), 0.0, (0.0, f64::INFINITY), true));
                for pair in pairs.chunks(2) {
                    let value: f64 = pair[1].parse().unwrap();
                    if pair[0] == "Obj" {
                        model.columns[column].cost = value;
                    } else {
                        model.rows[rows[pair[0]]].terms.push((column, value));
                    }
                }
            }
            ("RHS", [_, pairs @ ..]) => {
                for pair in pairs.chunks(2) {
                    model.rows[rows[pair[0]]].lower = pair[1].parse().unwrap();
                }
            }
            ("BOUNDS", ["UP", _, name, value]) => model.columns[columns[*name]].upper = value.parse().unwrap(),
            ("BOUNDS", ["PL" | "LI", ..]) | ("ROWS", ["N", _]) => {}
            (section, words) => panic!("{section}: {words:?} is not expected"),
        }
    }
    model
}

#[test]
fn the_objective_is_what_the_solution_costs() {
    let folder = Path::new("../fixtures/regressions/highs-mip-start");
    let model = read(&std::fs::read_to_string(folder.join("restricted-master.mps")).unwrap());
    let start: Vec<f64> =
        serde_json::from_str(&std::fs::read_to_string(folder.join("mip-start.json")).unwrap()).unwrap();
    assert_eq!(start.len(), model.columns.len());
    assert!(model.infeasibility(&start) < 1e-9, "the first solution covers every row");

    let limits = MipLimits { relative_gap: 1e-3, absolute_gap: 1e-9, nodes: Some(2000) };
    let with = run_model(&model, Some(&start), &limits, &Patient).unwrap();
    let values = with.values.expect("a first solution was given, so there is one");
    assert!(model.infeasibility(&values) < 1e-6);
    let cost = model.objective(&values);
    assert!((cost - with.objective).abs() <= 1e-6 * cost, "HiGHS says {}, the solution costs {cost}", with.objective);
    assert!(cost <= model.objective(&start) + 1e-9, "never dearer than the first solution");
    assert!(with.dual_bound <= cost + 1e-6);
}
