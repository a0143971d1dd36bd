//! What is taken where the input says nothing.

use supercargo_models::kubernetes::{NodeClassReference, NodePool, NodeSelectorRequirementWithMinValues};

/// Generations above this one are current: the fifth was the first whose every member runs on Nitro.
const LAST_OLD_GENERATION: &str = "4";

/// The pool that stands in where the input has none: every amd64 Linux on-demand and spot offering of the current
/// generations (above the fourth) in the categories c, m and r.
pub(crate) fn node_pool() -> NodePool {
    let requirement = |key: &str, operator: &str, values: &[&str]| NodeSelectorRequirementWithMinValues {
        key: key.into(),
        operator: operator.into(),
        values: Some(values.iter().map(|value| value.to_string()).collect()),
        min_values: None,
    };
    let mut pool = NodePool::default();
    pool.metadata.name = Some("default".into());
    pool.spec.template.spec.node_class_ref = Some(NodeClassReference {
        group: "karpenter.k8s.aws".into(),
        kind: "EC2NodeClass".into(),
        name: "default".into(),
    });
    pool.spec.template.spec.requirements = vec![
        requirement("kubernetes.io/os", "In", &["linux"]),
        requirement("kubernetes.io/arch", "In", &["amd64"]),
        requirement("karpenter.sh/capacity-type", "In", &["on-demand", "spot"]),
        requirement("karpenter.k8s.aws/instance-category", "In", &["c", "m", "r"]),
        requirement("karpenter.k8s.aws/instance-generation", "Gt", &[LAST_OLD_GENERATION]),
    ];
    pool
}

/// What a person is told about it.
pub(crate) const NODE_POOL_NOTE: &str = "no NodePool in the input: one named default stands in, which allows every \
     amd64 Linux on-demand and spot offering of the categories c, m and r above generation 4";
