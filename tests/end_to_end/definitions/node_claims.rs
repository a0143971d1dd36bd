//! What may be in a NodeClaim.

use serde_json::{Value, json};

use super::case::{ACCEPTED, Base, Case};

/// The least that a NodeClaim says.
pub fn least() -> Base {
    Base(json!({
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodeClaim",
        "metadata": {"name": "case"},
        "spec": {
            "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"},
            "requirements": [{"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]}],
        },
    }))
}

pub fn cases() -> Vec<Case> {
    let base = least();
    let requirement = |requirement: Value, refusal| base.with("spec.requirements", json!([requirement]), refusal);
    let keyed = |key: &str, refusal| requirement(json!({"key": key, "operator": "Exists"}), refusal);
    let many = |count: usize| json!(vec![json!({"key": "team", "operator": "Exists"}); count]);
    vec![
        base.with("spec.resources", json!({"requests": {"cpu": "3500m", "memory": "4Gi", "pods": 12}}), ACCEPTED),
        base.with("spec.resources", json!({"requests": {"cpu": "some"}}), "should match"),
        base.with("spec.requirements", Value::Null, "spec.requirements: Required value"),
        base.with("spec.requirements", many(100), ACCEPTED),
        base.with("spec.requirements", many(101), "must have at most 100 items"),
        base.with("spec.nodeClassRef", Value::Null, "spec.nodeClassRef: Required value"),
        base.with("spec.nodeClassRef.name", json!(""), "name may not be empty"),
        // A claim of a pool says so.
        keyed("karpenter.sh/nodepool", ACCEPTED),
        keyed("kubernetes.io/hostname", "label \"kubernetes.io/hostname\" is restricted"),
        keyed("karpenter.sh/registered", "label domain \"karpenter.sh\" is restricted"),
        keyed("karpenter.k8s.aws/instance-colour", "label domain \"karpenter.k8s.aws\" is restricted"),
        requirement(
            json!({"key": "team", "operator": "In", "values": []}),
            "requirements with operator 'In' must have a value defined",
        ),
        requirement(json!({"key": "team", "operator": "NotIn", "values": []}), ACCEPTED),
        requirement(json!({"key": "team", "operator": "NotIn"}), ACCEPTED),
        requirement(json!({"key": "team", "operator": "Exists", "values": ["a"]}), ACCEPTED),
        requirement(json!({"key": "team", "operator": "DoesNotExist", "values": ["a"]}), ACCEPTED),
        requirement(
            json!({"key": "size", "operator": "Gte", "values": ["-4"]}),
            "requirements operator 'Gt', 'Lt', 'Gte', or 'Lte' must have a single positive integer value",
        ),
        requirement(
            json!({"key": "team", "operator": "In", "values": ["a"], "minValues": 2}),
            "requirements with 'minValues' must have at least that many values specified in the 'values' field",
        ),
        base.with("spec.expireAfter", json!("Never"), ACCEPTED),
        base.with("spec.expireAfter", json!("1d"), "should match"),
        base.with("spec.terminationGracePeriod", json!("1h"), ACCEPTED),
        base.with("spec.terminationGracePeriod", json!("Never"), "should match"),
        base.with("spec.startupTaints", json!([{"key": "a", "effect": "NoSchedule"}]), ACCEPTED),
        base.with("spec.taints", json!([{"key": "a", "effect": "Sometimes"}]), "Unsupported value"),
    ]
}
