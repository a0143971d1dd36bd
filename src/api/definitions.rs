//! The definitions of all custom resources, as they are given to a cluster.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use super::{CapacityBuffer, EC2NodeClass, KWOKNodeClass, NodeClaim, NodeOverlay, NodePool};

/// The definition of one kind.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The kind that it defines.
    pub kind: String,
    /// Its own name, `nodepools.karpenter.sh`.
    pub name: String,
    /// The `CustomResourceDefinition`, keys in alphabetical order.
    pub object: Value,
}

/// All definitions, by name.
///
/// # Errors
///
/// If a derived schema is none that Kubernetes knows, which would be a mistake in the types.
pub fn definitions() -> serde_json::Result<Vec<Definition>> {
    let derived = [
        CapacityBuffer::crd(),
        EC2NodeClass::crd(),
        KWOKNodeClass::crd(),
        NodeClaim::crd(),
        NodeOverlay::crd(),
        NodePool::crd(),
    ];
    let mut definitions = derived.into_iter().map(definition).collect::<serde_json::Result<Vec<_>>>()?;
    definitions.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(definitions)
}

fn definition(derived: CustomResourceDefinition) -> serde_json::Result<Definition> {
    let kind = derived.spec.names.kind.clone();
    let name = derived.metadata.name.clone().unwrap_or_default();
    let mut object = serde_json::to_value(derived)?;
    for version in object["spec"]["versions"].as_array_mut().into_iter().flatten() {
        tidy(&mut version["schema"]["openAPIV3Schema"]);
    }
    object.sort_all_objects();
    Ok(Definition { kind, name, object })
}

/// Makes a derived schema what the API's own definitions are.
///
/// An `Option` is a field that may be absent, not one that may be null: the API server drops a null only from fields that
/// are not nullable, and only then fills in the default. Formats that Kubernetes does not know are Rust's.
fn tidy(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    fields.remove("nullable");
    fields.remove("title");
    if fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
        fields.remove("format");
    }
    // A number such as 1.0 is what is read back; 1 is what people write.
    for bound in ["minimum", "maximum"] {
        if let Some(number) = fields.get(bound).and_then(Value::as_f64)
            && number.fract() == 0.0
        {
            fields.insert(bound.into(), Value::from(number as i64));
        }
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(tidy);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(schema) = fields.get_mut(inner) {
            tidy(schema);
        }
    }
}
