//! The greedy and the full solver side by side, through the library: how long until a plan, and what it costs.
//!
//! `cargo bench` for all, `cargo bench -- shop` for one workload. Larger workloads are planned too where
//! `make scale` has written them to `target/scale`.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use serde_json::json;
use supercargo::cluster::{ReadOptions, read};
use supercargo::control::WallClock;
use supercargo_models::catalog::Catalog;
use supercargo_models::kubernetes::{Owner, PodGroup, PodNames, Snapshot};
use supercargo_models::plan::Plan;
use supercargo_models::planner;
use supercargo_models::problem::build::{Model, Options};
use supercargo_models::solver::{Method, Settings, solve};

/// What a person waits for at most, by default.
const BUDGET: Duration = Duration::from_secs(5);
/// The full solver stops as soon as it has proven this.
const GAP: f64 = 0.01;

/// The bundled workloads, and the generated ones where they are.
fn workloads() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["fixtures/workloads", "target/scale"]
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "json"))
        .collect();
    found.sort();
    found
}

fn snapshot(path: &Path) -> anyhow::Result<Snapshot> {
    let loaded = read(&[path.display().to_string()], &ReadOptions::default());
    Ok(loaded.with_context(|| path.display().to_string())?.snapshot)
}

fn plan(snapshot: &Snapshot, catalog: &Catalog, method: Method) -> anyhow::Result<Plan> {
    let settings = Settings { method, gap: GAP, ..Settings::default() };
    let control = WallClock::start(Some(BUDGET), true);
    Ok(planner::plan(snapshot, catalog, &Options::default(), &settings, &control, &solve)?)
}

fn planning(criterion: &mut Criterion) -> anyhow::Result<()> {
    let catalog = supercargo::catalog::embedded()?;
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(10).warm_up_time(Duration::from_millis(1)).measurement_time(BUDGET);
    for path in workloads() {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let snapshot = snapshot(&path)?;
        for (label, method) in [("greedy", Method::Greedy), ("full", Method::Auto)] {
            group.bench_with_input(BenchmarkId::new(label, &name), &method, |bencher, &method| {
                let mut last = None;
                bencher.iter(|| last = plan(&snapshot, &catalog, method).ok());
                if let Some(Plan { summary, .. }) = last {
                    let gap = summary.gap.map_or("no bound".to_owned(), |gap| format!("gap {:.2} %", gap * 100.0));
                    eprintln!("  {name}, {label}: ${:.4}/h, {} nodes, {gap}", summary.hourly_cost, summary.new_nodes);
                }
            });
        }
    }
    group.finish();
    Ok(())
}

/// A pool that leaves a label open, and as many pods, each of which asks for another value of it.
fn open_labels(values: usize) -> anyhow::Result<Snapshot> {
    let names: Vec<String> = (0..values).map(|value| format!("team-{value}")).collect();
    let requirements = json!([{"key": "team", "operator": "In", "values": names}]);
    let pool = json!({"metadata": {"name": "teams"}, "spec": {"template": {"spec": {"requirements": requirements}}}});
    let group = |(place, name): (usize, &String)| -> anyhow::Result<PodGroup> {
        let requests = json!({"cpu": format!("{}m", 250 * (1 + place % 7)), "memory": "512Mi"});
        let spec = json!({"nodeSelector": {"team": name}, "containers": [{"name": "main", "resources": {"requests": requests}}]});
        Ok(PodGroup {
            namespace: "default".to_owned(),
            owner: Owner { kind: "Deployment".to_owned(), name: name.clone() },
            names: PodNames::Replicas { prefix: name.clone(), count: 1 },
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            priority: 0,
            spec: Arc::new(serde_json::from_value(spec)?),
            origin: "bench".to_owned(),
        })
    };
    let pending = names.iter().enumerate().map(group).collect::<anyhow::Result<_>>()?;
    Ok(Snapshot { pending, node_pools: vec![serde_json::from_value(pool)?], ..Snapshot::default() })
}

/// From objects to all that a problem is made of.
fn building(criterion: &mut Criterion) -> anyhow::Result<()> {
    let catalog = supercargo::catalog::embedded()?;
    let mut group = criterion.benchmark_group("build");
    group.sample_size(10);
    for values in [50, 100, 200] {
        let snapshot = open_labels(values)?;
        group.bench_with_input(BenchmarkId::new("open labels", values), &snapshot, |bencher, snapshot| {
            bencher.iter(|| Model::new(snapshot, &catalog, &Options::default()).map(|model| model.has_standing()));
        });
    }
    group.finish();
    Ok(())
}

fn reading(criterion: &mut Criterion) -> anyhow::Result<()> {
    let openb = Path::new("fixtures/workloads/openb.yaml");
    criterion.bench_function("read/openb", |bencher| bencher.iter(|| snapshot(openb)));
    criterion.bench_function("read/catalogue", |bencher| bencher.iter(supercargo::catalog::embedded));
    Ok(())
}

/// Runs all of them; what goes wrong before a measurement ends the run with its reason.
fn all(criterion: &mut Criterion) {
    if let Err(error) = reading(criterion).and_then(|()| building(criterion)).and_then(|()| planning(criterion)) {
        eprintln!("plan benchmarks: {error:#}");
        std::process::exit(1);
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
