//! For tests of what a crash leaves behind: a client that ends the program in the middle of its work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::http::{Method, Request};
use futures::FutureExt;
use futures::future::BoxFuture;
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::Service;
use tower::layer::layer_fn;

/// A client whose program is gone as soon as its last of so many writes is answered: nobody learns of the answer.
///
/// # Errors
/// If the configuration can't be used.
pub fn client(config: Config, writes: u64) -> kube::Result<Client> {
    let left = Arc::new(AtomicU64::new(writes));
    let layer = layer_fn(|inner| Dying { inner, left: Arc::clone(&left) });
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
}

struct Dying<S> {
    inner: S,
    left: Arc<AtomicU64>,
}

impl<S> Service<Request<Body>> for Dying<S>
where
    S: Service<Request<Body>>,
    S::Future: Send + 'static,
    S::Response: Send,
    S::Error: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Events and leases are no steps of the work.
        let path = request.uri().path();
        let counts = request.method() != Method::GET && !path.contains("/events") && !path.contains("/leases");
        let (left, answer) = (Arc::clone(&self.left), self.inner.call(request));
        async move {
            let answer = answer.await;
            if counts && left.fetch_sub(1, Ordering::SeqCst) == 1 {
                std::process::abort();
            }
            answer
        }
        .boxed()
    }
}
