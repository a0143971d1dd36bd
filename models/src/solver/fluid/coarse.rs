//! A smaller problem in the place of one of many shapes: shapes that are alike become one.

use std::collections::BTreeMap;

use super::program::Part;
use crate::problem::{Problem, Rules, Shape, ShapeSet};

/// More shapes under rules than this are merged like all others, and their rules are left out.
const MOST_RULED: usize = 500;

/// A problem of fewer shapes and the shapes that each of them stands for.
pub(super) struct Coarse {
    /// The same bins; a merged shape takes what its members take on average. Rules speak of the merged shapes.
    pub problem: Problem,
    /// By merged shape: the shapes it stands for.
    pub members: Vec<Vec<usize>>,
}

impl Coarse {
    /// Merges shapes of one signature of admission (among the usable bins) and nearly the same proportions of the
    /// resources, until those without rules are at most about `most`. Shapes that rules speak of stand alone.
    pub fn new(problem: &Problem, demand: &[u32], usable: &[bool], most: usize) -> Self {
        let ruled = ruled_shapes(problem);
        let keep = ruled.iter().filter(|ruled| **ruled).count() <= MOST_RULED;
        let mut signature = vec![Vec::new(); problem.shapes.len()];
        for (bin, data) in problem.bins.iter().enumerate().filter(|(bin, _)| usable[*bin]) {
            data.admits.ones().for_each(|shape| signature[shape].push(bin as u32));
        }
        let (mut classes, mut class_of) = (BTreeMap::new(), vec![0; problem.shapes.len()]);
        for (shape, signature) in signature.iter().enumerate() {
            let next = classes.len();
            class_of[shape] = *classes.entry(signature).or_insert(next);
        }
        let wanted: Vec<usize> =
            (0..problem.shapes.len()).filter(|&shape| demand[shape] > 0 && !signature[shape].is_empty()).collect();
        let (alone, free): (Vec<usize>, Vec<usize>) = wanted.into_iter().partition(|&shape| keep && ruled[shape]);
        let mut buckets = 6.0;
        let mut members = group(problem, &free, &class_of, buckets);
        while members.len() > most && buckets > 0.2 {
            buckets /= 1.5;
            members = group(problem, &free, &class_of, buckets);
        }
        members.extend(alone.into_iter().map(|shape| vec![shape]));
        Coarse { problem: merged(problem, demand, &members, keep), members }
    }

    /// Units wanted of each merged shape.
    pub fn demand(&self) -> Vec<u32> {
        self.problem.shapes.iter().map(|shape| shape.count).collect()
    }

    /// Shares out what the values of a program pour onto a bin: to each shape that a merged one stands for, by how many
    /// units of it are wanted.
    pub fn pour(&self, part: &Part, values: &[f64], demand: &[u32], poured: &mut [Vec<(usize, f64)>]) {
        for &(merged, column) in part.units.iter().filter(|(_, column)| values[*column] > 1e-9) {
            let share = values[column] / f64::from(self.problem.shapes[merged].count).max(1.0);
            for &shape in &self.members[merged] {
                poured[shape].push((part.bin, share * f64::from(demand[shape])));
            }
        }
    }
}

fn ruled_shapes(problem: &Problem) -> Vec<bool> {
    let rules = &problem.rules;
    let mut ruled = ShapeSet::with_capacity(problem.shapes.len());
    rules.node_caps.iter().for_each(|rule| ruled.union_with(&rule.members));
    rules.spreads.iter().for_each(|rule| {
        ruled.union_with(&rule.owners);
        ruled.union_with(&rule.members);
    });
    rules.domain_caps.iter().for_each(|rule| ruled.union_with(&rule.members));
    rules.domain_exclusives.iter().for_each(|rule| {
        ruled.union_with(&rule.left);
        ruled.union_with(&rule.right);
    });
    rules.domain_togethers.iter().for_each(|rule| {
        ruled.union_with(&rule.members);
        ruled.union_with(&rule.anchors);
    });
    (0..problem.shapes.len()).map(|shape| ruled.contains(shape)).collect()
}

/// Shapes whose proportions fall in the same buckets of a logarithmic scale.
fn group(problem: &Problem, shapes: &[usize], class_of: &[usize], buckets: f64) -> Vec<Vec<usize>> {
    let mut by_key: BTreeMap<(usize, Vec<i32>), Vec<usize>> = BTreeMap::new();
    for &shape in shapes {
        let row = problem.demand.row(shape);
        let first = row.iter().copied().find(|take| *take > 0).unwrap_or(1) as f64;
        let proportions = row
            .iter()
            .map(|&take| if take > 0 { ((take as f64 / first).ln() * buckets).round() as i32 } else { i32::MIN })
            .collect();
        by_key.entry((class_of[shape], proportions)).or_default().push(shape);
    }
    by_key.into_values().collect()
}

fn merged(problem: &Problem, demand: &[u32], members: &[Vec<usize>], keep: bool) -> Problem {
    let resources = problem.resources.len();
    let mut place = vec![None; problem.shapes.len()];
    for (index, shapes) in members.iter().enumerate() {
        shapes.iter().for_each(|&shape| place[shape] = Some(index));
    }
    let set = |old: &ShapeSet| -> ShapeSet {
        let mut new = ShapeSet::with_capacity(members.len());
        old.ones().filter_map(|shape| place.get(shape).copied().flatten()).for_each(|index| new.insert(index));
        new
    };
    let mut made = Problem {
        resources: problem.resources.clone(),
        shapes: Vec::with_capacity(members.len()),
        bins: problem.bins.clone(),
        demand: ndarray::Array2::zeros((members.len(), resources)),
        capacity: problem.capacity.clone(),
        topologies: problem.topologies.clone(),
        rules: Rules { node_budgets: problem.rules.node_budgets.clone(), ..Rules::default() },
    };
    for (index, shapes) in members.iter().enumerate() {
        let count: u32 = shapes.iter().map(|&shape| demand[shape]).sum();
        let first = &problem.shapes[shapes[0]];
        made.shapes.push(Shape { count, ..first.clone() });
        for resource in 0..resources {
            let sum: i128 = shapes
                .iter()
                .map(|&shape| i128::from(problem.demand[[shape, resource]]) * i128::from(demand[shape]))
                .sum();
            let count = i128::from(count.max(1));
            made.demand[[index, resource]] = i64::try_from((sum + count - 1) / count).unwrap_or(i64::MAX);
        }
    }
    for bin in &mut made.bins {
        bin.admits = set(&bin.admits);
    }
    if keep {
        let rules = &problem.rules;
        made.rules.node_caps.clone_from(&rules.node_caps);
        made.rules.node_caps.iter_mut().for_each(|rule| rule.members = set(&rule.members));
        made.rules.spreads.clone_from(&rules.spreads);
        for rule in &mut made.rules.spreads {
            (rule.owners, rule.members) = (set(&rule.owners), set(&rule.members));
        }
        made.rules.domain_caps.clone_from(&rules.domain_caps);
        made.rules.domain_caps.iter_mut().for_each(|rule| rule.members = set(&rule.members));
        made.rules.domain_exclusives.clone_from(&rules.domain_exclusives);
        for rule in &mut made.rules.domain_exclusives {
            (rule.left, rule.right) = (set(&rule.left), set(&rule.right));
        }
        made.rules.domain_togethers.clone_from(&rules.domain_togethers);
        for rule in &mut made.rules.domain_togethers {
            (rule.members, rule.anchors) = (set(&rule.members), set(&rule.anchors));
        }
    }
    made
}
