//! What a plan says of the bundled workloads is what kube-scheduler makes of it.

use judge::{Case, Figures, Way};
use test_cluster::{ControlPlane, Parts};

use crate::fixture::runtime;

/// The least part of the pods that is bound as planned when we bind them, and the most that the cluster may then cost.
const LEAST_AS_PLANNED: f64 = 0.99;
const MOST_COST: f64 = 1.02;

/// A control plane of its own: pods of a bundled workload may stand on any node.
fn figures(workload: &str, way: Way) -> Figures {
    let file = format!("fixtures/workloads/{workload}.yaml");
    let case = Case::of_file(file.as_ref()).unwrap();
    runtime().block_on(async {
        let control_plane = ControlPlane::start(&Parts::built().unwrap()).await.unwrap();
        judge::judge(&control_plane, &case, way).await.unwrap()
    })
}

#[test]
fn every_planned_pod_passes_the_filters_of_the_scheduler_on_its_node() {
    let figures = figures("shop", Way::Forced);
    assert_eq!(figures.pending, []);
    assert_eq!(figures.daemons_pending, []);
    assert_eq!(figures.as_planned, figures.pods);
}

#[test]
fn pods_that_are_bound_by_us_stand_as_planned_and_no_more_is_to_be_bought() {
    let figures = figures("shop", Way::Bound);
    assert!(figures.share_as_planned() >= LEAST_AS_PLANNED, "{figures:#?}");
    assert!(figures.cost_ratio() <= MOST_COST, "{figures:#?}");
}
