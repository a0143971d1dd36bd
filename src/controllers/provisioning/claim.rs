//! From a planned node to the claim that asks for it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use supercargo_models::plan::{Alternative, PlannedNode};

use super::super::hash;
use crate::api::{NodeClaim, NodeClaimResources, NodeClaimSpec, NodePool, NodeSelectorRequirementWithMinValues};
use crate::binding;
use crate::cloud::Offer;
use crate::labels;

/// A substitute may cost so much more than what was planned, unless the pool asks for flexibility. Where none is to be had
/// at that price, the pods are planned anew.
const TOLERANCE: f64 = 1.10;
/// Instance types that a claim names at most, as many as Karpenter's.
const MOST_TYPES: usize = 60;

/// Resources that a node offers without a daemon's help.
const OWN: [&str; 4] = ["cpu", "memory", "pods", "ephemeral-storage"];

/// The claim for a planned node of a pool. With `hold`, its node is to be held for the planned pods.
pub fn claim(planned: &PlannedNode, pool: &NodePool, hold: bool) -> NodeClaim {
    let requests = planned.requested.iter().map(|(name, amount)| (name.clone(), Quantity(amount.clone()))).collect();
    let resources = NodeClaimResources { requests: Some(requests) };
    let requirements = requirements(planned, pool);
    let asked = &pool.spec.template.spec.requirements;
    let fewer = |one: &NodeSelectorRequirementWithMinValues| one.min_values < min_values(asked, &one.key);
    let relaxed = requirements.iter().any(fewer).to_string();
    let mut claim = of_template(pool, &planned.labels, requirements, Some(resources));
    claim.annotations_mut().insert(labels::PLANNED.into(), offer_of(planned).to_string());
    claim.annotations_mut().insert(labels::MIN_VALUES_RELAXED.into(), relaxed);
    if hold && !needs_devices(planned) {
        claim.spec.template.startup_taints.get_or_insert_default().push(binding::taint());
    }
    claim
}

/// The claim for any node that a pool allows. Where a requirement leaves several values to choose among and the cloud does not
/// set the label (`given` says of a key whether it does), the node gets the first.
pub fn unplanned(pool: &NodePool, given: impl Fn(&str) -> bool) -> NodeClaim {
    let template = &pool.spec.template;
    let labelled =
        |key: &str| template.metadata.iter().flat_map(|about| about.labels.iter().flatten()).any(|(own, _)| own == key);
    let mut requirements = template.spec.requirements.clone();
    let mut chosen = BTreeMap::new();
    for one in requirements.iter_mut().filter(|one| one.operator == "In" && !given(&one.key) && !labelled(&one.key)) {
        if let Some(values) = &mut one.values {
            values.truncate(1);
            chosen.extend(values.first().map(|value| (one.key.clone(), value.clone())));
        }
    }
    requirements.push(NodeSelectorRequirementWithMinValues {
        key: labels::NODE_POOL.into(),
        operator: "In".into(),
        values: Some(vec![pool.name_any()]),
        min_values: None,
    });
    of_template(pool, &chosen, requirements, None)
}

/// What the template of a pool says, with labels, requirements and requests of this claim's own.
fn of_template(
    pool: &NodePool,
    chosen: &BTreeMap<String, String>,
    requirements: Vec<NodeSelectorRequirementWithMinValues>,
    resources: Option<NodeClaimResources>,
) -> NodeClaim {
    let template = &pool.spec.template;
    let spec = &template.spec;
    let about = template.metadata.as_ref();
    let mut own = about.and_then(|about| about.labels.clone()).unwrap_or_default();
    own.extend(chosen.clone());
    own.insert(labels::NODE_POOL.into(), pool.name_any());
    if let Some(class) = &spec.node_class_ref {
        own.insert(format!("{}/{}", class.group, class.kind.to_lowercase()), class.name.clone());
    }
    let mut annotations = about.and_then(|about| about.annotations.clone()).unwrap_or_default();
    annotations.insert(labels::NODE_POOL_HASH.into(), hash::of(pool));
    annotations.insert(labels::NODE_POOL_HASH_VERSION.into(), hash::VERSION.into());
    let template = crate::api::NodeClaimTemplateSpec { requirements, ..spec.clone() };
    let mut claim = NodeClaim::new("", NodeClaimSpec { template, resources });
    claim.metadata = ObjectMeta {
        generate_name: Some(format!("{}-", pool.name_any())),
        labels: Some(own),
        annotations: Some(annotations),
        finalizers: Some(vec![labels::TERMINATION.into()]),
        owner_references: Some(vec![OwnerReference {
            api_version: NodePool::api_version(&()).into_owned(),
            kind: NodePool::kind(&()).into_owned(),
            name: pool.name_any(),
            uid: pool.metadata.uid.clone().unwrap_or_default(),
            block_owner_deletion: Some(true),
            controller: None,
        }]),
        ..ObjectMeta::default()
    };
    claim
}

/// Whether pods of the node ask for what a daemon has to offer first: it would not come to a node that is held.
fn needs_devices(planned: &PlannedNode) -> bool {
    planned.requested.iter().any(|(name, amount)| {
        amount != "0"
            && !OWN.contains(&name.as_str())
            && !name.starts_with("hugepages-")
            && !name.starts_with("attachable-volumes-")
    })
}

/// What a planned node is to be bought as.
pub fn offer_of(planned: &PlannedNode) -> Offer {
    Offer {
        instance_type: planned.instance_type.clone(),
        zone: planned.zone.clone(),
        capacity_type: planned.capacity_type.clone(),
    }
}

/// The pool's requirements, narrowed to the planned offering and its substitutes and to the values that the plan chose.
fn requirements(planned: &PlannedNode, pool: &NodePool) -> Vec<NodeSelectorRequirementWithMinValues> {
    let asked = &pool.spec.template.spec.requirements;
    let substitutes = substitutes(planned, asked.iter().any(|one| one.min_values.is_some()));
    let offers = || {
        let others = substitutes.iter().map(|one| [&one.instance_type, &one.zone, &one.capacity_type]);
        [[&planned.instance_type, &planned.zone, &planned.capacity_type]].into_iter().chain(others)
    };
    // In the plan's order, the planned one first.
    let values = |part: usize| {
        let mut seen = BTreeSet::new();
        offers().map(|offer| offer[part].clone()).filter(|value| seen.insert(value.clone())).collect::<Vec<_>>()
    };
    let mut narrowed: BTreeMap<String, Vec<String>> = BTreeMap::from([
        (labels::INSTANCE_TYPE.to_owned(), values(0)),
        (labels::ZONE.to_owned(), values(1)),
        (labels::CAPACITY_TYPE.to_owned(), values(2)),
        (labels::NODE_POOL.to_owned(), vec![pool.name_any()]),
    ]);
    narrowed.extend(planned.labels.iter().map(|(key, value)| (key.clone(), vec![value.clone()])));
    let mut all: Vec<_> = asked.iter().filter(|one| !narrowed.contains_key(&one.key)).cloned().collect();
    all.extend(narrowed.into_iter().map(|(key, values)| NodeSelectorRequirementWithMinValues {
        // Where there are fewer, the plan was made to do with those.
        min_values: min_values(asked, &key).map(|least| least.min(u32::try_from(values.len()).unwrap_or(u32::MAX))),
        key,
        operator: "In".into(),
        values: Some(values),
    }));
    all
}

/// How many values a pool wants to choose among.
fn min_values(asked: &[NodeSelectorRequirementWithMinValues], key: &str) -> Option<u32> {
    asked.iter().filter(|one| one.key == key).filter_map(|one| one.min_values).max()
}

/// Offerings that may stand in for the planned one. A claim names types, zones and capacity types apart and so allows all
/// of their combinations: only as many are taken as leave none that the plan does not know.
fn substitutes(planned: &PlannedNode, flexible: bool) -> Vec<&Alternative> {
    let affordable = |one: &&Alternative| flexible || one.hourly_price <= planned.hourly_price * TOLERANCE;
    let known: BTreeSet<Offer> = planned.alternatives.iter().map(offer).chain([offer_of(planned)]).collect();
    let mut parts: [BTreeSet<String>; 3] =
        [planned.instance_type.clone(), planned.zone.clone(), planned.capacity_type.clone()]
            .map(|one| BTreeSet::from([one]));
    let mut taken: Vec<&Alternative> = Vec::new();
    for one in planned.alternatives.iter().filter(affordable) {
        let mut larger = parts.clone();
        larger[0].insert(one.instance_type.clone());
        larger[1].insert(one.zone.clone());
        larger[2].insert(one.capacity_type.clone());
        if larger[0].len() <= MOST_TYPES && (flexible || combinations(&larger).all(|offer| known.contains(&offer))) {
            parts = larger;
            taken.push(one);
        }
    }
    taken
}

fn offer(one: &Alternative) -> Offer {
    Offer { instance_type: one.instance_type.clone(), zone: one.zone.clone(), capacity_type: one.capacity_type.clone() }
}

fn combinations(parts: &[BTreeSet<String>; 3]) -> impl Iterator<Item = Offer> {
    let [types, zones, capacity_types] = parts;
    types.iter().flat_map(move |instance_type| {
        zones.iter().flat_map(move |zone| {
            capacity_types.iter().map(move |capacity_type| Offer {
                instance_type: instance_type.clone(),
                zone: zone.clone(),
                capacity_type: capacity_type.clone(),
            })
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn planned(alternatives: Value) -> PlannedNode {
        serde_json::from_value(json!({
            "name": "p-1", "nodePool": "p", "instanceType": "m5.large", "zone": "a", "capacityType": "spot",
            "hourlyPrice": 1.0, "labels": {"team": "blue"}, "allocatable": {"cpu": "1930m"},
            "requested": {"cpu": "1500m", "memory": "1Gi", "pods": "2"}, "pods": ["x/y"], "alternatives": alternatives,
        }))
        .unwrap()
    }

    fn pool(requirements: Value) -> NodePool {
        serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "p", "uid": "u"},
            "spec": {"template": {
                "metadata": {"labels": {"tier": "web"}, "annotations": {"note": "x"}},
                "spec": {
                    "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"},
                    "requirements": requirements,
                    "taints": [{"key": "gpu", "effect": "NoSchedule"}],
                    "expireAfter": "720h",
                },
            }},
        }))
        .unwrap()
    }

    fn alternative(kind: &str, zone: &str, price: f64) -> Value {
        json!({"instanceType": kind, "zone": zone, "capacityType": "spot", "hourlyPrice": price})
    }

    fn values(claim: &NodeClaim, key: &str) -> Vec<String> {
        let requirements = &claim.spec.template.requirements;
        requirements.iter().find(|one| one.key == key).unwrap().values.clone().unwrap()
    }

    #[test]
    fn a_claim_says_all_that_its_pool_and_plan_say() {
        let claim = claim(
            &planned(json!([])),
            &pool(json!([
                {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
                {"key": "team", "operator": "In", "values": ["blue", "red"]},
            ])),
            false,
        );
        let own = claim.labels();
        assert_eq!(own["karpenter.sh/nodepool"], "p");
        assert_eq!(own["tier"], "web");
        assert_eq!(own["team"], "blue");
        assert_eq!(own["karpenter.kwok.sh/kwoknodeclass"], "default");
        assert_eq!(claim.annotations()["supercargo.dev/planned-offering"], "m5.large spot a");
        assert_eq!(claim.annotations()["note"], "x");
        assert!(claim.annotations().contains_key("karpenter.sh/nodepool-hash"));
        assert_eq!(claim.finalizers(), ["karpenter.sh/termination"]);
        assert_eq!(claim.owner_references()[0].uid, "u");
        assert_eq!(values(&claim, "kubernetes.io/arch"), ["amd64"]);
        assert_eq!(values(&claim, "team"), ["blue"]);
        assert_eq!(values(&claim, "node.kubernetes.io/instance-type"), ["m5.large"]);
        assert_eq!(claim.spec.resources.as_ref().unwrap().requests.as_ref().unwrap()["pods"].0, "2");
        assert_eq!(claim.spec.template.expire_after.as_deref(), Some("720h"));
        assert_eq!(claim.spec.template.taints.as_ref().unwrap()[0].key, "gpu");
    }

    #[test]
    fn substitutes_leave_no_combination_that_was_not_planned_and_cost_little_more() {
        let claim = claim(
            &planned(json!([
                alternative("m5.large", "b", 1.0),
                alternative("m5a.large", "a", 1.05),
                alternative("m5a.large", "b", 1.05),
                alternative("c5.large", "c", 1.05),
                alternative("m5.xlarge", "a", 2.0),
            ])),
            &pool(json!([])),
            true,
        );
        // m5a.large in a alone would allow it in b, which is known, too; c5.large in c would allow m5.large in c.
        assert_eq!(values(&claim, "node.kubernetes.io/instance-type"), ["m5.large", "m5a.large"]);
        assert_eq!(values(&claim, "topology.kubernetes.io/zone"), ["a", "b"]);
    }

    #[test]
    fn a_node_is_held_unless_a_daemon_has_to_come_first() {
        let start_up = |planned: &PlannedNode, hold| {
            claim(planned, &pool(json!([])), hold).spec.template.startup_taints.unwrap_or_default()
        };
        let mut node = planned(json!([]));
        assert_eq!(start_up(&node, true), [binding::taint()]);
        assert_eq!(start_up(&node, false), []);
        node.requested.insert("nvidia.com/gpu".into(), "1".into());
        assert_eq!(start_up(&node, true), []);
    }

    #[test]
    fn a_claim_without_a_plan_asks_for_what_its_pool_asks_for() {
        let pool = pool(json!([
            {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["m5.large", "m5.xlarge"]},
            {"key": "team", "operator": "In", "values": ["blue", "red"]},
            {"key": "tier", "operator": "In", "values": ["db", "web"]},
        ]));
        let claim = unplanned(&pool, |key| key == "node.kubernetes.io/instance-type");
        assert_eq!(values(&claim, "node.kubernetes.io/instance-type"), ["m5.large", "m5.xlarge"]);
        assert_eq!(values(&claim, "team"), ["blue"]);
        assert_eq!(values(&claim, "karpenter.sh/nodepool"), ["p"]);
        assert_eq!((claim.labels()["team"].as_str(), claim.labels()["tier"].as_str()), ("blue", "web"));
        assert!(claim.spec.resources.is_none());
    }

    #[test]
    fn a_pool_that_asks_for_flexibility_gets_it() {
        let asks = json!([{"key": "node.kubernetes.io/instance-type", "operator": "Exists", "minValues": 2}]);
        let claim = claim(&planned(json!([alternative("m5.xlarge", "a", 2.0)])), &pool(asks), true);
        let requirement = &claim.spec.template.requirements;
        let types = requirement.iter().find(|one| one.key == "node.kubernetes.io/instance-type").unwrap();
        assert_eq!(types.values.as_ref().unwrap().len(), 2);
        assert_eq!(types.min_values, Some(2));
    }
}
