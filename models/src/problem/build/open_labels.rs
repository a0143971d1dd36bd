//! Labels that pools leave open, and the combinations of their values of which nodes are worth having.
//!
//! A pool that requires `team In (x, y)` gives each of its nodes one of the two. Values that no pod asks for and by which
//! no rule divides nodes are all alike, so one of them stands for the others.
//! <https://karpenter.sh/docs/concepts/scheduling/#user-defined-labels>

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexSet;

use super::reading::{Owned, Reading};
use crate::kubernetes::Snapshot;
use crate::kubernetes::requirements::{NodeRequirements, Operator, Requirement, current_key};

/// Beyond so many combinations none is made for the sake of pods that could share a node; each pod has its own still.
const MOST_COMBINATIONS: usize = 256;
/// The most ways to satisfy a selector that are looked at.
const MOST_WAYS: usize = 1024;

/// Values by label key; `None` where the nodes lack the label.
type Choice<'a> = BTreeMap<&'a str, Option<&'a str>>;

/// What all pods ask of labels.
pub(super) struct Asks<'a> {
    /// What is asked at once, and the keys by which the nodes of those who ask are divided.
    all: BTreeSet<(&'a NodeRequirements, BTreeSet<&'a str>)>,
    /// By key: values that anybody names.
    named: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// By key: values on nodes that are there.
    there: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Asks<'a> {
    pub fn new(snapshot: &'a Snapshot, reading: &'a Reading) -> Asks<'a> {
        let mut named: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for requirement in reading.labels.iter().flat_map(NodeRequirements::iter) {
            named.entry(&requirement.key).or_default().extend(requirement.values.iter().map(String::as_str));
        }
        let machines = snapshot.nodes.iter().map(|node| &node.metadata);
        let machines = machines.chain(snapshot.node_claims.iter().map(|claim| &claim.metadata));
        let mut there: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (key, value) in machines.flat_map(|machine| machine.labels.iter().flatten()) {
            there.entry(current_key(key)).or_default().insert(value);
        }
        let mut all: BTreeSet<_> = reading.labels.iter().map(|labels| (labels, BTreeSet::new())).collect();
        let kept_away = kept_away(reading);
        for profile in &reading.profiles {
            let own = profile.owned.iter().map(|owned| {
                let (Owned::Spread { key, .. } | Owned::Together { key, .. } | Owned::Apart { key, .. }) = owned;
                key.as_str()
            });
            let others = profile.member.ones().filter_map(|pods| kept_away.get(&pods)).flatten().copied();
            let keys: BTreeSet<&str> = own.chain(others).collect();
            for admission in [profile.admission, profile.required] {
                all.insert((&reading.labels[reading.admissions[admission].labels], keys.clone()));
            }
        }
        Asks { all, named, there }
    }
}

/// By pod set: label keys in whose domains others keep its pods away.
fn kept_away(reading: &Reading) -> BTreeMap<usize, BTreeSet<&str>> {
    let mut keys: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for owned in reading.profiles.iter().flat_map(|profile| &profile.owned) {
        if let Owned::Apart { key, pods } = owned {
            keys.entry(*pods).or_default().insert(key);
        }
    }
    for (key, pods) in reading.bound.iter().flat_map(|bound| &bound.apart) {
        keys.entry(*pods).or_default().insert(key);
    }
    keys
}

/// A key that a pool leaves open.
struct Open {
    /// Values that its nodes can have; the first is what they have unless pods ask for another one.
    values: Vec<Option<String>>,
    /// By value: the places of it, for a quick answer to `In`.
    places: BTreeMap<String, usize>,
}

impl Open {
    /// `None` where the pool allows no value at all: then its nodes lack the label.
    fn new(key: &str, limits: &[Requirement], asks: &Asks) -> Option<Open> {
        let allowed = |value: &str| limits.iter().all(|one| one.matches(Some(value)));
        let empty = BTreeSet::new();
        let named = asks.named.get(key).unwrap_or(&empty);
        let mut listed = limits.iter().filter(|one| one.operator == Operator::In).map(|one| &one.values);
        let values: Vec<Option<String>> = if let Some(listed) = listed.next() {
            // One that nobody names suits those who avoid the others.
            let (unnamed, rest): (Vec<&String>, Vec<&String>) =
                listed.iter().filter(|value| allowed(value)).partition(|value| !named.contains(value.as_str()));
            unnamed.into_iter().chain(rest).cloned().map(Some).collect()
        } else {
            let there = asks.there.get(key).unwrap_or(&empty);
            let beside = named.iter().filter_map(|value| value.parse::<i64>().ok());
            let beside =
                beside.flat_map(|bound| [bound.saturating_sub(1), bound.saturating_add(1)].map(|one| one.to_string()));
            let known: BTreeSet<String> = named
                .union(there)
                .map(|value| (*value).to_owned())
                .chain(beside)
                .filter(|value| allowed(value))
                .collect();
            let made = numbers(limits, named).find(|value| allowed(value) && !named.contains(value.as_str()));
            let lacking = limits.iter().all(|one| one.matches(None)).then_some(None);
            let mut values: IndexSet<Option<String>> = lacking.into_iter().chain(made.map(Some)).collect();
            values.extend(known.into_iter().map(Some));
            values.into_iter().collect()
        };
        let places = values.iter().enumerate().filter_map(|(place, value)| Some((value.clone()?, place))).collect();
        (!values.is_empty()).then_some(Open { values, places })
    }

    fn value(&self, place: usize) -> Option<&str> {
        self.values[place].as_deref()
    }

    /// Values that satisfy all of some requirements.
    fn matching(&self, asked: &[&Requirement]) -> Vec<usize> {
        let matches = |place: &usize| asked.iter().all(|one| one.matches(self.value(*place)));
        match asked.iter().find(|one| one.operator == Operator::In) {
            Some(one) => {
                one.values.iter().filter_map(|value| self.places.get(value).copied()).filter(matches).collect()
            }
            None => (0..self.values.len()).filter(matches).collect(),
        }
    }
}

/// Numbers among which there is one that the limits of a pool allow and nobody names, if there is any: Karpenter makes one
/// up, too, for a label that must only exist (`Any` of its `scheduling.Requirement`).
fn numbers<'n>(limits: &'n [Requirement], named: &'n BTreeSet<&str>) -> impl Iterator<Item = String> + 'n {
    let few = named.len() + limits.iter().map(|one| one.values.len()).sum::<usize>();
    let bounds = limits.iter().flat_map(|one| &one.values).filter_map(|value| value.parse::<i64>().ok());
    // Below a bound and above it so many that one is not named.
    let beside = bounds.flat_map(move |bound| {
        (0..=few as i64).flat_map(move |far| [bound.saturating_add(far), bound.saturating_sub(far)])
    });
    (0..=few as i64).chain(beside).map(|number| number.to_string())
}

/// Combinations of values for the keys that a pool leaves open: for all who ask, alone and, while there are few, together
/// on one node. Without such keys there is one, the empty one.
pub(super) fn combinations(limits: &BTreeMap<String, Vec<Requirement>>, asks: &Asks) -> Vec<BTreeMap<String, String>> {
    let keys: BTreeMap<&str, Open> =
        limits.iter().filter_map(|(key, limits)| Some((key.as_str(), Open::new(key, limits, asks)?))).collect();
    if keys.is_empty() {
        return vec![BTreeMap::new()];
    }
    let alone: IndexSet<Choice> = asks.all.iter().flat_map(|(labels, divided)| ways(labels, divided, &keys)).collect();
    let mut chosen: IndexSet<Choice> = IndexSet::from([Choice::new()]);
    chosen.extend(alone.iter().cloned());
    'all: for one in &alone {
        for known in 0..chosen.len() {
            if chosen.len() >= MOST_COMBINATIONS {
                break 'all;
            }
            chosen.extend(both(&chosen[known], one));
        }
    }
    let complete = |choice: Choice| -> BTreeMap<String, String> {
        let value = |(key, open): (&&str, &Open)| {
            let value = choice.get(key).copied().unwrap_or_else(|| open.value(0));
            value.map(|value| ((*key).to_owned(), value.to_owned()))
        };
        keys.iter().filter_map(value).collect()
    };
    let complete: IndexSet<BTreeMap<String, String>> = chosen.iter().cloned().map(complete).collect();
    complete.into_iter().collect()
}

/// What satisfies two choices at once.
fn both<'k>(left: &Choice<'k>, right: &Choice<'k>) -> Option<Choice<'k>> {
    let agree = right.iter().all(|(key, value)| left.get(key).is_none_or(|other| other == value));
    agree.then(|| left.iter().chain(right).map(|(key, value)| (*key, *value)).collect())
}

/// The choices that satisfy a selector, as far as it speaks of these keys; of keys by which nodes are divided all values.
/// Keys that it leaves to others are left out.
fn ways<'k>(labels: &NodeRequirements, divided: &BTreeSet<&str>, keys: &'k BTreeMap<&str, Open>) -> Vec<Choice<'k>> {
    let mut joined: Vec<Vec<&Requirement>> = vec![Vec::new()];
    for terms in &labels.all_of {
        let of_keys = |term: &'_ [Requirement]| term.iter().filter(|one| keys.contains_key(one.key.as_str())).count();
        // Terms that don't speak of these keys are alike.
        let mut alike = false;
        let mut more = Vec::new();
        for term in terms {
            if of_keys(term) == 0 && std::mem::replace(&mut alike, true) {
                continue;
            }
            more.extend(joined.iter().map(|known| {
                let own = term.iter().filter(|one| keys.contains_key(one.key.as_str()));
                known.iter().copied().chain(own).collect::<Vec<&Requirement>>()
            }));
        }
        more.truncate(MOST_WAYS);
        joined = more;
    }
    joined.iter().flat_map(|asked| ways_of(asked, divided, keys)).take(MOST_WAYS).collect()
}

/// The choices that satisfy all of some requirements.
fn ways_of<'k>(asked: &[&Requirement], divided: &BTreeSet<&str>, keys: &'k BTreeMap<&str, Open>) -> Vec<Choice<'k>> {
    let mut ways = vec![Choice::new()];
    for (key, open) in keys {
        let of_key: Vec<&Requirement> = asked.iter().copied().filter(|one| one.key == *key).collect();
        let named = of_key.iter().any(|one| one.operator == Operator::In);
        if !named && !divided.contains(key) && of_key.iter().all(|one| one.matches(open.value(0))) {
            continue; // what nodes have anyway, or what others ask for
        }
        let values: Vec<Option<&str>> = open.matching(&of_key).into_iter().map(|place| open.value(place)).collect();
        ways = ways
            .iter()
            .flat_map(|way| {
                values.iter().map(move |value| {
                    let mut way = way.clone();
                    way.insert(*key, *value);
                    way
                })
            })
            .take(MOST_WAYS)
            .collect();
    }
    ways
}
