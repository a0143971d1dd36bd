//! The conditions of a claim: how far it is in its life, why, and since when; those of pools and overlays are kept alike.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::NodeClaim;

/// What a pool or overlay says makes sense.
pub const VALID: &str = "ValidationSucceeded";
/// The cloud has launched the machine.
pub const LAUNCHED: &str = "Launched";
/// The machine's node has joined the cluster.
pub const REGISTERED: &str = "Registered";
/// The node is ready for pods.
pub const INITIALIZED: &str = "Initialized";
/// All of the three.
pub const READY: &str = "Ready";
/// The node has rested long enough to be taken away.
pub const CONSOLIDATABLE: &str = "Consolidatable";
/// The node is no longer what its pool or class asks for.
pub const DRIFTED: &str = "Drifted";
/// All pods that can be moved have left the node.
pub const DRAINED: &str = "Drained";
/// All volumes of those pods have left it, too.
pub const VOLUMES_DETACHED: &str = "VolumesDetached";
/// The machine's end was asked for.
pub const INSTANCE_TERMINATING: &str = "InstanceTerminating";

/// Why the node is disrupted by us: the condition's reason is that of the disruption (`Drifted`).
pub const DISRUPTION_REASON: &str = "DisruptionReason";

/// What [`READY`] is made of, in the order of life.
pub const LIFE: [&str; 3] = [LAUNCHED, REGISTERED, INITIALIZED];

/// What is known of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is so.
    True,
    /// It is not.
    False,
    /// Not yet, or nobody can tell.
    Unknown,
}

impl Known {
    fn text(self) -> &'static str {
        match self {
            Known::True => "True",
            Known::False => "False",
            Known::Unknown => "Unknown",
        }
    }
}

/// The condition of a claim, if it has it.
pub fn find<'a>(claim: &'a NodeClaim, kind: &str) -> Option<&'a Condition> {
    claim.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// Whether a condition is true.
pub fn is_true(claim: &NodeClaim, kind: &str) -> bool {
    find(claim, kind).is_some_and(|condition| condition.status == "True")
}

/// Since when a condition is true.
pub fn true_since(claim: &NodeClaim, kind: &str) -> Option<Timestamp> {
    find(claim, kind).filter(|condition| condition.status == "True").map(|condition| condition.last_transition_time.0)
}

/// A list of conditions that is being brought up to date.
#[derive(Clone, Debug)]
pub struct Conditions {
    list: Vec<Condition>,
    generation: Option<i64>,
    now: Timestamp,
    changed: bool,
}

impl Conditions {
    /// Those of a claim.
    pub fn of(claim: &NodeClaim, now: Timestamp) -> Self {
        let list = claim.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        Conditions::new(list, claim.metadata.generation, now)
    }

    /// Those of any object of this generation.
    pub fn new(list: Vec<Condition>, generation: Option<i64>, now: Timestamp) -> Self {
        Conditions { list, generation, now, changed: false }
    }

    /// Sets one; its time changes with its status alone. The reason must not be empty.
    pub fn set(&mut self, kind: &str, known: Known, reason: &str, message: &str) {
        let status = known.text();
        let found = self.list.iter_mut().find(|condition| condition.type_ == kind);
        let Some(condition) = found else {
            self.changed = true;
            self.list.push(Condition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: reason.to_owned(),
                message: message.to_owned(),
                observed_generation: self.generation,
                last_transition_time: Time(self.now),
            });
            return;
        };
        if condition.status != status {
            condition.last_transition_time = Time(self.now);
        } else if condition.reason == reason
            && condition.message == message
            && condition.observed_generation == self.generation
        {
            return;
        }
        self.changed = true;
        condition.status = status.to_owned();
        condition.reason = reason.to_owned();
        condition.message = message.to_owned();
        condition.observed_generation = self.generation;
    }

    /// Sets one to true, with its own name as the reason.
    pub fn achieve(&mut self, kind: &str) {
        self.set(kind, Known::True, kind, "");
    }

    /// Takes one away.
    pub fn clear(&mut self, kind: &str) {
        let before = self.list.len();
        self.list.retain(|condition| condition.type_ != kind);
        self.changed |= self.list.len() != before;
    }

    /// Makes one condition of others: true where all are, else with those that are not, in the API's words
    /// (<https://github.com/awslabs/operatorpkg/blob/main/status/condition_set.go>).
    pub fn sum_up(&mut self, parts: &[&str], whole: &str) {
        let status = |kind: &str| self.get(kind).map_or("Unknown", |condition| condition.status.as_str());
        let missing: Vec<(&str, &str)> =
            parts.iter().map(|kind| (*kind, status(kind))).filter(|(_, status)| *status != "True").collect();
        if missing.is_empty() {
            return self.achieve(whole);
        }
        let (known, reason) = match missing.iter().any(|(_, status)| *status == "False") {
            true => (Known::False, "UnhealthyDependents"),
            false => (Known::Unknown, "ReconcilingDependents"),
        };
        let message: Vec<String> = missing.iter().map(|(kind, status)| format!("{kind}={status}")).collect();
        self.set(whole, known, reason, &message.join(", "));
    }

    /// One of them, if it is there.
    pub fn get(&self, kind: &str) -> Option<&Condition> {
        self.list.iter().find(|condition| condition.type_ == kind)
    }

    /// Whether one is there that was found with the object as it is now.
    pub fn is_current(&self, kind: &str) -> bool {
        self.get(kind).is_some_and(|condition| condition.observed_generation == self.generation)
    }

    /// Whether anything is other than it was.
    pub fn changed(&self) -> bool {
        self.changed
    }

    /// The list as it is now.
    pub fn into_list(self) -> Vec<Condition> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn find<'a>(conditions: &'a Conditions, kind: &str) -> &'a Condition {
        conditions.get(kind).unwrap()
    }

    #[test]
    fn time_changes_with_the_status_alone() {
        let mut conditions = Conditions::of(&NodeClaim::default(), at(10));
        conditions.set(REGISTERED, Known::Unknown, "NodeNotFound", "no node yet");
        assert!(conditions.changed());
        let mut later = Conditions { now: at(20), changed: false, ..conditions };
        later.set(REGISTERED, Known::Unknown, "NodeNotFound", "no node yet");
        assert!(!later.changed());
        later.set(REGISTERED, Known::Unknown, "NodeNotFound", "still none");
        assert!(later.changed());
        assert_eq!(find(&later, REGISTERED).last_transition_time.0, at(10));
        later.achieve(REGISTERED);
        assert_eq!(find(&later, REGISTERED).last_transition_time.0, at(20));
        later.clear(REGISTERED);
        assert!(later.into_list().is_empty());
    }

    #[test]
    fn what_was_seen_of_an_older_spec_is_seen_anew() {
        let mut conditions = Conditions::new(Vec::new(), Some(1), at(10));
        conditions.achieve(VALID);
        let mut later = Conditions::new(conditions.into_list(), Some(2), at(20));
        later.achieve(VALID);
        assert!(later.changed());
        assert_eq!(find(&later, VALID).observed_generation, Some(2));
        assert_eq!(find(&later, VALID).last_transition_time.0, at(10));
    }

    #[test]
    fn ready_is_all_three_and_else_says_what_is_missing() {
        let mut conditions = Conditions::of(&NodeClaim::default(), at(10));
        let told = |conditions: &mut Conditions| {
            conditions.sum_up(&LIFE, READY);
            let ready = find(conditions, READY);
            [&ready.status, &ready.reason, &ready.message].map(Clone::clone)
        };
        conditions.achieve(LAUNCHED);
        conditions.set(REGISTERED, Known::Unknown, "NodeNotFound", "");
        let message = "Registered=Unknown, Initialized=Unknown";
        assert_eq!(told(&mut conditions), ["Unknown", "ReconcilingDependents", message]);
        conditions.set(REGISTERED, Known::False, "MultipleNodesFound", "");
        let message = "Registered=False, Initialized=Unknown";
        assert_eq!(told(&mut conditions), ["False", "UnhealthyDependents", message]);
        conditions.achieve(REGISTERED);
        conditions.achieve(INITIALIZED);
        assert_eq!(told(&mut conditions), ["True", "Ready", ""]);
    }
}
