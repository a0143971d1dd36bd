//! Running it: one leader, a clean end, metrics and health.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use supercargo::api::{NodeClaim, NodePool};

use super::stage::{Stage, run};
use crate::fixture::until;

/// What a plain GET brings; empty where nobody listens.
pub fn get(address: &str, path: &str) -> String {
    request(address, "GET", path, "")
}

fn request(address: &str, method: &str, path: &str, body: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        stream.read_to_string(&mut answer).unwrap();
    }
    answer
}

pub async fn holder(stage: &Stage) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), "kube-system");
    leases
        .get_opt("karpenter-leader-election")
        .await
        .unwrap()?
        .spec?
        .holder_identity
        .filter(|holder| !holder.is_empty())
}

#[test]
fn the_next_leader_goes_on_when_the_first_is_killed_and_a_clean_end_frees_the_lease() {
    run(async |stage| {
        // One machine too many would stay.
        stage.pool("default", json!({"disruption": {"consolidateAfter": "Never"}})).await;
        stage.deployment("inflate", 2, "1200m", json!({})).await;
        let first = stage.controller(&["--kwok-boot-delay", "3s"]);
        until("the first leader", async || holder(&stage).await).await;
        let mut second = stage.controller(&["--kwok-boot-delay", "3s"]);
        until("a machine", async || (stage.machines().await.len() == 1).then_some(())).await;
        assert!(!second.log().contains("leading"));
        let leader = holder(&stage).await.unwrap();
        assert!(second.log().contains(&format!("{leader} leads")), "{}", second.log());
        first.kill();
        stage.run_pods(2).await;
        stage.whole(1).await;
        assert!(second.log().contains("leading"));
        stage.made(1).await;
        second.terminate();
        assert_eq!(second.ended(Duration::from_secs(10)), Some(0));
        assert_eq!(holder(&stage).await, None);
        // The third need not wait for the lease to end.
        let third = stage.controller(&[]);
        stage.change_pool("default", json!({"disruption": {"consolidateAfter": "1s"}})).await;
        stage.scale("inflate", 0).await;
        stage.whole(0).await;
        assert!(third.log().contains("leading"));
    });
}

#[test]
fn a_karpenter_that_leads_in_another_namespace_is_let_alone() {
    run(async |stage| {
        stage.pool("default", json!({})).await;
        stage.deployment("inflate", 1, "1200m", json!({})).await;
        let leases: Api<Lease> = Api::default_namespaced(stage.client.clone());
        let lease = json!({"metadata": {"name": "karpenter-leader-election"}, "spec": {
            "holderIdentity": "karpenter-1", "leaseDurationSeconds": 3600,
            "renewTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        }});
        stage.create(&leases, lease.clone()).await;
        let mut controller = stage.controller(&[]);
        until("it to say so", async || {
            controller.log().contains("karpenter-1 leads by the lease default/karpenter-leader-election").then_some(())
        })
        .await;
        // Longer than a batch takes.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(stage.claims().await.is_empty() && !controller.log().contains("leading"), "{}", controller.log());
        leases.delete("karpenter-leader-election", &Default::default()).await.unwrap();
        stage.run_pods(1).await;
        // It comes back.
        stage.create(&leases, lease).await;
        assert_eq!(controller.ended(Duration::from_secs(10)), Some(1));
        let words = "karpenter-1 leads by the lease default/karpenter-leader-election: ended";
        assert!(controller.log().contains(words), "{}", controller.log());
        assert_eq!(holder(&stage).await, None);
    });
}

#[test]
fn a_leader_renews_its_lease_with_one_write_and_asks_for_nothing_that_a_watch_tells_it() {
    run(async |stage| {
        let controller = stage.controller(&[]);
        stage.pool("default", json!({})).await;
        stage.deployment("inflate", 4, "3", json!({})).await;
        stage.run_pods(4).await;
        stage.whole(4).await;
        // Until the last event is written.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let before = stage.requests("admin").len();
        // Twice, every ten seconds.
        tokio::time::sleep(Duration::from_secs(22)).await;
        let of = |event: &Value| {
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            [word(&event["verb"]), word(&event["objectRef"]["resource"])].join(" ")
        };
        let all = until("its requests in the audit log", async || {
            let all: Vec<String> = stage.requests("admin").iter().map(of).collect();
            (all[before..].iter().filter(|one| *one == "update leases").count() >= 2).then_some(all)
        })
        .await;
        // A watch that has run for minutes is begun again.
        let mut asked = all[before..].to_vec();
        asked.retain(|one| !one.starts_with("watch "));
        asked.dedup();
        assert_eq!(asked, ["update leases"], "{}", controller.log());
        let mut leases: Vec<&str> = all.iter().filter_map(|one| one.strip_suffix(" leases")).collect();
        leases.retain(|verb| *verb != "watch");
        leases.dedup();
        assert_eq!(leases, ["get", "create", "list", "update"], "{}", controller.log());
    });
}

#[test]
fn metrics_and_health_tell_how_it_is() {
    run(async |stage| {
        let controller = stage.controller(&[]);
        let health = controller.address("/healthz and /readyz").await;
        let metrics = controller.address("/metrics").await;
        until("readiness", async || get(&health, "/readyz").starts_with("HTTP/1.1 200").then_some(())).await;
        assert!(get(&health, "/healthz").starts_with("HTTP/1.1 200"));
        assert!(get(&health, "/log-level").ends_with("supercargo=info,warn\n"));
        assert!(request(&health, "PUT", "/log-level", "loud").starts_with("HTTP/1.1 400"));
        assert!(request(&health, "PUT", "/log-level", "debug\n").ends_with("supercargo=debug,warn\n"));
        stage.pool("default", json!({"limits": {"cpu": "100"}})).await;
        stage.deployment("inflate", 2, "1200m", json!({})).await;
        stage.run_pods(2).await;
        stage.whole(1).await;
        let told = until("the pool's usage", async || {
            let told = get(&metrics, "/metrics");
            told.contains("karpenter_nodepools_usage{nodepool=\"default\",resource_type=\"cpu\"} 4").then_some(told)
        })
        .await;
        for line in [
            "karpenter_nodepools_limit{nodepool=\"default\",resource_type=\"cpu\"} 100",
            "karpenter_nodeclaims_created_total{nodepool=\"default\"",
            "karpenter_scheduler_scheduling_duration_seconds_count{controller=\"provisioner\"} 1",
            "karpenter_nodes_created_total{nodepool=\"default\",zone=\"us-east-1",
            "supercargo_planned_pods_total 2",
            "supercargo_leader 1",
        ] {
            assert!(told.contains(line), "{line} is not in\n{told}");
        }
        let log = controller.log();
        assert!(log.contains("claimed 1x m5.xlarge on-demand us-east-1"), "{log}");
        assert!(log.contains("DEBUG"), "{log}");
    });
}

/// The values of the series of this name that bear all of these labels (`node_name="n"`).
fn values(told: &str, name: &str, labels: &[&str]) -> Vec<f64> {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let is_it = rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label));
        is_it.then(|| rest.rsplit(' ').next().unwrap().parse().unwrap())
    };
    told.lines().filter_map(value).collect()
}

#[test]
fn metrics_tell_of_what_is_there_and_not_of_what_is_gone() {
    run(async |stage| {
        let controller = stage.controller(&[]);
        let metrics = controller.address("/metrics").await;
        stage.pool("default", json!({"limits": {"cpu": "100"}})).await;
        stage.deployment("inflate", 2, "1200m", json!({})).await;
        stage.run_pods(2).await;
        stage.whole(1).await;
        let claim = format!("name=\"{}\"", stage.claims().await[0].name_any());
        let node = format!("node_name=\"{}\"", stage.nodes().await[0].name_any());
        let host = node.replace("node_name", "node");
        let told = until("both pods to be told as ready", async || {
            let told = get(&metrics, "/metrics");
            (values(&told, "karpenter_pods_state", &[&host, "ready=\"true\""]) == [1.0; 2]).then_some(told)
        })
        .await;
        let of_node = |name: &str| values(&told, name, &[&node, "resource_type=\"cpu\"", "nodepool=\"default\""]);
        assert_eq!(of_node("karpenter_nodes_allocatable"), [3.92], "{told}");
        assert_eq!(of_node("karpenter_nodes_total_pod_requests"), [2.4], "{told}");
        let one = |name: &str, labels: &[&str]| {
            let found = values(&told, name, labels);
            assert_eq!(found.len(), 1, "{name} {labels:?} in\n{told}");
            found[0]
        };
        for name in [
            "karpenter_pods_scheduling_decision_duration_seconds_count",
            "karpenter_pods_bound_duration_seconds_count",
            "karpenter_pods_provisioning_bound_duration_seconds_count",
            "karpenter_pods_startup_duration_seconds_count",
        ] {
            assert_eq!(one(name, &[]), 2.0, "{name} in\n{told}");
        }
        assert_eq!(one("karpenter_cluster_state_synced", &[]), 1.0);
        assert_eq!(one("karpenter_cluster_state_node_count", &[]), 1.0);
        assert_eq!(one("karpenter_nodepools_allowed_disruptions", &["nodepool=\"default\"", "reason=\"Empty\""]), 1.0);
        let ready = ["type=\"Ready\"", "status=\"True\"", claim.as_str()];
        assert_eq!(one("operator_nodeclaim_status_condition_count", &ready), 1.0);
        let calls = ["controller=\"nodeclaim.lifecycle\"", "method=\"Create\"", "provider=\"kwok\""];
        assert!(one("karpenter_cloudprovider_duration_seconds_count", &calls) >= 1.0);
        let offering = ["instance_type=\"m5.xlarge\"", "capacity_type=\"on-demand\"", "zone=\"us-east-1a\""];
        let price = one("karpenter_cloudprovider_instance_type_offering_price_estimate", &offering);
        assert_eq!(one("karpenter_nodepools_cost_total", &["nodepool=\"default\""]), price);
        stage.scale("inflate", 0).await;
        stage.whole(0).await;
        stage.all::<NodePool>().delete("default", &DeleteParams::default()).await.unwrap();
        until("what is gone not to be told", async || {
            let told = get(&metrics, "/metrics");
            let gone = [("karpenter_nodes_allocatable", node.as_str()), ("karpenter_pods_state", host.as_str())];
            let gone = gone.into_iter().chain([
                ("operator_nodeclaim_status_condition_count", claim.as_str()),
                ("karpenter_nodepools_limit", "nodepool=\"default\""),
                ("karpenter_nodepools_usage", "nodepool=\"default\""),
                ("karpenter_nodepools_allowed_disruptions", "nodepool=\"default\""),
            ]);
            gone.into_iter().all(|(name, label)| values(&told, name, &[label]).is_empty()).then_some(())
        })
        .await;
    });
}

/// A claim and a node of another cloud's, whose machine the kwok cloud knows nothing of.
#[test]
fn machines_of_another_cloud_are_left_alone() {
    run(async |stage| {
        let class = json!({"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"});
        let claim = json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {"name": "theirs", "labels": {"karpenter.sh/nodepool": "default"}},
            "spec": {"nodeClassRef": class, "requirements": [], "expireAfter": "1s"},
        });
        stage.create(&stage.all::<NodeClaim>(), claim).await;
        let long_ago = "2026-01-01T00:00:00Z";
        let is_true = |kind: &str| json!({"type": kind, "status": "True", "reason": kind, "message": "", "lastTransitionTime": long_ago});
        let status = json!({"status": {
            "providerID": "aws:///us-east-1a/i-1",
            "conditions": (["Launched", "Registered", "Initialized", "Consolidatable", "Ready"].map(is_true)),
        }});
        let claims = stage.all::<NodeClaim>();
        claims.patch_status("theirs", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        for (name, provider) in [("with-claim", "aws:///us-east-1a/i-1"), ("alone", "aws:///us-east-1a/i-2")] {
            let node = json!({
                "metadata": {"name": name, "labels": {"karpenter.sh/nodepool": "default"}},
                "spec": {"providerID": provider},
            });
            stage.create(&stage.all::<Node>(), node).await;
        }
        // Older than what may just not have been written down yet.
        tokio::time::sleep(Duration::from_secs(11)).await;
        let controller = stage.sole_controller(&[]);
        stage.pool("default", json!({})).await;
        stage.deployment("inflate", 1, "1200m", json!({})).await;
        stage.run_pods(1).await;
        stage.scale("inflate", 0).await;
        until("our own machine to go", async || stage.machines().await.is_empty().then_some(())).await;
        // Twice the period of the comparison.
        tokio::time::sleep(Duration::from_secs(4)).await;
        for name in ["with-claim", "alone"] {
            let node = stage.all::<Node>().get(name).await.unwrap();
            assert!(node.metadata.deletion_timestamp.is_none(), "{}", controller.log());
        }
        let theirs = claims.get("theirs").await.unwrap();
        assert!(theirs.metadata.deletion_timestamp.is_none(), "{}", controller.log());
        assert!(theirs.metadata.finalizers.is_none(), "{:?}", theirs.metadata.finalizers);
    });
}
