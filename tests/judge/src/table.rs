//! The page that says how plans bind.

use std::fmt::Write;

use crate::figures::Figures;
use crate::ways::Way;

const HEAD: &str = "# How plans bind

`make binding` has written this page: it plans each fixture, puts its objects on a real control plane (etcd,
kube-apiserver, kube-scheduler and kube-controller-manager; kwok plays the kubelets) of its own for each line, and counts.
Nodes are created with the labels, taints and allocatable amounts that the plan and its pool give them, pods with the names
and specs of their workloads' replicas. A pod that is pushed out by one of higher priority is created anew.

The ways:

- **forced**: every pod asks for a resource that only its planned node has, and kube-scheduler runs all of its filters. A pod that is not
  bound then would be a bug of the plan. Pods of higher priority push nobody out here.
- **free**: pods wait, all planned nodes open at once, and kube-scheduler is told nothing.
- **nominated**: as before, but each pod's `status.nominatedNodeName` is set to its planned node just before the nodes open.
- **bound by us**: nodes open under the taint `supercargo.dev/plan:NoSchedule`, pods are bound to them through the Binding
  API (`src/binding`), and the taint is lifted. Nodes of the input that the plan fills bear the taint, too: the fixture's
  pods are to wait until the plan is made.

The columns:

- **bound**: planned pods that have a node in the end, whichever; **pending**: those that have none;
- **as planned**: planned pods on the node they were planned on;
- **extra nodes**: what a second plan, of the cluster as it came out, would buy for the pods that are pending;
- **cost**: the price of planned and extra nodes over the price of the planned nodes;
- **left**: planned pods that were not ours to bind, so that kube-scheduler placed them (forced, free and nominated: all);
- **seconds**: from an empty control plane to the last pod, second plan included.
";

/// One line of the table.
fn line(out: &mut String, fixture: &str, figures: &Figures) {
    let left: usize = figures.left.values().sum();
    let left = if figures.way == Way::Bound { left.to_string() } else { String::new() };
    let _ = writeln!(
        out,
        "| {fixture} | {} | {} | {} | {} | {:.1} % | {} | {:.3} | {left} | {:.0} |",
        figures.way,
        figures.pods,
        figures.bound,
        figures.pods - figures.bound,
        figures.share_as_planned() * 100.0,
        figures.extra_nodes,
        figures.cost_ratio(),
        figures.took.as_secs_f64(),
    );
}

/// The page: what was found, fixture by fixture, and `notes` on what was left out.
pub fn page(found: &[(String, Vec<Figures>)], notes: &[String]) -> String {
    let mut out = HEAD.to_owned();
    out.push_str("\n| fixture | way | pods | bound | pending | as planned | extra nodes | cost | left | seconds |\n");
    out.push_str("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for (fixture, all) in found {
        for figures in all {
            line(&mut out, fixture, figures);
        }
    }
    let mut told = Vec::new();
    for (fixture, figures) in found.iter().flat_map(|(fixture, all)| all.iter().map(move |one| (fixture, one))) {
        let way = figures.way;
        for (reason, pods) in &figures.left {
            told.push(format!("{fixture}, {way}: {pods} not bound by us: {reason}."));
        }
        if figures.stranded > 0 {
            told.push(format!("{fixture}, {way}: {} pods find no place in the second plan.", figures.stranded));
        }
        if !figures.daemons_pending.is_empty() {
            told.push(format!("{fixture}, {way}: {} daemons' pods are pending.", figures.daemons_pending.len()));
        }
    }
    told.extend(notes.iter().cloned());
    if !told.is_empty() {
        out.push('\n');
        for note in told {
            let _ = writeln!(out, "- {note}");
        }
    }
    out
}
