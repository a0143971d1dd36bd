//! From pods that wait to claims: batch, snapshot, plan, claims.
//!
//! A pod that was planned is pinned to its machine until it is bound, and takes its place there in every later plan. A claim
//! counts as the node that it will become from the moment it is made.

mod batch;
mod claim;
pub mod hold;
mod in_flight;
pub mod moving;
mod pins;
mod plan;
pub mod rehearsal;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use batch::Window;
pub use claim::{offer_of, unplanned};
use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use moving::Without;
pub use pins::{Pins, Place};
use plan::Question;
use supercargo_models::catalog::Catalog;
use supercargo_models::plan::{Plan, PlannedNode};
use tracing::{error, warn};
pub use words::Cost;
use words::say;

use super::conditions::{self, INITIALIZED};
use super::context::{Context, Error, lock};
use super::pods;
use super::pools::is_ready as is_ready_pool;
use super::settings::{Bind, MinValues};
use crate::api::{NodeClaim, NodePool, NodeSelectorRequirementWithMinValues};
use crate::cloud::{Lack, lack};

/// Claims that are created at once.
const AT_ONCE: usize = 16;
/// How soon pods that found no place are looked at again, if anything changed by then.
const UNPLACED_PAUSE: Duration = Duration::from_secs(10);
/// How long a watch is given to bring what we have just created.
const WATCH_PATIENCE: Duration = Duration::from_secs(10);
/// When a watch is late, and how often the API server is asked from then on.
const LATE: Duration = Duration::from_secs(1);

/// Plans for ever: each time a pod waits, or may find a place that it did not find before.
pub async fn run(context: Arc<Context>) {
    let bell = Arc::clone(&context.bells.batch);
    let mut planned: Option<Instant> = None;
    loop {
        // Nothing tells when a pod was not bound in time, or when what was refused may be had again.
        let _ = tokio::time::timeout(UNPLACED_PAUSE, bell.notified()).await;
        let waiting = waiting(&context);
        if waiting.is_empty() {
            lock(&context.pins).set_begun();
            context.metrics.waiting(0);
            if let Some(namespace) = &context.settings.dry_run
                && let Err(failure) = rehearsal::publish_nothing(&context, namespace).await
            {
                warn!("publishing the plan: {failure}");
            }
            continue;
        }
        let again = planned.is_none_or(|planned| planned.elapsed() >= UNPLACED_PAUSE);
        if !again && waiting.iter().all(|pod| lock(&context.pins).is_unplaced(&pod.uid().unwrap_or_default())) {
            continue;
        }
        gather(&context).await;
        planned = Some(Instant::now());
        let outcome = provision(&context).await;
        lock(&context.pins).set_begun();
        if let Err(failure) = outcome {
            error!("planning: {failure}");
            tokio::time::sleep(Duration::from_secs(1)).await;
            bell.notify_one();
        }
    }
}

/// Waits until a batch is complete: no other pod came for a while, and the scheduler has looked at all that were there
/// then. One that is behind finds one pod after the other without a node; planned one by one they would get a machine each.
async fn gather(context: &Context) {
    let (settings, bell) = (&context.settings, &context.bells.batch);
    let mut window = Window::open(settings.batch_idle, settings.batch_max, Instant::now());
    let waiting = provisionable(context);
    let (mut known, mut unseen) = (waiting.len(), unseen(context, &waiting));
    // What was refused is planned anew at once.
    while !context.bells.urgent.swap(false, Ordering::Relaxed) {
        let left = window.left(Instant::now());
        if !left.is_zero() {
            let _ = tokio::time::timeout(left, bell.notified()).await;
        }
        let waiting = provisionable(context);
        let more = waiting.len() > known;
        known = waiting.len();
        if more || window.left(Instant::now()).is_zero() {
            let still = self::unseen(context, &waiting);
            if more || !still.is_disjoint(&unseen) {
                window.add(Instant::now());
            }
            unseen = still;
        }
        if window.left(Instant::now()).is_zero() {
            return;
        }
    }
}

/// Pods, by uid, that a scheduler which found no node for those that wait has yet to look at.
fn unseen(context: &Context, waiting: &[Arc<Pod>]) -> BTreeSet<String> {
    let scheduler = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.scheduler_name.clone());
    let at_work: BTreeSet<_> = waiting.iter().map(|pod| scheduler(pod)).collect();
    let unseen = context.stores.pods.state_filter(|pod| pods::is_unseen(pod) && at_work.contains(&scheduler(pod)));
    unseen.iter().filter_map(|pod| pod.uid()).collect()
}

/// All pods that wait for a machine.
fn provisionable(context: &Context) -> Vec<Arc<Pod>> {
    context.stores.pods.state_filter(pods::is_provisionable)
}

/// Pods that wait and are planned nowhere.
fn waiting(context: &Context) -> Vec<Arc<Pod>> {
    let all = context.stores.pods.state_filter(pods::is_unplaced);
    let uids: BTreeSet<String> = all.iter().filter_map(|pod| pod.uid()).collect();
    let mut pins = lock(&context.pins);
    let over = pins.tidy(&uids, |place| is_ready(context, place), Instant::now());
    let is_planned = |pod: &Pod| pins.place(&pod.uid().unwrap_or_default()).is_some();
    let waiting = all.into_iter().filter(|pod| pods::is_provisionable(pod) && !is_planned(pod)).collect();
    drop(pins);
    count_bound(context, over.done.into_iter().collect());
    waiting
}

/// Counts the pods that are bound by now: where they were planned, or elsewhere.
fn count_bound(context: &Context, planned: BTreeMap<String, Place>) {
    if planned.is_empty() {
        return;
    }
    let place = |pod: &Pod| planned.get(pod.metadata.uid.as_ref()?);
    for pod in context.stores.pods.state_filter(|pod| place(pod).is_some()) {
        if let (Some(node), Some(place)) = (pods::node_of(&pod), place(&pod)) {
            context.metrics.pod_bound(node_at(context, place).as_deref() == Some(node));
        }
    }
}

/// Whether a plan has decided on every pod that waits.
pub fn is_settled(context: &Context) -> bool {
    let pins = lock(&context.pins);
    provisionable(context).iter().all(|pod| pins.is_decided(&pod.uid().unwrap_or_default()))
}

/// Whether a place takes pods now; `None` where it is gone.
fn is_ready(context: &Context, place: &Place) -> Option<bool> {
    match place {
        Place::Claim(name) => {
            let claim = context.stores.claims.get(&ObjectRef::new(name))?;
            if claim.metadata.deletion_timestamp.is_some() {
                return None;
            }
            Some(conditions::is_true(&claim, INITIALIZED))
        }
        Place::Node(name) => {
            let node = context.stores.node(name)?;
            node.metadata.deletion_timestamp.is_none().then_some(true)
        }
    }
}

/// Plans the pods that wait, and acts on the plan.
async fn provision(context: &Arc<Context>) -> Result<(), Error> {
    let _turn = context.buying.lock().await;
    let waiting = waiting(context);
    context.metrics.waiting(waiting.len());
    if waiting.is_empty() {
        return Ok(());
    }
    let pools = ready_pools(context);
    if pools.is_empty() {
        warn!("{} pods wait, and there is no NodePool that is ready", waiting.len());
        lock(&context.pins).put_unplaced(waiting.iter().filter_map(|pod| pod.uid()).collect());
        let note = "there is no NodePool that is ready".to_owned();
        tell(
            context,
            waiting.into_iter().map(|pod| (pod, EventType::Warning, "FailedScheduling", note.clone())).collect(),
        );
        return Ok(());
    }
    let question = question(context, &waiting, &pools, &Without::default())?;
    tell_of_pools(context, lacking(&pools, &question.catalog, context.settings.min_values));
    let mut plan = plan::planned(question, context).await?;
    context.metrics.planned(&plan);
    decided(context, &waiting, &plan);
    if let Some(namespace) = &context.settings.dry_run {
        say(&plan, "would claim", plan.nodes.iter());
        return rehearsal::publish(context, namespace, &waiting, &pools, &plan).await;
    }
    let relaxed = relaxed(&pools).filter(|_| context.settings.min_values == MinValues::BestEffort);
    let Some(relaxed) = relaxed.filter(|_| !plan.unschedulable.is_empty()) else {
        return act(context, &waiting, &pools, &plan).await;
    };
    // Whom `minValues` leaves no place gets one with as many values as there are.
    let left: BTreeSet<String> = std::mem::take(&mut plan.unschedulable).into_iter().map(|one| one.pod).collect();
    act(context, &waiting, &pools, &plan).await?;
    let left: Vec<Arc<Pod>> =
        by_name(&waiting).into_iter().filter(|(name, _)| left.contains(name)).map(|(_, pod)| Arc::clone(pod)).collect();
    let question = self::question(context, &left, &relaxed, &Without::default())?;
    let plan = plan::planned(question, context).await?;
    context.metrics.planned_besides(&plan);
    decided(context, &left, &plan);
    act(context, &left, &pools, &plan).await
}

/// Counts that a plan has looked at pods.
fn decided(context: &Context, waiting: &[Arc<Pod>], plan: &Plan) {
    let left: BTreeSet<&str> = plan.unschedulable.iter().map(|one| one.pod.as_str()).collect();
    let now = context.now();
    for (name, pod) in by_name(waiting) {
        if let Some(uid) = &pod.metadata.uid {
            context.metrics.pod_decided(uid, !left.contains(name.as_str()), now);
        }
    }
}

/// The pools with one value enough where they ask for several to choose among; `None` where none does.
fn relaxed(pools: &BTreeMap<String, Arc<NodePool>>) -> Option<BTreeMap<String, Arc<NodePool>>> {
    let mut relaxed = pools.clone();
    let mut any = false;
    for pool in relaxed.values_mut() {
        let several = |one: &NodeSelectorRequirementWithMinValues| one.min_values.is_some_and(|least| least > 1);
        if pool.spec.template.spec.requirements.iter().any(several) {
            any = true;
            let pool = Arc::make_mut(pool);
            for one in pool.spec.template.spec.requirements.iter_mut().filter(|one| several(one)) {
                one.min_values = Some(1);
            }
        }
    }
    any.then_some(relaxed)
}

/// Pools that may be bought for: not leaving, understood, of a class that is ready, without static capacity.
fn ready_pools(context: &Context) -> BTreeMap<String, Arc<NodePool>> {
    let ready = context.stores.pools.state_filter(|pool| {
        pool.metadata.deletion_timestamp.is_none()
            && pool.spec.replicas.is_none()
            && is_ready_pool(pool, &*context.cloud)
    });
    ready.into_iter().map(|pool| (pool.name_any(), pool)).collect()
}

/// All that a plan is made from, as it is now, but for the nodes that are thought away.
fn question(
    context: &Context,
    waiting: &[Arc<Pod>],
    pools: &BTreeMap<String, Arc<NodePool>>,
    without: &Without,
) -> Result<Question, Error> {
    let stores = &context.stores;
    let market = context.market();
    let catalog = match lock(&context.refused).without(&market.full, Instant::now()) {
        Some(left) => Arc::new(left),
        None => Arc::clone(&market.full),
    };
    let claims = stores.claims.state();
    let mut nodes = in_flight::nodes(&stores.nodes.state(), &claims, |claim| market.of_claim(claim));
    nodes.iter_mut().filter(|node| without.closes(&node.name_any())).for_each(in_flight::close);
    let stays = |pod: &Pod| pods::node_of(pod).is_some() && !without.moves(pod);
    let mut all: Vec<Pod> = stores.pods.state_filter(stays).iter().map(|pod| (**pod).clone()).collect();
    let pins = lock(&context.pins);
    for pod in stores.pods.state_filter(pods::is_unplaced) {
        let place = pod.uid().and_then(|uid| pins.place(&uid).cloned());
        if let Some(node) = place.and_then(|place| node_at(context, &place)) {
            let mut pod = (*pod).clone();
            pod.spec.get_or_insert_default().node_name = Some(node);
            all.push(pod);
        }
    }
    drop(pins);
    all.extend(waiting.iter().map(|pod| (**pod).clone()));
    let classes = pools
        .values()
        .filter_map(|pool| context.cloud.node_class(pool.spec.template.spec.node_class_ref.as_ref()?).ok());
    // Pools of the same class share it.
    let classes: BTreeMap<[String; 2], serde_json::Value> =
        classes.map(|class| ([&class["kind"], &class["metadata"]["name"]].map(ToString::to_string), class)).collect();
    let stored = crate::cluster::Stored {
        pods: all,
        nodes,
        node_pools: pools.values().map(|pool| (**pool).clone().into()).collect(),
        node_overlays: market.overlays.clone(),
        node_classes: classes.into_values().collect(),
        daemon_sets: stores.daemon_sets.state(),
        volume_claims: stores.volume_claims.state(),
        volumes: stores.volumes.state(),
        storage_classes: stores.storage_classes.state(),
        csi_nodes: stores.csi_nodes.state(),
        namespaces: stores.namespaces.state(),
        limit_ranges: stores.limit_ranges.state(),
        priority_classes: stores.priority_classes.state(),
        runtime_classes: stores.runtime_classes.state(),
        disruption_budgets: stores.disruption_budgets.state(),
    };
    let loaded = crate::cluster::of_stored(stored).map_err(|error| Error::Object(error.to_string()))?;
    Ok(Question { snapshot: loaded.snapshot, catalog })
}

/// The name under which a place stands in a plan.
fn node_at(context: &Context, place: &Place) -> Option<String> {
    match place {
        Place::Node(name) => Some(name.clone()),
        Place::Claim(name) => {
            let claim = context.stores.claims.get(&ObjectRef::new(name))?;
            Some(context.stores.node_of(&claim).map_or_else(|| name.clone(), |node| node.name_any()))
        }
    }
}

/// The place that a name in a plan stands for.
fn place_of(context: &Context, node: &str) -> Place {
    let there: Option<Arc<Node>> = context.stores.node(node);
    match there.and_then(|node| context.stores.claim_of(&node)) {
        Some(claim) => Place::Claim(claim.name_any()),
        None if context.stores.claims.get(&ObjectRef::new(node)).is_some() => Place::Claim(node.to_owned()),
        None => Place::Node(node.to_owned()),
    }
}

/// Pods under the names that they have in plans.
fn by_name(pods: &[Arc<Pod>]) -> BTreeMap<String, &Arc<Pod>> {
    pods.iter().map(|pod| (format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()), pod)).collect()
}

/// Makes the claims of a plan, pins its pods, and says what was decided.
async fn act(
    context: &Arc<Context>,
    waiting: &[Arc<Pod>],
    pools: &BTreeMap<String, Arc<NodePool>>,
    plan: &Plan,
) -> Result<(), Error> {
    let by_name = by_name(waiting);
    let pin = |names: &[String], place: &Place| {
        let mut pins = lock(&context.pins);
        for uid in names.iter().filter_map(|name| by_name.get(name)?.uid()) {
            pins.put(&uid, place.clone());
        }
    };
    let unplaced = plan.unschedulable.iter().filter_map(|one| by_name.get(&one.pod)?.uid());
    lock(&context.pins).put_unplaced(unplaced.collect());
    for node in &plan.existing_nodes {
        pin(&node.pods, &place_of(context, &node.name));
    }
    lock(&context.pins).set_acting(true);
    let hold = context.settings.bind != Bind::Off;
    let market = context.market();
    let creations = plan.nodes.iter().map(|node| {
        let (pool, catalog) = (pools.get(&node.node_pool), &market.full);
        async move {
            let pool = pool.ok_or_else(|| Error::Object(format!("NodePool {} is not there", node.node_pool)))?;
            Ok::<_, Error>((node, context.create_claim(claim::claim(node, pool, catalog, hold)).await?))
        }
    });
    let mut made: Vec<(&PlannedNode, NodeClaim)> = Vec::new();
    let mut failure = None;
    let mut outcomes = stream::iter(creations).buffer_unordered(AT_ONCE);
    while let Some(outcome) = outcomes.next().await {
        match outcome {
            Ok((node, claim)) => {
                let uids: Vec<String> = node.pods.iter().filter_map(|name| by_name.get(name)?.uid()).collect();
                let extra = lock(&context.pins).all_late(uids.iter().map(String::as_str));
                if extra {
                    lock(&context.pins).put_extra(&claim.name_any());
                    context.metrics.extra_node();
                }
                pin(&node.pods, &Place::Claim(claim.name_any()));
                lock(&context.pins).put_cost(&claim.name_any(), node.pods.len(), Cost::of(plan));
                context.metrics.claim_created(&claim, "provisioned");
                made.push((node, claim));
            }
            Err(error) => failure = Some(error),
        }
    }
    drop(outcomes);
    lock(&context.pins).set_acting(false);
    // The next plan counts on the stores alone.
    for (_, claim) in &made {
        seen(context, claim).await;
    }
    say(plan, "claimed", made.iter().map(|(node, _)| *node));
    let pod = |name: &String| by_name.get(name).map(|pod| Arc::clone(pod));
    let nominated = made.iter().flat_map(|(node, claim)| {
        let note = format!("planned onto {} ({})", claim.name_any(), offer_of(node));
        node.pods.iter().filter_map(pod).map(move |pod| (pod, EventType::Normal, "Nominated", note.clone()))
    });
    let there = plan.existing_nodes.iter().flat_map(|node| {
        let note = format!("planned onto {}, which is there or to come", node.name);
        node.pods.iter().filter_map(pod).map(move |pod| (pod, EventType::Normal, "Nominated", note.clone()))
    });
    let failed = plan
        .unschedulable
        .iter()
        .filter_map(|one| Some((pod(&one.pod)?, EventType::Warning, "FailedScheduling", one.reason.clone())));
    tell(context, nominated.chain(there).chain(failed).collect());
    failure.map_or(Ok(()), Err)
}

/// The pools that nothing can be bought for, with what people are told of it, in Karpenter's words
/// (`pkg/controllers/provisioning/scheduling/events.go`).
fn lacking(
    pools: &BTreeMap<String, Arc<NodePool>>,
    catalog: &Catalog,
    policy: MinValues,
) -> Vec<(Arc<NodePool>, String)> {
    let words = "NodePool requirements filtered out all compatible available instance types";
    let note = |pool: &Arc<NodePool>| match lack(catalog, pool, policy == MinValues::BestEffort)? {
        Lack::Offerings => Some(words.to_owned()),
        Lack::Values => Some(format!("{words} due to minValues incompatibility")),
    };
    pools.values().filter_map(|pool| Some((Arc::clone(pool), note(pool)?))).collect()
}

/// Publishes events about pools beside the work.
fn tell_of_pools(context: &Arc<Context>, notes: Vec<(Arc<NodePool>, String)>) {
    let context = Arc::clone(context);
    tokio::spawn(async move {
        for (pool, note) in notes {
            context.tell(&*pool, EventType::Warning, "NoCompatibleInstanceTypes", note).await;
        }
    });
}

/// Publishes events beside the work.
fn tell(context: &Arc<Context>, events: Vec<(Arc<Pod>, EventType, &'static str, String)>) {
    let context = Arc::clone(context);
    tokio::spawn(async move {
        stream::iter(events)
            .for_each_concurrent(AT_ONCE, async |(pod, type_, reason, note)| {
                context.tell(&*pod, type_, reason, note).await
            })
            .await;
    });
}

/// Waits until the watch has brought a claim that was just created.
async fn seen(context: &Context, claim: &NodeClaim) {
    let begin = Instant::now();
    let mut asks = begin + LATE;
    while context.stores.claims.get(&ObjectRef::from_obj(claim)).is_none() && begin.elapsed() < WATCH_PATIENCE {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if Instant::now() < asks {
            continue;
        }
        asks += LATE;
        // Gone again before it was seen.
        if matches!(context.claims().get_opt(&claim.name_any()).await, Ok(None)) {
            return;
        }
    }
}
