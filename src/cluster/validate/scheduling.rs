//! The rules by which a pod chooses its node: selectors, affinity, tolerations, spread.
//!
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/>,
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>,
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/>.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Affinity, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, Taint, Toleration, TopologySpreadConstraint,
    WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

use super::names::{is_dns_label, label_key, label_value, selector};
use super::path::{Checked, Path};

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Checks a pod's affinity, all six lists of it.
pub(crate) fn affinity(affinity: &Affinity, path: &Path<'_>) -> Checked {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    if let Some(node) = &affinity.node_affinity {
        let path = path.key("nodeAffinity");
        if let Some(node_selector) = &node.required_during_scheduling_ignored_during_execution {
            let path = path.key(required);
            let list = path.key("nodeSelectorTerms");
            if node_selector.node_selector_terms.is_empty() {
                return list.fail("needs at least one term");
            }
            for (index, term) in node_selector.node_selector_terms.iter().enumerate() {
                node_selector_term(term, &list.index(index))?;
            }
        }
        let list = path.key(preferred);
        for (index, term) in node.preferred_during_scheduling_ignored_during_execution.iter().flatten().enumerate() {
            let path = list.index(index);
            weight(term.weight, &path)?;
            node_selector_term(&term.preference, &path.key("preference"))?;
        }
    }
    if let Some(pods) = &affinity.pod_affinity {
        let path = path.key("podAffinity");
        pod_terms(pods.required_during_scheduling_ignored_during_execution.as_deref(), &path.key(required))?;
        weighted_terms(pods.preferred_during_scheduling_ignored_during_execution.as_deref(), &path.key(preferred))?;
    }
    if let Some(pods) = &affinity.pod_anti_affinity {
        let path = path.key("podAntiAffinity");
        pod_terms(pods.required_during_scheduling_ignored_during_execution.as_deref(), &path.key(required))?;
        weighted_terms(pods.preferred_during_scheduling_ignored_during_execution.as_deref(), &path.key(preferred))?;
    }
    Ok(())
}

fn weight(weight: i32, path: &Path<'_>) -> Checked {
    if !(1..=100).contains(&weight) {
        return path.key("weight").fail(format!("{weight} is not in the range 1 to 100"));
    }
    Ok(())
}

/// Checks one term of a node selector.
pub(crate) fn node_selector_term(term: &NodeSelectorTerm, path: &Path<'_>) -> Checked {
    let list = path.key("matchExpressions");
    for (index, requirement) in term.match_expressions.iter().flatten().enumerate() {
        node_requirement(requirement, &list.index(index))?;
    }
    let list = path.key("matchFields");
    for (index, requirement) in term.match_fields.iter().flatten().enumerate() {
        let path = list.index(index);
        if requirement.key != "metadata.name" {
            return path
                .key("key")
                .fail(format!("{:?} is not a field to select by; metadata.name is", requirement.key));
        }
        if !["In", "NotIn"].contains(&requirement.operator.as_str()) {
            return path.key("operator").fail(format!("{:?} is not one of In and NotIn", requirement.operator));
        }
        if requirement.values.as_ref().map_or(0, Vec::len) != 1 {
            return path.key("values").fail("needs exactly one value");
        }
    }
    Ok(())
}

fn node_requirement(requirement: &NodeSelectorRequirement, path: &Path<'_>) -> Checked {
    label_key(&requirement.key, &path.key("key"))?;
    let values = requirement.values.as_deref().unwrap_or_default();
    let operator = requirement.operator.as_str();
    let list = path.key("values");
    match operator {
        "In" | "NotIn" if values.is_empty() => list.fail(format!("operator {operator} needs at least one value")),
        "In" | "NotIn" => {
            for (index, value) in values.iter().enumerate() {
                label_value(value, &list.index(index))?;
            }
            Ok(())
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => list.fail(format!("operator {operator} takes no values")),
        "Exists" | "DoesNotExist" => Ok(()),
        "Gt" | "Lt" => match values {
            [value] if value.parse::<i64>().is_ok() => Ok(()),
            [value] => list.index(0).fail(format!("operator {operator} needs an integer, and {value:?} is none")),
            _ => list.fail(format!("operator {operator} needs exactly one value")),
        },
        _ => {
            path.key("operator").fail(format!("{operator:?} is not one of In, NotIn, Exists, DoesNotExist, Gt and Lt"))
        }
    }
}

fn pod_terms(terms: Option<&[PodAffinityTerm]>, path: &Path<'_>) -> Checked {
    for (index, term) in terms.unwrap_or_default().iter().enumerate() {
        pod_term(term, &path.index(index))?;
    }
    Ok(())
}

fn weighted_terms(terms: Option<&[WeightedPodAffinityTerm]>, path: &Path<'_>) -> Checked {
    for (index, term) in terms.unwrap_or_default().iter().enumerate() {
        let path = path.index(index);
        weight(term.weight, &path)?;
        pod_term(&term.pod_affinity_term, &path.key("podAffinityTerm"))?;
    }
    Ok(())
}

fn pod_term(term: &PodAffinityTerm, path: &Path<'_>) -> Checked {
    label_key(&term.topology_key, &path.key("topologyKey"))?;
    if let Some(labels) = &term.label_selector {
        selector(labels, &path.key("labelSelector"))?;
    }
    if let Some(labels) = &term.namespace_selector {
        selector(labels, &path.key("namespaceSelector"))?;
    }
    for (index, namespace) in term.namespaces.iter().flatten().enumerate() {
        if !is_dns_label(namespace) {
            return path.key("namespaces").index(index).fail(format!("{namespace:?} is not a namespace's name"));
        }
    }
    let fields = [("matchLabelKeys", &term.match_label_keys), ("mismatchLabelKeys", &term.mismatch_label_keys)];
    for (field, keys) in fields {
        for (index, key) in keys.iter().flatten().enumerate() {
            label_key(key, &path.key(field).index(index))?;
        }
        if keys.as_ref().is_some_and(|keys| !keys.is_empty()) && term.label_selector.is_none() {
            return path.key(field).fail("needs a labelSelector");
        }
    }
    for (index, key) in term.match_label_keys.iter().flatten().enumerate() {
        if term.mismatch_label_keys.iter().flatten().any(|other| other == key) {
            return path.key("matchLabelKeys").index(index).fail(format!("{key:?} is in mismatchLabelKeys too"));
        }
    }
    Ok(())
}

/// Checks a list of tolerations.
pub(crate) fn tolerations(tolerations: Option<&[Toleration]>, path: &Path<'_>) -> Checked {
    for (index, toleration) in tolerations.unwrap_or_default().iter().enumerate() {
        let path = path.index(index);
        let key = toleration.key.as_deref().unwrap_or_default();
        let value = toleration.value.as_deref().unwrap_or_default();
        let operator = toleration.operator.as_deref().filter(|operator| !operator.is_empty()).unwrap_or("Equal");
        if key.is_empty() {
            if operator != "Exists" {
                return path
                    .key("operator")
                    .fail("has to be Exists where there is no key (it then tolerates everything)");
            }
        } else {
            label_key(key, &path.key("key"))?;
        }
        match operator {
            "Exists" if !value.is_empty() => {
                return path.key("value").fail("has to be empty where the operator is Exists");
            }
            "Exists" => {}
            "Equal" => label_value(value, &path.key("value"))?,
            // KEP-5471: numeric comparison of taint values.
            "Lt" | "Gt" if value.parse::<i64>().is_ok() => {}
            "Lt" | "Gt" => {
                return path.key("value").fail(format!("operator {operator} needs an integer, and {value:?} is none"));
            }
            _ => {
                return path.key("operator").fail(format!("{operator:?} is not one of Equal, Exists, Lt and Gt"));
            }
        }
        let effect = toleration.effect.as_deref().unwrap_or_default();
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            return path
                .key("effect")
                .fail(format!("{effect:?} is not one of NoSchedule, PreferNoSchedule and NoExecute"));
        }
        if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
            return path.key("tolerationSeconds").fail("is for the effect NoExecute only");
        }
    }
    Ok(())
}

/// Checks a list of taints.
pub(crate) fn taints(taints: Option<&[Taint]>, path: &Path<'_>) -> Checked {
    for (index, taint) in taints.unwrap_or_default().iter().enumerate() {
        let path = path.index(index);
        label_key(&taint.key, &path.key("key"))?;
        label_value(taint.value.as_deref().unwrap_or_default(), &path.key("value"))?;
        if !EFFECTS.contains(&taint.effect.as_str()) {
            return path
                .key("effect")
                .fail(format!("{:?} is not one of NoSchedule, PreferNoSchedule and NoExecute", taint.effect));
        }
    }
    Ok(())
}

/// Checks a list of topology spread constraints.
pub(crate) fn spreads(constraints: Option<&[TopologySpreadConstraint]>, path: &Path<'_>) -> Checked {
    let mut seen = BTreeSet::new();
    for (index, constraint) in constraints.unwrap_or_default().iter().enumerate() {
        let path = path.index(index);
        if constraint.max_skew <= 0 {
            return path.key("maxSkew").fail(format!("{} is not above 0", constraint.max_skew));
        }
        label_key(&constraint.topology_key, &path.key("topologyKey"))?;
        let when = constraint.when_unsatisfiable.as_str();
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&when) {
            let problem = match when {
                "" => "is missing; it is one of DoNotSchedule and ScheduleAnyway".to_string(),
                _ => format!("{when:?} is not one of DoNotSchedule and ScheduleAnyway"),
            };
            return path.key("whenUnsatisfiable").fail(problem);
        }
        if let Some(minimum) = constraint.min_domains {
            if minimum <= 0 {
                return path.key("minDomains").fail(format!("{minimum} is not above 0"));
            }
            if when != "DoNotSchedule" {
                return path.key("minDomains").fail("is for whenUnsatisfiable DoNotSchedule only");
            }
        }
        let policies = [
            ("nodeAffinityPolicy", &constraint.node_affinity_policy),
            ("nodeTaintsPolicy", &constraint.node_taints_policy),
        ];
        for (field, policy) in policies {
            if let Some(policy) = policy
                && !["Honor", "Ignore"].contains(&policy.as_str())
            {
                return path.key(field).fail(format!("{policy:?} is not one of Honor and Ignore"));
            }
        }
        if let Some(labels) = &constraint.label_selector {
            selector(labels, &path.key("labelSelector"))?;
        }
        for (index, key) in constraint.match_label_keys.iter().flatten().enumerate() {
            let path = path.key("matchLabelKeys");
            label_key(key, &path.index(index))?;
            let Some(labels) = &constraint.label_selector else {
                return path.fail("needs a labelSelector");
            };
            // The API server itself adds the pod's own value to the selector, as an expression.
            let merged = |expression: &LabelSelectorRequirement| {
                expression.operator == "In" && expression.values.as_ref().is_some_and(|values| values.len() == 1)
            };
            let named = labels.match_labels.iter().flatten().any(|(name, _)| name == key)
                || labels.match_expressions.iter().flatten().any(|other| other.key == *key && !merged(other));
            if named {
                return path.index(index).fail(format!("{key:?} is in labelSelector too"));
            }
        }
        if !seen.insert((constraint.topology_key.as_str(), when)) {
            return path.fail(format!("a second constraint on {} with {when}", constraint.topology_key));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn checked(expression: &Value) -> bool {
        let spread = json!([{
            "topologyKey": "topology.kubernetes.io/zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
            "matchLabelKeys": ["pod-template-hash"],
            "labelSelector": {"matchLabels": {"app": "web"}, "matchExpressions": [expression]},
        }]);
        let spread: Vec<TopologySpreadConstraint> = serde_json::from_value(spread).unwrap();
        spreads(Some(&spread), &Path::ROOT).is_ok()
    }

    #[test]
    fn a_spread_may_have_its_keys_in_the_selector_as_the_api_server_puts_them_there() {
        assert!(checked(&json!({"key": "pod-template-hash", "operator": "In", "values": ["6d9f7c"]})));
        assert!(!checked(&json!({"key": "pod-template-hash", "operator": "In", "values": ["6d9f7c", "5b8d"]})));
        assert!(!checked(&json!({"key": "pod-template-hash", "operator": "Exists"})));
    }
}
