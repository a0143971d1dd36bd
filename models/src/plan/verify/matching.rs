//! Labels, selectors and taints: who matches what.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Key of the zone.
pub(super) const ZONE: &str = "topology.kubernetes.io/zone";
/// Key of the capacity type.
pub(super) const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";
/// Key of the node's own name.
pub(super) const HOSTNAME: &str = "kubernetes.io/hostname";
/// Key of the instance type.
pub(super) const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
/// Key of the pool.
pub(super) const NODE_POOL: &str = "karpenter.sh/nodepool";

/// The labels of a node, put together without copying them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Labels<'a> {
    /// The node's name.
    pub(super) name: &'a str,
    /// What the node's offering says; `None` for a node that is there.
    pub(super) offering: Option<OfferingLabels<'a>>,
    /// The labels of the instance type, or of the node that is there.
    pub(super) base: &'a BTreeMap<String, String>,
}

/// The labels that a node to be bought gets from its offering and its pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfferingLabels<'a> {
    /// Zone.
    pub(super) zone: &'a str,
    /// Capacity type.
    pub(super) capacity_type: &'a str,
    /// Instance type.
    pub(super) instance_type: &'a str,
    /// Architecture.
    pub(super) arch: &'a str,
    /// Region.
    pub(super) region: &'a str,
    /// Labels that the pool gives.
    pub(super) pool: &'a BTreeMap<String, String>,
}

impl<'a> Labels<'a> {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        if let Some(offering) = &self.offering {
            match key {
                ZONE | "failure-domain.beta.kubernetes.io/zone" | "topology.ebs.csi.aws.com/zone" => {
                    return Some(offering.zone);
                }
                CAPACITY_TYPE => return Some(offering.capacity_type),
                INSTANCE_TYPE | "beta.kubernetes.io/instance-type" => return Some(offering.instance_type),
                "kubernetes.io/arch" | "beta.kubernetes.io/arch" => return Some(offering.arch),
                "topology.kubernetes.io/region" | "failure-domain.beta.kubernetes.io/region" => {
                    return Some(offering.region);
                }
                HOSTNAME => return Some(self.name),
                _ => {}
            }
            if let Some(value) = offering.pool.get(key) {
                return Some(value);
            }
            if let Some(value) = self.base.get(key) {
                return Some(value);
            }
            return match key {
                "kubernetes.io/os" | "beta.kubernetes.io/os" => Some("linux"),
                _ => None,
            };
        }
        self.base.get(key).or_else(|| self.base.get(current_key(key)?)).map(String::as_str)
    }
}

/// The current name of a label whose old or vendor's name nodes may lack.
fn current_key(key: &str) -> Option<&'static str> {
    match key {
        "failure-domain.beta.kubernetes.io/zone" | "topology.ebs.csi.aws.com/zone" => Some(ZONE),
        "failure-domain.beta.kubernetes.io/region" => Some("topology.kubernetes.io/region"),
        "beta.kubernetes.io/instance-type" => Some(INSTANCE_TYPE),
        "beta.kubernetes.io/arch" => Some("kubernetes.io/arch"),
        "beta.kubernetes.io/os" => Some("kubernetes.io/os"),
        _ => None,
    }
}

/// Whether a value (or its absence) obeys `key operator values`.
///
/// The operators of node selectors and, with `Gte` and `Lte`, of NodePool requirements: an absent label obeys `NotIn`
/// and `DoesNotExist` only. <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#operators>
pub(super) fn obeys(found: Option<&str>, operator: &str, values: &[String]) -> bool {
    let against = |compare: fn(&i64, &i64) -> bool| {
        let limit = values.first().and_then(|value| value.parse::<i64>().ok());
        let found = found.and_then(|value| value.parse::<i64>().ok());
        matches!((found, limit), (Some(found), Some(limit)) if compare(&found, &limit))
    };
    match operator {
        "In" => found.is_some_and(|found| values.iter().any(|value| value == found)),
        // Of a pool; a pod can't say so. To Karpenter none of no values is any value.
        "NotIn" if values.is_empty() => found.is_some(),
        "NotIn" => found.is_none_or(|found| values.iter().all(|value| value != found)),
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => against(i64::gt),
        "Lt" => against(i64::lt),
        "Gte" => against(i64::ge),
        "Lte" => against(i64::le),
        _ => false,
    }
}

fn requirement_holds(found: Option<&str>, requirement: &NodeSelectorRequirement) -> bool {
    obeys(found, &requirement.operator, requirement.values.as_deref().unwrap_or_default())
}

/// Whether one of the terms matches the node; an empty term matches nothing.
pub(super) fn any_term(terms: &[NodeSelectorTerm], labels: &Labels) -> bool {
    terms.iter().any(|term| {
        let expressions = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        !(expressions.is_empty() && fields.is_empty())
            && expressions.iter().all(|requirement| requirement_holds(labels.get(&requirement.key), requirement))
            && fields.iter().all(|requirement| {
                requirement_holds((requirement.key == "metadata.name").then_some(labels.name), requirement)
            })
    })
}

/// Whether the node obeys the pod's node selector and required node affinity.
pub(super) fn node_affinity_holds(spec: &PodSpec, labels: &Labels) -> bool {
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|required| any_term(&required.node_selector_terms, labels))
}

/// Whether one toleration tolerates a taint.
/// <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>
fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let key = toleration.key.as_deref().unwrap_or_default();
    let effect = toleration.effect.as_deref().unwrap_or_default();
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    if !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        "Equal" | "" => {
            !key.is_empty()
                && toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
        _ => false,
    }
}

/// The first taint that keeps the pod away, if any (`NoSchedule` and `NoExecute`).
pub(super) fn untolerated<'a>(tolerations: &[Toleration], taints: &'a [Taint]) -> Option<&'a Taint> {
    taints.iter().find(|taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !tolerations.iter().any(|toleration| tolerates(toleration, taint))
    })
}

/// A label selector, ready to match.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    /// All of these must hold; `None` matches nothing (an absent selector).
    requirements: Option<Vec<(String, String, Vec<String>)>>,
}

impl Selector {
    /// From the API's form; absent matches nothing, empty matches everything.
    pub(super) fn new(selector: Option<&LabelSelector>) -> Self {
        let requirements = selector.map(|selector| {
            let labels = selector.match_labels.iter().flatten();
            let expressions = selector.match_expressions.iter().flatten();
            labels
                .map(|(key, value)| (key.clone(), "In".to_owned(), vec![value.clone()]))
                .chain(expressions.map(|expression| {
                    (expression.key.clone(), expression.operator.clone(), expression.values.clone().unwrap_or_default())
                }))
                .collect()
        });
        Selector { requirements }
    }

    /// Narrows it by one more requirement (`matchLabelKeys`).
    pub(super) fn and(&mut self, key: &str, operator: &str, value: &str) {
        if let Some(requirements) = &mut self.requirements {
            requirements.push((key.to_owned(), operator.to_owned(), vec![value.to_owned()]));
        }
    }

    /// Whether labels match.
    pub(super) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.as_ref().is_some_and(|requirements| {
            requirements
                .iter()
                .all(|(key, operator, values)| obeys(labels.get(key).map(String::as_str), operator, values))
        })
    }

    /// A pair that everything it matches bears, if it asks for one.
    pub(super) fn pivot(&self) -> Option<(&str, &str)> {
        self.requirements.iter().flatten().find_map(|(key, operator, values)| match values.as_slice() {
            [value] if operator == "In" => Some((key.as_str(), value.as_str())),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn operators_judge_values_and_absence() {
        let values = |list: &[&str]| list.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        let cases = [
            (Some("a"), "In", values(&["a", "b"]), true),
            (None, "In", values(&["a"]), false),
            (None, "NotIn", values(&["a"]), true),
            (Some("a"), "NotIn", values(&["a"]), false),
            (Some("8"), "Gt", values(&["8"]), false),
            (Some("8"), "Gte", values(&["8"]), true),
            (Some("8"), "Lt", values(&["16"]), true),
            (Some("8"), "Lte", values(&["7"]), false),
            (Some("x"), "Gt", values(&["1"]), false),
            (None, "Lt", values(&["1"]), false),
            (None, "DoesNotExist", values(&[]), true),
            (None, "Exists", values(&[]), false),
            (Some("1"), "Near", values(&["1"]), false),
        ];
        for (found, operator, values, expected) in cases {
            assert_eq!(obeys(found, operator, &values), expected, "{found:?} {operator} {values:?}");
        }
    }

    #[test]
    fn tolerations_are_judged_by_key_value_and_effect() {
        let taint: Taint =
            serde_json::from_value(serde_json::json!({"key": "k", "value": "v", "effect": "NoSchedule"})).unwrap();
        let tolerated = |toleration: serde_json::Value| {
            let toleration: Toleration = serde_json::from_value(toleration).unwrap();
            untolerated(&[toleration], std::slice::from_ref(&taint)).is_none()
        };
        assert!(tolerated(serde_json::json!({"key": "k", "value": "v"})));
        assert!(tolerated(serde_json::json!({"operator": "Exists"})));
        assert!(tolerated(serde_json::json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"})));
        assert!(!tolerated(serde_json::json!({"key": "k", "value": "w"})));
        assert!(!tolerated(serde_json::json!({"key": "k", "operator": "Exists", "effect": "NoExecute"})));
        assert!(untolerated(&[], &[Taint { effect: "PreferNoSchedule".into(), ..taint.clone() }]).is_none());
    }
}
