//! What the heuristics look up often, worked out once for a problem.

use crate::problem::Problem;

/// Which rules of one node a shape takes part in, as indices into the lists of [`crate::problem::Rules`].
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeRules {
    pub caps: Vec<usize>,
    /// Spreads over nodes in which the shape is judged or counts.
    pub spreads: Vec<usize>,
    /// Exclusive rules in which the shape is on the left.
    pub left: Vec<usize>,
    /// Exclusive rules in which the shape is on the right.
    pub right: Vec<usize>,
    /// Together rules in which the shape needs company.
    pub company: Vec<usize>,
}

/// One place a shape's units are counted apart in: for a shape under rules across nodes, a tuple of domains in the
/// topologies those rules look at; for any other shape, anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub shape: usize,
    /// By topology: the domain, where the shape's rules look at that topology and its nodes have one.
    pub tuple: Vec<Option<u16>>,
}

/// Rows of numbers and lists by shape and by bin, laid out for quick reading.
pub(crate) struct Index<'p> {
    pub problem: &'p Problem,
    /// Number of resources.
    pub resources: usize,
    demand: Vec<i64>,
    capacity: Vec<i64>,
    pub node_rules: Vec<NodeRules>,
    /// Whether a shape takes part in any rule across nodes.
    pub ruled: Vec<bool>,
    /// Distinct tuples of domains among the bins, over the topologies that some rule looks at.
    pub tuples: Vec<Vec<Option<u16>>>,
    /// By bin: its entry in `tuples`.
    pub tuple_of: Vec<usize>,
    pub slots: Vec<Slot>,
    slot_of: Vec<u32>,
    /// By shape: its slots.
    pub slots_of_shape: Vec<Vec<usize>>,
    /// By bin: the flexible rules that hold for it.
    pub flexibles: Vec<Vec<usize>>,
    /// By flexible rule: its hosts, the roomiest first.
    pub hosts: Vec<Vec<usize>>,
    /// By bin: node budgets it takes from, with the amount.
    pub budgets: Vec<Vec<(usize, i64)>>,
    /// Bins that cost something, the cheapest first.
    pub by_price: Vec<usize>,
    /// Bins that cost nothing, in order.
    pub free: Vec<usize>,
    /// By shape: bins that cost something and admit it.
    pub sold_to: Vec<Vec<usize>>,
}

impl<'p> Index<'p> {
    pub fn new(problem: &'p Problem) -> Self {
        let (shapes, bins, resources) = (problem.shapes.len(), problem.bins.len(), problem.resources.len());
        let looks = topologies_by_shape(problem);
        let used: Vec<bool> =
            (0..problem.topologies.len()).map(|topology| looks.iter().any(|look| look[topology])).collect();
        let (tuples, tuple_of) = tuples_of_bins(problem, &used);
        let mut slots: Vec<Slot> = Vec::new();
        let mut slot_of = vec![0; shapes * tuples.len()];
        let mut slots_of_shape = vec![Vec::new(); shapes];
        for (shape, look) in looks.iter().enumerate() {
            for (entry, tuple) in tuples.iter().enumerate() {
                let seen: Vec<Option<u16>> =
                    tuple.iter().zip(look).map(|(domain, looks)| domain.filter(|_| *looks)).collect();
                let known = slots_of_shape[shape].iter().copied().find(|&slot: &usize| slots[slot].tuple == seen);
                let slot = known.unwrap_or_else(|| {
                    slots.push(Slot { shape, tuple: seen });
                    slots_of_shape[shape].push(slots.len() - 1);
                    slots.len() - 1
                });
                slot_of[shape * tuples.len() + entry] = slot as u32;
            }
        }
        let mut by_price: Vec<usize> = (0..bins).filter(|&bin| problem.bins[bin].price > 0).collect();
        by_price.sort_by_key(|&bin| (problem.bins[bin].price, bin));
        let sold_to = (0..shapes)
            .map(|shape| by_price.iter().copied().filter(|&bin| problem.bins[bin].admits.contains(shape)).collect())
            .collect();
        let mut budgets = vec![Vec::new(); bins];
        for (index, budget) in problem.rules.node_budgets.iter().enumerate() {
            for (&bin, &take) in budget.per_node.iter().filter(|(bin, take)| **bin < bins && **take > 0) {
                budgets[bin].push((index, take));
            }
        }
        Index {
            problem,
            resources,
            demand: problem.demand.iter().copied().collect(),
            capacity: problem.capacity.iter().copied().collect(),
            node_rules: node_rules(problem),
            ruled: looks.iter().map(|look| look.contains(&true)).collect(),
            tuples,
            tuple_of,
            slots,
            slot_of,
            slots_of_shape,
            flexibles: (0..bins)
                .map(|bin| {
                    let rules = problem.rules.flexibles.iter().enumerate();
                    rules.filter(|(_, rule)| rule.bins.contains(bin)).map(|(index, _)| index).collect()
                })
                .collect(),
            hosts: problem.rules.flexibles.iter().map(|rule| roomiest_first(rule, resources)).collect(),
            budgets,
            by_price,
            free: (0..bins).filter(|&bin| problem.bins[bin].price == 0).collect(),
            sold_to,
        }
    }

    /// What one unit of a shape takes, by resource.
    pub fn demand(&self, shape: usize) -> &[i64] {
        &self.demand[shape * self.resources..(shape + 1) * self.resources]
    }

    /// What one node of a bin offers, by resource.
    pub fn capacity(&self, bin: usize) -> &[i64] {
        &self.capacity[bin * self.resources..(bin + 1) * self.resources]
    }

    /// Pods that one unit of a shape holds.
    pub fn pods(&self, shape: usize) -> u32 {
        self.problem.shapes[shape].unit.pods.max(1)
    }

    /// Where a unit of the shape counts when it stands on a node of the bin.
    pub fn slot(&self, shape: usize, bin: usize) -> usize {
        self.slot_of[shape * self.tuples.len() + self.tuple_of[bin]] as usize
    }

    /// The most units of a shape on one empty node of a bin, by capacity and node caps alone.
    pub fn most_alone(&self, shape: usize, bin: usize) -> u32 {
        if !self.problem.bins[bin].admits.contains(shape) {
            return 0;
        }
        let mut most = i64::from(u32::MAX);
        for (&take, &room) in self.demand(shape).iter().zip(self.capacity(bin)) {
            if take > 0 {
                most = most.min(room.max(0) / take);
            } else if room < 0 {
                return 0;
            }
        }
        for &rule in &self.node_rules[shape].caps {
            let cap = &self.problem.rules.node_caps[rule];
            let present = cap.present.get(&bin).copied().unwrap_or(0);
            most = most.min(i64::from(cap.limit.saturating_sub(present) / self.pods(shape)));
        }
        most as u32
    }
}

/// By shape and topology: whether a rule across nodes looks at where the shape's units stand.
fn topologies_by_shape(problem: &Problem) -> Vec<Vec<bool>> {
    let rules = &problem.rules;
    let mut looks = vec![vec![false; problem.topologies.len()]; problem.shapes.len()];
    let spreads = rules.spreads.iter().map(|rule| (rule.topology, [Some(&rule.owners), Some(&rule.members)]));
    let caps = rules.domain_caps.iter().map(|rule| (rule.topology, [Some(&rule.members), None]));
    let exclusives = rules.domain_exclusives.iter().map(|rule| (rule.topology, [Some(&rule.left), Some(&rule.right)]));
    let togethers =
        rules.domain_togethers.iter().map(|rule| (rule.topology, [Some(&rule.members), Some(&rule.anchors)]));
    for (topology, sets) in spreads.chain(caps).chain(exclusives).chain(togethers) {
        for shape in sets.into_iter().flatten().flat_map(|set| set.ones()) {
            looks[shape][topology] = true;
        }
    }
    looks
}

/// The distinct tuples of domains and, by bin, which of them is its own; topologies no rule looks at are left out.
pub(crate) fn tuples_of_bins(problem: &Problem, used: &[bool]) -> (Vec<Vec<Option<u16>>>, Vec<usize>) {
    let mut tuples: Vec<Vec<Option<u16>>> = Vec::new();
    let mut tuple_of = Vec::with_capacity(problem.bins.len());
    for bin in &problem.bins {
        let tuple: Vec<Option<u16>> =
            bin.domains.iter().zip(used).map(|(domain, used)| domain.filter(|_| *used)).collect();
        tuple_of.push(tuples.iter().position(|known| *known == tuple).unwrap_or_else(|| {
            tuples.push(tuple);
            tuples.len() - 1
        }));
    }
    if tuples.is_empty() {
        tuples.push(vec![None; used.len()]);
    }
    (tuples, tuple_of)
}

fn node_rules(problem: &Problem) -> Vec<NodeRules> {
    let mut by_shape = vec![NodeRules::default(); problem.shapes.len()];
    for (index, rule) in problem.rules.node_caps.iter().enumerate() {
        rule.members.ones().for_each(|shape| by_shape[shape].caps.push(index));
    }
    for (index, rule) in problem.rules.node_spreads.iter().enumerate() {
        rule.owners.union(&rule.members).for_each(|shape| by_shape[shape].spreads.push(index));
    }
    for (index, rule) in problem.rules.node_exclusives.iter().enumerate() {
        rule.left.ones().for_each(|shape| by_shape[shape].left.push(index));
        rule.right.ones().for_each(|shape| by_shape[shape].right.push(index));
    }
    for (index, rule) in problem.rules.node_togethers.iter().enumerate() {
        rule.members.ones().for_each(|shape| by_shape[shape].company.push(index));
    }
    by_shape
}

fn roomiest_first(rule: &crate::problem::Flexible, resources: usize) -> Vec<usize> {
    let most: Vec<f64> = (0..resources)
        .map(|resource| rule.hosts.iter().map(|host| host.capacity[resource]).max().unwrap_or(0).max(1) as f64)
        .collect();
    let size = |host: usize| -> f64 {
        rule.hosts[host].capacity.iter().zip(&most).map(|(room, most)| *room as f64 / most).sum()
    };
    let mut hosts: Vec<usize> = (0..rule.hosts.len()).collect();
    hosts.sort_by(|&one, &other| size(other).total_cmp(&size(one)).then(one.cmp(&other)));
    hosts
}
