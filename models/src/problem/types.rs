//! The data of a problem and of a solution.

use std::collections::BTreeMap;

use fixedbitset::FixedBitSet;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// A set of shape indices.
pub type ShapeSet = FixedBitSet;

/// What must be packed, what it can be packed into, and the rules.
///
/// `demand` is shapes x resources and `capacity` is bins x resources, in the same integer units a resource:
/// millicores for cpu, bytes for memory and ephemeral storage, ones for all others (`pods` included: each unit of a
/// shape demands as many as it holds).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Problem {
    /// Names of the resources, the columns of both matrices.
    pub resources: Vec<String>,
    /// The shapes, rows of `demand`.
    pub shapes: Vec<Shape>,
    /// The bins, rows of `capacity`; no bin for sale dominates another one in the eyes of every shape and rule.
    pub bins: Vec<Bin>,
    /// What one unit of each shape takes.
    pub demand: Array2<i64>,
    /// What one node of each bin offers, daemons and what runs there already taken off.
    pub capacity: Array2<i64>,
    /// Label keys by which a rule divides the nodes into domains.
    pub topologies: Vec<Topology>,
    /// The rules beyond capacity and admission.
    pub rules: Rules,
}

/// Units that the solver can't tell apart.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shape {
    /// For people: the workload that the first unit belongs to.
    pub name: String,
    /// How many units must be placed.
    pub count: u32,
    /// Of two units of which one must wait, the one of lower priority waits.
    pub priority: i32,
    /// What one unit holds; most hold one pod. Pods that must share a node are one unit.
    pub unit: Unit,
}

/// How many pods one unit of a shape stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Pods in a unit, 1 unless they must share a node.
    pub pods: u32,
}

/// A kind of node that can be opened, or one that is there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bin {
    /// For people: pool, instance type, zone and capacity type, or the node's name.
    pub name: String,
    /// Where it comes from, as an index into the builder's own table.
    pub source: BinSource,
    /// Price of one node in billionths of a dollar an hour; 0 for what is there.
    pub price: i64,
    /// At most so many nodes of it; `None` for no limit. 1 for a node that is there.
    pub max_count: Option<u32>,
    /// Shapes that may stand on it: selectors, affinity, taints, volumes and the fit of one unit alone.
    #[serde(with = "super::bits")]
    pub admits: ShapeSet,
    /// Its domain by topology: an index into [`Topology::values`], `None` where its nodes lack the label.
    pub domains: Vec<Option<u16>>,
}

/// Where a bin comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BinSource {
    /// For sale: an index into the builder's table of offerings.
    Offering(usize),
    /// There already, or on its way: an index into the builder's table of machines.
    Existing(usize),
}

/// A label key by which nodes form domains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// `topology.kubernetes.io/zone`, `karpenter.sh/capacity-type`, ...
    pub key: String,
    /// Its values, among the bins.
    pub values: Vec<String>,
}

/// All rules beyond capacity and admission. The first five speak of one node and are part of what makes a pattern
/// valid; the others span nodes and are rows of the master problem.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Rules {
    /// At most so many of these on one node.
    pub node_caps: Vec<NodeCap>,
    /// At most so many of these on a node with one of those.
    #[serde(default)]
    pub node_spreads: Vec<NodeSpread>,
    /// Never both on one node.
    pub node_exclusives: Vec<NodeExclusive>,
    /// Only on a node with one of those.
    pub node_togethers: Vec<NodeTogether>,
    /// Enough other offerings must be able to hold the same pods.
    pub flexibles: Vec<Flexible>,
    /// Evenly over the domains.
    pub spreads: Vec<Spread>,
    /// At most so many in one domain.
    pub domain_caps: Vec<DomainCap>,
    /// Never both in one domain.
    pub domain_exclusives: Vec<DomainExclusive>,
    /// Only in a domain with one of those.
    pub domain_togethers: Vec<DomainTogether>,
    /// The nodes together take at most so much.
    pub node_budgets: Vec<NodeBudget>,
    /// Of limits nothing is to be left that could still be used. A wish, no rule: who breaks it is feasible. Where the first
    /// solution fulfils it, so does the answer, and the bound is one of those that do.
    #[serde(default)]
    pub exhausted: Vec<Exhausted>,
}

/// On one node of bin `b`, the pods of `members` together are at most `limit - present[b]`.
///
/// Comes from hostname spread (an empty node is a domain, so `limit` is maxSkew) for those who count themselves,
/// anti-affinity with itself and host ports (`limit` 1).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeCap {
    /// For people: what it comes from.
    pub name: String,
    /// Shapes that count.
    #[serde(with = "super::bits")]
    pub members: ShapeSet,
    /// The most on one node.
    pub limit: u32,
    /// Matching pods that stand on a bin's node already (bin index to count; bins for sale have none).
    pub present: BTreeMap<usize, u32>,
}

/// A node of bin `b` that holds a unit of `owners` holds at most `limit - present[b]` pods of `members`, and no owner
/// where that is below 0. Without an owner it may hold any number.
///
/// Comes from hostname spread whose selector and owners differ: kube-scheduler judges a constraint when a pod that has
/// it is placed. What is asked here is that the constraint holds in the end for all who have it, so that it held
/// whatever the order in which the pods came.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeSpread {
    /// For people: what it comes from.
    pub name: String,
    /// Who is judged.
    #[serde(with = "super::bits")]
    pub owners: ShapeSet,
    /// Who counts; neither set need hold the other.
    #[serde(with = "super::bits")]
    pub members: ShapeSet,
    /// The most on a node with an owner.
    pub limit: u32,
    /// Matching pods that stand on a bin's node already (bin index to count; bins for sale have none).
    pub present: BTreeMap<usize, u32>,
}

impl NodeSpread {
    /// What a node of a bin with an owner may still take; below 0 no owner may come.
    pub fn room(&self, bin: usize) -> i64 {
        i64::from(self.limit) - i64::from(self.present.get(&bin).copied().unwrap_or(0))
    }
}

/// No node holds a unit of `left` and a unit of `right`. The two sets are disjoint.
///
/// Comes from hostname anti-affinity, both directions, and host ports. What stands on existing nodes is in
/// [`Bin::admits`] already.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeExclusive {
    /// For people: what it comes from.
    pub name: String,
    /// One side.
    #[serde(with = "super::bits")]
    pub left: ShapeSet,
    /// The other side.
    #[serde(with = "super::bits")]
    pub right: ShapeSet,
}

/// A node that holds a unit of `members` holds a unit of `anchors` too, unless its bin is in `satisfied`.
///
/// Comes from required hostname affinity towards others. (Pods that must all share one node are one unit already.)
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeTogether {
    /// For people: what it comes from.
    pub name: String,
    /// Who needs company.
    #[serde(with = "super::bits")]
    pub members: ShapeSet,
    /// Whose company; disjoint from `members`.
    #[serde(with = "super::bits")]
    pub anchors: ShapeSet,
    /// Bins (existing nodes) that hold an anchor already.
    #[serde(with = "super::bits")]
    pub satisfied: FixedBitSet,
}

/// A node of a bin in `bins` is valid only if, for each `minimum[k]`, the hosts that could hold all its units have at
/// least that many different `values[k]`. Hosts are all offerings of the pool, the dominated ones included.
///
/// Comes from `minValues` of a NodePool requirement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flexible {
    /// For people: the pool.
    pub name: String,
    /// Bins for sale of that pool.
    #[serde(with = "super::bits")]
    pub bins: FixedBitSet,
    /// One entry a requirement with `minValues`.
    pub minimum: Vec<u32>,
    /// What could hold a node's units.
    pub hosts: Vec<FlexibleHost>,
}

/// An offering (or several alike) that could stand in for a planned one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FlexibleHost {
    /// What one node of it offers, by resource.
    pub capacity: Vec<i64>,
    /// Shapes that may stand on it.
    #[serde(with = "super::bits")]
    pub admits: ShapeSet,
    /// Its value for each entry of [`Flexible::minimum`], as an index.
    pub values: Vec<u32>,
}

/// For every domain `d` that a unit of `owners` is placed in: `N(d) - min over e of N(e) <= max_skew`, where `e` runs over
/// the eligible domains and those dormant ones in which a node is opened, and
/// `N(d) = present[d] + pods of members placed in d`; the minimum counts as 0 where fewer than `min_domains` domains
/// are eligible. Owners' bins all have a domain, and it is eligible. Pods on a bin without a domain don't count.
///
/// kube-scheduler judges a constraint when a pod that has it is placed, by what is there then. What is asked here is that
/// it holds in the end, for all who have it: then they can be placed one after the other, each where the least are.
///
/// <https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/>
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spread {
    /// For people: what it comes from.
    pub name: String,
    /// Index into [`Problem::topologies`].
    pub topology: usize,
    /// Shapes whose placement is judged.
    #[serde(with = "super::bits")]
    pub owners: ShapeSet,
    /// Shapes that count; mostly the same set.
    #[serde(with = "super::bits")]
    pub members: ShapeSet,
    /// The largest difference allowed.
    pub max_skew: u32,
    /// Below this number of eligible domains the minimum counts as 0.
    pub min_domains: Option<u32>,
    /// By domain value: whether it counts towards the minimum.
    pub eligible: Vec<bool>,
    /// By domain value: whether it counts as soon as a node for sale is opened there (no owner can stand there).
    #[serde(default)]
    pub dormant: Vec<bool>,
    /// By domain value: matching pods that are there already.
    pub present: Vec<u32>,
}

impl Spread {
    /// Whether a domain counts as soon as a node is opened in it, and not before.
    pub fn is_dormant(&self, domain: usize) -> bool {
        self.dormant.get(domain).copied().unwrap_or(false)
    }
}

/// In domain `d` the pods of `members` are at most `limit - present[d]` (never less than 0).
///
/// Comes from anti-affinity with itself on a zone (`limit` 1).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DomainCap {
    /// For people: what it comes from.
    pub name: String,
    /// Index into [`Problem::topologies`].
    pub topology: usize,
    /// Shapes that count.
    #[serde(with = "super::bits")]
    pub members: ShapeSet,
    /// The most in one domain.
    pub limit: u32,
    /// By domain value: matching pods that are there already.
    pub present: Vec<u32>,
}

/// No domain holds a unit of `left` and a unit of `right`. The sets are disjoint; what existing pods forbid is in
/// [`Bin::admits`] already.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DomainExclusive {
    /// For people: what it comes from.
    pub name: String,
    /// Index into [`Problem::topologies`].
    pub topology: usize,
    /// One side.
    #[serde(with = "super::bits")]
    pub left: ShapeSet,
    /// The other side.
    #[serde(with = "super::bits")]
    pub right: ShapeSet,
}

/// Units of `members` stand only in domains that are `present` or that hold a unit of `anchors`; where `anchors` is
/// empty and nothing is present, all of them stand in one and the same domain (whichever).
///
/// Comes from required zone affinity. `anchors` is disjoint from `members`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DomainTogether {
    /// For people: what it comes from.
    pub name: String,
    /// Index into [`Problem::topologies`].
    pub topology: usize,
    /// Who needs company.
    #[serde(with = "super::bits")]
    pub members: ShapeSet,
    /// Whose company.
    #[serde(with = "super::bits")]
    pub anchors: ShapeSet,
    /// By domain value: whether a matching pod is there already.
    pub present: Vec<bool>,
}

/// `sum over nodes of per_node[bin] <= limit` (0 where the limit is below). Comes from a NodePool's limits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeBudget {
    /// For people: pool and resource.
    pub name: String,
    /// What a node of a bin takes (bin index to amount); bins not named take nothing.
    pub per_node: BTreeMap<usize, i64>,
    /// What is left to take.
    pub limit: i64,
}

impl NodeBudget {
    /// What nodes take, by how many there are of each bin.
    pub(crate) fn taken(&self, opened: &[u64]) -> i64 {
        self.per_node.iter().map(|(&bin, &take)| take * opened[bin] as i64).sum()
    }
}

/// For each of `nodes` some limit has less left than the node takes of it: none of them could be bought beside the others.
///
/// Comes from heavier pools that could hold what is planned for lighter ones: pods go to a lighter pool only where the
/// heavier ones have no room for one more node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exhausted {
    /// Limits of the pool, as indices into [`Rules::node_budgets`].
    pub limits: Vec<usize>,
    /// What nodes that are not to be left room for take of each limit.
    pub nodes: Vec<Vec<i64>>,
}

impl Exhausted {
    /// Whether one of the nodes could be bought, by what is left of each of [`Rules::node_budgets`].
    pub(crate) fn leaves_room(&self, left: &[i64]) -> bool {
        let buys = |takes: &Vec<i64>| takes.iter().zip(&self.limits).all(|(takes, limit)| *takes <= left[*limit]);
        self.nodes.iter().any(buys)
    }
}

/// One node: its bin and what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pattern {
    /// Index into [`Problem::bins`].
    pub bin: u32,
    /// Shape index and units of it, ascending by shape, no zero entries.
    pub counts: Vec<(u32, u32)>,
}

/// A multiset of nodes, and who found no place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Solution {
    /// Nodes with the number of copies, sorted, no copies of 0; a node for sale that holds nothing is never there.
    pub nodes: Vec<(Pattern, u32)>,
    /// By shape: units that found no place.
    pub unplaced: Vec<u32>,
}
