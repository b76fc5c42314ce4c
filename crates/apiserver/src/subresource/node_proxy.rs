//! `nodes/<n>/proxy/<path>` (N6): the node's own API through this server.
//!
//! A node in this process is called directly; the caller's right to `nodes/proxy` was checked on the way here, and the
//! node asks no more. Nodes elsewhere are not reached yet.

use std::sync::Arc;

use http::{Request, Response, Uri};
use outrigger_api::StatusError;
use outrigger_api::status::Reason;

use crate::handler::Call;
use crate::respond::Body;
use crate::server::Api;

/// Passes the request on, upgrades included.
pub(super) async fn answer(
    api: &Arc<Api>,
    call: &Call,
    request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    let node = api.storage.get(&call.kind, "", &call.path.name).await?.object()?;
    let Some(agent) = api.config.nodes.agent(node.name()) else {
        let message = format!("the agent of node {:?} cannot be reached", node.name());
        return Err(StatusError::new(503, Reason::ServiceUnavailable, message));
    };
    let mut request = request;
    let path = below_proxy(request.uri());
    *request.uri_mut() = path.ok_or_else(|| StatusError::bad_request("not a path of a node"))?;
    Ok(agent.http(request).await)
}

/// What follows `/api/v1/nodes/<n>/proxy`, with the query.
fn below_proxy(uri: &Uri) -> Option<Uri> {
    let mut parts = uri.path().splitn(7, '/');
    (parts.nth(5)? == "proxy").then_some(())?;
    let path = format!("/{}", parts.next().unwrap_or_default());
    match uri.query() {
        Some(query) => format!("{path}?{query}").parse().ok(),
        None => path.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N6
    #[test]
    fn the_rest_of_the_path_is_the_nodes() {
        let below = |text: &str| below_proxy(&text.parse().unwrap()).map(|uri| uri.to_string());
        let summary = below("/api/v1/nodes/n/proxy/stats/summary?only_cpu_and_memory=true");
        assert_eq!(summary.as_deref(), Some("/stats/summary?only_cpu_and_memory=true"));
        assert_eq!(below("/api/v1/nodes/n/proxy").as_deref(), Some("/"));
        assert_eq!(below("/api/v1/nodes/n/proxy/runningpods/").as_deref(), Some("/runningpods/"));
        assert_eq!(below("/api/v1/nodes/proxy/proxy/pods").as_deref(), Some("/pods"));
        assert_eq!(below("/api/v1/nodes/n/proxyish"), None);
    }
}
