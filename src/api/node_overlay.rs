//! `NodeOverlay` of `karpenter.sh/v1alpha1`: prices and capacity that the owner knows better.
//!
//! <https://karpenter.sh/docs/concepts/nodeoverlays/>.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::NodeSelectorRequirement;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use supercargo_models::kubernetes::schema::{number_rule, quantities, rule};
use supercargo_models::kubernetes::{self as core, NodeSelectorRequirementWithMinValues};

use super::schema::conditions;

/// Which offerings are meant, and what is different about them.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "karpenter.sh",
    version = "v1alpha1",
    kind = "NodeOverlay",
    status = "NodeOverlayStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "Changes the price or adds to the capacity of the offerings that it selects.",
    category = "karpenter",
    shortname = "overlays",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".spec.weight", priority = 1)
)]
#[x_kube(validation = (
    "!has(self.price) || !has(self.priceAdjustment)",
    "cannot set both 'price' and 'priceAdjustment'"
))]
#[serde(rename_all = "camelCase")]
pub struct NodeOverlaySpec {
    /// The offerings that are meant: those whose labels meet all of these.
    #[schemars(schema_with = "requirements")]
    pub requirements: Vec<NodeSelectorRequirement>,
    /// Their price, dollars an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^\d+(\.\d+)?$"))]
    pub price: Option<String>,
    /// What is added to their price: dollars an hour (`-0.5`, `+1.2`) or a part of it (`-15%`, `+10%`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(([+-]{1}(\d*\.?\d+))|(\+{1}\d*\.?\d+%)|(^(-\d{1,2}(\.\d+)?%)$)|(-100%))$"))]
    pub price_adjustment: Option<String>,
    /// Extended resources that they have besides; cpu, memory, ephemeral storage and pods cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantities")]
    #[x_kube(validation = (
        "self.all(x, !(x in ['cpu', 'memory', 'ephemeral-storage', 'pods']))",
        "invalid resource restricted"
    ))]
    pub capacity: Option<BTreeMap<String, Quantity>>,
    /// Of two overlays that say different things the heavier one is heard; one without a weight weighs 0. Of equal ones it
    /// is the first by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub weight: Option<i32>,
}

/// What is observed of an overlay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeOverlayStatus {
    /// Whether it is in force: `ValidationSucceeded`, `Ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Option<Vec<Condition>>,
}

impl From<NodeOverlay> for core::NodeOverlay {
    /// The overlay as the planner takes it.
    fn from(overlay: NodeOverlay) -> core::NodeOverlay {
        let NodeOverlaySpec { requirements, price, price_adjustment, capacity, weight } = overlay.spec;
        let spec =
            core::NodeOverlaySpec { requirements, price, price_adjustment, price_expression: None, capacity, weight };
        core::NodeOverlay { metadata: overlay.metadata, spec, status: None }
    }
}

/// A pool's requirements, but for `minValues`, and `NotIn` needs values too.
fn requirements(generator: &mut SchemaGenerator) -> Schema {
    let mut items = NodeSelectorRequirementWithMinValues::json_schema(generator);
    if let Some(properties) = items.get_mut("properties").and_then(Value::as_object_mut) {
        properties.remove("minValues");
    }
    let needs_values = |operator: &str| {
        rule(
            &format!("self.all(x, x.operator == '{operator}' ? x.values.size() != 0 : true)"),
            &format!("requirements with operator '{operator}' must have a value defined"),
        )
    };
    json_schema!({
        "type": "array",
        "maxItems": 100,
        "items": items,
        "x-kubernetes-list-type": "atomic",
        "x-kubernetes-validations": [needs_values("NotIn"), needs_values("In"), number_rule()],
    })
}
