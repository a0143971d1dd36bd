//! From a claim to a machine.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use serde_json::json;
use tracing::{info, warn};

use super::super::conditions::{Conditions, INITIALIZED, Known, LAUNCHED, REGISTERED};
use super::super::context::{Context, Error, lock};
use super::super::overlays::Market;
use super::super::provisioning::Cost;
use super::registration::NOT_JOINED;
use super::write;
use crate::api::NodeClaim;
use crate::cloud::{CloudError, Launch, Machine, Offer, kwok::quantities};
use crate::labels;

/// Asks the cloud for the claim's machine and writes down what it got. Both may be repeated: the cloud gives a claim one
/// machine, and `Launched` is written last.
pub(super) async fn launch(claim: &NodeClaim, context: &Context, now: Timestamp) -> Result<Action, Error> {
    let market = context.market();
    match context.cloud.create(claim, market.of_claim(claim)).await {
        Ok(Launch { machine, refused }) => {
            if let Some(first) = refused.first() {
                // The next plan is made without them.
                lock(&context.refused).add(&refused, Instant::now());
                let others = match refused.len() - 1 {
                    0 => String::new(),
                    count => format!(" and {count} others"),
                };
                info!(claim = claim.name_any(), "refused: {first}{others}; {} in its place", machine.offering);
            }
            launched(claim, context, &machine, &market, now).await?;
            Ok(Action::await_change())
        }
        Err(CloudError::InsufficientCapacity { refused, message }) => {
            info!(claim = claim.name_any(), "refused: {message}; planning anew");
            context.tell(claim, EventType::Warning, "InsufficientCapacityError", message).await;
            lock(&context.refused).add(&refused, Instant::now());
            context.metrics.launch_refused(claim);
            give_back(claim, context, "insufficient_capacity").await
        }
        Err(CloudError::ClassNotReady { message, .. }) => {
            warn!(claim = claim.name_any(), "the node class is not ready: {message}");
            context.tell(claim, EventType::Warning, "NodeClassNotReady", message).await;
            give_back(claim, context, "nodeclass_not_ready").await
        }
        Err(error) => {
            let mut conditions = Conditions::of(claim, now);
            conditions.set(LAUNCHED, Known::Unknown, "LaunchFailed", &error.to_string());
            write(claim, context, conditions, json!({})).await?;
            Err(error.into())
        }
    }
}

/// Ends a claim that can't be launched, and has its pods planned at once.
async fn give_back(claim: &NodeClaim, context: &Context, reason: &str) -> Result<Action, Error> {
    context.delete_claim(claim, reason).await?;
    // A plan that still counts on it would put its pods there again, and the next one waits for a batch.
    let is_ending = |claim: Arc<NodeClaim>| claim.metadata.deletion_timestamp.is_some();
    context.stores.brought(|stores| stores.claims.get(&ObjectRef::from_obj(claim)).is_none_or(is_ending)).await;
    lock(&context.pins).release(&claim.name_any());
    context.bells.urgent.store(true, Ordering::Relaxed);
    context.bells.batch.notify_one();
    Ok(Action::await_change())
}

/// `1x c7i.2xlarge spot us-east-1b for 31 pods: $0.4100/h, bound $0.4000/h`, as far as it is known.
fn words(offer: &Offer, price: Option<f64>, planned_for: Option<(usize, Cost)>) -> String {
    match (price, planned_for) {
        (Some(price), Some((pods, cost))) => format!("1x {offer} for {pods} pods: {}", cost.words(price)),
        (Some(price), None) => format!("1x {offer}: ${price:.4}/h"),
        (None, Some((pods, _))) => format!("1x {offer} for {pods} pods"),
        (None, None) => format!("1x {offer}"),
    }
}

async fn launched(
    claim: &NodeClaim,
    context: &Context,
    machine: &Machine,
    market: &Market,
    now: Timestamp,
) -> Result<(), Error> {
    let mut own = machine.labels.clone();
    // What a requirement leaves a single value for is what the node will bear.
    for one in &claim.spec.template.requirements {
        if let ("In", Some([value])) = (one.operator.as_str(), one.values.as_deref()) {
            own.entry(one.key.clone()).or_insert_with(|| value.clone());
        }
    }
    own.retain(|key, value| claim.labels().get(key) != Some(value));
    let claim = match own.is_empty() {
        true => claim.clone(),
        false => context.patch_claim(claim, json!({"metadata": {"labels": own}})).await?,
    };
    let mut conditions = Conditions::of(&claim, now);
    conditions.achieve(LAUNCHED);
    conditions.set(REGISTERED, Known::Unknown, "NodeNotFound", NOT_JOINED);
    conditions.set(INITIALIZED, Known::Unknown, "NodeNotFound", NOT_JOINED);
    let fields = json!({
        "providerID": machine.provider_id,
        "imageID": machine.image_id,
        "capacity": quantities(&machine.capacity),
        "allocatable": quantities(&machine.allocatable),
    });
    write(&claim, context, conditions, fields).await?;
    context.metrics.claim_launched(&claim);
    let extra = lock(&context.pins).take_extra(&claim.name_any());
    let bought = market.price(&claim, &machine.offering);
    let planned_for = lock(&context.pins).take_cost(&claim.name_any());
    info!(claim = claim.name_any(), "launched {}", words(&machine.offering, bought, planned_for));
    let planned = claim.annotations().get(labels::PLANNED).and_then(|text| Offer::parse(text));
    // What was not planned, such as a claim that someone made by hand, has no planned cost to be compared with.
    if let (Some(planned), Some(bought)) = (planned.and_then(|offer| market.price(&claim, &offer)), bought) {
        context.metrics.cost(if extra { 0.0 } else { planned }, bought);
    }
    context.tell(&claim, EventType::Normal, "Launched", machine.offering.to_string()).await;
    Ok(())
}
