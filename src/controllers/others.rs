//! A Karpenter that leads elsewhere: its lease stands in its own namespace, which need not be ours.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tracing::{debug, info, warn};

/// How often to look whether it still leads.
const LOOK: Duration = Duration::from_secs(5);
/// The rule of a ClusterRole without which leases of other namespaces can't be seen.
const RULE: &str = "{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [list, watch]}";

/// We may not see whether another Karpenter leads, and so must not act: two who buy and end machines of one cluster undo what
/// the other does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "whether a Karpenter leads in another namespace may not be seen ({refused}): a ClusterRole has to allow {RULE}"
)]
pub struct Blind {
    refused: String,
}

/// Waits until no lease of this name in another namespace than ours is held, and says as long as one is, or as that is not
/// known.
///
/// # Errors
/// Where we are not allowed to see those leases.
pub async fn gone(client: &Client, namespace: &str, name: &str) -> Result<(), Blind> {
    let leases: Api<Lease> = Api::all(client.clone());
    let named = ListParams::default().fields(&format!("metadata.name={name}"));
    let mut told = None;
    loop {
        let found = match leases.list(&named).await {
            Ok(found) => found.items,
            Err(error) => {
                blindness(&error).map_or(Ok(()), Err)?;
                warn!("whether a Karpenter leads in another namespace is not known yet: {error}");
                tokio::time::sleep(LOOK).await;
                continue;
            }
        };
        let held = found.iter().filter(|lease| lease.namespace().is_some_and(|other| other != namespace));
        let Some((place, holder)) = held.filter_map(|lease| Some((lease, holder(lease, Timestamp::now())?))).next()
        else {
            if told.is_some() {
                info!("it leads no more");
            }
            return Ok(());
        };
        if told.as_ref() != Some(&holder) {
            let place = place.namespace().unwrap_or_default();
            warn!(
                "{holder} leads by the lease {place}/{name}: a Karpenter that runs; nothing is done until it is gone"
            );
            told = Some(holder);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until a lease of this name in another namespace than ours is taken, or may no longer be seen; who leads by it, or why
/// that is not known, in words. A Karpenter of before had its say already ([`gone`]).
pub async fn comes(client: &Client, namespace: &str, name: &str) -> String {
    let leases: Api<Lease> = Api::all(client.clone());
    let named = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut seen = pin!(watcher(leases, named).default_backoff().applied_objects());
    loop {
        match seen.next().await {
            Some(Ok(lease)) => {
                let Some(place) = lease.namespace().filter(|other| other != namespace) else { continue };
                if let Some(holder) = holder(&lease, Timestamp::now()) {
                    return format!("{holder} leads by the lease {place}/{name}");
                }
            }
            Some(Err(error)) => match of_watch(&error).and_then(blindness) {
                Some(blind) => return blind.to_string(),
                None => debug!("leases of that name: {error}"),
            },
            None => return std::future::pending().await,
        }
    }
}

fn of_watch(error: &watcher::Error) -> Option<&kube::Error> {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Some(error),
        _ => None,
    }
}

/// Whether an answer says that we may not ask: asking again is no use then.
fn blindness(error: &kube::Error) -> Option<Blind> {
    match error {
        kube::Error::Api(status) if status.code == 403 => Some(Blind { refused: status.message.clone() }),
        _ => None,
    }
}

/// Who holds a lease now.
fn holder(lease: &Lease, now: Timestamp) -> Option<String> {
    let spec = lease.spec.as_ref()?;
    let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty())?;
    let renewed = spec.renew_time.as_ref().or(spec.acquire_time.as_ref())?.0;
    let valid = i64::from(spec.lease_duration_seconds?);
    (now.as_second() - renewed.as_second() <= valid).then_some(holder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lease_is_held_as_long_as_it_is_renewed() {
        let lease: Lease = serde_json::from_value(json!({"spec": {
            "holderIdentity": "karpenter-1", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z",
        }}))
        .unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(holder(&lease, at("2026-01-01T00:00:15Z")).as_deref(), Some("karpenter-1"));
        assert_eq!(holder(&lease, at("2026-01-01T00:00:16Z")), None);
        let mut free = lease;
        free.spec.as_mut().unwrap().holder_identity = Some(String::new());
        assert_eq!(holder(&free, at("2026-01-01T00:00:01Z")), None);
    }
}
