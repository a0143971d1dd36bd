//! A dry run tells what it would do, and does nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use supercargo::api::{EC2NodeClass, NodePool};
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

/// The plan that was published last, if there is one.
async fn published(stage: &Stage) -> Option<(String, Option<Plan>)> {
    let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), "kube-system");
    let data = maps.get_opt("supercargo-plan").await.unwrap()?.data?;
    Some((data["summary"].clone(), data.get("plan.json").map(|text| serde_json::from_str(text).unwrap())))
}

async fn notes(stage: &Stage) -> BTreeSet<String> {
    let events = stage.all::<Event>().list(&ListParams::default()).await.unwrap().items;
    let told = events.into_iter().filter(|event| event.reason.as_deref() == Some("DryRun"));
    told.map(|event| format!("{}: {}", event.regarding.unwrap().name.unwrap(), event.note.unwrap())).collect()
}

#[test]
fn a_dry_run_tells_its_plan_and_writes_nothing_else() {
    run(async |stage| {
        stage.create(&stage.all::<ClusterRole>(), role()).await;
        let binding = json!({
            "metadata": {"name": "dry-run"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "dry-run"},
            "subjects": [{"kind": "ServiceAccount", "name": "dry-run", "namespace": "default"}],
        });
        stage.create(&stage.all::<ClusterRoleBinding>(), binding).await;
        let kubeconfig = account(&stage.control_plane, &stage.client, "default", "dry-run").await;
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
        let own = stage.requests("system:serviceaccount:default:dry-run");
        let is_read = |verb: &str| ["get", "list", "watch"].contains(&verb);
        let writes: BTreeSet<String> = own
            .iter()
            .filter(|event| !is_read(event["verb"].as_str().unwrap()))
            .map(|event| format!("{} {}", event["objectRef"]["resource"], event["objectRef"]["name"]))
            .filter(|what| !what.starts_with("\"events\""))
            .collect();
        assert_eq!(writes, ["\"configmaps\" \"supercargo-plan\"".to_owned()].into(), "{}", controller.log());
    });
}
