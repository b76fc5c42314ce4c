//! Subresources with verbs of their own: what is not just another view of the object (section H).

mod binding;
mod connect;
mod eviction;
mod log;
mod proxy;
mod scale;
mod target;
mod token;

use std::sync::Arc;

use http::{Request, Response};
use outrigger_api::StatusError;
use outrigger_api::status::{Details, Reason};

use crate::handler::Call;
use crate::request::Verb;
use crate::respond::Body;
use crate::server::Api;

pub(crate) use binding::bind;
pub(crate) use proxy::ready_endpoint;

/// Answers a request on a subresource.
pub(crate) async fn answer(
    api: &Arc<Api>,
    call: &Call,
    request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    let Some(sub) = call.kind.subresource(&call.path.subresource) else { return Err(not_served()) };
    let connects = matches!(&*sub.name, "exec" | "attach" | "portforward" | "proxy");
    if !connects && !sub.verbs.iter().any(|word| word == call.verb.word()) {
        return Err(crate::request::method_not_allowed());
    }
    if connects {
        crate::guards::connect(api, call).await?;
    }
    match (&*call.kind.plural, &*sub.name, call.verb) {
        ("pods", "log", Verb::Get) => log::read(api, call).await,
        ("pods", "exec" | "attach", Verb::Get | Verb::Create) => connect::run(api, call, request).await,
        ("pods", "portforward", Verb::Get | Verb::Create) => connect::forward(api, call, request).await,
        ("pods", "binding", Verb::Create) => binding::create(api, call, request).await,
        ("pods", "eviction", Verb::Create) => eviction::create(api, call, request).await,
        ("pods" | "services" | "nodes", "proxy", _) => proxy::answer(api, call, request).await,
        ("serviceaccounts", "token", Verb::Create) => token::create(api, call, request).await,
        (_, "scale", _) => scale::answer(api, call, request).await,
        _ => Err(not_served()),
    }
}

/// The resource exists upstream and is not served here.
fn not_served() -> StatusError {
    let message = "the server could not find the requested resource";
    let mut error = StatusError::new(404, Reason::NotFound, message);
    error.details = Some(Details::default());
    error
}
