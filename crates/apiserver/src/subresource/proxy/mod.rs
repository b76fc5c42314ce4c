//! `pods/<p>/proxy`, `services/<s>/proxy`, `nodes/<n>/proxy` (H48 to H50, N6): a request passed on to a Pod, to an
//! endpoint of a Service, or to a node's own API; every method, bodies as they come, upgrades too.
//!
//! `place` says where to, `rewrite` what is changed on the way there and back, `forward` moves the bytes. A node in this
//! process is called directly; the caller's right to `nodes/proxy` was checked on the way here, and the node asks no more.

mod forward;
mod place;
mod rewrite;

use std::net::IpAddr;
use std::sync::Arc;

use http::header::LOCATION;
use http::{HeaderValue, Method, Request, Response, Uri};
use outrigger_api::status::Reason;
use outrigger_api::{Object, StatusError};
use serde_json::Value;

use self::place::{Named, Place};
use crate::handler::Call;
use crate::respond::{self, Body};
use crate::server::Api;
use crate::storage::{ListRequest, Selection};

/// Passes the request on.
pub(super) async fn answer(
    api: &Arc<Api>,
    call: &Call,
    mut request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    let Some(path) = rewrite::Path::of(request.uri(), &call.path) else {
        return Err(StatusError::bad_request("not a path that can be passed on"));
    };
    if path.below.is_empty() && matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(with_slash(request.uri()));
    }
    let named = Named::parse(&call.kind.plural, &call.path.name)?;
    let place = match &*call.kind.plural {
        "pods" => place::of_pod(&object(api, call, &named.name).await?, &named)?,
        "services" => of_service(api, call, &named).await?,
        _ => {
            let node = object(api, call, &named.name).await?;
            if place::is_kubelet(&node, &named) {
                let agent = api.config.nodes.agent(node.name()).ok_or_else(|| unreachable(node.name()))?;
                *request.uri_mut() = path.uri.clone();
                return Ok(agent.http(request).await);
            }
            place::of_node(&node, &named)?
        }
    };
    rewrite::request(&mut request, &path);
    let mut response = forward::send(api, &place, request).await?;
    rewrite::response(&mut response, &path, &place);
    Ok(response)
}

fn unreachable(node: &str) -> StatusError {
    let message = format!("the agent of node {node:?} cannot be reached");
    StatusError::new(503, Reason::ServiceUnavailable, message)
}

/// H48: relative links of a page need the slash.
fn with_slash(uri: &Uri) -> Response<Body> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = Response::new(respond::full(""));
    *response.status_mut() = http::StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(&format!("{}/{query}", uri.path())) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

async fn object(api: &Api, call: &Call, name: &str) -> Result<Object, StatusError> {
    let namespace = if call.kind.namespaced { call.path.namespace.as_str() } else { "" };
    api.storage.get(&call.kind, namespace, name).await?.object()
}

/// H49.
async fn of_service(api: &Api, call: &Call, named: &Named) -> Result<Place, StatusError> {
    let service = object(api, call, &named.name).await?;
    let (address, port) = endpoint(api, &service, named).await?;
    Place::at(named.secure, address, port)
}

/// One of the ready endpoints behind a port of a Service, for who calls it from here: there is no other way to it than
/// its Pods (I53).
///
/// # Errors
/// 404 without the Service; 503 without the port or a ready endpoint.
pub(crate) async fn ready_endpoint(
    api: &Api,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<(IpAddr, u16), StatusError> {
    let Some(service) = crate::pipeline::lookup::one(api, "", "services", namespace, name).await? else {
        return Err(StatusError::not_found("service", "", name));
    };
    let named = Named { secure: true, name: name.to_owned(), port: port.to_string() };
    endpoint(api, &service, &named).await
}

async fn endpoint(api: &Api, service: &Object, named: &Named) -> Result<(IpAddr, u16), StatusError> {
    let namespace = service.namespace();
    let port = place::service_port(service, named)?;
    let mut ready = Vec::new();
    if let Some(kind) = api.registry.find("discovery.k8s.io", "v1", "endpointslices") {
        let label = format!("kubernetes.io/service-name={}", service.name());
        let request = ListRequest {
            namespace: namespace.to_owned(),
            selection: Selection::parse(&kind, &label, "")?,
            ..ListRequest::default()
        };
        for slice in api.storage.list(&kind, &request).await?.items {
            ready.extend(place::ready_in_slice(&slice.object()?, &port));
        }
    }
    if ready.is_empty()
        && let Some(kind) = api.registry.find("", "v1", "endpoints")
        && let Ok(endpoints) = api.storage.get(&kind, namespace, service.name()).await
    {
        ready = place::ready_in_endpoints(&endpoints.object()?, &port);
    }
    let chosen = (!ready.is_empty()).then(|| ready.swap_remove(rand::random_range(0..ready.len())));
    chosen.ok_or_else(|| {
        let message = format!("no endpoints available for service {:?}", named.name);
        StatusError::new(503, Reason::ServiceUnavailable, message)
    })
}

/// The elements of a list; nothing if it is absent.
fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}
