//! What NodeOverlays make of the offerings: other prices, more devices.
//!
//! As Karpenter does it (`pkg/controllers/nodeoverlay` of <https://github.com/kubernetes-sigs/karpenter>): overlays come
//! heaviest first and, of one weight, the later name first; the first to price an offering, or to give an instance type
//! a resource, wins. One that would change what another one of its own weight changes already is not applied at all.

use std::collections::{BTreeMap, HashMap};

use super::BuildError;
use super::market::{NODE_POOL, billionths, label, of_offering};
use crate::catalog::{Catalog, InstanceType};
use crate::kubernetes::quantity::{Resources, resources};
use crate::kubernetes::requirements::Requirement;
use crate::kubernetes::{NodeOverlay, NodePool, PriceChange};

/// A pool and an instance type, by index.
type Place = (usize, usize);

/// Why an overlay is not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverlayFault {
    /// It makes no sense.
    Invalid(BuildError),
    /// It meets another one of its own weight; in words.
    Conflict(String),
}

/// What NodeOverlays make of a catalogue.
#[derive(Clone, Debug, Default)]
pub struct Overlaid {
    /// The offerings as a pool sees them, by its name; only pools for which an overlay changes something.
    pub catalogs: BTreeMap<String, Catalog>,
    /// Which overlays are not applied, by their names.
    pub faults: BTreeMap<String, OverlayFault>,
}

/// What overlays make of a catalogue for each of these pools.
pub fn overlaid(overlays: &[NodeOverlay], pools: &[NodePool], catalog: &Catalog) -> Overlaid {
    let applied = Overlays::new(overlays, pools, catalog);
    let mut catalogs = BTreeMap::new();
    let changed = |pool: usize| {
        let mut places = applied.prices.keys().map(|(place, _)| place).chain(applied.devices.keys());
        places.any(|place| place.0 == pool)
    };
    for (index, pool) in pools.iter().enumerate().filter(|(index, _)| changed(*index)) {
        let mut catalog = catalog.clone();
        for (kind, instance) in catalog.instance_types.iter_mut().enumerate() {
            if let Some(devices) = applied.devices(index, kind) {
                *instance = with_devices(instance, devices);
            }
            for (at, offering) in instance.offerings.iter_mut().enumerate() {
                if let Some(price) = applied.price(index, kind, at) {
                    offering.price = price as f64 / 1e9;
                }
            }
        }
        catalogs.insert(pool.metadata.name.clone().unwrap_or_default(), catalog);
    }
    let faults = applied.faults.into_iter().map(|(overlay, fault)| (name(overlay).to_owned(), fault));
    Overlaid { catalogs, faults: faults.collect() }
}

/// An instance type that has devices besides, or another number of those that it has.
pub(super) fn with_devices(instance: &InstanceType, devices: &Resources) -> InstanceType {
    let mut instance = instance.clone();
    for (resource, amount) in devices {
        instance.gpus.insert(resource.clone(), u64::try_from(*amount).unwrap_or(0));
        if let Some(stated) = &mut instance.allocatable {
            stated.remove(resource);
        }
    }
    instance
}

/// The overlays that are applied, by what they change.
#[derive(Debug, Default)]
pub(super) struct Overlays<'a> {
    prices: HashMap<(Place, usize), Priced<'a>>,
    devices: HashMap<Place, Devices<'a>>,
    /// Which overlays are not applied, and why.
    pub faults: Vec<(&'a NodeOverlay, OverlayFault)>,
}

/// The price of an offering.
#[derive(Debug)]
struct Priced<'a> {
    price: i64,
    /// The lightest overlay that would have changed it.
    lightest: &'a NodeOverlay,
}

/// What an instance type has besides.
#[derive(Debug)]
struct Devices<'a> {
    amounts: Resources,
    /// The lightest overlay that gave any.
    lightest: &'a NodeOverlay,
}

/// What an overlay asks of an offering and makes of it.
struct Change<'a> {
    overlay: &'a NodeOverlay,
    of_type: Vec<Requirement>,
    of_offering: Vec<Requirement>,
    price: Option<PriceChange>,
    capacity: Resources,
}

fn weight(overlay: &NodeOverlay) -> i32 {
    overlay.spec.weight.unwrap_or(0)
}

fn name(overlay: &NodeOverlay) -> &str {
    overlay.metadata.name.as_deref().unwrap_or_default()
}

impl<'a> Overlays<'a> {
    /// Applies all that can be applied.
    pub fn new(overlays: &'a [NodeOverlay], pools: &[NodePool], catalog: &Catalog) -> Overlays<'a> {
        let mut sorted: Vec<&NodeOverlay> = overlays.iter().collect();
        sorted.sort_by_key(|overlay| std::cmp::Reverse((weight(overlay), name(overlay))));
        let labels: Vec<BTreeMap<String, String>> = pools.iter().map(labels).collect();
        let mut overlays = Overlays::default();
        for overlay in sorted {
            let applied = Change::new(overlay).and_then(|change| {
                let places = change.places(&labels, catalog);
                if let Some((other, what, (pool, instance))) =
                    places.iter().find_map(|(place, offerings)| overlays.conflict(&change, *place, offerings))
                {
                    return Ok(Some(format!(
                        "NodeOverlay {} is not applied: NodeOverlay {} of the same weight {} changes {what} of {} in \
                         NodePool {} already; give one of them another weight",
                        name(overlay),
                        name(other),
                        weight(overlay),
                        catalog.instance_types[instance].name,
                        pools[pool].metadata.name.as_deref().unwrap_or_default(),
                    )));
                }
                overlays.apply(&change, &places, catalog).map(|()| None)
            });
            match applied {
                Ok(None) => {}
                Ok(Some(words)) => overlays.faults.push((overlay, OverlayFault::Conflict(words))),
                Err(error) => overlays.faults.push((overlay, OverlayFault::Invalid(error))),
            }
        }
        overlays
    }

    /// The price of an offering in billionths of a dollar an hour, if an overlay states it.
    pub fn price(&self, pool: usize, instance: usize, offering: usize) -> Option<i64> {
        self.prices.get(&((pool, instance), offering)).map(|priced| priced.price)
    }

    /// What an instance type has besides.
    pub fn devices(&self, pool: usize, instance: usize) -> Option<&Resources> {
        self.devices.get(&(pool, instance)).map(|devices| &devices.amounts)
    }

    /// The overlay of the same weight that forbids a change at a place, and what both would change.
    fn conflict(&self, change: &Change, place: Place, offerings: &[usize]) -> Option<(&'a NodeOverlay, String, Place)> {
        let same = |other: &NodeOverlay| weight(other) == weight(change.overlay);
        if change.price.is_some() {
            let priced = offerings.iter().filter_map(|offering| self.prices.get(&(place, *offering)));
            if let Some(other) = priced.map(|priced| priced.lightest).find(|other| same(other)) {
                return Some((other, "the price".to_owned(), place));
            }
        }
        let other = self.devices.get(&place).map(|devices| devices.lightest).filter(|other| same(other))?;
        let given = other.spec.capacity.as_ref()?;
        let resource = change.capacity.keys().find(|resource| given.contains_key(*resource))?;
        Some((other, resource.clone(), place))
    }

    fn apply(
        &mut self,
        change: &Change<'a>,
        places: &[(Place, Vec<usize>)],
        catalog: &Catalog,
    ) -> Result<(), BuildError> {
        let overlay = change.overlay;
        let mut priced = Vec::new();
        for (place, offerings) in places {
            let instance = &catalog.instance_types[place.1];
            for &offering in offerings.iter().filter(|_| change.price.is_some()) {
                let before = instance.offerings[offering].price;
                let Some(price) = change.price.and_then(|change| change.apply(before)) else {
                    let problem = format!("spec.priceAdjustment: makes {} dearer than $1000000 an hour", instance.name);
                    return Err(BuildError::new(&format!("NodeOverlay {}", name(overlay)), problem));
                };
                priced.push(((*place, offering), billionths(price)));
            }
        }
        for (at, price) in priced {
            self.prices.entry(at).or_insert(Priced { price, lightest: overlay }).lightest = overlay;
        }
        if change.capacity.is_empty() {
            return Ok(());
        }
        for (place, _) in places {
            let devices =
                self.devices.entry(*place).or_insert_with(|| Devices { amounts: Resources::new(), lightest: overlay });
            devices.lightest = overlay;
            for (resource, amount) in &change.capacity {
                devices.amounts.entry(resource.clone()).or_insert(*amount);
            }
        }
        Ok(())
    }
}

/// What an overlay can select a pool by: its name and the labels of its template.
fn labels(pool: &NodePool) -> BTreeMap<String, String> {
    let mut labels = pool.spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    labels.insert(NODE_POOL.to_owned(), pool.metadata.name.clone().unwrap_or_default());
    labels
}

impl<'a> Change<'a> {
    fn new(overlay: &'a NodeOverlay) -> Result<Change<'a>, BuildError> {
        let object = format!("NodeOverlay {}", name(overlay));
        let read = overlay.spec.requirements.iter().map(|one| {
            Requirement::of_offering(&one.key, &one.operator, one.values.as_deref().unwrap_or_default())
                .map_err(|error| BuildError::new(&object, format!("spec.requirements: {error}")))
        });
        let (of_offering, of_type) = read.collect::<Result<Vec<_>, _>>()?.into_iter().partition(of_offering);
        let capacity = overlay.spec.capacity.as_ref().map(resources).transpose();
        let capacity = capacity.map_err(|error| BuildError::new(&object, format!("spec.capacity: {error}")))?;
        let price = overlay.price_change().map_err(|error| BuildError::new(&object, error))?;
        Ok(Change { overlay, of_type, of_offering, price, capacity: capacity.unwrap_or_default() })
    }

    /// The instance types that it selects, with those of their offerings that it does; only where there are any.
    fn places(&self, pools: &[BTreeMap<String, String>], catalog: &Catalog) -> Vec<(Place, Vec<usize>)> {
        let mut places = Vec::new();
        for (pool, labels) in pools.iter().enumerate() {
            for (index, instance) in catalog.instance_types.iter().enumerate() {
                let holds = |requirements: &[Requirement], offering: Option<usize>| {
                    requirements.iter().all(|one| one.matches(label(catalog, labels, instance, offering, &one.key)))
                };
                if !holds(&self.of_type, None) {
                    continue;
                }
                let offerings: Vec<usize> =
                    (0..instance.offerings.len()).filter(|one| holds(&self.of_offering, Some(*one))).collect();
                if !offerings.is_empty() {
                    places.push(((pool, index), offerings));
                }
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;
    use crate::catalog::{Offering, allocatable};

    fn catalog() -> Catalog {
        let offering = |zone: &str| Offering { zone: zone.into(), price: 0.1, ..Offering::default() };
        let kind = |name: &str, stated: Value| InstanceType {
            name: name.into(),
            vcpu: 2,
            memory_mib: 8192,
            max_pods: 10,
            allocatable: serde_json::from_value(stated).unwrap(),
            offerings: vec![offering("a"), offering("b")],
            ..InstanceType::default()
        };
        let stated = json!({"memory": "4Gi", "example.com/dongle": 7});
        Catalog { instance_types: vec![kind("m", Value::Null), kind("n", stated)], ..Catalog::default() }
    }

    fn overlay(name: &str, spec: Value) -> NodeOverlay {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    }

    fn pool(name: &str) -> NodePool {
        let spec = json!({"template": {"spec": {"requirements": []}}});
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_pool_sees_the_prices_and_devices_that_overlays_leave() {
        let of = |key: &str, value: &str| json!({"key": key, "operator": "In", "values": [value]});
        let overlays = [
            overlay("price", json!({"requirements": [of("topology.kubernetes.io/zone", "a")], "price": "0.5"})),
            overlay(
                "devices",
                json!({
                    "requirements": [of("karpenter.sh/nodepool", "p")],
                    "capacity": {"example.com/dongle": "2", "hugepages-2Mi": "1Gi"},
                }),
            ),
        ];
        let catalog = catalog();
        let seen = overlaid(&overlays, &[pool("p"), pool("q")], &catalog);
        assert_eq!(seen.faults, BTreeMap::new());
        let prices = |pool: &str| {
            seen.catalogs[pool].instance_types[0].offerings.iter().map(|one| one.price).collect::<Vec<_>>()
        };
        assert_eq!((prices("p"), prices("q")), (vec![0.5, 0.1], vec![0.5, 0.1]));
        let offered =
            |catalog: &Catalog, kind: usize| allocatable(&catalog.instance_types[kind], &Default::default()).unwrap();
        let (plain, with) = (offered(&catalog, 0), offered(&seen.catalogs["p"], 0));
        assert_eq!((with["example.com/dongle"], with["hugepages-2Mi"]), (2, 1 << 30));
        assert_eq!(with["memory"], plain["memory"] - (1 << 30));
        // What the catalogue states of a device is what the overlay is about; of memory it is what there is before.
        let stated = offered(&seen.catalogs["p"], 1);
        assert_eq!((stated["example.com/dongle"], stated["memory"]), (2, 3 << 30));
        assert!(!offered(&seen.catalogs["q"], 0).contains_key("example.com/dongle"));
    }

    #[test]
    fn what_can_t_be_applied_leaves_all_others_as_they_are() {
        let overlays = [
            overlay("a", json!({"priceAdjustment": "+1"})),
            overlay("b", json!({"priceAdjustment": "+2"})),
            overlay("bad", json!({"price": "free"})),
            overlay("worse", json!({"requirements": [{"key": "x", "operator": "Gt", "values": ["many"]}]})),
            overlay("huge", json!({"weight": 5, "priceAdjustment": "+9999999999%"})),
        ];
        let seen = overlaid(&overlays, &[pool("p")], &catalog());
        let invalid = |name: &str| matches!(&seen.faults[name], OverlayFault::Invalid(_));
        assert!(invalid("bad") && invalid("worse") && invalid("huge"));
        assert!(matches!(&seen.faults["a"], OverlayFault::Conflict(words) if words.contains("NodeOverlay b")));
        assert_eq!(seen.faults.len(), 4);
        assert_eq!(seen.catalogs["p"].instance_types[0].offerings[0].price, 2.1);
        assert!(overlaid(&[], &[pool("p")], &catalog()).catalogs.is_empty());
    }
}
