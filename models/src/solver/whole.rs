//! The whole problem as one integer program, for any other solver: `export-model`.
//!
//! Where a column of the master problem is a pattern, here every node that might be opened has its own columns: `open`
//! (binary) and how many units of each shape it holds (whole numbers). It says the same and is far slower to solve; the
//! page `formulations/nodes.md` has the mathematics.

use super::columns::master::{Master, dollars};
use super::model::{LinearModel, plain_name};
use super::{Control, greedy};
use crate::problem::{Problem, ShapeSet};

/// One node that might be opened.
pub(super) struct Node {
    pub(super) bin: usize,
    open: usize,
    /// Shape and its column.
    pub(super) holds: Vec<(usize, usize)>,
}

/// The integer program of a problem. Every bin may be opened as often as there are units that it admits, as its number
/// is limited to, and as a solution no dearer than the greedy's can afford.
///
/// The rule that enough other offerings could hold a node's pods is left out: it is a matter of each pattern and has no
/// short form in rows. The model's title says so where it applies.
pub fn export(problem: &Problem) -> LinearModel {
    let demand: Vec<u32> = problem.shapes.iter().map(|shape| shape.count).collect();
    let master = Master::new(problem, &demand);
    let affordable = affordable(problem);
    let mut model = without_nodes(&master, title(problem));
    for (bin, &affordable) in affordable.iter().enumerate() {
        let units: u32 = problem.bins[bin].admits.ones().map(|shape| demand[shape]).sum();
        let copies = problem.bins[bin].max_count.unwrap_or(u32::MAX).min(units).min(affordable);
        let mut before = None;
        for copy in 0..copies {
            let node = add_node(&mut model, &master, bin, copy);
            add_rules(&mut model, problem, &node);
            if let Some(before) = before {
                // Alike nodes are opened in order.
                model.row(format!("order_{bin}_{copy}"), (0.0, f64::INFINITY), vec![(before, 1.0), (node.open, -1.0)]);
            }
            before = Some(node.open);
        }
    }
    model.rows.retain(|row| !row.terms.is_empty());
    model
}

/// The program over nodes that are all bought: what is left over costs `worth` of each unit. The nodes come with it.
pub(super) fn filled(master: &Master, nodes: &[(usize, u32)], worth: &[f64]) -> (LinearModel, Vec<Node>) {
    let mut model = without_nodes(master, "Units on nodes that are bought".to_owned());
    for (column, &worth) in model.columns.iter_mut().zip(worth) {
        column.cost = worth;
    }
    let mut opened = Vec::new();
    for &(bin, copies) in nodes {
        for copy in 0..copies {
            let node = add_node(&mut model, master, bin, copy);
            add_rules(&mut model, master.problem, &node);
            let open = &mut model.columns[node.open];
            (open.cost, open.lower) = (0.0, 1.0);
            opened.push(node);
        }
    }
    model.rows.retain(|row| !row.terms.is_empty());
    (model, opened)
}

/// The rows of the master problem with the columns that are no patterns.
fn without_nodes(master: &Master, title: String) -> LinearModel {
    let mut model = LinearModel { title, ..LinearModel::default() };
    for row in &master.rows {
        model.row(plain_name(&row.name), (row.lower, row.upper), Vec::new());
    }
    for extra in &master.extras {
        let column = model.column(plain_name(&extra.name), extra.cost, (extra.lower, extra.upper), extra.integer);
        for &(row, factor) in &extra.terms {
            model.rows[row].terms.push((column, factor));
        }
    }
    model
}

/// A control that never stops anyone.
struct Unhurried;

impl Control for Unhurried {
    fn remaining_seconds(&self) -> f64 {
        f64::INFINITY
    }
}

/// By bin: how many nodes of it the greedy's cost pays for; no limit where the greedy leaves units over.
fn affordable(problem: &Problem) -> Vec<u32> {
    let greedy = greedy::greedy(problem, None, 1, &Unhurried);
    let all = greedy.unplaced.iter().all(|units| *units == 0);
    let cost = problem.cost(&greedy);
    let limit = |price: i64| if all && price > 0 { u32::try_from(cost / price).unwrap_or(u32::MAX) } else { u32::MAX };
    problem.bins.iter().map(|bin| limit(bin.price)).collect()
}

fn title(problem: &Problem) -> String {
    let mut title = format!(
        "supercargo: {} shapes, {} bins; dollars an hour are minimised\nx_b_n_s: units of shape s on node n of bin b; open_b_n: whether it is bought",
        problem.shapes.len(),
        problem.bins.len()
    );
    if !problem.rules.flexibles.is_empty() {
        title.push_str("\nleft out: minValues of the node pools");
    }
    title
}

fn add_node(model: &mut LinearModel, master: &Master, bin: usize, copy: u32) -> Node {
    let problem = master.problem;
    let price = dollars(problem.bins[bin].price);
    let open = model.column(format!("open_{bin}_{copy}"), price, (0.0, 1.0), true);
    for (row, factor) in master.node_terms(bin) {
        model.rows[row].terms.push((open, factor));
    }
    let mut holds = Vec::new();
    for shape in problem.bins[bin].admits.ones() {
        let most = f64::from(problem.shapes[shape].count);
        let column = model.column(format!("x_{bin}_{copy}_{shape}"), 0.0, (0.0, most), true);
        for (row, factor) in master.unit_terms(bin, shape) {
            model.rows[row].terms.push((column, factor));
        }
        holds.push((shape, column));
    }
    for (resource, name) in problem.resources.iter().enumerate() {
        let room = problem.capacity[[bin, resource]];
        // In parts of what the node offers: millicores and bytes differ by nine orders of magnitude.
        let scale = room.max(1) as f64;
        let mut terms: Vec<(usize, f64)> = holds
            .iter()
            .filter(|(shape, _)| problem.demand[[*shape, resource]] > 0)
            .map(|&(shape, column)| (column, problem.demand[[shape, resource]] as f64 / scale))
            .collect();
        if terms.is_empty() {
            continue;
        }
        terms.push((open, -(room as f64) / scale));
        model.row(plain_name(&format!("{name}_{bin}_{copy}")), (f64::NEG_INFINITY, 0.0), terms);
    }
    Node { bin, open, holds }
}

/// The rules of one node: caps, spreads (a binary lets owners in), exclusives (a binary chooses the side) and company.
fn add_rules(model: &mut LinearModel, problem: &Problem, node: &Node) {
    let held = |set: &ShapeSet| -> Vec<(usize, f64)> {
        node.holds.iter().filter(|(shape, _)| set.contains(*shape)).map(|(_, column)| (*column, 1.0)).collect()
    };
    let pods = |shape: usize| f64::from(problem.shapes[shape].unit.pods);
    let held_pods = |set: &ShapeSet| -> Vec<(usize, f64)> {
        let members = node.holds.iter().filter(|(shape, _)| set.contains(*shape));
        members.map(|&(shape, column)| (column, pods(shape))).collect()
    };
    let total = |set: &ShapeSet| -> f64 { set.ones().map(|shape| f64::from(problem.shapes[shape].count)).sum() };
    let name = |kind: &str, index: usize| format!("{kind}_{index}_{}_{}", node.bin, node.open);
    for (index, cap) in problem.rules.node_caps.iter().enumerate() {
        let room = cap.limit.saturating_sub(cap.present.get(&node.bin).copied().unwrap_or(0));
        model.row(name("cap", index), (f64::NEG_INFINITY, f64::from(room)), held_pods(&cap.members));
    }
    for (index, rule) in problem.rules.node_spreads.iter().enumerate() {
        let (mut owners, mut members) = (held(&rule.owners), held_pods(&rule.members));
        let room = rule.room(node.bin) as f64;
        let all: f64 = rule.members.ones().map(|shape| f64::from(problem.shapes[shape].count) * pods(shape)).sum();
        let above = (all - room).max(0.0);
        if owners.is_empty() || above == 0.0 {
            continue;
        }
        let judged = model.column(name("judged", index), 0.0, (0.0, 1.0), true);
        owners.push((judged, -total(&rule.owners)));
        members.push((judged, above));
        model.row(name("owners", index), (f64::NEG_INFINITY, 0.0), owners);
        model.row(name("counted", index), (f64::NEG_INFINITY, room + above), members);
    }
    for (index, rule) in problem.rules.node_exclusives.iter().enumerate() {
        let (mut left, mut right) = (held(&rule.left), held(&rule.right));
        if left.is_empty() || right.is_empty() {
            continue;
        }
        let side = model.column(name("choice", index), 0.0, (0.0, 1.0), true);
        left.push((side, -total(&rule.left)));
        right.push((side, total(&rule.right)));
        model.row(name("one", index), (f64::NEG_INFINITY, 0.0), left);
        model.row(name("other", index), (f64::NEG_INFINITY, total(&rule.right)), right);
    }
    for (index, rule) in problem.rules.node_togethers.iter().enumerate() {
        if rule.satisfied.contains(node.bin) {
            continue;
        }
        let mut terms = held(&rule.members);
        if terms.is_empty() {
            continue;
        }
        let most = total(&rule.members);
        terms.extend(held(&rule.anchors).into_iter().map(|(column, _)| (column, -most)));
        model.row(name("company", index), (f64::NEG_INFINITY, 0.0), terms);
    }
}
