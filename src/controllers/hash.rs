//! The fingerprint of a pool's template: a claim whose fingerprint differs from its pool's has drifted.

use kube::ResourceExt;
use serde_json::{Value, json};

use crate::api::NodePool;
use crate::duration;
use crate::labels;

/// How the fingerprint is made. Another version on a pool or claim says that its fingerprint can't be compared.
pub const VERSION: &str = "supercargo-2";

/// The fingerprint of all that a pool's template says, but for its requirements: a node may still satisfy them.
///
/// As in Karpenter's, lists have no order, what is empty is as good as absent, and times count as the time that they say.
pub fn of(pool: &NodePool) -> String {
    let mut template = pool.spec.template.clone();
    template.spec.requirements.clear();
    for time in [&mut template.spec.expire_after, &mut template.spec.termination_grace_period] {
        *time = time.take().and_then(plain);
    }
    // Field by field in the order of the types, maps sorted: the same text for the same template.
    let text = bare(json!(template)).to_string();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash.to_string()
}

/// A time in seconds; `None` for one that never comes.
fn plain(text: String) -> Option<String> {
    match duration::parse_or_never(&text) {
        Ok(time) => time.map(|time| format!("{}s", time.as_secs_f64())),
        Err(_) => Some(text),
    }
}

/// A value without what is empty in it, and its lists sorted.
fn bare(value: Value) -> Value {
    let stays = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    };
    match value {
        Value::Array(list) => {
            let mut list: Vec<Value> = list.into_iter().map(bare).filter(stays).collect();
            list.sort_by_cached_key(Value::to_string);
            list.into()
        }
        Value::Object(map) => {
            map.into_iter().map(|(key, value)| (key, bare(value))).filter(|(_, value)| stays(value)).collect()
        }
        other => other,
    }
}

/// Whether an object bears a fingerprint that is comparable with ours.
pub fn is_current<K: ResourceExt>(object: &K) -> bool {
    object.annotations().get(labels::NODE_POOL_HASH_VERSION).is_some_and(|version| version == VERSION)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pool(label: &str, weight: i32, spec: Value) -> NodePool {
        let mut whole = json!({
            "nodeClassRef": {"group": "g", "kind": "k", "name": "n"},
            "requirements": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}],
        });
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "p"},
            "spec": {"weight": weight, "template": {"metadata": {"labels": {"team": label}}, "spec": whole}},
        }))
        .unwrap()
    }

    #[test]
    fn the_template_counts_and_what_may_change_does_not() {
        let first = of(&pool("blue", 1, json!({})));
        assert_eq!(first, of(&pool("blue", 2, json!({"requirements": []}))));
        assert_ne!(first, of(&pool("red", 1, json!({}))));
    }

    #[test]
    fn the_times_of_a_claim_count_as_what_they_say() {
        let with = |field: &str, text: &str| of(&pool("blue", 1, json!({field: text})));
        let without = of(&pool("blue", 1, json!({})));
        for field in ["expireAfter", "terminationGracePeriod"] {
            assert_ne!(with(field, "1h"), without, "{field}");
            assert_ne!(with(field, "1h"), with(field, "2h"), "{field}");
            assert_eq!(with(field, "1h"), with(field, "60m"), "{field}");
        }
        assert_eq!(with("expireAfter", "Never"), without);
    }

    #[test]
    fn lists_have_no_order_and_empty_ones_are_none() {
        let with = |list: Value| of(&pool("blue", 1, json!({"taints": list})));
        let (left, right) = (json!({"key": "a", "effect": "NoSchedule"}), json!({"key": "b", "effect": "NoExecute"}));
        assert_eq!(with(json!([left, right])), with(json!([right, left])));
        assert_ne!(with(json!([left, right])), with(json!([left])));
        assert_eq!(with(json!([])), of(&pool("blue", 1, json!({}))));
    }
}
