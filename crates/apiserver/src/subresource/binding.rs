//! Binding a Pod to a node (H4).

use std::sync::Arc;

use http::{Request, Response};
use outrigger_api::{Object, StatusError};
use serde_json::{Value, json};

use crate::codec;
use crate::handler::Call;
use crate::negotiate::Endpoint;
use crate::pipeline::{RACES, WriteOptions};
use crate::respond::{self, Body};
use crate::server::Api;

/// `POST pods/<p>/binding`.
pub(super) async fn create(
    api: &Arc<Api>,
    call: &Call,
    request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let bytes = codec::read(request.into_body()).await?;
    let Some(kind) = api.registry.by_kind("", "v1", "Binding") else {
        return Err(StatusError::internal("Binding is not registered"));
    };
    let binding = codec::object(&kind, &call.headers, &bytes, options.validation)?.object;
    if !binding.name().is_empty() && binding.name() != call.path.name {
        return Err(StatusError::bad_request("name in URL does not match name in Binding object"));
    }
    bind(api, call, &call.path.name, &binding, options).await
}

/// Assigns the Pod `name` as `binding` says, in one write.
///
/// # Errors
/// 409 if the Pod is assigned, gated or on its way out; 500 without reason for a bad target.
pub(crate) async fn bind(
    api: &Arc<Api>,
    call: &Call,
    name: &str,
    binding: &Object,
    options: WriteOptions,
) -> Result<Response<Body>, StatusError> {
    let layout = call.accepted(Endpoint::PlainOnly)?.layout;
    let node = binding.str_at(&["target", "name"]).to_owned();
    if node.is_empty() {
        let mut error = StatusError::internal("");
        error.reason = None;
        error.details = None;
        error.message = "target.name: Required value".to_owned();
        return Err(error);
    }
    let Some(kind) = api.registry.find("", "v1", "pods") else {
        return Err(StatusError::internal("pods are not registered"));
    };
    let namespace = call.path.namespace.as_str();
    // The whole Pod changes at once, spec and status, which no endpoint of clients may do.
    let now = api.now();
    let conflict = |why: &str| Err(StatusError::conflict("pods/binding", "", name, why));
    for _ in 0..RACES {
        let old = api.storage.get(&kind, namespace, name).await?;
        let pod = old.object()?;
        let precondition = |member: &str, stored: &str| {
            let asked = binding.str_at(&["metadata", member]);
            asked.is_empty() || asked == stored
        };
        if !precondition("uid", pod.uid()) || !precondition("resourceVersion", pod.resource_version()) {
            return conflict(
                "the object has been modified; please apply your changes to the latest version and try again",
            );
        }
        if pod.is_deleting() {
            return conflict(&format!("pod {name} is being deleted, cannot be assigned to a host"));
        }
        let assigned = pod.str_at(&["spec", "nodeName"]);
        if !assigned.is_empty() {
            return conflict(&format!("pod {name} is already assigned to node \"{assigned}\""));
        }
        if pod
            .at(&["spec", "schedulingGates"])
            .and_then(Value::as_array)
            .is_some_and(|gates| !gates.is_empty())
        {
            return conflict(&format!("pod {name} has non-empty .spec.schedulingGates"));
        }
        let bound = assigned_to(pod, &node, binding, now);
        if options.dry_run || api.storage.update(&kind, &old, &bound).await?.is_ok() {
            let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
            return Ok(respond::value(201, layout, &status));
        }
    }
    conflict("the object has been modified; please apply your changes to the latest version and try again")
}

fn assigned_to(mut pod: Object, node: &str, binding: &Object, now: jiff::Timestamp) -> Object {
    *pod.entry(&["spec", "nodeName"]) = json!(node);
    for member in ["annotations", "labels"] {
        let extra = binding.at(&["metadata", member]).and_then(Value::as_object).cloned().unwrap_or_default();
        for (key, value) in extra {
            *pod.entry(&["metadata", member, &key]) = value;
        }
    }
    if let Some(status) = pod.0.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("nominatedNodeName");
    }
    let at = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let scheduled = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": at,
    });
    let conditions = pod.entry(&["status", "conditions"]);
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    if let Some(list) = conditions.as_array_mut() {
        list.retain(|condition| condition.get("type") != Some(&json!("PodScheduled")));
        list.push(scheduled);
    }
    pod
}
