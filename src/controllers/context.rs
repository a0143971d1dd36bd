//! What all controllers share.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::controller::Action;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};
use supercargo_models::solver::Memory;
use tracing::{debug, warn};

use super::conditions::{Conditions, DISRUPTION_REASON, Known};
use super::disruption::Change;
use super::events::Told;
use super::overlays::Market;
use super::pods::PodEvents;
use super::pools::Registrations;
use super::provisioning::{Pins, Place};
use super::settings::Settings;
use super::stores::{Bells, Stores};
use crate::api::{NodeClaim, NodePool};
use crate::cloud::{CloudError, CloudProvider, Refused};
use crate::labels;
use crate::telemetry::Metrics;

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// How often a claim is read again because it has changed.
const CONFLICTS: u32 = 3;
/// The pause after someone else was quicker: our view of the object is about to be renewed.
const CONFLICT_PAUSE: Duration = Duration::from_millis(200);

/// What all controllers share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Where machines come from.
    pub cloud: Arc<dyn CloudProvider>,
    /// What is known of the cluster.
    pub stores: Stores,
    /// Who is told of changes.
    pub bells: Bells,
    /// When pods last came and went.
    pub pod_events: Arc<PodEvents>,
    /// Which pods are planned onto which claims.
    pub pins: Mutex<Pins>,
    /// What the cloud had none of.
    pub refused: Mutex<Refused>,
    /// Claims that are about to be taken away.
    pub disrupting: Mutex<BTreeSet<String>>,
    /// The uids of the claims that were there when all of the cluster had been read.
    pub inherited: OnceLock<BTreeSet<String>>,
    /// What became of the last machines of each pool.
    pub registrations: Mutex<Registrations>,
    /// What a dry run told last.
    pub rehearsed: Mutex<Rehearsed>,
    /// What was on sale when it was last looked at.
    pub last_market: Mutex<Option<Arc<Market>>>,
    /// Held by whoever plans what to buy, from what it knows until its claims are seen: two plans would both count on what
    /// limits leave.
    pub buying: tokio::sync::Mutex<()>,
    /// Held by whoever counts the nodes of a pool of static capacity and makes more of them.
    pub static_turn: tokio::sync::Mutex<()>,
    /// What the solver has learnt from plan to plan.
    pub memory: Memory,
    /// What was asked for.
    pub settings: Settings,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Events for people.
    pub recorder: Recorder,
    /// Those that were told of late.
    pub told: Mutex<Told>,
}

/// What a dry run told last.
#[derive(Debug, Default)]
pub struct Rehearsed {
    /// The decision on the pods that wait; empty where none does.
    pub plan: String,
    /// Machines that are there or to come, which waiting pods would be planned onto.
    pub taken: BTreeSet<Place>,
    /// What would end, and be made whether pods need it or not.
    pub changes: Vec<Change>,
}

/// Why something has to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not do it.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// The cloud did not do it.
    #[error("the cloud: {0}")]
    Cloud(#[from] CloudError),
    /// An object says something that makes no sense.
    #[error("{0}")]
    Object(String),
}

impl Error {
    /// The HTTP status that the API server answered with.
    pub fn code(&self) -> Option<u16> {
        match self {
            Error::Api(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }

    /// When to try again.
    pub fn pause(&self) -> Duration {
        if self.code() == Some(409) { CONFLICT_PAUSE } else { FIRST_PAUSE }
    }
}

/// Logs a failure and says when to try again.
pub fn on_error<K: Resource<DynamicType = ()>>(object: Arc<K>, error: &Error, _: Arc<Context>) -> Action {
    let name = object.name_any();
    match error.code() {
        Some(409 | 404) => debug!("{} {name}: {error}", K::kind(&())),
        _ => warn!("{} {name}: {error}", K::kind(&())),
    }
    Action::requeue(error.pause())
}

/// Takes a lock that a panic can't have left half-changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    /// Claims, by the API.
    pub fn claims(&self) -> Api<NodeClaim> {
        Api::all(self.client.clone())
    }

    /// Nodes, by the API.
    pub fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    /// Pools, by the API.
    pub fn pools(&self) -> Api<NodePool> {
        Api::all(self.client.clone())
    }

    /// Makes a claim, which says who made it: a leader that comes next knows what comes too late by that.
    ///
    /// # Errors
    /// If the API server refuses or does not answer.
    pub async fn create_claim(&self, mut claim: NodeClaim) -> Result<NodeClaim, Error> {
        claim.annotations_mut().insert(labels::MADE_BY.into(), self.settings.identity.clone());
        Ok(self.claims().create(&PostParams::default(), &claim).await?)
    }

    /// Lays fields over a claim as it was seen.
    ///
    /// # Errors
    /// With code 409 where it has changed since.
    pub async fn patch_claim(&self, claim: &NodeClaim, patch: Value) -> Result<NodeClaim, Error> {
        let patch = based_on(claim.metadata.resource_version.as_deref(), patch);
        Ok(self.claims().patch(&claim.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    /// Lays fields over the status of a claim as it was seen.
    ///
    /// # Errors
    /// With code 409 where it has changed since.
    pub async fn patch_claim_status(&self, claim: &NodeClaim, status: Value) -> Result<NodeClaim, Error> {
        let patch = based_on(claim.metadata.resource_version.as_deref(), json!({ "status": status }));
        Ok(self.claims().patch_status(&claim.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    /// Lays fields over a node as it was seen.
    ///
    /// # Errors
    /// With code 409 where it has changed since.
    pub async fn patch_node(&self, node: &Node, patch: Value) -> Result<Node, Error> {
        let patch = based_on(node.metadata.resource_version.as_deref(), patch);
        Ok(self.nodes().patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    /// Asks for the end of a claim by our own choice, with the reason that metrics tell. One that is gone already is fine.
    ///
    /// # Errors
    /// If the API server fails.
    pub async fn delete_claim(&self, claim: &NodeClaim, reason: &str) -> Result<(), Error> {
        if self.end_claim(claim).await? {
            self.metrics.claim_disrupted(claim, reason);
        }
        Ok(())
    }

    /// Asks for the end of a claim that we disrupt, for a reason of the API (`Drifted`), which its condition `DisruptionReason`
    /// tells from then on. One that is gone already is fine.
    ///
    /// # Errors
    /// If the API server fails.
    pub async fn disrupt_claim(&self, claim: &NodeClaim, reason: &str) -> Result<(), Error> {
        if claim.metadata.deletion_timestamp.is_none() {
            self.say_why(claim, reason).await?;
        }
        self.delete_claim(claim, &reason.to_lowercase()).await
    }

    async fn say_why(&self, claim: &NodeClaim, reason: &str) -> Result<(), Error> {
        let mut newest = self.stores.claims.get(&ObjectRef::from_obj(claim));
        let mut conflicts = 0;
        while let Some(seen) = newest.filter(|seen| seen.metadata.uid == claim.metadata.uid) {
            let mut conditions = Conditions::of(&seen, self.now());
            conditions.set(DISRUPTION_REASON, Known::True, reason, reason);
            if !conditions.changed() {
                break;
            }
            match self.patch_claim_status(&seen, json!({"conditions": conditions.into_list()})).await {
                Err(error) if error.code() == Some(404) => break,
                // Much is written about claims that rest; the watch may not have brought it yet.
                Err(error) if error.code() == Some(409) && conflicts < CONFLICTS => conflicts += 1,
                Err(error) => return Err(error),
                Ok(_) => break,
            }
            newest = self.claims().get_opt(&claim.name_any()).await?.map(Arc::new);
        }
        Ok(())
    }

    /// Asks for the end of a claim; whether it was there and not ending.
    ///
    /// # Errors
    /// If the API server fails.
    pub async fn end_claim(&self, claim: &NodeClaim) -> Result<bool, Error> {
        if claim.metadata.deletion_timestamp.is_some() {
            return Ok(false);
        }
        let uid = claim.metadata.uid.clone();
        let same = DeleteParams {
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        match self.claims().delete(&claim.name_any(), &same).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a claim is ours to carry: its machine is, or will be, one of our cloud's.
    pub fn carries(&self, claim: &NodeClaim) -> bool {
        claim.spec.template.node_class_ref.as_ref().is_none_or(|class| self.cloud.makes(class))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

fn based_on(version: Option<&str>, mut patch: Value) -> Value {
    if let Some(version) = version {
        patch["metadata"]["resourceVersion"] = version.into();
    }
    patch
}
