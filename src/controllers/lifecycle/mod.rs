//! The life of a claim, from the wish for a machine to the end of it.
//!
//! ```text
//!   created ──> Launched ──> Registered ──> Initialized = Ready ──> Consolidatable ──> deleted ──> (termination)
//!               the cloud    the node       the node is ready,       it has rested
//!               has it       has joined     nothing keeps pods off
//!                  └──────────── Drifted, as soon as it is not what its pool asks for ────┘
//! ```
//!
//! Each step looks at what is there, does at most what is missing, and may be repeated from any point.

mod drift;
mod expiry;
mod initialization;
mod launch;
mod registration;
mod rest;

use std::sync::Arc;
use std::time::Duration;

pub use drift::found as drifted;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
pub use rest::is_rested;
use serde_json::json;
use tracing::info;

use super::conditions::{self, Conditions, INITIALIZED, LAUNCHED, LIFE, READY, REGISTERED};
use super::context::{Context, Error};
use super::termination;
use crate::api::NodeClaim;
use crate::labels;

/// Brings a claim one step on.
pub async fn reconcile(claim: Arc<NodeClaim>, context: Arc<Context>) -> Result<Action, Error> {
    if !context.carries(&claim) {
        return Ok(Action::await_change());
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return termination::end_claim(&claim, &context).await;
    }
    if !claim.finalizers().iter().any(|finalizer| finalizer == labels::TERMINATION) {
        let finalizers = claim.finalizers().iter().cloned().chain([labels::TERMINATION.to_owned()]);
        let patch = json!({"metadata": {"finalizers": finalizers.collect::<Vec<_>>()}});
        context.patch_claim(&claim, patch).await?;
        return Ok(Action::await_change());
    }
    let now = context.now();
    let expires = expiry::left(&claim, now);
    if expires == Some(Duration::ZERO) {
        info!(claim = claim.name_any(), "expired");
        context.delete_claim(&claim, "expired").await?;
        return Ok(Action::await_change());
    }
    let settings = &context.settings;
    if !conditions::is_true(&claim, LAUNCHED) {
        let inherited = |uid: &String| context.inherited.get().is_none_or(|there| there.contains(uid));
        if is_too_late(&claim, &context.settings.identity, inherited) {
            info!(claim = claim.name_any(), "made too late by who led before: ended before its launch");
            context.delete_claim(&claim, "too_late").await?;
            return Ok(Action::await_change());
        }
        if let Some(late) =
            late(claim.metadata.creation_timestamp.as_ref().map(|time| time.0), settings.launch_timeout, now)
        {
            return give_up(&claim, &context, "launch", late).await;
        }
        return launch::launch(&claim, &context, now).await;
    }
    if drift::observe(&claim, &context, now).await? {
        return Ok(Action::await_change());
    }
    if !conditions::is_true(&claim, REGISTERED) {
        let launched = conditions::true_since(&claim, LAUNCHED);
        if let Some(late) = late(launched, settings.registration_timeout, now) {
            return give_up(&claim, &context, "registration", late).await;
        }
        return registration::register(&claim, &context, now).await;
    }
    let pause = match conditions::is_true(&claim, INITIALIZED) {
        true => rest::rest(&claim, &context, now).await?,
        // One that never gets so far expires and drifts as well.
        false => initialization::initialize(&claim, &context, now).await?,
    };
    let soonest = pause.into_iter().chain(expires).fold(drift::PERIOD, Duration::min);
    Ok(Action::requeue(soonest))
}

/// Whether someone who leads no more made a claim after this leader had read what was there: a request that was under way
/// when its sender stood still. Its pods are planned for without it.
fn is_too_late(claim: &NodeClaim, identity: &str, inherited: impl Fn(&String) -> bool) -> bool {
    let by_other = claim.annotations().get(labels::MADE_BY).is_some_and(|maker| maker != identity);
    by_other && !claim.metadata.uid.as_ref().is_some_and(inherited)
}

/// Whether a claim is older than it may get.
pub fn is_expired(claim: &NodeClaim, now: Timestamp) -> bool {
    expiry::left(claim, now) == Some(Duration::ZERO)
}

/// How long something takes that began then, if that is longer than it may.
fn late(begin: Option<Timestamp>, limit: Duration, now: Timestamp) -> Option<Duration> {
    let taken = Duration::try_from(now.duration_since(begin?)).ok()?;
    (taken >= limit).then_some(taken)
}

/// What is left of a limit, at least a second.
fn left(begin: Option<Timestamp>, limit: Duration, now: Timestamp) -> Duration {
    let taken = begin.and_then(|begin| Duration::try_from(now.duration_since(begin)).ok()).unwrap_or_default();
    limit.saturating_sub(taken).max(Duration::from_secs(1))
}

/// Ends a claim that has not come on in time; its pods are planned anew.
async fn give_up(claim: &NodeClaim, context: &Context, stage: &str, taken: Duration) -> Result<Action, Error> {
    info!(claim = claim.name_any(), "given up: no {stage} within {} s", taken.as_secs());
    context.delete_claim(claim, &format!("{stage}_timeout")).await?;
    context.has_not_joined(claim);
    Ok(Action::await_change())
}

/// Writes conditions that changed, with other fields of the status.
async fn write(
    claim: &NodeClaim,
    context: &Context,
    mut conditions: Conditions,
    mut fields: serde_json::Value,
) -> Result<(), Error> {
    conditions.sum_up(&LIFE, READY);
    let further = fields.as_object().is_some_and(|fields| !fields.is_empty());
    if conditions.changed() || further {
        fields["conditions"] = json!(conditions.into_list());
        context.patch_claim_status(claim, fields).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn limits_hold_from_the_beginning_that_is_known() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let limit = Duration::from_secs(300);
        assert_eq!(late(Some(at(0)), limit, at(299)), None);
        assert_eq!(late(Some(at(0)), limit, at(300)), Some(limit));
        assert_eq!(late(None, limit, at(1000)), None);
        assert_eq!(left(Some(at(0)), limit, at(100)), Duration::from_secs(200));
        assert_eq!(left(Some(at(0)), limit, at(1000)), Duration::from_secs(1));
    }
}
