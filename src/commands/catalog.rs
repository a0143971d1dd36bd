//! `catalog`: the priced offerings that plans are made of.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;
use supercargo_models::catalog::{Catalog, InstanceType, KubeletSettings, Offering, allocatable};
use supercargo_models::kubernetes::quantity;

use super::arguments;
use crate::catalog::{Filter, Row, SortKey, load, nearest, rows};
use crate::cli::BadInput;

/// What to do with the catalogue.
#[derive(Debug, clap::Args)]
pub struct CatalogArguments {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What can be done with a catalogue.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// List instance types with what they cost.
    List(ListArguments),
    /// Show all that is known of one instance type.
    Show(ShowArguments),
    /// Write the catalogue as JSON, to edit it and give it back with --catalog.
    Export(ExportArguments),
}

/// What to list, and how.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: supercargo catalog list --where 'instance-category in (c,m),instance-cpu<=16,arch=arm64'\n\
Labels need no prefix; zone, capacity-type, region, price, price-per-vcpu, price-per-gib and type speak of the offering.\n\
Prices of a vCPU and of a GiB are those of the cheapest offering that passes."
)]
pub struct ListArguments {
    /// The catalogue.
    #[command(flatten)]
    pub source: arguments::CatalogArguments,
    /// Terms that must all hold: =, ==, !=, in (...), notin (...), <, <=, >, >=, LABEL, !LABEL, separated by commas.
    #[arg(long = "where", value_name = "TERMS")]
    pub filters: Vec<String>,
    /// By what to sort, the least first.
    #[arg(long, value_enum, value_name = "KEY", default_value_t = SortKey::Price)]
    pub sort: SortKey,
    /// The most first.
    #[arg(long)]
    pub reverse: bool,
    /// List only the first N.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Form of the answer.
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT", default_value_t = ListFormat::Table)]
    pub output: ListFormat,
}

/// How a listing is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// For people.
    #[default]
    Table,
    /// For people, with what a node offers to pods and what it is made of.
    Wide,
    /// A catalogue of what was found, as --catalog reads it.
    Json,
    /// The same as YAML.
    Yaml,
    /// One row a type, prices in full.
    Csv,
    /// A table for a pull request or a wiki.
    Markdown,
}

/// Which type to show, and how.
#[derive(Debug, clap::Args)]
pub struct ShowArguments {
    /// The instance type, such as m7i.xlarge.
    #[arg(value_name = "TYPE")]
    pub name: String,
    /// The catalogue.
    #[command(flatten)]
    pub source: arguments::CatalogArguments,
    /// Form of the answer.
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT", default_value_t = ShowFormat::Table)]
    pub output: ShowFormat,
}

/// How one type is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ShowFormat {
    /// For people.
    #[default]
    Table,
    /// The type as in a catalogue, with what a node of it offers to pods.
    Json,
    /// The same as YAML.
    Yaml,
}

/// Where the catalogue comes from and goes to.
#[derive(Debug, clap::Args)]
pub struct ExportArguments {
    /// The catalogue.
    #[command(flatten)]
    pub source: arguments::CatalogArguments,
    /// Write to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
}

/// Lists, shows or writes.
///
/// # Errors
/// With a [`BadInput`] where the catalogue, the filter or the type's name is wrong; else where `out` can't be written to.
pub fn run(arguments: CatalogArguments, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match arguments.action {
        Action::List(arguments) => list(&arguments, out)?,
        Action::Show(arguments) => show(&arguments, out)?,
        Action::Export(arguments) => export(&arguments, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(arguments: &ListArguments, out: &mut dyn Write) -> anyhow::Result<()> {
    let catalog = load(arguments.source.catalog.as_deref(), arguments.source.region.as_deref())?;
    let mut filter = Filter::default();
    for text in &arguments.filters {
        filter = filter.and(Filter::parse(text, &catalog).map_err(BadInput::from_error)?);
    }
    let mut found = rows(&catalog, &filter, arguments.sort, arguments.reverse);
    let count = found.len();
    found.truncate(arguments.limit.unwrap_or(usize::MAX));
    let text = match arguments.output {
        ListFormat::Table => people(&catalog, &found, count, false)?,
        ListFormat::Wide => people(&catalog, &found, count, true)?,
        ListFormat::Markdown => markdown(&found)?,
        ListFormat::Csv => csv(&found)?,
        ListFormat::Json => json(&part(catalog, found))?,
        ListFormat::Yaml => serde_saphyr::to_string(&part(catalog, found))?,
    };
    Ok(out.write_all(text.as_bytes())?)
}

/// The catalogue with nothing but what was found.
fn part(catalog: Catalog, found: Vec<Row>) -> Catalog {
    Catalog { instance_types: found.into_iter().map(|row| row.instance).collect(), ..catalog }
}

fn json(value: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

const HEADINGS: [&str; 10] =
    ["TYPE", "ARCH", "VCPU", "MEMORY", "DEVICES", "ON-DEMAND $/H", "SPOT $/H", "$/VCPU", "$/GIB", "ZONES"];
const MORE_HEADINGS: [&str; 5] = ["PODS", "CPU FOR PODS", "MEMORY FOR PODS", "NETWORK MBIT/S", "INTERRUPTION"];
const NETWORK: &str = "karpenter.k8s.aws/instance-network-bandwidth";
/// Columns of the above that hold words and not numbers.
const WORDS: [&str; 4] = ["TYPE", "ARCH", "DEVICES", "ZONES"];

fn cells(row: &Row, wide: bool) -> anyhow::Result<Vec<String>> {
    let instance = &row.instance;
    let price = |capacity_type: &str| row.cheapest_of(capacity_type).map_or("-".to_owned(), dollars);
    let zones = row.zones();
    let mut cells = vec![
        instance.name.clone(),
        instance.arch.clone(),
        instance.vcpu.to_string(),
        memory(instance),
        devices(instance),
        price("on-demand"),
        price("spot"),
        format!("{:.4}", row.price_per_vcpu()),
        format!("{:.4}", row.price_per_gib()),
        zones.iter().map(|zone| zone.strip_prefix(&common(&zones)).unwrap_or(zone)).collect::<Vec<_>>().join(","),
    ];
    if wide {
        let offered = offered(instance)?;
        let amount = |resource: &str| offered.get(resource).copied().unwrap_or_default();
        cells.push(amount("pods").to_string());
        cells.push(quantity::format("cpu", amount("cpu")));
        cells.push(quantity::format("memory", amount("memory")));
        cells.push(instance.labels.get(NETWORK).cloned().unwrap_or("-".to_owned()));
        cells.push(row.cheapest_of("spot").map_or("-".to_owned(), interruption));
    }
    Ok(cells)
}

fn offered(instance: &InstanceType) -> anyhow::Result<std::collections::BTreeMap<String, i64>> {
    allocatable(instance, &KubeletSettings::default()).map_err(BadInput::from_error).context("catalogue")
}

fn memory(instance: &InstanceType) -> String {
    quantity::describe("memory", i64::try_from(instance.memory_mib).unwrap_or(i64::MAX).saturating_mul(1 << 20))
}

fn devices(instance: &InstanceType) -> String {
    let shown = instance.gpus.iter().filter(|(name, count)| **count > 0 && *name != "vpc.amazonaws.com/efa");
    let shown: Vec<String> = shown.map(|(name, count)| format!("{count} {name}")).collect();
    if shown.is_empty() { "-".to_owned() } else { shown.join(", ") }
}

/// A price, marked where it is an estimate.
fn dollars(offering: &Offering) -> String {
    format!("{}{:.4}", if offering.estimated { "~" } else { "" }, offering.price)
}

/// Share of the machines of a type taken back in a month, as the Spot Advisor states it.
fn interruption(offering: &Offering) -> String {
    match offering.interruption {
        None => "-",
        Some(0) => "<5%",
        Some(1) => "5-10%",
        Some(2) => "10-15%",
        Some(3) => "15-20%",
        Some(_) => ">20%",
    }
    .to_owned()
}

/// What zones have in common: the region.
fn common(zones: &[&str]) -> String {
    let first = zones.first().copied().unwrap_or_default();
    let region = first.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
    let shared = zones.iter().all(|zone| zone.starts_with(region) && zone.len() > region.len());
    if shared && region.ends_with(|letter: char| letter.is_ascii_digit()) { region.to_owned() } else { String::new() }
}

fn headings(wide: bool) -> Vec<&'static str> {
    HEADINGS.into_iter().chain(MORE_HEADINGS.into_iter().filter(|_| wide)).collect()
}

fn people(catalog: &Catalog, found: &[Row], count: usize, wide: bool) -> anyhow::Result<String> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(headings(wide));
    for row in found {
        table.add_row(cells(row, wide)?);
    }
    align(&mut table, &headings(wide));
    let mut text = if found.is_empty() { String::new() } else { lines(&table) };
    let shown = if found.len() < count { format!(" (the first {} shown)", found.len()) } else { String::new() };
    writeln!(
        text,
        "{count} of {} instance types of {}{shown}, prices of {}; ~ estimated",
        catalog.instance_types.len(),
        catalog.region,
        catalog.as_of
    )?;
    Ok(text)
}

fn align(table: &mut Table, headings: &[&str]) {
    for (index, heading) in headings.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            let words = WORDS.contains(heading);
            column.set_cell_alignment(if words { CellAlignment::Left } else { CellAlignment::Right });
            column.set_padding((0, 2));
        }
    }
}

/// The table without spaces at the end of lines.
fn lines(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn markdown(found: &[Row]) -> anyhow::Result<String> {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(headings(false));
    for row in found {
        table.add_row(cells(row, false)?);
    }
    Ok(format!("{table}\n"))
}

fn csv(found: &[Row]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "instance_type",
        "arch",
        "vcpu",
        "memory_mib",
        "devices",
        "on_demand_usd_per_hour",
        "spot_usd_per_hour",
        "spot_estimated",
        "interruption_band",
        "usd_per_vcpu_hour",
        "usd_per_gib_hour",
        "zones",
        "allocatable_cpu_millicores",
        "allocatable_memory_bytes",
        "allocatable_pods",
    ])?;
    for row in found {
        let instance = &row.instance;
        let offered = offered(instance)?;
        let spot = row.cheapest_of("spot");
        let devices = instance.gpus.iter().map(|(name, count)| format!("{name}={count}")).collect::<Vec<_>>();
        writer.write_record([
            instance.name.clone(),
            instance.arch.clone(),
            instance.vcpu.to_string(),
            instance.memory_mib.to_string(),
            devices.join(" "),
            row.cheapest_of("on-demand").map(|offering| offering.price.to_string()).unwrap_or_default(),
            spot.map(|offering| offering.price.to_string()).unwrap_or_default(),
            spot.map(|offering| offering.estimated.to_string()).unwrap_or_default(),
            spot.and_then(|offering| offering.interruption).map(|band| band.to_string()).unwrap_or_default(),
            format!("{:.6}", row.price_per_vcpu()),
            format!("{:.6}", row.price_per_gib()),
            row.zones().join(" "),
            offered["cpu"].to_string(),
            offered["memory"].to_string(),
            offered["pods"].to_string(),
        ])?;
    }
    Ok(String::from_utf8(writer.into_inner().context("writing CSV")?)?)
}

fn show(arguments: &ShowArguments, out: &mut dyn Write) -> anyhow::Result<()> {
    let catalog = load(arguments.source.catalog.as_deref(), arguments.source.region.as_deref())?;
    let Some(instance) = catalog.instance_types.iter().find(|found| found.name == arguments.name) else {
        let near = nearest(&arguments.name, catalog.instance_types.iter().map(|found| found.name.as_str()), 5);
        let error = BadInput::new(format!("the catalogue of {} has no type {:?}", catalog.region, arguments.name));
        let error = if near.is_empty() { error } else { error.hint(format!("nearest: {}", near.join(", "))) };
        return Err(error.into());
    };
    let offered = offered(instance)?;
    let text = match arguments.output {
        ShowFormat::Table => describe(instance, &offered)?,
        ShowFormat::Json | ShowFormat::Yaml => {
            let offered =
                offered.iter().map(|(name, amount)| (name.clone(), Value::from(quantity::format(name, *amount))));
            let instance = InstanceType { allocatable: Some(offered.collect()), ..instance.clone() };
            if arguments.output == ShowFormat::Json { json(&instance)? } else { serde_saphyr::to_string(&instance)? }
        }
    };
    Ok(out.write_all(text.as_bytes())?)
}

fn describe(instance: &InstanceType, offered: &std::collections::BTreeMap<String, i64>) -> anyhow::Result<String> {
    let mut text = String::new();
    writeln!(text, "{}: {} vCPU, {}, {}", instance.name, instance.vcpu, memory(instance), instance.arch)?;
    writeln!(text, "\nOffered to pods:")?;
    for (resource, amount) in offered {
        writeln!(text, "  {resource}: {}", quantity::format(resource, *amount))?;
    }
    if let Some(volumes) = instance.max_volume_attachments {
        writeln!(text, "  volumes besides the root volume: {volumes}")?;
    }
    writeln!(text, "\nLabels:")?;
    for (label, value) in &instance.labels {
        writeln!(text, "  {label}: {value}")?;
    }
    writeln!(text, "\nOfferings (~ estimated):")?;
    let mut table = Table::new();
    let headings = ["  ZONE", "CAPACITY TYPE", "$/H", "$/MONTH", "$/VCPU", "$/GIB", "INTERRUPTION"];
    table.load_preset(presets::NOTHING).set_header(headings);
    for offering in &instance.offerings {
        /// Hours of a month, as AWS counts them.
        const MONTH: f64 = 730.0;
        table.add_row([
            format!("  {}", offering.zone),
            offering.capacity_type.clone(),
            dollars(offering),
            format!("{:.2}", offering.price * MONTH),
            format!("{:.4}", offering.price / f64::from(instance.vcpu)),
            format!("{:.4}", offering.price * 1024.0 / instance.memory_mib as f64),
            interruption(offering),
        ]);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_cell_alignment(if index < 2 { CellAlignment::Left } else { CellAlignment::Right });
        column.set_padding((0, 2));
    }
    text.push_str(&lines(&table));
    Ok(text)
}

fn export(arguments: &ExportArguments, out: &mut dyn Write) -> anyhow::Result<()> {
    let catalog = load(arguments.source.catalog.as_deref(), arguments.source.region.as_deref())?;
    let text = json(&catalog)?;
    match &arguments.output_file {
        None => Ok(out.write_all(text.as_bytes())?),
        Some(path) => std::fs::write(path, text)
            .map_err(BadInput::from_error)
            .with_context(|| format!("cannot write {}", path.display())),
    }
}
