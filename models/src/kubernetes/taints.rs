//! Taints and tolerations: <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>.

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// A toleration as it is compared; absent fields are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tolerates {
    /// Taint key; empty with `Exists` tolerates all.
    pub key: String,
    /// `Equal`, `Exists`, `Gt` or `Lt`.
    pub operator: String,
    /// Value compared with.
    pub value: String,
    /// Effect; empty for all.
    pub effect: String,
}

impl Tolerates {
    /// Reads a toleration of the API.
    pub fn new(toleration: &Toleration) -> Tolerates {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let operator = text(&toleration.operator);
        Tolerates {
            key: text(&toleration.key),
            operator: if operator.is_empty() { "Equal".to_owned() } else { operator },
            value: text(&toleration.value),
            effect: text(&toleration.effect),
        }
    }

    /// Whether it tolerates the taint.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        if !self.effect.is_empty() && self.effect != taint.effect {
            return false;
        }
        if !self.key.is_empty() && self.key != taint.key {
            return false;
        }
        let value = taint.value.as_deref().unwrap_or_default();
        let numbers = || Some((value.parse::<i64>().ok()?, self.value.parse::<i64>().ok()?));
        match self.operator.as_str() {
            "Exists" => true,
            "Equal" => !self.key.is_empty() && self.value == value,
            "Gt" => numbers().is_some_and(|(taint, own)| taint > own),
            "Lt" => numbers().is_some_and(|(taint, own)| taint < own),
            _ => false,
        }
    }
}

/// All tolerations of a pod, sorted.
pub fn tolerations(list: &[Toleration]) -> Vec<Tolerates> {
    let mut all: Vec<_> = list.iter().map(Tolerates::new).collect();
    all.sort();
    all.dedup();
    all
}

/// The first taint that keeps a pod with these tolerations away; `PreferNoSchedule` keeps nobody away.
pub fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Tolerates]) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute")
        .find(|taint| !tolerations.iter().any(|toleration| toleration.tolerates(taint)))
}

/// The first `PreferNoSchedule` taint that these tolerations don't cover.
pub fn unloved<'a>(taints: &'a [Taint], tolerations: &[Tolerates]) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|taint| taint.effect == "PreferNoSchedule")
        .find(|taint| !tolerations.iter().any(|toleration| toleration.tolerates(taint)))
}

/// What the DaemonSet controller lets every daemon tolerate
/// (<https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/#taints-and-tolerations>).
pub fn daemon_tolerations(list: &[Toleration], host_network: bool) -> Vec<Tolerates> {
    let mut all = tolerations(list);
    let exists = |key: &str, effect: &str| Tolerates {
        key: format!("node.kubernetes.io/{key}"),
        operator: "Exists".to_owned(),
        value: String::new(),
        effect: effect.to_owned(),
    };
    all.extend([
        exists("not-ready", "NoExecute"),
        exists("unreachable", "NoExecute"),
        exists("disk-pressure", "NoSchedule"),
        exists("memory-pressure", "NoSchedule"),
        exists("pid-pressure", "NoSchedule"),
        exists("unschedulable", "NoSchedule"),
    ]);
    if host_network {
        all.push(exists("network-unavailable", "NoSchedule"));
    }
    all.sort();
    all.dedup();
    all
}

/// A taint in words: `gpu=true:NoSchedule`.
pub fn describe(taint: &Taint) -> String {
    match taint.value.as_deref() {
        Some(value) if !value.is_empty() => format!("{}={value}:{}", taint.key, taint.effect),
        _ => format!("{}:{}", taint.key, taint.effect),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn kept_away(taint: serde_json::Value, toleration: serde_json::Value) -> bool {
        let taint: Taint = serde_json::from_value(taint).unwrap();
        let toleration: Toleration = serde_json::from_value(toleration).unwrap();
        untolerated(&[taint], &tolerations(&[toleration])).is_some()
    }

    #[test]
    fn equal_exists_and_numbers() {
        let taint = json!({"key": "gpu", "value": "3", "effect": "NoSchedule"});
        assert!(!kept_away(taint.clone(), json!({"key": "gpu", "value": "3"})));
        assert!(kept_away(taint.clone(), json!({"key": "gpu", "value": "4"})));
        assert!(!kept_away(taint.clone(), json!({"key": "gpu", "operator": "Exists"})));
        assert!(!kept_away(taint.clone(), json!({"operator": "Exists"})));
        assert!(kept_away(taint.clone(), json!({"operator": "Exists", "effect": "NoExecute"})));
        assert!(!kept_away(taint.clone(), json!({"key": "gpu", "operator": "Gt", "value": "2"})));
        assert!(kept_away(taint.clone(), json!({"key": "gpu", "operator": "Gt", "value": "3"})));
        assert!(!kept_away(taint.clone(), json!({"key": "gpu", "operator": "Lt", "value": "4"})));
        assert!(kept_away(taint, json!({"key": "gpu", "operator": "Lt", "value": "x"})));
    }

    #[test]
    fn a_preference_keeps_nobody_away() {
        let taint = json!({"key": "gpu", "effect": "PreferNoSchedule"});
        assert!(!kept_away(taint.clone(), json!({"key": "other"})));
        assert!(unloved(&[serde_json::from_value(taint).unwrap()], &[]).is_some());
    }

    #[test]
    fn daemons_tolerate_a_nodes_conditions() {
        let taint: Taint =
            serde_json::from_value(json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})).unwrap();
        assert!(untolerated(std::slice::from_ref(&taint), &tolerations(&[])).is_some());
        assert!(untolerated(&[taint], &daemon_tolerations(&[], false)).is_none());
    }
}
