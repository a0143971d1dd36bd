//! Time, Ctrl-C and the progress line: what the solver knows of the world outside.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use supercargo_models::solver::{Control, Progress};

/// How often Ctrl-C was pressed since the program began.
static INTERRUPTS: AtomicU32 = AtomicU32::new(0);
static HANDLER: Once = Once::new();

/// Exit code of a program that an interrupt ended: 128 and the signal's number.
const EXIT_INTERRUPTED: i32 = 130;

/// A wall clock, Ctrl-C and a line of progress on standard error, if that is a terminal.
///
/// The first interrupt makes the solver answer with its incumbent; the second one ends the program at once.
#[derive(Debug)]
pub struct WallClock {
    start: Instant,
    budget: Option<Duration>,
    progress: Option<ProgressBar>,
    best: Mutex<Option<Progress>>,
}

impl WallClock {
    /// Starts the clock. `budget` is `None` where rounds are counted instead of seconds; `quiet` shows no progress.
    pub fn start(budget: Option<Duration>, quiet: bool) -> Self {
        HANDLER.call_once(|| {
            // Without a handler Ctrl-C just ends the program, as it does everywhere.
            let _ = ctrlc::set_handler(|| {
                if INTERRUPTS.fetch_add(1, Ordering::SeqCst) > 0 {
                    std::process::exit(EXIT_INTERRUPTED);
                }
            });
        });
        let progress = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        WallClock { start: Instant::now(), budget, progress, best: Mutex::new(None) }
    }

    /// Seconds since the clock was started.
    pub fn elapsed_seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Says what is being done, where someone watches.
    pub fn say(&self, message: impl Into<String>) {
        if let Some(bar) = &self.progress {
            bar.set_message(message.into());
        }
    }

    /// Takes the progress line away, so that the answer can be printed.
    pub fn finish(&self) {
        if let Some(bar) = &self.progress {
            bar.finish_and_clear();
        }
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Control for WallClock {
    fn remaining_seconds(&self) -> f64 {
        match self.budget {
            Some(budget) => budget.as_secs_f64() - self.elapsed_seconds(),
            None => f64::INFINITY,
        }
    }

    fn interrupted(&self) -> bool {
        INTERRUPTS.load(Ordering::Relaxed) > 0
    }

    fn report(&self, progress: &Progress) {
        if self.progress.is_none() {
            return;
        }
        // A poisoned lock only means that a watcher's line is stale.
        let Ok(mut best) = self.best.lock() else { return };
        let bound = match (progress.bound, best.as_ref().and_then(|best| best.bound)) {
            (Some(new), Some(old)) => Some(new.max(old)),
            (new, old) => new.or(old),
        };
        let merged = Progress { stage: progress.stage, cost: progress.cost, bound };
        self.say(in_words(&merged));
        *best = Some(merged);
    }
}

/// `columns: $3.41/h, within 1.2 % of optimal`.
fn in_words(progress: &Progress) -> String {
    let mut words = format!("{}: ${:.2}/h", progress.stage, progress.cost);
    if let Some(bound) = progress.bound
        && progress.cost > 0.0
    {
        let gap = ((progress.cost - bound) / progress.cost).max(0.0) * 100.0;
        words.push_str(&format!(", within {gap:.1} % of optimal"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_runs_out_only_where_there_is_a_budget() {
        assert!(WallClock::start(Some(Duration::from_nanos(1)), true).remaining_seconds() <= 0.0);
        assert_eq!(WallClock::start(None, true).remaining_seconds(), f64::INFINITY);
    }

    #[test]
    fn progress_is_told_with_the_gap_that_is_left() {
        let progress = Progress { stage: "columns", cost: 4.0, bound: Some(3.9) };
        assert_eq!(in_words(&progress), "columns: $4.00/h, within 2.5 % of optimal");
        assert_eq!(in_words(&Progress { bound: None, ..progress }), "columns: $4.00/h");
    }
}
