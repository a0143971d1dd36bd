//! Why pods find no place, and what it would take.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::plan;
use super::tests::{Endless, catalog, first_fit, group, planned, pool, with};
use crate::kubernetes::NodePool;
use crate::problem::build::Options;
use crate::solver::Settings;

#[test]
fn what_is_too_large_is_told_with_what_it_would_take() {
    let reason = |more: Value, pool_spec: Value, class: Option<Value>| {
        let mut snapshot = with(vec![group("x", 1, "1", more)]);
        snapshot.node_pools = vec![serde_json::from_value(pool("default", pool_spec)).unwrap()];
        snapshot.node_classes.extend(class);
        planned(&snapshot).unschedulable[0].reason.clone()
    };
    let asks = |resource: &str, amount: &str| json!({"containers": [{"name": "c", "resources": {"limits": {resource: amount}}}]});
    let of_class = json!({"template": {"spec": {"nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "big"}}}});
    let class = json!({"metadata": {"name": "big"}, "spec": {"blockDeviceMappings": [
        {"rootVolume": true, "ebs": {"volumeSize": "50Gi"}}]}});
    // 1 GiB is kept for daemons and a tenth against eviction.
    let volume = reason(asks("ephemeral-storage", "89Gi"), of_class.clone(), Some(class));
    assert_eq!(
        volume,
        "no offering has 89 GiB ephemeral-storage: the largest allowed by pool default (m.large) offers 44 GiB; raise the \
         root volume of EC2NodeClass big to 100Gi (spec.blockDeviceMappings: rootVolume, ebs.volumeSize), or ask for less"
    );
    let absent = reason(asks("ephemeral-storage", "89Gi"), of_class, None);
    assert!(
        absent.contains("EC2NodeClass big, which is not in the input and counts as the default, to 100Gi"),
        "{absent}"
    );
    let none = reason(asks("ephemeral-storage", "89Gi"), json!({}), None);
    assert!(none.contains("give pool default an EC2NodeClass with a root volume of 100Gi"), "{none}");
    let beyond = reason(asks("ephemeral-storage", "1Pi"), json!({}), None);
    assert!(beyond.ends_with("offers 17 GiB; no instance type has more; ask for less"), "{beyond}");

    let pages = reason(asks("hugepages-2Mi", "64Mi"), json!({}), None);
    assert_eq!(
        pages,
        "no offering has hugepages-2Mi (it asks for 64 MiB); no instance type has huge pages of itself: where your nodes' \
         user data sets them up, say so in a NodeOverlay (spec.capacity: hugepages-2Mi), or ask for memory"
    );
    let device = reason(asks("example.com/dongle", "1"), json!({}), None);
    assert!(
        device.contains("(it asks for 1); no instance type of the catalogue has it: where your nodes do"),
        "{device}"
    );

    let small = json!({"template": {"spec": {"requirements": [
        {"key": "karpenter.k8s.aws/instance-cpu", "operator": "Lt", "values": ["4"]}]}}});
    assert_eq!(
        reason(asks("cpu", "6"), small, None),
        "no offering has 6 cpu: the largest allowed by pool default (m.small) offers 2; allow g.large in pool default (its \
         requirement karpenter.k8s.aws/instance-cpu < 4 keeps it out), or ask for less"
    );
    let vast = reason(asks("cpu", "600"), json!({}), None);
    assert!(vast.ends_with("offers 8; no instance type has more; ask for less"), "{vast}");
}

#[test]
fn pools_without_any_offering_name_the_requirement() {
    let requires = |name: &str, requirements: Value, taints: Value| {
        let spec = json!({"template": {"spec": {"requirements": requirements, "taints": taints}}});
        let pool = json!({"metadata": {"name": name}, "spec": spec});
        serde_json::from_value::<NodePool>(pool).unwrap()
    };
    let reason = |pools: Vec<NodePool>, more: Value, capacity_types: Option<Vec<String>>| {
        let mut snapshot = with(vec![group("x", 1, "1", more)]);
        snapshot.node_pools = pools;
        let options = Options { capacity_types, ..Options::default() };
        let plan = plan(&snapshot, &catalog(), &options, &Settings::default(), &Endless, &first_fit).unwrap();
        plan.unschedulable[0].reason.clone()
    };
    let one = |key: &str, operator: &str, value: &str| json!({"key": key, "operator": operator, "values": [value]});
    let family = || one("karpenter.k8s.aws/instance-family", "In", "m9");
    let alone = reason(vec![requires("web", json!([family()]), json!([]))], json!({}), None);
    assert_eq!(
        alone,
        "pool web allows no offering of the catalogue: its requirement karpenter.k8s.aws/instance-family=m9 meets none; \
         change it (there is m, g)"
    );
    let of_system = || json!([one("kubernetes.io/os", "In", "windows")]);
    let barren = reason(vec![requires("win", of_system(), json!([]))], json!({"os": {"name": "windows"}}), None);
    assert_eq!(
        barren,
        "pool win allows no offering of the catalogue: its requirement kubernetes.io/os=windows meets none; \
         there is linux; give offerings of others with --catalog"
    );
    for more in [json!({"os": {"name": "windows"}}), json!({"nodeSelector": {"kubernetes.io/os": "windows"}})] {
        assert_eq!(
            reason(vec![requires("web", json!([]), json!([]))], more, None),
            "no offering of the catalogue has kubernetes.io/os=windows; let it run on another system, or give offerings \
             that do with --catalog"
        );
    }
    let numbers = json!([one("karpenter.k8s.aws/instance-cpu", "Gt", "8")]);
    let numbers = reason(vec![requires("web", numbers, json!([]))], json!({}), None);
    assert!(
        numbers.ends_with("karpenter.k8s.aws/instance-cpu > 8 meets none; change it (there is 2 to 8)"),
        "{numbers}"
    );
    let label = json!([one("karpenter.k8s.aws/instance-colour", "In", "red")]);
    let label = reason(vec![requires("web", label, json!([]))], json!({}), None);
    assert!(label.ends_with("meets none; no offering has that label; take it out"), "{label}");
    let arm = one("kubernetes.io/arch", "In", "arm64");
    let both = json!([one("karpenter.k8s.aws/instance-family", "In", "m"), arm]);
    assert_eq!(
        reason(vec![requires("web", both, json!([]))], json!({}), None),
        "no offering of the catalogue meets all requirements of pool web at once (karpenter.k8s.aws/instance-family=m, \
         kubernetes.io/arch=arm64); without kubernetes.io/arch=arm64 there would be m.small a on-demand"
    );
    let reserved = Some(vec!["reserved".to_owned()]);
    assert_eq!(
        reason(vec![requires("web", json!([]), json!([]))], json!({}), reserved),
        "no offering of pool web is of a capacity type that may be bought; allow more of them"
    );
    // The pool that the pod is meant for allows nothing, and the other one does not want it.
    let taint = |key: &str| json!([{"key": key, "effect": "NoSchedule"}]);
    let pools = vec![requires("web", json!([family()]), taint("web")), requires("gpu", json!([]), taint("gpu"))];
    let tolerates = json!({"tolerations": [{"key": "web", "operator": "Exists"}]});
    let meant = reason(pools, tolerates, None);
    assert!(meant.starts_with("taint gpu:NoSchedule of pool gpu is not tolerated"), "{meant}");
    assert!(meant.contains("; pool web allows no offering of the catalogue: its requirement"), "{meant}");
}
