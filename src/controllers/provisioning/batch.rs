//! Which pods are planned together: those that come one soon after the other, but none waits for long.

use std::time::{Duration, Instant};

/// The window of a batch, from its first pod.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    idle: Duration,
    most: Duration,
    first: Instant,
    last: Instant,
}

impl Window {
    /// A window that opens with a pod at `now`, closes when no other comes for `idle`, and after `most` at the latest.
    pub fn open(idle: Duration, most: Duration, now: Instant) -> Self {
        Window { idle, most, first: now, last: now }
    }

    /// Another pod came.
    pub fn add(&mut self, now: Instant) {
        self.last = now;
    }

    /// What is left of the window; zero once it is closed.
    pub fn left(&self, now: Instant) -> Duration {
        let idle = (self.last + self.idle).saturating_duration_since(now);
        let most = (self.first + self.most).saturating_duration_since(now);
        idle.min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_closes_when_pods_stop_coming_or_after_its_longest() {
        let seconds = Duration::from_secs;
        let begin = Instant::now();
        let mut window = Window::open(seconds(1), seconds(10), begin);
        assert_eq!(window.left(begin), seconds(1));
        assert_eq!(window.left(begin + seconds(1)), Duration::ZERO);
        for second in 1..=9 {
            window.add(begin + seconds(second));
            assert_eq!(window.left(begin + seconds(second)), seconds(1));
        }
        let late = begin + Duration::from_millis(9500);
        window.add(late);
        assert_eq!(window.left(late), Duration::from_millis(500));
        assert_eq!(window.left(begin + seconds(11)), Duration::ZERO);
    }
}
