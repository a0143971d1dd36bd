//! What NodeOverlays make of the offerings: other prices, more devices.
//!
//! As Karpenter does it (`pkg/controllers/nodeoverlay` of <https://github.com/kubernetes-sigs/karpenter>): overlays come
//! heaviest first and, of one weight, the later name first; the first to price an offering, or to give an instance type
//! a resource, wins. One that would change what another one of its own weight changes already is not applied at all.

use std::collections::{BTreeMap, HashMap};

use super::BuildError;
use super::market::{NODE_POOL, billionths, label, of_offering};
use crate::catalog::Catalog;
use crate::kubernetes::quantity::{Resources, resources};
use crate::kubernetes::requirements::Requirement;
use crate::kubernetes::{NodeOverlay, NodePool, Snapshot};

/// A pool and an instance type, by index.
type Place = (usize, usize);

/// The overlays that are applied, by what they change.
#[derive(Debug, Default)]
pub(crate) struct Overlays<'a> {
    prices: HashMap<(Place, usize), Priced<'a>>,
    devices: HashMap<Place, Devices<'a>>,
    /// Which overlays are not applied, and why.
    pub notes: Vec<String>,
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
    capacity: Resources,
}

fn weight(overlay: &NodeOverlay) -> i32 {
    overlay.spec.weight.unwrap_or(0)
}

fn name(overlay: &NodeOverlay) -> &str {
    overlay.metadata.name.as_deref().unwrap_or_default()
}

impl<'a> Overlays<'a> {
    /// Reads all overlays of a snapshot.
    pub fn new(snapshot: &'a Snapshot, catalog: &Catalog) -> Result<Overlays<'a>, BuildError> {
        let mut sorted: Vec<&NodeOverlay> = snapshot.node_overlays.iter().collect();
        sorted.sort_by_key(|overlay| std::cmp::Reverse((weight(overlay), name(overlay))));
        let pools: Vec<BTreeMap<String, String>> = snapshot.node_pools.iter().map(labels).collect();
        let mut overlays = Overlays::default();
        for overlay in sorted {
            let change = Change::new(overlay)?;
            let places = change.places(&pools, catalog);
            match places.iter().find_map(|(place, offerings)| overlays.conflict(&change, *place, offerings)) {
                Some((other, what, (pool, instance))) => overlays.notes.push(format!(
                    "NodeOverlay {} is not applied: NodeOverlay {} of the same weight {} changes {what} of {} in NodePool \
                     {} already; give one of them another weight",
                    name(overlay),
                    name(other),
                    weight(overlay),
                    catalog.instance_types[instance].name,
                    snapshot.node_pools[pool].metadata.name.as_deref().unwrap_or_default(),
                )),
                None => overlays.apply(&change, &places, catalog)?,
            }
        }
        Ok(overlays)
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
        if change.overlay.spec.price.is_some() || change.overlay.spec.price_adjustment.is_some() {
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
        let object = format!("NodeOverlay {}", name(overlay));
        let new_price = overlay.price_change().map_err(|error| BuildError::new(&object, error))?;
        for (place, offerings) in places {
            let instance = &catalog.instance_types[place.1];
            for &offering in offerings.iter().filter(|_| new_price.is_some()) {
                if let Some(priced) = self.prices.get_mut(&(*place, offering)) {
                    priced.lightest = overlay;
                    continue;
                }
                let before = instance.offerings[offering].price;
                let Some(price) = new_price.and_then(|change| change.apply(before)) else {
                    let problem = format!("makes {} dearer than $1000000 an hour", instance.name);
                    return Err(BuildError::new(&object, format!("spec.priceAdjustment: {problem}")));
                };
                self.prices.insert((*place, offering), Priced { price: billionths(price), lightest: overlay });
            }
            if !change.capacity.is_empty() {
                let devices = self
                    .devices
                    .entry(*place)
                    .or_insert_with(|| Devices { amounts: Resources::new(), lightest: overlay });
                devices.lightest = overlay;
                for (resource, amount) in &change.capacity {
                    devices.amounts.entry(resource.clone()).or_insert(*amount);
                }
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
            Requirement::new(&one.key, &one.operator, one.values.as_deref().unwrap_or_default())
                .map_err(|error| BuildError::new(&object, format!("spec.requirements: {error}")))
        });
        let (of_offering, of_type) = read.collect::<Result<Vec<_>, _>>()?.into_iter().partition(of_offering);
        let capacity = overlay.spec.capacity.as_ref().map(resources).transpose();
        let capacity = capacity.map_err(|error| BuildError::new(&object, format!("spec.capacity: {error}")))?;
        Ok(Change { overlay, of_type, of_offering, capacity: capacity.unwrap_or_default() })
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
