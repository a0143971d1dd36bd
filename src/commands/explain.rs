//! `explain`: why this offering, what the runner-up costs, which resource binds; why a pod stands where it stands, or
//! can't be placed.

use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;

use clap::ValueEnum;
use k8s_openapi::api::core::v1::Node;
use serde::Serialize;
use supercargo_models::plan::{Alternative, Plan, PlannedNode};

use super::arguments::{CatalogArguments, Format, InputArguments, OutputArguments, PlanningArguments};
use super::plan::exit_code;
use super::planning;
use crate::catalog::nearest;
use crate::cli::BadInput;
use crate::control::WallClock;
use crate::report::{Workloads, groups, next_best, to_json, to_yaml, usages, words};

/// What to explain.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  supercargo explain -f shop.yaml\n  supercargo explain -f shop.yaml pod shop/web-3\n  \
                        supercargo explain -f shop.yaml node default-1"
)]
pub struct ExplainArguments {
    /// A node of the plan or a pod; without it, every combination of nodes.
    #[arg(value_enum, requires = "name")]
    pub kind: Option<Subject>,
    /// The node's name as in -o wide; the pod's as namespace/name.
    pub name: Option<String>,
    /// The objects.
    #[command(flatten)]
    pub input: InputArguments,
    /// The offerings.
    #[command(flatten)]
    pub catalog: CatalogArguments,
    /// How to plan.
    #[command(flatten)]
    pub planning: PlanningArguments,
    /// How to tell it (table, json or yaml).
    #[command(flatten)]
    pub output: OutputArguments,
}

/// What can be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// A node to buy.
    Node,
    /// A pod that waits.
    Pod,
}

/// Why a node is as it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeReasons<'a> {
    nodes: Vec<&'a str>,
    instance_type: &'a str,
    zone: &'a str,
    capacity_type: &'a str,
    node_pool: &'a str,
    hourly_price: f64,
    /// Workloads on each, with their pods.
    pods: Vec<(&'a str, u64)>,
    /// The resource of which the least is left.
    binding: Option<Room>,
    room: Vec<Room>,
    runner_up: Option<RunnerUp<'a>>,
    alternatives: &'a [Alternative],
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Room {
    resource: String,
    used: f64,
    left: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RunnerUp<'a> {
    instance_type: &'a str,
    zone: &'a str,
    capacity_type: &'a str,
    hourly_price: f64,
    /// Share by which it is dearer.
    dearer: f64,
}

/// Why a pod is where it is.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct PodReasons<'a> {
    pod: &'a str,
    requests: Vec<String>,
    unschedulable: Option<&'a str>,
    existing_node: Option<&'a str>,
    /// Whether that node has yet to join the cluster.
    under_way: bool,
    node: Option<NodeReasons<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Explanation<'a> {
    Nodes(Vec<NodeReasons<'a>>),
    Pod(Box<PodReasons<'a>>),
}

/// Plans as `plan` does, and explains a node, a pod, or all nodes. Exit code 3 if some pods can't be placed.
///
/// # Errors
/// A [`BadInput`] where arguments or objects are wrong or the subject is not in the plan.
pub fn run(arguments: ExplainArguments, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let output = &arguments.output;
    if !matches!(output.output, Format::Table | Format::Wide | Format::Json | Format::Yaml) {
        return Err(BadInput::new("explain writes table, wide, json or yaml")
            .hint("choose one of them with -o")
            .into());
    }
    let question = planning::read(&arguments.input, &arguments.catalog)?;
    planning::tell(&question.notes, output.quiet);
    let clock = WallClock::start(arguments.planning.clock_budget(), output.quiet);
    let answer = planning::plan(&question.snapshot, &question.catalog, &arguments.planning, &clock)?;
    let plan = &answer.plan;
    let workloads = planning::workloads(&question.snapshot);
    let explanation = match (arguments.kind, arguments.name.as_deref()) {
        (Some(Subject::Node), Some(name)) => Explanation::Nodes(vec![explain_node(plan, &workloads, name)?]),
        (Some(Subject::Pod), Some(name)) => {
            let mut pod = explain_pod(plan, &workloads, name)?;
            let is_it = |node: &Node| node.metadata.name.as_deref() == pod.existing_node;
            pod.under_way = pod.existing_node.is_some() && !question.snapshot.nodes.iter().any(is_it);
            Explanation::Pod(Box::new(pod))
        }
        _ => Explanation::Nodes(
            groups(plan, &workloads)
                .iter()
                .map(|group| reasons(group.node, group.names.clone(), group.workloads.clone()))
                .collect(),
        ),
    };
    let text = match output.output {
        Format::Json => to_json(&explanation)?,
        Format::Yaml => to_yaml(&explanation)?,
        _ => in_words(&explanation, plan),
    };
    output.write(&text, out)?;
    Ok(exit_code(plan.summary.unschedulable))
}

fn explain_node<'a>(plan: &'a Plan, workloads: &'a Workloads, name: &str) -> anyhow::Result<NodeReasons<'a>> {
    let found = groups(plan, workloads).into_iter().find_map(|group| {
        let node = plan.nodes.iter().find(|node| node.name == name && group.names.contains(&node.name.as_str()))?;
        Some(reasons(node, vec![&node.name], group.workloads))
    });
    found.ok_or_else(|| unknown("node", name, plan.nodes.iter().map(|node| node.name.as_str())).into())
}

fn explain_pod<'a>(plan: &'a Plan, workloads: &'a Workloads, name: &str) -> anyhow::Result<PodReasons<'a>> {
    let is_it = |pod: &&String| pod.as_str() == name || pod.split_once('/').is_some_and(|(_, short)| short == name);
    let in_words = |pod: &str| {
        let requests = workloads.demand(pod).map(|demand| &demand.requests);
        requests
            .into_iter()
            .flatten()
            .filter(|(_, amount)| **amount > 0)
            .map(|(resource, amount)| format!("{resource} {}", words::amount(resource, *amount as f64)))
            .collect()
    };
    if let Some(entry) = plan.unschedulable.iter().find(|entry| is_it(&&entry.pod)) {
        let (pod, requests) = (entry.pod.as_str(), in_words(&entry.pod));
        return Ok(PodReasons { pod, requests, unschedulable: Some(&entry.reason), ..PodReasons::default() });
    }
    for node in &plan.existing_nodes {
        if let Some(pod) = node.pods.iter().find(is_it) {
            let existing_node = Some(node.name.as_str());
            return Ok(PodReasons { pod, requests: in_words(pod), existing_node, ..PodReasons::default() });
        }
    }
    for node in &plan.nodes {
        if let Some(pod) = node.pods.iter().find(is_it) {
            let node = Some(explain_node(plan, workloads, &node.name)?);
            return Ok(PodReasons { pod, requests: in_words(pod), node, ..PodReasons::default() });
        }
    }
    let pods = plan.nodes.iter().flat_map(|node| &node.pods).chain(plan.unschedulable.iter().map(|entry| &entry.pod));
    Err(unknown("pod", name, pods.map(String::as_str)).into())
}

fn unknown<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> BadInput {
    let near = nearest(name, known, 3);
    let error = BadInput::new(format!("there is no {kind} {name} in the plan"));
    match near.as_slice() {
        [] => error.hint(format!("the {kind}s are in -o wide of supercargo plan")),
        near => error.hint(format!("did you mean {}?", near.join(", "))),
    }
}

fn reasons<'a>(node: &'a PlannedNode, nodes: Vec<&'a str>, pods: Vec<(&'a str, u64)>) -> NodeReasons<'a> {
    let room: Vec<Room> = usages(node)
        .into_iter()
        .filter(|usage| usage.allocatable > 0.0)
        .map(|usage| Room {
            used: usage.share(),
            left: words::amount(&usage.resource, (usage.allocatable - usage.requested).max(0.0)),
            resource: usage.resource,
        })
        .collect();
    let binding = room.iter().max_by(|left, right| left.used.total_cmp(&right.used)).cloned();
    let runner_up = next_best(node).map(|next| RunnerUp {
        instance_type: &next.instance_type,
        zone: &next.zone,
        capacity_type: &next.capacity_type,
        hourly_price: next.hourly_price,
        dearer: if node.hourly_price > 0.0 { next.hourly_price / node.hourly_price - 1.0 } else { 0.0 },
    });
    NodeReasons {
        nodes,
        instance_type: &node.instance_type,
        zone: &node.zone,
        capacity_type: &node.capacity_type,
        node_pool: &node.node_pool,
        hourly_price: node.hourly_price,
        pods,
        binding,
        room,
        runner_up,
        alternatives: &node.alternatives,
    }
}

fn in_words(explanation: &Explanation<'_>, plan: &Plan) -> String {
    let mut text = String::new();
    match explanation {
        Explanation::Nodes(nodes) if nodes.is_empty() => text.push_str("the plan buys no node\n"),
        Explanation::Nodes(nodes) => {
            for (index, node) in nodes.iter().enumerate() {
                if index > 0 {
                    text.push('\n');
                }
                text.push_str(&node_in_words(node));
            }
            if plan.summary.unschedulable > 0 {
                let pods = words::counted(plan.summary.unschedulable, "pod");
                let _ = write!(text, "\n{pods} unschedulable:\n");
                for entry in &plan.unschedulable {
                    let _ = writeln!(text, "  {}: {}", entry.pod, entry.reason);
                }
            }
        }
        Explanation::Pod(pod) => {
            let bold = anstyle::Style::new().bold();
            let _ = writeln!(text, "{bold}{}{bold:#}", pod.pod);
            if !pod.requests.is_empty() {
                let _ = writeln!(text, "  asks for      {}", pod.requests.join(", "));
            }
            match (pod.unschedulable, pod.existing_node, &pod.node) {
                (Some(reason), _, _) => {
                    let _ = writeln!(text, "  can't be placed: {reason}");
                }
                (_, Some(node), _) => {
                    let where_it_is = if pod.under_way { "on its way" } else { "there already" };
                    let _ = writeln!(text, "  stands on     {node}, which is {where_it_is} and costs nothing more");
                }
                (_, _, Some(node)) => {
                    let _ = write!(text, "  stands on     {}\n\n{}", node.nodes.join(" "), node_in_words(node));
                }
                _ => {}
            }
        }
    }
    text
}

fn node_in_words(node: &NodeReasons<'_>) -> String {
    const MOST: usize = 8;
    let bold = anstyle::Style::new().bold();
    let mut names = node.nodes.iter().take(MOST).copied().collect::<Vec<_>>().join(" ");
    if node.nodes.len() > MOST {
        names.push_str(&format!(" and {} more", node.nodes.len() - MOST));
    }
    let mut text = format!("{bold}{names}{bold:#}\n");
    let mut line = |name: &str, words: String| {
        let _ = writeln!(text, "  {name:<14}{words}");
    };
    line(
        "offering",
        format!(
            "{} in {}, {}, {}/h (pool {})",
            node.instance_type,
            node.zone,
            node.capacity_type,
            words::dollars(node.hourly_price),
            node.node_pool
        ),
    );
    let pods: Vec<String> = node.pods.iter().map(|(name, count)| format!("{count} x {name}")).collect();
    line(if node.nodes.len() > 1 { "pods on each" } else { "pods" }, pods.join(", "));
    if let Some(binding) = &node.binding {
        line(
            "what binds",
            format!("{}: {} used, {} left", binding.resource, words::percent(binding.used), binding.left),
        );
        let others: Vec<String> = node
            .room
            .iter()
            .filter(|room| room.resource != binding.resource)
            .map(|room| format!("{} {} ({} left)", room.resource, words::percent(room.used), room.left))
            .collect();
        line("other room", others.join(", "));
    }
    match &node.runner_up {
        Some(next) => {
            let place = format!("{} in {}, {}", next.instance_type, next.zone, next.capacity_type);
            let price = words::dollars(next.hourly_price);
            let dearer = if next.dearer > 5e-4 {
                format!("{} dearer", words::percent(next.dearer))
            } else if next.dearer < -5e-4 {
                // The cheaper one is held back by a rule across nodes: a spread, a limit, a pool's weight.
                format!(
                    "{} cheaper, but a rule across nodes or a pool's weight stands against it",
                    words::percent(-next.dearer)
                )
            } else {
                "the same price".to_owned()
            };
            line("runner-up", format!("{place}: {price}/h, {dearer}; the pods and rules of this node fit it too"));
        }
        None => line("runner-up", "no other offering holds these pods under the same rules".to_owned()),
    }
    text
}
