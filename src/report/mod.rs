//! A plan in the form that someone asked for.
//!
//! Every form is made from a [`Report`] alone and touches nothing outside, so that the same plan is always the same
//! text. Colours are always written; who prints the text to something that is no terminal strips them.

mod bars;
mod csv;
mod groups;
mod html;
mod markdown;
mod structured;
mod svg;
mod table;
mod terminal;
mod wide;
pub mod words;
mod workloads;

use supercargo_models::plan::Plan;

pub use groups::{Group, Usage, groups, next_best, usages};
pub use markdown::escaped;
pub use structured::{to_json, to_yaml, yaml_documents};
pub use table::{Layout, columns, finished};
pub use terminal::Terminal;
pub use workloads::{Demand, Workloads};

use crate::commands::arguments::Format;

/// A plan and what is known beside it.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What each pod belongs to and asks for.
    pub workloads: &'a Workloads,
    /// Seconds by stage of the solver; empty where time is not counted.
    pub stages: &'a [(String, f64)],
}

/// Writes the report in one of the forms of contract 1.1, with a line feed at the end.
///
/// # Errors
/// Where the form can't be written, which no plan that the planner makes should cause.
pub fn render(report: &Report<'_>, format: Format, terminal: &Terminal) -> anyhow::Result<String> {
    match format {
        Format::Table => Ok(table::render(report, terminal)),
        Format::Wide => Ok(wide::render(report, terminal)),
        Format::Json => to_json(report.plan),
        Format::Yaml => to_yaml(report.plan),
        Format::Csv => csv::render(report),
        Format::Markdown => Ok(markdown::render(report)),
        Format::Html => html::render(report),
    }
}
