//! The bundled workloads are read whole, each alone and all together, nothing of them is lost on the way, and all of
//! their pods can be placed.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use supercargo::cluster::{Loaded, ReadOptions, read};
use supercargo_models::planner;
use supercargo_models::problem::build::Options;
use supercargo_models::solver::{Control, Method, Settings, solve};

/// File, pods that wait, workloads that they belong to, node pools.
const WORKLOADS: [(&str, u32, usize, usize); 9] = [
    ("arch-mix.yaml", 400, 40, 1),
    ("batch.yaml", 372, 44, 2),
    ("gpu-fleet.yaml", 221, 14, 3),
    ("mixed-1000.yaml", 1000, 100, 2),
    ("openb.yaml", 8152, 151, 2),
    ("shop.yaml", 453, 25, 3),
    ("small-60.yaml", 60, 6, 1),
    ("stateful.yaml", 51, 8, 1),
    ("web-50.yaml", 50, 1, 1),
];

const FOLDER: &str = "fixtures/workloads";

fn load(source: &str) -> Loaded {
    read(&[source.to_owned()], &ReadOptions::default()).unwrap()
}

fn pods(loaded: &Loaded) -> u32 {
    loaded.snapshot.pending.iter().map(|group| group.names.count()).sum()
}

fn workloads(loaded: &Loaded) -> usize {
    let pending = &loaded.snapshot.pending;
    pending.iter().map(|group| (&group.namespace, &group.owner)).collect::<BTreeSet<_>>().len()
}

#[test]
fn each_workload_is_read_whole() {
    for (file, count, owners, pools) in WORKLOADS {
        let loaded = load(&format!("{FOLDER}/{file}"));
        assert_eq!(pods(&loaded), count, "pods of {file}");
        assert_eq!(workloads(&loaded), owners, "workloads of {file}");
        assert_eq!(loaded.snapshot.node_pools.len(), pools, "node pools of {file}");
    }
}

#[test]
fn all_workloads_together_are_the_sum_of_each_alone() {
    let together = load(FOLDER);
    assert_eq!(pods(&together), WORKLOADS.iter().map(|(_, count, _, _)| count).sum::<u32>());
    assert_eq!(workloads(&together), WORKLOADS.iter().map(|(_, _, owners, _)| owners).sum::<usize>());
    assert_eq!(together.snapshot.node_pools.len(), WORKLOADS.iter().map(|(_, _, _, pools)| pools).sum::<usize>());
}

#[test]
fn the_shop_brings_a_node_daemons_and_volumes() {
    let shop = load(&format!("{FOLDER}/shop.yaml")).snapshot;
    assert_eq!(shop.nodes.len(), 1);
    assert_eq!(shop.bound.len(), 4);
    assert_eq!(shop.daemon_sets.len(), 2);
    assert_eq!(shop.volumes.len(), 3);
    assert_eq!(shop.priority_classes.len(), 2);
    assert_eq!(shop.disruption_budgets.len(), 2);
}

/// No clock: the greedy ends by itself.
struct Patient;

impl Control for Patient {
    fn remaining_seconds(&self) -> f64 {
        f64::MAX
    }
}

#[test]
fn every_pod_of_every_workload_can_be_placed() {
    let catalog = supercargo::catalog::embedded().unwrap();
    let settings = Settings { method: Method::Greedy, ..Settings::default() };
    for (file, count, _, _) in WORKLOADS {
        let snapshot = load(&format!("{FOLDER}/{file}")).snapshot;
        let plan = planner::plan(&snapshot, &catalog, &Options::default(), &settings, &Patient, &solve).unwrap();
        assert_eq!(plan.unschedulable, [], "{file}");
        assert_eq!(plan.summary.scheduled, u64::from(count), "{file}");
    }
}
