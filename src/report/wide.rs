//! The plan for a person who wants it all: every node by name with its pods and what could stand in for it, and every
//! pod that found no place.

use comfy_table::{Cell, Color};

use super::bars::whole_percent;
use super::table::{Layout, columns, finished, footer, headline, plain_dollars, short_resource};
use super::workloads::in_runs;
use super::{Report, Terminal, groups, words};

/// A terminal narrower than this has to scroll or wrap, as with kubectl's wide form.
const LEAST_WIDTH: u16 = 180;

pub(super) fn render(report: &Report<'_>, terminal: &Terminal) -> String {
    let terminal = &Terminal { width: terminal.width.max(LEAST_WIDTH), ..*terminal };
    let plan = report.plan;
    let mut text = headline(report);
    if !plan.nodes.is_empty() {
        text.push('\n');
        text.push_str(&nodes(report, terminal));
    }
    if plan.existing_nodes.iter().any(|node| !node.pods.is_empty()) {
        text.push_str("\nOn nodes already there\n");
        let mut table = columns(terminal, &[("Node", Layout::Left), ("Pods", Layout::Right), ("Names", Layout::Left)]);
        for node in plan.existing_nodes.iter().filter(|node| !node.pods.is_empty()) {
            table.add_row(vec![
                node.name.clone(),
                node.pods.len().to_string(),
                in_runs(&node.pods, terminal.ellipsis()).join(" "),
            ]);
        }
        text.push_str(&finished(&table));
    }
    if !plan.unschedulable.is_empty() {
        text.push_str("\nUnschedulable\n");
        let mut table = columns(terminal, &[("Pod", Layout::Left), ("Why", Layout::Left)]);
        for entry in &plan.unschedulable {
            table.add_row(vec![&entry.pod, &entry.reason]);
        }
        text.push_str(&finished(&table));
    }
    text.push('\n');
    text.push_str(&footer(report));
    text
}

fn nodes(report: &Report<'_>, terminal: &Terminal) -> String {
    let plan = report.plan;
    let extended = groups::extended_resources(plan);
    let mut headers = vec![
        ("Node", Layout::Left),
        ("Instance type", Layout::Left),
        ("Zone", Layout::Left),
        ("Capacity", Layout::Left),
        ("$/h", Layout::Right),
        ("CPU", Layout::Right),
        ("Memory", Layout::Right),
    ];
    headers.extend(extended.iter().map(|name| (short_resource(name), Layout::Right)));
    headers.extend([("Pods", Layout::Right), ("Next best", Layout::Left), ("Names", Layout::Left)]);
    let mut table = columns(terminal, &headers);
    for column in table.column_iter_mut().take(headers.len() - 1) {
        column.set_constraint(comfy_table::ColumnConstraint::ContentWidth);
    }
    for node in &plan.nodes {
        let used = |resource: &str| {
            groups::usage(node, resource).map_or_else(String::new, |usage| {
                format!(
                    "{}/{} {:>3} %",
                    words::amount(resource, usage.requested),
                    words::amount(resource, usage.allocatable),
                    whole_percent(usage.share())
                )
            })
        };
        let mut row = vec![
            Cell::new(&node.name),
            Cell::new(&node.instance_type).fg(Color::Cyan),
            Cell::new(&node.zone),
            Cell::new(&node.capacity_type),
            Cell::new(plain_dollars(node.hourly_price)),
            Cell::new(used("cpu")),
            Cell::new(used("memory")),
        ];
        row.extend(extended.iter().map(|resource| Cell::new(used(resource))));
        let next = node.alternatives.iter().take(2).map(|next| {
            format!("{} {} {}", next.instance_type, next.zone, plain_dollars(next.hourly_price)).replace(' ', "\u{a0}")
        });
        let next = next.collect::<Vec<_>>().join("\n");
        row.extend([
            Cell::new(node.pods.len()),
            Cell::new(if terminal.unicode { next } else { next.replace('\u{a0}', " ") }),
            Cell::new(in_runs(&node.pods, terminal.ellipsis()).join(" ")),
        ]);
        table.add_row(row);
    }
    finished(&table)
}
