//! The solver, off the async threads: a question in, a plan that the independent checker passed out.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::ResourceExt;
use supercargo_models::catalog::Catalog;
use supercargo_models::kubernetes::Snapshot;
use supercargo_models::plan::verify::{VerifyOptions, verify};
use supercargo_models::plan::{Plan, Unschedulable};
use supercargo_models::planner::{self, PlanError, Solve};
use supercargo_models::problem::build::BuildError;
use supercargo_models::solver::{self, Control, Method};
use tracing::{error, warn};

use super::super::context::{Context, Error};
use super::super::settings::Settings;

/// What is to be planned.
#[derive(Debug)]
pub(super) struct Question {
    /// The cluster.
    pub snapshot: Snapshot,
    /// What can be bought now.
    pub catalog: Arc<Catalog>,
}

/// The clock of one plan.
struct Deadline {
    start: Instant,
    budget: Duration,
}

impl Control for Deadline {
    fn remaining_seconds(&self) -> f64 {
        self.budget.as_secs_f64() - self.start.elapsed().as_secs_f64()
    }

    fn interrupted(&self) -> bool {
        false
    }
}

/// [`plan`], off the async threads.
///
/// # Errors
/// As [`plan`], or if the planner failed inside.
pub(super) async fn planned(question: Question, context: &Arc<Context>) -> Result<Plan, Error> {
    let shared = Arc::clone(context);
    let begin = Instant::now();
    let plan = tokio::task::spawn_blocking(move || {
        // The next problem is nearly the last one.
        plan(&question, &shared.settings, &|problem, settings, control| shared.memory.solve(problem, settings, control))
    })
    .await
    .map_err(|panic| Error::Object(format!("the planner failed inside: {panic}")))?;
    context.metrics.planning_took(begin.elapsed());
    plan
}

/// Plans within the time budget, and has the plan checked by the checker that shares nothing with the planner. Where it
/// breaks a rule, the greedy's plan is the answer, if that breaks none.
///
/// The API server takes pods and daemon sets that mean nothing to a scheduler (`Gt` beside a word): they are left out, so
/// that one of them does not stand in the way of all others, and the pods are told why they find no place.
///
/// # Errors
/// Where another object can't be understood, or both plans break a rule: they are not acted on then.
fn plan(question: &Question, settings: &Settings, solve: &Solve) -> Result<Plan, Error> {
    let Question { snapshot, catalog } = question;
    let mut snapshot = Cow::Borrowed(snapshot);
    let mut meaningless = Vec::new();
    let clock = Deadline { start: Instant::now(), budget: settings.time_budget };
    let mut solver = settings.solver.clone();
    let mut plan = loop {
        match checked(&snapshot, catalog, settings, &solver, &clock, solve) {
            Ok(plan) => break plan,
            Err(Refused::Meaningless(error)) => {
                warn!("left out, because it can't be understood: {error}");
                if !leave_out(&error, snapshot.to_mut(), &mut meaningless) {
                    return Err(Error::Object(error.to_string()));
                }
            }
            Err(Refused::Broken(why)) if solver.method != Method::Greedy => {
                error!("supercargo failed inside, the greedy plans instead: {why}");
                solver.method = Method::Greedy;
            }
            Err(Refused::Broken(why)) => return Err(Error::Object(format!("supercargo failed inside: {why}"))),
        }
    };
    plan.summary.pods += meaningless.len() as u64;
    plan.summary.unschedulable += meaningless.len() as u64;
    plan.unschedulable.extend(meaningless);
    Ok(plan)
}

/// Why a plan is not to be acted on.
enum Refused {
    /// There is none: an object means nothing.
    Meaningless(BuildError),
    /// It breaks rules.
    Broken(String),
}

/// A plan that the checker has passed.
fn checked(
    snapshot: &Snapshot,
    catalog: &Catalog,
    settings: &Settings,
    solver: &solver::Settings,
    clock: &Deadline,
    solve: &Solve,
) -> Result<Plan, Refused> {
    let plan = match planner::plan(snapshot, catalog, &settings.options, solver, clock, solve) {
        Ok(plan) => plan,
        Err(PlanError::Build(error)) => return Err(Refused::Meaningless(error)),
        Err(error) => return Err(Refused::Broken(error.to_string())),
    };
    let options = VerifyOptions {
        ignore_weights: settings.options.ignore_weights,
        capacity_types: settings.options.capacity_types.clone(),
    };
    verify(snapshot, catalog, &options, &plan).map_err(|broken| {
        let first = broken.first().map(ToString::to_string).unwrap_or_default();
        Refused::Broken(format!("the plan breaks {} rules, the first: {first}", broken.len()))
    })?;
    Ok(plan)
}

/// Takes the workload that an error names out of a snapshot; whether there is one. Its pods find no place.
fn leave_out(error: &BuildError, snapshot: &mut Snapshot, pods: &mut Vec<Unschedulable>) -> bool {
    let before = (snapshot.pending.len(), snapshot.daemon_sets.len());
    snapshot.pending.retain(|group| {
        let stays = group.describe() != error.object;
        if !stays {
            let names = (0..group.names.count()).map(|index| group.names.name(index));
            let pod = |name: String| format!("{}/{name}", group.namespace);
            pods.extend(names.map(|name| Unschedulable { pod: pod(name), reason: error.problem.clone() }));
        }
        stays
    });
    let named = |set: &DaemonSet| format!("DaemonSet {}/{}", set.namespace().unwrap_or_default(), set.name_any());
    snapshot.daemon_sets.retain(|set| named(set) != error.object);
    before != (snapshot.pending.len(), snapshot.daemon_sets.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};
    use supercargo_models::catalog::{InstanceType, Offering};
    use supercargo_models::problem::{Pattern, Problem};
    use supercargo_models::solver::Status;

    use super::super::super::settings::{Bind, MinValues};
    use super::*;
    use crate::cluster::{Stored, of_stored};

    fn settings() -> Settings {
        Settings {
            identity: "one".into(),
            batch_idle: Duration::ZERO,
            batch_max: Duration::ZERO,
            time_budget: Duration::from_secs(60),
            solver: solver::Settings { iterations: Some(10), ..solver::Settings::default() },
            options: Default::default(),
            min_values: MinValues::Strict,
            launch_timeout: Duration::ZERO,
            registration_timeout: Duration::ZERO,
            replacement_timeout: Duration::ZERO,
            bind: Bind::Off,
            bind_deadline: Duration::ZERO,
            dry_run: None,
            node_repair: false,
            node_overlay: false,
            collection_period: Duration::ZERO,
        }
    }

    fn wants_cpu_above(words: &str) -> Value {
        let one = json!({"key": "karpenter.k8s.aws/instance-cpu", "operator": "Gt", "values": [words]});
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": [one]}]}}})
    }

    fn pod(name: &str, affinity: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "x", "labels": {"app": name}},
            "spec": {"affinity": affinity, "containers": [{"name": "main", "resources": {"requests": {"cpu": "1"}}}]},
        }))
        .unwrap()
    }

    /// Pods that wait, daemon sets, a pool, and one instance type to buy.
    fn question(pods: Vec<Pod>, daemon_sets: Vec<Arc<DaemonSet>>) -> Question {
        let pool = json!({"metadata": {"name": "p"}, "spec": {"template": {"spec": {"requirements": []}}}});
        let node_pools = vec![serde_json::from_value(pool).unwrap()];
        let stored = Stored { pods, daemon_sets, node_pools, ..Stored::default() };
        let offering =
            Offering { zone: "a".into(), capacity_type: "on-demand".into(), price: 0.1, ..Offering::default() };
        let instance = InstanceType {
            name: "m5.large".into(),
            arch: "amd64".into(),
            vcpu: 2,
            memory_mib: 8192,
            max_pods: 10,
            labels: [("karpenter.k8s.aws/instance-cpu".to_owned(), "2".to_owned())].into(),
            offerings: vec![offering],
            ..InstanceType::default()
        };
        let catalog = Arc::new(Catalog { instance_types: vec![instance], ..Catalog::default() });
        Question { snapshot: of_stored(stored).unwrap().snapshot, catalog }
    }

    #[test]
    fn what_means_nothing_to_a_scheduler_does_not_stand_in_the_way_of_others() {
        let container = json!({"name": "main", "resources": {"requests": {"cpu": "500m"}}});
        let daemon = json!({"metadata": {"name": "agent", "namespace": "x"}, "spec": {"selector": {},
            "template": {"spec": {"affinity": wants_cpu_above("all"), "containers": [container]}}}});
        let pods = vec![pod("bad", wants_cpu_above("many")), pod("good", wants_cpu_above("1"))];
        let question = question(pods, vec![Arc::new(serde_json::from_value(daemon).unwrap())]);
        let plan = plan(&question, &settings(), &solver::solve).unwrap();
        assert_eq!(plan.nodes[0].pods, ["x/good"]);
        assert_eq!((plan.unschedulable.len(), plan.summary.unschedulable), (1, 1));
        assert_eq!(plan.unschedulable[0].pod, "x/bad");
        assert!(plan.unschedulable[0].reason.contains("operator Gt needs"), "{}", plan.unschedulable[0].reason);
    }

    #[test]
    fn where_the_solvers_plan_breaks_a_rule_the_greedy_plans() {
        let question = question((0..3).map(|index| pod(&format!("pod-{index}"), json!({}))).collect(), Vec::new());
        // One that puts all pods on one node, whether they fit or not.
        let overfull = |problem: &Problem, settings: &solver::Settings, control: &dyn Control| {
            let mut outcome = solver::solve(problem, settings, control);
            if settings.method != Method::Greedy {
                let counts =
                    (0..problem.shapes.len()).map(|shape| (shape as u32, problem.shapes[shape].count)).collect();
                let bin = outcome.solution.nodes[0].0.bin;
                outcome.solution.nodes = vec![(Pattern { bin, counts }, 1)];
            }
            outcome
        };
        let plan = plan(&question, &settings(), &overfull).unwrap();
        assert_eq!((plan.nodes.len(), plan.summary.scheduled, plan.summary.status), (3, 3, Status::Greedy));
        let broken = |problem: &Problem, settings: &solver::Settings, control: &dyn Control| {
            let greedy = solver::Settings { method: Method::Auto, ..settings.clone() };
            overfull(problem, &greedy, control)
        };
        assert!(super::plan(&question, &settings(), &broken).is_err());
    }
}
