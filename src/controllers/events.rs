//! What people are told: events, of which the same is not told again for a while, and no more than so many a second.
//!
//! As Karpenter does it (`pkg/events/recorder.go`, and `events.go` of each of its controllers): without it a plan for
//! thousands of pods would be as many writes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::runtime::events::{Event, EventType};
use tracing::debug;

use super::context::{Context, lock};

/// How soon the same is told again.
const SOON: Duration = Duration::from_secs(2 * 60);
/// Events that all pods of a plan have: a second, and at once. Those above are not told.
const RATE: f64 = 5.0;
const BURST: f64 = 10.0;

/// What was told of late.
#[derive(Debug)]
pub struct Told {
    until: HashMap<(String, String), Instant>,
    nominations: Bucket,
}

impl Default for Told {
    fn default() -> Self {
        Told { until: HashMap::new(), nominations: Bucket { left: BURST, at: Instant::now() } }
    }
}

/// So many at once, and so many a second.
#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        self.left = (self.left + RATE * now.duration_since(self.at).as_secs_f64()).min(BURST);
        self.at = now;
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
}

impl Told {
    /// Whether an event about the object of this uid is to be told now; takes note that it is.
    fn may_tell(&mut self, uid: &str, reason: &str, note: &str, now: Instant) -> bool {
        let (pause, same) = match reason {
            // Whatever it says: the figures in its note may change with every plan.
            "FailedScheduling" => (Duration::from_secs(5 * 60), ""),
            "NodeRepairBlocked" => (Duration::from_secs(15 * 60), ""),
            "NoCompatibleInstanceTypes" => (Duration::from_secs(60), ""),
            "Nominated" | "Disrupted" => (SOON, ""),
            // How many pods are left changes with every look; which of them can't be evicted does not.
            "FailedDraining" if !note.contains("Pod=") => (SOON, ""),
            _ => (SOON, note),
        };
        let key = (uid.to_owned(), format!("{reason} {same}"));
        if self.until.get(&key).is_some_and(|until| *until > now) {
            return false;
        }
        if self.until.len() >= self.until.capacity() {
            self.until.retain(|_, until| *until > now);
        }
        self.until.insert(key, now + pause);
        reason != "Nominated" || self.nominations.take(now)
    }
}

impl Context {
    /// Publishes an event about an object, unless it was told of late; one that can't be published is only logged.
    pub async fn tell<K: Resource<DynamicType = ()>>(&self, object: &K, type_: EventType, reason: &str, note: String) {
        self.tell_with(object, None, type_, reason, note).await;
    }

    /// The same of an event that has to do with another object, too. Without it the recorder takes what is told of one object
    /// for one reason as one event, and leaves its note as it was.
    pub async fn tell_with<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        secondary: Option<ObjectReference>,
        type_: EventType,
        reason: &str,
        note: String,
    ) {
        let uid = object.meta().uid.as_deref().unwrap_or_default();
        if !lock(&self.told).may_tell(uid, reason, &note, Instant::now()) {
            return;
        }
        let event = Event { type_, reason: reason.into(), note: Some(clip(note)), action: reason.into(), secondary };
        let mut reference = object.object_ref(&());
        // Events about what has no namespace live in the default one.
        reference.namespace = reference.namespace.or_else(|| Some("default".into()));
        if let Err(error) = self.recorder.publish(&event, &reference).await {
            debug!("publishing an event: {error}");
        }
    }
}

/// At most the kilobyte that an event's note may have.
fn clip(mut note: String) -> String {
    while note.len() > 1000 {
        note.pop();
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_not_told_again_for_a_while() {
        let mut told = Told::default();
        let begin = Instant::now();
        let mut tell = |uid: &str, reason: &str, note: &str, second: u64| {
            told.may_tell(uid, reason, note, begin + Duration::from_secs(second))
        };
        assert!(tell("a", "DisruptionBlocked", "by a pod", 0));
        assert!(!tell("a", "DisruptionBlocked", "by a pod", 119));
        assert!(tell("b", "DisruptionBlocked", "by a pod", 119));
        assert!(tell("a", "DisruptionBlocked", "by its node", 119));
        assert!(tell("a", "DisruptionBlocked", "by a pod", 120));
        assert!(tell("a", "FailedScheduling", "3 pods wait", 0));
        assert!(!tell("a", "FailedScheduling", "4 pods wait", 299));
        assert!(tell("a", "FailedScheduling", "4 pods wait", 300));
        assert!(tell("a", "FailedDraining", "Failed to drain node, 3 pods are waiting to be evicted", 0));
        assert!(!tell("a", "FailedDraining", "Failed to drain node, 2 pods are waiting to be evicted", 1));
        for (pod, second, expected) in [("web-1", 1, true), ("web-2", 2, true), ("web-1", 3, false)] {
            let note = format!("Failed to drain node, evicting pod violates a PDB (Pod=shop/{pod})");
            assert_eq!(tell("a", "FailedDraining", &note, second), expected);
        }
        assert!(tell("p", "NoCompatibleInstanceTypes", "none", 0));
        assert!(!tell("p", "NoCompatibleInstanceTypes", "none, due to minValues", 59));
        assert!(tell("p", "NoCompatibleInstanceTypes", "none", 60));
    }

    #[test]
    fn of_many_nominations_a_few_are_told() {
        let mut told = Told::default();
        let begin = Instant::now();
        let mut nominated = |from: usize, seconds: u64| {
            let now = begin + Duration::from_secs(seconds);
            (from..from + 100).filter(|pod| told.may_tell(&pod.to_string(), "Nominated", "", now)).count()
        };
        assert_eq!(nominated(0, 1), 10);
        assert_eq!(nominated(100, 2), 5);
        assert_eq!(nominated(200, 60), 10);
        // They have been told of, or were passed over.
        assert_eq!(nominated(0, 61), 0);
    }
}
