//! `plan`: objects in, the cheapest node mix out.

use std::io::Write;
use std::process::ExitCode;

use super::arguments::{CatalogArguments, InputArguments, OutputArguments, PlanningArguments};
use super::planning;
use crate::cli::{EXIT_DONE, EXIT_UNSCHEDULABLE};
use crate::control::WallClock;
use crate::report::{Report, Terminal, render, words};

/// What to plan, and how to tell it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  supercargo plan -f manifests/\n  \
                        helm template shop | supercargo plan -f - -o html --output-file plan.html\n  \
                        supercargo plan -f shop.yaml --capacity-type on-demand --gap 1% -o json | jq .summary")]
pub struct PlanArguments {
    /// The objects.
    #[command(flatten)]
    pub input: InputArguments,
    /// The offerings.
    #[command(flatten)]
    pub catalog: CatalogArguments,
    /// How to plan.
    #[command(flatten)]
    pub planning: PlanningArguments,
    /// How to tell it.
    #[command(flatten)]
    pub output: OutputArguments,
}

/// Plans and writes the plan. Exit code 3 if some pods can't be placed.
///
/// # Errors
/// A [`crate::cli::BadInput`] where arguments or objects are wrong; else the program failed, and no plan is written.
pub fn run(arguments: PlanArguments, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let output = &arguments.output;
    let question = planning::read(&arguments.input, &arguments.catalog)?;
    planning::tell(&question.notes, output.quiet);
    let clock = WallClock::start(arguments.planning.clock_budget(), output.quiet);
    let answer = planning::plan(&question.snapshot, &question.catalog, &arguments.planning, &clock)?;
    let workloads = planning::workloads(&question.snapshot);
    let report = Report { plan: &answer.plan, workloads: &workloads, stages: &answer.stages };
    let text = render(&report, output.output, &Terminal::of_standard_output())?;
    output.write(&text, out)?;
    if let Some(path) = &output.output_file
        && !output.quiet
    {
        anstream::eprintln!("{}\nwritten to {}", words::headline(&answer.plan), path.display());
    }
    Ok(exit_code(answer.plan.summary.unschedulable))
}

/// The exit code of a plan that leaves so many pods unplaced.
pub(super) fn exit_code(unschedulable: u64) -> ExitCode {
    ExitCode::from(if unschedulable > 0 { EXIT_UNSCHEDULABLE } else { EXIT_DONE })
}
