//! `/scale`: one number of a workload, under one kind for all of them (H2).

use std::sync::Arc;

use http::{Request, Response};
use outrigger_admission::apply::{ApiType, check_fits};
use outrigger_admission::{Patch, PatchType, apply_patch};
use outrigger_api::{KindInfo, Object, StatusError};
use serde_json::{Value, json};

use crate::codec::{self, invalid};
use crate::handler::{APPLY, Call};
use crate::negotiate::Endpoint;
use crate::pipeline::{self, ApplyBody, Write, WriteOptions};
use crate::present::View;
use crate::read;
use crate::request::{Verb, method_not_allowed};
use crate::respond::Body;
use crate::server::Api;

pub(super) async fn answer(
    api: &Arc<Api>,
    call: &Call,
    request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    // G8: a Scale has a table of its own, whatever its parent is.
    let kind = KindInfo { group: "autoscaling".into(), kind: "Scale".into(), ..(*call.kind).clone() };
    let view = View { kind: &kind, ..call.view(api, Endpoint::Object)? };
    let answered = |scale: &Value| {
        let scale = Object(scale.as_object().cloned().unwrap_or_default());
        Ok(view.tree(200, &scale))
    };
    let parent = read::fetch(api, call).await?.object()?;
    let media_type = codec::media_type(&call.headers);
    if call.verb == Verb::Patch && media_type.as_deref() == Some(APPLY) {
        let scale = apply(api, call, request).await?;
        return answered(&scale);
    }
    let wanted = match call.verb {
        Verb::Get => return answered(&scale_of(&parent)),
        Verb::Update => {
            let bytes = codec::read(request.into_body()).await?;
            codec::tree(&call.headers, &bytes, "Scale", codec::Formats::of(&call.kind))?.value
        }
        Verb::Patch => {
            let format = match media_type.as_deref() {
                Some("application/json-patch+json") => PatchType::Json,
                Some("application/merge-patch+json" | "application/strategic-merge-patch+json") => {
                    PatchType::Merge
                }
                _ => {
                    return Err(codec::unsupported_media_type(
                        "application/json-patch+json, application/merge-patch+json",
                    ));
                }
            };
            let bytes = codec::read(request.into_body()).await?;
            apply_patch(&call.kind, &scale_of(&parent), &Patch::parse(format, &bytes)?)?
        }
        _ => return Err(method_not_allowed()),
    };
    let options = if call.verb == Verb::Patch { "PatchOptions" } else { "UpdateOptions" };
    let options = WriteOptions::parse(&call.query, options)?;
    let wanted = Object::from_value(wanted).unwrap_or_default();
    check(call, &wanted)?;
    let replicas = wanted.at(&["spec", "replicas"]).and_then(Value::as_i64).unwrap_or(0);
    let write = Write { endpoint: outrigger_admission::Endpoint::Main, ..call.write(api, options) };
    let written = pipeline::edit(&write, |current| {
        precondition(call, &wanted, current)?;
        let mut next = current.clone();
        *next.entry(&["spec", "replicas"]) = json!(replicas);
        Ok(next)
    });
    let stored = written.await?.stored;
    answered(&scale_of(&stored.object()?))
}

/// An applied Scale is an apply of one field to the parent (F4k, F5k); the answer is the Scale.
async fn apply(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Value, StatusError> {
    pipeline::require_manager(&call.query)?;
    let options = WriteOptions::parse(&call.query, "PatchOptions")?;
    let bytes = codec::read(request.into_body()).await?;
    let kind = ApiType { group: "autoscaling", version: "v1", kind: "Scale" };
    let body = ApplyBody::parse(kind, &bytes, call.query.flag("force"), options.validation)?;
    check_fits(kind, &body.object)?;
    check(call, &body.object)?;
    let metadata = |member: &str| body.object.at(&["metadata", member]).cloned().unwrap_or_default();
    let mut wanted = Object::default();
    *wanted.entry(&["apiVersion"]) = json!(call.kind.api_version());
    *wanted.entry(&["kind"]) = json!(call.kind.kind);
    *wanted.entry(&["metadata", "name"]) = json!(call.path.name);
    for member in ["uid", "resourceVersion"] {
        if !metadata(member).is_null() {
            *wanted.entry(&["metadata", member]) = metadata(member);
        }
    }
    if let Some(replicas) = body.object.at(&["spec", "replicas"]) {
        *wanted.entry(&["spec", "replicas"]) = replicas.clone();
    }
    let write = Write { endpoint: outrigger_admission::Endpoint::Main, ..call.write(api, options) };
    let written = pipeline::apply(&write, &ApplyBody { object: wanted, ..body }).await?;
    let (kind, name) = (&call.kind, &call.path.name);
    let written = written.ok_or_else(|| StatusError::not_found(&kind.plural, &kind.group, name))?;
    Ok(scale_of(&written.stored.object()?))
}

fn check(call: &Call, scale: &Object) -> Result<(), StatusError> {
    if !scale.name().is_empty() && scale.name() != call.path.name {
        let (given, url) = (scale.name(), &call.path.name);
        return Err(StatusError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({url})"
        )));
    }
    let replicas = scale.at(&["spec", "replicas"]).and_then(Value::as_i64).unwrap_or(0);
    if replicas < 0 {
        let finding = format!("Invalid value: {replicas}: must be greater than or equal to 0");
        return Err(invalid(
            "Scale",
            "autoscaling",
            &call.path.name,
            "spec.replicas",
            "FieldValueInvalid",
            &finding,
        ));
    }
    Ok(())
}

/// resourceVersion and uid of the Scale stand for the parent's.
fn precondition(call: &Call, scale: &Object, parent: &Object) -> Result<(), StatusError> {
    let stale = |asked: &str, stored: &str| !asked.is_empty() && asked != stored;
    if stale(scale.uid(), parent.uid()) || stale(scale.resource_version(), parent.resource_version()) {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        return Err(StatusError::conflict(&call.kind.plural, &call.kind.group, &call.path.name, why));
    }
    Ok(())
}

fn scale_of(parent: &Object) -> Value {
    let metadata = |key: &str| parent.at(&["metadata", key]).cloned().unwrap_or_default();
    let number = |path: &[&str]| parent.at(path).and_then(Value::as_i64).unwrap_or(0);
    let mut spec = json!({});
    if number(&["spec", "replicas"]) != 0 {
        spec["replicas"] = json!(number(&["spec", "replicas"]));
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata("name"), "namespace": metadata("namespace"), "uid": metadata("uid"),
            "resourceVersion": metadata("resourceVersion"), "creationTimestamp": metadata("creationTimestamp"),
        },
        "spec": spec,
        "status": { "replicas": number(&["status", "replicas"]), "selector": selector(parent) },
    })
}

/// The selector in text form; a ReplicationController's is a plain map.
fn selector(parent: &Object) -> String {
    let labels = parent.at(&["spec", "selector", "matchLabels"]).or(parent.at(&["spec", "selector"]));
    let pairs = labels.and_then(Value::as_object).into_iter().flatten();
    let pairs = pairs.filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
    pairs.collect::<Vec<_>>().join(",")
}
