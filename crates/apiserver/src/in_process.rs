//! The API without a socket: what components in this process talk to (design decision 2).

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
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
        Box::pin(async move {
            let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            Ok(handle(api, peer, request).await)
        })
    }
}
