//! Runtime classes: what the API server accepts as such.
//!
//! <https://kubernetes.io/docs/concepts/containers/runtime-class/>.

use k8s_openapi::api::node::v1::RuntimeClass;

use super::names::{is_dns_label, labels};
use super::path::{Checked, Path};
use super::resources::amounts;
use super::scheduling::tolerations;

/// Checks a runtime class.
pub(crate) fn runtime_class(class: &RuntimeClass) -> Checked {
    let root = Path::ROOT;
    if class.handler.is_empty() {
        return root.key("handler").fail("is missing");
    }
    if !is_dns_label(&class.handler) {
        return root.key("handler").fail(format!("{:?} is not a DNS label", class.handler));
    }
    let fixed = class.overhead.as_ref().and_then(|overhead| overhead.pod_fixed.as_ref());
    amounts(fixed, &root.key("overhead").key("podFixed"))?;
    let Some(scheduling) = &class.scheduling else { return Ok(()) };
    let path = root.key("scheduling");
    labels(scheduling.node_selector.as_ref(), &path.key("nodeSelector"))?;
    tolerations(scheduling.tolerations.as_deref(), &path.key("tolerations"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn checked(class: Value) -> Result<(), String> {
        runtime_class(&serde_json::from_value(class).unwrap())
            .map_err(|fault| format!("{}: {}", fault.field, fault.problem))
    }

    #[test]
    fn runtime_classes_are_checked() {
        let good = json!({"handler": "runsc", "overhead": {"podFixed": {"cpu": "250m"}},
            "scheduling": {"nodeSelector": {"sandbox": "gvisor"}, "tolerations": [{"operator": "Exists"}]}});
        assert_eq!(checked(good), Ok(()));
        let fault = |class: Value| checked(class).unwrap_err();
        assert_eq!(fault(json!({"handler": ""})), "handler: is missing");
        assert_eq!(fault(json!({"handler": "a.b"})), "handler: \"a.b\" is not a DNS label");
        let class = json!({"handler": "a", "overhead": {"podFixed": {"cpu": "-1"}}});
        assert_eq!(fault(class), "overhead.podFixed.cpu: \"-1\" is negative");
        let class = json!({"handler": "a", "scheduling": {"nodeSelector": {"a": "b c"}}});
        assert!(fault(class).starts_with("scheduling.nodeSelector.a: \"b c\" is not a label value"));
        let class = json!({"handler": "a", "scheduling": {"tolerations": [{"key": "a", "operator": "Is"}]}});
        assert!(fault(class).starts_with("scheduling.tolerations[0].operator: "));
    }
}
