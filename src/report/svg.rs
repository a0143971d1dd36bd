//! The packing as a picture: one bar a resource of a node, one segment a pod, coloured by workload.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::groups::{self, Group, Usage};
use super::{Report, words};

/// Workloads that get a colour of their own; the others share a grey.
pub(super) const COLOURS: usize = 12;
/// A segment of less than this share of the bar shows no gaps between its pods.
const THINNEST_POD: f64 = 0.012;
/// From this share on a segment has room for its count.
const LABEL_ROOM: f64 = 0.09;
/// Height of a bar in CSS pixels.
const HEIGHT: u32 = 22;

/// Which colour each workload has: an index below [`COLOURS`], by how much of the nodes it takes.
pub(super) fn colours<'a>(report: &Report<'a>, groups: &[Group<'a>]) -> Vec<(&'a str, u64, Option<usize>)> {
    let mut weights: BTreeMap<&str, (f64, u64)> = BTreeMap::new();
    for group in groups {
        let usages = groups::usages(group.node);
        for (segment, pods) in group.workloads.iter().map(|entry| (entry.0, entry.1)) {
            let share: f64 = usages
                .iter()
                .filter(|usage| usage.resource != "pods" && usage.allocatable > 0.0)
                .map(|usage| demand(report, group, segment, pods, usage) / usage.allocatable)
                .fold(0.0, f64::max);
            let weight = weights.entry(segment).or_default();
            weight.0 += share * group.cost();
            weight.1 += pods * group.copies;
        }
    }
    let mut ranked: Vec<(&str, f64, u64)> =
        weights.into_iter().map(|(name, (weight, pods))| (name, weight, pods)).collect();
    ranked.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(right.0)));
    ranked
        .into_iter()
        .enumerate()
        .map(|(rank, (name, _, pods))| (name, pods, (rank < COLOURS).then_some(rank)))
        .collect()
}

/// The bar of one resource of the group's node as an SVG element of full width.
pub(super) fn bar(
    report: &Report<'_>,
    group: &Group<'_>,
    usage: &Usage,
    colours: &BTreeMap<&str, usize>,
    common: Option<&str>,
) -> String {
    let mut svg = format!(
        r#"<svg class="bar" width="100%" height="{HEIGHT}" role="img" aria-label="{} {} % used"><rect class="room" width="100%" height="{HEIGHT}"><title>{} of {} free</title></rect>"#,
        escaped(&usage.resource),
        super::bars::whole_percent(usage.share()),
        words::amount(&usage.resource, (usage.allocatable - usage.requested).max(0.0)),
        words::amount(&usage.resource, usage.allocatable),
    );
    let mut start = 0.0;
    let mut pods_take = 0.0;
    for &(workload, pods) in &group.workloads {
        let amount = demand(report, group, workload, pods, usage);
        let share = amount / usage.allocatable;
        pods_take += amount;
        if share <= 0.0 {
            continue;
        }
        let class = colours.get(workload).map_or_else(|| "others".to_owned(), |colour| format!("w{colour}"));
        let title = format!(
            "{pods} × {}: {} ({} %)",
            groups::short(workload, common),
            words::amount(&usage.resource, amount),
            super::bars::whole_percent(share)
        );
        segment(&mut svg, &class, &title, start, share, pods);
        start += share;
    }
    let daemons = usage.requested - pods_take;
    if daemons > usage.allocatable * 1e-6 {
        let title = format!("daemons: {}", words::amount(&usage.resource, daemons));
        segment(&mut svg, "daemons", &title, start, daemons / usage.allocatable, 1);
    }
    svg.push_str("</svg>");
    svg
}

/// What the pods of one workload on a node ask for of a resource. Where nothing is known of the pods, their part is
/// taken to be as large as their number.
fn demand(report: &Report<'_>, group: &Group<'_>, workload: &str, pods: u64, usage: &Usage) -> f64 {
    let mut known = 0.0;
    let mut seen = 0;
    for pod in group.node.pods.iter().filter(|pod| report.workloads.name(pod) == workload) {
        if let Some(demand) = report.workloads.demand(pod) {
            known += demand.requests.get(&usage.resource).copied().unwrap_or(0) as f64;
            seen += 1;
        }
    }
    if seen == pods {
        return known;
    }
    usage.requested * pods as f64 / group.node.pods.len().max(1) as f64
}

fn segment(svg: &mut String, class: &str, title: &str, start: f64, share: f64, pods: u64) {
    // Writing to a string can't fail.
    let _ = write!(svg, r#"<g class="pod {class}"><title>{}</title>"#, escaped(title));
    let each = share / pods as f64;
    let (pieces, width) = if each >= THINNEST_POD { (pods, each) } else { (1, share) };
    for piece in 0..pieces {
        let _ = write!(
            svg,
            r#"<rect x="{:.3}%" width="{:.3}%" height="{HEIGHT}"/>"#,
            (start + width * piece as f64) * 100.0,
            width * 100.0
        );
    }
    if share >= LABEL_ROOM && pods > 1 {
        let _ = write!(svg, r#"<text x="{:.3}%" y="15">{pods}</text>"#, (start + share / 2.0) * 100.0);
    }
    svg.push_str("</g>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
