//! `export-model`: the integer program itself as LP or MPS, for any other solver.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;
use supercargo_models::planner;
use supercargo_models::problem::build::Options;
use supercargo_models::solver::{self, export};

use super::arguments::{CatalogArguments, InputArguments, PlanningArguments, write_text};
use super::planning;
use crate::cli::BadInput;
use crate::control::WallClock;

/// Which program, and in which language.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The program is the master problem: one row a shape and a rule, one column a way to fill a node.\n\
                        Pods that the heavier NodePools can't take are in it with the pools that they come to.\n\
                        Its columns are those that column generation finds within the time budget.\n\n\
                        Example: supercargo export-model -f shop.yaml --format mps --output-file shop.mps"
)]
pub struct ExportModelArguments {
    /// The objects.
    #[command(flatten)]
    pub input: InputArguments,
    /// The offerings.
    #[command(flatten)]
    pub catalog: CatalogArguments,
    /// How long to look for columns.
    #[command(flatten)]
    pub planning: PlanningArguments,
    /// Language of the program.
    #[arg(long, value_enum, default_value_t = ModelFormat::Lp)]
    pub format: ModelFormat,
    /// Write the program to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
    /// No progress and no notes on standard error.
    #[arg(short, long)]
    pub quiet: bool,
}

/// A language for integer programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModelFormat {
    /// CPLEX's LP format, which people can read.
    Lp,
    /// Free MPS, which every solver can read.
    Mps,
    /// The problem behind the program (shapes, bins and rules) as JSON, to be replayed.
    Problem,
}

/// Writes the program.
///
/// # Errors
/// A [`BadInput`] where objects or catalogue are wrong; else the program failed.
pub fn run(arguments: ExportModelArguments, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let question = planning::read(&arguments.input, &arguments.catalog)?;
    planning::tell(&question.notes, arguments.quiet);
    let options = Options {
        capacity_types: arguments.planning.capacity_types(),
        ignore_weights: arguments.planning.ignore_weights,
        ..Options::default()
    };
    let clock = WallClock::start(None, arguments.quiet);
    let built = planner::problem(&question.snapshot, &question.catalog, &options, &clock, &solver::solve)
        .map_err(BadInput::from_error)?;
    clock.finish();
    let program = || {
        let clock = WallClock::start(arguments.planning.clock_budget(), arguments.quiet);
        let model =
            export::program(&built.problem, &arguments.planning.settings(), &clock).context("generating columns");
        clock.finish();
        model
    };
    let text = match arguments.format {
        ModelFormat::Lp => program()?.to_lp(),
        ModelFormat::Mps => program()?.to_mps(),
        ModelFormat::Problem => serde_json::to_string(&built.problem)? + "\n",
    };
    if !built.refused.is_empty() {
        let note =
            format!("{} pods fit no node and are not in the program (see supercargo explain)", built.refused.len());
        planning::tell(&[note], arguments.quiet);
    }
    write_text(arguments.output_file.as_deref(), &text, out)?;
    Ok(ExitCode::SUCCESS)
}
