//! Machines that are had in place of others that the cloud had none of.

use kube::ResourceExt;
use serde_json::json;
use supercargo::api::NodeClaim;

use super::stage::{TYPE, label, run};

const ZONE: &str = "topology.kubernetes.io/zone";

/// A machine of another zone comes at once, and the next plan knows that the first zone has none.
#[test]
fn what_was_refused_is_not_planned_again_though_a_substitute_was_had() {
    run(async |stage| {
        // A little cheaper in one zone, so that every plan is made for it.
        let first = format!("{TYPE}/us-east-1a/on-demand");
        let prices = format!("{first} 0.19");
        stage.faults(json!({"prices": prices, "refuse": first})).await;
        stage.pool("default", json!({})).await;
        stage.deployment("inflate", 3, "1200m", json!({})).await;
        let controller = stage.sole_controller(&[]);
        stage.run_pods(3).await;
        let planned = |claim: &NodeClaim| claim.annotations()["supercargo.dev/planned-offering"].clone();
        let bought = stage.claims().await.remove(0);
        assert_eq!(planned(&bought), format!("{TYPE} on-demand us-east-1a"));
        let zone = label(&bought, ZONE);
        assert_ne!(zone, "us-east-1a");
        let log = controller.log();
        assert!(
            log.contains(&format!("refused: {TYPE} on-demand us-east-1a; {TYPE} on-demand {zone} in its place")),
            "{log}"
        );
        // The plan's price and bound stand beside the one that is paid.
        assert!(
            log.contains(&format!("launched 1x {TYPE} on-demand {zone} for 3 pods: $0.1920/h of $0.1900/h, bound")),
            "{log}"
        );
        // It is to be had again, which nobody knows.
        stage.faults(json!({ "prices": prices })).await;
        stage.scale("inflate", 6).await;
        stage.run_pods(6).await;
        let claims = stage.claims().await;
        let later = claims.iter().find(|claim| claim.name_any() != bought.name_any()).unwrap();
        assert!(!planned(later).contains("us-east-1a"), "{}", controller.log());
    });
}
