//! What the controller tells of itself: metrics, health, logs.

mod health;
mod logs;
mod metrics;

pub use health::{Health, serve};
pub use logs::{LogFormat, LogLevel, start as start_logs};
pub use metrics::{Gauges, Kind, Labels, Metrics, Observed, Waiting, acting_as, phase, seconds, since};
