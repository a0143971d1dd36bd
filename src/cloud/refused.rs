//! What the cloud had none of, for as long as asking again is no use.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use supercargo_models::catalog::Catalog;

use super::Offer;

/// How long an offering that was refused is not asked for again, as Karpenter waits
/// (<https://karpenter.sh/docs/faq/>: unavailable offerings are remembered for three minutes).
const PATIENCE: Duration = Duration::from_secs(180);

/// Offerings that were refused, each until it is tried again.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    until: BTreeMap<Offer, Instant>,
}

impl Refused {
    /// Remembers what was refused at `now`.
    pub fn add(&mut self, offers: &[Offer], now: Instant) {
        self.until.retain(|_, until| *until > now);
        self.until.extend(offers.iter().map(|offer| (offer.clone(), now + PATIENCE)));
    }

    /// Whether an offering is not to be asked for at `now`.
    pub fn contains(&self, offer: &Offer, now: Instant) -> bool {
        self.until.get(offer).is_some_and(|until| *until > now)
    }

    /// The catalogue without what is refused at `now`; `None` where nothing is.
    pub fn without(&self, catalog: &Catalog, now: Instant) -> Option<Catalog> {
        if !self.until.values().any(|until| *until > now) {
            return None;
        }
        let mut left = catalog.clone();
        for instance in &mut left.instance_types {
            let mut offerings = std::mem::take(&mut instance.offerings);
            offerings.retain(|offering| !self.contains(&Offer::of(instance, offering), now));
            instance.offerings = offerings;
        }
        left.instance_types.retain(|instance| !instance.offerings.is_empty());
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use supercargo_models::catalog::{InstanceType, Offering};

    use super::*;

    fn offer(zone: &str) -> Offer {
        Offer { instance_type: "m5.large".into(), zone: zone.into(), capacity_type: "spot".into() }
    }

    #[test]
    fn what_was_refused_comes_back_after_three_minutes() {
        let begin = Instant::now();
        let offerings = ["a", "b"].map(|zone| Offering {
            zone: zone.into(),
            capacity_type: "spot".into(),
            price: 0.1,
            ..Offering::default()
        });
        let instance = InstanceType { name: "m5.large".into(), offerings: offerings.into(), ..InstanceType::default() };
        let catalog = Catalog { instance_types: vec![instance], ..Catalog::default() };
        let mut refused = Refused::default();
        assert!(refused.without(&catalog, begin).is_none());
        refused.add(&[offer("a")], begin);
        let left = refused.without(&catalog, begin + Duration::from_secs(179)).unwrap();
        assert_eq!(left.instance_types[0].offerings.len(), 1);
        assert_eq!(left.instance_types[0].offerings[0].zone, "b");
        assert!(refused.without(&catalog, begin + Duration::from_secs(180)).is_none());
        refused.add(&[offer("b")], begin);
        assert!(refused.without(&catalog, begin).unwrap().instance_types.is_empty());
    }
}
