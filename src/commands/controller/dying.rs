//! For tests of what a crash leaves behind: a client that ends the program in the middle of its work.
//!
//! All that a controller does to the world it does through its client, the machines of the simulated cloud with it. So a
//! crash between any two of its steps is one just before a write is sent, or just after it was carried out, when nobody has
//! learnt of the answer.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::http::{Method, Request, Response};
use futures::FutureExt;
use futures::future::BoxFuture;
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use serde_json::Value;
use tower::Service;
use tower::layer::layer_fn;

use super::fenced::Fenced;
use crate::controllers::Tenure;

/// When to die.
#[derive(Clone, Debug, clap::Args)]
pub struct DyingArguments {
    /// For tests: dies as soon as so many of its writes are answered.
    #[arg(long, value_name = "N", hide = true)]
    pub die_after_writes: Option<u64>,
    /// For tests: dies before and after the first write of each kind, where the file does not say that another one did; its
    /// own death is added to the file, a line each.
    #[arg(long, value_name = "FILE", hide = true, conflicts_with = "die_after_writes")]
    pub die_at_each: Option<PathBuf>,
}

impl DyingArguments {
    /// A client for a program that dies as it was asked to, or one for a program that does not; it writes as long as it may.
    ///
    /// # Errors
    /// If the configuration can't be used, or the file can't be read.
    pub fn client(&self, config: Config, tenure: &Arc<Tenure>) -> anyhow::Result<Client> {
        let fence = layer_fn(|inner| Fenced { inner, tenure: Arc::clone(tenure) });
        let fenced = ClientBuilder::try_from(config)?.with_layer(&fence);
        let death = match (&self.die_after_writes, &self.die_at_each) {
            (Some(writes), _) => Death::After(AtomicU64::new(*writes)),
            (None, Some(file)) => {
                Death::AtEach(Points { file: file.clone(), known: deaths(file)?, turn: tokio::sync::Mutex::default() })
            }
            (None, None) => return Ok(fenced.build()),
        };
        let death = Arc::new(death);
        let layer =
            layer_fn(|inner| Dying { inner: Arc::new(tokio::sync::Mutex::new(inner)), death: Arc::clone(&death) });
        Ok(fenced.with_layer(&layer).build())
    }
}

fn deaths(file: &Path) -> std::io::Result<BTreeSet<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

enum Death {
    /// With the answer to the last of so many writes, whatever it says.
    After(AtomicU64),
    /// Where nobody has died yet.
    AtEach(Points),
}

/// Points at which to die, two for each kind of write.
struct Points {
    file: PathBuf,
    /// Points at which somebody has died.
    known: BTreeSet<String>,
    /// Held from before to after a write with a point that is new: two at once would leave it open of which one somebody has
    /// learnt the answer, and only one of them would be a point that is known.
    turn: tokio::sync::Mutex<()>,
}

impl Points {
    /// Dies at a point that is new.
    fn at(&self, point: &str) {
        if self.known.contains(point) {
            return;
        }
        let written = std::fs::OpenOptions::new().create(true).append(true).open(&self.file);
        if let Err(error) = written.and_then(|mut file| writeln!(file, "{point}")) {
            // Who counts the deaths misses one.
            eprintln!("{}: {error}", self.file.display());
        }
        eprintln!("dies {point}");
        std::process::abort();
    }
}

/// The service that sends requests, for one who dies on the way.
struct Dying<S> {
    /// One after the other is sent; the answers are waited for all at once.
    inner: Arc<tokio::sync::Mutex<S>>,
    death: Arc<Death>,
}

impl<S, B> Service<Request<Body>> for Dying<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send,
    B: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, _: &mut Context) -> Poll<Result<(), S::Error>> {
        // Who sends waits for it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (inner, death) = (Arc::clone(&self.inner), Arc::clone(&self.death));
        let kind = kind(request.method(), request.uri().path(), &said(request.body()));
        async move {
            let Some(kind) = kind else { return send(&inner, request).await };
            match &*death {
                Death::After(left) => {
                    let answer = send(&inner, request).await;
                    if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                        std::process::abort();
                    }
                    answer
                }
                Death::AtEach(points) => {
                    let [before, after] = ["before", "after"].map(|when| format!("{when} {kind}"));
                    if points.known.contains(&before) && points.known.contains(&after) {
                        return send(&inner, request).await;
                    }
                    let _turn = points.turn.lock().await;
                    points.at(&before);
                    let answer = send(&inner, request).await;
                    // What was refused was not done.
                    if answer.as_ref().is_ok_and(|answer| answer.status().is_success()) {
                        points.at(&after);
                    }
                    answer
                }
            }
        }
        .boxed()
    }
}

async fn send<S: Service<Request<Body>>>(
    inner: &tokio::sync::Mutex<S>,
    request: Request<Body>,
) -> Result<S::Response, S::Error> {
    let answer = {
        let mut inner = inner.lock().await;
        poll_fn(|context| inner.poll_ready(context)).await?;
        inner.call(request)
    };
    answer.await
}

/// What a request says; null where that is nothing.
fn said(body: &Body) -> Value {
    let bytes = body.try_clone().and_then(|body| body.collect_bytes().now_or_never()?.ok());
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Which step of the work a request is: what is made or ended, for each pool or workload by itself, and what is changed, by
/// the fields that are set. `None` for what is no step of it: reading, events, leases.
fn kind(method: &Method, path: &str, body: &Value) -> Option<String> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let of_group = parts.get(if parts[0] == "api" { 2 } else { 3 }..)?;
    let rest = match of_group {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let (resource, name, subresource) = match rest {
        [resource] => (resource, None, None),
        [resource, name] => (resource, Some(name), None),
        [resource, name, subresource, ..] => (resource, Some(name), Some(subresource)),
        [] => return None,
    };
    if *method == Method::GET || matches!(*resource, "events" | "leases") {
        return None;
    }
    let resource = subresource.map_or_else(|| (*resource).to_owned(), |one| format!("{resource}/{one}"));
    if *method != Method::POST && *method != Method::DELETE {
        return Some(format!("{method} {resource} {}", fields(body)));
    }
    let in_body = |key: &str| body["metadata"][key].as_str();
    let name = name.copied().or_else(|| in_body("generateName")).or_else(|| in_body("name")).unwrap_or_default();
    Some(format!("{method} {resource} of {}", name.split('-').next().unwrap_or_default()))
}

/// The fields that a body sets, to the second level, and what lists hold that have names for it.
fn fields(body: &Value) -> String {
    let mut all = Vec::new();
    for (part, inner) in body.as_object().into_iter().flatten() {
        for (field, value) in inner.as_object().into_iter().flatten().filter(|(field, _)| *field != "resourceVersion") {
            let entries: Vec<String> = match value {
                Value::Array(list) => list.iter().filter_map(named).collect(),
                // Of more they are somebody else's words.
                Value::Object(map) if map.len() <= 2 => map.keys().cloned().collect(),
                _ => Vec::new(),
            };
            all.push(format!("{part}.{field}[{}]", entries.join(",")));
        }
    }
    all.join(" ")
}

/// A condition with its status, a taint that is not Kubernetes' own, a finalizer.
fn named(entry: &Value) -> Option<String> {
    match (entry["type"].as_str(), entry["key"].as_str()) {
        (Some(kind), _) => Some(format!("{kind}={}", entry["status"].as_str().unwrap_or_default())),
        (None, Some(key)) => (!key.starts_with("node.kubernetes.io/")).then(|| key.to_owned()),
        (None, None) => entry.as_str().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_step_is_told_by_what_it_makes_ends_or_sets() {
        let of = |method: Method, path: &str, body: Value| kind(&method, path, &body).unwrap_or_default();
        let claims = "/apis/karpenter.sh/v1/nodeclaims";
        let made = json!({"metadata": {"generateName": "default-"}});
        assert_eq!(of(Method::POST, claims, made), "POST nodeclaims of default");
        let claim = format!("{claims}/default-x7k2p");
        assert_eq!(of(Method::DELETE, &claim, json!({"preconditions": {}})), "DELETE nodeclaims of default");
        let eviction = "/api/v1/namespaces/default/pods/web-5d9-abcde/eviction";
        assert_eq!(
            of(Method::POST, eviction, json!({"metadata": {"name": "web-5d9-abcde"}})),
            "POST pods/eviction of web"
        );
        assert_eq!(
            of(Method::DELETE, "/api/v1/namespaces/kube-system/configmaps/kwok-1", Value::Null),
            "DELETE configmaps of kwok"
        );
        let status = json!({"metadata": {"resourceVersion": "7"}, "status": {
            "nodeName": "n", "conditions": [{"type": "Launched", "status": "True"}, {"type": "Ready", "status": "False"}]}});
        assert_eq!(
            of(Method::PATCH, &format!("{claim}/status"), status),
            "PATCH nodeclaims/status status.nodeName[] status.conditions[Launched=True,Ready=False]"
        );
        let taints = json!({"metadata": {"labels": {"a": "b"}, "finalizers": ["f"]}, "spec": {"taints": [
            {"key": "node.kubernetes.io/not-ready"}, {"key": "gpu"}]}});
        assert_eq!(
            of(Method::PATCH, "/api/v1/nodes/n", taints),
            "PATCH nodes metadata.labels[a] metadata.finalizers[f] spec.taints[gpu]"
        );
        assert_eq!(of(Method::DELETE, "/api/v1/namespaces/shop", Value::Null), "DELETE namespaces of shop");
        for (method, path) in [
            (Method::GET, "/api/v1/pods"),
            (Method::POST, "/apis/events.k8s.io/v1/namespaces/default/events"),
            (Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/karpenter-leader-election"),
            (Method::POST, "/api"),
        ] {
            assert_eq!(kind(&method, path, &Value::Null), None, "{path}");
        }
    }
}
