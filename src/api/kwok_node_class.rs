//! `KWOKNodeClass` of `karpenter.kwok.sh/v1alpha1`: how simulated machines come up.
//!
//! <https://github.com/kubernetes-sigs/karpenter/tree/main/kwok>.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use supercargo_models::kubernetes::schema::DURATION;

use super::schema::unmerged_conditions;

/// How simulated machines come up.
#[derive(CustomResource, JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "karpenter.kwok.sh",
    version = "v1alpha1",
    kind = "KWOKNodeClass",
    plural = "kwoknodeclasses",
    status = "KWOKNodeClassStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "How simulated machines come up.",
    category = "karpenter",
    shortname = "kwoknc",
    shortname = "kwokncs"
)]
#[serde(rename_all = "camelCase")]
// Manifests leave the whole of it out.
#[schemars(extend("default" = {}))]
pub struct KWOKNodeClassSpec {
    /// How long a machine takes from its launch until its node is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DURATION))]
    pub node_registration_delay: Option<String>,
}

/// What is observed of a class. It is ready from the start: nothing has to be found for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"conditions": [{
    "type": "Ready",
    "status": "True",
    "reason": "Ready",
    "message": "",
    "lastTransitionTime": "2024-01-01T01:01:01Z",
}]}))]
pub struct KWOKNodeClassStatus {
    /// Whether it can be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "unmerged_conditions")]
    pub conditions: Option<Vec<Condition>>,
}
