//! One file a command. Each has its arguments and a `run` that writes to the stream it is given.

pub mod arguments;
pub mod catalog;
pub mod completion;
pub mod convert;

use std::io::Write;
use std::process::ExitCode;

use clap::Subcommand;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List, show and write the priced offerings that plans are made of.
    Catalog(catalog::CatalogArguments),
    /// Write a script that completes supercargo's commands in your shell.
    Completion(completion::CompletionArguments),
    /// Turn Provisioner, AWSNodeTemplate and v1beta1 NodePool manifests into NodePool and EC2NodeClass of v1.
    Convert(convert::ConvertArguments),
}

impl Command {
    /// Runs the command; what it has to say goes to `out`.
    ///
    /// # Errors
    /// With a [`crate::cli::BadInput`] in the chain where the person can mend it, else the program failed.
    pub fn run(self, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
        match self {
            Command::Catalog(arguments) => catalog::run(arguments, out),
            Command::Completion(arguments) => completion::run(arguments, out),
            Command::Convert(arguments) => convert::run(arguments, out),
        }
    }
}
