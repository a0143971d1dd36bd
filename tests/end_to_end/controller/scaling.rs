//! From nothing to nodes and back, under what pools and the cloud allow.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{ApiResource, DynamicObject, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use supercargo::api::{KWOKNodeClass, NodePool};

use super::stage::{TYPE, condition, either_type, label, run, signal};
use crate::fixture::until;

#[test]
fn machines_come_when_pods_wait_and_go_when_they_do_not() {
    run(async |stage| {
        let _controller = stage.controller(&[]);
        stage.pool("default", json!({})).await;
        // Three to a machine.
        stage.deployment("inflate", 0, "1200m", json!({})).await;
        stage.scale("inflate", 8).await;
        stage.run_pods(8).await;
        stage.whole(3).await;
        for claim in stage.claims().await {
            let name = claim.name_any();
            for kind in ["Launched", "Registered", "Initialized", "Ready"] {
                assert_eq!(condition(&claim, kind), "True", "{name}: {kind}");
            }
            let status = claim.status.as_ref().unwrap();
            assert_eq!(status.provider_id.as_deref(), Some(format!("kwok://{name}").as_str()));
            assert_eq!(status.node_name.as_deref(), Some(name.as_str()));
            assert_eq!(status.capacity.as_ref().unwrap()["cpu"].0, "4");
            assert_eq!(label(&claim, "node.kubernetes.io/instance-type"), TYPE);
            assert_eq!(label(&claim, "karpenter.sh/nodepool"), "default");
            assert!(claim.annotations().contains_key("karpenter.sh/nodepool-hash"));
        }
        for node in stage.nodes().await {
            assert_eq!(label(&node, "karpenter.sh/registered"), "true");
            assert_eq!(label(&node, "karpenter.sh/initialized"), "true");
            assert_eq!(node.spec.as_ref().unwrap().taints, None, "{}", node.name_any());
            assert_eq!(node.finalizers(), ["karpenter.sh/termination"]);
        }
        let pool = until("the pool's status", async || {
            let pool = stage.all::<NodePool>().get("default").await.unwrap();
            pool.status.clone().filter(|status| status.nodes == Some(3))
        })
        .await;
        assert_eq!(pool.resources.unwrap()["cpu"].0, "12");

        stage.scale("inflate", 0).await;
        stage.whole(0).await;
    });
}

/// What the README has people try.
#[test]
fn the_quickstart_gets_nodes_for_fifty_pods_and_gives_them_back() {
    run(async |stage| {
        let controller = stage.controller(&[]);
        let text = std::fs::read_to_string("fixtures/clusters/quickstart/quickstart.yaml").unwrap();
        let objects: Vec<DynamicObject> = serde_saphyr::from_multiple(&text).unwrap();
        assert_eq!(objects.len(), 3);
        for object in objects {
            let resource = match object.types.as_ref().unwrap().kind.as_str() {
                "KWOKNodeClass" => ApiResource::erase::<KWOKNodeClass>(&()),
                "NodePool" => ApiResource::erase::<NodePool>(&()),
                "Deployment" => ApiResource::erase::<Deployment>(&()),
                kind => panic!("{kind}"),
            };
            let api: Api<DynamicObject> = match object.namespace() {
                Some(namespace) => Api::namespaced_with(stage.client.clone(), &namespace, &resource),
                None => Api::all_with(stage.client.clone(), &resource),
            };
            api.create(&PostParams::default(), &object).await.unwrap();
        }
        stage.scale("inflate", 50).await;
        stage.run_pods(50).await;
        let nodes = stage.nodes().await.len();
        assert!((1..50).contains(&nodes), "{nodes} nodes\n{}", controller.log());
        stage.whole(nodes).await;
        stage.scale("inflate", 0).await;
        // Not before the time that the pool gives them.
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(stage.nodes().await.len(), nodes, "{}", controller.log());
        stage.whole(0).await;
    });
}

#[test]
fn a_pods_labels_and_taints_get_it_a_node_of_the_pool_that_has_them() {
    run(async |stage| {
        let _controller = stage.controller(&[]);
        stage.pool("default", json!({})).await;
        stage
            .pool(
                "arm",
                json!({"template": {
                    "metadata": {"labels": {"team": "arm"}},
                    "spec": {
                        "taints": [{"key": "arm", "value": "yes", "effect": "NoSchedule"}],
                        "requirements": [
                            {"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]},
                            {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]},
                            {"key": "karpenter.k8s.aws/instance-family", "operator": "In", "values": ["m7g"]},
                        ],
                    },
                }}),
            )
            .await;
        let spec = json!({
            "nodeSelector": {"kubernetes.io/arch": "arm64", "team": "arm"},
            "tolerations": [{"key": "arm", "operator": "Exists"}],
            "topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "on-arm"}},
            }],
        });
        stage.deployment("on-arm", 3, "500m", json!({ "spec": spec })).await;
        stage.run_pods(3).await;
        stage.whole(3).await;
        let nodes = stage.nodes().await;
        let zones: BTreeSet<String> = nodes.iter().map(|node| label(node, "topology.kubernetes.io/zone")).collect();
        assert_eq!(zones.len(), 3);
        for node in nodes {
            assert_eq!(label(&node, "kubernetes.io/arch"), "arm64");
            assert_eq!(label(&node, "karpenter.sh/capacity-type"), "spot");
            assert_eq!(node.spec.unwrap().taints.unwrap()[0].key, "arm");
        }
    });
}

#[test]
fn pods_that_ask_for_a_gpu_get_machines_that_have_one_and_no_others_do() {
    run(async |stage| {
        let _controller = stage.controller(&[]);
        stage.pool("default", json!({})).await;
        let gpus = json!({"template": {"spec": {
            "taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}],
            "requirements": [
                {"key": "karpenter.k8s.aws/instance-gpu-name", "operator": "In", "values": ["t4"]},
                {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
            ],
        }}});
        stage.pool("gpu", gpus).await;
        let asks = json!({"spec": {
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "containers": [{"name": "main", "image": "nothing", "resources": {
                "requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"nvidia.com/gpu": "1"}}}],
        }});
        stage.deployment("train", 2, "500m", asks).await;
        stage.deployment("plain", 3, "1200m", json!({})).await;
        stage.run_pods(5).await;
        let nodes = stage.nodes().await;
        let (with, without): (Vec<_>, Vec<_>) =
            nodes.iter().partition(|node| label(*node, "karpenter.k8s.aws/instance-gpu-name") == "t4");
        let devices = with.iter().map(|node| {
            let allocatable = node.status.as_ref().unwrap().allocatable.as_ref().unwrap();
            allocatable["nvidia.com/gpu"].0.parse::<u32>().unwrap()
        });
        assert_eq!(devices.sum::<u32>(), 2);
        assert_eq!(without.len(), 1);
        let on_gpus = stage.running().await;
        assert_eq!(on_gpus.iter().filter(|name| with.iter().any(|node| node.name_any() == **name)).count(), 2);
        stage.whole(nodes.len()).await;
    });
}

/// A process that stands still until this is dropped.
struct StandsStill(u32);

impl StandsStill {
    fn new(process: u32) -> Self {
        signal(process, "STOP");
        StandsStill(process)
    }
}

impl Drop for StandsStill {
    fn drop(&mut self) {
        signal(self.0, "CONT");
    }
}

#[test]
fn a_batch_waits_for_a_scheduler_that_is_behind() {
    run(async |stage| {
        stage.pool("default", json!({})).await;
        let controller = stage.controller(&["--batch-max-duration", "5m"]);
        let mut processes = stage.control_plane.state().processes.iter();
        let (_, scheduler) = processes.find(|(name, _)| name == "kube-scheduler").unwrap();
        let _still = StandsStill::new(*scheduler);
        stage.deployment("inflate", 2, "500m", json!({})).await;
        let pods = until("both pods", async || {
            let pods = stage.pods().list(&ListParams::default()).await.unwrap().items;
            (pods.len() == 2).then_some(pods)
        })
        .await;
        stage.finds_no_node(&pods[0]).await;
        // Ten times as long as a batch stays open for more pods.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(stage.claims().await.is_empty(), "{}", controller.log());
        stage.finds_no_node(&pods[1]).await;
        until("a plan of both", async || controller.log().contains("planned 2 pods: 1 new node").then_some(())).await;
    });
}

#[test]
fn the_limits_of_a_pool_are_not_passed_while_machines_start() {
    run(async |stage| {
        // Machines that take their time: the second batch finds claims without nodes.
        let _controller = stage.controller(&["--kwok-boot-delay", "4s"]);
        stage.pool("default", json!({"limits": {"cpu": "8"}})).await;
        stage.deployment("first", 3, "1200m", json!({})).await;
        until("the first claim", async || (stage.claims().await.len() == 1).then_some(())).await;
        stage.deployment("second", 9, "1200m", json!({})).await;
        stage.run_pods(6).await;
        stage.whole(2).await;
        // Those left over wait, and are told why.
        let message = until("an event", async || {
            let events = kube::Api::<k8s_openapi::api::events::v1::Event>::default_namespaced(stage.client.clone());
            let events = events.list(&ListParams::default()).await.unwrap().items;
            let ours = events.into_iter().find(|event| {
                event.reporting_controller.as_deref() == Some("supercargo")
                    && event.reason.as_deref() == Some("FailedScheduling")
            });
            ours.and_then(|event| event.note)
        })
        .await;
        assert!(message.contains("limit"), "{message}");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(stage.claims().await.len(), 2);
        // A higher limit lets them in.
        stage.change_pool("default", json!({"limits": {"cpu": "16"}})).await;
        stage.run_pods(12).await;
        stage.whole(4).await;
    });
}

#[test]
fn limits_of_nodes_and_of_memory_are_not_passed_either() {
    run(async |stage| {
        let controller = stage.controller(&["--kwok-boot-delay", "4s"]);
        // A machine has 16 GiB.
        let limited = [("counted", json!({"nodes": "2"})), ("weighed", json!({"memory": "40Gi"}))];
        for (pool, limits) in &limited {
            stage.pool(pool, json!({ "limits": limits })).await;
            let own = json!({"spec": {"nodeSelector": {"karpenter.sh/nodepool": pool}}});
            stage.deployment(&format!("{pool}-first"), 3, "1200m", own.clone()).await;
            until("the first claim", async || {
                let claims = stage.claims().await;
                claims.iter().any(|claim| label(claim, "karpenter.sh/nodepool") == *pool).then_some(())
            })
            .await;
            stage.deployment(&format!("{pool}-second"), 9, "1200m", own).await;
        }
        let most = async || {
            let claims = stage.claims().await;
            for (pool, _) in &limited {
                let count = claims.iter().filter(|claim| label(*claim, "karpenter.sh/nodepool") == *pool).count();
                assert!(count <= 2, "{count} of {pool}:\n{}", controller.log());
            }
            claims.len()
        };
        until("twelve pods to run", async || {
            most().await;
            (stage.running().await.len() == 12).then_some(())
        })
        .await;
        stage.whole(4).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(most().await, 4);
        // A place for each of the others, once it is allowed.
        stage.change_pool("counted", json!({"limits": {"nodes": "4"}})).await;
        stage.change_pool("weighed", json!({"limits": {"memory": "70Gi"}})).await;
        stage.run_pods(24).await;
        stage.whole(8).await;
    });
}

#[test]
fn refused_capacity_is_planned_anew_at_once() {
    run(async |stage| {
        stage.pool("default", json!({"template": either_type()})).await;
        stage.faults(json!({"refuse": "m5.xlarge"})).await;
        let controller = stage.controller(&[]);
        stage.deployment("inflate", 3, "1200m", json!({})).await;
        stage.run_pods(3).await;
        stage.whole(1).await;
        assert_eq!(label(&stage.nodes().await[0], "node.kubernetes.io/instance-type"), "m6i.2xlarge");
        let log = controller.log();
        assert!(log.contains("refused: none of"), "{log}");
        // The next pods are not planned onto what was refused a moment ago.
        stage.scale("inflate", 8).await;
        stage.run_pods(8).await;
        assert_eq!(controller.log().matches("refused: none of").count(), log.matches("refused: none of").count());
    });
}

#[test]
fn machines_that_fail_to_launch_are_tried_again() {
    run(async |stage| {
        stage.pool("default", json!({})).await;
        stage.faults(json!({"fail": "out of order"})).await;
        let _controller = stage.controller(&[]);
        stage.deployment("inflate", 1, "1", json!({})).await;
        until("the failure to be told", async || {
            let claims = stage.claims().await;
            let conditions = claims.first()?.status.as_ref()?.conditions.as_ref()?;
            let launched = conditions.iter().find(|condition| condition.type_ == "Launched")?;
            (launched.reason == "LaunchFailed" && launched.message.contains("out of order")).then_some(())
        })
        .await;
        stage.faults(json!({})).await;
        stage.run_pods(1).await;
        stage.whole(1).await;
    });
}
