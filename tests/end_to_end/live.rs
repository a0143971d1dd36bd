//! `supercargo plan` on the live cluster: it sees what is there, with `list` alone, and says what it may not see.

use std::path::Path;
use std::process::{Command, Output};

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, PostParams};
use serde_json::{Value, json};
use supercargo::api::NodePool;

use crate::fixture::{Corner, TEST, run, until};

/// What the README says that supercargo needs.
const README: &str = include_str!("../../README.md");

fn supercargo(kubeconfig: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_supercargo"))
        .args(["plan", "--iterations", "50", "--kubeconfig"])
        .arg(kubeconfig)
        .args(arguments)
        .env_remove("KUBECONFIG")
        .output()
        .unwrap()
}

/// The ClusterRole of the README, under a name of the test's own.
pub fn documented_role(name: &str) -> Value {
    let start = README.find("kind: ClusterRole").unwrap();
    let rules = README[start..].split("```").next().unwrap();
    let mut role: Value =
        serde_saphyr::from_str(&format!("apiVersion: rbac.authorization.k8s.io/v1\n{rules}")).unwrap();
    role["metadata"]["name"] = json!(name);
    role
}

async fn allow(corner: &Corner, account: &str, role: Value) {
    corner.create_all::<ClusterRole>(role.clone()).await;
    let name = role["metadata"]["name"].clone();
    corner
        .create_all::<ClusterRoleBinding>(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": corner.name}],
        }))
        .await;
}

/// A NodePool for this test's pods alone.
async fn node_pool(corner: &Corner, categories: &[&str]) {
    corner.install_definitions().await;
    let pool = json!({
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": corner.name},
        "spec": {"template": {
            "metadata": {"labels": {TEST: corner.name}},
            "spec": {
                "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "none"},
                "taints": [{"key": TEST, "value": corner.name, "effect": "NoSchedule"}],
                "requirements": [
                    {"key": "karpenter.k8s.aws/instance-category", "operator": "In", "values": categories},
                    {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
                ],
            },
        }},
    });
    corner.create_all::<NodePool>(pool).await;
}

/// A Provisioner that no program understands; its definition is installed first, without a schema.
async fn broken_provisioner(corner: &Corner) {
    let definition: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": {"name": "provisioners.karpenter.sh"},
        "spec": {
            "group": "karpenter.sh",
            "scope": "Cluster",
            "names": {"kind": "Provisioner", "plural": "provisioners", "singular": "provisioner"},
            "versions": [{"name": "v1alpha5", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            }}}],
        },
    }))
    .unwrap();
    let definitions: Api<CustomResourceDefinition> = Api::all(corner.client.clone());
    definitions.create(&PostParams::default(), &definition).await.unwrap();
    let kind = ApiResource {
        group: "karpenter.sh".into(),
        version: "v1alpha5".into(),
        api_version: "karpenter.sh/v1alpha5".into(),
        kind: "Provisioner".into(),
        plural: "provisioners".into(),
    };
    let provisioners: Api<DynamicObject> = Api::all_with(corner.client.clone(), &kind);
    until("provisioners to be served", async || provisioners.list(&Default::default()).await.ok()).await;
    let broken = json!({
        "apiVersion": "karpenter.sh/v1alpha5",
        "kind": "Provisioner",
        "metadata": {"name": format!("{}-broken", corner.name)},
        "spec": {"weight": "heavy"},
    });
    provisioners.create(&PostParams::default(), &serde_json::from_value(broken).unwrap()).await.unwrap();
}

/// Names of the pods of a part of a plan that are this test's.
fn own(corner: &Corner, nodes: &Value) -> Vec<String> {
    let prefix = format!("{}/", corner.name);
    let pods = nodes.as_array().unwrap().iter().flat_map(|node| node["pods"].as_array().unwrap());
    pods.filter_map(|pod| pod.as_str()?.strip_prefix(&prefix).map(str::to_owned)).collect()
}

#[test]
fn a_live_cluster_is_planned_for_with_list_alone() {
    run("live", async |corner| {
        node_pool(&corner, &["m"]).await;
        broken_provisioner(&corner).await;
        corner.node("live-node", "2", "4Gi", &[]).await;
        corner.pod("holder", json!({"cpu": "1500m"}), json!({})).await;
        corner.bound("holder").await;
        // More than a page.
        for number in 0..510 {
            corner.pod(&format!("waiting-{number}"), json!({"cpu": "1", "memory": "1Gi"}), json!({})).await;
        }
        let kubeconfig = corner.account("planner").await;
        allow(&corner, "planner", documented_role("live-planner")).await;

        let output = until("the rights to be known", async || {
            let output = supercargo(&kubeconfig, &["-o", "json"]);
            (!String::from_utf8_lossy(&output.stderr).contains("refuses")).then_some(output)
        })
        .await;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {words}"));
        let mut planned = own(&corner, &plan["nodes"]);
        planned.sort_unstable();
        planned.dedup();
        assert_eq!(planned.len(), 510, "{words}");
        for node in plan["nodes"].as_array().unwrap().iter().filter(|node| node["nodePool"] == "live") {
            assert!(node["instanceType"].as_str().unwrap().starts_with('m'), "{node}");
        }

        assert!(
            words.contains("left out, because it cannot be understood: the cluster: Provisioner live-broken"),
            "{words}"
        );

        let user = "system:serviceaccount:live:planner";
        let requests = until("the audit log", async || {
            let mut log = corner.control_plane.audit_log().unwrap();
            log.retain(|event| event["user"]["username"] == user);
            log.iter().any(|event| event["objectRef"]["resource"] == "awsnodetemplates").then_some(log)
        })
        .await;
        for event in &requests {
            assert_eq!(event["verb"], "list", "{event}");
        }
        assert!(requests.iter().any(|event| event["objectRef"]["resource"] == "csinodes"));
        let later = |event: &&Value| event["requestURI"].as_str().unwrap().contains("continue=");
        assert!(requests.iter().filter(later).count() > 0, "pods come in more than one page");
    });
}

#[test]
fn what_may_not_be_listed_is_named() {
    run("refused", async |corner| {
        let kubeconfig = corner.account("stranger").await;
        let mut role = documented_role("refused-stranger");
        for rule in role["rules"].as_array_mut().unwrap() {
            rule["resources"].as_array_mut().unwrap().retain(|resource| resource != "storageclasses");
        }
        role["rules"].as_array_mut().unwrap().retain(|rule| !rule["resources"].as_array().unwrap().is_empty());
        allow(&corner, "stranger", role).await;
        until("the rights to be known", async || {
            let output = supercargo(&kubeconfig, &[]);
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{words}");
            words.contains("refuses to list storageclasses.storage.k8s.io").then_some(())
        })
        .await;
    });
}

#[test]
fn a_kubeconfig_or_context_that_is_not_there_is_named() {
    let output = supercargo(Path::new("no/such/kubeconfig"), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no/such/kubeconfig"));

    let kubeconfig = crate::fixture::control_plane().kubeconfig();
    let output = supercargo(&kubeconfig, &["--context", "elsewhere"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("elsewhere"));
}

/// What a program says that finds no kubeconfig, where the cluster around is said to be at this port.
fn without_kubeconfig(arguments: &[&str], port: Option<&str>) -> String {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
    command.args(arguments).env("HOME", home.path()).env_remove("KUBECONFIG");
    match port {
        Some(port) => command.envs([("KUBERNETES_SERVICE_HOST", "127.0.0.1"), ("KUBERNETES_SERVICE_PORT", port)]),
        None => command.env_remove("KUBERNETES_SERVICE_HOST"),
    };
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn without_a_kubeconfig_it_is_said_what_is_wrong_with_the_cluster_around() {
    let controller = ["controller", "--cloud", "kwok"];
    let nowhere = without_kubeconfig(&controller, None);
    assert!(nowhere.contains("no cluster to watch over"), "{nowhere}");
    let nothing = without_kubeconfig(&["plan"], None);
    assert!(nothing.contains("no objects to plan for"), "{nothing}");
    for arguments in [&controller[..], &["plan"]] {
        let words = without_kubeconfig(arguments, Some("none"));
        assert!(
            words.contains("the service account of this pod cannot be used: failed to parse cluster port"),
            "{words}"
        );
    }
}
