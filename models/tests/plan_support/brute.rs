//! The optimum by trying everything, with nothing but the checker's judgement of what is allowed.

use std::collections::BTreeMap;

use supercargo_models::catalog::Catalog;
use supercargo_models::kubernetes::{NodePool, Snapshot};
use supercargo_models::plan::Plan;
use supercargo_models::plan::verify::{Rule, VerifyOptions};

use super::{NewNode, plan, price_in, rules};

/// Rules that a node alone breaks or keeps, whatever the other nodes hold.
const OF_ONE_NODE: [Rule; 10] = [
    Rule::Offering,
    Rule::PoolRequirements,
    Rule::CapacityType,
    Rule::Capacity,
    Rule::NodeAffinity,
    Rule::Taints,
    Rule::Volumes,
    Rule::HostPorts,
    Rule::PodAntiAffinity,
    Rule::MinValues,
];

/// Rules about what a plan says, not about where pods stand.
const OF_WORDS: [Rule; 5] =
    [Rule::Allocatable, Rule::Requested, Rule::Summary, Rule::Alternatives, Rule::Unschedulable];

/// How many states are looked at before giving up.
const MOST_STEPS: u64 = 400_000;
/// How many whole plans are judged before giving up.
const MOST_PLANS: u64 = 30_000;

/// Pods left over, then dollars an hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worth {
    pub left_over: u32,
    pub cost: f64,
}

impl Worth {
    fn beats(self, other: Worth) -> bool {
        self.left_over < other.left_over || (self.left_over == other.left_over && self.cost < other.cost - 1e-9)
    }
}

/// What is compared of a plan, by group of pods.
#[derive(Debug)]
pub struct Rival {
    /// How many it leaves over.
    pub left_over: Vec<u32>,
    /// How many it places on new nodes of pools of each weight.
    pub bought: Vec<BTreeMap<i32, u32>>,
}

/// A node with what it holds: pods of each group.
#[derive(Clone, Debug)]
struct Item {
    offer: usize,
    counts: Vec<u32>,
    price: f64,
}

/// What can be bought: pool, instance type, zone, capacity type, price, values for the labels that the pool leaves open.
type Offer<'a> = (&'a str, &'a str, &'a str, &'a str, f64, BTreeMap<String, String>);

/// What no rule tells apart but for sizes: pool, zone, capacity type, values of open labels.
type Alike<'a> = (&'a str, &'a str, &'a str, &'a BTreeMap<String, String>);

struct Search<'a> {
    snapshot: &'a Snapshot,
    catalog: &'a Catalog,
    options: &'a VerifyOptions,
    offers: Vec<Offer<'a>>,
    /// By offer: the weight of its pool.
    weights: Vec<i32>,
    existing: Vec<&'a str>,
    items: Vec<Item>,
    /// By existing node: what it can hold.
    held: Vec<Vec<Vec<u32>>>,
    least_left_over: u32,
    best: Worth,
    best_plan: Option<Plan>,
    steps: u64,
    plans: u64,
    /// The plan to be beaten: cost is compared for the same pods in pools of the same weights only.
    rival: &'a Rival,
    start: Worth,
    chosen_new: Vec<usize>,
    chosen_existing: Vec<Vec<u32>>,
}

/// Looks for a plan that is better than `start`: `None` if there is too much to look at, else the best worth there is
/// (`start` itself if nothing is better) and a plan that shows it.
pub fn better(
    snapshot: &Snapshot,
    catalog: &Catalog,
    options: &VerifyOptions,
    start: Worth,
    rival: &Rival,
) -> Option<(Worth, Option<Plan>)> {
    let mut search = Search {
        snapshot,
        catalog,
        options,
        offers: Vec::new(),
        weights: Vec::new(),
        existing: existing(snapshot),
        items: Vec::new(),
        held: Vec::new(),
        least_left_over: 0,
        best: start,
        best_plan: None,
        steps: 0,
        plans: 0,
        rival,
        start,
        chosen_new: Vec::new(),
        chosen_existing: Vec::new(),
    };
    search.prepare();
    let remaining: Vec<u32> = snapshot.pending.iter().map(|group| group.names.count()).collect();
    search.fill_existing(&remaining)?;
    Some((search.best, search.best_plan))
}

/// Names of the nodes that are there, and of those under way.
fn existing(snapshot: &Snapshot) -> Vec<&str> {
    let coming = snapshot.node_claims.iter().filter(|claim| {
        claim.metadata.deletion_timestamp.is_none() && !snapshot.nodes.iter().any(|node| claim.is_of(node))
    });
    let nodes = snapshot.nodes.iter().map(|node| &node.metadata);
    nodes.chain(coming.map(|claim| &claim.metadata)).map(|metadata| metadata.name.as_deref().unwrap()).collect()
}

/// Keys that pools of these tests leave open.
const OPEN: [&str; 3] = ["example.com/team", "team", "tier"];

/// Each choice of values for the labels that a pool leaves open.
fn open_labels(pool: &NodePool) -> Vec<BTreeMap<String, String>> {
    let mut all = vec![BTreeMap::new()];
    for one in pool.spec.template.spec.requirements.iter().filter(|one| OPEN.contains(&one.key.as_str())) {
        assert_eq!(one.operator, "In");
        all = all
            .iter()
            .flat_map(|labels| {
                one.values.iter().flatten().map(move |value| {
                    let mut labels: BTreeMap<String, String> = labels.clone();
                    labels.insert(one.key.clone(), value.clone());
                    labels
                })
            })
            .collect();
    }
    all
}

/// All vectors up to `counts`, but for the empty one.
fn contents(counts: &[u32]) -> Vec<Vec<u32>> {
    let mut all = vec![Vec::new()];
    for &count in counts {
        all = all
            .into_iter()
            .flat_map(|vector: Vec<u32>| {
                (0..=count).map(move |more| {
                    let mut vector = vector.clone();
                    vector.push(more);
                    vector
                })
            })
            .collect();
    }
    all.retain(|vector| vector.iter().any(|count| *count > 0));
    all
}

impl<'a> Search<'a> {
    fn prepare(&mut self) {
        for pool in &self.snapshot.node_pools {
            for instance in &self.catalog.instance_types {
                for offering in &instance.offerings {
                    let name = pool.metadata.name.as_deref().unwrap();
                    let place = (instance.name.as_str(), offering.zone.as_str(), offering.capacity_type.as_str());
                    let price = price_in(self.snapshot, self.catalog, name, place);
                    for labels in open_labels(pool) {
                        self.offers.push((name, place.0, place.1, place.2, price, labels));
                        self.weights.push(pool.spec.weight.unwrap_or(0));
                    }
                }
            }
        }
        let limited = self.snapshot.node_pools.iter().any(|pool| pool.spec.limits.is_some());
        let counts: Vec<u32> = self.snapshot.pending.iter().map(|group| group.names.count()).collect();
        let all = contents(&counts);
        let mut cheapest: BTreeMap<(Alike, Vec<u32>), f64> = BTreeMap::new();
        let mut items = Vec::new();
        for (offer, (pool, _, zone, capacity_type, price, labels)) in self.offers.iter().enumerate() {
            let price = *price;
            for counts in &all {
                let key = ((*pool, *zone, *capacity_type, labels), counts.clone());
                // No rule of these cases tells instance types apart beyond one node, but for the limits of pools.
                if !limited && cheapest.get(&key).is_some_and(|known| *known <= price) {
                    continue;
                }
                if self.allowed(&[(offer, counts)], &[]) {
                    cheapest.insert(key, price);
                    items.push(Item { offer, counts: counts.clone(), price });
                }
            }
        }
        items.sort_by(|left, right| left.price.total_cmp(&right.price));
        self.items = items;
        self.held = (0..self.existing.len())
            .map(|node| all.iter().filter(|counts| self.allowed(&[], &[(node, counts)])).cloned().collect())
            .collect();
        let holds = |group: usize, counts: &[u32]| counts[group] > 0;
        self.least_left_over = (0..counts.len())
            .filter(|group| {
                !self.items.iter().any(|item| holds(*group, &item.counts))
                    && !self.held.iter().flatten().any(|counts| holds(*group, counts))
            })
            .map(|group| counts[group])
            .sum();
    }

    fn build(&self, new: &[(usize, &Vec<u32>)], existing: &[(usize, &Vec<u32>)]) -> Plan {
        let mut next = vec![0; self.snapshot.pending.len()];
        let mut take = |counts: &[u32]| -> Vec<String> {
            let mut names = Vec::new();
            for (group, &count) in counts.iter().enumerate() {
                for _ in 0..count {
                    names.push(self.snapshot.pending[group].names.name(next[group]));
                    next[group] += 1;
                }
            }
            names
        };
        let on_new: Vec<Vec<String>> = new.iter().map(|(_, counts)| take(counts)).collect();
        let on_existing: Vec<Vec<String>> = existing.iter().map(|(_, counts)| take(counts)).collect();
        let left_over: Vec<String> = self
            .snapshot
            .pending
            .iter()
            .zip(&next)
            .flat_map(|(group, next)| (*next..group.names.count()).map(|index| group.names.name(index)))
            .collect();
        let on_new: Vec<Vec<&str>> = on_new.iter().map(|names| names.iter().map(String::as_str).collect()).collect();
        let on_existing: Vec<Vec<&str>> =
            on_existing.iter().map(|names| names.iter().map(String::as_str).collect()).collect();
        let nodes: Vec<NewNode> = new
            .iter()
            .zip(&on_new)
            .map(|((offer, _), pods)| {
                let (pool, instance_type, zone, capacity_type, ..) = self.offers[*offer];
                (pool, instance_type, zone, capacity_type, pods.as_slice())
            })
            .collect();
        let existing: Vec<(&str, &[&str])> = existing
            .iter()
            .zip(&on_existing)
            .map(|((node, _), pods)| (self.existing[*node], pods.as_slice()))
            .collect();
        let left_over: Vec<(&str, &str)> = left_over.iter().map(|pod| (pod.as_str(), "no room")).collect();
        let mut plan = plan(self.snapshot, self.catalog, &nodes, &existing, &left_over);
        for (node, (offer, _)) in plan.nodes.iter_mut().zip(new) {
            node.labels.clone_from(&self.offers[*offer].5);
        }
        plan
    }

    fn allowed(&self, new: &[(usize, &Vec<u32>)], existing: &[(usize, &Vec<u32>)]) -> bool {
        let plan = self.build(new, existing);
        rules(self.snapshot, self.catalog, self.options, &plan).iter().all(|rule| !OF_ONE_NODE.contains(rule))
    }

    fn fill_existing(&mut self, remaining: &[u32]) -> Option<()> {
        let node = self.chosen_existing.len();
        if node == self.existing.len() {
            return self.open(0, remaining, 0.0);
        }
        let nothing = vec![0; remaining.len()];
        let choices: Vec<Vec<u32>> = self.held[node].iter().cloned().chain([nothing]).collect();
        for counts in choices {
            if let Some(rest) = less(remaining, &counts) {
                self.chosen_existing.push(counts);
                self.fill_existing(&rest)?;
                self.chosen_existing.pop();
            }
        }
        Some(())
    }

    fn open(&mut self, from: usize, remaining: &[u32], cost: f64) -> Option<()> {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return None;
        }
        let worth = Worth { left_over: remaining.iter().sum(), cost };
        let same = || remaining == self.rival.left_over && self.is_as_light();
        let comparable = worth.left_over < self.start.left_over || same();
        if comparable && worth.beats(self.best) {
            self.judge(worth)?;
        }
        for index in from..self.items.len() {
            let after = cost + self.items[index].price;
            let hopeless = Worth { left_over: self.least_left_over, cost: after };
            if !hopeless.beats(self.best) {
                // Items are sorted by price: all others are hopeless too.
                break;
            }
            if let Some(rest) = less(remaining, &self.items[index].counts) {
                self.chosen_new.push(index);
                self.open(index, &rest, after)?;
                self.chosen_new.pop();
            }
        }
        Some(())
    }

    /// Whether nodes are bought for no more pods in pools of any weight than by the rival, where weights differ.
    fn is_as_light(&self) -> bool {
        if self.weights.iter().all(|weight| *weight == self.weights[0]) {
            return true;
        }
        let mut bought = vec![BTreeMap::<i32, u32>::new(); self.rival.bought.len()];
        for item in self.chosen_new.iter().map(|index| &self.items[*index]) {
            let weight = self.weights[item.offer];
            for (bought, count) in bought.iter_mut().zip(&item.counts).filter(|(_, count)| **count > 0) {
                *bought.entry(weight).or_default() += count;
            }
        }
        bought
            .iter()
            .zip(&self.rival.bought)
            .all(|(own, rival)| own.iter().all(|(weight, count)| rival.get(weight).is_some_and(|most| count <= most)))
    }

    fn judge(&mut self, worth: Worth) -> Option<()> {
        self.plans += 1;
        if self.plans > MOST_PLANS {
            return None;
        }
        let new: Vec<(usize, &Vec<u32>)> =
            self.chosen_new.iter().map(|index| (self.items[*index].offer, &self.items[*index].counts)).collect();
        let existing: Vec<(usize, &Vec<u32>)> = self.chosen_existing.iter().enumerate().collect();
        let plan = self.build(&new, &existing);
        let broken = rules(self.snapshot, self.catalog, self.options, &plan);
        if broken.iter().all(|rule| OF_WORDS.contains(rule)) {
            self.best = worth;
            self.best_plan = Some(plan);
        }
        Some(())
    }
}

/// `remaining - counts`, if nothing gets negative.
fn less(remaining: &[u32], counts: &[u32]) -> Option<Vec<u32>> {
    remaining.iter().zip(counts).map(|(left, take)| left.checked_sub(*take)).collect()
}
