//! `judge`: puts plans before the real kube-scheduler and writes what came of it; `make binding` calls it.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use judge::{Case, Way, judge, page};
use test_cluster::{ControlPlane, Parts};

/// Plans each file, creates its nodes and pods on a real control plane, and counts which pods come to which nodes.
#[derive(Debug, Parser)]
#[command(name = "judge")]
struct Cli {
    /// Files of objects, each planned alone.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only this way, in place of all four.
    #[arg(long, value_enum)]
    way: Option<WayName>,
    /// A sentence for the end of the page; can be given more than once.
    #[arg(long = "note", value_name = "TEXT")]
    notes: Vec<String>,
    /// Where to write the page; without it, to standard output.
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum WayName {
    Forced,
    Free,
    Nominated,
    Bound,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let ways = match cli.way {
        None => Way::ALL.to_vec(),
        Some(WayName::Forced) => vec![Way::Forced],
        Some(WayName::Free) => vec![Way::Free],
        Some(WayName::Nominated) => vec![Way::Nominated],
        Some(WayName::Bound) => vec![Way::Bound],
    };
    let parts = Parts::built()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut found = Vec::new();
    for file in &cli.files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let case = Case::of_file(file).with_context(|| format!("planning {}", file.display()))?;
        let mut all = Vec::new();
        for &way in &ways {
            let figures = runtime
                .block_on(async {
                    let control_plane = ControlPlane::start(&parts).await?;
                    judge(&control_plane, &case, way).await
                })
                .with_context(|| format!("{name}, {way}"))?;
            eprintln!(
                "{name}, {way}: {} of {} bound, {} as planned, cost {:.3}, {:.1} s",
                figures.bound,
                figures.pods,
                figures.as_planned,
                figures.cost_ratio(),
                figures.took.as_secs_f64()
            );
            for pending in figures.pending.iter().chain(&figures.daemons_pending).take(8) {
                eprintln!("  {} (planned on {}): {}", pending.pod, pending.node, pending.reason);
            }
            all.push(figures);
        }
        found.push((name, all));
    }
    let page = page(&found, &cli.notes);
    match &cli.output_file {
        Some(file) => std::fs::write(file, page).with_context(|| format!("writing {}", file.display())),
        None => {
            print!("{page}");
            Ok(())
        }
    }
}
