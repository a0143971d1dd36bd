//! Nodes end in order: pods first, as far as budgets and annotations allow, then the machine, then node and claim.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use supercargo::api::NodeClaim;

use super::operation::get;
use super::stage::{Stage, condition, run, told_about, told_that};
use crate::fixture::until;

async fn only_claim(stage: &Stage) -> NodeClaim {
    let claims = stage.claims().await;
    assert_eq!(claims.len(), 1);
    claims.into_iter().next().unwrap()
}

#[test]
fn deleting_a_node_or_a_claim_ends_the_machine_and_its_pods_get_another() {
    run(async |stage| {
        let _controller = stage.controller(&[]);
        stage.pool("default", json!({})).await;
        stage.deployment("inflate", 2, "1200m", json!({})).await;
        for by_node in [true, false] {
            stage.run_pods(2).await;
            stage.whole(1).await;
            let old = only_claim(&stage).await.name_any();
            if by_node {
                stage.all::<Node>().delete(&old, &DeleteParams::default()).await.unwrap();
            } else {
                stage.all::<NodeClaim>().delete(&old, &DeleteParams::default()).await.unwrap();
            }
            until("another claim", async || {
                let claims = stage.claims().await;
                (claims.len() == 1 && claims[0].name_any() != old).then_some(())
            })
            .await;
        }
        stage.run_pods(2).await;
        stage.whole(1).await;
    });
}

#[test]
fn a_claim_has_said_all_of_its_end_before_it_is_gone() {
    run(async |stage| {
        let controller = stage.sole_controller(&[]);
        stage.pool("default", json!({})).await;
        // One to a machine.
        stage.deployment("inflate", 3, "3", json!({})).await;
        stage.run_pods(3).await;
        stage.whole(3).await;
        let old: BTreeSet<String> = stage.claims().await.iter().map(ResourceExt::name_any).collect();
        stage.all::<NodeClaim>().delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
        let gone = stage.watch_to_the_end(3).await;
        assert_eq!(gone.iter().map(ResourceExt::name_any).collect::<BTreeSet<_>>(), old);
        for claim in gone {
            for kind in ["Drained", "VolumesDetached", "InstanceTerminating"] {
                assert_eq!(condition(&claim, kind), "True", "{kind} of {claim:#?}\n{}", controller.log());
            }
        }
        stage.run_pods(3).await;
        stage.whole(3).await;
        told_that(&stage, "Evicted", "Evicted pod: Forceful Termination").await;
        let metrics = controller.address("/metrics").await;
        for line in [
            "karpenter_nodes_drained_total{nodepool=\"default\"} 3",
            "karpenter_pods_drained_total{reason=\"Forceful Termination\"} 3",
            "karpenter_nodes_termination_duration_seconds_count{nodepool=\"default\"} 3",
            "karpenter_nodes_lifetime_duration_seconds_count{nodepool=\"default\"} 3",
            "karpenter_nodeclaims_termination_duration_seconds_count{nodepool=\"default\"} 3",
            "karpenter_nodeclaims_instance_termination_duration_seconds_count{nodepool=\"default\"} 3",
        ] {
            let told = get(&metrics, "/metrics");
            assert!(told.lines().any(|one| one == line), "{line} is not in\n{told}");
        }
    });
}

/// Pods of a Deployment on a node.
async fn pods_of(stage: &Stage, name: &str, node: &str) -> Vec<Pod> {
    let of_node = ListParams::default().labels(&format!("app={name}")).fields(&format!("spec.nodeName={node}"));
    stage.pods().list(&of_node).await.unwrap().items
}

#[test]
fn pods_are_deleted_so_early_that_they_get_their_time_whatever_forbids_it() {
    run(async |stage| {
        stage.pool("default", json!({"template": {"spec": {"terminationGracePeriod": "20s"}}})).await;
        let slow = json!({"terminationGracePeriodSeconds": 12});
        let annotations = json!({"annotations": {"karpenter.sh/do-not-disrupt": "true"}});
        stage.deployment("guarded", 1, "1200m", json!({"spec": slow})).await;
        stage.deployment("stubborn", 1, "1200m", json!({"spec": slow, "metadata": annotations})).await;
        stage.deployment("quick", 1, "1200m", json!({})).await;
        for name in ["guarded", "quick"] {
            let selector = json!({"matchLabels": {"app": name}});
            stage.disruption_budget(name, json!({"minAvailable": 1, "selector": selector})).await;
        }
        let controller = stage.sole_controller(&[]);
        stage.run_pods(3).await;
        stage.whole(1).await;
        let name = only_claim(&stage).await.name_any();
        stage.all::<NodeClaim>().delete(&name, &DeleteParams::default()).await.unwrap();
        let slow = until("the slow pods to be deleted", async || {
            let both = [pods_of(&stage, "guarded", &name).await, pods_of(&stage, "stubborn", &name).await].concat();
            let deleted = both.iter().all(|pod| pod.metadata.deletion_timestamp.is_some());
            (both.len() == 2 && deleted).then_some(both)
        })
        .await;
        // Who needs no time is left alone until there is none.
        let quick = pods_of(&stage, "quick", &name).await;
        assert!(quick.len() == 1 && quick[0].metadata.deletion_timestamp.is_none(), "{}", controller.log());
        let claim = stage.all::<NodeClaim>().get(&name).await.unwrap();
        let deadline = claim.annotations()["karpenter.sh/nodeclaim-termination-timestamp"].clone();
        let due: Timestamp = deadline.parse().unwrap();
        for pod in slow {
            let grace = pod.metadata.deletion_grace_period_seconds.unwrap();
            let end = pod.metadata.deletion_timestamp.unwrap().0;
            assert!((9..=12).contains(&grace), "{grace} s of 12");
            assert!(end <= due && due.duration_since(end).as_secs() <= 3, "{end} before {due}");
        }
        until("the old claim to go", async || {
            stage.all::<NodeClaim>().get_opt(&name).await.unwrap().is_none().then_some(())
        })
        .await;
        assert_eq!(told_about(&stage, "Disrupted", "of its 12 terminationGracePeriodSeconds").await, ["Pod"]);
        assert_eq!(told_about(&stage, "Disrupted", "1 seconds of its 0 ").await, ["Pod"]);
        for pod in ["guarded", "quick"] {
            let words = format!("evicting pod violates a PDB (Pod=default/{pod}-");
            assert_eq!(told_about(&stage, "FailedDraining", &words).await, ["Node"]);
        }
        told_that(&stage, "FailedDraining", "3 pods are waiting to be evicted").await;
        let words = format!("All pods will be deleted by {deadline}");
        assert_eq!(told_about(&stage, "TerminationGracePeriodExpiring", &words).await, ["Node", "NodeClaim"]);
        stage.run_pods(3).await;
        stage.whole(1).await;
    });
}

#[test]
fn a_machine_that_shuts_down_is_waited_for() {
    run(async |stage| {
        stage.faults(json!({"shutdownDelay": "8s"})).await;
        stage.pool("default", json!({})).await;
        stage.deployment("inflate", 1, "1200m", json!({})).await;
        let first = stage.sole_controller(&[]);
        stage.run_pods(1).await;
        stage.whole(1).await;
        stage.scale("inflate", 0).await;
        let asked = until("the end of the machine to be asked for", async || {
            (condition(&only_claim(&stage).await, "InstanceTerminating") == "True").then(Instant::now)
        })
        .await;
        assert_eq!((stage.nodes().await.len(), stage.machines().await.len()), (1, 1));
        // The next controller asks again, which changes nothing.
        assert!(first.log().contains("shuts down for 8 s"), "{}", first.log());
        first.kill();
        let second = stage.sole_controller(&[]);
        stage.whole(0).await;
        assert!(asked.elapsed() > Duration::from_secs(6), "{}", second.log());
        assert!(!second.log().contains("shuts down"), "{}", second.log());
        stage.made(1).await;
    });
}

#[test]
fn a_disruption_budget_holds_a_drain_back_until_it_allows_it() {
    run(async |stage| {
        let _controller = stage.controller(&[]);
        stage.pool("default", json!({})).await;
        stage.deployment("guarded", 2, "1200m", json!({})).await;
        let selector = json!({"matchLabels": {"app": "guarded"}});
        stage.disruption_budget("guarded", json!({"minAvailable": 2, "selector": selector})).await;
        stage.run_pods(2).await;
        stage.whole(1).await;
        let claim = only_claim(&stage).await.name_any();
        stage.all::<NodeClaim>().delete(&claim, &DeleteParams::default()).await.unwrap();
        let node = until("the node to be closed", async || {
            let node = stage.all::<Node>().get(&claim).await.unwrap();
            let taints = node.spec.as_ref()?.taints.clone()?;
            taints
                .iter()
                .any(|taint| taint.key == "karpenter.sh/disrupted" && taint.effect == "NoSchedule")
                .then_some(node)
        })
        .await;
        assert!(node.labels().contains_key("node.kubernetes.io/exclude-from-external-load-balancers"));
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(stage.running().await, [claim.as_str(); 2]);
        assert_eq!(condition(&only_claim(&stage).await, "Drained"), "Unknown");
        // A third pod lets one go, and so one by one.
        stage.scale("guarded", 3).await;
        until("the old node to go", async || {
            let gone = stage.all::<Node>().get_opt(&claim).await.unwrap().is_none();
            gone.then_some(())
        })
        .await;
        stage.run_pods(3).await;
        stage.whole(1).await;
    });
}

#[test]
fn who_forbids_disruption_stays_until_the_grace_period_of_the_node_is_over() {
    run(async |stage| {
        let _controller = stage.controller(&[]);
        stage.pool("default", json!({"template": {"spec": {"terminationGracePeriod": "6s"}}})).await;
        let annotated = json!({"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": "true"}}});
        stage.deployment("stubborn", 1, "1200m", annotated).await;
        stage.run_pods(1).await;
        stage.whole(1).await;
        let claim = only_claim(&stage).await.name_any();
        let begin = Instant::now();
        stage.all::<NodeClaim>().delete(&claim, &DeleteParams::default()).await.unwrap();
        until("the old claim to go", async || {
            let there = stage.all::<NodeClaim>().get_opt(&claim).await.unwrap();
            if let Some(claim) = &there
                && begin.elapsed() > Duration::from_secs(2)
            {
                assert!(claim.annotations().contains_key("karpenter.sh/nodeclaim-termination-timestamp"));
            }
            there.is_none().then_some(())
        })
        .await;
        let taken = begin.elapsed();
        assert!(taken >= Duration::from_secs(5) && taken < Duration::from_secs(15), "{taken:?}");
        stage.run_pods(1).await;
        stage.whole(1).await;
    });
}

#[test]
fn who_forbids_disruption_for_a_time_is_evicted_when_it_is_over() {
    run(async |stage| {
        let _controller = stage.controller(&[]);
        stage.pool("default", json!({})).await;
        let annotated = json!({"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": "12s"}}});
        stage.deployment("busy", 1, "1200m", annotated).await;
        stage.run_pods(1).await;
        let begin = Instant::now();
        stage.whole(1).await;
        let claim = only_claim(&stage).await.name_any();
        stage.all::<NodeClaim>().delete(&claim, &DeleteParams::default()).await.unwrap();
        until("the old claim to go", async || {
            stage.all::<NodeClaim>().get_opt(&claim).await.unwrap().is_none().then_some(())
        })
        .await;
        // The pod's own clock, in whole seconds, began when its kubelet took it.
        let taken = begin.elapsed();
        assert!(taken >= Duration::from_secs(9) && taken < Duration::from_secs(25), "{taken:?}");
        stage.run_pods(1).await;
        stage.whole(1).await;
    });
}

#[test]
fn empty_nodes_end_no_faster_than_budgets_allow_and_not_where_it_is_forbidden() {
    run(async |stage| {
        let _controller = stage.controller(&[]);
        stage.pool("default", json!({"disruption": {"budgets": [{"nodes": "0", "reasons": ["Empty"]}]}})).await;
        stage.deployment("inflate", 6, "1200m", json!({})).await;
        stage.run_pods(6).await;
        stage.whole(2).await;
        let kept = stage.nodes().await[0].name_any();
        let annotate = Patch::Merge(json!({"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": "true"}}}));
        stage.all::<Node>().patch(&kept, &PatchParams::default(), &annotate).await.unwrap();
        stage.scale("inflate", 0).await;
        until("both to be consolidatable", async || {
            let claims = stage.claims().await;
            claims.iter().all(|claim| condition(claim, "Consolidatable") == "True").then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(stage.claims().await.len(), 2);
        let open = Patch::Merge(json!({"spec": {"disruption": {"budgets": [{"nodes": "100%"}]}}}));
        stage.all::<supercargo::api::NodePool>().patch("default", &PatchParams::default(), &open).await.unwrap();
        stage.whole(1).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(only_claim(&stage).await.name_any(), kept);
    });
}

#[test]
fn a_machine_ends_at_its_age_and_its_pods_get_another() {
    run(async |stage| {
        let controller = stage.controller(&[]);
        stage.pool("default", json!({"template": {"spec": {"expireAfter": "8s"}}})).await;
        stage.deployment("inflate", 1, "1200m", json!({})).await;
        stage.run_pods(1).await;
        stage.whole(1).await;
        let old = only_claim(&stage).await.name_any();
        until("another claim", async || {
            let claims = stage.claims().await;
            (claims.len() == 1 && claims[0].name_any() != old).then_some(())
        })
        .await;
        stage.run_pods(1).await;
        assert!(controller.log().contains("expired"));
    });
}

#[test]
fn a_machine_ends_at_its_age_though_its_node_never_gets_ready_for_pods() {
    run(async |stage| {
        let controller = stage.controller(&[]);
        let agent = json!([{"key": "example.com/agent", "effect": "NoSchedule"}]);
        let spec = json!({"expireAfter": "8s", "startupTaints": agent});
        stage.pool("default", json!({"template": {"spec": spec}})).await;
        stage.deployment("inflate", 1, "1200m", json!({})).await;
        let old = until("a node that waits", async || {
            let claims = stage.claims().await;
            let waits = claims.first().filter(|claim| condition(claim, "Registered") == "True")?;
            Some(waits.name_any())
        })
        .await;
        until("it to go", async || stage.claims().await.iter().all(|claim| claim.name_any() != old).then_some(()))
            .await;
        assert!(controller.log().contains("expired"), "{}", controller.log());
    });
}

#[test]
fn what_lost_its_other_half_is_cleared_away() {
    run(async |stage| {
        let _controller = stage.controller(&[]);
        stage.pool("default", json!({"disruption": {"consolidateAfter": "Never"}})).await;
        stage.deployment("inflate", 1, "1200m", json!({})).await;
        stage.run_pods(1).await;
        stage.whole(1).await;
        // The machine fails: its claim goes, and the pod gets another.
        let old = only_claim(&stage).await;
        let machines: kube::Api<ConfigMap> = kube::Api::namespaced(stage.client.clone(), "kube-system");
        let record = stage.machines().await.remove(0);
        machines.delete(&record.name_any(), &DeleteParams::default()).await.unwrap();
        until("the old claim to go", async || {
            stage.all::<NodeClaim>().get_opt(&old.name_any()).await.unwrap().is_none().then_some(())
        })
        .await;
        stage.run_pods(1).await;
        stage.whole(1).await;
        // A claim goes without its finalizer: machine and node go as well.
        stage.scale("inflate", 0).await;
        let claim = only_claim(&stage).await.name_any();
        let bare = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        stage.all::<NodeClaim>().delete(&claim, &DeleteParams::default()).await.unwrap();
        let _ = stage.all::<NodeClaim>().patch(&claim, &PatchParams::default(), &bare).await;
        stage.whole(0).await;
    });
}
