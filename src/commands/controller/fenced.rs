//! A client that writes no more once another replica may.

use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::{Method, Request, Response};
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use kube::client::Body;
use tower::{BoxError, Service};

use crate::controllers::Tenure;

/// The service that sends requests, for one whose time may be over.
pub struct Fenced<S> {
    /// What sends them.
    pub inner: S,
    /// Until when.
    pub tenure: Arc<Tenure>,
}

/// Why a write is not sent.
#[derive(Debug, thiserror::Error)]
#[error("not sent: the lease was not renewed in time")]
struct Over;

impl<S, B> Service<Request<Body>> for Fenced<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Whose the lease is the API server decides.
        let is_lease = || request.uri().path().starts_with("/apis/coordination.k8s.io/");
        if *request.method() != Method::GET && self.tenure.is_over() && !is_lease() {
            return std::future::ready(Err(Over.into())).boxed();
        }
        self.inner.call(request).map_err(Into::into).boxed()
    }
}
