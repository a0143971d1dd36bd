//! Nodes with all units on them, and how much each holds beyond what it may.

use crate::problem::{Pattern, ShapeSet};
use crate::solver::packing::Index;

/// What a pod too many for a rule of one node counts, where all that the mean node offers of a resource is 1.
const RULE: f64 = 0.1;

/// What a rule of one node asks of two sets of shapes.
enum Kind {
    /// The first has at most so many pods.
    Cap,
    /// Where the first has any, the second has at most so many.
    Spread,
    /// Not both have any.
    Exclusive,
    /// Where the first has any, the second has some, unless the limit is 1.
    Together,
}

/// A rule of one node, with its limit by bin.
struct NodeRule {
    kind: Kind,
    limit: Vec<i64>,
}

/// How many pods a unit of a shape adds to the two sets of a rule.
struct Role {
    rule: usize,
    first: i64,
    second: i64,
}

/// A node and what it holds.
pub(super) struct Node {
    pub bin: usize,
    /// By shape.
    pub counts: Vec<u32>,
    /// Shapes that it holds.
    pub held: Vec<usize>,
    /// By resource: what its units take beyond what it offers.
    over: Vec<i64>,
    /// By rule: pods of the two sets.
    pods: Vec<(i64, i64)>,
    /// What is too much of resources, and of rules.
    penalty: (f64, f64),
}

impl Node {
    /// What is too much: of each resource as a share of what the mean node offers, and a tenth for each pod that a rule
    /// forbids.
    pub fn penalty(&self) -> f64 {
        self.penalty.0 + self.penalty.1
    }

    /// What it holds by a packing.
    pub fn pattern(&self, counts: &[u32]) -> Pattern {
        let held = counts.iter().enumerate().filter(|(_, units)| **units > 0);
        Pattern { bin: self.bin as u32, counts: held.map(|(shape, &units)| (shape as u32, units)).collect() }
    }
}

/// Nodes that may hold more than they can.
pub(super) struct Floor<'i, 'p> {
    pub index: &'i Index<'p>,
    pub nodes: Vec<Node>,
    /// By resource: one over what the mean node offers.
    scale: Vec<f64>,
    rules: Vec<NodeRule>,
    /// By shape.
    roles: Vec<Vec<Role>>,
}

impl<'i, 'p> Floor<'i, 'p> {
    /// Empty nodes of these bins.
    pub fn new(index: &'i Index<'p>, bins: &[usize]) -> Self {
        let (rules, roles) = rules(index);
        let mut scale = vec![0.0; index.resources];
        for &bin in bins {
            for (mean, &room) in scale.iter_mut().zip(index.capacity(bin)) {
                *mean += room.max(0) as f64 / bins.len() as f64;
            }
        }
        scale.iter_mut().for_each(|mean| *mean = if *mean > 0.0 { 1.0 / *mean } else { 0.0 });
        let empty = |&bin: &usize| Node {
            bin,
            counts: vec![0; index.problem.shapes.len()],
            held: Vec::new(),
            over: index.capacity(bin).iter().map(|room| -room).collect(),
            pods: vec![(0, 0); rules.len()],
            penalty: (0.0, 0.0),
        };
        Floor { index, nodes: bins.iter().map(empty).collect(), scale, rules, roles }
    }

    /// What a unit of a shape takes of all resources together, each as a share of what the mean node offers.
    pub fn size(&self, shape: usize) -> f64 {
        self.index.demand(shape).iter().zip(&self.scale).map(|(&take, scale)| take as f64 * scale).sum()
    }

    /// Puts units on a node.
    pub fn put(&mut self, place: usize, shape: usize, units: u32) {
        let node = &mut self.nodes[place];
        if node.counts[shape] == 0 {
            node.held.push(shape);
        }
        node.counts[shape] += units;
        self.count(place, shape, i64::from(units));
    }

    /// Takes one unit off a node.
    pub fn take(&mut self, place: usize, shape: usize) {
        let node = &mut self.nodes[place];
        node.counts[shape] -= 1;
        if node.counts[shape] == 0 {
            node.held.retain(|held| *held != shape);
        }
        self.count(place, shape, -1);
    }

    fn count(&mut self, place: usize, shape: usize, units: i64) {
        let node = &mut self.nodes[place];
        for (over, take) in node.over.iter_mut().zip(self.index.demand(shape)) {
            *over += take * units;
        }
        for role in &self.roles[shape] {
            let pods = &mut node.pods[role.rule];
            *pods = (pods.0 + role.first * units, pods.1 + role.second * units);
        }
        self.nodes[place].penalty = (self.resources(place, None, None), self.rules(place, None, None));
    }

    /// The penalty of a node with one unit more and one less.
    pub fn with(&self, place: usize, comes: Option<usize>, goes: Option<usize>) -> f64 {
        let plays = |shape: Option<usize>| shape.is_some_and(|shape| !self.roles[shape].is_empty());
        let rules =
            if plays(comes) || plays(goes) { self.rules(place, comes, goes) } else { self.nodes[place].penalty.1 };
        self.resources(place, comes, goes) + rules
    }

    fn resources(&self, place: usize, comes: Option<usize>, goes: Option<usize>) -> f64 {
        let demand = |shape: Option<usize>| shape.map_or(&[][..], |shape| self.index.demand(shape));
        let (more, less) = (demand(comes), demand(goes));
        let mut sum = 0.0;
        for (resource, over) in self.nodes[place].over.iter().enumerate() {
            let over = over + more.get(resource).unwrap_or(&0) - less.get(resource).unwrap_or(&0);
            if over > 0 {
                sum += over as f64 * self.scale[resource];
            }
        }
        sum
    }

    fn rules(&self, place: usize, comes: Option<usize>, goes: Option<usize>) -> f64 {
        let node = &self.nodes[place];
        let roles = |shape: Option<usize>| shape.map_or(&[][..], |shape| &self.roles[shape][..]);
        let mut pods = 0;
        for (number, rule) in self.rules.iter().enumerate() {
            let (mut first, mut second) = node.pods[number];
            for role in roles(comes).iter().filter(|role| role.rule == number) {
                (first, second) = (first + role.first, second + role.second);
            }
            for role in roles(goes).iter().filter(|role| role.rule == number) {
                (first, second) = (first - role.first, second - role.second);
            }
            if first == 0 {
                continue;
            }
            let limit = rule.limit[node.bin];
            pods += match rule.kind {
                Kind::Cap => (first - limit).max(0),
                Kind::Spread => (second - limit).max(0),
                Kind::Exclusive => first.min(second),
                Kind::Together if second == 0 && limit == 0 => first,
                Kind::Together => 0,
            };
        }
        pods as f64 * RULE
    }

    /// What is too much on all nodes.
    pub fn total(&self) -> f64 {
        self.nodes.iter().map(Node::penalty).sum()
    }
}

/// The rules of one node, and by shape how its units count for them.
fn rules(index: &Index) -> (Vec<NodeRule>, Vec<Vec<Role>>) {
    let problem = index.problem;
    let bins = problem.bins.len();
    let mut rules: Vec<NodeRule> = Vec::new();
    let mut roles: Vec<Vec<Role>> = problem.shapes.iter().map(|_| Vec::new()).collect();
    let mut add = |kind: Kind, limit: Vec<i64>, first: &ShapeSet, second: Option<&ShapeSet>| {
        for (shape, roles) in roles.iter_mut().enumerate() {
            let pods = |counts: bool| if counts { i64::from(index.pods(shape)) } else { 0 };
            let (first, second) =
                (pods(first.contains(shape)), pods(second.is_some_and(|second| second.contains(shape))));
            if first > 0 || second > 0 {
                roles.push(Role { rule: rules.len(), first, second });
            }
        }
        rules.push(NodeRule { kind, limit });
    };
    for cap in &problem.rules.node_caps {
        let room = |bin: usize| i64::from(cap.limit) - i64::from(cap.present.get(&bin).copied().unwrap_or(0));
        add(Kind::Cap, (0..bins).map(room).collect(), &cap.members, None);
    }
    for spread in &problem.rules.node_spreads {
        let room = |bin: usize| spread.room(bin);
        add(Kind::Spread, (0..bins).map(room).collect(), &spread.owners, Some(&spread.members));
    }
    for rule in &problem.rules.node_exclusives {
        add(Kind::Exclusive, vec![0; bins], &rule.left, Some(&rule.right));
    }
    for rule in &problem.rules.node_togethers {
        let satisfied = |bin: usize| i64::from(rule.satisfied.contains(bin));
        add(Kind::Together, (0..bins).map(satisfied).collect(), &rule.members, Some(&rule.anchors));
    }
    (rules, roles)
}
