//! Volumes as a resource: how many a machine can still have attached, by driver.

use std::collections::BTreeMap;

use super::market::Market;
use super::reading::Reading;
use super::standing::Standing;
use crate::kubernetes::Snapshot;
use crate::kubernetes::volumes::ATTACHABLE;

/// The drivers whose volumes wait to be attached.
#[derive(Debug, Default)]
pub(crate) struct Attachments<'a> {
    /// By column of the problem: how many volumes all waiting pods have together.
    asked: BTreeMap<&'a str, i64>,
    /// By node and driver: the most volumes, where a driver states it.
    limits: BTreeMap<(&'a str, &'a str), i64>,
}

impl<'a> Attachments<'a> {
    pub fn new(snapshot: &'a Snapshot, reading: &Reading, columns: &'a [String]) -> Attachments<'a> {
        let pods = || snapshot.pending.iter().zip(&reading.profiles);
        let asked = columns.iter().filter(|column| column.starts_with(ATTACHABLE)).map(|column| {
            let of_group = pods().filter_map(|(group, profile)| {
                profile.requests.get(column).map(|each| each.saturating_mul(i64::from(group.names.count())))
            });
            (column.as_str(), of_group.fold(0, i64::saturating_add))
        });
        let limits = snapshot.csi_nodes.iter().flat_map(|node| {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            node.spec.drivers.iter().filter_map(move |driver| {
                let count = driver.allocatable.as_ref()?.count?;
                Some(((name, driver.name.as_str()), i64::from(count)))
            })
        });
        Attachments { asked: asked.collect(), limits: limits.collect() }
    }

    /// What a node's own driver states for a column.
    pub fn stated(&self, node: &str, column: &str) -> Option<i64> {
        let driver = column.strip_prefix(ATTACHABLE)?;
        self.limits.get(&(node, driver)).copied()
    }

    /// What is left of a limit, never below 0: pods without volumes don't mind. Without one, as much as could ever be asked
    /// for. `None` for other columns.
    pub fn left(&self, column: &str, limit: Option<i64>, taken: i64) -> Option<i64> {
        let asked = self.asked.get(column)?;
        Some(limit.map_or(*asked, |limit| limit.saturating_sub(taken).max(0)))
    }

    /// The columns that can never decide anything, because other resources run out first on every machine.
    pub fn idle(&self, reading: &Reading, market: &Market, standing: &[Standing], columns: &[String]) -> Vec<usize> {
        let rooms = || market.kinds.iter().map(|kind| &kind.room).chain(standing.iter().map(|node| &node.room));
        let idle = |&(index, column): &(usize, &String)| {
            let Some(asked) = self.asked.get(column.as_str()) else { return false };
            let volumes = |profile: &super::reading::Profile| profile.requests.get(column).copied().unwrap_or(0);
            // The most volumes that come with one unit of another resource.
            let rates: Vec<(usize, f64)> = columns
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
                .filter_map(|(other, name)| {
                    let with = reading.profiles.iter().filter(|profile| volumes(profile) > 0);
                    let rate = with.map(|profile| {
                        let need = if name == "pods" { 1 } else { profile.requests.get(name).copied().unwrap_or(0) };
                        volumes(profile) as f64 / need as f64
                    });
                    Some((other, rate.fold(0.0, f64::max))).filter(|(_, rate)| rate.is_finite())
                })
                .collect();
            rooms().all(|room| {
                let left = room[index];
                left >= *asked || rates.iter().any(|(other, rate)| room[*other].max(0) as f64 * rate <= left as f64)
            })
        };
        columns.iter().enumerate().filter(idle).map(|(index, _)| index).collect()
    }
}
