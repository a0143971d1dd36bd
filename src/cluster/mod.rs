//! From files or a live cluster to a snapshot: reading objects, checking them as the API server would, and expanding workloads to pods.
//!
//! ```text
//!   sources ──> documents ──> objects (typed, validated) ──> expansion (pods of workloads) ──> Snapshot
//!   file, glob,  YAML, JSON,   one check a kind; older        ownership, admission,
//!   folder, -,   lists         Karpenter's kinds converted    what is bound and what waits
//! ```

mod defaults;
mod documents;
mod error;
mod expansion;
mod legacy;
mod lines;
mod live;
mod objects;
mod ownership;
mod sources;
mod stored;
mod typed;
mod validate;
mod wording;

use serde_json::Value;
use supercargo_models::kubernetes::Snapshot;

pub use error::InputError;
pub use live::{LiveError, Target, configuration};
use objects::{Objects, Read};
pub use stored::{Stored, of_stored};

/// How to read.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// What to do about fields that Kubernetes does not know.
    pub validate: Validate,
}

/// What to do about fields that Kubernetes does not know, as kubectl's `--validate`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validate {
    /// They are an error.
    #[default]
    Strict,
    /// They are noted.
    Warn,
    /// They are passed over.
    Ignore,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The cluster that the objects describe.
    pub snapshot: Snapshot,
    /// What a person should know: kinds that were skipped, pods that were left out, defaults that were taken.
    pub notes: Vec<String>,
}

/// An object that an older Karpenter would have read, in today's form.
#[derive(Clone, Debug)]
pub struct Modernised {
    /// The object of `karpenter.sh/v1` or `karpenter.k8s.aws/v1`.
    pub object: Value,
    /// What has no successor, one sentence each, with file and object.
    pub lost: Vec<String>,
}

/// Reads all `sources` (each a file, a folder, a glob, or `-` for standard input) into one snapshot.
///
/// # Errors
///
/// The first thing that is wrong, with file, document, object and field.
pub fn read(sources: &[String], options: &ReadOptions) -> Result<Loaded, InputError> {
    let mut objects = Objects::default();
    let mut found = 0_usize;
    for source in sources::open(sources)? {
        for document in documents::split(source)? {
            found += 1;
            objects.add(document, options)?;
        }
    }
    if found == 0 {
        return Err(nothing_in(sources));
    }
    expansion::snapshot(objects)
}

/// Reads a live cluster into a snapshot, with the verb `list` alone.
///
/// Fields that this program does not know are passed over: the cluster may be newer. An object that can't be understood is
/// left out with a note, so that one of many does not stand in the way of all others.
///
/// # Errors
///
/// If there is no cluster, it does not answer, or it refuses a list: the resource is named. If none of its NodePools can be
/// understood.
pub fn read_live(target: &Target) -> Result<Loaded, LiveError> {
    Ok(understood(live::read(target)?)?)
}

/// The snapshot of those documents that can be understood.
fn understood(documents: Vec<documents::Document>) -> Result<Loaded, InputError> {
    let options = ReadOptions { validate: Validate::Ignore };
    let mut objects = Objects::of_cluster();
    let mut no_pool = None;
    for document in documents {
        let is_pool = document.value["kind"] == "NodePool";
        if let Err(error) = objects.add(document, &options) {
            objects.notes.push(format!("left out, because it cannot be understood: {error}"));
            no_pool = no_pool.or(is_pool.then_some(error));
        }
    }
    match no_pool {
        // The pool that stands in where there is none would buy what nobody allowed.
        Some(error) if objects.node_pools.is_empty() => Err(error),
        _ => expansion::snapshot(objects),
    }
}

fn nothing_in(sources: &[String]) -> InputError {
    let names: Vec<&str> =
        sources.iter().map(|source| if source == "-" { "standard input" } else { source.as_str() }).collect();
    InputError::of_file(names.join(", "), "no objects found").with_fix("expected Kubernetes objects as YAML or JSON")
}

/// Reads the Provisioners, AWSNodeTemplates and NodePools of `v1beta1` in `sources`, and converts them to today's form.
///
/// Kubelet settings of a Provisioner go to the EC2NodeClass it names, where that is converted as well. The second value
/// counts the objects of other kinds, which are passed over.
///
/// # Errors
///
/// The first thing that is wrong, with file, document, object and field.
pub fn modernise(sources: &[String]) -> Result<(Vec<Modernised>, usize), InputError> {
    let mut converted: Vec<Modernised> = Vec::new();
    let mut kubelets = Vec::new();
    let mut others = 0;
    for source in sources::open(sources)? {
        for document in documents::split(source)? {
            let Some(kind) = legacy::kind(&document.value) else {
                others += 1;
                continue;
            };
            let name = document.value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            let label = format!("{kind} {name}");
            if name.is_empty() {
                return Err(document.place.error(Some(kind), "metadata.name", "is missing", None));
            }
            let place = document.place;
            let result = legacy::convert(kind, document.value)
                .map_err(|fault| place.error(Some(&label), &fault.field, &fault.problem, fault.fix.as_deref()))?;
            let prefix = format!("{}: {label}", place.describe());
            if let Some((class, kubelet)) = result.kubelet {
                kubelets.push((class, kubelet, converted.len()));
            }
            let lost = result.lost.into_iter().map(|lost| format!("{prefix}: {lost}")).collect();
            converted.push(Modernised { object: result.object, lost });
        }
    }
    if converted.is_empty() && others == 0 {
        return Err(nothing_in(sources));
    }
    for (class, kubelet, from) in kubelets {
        let target = converted.iter_mut().find(|candidate| {
            candidate.object["kind"] == "EC2NodeClass" && candidate.object["metadata"]["name"] == class.as_str()
        });
        if target.and_then(|target| legacy::put_kubelet(&mut target.object, &kubelet)).is_none() {
            let text = format!("its kubelet settings belong into spec.kubelet of the EC2NodeClass {class}: {kubelet}");
            converted[from].lost.push(text);
        }
    }
    Ok((converted, others))
}

/// The objects of a list, without where they come from.
fn bare<T>(list: Vec<Read<T>>) -> Vec<T> {
    list.into_iter().map(|read| read.object).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn live(kind: &str, version: &str, items: Vec<Value>) -> Vec<documents::Document> {
        let source = sources::Source { name: "the cluster".into(), text: String::new() };
        documents::of_list(Arc::new(source), version, kind, items).unwrap()
    }

    #[test]
    fn one_bad_object_of_a_cluster_is_left_out() {
        let pool = |name: &str, weight: Value| json!({"metadata": {"name": name}, "spec": {"template": {"spec": {}}, "weight": weight}});
        let pools = live("NodePool", "karpenter.sh/v1", vec![pool("good", json!(1)), pool("bad", json!("heavy"))]);
        let loaded = understood(pools).unwrap();
        assert_eq!(loaded.snapshot.node_pools.len(), 1);
        let note = "left out, because it cannot be understood: the cluster: NodePool bad: spec.weight: is the text";
        assert!(loaded.notes.iter().any(|found| found.starts_with(note)), "{:?}", loaded.notes);
        // Without any other pool, the one that stands in would buy what nobody allowed.
        let none = understood(live("NodePool", "karpenter.sh/v1", vec![pool("bad", json!("heavy"))]));
        assert!(none.unwrap_err().to_string().contains("NodePool bad: spec.weight"));
    }

    #[test]
    fn runtime_classes_of_a_cluster_count_for_daemons_that_are_to_come() {
        let class = json!({"metadata": {"name": "kata"}, "handler": "kata", "overhead": {"podFixed": {"cpu": "250m"}},
            "scheduling": {"nodeSelector": {"sandbox": "kata"}}});
        let spec = |selector: Value| {
            json!({"runtimeClassName": "kata", "nodeSelector": selector,
            "containers": [{"name": "main"}]})
        };
        let set = |name: &str, selector: Value| {
            json!({"metadata": {"name": name, "namespace": "shop"},
            "spec": {"selector": {}, "template": {"spec": spec(selector)}}})
        };
        // Admitted when the class was another one.
        let pod = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec(json!({"sandbox": "old"}))});
        let mut all = live("RuntimeClass", "node.k8s.io/v1", vec![class]);
        all.extend(live("DaemonSet", "apps/v1", vec![set("good", json!({})), set("bad", json!({"sandbox": "none"}))]));
        all.extend(live("Pod", "v1", vec![pod]));
        let loaded = understood(all).unwrap();
        let daemon = |index: usize| loaded.snapshot.daemon_sets[index].spec.template.spec.as_ref().unwrap();
        assert_eq!(daemon(0).overhead.as_ref().unwrap()["cpu"].0, "250m");
        assert_eq!(daemon(0).node_selector.as_ref().unwrap()["sandbox"], "kata");
        assert_eq!(daemon(1).node_selector.as_ref().unwrap()["sandbox"], "none");
        let note =
            "no such pods can be made: DaemonSet shop/bad: spec.template.spec.nodeSelector.sandbox: \"none\" is not";
        assert!(loaded.notes.iter().any(|found| found.starts_with(note)), "{:?}", loaded.notes);
        assert_eq!(loaded.snapshot.pending[0].spec.overhead, None);
    }

    #[test]
    fn pods_of_a_cluster_were_admitted_before_its_limit_ranges_changed() {
        let range = json!({"metadata": {"name": "small", "namespace": "shop"},
            "spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}});
        let pod = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"containers": [
            {"name": "main", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}}]}});
        let mut all = live("LimitRange", "v1", vec![range]);
        all.extend(live("Pod", "v1", vec![pod]));
        assert_eq!(understood(all.clone()).unwrap().snapshot.pending.len(), 1);
        let mut objects = Objects::default();
        all.into_iter().for_each(|document| objects.add(document, &ReadOptions::default()).unwrap());
        assert!(expansion::snapshot(objects).is_err());
    }
}
