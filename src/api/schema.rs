//! Schemas of Kubernetes' own types, where ours hold them.

use schemars::{Schema, SchemaGenerator, json_schema};
use supercargo_models::kubernetes::schema::LABEL_KEY;

/// Conditions, merged by their type.
pub(super) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    merged_by_type(unmerged_conditions(generator))
}

/// The conditions of a claim, which may leave out why.
pub(super) fn claim_conditions(_: &mut SchemaGenerator) -> Schema {
    merged_by_type(list(
        &["lastTransitionTime", "status", "type"],
        json_schema!({"maxLength": 1024, "pattern": "^([A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?|)$"}),
    ))
}

/// Conditions, replaced all together.
pub(super) fn unmerged_conditions(_: &mut SchemaGenerator) -> Schema {
    list(
        &["lastTransitionTime", "message", "reason", "status", "type"],
        json_schema!({"minLength": 1, "maxLength": 1024, "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"}),
    )
}

/// A moment.
pub(super) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// <https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#typical-status-properties>
fn list(required: &[&str], mut reason: Schema) -> Schema {
    reason.insert("type".into(), "string".into());
    reason.insert("description".into(), "Why, in one word.".into());
    json_schema!({
        "type": "array",
        "items": {
            "type": "object",
            "description": "One thing that is true of the object, or not.",
            "required": required,
            "properties": {
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "Since when the status is what it is.",
                },
                "message": {"type": "string", "maxLength": 32768, "description": "Why, in a sentence."},
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                    "description": "The generation of the object that was looked at.",
                },
                "reason": reason,
                "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it is true."},
                "type": {"type": "string", "maxLength": 316, "pattern": LABEL_KEY, "description": "What may be true."},
            },
        },
    })
}

fn merged_by_type(mut list: Schema) -> Schema {
    list.insert("x-kubernetes-list-type".into(), "map".into());
    list.insert("x-kubernetes-list-map-keys".into(), vec!["type"].into());
    list
}
