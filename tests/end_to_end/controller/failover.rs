//! A leader that stood still: another one leads by then, and the old one does nothing any more.

use std::time::Duration;

use serde_json::json;

use super::operation::holder;
use super::stage::run;
use crate::fixture::until;

/// More machines than claims are made of at once: who stands still in the middle has some left to make.
const MACHINES: usize = 60;

#[test]
fn a_leader_that_stood_still_in_the_middle_of_its_claims_makes_no_more_of_them_once_another_one_leads() {
    run(async |stage| {
        // One machine too many would stay.
        stage.pool("default", json!({"disruption": {"consolidateAfter": "Never"}})).await;
        let mut first = stage.controller(&[]);
        until("the first leader", async || holder(&stage).await).await;
        stage.deployment("inflate", u32::try_from(MACHINES).unwrap(), "3", json!({})).await;
        while stage.claims().await.is_empty() {
            assert!(!first.has_ended());
        }
        first.stand_still();
        let begun = stage.claims().await.len();
        println!("{begun} of {MACHINES} claims were made by then");
        let old = holder(&stage).await;
        let second = stage.controller(&[]);
        until("another leader", async || (holder(&stage).await != old).then_some(())).await;
        stage.run_pods(MACHINES).await;
        stage.whole(MACHINES).await;
        // By that the next leader knows those that come too late.
        for claim in stage.claims().await {
            let annotations = claim.metadata.annotations.unwrap_or_default();
            assert!(annotations.contains_key("supercargo.dev/made-by"), "{annotations:?}");
        }
        let leader = holder(&stage).await;
        first.go_on();
        assert_eq!(first.ended(Duration::from_secs(10)), Some(1));
        assert!(first.log().contains("another replica leads: ended"), "{}", first.log());
        // One machine too many would come soon.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(holder(&stage).await, leader, "{}", second.log());
        stage.run_pods(MACHINES).await;
        stage.whole(MACHINES).await;
        stage.made(MACHINES).await;
    });
}

#[test]
fn a_leader_that_stood_still_while_pods_came_does_not_plan_them_after_another_one() {
    run(async |stage| {
        stage.pool("default", json!({"disruption": {"consolidateAfter": "Never"}})).await;
        // So late that it stands still before it plans, and would do so as soon as it goes on.
        let mut first = stage.controller(&["--batch-idle-duration", "8s"]);
        until("the first leader", async || holder(&stage).await).await;
        let old = holder(&stage).await;
        stage.deployment("inflate", 2, "1200m", json!({})).await;
        // It hears of them by its watch.
        tokio::time::sleep(Duration::from_secs(3)).await;
        first.stand_still();
        assert!(stage.claims().await.is_empty(), "{}", first.log());
        let _second = stage.controller(&[]);
        until("another leader", async || (holder(&stage).await != old).then_some(())).await;
        stage.run_pods(2).await;
        stage.whole(1).await;
        first.go_on();
        assert_eq!(first.ended(Duration::from_secs(10)), Some(1));
        assert!(!first.log().contains("claimed"), "{}", first.log());
        tokio::time::sleep(Duration::from_secs(3)).await;
        stage.whole(1).await;
        stage.made(1).await;
    });
}
