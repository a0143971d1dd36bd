//! Taking nodes away that are not needed, and replacing those that are not what they should be, as fast as their pools'
//! budgets allow.
//!
//! One after the other, in Karpenter's order: empty nodes, then those that have drifted.

mod budgets;
mod candidates;
mod drift;
mod emptiness;
mod obstacles;
mod rehearsal;

pub use budgets::{allowed, counts};
pub use candidates::replacing;
pub use obstacles::{obstacle, of_node};
pub use rehearsal::{Change, run as rehearse};

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Context;
use super::provisioning;

/// Why nodes are disrupted here, in the API's words.
pub const REASONS: [&str; 2] = [emptiness::REASON, drift::REASON];

/// How often to look without having been told: schedules of budgets begin and end untold.
const PERIOD: Duration = Duration::from_secs(10);
/// Changes that come so soon after each other are looked at together.
const PAUSE: Duration = Duration::from_millis(100);

/// Disrupts nodes for ever.
pub async fn run(context: Arc<Context>) {
    let mut drift = drift::Drift::default();
    loop {
        let _ = tokio::time::timeout(PERIOD, context.bells.disruption.notified()).await;
        tokio::time::sleep(PAUSE).await;
        // A pod that is yet to be planned may need what is empty now; after a restart that is every pod that waits.
        if !provisioning::is_settled(&context) {
            continue;
        }
        let begin = Instant::now();
        emptiness::pass(&context).await;
        context.metrics.disruption_evaluated(emptiness::REASON, begin.elapsed());
        let begin = Instant::now();
        let more = drift.pass(&context).await;
        context.metrics.disruption_evaluated(drift::REASON, begin.elapsed());
        if more {
            context.bells.disruption.notify_one();
        }
    }
}
