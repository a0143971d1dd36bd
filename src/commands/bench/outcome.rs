//! What came out of a bench, and how it is told.

use std::fmt::Write as _;

use anyhow::Context;
use serde::Serialize;
use supercargo_models::plan::Summary;
use supercargo_models::solver::Status;

use super::anchors::Anchor;
use crate::cli::BadInput;
use crate::report::{Layout, Terminal, columns, escaped, finished, words};

/// All workloads of a bench.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bench {
    workloads: Vec<Entry>,
    /// Geometric mean of cost over Karpenter's cost, over the workloads without `.cap`.
    #[serde(skip_serializing_if = "Option::is_none")]
    geometric_mean: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    workload: String,
    #[serde(flatten)]
    outcome: Workload,
    #[serde(skip_serializing_if = "Option::is_none")]
    karpenter: Option<Beside>,
}

/// Another planner's answer beside ours.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Beside {
    nodes: u64,
    hourly_cost: f64,
    /// Our cost over theirs.
    ratio: f64,
}

/// What came of one workload.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub(super) enum Workload {
    /// It was planned.
    Planned(Box<Run>),
    /// It is not for planning.
    Skipped {
        /// Why.
        reason: String,
    },
    /// It can't be read or understood.
    Broken {
        /// What is wrong.
        error: String,
    },
    /// The program failed on it.
    Failed {
        /// What happened.
        error: String,
    },
}

impl Workload {
    /// The outcome of an error.
    pub fn broken(error: &anyhow::Error) -> Self {
        let text = format!("{error:#}").replace("\n ", ";").replace('\n', "; ");
        if error.chain().any(|cause| cause.is::<BadInput>()) {
            Workload::Broken { error: text }
        } else {
            Workload::Failed { error: text }
        }
    }
}

/// The plan of a workload in numbers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Run {
    pods: u64,
    unschedulable: u64,
    shapes: u64,
    nodes: u64,
    hourly_cost: f64,
    lower_bound: Option<f64>,
    gap: Option<f64>,
    status: Status,
    greedy_hourly_cost: f64,
    load_seconds: f64,
    solve_seconds: f64,
}

impl Run {
    /// The run of a plan.
    pub fn new(summary: &Summary, load_seconds: f64) -> Self {
        Run {
            pods: summary.pods,
            unschedulable: summary.unschedulable,
            shapes: summary.shapes,
            nodes: summary.new_nodes,
            hourly_cost: summary.hourly_cost,
            lower_bound: summary.lower_bound,
            gap: summary.gap,
            status: summary.status,
            greedy_hourly_cost: summary.greedy_hourly_cost,
            load_seconds,
            solve_seconds: summary.solve_seconds,
        }
    }
}

impl Bench {
    /// Adds what came of a workload.
    pub fn add(&mut self, workload: String, outcome: Workload, anchor: Option<&Anchor>) {
        let karpenter = match (&outcome, anchor) {
            (Workload::Planned(run), Some(anchor)) if anchor.karpenter_usd_per_hour > 0.0 => Some(Beside {
                nodes: anchor.karpenter_nodes,
                hourly_cost: anchor.karpenter_usd_per_hour,
                ratio: run.hourly_cost / anchor.karpenter_usd_per_hour,
            }),
            _ => None,
        };
        self.workloads.push(Entry { workload, outcome, karpenter });
        let logarithms: Vec<f64> = self
            .workloads
            .iter()
            .filter(|entry| !entry.workload.ends_with(".cap"))
            .filter_map(|entry| entry.karpenter.map(|beside| beside.ratio.ln()))
            .collect();
        self.geometric_mean =
            (!logarithms.is_empty()).then(|| (logarithms.iter().sum::<f64>() / logarithms.len() as f64).exp());
    }

    /// How many files are broken, and on how many the program failed.
    pub fn failures(&self) -> (usize, usize) {
        let count =
            |wanted: fn(&Workload) -> bool| self.workloads.iter().filter(|entry| wanted(&entry.outcome)).count();
        (
            count(|outcome| matches!(outcome, Workload::Broken { .. })),
            count(|outcome| matches!(outcome, Workload::Failed { .. })),
        )
    }

    fn headers(&self) -> Vec<&'static str> {
        let mut headers = vec!["Workload", "Pods", "Shapes", "Nodes", "$/h", "Bound", "Gap", "Greedy", "Load", "Solve"];
        if self.geometric_mean.is_some() || self.workloads.iter().any(|entry| entry.karpenter.is_some()) {
            headers.extend(["Karpenter", "Ratio"]);
        }
        headers
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let beside = self.headers().len() > 10;
        self.workloads
            .iter()
            .filter_map(|entry| {
                let Workload::Planned(run) = &entry.outcome else { return None };
                let mut row = vec![
                    entry.workload.clone(),
                    words::count(run.pods),
                    words::count(run.shapes),
                    words::count(run.nodes),
                    format!("{:.4}", run.hourly_cost),
                    run.lower_bound.map_or_else(String::new, |bound| format!("{bound:.4}")),
                    match (run.status, run.gap) {
                        (Status::Optimal, _) => "optimal".to_owned(),
                        (_, Some(gap)) => words::at_most_percent(gap),
                        (_, None) => "none".to_owned(),
                    },
                    format!("{:.4}", run.greedy_hourly_cost),
                    words::seconds(run.load_seconds),
                    words::seconds(run.solve_seconds),
                ];
                if beside {
                    row.push(entry.karpenter.map_or_else(String::new, |other| format!("{:.4}", other.hourly_cost)));
                    row.push(entry.karpenter.map_or_else(String::new, |other| format!("{:.3}", other.ratio)));
                }
                Some(row)
            })
            .collect()
    }

    /// What is said below the table.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some(mean) = self.geometric_mean {
            let change = if mean <= 1.0 { "cheaper" } else { "dearer" };
            remarks.push(format!(
                "{} {change} than Karpenter in the geometric mean of those without .cap",
                words::percent((1.0 - mean).abs())
            ));
        }
        for entry in &self.workloads {
            let name = &entry.workload;
            match &entry.outcome {
                Workload::Planned(run) if run.unschedulable > 0 => {
                    remarks.push(format!("{name}: {} unschedulable", words::counted(run.unschedulable, "pod")));
                }
                Workload::Planned(_) => {}
                Workload::Skipped { reason } => remarks.push(format!("{name} skipped: {reason}")),
                Workload::Broken { error } => remarks.push(format!("{name} is broken: {error}")),
                Workload::Failed { error } => remarks.push(format!("{name} failed: {error}")),
            }
        }
        remarks
    }

    /// As a table for a terminal.
    pub fn to_table(&self, terminal: &Terminal) -> String {
        let headers: Vec<(&str, Layout)> = self
            .headers()
            .into_iter()
            .enumerate()
            .map(|(index, name)| (name, if index == 0 { Layout::Left } else { Layout::Right }))
            .collect();
        let mut table = columns(terminal, &headers);
        table.add_rows(self.rows());
        let mut text = finished(&table);
        let remarks = self.remarks();
        if !remarks.is_empty() {
            text.push('\n');
        }
        for remark in remarks {
            let _ = writeln!(text, "{remark}");
        }
        text
    }

    /// As GitHub's Markdown.
    pub fn to_markdown(&self) -> String {
        let headers = self.headers();
        let mut text = format!("| {} |\n|---|{}\n", headers.join(" | "), "--:|".repeat(headers.len() - 1));
        for row in self.rows() {
            let cells: Vec<String> = row.iter().map(|cell| escaped(cell)).collect();
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        let remarks = self.remarks();
        if !remarks.is_empty() {
            text.push('\n');
        }
        for remark in remarks {
            let _ = writeln!(text, "- {}", escaped(&remark));
        }
        text
    }

    /// As CSV: every workload in a row, numbers unrounded.
    pub fn to_csv(&self) -> anyhow::Result<String> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let header = [
            "workload",
            "outcome",
            "pods",
            "unschedulable",
            "shapes",
            "nodes",
            "hourlyCost",
            "lowerBound",
            "gap",
            "status",
            "greedyHourlyCost",
            "loadSeconds",
            "solveSeconds",
            "karpenterHourlyCost",
            "ratio",
            "remark",
        ];
        writer.write_record(header).context("writing CSV")?;
        for entry in &self.workloads {
            let mut row = vec![String::new(); header.len()];
            row[0].clone_from(&entry.workload);
            row[1] = match &entry.outcome {
                Workload::Planned(run) => {
                    let optional = |number: Option<f64>| number.map_or_else(String::new, |number| number.to_string());
                    let status = match run.status {
                        Status::Optimal => "optimal",
                        Status::Feasible => "feasible",
                        Status::Greedy => "greedy",
                    };
                    row[2..13].clone_from_slice(&[
                        run.pods.to_string(),
                        run.unschedulable.to_string(),
                        run.shapes.to_string(),
                        run.nodes.to_string(),
                        run.hourly_cost.to_string(),
                        optional(run.lower_bound),
                        optional(run.gap),
                        status.to_owned(),
                        run.greedy_hourly_cost.to_string(),
                        run.load_seconds.to_string(),
                        run.solve_seconds.to_string(),
                    ]);
                    "planned"
                }
                Workload::Skipped { reason } => {
                    row[15].clone_from(reason);
                    "skipped"
                }
                Workload::Broken { error } => {
                    row[15].clone_from(error);
                    "broken"
                }
                Workload::Failed { error } => {
                    row[15].clone_from(error);
                    "failed"
                }
            }
            .to_owned();
            if let Some(beside) = entry.karpenter {
                row[13] = beside.hourly_cost.to_string();
                row[14] = beside.ratio.to_string();
            }
            writer.write_record(&row).context("writing CSV")?;
        }
        let bytes = writer.into_inner().map_err(|error| anyhow::anyhow!("writing CSV: {error}"))?;
        Ok(String::from_utf8(bytes)?)
    }
}
