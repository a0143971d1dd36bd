//! `minValues` of a NodePool's requirement: enough other offerings must be able to hold a node's pods.
//!
//! <https://karpenter.sh/docs/concepts/nodepools/#min-values>

use std::collections::{BTreeMap, BTreeSet};

use fixedbitset::FixedBitSet;

use crate::problem::build::Draft;
use crate::problem::types::{Flexible, FlexibleHost};

/// One row for each pool that asks for it. Of hosts with the same values and admission only the largest count.
pub(crate) fn rows(draft: &mut Draft) {
    let pools: BTreeSet<usize> = (0..draft.bins.len()).filter_map(|bin| draft.proto(bin).flexible).collect();
    for pool in pools {
        let model = draft.model;
        let Some(variant) = model.market.variants.iter().find(|variant| variant.pool == pool) else { continue };
        let asks: Vec<(&str, u32)> = variant.least_values.iter().map(|(key, least)| (key.as_str(), *least)).collect();
        let mut bins = FixedBitSet::with_capacity(draft.bins.len());
        bins.extend((0..draft.bins.len()).filter(|bin| draft.proto(*bin).flexible == Some(pool)));
        let mut numbers: Vec<BTreeMap<&str, u32>> = vec![BTreeMap::new(); asks.len()];
        let mut largest: BTreeMap<(u32, Vec<u32>), Vec<u32>> = BTreeMap::new();
        for host in &model.market.hosts {
            if model.market.variants[host.variant as usize].pool != pool {
                continue;
            }
            let values: Option<Vec<u32>> = asks
                .iter()
                .zip(&mut numbers)
                .map(|((key, _), known)| {
                    let value = model.host_label(host, key)?;
                    let next = known.len() as u32;
                    Some(*known.entry(value).or_insert(next))
                })
                .collect();
            let Some(values) = values else { continue };
            let room = |kind: u32| &model.market.kinds[kind as usize].room;
            let no_smaller =
                |left: u32, right: u32| room(left).iter().zip(room(right)).all(|(left, right)| left >= right);
            let kinds = largest.entry((host.class, values)).or_default();
            if !kinds.iter().any(|kind| no_smaller(*kind, host.kind)) {
                kinds.retain(|kind| !no_smaller(host.kind, *kind));
                kinds.push(host.kind);
            }
        }
        let mut admitted: BTreeMap<u32, FixedBitSet> = BTreeMap::new();
        let mut hosts = Vec::new();
        for ((class, values), kinds) in largest {
            let admits = admitted.entry(class).or_insert_with(|| {
                let grants = &model.market.classes[class as usize].admits;
                let mut shapes = draft.shape_set();
                shapes.extend(
                    (0..draft.parts.len())
                        .filter(|shape| draft.form(*shape).admissions.iter().all(|one| grants.contains(*one))),
                );
                shapes
            });
            for kind in kinds {
                let capacity = model.market.kinds[kind as usize].room.clone();
                hosts.push(FlexibleHost { capacity, admits: admits.clone(), values: values.clone() });
            }
        }
        let name = format!("minimum flexibility of pool {}", variant.name);
        let minimum: Vec<u32> = asks.iter().map(|(_, least)| *least).collect();
        let mut lacking = draft.shape_set();
        for shape in 0..draft.parts.len() {
            let demand = &draft.form(shape).demand;
            let holds = |host: &&FlexibleHost| {
                host.admits.contains(shape) && demand.iter().zip(&host.capacity).all(|(need, room)| need <= room)
            };
            let holding: Vec<&FlexibleHost> = hosts.iter().filter(holds).collect();
            let values = |ask: usize| holding.iter().map(|host| host.values[ask]).collect::<BTreeSet<u32>>().len();
            if (0..asks.len()).any(|ask| values(ask) < minimum[ask] as usize) {
                lacking.insert(shape);
            }
        }
        draft.forbid(&lacking, |bin, _| bins.contains(bin));
        draft.rules.flexibles.push(Flexible { name, bins, minimum, hosts });
    }
}
