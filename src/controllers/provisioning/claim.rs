//! From a planned node to the claim that asks for it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use supercargo_models::catalog::Catalog;
use supercargo_models::plan::{Alternative, PlannedNode};

use super::super::hash;
use crate::api::{NodeClaim, NodeClaimResources, NodeClaimSpec, NodePool, NodeSelectorRequirementWithMinValues};
use crate::binding;
use crate::cloud::{Offer, label_of};
use crate::labels;

/// A substitute may cost so much more than what was planned, unless the pool asks for flexibility. Where none is to be had
/// at that price, the pods are planned anew.
const TOLERANCE: f64 = 1.10;
/// Instance types that a claim names at most, as many as Karpenter's.
const MOST_TYPES: usize = 60;

/// Resources that a node offers without a daemon's help.
const OWN: [&str; 4] = ["cpu", "memory", "pods", "ephemeral-storage"];

/// The claim for a planned node of a pool, of what a catalogue sells. With `hold`, its node is to be held for the planned pods.
pub fn claim(planned: &PlannedNode, pool: &NodePool, catalog: &Catalog, hold: bool) -> NodeClaim {
    let requests = planned.requested.iter().map(|(name, amount)| (name.clone(), Quantity(amount.clone()))).collect();
    let resources = NodeClaimResources { requests: Some(requests) };
    let requirements = requirements(planned, pool, catalog);
    let asked = &pool.spec.template.spec.requirements;
    let fewer =
        |one: &NodeSelectorRequirementWithMinValues| min_values(&requirements, &one.key) < min_values(asked, &one.key);
    let relaxed = asked.iter().any(fewer).to_string();
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
fn requirements(
    planned: &PlannedNode,
    pool: &NodePool,
    catalog: &Catalog,
) -> Vec<NodeSelectorRequirementWithMinValues> {
    let asked = &pool.spec.template.spec.requirements;
    let substitutes = substitutes(planned, asked, catalog);
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
    for one in &mut all {
        // What the claim does not name as values of its own: as many as there are among its offerings.
        let found: BTreeSet<&str> = [offer_of(planned)]
            .iter()
            .chain(&substitutes.iter().map(|one| offer(one)).collect::<Vec<_>>())
            .filter_map(|offer| label_of(catalog, offer, &one.key))
            .collect();
        one.min_values = one.min_values.map(|least| fewest(least, found.len()));
    }
    all.extend(narrowed.into_iter().map(|(key, values)| NodeSelectorRequirementWithMinValues {
        // Where there are fewer, the plan was made to do with those.
        min_values: min_values(asked, &key).map(|least| fewest(least, values.len())),
        key,
        operator: "In".into(),
        values: Some(values),
    }));
    all
}

/// How many values a claim asks for where there are so many; at least one, as the API has it.
fn fewest(least: u32, there: usize) -> u32 {
    least.min(u32::try_from(there).unwrap_or(u32::MAX)).max(1)
}

/// How many values a pool wants to choose among.
fn min_values(asked: &[NodeSelectorRequirementWithMinValues], key: &str) -> Option<u32> {
    asked.iter().filter(|one| one.key == key).filter_map(|one| one.min_values).max()
}

/// Offerings that may stand in for the planned one. A claim names types, zones and capacity types apart and so allows all
/// of their combinations: only as many are taken as leave none that the plan does not know. For a pool that wants so many
/// values to choose among ever more are taken, until it has them.
fn substitutes<'p>(
    planned: &'p PlannedNode,
    asked: &[NodeSelectorRequirementWithMinValues],
    catalog: &Catalog,
) -> Vec<&'p Alternative> {
    let flexible = asked.iter().any(|one| one.min_values.is_some());
    let mut choice: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for one in asked.iter().filter(|one| one.min_values.is_some()) {
        choice.entry(&one.key).or_default().extend(label_of(catalog, &offer_of(planned), &one.key));
    }
    let lacks =
        |key: &str, values: &BTreeSet<&str>| Some(values.len()) < min_values(asked, key).map(|least| least as usize);
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
        let offer = offer(one);
        let mut brings = choice.iter().filter_map(|(key, values)| {
            let value = label_of(catalog, &offer, key)?;
            (lacks(key, values) && !values.contains(value)).then_some(())
        });
        if (larger[0].len() <= MOST_TYPES || brings.next().is_some())
            && (flexible || combinations(&larger).all(|offer| known.contains(&offer)))
        {
            for (key, values) in &mut choice {
                values.extend(label_of(catalog, &offer, key));
            }
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
    use supercargo_models::catalog::{InstanceType, Offering};

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
            &Catalog::default(),
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
            &Catalog::default(),
            true,
        );
        // m5a.large in a alone would allow it in b, which is known, too; c5.large in c would allow m5.large in c.
        assert_eq!(values(&claim, "node.kubernetes.io/instance-type"), ["m5.large", "m5a.large"]);
        assert_eq!(values(&claim, "topology.kubernetes.io/zone"), ["a", "b"]);
    }

    #[test]
    fn a_node_is_held_unless_a_daemon_has_to_come_first() {
        let start_up = |planned: &PlannedNode, hold| {
            claim(planned, &pool(json!([])), &Catalog::default(), hold).spec.template.startup_taints.unwrap_or_default()
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
        let claim =
            claim(&planned(json!([alternative("m5.xlarge", "a", 2.0)])), &pool(asks), &Catalog::default(), true);
        let requirement = &claim.spec.template.requirements;
        let types = requirement.iter().find(|one| one.key == "node.kubernetes.io/instance-type").unwrap();
        assert_eq!(types.values.as_ref().unwrap().len(), 2);
        assert_eq!(types.min_values, Some(2));
    }

    /// Types of two families in zone a.
    fn catalog() -> Catalog {
        let instance = |name: &str| InstanceType {
            name: name.into(),
            labels: [(FAMILY.to_owned(), name.split('.').next().unwrap().to_owned())].into(),
            offerings: vec![Offering { zone: "a".into(), capacity_type: "spot".into(), ..Offering::default() }],
            ..InstanceType::default()
        };
        let many = (0..MOST_TYPES).map(|size| instance(&format!("m5.{size}xlarge")));
        let instance_types = [instance("m5.large"), instance("c5.large")].into_iter().chain(many).collect();
        Catalog { instance_types, ..Catalog::default() }
    }

    const FAMILY: &str = "karpenter.k8s.aws/instance-family";

    /// How many families a claim asks to choose among, and whether it says that these are fewer than its pool wants.
    fn families(claim: &NodeClaim) -> (Option<u32>, &str) {
        let family = claim.spec.template.requirements.iter().find(|one| one.key == FAMILY).unwrap();
        (family.min_values, &claim.annotations()["karpenter.sh/nodeclaim-min-values-relaxed"])
    }

    #[test]
    fn that_there_are_fewer_values_than_a_pool_wants_is_said_of_any_label() {
        let asks = json!([
            {"key": FAMILY, "operator": "Exists", "minValues": 2},
            {"key": FAMILY, "operator": "NotIn", "values": ["t2"]},
        ]);
        let of = |alternatives: Value| claim(&planned(alternatives), &pool(asks.clone()), &catalog(), true);
        let both = of(json!([alternative("m5.1xlarge", "a", 1.0), alternative("c5.large", "a", 2.0)]));
        assert_eq!(families(&both), (Some(2), "false"));
        assert_eq!(families(&of(json!([alternative("m5.1xlarge", "a", 1.0)]))), (Some(1), "true"));
    }

    #[test]
    fn a_claim_names_more_types_than_usual_where_only_the_last_have_the_values_that_are_wanted() {
        let asks = json!([{"key": FAMILY, "operator": "Exists", "minValues": 2}]);
        let mut others: Vec<Value> =
            (0..MOST_TYPES).map(|size| alternative(&format!("m5.{size}xlarge"), "a", 1.0)).collect();
        others.push(alternative("c5.large", "a", 3.0));
        let claim = claim(&planned(json!(others)), &pool(asks), &catalog(), true);
        let types = values(&claim, "node.kubernetes.io/instance-type");
        assert_eq!((types.len(), types.last().unwrap().as_str()), (MOST_TYPES + 1, "c5.large"));
        assert_eq!(families(&claim), (Some(2), "false"));
    }
}
