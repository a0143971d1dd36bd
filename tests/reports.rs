//! Each form of a plan, of one fixed plan, against what it looked like when a person last looked at it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use indexmap::IndexMap;
use supercargo::commands::arguments::Format;
use supercargo::report::{Demand, Report, Terminal, Workloads, render};
use supercargo_models::plan::{Alternative, ExistingNode, Plan, PlannedNode, Summary, Unschedulable};
use supercargo_models::solver::Status;

fn quantities(cpu: &str, memory: &str, pods: &str, gpus: Option<&str>) -> IndexMap<String, String> {
    let mut list: IndexMap<String, String> =
        [("cpu", cpu), ("memory", memory)].into_iter().map(|(name, amount)| (name.into(), amount.into())).collect();
    if let Some(gpus) = gpus {
        list.insert("nvidia.com/gpu".into(), gpus.into());
    }
    list.insert("pods".into(), pods.into());
    list
}

fn web_node(number: u32, first: u32) -> PlannedNode {
    let mut pods: Vec<String> = (first..first + 12).map(|pod| format!("shop/web-{pod}")).collect();
    pods.push(format!("shop/api-{number}"));
    PlannedNode {
        name: format!("default-{number}"),
        node_pool: "default".into(),
        instance_type: "c7i.xlarge".into(),
        zone: "us-east-1a".into(),
        capacity_type: "spot".into(),
        hourly_price: 0.0731,
        labels: [].into(),
        allocatable: quantities("3920m", "6903Mi", "58", None),
        requested: quantities("3700m", "4096Mi", "14", None),
        pods,
        alternatives: vec![Alternative {
            instance_type: "c6i.xlarge".into(),
            zone: "us-east-1b".into(),
            capacity_type: "spot".into(),
            hourly_price: 0.0744,
        }],
    }
}

fn fixed_plan() -> Plan {
    let gpu_node = PlannedNode {
        name: "gpu-1".into(),
        node_pool: "gpu".into(),
        instance_type: "g5.12xlarge".into(),
        zone: "us-east-1b".into(),
        capacity_type: "on-demand".into(),
        hourly_price: 5.672,
        labels: [].into(),
        allocatable: quantities("47810m", "182Gi", "234", Some("4")),
        requested: quantities("12100m", "65Gi", "5", Some("3")),
        pods: vec!["ml/train-0".into(), "ml/train-1".into(), "ml/train-2".into(), "ml/<notebook>".into()],
        alternatives: vec![],
    };
    let nodes = vec![web_node(1, 0), web_node(2, 12), gpu_node];
    let unschedulable = ["shop/huge-0", "shop/huge-1", "shop/pinned-0"].map(|pod| Unschedulable {
        pod: pod.into(),
        reason: if pod.contains("huge") {
            "cpu 512 is more than any offering has (the largest, u7i-12tb.224xlarge, offers 895.7); ask for less".into()
        } else {
            "no offering is in zone eu-west-1a | the pools allow us-east-1a, us-east-1b".into()
        },
    });
    let cost = 2.0 * 0.0731 + 5.672;
    Plan {
        api_version: "supercargo.dev/v1".into(),
        kind: "Plan".into(),
        summary: Summary {
            pods: 35,
            scheduled: 32,
            unschedulable: 3,
            new_nodes: 3,
            hourly_cost: cost,
            lower_bound: Some(cost * 0.9934),
            gap: Some(0.0066),
            status: Status::Feasible,
            solver: "highs".into(),
            solve_seconds: 1.234,
            greedy_hourly_cost: 6.5,
            shapes: 7,
        },
        nodes,
        existing_nodes: vec![ExistingNode {
            name: "ip-10-0-0-7".into(),
            pods: vec!["shop/web-24".into(), "shop/web-25".into()],
        }],
        unschedulable: unschedulable.into(),
        notes: vec!["spot prices of 1 node are estimates".into()],
    }
}

fn demands() -> Workloads {
    let mut workloads = Workloads::default();
    let demand = |workload: &str, cpu: i64, gibibytes: i64, gpus: i64| Demand {
        workload: workload.into(),
        requests: BTreeMap::from([
            ("cpu".into(), cpu),
            ("memory".into(), gibibytes << 30),
            ("nvidia.com/gpu".into(), gpus),
        ]),
    };
    workloads.add_replicas("shop/web".into(), demand("shop/web", 250, 0, 0));
    workloads.add_replicas("shop/api".into(), demand("shop/api", 500, 3, 0));
    workloads.add_replicas("ml/train".into(), demand("ml/train", 4000, 20, 1));
    workloads
}

fn rendered(plan: &Plan, format: Format, terminal: Terminal) -> String {
    let workloads = demands();
    let stages = [("greedy".to_owned(), 0.012), ("columns".to_owned(), 0.9)];
    let text = render(&Report { plan, workloads: &workloads, stages: &stages }, format, &terminal).unwrap();
    assert!(text.ends_with('\n'));
    // Colours are for terminals; what they colour is what is compared.
    anstream::adapter::strip_str(&text).to_string()
}

#[test]
fn every_form_of_a_plan() {
    let plan = fixed_plan();
    for (name, format) in [
        ("table", Format::Table),
        ("wide", Format::Wide),
        ("json", Format::Json),
        ("yaml", Format::Yaml),
        ("csv", Format::Csv),
        ("markdown", Format::Markdown),
        ("html", Format::Html),
    ] {
        insta::assert_snapshot!(name, rendered(&plan, format, Terminal { width: 140, unicode: true }));
    }
}

#[test]
fn a_narrow_terminal_without_unicode_gets_ascii_that_fits() {
    let text = rendered(&fixed_plan(), Format::Table, Terminal { width: 100, unicode: false });
    assert!(text.is_ascii(), "{text}");
    insta::assert_snapshot!("table_narrow_ascii", text);
}

#[test]
fn the_tables_lines_are_no_wider_than_the_terminal() {
    for width in [120, 160, 200] {
        let text = rendered(&fixed_plan(), Format::Table, Terminal { width, unicode: true });
        let table: Vec<&str> = text.lines().skip_while(|line| !line.contains("Instance type")).collect();
        for line in table.iter().take_while(|line| !line.is_empty()) {
            assert!(line.chars().count() <= usize::from(width), "{width}: {line}");
        }
    }
}

#[test]
fn json_and_yaml_hold_the_same_plan() {
    let plan = fixed_plan();
    let terminal = Terminal::default();
    let from_json: Plan = serde_json::from_str(&rendered(&plan, Format::Json, terminal)).unwrap();
    let from_yaml: Plan = serde_saphyr::from_str(&rendered(&plan, Format::Yaml, terminal)).unwrap();
    assert_eq!(from_json, plan);
    assert_eq!(from_yaml, plan);
}

#[test]
fn the_page_asks_nothing_of_the_outside_and_escapes_names() {
    let page = rendered(&fixed_plan(), Format::Html, Terminal::default());
    for outside in ["http://", "https://", "<script", "url(", "@import", "<link", "src="] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("&lt;notebook&gt;"));
    assert!(!page.contains("<notebook>"));
}

#[test]
fn a_plan_that_buys_nothing_is_said_so() {
    let mut plan = fixed_plan();
    plan.nodes.clear();
    plan.unschedulable.clear();
    plan.notes.clear();
    let summary = &mut plan.summary;
    (summary.pods, summary.scheduled, summary.unschedulable, summary.new_nodes) = (2, 2, 0, 0);
    (summary.hourly_cost, summary.greedy_hourly_cost) = (0.0, 0.0);
    (summary.lower_bound, summary.gap, summary.status) = (Some(0.0), Some(0.0), Status::Optimal);
    let text = rendered(&plan, Format::Table, Terminal::default());
    let first = text.lines().next().unwrap();
    assert_eq!(first, "no new nodes, $0/h; proven optimal; all 2 pods placed (2 on nodes that are there); 1.2 s");
}
