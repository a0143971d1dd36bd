//! The simulated cloud: machines are records in the cluster itself, and kwok plays their kubelets.
//!
//! A machine is a ConfigMap (label `supercargo.dev/kwok=machine`) named after the uid of its claim: creating it is one
//! request that either makes the machine or finds it made, and it outlives the program. After the boot delay the machine
//! becomes a node, once. A ConfigMap that is deleted is a machine that has failed. The ConfigMap `supercargo-kwok` (label
//! `supercargo.dev/kwok=faults`) says what is to go wrong: a machine that is to be taken back, or that takes its time to shut
//! down, bears the time of its end in its record.

mod faults;
mod machine;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
pub use faults::{FaultError, Faults, Pattern};
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::{DeleteParams, PostParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, reflector, watcher as watch};
use kube::{Api, Client, ResourceExt};
pub use machine::quantities;
use machine::{LABEL, MACHINE, PROVIDER, Record, record_name};
use serde_json::Value;
use supercargo_models::catalog::{Catalog, KubeletSettings};
use supercargo_models::kubernetes::NodeClassReference;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::class::{unready, usable};
use super::{ClaimKey, CloudError, CloudProvider, Launch, Machine, Offer, RepairPolicy, choices, repair_policies};
use crate::api::{KWOKNodeClass, NodeClaim};
use crate::labels;
use crate::watch::reflect;

/// Name of the ConfigMap that says what is to go wrong.
pub const FAULTS: &str = "supercargo-kwok";
/// Why a machine of an offering that is to drift has drifted.
const DRIFTED: &str = "MachineDrifted";
/// API group and kind of its node classes.
const CLASS: (&str, &str) = ("karpenter.kwok.sh", "KWOKNodeClass");

/// The simulated cloud.
pub struct Kwok {
    client: Client,
    namespace: String,
    catalog: Arc<Catalog>,
    flags: Faults,
    maps: Store<ConfigMap>,
    classes: Store<KWOKNodeClass>,
    /// Rung when a machine is to be taken back.
    warnings: Notify,
    /// The catalogue at the prices that were last asked for.
    priced: Mutex<(Faults, Arc<Catalog>)>,
}

impl Kwok {
    /// The cloud, whose records lie in `namespace`, and what has to be polled for as long as it is to work: its watches and
    /// the booting of its machines.
    pub fn new(
        client: Client,
        namespace: &str,
        catalog: Arc<Catalog>,
        flags: Faults,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + use<>) {
        let (maps, maps_writer) = reflector::store();
        let (classes, classes_writer) = reflector::store();
        let priced = Mutex::new((Faults::default(), Arc::clone(&catalog)));
        let cloud = Arc::new(Kwok {
            client: client.clone(),
            namespace: namespace.to_owned(),
            catalog,
            flags,
            maps,
            classes,
            warnings: Notify::new(),
            priced,
        });
        let selected = watcher::Config::default().labels(LABEL);
        let events = watch(Api::<ConfigMap>::namespaced(client.clone(), namespace), selected)
            .default_backoff()
            .modify(|map| map.managed_fields_mut().clear())
            .reflect(maps_writer);
        let of_classes = reflect(Api::all(client), watcher::Config::default(), classes_writer, |_| {});
        let boots = Arc::clone(&cloud).boot(events);
        (cloud, async move {
            futures::join!(boots, of_classes);
        })
    }

    /// Waits until records and classes were read for the first time.
    pub async fn ready(&self) {
        // The writers live as long as the future that `new` gives; without it there is nobody to wait for.
        let _ = self.maps.wait_until_ready().await;
        let _ = self.classes.wait_until_ready().await;
    }

    /// What goes wrong just now.
    fn behaviour(&self) -> Result<Faults, CloudError> {
        let key = ObjectRef::new(FAULTS).within(&self.namespace);
        match self.maps.get(&key).as_ref().and_then(|map| map.data.as_ref()) {
            Some(data) => {
                let named = |error| CloudError::Failed(format!("ConfigMap {}/{FAULTS}: {error}", self.namespace));
                self.flags.overlaid(data).map_err(named)
            }
            None => Ok(self.flags.clone()),
        }
    }

    fn records(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Boots every machine in its time, and takes back those that are to be interrupted.
    async fn boot(self: Arc<Self>, events: impl Stream<Item = watcher::Result<Event<ConfigMap>>> + Send) {
        let mut booting = JoinSet::new();
        let mut events = std::pin::pin!(events);
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                Some(_) = booting.join_next() => continue,
            };
            match event {
                Some(Ok(Event::Apply(map) | Event::InitApply(map))) => {
                    let Some(record) = Record::read(&map) else {
                        // It may be what says who is to be interrupted.
                        self.warn_all(&mut booting);
                        continue;
                    };
                    if record.ends().is_some() {
                        self.warnings.notify_one();
                    }
                    if let Some(over) = record.over() {
                        booting.spawn(Arc::clone(&self).end(map.clone(), over));
                    } else if self.is_interrupted(&record) {
                        booting.spawn(Arc::clone(&self).warn(map.clone(), record.clone()));
                    }
                    if let Some(boots) = record.boots() {
                        booting.spawn(Arc::clone(&self).boot_one(map, record, boots));
                    }
                }
                Some(Ok(Event::InitDone)) => self.warn_all(&mut booting),
                Some(Ok(_)) => {}
                Some(Err(error)) => warn!("watching the records of the kwok cloud: {error}"),
                None => return,
            }
        }
    }

    fn is_interrupted(&self, record: &Record) -> bool {
        // Faults that can't be read are told where a machine is asked for.
        self.behaviour().is_ok_and(|behaviour| behaviour.interrupts(&record.machine().offering))
    }

    fn warn_all(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        for map in self.maps.state() {
            if let Some(record) =
                Record::read(&map).filter(|record| record.over().is_none() && self.is_interrupted(record))
            {
                tasks.spawn(Arc::clone(self).warn((*map).clone(), record));
            }
        }
    }

    /// Writes into a machine's record when it is taken back.
    async fn warn(self: Arc<Self>, map: ConfigMap, record: Record) {
        let Ok(behaviour) = self.behaviour() else { return };
        let ends = Timestamp::now().checked_add(behaviour.notice).unwrap_or(Timestamp::MAX);
        let Ok(mut ending) = record.ending(ends).config_map(&self.namespace) else { return };
        ending.metadata.resource_version.clone_from(&map.metadata.resource_version);
        match self.records().replace(&map.name_any(), &PostParams::default(), &ending).await {
            Ok(_) => info!(machine = map.name_any(), "kwok: to be taken back in {} s", behaviour.notice.as_secs()),
            // Changed meanwhile, which brings a call of its own, or gone.
            Err(error) if matches!(code(&error), Some(404 | 409)) => {}
            Err(error) => warn!(machine = map.name_any(), "interrupting: {error}"),
        }
    }

    /// Ends a machine at its time.
    async fn end(self: Arc<Self>, map: ConfigMap, over: Timestamp) {
        tokio::time::sleep(Duration::try_from(over.duration_since(Timestamp::now())).unwrap_or_default()).await;
        while self.maps.get(&ObjectRef::from_obj(&map)).is_some_and(|now| now.uid() == map.uid()) {
            match self.records().delete(&map.name_any(), &DeleteParams::default()).await {
                Ok(_) => return info!(machine = map.name_any(), "kwok: gone"),
                Err(error) if code(&error) == Some(404) => return,
                Err(error) => warn!(machine = map.name_any(), "ending: {error}"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Writes into a machine's record when it is gone, unless that is known already.
    async fn shut_down(&self, name: &str, delay: Duration) -> kube::Result<()> {
        let map = self.records().get(name).await?;
        let Some(record) = Record::read(&map) else {
            // There is no machine in it.
            return self.records().delete(name, &DeleteParams::default()).await.map(|_| ());
        };
        if record.is_shutting_down() {
            return Ok(());
        }
        let gone = Timestamp::now().checked_add(delay).unwrap_or(Timestamp::MAX);
        let mut ending = record.shutting_down(gone).config_map(&self.namespace).map_err(kube::Error::SerdeError)?;
        ending.metadata.resource_version = map.metadata.resource_version;
        self.records().replace(name, &PostParams::default(), &ending).await?;
        info!(machine = name, "kwok: shuts down for {} s", delay.as_secs());
        Ok(())
    }

    async fn boot_one(self: Arc<Self>, map: ConfigMap, record: Record, boots: Timestamp) {
        tokio::time::sleep(Duration::try_from(boots.duration_since(Timestamp::now())).unwrap_or_default()).await;
        loop {
            // Ended, or changed while it booted: that change brings a call of its own.
            let current = self.maps.get(&ObjectRef::from_obj(&map));
            if current.is_none_or(|current| current.metadata.resource_version != map.metadata.resource_version) {
                return;
            }
            match self.become_node(&map, &record).await {
                Ok(()) => return,
                Err(error) => warn!(machine = map.name_any(), "booting: {error}"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Makes the node, then notes that it is made. Repeated after a failure it finds the node made.
    async fn become_node(&self, map: &ConfigMap, record: &Record) -> Result<(), CloudError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = record.node();
        match nodes.create(&PostParams::default(), &node).await {
            Ok(_) => debug!(node = node.name_any(), "booted"),
            Err(error) if code(&error) == Some(409) => {}
            Err(error) => return Err(failed(&error)),
        }
        let mut booted = record.clone().booted().config_map(&self.namespace).map_err(|error| failed(&error))?;
        booted.metadata.resource_version.clone_from(&map.metadata.resource_version);
        match self.records().replace(&map.name_any(), &PostParams::default(), &booted).await {
            Ok(_) => Ok(()),
            // Its end came in between: a machine that is gone has no node.
            Err(error) if code(&error) == Some(404) => {
                match nodes.delete(&node.name_any(), &DeleteParams::default()).await {
                    Err(error) if code(&error) != Some(404) => Err(failed(&error)),
                    _ => Ok(()),
                }
            }
            // Someone else booted it.
            Err(error) if code(&error) == Some(409) => Ok(()),
            Err(error) => Err(failed(&error)),
        }
    }

    fn class(&self, reference: Option<&NodeClassReference>) -> Result<Arc<KWOKNodeClass>, CloudError> {
        let Some(reference) = reference else {
            return Err(unready("NodeClassNotFound", "no class is named".into()));
        };
        let NodeClassReference { group, kind, name } = reference;
        if !self.makes(reference) {
            return Err(unready("NodeClassNotReady", format!("{kind} {name} of {group} is none of the kwok cloud")));
        }
        usable(&self.classes, name, |class| class.status.as_ref()?.conditions.as_ref())
    }

    /// The record of a claim's machine, from the API server itself.
    async fn record(&self, claim: &ClaimKey) -> Result<Record, CloudError> {
        let map = self.records().get_opt(&record_name(&claim.uid)).await.map_err(|error| failed(&error))?;
        map.as_ref().and_then(Record::read).ok_or(CloudError::NotFound)
    }
}

#[async_trait]
impl CloudProvider for Kwok {
    fn name(&self) -> &'static str {
        "kwok"
    }

    async fn create(&self, claim: &NodeClaim, catalog: &Catalog) -> Result<Launch, CloudError> {
        match self.record(&ClaimKey::of(claim)).await {
            Err(CloudError::NotFound) => {}
            found => return found.map(|record| record.machine().into()),
        }
        let mut behaviour = self.behaviour()?;
        let class = self.class(claim.spec.template.node_class_ref.as_ref())?;
        if let Some(delay) = class.spec.node_registration_delay.as_deref().and_then(crate::duration::parse) {
            behaviour.boot_delay = delay;
        }
        if let Some(words) = behaviour.failure {
            return Err(CloudError::Failed(words));
        }
        let choices = choices(catalog, claim, &KubeletSettings::default())?;
        let Some(first) = choices.iter().position(|choice| !behaviour.refuses(&choice.offer)) else {
            let message = match choices.len() {
                0 => "no offering satisfies the claim's requirements and requests".to_owned(),
                count => format!("none of {count} offerings can be had, {} the first of them", choices[0].offer),
            };
            let refused = choices.into_iter().map(|choice| choice.offer).collect();
            return Err(CloudError::InsufficientCapacity { refused, message });
        };
        let choice = &choices[first];
        let delay = if behaviour.never_boots { Duration::MAX } else { behaviour.boot_delay };
        let record = Record::new(claim, choice, Timestamp::now(), delay);
        let map = record.config_map(&self.namespace).map_err(|error| failed(&error))?;
        match self.records().create(&PostParams::default(), &map).await {
            Ok(_) => {
                info!(claim = claim.name_any(), "kwok: {} for ${:.4}/h", choice.offer, choice.price);
                let refused = choices[..first].iter().map(|choice| choice.offer.clone()).collect();
                Ok(Launch { machine: record.machine(), refused })
            }
            Err(error) if code(&error) == Some(409) => Ok(self.record(&ClaimKey::of(claim)).await?.machine().into()),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn delete(&self, claim: &ClaimKey) -> Result<(), CloudError> {
        let name = record_name(&claim.uid);
        // Faults that can't be read are told where a machine is asked for.
        let delay = self.behaviour().map_or(self.flags.shutdown_delay, |behaviour| behaviour.shutdown_delay);
        let seen = self.maps.get(&ObjectRef::new(&name).within(&self.namespace));
        let shuts_down = seen.and_then(|map| Record::read(&map)).is_some_and(|record| record.is_shutting_down());
        let asked = match delay.is_zero() && !shuts_down {
            true => self.records().delete(&name, &DeleteParams::default()).await.map(|_| ()),
            false => self.shut_down(&name, delay).await,
        };
        match asked {
            Err(error) if code(&error) == Some(404) => Err(CloudError::NotFound),
            Err(error) => Err(failed(&error)),
            Ok(()) => Ok(()),
        }
    }

    async fn get(&self, claim: &ClaimKey) -> Result<Machine, CloudError> {
        self.record(claim).await.map(|record| record.machine())
    }

    async fn list(&self) -> Result<Vec<Machine>, CloudError> {
        let machines = |map: &Arc<ConfigMap>| map.labels().get(LABEL).is_some_and(|value| value == MACHINE);
        let records = self.maps.state().into_iter().filter(machines).filter_map(|map| Record::read(&map));
        Ok(records.map(|record| record.machine()).collect())
    }

    fn makes(&self, class: &NodeClassReference) -> bool {
        (class.group.as_str(), class.kind.as_str()) == CLASS
    }

    fn names(&self, provider_id: &str) -> bool {
        provider_id.starts_with(PROVIDER)
    }

    fn catalog(&self) -> Arc<Catalog> {
        let Some(faults) = self.behaviour().ok().filter(|faults| !faults.prices.is_empty()) else {
            return Arc::clone(&self.catalog);
        };
        let mut priced = self.priced.lock().unwrap_or_else(PoisonError::into_inner);
        if priced.0.prices != faults.prices {
            *priced = (faults.clone(), Arc::new(faults.priced(&self.catalog)));
        }
        Arc::clone(&priced.1)
    }

    fn interrupted(&self) -> Vec<ClaimKey> {
        let ending = |map: &Arc<ConfigMap>| Record::read(map).filter(|record| record.ends().is_some());
        self.maps.state().iter().filter_map(ending).map(|record| record.machine().claim).collect()
    }

    async fn interruption(&self) {
        self.warnings.notified().await;
    }

    fn node_class(&self, reference: &NodeClassReference) -> Result<Value, CloudError> {
        serde_json::to_value(&*self.class(Some(reference))?).map_err(|error| failed(&error))
    }

    async fn drifted(&self, claim: &NodeClaim) -> Result<Option<String>, CloudError> {
        // Its classes say nothing that a machine could drift from, so only who asks for it gets it.
        let label = |key: &str| claim.labels().get(key).cloned().unwrap_or_default();
        let offer = Offer {
            instance_type: label(labels::INSTANCE_TYPE),
            zone: label(labels::ZONE),
            capacity_type: label(labels::CAPACITY_TYPE),
        };
        Ok(self.behaviour()?.drifts(&offer).then(|| DRIFTED.to_owned()))
    }

    fn repair_policies(&self) -> Vec<RepairPolicy> {
        let mut policies = repair_policies();
        // Faults that can't be read are told where a machine is asked for.
        if let Some(patience) = self.behaviour().ok().and_then(|behaviour| behaviour.repair_after) {
            policies.iter_mut().for_each(|policy| policy.patience = patience);
        }
        policies
    }
}

fn failed(error: &dyn std::error::Error) -> CloudError {
    CloudError::Failed(error.to_string())
}

/// The HTTP status that the API server answered with.
fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}
