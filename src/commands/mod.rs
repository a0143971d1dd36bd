//! One file a command. Each has its arguments and a `run` that writes to the stream it is given.

pub mod arguments;
pub mod bench;
pub mod catalog;
pub mod completion;
pub mod controller;
pub mod convert;
pub mod crds;
pub mod explain;
pub mod export_model;
pub mod plan;
pub mod planning;
pub mod verify;

use std::io::Write;
use std::process::ExitCode;

use clap::Subcommand;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Plan the cheapest mix of nodes for the pods that wait.
    Plan(plan::PlanArguments),
    /// Say why a node was chosen and what it would cost otherwise, or why a pod can't be placed.
    Explain(explain::ExplainArguments),
    /// Plan many workloads one by one: cost, bound, gap and time, against the greedy and against Karpenter.
    Bench(bench::BenchArguments),
    /// Write the integer program itself, for any other solver.
    ExportModel(export_model::ExportModelArguments),
    /// List, show and write the priced offerings that plans are made of.
    Catalog(catalog::CatalogArguments),
    /// Write a script that completes supercargo's commands in your shell.
    Completion(completion::CompletionArguments),
    /// Watch over a cluster: buy machines for the pods that wait, and take away those that are not needed.
    Controller(Box<controller::ControllerArguments>),
    /// Turn Provisioner, AWSNodeTemplate and v1beta1 NodePool manifests into NodePool and EC2NodeClass of v1.
    Convert(convert::ConvertArguments),
    /// Write the definitions of the custom resources as YAML.
    Crds(crds::CrdsArguments),
    /// Check a plan against its objects, independently of what made it.
    Verify(verify::VerifyArguments),
}

impl Command {
    /// Runs the command; what it has to say goes to `out`.
    ///
    /// # Errors
    /// With a [`crate::cli::BadInput`] in the chain where the person can mend it, else the program failed.
    pub fn run(self, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
        match self {
            Command::Plan(arguments) => plan::run(arguments, out),
            Command::Explain(arguments) => explain::run(arguments, out),
            Command::Bench(arguments) => bench::run(arguments, out),
            Command::ExportModel(arguments) => export_model::run(arguments, out),
            Command::Catalog(arguments) => catalog::run(arguments, out),
            Command::Completion(arguments) => completion::run(arguments, out),
            Command::Controller(arguments) => controller::run(*arguments, out),
            Command::Convert(arguments) => convert::run(arguments, out),
            Command::Crds(arguments) => crds::run(arguments, out),
            Command::Verify(arguments) => verify::run(arguments, out),
        }
    }
}
