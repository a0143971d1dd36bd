//! Claims: those that a person makes without a pool, and what each says of its machine, its node and its pool.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use supercargo::api::{KWOKNodeClass, NodeClaim, NodePool};
use test_cluster::PLAYED;

use super::stage::{Stage, TYPE, condition, label, run};
use crate::fixture::until;

const KIND: &str = "node.kubernetes.io/instance-type";

async fn class(stage: &Stage, name: &str, finalizers: &[&str]) {
    let metadata = json!({"name": name, "finalizers": finalizers});
    stage.create(&stage.all::<KWOKNodeClass>(), json!({"metadata": metadata, "spec": {}})).await;
}

/// A claim of nobody's pool.
pub fn standalone(name: &str, class: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": class},
            "requirements": [
                {"key": KIND, "operator": "In", "values": [TYPE]},
                {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
            ],
            "resources": {"requests": {"cpu": "1"}},
        },
    })
}

/// What the controller told of an object.
async fn told_of(stage: &Stage, name: &str, reason: &str) -> String {
    until(&format!("{reason} of {name}"), async || {
        let events = stage.all::<Event>().list(&ListParams::default()).await.unwrap().items;
        let ours = events.into_iter().find(|event| {
            event.reporting_controller.as_deref() == Some("supercargo")
                && event.reason.as_deref() == Some(reason)
                && event.regarding.as_ref().and_then(|about| about.name.as_deref()) == Some(name)
        });
        ours.and_then(|event| event.note)
    })
    .await
}

/// Keys of a node's taints, without those that Kubernetes itself gives and takes.
fn taints(node: &Node) -> BTreeSet<&str> {
    let all = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    all.map(|taint| taint.key.as_str()).filter(|key| !key.starts_with("node.kubernetes.io/")).collect()
}

#[test]
fn a_claim_without_a_pool_gets_a_machine_that_ends_with_it() {
    run(async |stage| {
        class(&stage, "default", &[]).await;
        let _controller = stage.controller(&[]);
        stage.create(&stage.all::<NodeClaim>(), standalone("alone", "default")).await;
        stage.whole(1).await;
        let node = stage.all::<Node>().get("alone").await.unwrap();
        assert_eq!(label(&node, KIND), TYPE);
        assert_eq!(label(&node, "karpenter.sh/registered"), "true");
        assert_eq!(label(&node, "karpenter.sh/nodepool"), "");
        // It is a node like any other, but nobody takes it away for being empty.
        stage.deployment("inflate", 1, "1200m", json!({})).await;
        stage.run_pods(1).await;
        stage.scale("inflate", 0).await;
        stage.run_pods(0).await;
        assert_eq!(condition(&stage.claims().await[0], "Consolidatable"), "");
        stage.scale("inflate", 1).await;
        stage.run_pods(1).await;
        stage.all::<NodeClaim>().delete("alone", &DeleteParams::default()).await.unwrap();
        stage.whole(0).await;
        stage.made(1).await;
    });
}

/// A leader that stood still may have sent a request that arrives when another one leads.
#[test]
fn a_claim_that_a_leader_before_made_too_late_gets_no_machine() {
    run(async |stage| {
        class(&stage, "default", &[]).await;
        let of_other = |name: &str| {
            let mut claim = standalone(name, "default");
            claim["metadata"]["annotations"] = json!({"supercargo.dev/made-by": "somebody"});
            claim
        };
        // What was there before is taken over.
        stage.create(&stage.all::<NodeClaim>(), of_other("early")).await;
        let controller = stage.controller(&[]);
        stage.whole(1).await;
        stage.create(&stage.all::<NodeClaim>(), of_other("late")).await;
        until("the late one to be ended", async || controller.log().contains("made too late").then_some(())).await;
        stage.whole(1).await;
        assert_eq!(stage.claims().await[0].name_any(), "early");
        stage.made(1).await;
    });
}

/// As Karpenter does it: a claim that can't be launched for its class is given back, not kept.
#[test]
fn nothing_is_launched_for_a_class_that_is_absent_or_being_deleted() {
    run(async |stage| {
        class(&stage, "leaving", &["supercargo.dev/test"]).await;
        stage.all::<KWOKNodeClass>().delete("leaving", &DeleteParams::default()).await.unwrap();
        let _controller = stage.controller(&[]);
        let claims = stage.all::<NodeClaim>();
        for (name, named, why) in [
            ("astray", "absent", "KWOKNodeClass absent is not there"),
            ("late", "leaving", "KWOKNodeClass leaving is being deleted"),
        ] {
            stage.create(&claims, standalone(name, named)).await;
            let note = told_of(&stage, name, "NodeClassNotReady").await;
            assert!(note.contains(why), "{note}");
            until("the claim to be given back", async || claims.get_opt(name).await.unwrap().is_none().then_some(()))
                .await;
        }
        // A pool waits for its class, and its pods are told of it.
        stage.pool("default", json!({"template": {"spec": {"nodeClassRef": {"name": "absent"}}}})).await;
        stage.deployment("inflate", 2, "1200m", json!({})).await;
        let message = until("the pool to say why", async || {
            let pool = stage.all::<NodePool>().get("default").await.unwrap();
            let conditions = pool.status?.conditions?;
            let unready = conditions.into_iter().find(|one| one.type_ == "NodeClassReady" && one.status == "False");
            unready.map(|one| one.message)
        })
        .await;
        assert!(message.contains("KWOKNodeClass absent is not there"), "{message}");
        let pod = until("a pod", async || stage.pods().list(&ListParams::default()).await.unwrap().items.pop()).await;
        let note = told_of(&stage, &pod.name_any(), "FailedScheduling").await;
        assert!(note.contains("no NodePool that is ready"), "{note}");
        assert!(stage.claims().await.is_empty());
        stage.made(0).await;
        class(&stage, "absent", &[]).await;
        stage.run_pods(2).await;
        stage.whole(1).await;
        // And so does what somebody asks for by hand.
        stage.create(&claims, standalone("found", "absent")).await;
        stage.whole(2).await;
    });
}

#[test]
fn a_node_bears_what_the_template_of_its_pool_says_and_its_claim_tells_of_it() {
    run(async |stage| {
        let template = json!({
            "metadata": {"labels": {"team": "blue"}, "annotations": {"example.com/note": "x"}},
            "spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]},
        });
        stage.pool("default", json!({"template": template, "disruption": {"consolidateAfter": "Never"}})).await;
        let tolerant = json!({"spec": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}});
        stage.deployment("inflate", 2, "1200m", tolerant).await;
        let _controller = stage.controller(&[]);
        stage.run_pods(2).await;
        stage.whole(1).await;
        let claim = until("the time of the last pod event", async || {
            let claim = stage.claims().await.remove(0);
            claim.status.as_ref()?.last_pod_event_time.as_ref()?;
            Some(claim)
        })
        .await;
        let status = claim.status.as_ref().unwrap();
        let made = claim.metadata.creation_timestamp.as_ref().unwrap();
        assert!(status.last_pod_event_time.as_ref().unwrap().0 >= made.0);
        assert_eq!(status.image_id.as_deref(), Some("kwok"));
        let node = stage.nodes().await.remove(0);
        assert_eq!(taints(&node), BTreeSet::from(["gpu"]));
        assert_eq!((label(&claim, "team"), label(&node, "team")), ("blue".into(), "blue".into()));
        for annotations in [claim.annotations(), node.annotations()] {
            assert_eq!(annotations.get("example.com/note").map(String::as_str), Some("x"));
            assert!(annotations.contains_key("karpenter.sh/nodepool-hash"));
        }
    });
}

/// Machines that do not boot, whose nodes the test itself lets join with no more than a kubelet would say.
#[test]
fn a_node_that_joins_gets_its_claims_taints_unless_it_keeps_them_to_itself() {
    run(async |stage| {
        class(&stage, "default", &[]).await;
        stage.faults(json!({"neverBoot": "true"})).await;
        let _controller = stage.controller(&[]);
        let claims = stage.all::<NodeClaim>();
        let nodes = stage.all::<Node>();
        for (name, own, expected) in [
            ("plain", json!({}), BTreeSet::from(["own", "gpu", "cni"])),
            ("apart", json!({"karpenter.sh/do-not-sync-taints": "true"}), BTreeSet::from(["own"])),
        ] {
            let mut claim = standalone(name, "default");
            claim["metadata"]["labels"] = json!({"team": "blue"});
            claim["metadata"]["annotations"] = json!({"example.com/note": "x"});
            claim["spec"]["taints"] = json!([{"key": "gpu", "effect": "NoSchedule"}]);
            claim["spec"]["startupTaints"] = json!([{"key": "cni", "effect": "NoSchedule"}]);
            stage.create(&claims, claim).await;
            let is = async |kind: &str| {
                let claim = claims.get(name).await.unwrap();
                (condition(&claim, kind) == "True").then_some(())
            };
            until("the launch", async || is("Launched").await).await;
            let room = json!({"cpu": "4", "memory": "16Gi", "pods": "58"});
            let node = json!({
                "metadata": {"name": name, "labels": own, "annotations": {PLAYED.0: PLAYED.1}},
                "spec": {"providerID": format!("kwok://{name}"), "taints": [
                    {"key": "karpenter.sh/unregistered", "effect": "NoExecute"}, {"key": "own", "effect": "NoSchedule"}]},
                "status": {"capacity": room, "allocatable": room},
            });
            stage.create(&nodes, node).await;
            until("the node to be found", async || is("Registered").await).await;
            let node = nodes.get(name).await.unwrap();
            assert_eq!(taints(&node), expected);
            assert_eq!(label(&node, "team"), "blue");
            assert_eq!(label(&node, "karpenter.sh/registered"), "true");
            assert_eq!(node.annotations().get("example.com/note").map(String::as_str), Some("x"));
            if taints(&node).contains("cni") {
                until("it to wait for the start-up taint", async || {
                    let conditions = claims.get(name).await.unwrap().status?.conditions?;
                    conditions.into_iter().find(|one| one.reason == "StartupTaintsExist").map(drop)
                })
                .await;
                let left = json!([{"key": "gpu", "effect": "NoSchedule"}, {"key": "own", "effect": "NoSchedule"}]);
                let patch = Patch::Merge(json!({"spec": {"taints": left}}));
                nodes.patch(name, &PatchParams::default(), &patch).await.unwrap();
            }
            until("it to be ready", async || is("Ready").await).await;
        }
    });
}

#[test]
fn a_claim_leaves_as_many_types_open_as_its_pool_asks_for() {
    run(async |stage| {
        let types = ["m5.xlarge", "m5a.xlarge", "m5d.xlarge", "m5n.xlarge"];
        let spec = json!({"template": {"spec": {"requirements": [
            {"key": KIND, "operator": "In", "values": types, "minValues": 3},
            {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
        ]}}});
        stage.pool("default", spec).await;
        stage.deployment("inflate", 3, "1200m", json!({})).await;
        let _controller = stage.controller(&[]);
        stage.run_pods(3).await;
        stage.whole(1).await;
        let claim = stage.claims().await.remove(0);
        let asked = claim.spec.template.requirements.iter().find(|one| one.key == KIND).unwrap();
        let open: BTreeSet<String> = asked.values.iter().flatten().cloned().collect();
        assert_eq!(asked.min_values, Some(3));
        assert!(open.len() >= 3 && open.iter().all(|one| types.contains(&one.as_str())), "{open:?}");
        assert!(open.contains(&label(&claim, KIND)), "{open:?}");
    });
}

#[test]
fn a_heavier_pool_is_filled_first_though_it_is_dearer() {
    run(async |stage| {
        // One machine is all that its limit allows.
        let heavy = json!({"weight": 50, "limits": {"cpu": "4"}, "template": {"spec": {"requirements": [
            {"key": KIND, "operator": "In", "values": ["m5d.xlarge"]},
            {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
        ]}}});
        stage.pool("heavy", heavy).await;
        stage.pool("light", json!({"weight": 1})).await;
        let of_pools = async || {
            let nodes = stage.nodes().await;
            let mut pools: Vec<String> = nodes.iter().map(|node| label(node, "karpenter.sh/nodepool")).collect();
            pools.sort();
            pools
        };
        // Three to a machine.
        stage.deployment("inflate", 2, "1200m", json!({})).await;
        let _controller = stage.controller(&[]);
        stage.run_pods(2).await;
        stage.whole(1).await;
        assert_eq!(of_pools().await, ["heavy"]);
        stage.scale("inflate", 9).await;
        stage.run_pods(9).await;
        stage.whole(3).await;
        assert_eq!(of_pools().await, ["heavy", "light", "light"]);
    });
}
