//! Pools whose requirements allow no offering: which requirement it is.

use std::collections::BTreeSet;

use crate::catalog::InstanceType;
use crate::kubernetes::requirements::Requirement;
use crate::kubernetes::taints;
use crate::problem::build::{Form, Model, OS, Variant, label};

/// Values of a label that are listed.
const FEW: usize = 8;

/// Why none of the pools has an offering.
pub(super) fn all(model: &Model) -> String {
    let mut names = BTreeSet::new();
    let variants = model.market.variants.iter().filter(|variant| names.insert(&variant.name));
    let mut reasons: Vec<String> = variants.map(|variant| reason(model, variant)).collect();
    let more = reasons.len().saturating_sub(3);
    reasons.truncate(3);
    if more > 0 {
        reasons.push(format!("and so with {more} more"));
    }
    reasons.join("; ")
}

/// A pool that would take a form if it had any offering.
pub(super) fn in_the_way(model: &Model, form: &Form) -> Option<String> {
    let variants = &model.market.variants;
    let with_offerings: BTreeSet<&str> =
        model.market.hosts.iter().map(|host| variants[host.variant as usize].name.as_str()).collect();
    let admissions: Vec<_> = form.admissions.iter().map(|one| &model.reading.admissions[*one]).collect();
    let would = |variant: &Variant| {
        let tolerated = admissions
            .iter()
            .all(|one| taints::untolerated(&variant.taints, &model.reading.tolerations[one.tolerations]).is_none());
        tolerated
            && offering(model, |instance, index| {
                let of = |key: &str| label(model.catalog, &variant.labels, instance, Some(index), key);
                admissions.iter().all(|one| model.reading.labels[one.labels].matches(&of))
            })
            .is_some()
    };
    let barren = variants.iter().find(|variant| !with_offerings.contains(variant.name.as_str()) && would(variant))?;
    Some(reason(model, barren))
}

/// Why a pool has no offering, and what would give it some.
fn reason(model: &Model, variant: &Variant) -> String {
    let name = &variant.name;
    let allowed = |requirements: &[&Requirement]| {
        offering(model, |instance, index| {
            requirements
                .iter()
                .all(|one| one.matches(label(model.catalog, &variant.labels, instance, Some(index), &one.key)))
        })
    };
    let requirements: Vec<&Requirement> = variant.requirements.iter().collect();
    if let Some(alone) = requirements.iter().find(|one| allowed(&[**one]).is_none()) {
        let wanted = alone.values.first().map_or("", String::as_str);
        let fix = match values(model, variant, &alone.key, wanted) {
            Some(values) if alone.key == OS => format!("there is {values}; give offerings of others with --catalog"),
            Some(values) => format!("change it (there is {values})"),
            None => "no offering has that label; take it out".to_owned(),
        };
        return format!(
            "pool {name} allows no offering of the catalogue: its requirement {} meets none; {fix}",
            alone.describe()
        );
    }
    if allowed(&requirements).is_some() {
        return format!("no offering of pool {name} is of a capacity type that may be bought; allow more of them");
    }
    let without = |left_out: usize| {
        let rest: Vec<&Requirement> =
            requirements.iter().enumerate().filter(|(index, _)| *index != left_out).map(|(_, one)| *one).collect();
        allowed(&rest)
    };
    let found = (0..requirements.len()).rev().find_map(|index| Some((requirements[index], without(index)?)));
    let list: Vec<String> = requirements.iter().map(|one| one.describe()).collect();
    let fix = match found {
        Some((one, (instance, index))) => {
            let offering = &instance.offerings[index];
            let example = format!("{} {} {}", instance.name, offering.zone, offering.capacity_type);
            format!("without {} there would be {example}", one.describe())
        }
        None => "relax them".to_owned(),
    };
    format!("no offering of the catalogue meets all requirements of pool {name} at once ({}); {fix}", list.join(", "))
}

/// The first offering that will do.
fn offering<'a>(model: &'a Model, will_do: impl Fn(&InstanceType, usize) -> bool) -> Option<(&'a InstanceType, usize)> {
    let all = model.catalog.instance_types.iter();
    all.flat_map(|instance| (0..instance.offerings.len()).map(move |index| (instance, index)))
        .find(|(instance, index)| will_do(instance, *index))
}

/// The values that a label has in the catalogue: from least to most where they are numbers, else those first that begin
/// most like the one that is wanted.
fn values(model: &Model, variant: &Variant, key: &str, wanted: &str) -> Option<String> {
    let mut found = BTreeSet::new();
    for instance in &model.catalog.instance_types {
        for index in 0..instance.offerings.len() {
            found.extend(label(model.catalog, &variant.labels, instance, Some(index), key));
        }
    }
    let numbers: Option<BTreeSet<i64>> = found.iter().map(|value| value.parse().ok()).collect();
    match numbers.as_ref().and_then(|numbers| Some((numbers.first()?, numbers.last()?))) {
        Some((least, most)) => Some(format!("{least} to {most}")),
        None if found.is_empty() => None,
        None => {
            let alike = |value: &str| value.bytes().zip(wanted.bytes()).take_while(|(one, other)| one == other).count();
            let mut list: Vec<&str> = found.into_iter().collect();
            list.sort_by_key(|value| std::cmp::Reverse(alike(value)));
            let more = if list.len() > FEW { ", ..." } else { "" };
            list.truncate(FEW);
            Some(format!("{}{more}", list.join(", ")))
        }
    }
}
