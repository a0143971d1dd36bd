//! Shares of the time that is left, and of the problem.

use super::{Control, Progress};

/// A control that leaves some seconds to those who come after.
pub struct Slice<'a> {
    inner: &'a dyn Control,
    /// Seconds that must be left over; less than none for one that may take more than there is.
    reserve: f64,
}

impl<'a> Slice<'a> {
    /// The first `part` of what is left; where time has no end nothing needs to be kept.
    pub fn of(inner: &'a dyn Control, part: f64) -> Self {
        let left = inner.remaining_seconds();
        let reserve = if left.is_finite() { left.max(0.0) * (1.0 - part) } else { 0.0 };
        Slice { inner, reserve }
    }

    /// All that is left, and at least so many seconds from now on, even where that is more than is left.
    pub fn at_least(inner: &'a dyn Control, seconds: f64) -> Self {
        Slice { inner, reserve: (inner.remaining_seconds() - seconds).min(0.0) }
    }
}

impl Control for Slice<'_> {
    fn remaining_seconds(&self) -> f64 {
        self.inner.remaining_seconds() - self.reserve
    }
    fn interrupted(&self) -> bool {
        self.inner.interrupted()
    }
    fn report(&self, progress: &Progress) {
        self.inner.report(progress);
    }
}

/// A control that tells nobody: of a problem that stands in for another one, whose costs mean nothing outside.
pub struct Silent<'a> {
    /// Time and interruption.
    pub inner: &'a dyn Control,
}

impl Control for Silent<'_> {
    fn remaining_seconds(&self) -> f64 {
        self.inner.remaining_seconds()
    }
    fn interrupted(&self) -> bool {
        self.inner.interrupted()
    }
}

/// A control that tells of one part together with what the others cost.
pub struct Beside<'a> {
    /// Time and audience.
    pub inner: &'a dyn Control,
    /// Whether every unit of the others has its place.
    pub whole: bool,
    /// Dollars an hour of the others.
    pub cost: f64,
    /// The others' bound in dollars an hour.
    pub bound: f64,
}

impl Control for Beside<'_> {
    fn remaining_seconds(&self) -> f64 {
        self.inner.remaining_seconds()
    }
    fn interrupted(&self) -> bool {
        self.inner.interrupted()
    }
    fn report(&self, progress: &Progress) {
        if self.whole {
            let bound = progress.bound.map(|bound| bound + self.bound);
            self.inner.report(&Progress { stage: progress.stage, cost: progress.cost + self.cost, bound });
        }
    }
}
