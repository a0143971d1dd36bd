//! One watch a kind, which keeps a store filled.

use std::fmt::Debug;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tracing::{info, warn};

/// kubectl's copy of what was applied: as large as the object, and nothing reads it here.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// How often to look whether the cluster serves a kind by now.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// [`reflect`] of a kind that the cluster may do without: as long as it is not served the store is empty.
pub fn reflect_if_served<K>(
    client: Client,
    mut writer: Writer<K>,
    tell: impl FnMut(&Event<K>) + Send + 'static,
) -> BoxFuture<'static, ()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    async move {
        if !is_served::<K>(&client).await {
            info!("the cluster does not serve {}: they are watched as soon as it does", K::plural(&()));
            // Whoever waits for the first reading has nothing to wait for.
            writer.apply_watcher_event(&Event::Init);
            writer.apply_watcher_event(&Event::InitDone);
            while !is_served::<K>(&client).await {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            info!("the cluster serves {} by now", K::plural(&()));
        }
        reflect(Api::all(client), Config::default(), writer, tell).await;
    }
    .boxed()
}

async fn is_served<K: Resource<DynamicType = ()>>(client: &Client) -> bool {
    let served = client.list_api_group_resources(&K::api_version(&())).await;
    served.is_ok_and(|served| served.resources.iter().any(|one| one.name == K::plural(&())))
}

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
