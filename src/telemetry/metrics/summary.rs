//! Summaries, which prometheus-client does not have: quantiles of what was observed of late, with sum and count of all.
//!
//! Karpenter's quantiles (`SummaryObjectives` in `pkg/metrics/constants.go`) over the window of Go's client (`DefMaxAge` in
//! <https://github.com/prometheus/client_golang/blob/main/prometheus/summary.go>).

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Labels;

/// The quantiles that are told.
const QUANTILES: [f64; 5] = [0.0, 0.5, 0.9, 0.99, 1.0];
/// What is older counts in sum and count alone.
const WINDOW: Duration = Duration::from_secs(10 * 60);
/// So many of the last observations are kept at most.
const MOST: usize = 10_000;

/// A summary for each set of labels.
#[derive(Debug)]
pub(super) struct Summary {
    name: &'static str,
    help: &'static str,
    seen: Mutex<BTreeMap<Labels, Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    sum: f64,
    count: u64,
    late: VecDeque<(Instant, f64)>,
}

impl Summary {
    pub(super) fn new(name: &'static str, help: &'static str) -> Self {
        Summary { name, help, seen: Mutex::default() }
    }

    /// Takes note of one more.
    pub(super) fn observe(&self, labels: Labels, value: f64, now: Instant) {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = all.entry(labels).or_default();
        seen.sum += value;
        seen.count += 1;
        if seen.late.len() == MOST {
            seen.late.pop_front();
        }
        seen.late.push_back((now, value));
    }

    /// Writes it in OpenMetrics' text.
    pub(super) fn encode(&self, text: &mut String, now: Instant) -> fmt::Result {
        let name = self.name;
        writeln!(text, "# HELP {name} {}.\n# TYPE {name} summary", self.help)?;
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (labels, seen) in all.iter_mut() {
            let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
            seen.encode(text, name, &labels.join(","), now)?;
        }
        Ok(())
    }
}

impl Seen {
    fn encode(&mut self, text: &mut String, name: &str, labels: &str, now: Instant) -> fmt::Result {
        self.late.retain(|(at, _)| now.duration_since(*at) < WINDOW);
        let mut values: Vec<f64> = self.late.iter().map(|(_, value)| *value).collect();
        values.sort_by(f64::total_cmp);
        let comma = if labels.is_empty() { "" } else { "," };
        for quantile in QUANTILES {
            let rank = ((quantile * values.len() as f64).ceil() as usize).max(1);
            let value = values.get(rank - 1).copied().unwrap_or(f64::NAN);
            writeln!(text, "{name}{{{labels}{comma}quantile=\"{quantile}\"}} {value}")?;
        }
        let set = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        writeln!(text, "{name}_sum{set} {}\n{name}_count{set} {}", self.sum, self.count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn quantiles_are_of_late_and_sum_and_count_of_all() {
        let summary = Summary::new("x_seconds", "X");
        let begin = Instant::now();
        let told = |seconds: u64| {
            let mut text = String::new();
            summary.encode(&mut text, begin + Duration::from_secs(seconds)).unwrap();
            text
        };
        assert_eq!(told(0), "# HELP x_seconds X.\n# TYPE x_seconds summary\n");
        (1..=10).for_each(|value| summary.observe(Vec::new(), f64::from(value), begin));
        let quantile = |quantile: &str, value: &str| format!("x_seconds{{quantile=\"{quantile}\"}} {value}\n");
        let all = [("0", "1"), ("0.5", "5"), ("0.9", "9"), ("0.99", "10"), ("1", "10")];
        let all: String = all.map(|(part, value)| quantile(part, value)).concat();
        assert!(told(599).ends_with(&format!("{all}x_seconds_sum 55\nx_seconds_count 10\n")), "{}", told(599));
        summary.observe(Vec::new(), 2.5, begin + Duration::from_secs(300));
        assert!(told(600).contains(&quantile("0.5", "2.5")), "{}", told(600));
        assert!(told(600).ends_with("x_seconds_sum 57.5\nx_seconds_count 11\n"), "{}", told(600));
    }
}
