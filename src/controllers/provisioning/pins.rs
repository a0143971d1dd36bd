//! Which waiting pods are planned onto which machines, so that none is planned twice.
//!
//! Pins are not written down: a new leader plans the pods that still wait onto the claims that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::words::Cost;

/// How long kube-scheduler is given to bind a pod to a node that is ready for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where a pod is to run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the machine of a claim of this name.
    Claim(String),
    /// On a node of this name that is no claim's.
    Node(String),
}

#[derive(Clone, Debug)]
struct Pin {
    place: Place,
    /// Since when its place is ready for it.
    ready: Option<Instant>,
    /// Whether we have bound it; the watch may not have told of that yet.
    bound: bool,
    /// The number of the plan.
    plan: u64,
}

/// What became of pins that are over.
#[derive(Clone, Debug, Default)]
pub struct Over {
    /// Pods that wait no longer, each with the place that was planned.
    pub done: Vec<(String, Place)>,
}

/// Waiting pods, by uid, with where they are to run.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    pods: BTreeMap<String, Pin>,
    /// Plans that were acted on.
    plan: u64,
    /// By claim: the last plan that has put pods onto it.
    plans: BTreeMap<String, u64>,
    /// By claim: for how many pods it was made, and what its plan costs.
    costs: BTreeMap<String, (usize, Cost)>,
    /// Pods that were not bound to a ready place in time: a machine for them is one more than was planned.
    late: BTreeSet<String>,
    /// Claims of such machines.
    extra: BTreeSet<String>,
    /// Claims whose pods are just being bound.
    binding: BTreeSet<String>,
    /// Whether the pods that wait were looked at since the program began.
    begun: bool,
    /// Whether the claims of a plan are just being made.
    acting: bool,
    /// Pods that the last plan found no place for.
    unplaced: BTreeSet<String>,
}

impl Pins {
    /// Plans a pod onto a place.
    pub fn put(&mut self, uid: &str, place: Place) {
        if let Place::Claim(claim) = &place {
            self.plans.insert(claim.clone(), self.plan);
        }
        self.pods.insert(uid.to_owned(), Pin { place, ready: None, bound: false, plan: self.plan });
    }

    /// Where a pod is planned.
    pub fn place(&self, uid: &str) -> Option<&Place> {
        self.pods.get(uid).map(|pin| &pin.place)
    }

    /// The pods that are planned onto a place and that we have not bound to it.
    pub fn to_bind(&self, place: &Place) -> BTreeSet<String> {
        let those = self.pods.iter().filter(|(_, pin)| pin.place == *place && !pin.bound);
        those.map(|(uid, _)| uid.clone()).collect()
    }

    /// Takes note that a pod is bound as planned.
    pub fn set_bound(&mut self, uid: &str) {
        if let Some(pin) = self.pods.get_mut(uid) {
            pin.bound = true;
        }
    }

    /// Whether the plan of a claim has pods that are yet to be bound to other claims' machines.
    pub fn has_others_to_bind(&self, claim: &str) -> bool {
        let elsewhere = |place: &Place| matches!(place, Place::Claim(other) if other != claim);
        let plan = self.plans.get(claim);
        self.pods.values().any(|pin| Some(&pin.plan) == plan && !pin.bound && elsewhere(&pin.place))
    }

    /// Pods of a claim are just being bound, or all that could be are.
    pub fn set_binding(&mut self, claim: &str, binding: bool) {
        match binding {
            true => self.binding.insert(claim.to_owned()),
            false => self.binding.remove(claim),
        };
    }

    /// Whether pods of the plan of a claim are just being bound to other claims' machines.
    pub fn are_others_being_bound(&self, claim: &str) -> bool {
        let plan = self.plans.get(claim);
        self.binding.iter().any(|other| other != claim && self.plans.get(other) == plan)
    }

    /// The pods that wait were looked at, and those that a plan found a place for are pinned.
    pub fn set_begun(&mut self) {
        self.begun = true;
    }

    /// The claims of a plan are being made, or all of them are made and pinned.
    pub fn set_acting(&mut self, acting: bool) {
        self.plan += u64::from(acting);
        self.acting = acting;
    }

    /// Whether the pins are all that is planned: neither has the program just begun, nor is a plan half acted on.
    pub fn are_complete(&self) -> bool {
        self.begun && !self.acting
    }

    /// Whether all of the pods were planned onto places that took them, and did not come to run there.
    pub fn all_late<'a>(&self, mut uids: impl Iterator<Item = &'a str>) -> bool {
        uids.all(|uid| self.late.contains(uid))
    }

    /// Takes note of a claim that is one more than was planned.
    pub fn put_extra(&mut self, claim: &str) {
        self.extra.insert(claim.to_owned());
    }

    /// Whether a claim is one more than was planned; asked once, when its machine is launched.
    pub fn take_extra(&mut self, claim: &str) -> bool {
        self.extra.remove(claim)
    }

    /// Takes note of what a claim was made for, and what its plan costs.
    pub fn put_cost(&mut self, claim: &str, pods: usize, cost: Cost) {
        self.costs.insert(claim.to_owned(), (pods, cost));
    }

    /// For how many pods a claim was made, and what its plan costs; asked once, when its machine is launched. Of what was not
    /// planned, or by another leader, nobody knows.
    pub fn take_cost(&mut self, claim: &str) -> Option<(usize, Cost)> {
        self.costs.remove(claim)
    }

    /// Forgets the pods that are planned onto a claim.
    pub fn release(&mut self, claim: &str) {
        self.costs.remove(claim);
        self.extra.remove(claim);
        self.plans.remove(claim);
        self.pods.retain(|_, pin| pin.place != Place::Claim(claim.to_owned()));
    }

    /// Whether a pod is planned onto a place.
    pub fn is_taken(&self, place: &Place) -> bool {
        self.pods.values().any(|pin| pin.place == *place)
    }

    /// Forgets pods that no longer wait, those whose place is gone, and those that were not bound to a ready place in time.
    /// `ready` says whether a place takes pods; `None` that it is gone.
    pub fn tidy(&mut self, waiting: &BTreeSet<String>, ready: impl Fn(&Place) -> Option<bool>, now: Instant) -> Over {
        let mut over = Over::default();
        let late = &mut self.late;
        self.pods.retain(|uid, pin| {
            if !waiting.contains(uid) {
                over.done.push((uid.clone(), pin.place.clone()));
                return false;
            }
            match ready(&pin.place) {
                None => false,
                Some(false) => true,
                Some(true) => {
                    let in_time = now.duration_since(*pin.ready.get_or_insert(now)) < PATIENCE;
                    if !in_time {
                        late.insert(uid.clone());
                    }
                    in_time
                }
            }
        });
        late.retain(|uid| waiting.contains(uid));
        let is_there = |claim: &str| ready(&Place::Claim(claim.to_owned())).is_some();
        self.plans.retain(|claim, _| is_there(claim));
        self.costs.retain(|claim, _| is_there(claim));
        over
    }

    /// Takes note of the pods that a plan found no place for.
    pub fn put_unplaced(&mut self, pods: BTreeSet<String>) {
        self.unplaced = pods;
    }

    /// Whether a plan found no place for a pod.
    pub fn is_unplaced(&self, uid: &str) -> bool {
        self.unplaced.contains(uid)
    }

    /// Whether a pod was planned, to whatever end.
    pub fn is_decided(&self, uid: &str) -> bool {
        self.pods.contains_key(uid) || self.is_unplaced(uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_planned_until_it_is_bound_or_its_place_is_gone_or_late() {
        let claim = || Place::Claim("c".into());
        let mut pins = Pins::default();
        pins.put("a", claim());
        pins.put("b", claim());
        pins.put("c", Place::Node("n".into()));
        assert!(pins.is_taken(&claim()));
        let begin = Instant::now();
        let both: BTreeSet<String> = ["a".to_owned(), "b".to_owned()].into();
        let over = pins.tidy(&both, |_| Some(false), begin);
        assert_eq!(over.done, [("c".to_owned(), Place::Node("n".into()))]);
        assert_eq!(pins.place("c"), None);
        assert_eq!(pins.to_bind(&claim()), both);
        // Ready from here on.
        pins.tidy(&both, |_| Some(true), begin + PATIENCE);
        pins.tidy(&both, |_| Some(true), begin + PATIENCE + PATIENCE / 2);
        assert!(pins.is_decided("a") && pins.is_decided("b"));
        assert!(!pins.all_late(["a"].into_iter()));
        pins.tidy(&both, |_| Some(true), begin + 2 * PATIENCE);
        assert!(!pins.is_taken(&claim()));
        assert!(pins.all_late(["a", "b"].into_iter()) && !pins.all_late(["a", "x"].into_iter()));
        pins.put("a", claim());
        pins.tidy(&["a".to_owned()].into(), |_| None, begin);
        assert!(pins.all_late(["a"].into_iter()) && !pins.all_late(["b"].into_iter()));
        assert!(!pins.is_decided("a"));
        pins.put_unplaced(["a".to_owned()].into());
        assert!(pins.is_decided("a"));
        pins.put("a", claim());
        pins.put_extra("c");
        pins.release("c");
        assert!(!pins.is_taken(&claim()) && !pins.take_extra("c"));
    }

    #[test]
    fn pins_are_complete_between_the_first_plan_and_the_next_one_that_is_acted_on() {
        let mut pins = Pins::default();
        assert!(!pins.are_complete());
        pins.set_acting(true);
        pins.set_begun();
        assert!(!pins.are_complete());
        pins.set_acting(false);
        assert!(pins.are_complete());
    }

    #[test]
    fn a_plan_is_whole_when_its_pods_are_bound() {
        let claim = |name: &str| Place::Claim(name.into());
        let mut pins = Pins::default();
        pins.set_acting(true);
        pins.put("a", claim("one"));
        pins.put("b", claim("two"));
        pins.put("c", Place::Node("there".into()));
        pins.set_acting(true);
        pins.put("d", claim("three"));
        pins.set_bound("a");
        assert!(pins.to_bind(&claim("one")).is_empty());
        pins.set_binding("two", true);
        assert!(pins.are_others_being_bound("one"));
        assert!(!pins.are_others_being_bound("two") && !pins.are_others_being_bound("three"));
        pins.set_binding("two", false);
        assert!(!pins.are_others_being_bound("one"));
        // "two" has all others, but not itself, to wait for; a node that was there, and other plans, are no matter.
        assert!(pins.has_others_to_bind("one"));
        assert!(!pins.has_others_to_bind("two") && !pins.has_others_to_bind("three"));
        pins.set_bound("b");
        assert!(!pins.has_others_to_bind("one"));
        pins.put("e", claim("two"));
        pins.release("two");
        assert!(!pins.has_others_to_bind("three"));
    }
}
