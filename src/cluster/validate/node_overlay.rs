//! Node overlays: the rules of the `karpenter.sh/v1alpha1` custom resource definition.
//!
//! <https://karpenter.sh/docs/concepts/nodeoverlays/>.

use supercargo_models::kubernetes::NodeOverlay;

use super::node_pool::offering_requirement;
use super::path::{Checked, Path};
use super::resources::amounts;

/// Resources that every machine has already, and that no overlay changes.
const OF_THE_MACHINE: [&str; 4] = ["cpu", "memory", "ephemeral-storage", "pods"];

/// Checks a node overlay.
pub(crate) fn node_overlay(overlay: &NodeOverlay) -> Checked {
    let root = Path::ROOT;
    let path = root.key("spec");
    let spec = &overlay.spec;
    let list = path.key("requirements");
    if spec.requirements.len() > 100 {
        return list.fail("has more than 100 entries");
    }
    for (index, requirement) in spec.requirements.iter().enumerate() {
        let path = list.index(index);
        if requirement.key == "kubernetes.io/hostname" {
            return path.key("key").fail("kubernetes.io/hostname is set on each node and selects no offering");
        }
        let values = requirement.values.as_deref().unwrap_or_default();
        if requirement.operator == "NotIn" && values.is_empty() {
            return path.key("values").fail("operator NotIn needs at least one value");
        }
        offering_requirement(&requirement.key, &requirement.operator, values, &path)?;
    }
    if let Err(error) = overlay.price_change() {
        let mut fault = root.fault(error.problem);
        fault.field = error.field.to_owned();
        return Err(fault);
    }
    let capacity = path.key("capacity");
    for resource in spec.capacity.iter().flatten().map(|(resource, _)| resource.as_str()) {
        if OF_THE_MACHINE.contains(&resource) {
            return Err(capacity
                .key(resource)
                .fault("is what the machine has, and no overlay changes it")
                .with_fix("an overlay adds extended resources, such as example.com/dongle"));
        }
    }
    amounts(spec.capacity.as_ref(), &capacity)?;
    match spec.weight {
        Some(weight) if !(1..=10_000).contains(&weight) => {
            path.key("weight").fail(format!("{weight} is not in the range 1 to 10000"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn checked(spec: Value) -> Result<(), String> {
        let overlay: NodeOverlay = serde_json::from_value(json!({"metadata": {"name": "x"}, "spec": spec})).unwrap();
        node_overlay(&overlay).map_err(|fault| format!("{}: {}", fault.field, fault.problem))
    }

    #[test]
    fn overlays_are_checked() {
        let selects = json!([{"key": "karpenter.k8s.aws/instance-cpu", "operator": "Gte", "values": ["4"]},
            {"key": "karpenter.sh/nodepool", "operator": "In", "values": ["default"]}]);
        assert_eq!(
            checked(json!({"requirements": selects, "priceAdjustment": "-10%", "capacity": {"example.com/a": "2"},
            "weight": 10})),
            Ok(())
        );
        let fault = |spec: Value| checked(spec).unwrap_err();
        assert!(fault(json!({"price": "-1"})).starts_with("spec.price: \"-1\" is no price"));
        assert!(fault(json!({"price": "1", "priceAdjustment": "+1"})).contains("exclude each other"));
        assert!(fault(json!({"priceAdjustment": "10%"})).starts_with("spec.priceAdjustment: "));
        assert!(fault(json!({"capacity": {"cpu": "1"}})).starts_with("spec.capacity.cpu: is what the machine has"));
        assert!(fault(json!({"capacity": {"example.com/a": "-1"}})).contains("negative"));
        assert_eq!(fault(json!({"weight": 0})), "spec.weight: 0 is not in the range 1 to 10000");
        let none = json!([{"key": "a", "operator": "NotIn", "values": []}]);
        assert!(fault(json!({ "requirements": none })).contains("needs at least one value"));
        let bad = json!([{"key": "a", "operator": "Gte", "values": ["x"]}]);
        assert!(fault(json!({"requirements": bad})).starts_with("spec.requirements[0].values[0]: "));
    }
}
