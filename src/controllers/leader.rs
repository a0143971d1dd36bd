//! One leader at a time: the lease is Karpenter's, so that the two never act on one cluster at once.
//!
//! As client-go does it (`tools/leaderelection`): a candidate counts from when it saw a lease last change, by its own clock
//! alone, and every write names the version that it saw, so that of two who want the lease one fails. Who leads renews with
//! one write, and reads only when that fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use super::tenure::Tenure;

/// How long a lease is valid without being renewed, as controller-runtime has it.
const DURATION: Duration = Duration::from_secs(15);
/// How often who leads renews it.
const RENEWAL: Duration = Duration::from_secs(10);
/// Who could not renew it for so long leads no more, before anyone else may.
const DEADLINE: Duration = Duration::from_secs(14);
/// How often others look at it.
const LOOK: Duration = Duration::from_secs(2);
/// How soon a failure is followed by another try.
const RETRY: Duration = Duration::from_secs(1);
/// The longest that a try may take; so there is another one before the deadline.
const TRY: Duration = Duration::from_millis(1500);
/// How long to wait for the lease to be given back when the program ends.
const PATIENCE: Duration = Duration::from_secs(3);

/// A candidate for the lease.
#[derive(Debug)]
pub struct Election {
    state: watch::Receiver<bool>,
    resign: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Election {
    /// Stands for election; `tenure` is extended with each renewal.
    ///
    /// # Errors
    /// If the lease can be neither read nor made.
    pub async fn stand(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        tenure: Arc<Tenure>,
    ) -> Result<Self, kube::Error> {
        let mut candidate = Candidate {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            lease: Lease::default(),
            changed: Instant::now(),
            renewed: None,
            told: None,
            tenure,
        };
        candidate.step().await?;
        let (sender, state) = watch::channel(candidate.leads());
        let (resign, resigned) = oneshot::channel();
        let task = tokio::spawn(candidate.run(sender, resigned));
        Ok(Election { state, resign, task })
    }

    /// Waits until this candidate is the leader.
    ///
    /// # Errors
    /// If the election ended without.
    pub async fn won(&mut self) -> anyhow::Result<()> {
        self.state.wait_for(|leader| *leader).await?;
        Ok(())
    }

    /// Waits until this leader is none any more.
    pub async fn lost(&mut self) {
        // An election that has ended is lost as well.
        let _ = self.state.wait_for(|leader| !*leader).await;
    }

    /// Gives the lease back, so that the next leader need not wait for its end.
    pub async fn resign(self) {
        // Where the task has ended there is nothing to give back.
        let _ = self.resign.send(());
        if tokio::time::timeout(PATIENCE, self.task).await.is_err() {
            warn!("the lease was not given back in time; it ends by itself");
        }
    }
}

/// Who stands.
struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    /// The lease as it was last seen.
    lease: Lease,
    /// Since when it is so.
    changed: Instant,
    /// When the last renewal was asked for that was granted; `None` for who does not lead.
    renewed: Option<Instant>,
    /// Of whom it was said that they lead.
    told: Option<String>,
    /// Until when this candidate may act.
    tenure: Arc<Tenure>,
}

impl Candidate {
    async fn run(mut self, state: watch::Sender<bool>, mut resigned: oneshot::Receiver<()>) {
        let mut failed = false;
        loop {
            let pause = match self.renewed {
                _ if failed => RETRY.min(self.left()),
                Some(renewed) => RENEWAL.saturating_sub(renewed.elapsed()),
                None => LOOK,
            };
            tokio::select! {
                _ = &mut resigned => return self.give_back().await,
                () = tokio::time::sleep(pause) => {}
            }
            failed = match tokio::time::timeout(TRY.min(self.left()), self.step()).await {
                Ok(Ok(())) => false,
                Ok(Err(error)) => {
                    warn!("the lease: {error}");
                    true
                }
                Err(_) => {
                    warn!("the lease: no answer in time");
                    true
                }
            };
            let leads = self.leads();
            if !leads {
                self.renewed = None;
            }
            state.send_if_modified(|was| std::mem::replace(was, leads) != leads);
        }
    }

    /// How long who leads may go on doing so without a renewal; for ever where nothing is led.
    fn left(&self) -> Duration {
        self.renewed.map_or(Duration::MAX, |renewed| DEADLINE.saturating_sub(renewed.elapsed()))
    }

    fn leads(&self) -> bool {
        self.renewed.is_some() && !self.left().is_zero()
    }

    /// Renews the lease, or takes it if it may be taken.
    async fn step(&mut self) -> Result<(), kube::Error> {
        if self.renewed.is_some() && self.write(claimed(&self.lease, &self.identity, Timestamp::now())).await? {
            return Ok(());
        }
        let Some(found) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let fresh = Lease { metadata, spec: None };
            self.write(claimed(&fresh, &self.identity, Timestamp::now())).await?;
            return Ok(());
        };
        if found.spec != self.lease.spec {
            self.changed = Instant::now();
        }
        self.lease = found;
        if may_claim(&self.lease, &self.identity, self.changed.elapsed()) {
            self.write(claimed(&self.lease, &self.identity, Timestamp::now())).await?;
        } else {
            self.renewed = None;
            let holder = self.lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
            if holder != self.told {
                info!("{} leads", holder.as_deref().unwrap_or_default());
                self.told = holder;
            }
        }
        Ok(())
    }

    /// Writes a lease over the version that it was made from; whether nobody was quicker.
    async fn write(&mut self, lease: Lease) -> Result<bool, kube::Error> {
        let asked = Instant::now();
        let written = match lease.metadata.resource_version {
            Some(_) => self.api.replace(&self.name, &PostParams::default(), &lease).await,
            None => self.api.create(&PostParams::default(), &lease).await,
        };
        match written {
            Ok(lease) => {
                self.lease = lease;
                (self.changed, self.renewed) = (asked, Some(asked));
                self.tenure.extend(asked + DEADLINE);
                Ok(true)
            }
            // 404: the lease is gone.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                debug!("the lease: {}", status.message);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn give_back(mut self) {
        if !self.leads() {
            return;
        }
        match self.write(released(&self.lease)).await {
            Ok(true) => {}
            Ok(false) => debug!("the lease is somebody else's by now"),
            Err(error) => warn!("giving the lease back: {error}"),
        }
    }
}

/// Whether a lease may be written by a candidate who has seen it unchanged for so long.
fn may_claim(lease: &Lease, identity: &str, unchanged: Duration) -> bool {
    let Some(spec) = &lease.spec else { return true };
    match spec.holder_identity.as_deref() {
        None | Some("") => true,
        Some(holder) => holder == identity || unchanged >= validity(spec),
    }
}

fn validity(spec: &LeaseSpec) -> Duration {
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(DURATION, Duration::from_secs)
}

/// A lease with a candidate as its holder.
fn claimed(lease: &Lease, identity: &str, now: Timestamp) -> Lease {
    let mut lease = lease.clone();
    let spec = lease.spec.get_or_insert_default();
    if spec.holder_identity.as_deref() != Some(identity) {
        // A lease that was given back has been held, too.
        let before = spec.lease_transitions;
        spec.lease_transitions = Some(before.map_or(0, |before| before.saturating_add(1)));
        spec.acquire_time = Some(MicroTime(now));
        spec.holder_identity = Some(identity.to_owned());
    }
    spec.renew_time = Some(MicroTime(now));
    spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
    lease
}

/// A lease that nobody holds.
fn released(lease: &Lease) -> Lease {
    let mut lease = lease.clone();
    let spec = lease.spec.get_or_insert_default();
    (spec.holder_identity, spec.acquire_time, spec.renew_time) = (None, None, None);
    lease
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_lease_may_be_taken_when_it_was_not_renewed_for_as_long_as_it_holds() {
        let mut lease = claimed(&Lease::default(), "a", at(0));
        let long = |seconds| Duration::from_secs(seconds);
        assert!(may_claim(&Lease::default(), "b", long(0)));
        assert!(
            may_claim(&lease, "a", long(0)) && !may_claim(&lease, "b", long(14)) && may_claim(&lease, "b", long(15))
        );
        // The holder says for how long.
        lease.spec.as_mut().unwrap().lease_duration_seconds = Some(60);
        assert!(!may_claim(&lease, "b", long(59)) && may_claim(&lease, "b", long(60)));
        assert!(may_claim(&released(&lease), "b", long(0)));
    }

    #[test]
    fn a_renewal_changes_the_time_alone() {
        let first = claimed(&Lease::default(), "a", at(0)).spec.unwrap();
        assert_eq!((first.lease_transitions, first.acquire_time.clone()), (Some(0), Some(MicroTime(at(0)))));
        let lease = Lease { spec: Some(first.clone()), ..Lease::default() };
        let renewed = claimed(&lease, "a", at(10)).spec.unwrap();
        assert_eq!(renewed, LeaseSpec { renew_time: Some(MicroTime(at(10))), ..first });
        let taken = claimed(&lease, "b", at(30)).spec.unwrap();
        assert_eq!((taken.lease_transitions, taken.holder_identity.as_deref()), (Some(1), Some("b")));
        assert_eq!(taken.acquire_time, Some(MicroTime(at(30))));
        let back = claimed(&released(&lease), "a", at(40)).spec.unwrap();
        assert_eq!(back.lease_transitions, Some(1));
    }
}
