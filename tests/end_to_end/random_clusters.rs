//! Random clusters before the real kube-scheduler: planned pods are admitted where they are planned, those that are left
//! over nowhere.
//!
//! Every case has a number from which it is made. `SUPERCARGO_CLUSTER_CASES` sets how many are tried and
//! `SUPERCARGO_FIRST_CASE` with which to begin.

mod apart;
mod extras;
#[path = "../../models/tests/plan_support/mod.rs"]
mod plan_support;

use futures::stream::{self, StreamExt};
use judge::{Case, judge_both_ways};
use k8s_openapi::api::apps::v1::DaemonSet;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use test_cluster::{ControlPlane, Parts};

use crate::fixture::runtime;

/// Cases where nothing else is said.
const CASES: u64 = 200;
/// Cases that are on the control plane at the same time.
const AT_ONCE: usize = 24;
/// Rounds of each stage of the solver.
const ROUNDS: u64 = 20;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// The case of a number, planned.
fn case(number: u64) -> Case {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let (case, extras) = (plan_support::random::case(), extras::extras()).new_tree(&mut runner).unwrap().current();
    let mut snapshot = case.snapshot();
    // The judge makes nodes as the catalogue says, all of them ready: no machines that are still to become some, no other
    // devices, and no CSINodes, without which kube-scheduler knows no limit of volumes.
    snapshot.node_claims.clear();
    snapshot.node_overlays.clear();
    snapshot.csi_nodes.clear();
    snapshot.nodes.iter_mut().filter_map(|node| node.status.as_mut()).for_each(|status| status.conditions = None);
    // To the judge every daemon that waits is a fault; those that a plan knows to wait for ever are for the other tests.
    snapshot.daemon_sets.retain(is_slight);
    let mut catalog = case.catalog();
    catalog.instance_types.iter_mut().for_each(|instance| instance.max_volume_attachments = None);
    extras::add(&extras, &mut snapshot);
    apart::set_apart(&mut snapshot, &format!("case-{number}"));
    Case::of(snapshot, catalog, Some(ROUNDS)).unwrap_or_else(|error| panic!("case {number}: {error:#}"))
}

/// Whether a daemon asks for less than a core, and for nothing that only some nodes have.
fn is_slight(daemon: &DaemonSet) -> bool {
    let containers = daemon.spec.template.spec.iter().flat_map(|pod| &pod.containers);
    let mut requests =
        containers.flat_map(|one| one.resources.iter().flat_map(|asked| asked.requests.iter().flatten()));
    requests.all(|(name, amount)| name == "cpu" && amount.0.strip_suffix('m').is_some_and(|number| number.len() < 4))
}

/// What is wrong with a case.
async fn faults(control_plane: &ControlPlane, number: u64, case: &Case) -> Vec<String> {
    let (figures, refuted) = match judge_both_ways(control_plane, case).await {
        Ok(found) => found,
        Err(error) => return vec![format!("case {number}: {error:#}")],
    };
    let pending = figures.pending.iter().chain(&figures.daemons_pending);
    let pending = pending.map(|one| format!("case {number}: {} is not bound to {}: {}", one.pod, one.node, one.reason));
    let refuted = refuted.iter().map(|one| {
        format!("case {number}: {} has a place on {}, though the plan says: {}", one.pod, one.node, one.reason)
    });
    pending.chain(refuted).collect()
}

#[test]
fn random_plans_bind_and_what_they_leave_over_does_not() {
    let first = setting("SUPERCARGO_FIRST_CASE", 0);
    let numbers = first..first + setting("SUPERCARGO_CLUSTER_CASES", CASES);
    let cases: Vec<(u64, Case)> = numbers.map(|number| (number, case(number))).collect();
    // Where all nodes of the cluster count, those of other cases would.
    let (alone, beside): (Vec<_>, Vec<_>) = cases.iter().partition(|(_, case)| apart::counts_all_nodes(&case.snapshot));
    let found: Vec<String> = runtime().block_on(async {
        // One of their own: other tests' nodes would count as well, and others would plan for these pods.
        let control_plane = &ControlPlane::start(&Parts::built().unwrap()).await.unwrap();
        let beside =
            stream::iter(beside).map(|(number, case)| faults(control_plane, *number, case)).buffer_unordered(AT_ONCE);
        let mut found: Vec<Vec<String>> = beside.collect().await;
        for (number, case) in alone {
            found.push(faults(control_plane, *number, case).await);
        }
        found.into_iter().flatten().collect()
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
}
