//! Labels that a pool leaves open: which of its nodes there could be.
//!
//! A node of a pool that requires `team In (x, y)` bears one of the two. Nodes whose value no pod asks for, and no rule
//! looks at, need not be told apart.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::PodSpec;

use super::matching::obeys;
use crate::kubernetes::NodeSelectorRequirementWithMinValues;

/// As many combinations of all values are looked at; of more, those that one pod asks for or the plan names.
const MOST_TOGETHER: usize = 256;
/// The most that are looked at for one pod.
const MOST_OF_ONE: usize = 4096;

/// What one pod asks of labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wish<'s> {
    /// By key: the values that it names.
    named: BTreeMap<&'s str, BTreeSet<&'s str>>,
    /// Keys of which it asks something else than to have one of some values.
    loose: BTreeSet<&'s str>,
    /// Keys that its spread constraints and pod affinity terms look at.
    divided: BTreeSet<&'s str>,
}

impl<'s> Wish<'s> {
    /// What must hold for a pod.
    pub(super) fn new(spec: &'s PodSpec) -> Self {
        let mut wish = Wish::default();
        for (key, value) in spec.node_selector.iter().flatten() {
            wish.named.entry(key).or_default().insert(value);
        }
        let affinity = spec.affinity.as_ref();
        let node = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
        let required = node.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
        let terms = required.into_iter().flat_map(|required| &required.node_selector_terms);
        for expression in terms.flat_map(|term| term.match_expressions.iter().flatten()) {
            let values = expression.values.iter().flatten().map(String::as_str);
            wish.named.entry(&expression.key).or_default().extend(values);
            if expression.operator != "In" {
                wish.loose.insert(&expression.key);
            }
        }
        let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        let near = near.and_then(|near| near.required_during_scheduling_ignored_during_execution.as_ref());
        wish.divided.extend(near.into_iter().flatten().map(|term| term.topology_key.as_str()));
        wish.divided.extend(kept_away(spec));
        let spreads = spec.topology_spread_constraints.iter().flatten();
        let firm = spreads.filter(|spread| spread.when_unsatisfiable == "DoNotSchedule");
        wish.divided.extend(firm.map(|spread| spread.topology_key.as_str()));
        wish
    }
}

/// Keys of a pod's required anti-affinity: those whom it keeps away are divided by them, too.
fn kept_away(spec: &PodSpec) -> impl Iterator<Item = &str> {
    let apart = spec.affinity.as_ref().and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    let apart = apart.and_then(|apart| apart.required_during_scheduling_ignored_during_execution.as_ref());
    apart.into_iter().flatten().map(|term| term.topology_key.as_str())
}

/// What all ask: pods that wait and daemons.
#[derive(Debug, Default)]
pub(super) struct Wishes<'s> {
    all: BTreeSet<Wish<'s>>,
    /// By key: values that anybody names.
    named: BTreeMap<&'s str, BTreeSet<&'s str>>,
    /// Keys by which anybody keeps others away, those on nodes that are there included.
    apart: BTreeSet<&'s str>,
    /// By pool: labels that the plan gives to its nodes.
    stated: BTreeMap<&'s str, BTreeSet<&'s BTreeMap<String, String>>>,
}

impl<'s> Wishes<'s> {
    /// From those who are to be placed, those who are there, and the pools and labels of a plan's nodes.
    pub(super) fn new(
        asking: impl Iterator<Item = &'s PodSpec>,
        bound: impl Iterator<Item = &'s PodSpec>,
        stated: impl Iterator<Item = (&'s str, &'s BTreeMap<String, String>)>,
    ) -> Self {
        let mut wishes = Wishes { all: BTreeSet::from([Wish::default()]), ..Wishes::default() };
        for spec in asking {
            let wish = Wish::new(spec);
            for (key, values) in &wish.named {
                wishes.named.entry(key).or_default().extend(values);
            }
            wishes.apart.extend(kept_away(spec));
            wishes.all.insert(wish);
        }
        bound.for_each(|spec| wishes.apart.extend(kept_away(spec)));
        for (pool, labels) in stated {
            wishes.stated.entry(pool).or_default().insert(labels);
        }
        wishes
    }
}

/// A key that a pool requires and no offering bears.
struct Open<'r> {
    key: &'r str,
    limits: Vec<&'r NodeSelectorRequirementWithMinValues>,
    /// What nodes bear if nobody asks for anything; `None` for nothing.
    usual: Option<String>,
}

impl<'r> Open<'r> {
    fn new(key: &'r str, requirements: &'r [NodeSelectorRequirementWithMinValues], wishes: &Wishes) -> Self {
        let limits = requirements.iter().filter(|requirement| requirement.key == key).collect();
        let mut open = Open { key, limits, usual: None };
        let is_named = |value: &str| wishes.named.get(key).is_some_and(|named| named.contains(value));
        let listed = open.listed();
        let unnamed = listed.iter().find(|value| !is_named(value)).or(listed.first());
        open.usual = match unnamed {
            Some(value) => Some((*value).to_owned()),
            None if open.allows(None) => None,
            None => open.number(is_named),
        };
        open
    }

    fn allows(&self, value: Option<&str>) -> bool {
        self.limits.iter().all(|one| obeys(value, &one.operator, one.values.as_deref().unwrap_or_default()))
    }

    /// The values that the pool lists, as far as it allows them.
    fn listed(&self) -> Vec<&'r str> {
        let lists = self.limits.iter().filter(|one| one.operator == "In");
        let values = lists.flat_map(|one| one.values.iter().flatten()).map(String::as_str);
        let values: BTreeSet<&str> = values.filter(|value| self.allows(Some(value))).collect();
        values.into_iter().collect()
    }

    /// A number that the pool allows and nobody names: where any value will do, one is made up.
    fn number(&self, is_named: impl Fn(&str) -> bool) -> Option<String> {
        let bounds = self.limits.iter().flat_map(|one| one.values.iter().flatten()).filter_map(|it| it.parse().ok());
        let beside = bounds.flat_map(|bound: i64| (0..100).flat_map(move |far| [bound + far, bound - far]));
        let mut numbers = (0..1000).chain(beside).map(|number| number.to_string());
        numbers.find(|number| self.allows(Some(number)) && !is_named(number))
    }

    /// Values that matter to a pod.
    fn values(&self, wish: &Wish, wishes: &Wishes) -> BTreeSet<Option<String>> {
        let mut values = BTreeSet::from([self.usual.clone()]);
        let mut add = |value: &str| {
            if self.allows(Some(value)) {
                values.insert(Some(value.to_owned()));
            }
        };
        let named = wish.named.get(self.key);
        named.into_iter().flatten().for_each(|value| add(value));
        let loose = wish.loose.contains(self.key);
        if loose || wish.divided.contains(self.key) || wishes.apart.contains(self.key) {
            self.listed().into_iter().for_each(&mut add);
            wishes.named.get(self.key).into_iter().flatten().for_each(|value| add(value));
        }
        if loose && self.listed().is_empty() {
            let beside = named.into_iter().flatten().filter_map(|value| value.parse::<i64>().ok());
            beside.for_each(|bound| [bound - 1, bound + 1].iter().for_each(|one| add(&one.to_string())));
            self.number(|_| false).iter().for_each(|number| add(number));
            if self.allows(None) {
                values.insert(None);
            }
        }
        values
    }
}

type Labels = BTreeMap<String, String>;

/// Labels with each combination of values, at most so many.
fn product(labels: &Labels, keys: &[Open], values: &[BTreeSet<Option<String>>], most: usize) -> Vec<Labels> {
    let mut all = vec![labels.clone()];
    for (open, values) in keys.iter().zip(values) {
        let with = |labels: &Labels, value: &Option<String>| {
            let mut labels = labels.clone();
            labels.extend(value.clone().map(|value| (open.key.to_owned(), value)));
            labels
        };
        let each = all.iter().flat_map(|labels| values.iter().map(move |value| with(labels, value)));
        all = each.take(most).collect();
    }
    all
}

/// The labels of a pool's nodes, once for each choice that matters of values for the keys that it leaves open.
pub(super) fn choices(
    pool: &str,
    labels: &Labels,
    requirements: &[NodeSelectorRequirementWithMinValues],
    is_open: impl Fn(&str) -> bool,
    wishes: &Wishes,
) -> Vec<Labels> {
    let keys: BTreeSet<&str> = requirements.iter().map(|one| one.key.as_str()).filter(|key| is_open(key)).collect();
    let keys: Vec<Open> = keys.into_iter().map(|key| Open::new(key, requirements, wishes)).collect();
    if keys.is_empty() {
        return vec![labels.clone()];
    }
    let by_wish: BTreeSet<Vec<BTreeSet<Option<String>>>> =
        wishes.all.iter().map(|wish| keys.iter().map(|open| open.values(wish, wishes)).collect()).collect();
    let mut together = vec![BTreeSet::new(); keys.len()];
    for values in &by_wish {
        for (all, own) in together.iter_mut().zip(values) {
            all.extend(own.iter().cloned());
        }
    }
    let count = together.iter().fold(1_usize, |count, values| count.saturating_mul(values.len()));
    let mut choices: BTreeSet<Labels> = if count <= MOST_TOGETHER {
        product(labels, &keys, &together, MOST_TOGETHER).into_iter().collect()
    } else {
        by_wish.iter().flat_map(|values| product(labels, &keys, values, MOST_OF_ONE)).collect()
    };
    for stated in wishes.stated.get(pool).into_iter().flatten() {
        let value = |open: &Open| stated.get(open.key).map_or(open.usual.clone(), |value| Some(value.clone()));
        if keys.iter().all(|open| value(open) == open.usual || open.allows(value(open).as_deref())) {
            let values: Vec<_> = keys.iter().map(|open| BTreeSet::from([value(open)])).collect();
            choices.extend(product(labels, &keys, &values, 1));
        }
    }
    choices.into_iter().collect()
}
