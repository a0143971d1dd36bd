//! The taints that the controllers put on nodes and wait for.

use k8s_openapi::api::core::v1::Taint;

use crate::labels;

/// Taints that a node is born with and that are lifted without anyone's doing: Karpenter's `KnownEphemeralTaints`
/// (`pkg/scheduling/taints.go`).
const EPHEMERAL: [(&str, &str); 5] = [
    ("node.kubernetes.io/not-ready", "NoSchedule"),
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoSchedule"),
    ("node.cloudprovider.kubernetes.io/uninitialized", "NoSchedule"),
    (labels::UNREGISTERED, "NoExecute"),
];
/// The taints of the Node Readiness Controller: <https://github.com/kubernetes-sigs/node-readiness-controller>.
const READINESS: &str = "readiness.k8s.io/";

/// The taint of a node that is being emptied.
pub fn disrupted() -> Taint {
    Taint { key: labels::DISRUPTED.into(), effect: "NoSchedule".into(), ..Taint::default() }
}

/// The taint of a node whose claim has not found it yet.
pub fn unregistered() -> Taint {
    Taint { key: labels::UNREGISTERED.into(), effect: "NoExecute".into(), ..Taint::default() }
}

/// Whether two taints are of one key and effect, which is all that makes them one to Kubernetes.
pub fn same(left: &Taint, right: &Taint) -> bool {
    left.key == right.key && left.effect == right.effect
}

/// Whether a taint of a new node is lifted without anyone's doing.
pub fn is_ephemeral(taint: &Taint) -> bool {
    EPHEMERAL.contains(&(taint.key.as_str(), taint.effect.as_str())) || taint.key.starts_with(READINESS)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lifted_without_anyones_doing() {
        let lifted = |key: &str, effect: &str| {
            is_ephemeral(&Taint { key: key.into(), effect: effect.into(), ..Taint::default() })
        };
        assert!(is_ephemeral(&unregistered()) && !is_ephemeral(&disrupted()));
        assert!(lifted("node.kubernetes.io/not-ready", "NoExecute"));
        assert!(!lifted("node.kubernetes.io/unreachable", "NoExecute"));
        assert!(lifted("readiness.k8s.io/network", "NoSchedule") && !lifted("readiness.k8s.io", "NoSchedule"));
    }
}
