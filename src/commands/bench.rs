//! `bench`: workloads planned one by one, beside the greedy and, where anchors are given, beside Karpenter.

mod anchors;
mod outcome;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use supercargo_models::catalog::Catalog;

use super::arguments::{CatalogArguments, Format, InputArguments, OutputArguments, PlanningArguments, Validation};
use super::planning;
use crate::cli::{BadInput, EXIT_BAD_INPUT, EXIT_DONE, EXIT_FAILED};
use crate::control::WallClock;
use crate::report::Terminal;
use anchors::Anchors;
use outcome::{Bench, Run, Workload};

/// Which workloads, and beside what.
#[derive(Debug, clap::Args)]
#[command(after_help = "Each file is planned alone. A file that can't be read is reported and the others still run.")]
pub struct BenchArguments {
    /// Files, or folders whose .json, .yaml and .yml files are planned.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// What Karpenter comes to on the same workloads: CSV with columns workload, kind, karpenter_nodes and
    /// karpenter_usd_per_hour.
    #[arg(long, value_name = "FILE")]
    pub anchors: Option<PathBuf>,
    /// What to do about fields that the Kubernetes API does not know.
    #[arg(long, value_enum, default_value_t = Validation::Strict, env = "SUPERCARGO_VALIDATE", hide_env_values = true)]
    pub validate: Validation,
    /// The offerings.
    #[command(flatten)]
    pub catalog: CatalogArguments,
    /// How to plan each.
    #[command(flatten)]
    pub planning: PlanningArguments,
    /// How to tell it (table, json, csv or markdown).
    #[command(flatten)]
    pub output: OutputArguments,
}

/// Plans every workload and writes the table. Exit code 2 if a file is broken, 1 if a plan failed, else 0.
///
/// # Errors
/// A [`BadInput`] where arguments, anchors or catalogue are wrong.
pub fn run(arguments: BenchArguments, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let output = &arguments.output;
    if matches!(output.output, Format::Yaml | Format::Html) {
        return Err(BadInput::new("bench writes table, json, csv or markdown")
            .hint("choose one of them with -o")
            .into());
    }
    let anchors = arguments.anchors.as_deref().map(Anchors::read).transpose()?;
    let catalog = planning::read_catalog(&arguments.catalog)?;
    let files = files(&arguments.paths)?;
    let mut bench = Bench::default();
    for (number, file) in files.iter().enumerate() {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let clock = WallClock::start(arguments.planning.clock_budget(), output.quiet);
        clock.say(format!("{} of {}: {name}", number + 1, files.len()));
        let anchor = anchors.as_ref().and_then(|anchors| anchors.of(&name));
        let workload = if anchor.is_some_and(|anchor| anchor.kind != "plan") || name.starts_with("cons-") {
            Workload::Skipped { reason: "for consolidation, not for planning".to_owned() }
        } else {
            one(file, &catalog, &arguments, &clock)
        };
        drop(clock);
        bench.add(name, workload, anchor);
    }
    let text = match output.output {
        Format::Json => crate::report::to_json(&bench)?,
        Format::Csv => bench.to_csv()?,
        Format::Markdown => bench.to_markdown(),
        _ => bench.to_table(&Terminal::of_standard_output()),
    };
    output.write(&text, out)?;
    Ok(ExitCode::from(match bench.failures() {
        (_, failed) if failed > 0 => EXIT_FAILED,
        (broken, _) if broken > 0 => EXIT_BAD_INPUT,
        _ => EXIT_DONE,
    }))
}

fn one(file: &Path, catalog: &Catalog, arguments: &BenchArguments, reading: &WallClock) -> Workload {
    let start = Instant::now();
    let input = InputArguments {
        filenames: vec![file.to_string_lossy().into_owned()],
        kubeconfig: None,
        context: None,
        validate: arguments.validate,
    };
    let loaded = match planning::read_objects(&input) {
        Ok(loaded) => loaded,
        Err(error) => return Workload::broken(&error),
    };
    let load_seconds = start.elapsed().as_secs_f64();
    let snapshot = &loaded.snapshot;
    if snapshot.pending.is_empty() {
        let reason = if snapshot.bound.is_empty() { "no pods wait" } else { "its pods are bound: for consolidation" };
        return Workload::Skipped { reason: reason.to_owned() };
    }
    reading.finish();
    // Each workload has the whole budget, without the time it took to read it.
    let clock = WallClock::start(arguments.planning.clock_budget(), arguments.output.quiet);
    match planning::plan(snapshot, catalog, &arguments.planning, &clock) {
        Ok(answer) => {
            let counted = arguments.planning.iterations.is_some();
            Workload::Planned(Box::new(Run::new(&answer.plan.summary, if counted { 0.0 } else { load_seconds })))
        }
        Err(error) => Workload::broken(&error),
    }
}

/// All files of the paths, in the order of their names within each folder.
fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let problem = |error: std::io::Error| BadInput::new(format!("cannot read {}: {error}", path.display()));
        if path.metadata().map_err(problem)?.is_dir() {
            let mut inside = Vec::new();
            for entry in path.read_dir().map_err(problem)? {
                let file = entry.map_err(problem)?.path();
                let extension = file.extension().and_then(|extension| extension.to_str());
                if file.is_file() && matches!(extension, Some("json" | "yaml" | "yml")) {
                    inside.push(file);
                }
            }
            inside.sort();
            files.append(&mut inside);
        } else {
            files.push(path.clone());
        }
    }
    if files.is_empty() {
        return Err(BadInput::new("no .json, .yaml or .yml file there").hint("name files or a folder of them").into());
    }
    Ok(files)
}
