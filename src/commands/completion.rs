//! `completion`: a script that completes commands and options in a shell.

use std::io::Write;
use std::process::ExitCode;

use clap_complete::Shell;

use crate::cli;

/// Which shell the script is for.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: source <(supercargo completion bash)")]
pub struct CompletionArguments {
    /// The shell.
    pub shell: Shell,
}

/// Writes the script.
///
/// # Errors
/// Where `out` can't be written to.
pub fn run(arguments: CompletionArguments, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut cli::command(None), "supercargo", &mut script);
    out.write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
