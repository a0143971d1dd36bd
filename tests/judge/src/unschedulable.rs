//! The other way round: a pod that a plan calls unschedulable is tried on one more node of every offering.
//!
//! What may be bought is worked out here anew, from pools and catalogue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use supercargo_models::catalog::{KubeletSettings, allocatable, capacity};
use supercargo_models::kubernetes::quantity::{format, parse_units};
use supercargo_models::kubernetes::{NodePool, PodGroup, PodNames};
use supercargo_models::plan::Unschedulable;

use crate::case::Case;
use crate::nodes::{Purchase, bought};
use crate::pods;
use crate::settle::{key, node, settle, starved_node, tried};
use crate::stage::Stage;

/// Tells the nodes apart that a pod is tried on.
const TRIAL: &str = "supercargo.dev/trial";
/// The topology in which each node is a domain.
const HOSTNAME: &str = "kubernetes.io/hostname";
/// A pod that waits for something that has happened is tried again within 2 seconds.
const SECOND_THOUGHTS: Duration = Duration::from_millis(2500);

/// A pod that the plan calls unschedulable, and the node that it was bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refuted {
    /// `namespace/name` of the pod in the plan.
    pub pod: String,
    /// Why it has no place, as the plan says.
    pub reason: String,
    /// What the node was bought as, or its name if it is one of the cluster or the plan.
    pub node: String,
}

/// One way to buy a node.
#[derive(Clone, Debug)]
struct Offer<'a> {
    pool: &'a NodePool,
    /// Index of the instance type.
    instance: usize,
    zone: &'a str,
    capacity_type: &'a str,
    chosen: BTreeMap<String, String>,
}

impl Offer<'_> {
    fn pool_name(&self) -> &str {
        self.pool.metadata.name.as_deref().unwrap_or_default()
    }

    fn node(&self, case: &Case, name: &str, allocatable: &BTreeMap<String, String>) -> anyhow::Result<Node> {
        let purchase = Purchase {
            pool: self.pool_name(),
            instance_type: &case.catalog.instance_types[self.instance].name,
            zone: self.zone,
            capacity_type: self.capacity_type,
            chosen: &self.chosen,
        };
        bought(&case.snapshot, &case.catalog, name, &purchase, allocatable)
    }
}

/// On a stage where the planned pods are bound: opens one node of every offering that the pools allow within their limits
/// and lets the first pod of each group that is left over choose between what is there and one of these, for each of
/// these. Gives those that were bound.
///
/// Passed over are pods whose spread counts nodes that they can't use (`nodeAffinityPolicy: Ignore`), since there the other
/// new nodes would count, and pools that ask for flexibility (`minValues`), of which kube-scheduler knows nothing. A pod with
/// a spread over host names counts on new nodes alone: for a plan there is always an empty node that may come, and here
/// perhaps none that the pod can use.
pub(crate) async fn refute(stage: &Stage<'_>) -> anyhow::Result<Vec<Refuted>> {
    let case = stage.case;
    let groups = left_over(case);
    let offers = offers(case)?;
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let mut nodes = Vec::new();
    for (index, offer) in offers.iter().enumerate() {
        let amounts = allocatable(&case.catalog.instance_types[offer.instance], &KubeletSettings::default())?;
        let amounts = amounts.iter().map(|(name, amount)| (name.clone(), format(name, *amount))).collect();
        let mut node = offer.node(case, &format!("{}-trial-{index}", offer.pool_name()), &amounts)?;
        node.metadata.labels.get_or_insert_default().insert(TRIAL.to_owned(), index.to_string());
        nodes.push(node);
    }
    let names: Vec<String> = nodes.iter().filter_map(|node| node.metadata.name.clone()).collect();
    stage.open(nodes).await?;
    // A node that does not even hold its daemons is none for the plan.
    let starved: BTreeSet<String> = settle(stage, &[]).await?.iter().filter_map(starved_node).collect();
    let mut trials: BTreeMap<String, (&PodGroup, &Unschedulable)> = BTreeMap::new();
    let mut made = Vec::new();
    for (number, (group, left)) in groups.into_iter().enumerate() {
        for index in (0..offers.len().max(1)).filter(|index| names.get(*index).is_none_or(|it| !starved.contains(it))) {
            let Some(mut pod) = pods::of_group(group).next() else { continue };
            pod.metadata.name = Some(format!("trial-{number}-{index}"));
            let others: Vec<String> =
                (0..offers.len()).filter(|other| *other != index).map(|other| other.to_string()).collect();
            if !others.is_empty() {
                let not_those = NodeSelectorRequirement {
                    key: TRIAL.to_owned(),
                    operator: "NotIn".to_owned(),
                    values: Some(others),
                };
                pods::require(pod.spec.get_or_insert_default(), |term| {
                    term.match_expressions.get_or_insert_default().push(not_those.clone());
                });
            }
            trials.insert(key(&pod), (group, left));
            made.push(pod);
        }
    }
    stage.create_pods(made).await?;
    tried(stage).await?;
    tokio::time::sleep(SECOND_THOUGHTS).await;
    let refuted = |pod: &Pod| {
        let (group, left) = trials.get(&key(pod))?;
        let found = node(pod)?;
        let node = match names.iter().position(|name| name == found) {
            Some(index) => describe(case, &offers[index]),
            None if is_spread_over_nodes(group) => return None,
            None => found.to_owned(),
        };
        Some(Refuted { pod: left.pod.clone(), reason: left.reason.clone(), node })
    };
    Ok(tried(stage).await?.iter().filter_map(refuted).collect())
}

fn describe(case: &Case, offer: &Offer<'_>) -> String {
    let instance = &case.catalog.instance_types[offer.instance].name;
    format!("a new {} {instance} in {} of NodePool {}", offer.capacity_type, offer.zone, offer.pool_name())
}

fn is_spread_over_nodes(group: &PodGroup) -> bool {
    let mut spreads = group.spec.topology_spread_constraints.iter().flatten();
    spreads.any(|spread| spread.topology_key == HOSTNAME && spread.when_unsatisfiable == "DoNotSchedule")
}

/// Groups with a pod that the plan leaves over, and that pod's entry in the plan.
fn left_over(case: &Case) -> Vec<(&PodGroup, &Unschedulable)> {
    let ignores = |group: &PodGroup| {
        let spreads = group.spec.topology_spread_constraints.iter().flatten();
        spreads.into_iter().any(|spread| spread.node_affinity_policy.as_deref() == Some("Ignore"))
    };
    let of = |group: &PodGroup, pod: &str| match (&group.names, pod.split_once('/')) {
        (_, Some((namespace, _))) if namespace != group.namespace => false,
        (PodNames::Replicas { prefix, .. }, Some((_, name))) => {
            name.rsplit_once('-').is_some_and(|(stem, _)| stem == prefix)
        }
        (PodNames::Single(own), Some((_, name))) => own == name,
        _ => false,
    };
    let groups = case.snapshot.pending.iter().filter(|group| !ignores(group));
    groups
        .filter_map(|group| Some((group, case.plan.unschedulable.iter().find(|left| of(group, &left.pod))?)))
        .collect()
}

/// Every offering that some pool allows and has room for within its limits.
fn offers(case: &Case) -> anyhow::Result<Vec<Offer<'_>>> {
    let mut all = Vec::new();
    for pool in &case.snapshot.node_pools {
        let requirements = &pool.spec.template.spec.requirements;
        if pool.spec.replicas.is_some() || requirements.iter().any(|one| one.min_values.is_some()) {
            continue;
        }
        for (index, instance) in case.catalog.instance_types.iter().enumerate() {
            if !has_room(case, pool, &capacity(instance))? {
                continue;
            }
            for offering in &instance.offerings {
                for chosen in choices(case, pool) {
                    let (zone, capacity_type) = (offering.zone.as_str(), offering.capacity_type.as_str());
                    let offer = Offer { pool, instance: index, zone, capacity_type, chosen };
                    let labels = offer.node(case, "none", &BTreeMap::new())?.metadata.labels.unwrap_or_default();
                    let obeys = requirements.iter().all(|one| {
                        let values = one.values.as_deref().unwrap_or_default();
                        holds(labels.get(&one.key).map(String::as_str), &one.operator, values)
                    });
                    if obeys {
                        all.push(offer);
                    }
                }
            }
        }
    }
    Ok(all)
}

/// The values that a pool may give its nodes for the labels that it requires and no offering bears.
fn choices(case: &Case, pool: &NodePool) -> Vec<BTreeMap<String, String>> {
    let template = &pool.spec.template;
    let given = template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    let is_sold = |key: &String| {
        key.contains("kubernetes.io/")
            || key.starts_with("karpenter.sh/")
            || case.catalog.instance_types.iter().any(|instance| instance.labels.contains_key(key))
    };
    let open = template.spec.requirements.iter().filter(|one| {
        one.operator == "In" && !is_sold(&one.key) && !given.is_some_and(|given| given.contains_key(&one.key))
    });
    let mut choices: Vec<BTreeMap<String, String>> = vec![BTreeMap::new()];
    for one in open {
        let mut more = Vec::new();
        for value in one.values.iter().flatten() {
            for choice in &choices {
                let mut choice = choice.clone();
                choice.insert(one.key.clone(), value.clone());
                more.push(choice);
            }
        }
        choices = more;
    }
    choices
}

/// Whether a label obeys a requirement, Karpenter's operators included.
fn holds(label: Option<&str>, operator: &str, values: &[String]) -> bool {
    let is_listed = label.is_some_and(|label| values.iter().any(|value| value == label));
    let number = |text: &str| text.parse::<i64>().ok();
    let compared = |holds: fn(i64, i64) -> bool| {
        let (found, bound) = (label.and_then(number), values.first().and_then(|value| number(value)));
        found.zip(bound).is_some_and(|(found, bound)| holds(found, bound))
    };
    match operator {
        "In" => is_listed,
        "NotIn" => !is_listed,
        "Exists" => label.is_some(),
        "DoesNotExist" => label.is_none(),
        "Gt" => compared(|found, bound| found > bound),
        "Lt" => compared(|found, bound| found < bound),
        "Gte" => compared(|found, bound| found >= bound),
        "Lte" => compared(|found, bound| found <= bound),
        _ => false,
    }
}

/// Whether one more node of such a capacity stays within the pool's limits.
fn has_room(case: &Case, pool: &NodePool, one_more: &BTreeMap<String, i64>) -> anyhow::Result<bool> {
    let name = pool.metadata.name.as_deref().unwrap_or_default();
    let is_ours = |labels: Option<&BTreeMap<String, String>>| {
        labels.and_then(|labels| labels.get("karpenter.sh/nodepool")).is_some_and(|own| own == name)
    };
    let mut used: Vec<BTreeMap<String, i64>> = Vec::new();
    for node in case.snapshot.nodes.iter().filter(|node| is_ours(node.metadata.labels.as_ref())) {
        let amounts = node.status.iter().flat_map(|status| status.capacity.iter().flatten());
        let amounts = amounts.map(|(name, Quantity(text))| Ok((name.clone(), parse_units(name, text)?)));
        used.push(amounts.collect::<Result<_, supercargo_models::kubernetes::quantity::QuantityError>>()?);
    }
    for node in case.plan.nodes.iter().filter(|node| node.node_pool == name) {
        let instance = case.catalog.instance_types.iter().find(|known| known.name == node.instance_type);
        used.extend(instance.map(capacity));
    }
    used.push(one_more.clone());
    for (resource, Quantity(most)) in pool.spec.limits.iter().flatten() {
        let sum: i64 = match resource.as_str() {
            "nodes" => i64::try_from(used.len())?,
            _ => used.iter().filter_map(|amounts| amounts.get(resource)).sum(),
        };
        if sum > parse_units(resource, most)? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::holds;

    #[test]
    fn requirements_are_read_as_karpenter_documents_them() {
        let values = ["2".to_owned()];
        for (operator, at_one, at_two, at_three, absent) in [
            ("In", false, true, false, false),
            ("NotIn", true, false, true, true),
            ("Exists", true, true, true, false),
            ("DoesNotExist", false, false, false, true),
            ("Gt", false, false, true, false),
            ("Lt", true, false, false, false),
            ("Gte", false, true, true, false),
            ("Lte", true, true, false, false),
        ] {
            let judged = [Some("1"), Some("2"), Some("3"), None].map(|label| holds(label, operator, &values));
            assert_eq!(judged, [at_one, at_two, at_three, absent], "{operator}");
        }
    }
}
