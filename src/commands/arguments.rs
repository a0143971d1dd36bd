//! Arguments that several commands share (contract 1.1), and how their values are read.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use supercargo_models::solver::{Method, Settings};

use crate::cli::BadInput;

/// Which objects to read.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Input")]
pub struct InputArguments {
    /// Kubernetes objects: a file, a folder, a glob, or - for standard input (YAML streams, JSON, kind: List).
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub filenames: Vec<String>,
    /// The live cluster to read when there is no -f [default: KUBECONFIG, ~/.kube/config, or the cluster around].
    #[arg(long, value_name = "FILE", conflicts_with = "filenames")]
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig in place of its current one.
    #[arg(long, value_name = "NAME", conflicts_with = "filenames")]
    pub context: Option<String>,
    /// What to do about fields that the Kubernetes API does not know.
    #[arg(long, value_enum, default_value_t = Validation::Strict, env = "SUPERCARGO_VALIDATE", hide_env_values = true)]
    pub validate: Validation,
}

/// What to do about fields that the Kubernetes API does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Validation {
    /// An unknown field is an error.
    #[default]
    Strict,
    /// An unknown field is noted on standard error.
    Warn,
    /// An unknown field is passed over.
    Ignore,
}

/// Which offerings there are.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Catalogue")]
pub struct CatalogArguments {
    /// Priced offerings: JSON, plain, gzip or zstd. Without it, the catalogue inside the program.
    #[arg(long, value_name = "FILE", env = "SUPERCARGO_CATALOG", hide_env_values = true)]
    pub catalog: Option<PathBuf>,
    /// Region to buy in; the catalogue must be of that region.
    #[arg(long, value_name = "REGION", env = "SUPERCARGO_REGION", hide_env_values = true)]
    pub region: Option<String>,
}

/// How a machine is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum CapacityType {
    /// Can be taken back at two minutes' notice.
    Spot,
    /// By the second, yours until you give it back.
    OnDemand,
    /// A capacity reservation.
    Reserved,
}

impl CapacityType {
    /// The value of the label `karpenter.sh/capacity-type`.
    pub fn label(self) -> &'static str {
        match self {
            CapacityType::Spot => "spot",
            CapacityType::OnDemand => "on-demand",
            CapacityType::Reserved => "reserved",
        }
    }
}

/// Which solver answers (`--solver`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Solver {
    /// The integer program, with the greedy as its fallback.
    #[default]
    Auto,
    /// The integer program.
    Highs,
    /// The greedy alone: fast, no bound.
    Greedy,
}

/// How to plan, and how long to think.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Planning")]
pub struct PlanningArguments {
    /// Capacity types that may be bought, separated by commas; without it, all that the NodePools allow.
    #[arg(
        long,
        value_name = "TYPES",
        value_enum,
        value_delimiter = ',',
        env = "SUPERCARGO_CAPACITY_TYPE",
        hide_env_values = true
    )]
    pub capacity_type: Vec<CapacityType>,
    /// The longest to think (500ms, 5s, 2m).
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration, env = "SUPERCARGO_TIME_BUDGET", hide_env_values = true)]
    pub time_budget: Duration,
    /// Stop as soon as the plan is proven to be within this of optimal (0.5% or 0.005) [default: 0; of the controller 1%].
    #[arg(long, value_name = "GAP", value_parser = parse_share, env = "SUPERCARGO_GAP", hide_env_values = true)]
    pub gap: Option<f64>,
    /// Which solver answers.
    #[arg(long, value_enum, default_value_t = Solver::Auto, env = "SUPERCARGO_SOLVER", hide_env_values = true)]
    pub solver: Solver,
    /// Threads to use; without it, as many as there are cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024), env = "SUPERCARGO_THREADS", hide_env_values = true)]
    pub threads: Option<u32>,
    /// Seed of every random choice.
    #[arg(long, value_name = "N", default_value_t = 1, env = "SUPERCARGO_SEED", hide_env_values = true)]
    pub seed: u64,
    /// Stop each stage after so many rounds instead of by the clock: the same plan, byte for byte, on every machine
    /// (solveSeconds is then 0, and --time-budget has no effect).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub iterations: Option<u64>,
    /// Buy from the cheapest NodePool, whatever the weights of the pools.
    #[arg(long, value_parser = FalseyValueParser::new(), env = "SUPERCARGO_IGNORE_WEIGHTS", hide_env_values = true)]
    pub ignore_weights: bool,
}

impl PlanningArguments {
    /// What the solver is asked for.
    pub fn settings(&self) -> Settings {
        Settings {
            method: match self.solver {
                Solver::Auto => Method::Auto,
                Solver::Highs => Method::Highs,
                Solver::Greedy => Method::Greedy,
            },
            gap: self.gap.unwrap_or(0.0),
            threads: match self.threads {
                Some(threads) => threads as usize,
                None => std::thread::available_parallelism().map_or(1, usize::from),
            },
            seed: self.seed,
            iterations: self.iterations,
            ..Settings::default()
        }
    }

    /// The time budget of the clock; `None` where rounds are counted instead.
    pub fn clock_budget(&self) -> Option<Duration> {
        self.iterations.is_none().then_some(self.time_budget)
    }

    /// Values of the label `karpenter.sh/capacity-type` that may be bought; `None` for all that the pools allow.
    pub fn capacity_types(&self) -> Option<Vec<String>> {
        let labels = self.capacity_type.iter().map(|kind| kind.label().to_owned()).collect::<Vec<_>>();
        (!labels.is_empty()).then_some(labels)
    }
}

/// How a plan is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: nodes that are alike in one row.
    #[default]
    Table,
    /// For people who want it all: every node and every pod.
    Wide,
    /// The whole plan as JSON (supercargo.dev/v1).
    Json,
    /// The same as YAML.
    Yaml,
    /// One row a node.
    Csv,
    /// Tables for a pull request or a wiki.
    Markdown,
    /// One page with a picture of the packing; needs nothing but a browser.
    Html,
}

/// Where the answer goes, and in which form.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArguments {
    /// Form of the answer.
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT", default_value_t = Format::Table, env = "SUPERCARGO_OUTPUT", hide_env_values = true)]
    pub output: Format,
    /// Write the answer to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
    /// No progress and no notes on standard error.
    #[arg(short, long, value_parser = FalseyValueParser::new(), env = "SUPERCARGO_QUIET", hide_env_values = true)]
    pub quiet: bool,
}

impl OutputArguments {
    /// Writes the finished answer to the file if one is named, else to `out`.
    ///
    /// # Errors
    /// Where the file can't be written (bad input: the person named it) or the stream can't.
    pub fn write(&self, text: &str, out: &mut dyn Write) -> anyhow::Result<()> {
        write_text(self.output_file.as_deref(), text, out)
    }
}

/// Writes a text without colours to the file if one is named, else to `out`.
///
/// # Errors
/// Where the file can't be written (bad input: the person named it) or the stream can't.
pub fn write_text(file: Option<&Path>, text: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    match file {
        Some(path) => {
            let plain = anstream::adapter::strip_str(text).to_string();
            std::fs::write(path, plain)
                .map_err(BadInput::from_error)
                .with_context(|| format!("cannot write {}", path.display()))
        }
        None => Ok(out.write_all(text.as_bytes())?),
    }
}

/// Reads a duration as people write it: `500ms`, `5s`, `2m`, `1m30s`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a time like 500ms, 5s or 2m is needed".to_owned();
    let duration: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(duration).ok().filter(|duration| !duration.is_zero()).ok_or_else(wrong)
}

/// Reads a share between 0 and 1, as `0.5%` or `0.005`.
fn parse_share(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 0.01),
        None => (text.trim(), 1.0),
    };
    let share = number.parse::<f64>().ok().map(|number| number * scale);
    share
        .filter(|share| (0.0..1.0).contains(share))
        .ok_or_else(|| "a share from 0 to below 1, like 0.5% or 0.005, is needed".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse_duration("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(parse_duration("2m").unwrap(), Duration::from_secs(120));
        assert_eq!(parse_duration("1m30s").unwrap(), Duration::from_secs(90));
        for wrong in ["", "5", "-5s", "0s", "soon", "5 parsecs", "NaN"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_are_read_with_and_without_a_percent_sign() {
        assert!((parse_share("0.5%").unwrap() - 0.005).abs() < 1e-12);
        assert!((parse_share("0.005").unwrap() - 0.005).abs() < 1e-12);
        assert_eq!(parse_share("0").unwrap(), 0.0);
        for wrong in ["", "%", "-1%", "100%", "1", "NaN", "inf", "a lot"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
    }
}
