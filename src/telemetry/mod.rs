//! What the controller tells of itself: metrics, health, logs.

mod ends;
mod health;
mod logs;
mod metrics;

pub use health::{Health, serve};
pub use logs::{LogFormat, LogLevel, start as start_logs};
pub use metrics::Metrics;
