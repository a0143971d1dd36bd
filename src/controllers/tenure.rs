//! Until when this program may write to the cluster.
//!
//! A leader that stood still, as its machine did, goes on in the middle of what it was at, and learns a moment later that
//! another one leads by now. So each write looks at the clock first.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Until when a program may write: for ever where it stands for no election.
#[derive(Debug, Default)]
pub struct Tenure(Mutex<Option<Instant>>);

impl Tenure {
    /// It may until `end`.
    pub fn extend(&self, end: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    /// Whether another one may write by now.
    pub fn is_over(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|end| end <= Instant::now())
    }
}
