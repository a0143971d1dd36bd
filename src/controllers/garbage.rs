//! Claims whose machine is gone, machines whose claim is gone, and nodes without either.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::DeleteParams;
use tracing::{info, warn};

use super::conditions::{self, LAUNCHED, REGISTERED};
use super::context::{Context, Error};
use super::stores;
use crate::cloud::{ClaimKey, CloudError};
use crate::labels;

/// What is younger may just not have been written down yet.
const YOUNG: Duration = Duration::from_secs(10);

/// Compares claims, machines and nodes for ever.
pub async fn run(context: Arc<Context>) {
    loop {
        if let Err(error) = collect(&context).await {
            warn!("comparing claims with machines: {error}");
        }
        tokio::time::sleep(context.settings.collection_period).await;
    }
}

async fn collect(context: &Context) -> Result<(), Error> {
    let now = context.now();
    let young = |then| Duration::try_from(now.duration_since(then)).is_ok_and(|age| age < YOUNG);
    let machines = context.cloud.list().await?;
    let claims = context.stores.claims.state();
    let alive: BTreeSet<&str> = machines.iter().map(|machine| machine.claim.uid.as_str()).collect();
    for claim in claims.iter().filter(|claim| context.carries(claim)) {
        let key = ClaimKey::of(claim);
        let Some(launched) = conditions::true_since(claim, LAUNCHED) else { continue };
        let registered = conditions::true_since(claim, REGISTERED);
        if claim.metadata.deletion_timestamp.is_none()
            && registered.is_some_and(|registered| !young(registered))
            && context.stores.node_of(claim).is_none()
        {
            info!(claim = key.name, "its node is gone");
            context.delete_claim(claim, "garbage_collected").await?;
            continue;
        }
        if claim.metadata.deletion_timestamp.is_some() || alive.contains(key.uid.as_str()) || young(launched) {
            continue;
        }
        // A list may be old; an answer about this machine is not.
        if matches!(context.cloud.get(&key).await, Err(CloudError::NotFound)) {
            info!(claim = key.name, "its machine is gone");
            context.delete_claim(claim, "garbage_collected").await?;
        }
    }
    let known: BTreeSet<String> = claims.iter().filter_map(|claim| claim.uid()).collect();
    for machine in machines.iter().filter(|machine| !known.contains(&machine.claim.uid) && !young(machine.launched)) {
        let there = context.claims().get_opt(&machine.claim.name).await?;
        if there.is_some_and(|claim| claim.uid().as_deref() == Some(machine.claim.uid.as_str())) {
            continue;
        }
        info!(claim = machine.claim.name, "a machine without a claim: {}", machine.offering);
        match context.cloud.delete(&machine.claim).await {
            Ok(()) | Err(CloudError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let providers: BTreeSet<&str> = machines.iter().map(|machine| machine.provider_id.as_str()).collect();
    for node in context.stores.nodes.state() {
        let ours = node.labels().contains_key(labels::NODE_POOL)
            || node
                .spec
                .iter()
                .flat_map(|spec| spec.taints.iter().flatten())
                .any(|taint| taint.key == labels::UNREGISTERED);
        let created = node.metadata.creation_timestamp.as_ref().map(|time| time.0);
        // Those of another cloud are not ours to judge.
        let lost = stores::provider_id(&node).is_some_and(|id| context.cloud.names(id) && !providers.contains(id));
        if !ours || !lost || node.metadata.deletion_timestamp.is_some() || created.is_none_or(young) {
            continue;
        }
        if context.stores.claim_of(&node).is_none() {
            info!(node = node.name_any(), "a node without a machine and without a claim");
            match context.nodes().delete(&node.name_any(), &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
        }
    }
    Ok(())
}
