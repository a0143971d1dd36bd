//! The NodePool of `karpenter.sh/v1`, as far as it says what may be bought.
//!
//! Field names, defaults and rules are the API's: <https://karpenter.sh/docs/concepts/nodepools/>. The schemas that the
//! types derive are those of the custom resource definitions.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// A class of machines that may be bought, and under which terms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodePool {
    /// Name, labels and annotations of the pool itself.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What the pool allows.
    pub spec: NodePoolSpec,
    /// What the pool's owner observed; read only for nothing, kept so that exported objects are accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<serde_json::Value>,
}

/// What a pool allows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodePoolSpec {
    /// What each of its nodes looks like.
    pub template: NodeClaimTemplate,
    /// When and how its nodes may be replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruption: Option<Disruption>,
    /// The most that all its nodes together may have, by resource (`cpu`, `memory`, `nodes`, ...).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<BTreeMap<String, Quantity>>,
    /// 1 to 100; a heavier pool is preferred. Absent means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
    /// The number of nodes of a pool of static capacity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
}

/// The template of a pool's nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeClaimTemplate {
    /// Labels and annotations that every node gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<NodeClaimTemplateMeta>,
    /// Requirements, taints and class of every node.
    #[schemars(extend("x-kubernetes-validations" = schema::template_rules()))]
    pub spec: NodeClaimTemplateSpec,
}

/// Labels and annotations that every node of a pool gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeClaimTemplateMeta {
    /// Labels that every node gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::template_labels")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations that every node gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// Requirements, taints and class of every node of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::require_requirements)]
pub struct NodeClaimTemplateSpec {
    /// The class that says how the cloud makes the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub node_class_ref: Option<NodeClassReference>,
    /// Taints that every node keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::taints")]
    pub taints: Option<Vec<Taint>>,
    /// Taints that a node starts with and that something lifts: no pod has to tolerate them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::taints")]
    pub startup_taints: Option<Vec<Taint>>,
    /// What an offering must be to be bought for this pool.
    #[serde(default)]
    #[schemars(length(max = 100))]
    #[schemars(extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = schema::requirement_rules()))]
    pub requirements: Vec<NodeSelectorRequirementWithMinValues>,
    /// Age at which a node is replaced (`720h`, `Never`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = schema::DURATION_OR_NEVER))]
    #[schemars(extend("default" = "720h"))]
    pub expire_after: Option<String>,
    /// The longest a drain may take before it is forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = schema::DURATION))]
    pub termination_grace_period: Option<String>,
}

/// Which class object makes a pool's nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeClassReference {
    /// API group, `karpenter.k8s.aws` on EC2.
    #[schemars(regex(pattern = "^[^/]*$"))]
    #[schemars(extend("x-kubernetes-validations" = [schema::rule("self != ''", "group may not be empty")]))]
    pub group: String,
    /// Kind, `EC2NodeClass` on EC2.
    #[schemars(extend("x-kubernetes-validations" = [schema::rule("self != ''", "kind may not be empty")]))]
    pub kind: String,
    /// Name of the class object.
    #[schemars(extend("x-kubernetes-validations" = [schema::rule("self != ''", "name may not be empty")]))]
    pub name: String,
}

/// One requirement on an offering's labels, with the flexibility it must leave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelectorRequirementWithMinValues {
    /// Label key.
    #[schemars(length(max = 316), regex(pattern = schema::LABEL_KEY))]
    #[schemars(extend("x-kubernetes-validations" = schema::key_rules()))]
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`, `Gte`, `Lte`.
    #[schemars(extend("enum" = schema::OPERATORS))]
    pub operator: String,
    /// The values the operator compares with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Option<Vec<String>>,
    /// At least so many different values must stay open among the offerings that could hold a node's pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50))]
    pub min_values: Option<u32>,
}

/// When and how a pool's nodes may be replaced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Disruption {
    /// How long a node is left alone after its last pod came or went (`30s`, `Never`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = schema::DURATION_OR_NEVER))]
    #[schemars(extend("default" = "0s"))]
    pub consolidate_after: Option<String>,
    /// Which nodes may be given up: `WhenEmpty`, `WhenEmptyOrUnderutilized`, or `Balanced` between savings and evictions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = schema::CONSOLIDATION_POLICIES, "default" = "WhenEmptyOrUnderutilized"))]
    pub consolidation_policy: Option<String>,
    /// How many nodes may be disrupted at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50))]
    #[schemars(extend("default" = [{"nodes": "10%"}], "x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = schema::budget_rules()))]
    pub budgets: Option<Vec<Budget>>,
}

/// How many nodes of a pool may be disrupted at once, and when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// A count, or a percentage of the pool's nodes, rounded up.
    #[serde(default = "a_tenth")]
    #[schemars(regex(pattern = r"^((100|[0-9]{1,2})%|[0-9]+)$"))]
    pub nodes: String,
    /// When the budget begins to hold: a cron expression in UTC; absent means always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = schema::CRON))]
    pub schedule: Option<String>,
    /// How long it holds from then, in hours and minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = schema::BUDGET_DURATION))]
    pub duration: Option<String>,
    /// The reasons it holds for (`Underutilized`, `Empty`, `Drifted`, `Unhealthy`); absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::reasons")]
    pub reasons: Option<Vec<String>>,
}

/// The part of a pool's nodes that may be disrupted at once where a budget does not say.
fn a_tenth() -> String {
    "10%".to_string()
}
