//! `supercargo convert`: manifests of older Karpenters to today's.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use crate::cli::BadInput;
use crate::cluster;
use crate::report::yaml_documents;

/// Which manifests to convert.
#[derive(Debug, Args)]
pub struct ConvertArguments {
    /// Provisioner, AWSNodeTemplate and v1beta1 NodePool manifests: a file, a folder, a glob, or - for standard input.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    pub filenames: Vec<String>,
}

/// Writes each manifest as a NodePool or EC2NodeClass of `v1` to `out`, one YAML document each; what has no successor
/// is said on standard error.
///
/// # Errors
///
/// A [`BadInput`] where a manifest can't be read, or where there is nothing to convert.
pub fn run(arguments: ConvertArguments, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let (converted, others) = cluster::modernise(&arguments.filenames).map_err(BadInput::from_error)?;
    if converted.is_empty() {
        let what = "there is no Provisioner, AWSNodeTemplate or v1beta1 NodePool to convert";
        return Err(BadInput::new(format!("{}: {what}", arguments.filenames.join(", "))).into());
    }
    write!(out, "{}", yaml_documents(converted.iter().map(|object| &object.object))?)?;
    for lost in converted.iter().flat_map(|object| &object.lost) {
        anstream::eprintln!("note: {lost}");
    }
    if others > 0 {
        let noun = if others == 1 { "object" } else { "objects" };
        anstream::eprintln!("note: passed over {others} {noun} of other kinds");
    }
    Ok(ExitCode::SUCCESS)
}
