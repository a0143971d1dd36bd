//! One watch a kind, which keeps a store filled.

use std::fmt::Debug;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tracing::warn;

/// kubectl's copy of what was applied: as large as the object, and nothing reads it here.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Keeps a store filled for as long as the future is polled, and tells of each event after it was stored; what a first or
/// later reading of all objects brings is stored with its `InitDone`.
pub fn reflect<K>(
    api: Api<K>,
    config: Config,
    writer: Writer<K>,
    tell: impl FnMut(&Event<K>) + Send + 'static,
) -> BoxFuture<'static, ()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    reflect_thin(api, config, writer, |_| {}, tell)
}

/// [`reflect`] of objects from which `thin` takes away what nobody reads: it is most of the memory of a large cluster.
pub fn reflect_thin<K>(
    api: Api<K>,
    config: Config,
    writer: Writer<K>,
    thin: impl Fn(&mut K) + Send + 'static,
    mut tell: impl FnMut(&Event<K>) + Send + 'static,
) -> BoxFuture<'static, ()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    watcher(api, config)
        .default_backoff()
        .modify(move |object| {
            object.managed_fields_mut().clear();
            object.annotations_mut().remove(LAST_APPLIED);
            thin(object);
        })
        .reflect(writer)
        .for_each(move |event| {
            match event {
                Ok(event) => tell(&event),
                Err(error) => warn!("watching {}: {error}", K::plural(&())),
            }
            std::future::ready(())
        })
        .boxed()
}
