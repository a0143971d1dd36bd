//! Which offerings a claim allows, the cheapest first.

use std::collections::{BTreeMap, BTreeSet};

use supercargo_models::catalog::{self, Catalog, InstanceType, KubeletSettings, Offering};
use supercargo_models::kubernetes::quantity::{Resources, resources};
use supercargo_models::kubernetes::requirements::Requirement;

use super::{CloudError, Offer};
use crate::api::{NodeClaim, NodePool, NodeSelectorRequirementWithMinValues};
use crate::labels;

/// An offering with what a node of it is like.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What is bought.
    pub offer: Offer,
    /// Dollars an hour.
    pub price: f64,
    /// Labels of its nodes.
    pub labels: BTreeMap<String, String>,
    /// What it has.
    pub capacity: Resources,
    /// What it offers to pods.
    pub allocatable: Resources,
}

/// All offerings that satisfy a claim's requirements and hold its requests, the cheapest first; at one price the first by
/// name.
///
/// A requirement on a label that neither the cloud nor the claim sets is met by the node's own labels later: it is passed
/// over here.
///
/// # Errors
/// [`CloudError::Failed`] where a requirement, a request or the catalogue can't be read.
pub fn choices(catalog: &Catalog, claim: &NodeClaim, kubelet: &KubeletSettings) -> Result<Vec<Choice>, CloudError> {
    let failed = |what: &str, problem: String| CloudError::Failed(format!("{what}: {problem}"));
    let requirements = claim
        .spec
        .template
        .requirements
        .iter()
        .map(Requirement::try_from)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed("spec.requirements", error.to_string()))?;
    let requests = claim.spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let requests = requests
        .map_or_else(|| Ok(Resources::new()), resources)
        .map_err(|error| failed("spec.resources.requests", error.to_string()))?;
    let mut found = Vec::new();
    for instance in &catalog.instance_types {
        let mut kind = None;
        for offering in &instance.offerings {
            let label = |key: &str| label(catalog, instance, offering, claim.metadata.labels.as_ref(), key);
            if !requirements.iter().all(|one| is_open(&one.key, instance) || one.matches(label(&one.key))) {
                continue;
            }
            if kind.is_none() {
                let allocatable = catalog::allocatable(instance, kubelet)
                    .map_err(|error| failed("the catalogue", error.to_string()))?;
                let holds = requests.iter().all(|(name, need)| allocatable.get(name).copied().unwrap_or(0) >= *need);
                if !holds {
                    break;
                }
                kind = Some((catalog::capacity(instance), allocatable));
            }
            let Some((capacity, allocatable)) = &kind else { break };
            found.push(Choice {
                offer: Offer::of(instance, offering),
                price: offering.price,
                labels: all_labels(catalog, instance, offering),
                capacity: capacity.clone(),
                allocatable: allocatable.clone(),
            });
        }
    }
    found.sort_by(|left, right| left.price.total_cmp(&right.price).then_with(|| left.offer.cmp(&right.offer)));
    Ok(found)
}

/// Why nothing can be bought for a pool, whatever its pods are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// No offering satisfies its requirements.
    Offerings,
    /// Those that do have fewer values of a label than its `minValues` asks for.
    Values,
}

/// What a catalogue lacks for a pool; `None` where it has what the pool asks for, or where that can't be understood. With
/// `flexible`, fewer values than asked for are enough.
pub fn lack(catalog: &Catalog, pool: &NodePool, flexible: bool) -> Option<Lack> {
    let template = &pool.spec.template;
    let asked = &template.spec.requirements;
    let requirements = asked.iter().map(Requirement::try_from).collect::<Result<Vec<_>, _>>().ok()?;
    let own = template.metadata.as_ref().and_then(|about| about.labels.as_ref());
    let mut any = false;
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for instance in &catalog.instance_types {
        let closed: Vec<&Requirement> = requirements.iter().filter(|one| !is_open(&one.key, instance)).collect();
        for offering in &instance.offerings {
            let label = |key: &str| label(catalog, instance, offering, own, key);
            if !closed.iter().all(|one| one.matches(label(&one.key))) {
                continue;
            }
            any = true;
            for one in &closed {
                values.entry(&one.key).or_default().extend(label(&one.key));
            }
        }
    }
    // Of a label that nobody sells a pool lists the values itself, and the API server counts them.
    let enough = |(one, asked): (&Requirement, &NodeSelectorRequirementWithMinValues)| {
        let found = values.get(one.key.as_str()).map(BTreeSet::len);
        found.is_none_or(|found| found >= asked.min_values.unwrap_or(0) as usize)
    };
    match any {
        false => Some(Lack::Offerings),
        true if flexible || requirements.iter().zip(asked).all(enough) => None,
        true => Some(Lack::Values),
    }
}

/// A label of the nodes of an offering; `None` of one that the catalogue does not set.
pub fn label_of<'c>(catalog: &'c Catalog, offer: &Offer, key: &str) -> Option<&'c str> {
    let instance = catalog.instance_types.iter().find(|instance| instance.name == offer.instance_type)?;
    let is_it = |one: &&Offering| one.zone == offer.zone && one.capacity_type == offer.capacity_type;
    label(catalog, instance, instance.offerings.iter().find(is_it)?, None, key)
}

/// Whether a key is neither the cloud's nor Kubernetes', so that the claim itself decides on its value.
fn is_open(key: &str, instance: &InstanceType) -> bool {
    !matches!(
        key,
        labels::ZONE | labels::CAPACITY_TYPE | labels::INSTANCE_TYPE | labels::REGION | labels::ARCH | labels::OS
    ) && !instance.labels.contains_key(key)
        && !key.starts_with("karpenter.k8s.aws/")
}

fn label<'a>(
    catalog: &'a Catalog,
    instance: &'a InstanceType,
    offering: &'a Offering,
    own: Option<&'a BTreeMap<String, String>>,
    key: &str,
) -> Option<&'a str> {
    match key {
        labels::ZONE => Some(&offering.zone),
        labels::CAPACITY_TYPE => Some(&offering.capacity_type),
        labels::INSTANCE_TYPE => Some(&instance.name),
        labels::REGION => Some(&catalog.region),
        labels::ARCH => Some(&instance.arch),
        _ => {
            let own = instance.labels.get(key).or_else(|| own?.get(key));
            own.map(String::as_str).or((key == labels::OS).then_some("linux"))
        }
    }
}

fn all_labels(catalog: &Catalog, instance: &InstanceType, offering: &Offering) -> BTreeMap<String, String> {
    let mut all = instance.labels.clone();
    let own = [
        (labels::INSTANCE_TYPE, instance.name.as_str()),
        (labels::ARCH, instance.arch.as_str()),
        (labels::OS, "linux"),
        (labels::REGION, catalog.region.as_str()),
        (labels::ZONE, offering.zone.as_str()),
        (labels::CAPACITY_TYPE, offering.capacity_type.as_str()),
    ];
    all.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn claim(requirements: serde_json::Value, requests: serde_json::Value) -> NodeClaim {
        serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {"name": "default-1", "uid": "1", "labels": {"team": "blue"}},
            "spec": {
                "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"},
                "requirements": requirements,
                "resources": {"requests": requests},
            },
        }))
        .unwrap()
    }

    fn found(requirements: serde_json::Value, requests: serde_json::Value) -> Vec<Choice> {
        let catalog = crate::catalog::embedded().unwrap();
        choices(&catalog, &claim(requirements, requests), &KubeletSettings::default()).unwrap()
    }

    #[test]
    fn the_cheapest_that_is_allowed_and_holds_the_requests_comes_first() {
        let requirements = json!([
            {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["m5.large", "m5.xlarge"]},
            {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["us-east-1a", "us-east-1b"]},
            {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
            {"key": "team", "operator": "In", "values": ["blue"]},
        ]);
        let names = |requests| {
            let found = found(requirements.clone(), requests);
            found.iter().map(|choice| choice.offer.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            names(json!({"cpu": "1900m"})),
            [
                "m5.large on-demand us-east-1a",
                "m5.large on-demand us-east-1b",
                "m5.xlarge on-demand us-east-1a",
                "m5.xlarge on-demand us-east-1b"
            ]
        );
        assert_eq!(names(json!({"cpu": "2"})), ["m5.xlarge on-demand us-east-1a", "m5.xlarge on-demand us-east-1b"]);
        assert!(names(json!({"cpu": "1", "nvidia.com/gpu": "1"})).is_empty());
    }

    #[test]
    fn a_pool_is_told_apart_that_nothing_can_be_bought_for() {
        let catalog = crate::catalog::embedded().unwrap();
        let of = |requirements: serde_json::Value, flexible| {
            let pool = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "p"},
                "spec": {"template": {"spec": {"requirements": requirements}}}});
            lack(&catalog, &serde_json::from_value(pool).unwrap(), flexible)
        };
        let types = |values: &[&str], least: u32| {
            json!([{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": values, "minValues": least},
                {"key": "team", "operator": "In", "values": ["blue", "red"], "minValues": 2}])
        };
        assert_eq!(of(json!([]), false), None);
        assert_eq!(of(types(&["m5.large", "m5.xlarge"], 2), false), None);
        assert_eq!(of(types(&["m5.large", "none.such"], 2), false), Some(Lack::Values));
        assert_eq!(of(types(&["m5.large", "none.such"], 2), true), None);
        assert_eq!(of(types(&["none.such"], 1), true), Some(Lack::Offerings));
        let families = json!([
            {"key": "karpenter.k8s.aws/instance-family", "operator": "Exists", "minValues": 2},
            {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["m5.large", "m5.xlarge"]},
        ]);
        assert_eq!(of(families, false), Some(Lack::Values));
        let zone = json!([{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["mars-1a"]}]);
        assert_eq!(of(zone, false), Some(Lack::Offerings));
    }

    #[test]
    fn a_choice_knows_what_its_node_will_be_like() {
        let arm = json!([{"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]},
            {"key": "karpenter.k8s.aws/instance-gpu-count", "operator": "DoesNotExist"}]);
        let first = &found(arm, json!({"cpu": "3"}))[0];
        assert_eq!(first.labels["kubernetes.io/arch"], "arm64");
        assert_eq!(first.labels["topology.kubernetes.io/zone"], first.offer.zone);
        assert!(first.capacity["cpu"] >= 4000);
        assert!(first.allocatable["cpu"] >= 3000 && first.allocatable["cpu"] < first.capacity["cpu"]);
    }
}
