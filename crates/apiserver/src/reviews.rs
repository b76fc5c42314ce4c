//! Kinds that are answered and not kept: access and token reviews (I15, I28, I29), Bindings, component statuses.

use std::sync::Arc;

use http::{Request, Response};
use outrigger_api::{Object, StatusError};
use serde_json::{Value, json};

use crate::auth::{Attributes, Identity, Verdict, held, identify, verdict};
use crate::codec;
use crate::handler::Call;
use crate::negotiate::Endpoint;
use crate::pipeline::WriteOptions;
use crate::request::Verb;
use crate::respond::{self, Body};
use crate::server::Api;
use crate::subresource;

/// Answers a request on a kind that has no storage.
pub(crate) async fn answer(
    api: &Arc<Api>,
    call: &Call,
    request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    let layout = call.view(api, Endpoint::PlainOnly)?.accepted.layout;
    if call.verb != Verb::Create {
        return component_status(call, layout);
    }
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let bytes = codec::read(request.into_body()).await?;
    let decoded = codec::object(&call.kind, &call.headers, &bytes, options.validation)?;
    let mut object = decoded.object;
    match &*call.kind.kind {
        "Binding" => {
            return subresource::bind(api, call, object.name().to_owned().as_str(), &object, options).await;
        }
        "SelfSubjectReview" => *object.entry(&["status"]) = json!({ "userInfo": user_info(&call.identity) }),
        "TokenReview" => token(api, &mut object).await?,
        "SelfSubjectAccessReview" => {
            let identity = call.identity.clone();
            access(api, &identity, &mut object).await?;
        }
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            let identity = subject(&object)?;
            if &*call.kind.kind == "LocalSubjectAccessReview" {
                local(&object, &call.path.namespace)?;
            }
            access(api, &identity, &mut object).await?;
        }
        "SelfSubjectRulesReview" => rules(api, &call.identity, &mut object).await?,
        other => return Err(StatusError::internal(format!("{other} has no answer"))),
    }
    let mut response = respond::value(201, layout, &object.0);
    respond::warn(&mut response, &decoded.warnings);
    Ok(response)
}

fn component_status(call: &Call, layout: respond::Layout) -> Result<Response<Body>, StatusError> {
    let item = |name: &str| {
        json!({
            "metadata": { "name": name },
            "conditions": [{ "type": "Healthy", "status": "True", "message": "ok" }],
        })
    };
    let names = ["controller-manager", "scheduler", "etcd-0"];
    if call.path.name.is_empty() {
        let body = json!({
            "kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {},
            "items": names.map(item),
        });
        return Ok(respond::value(200, layout, &body));
    }
    if !names.contains(&call.path.name.as_str()) {
        return Err(StatusError::not_found("componentstatuses", "", &call.path.name));
    }
    let mut body = item(&call.path.name);
    body["kind"] = json!("ComponentStatus");
    body["apiVersion"] = json!("v1");
    Ok(respond::value(200, layout, &body))
}

fn user_info(identity: &Identity) -> Value {
    let mut info = json!({ "username": identity.user, "groups": identity.groups });
    if !identity.uid.is_empty() {
        info["uid"] = json!(identity.uid);
    }
    if !identity.extra.is_empty() {
        info["extra"] = json!(identity.extra);
    }
    info
}

/// I15.
async fn token(api: &Api, review: &mut Object) -> Result<(), StatusError> {
    let token = review.str_at(&["spec", "token"]).to_owned();
    if token.is_empty() {
        return Err(StatusError::bad_request("token is required for TokenReview in authentication"));
    }
    let asked = texts(review, &["spec", "audiences"]);
    let audiences = if asked.is_empty() { vec![crate::auth::ISSUER.to_owned()] } else { asked };
    let status = match identify(api, &token, &audiences).await {
        Some((identity, audiences)) => json!({
            "authenticated": true, "user": user_info(&identity), "audiences": audiences,
        }),
        None => json!({ "user": {}, "error": "invalid bearer token" }),
    };
    *review.entry(&["status"]) = status;
    Ok(())
}

fn subject(review: &Object) -> Result<Identity, StatusError> {
    let user = review.str_at(&["spec", "user"]).to_owned();
    let groups = texts(review, &["spec", "groups"]);
    if user.is_empty() && groups.is_empty() {
        let finding = "Invalid value: \"\": at least one of user or group must be specified";
        return Err(codec::invalid(
            "",
            "authorization.k8s.io",
            "",
            "spec.user",
            "FieldValueInvalid",
            finding,
        ));
    }
    let extra = review.at(&["spec", "extra"]).and_then(Value::as_object);
    let extra =
        extra.into_iter().flatten().map(|(key, _)| (key.clone(), texts(review, &["spec", "extra", key])));
    let uid = review.str_at(&["spec", "uid"]).to_owned();
    Ok(Identity { user, uid, groups, extra: extra.collect() })
}

fn texts(review: &Object, path: &[&str]) -> Vec<String> {
    let list = review.at(path).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

/// I28: what is asked in a namespace is about that namespace.
fn local(review: &Object, namespace: &str) -> Result<(), StatusError> {
    let refused = |field: &str, finding: &str| {
        Err(codec::invalid("", "authorization.k8s.io", "", field, "FieldValueInvalid", finding))
    };
    if review.at(&["spec", "nonResourceAttributes"]).is_some_and(|it| !it.is_null()) {
        let finding = "Invalid value: null: disallowed on this kind of request";
        return refused("spec.nonResourceAttributes", finding);
    }
    let asked = review.str_at(&["spec", "resourceAttributes", "namespace"]);
    if asked != namespace {
        let finding = format!("Invalid value: {asked:?}: must match metadata.namespace");
        return refused("spec.resourceAttributes.namespace", &finding);
    }
    Ok(())
}

/// I28.
async fn access(api: &Api, identity: &Identity, review: &mut Object) -> Result<(), StatusError> {
    let resource = review.at(&["spec", "resourceAttributes"]).filter(|it| !it.is_null()).cloned();
    let path = review.at(&["spec", "nonResourceAttributes"]).filter(|it| !it.is_null()).cloned();
    let text = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let wanted = match (resource, path) {
        (Some(resource), None) => Attributes {
            verb: text(&resource, "verb"),
            group: text(&resource, "group"),
            resource: text(&resource, "resource"),
            subresource: text(&resource, "subresource"),
            namespace: text(&resource, "namespace"),
            name: text(&resource, "name"),
            node_selector: String::new(),
            path: None,
        },
        (None, Some(path)) => {
            Attributes { verb: text(&path, "verb"), path: Some(text(&path, "path")), ..Attributes::default() }
        }
        _ => {
            let finding = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified";
            let field = "spec.resourceAttributes";
            return Err(codec::invalid("", "authorization.k8s.io", "", field, "FieldValueInvalid", finding));
        }
    };
    let status = match verdict(api, identity, &wanted).await? {
        Verdict::Allowed(why) => json!({ "allowed": true, "reason": why }),
        Verdict::Denied(why) => json!({ "allowed": false, "reason": why }),
    };
    *review.entry(&["status"]) = status;
    Ok(())
}

/// I29.
async fn rules(api: &Api, identity: &Identity, review: &mut Object) -> Result<(), StatusError> {
    let namespace = review.str_at(&["spec", "namespace"]).to_owned();
    if namespace.is_empty() {
        return Err(StatusError::bad_request("no namespace on request"));
    }
    let held = held(api, identity, &namespace).await?;
    let (paths, resources): (Vec<Value>, Vec<Value>) =
        held.rules.into_iter().partition(|rule| rule.get("nonResourceURLs").is_some());
    // What the Node authorizer allows depends on the Pods of the node, and is not listed.
    let mut doubts = held.missing;
    if crate::auth::node_of(identity).is_some() {
        doubts.insert(0, "node authorizer does not support user rule resolution".to_owned());
    }
    let mut status =
        json!({ "resourceRules": resources, "nonResourceRules": paths, "incomplete": !doubts.is_empty() });
    if !doubts.is_empty() {
        status["evaluationError"] = json!(doubts.join(", "));
    }
    *review.entry(&["spec"]) = json!({});
    *review.entry(&["status"]) = status;
    Ok(())
}
