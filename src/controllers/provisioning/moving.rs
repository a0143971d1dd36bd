//! Where the pods of nodes that are to end can run, and the claims for what more they need.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use supercargo_models::plan::{Plan, PlannedNode};

use super::super::conditions::{self, INITIALIZED};
use super::super::context::{Context, Error};
use super::super::pods;
use super::{Place, claim, place_of, plan, question, ready_pools, seen};
use crate::api::NodeClaim;
use crate::labels;

/// Nodes that are thought away.
#[derive(Clone, Debug, Default)]
pub struct Without {
    /// Nodes whose pods are to run elsewhere.
    pub leaving: BTreeSet<String>,
    /// Nodes, or claims without one yet, that take no others; their pods stay.
    pub closed: BTreeSet<String>,
}

impl Without {
    /// Whether a node takes no more pods.
    pub(super) fn closes(&self, node: &str) -> bool {
        self.leaving.contains(node) || self.closed.contains(node)
    }

    /// Whether a pod has to run elsewhere.
    pub(super) fn moves(&self, pod: &Pod) -> bool {
        pods::node_of(pod).is_some_and(|node| self.leaving.contains(node)) && pods::holds_its_node(pod)
    }
}

/// What a plan says of some pods that are to move.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// All of them fit on nodes that are ready.
    Fits,
    /// All of them fit, but some on machines that are on their way.
    Waits,
    /// These nodes have to be bought for them.
    Needs(Vec<PlannedNode>),
    /// One of them finds no place, for this reason.
    Stuck(String),
}

/// A plan for the pods of nodes that leave; `None` where there is none to move. What waits besides is taken to stand where it
/// is planned.
///
/// # Errors
/// Where no plan can be made.
pub async fn plan_without(context: &Arc<Context>, without: &Without) -> Result<Option<Plan>, Error> {
    let mut moving: Vec<Arc<Pod>> = context.stores.pods.state_filter(|pod| without.moves(pod));
    if moving.is_empty() {
        return Ok(None);
    }
    for pod in &mut moving {
        let pod = Arc::make_mut(pod);
        pod.spec.get_or_insert_default().node_name = None;
        pod.status = None;
    }
    let pools = ready_pools(context);
    if pools.is_empty() {
        return Err(Error::Object("there is no NodePool that is ready".into()));
    }
    let question = question(context, &moving, &pools, without)?;
    plan::planned(question, context).await.map(Some)
}

/// What a plan says of pods. One that it does not know of, such as one at a scheduling gate, is nobody's to place.
pub fn fate(context: &Context, plan: Option<&Plan>, pods: &[Arc<Pod>]) -> Fate {
    let is_ready = |node: &str| match place_of(context, node) {
        Place::Claim(name) => context
            .stores
            .claims
            .find(|claim| claim.metadata.name.as_ref() == Some(&name))
            .is_some_and(|claim| conditions::is_true(&claim, INITIALIZED)),
        Place::Node(_) => true,
    };
    plan.map_or(Fate::Fits, |plan| fate_in(plan, pods, is_ready))
}

fn fate_in(plan: &Plan, pods: &[Arc<Pod>], is_ready: impl Fn(&str) -> bool) -> Fate {
    let names: BTreeSet<String> =
        pods.iter().map(|pod| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())).collect();
    let any = |pods: &[String]| pods.iter().any(|pod| names.contains(pod));
    if let Some(one) = plan.unschedulable.iter().find(|one| names.contains(&one.pod)) {
        return Fate::Stuck(format!("pod {}: {}", one.pod, one.reason));
    }
    let needed: Vec<PlannedNode> = plan.nodes.iter().filter(|node| any(&node.pods)).cloned().collect();
    if !needed.is_empty() {
        return Fate::Needs(needed);
    }
    match plan.existing_nodes.iter().all(|node| !any(&node.pods) || is_ready(&node.name)) {
        true => Fate::Fits,
        false => Fate::Waits,
    }
}

/// Makes the claims of planned nodes, which are to take the place of another claim's.
///
/// # Errors
/// If one could not be made; those before it are there then.
pub async fn claim_in_place_of(
    context: &Context,
    old: &NodeClaim,
    nodes: &[PlannedNode],
) -> Result<Vec<NodeClaim>, Error> {
    let pools = ready_pools(context);
    let mut made = Vec::new();
    for node in nodes {
        let pool = pools.get(&node.node_pool);
        let pool = pool.ok_or_else(|| Error::Object(format!("NodePool {} is not there", node.node_pool)))?;
        made.push(make(context, claim::claim(node, pool, &context.market().full, false), Some(old)).await?);
    }
    Ok(made)
}

/// Makes a claim, perhaps one that is to take the place of another one, and waits until the watch has brought it.
///
/// # Errors
/// If the API server fails.
pub async fn make(context: &Context, mut claim: NodeClaim, old: Option<&NodeClaim>) -> Result<NodeClaim, Error> {
    if let Some(old) = old {
        claim.annotations_mut().insert(labels::REPLACES.into(), old.name_any());
    }
    let made = context.create_claim(claim).await?;
    context.metrics.claim_created(&made, if old.is_some() { "drifted" } else { "provisioned" });
    seen(context, &made).await;
    Ok(made)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn pods(names: &[&str]) -> Vec<Arc<Pod>> {
        let pod = |name: &&str| serde_json::from_value(json!({"metadata": {"name": name, "namespace": "x"}})).unwrap();
        names.iter().map(pod).map(Arc::new).collect()
    }

    fn plan(new: Value, there: Value, unplaced: Value) -> Plan {
        let node = |pods: &Value| {
            json!({
                "name": "n", "nodePool": "p", "instanceType": "t", "zone": "z", "capacityType": "spot", "hourlyPrice": 1.0,
                "allocatable": {}, "requested": {}, "pods": pods, "alternatives": [],
            })
        };
        let new: Vec<Value> = new.as_array().unwrap().iter().map(node).collect();
        serde_json::from_value(json!({
            "apiVersion": "supercargo.dev/v1", "kind": "Plan",
            "summary": {
                "pods": 0, "scheduled": 0, "unschedulable": 0, "newNodes": 0, "hourlyCost": 0.0, "lowerBound": null,
                "gap": null, "status": "greedy", "solver": "greedy", "solveSeconds": 0.0, "greedyHourlyCost": 0.0,
            },
            "nodes": new, "existingNodes": there, "unschedulable": unplaced,
        }))
        .unwrap()
    }

    #[test]
    fn what_a_plan_says_of_pods() {
        let there = json!([{"name": "ready", "pods": ["x/a"]}, {"name": "coming", "pods": ["x/b"]}]);
        let plan = plan(json!([["x/c", "x/d"], ["x/e"]]), there, json!([{"pod": "x/f", "reason": "too large"}]));
        let of = |names: &[&str]| fate_in(&plan, &pods(names), |node| node == "ready");
        assert_eq!(of(&["a"]), Fate::Fits);
        assert_eq!(of(&["a", "unknown"]), Fate::Fits);
        assert_eq!(of(&["a", "b"]), Fate::Waits);
        assert_eq!(of(&["a", "b", "c"]), Fate::Needs(vec![plan.nodes[0].clone()]));
        assert_eq!(of(&["c", "f"]), Fate::Stuck("pod x/f: too large".into()));
    }
}
