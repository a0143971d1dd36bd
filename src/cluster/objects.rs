//! From untyped documents to Kubernetes' types, by kind.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use supercargo_models::kubernetes::{NodeClaim, NodeOverlay, NodePool};

use super::documents::{Document, Place};
use super::error::InputError;
use super::legacy;
use super::typed::{UnknownField, from_value, nearest};
use super::validate::{self, Checked, Fault, is_dns_label, is_dns_subdomain};
use super::{ReadOptions, Validate};
use crate::api::EC2NodeClass;

/// What an object is called and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// `Deployment shop/cart`.
    pub label: String,
    /// Where it stands.
    pub place: Place,
}

impl Origin {
    /// An error at a field of this object.
    pub fn error(&self, field: &str, problem: &str, fix: Option<&str>) -> InputError {
        self.place.error(Some(&self.label), field, problem, fix)
    }

    fn fault(&self, fault: Fault) -> InputError {
        self.error(&fault.field, &fault.problem, fault.fix.as_deref())
    }

    /// `shop.yaml: document 3: Deployment shop/cart`.
    pub fn describe(&self) -> String {
        format!("{}: {}", self.place.describe(), self.label)
    }
}

/// An object that was read.
#[derive(Debug)]
pub(crate) struct Read<T> {
    /// The object.
    pub object: T,
    /// Where it comes from.
    pub origin: Origin,
}

/// All objects of the input, by kind, in the order they were read.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub pods: Vec<Read<Pod>>,
    pub deployments: Vec<Read<Deployment>>,
    pub replica_sets: Vec<Read<ReplicaSet>>,
    pub stateful_sets: Vec<Read<StatefulSet>>,
    pub jobs: Vec<Read<Job>>,
    pub cron_jobs: Vec<Read<CronJob>>,
    pub daemon_sets: Vec<Read<DaemonSet>>,
    pub nodes: Vec<Read<Node>>,
    pub volume_claims: Vec<Read<PersistentVolumeClaim>>,
    pub volumes: Vec<Read<PersistentVolume>>,
    pub storage_classes: Vec<Read<StorageClass>>,
    pub csi_nodes: Vec<Read<CSINode>>,
    pub disruption_budgets: Vec<Read<PodDisruptionBudget>>,
    pub priority_classes: Vec<Read<PriorityClass>>,
    pub runtime_classes: Vec<Read<RuntimeClass>>,
    pub limit_ranges: Vec<Read<LimitRange>>,
    pub namespaces: Vec<Read<Namespace>>,
    pub node_pools: Vec<Read<NodePool>>,
    pub node_claims: Vec<Read<NodeClaim>>,
    pub node_classes: Vec<Read<Value>>,
    pub node_overlays: Vec<Read<NodeOverlay>>,
    /// Kubelet settings that an older NodePool or Provisioner carried, with the class they belong to now.
    pub kubelets: Vec<(String, Value, Origin)>,
    /// Kinds that do not matter here, with how many there were.
    pub skipped: BTreeMap<String, usize>,
    /// Whether an API server admitted the pods, so that limit ranges refuse none of them any more.
    pub admitted: bool,
    /// What a person should know.
    pub notes: Vec<String>,
    /// Where each object was first seen.
    seen: HashMap<String, String>,
    generated: HashMap<String, u32>,
}

/// Kinds that matter here, with their API group and whether they live in a namespace.
const KINDS: [(&str, &[&str], bool); 23] = [
    ("Pod", &[""], true),
    ("Deployment", &["apps", "extensions"], true),
    ("ReplicaSet", &["apps", "extensions"], true),
    ("StatefulSet", &["apps"], true),
    ("DaemonSet", &["apps", "extensions"], true),
    ("Job", &["batch"], true),
    ("CronJob", &["batch"], true),
    ("Node", &[""], false),
    ("PersistentVolumeClaim", &[""], true),
    ("PersistentVolume", &[""], false),
    ("StorageClass", &["storage.k8s.io"], false),
    ("CSINode", &["storage.k8s.io"], false),
    ("PodDisruptionBudget", &["policy"], true),
    ("PriorityClass", &["scheduling.k8s.io"], false),
    ("RuntimeClass", &["node.k8s.io"], false),
    ("LimitRange", &[""], true),
    ("Namespace", &[""], false),
    ("NodePool", &["karpenter.sh"], false),
    ("NodeClaim", &["karpenter.sh"], false),
    ("NodeOverlay", &["karpenter.sh"], false),
    ("EC2NodeClass", &["karpenter.k8s.aws"], false),
    ("Provisioner", &["karpenter.sh"], false),
    ("AWSNodeTemplate", &["karpenter.k8s.aws"], false),
];

/// Whether a kind matters here.
pub(crate) fn is_kind(kind: &str) -> bool {
    KINDS.iter().any(|(known, _, _)| *known == kind)
}

impl Objects {
    /// None yet of those that an API server holds.
    pub fn of_cluster() -> Self {
        Objects { admitted: true, ..Objects::default() }
    }

    /// Takes in one document.
    pub fn add(&mut self, document: Document, options: &ReadOptions) -> Result<(), InputError> {
        let Document { value, place } = document;
        let Value::Object(mut map) = value else { return Ok(()) };
        let Some(head) = head(&map, &place)? else {
            *self.skipped.entry(text(&map, "kind")).or_default() += 1;
            return Ok(());
        };
        let origin = self.identify(&mut map, head, place)?;
        let kind = head.0;
        let is_beta = legacy::is_beta(&map);
        if matches!(kind, "Provisioner" | "AWSNodeTemplate") || (kind == "NodePool" && is_beta) {
            return self.add_legacy(kind, Value::Object(map), origin, options);
        }
        let value = Value::Object(map);
        match kind {
            "Pod" => self.pods.push(typed(&mut self.notes, value, origin, options, validate::pod)?),
            "Deployment" => {
                self.deployments.push(typed(&mut self.notes, value, origin, options, validate::deployment)?)
            }
            "ReplicaSet" => {
                self.replica_sets.push(typed(&mut self.notes, value, origin, options, validate::replica_set)?)
            }
            "StatefulSet" => {
                self.stateful_sets.push(typed(&mut self.notes, value, origin, options, validate::stateful_set)?)
            }
            "DaemonSet" => self.daemon_sets.push(typed(&mut self.notes, value, origin, options, validate::daemon_set)?),
            "Job" => self.jobs.push(typed(&mut self.notes, value, origin, options, validate::job)?),
            "CronJob" => self.cron_jobs.push(typed(&mut self.notes, value, origin, options, validate::cron_job)?),
            "Node" => self.nodes.push(typed(&mut self.notes, value, origin, options, validate::node)?),
            "PersistentVolumeClaim" => {
                self.volume_claims.push(typed(&mut self.notes, value, origin, options, validate::volume_claim)?);
            }
            "PersistentVolume" => self.volumes.push(typed(&mut self.notes, value, origin, options, validate::volume)?),
            "StorageClass" => {
                self.storage_classes.push(typed(&mut self.notes, value, origin, options, validate::storage_class)?);
            }
            "CSINode" => self.csi_nodes.push(typed(&mut self.notes, value, origin, options, validate::csi_node)?),
            "PodDisruptionBudget" => {
                self.disruption_budgets.push(typed(
                    &mut self.notes,
                    value,
                    origin,
                    options,
                    validate::disruption_budget,
                )?);
            }
            "PriorityClass" => self.priority_classes.push(typed(&mut self.notes, value, origin, options, |_| Ok(()))?),
            "RuntimeClass" => {
                self.runtime_classes.push(typed(&mut self.notes, value, origin, options, validate::runtime_class)?);
            }
            "LimitRange" => {
                self.limit_ranges.push(typed(&mut self.notes, value, origin, options, validate::limit_range)?)
            }
            "Namespace" => self.namespaces.push(typed(&mut self.notes, value, origin, options, |_| Ok(()))?),
            "NodePool" => self.add_node_pool(value, origin, options)?,
            "NodeClaim" => {
                // An older version has fields that are gone, none of which says what the machine is.
                let lenient = ReadOptions { validate: Validate::Ignore };
                let options = if is_beta { &lenient } else { options };
                let value = without_head(value);
                self.node_claims.push(typed(&mut self.notes, value, origin, options, validate::node_claim)?);
            }
            "EC2NodeClass" => self.add_node_class(value, origin, options)?,
            _ => {
                let value = without_head(value);
                self.node_overlays.push(typed(&mut self.notes, value, origin, options, validate::node_overlay)?);
            }
        }
        Ok(())
    }

    fn add_node_pool(&mut self, value: Value, origin: Origin, options: &ReadOptions) -> Result<(), InputError> {
        let value = without_head(value);
        // A live cluster may be newer, and know labels that are not known here.
        let check = |pool: &NodePool| match options.validate {
            Validate::Ignore => validate::node_pool(pool),
            _ => validate::node_pool(pool).and_then(|()| validate::restricted_domains(pool)),
        };
        self.node_pools.push(typed(&mut self.notes, value, origin, options, check)?);
        Ok(())
    }

    /// Takes in a node class, which stays as it came: only some of it says what a node offers.
    fn add_node_class(&mut self, value: Value, origin: Origin, options: &ReadOptions) -> Result<(), InputError> {
        if options.validate != Validate::Ignore {
            let value = without_head(validate::complete_node_class(value.clone()));
            typed::<EC2NodeClass>(&mut self.notes, value, origin.clone(), options, |_| Ok(()))?;
        }
        let unknown = validate::node_class(&value).map_err(|fault| origin.fault(fault))?;
        judge_unknown(&mut self.notes, unknown, &origin, options)?;
        self.node_classes.push(Read { object: value, origin });
        Ok(())
    }

    /// Takes in what an older Karpenter wrote, as what it is called now.
    fn add_legacy(
        &mut self,
        kind: &str,
        value: Value,
        origin: Origin,
        options: &ReadOptions,
    ) -> Result<(), InputError> {
        let converted = legacy::convert(kind, value)
            .map_err(|fault| origin.error(&fault.field, &fault.problem, fault.fix.as_deref()))?;
        self.notes.extend(converted.lost.iter().map(|lost| format!("{}: {lost}", origin.describe())));
        if let Some((class, kubelet)) = converted.kubelet {
            self.kubelets.push((class, kubelet, origin.clone()));
        }
        // A converted pool and one that is there under the same name would both count.
        let mut map = match converted.object {
            Value::Object(map) => map,
            _ => return Ok(()),
        };
        if kind != "NodePool" {
            let head = if kind == "Provisioner" { ("NodePool", false) } else { ("EC2NodeClass", false) };
            self.identify(&mut map, head, origin.place.clone())?;
        }
        match kind {
            "AWSNodeTemplate" => {
                self.node_classes.push(Read { object: Value::Object(map), origin });
                Ok(())
            }
            _ => self.add_node_pool(Value::Object(map), origin, options),
        }
    }

    /// Fills in name and namespace, checks them, and refuses what was there before.
    fn identify(
        &mut self,
        map: &mut Map<String, Value>,
        (kind, namespaced): (&'static str, bool),
        place: Place,
    ) -> Result<Origin, InputError> {
        let metadata = match map.get_mut("metadata") {
            Some(Value::Object(metadata)) => metadata,
            Some(other) if !other.is_null() => {
                return Err(place.error(Some(kind), "metadata", "is not a map", None));
            }
            _ => return Err(place.error(Some(kind), "metadata.name", "is missing", None)),
        };
        for field in ["name", "namespace", "generateName"] {
            if metadata.get(field).is_some_and(|value| !value.is_string() && !value.is_null()) {
                let field = format!("metadata.{field}");
                return Err(place.error(Some(kind), &field, "is not text", Some("put it in quotes")));
            }
        }
        let mut name = text(metadata, "name");
        if name.is_empty() {
            let prefix = text(metadata, "generateName");
            if prefix.is_empty() {
                return Err(place.error(Some(kind), "metadata.name", "is missing", None));
            }
            // The API server would draw five letters; counting keeps plans the same from run to run.
            let number = self.generated.entry(format!("{kind} {prefix}")).or_default();
            name = format!("{prefix}{number}");
            *number += 1;
            metadata.insert("name".into(), Value::String(name.clone()));
        }
        let label = if namespaced {
            if text(metadata, "namespace").is_empty() {
                metadata.insert("namespace".into(), Value::String("default".into()));
            }
            format!("{kind} {}/{name}", text(metadata, "namespace"))
        } else {
            format!("{kind} {name}")
        };
        let origin = Origin { label, place };
        if !is_dns_subdomain(&name) {
            return Err(origin.error("metadata.name", &format!("{name:?} is not a DNS name"), None));
        }
        let namespace = text(metadata, "namespace");
        if namespaced && !is_dns_label(&namespace) {
            return Err(origin.error("metadata.namespace", &format!("{namespace:?} is not a DNS label"), None));
        }
        if let Some(first) = self.seen.get(&origin.label) {
            return Err(origin.error("", &format!("is there twice; first in {first}"), None));
        }
        self.seen.insert(origin.label.clone(), origin.place.describe());
        Ok(origin)
    }
}

/// An object of one of our own types, which know neither version nor kind.
fn without_head(mut value: Value) -> Value {
    if let Value::Object(map) = &mut value {
        map.shift_remove("apiVersion");
        map.shift_remove("kind");
    }
    value
}

/// Makes a type of a value, checks fields and rules.
fn typed<T: DeserializeOwned>(
    notes: &mut Vec<String>,
    value: Value,
    origin: Origin,
    options: &ReadOptions,
    check: impl Fn(&T) -> Checked,
) -> Result<Read<T>, InputError> {
    let metadata_labels = value.pointer("/metadata/labels").cloned();
    let (object, unknown) = from_value::<T>(value).map_err(|misfit| origin.fault(misfit.into()))?;
    judge_unknown(notes, unknown, &origin, options)?;
    if let Some(Ok(labels)) = metadata_labels.map(serde_json::from_value::<Option<BTreeMap<String, String>>>) {
        validate::labels(labels.as_ref(), &validate::Path::ROOT.key("metadata").key("labels"))
            .map_err(|fault| origin.fault(fault))?;
    }
    check(&object).map_err(|fault| origin.fault(fault))?;
    Ok(Read { object, origin })
}

/// What is to be done about fields that are not known.
fn judge_unknown(
    notes: &mut Vec<String>,
    unknown: Vec<UnknownField>,
    origin: &Origin,
    options: &ReadOptions,
) -> Result<(), InputError> {
    for field in unknown {
        let fault = Fault::from(field);
        match options.validate {
            Validate::Strict => return Err(origin.fault(fault)),
            Validate::Warn => {
                let (label, place) = (Some(origin.label.as_str()), &origin.place);
                let error = place.unplaced_error(label, &fault.field, &fault.problem, fault.fix.as_deref());
                notes.push(error.to_string());
            }
            Validate::Ignore => {}
        }
    }
    Ok(())
}

/// The kind of a document and whether it lives in a namespace; `None` for kinds that do not matter here.
fn head(map: &Map<String, Value>, place: &Place) -> Result<Option<(&'static str, bool)>, InputError> {
    if map.contains_key("instanceTypes") && !map.contains_key("kind") {
        let fix = "give it with --catalog";
        return Err(place.error(None, "", "is a catalogue of instance types and not a Kubernetes object", Some(fix)));
    }
    for field in ["kind", "apiVersion"] {
        match map.get(field) {
            Some(Value::String(text)) if !text.is_empty() => {}
            Some(Value::String(_)) | None => {
                let problem = format!("is not a Kubernetes object: {field} is missing");
                return Err(place.error(None, "", &problem, None));
            }
            Some(_) => return Err(place.error(None, field, "is not text", None)),
        }
    }
    let kind = text(map, "kind");
    let version = text(map, "apiVersion");
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let Some((known, groups, namespaced)) = KINDS.iter().find(|(known, _, _)| *known == kind) else {
        // `deployment` for `Deployment` should not be skipped as if it were a kind of its own.
        const NAMES: [&str; 9] = [
            "Pod",
            "Deployment",
            "ReplicaSet",
            "StatefulSet",
            "DaemonSet",
            "CronJob",
            "NodePool",
            "PersistentVolumeClaim",
            "PersistentVolume",
        ];
        let core = ["", "apps", "batch", "karpenter.sh"].contains(&group);
        if core
            && let Some(meant) = nearest(&kind, &NAMES)
            && meant.eq_ignore_ascii_case(&kind)
        {
            let fix = format!("did you mean {meant}?");
            return Err(place.error(None, "kind", &format!("{kind:?} is not a kind"), Some(&fix)));
        }
        return Ok(None);
    };
    // Kinds that only older Karpenters have, with the one version of each and what became of it.
    let older = match *known {
        "Provisioner" => Some(("karpenter.sh/v1alpha5", "NodePool")),
        "AWSNodeTemplate" => Some(("karpenter.k8s.aws/v1alpha1", "EC2NodeClass")),
        _ => None,
    };
    if groups.contains(&group) && older.is_none_or(|(only, _)| version == only) {
        return Ok(Some((known, *namespaced)));
    }
    // A core object with the wrong group (`v1` for `apps/v1`) is a slip; `Job` of another group is another thing.
    if version == "v1" || ["apps", "batch", "karpenter.sh", "karpenter.k8s.aws"].contains(&group) {
        let fix = match older {
            Some((only, now)) => format!("did you mean {only}, which `supercargo convert` turns into today's {now}?"),
            None if groups[0].is_empty() => "did you mean v1?".to_string(),
            None => format!("did you mean {}/v1?", groups[0]),
        };
        return Err(place.error(None, "apiVersion", &format!("{version:?} has no kind {kind}"), Some(&fix)));
    }
    Ok(None)
}

/// A text of a map, empty where there is none.
fn text(map: &Map<String, Value>, field: &str) -> String {
    map.get(field).and_then(Value::as_str).unwrap_or_default().to_string()
}
