//! How long the controller waits for what may never come: not to be set by anyone but tests, which are in a hurry.

use std::time::Duration;

use crate::commands::arguments::parse_duration;

/// How long to wait for what may never come; as long as Karpenter does (`pkg/controllers/nodeclaim/lifecycle/liveness.go`,
/// `pkg/controllers/disruption/queue.go`).
#[derive(Clone, Debug, clap::Args)]
pub struct PatienceArguments {
    /// A claim that is not launched for so long is given up.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration, hide = true)]
    pub launch_timeout: Duration,
    /// A claim whose node has not joined for so long is given up.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = parse_duration, hide = true)]
    pub registration_timeout: Duration,
    /// A replacement that is not ready for so long is no longer waited for.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration, hide = true)]
    pub replacement_timeout: Duration,
}
