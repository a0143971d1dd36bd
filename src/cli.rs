//! From arguments to an exit code: the parser, the errors a person sees, panics and broken pipes.

use std::ffi::OsString;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;

use anstyle::{AnsiColor, Style};
use clap::builder::Styles;
use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser};

use crate::commands::Command;

/// The program did what it was asked for.
pub const EXIT_DONE: u8 = 0;
/// The program itself failed.
pub const EXIT_FAILED: u8 = 1;
/// The arguments or the objects are wrong.
pub const EXIT_BAD_INPUT: u8 = 2;
/// Done, but some pods can't be placed.
pub const EXIT_UNSCHEDULABLE: u8 = 3;

/// Decides which EC2 machines to buy for the Kubernetes pods that wait.
///
/// By integer program: the answer comes with a proof of how far from the cheapest one it can be at most, and with the
/// reasons.
#[derive(Debug, Parser)]
#[command(name = "supercargo", version, styles = styles(), max_term_width = 100, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// When to use colours; NO_COLOR and CLICOLOR are respected.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = false)]
    pub color: ColorChoice,
}

const AFTER_HELP: &str = "Exit codes: 0 done; 1 the program failed; 2 bad usage or bad input; 3 done, but some pods \
are unschedulable.\nEvery long option that says [env: ...] can be set by that environment variable too.";

/// An error that the person at the keyboard can mend: wrong arguments or wrong objects. Ends in exit code 2.
///
/// Anywhere in the chain of an [`anyhow::Error`] will do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BadInput {
    message: String,
    hint: Option<String>,
}

impl BadInput {
    /// What is wrong, naming file, object and field where there are such.
    pub fn new(message: impl Into<String>) -> Self {
        BadInput { message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Makes any error one that the person can mend, its whole chain in one line.
    pub fn from_error(error: impl Into<anyhow::Error>) -> Self {
        BadInput::new(format!("{:#}", error.into()))
    }
}

/// Runs one command line and gives its exit code; errors go to standard error.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    keep_panics_quiet();
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match std::panic::catch_unwind(AssertUnwindSafe(|| parse_and_run(&arguments))) {
        Ok(code) => code,
        Err(_) => {
            let what = LAST_PANIC.lock().ok().and_then(|mut last| last.take()).unwrap_or_default();
            print_error(
                &format!("supercargo failed inside: {what}"),
                Some("this is a bug in supercargo, not in your input; please report it with the input that caused it"),
            );
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn parse_and_run(arguments: &[OsString]) -> ExitCode {
    let parsed = command(arguments.first()).try_get_matches_from(arguments);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; a reader that went away is none either.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_BAD_INPUT) } else { ExitCode::from(EXIT_DONE) };
        }
    };
    match cli.color {
        ColorChoice::Auto => anstream::ColorChoice::Auto,
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    }
    .write_global();
    let mut out = anstream::stdout().lock();
    match cli.command.run(&mut out).and_then(|code| Ok(out.flush().map(|()| code)?)) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::from(EXIT_DONE),
        Err(error) => {
            let bad_input = error.chain().find_map(|cause| cause.downcast_ref::<BadInput>());
            print_error(&one_line(&error), bad_input.and_then(|cause| cause.hint.as_deref()));
            ExitCode::from(if bad_input.is_some() { EXIT_BAD_INPUT } else { EXIT_FAILED })
        }
    }
}

/// The parser, named as the program was called: as a kubectl plugin it is `kubectl supercargo`.
///
/// <https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/>
pub fn command(program: Option<&OsString>) -> clap::Command {
    let command = Cli::command();
    let stem = program.and_then(|program| Path::new(program).file_stem()?.to_str());
    if stem.is_some_and(|stem| stem.starts_with("kubectl-") || stem.starts_with("kubectl_")) {
        // Without this, subcommands would call themselves by the file's name.
        command.bin_name("kubectl supercargo").display_name("kubectl supercargo")
    } else {
        command.bin_name("supercargo")
    }
}

fn styles() -> Styles {
    let heading = Style::new().bold();
    let literal = AnsiColor::Cyan.on_default();
    Styles::styled().header(heading).usage(heading).literal(literal).placeholder(AnsiColor::Blue.on_default())
}

static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// A panic is remembered and told in one line at the end, if nothing on the way caught it (the solver may).
fn keep_panics_quiet() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("unknown cause");
        let place = panic.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
        if let Ok(mut last) = LAST_PANIC.lock() {
            *last = Some(format!("{}{place}", message.lines().next().unwrap_or_default()));
        }
    }));
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// The whole chain in one line, no cause said twice (many errors print their source in their own text).
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let text = text.trim();
        if line.contains(text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(text);
    }
    line
}

fn print_error(message: &str, hint: Option<&str>) {
    let red = AnsiColor::Red.on_default().bold();
    let mut stderr = anstream::stderr().lock();
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(stderr, "{red}error:{red:#} {message}");
    if let Some(hint) = hint {
        let cyan = AnsiColor::Cyan.on_default();
        let _ = writeln!(stderr, " {cyan}hint:{cyan:#} {hint}");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_parser_is_sound() {
        Cli::command().debug_assert();
    }

    /// Names of all commands below one, and of all long options.
    fn names(command: &clap::Command, path: &str, commands: &mut Vec<String>, options: &mut BTreeSet<String>) {
        options.extend(command.get_arguments().filter_map(|argument| Some(format!("--{}", argument.get_long()?))));
        for inner in command.get_subcommands() {
            let path = format!("{path}{}", inner.get_name());
            commands.push(path.clone());
            names(inner, &format!("{path} "), commands, options);
        }
    }

    #[test]
    fn the_readme_tells_of_all_commands_and_of_no_option_that_is_not_there() {
        const README: &str = include_str!("../README.md");
        /// Options of kubectl and of the judge, and clap's own.
        const OTHERS: [&str; 4] = ["--server-side", "--replicas", "--way", "--help"];
        let (mut commands, mut options) = (Vec::new(), BTreeSet::new());
        names(&Cli::command(), "", &mut commands, &mut options);
        let told: String = README.lines().filter(|line| line.starts_with("| `")).collect();
        let parents = ["explain", "catalog"];
        for command in commands.iter().filter(|command| !parents.contains(&command.as_str())) {
            assert!(told.contains(&format!("`{command}`")) || told.contains(&format!("`{command} ")), "{command}");
        }
        let words = README.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '-');
        let named =
            words.filter(|word| word.strip_prefix("--").is_some_and(|word| word.starts_with(char::is_alphabetic)));
        let named: BTreeSet<&str> = named.filter(|word| !OTHERS.contains(word)).collect();
        assert!(named.len() > 10, "{named:?}");
        let unknown: Vec<_> = named.into_iter().filter(|word| !options.contains(*word)).collect();
        assert_eq!(unknown, [""; 0]);
    }

    #[test]
    fn as_a_plugin_it_is_called_as_kubectl_calls_it() {
        let name = |program: &str| command(Some(&OsString::from(program))).get_bin_name().unwrap().to_owned();
        assert_eq!(name("/usr/bin/supercargo"), "supercargo");
        assert_eq!(name("/usr/bin/kubectl-supercargo"), "kubectl supercargo");
    }

    #[test]
    fn a_cause_that_is_in_the_text_already_is_not_said_twice() {
        let inner = anyhow::anyhow!("no such file");
        let error = inner.context("reading a.yaml: no such file").context("loading");
        assert_eq!(one_line(&error), "loading: reading a.yaml: no such file");
    }

    #[test]
    fn bad_input_is_found_anywhere_in_the_chain() {
        let error = anyhow::Error::new(BadInput::new("negative").hint("make it positive")).context("web");
        assert!(error.chain().any(|cause| cause.is::<BadInput>()));
        assert_eq!(one_line(&error), "web: negative");
    }
}
