//! What the controllers know of the cluster: one watch a kind, and a bell for whoever has to look again.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::future::{BoxFuture, join_all};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{LimitRange, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::storage::v1::{CSINode, StorageClass, VolumeAttachment};
use kube::runtime::reflector;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::counted;
use super::pods::{self, PodEvents};
use crate::api::{NodeClaim, NodeOverlay, NodePool};
use crate::labels;
use crate::telemetry::{Kind, Metrics};
use crate::watch::{reflect, reflect_if_served, reflect_thin};

/// How long a watch is given to bring what was written.
const PATIENCE: Duration = Duration::from_secs(10);

/// All objects that matter, as the watches last saw them.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Pods that have not ended.
    pub pods: Store<Pod>,
    /// Nodes.
    pub nodes: Store<Node>,
    /// Claims.
    pub claims: Store<NodeClaim>,
    /// Pools.
    pub pools: Store<NodePool>,
    /// Overlays; none where the cluster does not know them.
    pub overlays: Store<NodeOverlay>,
    /// Daemon sets.
    pub daemon_sets: Store<DaemonSet>,
    /// Claims on volumes.
    pub volume_claims: Store<PersistentVolumeClaim>,
    /// Volumes.
    pub volumes: Store<PersistentVolume>,
    /// Storage classes.
    pub storage_classes: Store<StorageClass>,
    /// How many volumes nodes can attach.
    pub csi_nodes: Store<CSINode>,
    /// Which volumes are attached to which nodes.
    pub attachments: Store<VolumeAttachment>,
    /// Namespaces.
    pub namespaces: Store<Namespace>,
    /// Limit ranges.
    pub limit_ranges: Store<LimitRange>,
    /// Priority classes.
    pub priority_classes: Store<PriorityClass>,
    /// Runtime classes.
    pub runtime_classes: Store<RuntimeClass>,
    /// Disruption budgets.
    pub disruption_budgets: Store<PodDisruptionBudget>,
}

/// Who is told that something changed.
#[derive(Clone, Debug)]
pub struct Bells {
    /// Claims to be looked at again.
    pub claims: UnboundedSender<ObjectRef<NodeClaim>>,
    /// Nodes to be looked at again.
    pub nodes: UnboundedSender<ObjectRef<Node>>,
    /// Pools to be looked at again.
    pub pools: UnboundedSender<ObjectRef<NodePool>>,
    /// A pod may have to be planned for.
    pub batch: Arc<Notify>,
    /// What was planned can't be had: the next plan is not to wait for more pods.
    pub urgent: Arc<AtomicBool>,
    /// A node may have to go: it may be empty, or has drifted.
    pub disruption: Arc<Notify>,
    /// A pool of static capacity may have too few nodes, or too many.
    pub replicas: Arc<Notify>,
    /// Overlays may change something else than before.
    pub overlays: Arc<Notify>,
}

/// The other end of the bells.
#[derive(Debug)]
pub struct Queues {
    /// Claims to be looked at again.
    pub claims: UnboundedReceiver<ObjectRef<NodeClaim>>,
    /// Nodes to be looked at again.
    pub nodes: UnboundedReceiver<ObjectRef<Node>>,
    /// Pools to be looked at again.
    pub pools: UnboundedReceiver<ObjectRef<NodePool>>,
}

impl Bells {
    /// Bells, and the queues that they fill.
    pub fn new() -> (Bells, Queues) {
        let (claims, claims_queue) = unbounded();
        let (nodes, nodes_queue) = unbounded();
        let (pools, pools_queue) = unbounded();
        let (batch, urgent, disruption, replicas, overlays) = Default::default();
        let bells = Bells { claims, nodes, pools, batch, urgent, disruption, replicas, overlays };
        (bells, Queues { claims: claims_queue, nodes: nodes_queue, pools: pools_queue })
    }

    // A queue that is closed belongs to a controller that has ended.

    fn claim(&self, claim: &NodeClaim) {
        let _ = self.claims.unbounded_send(ObjectRef::from_obj(claim));
    }

    fn node(&self, name: &str) {
        let _ = self.nodes.unbounded_send(ObjectRef::new(name));
    }

    /// A pool is to be looked at again.
    pub fn pool(&self, name: &str) {
        let _ = self.pools.unbounded_send(ObjectRef::new(name));
    }
}

impl Stores {
    /// Stores that fill as the future is polled, which rings the bells; that of NodeOverlays only if they count.
    pub fn watch(
        client: &Client,
        bells: &Bells,
        events: &Arc<PodEvents>,
        metrics: &Arc<Metrics>,
        node_overlay: bool,
    ) -> (Stores, BoxFuture<'static, ()>) {
        let mut watches = Vec::new();
        let (pods, pods_writer) = reflector::store();
        let (nodes, nodes_writer) = reflector::store();
        let (claims, claims_writer) = reflector::store();
        let (pools, pools_writer) = reflector::store();
        let (overlays, overlays_writer) = reflector::store();
        let stores = Stores {
            daemon_sets: quiet(client, bells, &mut watches),
            volume_claims: quiet(client, bells, &mut watches),
            volumes: quiet(client, bells, &mut watches),
            storage_classes: quiet(client, bells, &mut watches),
            csi_nodes: quiet(client, bells, &mut watches),
            attachments: quiet(client, bells, &mut watches),
            namespaces: quiet(client, bells, &mut watches),
            limit_ranges: quiet(client, bells, &mut watches),
            priority_classes: quiet(client, bells, &mut watches),
            runtime_classes: quiet(client, bells, &mut watches),
            disruption_budgets: quiet(client, bells, &mut watches),
            pods,
            nodes,
            claims,
            pools,
            overlays,
        };
        let living = Config::default().fields("status.phase!=Succeeded,status.phase!=Failed");
        let (known, ring, seen, counts) = (stores.clone(), bells.clone(), Arc::clone(events), Arc::clone(metrics));
        watches.push(reflect_thin(Api::all(client.clone()), living, pods_writer, pods::thin, move |event| {
            counted::pod(&known.pods, &counts, event);
            on_pod(&known, &ring, &seen, event)
        }));
        let (known, ring, counts) = (stores.clone(), bells.clone(), Arc::clone(metrics));
        watches.push(reflect(Api::all(client.clone()), Config::default(), nodes_writer, move |event| {
            counted::conditions(Kind::Node, &known.nodes, &counts, event, counted::of_node);
            on_node(&known, &ring, event)
        }));
        let (known, ring, counts) = (stores.clone(), bells.clone(), Arc::clone(metrics));
        watches.push(reflect(Api::all(client.clone()), Config::default(), claims_writer, move |event| {
            let of =
                |claim: &NodeClaim| counted::observed(claim.status.as_ref().and_then(|one| one.conditions.as_ref()));
            counted::conditions(Kind::Claim, &known.claims, &counts, event, of);
            on_claim(&known, &ring, event)
        }));
        let (known, ring, counts) = (stores.clone(), bells.clone(), Arc::clone(metrics));
        let mut generations = BTreeMap::new();
        watches.push(reflect(Api::all(client.clone()), Config::default(), pools_writer, move |event| {
            let of = |pool: &NodePool| counted::observed(pool.status.as_ref().and_then(|one| one.conditions.as_ref()));
            counted::conditions(Kind::Pool, &known.pools, &counts, event, of);
            on_pool(&known, &ring, &mut generations, event)
        }));
        let ring = bells.clone();
        if node_overlay {
            watches.push(reflect_if_served(client.clone(), overlays_writer, move |_: &Event<NodeOverlay>| {
                ring.batch.notify_one();
                ring.overlays.notify_one();
            }));
        }
        (stores, join_all(watches).map(drop).boxed())
    }

    /// Waits until everything was read for the first time.
    pub async fn ready(&self) {
        // An error means that the watch was dropped: then nobody waits for it either.
        let _ = futures::join!(
            self.pods.wait_until_ready(),
            self.nodes.wait_until_ready(),
            self.claims.wait_until_ready(),
            self.pools.wait_until_ready(),
            self.overlays.wait_until_ready(),
            self.daemon_sets.wait_until_ready(),
            self.volume_claims.wait_until_ready(),
            self.volumes.wait_until_ready(),
            self.storage_classes.wait_until_ready(),
            self.csi_nodes.wait_until_ready(),
            self.attachments.wait_until_ready(),
            self.namespaces.wait_until_ready(),
            self.limit_ranges.wait_until_ready(),
            self.priority_classes.wait_until_ready(),
            self.runtime_classes.wait_until_ready(),
            self.disruption_budgets.wait_until_ready(),
        );
    }

    /// The node of a claim's machine.
    pub fn node_of(&self, claim: &NodeClaim) -> Option<Arc<Node>> {
        let provider = claim.status.as_ref()?.provider_id.as_deref()?;
        self.nodes.find(|node| provider_id(node) == Some(provider))
    }

    /// All nodes that say that they run on a claim's machine; more than one is a fault of somebody's.
    pub fn nodes_of(&self, claim: &NodeClaim) -> Vec<Arc<Node>> {
        let provider = claim.status.as_ref().and_then(|status| status.provider_id.as_deref());
        self.nodes.state_filter(|node| provider.is_some() && provider_id(node) == provider)
    }

    /// The claim whose machine a node runs on.
    pub fn claim_of(&self, node: &Node) -> Option<Arc<NodeClaim>> {
        let provider = provider_id(node)?;
        self.claims
            .find(|claim| claim.status.as_ref().and_then(|status| status.provider_id.as_deref()) == Some(provider))
    }

    /// The node of a name.
    pub fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.nodes.get(&ObjectRef::new(name))
    }

    /// The pool that a claim belongs to.
    pub fn pool_of(&self, claim: &NodeClaim) -> Option<Arc<NodePool>> {
        self.pools.get(&ObjectRef::new(claim.labels().get(labels::NODE_POOL)?))
    }

    /// The claim whose place a claim is to take, as long as that one is there.
    pub fn replaced_by(&self, claim: &NodeClaim) -> Option<Arc<NodeClaim>> {
        self.claims.get(&ObjectRef::new(claim.annotations().get(labels::REPLACES)?))
    }

    /// Claims that are to take a claim's place, without those that end.
    pub fn replacements_of(&self, claim: &NodeClaim) -> Vec<Arc<NodeClaim>> {
        self.claims.state_filter(|other| {
            other.metadata.deletion_timestamp.is_none()
                && other.annotations().get(labels::REPLACES) == claim.metadata.name.as_ref()
        })
    }

    /// Waits until the watches have brought what was just written, but not for ever.
    pub async fn brought(&self, what: impl Fn(&Stores) -> bool) {
        let begin = Instant::now();
        while !what(self) && begin.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The pods on a node.
    pub fn pods_on(&self, node: &str) -> Vec<Arc<Pod>> {
        self.pods.state_filter(|pod| pods::node_of(pod) == Some(node))
    }
}

/// Whether a node's kubelet says that it is ready.
pub fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What a node says it is to its cloud.
pub fn provider_id(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.provider_id.as_deref().filter(|id| !id.is_empty())
}

/// A kind that changes what a plan may look like, and nothing else.
fn quiet<K>(client: &Client, bells: &Bells, watches: &mut Vec<BoxFuture<'static, ()>>) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let batch = Arc::clone(&bells.batch);
    watches.push(reflect(Api::all(client.clone()), Config::default(), writer, move |_| batch.notify_one()));
    store
}

fn on_pod(stores: &Stores, bells: &Bells, events: &PodEvents, event: &Event<Pod>) {
    let (pod, gone) = match event {
        Event::Apply(pod) | Event::InitApply(pod) => (pod, false),
        Event::Delete(pod) => (pod, true),
        Event::Init => return,
        Event::InitDone => return bells.batch.notify_one(),
    };
    let moved = events.saw(pod, gone, matches!(event, Event::InitApply(_)));
    if !gone && pods::is_provisionable(pod) {
        bells.batch.notify_one();
    }
    let Some(node) = pods::node_of(pod).filter(|_| moved).and_then(|name| stores.node(name)) else { return };
    if node.metadata.deletion_timestamp.is_some() {
        bells.node(&node.name_any());
    }
    if let Some(claim) = stores.claim_of(&node) {
        bells.claim(&claim);
    }
}

fn on_node(stores: &Stores, bells: &Bells, event: &Event<Node>) {
    if matches!(event, Event::InitDone) {
        return stores.nodes.state().iter().for_each(|node| bells.node(&node.name_any()));
    }
    let (Event::Apply(node) | Event::Delete(node)) = event else { return };
    bells.node(&node.name_any());
    if let Some(claim) = stores.claim_of(node) {
        bells.claim(&claim);
    }
    if let Some(pool) = node.labels().get(labels::NODE_POOL) {
        bells.pool(pool);
    }
}

fn on_claim(stores: &Stores, bells: &Bells, event: &Event<NodeClaim>) {
    if matches!(event, Event::InitDone) {
        return stores.claims.state().iter().for_each(|claim| bells.claim(claim));
    }
    let (Event::Apply(claim) | Event::Delete(claim)) = event else { return };
    bells.claim(claim);
    if let Some(node) = stores.node_of(claim) {
        bells.node(&node.name_any());
    }
    // A node whose replacement has failed is open again.
    if let Some(node) = stores.replaced_by(claim).and_then(|old| stores.node_of(&old)) {
        bells.node(&node.name_any());
    }
    if let Some(pool) = claim.labels().get(labels::NODE_POOL) {
        bells.pool(pool);
    }
    bells.disruption.notify_one();
    bells.replicas.notify_one();
    if matches!(event, Event::Delete(_)) {
        // What was planned onto it waits again, and there may be room below the pool's limits.
        bells.batch.notify_one();
    }
}

fn on_pool(stores: &Stores, bells: &Bells, generations: &mut BTreeMap<String, Option<i64>>, event: &Event<NodePool>) {
    match event {
        Event::Apply(pool) | Event::Delete(pool) => {
            let name = pool.name_any();
            bells.pool(&name);
            // What its claims are to be, and how long they rest; its status changes with each of them.
            let generation = pool.metadata.generation;
            if generations.insert(name.clone(), generation) != Some(generation) {
                let own = stores.claims.state_filter(|claim| claim.labels().get(labels::NODE_POOL) == Some(&name));
                own.iter().for_each(|claim| bells.claim(claim));
                bells.overlays.notify_one();
            }
        }
        Event::InitDone => stores.pools.state().iter().for_each(|pool| bells.pool(&pool.name_any())),
        Event::Init | Event::InitApply(_) => return,
    }
    bells.batch.notify_one();
    bells.disruption.notify_one();
    bells.replicas.notify_one();
}
