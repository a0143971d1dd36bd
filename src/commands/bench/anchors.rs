//! What another planner comes to on the same workloads.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

use crate::cli::BadInput;

/// Another planner's answer to one workload.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Anchor {
    /// Name of the workload: its file's name without the ending.
    pub workload: String,
    /// `plan` or `consolidate`.
    pub kind: String,
    /// Nodes it buys.
    pub karpenter_nodes: u64,
    /// What they cost, dollars an hour.
    pub karpenter_usd_per_hour: f64,
}

/// Answers by workload.
#[derive(Debug, Default)]
pub(super) struct Anchors(BTreeMap<String, Anchor>);

impl Anchors {
    /// Reads a CSV file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let named = || format!("anchors {}", path.display());
        let mut reader = csv::Reader::from_path(path).map_err(BadInput::from_error).with_context(named)?;
        let mut anchors = BTreeMap::new();
        for record in reader.deserialize::<Anchor>() {
            let anchor = record.map_err(BadInput::from_error).with_context(named)?;
            anchors.insert(anchor.workload.clone(), anchor);
        }
        Ok(Anchors(anchors))
    }

    /// The answer to a workload.
    pub fn of(&self, workload: &str) -> Option<&Anchor> {
        self.0.get(workload)
    }
}
