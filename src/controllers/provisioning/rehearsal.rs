//! What a dry run does with a plan of what to buy: it tells, and acts on nothing.
//!
//! Each plan that differs from the one before is written to a ConfigMap, and its pods and pools are told by events. The pods
//! keep waiting, for whoever buys machines in this cluster; they are planned anew when others come, and from time to time.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Patch, PatchParams};
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use supercargo_models::plan::{Plan, PlannedNode};

use super::super::context::{Context, Error, lock};
use super::claim::offer_of;
use super::words::{Cost, alike};
use super::{by_name, place_of, tell};
use crate::api::NodePool;
use crate::report::words::headline;

/// The ConfigMap that holds the last plan.
pub const PLAN: &str = "supercargo-plan";
/// Who writes what is to be bought, for server-side apply.
const MANAGER: &str = "supercargo-dry-run";
/// Reason of all events.
pub const REASON: &str = "DryRun";
/// A ConfigMap holds a MiB (<https://kubernetes.io/docs/concepts/configuration/configmap/>); some of it is the rest of it, and
/// what would be changed besides.
const MOST_BYTES: usize = 800_000;

/// Tells of a plan, unless it is the one that was told last.
pub(super) async fn publish(
    context: &Arc<Context>,
    namespace: &str,
    waiting: &[Arc<Pod>],
    pools: &BTreeMap<String, Arc<NodePool>>,
    plan: &Plan,
) -> Result<(), Error> {
    // They wait for others, and are asked after again as such that found no place.
    lock(&context.pins).put_unplaced(waiting.iter().filter_map(|pod| pod.uid()).collect());
    let decision = json!([plan.nodes, plan.existing_nodes, plan.unschedulable]).to_string();
    lock(&context.rehearsed).taken = plan.existing_nodes.iter().map(|node| place_of(context, &node.name)).collect();
    if lock(&context.rehearsed).plan == decision {
        return Ok(());
    }
    write(context, namespace, MANAGER, json!({"summary": headline(plan), "plan.json": text(plan)?})).await?;
    lock(&context.rehearsed).plan = decision;
    let pods = by_name(waiting);
    let about = |name: &String, type_, note| Some((Arc::clone(pods.get(name)?), type_, REASON, note));
    let bought = plan.nodes.iter().flat_map(|node| {
        let note = format!("would be planned onto a new {} of NodePool {}", offer_of(node), node.node_pool);
        node.pods.iter().filter_map(move |name| about(name, EventType::Normal, note.clone()))
    });
    let there = plan.existing_nodes.iter().flat_map(|node| {
        let note = format!("would be planned onto {}, which is there or to come", node.name);
        node.pods.iter().filter_map(move |name| about(name, EventType::Normal, note.clone()))
    });
    let left = plan.unschedulable.iter();
    let left = left.filter_map(|one| about(&one.pod, EventType::Warning, one.reason.clone()));
    tell(context, bought.chain(there).chain(left).collect());
    for (pool, note) in notes(&plan.nodes, Cost::of(plan)) {
        if let Some(pool) = pools.get(pool) {
            context.tell(&**pool, EventType::Normal, REASON, note).await;
        }
    }
    Ok(())
}

/// Says that nothing waits, unless that was said last.
pub(super) async fn publish_nothing(context: &Context, namespace: &str) -> Result<(), Error> {
    lock(&context.rehearsed).taken.clear();
    if lock(&context.rehearsed).plan.is_empty() {
        return Ok(());
    }
    write(context, namespace, MANAGER, json!({"summary": "no pods wait"})).await?;
    lock(&context.rehearsed).plan.clear();
    Ok(())
}

/// Writes a part of the ConfigMap: the keys that this manager has written before, and no others, are replaced.
///
/// # Errors
/// If the API server fails.
pub async fn write(context: &Context, namespace: &str, manager: &str, data: Value) -> Result<(), Error> {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": PLAN}, "data": data});
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
    api.patch(PLAN, &PatchParams::apply(manager).force(), &Patch::Apply(map)).await?;
    Ok(())
}

/// The plan as JSON; without the names of pods and without substitutes where it would be too long.
fn text(plan: &Plan) -> Result<String, Error> {
    let text = |plan: &Plan| serde_json::to_string_pretty(plan).map_err(|error| Error::Object(error.to_string()));
    let whole = text(plan)?;
    if whole.len() <= MOST_BYTES {
        return Ok(whole);
    }
    let mut short = plan.clone();
    for node in &mut short.nodes {
        node.pods.clear();
        node.alternatives.clear();
    }
    short.existing_nodes.iter_mut().for_each(|node| node.pods.clear());
    short.notes.push(
        "the names of pods and the substitutes of nodes are left out: the plan is too long for a ConfigMap".into(),
    );
    text(&short)
}

/// By pool: what it would buy.
fn notes(nodes: &[PlannedNode], cost: Cost) -> BTreeMap<&str, String> {
    let mut notes: BTreeMap<&str, String> = BTreeMap::new();
    for ((pool, offer), (count, pods, price)) in alike(nodes.iter()) {
        let note = notes.entry(pool).or_insert_with(|| "would buy".to_owned());
        let joint = if note.ends_with("buy") { " " } else { ", " };
        *note += &format!("{joint}{count}x {offer} for {pods} pods: {}", cost.words(price));
    }
    notes
}
