//! `serviceaccounts/<sa>/token`: TokenRequest (H45-H47).

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use outrigger_api::{Object, StatusError};
use serde_json::{Value, json};

use crate::auth::{Binding, ISSUER, TokenSubject};
use crate::codec::{self, invalid};
use crate::handler::Call;
use crate::negotiate::Endpoint;
use crate::pipeline::WriteOptions;
use crate::respond::{self, Body};
use crate::server::Api;

const GROUP: &str = "authentication.k8s.io";
const HOUR: i64 = 3600;
/// A kubelet asks for this much and gets a year (H47).
const EXTENDED_FROM: i64 = 3607;
const YEAR: i64 = 365 * 24 * HOUR;

pub(super) async fn create(
    api: &Arc<Api>,
    call: &Call,
    request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    let layout = call.accepted(Endpoint::PlainOnly)?.layout;
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let bytes = codec::read(request.into_body()).await?;
    let mut review = Object::from_value(
        codec::tree(&call.headers, &bytes, "TokenRequest", codec::Formats::of(&call.kind))?.value,
    )
    .unwrap_or_default();
    let account = api.storage.get(&call.kind, &call.path.namespace, &call.path.name).await?.object()?;
    check_uid(&review, &account)?;
    let seconds = review.at(&["spec", "expirationSeconds"]).and_then(Value::as_i64).unwrap_or(HOUR);
    check_seconds(&account, seconds)?;
    let audiences: Vec<String> = review
        .at(&["spec", "audiences"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|one| one.as_str().map(str::to_owned))
        .collect();
    let audiences = if audiences.is_empty() { vec![ISSUER.to_owned()] } else { audiences };
    let mut subject = TokenSubject {
        namespace: account.namespace().to_owned(),
        serviceaccount: Binding { name: account.name().to_owned(), uid: account.uid().to_owned() },
        ..TokenSubject::default()
    };
    bind(api, &review, &account, &mut subject).await?;
    let now = api.now();
    let plus = |seconds: i64| now.checked_add(Duration::from_secs(seconds.unsigned_abs())).unwrap_or(now);
    let extend =
        seconds == EXTENDED_FROM && subject.pod.is_some() && audiences.iter().all(|one| one == ISSUER);
    if extend {
        subject.warnafter = Some(plus(seconds).as_second());
    }
    let expires = plus(if extend { YEAR } else { seconds });
    let token = if options.dry_run {
        String::new()
    } else {
        api.signer.sign(subject, audiences.clone(), now, expires).map_err(StatusError::internal)?
    };
    review.0.insert("apiVersion".to_owned(), json!("authentication.k8s.io/v1"));
    review.0.insert("kind".to_owned(), json!("TokenRequest"));
    let metadata = json!({
        "name": account.name(), "namespace": account.namespace(),
        "creationTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    review.0.insert("metadata".to_owned(), metadata);
    *review.entry(&["spec", "audiences"]) = json!(audiences);
    *review.entry(&["spec", "expirationSeconds"]) = json!(seconds);
    let until = plus(seconds).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    *review.entry(&["status"]) = json!({ "token": token, "expirationTimestamp": until });
    Ok(respond::value(201, layout, &review.0))
}

/// H46, the account's own uid.
fn check_uid(review: &Object, account: &Object) -> Result<(), StatusError> {
    let asked = review.uid();
    if asked.is_empty() || asked == account.uid() {
        return Ok(());
    }
    let cause = format!(
        "the UID in the token request ({asked}) does not match the UID of the service account ({})",
        account.uid()
    );
    Err(StatusError::conflict("TokenRequest", GROUP, account.name(), &cause))
}

/// H45.
fn check_seconds(account: &Object, seconds: i64) -> Result<(), StatusError> {
    let why = match seconds {
        ..600 => "may not specify a duration less than 10 minutes",
        0x1_0000_0001.. => "may not specify a duration larger than 2^32 seconds",
        _ => return Ok(()),
    };
    let finding = format!("Invalid value: {seconds}: {why}");
    Err(invalid(
        "TokenRequest",
        GROUP,
        account.name(),
        "spec.expirationSeconds",
        "FieldValueInvalid",
        &finding,
    ))
}

/// H46.
async fn bind(
    api: &Api,
    review: &Object,
    account: &Object,
    subject: &mut TokenSubject,
) -> Result<(), StatusError> {
    let reference = match review.at(&["spec", "boundObjectRef"]) {
        Some(reference) if !reference.is_null() => reference,
        _ => return Ok(()),
    };
    let text = |key: &str| reference.get(key).and_then(Value::as_str).unwrap_or_default();
    let (plural, namespace) = match (text("apiVersion"), text("kind")) {
        ("v1", "Pod") => ("pods", account.namespace()),
        ("v1", "Secret") => ("secrets", account.namespace()),
        ("v1", "Node") => ("nodes", ""),
        (version, kind) => {
            let version = if version.is_empty() { "/" } else { version };
            return Err(StatusError::bad_request(format!(
                "cannot bind token to object of type {version}, Kind={kind}"
            )));
        }
    };
    let Some(kind) = api.registry.find("", "v1", plural) else { return Ok(()) };
    let object = api.storage.get(&kind, namespace, text("name")).await?.object()?;
    let uid = text("uid");
    if !uid.is_empty() && uid != object.uid() {
        let cause = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(StatusError::conflict(plural, "", object.name(), &cause));
    }
    let binding = Binding { name: object.name().to_owned(), uid: object.uid().to_owned() };
    match plural {
        "pods" => {
            if object.str_at(&["spec", "serviceAccountName"]) != account.name() {
                return Err(StatusError::bad_request(format!(
                    "cannot bind token for serviceaccount \"{}\" to pod running with different serviceaccount name.",
                    account.name()
                )));
            }
            let node = object.str_at(&["spec", "nodeName"]);
            if !node.is_empty()
                && let Some(nodes) = api.registry.find("", "v1", "nodes")
            {
                let uid = match api.storage.find(&nodes, "", node).await? {
                    Some(found) => found.object()?.uid().to_owned(),
                    None => String::new(),
                };
                subject.node = Some(Binding { name: node.to_owned(), uid });
            }
            subject.pod = Some(binding);
        }
        "secrets" => subject.secret = Some(binding),
        _ => subject.node = Some(binding),
    }
    Ok(())
}
