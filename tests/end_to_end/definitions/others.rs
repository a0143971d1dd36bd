//! What may be in a NodeOverlay and in a CapacityBuffer.

use serde_json::{Value, json};

use super::case::{ACCEPTED, Base, Case, put};

pub fn cases() -> Vec<Case> {
    let mut cases = overlays();
    cases.extend(buffers());
    cases
}

fn overlays() -> Vec<Case> {
    let base = Base(json!({
        "apiVersion": "karpenter.sh/v1alpha1",
        "kind": "NodeOverlay",
        "metadata": {"name": "case"},
        "spec": {"requirements": [{"key": "karpenter.sh/nodepool", "operator": "In", "values": ["web"]}]},
    }));
    let mut priced = Base(base.0.clone());
    put(&mut priced.0, "spec.price", json!("0.5"));
    let requirement = |requirement: Value, refusal| base.with("spec.requirements", json!([requirement]), refusal);
    let mut cases = vec![
        base.with("spec.requirements", Value::Null, "spec.requirements: Required value"),
        base.with("spec.weight", json!(10000), ACCEPTED),
        base.with("spec.weight", json!(10001), "should be less than or equal to 10000"),
        base.with("spec.weight", json!(0), "should be greater than or equal to 1"),
        base.with("spec.capacity", json!({"smarter-devices/fuse": 1}), ACCEPTED),
        base.with("spec.capacity", json!({"cpu": 1}), "invalid resource restricted"),
        priced.with("spec.priceAdjustment", json!("+10%"), "cannot set both 'price' and 'priceAdjustment'"),
        requirement(json!({"key": "team", "operator": "NotIn", "values": ["a"]}), ACCEPTED),
        requirement(
            json!({"key": "team", "operator": "NotIn", "values": []}),
            "requirements with operator 'NotIn' must have a value defined",
        ),
        requirement(
            json!({"key": "team", "operator": "In", "values": []}),
            "requirements with operator 'In' must have a value defined",
        ),
        requirement(json!({"key": "team", "operator": "Exists", "values": ["a"]}), ACCEPTED),
        requirement(json!({"key": "size", "operator": "Lte", "values": ["8"]}), ACCEPTED),
        requirement(json!({"key": "size", "operator": "Lte", "values": ["-8"]}), "must have a single positive integer"),
        requirement(
            json!({"key": "kubernetes.io/hostname", "operator": "Exists"}),
            "label \"kubernetes.io/hostname\" is restricted",
        ),
        requirement(
            json!({"key": "karpenter.sh/registered", "operator": "Exists"}),
            "label domain \"karpenter.sh\" is restricted",
        ),
    ];
    cases.extend(base.with_each("spec.price", &["0", "1", "0.0425"], ACCEPTED));
    cases.extend(base.with_each("spec.price", &["-1", "+1", "cheap", "1."], "should match"));
    cases.extend(base.with_each("spec.priceAdjustment", &["-0.5", "+1.2", "+10%", "-15%", "-100%"], ACCEPTED));
    cases.extend(base.with_each("spec.priceAdjustment", &["1.2", "-101%", "half"], "should match"));
    cases
}

fn buffers() -> Vec<Case> {
    let base = Base(json!({
        "apiVersion": "autoscaling.x-k8s.io/v1beta1",
        "kind": "CapacityBuffer",
        "metadata": {"name": "case"},
        "spec": {"podTemplateRef": {"name": "web"}, "replicas": 3},
    }));
    vec![
        base.with("spec.limits", json!({"cpu": "10"}), ACCEPTED),
        base.with("spec.replicas", json!(-1), "should be greater than or equal to 0"),
        base.with("spec.replicas", Value::Null, "If podTemplateRef is set, replicas or limits must also be set"),
        base.with(
            "spec.scalableRef",
            json!({"kind": "Deployment", "name": "web", "apiGroup": "apps"}),
            "You must define either PodTemplateRef or ScalableRef, but not both",
        ),
        base.with("spec.podTemplateRef.name", json!(""), "should be at least 1 chars long"),
        base.with("spec.percentage", json!(-5), "should be greater than or equal to 0"),
    ]
}
