//! Catalogues from files, and the one that the program carries.

mod filter;
mod listing;
mod names;
mod read;

use std::path::Path;

use anyhow::Context;
pub use filter::{Filter, FilterError};
pub use listing::{Row, SortKey, rows};
pub use names::nearest;
pub use read::{parse, read};
use supercargo_models::catalog::Catalog;

use crate::cli::BadInput;

/// The catalogue of us-east-1, made by `scripts/make_catalog.py`.
const EMBEDDED: &[u8] = include_bytes!("../../fixtures/catalog/us-east-1.json.gz");

/// The catalogue that the program carries.
///
/// # Errors
/// None but where the program itself is damaged.
pub fn embedded() -> anyhow::Result<Catalog> {
    // Checked by a test, so not again at every start.
    read::parse_unchecked(EMBEDDED).context("the embedded catalogue")
}

/// The catalogue that a command is to use: the file if one is named, else the embedded one.
///
/// # Errors
/// With a [`BadInput`] where the file is no catalogue or where the catalogue is of another region than asked for.
pub fn load(file: Option<&Path>, region: Option<&str>) -> anyhow::Result<Catalog> {
    let catalog = match file {
        Some(path) => read(path)?,
        None => embedded()?,
    };
    match region.filter(|region| *region != catalog.region) {
        None => Ok(catalog),
        Some(region) => {
            let source = file.map_or("the embedded catalogue".to_owned(), |path| path.display().to_string());
            Err(BadInput::new(format!("--region {region}: {source} is of {}", catalog.region))
                .hint(format!("give a catalogue of {region} with --catalog FILE"))
                .into())
        }
    }
}
