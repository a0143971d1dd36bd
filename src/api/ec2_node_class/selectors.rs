//! By what images, networks, reservations and placement groups are found in the account.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use supercargo_models::kubernetes::schema::rule;

/// Images: those that meet all that is said.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AmiSelectorTerm {
    /// An image optimised for EKS, `family@version`: `al2023@v20240625`, `bottlerocket@v1.10.0`, `al2023@latest`. `latest`
    /// replaces nodes when there is a newer one; Windows families have nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 30), extend("x-kubernetes-validations" = alias_rules()))]
    pub alias: Option<String>,
    /// The image's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "ami-[0-9a-z]+"))]
    pub id: Option<String>,
    /// The image's name, which is not the tag `Name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who owns the image: an account's id, `self`, `amazon` or `aws-marketplace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Name or ARN of the SSM parameter that holds the image's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssm_parameter: Option<String>,
    /// Tags that it has; `*` stands for any value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "tags")]
    pub tags: Option<BTreeMap<String, String>>,
}

/// Capacity reservations: those that meet all that is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapacityReservationSelectorTerm {
    /// The reservation's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = RESERVATION_ID))]
    pub id: Option<String>,
    /// Which machines run in it: all that match it (`open`), or those that name it (`targeted`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["open", "targeted"]))]
    pub instance_match_criteria: Option<String>,
    /// The account that owns it.
    #[serde(default, rename = "ownerID", skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = ACCOUNT_ID))]
    pub owner_id: Option<String>,
    /// Tags that it has; `*` stands for any value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "tags")]
    pub tags: Option<BTreeMap<String, String>>,
}

/// A placement group.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = ("has(self.name) || has(self.id)", "expected at least one, got none, ['name', 'id']"),
    validation = ("!(has(self.name) && has(self.id))", "'name' and 'id' are mutually exclusive")
)]
#[serde(rename_all = "camelCase")]
pub struct PlacementGroupSelector {
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^pg-[0-9a-z]+$"))]
    pub id: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub name: Option<String>,
}

/// Security groups: those that meet all that is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecurityGroupSelectorTerm {
    /// The group's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "sg-[0-9a-z]+"))]
    pub id: Option<String>,
    /// The group's name, which is not the tag `Name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Tags that it has; `*` stands for any value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "tags")]
    pub tags: Option<BTreeMap<String, String>>,
}

/// Subnets: those that meet all that is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubnetSelectorTerm {
    /// The subnet's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "subnet-[0-9a-z]+"))]
    pub id: Option<String>,
    /// Tags that it has; `*` stands for any value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "tags")]
    pub tags: Option<BTreeMap<String, String>>,
}

/// The id of a capacity reservation.
pub(super) const RESERVATION_ID: &str = "^cr-[0-9a-z]+$";
/// The id of an account.
pub(super) const ACCOUNT_ID: &str = "^[0-9]{12}$";

fn alias_rules() -> [serde_json::Value; 3] {
    let quoted =
        |families: &mut dyn Iterator<Item = &str>| families.map(|family| format!("'{family}'")).collect::<Vec<_>>();
    let aliases = || super::FAMILIES.iter().map(|(alias, _)| *alias);
    let known = quoted(&mut aliases());
    let windows = quoted(&mut aliases().filter(|alias| alias.starts_with("windows")));
    [
        rule(
            "self.matches('^[a-zA-Z0-9]+@.+$')",
            "'alias' is improperly formatted, must match the format 'family@version'",
        ),
        rule(
            &format!("self.split('@')[0] in [{}]", known.join(",")),
            &format!("family is not supported, must be one of the following: {}", known.join(", ")),
        ),
        rule(
            &format!("self.split('@')[0] in [{}] ? self.split('@')[1] == 'latest' : true", windows.join(",")),
            "windows families may only specify version 'latest'",
        ),
    ]
}

fn tags(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 20,
        "additionalProperties": {"type": "string"},
        "x-kubernetes-validations": [
            rule("self.all(k, k != '' && self[k] != '')", "empty tag keys or values aren't supported"),
        ],
    })
}
