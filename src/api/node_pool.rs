//! `NodePool` of `karpenter.sh/v1`: which machines may be bought, and when they may be replaced.
//!
//! <https://karpenter.sh/docs/concepts/nodepools/>.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use supercargo_models::kubernetes::schema::quantities;
use supercargo_models::kubernetes::{self as core, Disruption, NodeClaimTemplate};

use super::schema::conditions;

/// What a pool allows: which machines may be bought for pods that wait, or how many are held ready.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "karpenter.sh",
    version = "v1",
    kind = "NodePool",
    status = "NodePoolStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "A class of machines that may be bought, and under which terms.",
    category = "karpenter",
    printcolumn(name = "NodeClass", type_ = "string", json_path = ".spec.template.spec.nodeClassRef.name"),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodes"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".spec.weight", priority = 1),
    printcolumn(name = "CPU", type_ = "string", json_path = ".status.resources.cpu", priority = 1),
    printcolumn(name = "Memory", type_ = "string", json_path = ".status.resources.memory", priority = 1),
    scale(spec_replicas_path = ".spec.replicas", status_replicas_path = ".status.nodes")
)]
#[x_kube(
    validation = (
        "has(self.replicas) == has(oldSelf.replicas)",
        "Cannot transition NodePool between static (replicas set) and dynamic (replicas unset) provisioning modes"
    ),
    validation = (
        "!has(self.replicas) || !has(self.limits) || size(self.limits) == 0 || \
         (size(self.limits) == 1 && 'nodes' in self.limits)",
        "only 'limits.nodes' is supported on static NodePools"
    ),
    validation = ("!has(self.replicas) || !has(self.weight)", "'weight' is not supported on static NodePools")
)]
#[serde(rename_all = "camelCase")]
pub struct NodePoolSpec {
    /// What each of its nodes looks like.
    pub template: NodeClaimTemplate,
    /// When and how its nodes may be replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = {"consolidateAfter": "0s"}))]
    pub disruption: Option<Disruption>,
    /// The most that all its nodes together may have, by resource (`cpu`, `memory`, `nodes`, ...). With `replicas`
    /// only `nodes` is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantities")]
    pub limits: Option<BTreeMap<String, Quantity>>,
    /// A heavier pool is preferred; a pool without a weight weighs 0. Not allowed with `replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub weight: Option<i32>,
    /// With it the pool has static capacity: so many nodes, whatever the pods need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i64>,
}

/// What is observed of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodePoolStatus {
    /// Whether the pool can be bought for: `ValidationSucceeded`, `NodeClassReady`, `NodeRegistrationHealthy`, `Ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Option<Vec<Condition>>,
    /// The generation of the class that `NodeRegistrationHealthy` was found with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_class_observed_generation: Option<i64>,
    /// How many nodes the pool has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 0))]
    pub nodes: Option<i64>,
    /// What these nodes have together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantities")]
    pub resources: Option<BTreeMap<String, Quantity>>,
}

impl From<NodePool> for core::NodePool {
    /// The pool as the planner takes it.
    fn from(pool: NodePool) -> core::NodePool {
        let NodePoolSpec { template, disruption, limits, weight, replicas } = pool.spec;
        let spec = core::NodePoolSpec { template, disruption, limits, weight, replicas };
        core::NodePool { metadata: pool.metadata, spec, status: None }
    }
}
