//! What may be in a NodePool.

use serde_json::{Value, json};

use super::case::{ACCEPTED, Base, Case};

/// The least that a NodePool says.
pub fn least() -> Base {
    Base(json!({
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": "case"},
        "spec": {"template": {"spec": {
            "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"},
            "requirements": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}],
        }}},
    }))
}

pub fn cases() -> Vec<Case> {
    let base = least();
    let mut cases = vec![base.with("spec.weight", Value::Null, ACCEPTED)];
    cases.extend(pool(&base));
    cases.extend(labels(&base));
    cases.extend(requirements(&base));
    cases.extend(node(&base));
    cases.extend(disruption(&base));
    cases
}

fn pool(base: &Base) -> Vec<Case> {
    let fixed = |path: &str, value: Value, refusal| {
        let mut fixed = Base(base.0.clone());
        super::case::put(&mut fixed.0, "spec.replicas", json!(2));
        fixed.with(path, value, refusal)
    };
    vec![
        base.with("spec.template", Value::Null, "spec.template: Required value"),
        base.with("spec.weight", json!(1), ACCEPTED),
        base.with("spec.weight", json!(100), ACCEPTED),
        base.with("spec.weight", json!(0), "should be greater than or equal to 1"),
        base.with("spec.weight", json!(101), "should be less than or equal to 100"),
        base.with("spec.limits", json!({"cpu": 1000, "memory": "1000Gi", "nodes": "10"}), ACCEPTED),
        base.with("spec.limits", json!({"cpu": "many"}), "spec.limits.cpu in body should match"),
        base.with("spec.replicas", json!(0), ACCEPTED),
        base.with("spec.replicas", json!(-1), "should be greater than or equal to 0"),
        fixed("spec.limits", json!({"nodes": 5}), ACCEPTED),
        fixed("spec.limits", json!({"cpu": 5}), "only 'limits.nodes' is supported on static NodePools"),
        fixed("spec.limits", json!({"cpu": 5, "nodes": 5}), "only 'limits.nodes' is supported on static NodePools"),
        fixed("spec.weight", json!(10), "'weight' is not supported on static NodePools"),
    ]
}

fn labels(base: &Base) -> Vec<Case> {
    let label =
        |key: &str, value: &str, refusal| base.with("spec.template.metadata.labels", json!({key: value}), refusal);
    let many = |count: usize| (0..count).map(|number| (format!("label-{number}"), json!("x"))).collect::<Value>();
    vec![
        label("team", "web", ACCEPTED),
        label("node-role.kubernetes.io/worker", "", ACCEPTED),
        label("karpenter.sh/capacity-type", "spot", ACCEPTED),
        label("karpenter.k8s.aws/instance-family", "c7i", ACCEPTED),
        label("karpenter.sh/nodepool", "other", "label \"karpenter.sh/nodepool\" is restricted"),
        label("kubernetes.io/hostname", "me", "label \"kubernetes.io/hostname\" is restricted"),
        label("karpenter.sh/registered", "true", "label domain \"karpenter.sh\" is restricted"),
        label("compatibility.karpenter.sh/x", "true", "label domain \"karpenter.sh\" is restricted"),
        label("karpenter.k8s.aws/instance-colour", "red", "label domain \"karpenter.k8s.aws\" is restricted"),
        label("team", "-web", "should match"),
        label("team", &"x".repeat(64), "may not be more than 63"),
        base.with("spec.template.metadata.labels", many(100), ACCEPTED),
        base.with("spec.template.metadata.labels", many(101), "must have at most 100 items"),
        base.with("spec.template.metadata.annotations", json!({"karpenter.sh/any": "x y"}), ACCEPTED),
    ]
}

fn requirements(base: &Base) -> Vec<Case> {
    const PATH: &str = "spec.template.spec.requirements";
    let requirement = |requirement: Value, refusal| base.with(PATH, json!([requirement]), refusal);
    let keyed = |key: &str, refusal| requirement(json!({"key": key, "operator": "Exists"}), refusal);
    let numbers: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    let least = |minimum: u32, values: usize, refusal| {
        let values = &numbers[..values];
        requirement(json!({"key": "team", "operator": "In", "values": values, "minValues": minimum}), refusal)
    };
    let many = |count: usize| vec![json!({"key": "team", "operator": "Exists"}); count];
    let mut cases = vec![
        base.with(PATH, Value::Null, "spec.template.spec.requirements: Required value"),
        base.with(PATH, json!([]), ACCEPTED),
        base.with(PATH, json!(many(100)), ACCEPTED),
        base.with(PATH, json!(many(101)), "must have at most 100 items"),
        keyed("team", ACCEPTED),
        keyed("example.com/team", ACCEPTED),
        keyed("karpenter.sh/capacity-type", ACCEPTED),
        keyed("karpenter.k8s.aws/instance-category", ACCEPTED),
        keyed("node.kubernetes.io/instance-type", ACCEPTED),
        keyed("karpenter.sh/nodepool", "label \"karpenter.sh/nodepool\" is restricted"),
        keyed("kubernetes.io/hostname", "label \"kubernetes.io/hostname\" is restricted"),
        keyed("karpenter.sh/initialized", "label domain \"karpenter.sh\" is restricted"),
        keyed("karpenter.k8s.aws/instance-colour", "label domain \"karpenter.k8s.aws\" is restricted"),
        keyed("-team", "should match"),
        keyed(&format!("{}/team", "x".repeat(320)), "may not be more than 316"),
        requirement(json!({"operator": "Exists"}), "requirements[0].key: Required value"),
        requirement(json!({"key": "team"}), "requirements[0].operator: Required value"),
        requirement(json!({"key": "team", "operator": "Like", "values": ["a"]}), "Unsupported value: \"Like\""),
        requirement(json!({"key": "team", "operator": "In", "values": ["a", "b"]}), ACCEPTED),
        requirement(
            json!({"key": "team", "operator": "In", "values": []}),
            "requirements with operator 'In' must have a value defined",
        ),
        requirement(json!({"key": "team", "operator": "In"}), "no such key: values"),
        requirement(json!({"key": "team", "operator": "NotIn", "values": ["a"]}), ACCEPTED),
        requirement(json!({"key": "team", "operator": "NotIn", "values": []}), ACCEPTED),
        requirement(json!({"key": "team", "operator": "NotIn"}), ACCEPTED),
        requirement(json!({"key": "team", "operator": "Exists", "values": ["a"]}), ACCEPTED),
        requirement(json!({"key": "team", "operator": "DoesNotExist"}), ACCEPTED),
        requirement(json!({"key": "team", "operator": "DoesNotExist", "values": ["a"]}), ACCEPTED),
        least(1, 1, ACCEPTED),
        least(50, 60, ACCEPTED),
        least(0, 1, "should be greater than or equal to 1"),
        least(51, 60, "should be less than or equal to 50"),
        least(
            3,
            2,
            "requirements with 'minValues' must have at least that many values specified in the 'values' field",
        ),
        requirement(json!({"key": "team", "operator": "Exists", "minValues": 3}), ACCEPTED),
    ];
    for operator in ["Gt", "Lt", "Gte", "Lte"] {
        let compared = |values: Value, refusal| {
            requirement(json!({"key": "size", "operator": operator, "values": values}), refusal)
        };
        let words = "requirements operator 'Gt', 'Lt', 'Gte', or 'Lte' must have a single positive integer value";
        cases.extend([
            compared(json!(["4"]), ACCEPTED),
            compared(json!(["0"]), ACCEPTED),
            compared(json!(["-1"]), words),
            compared(json!(["1", "2"]), words),
            compared(json!([]), words),
            compared(json!(["four"]), "type conversion error"),
            compared(json!(["1.5"]), "type conversion error"),
        ]);
    }
    cases
}

fn node(base: &Base) -> Vec<Case> {
    let reference = |field: &str, value: &str, refusal| {
        base.with(&format!("spec.template.spec.nodeClassRef.{field}"), json!(value), refusal)
    };
    let mut cases = vec![
        reference("group", "karpenter.kwok.sh", ACCEPTED),
        reference("group", "", "group may not be empty"),
        reference("group", "karpenter.k8s.aws/v1", "should match"),
        reference("kind", "", "kind may not be empty"),
        reference("name", "", "name may not be empty"),
        base.with("spec.template.spec.nodeClassRef", Value::Null, "nodeClassRef: Required value"),
        base.with("spec.template.spec.nodeClassRef.kind", Value::Null, "nodeClassRef.kind: Required value"),
    ];
    for field in ["taints", "startupTaints"] {
        let taint = |taint: Value, refusal| base.with(&format!("spec.template.spec.{field}"), json!([taint]), refusal);
        cases.extend([
            taint(json!({"key": "example.com/team", "value": "web", "effect": "NoExecute"}), ACCEPTED),
            taint(json!({"key": "team", "effect": "PreferNoSchedule"}), ACCEPTED),
            taint(json!({"key": "team"}), "effect: Required value"),
            taint(json!({"effect": "NoSchedule"}), "key: Required value"),
            taint(json!({"key": "team", "effect": "Never"}), "Unsupported value: \"Never\""),
            taint(json!({"key": "-team", "effect": "NoSchedule"}), "should match"),
            taint(json!({"key": "team", "value": "-web", "effect": "NoSchedule"}), "should match"),
        ]);
    }
    cases.extend(base.with_each("spec.template.spec.expireAfter", &["720h", "1h30m", "90s", "Never"], ACCEPTED));
    cases.extend(base.with_each(
        "spec.template.spec.expireAfter",
        &["30d", "1.5h", "-1h", "never", ""],
        "should match",
    ));
    cases.extend(base.with_each("spec.template.spec.terminationGracePeriod", &["48h", "30s"], ACCEPTED));
    cases.extend(base.with_each("spec.template.spec.terminationGracePeriod", &["Never", "2d"], "should match"));
    cases
}

fn disruption(base: &Base) -> Vec<Case> {
    let budget = |budget: Value, refusal| base.with("spec.disruption.budgets", json!([budget]), refusal);
    let many = |count: usize| json!(vec![json!({"nodes": "1"}); count]);
    let of_nodes = |nodes: &str, refusal| budget(json!({"nodes": nodes}), refusal);
    let timed = |schedule: &str, duration: &str, refusal| {
        budget(json!({"nodes": "0", "schedule": schedule, "duration": duration}), refusal)
    };
    let mut cases = vec![
        base.with("spec.disruption.budgets", many(50), ACCEPTED),
        base.with("spec.disruption.budgets", many(51), "must have at most 50 items"),
        base.with("spec.disruption.budgets", json!([]), ACCEPTED),
        of_nodes("0", ACCEPTED),
        of_nodes("150", ACCEPTED),
        of_nodes("0%", ACCEPTED),
        of_nodes("100%", ACCEPTED),
        of_nodes("101%", "should match"),
        of_nodes("-1", "should match"),
        of_nodes("half", "should match"),
        timed("@daily", "8h", ACCEPTED),
        timed("0 9 * * mon-fri", "1h30m", ACCEPTED),
        timed("0 9 * * 1-5", "90m0s", ACCEPTED),
        timed("0 9 * *", "8h", "should match"),
        timed("@noon", "8h", "should match"),
        timed("@daily", "30s", "should match"),
        timed("@daily", "1d", "should match"),
        budget(json!({"nodes": "0", "schedule": "@daily"}), "'schedule' must be set with 'duration'"),
        budget(json!({"nodes": "0", "duration": "8h"}), "'schedule' must be set with 'duration'"),
        budget(json!({"nodes": "0", "reasons": ["Underutilized", "Empty", "Drifted"]}), ACCEPTED),
        budget(json!({"nodes": "0", "reasons": ["Boredom"]}), "Unsupported value: \"Boredom\""),
        budget(json!({"nodes": "0", "reasons": ["Empty", "Empty"]}), "Duplicate value: \"Empty\""),
    ];
    cases.extend(base.with_each("spec.disruption.consolidateAfter", &["0s", "30s", "1h30m", "Never"], ACCEPTED));
    cases.extend(base.with_each("spec.disruption.consolidateAfter", &["30", "1d", "never", "-1s"], "should match"));
    let policies = ["WhenEmpty", "WhenEmptyOrUnderutilized", "Balanced"];
    cases.extend(base.with_each("spec.disruption.consolidationPolicy", &policies, ACCEPTED));
    cases.extend(base.with_each("spec.disruption.consolidationPolicy", &["WhenUnderutilized"], "Unsupported value"));
    cases
}
