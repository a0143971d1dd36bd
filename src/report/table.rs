//! The plan for a person at a terminal: nodes that are alike in one row, and the dearest first.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, TableComponent};

use super::bars::{bar, whole_percent};
use super::groups::{self, Group};
use super::{Report, Terminal, words};

/// Rows of nodes beyond which a person is better served by the wide form.
const MOST_ROWS: usize = 40;
/// Reasons beyond which the rest is only counted.
const MOST_REASONS: usize = 12;
/// Length of the utilisation bars and whether the price of one node is shown, the best first.
const LOOKS: [(usize, bool); 4] = [(10, true), (5, true), (0, true), (0, false)];
/// What the pods' column should have.
const ROOM_FOR_PODS: u16 = 28;

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// An empty table in the style of all of supercargo's tables: a bold header over a thin line, nothing else.
pub fn columns(terminal: &Terminal, headers: &[(&str, Layout)]) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_style(TableComponent::HeaderLines, terminal.rule());
    table.set_style(TableComponent::MiddleHeaderIntersections, terminal.rule());
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(terminal.width).enforce_styling();
    table.set_header(headers.iter().map(|(name, _)| Cell::new(name).add_attribute(Attribute::Bold)));
    for (column, (_, layout)) in table.column_iter_mut().zip(headers) {
        column.set_padding((0, 1));
        column.set_cell_alignment(if *layout == Layout::Right { CellAlignment::Right } else { CellAlignment::Left });
    }
    table
}

/// The table's text, without the blanks that fill its last column.
pub fn finished(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

pub(super) fn render(report: &Report<'_>, terminal: &Terminal) -> String {
    let groups = groups::groups(report.plan, report.workloads);
    let mut text = headline(report);
    if !groups.is_empty() {
        text.push('\n');
        text.push_str(&nodes(report, &groups, terminal));
    }
    text.push_str(&existing(report, terminal));
    text.push_str(&unschedulable(report, terminal));
    text.push('\n');
    text.push_str(&footer(report));
    text
}

/// The headline, bold.
pub(super) fn headline(report: &Report<'_>) -> String {
    let bold = anstyle::Style::new().bold();
    format!("{bold}{}{bold:#}\n", words::headline(report.plan))
}

fn nodes(report: &Report<'_>, groups: &[Group<'_>], terminal: &Terminal) -> String {
    // One row more than the limit is better shown than spoken of.
    let shown = if groups.len() <= MOST_ROWS + 1 { groups.len() } else { MOST_ROWS };
    let mut text = String::new();
    for look in LOOKS {
        let mut table = nodes_table(report, &groups[..shown], look, terminal);
        let widths = table.column_max_content_widths();
        let (pods, fixed) = widths.split_last().unwrap_or((&0, &[]));
        // Each column has one blank of padding and one of a separator.
        let taken: u16 = fixed.iter().map(|width| width + 2).sum::<u16>() + 2;
        if taken + ROOM_FOR_PODS.min(*pods) <= terminal.width || Some(&look) == LOOKS.last() {
            // A table that is still too wide is better cut off by the terminal than broken within words.
            table.set_width(terminal.width.max(taken + ROOM_FOR_PODS / 2));
            text = finished(&table);
            break;
        }
    }
    if shown < groups.len() {
        let rest = &groups[shown..];
        let nodes: u64 = rest.iter().map(|group| group.copies).sum();
        let cost: f64 = rest.iter().map(Group::cost).sum();
        let ellipsis = terminal.ellipsis();
        text.push_str(&format!(
            " {ellipsis} and {} in {} other combinations for {}/h (-o wide shows all)\n",
            words::counted(nodes, "node"),
            words::count(rest.len() as u64),
            words::dollars(cost),
        ));
    }
    text
}

fn nodes_table(report: &Report<'_>, groups: &[Group<'_>], look: (usize, bool), terminal: &Terminal) -> Table {
    let (cells, each) = look;
    let plan = report.plan;
    let extended = groups::extended_resources(plan);
    let pools = plan.nodes.iter().any(|node| node.node_pool != plan.nodes[0].node_pool);
    let mut headers = vec![("Nodes", Layout::Right)];
    if pools {
        headers.push(("Pool", Layout::Left));
    }
    headers.extend([("Instance type", Layout::Left), ("Zone", Layout::Left), ("Capacity", Layout::Left)]);
    if each {
        headers.push(("$/h each", Layout::Right));
    }
    headers.extend([("$/h", Layout::Right), ("CPU", Layout::Left), ("Memory", Layout::Left)]);
    headers.extend(extended.iter().map(|name| (short_resource(name), Layout::Right)));
    headers.push(("Pods on each", Layout::Left));
    let mut table = columns(terminal, &headers);
    // Only the pods wrap: a broken price or bar can't be read.
    for column in table.column_iter_mut().take(headers.len() - 1) {
        column.set_constraint(comfy_table::ColumnConstraint::ContentWidth);
    }
    let common = groups::common_namespace(plan);
    for group in groups {
        let node = group.node;
        let mut row = vec![Cell::new(words::count(group.copies))];
        if pools {
            row.push(Cell::new(&node.node_pool));
        }
        row.extend([
            Cell::new(&node.instance_type).fg(Color::Cyan),
            Cell::new(&node.zone),
            Cell::new(&node.capacity_type),
        ]);
        if each {
            row.push(Cell::new(plain_dollars(node.hourly_price)));
        }
        row.push(Cell::new(plain_dollars(group.cost())));
        for resource in ["cpu", "memory"] {
            row.push(utilisation(group, resource, cells, terminal));
        }
        for resource in &extended {
            row.push(Cell::new(ratio(group, resource)));
        }
        row.push(Cell::new(pods(&group.workloads, common, 6, terminal)));
        table.add_row(row);
    }
    table
}

fn utilisation(group: &Group<'_>, resource: &str, cells: usize, terminal: &Terminal) -> Cell {
    let share = groups::usage(group.node, resource).map_or(0.0, |usage| usage.share());
    let color = match share {
        share if share >= 0.75 => Color::Green,
        share if share >= 0.4 => Color::Yellow,
        _ => Color::DarkGrey,
    };
    Cell::new(bar(share, cells, terminal)).fg(color)
}

/// `8/8` of a counted resource, blank where the node has none.
fn ratio(group: &Group<'_>, resource: &str) -> String {
    groups::usage(group.node, resource).filter(|usage| usage.allocatable > 0.0).map_or_else(String::new, |usage| {
        format!("{}/{}", words::amount(resource, usage.requested), words::amount(resource, usage.allocatable))
    })
}

/// A resource's name without its domain.
pub(super) fn short_resource(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, short)| short)
}

/// A price in a column whose header has the dollar sign.
pub(super) fn plain_dollars(amount: f64) -> String {
    format!("{amount:.4}")
}

/// `12 × web, 3 × api, 2 others`, at most `most` workloads.
pub(super) fn pods(workloads: &[(&str, u64)], common: Option<&str>, most: usize, terminal: &Terminal) -> String {
    let times = terminal.times();
    // One more is better said than counted.
    let shown = if workloads.len() <= most + 1 { workloads.len() } else { most };
    let mut parts: Vec<String> = workloads[..shown]
        .iter()
        .map(|(name, count)| {
            let name = groups::short(name, common);
            // A no-break space keeps the count beside its name where a cell wraps.
            if *count == 1 { name.to_owned() } else { format!("{count}\u{a0}{times}\u{a0}{name}") }
        })
        .collect();
    if shown < workloads.len() {
        let pods: u64 = workloads[shown..].iter().map(|(_, count)| count).sum();
        parts.push(format!("{}\u{a0}of\u{a0}{}\u{a0}others", words::count(pods), workloads.len() - shown));
    }
    let joined = parts.join(", ");
    if terminal.unicode { joined } else { joined.replace('\u{a0}', " ") }
}

fn existing(report: &Report<'_>, terminal: &Terminal) -> String {
    let nodes = &report.plan.existing_nodes;
    let pods: usize = nodes.iter().map(|node| node.pods.len()).sum();
    if pods == 0 {
        return String::new();
    }
    let mut parts: Vec<String> = nodes
        .iter()
        .filter(|node| !node.pods.is_empty())
        .take(8)
        .map(|node| format!("{} {} {}", node.name, terminal.times(), node.pods.len()))
        .collect();
    let used = nodes.iter().filter(|node| !node.pods.is_empty()).count();
    if used > parts.len() {
        parts.push(format!("and {} more", used - parts.len()));
    }
    format!(
        "\n{} on {} already there: {}\n",
        words::counted(pods as u64, "pod"),
        words::counted(used as u64, "node"),
        parts.join(", ")
    )
}

fn unschedulable(report: &Report<'_>, terminal: &Terminal) -> String {
    let stopped = groups::stopped(&report.plan.unschedulable, report.workloads);
    if stopped.is_empty() {
        return String::new();
    }
    let red = anstyle::AnsiColor::Red.on_default().bold();
    let total: u64 = stopped.iter().map(groups::Stopped::count).sum();
    let mut text = format!("\n{red}{} unschedulable{red:#}\n", words::counted(total, "pod"));
    let common = groups::common_namespace(report.plan);
    let mut table = columns(terminal, &[("Pods", Layout::Right), ("Of", Layout::Left), ("Why", Layout::Left)]);
    for entry in stopped.iter().take(MOST_REASONS) {
        table.add_row(vec![
            words::count(entry.count()),
            pods(&entry.workloads, common, 3, terminal),
            entry.reason.to_owned(),
        ]);
    }
    text.push_str(&finished(&table));
    if stopped.len() > MOST_REASONS {
        let rest = &stopped[MOST_REASONS..];
        let pods: u64 = rest.iter().map(groups::Stopped::count).sum();
        text.push_str(&format!(
            " {} and {} for {} other reasons (-o wide shows all)\n",
            terminal.ellipsis(),
            words::counted(pods, "pod"),
            rest.len()
        ));
    }
    text
}

/// Greedy, utilisation, solver and notes.
pub(super) fn footer(report: &Report<'_>) -> String {
    let plan = report.plan;
    let dim = anstyle::Style::new().dimmed();
    let mut text = String::new();
    let mut line = |name: &str, words: &str| text.push_str(&format!("{dim}{name:<13}{dim:#}{words}\n"));
    if plan.summary.new_nodes > 0 {
        let share = |resource: &str| {
            let total = groups::total(plan, resource);
            format!("{} % of {}", whole_percent(total.share()), words::amount(resource, total.allocatable))
        };
        line("Utilisation", &format!("cpu {} cores, memory {}", share("cpu"), share("memory")));
        line("Greedy alone", &words::beside_greedy(&plan.summary));
    }
    line("Solver", &words::solver(&plan.summary));
    if !report.stages.is_empty() {
        line("Stages", &words::stages(report.stages));
    }
    let yellow = anstyle::AnsiColor::Yellow.on_default();
    for note in &plan.notes {
        text.push_str(&format!("{yellow}note:{yellow:#} {note}\n"));
    }
    text
}
