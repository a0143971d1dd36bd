//! What pools say, read: their requirements and limits.

use super::BuildError;
use crate::kubernetes::NodePool;
use crate::kubernetes::quantity::parse_units;
use crate::kubernetes::requirements::Requirement;

/// Whether a pool can be planned with. One that can't be is to be left out: the planner refuses all of its question else.
///
/// # Errors
/// The field that can't be understood, and why.
pub fn check_pool(pool: &NodePool) -> Result<(), BuildError> {
    requirements(pool)?;
    limits(pool).map(drop)
}

/// How a pool is called in errors.
pub(super) fn object(pool: &NodePool) -> String {
    format!("NodePool {}", pool.metadata.name.as_deref().unwrap_or_default())
}

/// What a pool requires of its nodes.
pub(super) fn requirements(pool: &NodePool) -> Result<Vec<Requirement>, BuildError> {
    let read = pool.spec.template.spec.requirements.iter().map(|one| {
        Requirement::try_from(one)
            .map_err(|error| BuildError::new(&object(pool), format!("spec.template.spec.requirements: {error}")))
    });
    read.collect()
}

/// What all nodes of a pool may have, by resource.
pub(super) fn limits(pool: &NodePool) -> Result<Vec<(String, i64)>, BuildError> {
    let read = pool.spec.limits.iter().flatten().map(|(resource, limit)| {
        let amount = parse_units(resource, &limit.0)
            .map_err(|error| BuildError::new(&object(pool), format!("spec.limits.{resource}: {error}")))?;
        Ok((resource.clone(), amount))
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn problem(requirement: Value, limit: &str) -> Option<String> {
        let spec = json!({"limits": {"cpu": limit}, "template": {"spec": {"requirements": [requirement]}}});
        let pool = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
        check_pool(&pool).err().map(|error| error.to_string())
    }

    #[test]
    fn a_pool_that_means_nothing_is_told_apart() {
        let one = |operator: &str, values: Value| json!({"key": "disk", "operator": operator, "values": values});
        for (operator, values) in [("Exists", json!([])), ("Exists", json!(["ssd"])), ("NotIn", json!([]))] {
            assert_eq!(problem(one(operator, values), "10"), None, "{operator}");
        }
        assert_eq!(
            problem(one("In", json!([])), "10").unwrap(),
            "NodePool p: spec.template.spec.requirements: key disk: operator In needs at least one value"
        );
        assert!(problem(one("Exists", json!([])), "many").unwrap().starts_with("NodePool p: spec.limits.cpu: "));
    }
}
