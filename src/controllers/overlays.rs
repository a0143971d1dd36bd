//! What NodeOverlays make of the offerings, and what is observed of the overlays themselves
//! (<https://karpenter.sh/docs/concepts/nodeoverlays/>).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use supercargo_models::catalog::Catalog;
use supercargo_models::kubernetes as core;
use supercargo_models::problem::build::{OverlayFault, overlaid};
use tracing::{debug, warn};

use super::conditions::{Conditions, Known, READY, VALID};
use super::context::{Context, lock};
use crate::api::{NodeClaim, NodeOverlay, NodePool};
use crate::cloud::Offer;
use crate::labels;

/// How often to look without having been told: the cloud's offerings change untold.
const PERIOD: Duration = Duration::from_secs(5 * 60);
/// How soon what could not be written is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// What is on sale, as each pool sees it.
#[derive(Debug)]
pub struct Market {
    /// What the cloud sells, without overlays.
    pub full: Arc<Catalog>,
    /// The overlays that are applied.
    pub overlays: Vec<core::NodeOverlay>,
    faults: BTreeMap<String, OverlayFault>,
    of_pools: BTreeMap<String, Catalog>,
    /// Uid and generation of the overlays and pools that it was made from.
    basis: Vec<(Option<String>, Option<i64>)>,
}

impl Market {
    /// What a catalogue makes of it for pools, under overlays.
    pub fn new(full: Arc<Catalog>, overlays: &[Arc<NodeOverlay>], pools: &[Arc<NodePool>]) -> Market {
        let mut named: Vec<core::NodeOverlay> = overlays.iter().map(|overlay| (**overlay).clone().into()).collect();
        named.sort_by(|left, right| left.metadata.name.cmp(&right.metadata.name));
        let pools_too: Vec<core::NodePool> = pools.iter().map(|pool| (**pool).clone().into()).collect();
        let made = overlaid(&named, &pools_too, &full);
        named.retain(|overlay| !made.faults.contains_key(overlay.metadata.name.as_deref().unwrap_or_default()));
        Market { full, overlays: named, faults: made.faults, of_pools: made.catalogs, basis: basis(overlays, pools) }
    }

    /// The offerings at a pool's prices and with its devices.
    pub fn of_pool(&self, pool: &str) -> &Catalog {
        self.of_pools.get(pool).unwrap_or(&self.full)
    }

    /// The offerings as the pool of a claim sees them.
    pub fn of_claim(&self, claim: &NodeClaim) -> &Catalog {
        claim.labels().get(labels::NODE_POOL).map_or(&self.full, |pool| self.of_pool(pool))
    }

    /// What an offering costs for a claim, in dollars an hour.
    pub fn price(&self, claim: &NodeClaim, offer: &Offer) -> Option<f64> {
        let catalog = self.of_claim(claim);
        let instance = catalog.instance_types.iter().find(|instance| instance.name == offer.instance_type)?;
        let offering =
            instance.offerings.iter().find(|one| one.zone == offer.zone && one.capacity_type == offer.capacity_type)?;
        Some(offering.price)
    }
}

fn basis(overlays: &[Arc<NodeOverlay>], pools: &[Arc<NodePool>]) -> Vec<(Option<String>, Option<i64>)> {
    let of = |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| (meta.uid.clone(), meta.generation);
    let overlays = overlays.iter().map(|overlay| of(&overlay.metadata));
    let mut all: Vec<_> = overlays.chain(pools.iter().map(|pool| of(&pool.metadata))).collect();
    // A store has no order.
    all.sort();
    all
}

impl Context {
    /// What is on sale now, as each pool sees it; made anew where overlays, pools or offerings have changed.
    pub fn market(&self) -> Arc<Market> {
        let full = self.cloud.catalog();
        let (overlays, pools) = (self.stores.overlays.state(), self.stores.pools.state());
        let mut last = lock(&self.last_market);
        if let Some(market) = &*last
            && Arc::ptr_eq(&market.full, &full)
            && market.basis == basis(&overlays, &pools)
        {
            return Arc::clone(market);
        }
        let market = Arc::new(Market::new(full, &overlays, &pools));
        let known = last.as_ref().map(|last| &last.faults);
        for (name, fault) in &market.faults {
            if known.and_then(|known| known.get(name)) != Some(fault) {
                warn!(nodeoverlay = name, "not applied: {}", words(fault).1);
            }
        }
        *last = Some(Arc::clone(&market));
        market
    }
}

/// Reason and message of the condition of an overlay that is not applied. The reasons are Karpenter's
/// (`pkg/controllers/nodeoverlay/controller.go`).
fn words(fault: &OverlayFault) -> (&'static str, &str) {
    match fault {
        OverlayFault::Invalid(error) => ("RuntimeValidation", &error.problem),
        OverlayFault::Conflict(words) => ("Conflict", words),
    }
}

/// Keeps the conditions of overlays up to date for ever.
pub async fn run(context: Arc<Context>) {
    loop {
        let again = if observe(&context).await { PERIOD } else { PAUSE };
        let _ = tokio::time::timeout(again, context.bells.overlays.notified()).await;
    }
}

/// Writes conditions that have changed; whether all of them could be written.
async fn observe(context: &Context) -> bool {
    let market = context.market();
    let api: Api<NodeOverlay> = Api::all(context.client.clone());
    let mut all = true;
    for overlay in context.stores.overlays.state() {
        let name = overlay.name_any();
        let old = overlay.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        let mut conditions = Conditions::new(old, overlay.metadata.generation, context.now());
        judge(&mut conditions, market.faults.get(&name));
        if !conditions.changed() {
            continue;
        }
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": overlay.metadata.resource_version},
            "status": {"conditions": conditions.into_list()},
        }));
        if let Err(error) = api.patch_status(&name, &PatchParams::default(), &patch).await {
            debug!(nodeoverlay = name, "its status: {error}");
            all = false;
        }
    }
    all
}

fn judge(conditions: &mut Conditions, fault: Option<&OverlayFault>) {
    match fault.map(words) {
        None => conditions.achieve(VALID),
        Some((reason, words)) => conditions.set(VALID, Known::False, reason, words),
    }
    conditions.sum_up(&[VALID], READY);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::Timestamp;
    use serde_json::Value;
    use supercargo_models::catalog::{InstanceType, Offering};

    use super::*;

    fn overlay(name: &str, spec: Value) -> Arc<NodeOverlay> {
        let mut whole = json!({
            "apiVersion": "karpenter.sh/v1alpha1", "kind": "NodeOverlay",
            "metadata": {"name": name, "uid": name, "generation": 1}, "spec": {"requirements": []},
        });
        whole["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        Arc::new(serde_json::from_value(whole).unwrap())
    }

    fn pool(name: &str) -> Arc<NodePool> {
        let spec = json!({"requirements": [], "nodeClassRef": {"group": "g", "kind": "k", "name": "n"}});
        let whole = json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name},
            "spec": {"template": {"spec": spec}},
        });
        Arc::new(serde_json::from_value(whole).unwrap())
    }

    fn claim(pool: &str) -> NodeClaim {
        let mut claim = NodeClaim::default();
        claim.labels_mut().insert(labels::NODE_POOL.into(), pool.into());
        claim
    }

    #[test]
    fn a_claim_pays_what_the_overlays_of_its_pool_say() {
        let offering = Offering { zone: "a".into(), capacity_type: "spot".into(), price: 0.1, ..Offering::default() };
        let instance = InstanceType { name: "m".into(), offerings: vec![offering], ..InstanceType::default() };
        let full = Arc::new(Catalog { instance_types: vec![instance], ..Catalog::default() });
        let of_pool = json!([{"key": "karpenter.sh/nodepool", "operator": "In", "values": ["p"]}]);
        let overlays = [
            overlay("dear", json!({"requirements": of_pool, "price": "0.7", "weight": 2})),
            overlay("lost", json!({"priceAdjustment": "+1", "price": "1"})),
        ];
        let market = Market::new(full, &overlays, &[pool("p"), pool("q")]);
        let offer = Offer { instance_type: "m".into(), zone: "a".into(), capacity_type: "spot".into() };
        assert_eq!(market.price(&claim("p"), &offer), Some(0.7));
        assert_eq!(market.price(&claim("q"), &offer), Some(0.1));
        assert_eq!(market.price(&NodeClaim::default(), &offer), Some(0.1));
        assert_eq!(market.price(&claim("p"), &Offer { zone: "b".into(), ..offer }), None);
        let applied: Vec<_> = market.overlays.iter().map(|overlay| overlay.metadata.name.clone().unwrap()).collect();
        assert_eq!(applied, ["dear"]);
        assert_eq!(market.faults.keys().collect::<Vec<_>>(), ["lost"]);
        assert_ne!(market.basis, basis(&overlays, &[pool("p")]));
    }

    #[test]
    fn an_overlay_is_ready_if_it_is_applied() {
        let told = |fault: Option<OverlayFault>| {
            let mut conditions = Conditions::new(Vec::new(), Some(1), Timestamp::UNIX_EPOCH);
            judge(&mut conditions, fault.as_ref());
            let list = conditions.into_list();
            list.into_iter().map(|one| format!("{}={} {}", one.type_, one.status, one.reason)).collect::<Vec<_>>()
        };
        assert_eq!(told(None), ["ValidationSucceeded=True ValidationSucceeded", "Ready=True Ready"]);
        let conflict = OverlayFault::Conflict("two of one weight".into());
        assert_eq!(told(Some(conflict)), ["ValidationSucceeded=False Conflict", "Ready=False UnhealthyDependents"]);
    }
}
