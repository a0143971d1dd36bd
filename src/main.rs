//! The command line: arguments to a command, its answer to an exit code.

use std::process::ExitCode;

use supercargo::cli;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
