//! Node pools: the rules of the `karpenter.sh/v1` custom resource definition.
//!
//! <https://karpenter.sh/docs/concepts/nodepools/>.

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::CSINode;
use supercargo_models::kubernetes::schema::{CONSOLIDATION_POLICIES, DISRUPTION_REASONS};
use supercargo_models::kubernetes::{Budget, NodeClaim, NodePool, NodeSelectorRequirementWithMinValues, restricted};

use super::names::{label_key, label_value, labels};
use super::path::{Checked, Path};
use super::resources::amounts;
use super::scheduling::taints;

/// Checks a node pool.
pub(crate) fn node_pool(pool: &NodePool) -> Checked {
    let root = Path::ROOT;
    let spec = root.key("spec");
    let template = spec.key("template");
    let metadata = template.key("metadata");
    let made = pool.spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    labels(made, &metadata.key("labels"))?;
    if made.is_some_and(|labels| labels.len() > 100) {
        return metadata.key("labels").fail("has more than 100 entries");
    }
    for key in made.into_iter().flatten().map(|(key, _)| key) {
        reserved_key(key, &metadata.key("labels").key(key))?;
    }
    let inner = template.key("spec");
    let claim = &pool.spec.template.spec;
    if claim.requirements.len() > 100 {
        return inner.key("requirements").fail("has more than 100 entries");
    }
    for (index, requirement) in claim.requirements.iter().enumerate() {
        pool_requirement(requirement, &inner.key("requirements").index(index))?;
    }
    if let Some(reference) = &claim.node_class_ref {
        let path = inner.key("nodeClassRef");
        for (field, text) in [("group", &reference.group), ("kind", &reference.kind), ("name", &reference.name)] {
            if text.is_empty() {
                return path.key(field).fail("is empty");
            }
        }
        if reference.group.contains('/') {
            return path.key("group").fail(format!("{:?} is not a group (leave out the version)", reference.group));
        }
    }
    taints(claim.taints.as_deref(), &inner.key("taints"))?;
    taints(claim.startup_taints.as_deref(), &inner.key("startupTaints"))?;
    duration(claim.expire_after.as_deref(), true, &inner.key("expireAfter"))?;
    duration(claim.termination_grace_period.as_deref(), false, &inner.key("terminationGracePeriod"))?;
    if let Some(weight) = pool.spec.weight
        && !(1..=100).contains(&weight)
    {
        return spec.key("weight").fail(format!("{weight} is not in the range 1 to 100"));
    }
    if let Some(replicas) = pool.spec.replicas {
        if replicas < 0 {
            return spec.key("replicas").fail(format!("{replicas} is negative"));
        }
        if pool.spec.weight.is_some() {
            return spec.key("weight").fail("is not for pools with replicas");
        }
        if let Some(resource) =
            pool.spec.limits.iter().flatten().map(|(resource, _)| resource).find(|name| *name != "nodes")
        {
            return spec.key("limits").key(resource).fail("is not for pools with replicas; nodes is");
        }
    }
    amounts(pool.spec.limits.as_ref(), &spec.key("limits"))?;
    if let Some(disruption) = &pool.spec.disruption {
        let path = spec.key("disruption");
        duration(disruption.consolidate_after.as_deref(), true, &path.key("consolidateAfter"))?;
        if let Some(policy) = &disruption.consolidation_policy
            && !CONSOLIDATION_POLICIES.contains(&policy.as_str())
        {
            return path
                .key("consolidationPolicy")
                .fail(format!("{policy:?} is not one of WhenEmpty, WhenEmptyOrUnderutilized and Balanced"));
        }
        if disruption.budgets.as_ref().is_some_and(|budgets| budgets.len() > 50) {
            return path.key("budgets").fail("has more than 50 entries");
        }
        for (index, entry) in disruption.budgets.iter().flatten().enumerate() {
            budget(entry, &path.key("budgets").index(index))?;
        }
    }
    Ok(())
}

/// Labels that are set on each node, one value a node or a pool.
fn reserved_key(key: &str, path: &Path<'_>) -> Checked {
    if [restricted::NODE_POOL, restricted::HOST_NAME].contains(&key) {
        return path.fail(format!("{key} is set on each node and cannot be chosen by a pool"));
    }
    Ok(())
}

/// Checks that a pool chooses no label of a restricted domain.
pub(crate) fn restricted_domains(pool: &NodePool) -> Checked {
    let check = |key: &str, path: &Path<'_>| match restricted::domain(key) {
        Some(domain) => path.fail(format!("{key} cannot be chosen: the label domain {domain} is restricted")),
        None => Ok(()),
    };
    let root = Path::ROOT;
    let (spec, template) = (root.key("spec"), &pool.spec.template);
    let path = spec.key("template");
    let labels = template.metadata.iter().flat_map(|metadata| metadata.labels.iter().flatten());
    for (key, _) in labels {
        check(key, &path.key("metadata").key("labels").key(key))?;
    }
    for (index, requirement) in template.spec.requirements.iter().enumerate() {
        check(&requirement.key, &path.key("spec").key("requirements").index(index).key("key"))?;
    }
    Ok(())
}

fn pool_requirement(requirement: &NodeSelectorRequirementWithMinValues, path: &Path<'_>) -> Checked {
    reserved_key(&requirement.key, &path.key("key"))?;
    let values = requirement.values.as_deref().unwrap_or_default();
    let operator = requirement.operator.as_str();
    offering_requirement(&requirement.key, operator, values, path)?;
    if let Some(minimum) = requirement.min_values {
        let path = path.key("minValues");
        if !(1..=50).contains(&minimum) {
            return path.fail(format!("{minimum} is not in the range 1 to 50"));
        }
        if operator == "In" && (minimum as usize) > values.len() {
            return path.fail(format!("{minimum} is more than the {} values that In allows", values.len()));
        }
    }
    Ok(())
}

/// Checks key, operator and values of a requirement on an offering.
pub(super) fn offering_requirement(key: &str, operator: &str, values: &[String], path: &Path<'_>) -> Checked {
    label_key(key, &path.key("key"))?;
    let list = path.key("values");
    match operator {
        "In" if values.is_empty() => return list.fail("operator In needs at least one value"),
        // `Exists` and `DoesNotExist` pass over values; what no label can be is refused of them, too.
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {
            for (index, value) in values.iter().enumerate() {
                label_value(value, &list.index(index))?;
            }
        }
        "Gt" | "Lt" | "Gte" | "Lte" => match values {
            [value] if value.bytes().all(|byte| byte.is_ascii_digit()) && value.parse::<i64>().is_ok() => {}
            [value] => {
                return list
                    .index(0)
                    .fail(format!("operator {operator} needs an integer not below 0, and {value:?} is none"));
            }
            _ => return list.fail(format!("operator {operator} needs exactly one value")),
        },
        _ => {
            return path
                .key("operator")
                .fail(format!("{operator:?} is not one of In, NotIn, Exists, DoesNotExist, Gt, Lt, Gte and Lte"));
        }
    }
    Ok(())
}

/// `30s`, `1h30m`, and `Never` where that is allowed.
fn duration(text: Option<&str>, never: bool, path: &Path<'_>) -> Checked {
    let Some(text) = text else { return Ok(()) };
    if (never && text == "Never") || is_duration(text) {
        return Ok(());
    }
    let problem = format!("{text:?} is not a duration");
    Err(path.fault(problem).with_fix(if never { "such as 30s, 1h30m or Never" } else { "such as 30s or 1h30m" }))
}

fn is_duration(text: &str) -> bool {
    let mut digits = 0;
    for character in text.chars() {
        match character {
            '0'..='9' => digits += 1,
            's' | 'm' | 'h' if digits > 0 => digits = 0,
            _ => return false,
        }
    }
    !text.is_empty() && digits == 0
}

fn budget(budget: &Budget, path: &Path<'_>) -> Checked {
    let valid = match budget.nodes.strip_suffix('%') {
        Some(percent) => {
            percent.bytes().all(|byte| byte.is_ascii_digit())
                && percent.parse::<u32>().is_ok_and(|percent| percent <= 100)
        }
        None => !budget.nodes.is_empty() && budget.nodes.bytes().all(|byte| byte.is_ascii_digit()),
    };
    if !valid {
        return path.key("nodes").fail(format!("{:?} is neither a count nor a percentage up to 100%", budget.nodes));
    }
    if budget.schedule.is_some() != budget.duration.is_some() {
        return path.fail("schedule and duration go together");
    }
    if let Some(schedule) = &budget.schedule
        && !is_schedule(schedule)
    {
        let fault = path.key("schedule").fault(format!("{schedule:?} is not a schedule"));
        return Err(fault.with_fix("such as '0 9 * * mon-fri' or @daily"));
    }
    if let Some(duration) = &budget.duration
        && !is_budget_duration(duration)
    {
        let fault = path.key("duration").fault(format!("{duration:?} is not a duration in hours and minutes"));
        return Err(fault.with_fix("such as 8h or 1h30m"));
    }
    for (index, reason) in budget.reasons.iter().flatten().enumerate() {
        if !DISRUPTION_REASONS.contains(&reason.as_str()) {
            let problem = format!("{reason:?} is not one of Underutilized, Empty, Drifted and Unhealthy");
            return path.key("reasons").index(index).fail(problem);
        }
        if budget.reasons.iter().flatten().take(index).any(|earlier| earlier == reason) {
            return path.key("reasons").index(index).fail(format!("{reason} is there twice"));
        }
    }
    Ok(())
}

/// Five fields, or a name for them.
fn is_schedule(text: &str) -> bool {
    const NAMES: [&str; 7] = ["annually", "yearly", "monthly", "weekly", "daily", "midnight", "hourly"];
    match text.strip_prefix('@') {
        Some(name) => NAMES.contains(&name),
        None => text.split_whitespace().count() == 5,
    }
}

/// Hours, minutes or both, with the `0s` that Go writes after them.
fn is_budget_duration(text: &str) -> bool {
    let text = text.strip_suffix("0s").unwrap_or(text);
    let parts: Vec<&str> = text.split_inclusive(['h', 'm']).collect();
    let units: String = parts.iter().filter_map(|part| part.chars().last()).collect();
    is_duration(text) && ["h", "m", "hm"].contains(&units.as_str())
}

/// Checks a machine that was ordered.
pub(crate) fn node_claim(claim: &NodeClaim) -> Checked {
    let root = Path::ROOT;
    let status = root.key("status");
    amounts(claim.status.allocatable.as_ref(), &status.key("allocatable"))?;
    amounts(claim.status.capacity.as_ref(), &status.key("capacity"))?;
    let spec = root.key("spec");
    taints(claim.spec.taints.as_deref(), &spec.key("taints"))?;
    taints(claim.spec.startup_taints.as_deref(), &spec.key("startupTaints"))
}

/// Checks a node that is there.
pub(crate) fn node(node: &Node) -> Checked {
    let root = Path::ROOT;
    let status = root.key("status");
    if let Some(found) = &node.status {
        amounts(found.allocatable.as_ref(), &status.key("allocatable"))?;
        amounts(found.capacity.as_ref(), &status.key("capacity"))?;
    }
    let spec = root.key("spec");
    taints(node.spec.as_ref().and_then(|spec| spec.taints.as_deref()), &spec.key("taints"))
}

/// Checks what the volume drivers of a node say.
pub(crate) fn csi_node(node: &CSINode) -> Checked {
    let spec = Path::ROOT.key("spec");
    let list = spec.key("drivers");
    for (index, driver) in node.spec.drivers.iter().enumerate() {
        if let Some(count) = driver.allocatable.as_ref().and_then(|most| most.count).filter(|count| *count < 0) {
            return list.index(index).key("allocatable").key("count").fail(format!("{count} is negative"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_hold_for_hours_and_minutes() {
        for text in ["8h", "30m", "1h30m", "1h0s", "1h30m0s"] {
            assert!(is_budget_duration(text), "{text}");
        }
        for text in ["", "10s", "1m1h", "1h30s", "h", "1d", "0s"] {
            assert!(!is_budget_duration(text), "{text}");
        }
    }

    #[test]
    fn schedules() {
        assert!(is_schedule("@daily") && is_schedule("0 9 * * mon-fri"));
        assert!(!is_schedule("@noon") && !is_schedule("0 9 * *") && !is_schedule(""));
    }

    #[test]
    fn durations() {
        for text in ["0s", "30s", "1h30m", "720h"] {
            assert!(is_duration(text), "{text}");
        }
        for text in ["", "30", "s", "1d", "1.5h", "-1s", "Never"] {
            assert!(!is_duration(text), "{text}");
        }
    }
}
