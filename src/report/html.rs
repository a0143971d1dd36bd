//! The plan as one page that needs nothing but a browser: no script, no request, readable in light and dark.

use std::collections::BTreeMap;

use anyhow::Context;
use minijinja::{Environment, context};
use serde::Serialize;
use supercargo_models::solver::Status;

use super::bars::whole_percent;
use super::groups::{self, Group};
use super::table::{plain_dollars, pods, short_resource};
use super::{Report, Terminal, svg, words};

/// Nodes drawn; beyond that the picture is a carpet and the page slow.
const MOST_DRAWN: usize = 240;

const PAGE: &str = include_str!("page.html");

#[derive(Serialize)]
struct Figure {
    name: &'static str,
    value: String,
    detail: String,
}

#[derive(Serialize)]
struct Key {
    name: String,
    pods: String,
    colour: usize,
}

#[derive(Serialize)]
struct Bar {
    name: String,
    percent: u64,
    svg: String,
}

#[derive(Serialize)]
struct Card {
    copies: u64,
    instance_type: String,
    place: String,
    price: String,
    bars: Vec<Bar>,
    names: String,
}

#[derive(Serialize)]
struct Row {
    copies: String,
    pool: String,
    instance_type: String,
    zone: String,
    capacity_type: String,
    price: String,
    cost: String,
    shares: Vec<Option<u64>>,
    pods: String,
    next: String,
}

#[derive(Serialize)]
struct Stopped {
    count: String,
    pods: String,
    reason: String,
}

#[derive(Serialize)]
struct Existing {
    name: String,
    pods: String,
}

pub(super) fn render(report: &Report<'_>) -> anyhow::Result<String> {
    let plan = report.plan;
    let terminal = Terminal::default();
    let common = groups::common_namespace(plan);
    let groups = groups::groups(plan, report.workloads);
    let extended = groups::extended_resources(plan);
    let ranked = svg::colours(report, &groups);
    let colours: BTreeMap<&str, usize> =
        ranked.iter().filter_map(|&(name, _, colour)| colour.map(|colour| (name, colour))).collect();
    let legend: Vec<Key> = ranked
        .iter()
        .filter_map(|&(name, pods, colour)| {
            let name = groups::short(name, common).to_owned();
            colour.map(|colour| Key { name, pods: words::count(pods), colour })
        })
        .collect();
    let others: u64 = ranked.iter().filter(|entry| entry.2.is_none()).map(|entry| entry.1).sum();
    let cards: Vec<Card> =
        groups.iter().take(MOST_DRAWN).map(|group| card(report, group, &extended, &colours, common)).collect();
    let rows: Vec<Row> = groups.iter().map(|group| row(group, &extended, common, &terminal)).collect();
    let stopped: Vec<Stopped> = groups::stopped(&plan.unschedulable, report.workloads)
        .iter()
        .map(|entry| Stopped {
            count: words::count(entry.count()),
            pods: pods(&entry.workloads, common, 6, &terminal),
            reason: entry.reason.to_owned(),
        })
        .collect();
    let existing: Vec<Existing> = plan
        .existing_nodes
        .iter()
        .filter(|node| !node.pods.is_empty())
        .map(|node| Existing {
            name: node.name.clone(),
            pods: super::workloads::in_runs(&node.pods, terminal.ellipsis()).join(" "),
        })
        .collect();
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.add_template("page.html", PAGE).context("the page's template")?;
    let page = environment.get_template("page.html").context("the page's template")?;
    let mut text = page
        .render(context! {
            headline => words::headline(plan),
            figures => figures(report),
            legend,
            others => (others > 0).then(|| words::count(others)),
            other_workloads => ranked.iter().filter(|entry| entry.2.is_none()).count(),
            colours => (0..svg::COLOURS).collect::<Vec<_>>(),
            undrawn => groups.len().saturating_sub(MOST_DRAWN),
            cards,
            resources => extended.iter().map(|name| short_resource(name)).collect::<Vec<_>>(),
            rows,
            existing,
            stopped,
            solver => words::solver(&plan.summary),
            stages => words::stages(report.stages),
            notes => &plan.notes,
        })
        .context("writing the page")?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn figures(report: &Report<'_>) -> Vec<Figure> {
    let summary = &report.plan.summary;
    let quality = match (summary.status, summary.gap) {
        (Status::Optimal, _) => ("proven".to_owned(), "optimal: nothing is cheaper".to_owned()),
        (_, Some(gap)) => (
            words::at_most_percent(gap),
            format!("at most from optimal; bound {}/h", words::dollars(summary.lower_bound.unwrap_or(0.0))),
        ),
        (_, None) => ("no bound".to_owned(), "by the greedy alone".to_owned()),
    };
    let saved = summary.greedy_hourly_cost - summary.hourly_cost;
    let greedy = if summary.greedy_hourly_cost > 0.0 {
        format!("the greedy alone: {}/h", words::dollars(summary.greedy_hourly_cost))
    } else {
        "the greedy buys nothing either".to_owned()
    };
    let share = if summary.greedy_hourly_cost > 0.0 { saved / summary.greedy_hourly_cost } else { 0.0 };
    let waiting = if summary.unschedulable == 0 {
        "all placed".to_owned()
    } else {
        format!("{} unschedulable", words::count(summary.unschedulable))
    };
    vec![
        Figure {
            name: "Nodes",
            value: words::count(summary.new_nodes),
            detail: format!(
                "cpu {} %, memory {} % used",
                whole_percent(groups::total(report.plan, "cpu").share()),
                whole_percent(groups::total(report.plan, "memory").share())
            ),
        },
        Figure {
            name: "Cost",
            value: format!("{}/h", words::dollars(summary.hourly_cost)),
            detail: format!("{} a month", words::dollars_a_month(summary.hourly_cost)),
        },
        Figure { name: "Gap", value: quality.0, detail: quality.1 },
        Figure { name: "Saved", value: words::percent(share), detail: greedy },
        Figure { name: "Pods", value: words::count(summary.scheduled), detail: waiting },
    ]
}

fn card(
    report: &Report<'_>,
    group: &Group<'_>,
    extended: &[String],
    colours: &BTreeMap<&str, usize>,
    common: Option<&str>,
) -> Card {
    let node = group.node;
    let resources = ["cpu", "memory"].into_iter().chain(extended.iter().map(String::as_str));
    let bars = resources
        .filter_map(|resource| groups::usage(node, resource))
        .filter(|usage| usage.allocatable > 0.0)
        .map(|usage| Bar {
            name: short_resource(&usage.resource).to_owned(),
            percent: whole_percent(usage.share()),
            svg: svg::bar(report, group, &usage, colours, common),
        })
        .collect();
    let mut names = group.names.iter().take(12).copied().collect::<Vec<_>>().join(" ");
    if group.names.len() > 12 {
        names.push_str(" …");
    }
    Card {
        copies: group.copies,
        instance_type: node.instance_type.clone(),
        place: format!("{} · {}", node.zone, node.capacity_type),
        price: format!("${}/h", plain_dollars(node.hourly_price)),
        bars,
        names,
    }
}

fn row(group: &Group<'_>, extended: &[String], common: Option<&str>, terminal: &Terminal) -> Row {
    let node = group.node;
    let resources = ["cpu", "memory"].into_iter().chain(extended.iter().map(String::as_str));
    Row {
        copies: words::count(group.copies),
        pool: node.node_pool.clone(),
        instance_type: node.instance_type.clone(),
        zone: node.zone.clone(),
        capacity_type: node.capacity_type.clone(),
        price: plain_dollars(node.hourly_price),
        cost: plain_dollars(group.cost()),
        shares: resources
            .map(|resource| {
                let usage = groups::usage(node, resource).filter(|usage| usage.allocatable > 0.0);
                usage.map(|usage| whole_percent(usage.share()))
            })
            .collect(),
        pods: pods(&group.workloads, common, 12, terminal),
        next: node.alternatives.first().map_or_else(String::new, |next| {
            format!("{} {} {}", next.instance_type, next.capacity_type, plain_dollars(next.hourly_price))
        }),
    }
}
