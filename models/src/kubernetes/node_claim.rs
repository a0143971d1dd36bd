//! The NodeClaim of `karpenter.sh/v1`: a machine that was ordered, from its launch until it is gone.
//!
//! <https://karpenter.sh/docs/concepts/nodeclaims/>.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::{NodeClassReference, NodeSelectorRequirementWithMinValues};

/// A machine that was ordered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeClaim {
    /// Name, and the labels that the node bears or will bear.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What was ordered.
    pub spec: NodeClaimSpec,
    /// What came of it.
    #[serde(default)]
    pub status: NodeClaimStatus,
}

impl NodeClaim {
    /// Whether it has become this node.
    pub fn is_of(&self, node: &Node) -> bool {
        let named =
            |own: Option<&str>, other: Option<&str>| own.is_some_and(|own| !own.is_empty() && Some(own) == other);
        let provider = node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref());
        named(self.status.provider_id.as_deref(), provider)
            || named(self.status.node_name.as_deref(), node.metadata.name.as_deref())
    }

    /// Whether the cloud has said what the machine has.
    pub fn is_launched(&self) -> bool {
        [&self.status.allocatable, &self.status.capacity].into_iter().flatten().any(|amounts| !amounts.is_empty())
    }
}

/// What was ordered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeClaimSpec {
    /// The class that says how the cloud makes the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_class_ref: Option<NodeClassReference>,
    /// Taints that the node keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taints: Option<Vec<Taint>>,
    /// Taints that the node starts with and that something lifts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_taints: Option<Vec<Taint>>,
    /// What the offering had to be.
    #[serde(default)]
    pub requirements: Vec<NodeSelectorRequirementWithMinValues>,
    /// What the pods that it was ordered for ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<serde_json::Value>,
    /// Age at which it is replaced (`720h`, `Never`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_after: Option<String>,
    /// The longest a drain may take before it is forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination_grace_period: Option<String>,
}

/// What came of an order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeClaimStatus {
    /// The node, once it has joined the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// The machine's name in the cloud, once it is launched; the node's `spec.providerID`.
    #[serde(default, rename = "providerID", skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// The machine image.
    #[serde(default, rename = "imageID", skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// What the machine has, once it is launched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<BTreeMap<String, Quantity>>,
    /// What of it pods may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocatable: Option<BTreeMap<String, Quantity>>,
    /// `Launched`, `Registered`, `Initialized`, ..., as they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<serde_json::Value>>,
    /// When a pod last came or went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_pod_event_time: Option<String>,
}
