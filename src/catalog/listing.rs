//! Instance types as rows: what passes a filter, sorted, with what it costs.

use std::cmp::Ordering;

use supercargo_models::catalog::{Catalog, InstanceType, Offering};

use super::Filter;
use super::filter::{price_per_gib, price_per_vcpu};

/// By what a listing is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SortKey {
    /// The cheapest offering first.
    #[default]
    Price,
    /// The fewest virtual CPUs first.
    Vcpu,
    /// The least memory first.
    Memory,
    /// The cheapest virtual CPU first.
    PricePerVcpu,
    /// The cheapest GiB of memory first.
    PricePerGib,
    /// By name, sizes by number.
    Name,
}

/// An instance type whose offerings are those that pass a filter, cheapest first; at least one.
#[derive(Clone, Debug)]
pub struct Row {
    /// The type.
    pub instance: InstanceType,
}

impl Row {
    /// The cheapest offering of a capacity type.
    pub fn cheapest_of(&self, capacity_type: &str) -> Option<&Offering> {
        self.instance.offerings.iter().find(|offering| offering.capacity_type == capacity_type)
    }

    /// Dollars an hour of the cheapest offering.
    pub fn price(&self) -> f64 {
        self.of_cheapest(|_, offering| offering.price)
    }

    /// Dollars an hour of one virtual CPU of the cheapest offering.
    pub fn price_per_vcpu(&self) -> f64 {
        self.of_cheapest(price_per_vcpu)
    }

    /// Dollars an hour of one GiB of the cheapest offering.
    pub fn price_per_gib(&self) -> f64 {
        self.of_cheapest(price_per_gib)
    }

    /// Zones of the offerings, sorted.
    pub fn zones(&self) -> Vec<&str> {
        let mut zones: Vec<&str> = self.instance.offerings.iter().map(|offering| offering.zone.as_str()).collect();
        zones.sort_unstable();
        zones.dedup();
        zones
    }

    fn of_cheapest(&self, figure: impl Fn(&InstanceType, &Offering) -> f64) -> f64 {
        self.instance.offerings.first().map_or(f64::INFINITY, |offering| figure(&self.instance, offering))
    }
}

/// The instance types of which an offering passes the filter, sorted.
pub fn rows(catalog: &Catalog, filter: &Filter, sort: SortKey, reverse: bool) -> Vec<Row> {
    let mut rows: Vec<Row> = catalog
        .instance_types
        .iter()
        .filter_map(|instance| {
            let passes = |offering: &&Offering| filter.admits(&catalog.region, instance, offering);
            let mut offerings: Vec<Offering> = instance.offerings.iter().filter(passes).cloned().collect();
            offerings
                .sort_by(|left, right| left.price.total_cmp(&right.price).then_with(|| left.zone.cmp(&right.zone)));
            (!offerings.is_empty()).then(|| Row { instance: InstanceType { offerings, ..instance.clone() } })
        })
        .collect();
    rows.sort_by(|left, right| {
        let order = compare(left, right, sort);
        let order = if reverse { order.reverse() } else { order };
        order.then_with(|| by_name(&left.instance.name, &right.instance.name))
    });
    rows
}

fn compare(left: &Row, right: &Row, sort: SortKey) -> Ordering {
    match sort {
        SortKey::Price => left.price().total_cmp(&right.price()),
        SortKey::Vcpu => left.instance.vcpu.cmp(&right.instance.vcpu),
        SortKey::Memory => left.instance.memory_mib.cmp(&right.instance.memory_mib),
        SortKey::PricePerVcpu => left.price_per_vcpu().total_cmp(&right.price_per_vcpu()),
        SortKey::PricePerGib => left.price_per_gib().total_cmp(&right.price_per_gib()),
        SortKey::Name => by_name(&left.instance.name, &right.instance.name),
    }
}

/// Families by letter, sizes by number: `m5.2xlarge` before `m5.12xlarge`.
fn by_name(left: &str, right: &str) -> Ordering {
    fn key(name: &str) -> (&str, u32, &str) {
        let (family, size) = name.split_once('.').unwrap_or((name, ""));
        let digits = size.bytes().take_while(u8::is_ascii_digit).count();
        (family, size[..digits].parse().unwrap_or(0), size)
    }
    key(left).cmp(&key(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_sorted_by_number() {
        let mut names = ["m5.12xlarge", "m5.2xlarge", "m5.large", "c5.metal"];
        names.sort_by(|left, right| by_name(left, right));
        assert_eq!(names, ["c5.metal", "m5.large", "m5.2xlarge", "m5.12xlarge"]);
    }
}
