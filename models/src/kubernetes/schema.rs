//! What the API server checks of these types beyond their shape: patterns, and rules in CEL.
//!
//! The words are those that Karpenter's definitions use, since tools and people look for them:
//! <https://github.com/kubernetes-sigs/karpenter/tree/main/pkg/apis/crds>.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::restricted;

/// `30s`, `1h30m`.
pub const DURATION: &str = "^([0-9]+(s|m|h))+$";
/// `30s`, `1h30m` or `Never`.
pub const DURATION_OR_NEVER: &str = "^(([0-9]+(s|m|h))+|Never)$";
/// How long a budget holds: hours and minutes, with the `0s` that Go writes after them.
pub(super) const BUDGET_DURATION: &str = "^((([0-9]+(h|m))|([0-9]+h[0-9]+m))(0s)?)$";
/// When a budget begins to hold: five fields, or a name for them.
pub(super) const CRON: &str =
    r"^(@(annually|yearly|monthly|weekly|daily|midnight|hourly))|((.+)\s(.+)\s(.+)\s(.+)\s(.+))$";
/// A label's key, with or without a domain.
pub const LABEL_KEY: &str =
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*(\/))?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$";
/// A label's value.
pub(super) const LABEL_VALUE: &str = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";
/// The operators of a requirement.
pub const OPERATORS: [&str; 8] = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Gte", "Lte"];
/// Which nodes consolidation may give up.
pub const CONSOLIDATION_POLICIES: [&str; 3] = ["WhenEmpty", "WhenEmptyOrUnderutilized", "Balanced"];
/// Why nodes are disrupted.
pub const DISRUPTION_REASONS: [&str; 4] = ["Underutilized", "Empty", "Drifted", "Unhealthy"];

const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// A rule in CEL, and what the API server says of an object that breaks it.
pub fn rule(rule: &str, message: &str) -> Value {
    json!({"rule": rule, "message": message})
}

/// A map of resources to quantities.
pub fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": {"pattern": QUANTITY, "x-kubernetes-int-or-string": true},
    })
}

/// A list of taints.
pub fn taints(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "object",
            "description": "Keeps pods that do not tolerate it off the node.",
            "required": ["effect", "key"],
            "properties": {
                "effect": {
                    "type": "string",
                    "description": "What becomes of pods that do not tolerate it.",
                    "enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"],
                },
                "key": {"type": "string", "description": "Its key.", "minLength": 1, "pattern": LABEL_KEY},
                "timeAdded": {"type": "string", "description": "When it was put on a node.", "format": "date-time"},
                "value": {"type": "string", "description": "Its value.", "pattern": LABEL_KEY},
            },
        },
    })
}

/// The labels that a pool gives its nodes.
pub(super) fn template_labels(_: &mut SchemaGenerator) -> Schema {
    let restricted_domains = restricted::DOMAINS.iter().map(|(domain, _)| {
        rule(&format!("self.all(x, {})", outside("x", domain)), &format!("label domain \"{domain}\" is restricted"))
    });
    let restricted_labels = [restricted::NODE_POOL, restricted::HOST_NAME]
        .map(|label| rule(&format!("self.all(x, x != {label:?})"), &format!("label {label:?} is restricted")));
    json_schema!({
        "type": "object",
        "maxProperties": 100,
        "additionalProperties": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE},
        "x-kubernetes-map-type": "atomic",
        "x-kubernetes-validations": restricted_domains.chain(restricted_labels).collect::<Vec<Value>>(),
    })
}

/// The key of a requirement, whoever has it.
pub fn key_rules() -> Vec<Value> {
    let restricted_domains = restricted::DOMAINS
        .iter()
        .map(|(domain, _)| rule(&outside("self", domain), &format!("label domain \"{domain}\" is restricted")));
    let host_name = restricted::HOST_NAME;
    let restricted_label = rule(&format!("self != {host_name:?}"), &format!("label {host_name:?} is restricted"));
    restricted_domains.chain([restricted_label]).collect()
}

/// In CEL: the label key is not of the domain, or is one of it that may be chosen by.
fn outside(key: &str, domain: &str) -> String {
    let chosen = restricted::DOMAINS.iter().find(|(known, _)| *known == domain).map_or(&[][..], |(_, chosen)| chosen);
    format!(r#"{key} in {chosen:?} || !{key}.find("^([^/]+)").endsWith({domain:?})"#)
}

/// Requirements, one by one.
pub fn requirement_rules() -> [Value; 3] {
    [
        rule(
            "self.all(x, x.operator == 'In' ? x.values.size() != 0 : true)",
            "requirements with operator 'In' must have a value defined",
        ),
        number_rule(),
        rule(
            "self.all(x, (x.operator == 'In' && has(x.minValues)) ? x.values.size() >= x.minValues : true)",
            "requirements with 'minValues' must have at least that many values specified in the 'values' field",
        ),
    ]
}

/// A file may leave out requirements where there are none; the API server wants to see that there are none.
pub(super) fn require_requirements(schema: &mut Schema) {
    if let Some(requirements) = schema.pointer_mut("/properties/requirements").and_then(Value::as_object_mut) {
        requirements.remove("default");
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.push("requirements".into());
    }
}

/// Comparisons need a number.
pub fn number_rule() -> Value {
    rule(
        "self.all(x, x.operator in ['Gt', 'Lt', 'Gte', 'Lte'] ? (x.values.size() == 1 && int(x.values[0]) >= 0) : true)",
        "requirements operator 'Gt', 'Lt', 'Gte', or 'Lte' must have a single positive integer value",
    )
}

/// The template of a pool, beyond what holds for every claim.
pub(super) fn template_rules() -> [Value; 3] {
    let immutable = |field: &str| {
        json!({
            "rule": format!("self.nodeClassRef.{field} == oldSelf.nodeClassRef.{field}"),
            "message": format!("nodeClassRef.{field} is immutable"),
            "fieldPath": ".nodeClassRef",
        })
    };
    let node_pool = restricted::NODE_POOL;
    let own_label = json!({
        "rule": format!("self.requirements.all(x, x.key != {node_pool:?})"),
        "message": format!("label {node_pool:?} is restricted"),
        "fieldPath": ".requirements",
    });
    [immutable("group"), immutable("kind"), own_label]
}

/// The budgets of a pool.
pub(super) fn budget_rules() -> [Value; 1] {
    [rule("self.all(x, has(x.schedule) == has(x.duration))", "'schedule' must be set with 'duration'")]
}

/// The reasons that a budget holds for.
pub(super) fn reasons(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 50,
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "enum": DISRUPTION_REASONS},
    })
}
