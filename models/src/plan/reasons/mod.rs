//! Why a pod has no place, in words, with the nearest fix.

mod barren;
mod size;

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::InstanceType;
use crate::kubernetes::quantity::describe;
use crate::kubernetes::requirements::Requirement;
use crate::kubernetes::taints;
use crate::problem::build::{Built, Draft, Form, Host, Model, OS, Owned, label};
use crate::problem::{BinSource, Problem, Solution};

/// Why no bin admits a shape.
pub(crate) fn no_bin(draft: &Draft, shape: usize) -> String {
    let model = draft.model;
    let form = draft.form(shape);
    if draft.existing_only {
        return "no node that is there can hold it".to_owned();
    }
    if model.market.variants.is_empty() {
        return "no NodePool may buy nodes for it, and no node that is there can hold it; add a NodePool".to_owned();
    }
    if model.market.hosts.is_empty() {
        return barren::all(model);
    }
    let reason = labels(model, form)
        .or_else(|| tolerations(model, form))
        .or_else(|| size::size(model, form))
        .or_else(|| limit(draft, form))
        .or_else(|| flexibility(model, form))
        .unwrap_or_else(|| rules(form, model));
    match barren::in_the_way(model, form) {
        Some(barren) => format!("{reason}; {barren}"),
        None => reason,
    }
}

/// No offering has the labels.
fn labels(model: &Model, form: &Form) -> Option<String> {
    let wanted: BTreeSet<usize> = form.admissions.iter().map(|index| model.reading.admissions[*index].labels).collect();
    if model.market.classes.iter().any(|class| wanted.iter().all(|index| class.labels.contains(*index))) {
        return None;
    }
    let satisfied =
        |one: &Requirement| model.market.hosts.iter().any(|host| one.matches(model.host_label(host, &one.key)));
    let requirements = wanted.iter().map(|index| &model.reading.labels[*index]);
    for conjunct in requirements.clone().flat_map(|requirements| &requirements.all_of) {
        if let [term] = conjunct.as_slice()
            && let Some(alone) = term.iter().find(|one| !satisfied(one))
        {
            return Some(other_system(model, alone).unwrap_or_else(|| format!(
                "node selector {} matches no pool; add the label to a pool's template, or widen the pool's requirements",
                alone.describe()
            )));
        }
    }
    let all: Vec<_> = requirements.map(|requirements| requirements.describe()).collect();
    Some(format!("no offering of any pool satisfies its node selector and affinity at once: {}", all.join(" and ")))
}

/// An operating system is asked for that no machine of the catalogue has.
fn other_system(model: &Model, one: &Requirement) -> Option<String> {
    let none = BTreeMap::new();
    let known = |instance: &InstanceType| one.matches(label(model.catalog, &none, instance, None, OS));
    if one.key != OS || model.catalog.instance_types.iter().any(known) {
        return None;
    }
    Some(format!(
        "no offering of the catalogue has {}; let it run on another system, or give offerings that do with --catalog",
        one.describe()
    ))
}

/// All pools with the labels are tainted.
fn tolerations(model: &Model, form: &Form) -> Option<String> {
    let mut away = BTreeSet::new();
    for class in &model.market.classes {
        let variant = &model.market.variants[class.variant];
        let admissions = form.admissions.iter().map(|index| &model.reading.admissions[*index]);
        if !admissions.clone().all(|admission| class.labels.contains(admission.labels)) {
            continue;
        }
        let taint = admissions
            .filter_map(|one| taints::untolerated(&variant.taints, &model.reading.tolerations[one.tolerations]))
            .next();
        match taint {
            Some(taint) => away.insert((taints::describe(taint), variant.name.clone())),
            None => return None,
        };
    }
    let list: Vec<_> = away.into_iter().map(|(taint, pool)| format!("taint {taint} of pool {pool}")).collect();
    Some(format!("{} is not tolerated; add a toleration to the pod", list.join(", ")))
}

/// The limits of the pools are below the smallest node that would do.
fn limit(draft: &Draft, form: &Form) -> Option<String> {
    let holding =
        |index: &&usize| draft.model.protos[**index].holds(form) && draft.model.protos[**index].weight.is_some();
    let mut found = None;
    for index in draft.protos.iter().filter(holding) {
        let over =
            draft.model.protos[*index].takes.iter().find(|(budget, take)| *take > draft.model.budgets[*budget].left);
        let budget = &draft.model.budgets[over?.0];
        found = Some(format!(
            "limit {} {} of pool {} leaves no room for a node that holds it; raise the limit",
            budget.resource,
            describe(&budget.resource, budget.stated),
            budget.pool
        ));
    }
    found
}

/// Each pool that would hold it wants more offerings to choose from than there are.
fn flexibility(model: &Model, form: &Form) -> Option<String> {
    let mut found = None;
    for variant in &model.market.variants {
        let of_pool = |host: &&Host| model.market.variants[host.variant as usize].pool == variant.pool;
        let hosts: Vec<&Host> =
            model.market.hosts.iter().filter(of_pool).filter(|host| model.market.holds(host, form)).collect();
        if hosts.is_empty() {
            continue;
        }
        let values = |key: &str| {
            let all: BTreeSet<&str> = hosts.iter().filter_map(|host| model.host_label(host, key)).collect();
            all.len()
        };
        let (key, least) = variant.least_values.iter().find(|(key, least)| values(key) < *least as usize)?;
        let verb = if values(key) == 1 { "is" } else { "are" };
        found = Some(format!(
            "pool {} wants {least} values of {key} among the offerings that could hold it (minValues), and there {verb} \
             {}; lower minValues or allow more offerings",
            variant.name,
            values(key)
        ));
    }
    found
}

/// Its own rules leave no place.
fn rules(form: &Form, model: &Model) -> String {
    let all: Vec<_> = form.owned.iter().map(|owned| rule(owned, model)).collect();
    if all.is_empty() {
        return "pods on the nodes that are there keep it away by their anti-affinity".to_owned();
    }
    format!("{} leaves no place for it; relax the rule, or allow its label's values in a pool", all.join(", "))
}

fn rule(owned: &Owned, model: &Model) -> String {
    let (name, key, pods) = match owned {
        Owned::Spread { key, pods, .. } => ("topology spread", key, pods),
        Owned::Together { key, pods } => ("required pod affinity", key, pods),
        Owned::Apart { key, pods } => ("required pod anti-affinity", key, pods),
    };
    format!("{name} on {key} ({})", model.reading.pod_sets[*pods].describe())
}

/// Why a shape that some bin admits was left without a place by a solution.
pub(crate) fn unplaced(model: &Model, built: &Built, solution: &Solution, shape: usize) -> String {
    let problem = &built.problem;
    if let Some(reason) = used_up(problem, solution, shape) {
        return reason;
    }
    let rules = &problem.rules;
    let spread = rules.spreads.iter().find(|row| row.owners.contains(shape));
    if let Some(row) = spread {
        return format!(
            "{}: a domain that counts can take no more pods, and maxSkew {} allows no more elsewhere; raise maxSkew or make room there",
            row.name, row.max_skew
        );
    }
    let names = rules
        .domain_caps
        .iter()
        .filter(|row| row.members.contains(shape))
        .map(|row| &row.name)
        .chain(
            rules
                .domain_exclusives
                .iter()
                .filter(|row| row.left.contains(shape) || row.right.contains(shape))
                .map(|row| &row.name),
        )
        .chain(rules.domain_togethers.iter().filter(|row| row.members.contains(shape)).map(|row| &row.name))
        .chain(rules.node_togethers.iter().filter(|row| row.members.contains(shape)).map(|row| &row.name))
        .chain(rules.node_caps.iter().filter(|row| row.members.contains(shape)).map(|row| &row.name))
        .chain(rules.node_spreads.iter().filter(|row| row.owners.contains(shape)).map(|row| &row.name));
    let names: BTreeSet<&String> = names.collect();
    if let Some(name) = names.first() {
        return format!("{name}: no domain is left for it; relax the rule or allow more zones");
    }
    let for_sale =
        problem.bins.iter().any(|bin| matches!(bin.source, BinSource::Offering(_)) && bin.admits.contains(shape));
    if for_sale {
        let form = &model.forms[built.parts[shape].form];
        return format!("no plan for {} was found in the time given; raise --time-budget", form.name);
    }
    "the nodes that are there are full, and no pool can buy a node for it; widen a pool".to_owned()
}

/// A pool's limit that has no room for any of the shape's nodes.
fn used_up(problem: &Problem, solution: &Solution, shape: usize) -> Option<String> {
    problem.rules.node_budgets.iter().find_map(|budget| {
        let taken: i64 = solution
            .nodes
            .iter()
            .map(|(pattern, copies)| {
                budget.per_node.get(&(pattern.bin as usize)).copied().unwrap_or(0) * i64::from(*copies)
            })
            .sum();
        let least = budget
            .per_node
            .iter()
            .filter(|(bin, _)| problem.bins[**bin].admits.contains(shape))
            .map(|(_, take)| *take)
            .min()?;
        (taken + least > budget.limit).then(|| format!("{} is used up; raise the limit", budget.name))
    })
}
