//! Machines that the cloud takes back: their nodes are emptied while there is time, and their pods planned elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::runtime::events::EventType;
use tracing::{info, warn};

use super::context::{Context, Error, lock};
use crate::api::NodeClaim;
use crate::cloud::{ClaimKey, Offer};
use crate::labels;

/// How soon what failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Reason of the events, as Karpenter's (<https://karpenter.sh/docs/concepts/disruption/#interruption>).
const REASON: &str = "SpotInterrupted";

/// Ends the claims of such machines for ever.
pub async fn run(context: Arc<Context>) {
    loop {
        // Before the first wait: the warning may have come to a leader that is no more.
        match end_all(&context).await {
            Ok(()) => context.cloud.interruption().await,
            Err(error) => {
                warn!("emptying machines that are taken back: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn end_all(context: &Context) -> Result<(), Error> {
    for key in context.cloud.interrupted() {
        let claim = context.stores.claims.find(|claim| ClaimKey::of(claim) == key);
        if let Some(claim) = claim.filter(|claim| claim.metadata.deletion_timestamp.is_none()) {
            end(&claim, context).await?;
        }
    }
    Ok(())
}

async fn end(claim: &NodeClaim, context: &Context) -> Result<(), Error> {
    let name = claim.name_any();
    let label = |key: &str| claim.labels().get(key).cloned();
    let offer = match (label(labels::INSTANCE_TYPE), label(labels::ZONE), label(labels::CAPACITY_TYPE)) {
        (Some(instance_type), Some(zone), Some(capacity_type)) => Some(Offer { instance_type, zone, capacity_type }),
        _ => None,
    };
    if let Some(offer) = &offer {
        // What is taken back now would be taken back again.
        lock(&context.refused).add(std::slice::from_ref(offer), Instant::now());
        info!(claim = name, "interrupted: {offer} is taken back");
    }
    let note = "the cloud takes the machine back: its node is emptied";
    context.tell(claim, EventType::Warning, REASON, note.to_owned()).await;
    if let Some(node) = context.stores.node_of(claim) {
        context.tell(&*node, EventType::Warning, REASON, note.to_owned()).await;
    }
    context.delete_claim(claim, "spot_interrupted").await
}
