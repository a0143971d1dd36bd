//! `supercargo verify`: a plan checked against its objects by the independent checker.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap::builder::FalseyValueParser;
use supercargo_models::plan::Plan;
use supercargo_models::plan::verify::{VerifyOptions, verify};

use super::arguments::{CapacityType, CatalogArguments, InputArguments, Validation};
use crate::cli::{BadInput, EXIT_FAILED};
use crate::cluster::{self, ReadOptions, Validate};

/// Which plan to check, and what it was made from.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The objects that the plan was made from.
    #[command(flatten)]
    pub input: InputArguments,
    /// The plan, as `supercargo plan -o json` writes it; - for standard input.
    #[arg(long, value_name = "FILE")]
    pub plan: PathBuf,
    /// The catalogue that the plan was made from.
    #[command(flatten)]
    pub catalog: CatalogArguments,
    /// Capacity types that may have been bought, separated by commas; without it, all that the NodePools allow.
    #[arg(long, value_name = "TYPES", value_enum, value_delimiter = ',')]
    pub capacity_type: Vec<CapacityType>,
    /// The plan was made without regard to the weights of the pools.
    #[arg(long, value_parser = FalseyValueParser::new())]
    pub ignore_weights: bool,
}

/// Writes every rule that the plan breaks to `out`, or that all are proven. Exit code 0 if so, 1 if one is broken.
///
/// # Errors
/// A [`BadInput`] where objects, catalogue or plan can't be read.
pub fn run(arguments: VerifyArguments, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if arguments.input.filenames.is_empty() {
        let error = BadInput::new("no objects to check the plan against").hint("name them with -f");
        return Err(error.into());
    }
    let validate = match arguments.input.validate {
        Validation::Strict => Validate::Strict,
        Validation::Warn => Validate::Warn,
        Validation::Ignore => Validate::Ignore,
    };
    let plan = read_plan(&arguments.plan)?;
    let loaded = cluster::read(&arguments.input.filenames, &ReadOptions { validate }).map_err(BadInput::from_error)?;
    let catalog = crate::catalog::load(arguments.catalog.catalog.as_deref(), arguments.catalog.region.as_deref())?;
    let capacity_types: Vec<String> = arguments.capacity_type.iter().map(|kind| kind.label().to_owned()).collect();
    let options = VerifyOptions {
        ignore_weights: arguments.ignore_weights,
        capacity_types: (!capacity_types.is_empty()).then_some(capacity_types),
    };
    match verify(&loaded.snapshot, &catalog, &options, &plan) {
        Ok(()) => {
            let summary = &plan.summary;
            writeln!(
                out,
                "proven: {} pods, {} new nodes, ${:.4}/h: every rule and every price holds",
                summary.pods, summary.new_nodes, summary.hourly_cost
            )?;
            Ok(ExitCode::SUCCESS)
        }
        Err(broken) => {
            for broken in &broken {
                writeln!(out, "broken: {broken}")?;
            }
            let noun = if broken.len() == 1 { "rule is" } else { "rules are" };
            writeln!(out, "{} {noun} broken", broken.len())?;
            Ok(ExitCode::from(EXIT_FAILED))
        }
    }
}

/// Reads a plan; an error names the file and the field.
fn read_plan(path: &Path) -> anyhow::Result<Plan> {
    let at = path.display();
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|error| BadInput::new(format!("{at}: {error}")))?;
    let mut json = serde_json::Deserializer::from_str(&text);
    let plan = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        BadInput::new(format!("{at}: {}: {}", error.path(), error.inner()))
            .hint("a plan as `supercargo plan -o json` writes it is needed")
    })?;
    Ok(plan)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_plan_that_is_none_is_named_with_its_field() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plan.json");
        let message = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read_plan(&file).unwrap_err().to_string()
        };
        assert!(
            message(r#"{"apiVersion": "supercargo.dev/v1", "kind": "Plan", "summary": {"pods": -1}}"#)
                .contains("plan.json: summary.pods: ")
        );
        assert!(message("").contains("plan.json: "));
        assert!(read_plan(Path::new("/nowhere/plan.json")).unwrap_err().to_string().contains("/nowhere/plan.json: "));
    }
}
