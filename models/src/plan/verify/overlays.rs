//! NodeOverlays: what an offering costs and has after them.
//!
//! Of the overlays that select an offering the heaviest states its price, and the heaviest that gives a resource says how
//! much of it there is; of one weight, the later in the alphabet comes first, and an overlay that meets one of its own
//! weight anywhere is left out everywhere.
//! <https://karpenter.sh/docs/concepts/nodeoverlays/>

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::amounts::{MEMORY, Table, read};
use super::matching::{Labels, NODE_POOL, OfferingLabels, obeys};
use super::supply::{Kind, Pool};
use crate::catalog::{Catalog, Offering};
use crate::kubernetes::{NodeOverlay, NodePool, Snapshot};

/// Zone and capacity type of the offerings of an instance type that an overlay selects.
type Selected<'a> = Vec<(&'a str, &'a str)>;

/// An overlay that counts.
#[derive(Debug)]
struct Overlay<'a> {
    object: &'a NodeOverlay,
    /// By pool and instance type; only where something is selected.
    selected: HashMap<(usize, usize), Selected<'a>>,
}

/// All overlays that count, the first to be asked first.
#[derive(Debug, Default)]
pub(super) struct Overlays<'a> {
    overlays: Vec<Overlay<'a>>,
    /// By pool (its first entry) and instance type: what a node gives, where an overlay changes it.
    kinds: HashMap<(usize, usize), Kind>,
}

impl<'a> Overlays<'a> {
    /// Reads the overlays of a snapshot; the error names one and says what can't be read.
    pub(super) fn read(
        snapshot: &'a Snapshot,
        catalog: &'a Catalog,
        pools: &[Pool],
    ) -> Result<Self, (&'a str, String)> {
        let mut objects: Vec<&NodeOverlay> = snapshot.node_overlays.iter().collect();
        objects.sort_by(|left, right| {
            (right.spec.weight.unwrap_or(0), &right.metadata.name)
                .cmp(&(left.spec.weight.unwrap_or(0), &left.metadata.name))
        });
        let mut overlays: Vec<Overlay> = Vec::new();
        for object in objects {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            price(object, 1.0).map_err(|message| (name, message))?;
            let overlay = Overlay { object, selected: select(object, snapshot, catalog, pools) };
            if !overlays.iter().enumerate().any(|(at, other)| overlay.meets(other, &overlays[at + 1..])) {
                overlays.push(overlay);
            }
        }
        Ok(Overlays { overlays, kinds: HashMap::new() })
    }

    /// Works out what nodes give where an overlay adds to it; `gives` says what they give without.
    pub(super) fn extend(
        &mut self,
        table: &mut Table,
        gives: impl Fn(usize, usize) -> Option<Kind>,
    ) -> Result<(), String> {
        let giving = self.overlays.iter().filter(|overlay| overlay.gives().next().is_some());
        let places: BTreeSet<(usize, usize)> = giving.flat_map(|overlay| overlay.selected.keys().copied()).collect();
        for place in places {
            let Some(mut kind) = gives(place.0, place.1) else { continue };
            let mut given: BTreeMap<&str, i64> = BTreeMap::new();
            for overlay in self.overlays.iter().filter(|overlay| overlay.selected.contains_key(&place)) {
                for (resource, quantity) in overlay.object.spec.capacity.iter().flatten() {
                    let amount = read(resource, &quantity.0)?;
                    given.entry(resource).or_insert(amount);
                }
            }
            for (resource, amount) in given {
                let column = table.column(resource);
                kind.capacity.set(column, amount);
                kind.allocatable.set(column, amount);
                // Huge pages are no memory for anything else.
                if resource.starts_with("hugepages-") {
                    kind.allocatable.set(MEMORY, (kind.allocatable.get(MEMORY) - amount).max(0));
                }
            }
            self.kinds.insert(place, kind);
        }
        Ok(())
    }

    /// What a node of an instance type gives in a pool (its first entry), if an overlay changes it.
    pub(super) fn gives(&self, pool: usize, kind: usize) -> Option<&Kind> {
        self.kinds.get(&(pool, kind))
    }

    /// Dollars an hour of an offering in a pool (its first entry).
    pub(super) fn price(&self, pool: usize, kind: usize, offering: &Offering) -> f64 {
        let selects = |overlay: &&Overlay| {
            let place = (offering.zone.as_str(), offering.capacity_type.as_str());
            overlay.prices() && overlay.selected.get(&(pool, kind)).is_some_and(|selected| selected.contains(&place))
        };
        let first = self.overlays.iter().find(selects);
        first.and_then(|overlay| price(overlay.object, offering.price).ok()).unwrap_or(offering.price)
    }
}

impl Overlay<'_> {
    fn prices(&self) -> bool {
        self.object.spec.price.is_some() || self.object.spec.price_adjustment.is_some()
    }

    fn weight(&self) -> i32 {
        self.object.spec.weight.unwrap_or(0)
    }

    fn gives(&self) -> impl Iterator<Item = &String> {
        self.object.spec.capacity.iter().flatten().map(|(resource, _)| resource)
    }

    /// Whether another one of the same weight, which comes before it, prices one of the same offerings, or gives one of
    /// the same instance types one of the same resources. For resources only the last that gave any counts: `between`
    /// are those after the other one.
    fn meets(&self, other: &Overlay, between: &[Overlay]) -> bool {
        if self.weight() != other.weight() {
            return false;
        }
        let at_price = self.prices() && other.prices();
        let at_resource = self.gives().any(|resource| other.gives().any(|given| given == resource));
        self.selected.iter().any(|(place, selected)| {
            let Some(theirs) = other.selected.get(place) else { return false };
            let last = |later: &Overlay| later.gives().next().is_none() || !later.selected.contains_key(place);
            (at_price && selected.iter().any(|one| theirs.contains(one))) || (at_resource && between.iter().all(last))
        })
    }
}

/// What an overlay selects.
fn select<'a>(
    overlay: &NodeOverlay,
    snapshot: &Snapshot,
    catalog: &'a Catalog,
    pools: &[Pool],
) -> HashMap<(usize, usize), Selected<'a>> {
    let mut all = HashMap::new();
    for pool in &snapshot.node_pools {
        let name = pool.metadata.name.as_deref().unwrap_or_default();
        let Some(first) = pools.iter().position(|known| known.name == name) else { continue };
        let labels = labels(pool, name);
        for (kind, instance) in catalog.instance_types.iter().enumerate() {
            let suits = |offering: &&Offering| {
                let labels = Labels {
                    name: "",
                    offering: Some(OfferingLabels {
                        zone: &offering.zone,
                        capacity_type: &offering.capacity_type,
                        instance_type: &instance.name,
                        arch: &instance.arch,
                        region: &catalog.region,
                        pool: &labels,
                    }),
                    base: &instance.labels,
                };
                overlay.spec.requirements.iter().all(|requirement| {
                    let values = requirement.values.as_deref().unwrap_or_default();
                    obeys(labels.get(&requirement.key), &requirement.operator, values)
                })
            };
            let selected: Selected = instance
                .offerings
                .iter()
                .filter(suits)
                .map(|offering| (offering.zone.as_str(), offering.capacity_type.as_str()))
                .collect();
            if !selected.is_empty() {
                all.insert((first, kind), selected);
            }
        }
    }
    all
}

/// The labels of a pool that overlays look at: its name, and what its template states.
fn labels(pool: &NodePool, name: &str) -> BTreeMap<String, String> {
    let stated = pool.spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.clone());
    let mut labels = stated.unwrap_or_default();
    labels.insert(NODE_POOL.to_owned(), name.to_owned());
    labels
}

/// What an overlay makes of a price, never less than nothing.
fn price(overlay: &NodeOverlay, before: f64) -> Result<f64, String> {
    let number = |text: &str| -> Result<f64, String> {
        let read = text.parse::<f64>().ok().filter(|number| number.is_finite());
        read.ok_or_else(|| format!("{text} is not a number"))
    };
    let after = match (&overlay.spec.price, &overlay.spec.price_adjustment) {
        (None, None) => before,
        (Some(price), None) => number(price)?,
        (None, Some(change)) => match change.strip_suffix('%') {
            Some(percent) => before + before * number(percent)? / 100.0,
            None => before + number(change)?,
        },
        (Some(_), Some(_)) => return Err("both price and priceAdjustment are given".to_owned()),
    };
    Ok(after.max(0.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_price_is_replaced_or_changed_by_an_amount_or_a_share() {
        let of = |spec: serde_json::Value| {
            let overlay: NodeOverlay = serde_json::from_value(serde_json::json!({"spec": spec})).unwrap();
            price(&overlay, 2.0)
        };
        assert_eq!(of(serde_json::json!({})), Ok(2.0));
        assert_eq!(of(serde_json::json!({"price": "0.5"})), Ok(0.5));
        assert_eq!(of(serde_json::json!({"priceAdjustment": "+0.5"})), Ok(2.5));
        assert_eq!(of(serde_json::json!({"priceAdjustment": "-3"})), Ok(0.0));
        assert_eq!(of(serde_json::json!({"priceAdjustment": "-25%"})), Ok(1.5));
        assert!(of(serde_json::json!({"priceAdjustment": "-x%"})).is_err());
        assert!(of(serde_json::json!({"price": "1", "priceAdjustment": "+1"})).is_err());
    }
}
