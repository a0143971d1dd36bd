//! `supercargo crds`: the definitions of the custom resources.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::api;
use crate::cli::BadInput;
use crate::report::yaml_documents;

/// Which definitions to write.
#[derive(Debug, Args)]
#[command(after_help = "Example: supercargo crds | kubectl apply --server-side -f -")]
pub struct CrdsArguments {
    /// Only the definition of this kind (NodePool, say); repeat for more.
    #[arg(long, value_name = "KIND")]
    pub only: Vec<String>,
}

/// Writes the definitions to `out` as YAML, one document each, by name.
///
/// # Errors
///
/// A [`BadInput`] where a kind is not one of them.
pub fn run(arguments: CrdsArguments, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut definitions = api::definitions().context("deriving the definitions")?;
    for wanted in &arguments.only {
        if !definitions.iter().any(|definition| definition.kind.eq_ignore_ascii_case(wanted)) {
            let kinds: Vec<&str> = definitions.iter().map(|definition| definition.kind.as_str()).collect();
            let problem = format!("--only {wanted}: there is no definition of such a kind");
            return Err(BadInput::new(problem).hint(format!("there are {}", kinds.join(", "))).into());
        }
    }
    let wanted = |kind: &str| arguments.only.iter().any(|wanted| wanted.eq_ignore_ascii_case(kind));
    definitions.retain(|definition| arguments.only.is_empty() || wanted(&definition.kind));
    let objects = definitions.iter().map(|definition| &definition.object);
    write!(out, "{}", yaml_documents(objects)?)?;
    Ok(ExitCode::SUCCESS)
}
