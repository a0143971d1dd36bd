//! Killed between any two of its writes: the next controller leaks nothing, launches nothing twice, and loses no pod.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::stage::{Controller, Stage, run};
use crate::fixture::until;

/// Waits until it has died or there is nothing left to do; whether it died.
async fn died(controller: &mut Controller, stage: &Stage, pods: usize, machines: usize) -> bool {
    until("the end of it", async || {
        if controller.has_ended() {
            return Some(true);
        }
        let done = stage.running().await.len() == pods
            && stage.claims().await.len() == machines
            && stage.nodes().await.len() == machines
            && stage.machines().await.len() == machines;
        done.then_some(false)
    })
    .await
}

/// How long an empty node is left: on the way up for ever, so that one too many would be found.
fn rests(after: &str) -> Value {
    json!({"disruption": {"consolidateAfter": after}})
}

#[test]
fn a_controller_that_dies_after_any_of_its_writes_leaks_and_doubles_nothing() {
    run(async |stage| {
        // Two pods to a machine.
        stage.pool("default", rests("Never")).await;
        stage.deployment("inflate", 0, "1800m", json!({})).await;
        let (mut up, mut down, mut planned) = (0, 0, 0);
        for writes in 1.. {
            let argument = writes.to_string();
            let mut dying = stage.sole_controller(&["--die-after-writes", &argument]);
            stage.scale("inflate", 4).await;
            let died_up = died(&mut dying, &stage, 4, 2).await;
            drop(dying);
            let next = stage.sole_controller(&[]);
            stage.run_pods(4).await;
            stage.whole(2).await;
            assert_eq!(stage.running().await.into_iter().collect::<BTreeSet<_>>().len(), 2, "after write {writes}");
            drop(next);

            stage.change_pool("default", rests("1s")).await;
            let mut dying = stage.sole_controller(&["--die-after-writes", &argument]);
            stage.scale("inflate", 0).await;
            let died_down = died(&mut dying, &stage, 0, 0).await;
            drop(dying);
            let next = stage.sole_controller(&[]);
            stage.whole(0).await;
            drop(next);
            stage.change_pool("default", rests("Never")).await;
            planned += 2;
            up += u32::from(died_up);
            down += u32::from(died_down);
            if !died_up && !died_down {
                break;
            }
        }
        stage.made(planned).await;
        // Claims, machines, nodes and what is written about each of them.
        println!("died {up} times on the way up, {down} on the way down");
        assert!(up >= 15 && down >= 10, "died {up} times on the way up, {down} on the way down");
    });
}
