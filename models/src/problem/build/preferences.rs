//! What pods would rather have: each wish of each workload on its own, so that one can be given up without the others.

use std::collections::BTreeSet;

use super::Options;

/// The level of `ScheduleAnyway`: above all weights, as Karpenter gives it up after them.
pub const SPREAD_LEVEL: i32 = 101;
/// The level of `PreferNoSchedule`: given up last.
pub const TAINT_LEVEL: i32 = 102;

/// One wish of one workload. The order is that in which wishes are given up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Preference {
    /// The weight of a preferred term (1 to 100), [`SPREAD_LEVEL`] or [`TAINT_LEVEL`].
    pub level: i32,
    /// Kind, namespace and name of the workload.
    pub workload: String,
    /// Which of the workload's wishes of this level, for those who have several.
    pub ordinal: usize,
    /// What is wished for, in words.
    pub wish: String,
}

/// The wishes that occur, and which of them are rules in this build.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    honoured: BTreeSet<Preference>,
    ignored: bool,
    pub known: BTreeSet<Preference>,
}

impl Wishes {
    pub fn new(options: &Options) -> Wishes {
        let ignored = options.ignore_preferences;
        Wishes { honoured: options.preferences.clone(), ignored, known: BTreeSet::new() }
    }

    /// Takes note of a wish; whether it is to be honoured.
    pub fn add(&mut self, preference: Preference) -> bool {
        let honoured = self.honoured.contains(&preference);
        if !self.ignored {
            self.known.insert(preference);
        }
        honoured
    }

    /// Whether any taint that is only to be avoided is avoided by this workload.
    pub fn avoids_taints(&self, workload: &str) -> bool {
        self.honoured.contains(&avoid_taints(workload))
    }
}

/// The wish to stay off nodes with a taint of effect `PreferNoSchedule`.
pub(crate) fn avoid_taints(workload: &str) -> Preference {
    Preference {
        level: TAINT_LEVEL,
        workload: workload.to_owned(),
        ordinal: 0,
        wish: "taints with PreferNoSchedule".to_owned(),
    }
}
