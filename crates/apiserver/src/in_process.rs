//! The API without a socket: what components in this process talk to (design decision 2).

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::header::USER_AGENT;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;

use crate::auth::{Identity, Peer};
use crate::handler::handle;
use crate::respond::{Body, BoxError};
use crate::server::Api;

/// A tower service over the request pipeline. Clones are cheap and speak as the same identity.
#[derive(Clone, Debug)]
pub struct InProcess {
    api: Arc<Api>,
    identity: Identity,
}

impl InProcess {
    pub(crate) fn new(api: Arc<Api>, identity: Identity) -> Self {
        Self { api, identity }
    }

    /// What the component is called where it is not a user: the record of field owners (F5a) goes by programs.
    fn program(&self) -> HeaderValue {
        let name = match self.identity.user.strip_prefix("system:") {
            Some(node) if node.starts_with("node:") => "kubelet",
            Some(component) => component,
            None => "outrigger",
        };
        HeaderValue::from_str(name).unwrap_or(HeaderValue::from_static("outrigger"))
    }
}

impl<B> tower::Service<Request<B>> for InProcess
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (api, peer) = (Arc::clone(&self.api), Peer::InProcess(self.identity.clone()));
        let program = self.program();
        Box::pin(async move {
            let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            request.headers_mut().entry(USER_AGENT).or_insert(program);
            Ok(handle(api, peer, request).await)
        })
    }
}
