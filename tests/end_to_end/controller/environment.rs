//! Told by its environment alone, under Karpenter's names, and logging for programs.

use std::net::TcpListener;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::{Value, json};
use supercargo::api::NodeOverlay;

use super::operation::get;
use super::stage::{TYPE, condition, run};
use crate::fixture::until;

/// A port that nobody listens on.
fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

#[test]
fn its_environment_tells_a_controller_all_and_its_log_is_one_object_a_line() {
    run(async |stage| {
        let (metrics, health) = (free_port(), free_port());
        let controller = stage.controller_by_environment(&[
            ("SUPERCARGO_CLOUD", "kwok"),
            ("SUPERCARGO_LOG_FORMAT", "json"),
            ("SUPERCARGO_BIND", "off"),
            ("LOG_LEVEL", "debug"),
            ("METRICS_PORT", metrics.as_str()),
            ("HEALTH_PROBE_PORT", health.as_str()),
            ("LEADER_ELECTION_NAME", "ours"),
            ("LEADER_ELECTION_NAMESPACE", "default"),
            // Pods are planned when the longest time is over; with the usual ones the second would come too late.
            ("BATCH_IDLE_DURATION", "10m"),
            ("BATCH_MAX_DURATION", "17s"),
            ("FEATURE_GATES", "NodeRepair=true,NodeOverlay=false"),
            ("KWOK_BOOT_DELAY", "2s"),
        ]);
        let at = |port: &str| format!("127.0.0.1:{port}");
        let leases: Api<Lease> = Api::default_namespaced(stage.client.clone());
        until("the lease", async || leases.get_opt("ours").await.unwrap()?.spec?.holder_identity).await;
        until("readiness", async || get(&at(&health), "/readyz").starts_with("HTTP/1.1 200").then_some(())).await;
        assert!(get(&at(&health), "/log-level").ends_with("supercargo=debug,warn\n"));
        assert!(get(&at(&metrics), "/metrics").contains("supercargo_leader 1"));
        let overlay = json!({
            "metadata": {"name": "dear"},
            "spec": {
                "requirements": [{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [TYPE]}],
                "price": "9",
            },
        });
        stage.create(&stage.all::<NodeOverlay>(), overlay).await;
        stage.pool("default", json!({})).await;
        stage.deployment("first", 1, "1200m", json!({})).await;
        // Longer than the usual longest time.
        tokio::time::sleep(Duration::from_secs(12)).await;
        stage.deployment("second", 1, "1200m", json!({})).await;
        stage.run_pods(2).await;
        stage.whole(1).await;
        let claim = stage.claims().await.remove(0);
        assert_eq!(claim.spec.template.startup_taints, None);
        assert_eq!(condition(&claim, "Ready"), "True");
        assert!(stage.all::<NodeOverlay>().get("dear").await.unwrap().status.is_none());

        let log: Vec<Value> = controller.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &log {
            for key in ["timestamp", "level", "fields"] {
                assert!(!line[key].is_null(), "no {key} in {line}");
            }
            let time: Result<jiff::Timestamp, _> = line["timestamp"].as_str().unwrap().parse();
            assert!(time.is_ok() && line["fields"]["message"].is_string(), "{line}");
        }
        let said = |words: &str| {
            let has = |line: &&Value| line["fields"]["message"].as_str().unwrap().starts_with(words);
            let found: Vec<&Value> = log.iter().filter(has).collect();
            assert_eq!(found.len(), 1, "{words}: {found:#?}\n{}", controller.log());
            (found[0]["level"].as_str().unwrap(), &found[0]["fields"])
        };
        let (level, claimed) = said("claimed 1x m5.xlarge on-demand us-east-1");
        assert_eq!((level, &claimed["nodepool"]), ("INFO", &json!("default")));
        assert!(claimed["message"].as_str().unwrap().contains(" for 2 pods: $0.1"), "{claimed}");
        assert_eq!(said("planned 2 pods: 1 new nodes for $0.1").0, "INFO");
        let name = json!(claim.metadata.name.unwrap());
        assert_eq!(said("launched 1x m5.xlarge on-demand").1["claim"], name);
        assert_eq!(said("registered").1["node"], name);
        assert!(log.iter().any(|line| line["level"] == "DEBUG"));
    });
}
