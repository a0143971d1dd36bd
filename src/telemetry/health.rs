//! `/metrics`, `/healthz`, `/readyz`, `/log-level`.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::{LogLevel, Metrics};

/// Content type of the text that Prometheus reads (<https://github.com/prometheus/OpenMetrics>).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the controller can do its work.
#[derive(Debug, Default)]
pub struct Health {
    ready: AtomicBool,
}

impl Health {
    /// It can, or can't any more. A replica that waits to become the leader is ready.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }
}

/// Serves metrics on one port and health on another of all addresses; port 0 is any free one, and both may be the same.
/// Gives the addresses and what has to be polled.
///
/// # Errors
/// Where a port is taken.
pub async fn serve(
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    level: LogLevel,
    metrics_port: u16,
    health_port: u16,
) -> anyhow::Result<([SocketAddr; 2], impl Future<Output = ()> + Send)> {
    let metrics_routes = Router::new().route("/metrics", get(write_metrics)).with_state(metrics);
    let log_routes = Router::new().route("/log-level", get(tell_level).put(set_level)).with_state(level);
    let health_routes = Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(is_ready))
        .with_state(health)
        .merge(log_routes);
    let bind = async |port: u16| {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.with_context(|| format!("listening on port {port}"))
    };
    let mut servers = Vec::new();
    let first = bind(metrics_port).await?;
    let mut addresses = [first.local_addr()?; 2];
    if metrics_port == health_port && metrics_port != 0 {
        servers.push((first, metrics_routes.merge(health_routes)));
    } else {
        let second = bind(health_port).await?;
        addresses[1] = second.local_addr()?;
        servers.extend([(first, metrics_routes), (second, health_routes)]);
    }
    let all = futures::future::join_all(servers.into_iter().map(async |(listener, routes)| {
        if let Err(error) = axum::serve(listener, routes.into_make_service_with_connect_info::<SocketAddr>()).await {
            tracing::error!("serving metrics and health: {error}");
        }
    }));
    Ok((addresses, async move { drop(all.await) }))
}

async fn write_metrics(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    // All pods and offerings are looked at: longer than others on this thread should wait.
    let written = tokio::task::spawn_blocking(move || metrics.encode()).await;
    let failed = |error: String| (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error);
    match written {
        Ok(Ok(text)) => (StatusCode::OK, [(header::CONTENT_TYPE, OPEN_METRICS)], text),
        Ok(Err(error)) => failed(error.to_string()),
        Err(error) => failed(error.to_string()),
    }
}

async fn is_ready(State(health): State<Arc<Health>>) -> impl IntoResponse {
    match health.ready.load(Ordering::Relaxed) {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the cluster has not been read yet"),
    }
}

async fn tell_level(State(level): State<LogLevel>) -> String {
    level.current() + "\n"
}

/// Only whoever is on the machine may (`kubectl port-forward` is): nobody else is known here.
async fn set_level(
    State(level): State<LogLevel>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    wanted: String,
) -> (StatusCode, String) {
    if !peer.ip().is_loopback() {
        return (StatusCode::FORBIDDEN, "the log level is set from this machine, or by kubectl port-forward\n".into());
    }
    match level.set(wanted.trim()) {
        Ok(()) => (StatusCode::OK, level.current() + "\n"),
        Err(error) => (StatusCode::BAD_REQUEST, error + "\n"),
    }
}
