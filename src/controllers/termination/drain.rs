//! Asking pods to leave a node, by the Eviction API, which keeps their disruption budgets.

use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, EvictParams, Preconditions};
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};
use tracing::{debug, warn};

use super::super::context::{Context, Error};
use super::eviction::step;

/// Evictions that are asked for at once.
const AT_ONCE: usize = 16;

/// Does the next step of a drain; how many pods it waits for.
pub(super) async fn drain(
    node: &Node,
    deadline: Option<Timestamp>,
    context: &Context,
    now: Timestamp,
) -> Result<usize, Error> {
    let pods = context.stores.pods_on(&node.name_any());
    let step = step(&pods, deadline, now);
    for (pod, seconds) in &step.delete {
        delete(pod, *seconds, context).await?;
    }
    let evictions = stream::iter(step.evict).map(|pod| evict(pod, context));
    evictions.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    Ok(step.left)
}

/// A pod that can't leave now is asked again at the next step.
async fn evict(pod: &Pod, context: &Context) {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &pod.namespace().unwrap_or_default());
    let same = DeleteParams {
        preconditions: Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None }),
        ..DeleteParams::default()
    };
    let name = pod.name_any();
    match pods.evict(&name, &EvictParams { delete_options: Some(same), ..EvictParams::default() }).await {
        Ok(_) => {
            debug!(pod = name, "evicted");
            context.metrics.eviction_requested(200);
            context.tell(pod, EventType::Normal, "Evicted", "its node is to be removed".into()).await;
        }
        Err(kube::Error::Api(status)) => {
            context.metrics.eviction_requested(status.code);
            match status.code {
                // Gone, or another one of that name.
                404 | 409 => {}
                // A disruption budget says no.
                429 => {
                    debug!(pod = name, "not evicted: {}", status.message);
                    context.tell(pod, EventType::Warning, "FailedDraining", status.message.clone()).await;
                }
                _ => warn!(pod = name, "not evicted: {}", status.message),
            }
        }
        Err(error) => warn!(pod = name, "not evicted: {error}"),
    }
}

/// Deletes a pod whose time is over, whatever its budget says.
async fn delete(pod: &Pod, seconds: i64, context: &Context) -> Result<(), Error> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &pod.namespace().unwrap_or_default());
    let same = DeleteParams {
        grace_period_seconds: Some(u32::try_from(seconds).unwrap_or(0)),
        preconditions: Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None }),
        ..DeleteParams::default()
    };
    match pods.delete(&pod.name_any(), &same).await {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}
