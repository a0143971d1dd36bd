//! A dry run tells what it would do, and does nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use supercargo::api::{EC2NodeClass, NodeClaim, NodePool};
use supercargo_models::plan::Plan;

use super::operation::get;
use super::stage::{Stage, run};
use crate::fixture::{account, until};
use crate::live::documented_role;

/// What the README says that a dry run needs beside the rights of `supercargo plan`.
fn role() -> Value {
    const README: &str = include_str!("../../../README.md");
    let mut role = documented_role("dry-run");
    let rules = role["rules"].as_array_mut().unwrap();
    rules.push(json!({"apiGroups": ["storage.k8s.io"], "resources": ["volumeattachments"], "verbs": ["list"]}));
    rules.push(json!({"apiGroups": ["karpenter.kwok.sh"], "resources": ["kwoknodeclasses"], "verbs": ["list"]}));
    rules.iter_mut().for_each(|rule| rule["verbs"] = json!(["list", "watch"]));
    let own =
        README.split("### A dry run").nth(1).unwrap().split("```yaml").nth(1).unwrap().split("```").next().unwrap();
    let own: Value = serde_saphyr::from_str(own).unwrap();
    rules.extend(own["rules"].as_array().unwrap().iter().cloned());
    role
}

/// All that was published last.
async fn data(stage: &Stage) -> Option<BTreeMap<String, String>> {
    let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), "kube-system");
    maps.get_opt("supercargo-plan").await.unwrap()?.data
}

/// The plan that was published last, if there is one.
async fn published(stage: &Stage) -> Option<(String, Option<Plan>)> {
    let data = data(stage).await?;
    Some((data.get("summary")?.clone(), data.get("plan.json").map(|text| serde_json::from_str(text).unwrap())))
}

/// A kubeconfig with no more rights than a dry run is said to need.
async fn rights(stage: &Stage) -> PathBuf {
    stage.create(&stage.all::<ClusterRole>(), role()).await;
    let binding = json!({
        "metadata": {"name": "dry-run"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "dry-run"},
        "subjects": [{"kind": "ServiceAccount", "name": "dry-run", "namespace": "default"}],
    });
    stage.create(&stage.all::<ClusterRoleBinding>(), binding).await;
    account(&stage.control_plane, &stage.client, "default", "dry-run").await
}

/// What a dry run has written so far, but for events.
fn writes(stage: &Stage) -> BTreeSet<String> {
    let is_read = |verb: &str| ["get", "list", "watch"].contains(&verb);
    let own = stage.requests("system:serviceaccount:default:dry-run");
    own.iter()
        .filter(|event| !is_read(event["verb"].as_str().unwrap()))
        .map(|event| format!("{} {}", event["objectRef"]["resource"], event["objectRef"]["name"]))
        .filter(|what| !what.starts_with("\"events\""))
        .collect()
}

async fn notes(stage: &Stage) -> BTreeSet<String> {
    let events = stage.all::<Event>().list(&ListParams::default()).await.unwrap().items;
    let told = events.into_iter().filter(|event| event.reason.as_deref() == Some("DryRun"));
    told.map(|event| format!("{}: {}", event.regarding.unwrap().name.unwrap(), event.note.unwrap())).collect()
}

#[test]
fn a_dry_run_tells_its_plan_and_writes_nothing_else() {
    run(async |stage| {
        let kubeconfig = rights(&stage).await;
        // Somebody else's cloud.
        let class = json!({"metadata": {"name": "default"}, "spec": {
            "amiSelectorTerms": [{"alias": "al2023@latest"}], "role": "node",
            "subnetSelectorTerms": [{"tags": {"a": "b"}}], "securityGroupSelectorTerms": [{"tags": {"a": "b"}}],
        }});
        stage.create(&stage.all::<EC2NodeClass>(), class).await;
        let pool = json!({"metadata": {"name": "default"}, "spec": {"template": {"spec": {
            "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"},
            "requirements": [{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["m5.xlarge"]},
                {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["us-east-1a"]},
                {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]}],
        }}}});
        stage.create(&stage.all::<NodePool>(), pool).await;
        stage.deployment("inflate", 3, "1200m", json!({})).await;
        stage.deployment("giant", 1, "100", json!({})).await;

        let controller = stage.controller_as(&kubeconfig, &["--dry-run"]);
        let (summary, plan) = until("a plan of all pods", async || {
            published(&stage).await.filter(|(_, plan)| plan.as_ref().is_some_and(|plan| plan.summary.pods == 4))
        })
        .await;
        let plan = plan.unwrap();
        assert!(summary.starts_with("1 node"), "{summary}");
        assert_eq!((plan.nodes.len(), plan.nodes[0].pods.len(), plan.unschedulable.len()), (1, 3, 1));
        let told = until("the events", async || Some(notes(&stage).await).filter(|told| told.len() == 5)).await;
        let told: Vec<String> = told.into_iter().collect();
        assert!(told[0].contains("would buy 1x m5.xlarge on-demand us-east-1a for 3 pods: $0.1920/h"), "{told:#?}");
        assert!(told[1].starts_with("giant-"), "{told:#?}");
        assert!(
            told[2].ends_with("would be planned onto a new m5.xlarge on-demand us-east-1a of NodePool default"),
            "{told:#?}"
        );
        let metrics = get(&controller.address("/metrics").await, "/metrics");
        assert!(metrics.contains("supercargo_leader 0"), "{metrics}");

        stage.scale("inflate", 0).await;
        stage.scale("giant", 0).await;
        until("nothing to be planned", async || published(&stage).await.filter(|(_, plan)| plan.is_none())).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(stage.claims().await.is_empty() && stage.nodes().await.is_empty() && stage.machines().await.is_empty());
        assert_eq!(writes(&stage), ["\"configmaps\" \"supercargo-plan\"".to_owned()].into(), "{}", controller.log());
    });
}

/// Sets a pool's template label, from which its nodes drift.
fn team(name: &str) -> Value {
    json!({"template": {"metadata": {"labels": {"team": name}}}})
}

/// Claims as they are, each with the version that was written last.
async fn versions(stage: &Stage) -> BTreeMap<String, Option<String>> {
    let claims = stage.claims().await;
    claims.into_iter().map(|claim| (claim.name_any(), claim.metadata.resource_version)).collect()
}

#[test]
fn a_dry_run_tells_what_it_would_end_and_ends_nothing() {
    run(async |stage| {
        let actor = stage.sole_controller(&[]);
        // Nodes that are too large for two pods, under budgets that let one of each pool go.
        let one = json!({"budgets": [{"nodes": "1"}], "consolidateAfter": "1s"});
        let on = |pool: &str| json!({"spec": {"nodeSelector": {"karpenter.sh/nodepool": pool}}});
        stage.pool("empty", json!({ "disruption": one })).await;
        stage.pool("drifted", json!({ "disruption": one })).await;
        stage.pool("fixed", json!({"replicas": 2})).await;
        stage.deployment("empty", 2, "3", on("empty")).await;
        stage.deployment("drifted", 2, "3", on("drifted")).await;
        stage.run_pods(4).await;
        stage.whole(6).await;
        // From here on nobody acts.
        actor.kill();
        stage.scale("empty", 0).await;
        stage.change_pool("drifted", team("new")).await;
        stage.change_pool("fixed", json!({"replicas": 1})).await;
        stage.pool("more", json!({"replicas": 2})).await;
        let expiring = json!({
            "metadata": {"name": "expiring"},
            "spec": {
                "expireAfter": "1s", "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "more"},
                "requirements": [],
            },
        });
        stage.create(&stage.all::<NodeClaim>(), expiring).await;
        until("the pods to go", async || (stage.running().await.len() == 2).then_some(())).await;
        let before = versions(&stage).await;

        let kubeconfig = rights(&stage).await;
        let controller = stage.controller_as(&kubeconfig, &["--dry-run"]);
        let told = until("one change of each kind", async || {
            let data = data(&stage).await?;
            let changes: Vec<Value> = serde_json::from_str(data.get("changes.json")?).unwrap();
            (changes.len() == 5).then(|| (data["changes"].clone(), changes))
        })
        .await;
        let (words, changes) = told;
        let of = |reason: &str| changes.iter().find(|change| change["reason"] == reason).unwrap();
        assert!(words.contains("would end expiring: Expired: it is older than 1s"), "{words}");
        assert_eq!(of("Empty")["nodePool"], "empty");
        assert_eq!(of("Overprovisioned")["nodePool"], "fixed");
        assert_eq!((&of("Static")["nodePool"], &of("Static")["nodes"]), (&json!("more"), &json!(2)));
        let drifted = of("Drifted");
        let message = drifted["message"].as_str().unwrap();
        assert!(message.starts_with("NodePoolDrifted") && drifted["nodePool"] == "drifted", "{words}");
        // The empty node that may stay takes the pods of none: it is another pool's.
        assert!(drifted["bought"].as_str().unwrap().starts_with("1x m5.xlarge on-demand us-east-1"), "{words}");
        let log = controller.log();
        for line in words.lines() {
            assert!(log.contains(line), "{line}\n{log}");
        }
        let told = until("the events", async || {
            let notes = notes(&stage).await;
            words.lines().all(|line| notes.iter().any(|note| note.ends_with(line))).then_some(notes)
        })
        .await;
        assert!(told.iter().any(|note| note.starts_with("more: would make 2x m5.xlarge")), "{told:#?}");
        let metrics = get(&controller.address("/metrics").await, "/metrics");
        let line = "supercargo_dry_run_nodes{nodepool=\"empty\",action=\"end\",reason=\"Empty\"} 1.0";
        assert!(metrics.contains(line), "{metrics}");
        // Longer than a look at them takes.
        tokio::time::sleep(Duration::from_secs(12)).await;
        assert_eq!(versions(&stage).await, before, "{}", controller.log());
        assert_eq!(stage.nodes().await.len(), 6);
        assert_eq!(writes(&stage), ["\"configmaps\" \"supercargo-plan\"".to_owned()].into(), "{}", controller.log());
    });
}
