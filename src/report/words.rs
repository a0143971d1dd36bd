//! Numbers as a person reads them, and the sentences that sum a plan up.

use supercargo_models::plan::{Plan, Summary};
use supercargo_models::solver::Status;

/// Hours in a month of a bill: 365 days x 24 hours / 12.
pub const HOURS_A_MONTH: f64 = 730.0;

/// `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 node`, `12 nodes`.
pub fn counted(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{} {noun}s", count(number)) }
}

/// Dollars an hour with as many decimals as tell something: `$3.41`, `$0.0731`, `$1,049.72`.
pub fn dollars(amount: f64) -> String {
    let decimals = if amount.abs() >= 1.0 || amount == 0.0 { 2 } else { 4 };
    let text = format!("{:.decimals$}", amount.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let sign = if amount < 0.0 { "-" } else { "" };
    format!("{sign}${}.{fraction}", whole.parse().map(count).unwrap_or_else(|_| whole.to_owned()))
}

/// Dollars a month, whole ones from ten up: `$2,489`, `$5.20`.
pub fn dollars_a_month(hourly: f64) -> String {
    let amount = hourly * HOURS_A_MONTH;
    if amount.abs() < 10.0 {
        return format!("${amount:.2}");
    }
    // A cast saturates; no bill is that high.
    format!("${}", count(amount.round() as u64))
}

/// A share rounded up, so that it never promises too much: `0.7 %`, `0.02 %`.
pub fn at_most_percent(share: f64) -> String {
    let percent = share.max(0.0) * 100.0;
    let up = |scale: f64| ((percent * scale - 1e-6).ceil() / scale).max(0.0);
    if percent > 0.1 { format!("{:.1} %", up(10.0)) } else { format!("{:.2} %", up(100.0)) }
}

/// A share, rounded: `13.0 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// `48 ms`, `1.2 s`, `75 s`.
pub fn seconds(seconds: f64) -> String {
    if seconds < 0.9995 {
        format!("{:.0} ms", seconds * 1000.0)
    } else if seconds < 9.95 {
        format!("{seconds:.1} s")
    } else {
        format!("{seconds:.0} s")
    }
}

/// How far from optimal the plan can be: `proven optimal`, `within 0.7 % of optimal`, `greedy, no bound`.
pub fn quality(summary: &Summary) -> String {
    match (summary.status, summary.gap) {
        (Status::Optimal, _) => "proven optimal".to_owned(),
        (_, Some(gap)) if summary.lower_bound.is_some_and(|bound| bound > 0.0) => {
            format!("within {} of optimal", at_most_percent(gap))
        }
        (Status::Greedy, _) => "by the greedy alone, no bound".to_owned(),
        (Status::Feasible, _) => "no bound".to_owned(),
    }
}

/// How many pods found a place: `all 526 pods placed`.
pub fn placed(plan: &Plan) -> String {
    let summary = &plan.summary;
    let existing: usize = plan.existing_nodes.iter().map(|node| node.pods.len()).sum();
    let mut text = match (summary.pods, summary.unschedulable) {
        (0, _) => "no pods wait".to_owned(),
        (1, 0) => "the one pod placed".to_owned(),
        (pods, 0) => format!("all {} pods placed", count(pods)),
        (pods, _) => format!("{} of {} placed", count(summary.scheduled), counted(pods, "pod")),
    };
    if existing > 0 {
        text.push_str(&format!(" ({} on nodes that are there)", count(existing as u64)));
    }
    text
}

/// The plan in one line: `12 nodes, $3.41/h, $2,489/month; within 0.7 % of optimal; all 526 pods placed; 1.2 s`.
pub fn headline(plan: &Plan) -> String {
    let summary = &plan.summary;
    let mut parts = vec![match summary.new_nodes {
        0 => "no new nodes, $0/h".to_owned(),
        nodes => format!(
            "{}, {}/h, {}/month",
            counted(nodes, "node"),
            dollars(summary.hourly_cost),
            dollars_a_month(summary.hourly_cost)
        ),
    }];
    if summary.pods > 0 {
        parts.push(quality(summary));
    }
    parts.push(placed(plan));
    if summary.solve_seconds > 0.0 {
        parts.push(seconds(summary.solve_seconds));
    }
    parts.join("; ")
}

/// The greedy's price beside the plan's: `$3.92/h; this plan is 13.0 % cheaper, $372/month less`.
pub fn beside_greedy(summary: &Summary) -> String {
    let greedy = summary.greedy_hourly_cost;
    let saved = greedy - summary.hourly_cost;
    let price = format!("{}/h", dollars(greedy));
    if greedy <= 0.0 || saved.abs() < 5e-7 {
        format!("{price}, the same")
    } else if saved > 0.0 {
        format!("{price}; this plan is {} cheaper, {}/month less", percent(saved / greedy), dollars_a_month(saved))
    } else {
        // Where the greedy places fewer pods it may cost less.
        format!("{price}; this plan is {} dearer", percent(-saved / greedy))
    }
}

/// What the solver says of itself: `highs, feasible; bound $3.39/h, gap 0.7 %; 526 pods in 41 shapes`.
pub fn solver(summary: &Summary) -> String {
    let status = match summary.status {
        Status::Optimal => "optimal",
        Status::Feasible => "feasible",
        Status::Greedy => "greedy",
    };
    let mut text = if summary.solver == status { status.to_owned() } else { format!("{}, {status}", summary.solver) };
    match (summary.lower_bound, summary.gap) {
        (Some(bound), Some(gap)) => {
            text.push_str(&format!("; bound {}/h, gap {}", dollars(bound), at_most_percent(gap)));
        }
        _ => text.push_str("; no bound"),
    }
    text.push_str(&format!("; {} in {}", counted(summary.pods, "pod"), counted(summary.shapes, "shape")));
    text
}

/// The solver's stages with their times: `greedy 12 ms, columns 310 ms`.
pub fn stages(stages: &[(String, f64)]) -> String {
    stages.iter().map(|(name, took)| format!("{name} {}", seconds(*took))).collect::<Vec<_>>().join(", ")
}

/// An amount of a resource for people: `95.7`, `6.7 GiB`.
pub fn amount(resource: &str, units: f64) -> String {
    const KIB: f64 = 1024.0;
    match resource {
        "cpu" => trimmed(units / 1000.0, if units >= 10_000.0 { 1 } else { 2 }),
        "memory" | "ephemeral-storage" => {
            let (scaled, unit) = if units >= KIB.powi(4) * 10.0 {
                (units / KIB.powi(4), "TiB")
            } else if units >= KIB.powi(3) {
                (units / KIB.powi(3), "GiB")
            } else {
                (units / KIB.powi(2), "MiB")
            };
            format!("{} {unit}", trimmed(scaled, if scaled >= 100.0 { 0 } else { 1 }))
        }
        _ => trimmed(units, 2),
    }
}

fn trimmed(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "node"), "1 node");
        assert_eq!(counted(1200, "pod"), "1,200 pods");
        assert_eq!(dollars(3.4096), "$3.41");
        assert_eq!(dollars(0.0731), "$0.0731");
        assert_eq!(dollars(1049.7197), "$1,049.72");
        assert_eq!(dollars(0.0), "$0.00");
        assert_eq!(dollars_a_month(3.41), "$2,489");
        assert_eq!(dollars_a_month(0.0052), "$3.80");
        assert_eq!(seconds(0.0481), "48 ms");
        assert_eq!(seconds(1.23), "1.2 s");
        assert_eq!(seconds(75.4), "75 s");
        assert_eq!(amount("cpu", 95_690.0), "95.7");
        assert_eq!(amount("cpu", 250.0), "0.25");
        assert_eq!(amount("memory", 512.0 * 1024.0 * 1024.0), "512 MiB");
        assert_eq!(amount("memory", 6.7 * 1024.0 * 1024.0 * 1024.0), "6.7 GiB");
    }

    #[test]
    fn a_gap_is_never_told_smaller_than_it_is() {
        assert_eq!(at_most_percent(0.007), "0.7 %");
        assert_eq!(at_most_percent(0.00701), "0.8 %");
        assert_eq!(at_most_percent(0.00001), "0.01 %");
        assert_eq!(at_most_percent(0.00014), "0.02 %");
        assert_eq!(at_most_percent(0.0), "0.00 %");
    }
}
