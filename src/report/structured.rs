//! Values as data: the JSON contract of a plan, the same as YAML, and objects as a stream of YAML documents.

use anyhow::Context;
use serde::Serialize;

/// Writes a value as indented JSON.
///
/// # Errors
/// Where a value can't be a JSON one.
pub fn to_json(value: &impl Serialize) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(value).context("writing JSON")?;
    text.push('\n');
    Ok(text)
}

/// Writes a value as YAML.
///
/// # Errors
/// Where a value can't be a YAML one.
pub fn to_yaml(value: &impl Serialize) -> anyhow::Result<String> {
    let mut text = serde_saphyr::to_string(value).context("writing YAML")?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Writes values as YAML, one document each.
///
/// # Errors
/// Where a value can't be a YAML one.
pub fn yaml_documents<T: Serialize>(values: impl IntoIterator<Item = T>) -> anyhow::Result<String> {
    let documents = values.into_iter().map(|value| to_yaml(&value)).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(documents.join("---\n"))
}
