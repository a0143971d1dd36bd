//! Whether a catalogue makes sense before anything is planned with it.

use std::collections::BTreeSet;

use super::allocatable::stated_amount;
use super::{Catalog, CatalogError, InstanceType, Offering};

/// Dollars an hour above which a price is a mistake; below it, billionths of a dollar fit an integer many times over.
const DEAREST: f64 = 1e6;
/// Highest interruption band.
const LAST_BAND: u8 = 4;
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];
const CAPACITY_TYPES: [&str; 3] = ["on-demand", "spot", "reserved"];

/// Checks what the form of the file alone doesn't say: names that are there once, known zones, prices that are prices.
///
/// # Errors
/// The first thing that is wrong, with the path of its field.
pub fn check(catalog: &Catalog) -> Result<(), CatalogError> {
    if catalog.instance_types.is_empty() {
        return Err(wrong("instanceTypes".to_owned(), "at least one instance type", "an empty list"));
    }
    let mut zones = BTreeSet::new();
    for (index, zone) in catalog.zones.iter().enumerate() {
        if zone.is_empty() {
            return Err(wrong(format!("zones[{index}]"), "the name of a zone", "an empty text"));
        }
        if !zones.insert(zone.as_str()) {
            return Err(CatalogError::Duplicate { field: format!("zones[{index}]"), found: zone.clone() });
        }
    }
    let mut names = BTreeSet::new();
    for (index, instance) in catalog.instance_types.iter().enumerate() {
        let path = || format!("instanceTypes[{index}] ({})", instance.name);
        if instance.name.is_empty() {
            return Err(wrong(format!("instanceTypes[{index}].name"), "a name", "an empty text"));
        }
        if !names.insert(instance.name.as_str()) {
            return Err(CatalogError::Duplicate {
                field: format!("instanceTypes[{index}].name"),
                found: instance.name.clone(),
            });
        }
        check_instance(instance, path)?;
        let mut sold: Vec<(&str, &str)> = Vec::with_capacity(instance.offerings.len());
        for (place, offering) in instance.offerings.iter().enumerate() {
            let path = || format!("{}.offerings[{place}]", path());
            check_offering(offering, &zones, path)?;
            let key = (offering.zone.as_str(), offering.capacity_type.as_str());
            if offering.capacity_type != "reserved" && sold.contains(&key) {
                return Err(CatalogError::Duplicate { field: path(), found: format!("{} in {}", key.1, key.0) });
            }
            sold.push(key);
        }
    }
    Ok(())
}

fn check_instance(instance: &InstanceType, path: impl Fn() -> String) -> Result<(), CatalogError> {
    if !ARCHITECTURES.contains(&instance.arch.as_str()) {
        return Err(wrong(format!("{}.arch", path()), "amd64 or arm64", &instance.arch));
    }
    if let Some(label) = instance.labels.get("kubernetes.io/arch").filter(|label| **label != instance.arch) {
        return Err(wrong(
            format!("{}.labels.kubernetes.io/arch", path()),
            &format!("{} as in arch", instance.arch),
            label,
        ));
    }
    if instance.vcpu == 0 || instance.vcpu > 1 << 20 {
        return Err(wrong(format!("{}.vcpu", path()), "from 1 to 1048576", &instance.vcpu.to_string()));
    }
    if instance.memory_mib == 0 || instance.memory_mib > 1 << 40 {
        return Err(wrong(format!("{}.memoryMiB", path()), "from 1 to 2^40", &instance.memory_mib.to_string()));
    }
    for (resource, value) in instance.allocatable.iter().flatten() {
        stated_amount(&instance.name, resource, value)?;
    }
    Ok(())
}

fn check_offering(offering: &Offering, zones: &BTreeSet<&str>, path: impl Fn() -> String) -> Result<(), CatalogError> {
    if !zones.contains(offering.zone.as_str()) {
        let known = zones.iter().copied().collect::<Vec<_>>().join(", ");
        return Err(wrong(
            format!("{}.zone", path()),
            &format!("one of the catalogue's zones ({known})"),
            &offering.zone,
        ));
    }
    if !CAPACITY_TYPES.contains(&offering.capacity_type.as_str()) {
        return Err(wrong(format!("{}.capacityType", path()), "on-demand, spot or reserved", &offering.capacity_type));
    }
    if !(0.0..=DEAREST).contains(&offering.price) {
        return Err(wrong(
            format!("{}.price", path()),
            "dollars an hour from 0 to 1000000",
            &offering.price.to_string(),
        ));
    }
    if let Some(band) = offering.interruption.filter(|band| *band > LAST_BAND) {
        return Err(wrong(format!("{}.interruption", path()), "a band from 0 to 4", &band.to_string()));
    }
    Ok(())
}

fn wrong(field: String, needed: &str, found: &str) -> CatalogError {
    let found = if found.is_empty() { "an empty text".to_owned() } else { found.chars().take(60).collect() };
    CatalogError::Field { field, needed: needed.to_owned(), found }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn catalog() -> Catalog {
        let offering = |capacity_type: &str| Offering {
            zone: "us-east-1a".to_owned(),
            capacity_type: capacity_type.to_owned(),
            price: 0.096,
            ..Offering::default()
        };
        Catalog {
            region: "us-east-1".to_owned(),
            as_of: "2026-07-20".to_owned(),
            zones: vec!["us-east-1a".to_owned()],
            instance_types: vec![InstanceType {
                name: "m5.large".to_owned(),
                arch: "amd64".to_owned(),
                vcpu: 2,
                memory_mib: 8192,
                max_pods: 29,
                offerings: vec![offering("on-demand"), offering("spot")],
                ..InstanceType::default()
            }],
        }
    }

    fn message(change: impl Fn(&mut Catalog)) -> String {
        let mut catalog = catalog();
        change(&mut catalog);
        check(&catalog).unwrap_err().to_string()
    }

    #[test]
    fn a_catalogue_that_makes_sense() {
        check(&catalog()).unwrap();
    }

    #[test]
    fn an_error_names_type_and_field() {
        let offering = "instanceTypes[0] (m5.large).offerings[1]";
        assert_eq!(
            message(|catalog| catalog.instance_types[0].offerings[1].price = -0.1),
            format!("{offering}.price: dollars an hour from 0 to 1000000 is needed, not -0.1")
        );
        assert!(message(|catalog| catalog.instance_types[0].offerings[1].price = f64::NAN).contains(".price: "));
        assert!(message(|catalog| catalog.instance_types[0].offerings[1].price = f64::INFINITY).contains(".price: "));
        assert_eq!(
            message(|catalog| catalog.instance_types[0].offerings[1].zone = "eu-west-1a".to_owned()),
            format!("{offering}.zone: one of the catalogue's zones (us-east-1a) is needed, not eu-west-1a")
        );
        assert!(
            message(|catalog| catalog.instance_types[0].offerings[1].capacity_type = "free".to_owned())
                .starts_with(&format!("{offering}.capacityType: "))
        );
        assert!(
            message(|catalog| catalog.instance_types[0].offerings[1].interruption = Some(9)).contains("interruption")
        );
        assert!(message(|catalog| catalog.instance_types[0].arch = "riscv64".to_owned()).contains("(m5.large).arch"));
        assert!(message(|catalog| catalog.instance_types[0].vcpu = 0).contains("(m5.large).vcpu"));
        assert!(message(|catalog| catalog.instance_types[0].memory_mib = 0).contains("(m5.large).memoryMiB"));
        assert!(message(|catalog| catalog.instance_types.clear()).starts_with("instanceTypes: "));
    }

    #[test]
    fn nothing_is_there_twice() {
        let twice = message(|catalog| catalog.instance_types.push(catalog.instance_types[0].clone()));
        assert_eq!(twice, "instanceTypes[1].name: m5.large is there twice");
        let twice = message(|catalog| catalog.instance_types[0].offerings[1].capacity_type = "on-demand".to_owned());
        assert_eq!(twice, "instanceTypes[0] (m5.large).offerings[1]: on-demand in us-east-1a is there twice");
        assert_eq!(
            message(|catalog| catalog.zones.push("us-east-1a".to_owned())),
            "zones[1]: us-east-1a is there twice"
        );
    }
}
