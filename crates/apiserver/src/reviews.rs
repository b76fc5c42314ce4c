//! Kinds that are answered and not kept: access and token reviews (I15, I28, I29), Bindings, component statuses.

use std::sync::Arc;

use http::{Request, Response};
use outrigger_api::{Object, StatusError};
use serde_json::{Value, json};

use crate::auth::{Attributes, Identity, Verdict, review_token, verdict};
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
            access(api, &identity, &mut object).await?;
        }
        "SelfSubjectRulesReview" => rules(&call.identity, &mut object)?,
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
    let status = match review_token(api, &token).await {
        Some(identity) => json!({
            "authenticated": true, "user": user_info(&identity), "audiences": [crate::auth::ISSUER],
        }),
        None => json!({ "user": {}, "error": "invalid bearer token" }),
    };
    *review.entry(&["status"]) = status;
    Ok(())
}

fn subject(review: &Object) -> Result<Identity, StatusError> {
    let texts = |path: &[&str]| {
        let list = review.at(path).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let user = review.str_at(&["spec", "user"]).to_owned();
    let groups = texts(&["spec", "groups"]);
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
    Ok(Identity { user, groups, ..Identity::default() })
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

/// I29. Only the all-powerful caller's rules are enumerated; for others the answer says that it is incomplete.
fn rules(identity: &Identity, review: &mut Object) -> Result<(), StatusError> {
    if review.str_at(&["spec", "namespace"]).is_empty() {
        return Err(StatusError::bad_request("no namespace on request"));
    }
    let all = identity.is_in("system:masters");
    let every = |all: bool| if all { json!(["*"]) } else { json!([]) };
    let resource_rules = if all {
        json!([{ "verbs": every(true), "apiGroups": every(true), "resources": every(true) }])
    } else {
        json!([])
    };
    let path_rules =
        if all { json!([{ "verbs": every(true), "nonResourceURLs": every(true) }]) } else { json!([]) };
    *review.entry(&["spec"]) = json!({});
    *review.entry(&["status"]) = json!({
        "resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": !all,
    });
    Ok(())
}
