//! Killed just before and just after each kind of write, while all that a controller does is under way at once.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use supercargo::api::NodeClaim;

use super::binding::{chosen, make_volume, waiting_claim};
use super::claims::standalone;
use super::overlays::{is_ready, overlay};
use super::repair::kernel;
use super::stage::{Stage, condition, label, run};
use crate::fixture::until;

const POOL: &str = "karpenter.sh/nodepool";

/// A pool, and what is to become of it.
struct Part {
    pool: &'static str,
    /// Pods at the beginning and at the end, two to a machine.
    pods: [u32; 2],
    /// Machines at the beginning, at the end, and all that it ever has.
    machines: [usize; 3],
}

const fn part(pool: &'static str, pods: [u32; 2], machines: [usize; 3]) -> Part {
    Part { pool, pods, machines }
}

const PARTS: [Part; 13] = [
    // Its volume is made when a node is chosen for it.
    part("stateful", [0, 1], [0, 1, 1]),
    // Pods come, and nodes are held for them.
    part("fresh", [0, 4], [0, 2, 2]),
    // What is planned for them is refused.
    part("picky", [0, 2], [0, 1, 1]),
    // Pods go.
    part("emptied", [2, 0], [1, 0, 1]),
    // The cloud takes the machine back.
    part("spot", [2, 2], [1, 1, 2]),
    // The node is sick.
    part("sick", [2, 2], [1, 1, 2]),
    // Somebody deletes the node.
    part("deleted", [2, 2], [1, 1, 2]),
    // Somebody deletes the claim, and the pods may not leave before the time of the node is over.
    part("guarded", [2, 2], [1, 1, 2]),
    // The template has changed.
    part("moved", [2, 2], [1, 1, 2]),
    part("renewed", [0, 0], [1, 1, 2]),
    // Replicas are more, or fewer.
    part("growing", [0, 0], [0, 2, 2]),
    part("shrinking", [0, 0], [2, 1, 2]),
    // The machine is too old; the last one to be made, as it has its time from then.
    part("expiring", [2, 2], [1, 1, 2]),
];

/// Without the pools' there is one claim of nobody's pool.
const ALONE: &str = "alone";

/// An overlay of machines that nobody wants.
const OVERLAY: &str = "dear";

/// Writes of which it is known that they come, as fail points name them.
const STEPS: [&str; 31] = [
    "POST nodeclaims of fresh",
    "POST nodeclaims of picky",
    "POST nodeclaims of spot",
    "POST nodeclaims of sick",
    "POST nodeclaims of deleted",
    "POST nodeclaims of guarded",
    "POST nodeclaims of moved",
    "POST nodeclaims of renewed",
    "POST nodeclaims of growing",
    "POST nodeclaims of expiring",
    "DELETE nodeclaims of picky",
    "DELETE nodeclaims of emptied",
    "DELETE nodeclaims of spot",
    "DELETE nodeclaims of sick",
    "DELETE nodeclaims of deleted",
    "DELETE nodeclaims of moved",
    "DELETE nodeclaims of renewed",
    "DELETE nodeclaims of shrinking",
    "DELETE nodeclaims of expiring",
    "DELETE nodes of guarded",
    "POST pods/eviction of spot",
    "DELETE pods of guarded",
    "POST pods/binding of fresh",
    "POST pods/binding of stateful",
    "PATCH persistentvolumeclaims metadata.annotations[volume.kubernetes.io/selected-node]",
    "PATCH pods/status status.nominatedNodeName[]",
    "PATCH nodeoverlays/status status.conditions[ValidationSucceeded=True,Ready=True]",
    "POST configmaps of kwok",
    "DELETE configmaps of kwok",
    "POST nodes of alone",
    "PATCH nodeclaims metadata.finalizers[karpenter.sh/termination]",
];

/// What those points are points of, and so all that a controller writes, but for leases and events, which are no steps, and the
/// plan of a dry run, which is one write and nothing else. Who adds a write adds it here, and to the table what brings it about.
const WRITES: [&str; 36] = [
    "POST configmaps",
    "PUT configmaps data.machine.json",
    "PUT configmaps metadata.labels",
    "PUT configmaps metadata.name",
    "PUT configmaps metadata.namespace",
    "DELETE configmaps",
    "POST nodeclaims",
    "PATCH nodeclaims metadata.annotations",
    "PATCH nodeclaims metadata.finalizers",
    "PATCH nodeclaims metadata.labels",
    "PATCH nodeclaims/status status.allocatable",
    "PATCH nodeclaims/status status.capacity",
    "PATCH nodeclaims/status status.conditions",
    "PATCH nodeclaims/status status.imageID",
    "PATCH nodeclaims/status status.lastPodEventTime",
    "PATCH nodeclaims/status status.nodeName",
    "PATCH nodeclaims/status status.providerID",
    "DELETE nodeclaims",
    "PATCH nodeoverlays/status status.conditions",
    "PATCH nodepools metadata.annotations",
    "PATCH nodepools/status status.conditions",
    "PATCH nodepools/status status.nodeClassObservedGeneration",
    "PATCH nodepools/status status.nodes",
    "PATCH nodepools/status status.resources",
    "POST nodes",
    "PATCH nodes metadata.annotations",
    "PATCH nodes metadata.finalizers",
    "PATCH nodes metadata.labels",
    "PATCH nodes metadata.ownerReferences",
    "PATCH nodes spec.taints",
    "DELETE nodes",
    "PATCH persistentvolumeclaims metadata.annotations",
    "PATCH pods/status status.nominatedNodeName",
    "POST pods/binding",
    "POST pods/eviction",
    "DELETE pods",
];

/// The writes of one point: what is made or ended, and each field that is set.
fn writes(point: &str) -> Vec<String> {
    let words: Vec<&str> = point.split(' ').collect();
    let [verb, resource, rest @ ..] = words.as_slice() else { panic!("{point}") };
    match rest {
        ["of", ..] => vec![format!("{verb} {resource}")],
        fields => {
            fields.iter().map(|field| format!("{verb} {resource} {}", field.split('[').next().unwrap())).collect()
        }
    }
}

/// How a pool of the table is made.
fn spec(part: &Part) -> Value {
    let mut spec = json!({"disruption": {"consolidateAfter": "Never"}});
    let of = |types: Value, capacity: &str| {
        json!([
            {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": types},
            {"key": "karpenter.sh/capacity-type", "operator": "In", "values": [capacity]},
        ])
    };
    let template = &mut spec["template"]["spec"];
    match part.pool {
        "picky" => template["requirements"] = of(json!(["c5.xlarge", "m6i.2xlarge"]), "on-demand"),
        "spot" => template["requirements"] = of(json!(["m5.xlarge"]), "spot"),
        "guarded" => template["terminationGracePeriod"] = json!("10s"),
        "expiring" => template["expireAfter"] = json!("30s"),
        "renewed" | "growing" | "shrinking" => {
            spec["replicas"] = json!(part.machines[0]);
            spec.as_object_mut().unwrap().remove("template");
        }
        _ => {
            spec.as_object_mut().unwrap().remove("template");
        }
    }
    spec
}

/// The names of the claims of a pool, which are those of their nodes.
async fn claims_of(stage: &Stage, pool: &str) -> BTreeSet<String> {
    let claims = stage.claims().await;
    claims.iter().filter(|claim| label(*claim, POOL) == pool).map(ResourceExt::name_any).collect()
}

async fn first_of(stage: &Stage, pool: &str) -> String {
    claims_of(stage, pool).await.pop_first().unwrap()
}

fn total<N: std::iter::Sum>(count: impl Fn(&Part) -> N) -> N {
    PARTS.iter().map(count).sum()
}

/// Everything as it is before anyone dies.
async fn set_up(stage: &Stage) {
    for part in &PARTS {
        stage.pool(part.pool, spec(part)).await;
        let mut own = json!({"spec": {"nodeSelector": {POOL: part.pool}}});
        if part.pool == "stateful" {
            waiting_claim(stage).await;
            own["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
        }
        stage.deployment(part.pool, part.pods[0], "1800m", own).await;
    }
    let selector = json!({"matchLabels": {"app": "guarded"}});
    stage.disruption_budget("guarded", json!({"minAvailable": 2, "selector": selector})).await;
    stage.run_pods(total(|part| part.pods[0] as usize)).await;
    stage.whole(total(|part| part.machines[0])).await;
}

/// What goes wrong in the cloud until the machine is taken back, and after that.
fn faults(interrupt: bool) -> Value {
    let mut faults = json!({"refuse": "c5.xlarge", "repairAfter": "1s"});
    if interrupt {
        faults["interrupt"] = json!("*/*/spot");
        faults["notice"] = json!("1h");
    }
    faults
}

/// Everything happens at once, and nobody is there to see it.
async fn change(stage: &Stage) {
    // Those that come live for ever; those that are there are not to be replaced for that.
    let calm = json!({"budgets": [{"nodes": "0", "reasons": ["Drifted"]}]});
    stage.change_pool("expiring", json!({"template": {"spec": {"expireAfter": "Never"}}, "disruption": calm})).await;
    for part in &PARTS {
        match part.pool {
            "emptied" => stage.change_pool("emptied", json!({"disruption": {"consolidateAfter": "1s"}})).await,
            "growing" | "shrinking" => stage.change_pool(part.pool, json!({"replicas": part.machines[1]})).await,
            "moved" | "renewed" => {
                stage.change_pool(part.pool, json!({"template": {"metadata": {"labels": {"team": "new"}}}})).await;
            }
            _ => {}
        }
        if part.pods[0] != part.pods[1] {
            stage.scale(part.pool, part.pods[1]).await;
        }
    }
    stage.faults(faults(true)).await;
    kernel(stage, &first_of(stage, "sick").await, "False").await;
    let (node, claim) = (first_of(stage, "deleted").await, first_of(stage, "guarded").await);
    stage.all::<Node>().delete(&node, &DeleteParams::default()).await.unwrap();
    stage.all::<NodeClaim>().delete(&claim, &DeleteParams::default()).await.unwrap();
    stage.create(&stage.all::<NodeClaim>(), standalone(ALONE, "growing")).await;
    overlay(stage, OVERLAY, "m5.24xlarge", json!({"price": "9"})).await;
}

/// Whether all is as it is to be, with so many `more` machines than the table has and two pods on each of those, and none of
/// the `old` claims is left.
async fn is_over(stage: &Stage, old: &BTreeSet<String>, more: usize) -> bool {
    let machines = total(|part| part.machines[1]) + 1 + more;
    let claims = stage.claims().await;
    claims.len() == machines
        && claims.iter().all(|claim| condition(claim, "Ready") == "True" && !old.contains(&claim.name_any()))
        && stage.nodes().await.len() == machines
        && stage.machines().await.len() == machines
        && stage.running().await.len() == total(|part| part.pods[1] as usize) + 2 * more
        && is_ready(stage, OVERLAY, "True").await
}

/// Starts controllers, each of which dies at the first write of a kind at which none has died before, until one finds nothing
/// left to do; where they have died.
async fn die_at_each(stage: &Stage, arguments: &[&str], mut is_over: impl AsyncFnMut() -> bool) -> Vec<String> {
    let file = stage.control_plane.state().folder.join("deaths");
    let arguments = [arguments, &["--die-at-each", file.to_str().unwrap()]].concat();
    let told =
        || -> Vec<String> { std::fs::read_to_string(&file).unwrap_or_default().lines().map(str::to_owned).collect() };
    // Those of an earlier round.
    let mut deaths = told();
    loop {
        let mut controller = stage.sole_controller(&arguments);
        let mut looks = 0;
        let died = until("a death, or the end", async || {
            if controller.has_ended() {
                return Some(true);
            }
            looks += 1;
            (looks % 4 == 0 && is_over().await).then_some(false)
        })
        .await;
        if !died {
            return deaths;
        }
        let so_far = told();
        assert_eq!(so_far.len(), deaths.len() + 1, "it ended by something else:\n{}", controller.log());
        deaths = so_far;
    }
}

#[test]
fn a_controller_that_dies_around_any_kind_of_write_loses_and_doubles_nothing() {
    run(async |stage| {
        // Machines are on their way for a while: whoever comes next has to know of them.
        let arguments = ["--feature-gates", "NodeRepair=true", "--kwok-boot-delay", "2s"];
        let first = stage.sole_controller(&arguments);
        set_up(&stage).await;
        first.kill();
        let mut old = BTreeSet::new();
        for pool in ["spot", "sick", "deleted", "guarded", "moved", "renewed", "expiring", "emptied"] {
            old.extend(claims_of(&stage, pool).await);
        }
        change(&stage).await;
        let (mut interrupts, mut has_volume) = (true, false);
        let deaths = die_at_each(&stage, &arguments, async || {
            // What comes in its place is not to be taken back.
            if interrupts && stage.is_taken_back().await {
                stage.faults(faults(false)).await;
                interrupts = false;
            }
            if !has_volume && let Some((claim, _)) = chosen(&stage).await {
                make_volume(&stage, &claim).await;
                has_volume = true;
            }
            is_over(&stage, &old, 0).await
        })
        .await;
        println!("died {} times:\n{}", deaths.len(), deaths.join("\n"));
        let last = stage.sole_controller(&arguments);
        // One machine too many would come soon.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(is_over(&stage, &old, 0).await, "{}", last.log());
        for part in &PARTS {
            let there = claims_of(&stage, part.pool).await;
            assert_eq!(there.len(), part.machines[1], "{}: {there:?}", part.pool);
        }
        drop(last);
        // The same file: what is new is what kube-scheduler is told.
        stage.scale("fresh", 6).await;
        let nominating = [&arguments[..], &["--bind", "nominate"]].concat();
        let deaths = die_at_each(&stage, &nominating, async || is_over(&stage, &old, 1).await).await;
        println!("and with nominations:\n{}", deaths.join("\n"));
        stage.accounted_for().await;
        stage.made(total(|part| part.machines[2]) + 2).await;
        for when in ["before ", "after "] {
            let known = deaths.iter().filter_map(|death| death.strip_prefix(when));
            let writes: BTreeSet<String> = known.flat_map(writes).collect();
            let expected: BTreeSet<String> = WRITES.map(str::to_owned).into();
            assert_eq!(writes, expected, "{when}");
        }
        let missed = STEPS.iter().flat_map(|step| ["before", "after"].map(|when| format!("{when} {step}")));
        let missed: Vec<String> = missed.filter(|point| !deaths.contains(point)).collect();
        assert!(missed.is_empty(), "nobody died {missed:#?}");
    });
}

impl Stage {
    /// Whether a machine is to be taken back.
    async fn is_taken_back(&self) -> bool {
        let records = self.machines().await;
        records.iter().flat_map(|map| map.data.iter().flatten()).any(|(_, record)| record.contains("\"ends\":"))
    }

    /// Sees to it that every machine is a claim's, every claim's machine a node that nothing of ours keeps closed, and that
    /// every pod runs on one of them.
    async fn accounted_for(&self) {
        let claims = self.claims().await;
        let uids: BTreeSet<String> = claims.iter().map(|claim| format!("kwok-{}", claim.uid().unwrap())).collect();
        let machines: BTreeSet<String> = self.machines().await.iter().map(ResourceExt::name_any).collect();
        assert_eq!(machines, uids);
        let nodes = self.nodes().await;
        let named: BTreeSet<String> = nodes.iter().map(ResourceExt::name_any).collect();
        let of_claims: BTreeSet<String> =
            claims.iter().filter_map(|claim| claim.status.as_ref()?.node_name.clone()).collect();
        assert_eq!(named, of_claims);
        for node in &nodes {
            let taints: Vec<&String> =
                node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).map(|taint| &taint.key).collect();
            assert!(taints.is_empty(), "{}: {taints:?}", node.name_any());
        }
        for pod in self.pods().list(&ListParams::default()).await.unwrap().items {
            let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
            assert!(phase == "Running" && named.contains(&node), "{}: {phase} on {node}", pod.name_any());
        }
    }
}
