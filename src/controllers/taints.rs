//! The taints that the controllers put on nodes and wait for.

use k8s_openapi::api::core::v1::Taint;

use crate::labels;

/// Taints that a node is born with and that Kubernetes lifts by itself
/// (<https://kubernetes.io/docs/reference/labels-annotations-taints/>).
const EPHEMERAL: [(&str, &str); 4] = [
    ("node.kubernetes.io/not-ready", "NoSchedule"),
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoSchedule"),
    ("node.cloudprovider.kubernetes.io/uninitialized", "NoSchedule"),
];

/// The taint of a node that is being emptied.
pub fn disrupted() -> Taint {
    Taint { key: labels::DISRUPTED.into(), effect: "NoSchedule".into(), ..Taint::default() }
}

/// Whether two taints are of one key and effect, which is all that makes them one to Kubernetes.
pub fn same(left: &Taint, right: &Taint) -> bool {
    left.key == right.key && left.effect == right.effect
}

/// Whether Kubernetes lifts a taint by itself.
pub fn is_ephemeral(taint: &Taint) -> bool {
    EPHEMERAL.contains(&(taint.key.as_str(), taint.effect.as_str()))
}

/// A list with others added that it lacks.
pub fn with<'a>(list: &[Taint], others: impl IntoIterator<Item = &'a Taint>) -> Vec<Taint> {
    let mut all = list.to_vec();
    for other in others {
        if !all.iter().any(|taint| same(taint, other)) {
            all.push(other.clone());
        }
    }
    all
}

/// A list without all taints of a key.
pub fn without(list: &[Taint], key: &str) -> Vec<Taint> {
    list.iter().filter(|taint| taint.key != key).cloned().collect()
}
