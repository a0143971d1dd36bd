//! Parts of a problem that know nothing of each other: no node can hold shapes of two of them, and no rule that spans
//! nodes looks at two of them. Each is solved for itself; costs and bounds add up.

use std::borrow::Cow;

use fixedbitset::FixedBitSet;
use ndarray::Axis;

use super::Known;
use super::quiet::{awake, wakes};
use crate::problem::{
    Bin, DomainCap, DomainExclusive, DomainTogether, Exhausted, Flexible, FlexibleHost, NodeBudget, NodeCap,
    NodeExclusive, NodeSpread, NodeTogether, Pattern, Problem, Rules, ShapeSet, Solution, Spread,
};

/// One part, as a problem of its own.
pub(super) struct Part<'a> {
    pub(super) problem: Cow<'a, Problem>,
    /// Its shapes in the numbers of the whole, ascending.
    shapes: Vec<usize>,
    /// Its bins in the numbers of the whole, ascending.
    bins: Vec<usize>,
}

/// The parts of a problem, the one of the first shape first. Shapes that no bin admits belong to that one.
pub(super) fn independent(problem: &Problem) -> Vec<Part<'_>> {
    let shapes = apart(problem);
    if shapes.len() <= 1 {
        let (shapes, bins) = ((0..problem.shapes.len()).collect(), (0..problem.bins.len()).collect());
        return vec![Part { problem: Cow::Borrowed(problem), shapes, bins }];
    }
    shapes.into_iter().map(|shapes| Part::new(problem, shapes)).collect()
}

/// The shapes of each part of a problem.
pub(crate) fn apart(problem: &Problem) -> Vec<Vec<usize>> {
    let mut groups = Groups::new(problem.shapes.len());
    let everything = |groups: &mut Groups, set: &ShapeSet| groups.unite(set.ones());
    let mut homeless = FixedBitSet::with_capacity(problem.shapes.len());
    homeless.insert_range(..);
    for bin in &problem.bins {
        everything(&mut groups, &bin.admits);
        homeless.difference_with(&bin.admits);
    }
    groups.unite(std::iter::once(0).chain(homeless.ones()));
    for rule in &problem.rules.spreads {
        groups.unite(rule.owners.ones().chain(rule.members.ones()));
        // A node of any shape may wake such a domain up.
        let waking = problem.bins.iter().filter(|bin| wakes(rule, bin)).filter_map(|bin| bin.admits.minimum());
        groups.unite(rule.owners.minimum().into_iter().chain(waking));
    }
    problem.rules.domain_caps.iter().for_each(|rule| everything(&mut groups, &rule.members));
    for rule in &problem.rules.domain_exclusives {
        groups.unite(rule.left.ones().chain(rule.right.ones()));
    }
    for rule in &problem.rules.domain_togethers {
        groups.unite(rule.members.ones().chain(rule.anchors.ones()));
    }
    for rule in &problem.rules.node_budgets {
        groups.unite(rule.per_node.keys().filter_map(|bin| problem.bins[*bin].admits.minimum()));
    }
    groups.members()
}

impl<'a> Part<'a> {
    /// The problem of some shapes, ascending, alone.
    pub(super) fn new(whole: &'a Problem, shapes: Vec<usize>) -> Self {
        let own: ShapeSet = shapes.iter().copied().collect();
        let bins: Vec<usize> = (0..whole.bins.len())
            .filter(|bin| whole.bins[*bin].admits.ones().any(|shape| own.contains(shape)))
            .collect();
        let part = Part { problem: Cow::Borrowed(whole), shapes, bins };
        let bins: Vec<Bin> = part
            .bins
            .iter()
            .map(|bin| {
                let row = &whole.bins[*bin];
                Bin { admits: part.of_shapes(&row.admits), ..row.clone() }
            })
            .collect();
        let problem = Problem {
            resources: whole.resources.clone(),
            shapes: part.shapes.iter().map(|shape| whole.shapes[*shape].clone()).collect(),
            rules: part.rules(&whole.rules, &bins),
            bins,
            demand: whole.demand.select(Axis(0), &part.shapes),
            capacity: whole.capacity.select(Axis(0), &part.bins),
            topologies: whole.topologies.clone(),
        };
        Part { problem: Cow::Owned(problem), ..part }
    }

    fn of_shapes(&self, set: &ShapeSet) -> ShapeSet {
        subset(&self.shapes, set)
    }

    /// What is said of bins by their number in the whole.
    fn of_bins<T: Copy>(&self, map: &std::collections::BTreeMap<usize, T>) -> std::collections::BTreeMap<usize, T> {
        map.iter().filter_map(|(bin, value)| Some((self.bins.binary_search(bin).ok()?, *value))).collect()
    }

    /// The rules that say something of this part.
    fn rules(&self, rules: &Rules, bins: &[Bin]) -> Rules {
        let shapes = |set: &ShapeSet| self.of_shapes(set);
        let some = |set: &ShapeSet| self.shapes.iter().any(|shape| set.contains(*shape));
        let binds = |budget: &usize| !self.of_bins(&rules.node_budgets[*budget].per_node).is_empty();
        let budgets: Vec<usize> = (0..rules.node_budgets.len()).filter(binds).collect();
        Rules {
            node_caps: rules
                .node_caps
                .iter()
                .filter(|rule| some(&rule.members))
                .map(|rule| NodeCap {
                    members: shapes(&rule.members),
                    present: self.of_bins(&rule.present),
                    ..rule.clone()
                })
                .collect(),
            node_spreads: rules
                .node_spreads
                .iter()
                .filter(|rule| some(&rule.owners))
                .map(|rule| NodeSpread {
                    owners: shapes(&rule.owners),
                    members: shapes(&rule.members),
                    present: self.of_bins(&rule.present),
                    ..rule.clone()
                })
                .collect(),
            node_exclusives: rules
                .node_exclusives
                .iter()
                .filter(|rule| some(&rule.left) && some(&rule.right))
                .map(|rule| NodeExclusive { left: shapes(&rule.left), right: shapes(&rule.right), ..rule.clone() })
                .collect(),
            node_togethers: rules
                .node_togethers
                .iter()
                .filter(|rule| some(&rule.members))
                .map(|rule| NodeTogether {
                    members: shapes(&rule.members),
                    anchors: shapes(&rule.anchors),
                    satisfied: subset(&self.bins, &rule.satisfied),
                    ..rule.clone()
                })
                .collect(),
            flexibles: rules
                .flexibles
                .iter()
                .filter(|rule| self.bins.iter().any(|bin| rule.bins.contains(*bin)))
                .map(|rule| Flexible {
                    bins: subset(&self.bins, &rule.bins),
                    hosts: rule
                        .hosts
                        .iter()
                        .filter(|host| some(&host.admits))
                        .map(|host| FlexibleHost { admits: shapes(&host.admits), ..host.clone() })
                        .collect(),
                    ..rule.clone()
                })
                .collect(),
            spreads: rules
                .spreads
                .iter()
                .filter(|rule| some(&rule.owners))
                .map(|rule| Spread {
                    owners: shapes(&rule.owners),
                    members: shapes(&rule.members),
                    ..awake(rule, bins)
                })
                .collect(),
            domain_caps: rules
                .domain_caps
                .iter()
                .filter(|rule| some(&rule.members))
                .map(|rule| DomainCap { members: shapes(&rule.members), ..rule.clone() })
                .collect(),
            domain_exclusives: rules
                .domain_exclusives
                .iter()
                .filter(|rule| some(&rule.left))
                .map(|rule| DomainExclusive { left: shapes(&rule.left), right: shapes(&rule.right), ..rule.clone() })
                .collect(),
            domain_togethers: rules
                .domain_togethers
                .iter()
                .filter(|rule| some(&rule.members))
                .map(|rule| DomainTogether {
                    members: shapes(&rule.members),
                    anchors: shapes(&rule.anchors),
                    ..rule.clone()
                })
                .collect(),
            node_budgets: budgets
                .iter()
                .map(|budget| &rules.node_budgets[*budget])
                .map(|rule| NodeBudget { per_node: self.of_bins(&rule.per_node), ..rule.clone() })
                .collect(),
            // Whoever shares a limit is in the same part.
            exhausted: rules
                .exhausted
                .iter()
                .filter_map(|wish| {
                    let limits = wish.limits.iter().map(|limit| budgets.iter().position(|own| own == limit));
                    Some(Exhausted { limits: limits.collect::<Option<_>>()?, nodes: wish.nodes.clone() })
                })
                .collect(),
        }
    }

    /// What a solution of the whole says of this part.
    pub(super) fn project(&self, whole: &Solution) -> Solution {
        let node = |pattern: &Pattern| {
            let bin = self.bins.binary_search(&(pattern.bin as usize)).ok()? as u32;
            let count =
                |&(shape, units): &(u32, u32)| Some((self.shapes.binary_search(&(shape as usize)).ok()? as u32, units));
            Some(Pattern { bin, counts: pattern.counts.iter().filter_map(count).collect() })
        };
        Solution {
            nodes: whole.nodes.iter().filter_map(|(pattern, copies)| Some((node(pattern)?, *copies))).collect(),
            unplaced: self.shapes.iter().filter_map(|shape| whole.unplaced.get(*shape).copied()).collect(),
        }
    }

    /// What is known of the whole, as far as it is of this part.
    pub(super) fn project_known(&self, whole: &Known) -> Known {
        let nodes = whole.patterns.iter().map(|pattern| (pattern.clone(), 1)).collect();
        let own = self.project(&Solution { nodes, unplaced: Vec::new() });
        Known {
            patterns: own.nodes.into_iter().map(|(pattern, _)| pattern).collect(),
            values: self.shapes.iter().filter_map(|shape| whole.values.get(*shape).copied()).collect(),
        }
    }

    /// Adds what is known of this part to what is known of the whole, which has an entry for each shape.
    pub(super) fn add_known_to(&self, whole: &mut Known, own: &Known) {
        whole.patterns.extend(own.patterns.iter().map(|pattern| self.in_whole(pattern)));
        for (shape, value) in self.shapes.iter().zip(&own.values) {
            whole.values[*shape] = *value;
        }
    }

    /// A pattern of this part in the numbers of the whole.
    fn in_whole(&self, pattern: &Pattern) -> Pattern {
        let counts = pattern.counts.iter().map(|&(shape, units)| (self.shapes[shape as usize] as u32, units)).collect();
        Pattern { bin: self.bins[pattern.bin as usize] as u32, counts }
    }

    /// Adds what a solution of this part says to one of the whole, which has an entry for each shape.
    pub(super) fn add_to(&self, whole: &mut Solution, own: &Solution) {
        for (pattern, copies) in &own.nodes {
            whole.nodes.push((self.in_whole(pattern), *copies));
        }
        for (shape, units) in self.shapes.iter().zip(&own.unplaced) {
            whole.unplaced[*shape] = *units;
        }
    }
}

/// The places in `numbers` of those that are in `set`, as a set.
fn subset(numbers: &[usize], set: &FixedBitSet) -> FixedBitSet {
    let mut own = FixedBitSet::with_capacity(numbers.len());
    own.extend(numbers.iter().enumerate().filter(|(_, number)| set.contains(**number)).map(|(place, _)| place));
    own
}

/// Disjoint sets of shapes, each known by its least one.
pub(super) struct Groups {
    parent: Vec<usize>,
}

impl Groups {
    pub(super) fn new(shapes: usize) -> Self {
        Groups { parent: (0..shapes).collect() }
    }

    fn least(&mut self, mut shape: usize) -> usize {
        while self.parent[shape] != shape {
            self.parent[shape] = self.parent[self.parent[shape]];
            shape = self.parent[shape];
        }
        shape
    }

    pub(super) fn unite(&mut self, shapes: impl Iterator<Item = usize>) {
        let mut known = None;
        for shape in shapes.filter(|shape| *shape < self.parent.len()).collect::<Vec<_>>() {
            let shape = self.least(shape);
            let known = known.get_or_insert(shape);
            let least = shape.min(*known);
            self.parent[shape] = least;
            self.parent[*known] = least;
            *known = least;
        }
    }

    /// The sets, by their least shapes.
    pub(super) fn members(mut self) -> Vec<Vec<usize>> {
        let mut sets = std::collections::BTreeMap::<usize, Vec<usize>>::new();
        for shape in 0..self.parent.len() {
            sets.entry(self.least(shape)).or_default().push(shape);
        }
        sets.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solver::test_problems::{Patient, optimum, random};
    use crate::solver::{Settings, Status, solve};

    /// A random problem in which a bin takes either shapes of even number or of odd number.
    fn divided(seed: u64) -> Problem {
        let mut problem = random(seed, 3);
        for (place, bin) in problem.bins.iter_mut().enumerate() {
            let side: ShapeSet = (place % 2..problem.shapes.len()).step_by(2).collect();
            bin.admits.intersect_with(&side);
        }
        problem
    }

    #[test]
    fn parts_together_are_the_whole_and_as_cheap_as_its_optimum() {
        let mut several = 0;
        for seed in 0..60 {
            let problem = divided(seed);
            let parts = independent(&problem);
            several += usize::from(parts.len() > 1);
            let best = optimum(&problem);
            let mut again = Solution { nodes: Vec::new(), unplaced: vec![0; problem.shapes.len()] };
            parts.iter().for_each(|part| part.add_to(&mut again, &part.project(&best)));
            again.nodes.sort();
            assert_eq!(again, best, "seed {seed}");

            let settings = Settings { iterations: Some(60), threads: 1, ..Settings::default() };
            let outcome = solve(&problem, &settings, &Patient);
            assert!(problem.violations(&outcome.solution).is_empty(), "seed {seed}");
            assert_eq!(outcome.solution.unplaced, best.unplaced, "seed {seed}");
            assert!(outcome.lower_bound.is_some_and(|bound| bound <= problem.cost(&best)), "seed {seed}");
            if outcome.status == Status::Optimal {
                assert_eq!(problem.cost(&outcome.solution), problem.cost(&best), "seed {seed}");
            }
        }
        assert!(several > 10, "only {several} problems have more than one part");
    }

    #[test]
    fn a_part_has_its_own_limits_and_what_is_to_be_used_of_them() {
        let mut problem = divided(1);
        for side in 0..2 {
            let per_node = (side..problem.bins.len()).step_by(2).map(|bin| (bin, 1)).collect();
            problem.rules.node_budgets.push(NodeBudget { name: String::new(), per_node, limit: 9 });
        }
        let second = problem.rules.node_budgets.len() - 1;
        problem.rules.exhausted.push(Exhausted { limits: vec![second], nodes: vec![vec![1]] });
        let parts: Vec<Part> =
            [0, 1].map(|side| Part::new(&problem, (side..problem.shapes.len()).step_by(2).collect())).into();
        assert!(parts[0].problem.rules.exhausted.is_empty());
        let own = &parts[1].problem.rules;
        assert_eq!(own.exhausted[0].limits, [own.node_budgets.len() - 1]);
    }

    #[test]
    fn what_rules_across_nodes_look_at_together_is_one_part() {
        let mut problem = divided(1);
        problem.rules = Rules::default();
        let before = independent(&problem).len();
        assert!(before > 1);
        let all = problem.bins.iter().enumerate().filter(|(_, bin)| !bin.admits.is_clear());
        let per_node = all.map(|(bin, _)| (bin, 1)).collect();
        problem.rules.node_budgets.push(NodeBudget { name: String::new(), per_node, limit: 9 });
        assert_eq!(independent(&problem).len(), 1);
    }
}
