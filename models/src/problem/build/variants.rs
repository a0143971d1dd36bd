//! Pools, each with one choice of values for the labels that it leaves open.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Taint;

use super::market::NODE_POOL;
use super::open_labels::{Asks, combinations};
use super::reading::Reading;
use super::{BuildError, Options, pools};
use crate::catalog::{Catalog, KubeletSettings};
use crate::kubernetes::requirements::{Requirement, current_key};
use crate::kubernetes::{NodeClassReference, NodeSelectorRequirementWithMinValues, Snapshot};

/// A pool with one choice of values for the labels that it leaves open.
#[derive(Debug)]
pub(crate) struct Variant {
    /// Index into the snapshot's pools.
    pub pool: usize,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Those of them that the pool leaves open, with the value chosen here.
    pub chosen: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    pub weight: i32,
    pub requirements: Vec<Requirement>,
    /// Labels of which the offerings that could hold a node's pods must have at least so many values (`minValues`).
    pub least_values: Vec<(String, u32)>,
    pub kubelet: KubeletSettings,
}

/// Whether a label comes from the cloud or Kubernetes, so that a pool's requirement on it selects and doesn't set.
fn is_known(key: &str, catalog_keys: &BTreeSet<&str>) -> bool {
    let prefix = key.split_once('/').map(|(prefix, _)| prefix).unwrap_or_default();
    if prefix == "node-restriction.kubernetes.io" || prefix.ends_with(".node-restriction.kubernetes.io") {
        return false; // the part of Kubernetes' domain that is the user's own
    }
    catalog_keys.contains(key)
        || prefix == "kubernetes.io"
        || prefix.ends_with(".kubernetes.io")
        || prefix == "karpenter.sh"
        || prefix.ends_with("k8s.aws")
}

/// The variants of all pools that buy for pods: a pool that leaves a label of its own open has one for each value that
/// matters.
pub(super) fn variants(
    snapshot: &Snapshot,
    catalog: &Catalog,
    options: &Options,
    reading: &Reading,
) -> Result<Vec<Variant>, BuildError> {
    let catalog_keys: BTreeSet<&str> =
        catalog.instance_types.iter().flat_map(|instance| instance.labels.keys()).map(String::as_str).collect();
    let asks = Asks::new(snapshot, reading);
    let mut all = Vec::new();
    for (index, pool) in snapshot.node_pools.iter().enumerate() {
        if pool.spec.replicas.is_some() {
            continue;
        }
        let name = pool.metadata.name.clone().unwrap_or_default();
        let spec = &pool.spec.template.spec;
        let mut labels = pool.spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
        labels.insert(NODE_POOL.to_owned(), name.clone());
        if let Some(class) = &spec.node_class_ref {
            let group = if class.group.is_empty() { "karpenter.k8s.aws" } else { &class.group };
            labels.insert(format!("{group}/{}", class.kind.to_lowercase()), class.name.clone());
        }
        let mut requirements = Vec::new();
        let mut open: BTreeMap<String, Vec<Requirement>> = BTreeMap::new();
        for read in pools::requirements(pool)? {
            if is_known(&read.key, &catalog_keys) || labels.contains_key(&read.key) {
                requirements.push(read);
            } else {
                open.entry(read.key.clone()).or_default().push(read);
            }
        }
        let kubelet = kubelet(snapshot, spec.node_class_ref.as_ref())?;
        let least = |one: &NodeSelectorRequirementWithMinValues| one.min_values.filter(|least| *least > 0);
        let least_values: Vec<(String, u32)> =
            spec.requirements.iter().filter_map(|one| Some((current_key(&one.key).to_owned(), least(one)?))).collect();
        for chosen in combinations(&open, &asks) {
            let mut labels = labels.clone();
            labels.extend(chosen.clone());
            all.push(Variant {
                pool: index,
                name: name.clone(),
                chosen,
                labels,
                taints: spec.taints.clone().unwrap_or_default(),
                weight: if options.ignore_weights { 0 } else { pool.spec.weight.unwrap_or(0) },
                requirements: requirements.clone(),
                least_values: least_values.clone(),
                kubelet: kubelet.clone(),
            });
        }
    }
    Ok(all)
}

/// Kubelet settings of a class; one that is not there says nothing.
pub(crate) fn kubelet(
    snapshot: &Snapshot,
    reference: Option<&NodeClassReference>,
) -> Result<KubeletSettings, BuildError> {
    let Some(reference) = reference else { return Ok(KubeletSettings::default()) };
    let class = snapshot.node_classes.iter().find(|class| {
        class.pointer("/metadata/name").and_then(serde_json::Value::as_str) == Some(reference.name.as_str())
    });
    match class {
        None => Ok(KubeletSettings::default()),
        Some(class) => KubeletSettings::from_node_class(class)
            .map_err(|error| BuildError::new(&format!("EC2NodeClass {}", reference.name), error)),
    }
}
