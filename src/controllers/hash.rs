//! The fingerprint of a pool's template: a claim whose fingerprint differs from its pool's has drifted.

use kube::ResourceExt;

use crate::api::NodePool;
use crate::labels;

/// How the fingerprint is made. Another version on a pool or claim says that its fingerprint can't be compared.
pub const VERSION: &str = "supercargo-1";

/// The fingerprint of all that a pool's template says, but for what may change under a node that is there: requirements (a
/// node may still satisfy them), `expireAfter` and `terminationGracePeriod` are the claim's own.
pub fn of(pool: &NodePool) -> String {
    let mut template = pool.spec.template.clone();
    template.spec.requirements.clear();
    template.spec.expire_after = None;
    template.spec.termination_grace_period = None;
    // Field by field in the order of the types, maps sorted: the same text for the same template.
    let text = serde_json::to_string(&template).unwrap_or_default();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash.to_string()
}

/// Whether an object bears a fingerprint that is comparable with ours.
pub fn is_current<K: ResourceExt>(object: &K) -> bool {
    object.annotations().get(labels::NODE_POOL_HASH_VERSION).is_some_and(|version| version == VERSION)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn pool(label: &str, requirement: &str, weight: i32) -> NodePool {
        serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "p"},
            "spec": {"weight": weight, "template": {
                "metadata": {"labels": {"team": label}},
                "spec": {
                    "nodeClassRef": {"group": "g", "kind": "k", "name": "n"},
                    "requirements": [{"key": "kubernetes.io/arch", "operator": "In", "values": [requirement]}],
                },
            }},
        }))
        .unwrap()
    }

    #[test]
    fn the_template_counts_and_what_may_change_does_not() {
        let first = of(&pool("blue", "amd64", 1));
        assert_eq!(first, of(&pool("blue", "arm64", 2)));
        assert_ne!(first, of(&pool("red", "amd64", 1)));
    }
}
