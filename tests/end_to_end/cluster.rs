//! The control plane itself: it schedules, it keeps grace periods, and nothing of it outlives its tests.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::api::DeleteParams;
use serde_json::json;
use supercargo::binding::{PodKey, nominate};

use crate::fixture::{control_plane, run, until};

#[test]
fn a_pod_is_bound_where_it_fits_and_runs() {
    run("binding", async |corner| {
        corner.node("binding-small", "1", "2Gi", &[]).await;
        corner.node("binding-large", "4", "8Gi", &[]).await;
        corner.pod("wide", json!({"cpu": "3", "memory": "1Gi"}), json!({})).await;
        assert_eq!(corner.bound("wide").await, "binding-large");
        let pods = corner.pods();
        until("the pod to run", async || {
            let phase = pods.get("wide").await.unwrap().status?.phase?;
            (phase == "Running").then_some(())
        })
        .await;
        assert_eq!(corner.nodes().await.len(), 2);
    });
}

#[test]
fn a_nomination_that_comes_too_late_is_no_error() {
    run("late-nomination", async |corner| {
        corner.node("late-node", "1", "2Gi", &[]).await;
        corner.pod("quick", json!({"cpu": "100m"}), json!({})).await;
        corner.bound("quick").await;
        let pod = PodKey { namespace: corner.name.clone(), name: "quick".to_owned() };
        nominate(&corner.client, &pod, "late-node").await.unwrap();
    });
}

#[test]
fn a_deleted_pod_stays_for_its_grace_period() {
    run("grace", async |corner| {
        corner.node("grace-node", "1", "2Gi", &[]).await;
        corner.pod("slow", json!({"cpu": "100m"}), json!({"terminationGracePeriodSeconds": 3})).await;
        corner.bound("slow").await;
        let pods = corner.pods();
        let deleted = pods.delete("slow", &DeleteParams::default()).await.unwrap().left().unwrap();
        let due = deleted.metadata.deletion_timestamp.unwrap().0;
        let gone = until("the pod to go", async || match pods.get_opt("slow").await.unwrap() {
            Some(_) => None,
            None => Some(Timestamp::now()),
        })
        .await;
        assert!(gone >= due, "gone at {gone}, which is before {due}");
    });
}

#[test]
fn reading_it_is_in_the_audit_log() {
    run("audit", async |corner| {
        corner.nodes().await;
        until("the audit log", async || {
            let log = corner.control_plane.audit_log().unwrap();
            log.iter().any(|event| event["verb"] == "list" && event["objectRef"]["resource"] == "nodes").then_some(())
        })
        .await;
    });
}

/// What the next test runs as a program of its own: it starts a control plane, says which processes that has, and
/// panics, or waits to be killed.
#[test]
#[ignore = "only another test calls it"]
fn child_that_ends_badly() {
    let state = control_plane().state();
    println!("started {}", serde_json::to_string(state).unwrap());
    if std::env::var_os("END_BY_PANIC").is_some() {
        panic!("as asked for");
    }
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn nothing_is_left_when_the_program_that_started_it_panics_or_is_killed() {
    for panics in [true, false] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "cluster::child_that_ends_badly", "--nocapture"]);
        if panics {
            command.env("END_BY_PANIC", "1");
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = lines.map_while(Result::ok).find_map(|line| Some(line.split_once("started ")?.1.to_owned()));
        let state: test_cluster::State = serde_json::from_str(&told.unwrap()).unwrap();
        assert_eq!(state.processes.len(), 5);
        if !panics {
            assert!(state.runs());
            child.kill().unwrap();
        }
        assert!(!child.wait().unwrap().success());
        let left = || {
            let alive = |id: u32| std::fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|cwd| cwd == state.folder);
            state.processes.iter().any(|(_, id)| alive(*id)) || Path::new(&state.folder).exists()
        };
        let begin = Instant::now();
        while left() && begin.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(!left(), "{} is still there", state.folder.display());
    }
}
