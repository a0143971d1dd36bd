//! Which waiting pods are planned onto which machines, so that none is planned twice.
//!
//! Pins are not written down: a new leader plans the pods that still wait onto the claims that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

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
}

/// Waiting pods, by uid, with where they are to run.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    pods: BTreeMap<String, Pin>,
    /// Pods that the last plan found no place for.
    unplaced: BTreeSet<String>,
}

impl Pins {
    /// Plans a pod onto a place.
    pub fn put(&mut self, uid: &str, place: Place) {
        self.pods.insert(uid.to_owned(), Pin { place, ready: None });
    }

    /// Where a pod is planned.
    pub fn place(&self, uid: &str) -> Option<&Place> {
        self.pods.get(uid).map(|pin| &pin.place)
    }

    /// Forgets the pods that are planned onto a claim.
    pub fn release(&mut self, claim: &str) {
        self.pods.retain(|_, pin| pin.place != Place::Claim(claim.to_owned()));
    }

    /// Whether a pod is planned onto a place.
    pub fn is_taken(&self, place: &Place) -> bool {
        self.pods.values().any(|pin| pin.place == *place)
    }

    /// Forgets pods that no longer wait, those whose place is gone, and those that were not bound to a ready place in time.
    /// `ready` says whether a place takes pods; `None` that it is gone.
    pub fn tidy(&mut self, waiting: &BTreeSet<String>, ready: impl Fn(&Place) -> Option<bool>, now: Instant) {
        self.pods.retain(|uid, pin| {
            if !waiting.contains(uid) {
                return false;
            }
            match ready(&pin.place) {
                None => false,
                Some(false) => true,
                Some(true) => now.duration_since(*pin.ready.get_or_insert(now)) < PATIENCE,
            }
        });
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
        pins.tidy(&both, |_| Some(false), begin);
        assert_eq!(pins.place("c"), None);
        // Ready from here on.
        pins.tidy(&both, |_| Some(true), begin + PATIENCE);
        pins.tidy(&both, |_| Some(true), begin + PATIENCE + PATIENCE / 2);
        assert!(pins.is_decided("a") && pins.is_decided("b"));
        pins.tidy(&both, |_| Some(true), begin + 2 * PATIENCE);
        assert!(!pins.is_taken(&claim()));
        pins.put("a", claim());
        pins.tidy(&both, |_| None, begin);
        assert!(!pins.is_decided("a"));
        pins.put_unplaced(["a".to_owned()].into());
        assert!(pins.is_decided("a"));
        pins.put("a", claim());
        pins.release("c");
        assert!(!pins.is_taken(&claim()));
    }
}
