//! What the API server would refuse: one check a kind, after Kubernetes' own validation rules.
//!
//! A plan for objects that no cluster accepts is worth nothing, and a rule that is misspelled would silently not hold.

mod names;
mod node_class;
mod node_overlay;
mod node_pool;
mod path;
mod pod;
mod resources;
mod runtime_class;
mod scheduling;
mod volumes;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job, JobSpec};
use k8s_openapi::api::core::v1::{LimitRange, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

pub(crate) use names::{is_dns_label, is_dns_subdomain, labels};
pub(crate) use node_class::{complete_node_class, node_class};
pub(crate) use node_overlay::node_overlay;
pub(crate) use node_pool::{csi_node, node, node_claim, node_pool, restricted_domains};
pub(crate) use path::{Checked, Fault, Path};
pub(crate) use runtime_class::runtime_class;
pub(crate) use volumes::{storage_class, volume};

fn replicas(count: Option<i32>, field: &str) -> Checked {
    match count {
        Some(count) if count < 0 => Path::ROOT.key("spec").key(field).fail(format!("{count} is negative")),
        _ => Ok(()),
    }
}

/// An empty selector is what is left of one that is not there; the workload's template then stands for itself.
fn given(selector: &LabelSelector) -> Option<&LabelSelector> {
    (*selector != LabelSelector::default()).then_some(selector)
}

/// Checks a pod.
pub(crate) fn pod(object: &Pod) -> Checked {
    match &object.spec {
        Some(spec) => pod::pod_spec(spec, &Path::ROOT.key("spec")),
        None => Path::ROOT.key("spec").fail("is missing"),
    }
}

/// Checks a deployment.
pub(crate) fn deployment(object: &Deployment) -> Checked {
    let spec = &object.spec;
    replicas(spec.replicas, "replicas")?;
    pod::template(&spec.template, given(&spec.selector), &Path::ROOT.key("spec"))
}

/// Checks a replica set.
pub(crate) fn replica_set(object: &ReplicaSet) -> Checked {
    let spec = &object.spec;
    replicas(spec.replicas, "replicas")?;
    match &spec.template {
        Some(template) => pod::template(template, given(&spec.selector), &Path::ROOT.key("spec")),
        None => Path::ROOT.key("spec").key("template").fail("is missing"),
    }
}

/// Checks a stateful set.
pub(crate) fn stateful_set(object: &StatefulSet) -> Checked {
    let spec = &object.spec;
    replicas(spec.replicas, "replicas")?;
    let root = Path::ROOT.key("spec");
    if let Some(start) = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start)
        && start < 0
    {
        return root.key("ordinals").key("start").fail(format!("{start} is negative"));
    }
    for (index, claim) in spec.volume_claim_templates.iter().flatten().enumerate() {
        let path = root.key("volumeClaimTemplates");
        let path = path.index(index);
        if claim.metadata.name.as_deref().is_none_or(str::is_empty) {
            return path.key("metadata").key("name").fail("is missing");
        }
        claim_requests(claim, &path)?;
    }
    pod::template(&spec.template, given(&spec.selector), &root)
}

/// Checks a daemon set.
pub(crate) fn daemon_set(object: &DaemonSet) -> Checked {
    let spec = &object.spec;
    pod::template(&spec.template, given(&spec.selector), &Path::ROOT.key("spec"))
}

/// Checks a job.
pub(crate) fn job(object: &Job) -> Checked {
    match &object.spec {
        Some(spec) => job_spec(spec, &Path::ROOT.key("spec")),
        None => Path::ROOT.key("spec").fail("is missing"),
    }
}

/// Checks a cron job.
pub(crate) fn cron_job(object: &CronJob) -> Checked {
    let path = Path::ROOT.key("spec");
    let path = path.key("jobTemplate");
    let path = path.key("spec");
    match &object.spec.job_template.spec {
        Some(spec) => job_spec(spec, &path),
        None => path.fail("is missing"),
    }
}

fn job_spec(spec: &JobSpec, path: &Path<'_>) -> Checked {
    for (field, count) in [("parallelism", spec.parallelism), ("completions", spec.completions)] {
        if let Some(count) = count
            && count < 0
        {
            return path.key(field).fail(format!("{count} is negative"));
        }
    }
    pod::template(&spec.template, None, path)
}

/// Checks a claim on a volume.
pub(crate) fn volume_claim(object: &PersistentVolumeClaim) -> Checked {
    claim_requests(object, &Path::ROOT)
}

fn claim_requests(claim: &PersistentVolumeClaim, path: &Path<'_>) -> Checked {
    let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()).and_then(|list| list.requests.as_ref());
    let path = path.key("spec");
    let path = path.key("resources");
    resources::amounts(requests, &path.key("requests"))
}

/// Checks a limit range.
pub(crate) fn limit_range(object: &LimitRange) -> Checked {
    let path = Path::ROOT.key("spec");
    let path = path.key("limits");
    for (index, item) in object.spec.iter().flat_map(|spec| &spec.limits).enumerate() {
        let path = path.index(index);
        let lists = [
            ("min", &item.min),
            ("max", &item.max),
            ("default", &item.default),
            ("defaultRequest", &item.default_request),
            ("maxLimitRequestRatio", &item.max_limit_request_ratio),
        ];
        for (field, list) in lists {
            resources::amounts(list.as_ref(), &path.key(field))?;
        }
    }
    Ok(())
}

/// Checks a disruption budget.
pub(crate) fn disruption_budget(object: &PodDisruptionBudget) -> Checked {
    let Some(spec) = &object.spec else { return Ok(()) };
    let path = Path::ROOT.key("spec");
    if spec.min_available.is_some() && spec.max_unavailable.is_some() {
        return path.fail("minAvailable and maxUnavailable exclude each other");
    }
    match &spec.selector {
        Some(selector) => names::selector(selector, &path.key("selector")),
        None => Ok(()),
    }
}
