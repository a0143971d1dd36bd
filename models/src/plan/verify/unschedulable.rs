//! Pods that the plan leaves over: whether one could have been placed all by itself.

use super::broken::{Findings, Rule};
use super::pool_rules::{Usage, admits, has_room};
use super::spread::Count;
use super::state::State;

/// A pod that no rule ties to others and that a fresh node within the pools' limits would hold must not be left over, unless
/// that node opens a domain that the spread of other pods would count.
pub(super) fn check(state: &State, usage: &[Usage], spreads: &[Count], findings: &mut Findings) {
    for (at, profile) in state.world.profiles.iter().enumerate().take(state.world.waiting) {
        let left_over = state.left_over.get(at).copied().unwrap_or(0);
        if left_over == 0 || state.ties(at).any() {
            continue;
        }
        let offers = state.offers().iter();
        if let Some(offer) = offers.filter(|offer| has_room(state, offer, usage)).find(|offer| {
            admits(state, profile, offer) && !spreads.iter().any(|count| count.lacks_domain_of(&offer.labels))
        }) {
            let message = format!(
                "{left_over} left over, though a fresh {} {} in {} of NodePool {} holds one",
                offer.offering.capacity_type,
                state.world.catalog.instance_types[offer.kind].name,
                offer.offering.zone,
                state.world.pools[offer.pool].name
            );
            findings.add(Rule::Unschedulable, &profile.name, message);
        }
    }
}
