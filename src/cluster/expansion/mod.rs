//! From workloads to the pods they would make, and from all objects to a snapshot.

mod admit;
mod notes;
mod stateful_set;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{LimitRange, PersistentVolumeClaim, PodTemplateSpec};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use supercargo_models::kubernetes::{Owner, PodGroup, PodNames, Snapshot};

use crate::cluster::error::InputError;
use crate::cluster::objects::{Objects, Origin, Read};
use crate::cluster::ownership::{Sorted, TEMPLATE_HASH, Workloads, reason, sort};
use crate::cluster::{Loaded, bare, defaults, legacy, validate};

/// The most pods that one plan is made for.
const MAX_PODS: u64 = 1_000_000;

/// Makes a snapshot of all objects.
pub(crate) fn snapshot(mut objects: Objects) -> Result<Loaded, InputError> {
    let workloads = Workloads::of(&objects);
    let sorted = sort(&mut objects, &workloads);
    let mut claims = BTreeSet::new();
    for read in &objects.volume_claims {
        let metadata = &read.object.metadata;
        claims.insert((metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default()));
    }
    let pods = sorted.bound.iter().chain(sorted.waiting.iter().map(|(read, _)| read));
    let about = pods.map(|read| &read.object.metadata);
    let names = about.map(|one| (one.namespace.clone().unwrap_or_default(), one.name.clone().unwrap_or_default()));
    let names = names.collect();
    let mut expansion = Expansion {
        admitted: objects.admitted,
        limit_ranges: bare(std::mem::take(&mut objects.limit_ranges)),
        priority_classes: bare(std::mem::take(&mut objects.priority_classes)),
        runtime_classes: bare(std::mem::take(&mut objects.runtime_classes)),
        sorted,
        claims,
        made_claims: Vec::new(),
        groups: Vec::new(),
        prefixes: BTreeSet::new(),
        names,
        pods: 0,
        absent_classes: BTreeMap::new(),
        absent_runtimes: BTreeMap::new(),
        refused: Vec::new(),
    };
    expansion.waiting_pods()?;
    expansion.workloads(&mut objects, &workloads)?;
    expansion.finish(objects)
}

struct Expansion {
    /// Whether limit ranges give defaults only.
    admitted: bool,
    limit_ranges: Vec<LimitRange>,
    priority_classes: Vec<PriorityClass>,
    runtime_classes: Vec<RuntimeClass>,
    sorted: Sorted,
    /// Namespace and name of the claims in the input.
    claims: BTreeSet<(String, String)>,
    /// Claims that stand for those a stateful set would make.
    made_claims: Vec<PersistentVolumeClaim>,
    groups: Vec<PodGroup>,
    /// Namespace and prefix of the replicas' names, which have to differ.
    prefixes: BTreeSet<(String, String)>,
    /// Namespace and name of the pods that are there.
    names: BTreeSet<(String, String)>,
    pods: u64,
    /// Priority classes that pods name and the input lacks, with one such pod each.
    absent_classes: BTreeMap<String, String>,
    /// Runtime classes that pods name and the input lacks, with one such pod each.
    absent_runtimes: BTreeMap<String, String>,
    /// Templates of a live cluster whose pods it would refuse, and why.
    refused: Vec<String>,
}

/// A workload that is being expanded.
struct Workload<'a> {
    kind: &'static str,
    metadata: &'a ObjectMeta,
    origin: &'a Origin,
    /// Path of the pod template's spec.
    field: &'static str,
    /// Path of the field that says how many.
    count_field: &'static str,
}

impl Workload<'_> {
    fn namespace(&self) -> String {
        self.metadata.namespace.clone().unwrap_or_default()
    }

    fn name(&self) -> String {
        self.metadata.name.clone().unwrap_or_default()
    }

    fn label(&self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }

    fn key(&self) -> (String, String, String) {
        (self.kind.to_string(), self.namespace(), self.name())
    }
}

impl Expansion {
    /// Pods that are there and wait.
    fn waiting_pods(&mut self) -> Result<(), InputError> {
        for (read, owner) in std::mem::take(&mut self.sorted.waiting) {
            let Read { object: pod, origin } = read;
            let Some(mut spec) = pod.spec else { continue };
            let namespace = pod.metadata.namespace.unwrap_or_default();
            let priority = self.admit(&mut spec, &namespace, &origin, admit::OF_POD)?;
            self.count(1, &origin, "")?;
            self.groups.push(PodGroup {
                namespace,
                owner,
                names: PodNames::Single(pod.metadata.name.unwrap_or_default()),
                labels: pod.metadata.labels.unwrap_or_default(),
                annotations: pod.metadata.annotations.unwrap_or_default(),
                priority,
                spec: Arc::new(spec),
                origin: origin.describe(),
            });
        }
        Ok(())
    }

    /// The replicas of workloads that are not there yet.
    fn workloads(&mut self, objects: &mut Objects, workloads: &Workloads) -> Result<(), InputError> {
        for read in std::mem::take(&mut objects.deployments) {
            let spec = read.object.spec;
            let workload = Workload {
                kind: "Deployment",
                metadata: &read.object.metadata,
                origin: &read.origin,
                field: "spec.template.spec",
                count_field: "spec.replicas",
            };
            self.replicas(&workload, spec.template, spec.replicas.unwrap_or(1), Labels::TemplateHash)?;
        }
        for read in std::mem::take(&mut objects.replica_sets) {
            if workloads.is_owned(&read.object.metadata) {
                continue;
            }
            let spec = read.object.spec;
            let Some(template) = spec.template else { continue };
            let workload = Workload {
                kind: "ReplicaSet",
                metadata: &read.object.metadata,
                origin: &read.origin,
                field: "spec.template.spec",
                count_field: "spec.replicas",
            };
            self.replicas(&workload, template, spec.replicas.unwrap_or(1), Labels::TemplateHash)?;
        }
        for read in std::mem::take(&mut objects.stateful_sets) {
            self.stateful_set(read)?;
        }
        for read in std::mem::take(&mut objects.jobs) {
            let finished = is_finished(&read.object);
            let done = read.object.status.as_ref().and_then(|status| status.succeeded).unwrap_or(0);
            let Some(spec) = read.object.spec else { continue };
            if finished {
                continue;
            }
            let workload = Workload {
                kind: "Job",
                metadata: &read.object.metadata,
                origin: &read.origin,
                field: "spec.template.spec",
                count_field: "spec.parallelism",
            };
            self.job(&workload, spec, done)?;
        }
        for read in std::mem::take(&mut objects.cron_jobs) {
            let spec = read.object.spec;
            let workload = Workload {
                kind: "CronJob",
                metadata: &read.object.metadata,
                origin: &read.origin,
                field: "spec.jobTemplate.spec.template.spec",
                count_field: "spec.jobTemplate.spec.parallelism",
            };
            if spec.suspend == Some(true) {
                self.sorted.left_out.entry(reason::SUSPENDED).or_default().push(workload.label());
                continue;
            }
            if self.sorted.started.contains(&workload.key()) {
                continue;
            }
            if let Some(job) = spec.job_template.spec {
                self.job(&workload, job, 0)?;
            }
        }
        Ok(())
    }

    /// The pods of a job that run at once.
    fn job(&mut self, workload: &Workload<'_>, spec: JobSpec, done: i32) -> Result<(), InputError> {
        if spec.suspend == Some(true) {
            self.sorted.left_out.entry(reason::SUSPENDED).or_default().push(workload.label());
            return Ok(());
        }
        let parallelism = spec.parallelism.unwrap_or(1);
        let left = spec.completions.map_or(parallelism, |completions| completions.saturating_sub(done));
        self.replicas(workload, spec.template, parallelism.min(left), Labels::Job)
    }

    /// The missing replicas of a workload whose replicas are all alike.
    fn replicas(
        &mut self,
        workload: &Workload<'_>,
        template: PodTemplateSpec,
        wanted: i32,
        labels: Labels,
    ) -> Result<(), InputError> {
        let present = self.sorted.present.get(&workload.key()).map_or(0, BTreeSet::len);
        let wanted = u32::try_from(wanted).unwrap_or(0);
        let missing = wanted.saturating_sub(u32::try_from(present).unwrap_or(u32::MAX));
        if missing == 0 {
            return Ok(());
        }
        let Some(mut group) = self.group(workload, template)? else { return Ok(()) };
        let prefix = self.prefix(workload);
        self.count(u64::from(missing), workload.origin, workload.count_field)?;
        if let Some(hash) = self.sorted.hashes.get(&workload.key()) {
            group.labels.entry(TEMPLATE_HASH.into()).or_insert_with(|| hash.clone());
        }
        labels.add(&mut group, &prefix);
        group.names = PodNames::Replicas { prefix, count: missing };
        self.groups.push(group);
        Ok(())
    }

    /// A group of a workload's pods, still without names; `None` where they are not ours to place.
    fn group(&mut self, workload: &Workload<'_>, template: PodTemplateSpec) -> Result<Option<PodGroup>, InputError> {
        let Some(mut spec) = template.spec else { return Ok(None) };
        let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
        let fixed = spec.node_name.as_ref().is_some_and(|node| !node.is_empty());
        let out = match (gated, fixed) {
            (true, _) => Some(reason::GATED),
            (_, true) => Some(reason::FIXED),
            _ => None,
        };
        if let Some(out) = out {
            self.sorted.left_out.entry(out).or_default().push(workload.label());
            return Ok(None);
        }
        let namespace = workload.namespace();
        let priority = self.admit(&mut spec, &namespace, workload.origin, workload.field)?;
        let metadata = template.metadata.unwrap_or_default();
        Ok(Some(PodGroup {
            namespace,
            owner: Owner { kind: workload.kind.into(), name: workload.name() },
            names: PodNames::Single(workload.name()),
            labels: metadata.labels.unwrap_or_default(),
            annotations: metadata.annotations.unwrap_or_default(),
            priority,
            spec: Arc::new(spec),
            origin: workload.origin.describe(),
        }))
    }

    /// What the replicas' names begin with: the workload's name, and its kind where another workload has that name, or a pod
    /// that is not its own is called like one of them.
    fn prefix(&mut self, workload: &Workload<'_>) -> String {
        let mut prefix = workload.name();
        while self.is_called(workload, &prefix) || !self.prefixes.insert((workload.namespace(), prefix.clone())) {
            prefix = format!("{prefix}-{}", workload.kind.to_lowercase());
        }
        prefix
    }

    /// Whether a pod that is there and is none of a workload's replicas is called `PREFIX-NUMBER`.
    fn is_called(&self, workload: &Workload<'_>, prefix: &str) -> bool {
        let own = self.sorted.present.get(&workload.key());
        let begin = (workload.namespace(), format!("{prefix}-"));
        let alike = self.names.range(begin.clone()..);
        let alike = alike.map_while(|(namespace, name)| {
            name.strip_prefix(&begin.1).filter(|_| *namespace == begin.0).map(|number| (name, number))
        });
        alike
            .filter(|(name, _)| !own.is_some_and(|own| own.contains(*name)))
            .any(|(_, number)| number.bytes().all(|digit| digit.is_ascii_digit()))
    }

    fn count(&mut self, more: u64, origin: &Origin, field: &str) -> Result<(), InputError> {
        self.pods += more;
        if self.pods > MAX_PODS {
            let problem = format!("brings the pods to {} in all, and the most is {MAX_PODS}", self.pods);
            return Err(origin.error(field, &problem, None));
        }
        Ok(())
    }

    fn finish(mut self, mut objects: Objects) -> Result<Loaded, InputError> {
        let mut daemon_sets = Vec::new();
        for read in std::mem::take(&mut objects.daemon_sets) {
            let Read { object: mut daemon_set, origin } = read;
            let namespace = daemon_set.metadata.namespace.clone().unwrap_or_default();
            if let Some(pod) = daemon_set.spec.template.spec.as_mut() {
                let priority = self.admit(pod, &namespace, &origin, "spec.template.spec")?;
                pod.priority = Some(priority);
            }
            daemon_sets.push(daemon_set);
        }
        let mut notes = notes::notes(&objects, &self);
        let mut node_classes = bare(objects.node_classes);
        for (class, kubelet, origin) in objects.kubelets {
            let position = node_classes.iter().position(|candidate| {
                candidate.pointer("/metadata/name").and_then(|name| name.as_str()) == Some(&class)
            });
            let position = position.unwrap_or_else(|| {
                node_classes.push(legacy::bare_class(&class));
                node_classes.len() - 1
            });
            if legacy::put_kubelet(&mut node_classes[position], &kubelet).is_none() {
                notes.push(format!(
                    "{}: EC2NodeClass {class} has other kubelet settings, which count; these do not",
                    origin.describe()
                ));
            }
            let checked = validate::node_class(&node_classes[position]);
            let unknown = checked.map(|unknown| unknown.into_iter().next().map(validate::Fault::from));
            if let Some(fault) = unknown.unwrap_or_else(Some) {
                return Err(origin.error(&fault.field, &fault.problem, fault.fix.as_deref()));
            }
        }
        let mut node_pools = bare(objects.node_pools);
        if node_pools.is_empty() {
            node_pools.push(defaults::node_pool());
            notes.push(defaults::NODE_POOL_NOTE.into());
        }
        let mut volume_claims = bare(objects.volume_claims);
        volume_claims.extend(self.made_claims);
        let snapshot = Snapshot {
            pending: self.groups,
            nodes: bare(objects.nodes),
            node_claims: bare(objects.node_claims),
            bound: bare(self.sorted.bound),
            daemon_sets,
            node_pools,
            node_classes,
            node_overlays: bare(objects.node_overlays),
            volume_claims,
            volumes: bare(objects.volumes),
            storage_classes: bare(objects.storage_classes),
            csi_nodes: bare(objects.csi_nodes),
            namespaces: bare(objects.namespaces),
            limit_ranges: self.limit_ranges,
            priority_classes: self.priority_classes,
            disruption_budgets: bare(objects.disruption_budgets),
        };
        Ok(Loaded { snapshot, notes })
    }
}

fn is_finished(job: &Job) -> bool {
    let Some(status) = &job.status else { return false };
    let ended = |kind: &str| matches!(kind, "Complete" | "Failed" | "SuccessCriteriaMet" | "FailureTarget");
    status.completion_time.is_some()
        || status.conditions.iter().flatten().any(|condition| ended(&condition.type_) && condition.status == "True")
}

/// Labels that controllers add to the pods they make. Those that differ from replica to replica are left out, so that
/// replicas stay alike.
#[derive(Clone, Copy)]
enum Labels {
    /// `pod-template-hash` of a replica set.
    TemplateHash,
    /// The job's name.
    Job,
}

impl Labels {
    fn add(self, group: &mut PodGroup, name: &str) {
        let labels = &mut group.labels;
        match self {
            Labels::TemplateHash => {
                // Any value serves that all replicas share and others don't.
                let hash = fingerprint(&format!("{}/{}/{name}", group.namespace, group.owner.kind));
                labels.entry(TEMPLATE_HASH.into()).or_insert(hash);
            }
            Labels::Job => {
                for key in ["batch.kubernetes.io/job-name", "job-name"] {
                    labels.entry(key.into()).or_insert_with(|| name.to_string());
                }
            }
        }
    }
}

/// Ten letters from a text (FNV-1a), the same from run to run.
fn fingerprint(text: &str) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")[..10].to_string()
}
