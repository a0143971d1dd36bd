//! Bins that differ in nothing but domains that cost nothing, such as zones of equal prices, taken as one.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::Axis;

use crate::problem::{Pattern, Problem, Rules, ShapeSet};
use crate::solver::fluid::whole::Whole;

/// A problem with one bin for each class of bins. Rules about the domains that the bins of a class differ in are left
/// out, so every solution of the whole problem is one of this, too, at the same cost.
pub(super) struct Classes<'a> {
    whole: &'a Problem,
    /// The same shapes, the bins merged.
    pub problem: Problem,
    /// By merged bin: the bins that it stands for.
    pub members: Vec<Vec<usize>>,
}

/// What the bins of a class have in common: what a node offers, costs, admits (but for shapes that are bound to some of
/// the merged domains) and takes of each budget, its other domains, and where their number is limited the bin itself.
type Key = (Vec<i64>, i64, Vec<usize>, Vec<i64>, Vec<Option<u16>>, Option<usize>);

impl<'a> Classes<'a> {
    /// The classes of some bins. Topologies are merged where that at least halves the number of bins.
    pub fn new(whole: &'a Problem, bins: &[usize]) -> Self {
        let none = vec![false; whole.topologies.len()];
        let apart = group(whole, bins, &none).len();
        let merged: Vec<bool> = (0..whole.topologies.len())
            .map(|topology| {
                let mut only = none.clone();
                only[topology] = true;
                group(whole, bins, &only).len() * 2 <= apart
            })
            .collect();
        let members = group(whole, bins, &merged);
        let problem = merge(whole, &members, &merged);
        Classes { whole, problem, members }
    }

    /// A pattern on the bin of a class; `None` for a bin without one.
    pub fn pattern(&self, pattern: &Pattern) -> Option<Pattern> {
        let class = self.members.iter().position(|members| members.contains(&(pattern.bin as usize)))?;
        Some(Pattern { bin: class as u32, counts: pattern.counts.clone() })
    }

    /// The nodes of a mix by class, and in the end those of bins without one, in one number, so that none is lost.
    pub fn counts(&self, mix: &[u32]) -> Vec<u32> {
        let of = |bins: &Vec<usize>| bins.iter().map(|&bin| mix.get(bin).copied().unwrap_or(0)).sum();
        let mut counts: Vec<u32> = self.members.iter().map(of).collect();
        counts.push(mix.iter().sum::<u32>() - counts.iter().sum::<u32>());
        counts
    }

    /// Nodes of classes, and what is poured onto them, shared out evenly over the bins of each class; odd nodes go to the
    /// domains that have the fewest.
    pub fn evenly(&self, mix: &Whole) -> Whole {
        let mut whole = Whole { nodes: Vec::new(), poured: vec![Vec::new(); mix.poured.len()] };
        let mut held: BTreeMap<Vec<Option<u16>>, i64> = BTreeMap::new();
        let mut shares: BTreeMap<usize, Vec<(usize, f64)>> = BTreeMap::new();
        let mut nodes = mix.nodes.clone();
        nodes.sort_by_key(|&(class, _)| std::cmp::Reverse(self.problem.bins[class].price));
        for (class, copies) in nodes {
            let members = &self.members[class];
            let price = self.problem.bins[class].price;
            let mut each = vec![copies / members.len() as u32; members.len()];
            let domains = |bin: usize| self.whole.bins[bin].domains.clone();
            for (&bin, each) in members.iter().zip(&each) {
                *held.entry(domains(bin)).or_default() += price * i64::from(*each);
            }
            for _ in 0..copies % members.len() as u32 {
                let place = (0..members.len())
                    .min_by_key(|&place| (held.get(&domains(members[place])).copied().unwrap_or(0), place))
                    .unwrap_or(0);
                each[place] += 1;
                *held.entry(domains(members[place])).or_default() += price;
            }
            let bought = members.iter().copied().zip(each).filter(|(_, each)| *each > 0);
            whole.nodes.extend(bought.clone());
            shares.insert(class, bought.map(|(bin, each)| (bin, f64::from(each) / f64::from(copies))).collect());
        }
        for (shape, poured) in mix.poured.iter().enumerate() {
            for &(class, units) in poured {
                let even = || {
                    let members = &self.members[class];
                    members.iter().map(|&bin| (bin, 1.0 / members.len() as f64)).collect()
                };
                let shares = shares.get(&class).cloned().unwrap_or_else(even);
                whole.poured[shape].extend(shares.into_iter().map(|(bin, share)| (bin, units * share)));
            }
        }
        whole
    }
}

fn group(whole: &Problem, bins: &[usize], merged: &[bool]) -> Vec<Vec<usize>> {
    let bound = bound_shapes(whole, bins, merged);
    let mut classes: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
    for &bin in bins {
        let data = &whole.bins[bin];
        let takes = &whole.rules.node_budgets;
        let key = (
            whole.capacity.row(bin).to_vec(),
            data.price,
            data.admits.ones().filter(|&shape| !bound.contains(shape)).collect(),
            takes.iter().map(|budget| budget.per_node.get(&bin).copied().unwrap_or(0)).collect(),
            data.domains.iter().zip(merged).map(|(domain, merged)| domain.filter(|_| !merged)).collect(),
            data.max_count.map(|_| bin),
        );
        classes.entry(key).or_default().push(bin);
    }
    let mut members: Vec<Vec<usize>> = classes.into_values().collect();
    members.sort();
    members
}

/// Shapes that only some domains of a merged topology admit.
fn bound_shapes(whole: &Problem, bins: &[usize], merged: &[bool]) -> ShapeSet {
    let mut bound = ShapeSet::with_capacity(whole.shapes.len());
    for topology in (0..merged.len()).filter(|&topology| merged[topology]) {
        let mut by_domain: BTreeMap<Option<u16>, ShapeSet> = BTreeMap::new();
        for &bin in bins.iter().filter(|&&bin| whole.bins[bin].max_count.is_none()) {
            let admits = by_domain
                .entry(whole.bins[bin].domains[topology])
                .or_insert_with(|| ShapeSet::with_capacity(whole.shapes.len()));
            admits.union_with(&whole.bins[bin].admits);
        }
        for shape in 0..whole.shapes.len() {
            let admitting: BTreeSet<bool> = by_domain.values().map(|admits| admits.contains(shape)).collect();
            if admitting.len() > 1 {
                bound.insert(shape);
            }
        }
    }
    bound
}

fn merge(whole: &Problem, members: &[Vec<usize>], merged: &[bool]) -> Problem {
    let first: Vec<usize> = members.iter().map(|members| members[0]).collect();
    let bins = members.iter().map(|members| {
        let mut bin = whole.bins[members[0]].clone();
        members.iter().for_each(|&other| bin.admits.union_with(&whole.bins[other].admits));
        bin.domains.iter_mut().zip(merged).filter(|(_, merged)| **merged).for_each(|(domain, _)| *domain = None);
        bin
    });
    let old = &whole.rules;
    let kept = |topology: usize| !merged[topology];
    let class_of: BTreeMap<usize, usize> = first.iter().enumerate().map(|(class, &bin)| (bin, class)).collect();
    let mut rules = Rules {
        node_caps: old.node_caps.clone(),
        spreads: old.spreads.iter().filter(|rule| kept(rule.topology)).cloned().collect(),
        domain_caps: old.domain_caps.iter().filter(|rule| kept(rule.topology)).cloned().collect(),
        domain_exclusives: old.domain_exclusives.iter().filter(|rule| kept(rule.topology)).cloned().collect(),
        domain_togethers: old.domain_togethers.iter().filter(|rule| kept(rule.topology)).cloned().collect(),
        node_budgets: old.node_budgets.clone(),
        exhausted: old.exhausted.clone(),
        ..Rules::default()
    };
    for cap in &mut rules.node_caps {
        cap.present = cap.present.iter().filter_map(|(bin, &pods)| Some((*class_of.get(bin)?, pods))).collect();
    }
    for budget in &mut rules.node_budgets {
        budget.per_node = budget.per_node.iter().filter_map(|(bin, &take)| Some((*class_of.get(bin)?, take))).collect();
    }
    Problem {
        resources: whole.resources.clone(),
        shapes: whole.shapes.clone(),
        bins: bins.collect(),
        demand: whole.demand.clone(),
        capacity: whole.capacity.select(Axis(0), &first),
        topologies: whole.topologies.clone(),
        rules,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solver::test_problems::zones;

    #[test]
    fn zones_of_equal_prices_are_one() {
        let mut problem = zones(25);
        let classes = Classes::new(&problem, &[0, 1, 2, 3, 4, 5]);
        assert_eq!(classes.members, [vec![0, 1, 2], vec![3, 4, 5]]);
        assert_eq!(classes.problem.bins[0].domains, [None]);
        // A dearer zone is another class, and so is a bin of which there are only so many; two of three don't merge all.
        problem.bins[0].price += 1;
        problem.bins[4].max_count = Some(1);
        let classes = Classes::new(&problem, &[0, 1, 2, 3, 4, 5]);
        assert_eq!(classes.members.len(), 6, "{:?}", classes.members);
    }

    #[test]
    fn a_shape_that_is_bound_to_a_zone_keeps_no_classes_apart() {
        let mut problem = zones(25);
        problem.bins[1].admits.clear();
        problem.bins[4].admits.clear();
        let classes = Classes::new(&problem, &[0, 1, 2, 3, 4, 5]);
        assert_eq!(classes.members, [vec![0, 1, 2], vec![3, 4, 5]]);
        assert!(classes.problem.bins[0].admits.contains(0));
    }

    #[test]
    fn nodes_and_units_are_shared_out_evenly() {
        let problem = zones(40);
        let classes = Classes::new(&problem, &[0, 1, 2, 3, 4, 5]);
        let mix = Whole { nodes: vec![(0, 4), (1, 2)], poured: vec![vec![(0, 38.0), (1, 2.0)]] };
        let whole = classes.evenly(&mix);
        // The zone that has two of the big ones gets none of the small ones.
        assert_eq!(whole.nodes, [(0, 2), (1, 1), (2, 1), (4, 1), (5, 1)]);
        assert_eq!(whole.poured, [[(0, 19.0), (1, 9.5), (2, 9.5), (4, 1.0), (5, 1.0)]]);
    }
}
