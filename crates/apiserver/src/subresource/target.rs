//! Which container of which Pod on which node a log, exec or attach is about (H15, H16, H20).

use std::sync::Arc;

use outrigger_api::{Object, StatusError};
use outrigger_streaming::agent::{ContainerTarget, NodeAgent};
use serde_json::Value;

use crate::handler::Call;
use crate::server::Api;

/// The Pod of a call.
pub(super) async fn pod(api: &Api, call: &Call) -> Result<Object, StatusError> {
    api.storage.get(&call.kind, &call.path.namespace, &call.path.name).await?.object()
}

/// Resolves the container (H15).
///
/// # Errors
/// 400 if there is none of that name, or none was named and there are several.
pub(super) fn container(pod: &Object, named: &str) -> Result<ContainerTarget, StatusError> {
    let names = |member: &str| -> Vec<String> {
        let list = pod.at(&["spec", member]).and_then(Value::as_array);
        let names = list.into_iter().flatten().filter_map(|one| one.get("name")?.as_str());
        names.map(str::to_owned).collect()
    };
    let (init, main, ephemeral) =
        (names("initContainers"), names("containers"), names("ephemeralContainers"));
    let container = if named.is_empty() {
        match main.as_slice() {
            [only] => only.clone(),
            _ => {
                let all: Vec<&str> = init.iter().chain(&main).chain(&ephemeral).map(String::as_str).collect();
                return Err(StatusError::bad_request(format!(
                    "a container name must be specified for pod {}, choose one of: [{}]",
                    pod.name(),
                    all.join(" ")
                )));
            }
        }
    } else if init.iter().chain(&main).chain(&ephemeral).any(|name| name == named) {
        named.to_owned()
    } else {
        return Err(StatusError::bad_request(format!(
            "container {named} is not valid for pod {}",
            pod.name()
        )));
    };
    Ok(ContainerTarget { container, ..whole(pod) })
}

/// The Pod without a container.
pub(super) fn whole(pod: &Object) -> ContainerTarget {
    ContainerTarget {
        namespace: pod.namespace().to_owned(),
        pod: pod.name().to_owned(),
        uid: pod.uid().to_owned(),
        container: String::new(),
    }
}

/// The agent of the Pod's node.
///
/// # Errors
/// 404 if there is no such node, 503 if its agent cannot be reached from here.
pub(super) async fn agent(api: &Api, pod: &Object) -> Result<Arc<dyn NodeAgent>, StatusError> {
    let node = pod.str_at(&["spec", "nodeName"]);
    if let Some(agent) = api.config.nodes.agent(node) {
        return Ok(agent);
    }
    if let Some(kind) = api.registry.find("", "v1", "nodes") {
        api.storage.get(&kind, "", node).await?;
    }
    let message = format!("the agent of node {node:?} cannot be reached");
    Err(StatusError::new(503, outrigger_api::status::Reason::ServiceUnavailable, message))
}
