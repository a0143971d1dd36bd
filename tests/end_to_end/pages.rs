//! A list that is answered page by page by an API server that forgets, on the way, the moment that its pages belong to.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use serde_json::{Value, json};

use crate::fixture::runtime;

/// Tokens are the server's own words: none of them is safe in an address.
const SECOND: &str = "second=&page";
const THIRD: &str = "third+page/";

fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "main", "image": "nothing", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]},
        "status": {"phase": "Pending"},
    })
}

fn page(pods: &[&str], token: Option<&str>) -> (u16, Value) {
    let pods: Vec<Value> = pods.iter().map(|name| pod(name)).collect();
    (200, json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": token}, "items": pods}))
}

fn refusal(code: u16, reason: &str) -> (u16, Value) {
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": code}),
    )
}

/// What the server answers. Between the second page and the third a pod has gone and another one has come.
fn answer(path: &str, query: &str) -> (u16, Value) {
    let encoded = |token: &str| token.replace('=', "%3D").replace('&', "%26").replace('+', "%2B").replace('/', "%2F");
    match path {
        "/api/v1/pods" if query.ends_with(&format!("continue={}", encoded(SECOND))) => page(&["two"], Some(THIRD)),
        "/api/v1/pods" if query.ends_with(&format!("continue={}", encoded(THIRD))) => refusal(410, "Expired"),
        "/api/v1/pods" if query.contains("limit=") && !query.contains("continue=") => page(&["one"], Some(SECOND)),
        "/api/v1/pods" if !query.contains("continue=") => page(&["two", "three", "four"], None),
        "/api/v1/pods" => refusal(400, "BadRequest"),
        _ if path.starts_with("/api/v1/") => (200, json!({"metadata": {}, "items": []})),
        _ => refusal(404, "NotFound"),
    }
}

/// Starts the server, which lives as long as the process, and writes down which pods it was asked for.
fn server() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let handler = async move |uri: Uri| {
        let query = uri.query().unwrap_or_default();
        if uri.path() == "/api/v1/pods" {
            log.lock().unwrap_or_else(PoisonError::into_inner).push(query.to_owned());
        }
        let (code, body) = answer(uri.path(), query);
        (StatusCode::from_u16(code).unwrap(), [(header::CONTENT_TYPE, "application/json")], body.to_string())
    };
    let (tell, address) = mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            axum::serve(listener, Router::new().fallback(handler)).await.unwrap();
        });
    });
    (address.recv().unwrap(), asked)
}

#[test]
fn a_list_whose_pages_have_expired_is_read_anew_as_a_whole() {
    let (address, asked) = server();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let words = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    std::fs::write(&kubeconfig, words.to_string()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_supercargo"))
        .args(["plan", "-o", "json", "--iterations", "5", "--kubeconfig"])
        .arg(&kubeconfig)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"));
    assert_eq!(plan["summary"]["pods"], 3, "{told}");
    let nodes = plan["nodes"].as_array().unwrap();
    let pods: BTreeSet<&str> =
        nodes.iter().flat_map(|node| node["pods"].as_array().unwrap()).filter_map(Value::as_str).collect();
    assert_eq!(pods, BTreeSet::from(["default/two", "default/three", "default/four"]));
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert!(asked[..3].iter().all(|query| query.contains("limit=")) && !asked[3].contains("limit="), "{asked:?}");
}
