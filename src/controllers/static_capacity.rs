//! Pools of static capacity: as many nodes as `spec.replicas` says, whether pods need them or not
//! (<https://karpenter.sh/docs/concepts/nodepools/#specreplicas>).
//!
//! All that is decided here is read off the claims that are there. One that is to take the place of another one counts with
//! it as one; `limits.nodes` counts both, and those that end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use kube::ResourceExt;
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use supercargo_models::catalog::KubeletSettings;
use supercargo_models::kubernetes::quantity;
use tracing::{debug, info, warn};

use super::conditions::{self, DRIFTED, INITIALIZED};
use super::context::{Context, Error, lock};
use super::disruption::{obstacle, of_node, replacing};
use super::provisioning::{Place, moving, unplanned};
use super::{pods, pools};
use crate::api::{NodeClaim, NodePool};
use crate::cloud::{Choice, Offer, choices};
use crate::labels;

/// How often to look without having been told: nothing tells when what was refused may be had again.
const PERIOD: Duration = Duration::from_secs(10);
/// Changes that come so soon after each other are looked at together.
const PAUSE: Duration = Duration::from_millis(50);
/// Claims that are created at once.
const AT_ONCE: usize = 16;

/// Keeps pools of static capacity at their replicas for ever.
pub async fn run(context: Arc<Context>) {
    let mut told = BTreeMap::new();
    loop {
        let _ = tokio::time::timeout(PERIOD, context.bells.replicas.notified()).await;
        tokio::time::sleep(PAUSE).await;
        let pools = context
            .stores
            .pools
            .state_filter(|pool| pool.spec.replicas.is_some() && pool.metadata.deletion_timestamp.is_none());
        for pool in pools {
            if let Err(error) = hold(&pool, &mut told, &context).await {
                warn!(nodepool = pool.name_any(), "static capacity: {error}");
            }
        }
    }
}

/// How many more nodes a pool's `limits.nodes` allows, those that end counted.
///
/// # Errors
/// Where the limit is no quantity.
pub fn left(pool: &NodePool, context: &Context) -> Result<usize, Error> {
    let there = of_pool(pool, context).len();
    Ok(limit(pool)?.map_or(usize::MAX, |limit| limit.saturating_sub(there)))
}

/// The claim for another node of a pool, and what it would be bought as: its requirements as they are, of which the cloud takes
/// the cheapest that it has. `None` where all that they allow was refused of late.
///
/// # Errors
/// Where the requirements can't be read.
pub fn claim(pool: &NodePool, context: &Context) -> Result<Option<(NodeClaim, Offer)>, Error> {
    let market = context.market();
    let all = market.of_pool(&pool.name_any());
    let left = lock(&context.refused).without(all, Instant::now());
    let open = unplanned(pool, |_| true);
    let choices = choices(left.as_ref().unwrap_or(all), &open, &KubeletSettings::default())?;
    let made = |choice: &Choice| (unplanned(pool, |key| choice.labels.contains_key(key)), choice.offer.clone());
    Ok(choices.first().map(made))
}

fn of_pool(pool: &NodePool, context: &Context) -> Vec<Arc<NodeClaim>> {
    let name = pool.name_any();
    context.stores.claims.state_filter(|claim| claim.labels().get(labels::NODE_POOL) == Some(&name))
}

fn limit(pool: &NodePool) -> Result<Option<usize>, Error> {
    let Some(limit) = pool.spec.limits.as_ref().and_then(|limits| limits.get("nodes")) else { return Ok(None) };
    let nodes = quantity::parse_units("nodes", &limit.0)
        .map_err(|error| Error::Object(format!("NodePool {}: spec.limits.nodes: {error}", pool.name_any())))?;
    Ok(Some(usize::try_from(nodes).unwrap_or(0)))
}

/// What a pool lacks of its replicas, or has too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Make(usize),
    End(usize),
}

/// The next step to a pool's replicas, `left` of whose limit is left.
fn step(replicas: usize, claims: &[Arc<NodeClaim>], left: usize) -> Step {
    let both: BTreeSet<String> =
        replacing(claims).iter().flat_map(|one| &one.new).map(|claim| claim.name_any()).collect();
    let stays = |claim: &&Arc<NodeClaim>| claim.metadata.deletion_timestamp.is_none();
    let have = claims.iter().filter(stays).filter(|claim| !both.contains(&claim.name_any())).count();
    match replicas.checked_sub(have) {
        Some(missing) => Step::Make(missing.min(left)),
        None => Step::End(have - replicas),
    }
}

/// What a pool of static capacity is to become.
#[derive(Debug)]
pub enum Decision {
    /// As it is.
    Stay,
    /// So many more of this claim, which would be bought as this offering.
    Make(usize, Box<NodeClaim>, Offer),
    /// Nodes are too many.
    End {
        /// Those that end.
        ends: Vec<Surplus>,
        /// Those that should have ended before them, and may not be disrupted.
        stay: Vec<Surplus>,
    },
}

/// What is to be done for a pool to have its replicas.
///
/// # Errors
/// Where its limit or its requirements can't be read.
pub fn decide(pool: &NodePool, context: &Context) -> Result<Decision, Error> {
    let claims = of_pool(pool, context);
    let replicas = usize::try_from(pool.spec.replicas.unwrap_or_default()).unwrap_or(0);
    match step(replicas, &claims, left(pool, context)?) {
        Step::Make(0) => Ok(Decision::Stay),
        Step::Make(count) => more(pool, count, context),
        Step::End(count) => {
            let stays = |claim: &Arc<NodeClaim>| claim.metadata.deletion_timestamp.is_none();
            let mut all: Vec<Surplus> = claims.into_iter().filter(stays).map(|claim| surplus(claim, context)).collect();
            order(&mut all);
            let (ends, stay) = choose(all, count);
            Ok(Decision::End { ends, stay })
        }
    }
}

/// The first `count` that may be disrupted, and those before them that may not.
fn choose(all: Vec<Surplus>, count: usize) -> (Vec<Surplus>, Vec<Surplus>) {
    let (mut ends, mut stay) = (Vec::new(), Vec::new());
    for one in all {
        if ends.len() == count {
            break;
        }
        let into = if one.obstacle.is_some() { &mut stay } else { &mut ends };
        into.push(one);
    }
    (ends, stay)
}

/// Brings a pool to its replicas. Why surplus nodes stay is remembered as what was told.
async fn hold(pool: &NodePool, told: &mut BTreeMap<String, String>, context: &Arc<Context>) -> Result<(), Error> {
    let _turn = context.static_turn.lock().await;
    match decide(pool, context)? {
        Decision::Stay => Ok(()),
        Decision::Make(count, claim, _) => grow(pool, count, *claim, context).await,
        Decision::End { ends, stay } => shrink(pool, &ends, &stay, told, context).await,
    }
}

/// So many more nodes, if any can be had.
fn more(pool: &NodePool, count: usize, context: &Context) -> Result<Decision, Error> {
    let name = pool.name_any();
    let class = pool.spec.template.spec.node_class_ref.as_ref();
    if !class.is_some_and(|class| context.cloud.makes(class)) || !pools::is_ready(pool, &*context.cloud) {
        debug!(nodepool = name, "static capacity: it is not ready");
        return Ok(Decision::Stay);
    }
    let Some((claim, offer)) = claim(pool, context)? else {
        debug!(nodepool = name, "static capacity: none of the offerings that it allows can be had now");
        return Ok(Decision::Stay);
    };
    Ok(Decision::Make(count, Box::new(claim), offer))
}

async fn grow(pool: &NodePool, count: usize, claim: NodeClaim, context: &Context) -> Result<(), Error> {
    let name = pool.name_any();
    let makes = (0..count).map(|_| moving::make(context, claim.clone(), None));
    let made: Vec<Result<NodeClaim, Error>> = stream::iter(makes).buffer_unordered(AT_ONCE).collect().await;
    let count = made.iter().filter(|made| made.is_ok()).count();
    info!(nodepool = name, "static capacity: {count} more of {} nodes", pool.spec.replicas.unwrap_or_default());
    made.into_iter().find_map(Result::err).map_or(Ok(()), Err)
}

/// A node that may be one too many.
#[derive(Debug)]
pub struct Surplus {
    /// Its claim.
    pub claim: Arc<NodeClaim>,
    /// Pods that would have to run elsewhere.
    pub pods: usize,
    /// Why it may not be disrupted.
    pub obstacle: Option<String>,
}

/// Ends as many nodes as are too many, but for those that may not be disrupted. Budgets are for what we do by ourselves, not for
/// what was asked for; those of pods hold up the drain.
async fn shrink(
    pool: &NodePool,
    ends: &[Surplus],
    stay: &[Surplus],
    told: &mut BTreeMap<String, String>,
    context: &Context,
) -> Result<(), Error> {
    told.retain(|name, _| context.stores.claims.get(&ObjectRef::new(name)).is_some());
    for one in stay {
        let (name, obstacle) = (one.claim.name_any(), one.obstacle.clone().unwrap_or_default());
        if told.insert(name.clone(), obstacle.clone()).as_ref() != Some(&obstacle) {
            info!(claim = name, "one too many, and stays: {obstacle}");
            context.tell(&*one.claim, EventType::Normal, "DisruptionBlocked", obstacle).await;
        }
    }
    for one in ends {
        let name = one.claim.name_any();
        info!(claim = name, nodepool = pool.name_any(), pods = one.pods, "one too many: taken away");
        context.delete_claim(&one.claim, "overprovisioned").await?;
        let note = "Disrupting Node: the replicas of its pool are fewer".to_owned();
        context.tell(&*one.claim, EventType::Normal, "DisruptionTerminating", note).await;
    }
    // The next look counts on the stores alone.
    for claim in ends.iter().map(|one| &one.claim) {
        let ends = |claim: Arc<NodeClaim>| claim.metadata.deletion_timestamp.is_some();
        context.stores.brought(|stores| stores.claims.get(&ObjectRef::from_obj(&**claim)).is_none_or(ends)).await;
    }
    Ok(())
}

fn surplus(claim: Arc<NodeClaim>, context: &Context) -> Surplus {
    let node = context.stores.node_of(&claim);
    let now = context.now();
    let on_it = node.as_ref().map(|node| context.stores.pods_on(&node.name_any())).unwrap_or_default();
    let obstacle = node.and_then(|node| of_node(&node, now)).or_else(|| obstacle(&claim, &on_it, &[], now));
    let held = on_it.iter().filter(|pod| pods::holds_its_node(pod)).count();
    // Pods are on their way to it.
    let awaited = usize::from(lock(&context.pins).is_taken(&Place::Claim(claim.name_any())));
    Surplus { claim, pods: held + awaited, obstacle }
}

/// Those first that end with the least loss: what is not up yet, then what has the fewest pods; of those what has drifted, and
/// then the youngest.
fn order(surplus: &mut [Surplus]) {
    surplus.sort_by_cached_key(|one| {
        let claim = &one.claim;
        let made = claim.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (
            conditions::is_true(claim, INITIALIZED),
            one.pods,
            !conditions::is_true(claim, DRIFTED),
            Reverse(made),
            claim.name_any(),
        )
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn claim(name: &str, second: u32, metadata: Value, conditions: &[&str]) -> Arc<NodeClaim> {
        let time = format!("2026-01-01T00:00:{second:02}Z");
        let is_true = |kind: &&str| json!({"type": kind, "status": "True", "reason": kind, "message": "", "lastTransitionTime": time});
        let mut whole = json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {"name": name, "creationTimestamp": time},
            "spec": {"nodeClassRef": {"group": "g", "kind": "k", "name": "n"}, "requirements": []},
            "status": {"conditions": conditions.iter().map(is_true).collect::<Vec<_>>()},
        });
        whole["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        Arc::new(serde_json::from_value(whole).unwrap())
    }

    #[test]
    fn replicas_are_kept_within_the_limit() {
        let plain = |name: &str| claim(name, 0, json!({}), &[]);
        let mut claims = vec![plain("a"), claim("b", 0, json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), &[])];
        assert_eq!(step(3, &claims, usize::MAX), Step::Make(2));
        assert_eq!(step(3, &claims, 1), Step::Make(1));
        assert_eq!(step(1, &claims, 0), Step::Make(0));
        assert_eq!(step(0, &claims, 0), Step::End(1));
        // With what is to take its place it is one; without it, that is one by itself.
        let replaces = |old: &str| json!({"annotations": {"supercargo.dev/replaces": old}});
        claims.push(claim("new-a", 0, replaces("a"), &[]));
        assert_eq!(step(1, &claims, 0), Step::Make(0));
        claims.push(claim("new-b", 0, replaces("b"), &[]));
        assert_eq!(step(1, &claims, 0), Step::End(1));
    }

    #[test]
    fn what_ends_first_is_not_up_yet_then_what_has_the_fewest_pods() {
        let up = ["Initialized"];
        let one = |name: &str, second: u32, conditions: &[&str], pods: usize| Surplus {
            claim: claim(name, second, json!({}), conditions),
            pods,
            obstacle: None,
        };
        let mut all = [
            one("busy", 0, &up, 3),
            one("old", 1, &up, 0),
            one("young", 2, &up, 0),
            one("drifted", 0, &["Initialized", "Drifted"], 0),
            one("coming", 0, &[], 0),
        ];
        order(&mut all);
        let names = |all: &[Surplus]| all.iter().map(|one| one.claim.name_any()).collect::<Vec<_>>();
        assert_eq!(names(&all), ["coming", "drifted", "young", "old", "busy"]);
        // What may not be disrupted is passed over, and what comes after the last that ends is not looked at.
        all[1].obstacle = Some("a pod forbids it".into());
        all[3].obstacle = Some("a pod forbids it".into());
        let (ends, stay) = choose(all.into(), 2);
        assert_eq!((names(&ends), names(&stay)), (vec!["coming".into(), "young".into()], vec!["drifted".into()]));
    }

    #[test]
    fn a_limit_of_nodes_is_a_quantity() {
        let pool = |limits: Value| -> NodePool {
            serde_json::from_value(json!({
                "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "p"},
                "spec": {"replicas": 1, "limits": limits, "template": {"spec": {
                    "requirements": [], "nodeClassRef": {"group": "g", "kind": "k", "name": "n"}}}},
            }))
            .unwrap()
        };
        assert_eq!(limit(&pool(json!({"nodes": "3"}))).unwrap(), Some(3));
        assert_eq!(limit(&pool(json!({}))).unwrap(), None);
        assert!(limit(&pool(json!({"nodes": "three"}))).is_err());
    }
}
