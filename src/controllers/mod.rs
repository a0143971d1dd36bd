//! The in-cluster autoscaler: pods that wait in, machines out, and every machine carried through its whole life.
//!
//! ```text
//!   watches ──> stores ─┬─> provisioning   pods that wait: batch, snapshot, plan, claims
//!   (one a      (what   ├─> lifecycle      a claim: launched, registered, initialized, rested
//!    kind)      is so)  ├─> termination    a claim or node that ends: drained, ended, gone
//!      │                ├─> disruption     nodes that are not needed, or not what they should be, under budgets
//!      │                ├─> static         so many nodes as a pool's replicas say
//!      └─> bells ──────>├─> pools          what a pool has, its fingerprint
//!          (who looks   ├─> interruption   machines that the cloud takes back
//!           again)      ├─> repair         machines whose nodes are sick
//!                       ├─> overlays       what NodeOverlays change of prices and devices
//!                       └─> garbage        what lost its other half
//! ```
//!
//! What decides is pure and tested alone (batch window, claim of a planned node, in-flight nodes, conditions, order of
//! evictions, budgets); what acts reads the stores, makes one step, and may be repeated from any point. All that has to
//! survive a restart is in the cluster: claims, nodes, machines. Pins (which pod is planned onto which machine) are not: the
//! next leader plans the pods that still wait onto the claims that are there.

mod conditions;
mod context;
mod counted;
mod disruption;
mod events;
mod figures;
mod garbage;
mod hash;
mod interruption;
mod leader;
mod lifecycle;
pub mod others;
mod overlays;
mod pods;
mod pools;
mod provisioning;
mod repair;
mod settings;
mod static_capacity;
mod stores;
mod taints;
mod tenure;
mod termination;

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use context::{Context, Error, on_error};
use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use kube::runtime::applier;
use kube::runtime::controller::{Action, Config};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource};
pub use leader::Election;
pub use settings::{Bind, MinValues, Preferences, Settings};
use stores::{Bells, Stores};
use supercargo_models::solver::Memory;
pub use tenure::Tenure;
use tracing::info;

use crate::cloud::{CloudProvider, Metered};
use crate::telemetry::{Health, Metrics, acting_as};

/// Objects of a kind that are worked on at once.
const AT_ONCE: u16 = 64;

/// Who writes events.
const REPORTER: &str = "supercargo";

/// Runs all controllers until the future is dropped. What is under way then may stop between any two requests.
pub async fn run(
    client: Client,
    cloud: Arc<dyn CloudProvider>,
    settings: Settings,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
) {
    let (bells, queues) = Bells::new();
    let pod_events = Arc::default();
    let (stores, watches) = Stores::watch(&client, &bells, &pod_events, &metrics, settings.node_overlay);
    let recorder = Recorder::new(client.clone(), Reporter { controller: REPORTER.into(), instance: None });
    let context = Arc::new(Context {
        client,
        cloud: Arc::new(Metered::new(cloud, Arc::clone(&metrics))),
        stores: stores.clone(),
        bells,
        pod_events,
        pins: Mutex::default(),
        refused: Mutex::default(),
        disrupting: Mutex::default(),
        inherited: OnceLock::new(),
        registrations: Mutex::default(),
        rehearsed: Mutex::default(),
        memory: Memory::default(),
        buying: tokio::sync::Mutex::default(),
        last_market: Mutex::default(),
        static_turn: tokio::sync::Mutex::default(),
        settings,
        metrics,
        recorder,
        told: Mutex::default(),
    });
    let (begin, read) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let (known, is_read) = (Arc::downgrade(&context), Arc::clone(&read));
    context.metrics.observe(move || {
        let known = known.upgrade();
        known.map(|context| figures::gauges(&context, begin, is_read.load(Ordering::Relaxed))).unwrap_or_default()
    });
    let work = async {
        stores.ready().await;
        let uids = stores.claims.state().iter().filter_map(|claim| claim.metadata.uid.clone()).collect();
        context.inherited.get_or_init(|| uids);
        read.store(true, Ordering::Relaxed);
        health.set_ready(true);
        info!(
            "the cluster is read: {} pods, {} nodes, {} claims, {} pools",
            stores.pods.len(),
            stores.nodes.len(),
            stores.claims.len(),
            stores.pools.len()
        );
        let shared = || Arc::clone(&context);
        if let Some(namespace) = &context.settings.dry_run {
            futures::join!(
                acting_as("provisioner", provisioning::run(shared())),
                acting_as("disruption", disruption::rehearse(shared(), namespace)),
            );
            return;
        }
        // Under the names that Karpenter's controllers have in its metrics.
        futures::join!(
            acting_as("provisioner", provisioning::run(shared())),
            acting_as("disruption", disruption::run(shared())),
            acting_as("static.provisioning", static_capacity::run(shared())),
            acting_as("nodeclaim.garbagecollection", garbage::run(shared())),
            acting_as("interruption", interruption::run(shared())),
            acting_as("nodeoverlay", overlays::run(shared())),
            acting_as("node.health", repair::run(shared())),
            acting_as(
                "nodeclaim.lifecycle",
                apply(queues.claims, stores.claims.clone(), lifecycle::reconcile, &context),
            ),
            acting_as(
                "node.termination",
                apply(queues.nodes, stores.nodes.clone(), termination::reconcile_node, &context),
            ),
            acting_as("nodepool.counter", apply(queues.pools, stores.pools.clone(), pools::reconcile, &context)),
        );
    };
    futures::join!(watches, work);
}

/// Counts a look at an object, in controller-runtime's words.
async fn look(work: impl Future<Output = Result<Action, Error>>, context: Arc<Context>) -> Result<Action, Error> {
    let begun = context.metrics.work_begins();
    let outcome = work.await;
    begun.ended(match &outcome {
        Ok(action) if *action == Action::await_change() => "success",
        Ok(_) => "requeue_after",
        Err(_) => "error",
    });
    outcome
}

/// Reconciles the objects of a queue, one call at a time for each of them, and again as it asks for it.
async fn apply<K, Reconciled>(
    queue: UnboundedReceiver<ObjectRef<K>>,
    store: Store<K>,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> Reconciled,
    context: &Arc<Context>,
) where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
    Reconciled: Future<Output = Result<Action, Error>>,
{
    let queue = queue.map(Ok::<_, Infallible>);
    let config = Config::default().concurrency(AT_ONCE);
    context.metrics.works_on_at_most(AT_ONCE);
    let reconcile = |object, context: Arc<Context>| Box::pin(look(reconcile(object, Arc::clone(&context)), context));
    let all = applier(reconcile, on_error, Arc::clone(context), store, queue, config);
    // Failures are logged where it is decided when to try again; an object that is gone meanwhile needs nothing more.
    all.for_each(|_| std::future::ready(())).await;
}
