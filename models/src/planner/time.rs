//! Stopping early.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::solver::{Control, Progress};

/// Stops the solver as soon as it is clear whether a solution of at most `target` dollars an hour exists.
///
/// What it hears is not told on: bounds of a problem with preferences as rules are none of the plan's.
pub(super) struct Verdict<'a> {
    whole: &'a dyn Control,
    target: f64,
    clear: AtomicBool,
}

impl<'a> Verdict<'a> {
    /// `target` is in billionths of a dollar an hour; `None` waits for the solver's own end.
    pub fn new(whole: &'a dyn Control, target: Option<i64>) -> Self {
        let target = target.map_or(f64::NAN, |target| target as f64 / 1e9);
        Verdict { whole, target, clear: AtomicBool::new(false) }
    }
}

impl Control for Verdict<'_> {
    fn remaining_seconds(&self) -> f64 {
        self.whole.remaining_seconds()
    }
    fn interrupted(&self) -> bool {
        self.clear.load(Ordering::Relaxed) || self.whole.interrupted()
    }
    fn report(&self, progress: &Progress) {
        // Half a billionth, and a bound rounded down to a whole one.
        let slack = 5e-10;
        // Without an incumbent that places all, the solver's cost is that of no solution, and its bound counts penalties.
        let settled = progress.cost < 1e9 && progress.bound.is_some_and(|bound| bound > self.target + slack);
        if progress.cost <= self.target + slack || settled {
            self.clear.store(true, Ordering::Relaxed);
        }
    }
}
