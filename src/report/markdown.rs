//! The plan as GitHub's Markdown, for a pull request or a wiki: <https://github.github.com/gfm/#tables-extension->.

use super::bars::whole_percent;
use super::table::short_resource;
use super::{Report, Terminal, groups, words};

pub(super) fn render(report: &Report<'_>) -> String {
    let plan = report.plan;
    let terminal = Terminal::default();
    let common = groups::common_namespace(plan);
    let mut text = format!("**{}**\n", escaped(&words::headline(plan)));
    let groups = groups::groups(plan, report.workloads);
    if !groups.is_empty() {
        let extended = groups::extended_resources(plan);
        let mut header =
            "| Nodes | Pool | Instance type | Zone | Capacity | $/h each | $/h | CPU | Memory |".to_owned();
        let mut line = "|--:|---|---|---|---|--:|--:|--:|--:|".to_owned();
        for name in &extended {
            header.push_str(&format!(" {} |", escaped(short_resource(name))));
            line.push_str("--:|");
        }
        text.push_str(&format!("\n{header} Pods on each |\n{line}---|\n"));
        for group in &groups {
            let node = group.node;
            let mut row = format!(
                "| {} | {} | {} | {} | {} | {:.4} | {:.4} |",
                group.copies,
                escaped(&node.node_pool),
                escaped(&node.instance_type),
                escaped(&node.zone),
                escaped(&node.capacity_type),
                node.hourly_price,
                group.cost(),
            );
            for resource in ["cpu", "memory"].into_iter().chain(extended.iter().map(String::as_str)) {
                let share = groups::usage(node, resource).filter(|usage| usage.allocatable > 0.0);
                let share = share.map_or_else(String::new, |usage| format!("{} %", whole_percent(usage.share())));
                row.push_str(&format!(" {share} |"));
            }
            let pods = super::table::pods(&group.workloads, common, usize::MAX - 1, &terminal).replace('\u{a0}', " ");
            text.push_str(&format!("{row} {} |\n", escaped(&pods)));
        }
    }
    let existing: Vec<_> = plan.existing_nodes.iter().filter(|node| !node.pods.is_empty()).collect();
    if !existing.is_empty() {
        text.push_str("\n| Node already there | Pods |\n|---|--:|\n");
        for node in existing {
            text.push_str(&format!("| {} | {} |\n", escaped(&node.name), node.pods.len()));
        }
    }
    let stopped = groups::stopped(&plan.unschedulable, report.workloads);
    if !stopped.is_empty() {
        text.push_str("\n| Unschedulable | Of | Why |\n|--:|---|---|\n");
        for entry in &stopped {
            let pods = super::table::pods(&entry.workloads, common, 6, &terminal).replace('\u{a0}', " ");
            text.push_str(&format!("| {} | {} | {} |\n", entry.count(), escaped(&pods), escaped(entry.reason)));
        }
    }
    text.push('\n');
    if plan.summary.new_nodes > 0 {
        text.push_str(&format!("- Greedy alone: {}\n", escaped(&words::beside_greedy(&plan.summary))));
    }
    text.push_str(&format!("- Solver: {}\n", escaped(&words::solver(&plan.summary))));
    for note in &plan.notes {
        text.push_str(&format!("- Note: {}\n", escaped(note)));
    }
    text
}

/// Text in which no sign means anything to Markdown.
pub fn escaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '|' | '*' | '_' | '`' | '<' | '>' | '[' | ']' | '\\' | '#' | '~' => {
                plain.push('\\');
                plain.push(sign);
            }
            '\n' | '\r' => plain.push(' '),
            _ => plain.push(sign),
        }
    }
    plain
}
