//! The definitions of the custom resources: what the API server accepts, refuses, fills in and shows.

mod case;
mod node_claims;
mod node_classes;
mod node_pools;
mod others;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use supercargo::api::{Definition, KWOKNodeClass, NodeClaim, NodePool, definitions};
use supercargo::cluster::{ReadOptions, read};
use test_cluster::Parts;

use crate::fixture::{Corner, TEST, control_plane, run};
use case::{Case, put};

/// The objects of one kind.
fn objects(corner: &Corner, definitions: &[Definition], manifest: &Value) -> Api<DynamicObject> {
    let kind = manifest["kind"].as_str().unwrap();
    let definition = definitions.iter().find(|definition| definition.kind == kind).unwrap();
    corner.objects(definition)
}

/// Has the API server look at a manifest, with all that it does on a create but keep it.
async fn look(api: &Api<DynamicObject>, manifest: &Value) -> Result<Value, String> {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&dry_run, &serde_json::from_value(manifest.clone()).unwrap()).await {
        Ok(object) => Ok(serde_json::to_value(object).unwrap()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("{error}"),
    }
}

fn all_cases() -> Vec<Case> {
    [node_pools::cases(), node_claims::cases(), node_classes::cases(), others::cases()].into_iter().flatten().collect()
}

#[test]
fn the_api_server_accepts_and_refuses_what_it_should() {
    run("definitions", async |corner| {
        corner.install_definitions().await;
        let definitions = definitions().unwrap();
        let mut wrong = Vec::new();
        for case in all_cases() {
            let manifest = case.manifest;
            let said = look(&objects(&corner, &definitions, &manifest), &manifest).await;
            let right = match &said {
                Ok(_) => case.refusal.is_empty(),
                Err(words) => !case.refusal.is_empty() && words.contains(case.refusal),
            };
            if !right {
                let said = said.map(|_| "accepted".to_string()).unwrap_or_else(|words| words);
                wrong
                    .push(format!("{} {}\n  should be: {}\n  is: {said}", manifest["kind"], case.change, case.refusal));
            }
        }
        assert!(wrong.is_empty(), "{} manifests:\n{}", wrong.len(), wrong.join("\n"));
    });
}

/// What files with NodePools are refused for is what the API server refuses them for.
#[test]
fn files_are_judged_as_the_api_server_judges() {
    // A plan needs neither, so that files may leave them out.
    const LENIENT: [&str; 2] = ["spec.template.spec.nodeClassRef: null", "spec.template.spec.requirements: null"];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pool.json");
    let mut wrong = Vec::new();
    for case in node_pools::cases().into_iter().filter(|case| !LENIENT.contains(&case.change.as_str())) {
        std::fs::write(&file, case.manifest.to_string()).unwrap();
        let said = read(&[file.display().to_string()], &ReadOptions::default());
        if said.is_ok() != case.refusal.is_empty() {
            wrong.push(format!("{}: {:?} in files, {:?} to the API server", case.change, said.err(), case.refusal));
        }
    }
    assert!(wrong.is_empty(), "{} manifests:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_left_out_is_filled_in() {
    run("defaults", async |corner| {
        corner.install_definitions().await;
        let definitions = definitions().unwrap();
        let filled = async |manifest: Value| {
            let mut object = look(&objects(&corner, &definitions, &manifest), &manifest).await.unwrap();
            object.as_object_mut().unwrap().remove("metadata");
            object
        };
        let mut whole = node_pools::least().0;
        let pool = filled(whole.clone()).await;
        whole.as_object_mut().unwrap().remove("metadata");
        put(&mut whole, "spec.template.spec.expireAfter", json!("720h"));
        let disruption = json!({
            "budgets": [{"nodes": "10%"}],
            "consolidateAfter": "0s",
            "consolidationPolicy": "WhenEmptyOrUnderutilized",
        });
        put(&mut whole, "spec.disruption", disruption);
        assert_eq!(pool, whole);

        let mut partly = node_pools::least();
        put(&mut partly.0, "spec.disruption", json!({"consolidationPolicy": "WhenEmpty", "budgets": [{}]}));
        let disruption = filled(partly.0).await["spec"]["disruption"].take();
        let wanted = json!({
            "budgets": [{"nodes": "10%"}],
            "consolidateAfter": "0s",
            "consolidationPolicy": "WhenEmpty",
        });
        assert_eq!(disruption, wanted);

        let claim = filled(node_claims::least().0).await;
        assert_eq!(claim["spec"]["expireAfter"], "720h");

        let class = filled(node_classes::least().0).await;
        let metadata = json!({
            "httpEndpoint": "enabled",
            "httpProtocolIPv6": "disabled",
            "httpPutResponseHopLimit": 1,
            "httpTokens": "required",
        });
        assert_eq!(class["spec"]["metadataOptions"], metadata);

        let kwok = json!({
            "apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass", "metadata": {"name": "case"},
        });
        let kwok = look(&objects(&corner, &definitions, &kwok), &kwok).await.unwrap();
        let kwok: KWOKNodeClass = serde_json::from_value(kwok).unwrap();
        let ready = &kwok.status.unwrap().conditions.unwrap()[0];
        assert_eq!((ready.type_.as_str(), ready.status.as_str()), ("Ready", "True"));
    });
}

/// A pool that no pod of another test tolerates.
fn own_pool(corner: &Corner) -> NodePool {
    let mut pool = node_pools::least().0;
    put(&mut pool, "metadata", json!({"name": corner.name}));
    let taint = json!([{"key": TEST, "value": corner.name, "effect": "NoSchedule"}]);
    put(&mut pool, "spec.template.spec.taints", taint);
    serde_json::from_value(pool).unwrap()
}

async fn patched<K>(client: &Client, name: &str, patch: Value) -> Result<K, String>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::all(client.clone());
    match api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(object) => Ok(object),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_may_not_change_does_not() {
    run("immutable", async |corner| {
        corner.install_definitions().await;
        let client = &corner.client;
        let (pools, claims) = (Api::<NodePool>::all(client.clone()), Api::<NodeClaim>::all(client.clone()));
        pools.create(&PostParams::default(), &own_pool(&corner)).await.unwrap();
        let reference = |field: &str| json!({"spec": {"template": {"spec": {"nodeClassRef": {field: "other"}}}}});
        for (patch, refusal) in [
            (reference("group"), "nodeClassRef.group is immutable"),
            (reference("kind"), "nodeClassRef.kind is immutable"),
            (json!({"spec": {"replicas": 2}}), "Cannot transition NodePool between static (replicas set) and dynamic"),
        ] {
            let words = patched::<NodePool>(client, &corner.name, patch).await.unwrap_err();
            assert!(words.contains(refusal), "{words}");
        }
        patched::<NodePool>(client, &corner.name, reference("name")).await.unwrap();
        pools.delete(&corner.name, &DeleteParams::default()).await.unwrap();

        let mut claim = node_claims::least().0;
        put(&mut claim, "metadata", json!({"name": corner.name}));
        let claim: NodeClaim = serde_json::from_value(claim).unwrap();
        let created = claims.create(&PostParams::default(), &claim).await.unwrap();
        assert_eq!(created.spec.template.requirements, claim.spec.template.requirements);
        let other = json!({"spec": {"terminationGracePeriod": "1h"}});
        let words = patched::<NodeClaim>(client, &corner.name, other).await.unwrap_err();
        assert!(words.contains("spec is immutable"), "{words}");
        let labelled = json!({"metadata": {"labels": {"team": "web"}}});
        patched::<NodeClaim>(client, &corner.name, labelled).await.unwrap();
        let table = printed(&["get", "nodeclaims", &corner.name]);
        let columns: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(columns, ["NAME", "TYPE", "CAPACITY", "ZONE", "NODE", "READY", "AGE"]);
        claims.delete(&corner.name, &DeleteParams::default()).await.unwrap();
    });
}

fn kubectl(arguments: &[&str]) -> Output {
    Command::new(Parts::built().unwrap().program("kubectl"))
        .arg("--kubeconfig")
        .arg(control_plane().kubeconfig())
        .args(arguments)
        .output()
        .unwrap()
}

fn printed(arguments: &[&str]) -> String {
    let output = kubectl(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn kubectl_shows_columns_and_scales_pools_of_static_capacity() {
    run("columns", async |corner| {
        corner.install_definitions().await;
        let mut pool = own_pool(&corner);
        pool.spec.replicas = Some(1);
        let pools: Api<NodePool> = Api::all(corner.client.clone());
        pools.create(&PostParams::default(), &pool).await.unwrap();
        let status = json!({"status": {"nodes": 1, "resources": {"cpu": "4"}, "conditions": [{
            "type": "Ready", "status": "True", "reason": "Ready", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]}});
        pools.patch_status(&corner.name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();

        let words =
            |text: &str| text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
        let table: Vec<Vec<String>> = words(&printed(&["get", "nodepools", &corner.name]));
        assert_eq!(table[0], ["NAME", "NODECLASS", "NODES", "READY", "AGE"]);
        assert_eq!(table[1][..4], ["columns", "default", "1", "True"]);
        let wide: Vec<Vec<String>> = words(&printed(&["get", "nodepools", &corner.name, "-o", "wide"]));
        assert_eq!(wide[0][5..], ["WEIGHT", "CPU", "MEMORY"]);

        printed(&["scale", "nodepool", &corner.name, "--replicas", "3"]);
        assert_eq!(pools.get(&corner.name).await.unwrap().spec.replicas, Some(3));
        let scale = pools.get_scale(&corner.name).await.unwrap();
        assert_eq!(scale.status.unwrap().replicas, 1);
        pools.delete(&corner.name, &DeleteParams::default()).await.unwrap();

        let kinds: BTreeSet<String> = printed(&["api-resources", "--categories", "karpenter", "--no-headers"])
            .lines()
            .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
            .collect();
        let wanted = [
            "ec2nodeclasses ec2nc,ec2ncs",
            "kwoknodeclasses kwoknc,kwokncs",
            "nodeclaims karpenter.sh/v1",
            "nodeoverlays overlays",
            "nodepools karpenter.sh/v1",
        ];
        assert_eq!(kinds, wanted.map(str::to_owned).into());
    });
}

/// Manifests as Karpenter's users have them, every field known.
#[test]
fn manifests_for_karpenter_apply_as_they_are() {
    run("examples", async |corner| {
        corner.install_definitions().await;
        let folder = Path::new("fixtures/manifests/karpenter");
        let folder = folder.display().to_string();
        let applied = printed(&["apply", "--dry-run=server", "--validate=strict", "-f", &folder]);
        assert!(applied.lines().count() >= 10, "{applied}");
        for line in applied.lines() {
            assert!(line.ends_with("created (server dry run)"), "{line}");
        }
    });
}

#[test]
fn what_the_program_prints_is_what_is_installed() {
    run("printed", async |corner| {
        corner.install_definitions().await;
        let output = Command::new(env!("CARGO_BIN_EXE_supercargo")).arg("crds").output().unwrap();
        let mut file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
        file.write_all(&output.stdout).unwrap();
        let path = file.path().display().to_string();
        let generations = || printed(&["get", "-f", path.as_str(), "-o", "jsonpath={.items[*].metadata.generation}"]);
        let before = generations();
        let applied =
            printed(&["apply", "--server-side", "--field-manager=test", "--validate=strict", "-f", path.as_str()]);
        assert_eq!(applied.lines().count(), definitions().unwrap().len(), "{applied}");
        assert_eq!(before, generations());
    });
}
