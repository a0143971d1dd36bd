//! Shares of the time that is left.

use super::{Control, Progress};

/// A control that leaves some seconds to those who come after.
pub struct Slice<'a> {
    inner: &'a dyn Control,
    /// Seconds that must be left over.
    reserve: f64,
}

impl<'a> Slice<'a> {
    /// The first `part` of what is left; where time has no end nothing needs to be kept.
    pub fn of(inner: &'a dyn Control, part: f64) -> Self {
        let left = inner.remaining_seconds();
        let reserve = if left.is_finite() { left.max(0.0) * (1.0 - part) } else { 0.0 };
        Slice { inner, reserve }
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
