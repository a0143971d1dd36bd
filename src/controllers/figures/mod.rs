//! What metrics tell of the cluster as it is, read off the stores when somebody asks for it: no request is made for it, and
//! what is gone is not told.

mod conditions;
mod nodes;
mod offerings;
mod pods;
mod pools;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use supercargo_models::kubernetes::quantity::{self, Resources};

use super::context::{Context, lock};
use super::disruption::Change;
use crate::telemetry::Gauges;

/// All gauges of the cluster as it is now. Before it has been read (`since` is when that began, `read` whether it is over)
/// only that is told.
pub fn gauges(context: &Context, since: Instant, read: bool) -> Vec<Gauges> {
    let unsynced = if read { 0.0 } else { since.elapsed().as_secs_f64() };
    let mut all = vec![
        Gauges::single(
            "karpenter_cluster_state_synced",
            "Whether all objects of the cluster have been read",
            if read { 1.0 } else { 0.0 },
        ),
        Gauges::single("karpenter_cluster_state_unsynced_time_seconds", "For how long they have not been", unsynced),
    ];
    if !read {
        return all;
    }
    let now = context.now();
    let stores = &context.stores;
    let (there, claims, pods) = (stores.nodes.state(), stores.claims.state(), stores.pods.state());
    let market = context.market();
    all.extend(nodes::gauges(&there, &pods, &claims, now));
    all.extend(pods::gauges(&pods, &there, |uid| context.metrics.pod_waiting(uid), now));
    all.extend(pools::gauges(&stores.pools.state(), &claims, &market, now));
    all.extend(conditions::gauges(&stores.pools.state(), &claims, &there, now));
    let refused = lock(&context.refused).clone();
    all.push(rehearsed(&lock(&context.rehearsed).changes));
    all.extend(offerings::gauges(&market.full, |offer| refused.contains(offer, Instant::now())));
    all
}

/// What a dry run would change, in nodes.
fn rehearsed(changes: &[Change]) -> Gauges {
    let mut nodes: BTreeMap<[&str; 3], f64> = BTreeMap::new();
    for change in changes {
        *nodes.entry([change.node_pool.as_str(), change.action, change.reason]).or_default() += change.nodes as f64;
    }
    let mut gauges = Gauges::new("supercargo_dry_run_nodes", "Nodes that a dry run would end, or make for no pod");
    for ([pool, action, reason], nodes) in nodes {
        let labels = [("nodepool", pool), ("action", action), ("reason", reason)];
        gauges.add(labels.map(|(name, value)| (name, value.to_owned())).into(), nodes);
    }
    gauges
}

/// Amounts in cores, bytes and ones, each with the name that its resource has in labels.
fn amounts(amounts: &Resources) -> impl Iterator<Item = (String, f64)> {
    amounts.iter().map(|(resource, amount)| {
        let amount = *amount as f64;
        (resource_type(resource), if resource == "cpu" { amount / 1000.0 } else { amount })
    })
}

/// The same of a list as the API has it; what can't be read is left out.
fn listed(list: Option<&BTreeMap<String, Quantity>>) -> Resources {
    let read = |(resource, amount): (&String, &Quantity)| {
        Some((resource.clone(), quantity::parse_units(resource, &amount.0).ok()?))
    };
    list.into_iter().flatten().filter_map(read).collect()
}

/// `ephemeral-storage` as `ephemeral_storage`.
fn resource_type(resource: &str) -> String {
    resource.to_lowercase().replace('-', "_")
}

/// What a list holds by name.
fn by_name<K: kube::ResourceExt>(list: &[Arc<K>]) -> std::collections::HashMap<String, &K> {
    list.iter().map(|object| (object.name_any(), &**object)).collect()
}
