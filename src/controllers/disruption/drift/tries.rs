//! How replacing went so far, claim by claim: whom to leave alone for a while, and what was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use tracing::info;

use super::super::super::context::Context;
use super::super::candidates::{Candidate, Replacing};
use super::REASON;
use crate::api::NodeClaim;

/// How long a node is left alone after its replacement failed for the first time; twice as long after each further time.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// But not longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);
/// How soon the same is told again of the same node.
const TELL_AGAIN: Duration = Duration::from_secs(15 * 60);

/// How it went, by claim.
#[derive(Debug, Default)]
pub(super) struct Tries(BTreeMap<String, Try>);

/// How it went with one claim so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Try {
    /// Replacements are on their way, or were the last time.
    pub begun: bool,
    /// How often more was bought because others took what was there.
    pub extra: u32,
    /// Not to be tried before this.
    pub rests_until: Option<Instant>,
    failures: u32,
    told: Option<(String, Instant)>,
}

impl Try {
    /// Takes note of a failure; how long to leave the claim alone.
    pub fn failed(&mut self, now: Instant) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        let told = self.told.take();
        *self = Try { failures: self.failures + 1, rests_until: Some(now + pause), told, ..Try::default() };
        pause
    }
}

impl Tries {
    /// How it went with a claim.
    pub fn of(&mut self, claim: &NodeClaim) -> &mut Try {
        self.0.entry(claim.name_any()).or_default()
    }

    /// Forgets claims that are gone, and takes note of replacements that are gone while the claim is still there.
    pub fn tidy(&mut self, claims: &[Arc<NodeClaim>], under_way: &[Replacing], context: &Context) {
        let there: BTreeSet<String> = claims
            .iter()
            .filter(|claim| claim.metadata.deletion_timestamp.is_none())
            .map(|claim| claim.name_any())
            .collect();
        self.0.retain(|name, _| there.contains(name));
        let under_way: BTreeSet<String> = under_way.iter().map(|one| one.old.name_any()).collect();
        for name in &under_way {
            self.0.entry(name.clone()).or_default().begun = true;
        }
        for (name, one) in self.0.iter_mut().filter(|(name, one)| one.begun && !under_way.contains(*name)) {
            let pause = one.failed(Instant::now());
            info!(claim = name, "its replacement failed: it stays, and is tried again after {} s", pause.as_secs());
            context.metrics.replacement_failed(REASON);
        }
    }

    /// Says why a node that has drifted stays.
    pub async fn blocked(&mut self, candidate: &Candidate, reason: &str, context: &Context) {
        let told = &mut self.of(&candidate.claim).told;
        if told.as_ref().is_some_and(|(last, at)| last == reason && at.elapsed() < TELL_AGAIN) {
            return;
        }
        *told = Some((reason.to_owned(), Instant::now()));
        info!(claim = candidate.claim.name_any(), "drifted, and stays: {reason}");
        candidate.tell_blocked(reason, context).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_whose_replacement_failed_is_left_alone_for_longer_each_time() {
        let now = Instant::now();
        let mut one = Try { begun: true, ..Try::default() };
        assert_eq!(one.failed(now), FIRST_PAUSE);
        assert!(!one.begun);
        assert_eq!(one.failed(now), 2 * FIRST_PAUSE);
        assert_eq!(one.rests_until, Some(now + 2 * FIRST_PAUSE));
        for _ in 0..40 {
            one.failed(now);
        }
        assert_eq!(one.failed(now), LONGEST_PAUSE);
    }
}
