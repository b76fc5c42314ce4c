//! AdmissionReview: what a webhook is sent and what it says (I52, I54).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outrigger_api::status::{Details, Reason};
use outrigger_api::{KindInfo, Object, StatusError};
use serde_json::{Value, json};

use crate::patch::{Patch, PatchType};
use crate::rules::Request;
use crate::tree;
use crate::validation::ABSENT;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    /// Their name.
    pub name: &'a str,
    /// May be empty.
    pub uid: &'a str,
    /// Their groups.
    pub groups: &'a [String],
    /// What the authenticator added.
    pub extra: &'a BTreeMap<String, Vec<String>>,
}

impl User<'_> {
    /// As `userInfo` (I52).
    pub fn to_value(&self) -> Value {
        let mut user = json!({ "username": self.name });
        if !self.uid.is_empty() {
            user["uid"] = json!(self.uid);
        }
        if !self.groups.is_empty() {
            user["groups"] = json!(self.groups);
        }
        if !self.extra.is_empty() {
            user["extra"] = json!(self.extra);
        }
        user
    }
}

/// What a webhook or a policy is told of a request besides the objects.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// Who asks.
    pub user: User<'a>,
    /// Nothing will be stored.
    pub dry_run: bool,
    /// The options of the request: `CreateOptions` and its like.
    pub options: &'a Value,
}

/// `request` of an AdmissionReview, without the objects.
pub fn request(request: &Request<'_>, view: &KindInfo, circumstances: &Circumstances<'_>) -> Value {
    let kind = |row: &KindInfo| {
        let sub = row.subresource(request.subresource);
        let (group, version) = match sub.and_then(|sub| sub.foreign.as_ref()) {
            Some((group, version)) => (group, version),
            None => (&row.group, &row.version),
        };
        json!({ "group": group, "version": version, "kind": sub.map_or(&row.kind, |sub| &sub.kind) })
    };
    let resource =
        |row: &KindInfo| json!({ "group": row.group, "version": row.version, "resource": row.plural });
    let mut out = json!({
        "kind": kind(view),
        "resource": resource(view),
        "requestKind": kind(request.kind),
        "requestResource": resource(request.kind),
        "operation": request.operation.word(),
        "userInfo": circumstances.user.to_value(),
        "dryRun": circumstances.dry_run,
        "options": circumstances.options,
    });
    for (key, text) in [
        ("name", request.name),
        ("namespace", request.namespace),
        ("subResource", request.subresource),
        ("requestSubResource", request.subresource),
    ] {
        if !text.is_empty() {
            out[key] = json!(text);
        }
    }
    out
}

/// The whole AdmissionReview; `object` and `old` are in the view the webhook wants.
pub fn review(
    version: &str,
    uid: &str,
    mut request: Value,
    object: Option<Value>,
    old: Option<Value>,
) -> Value {
    request["uid"] = json!(uid);
    request["object"] = object.unwrap_or_default();
    request["oldObject"] = old.unwrap_or_default();
    json!({ "kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{version}"), "request": request })
}

/// What a webhook said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Whether the request may go on.
    pub allowed: bool,
    /// Why not; null if it does not say.
    pub status: Value,
    /// How the object is to be changed.
    pub patch: Option<Patch>,
    /// For the client.
    pub warnings: Vec<String>,
    /// For the audit log.
    pub audit: BTreeMap<String, String>,
}

/// Reads an answer to the review `uid`.
///
/// # Errors
/// What is wrong with it, in upstream's words where people know them.
pub fn read(body: &[u8], version: &str, uid: &str, may_patch: bool) -> Result<Answer, String> {
    let review: Value = serde_json::from_slice(body)
        .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
    let (is, kind) = (tree::text(&review, "apiVersion"), tree::text(&review, "kind"));
    let expected = format!("admission.k8s.io/{version}");
    let response = review.get("response").filter(|response| response.is_object());
    let Some(response) = response else { return Err("webhook response is missing".to_owned()) };
    if version == "v1" {
        if (is, kind) != (expected.as_str(), "AdmissionReview") {
            return Err(format!(
                "expected webhook response of {expected}, Kind=AdmissionReview, got {is}, Kind={kind}"
            ));
        }
        let given = tree::text(response, "uid");
        if given != uid {
            return Err(format!("expected response.uid=\"{uid}\", got \"{given}\""));
        }
    }
    let patch = patch(response, version)?;
    if patch.is_some() && !may_patch {
        return Err("validating webhook may not return response.patch".to_owned());
    }
    let texts = |value: &Value| value.as_str().map(str::to_owned);
    let audit = response.get("auditAnnotations").and_then(Value::as_object).into_iter().flatten();
    Ok(Answer {
        allowed: tree::truth(response, "allowed"),
        status: response.get("status").unwrap_or(ABSENT).clone(),
        patch,
        warnings: tree::list(response, "warnings").iter().filter_map(texts).collect(),
        audit: audit.filter_map(|(key, value)| Some((key.clone(), texts(value)?))).collect(),
    })
}

fn patch(response: &Value, version: &str) -> Result<Option<Patch>, String> {
    let (encoded, kind) = (tree::text(response, "patch"), tree::text(response, "patchType"));
    match (encoded.is_empty(), kind.is_empty()) {
        (true, true) => return Ok(None),
        (true, false) => return Err("webhook returned response.patchType but not response.patch".to_owned()),
        (false, true) if version == "v1" => {
            return Err("webhook returned response.patch but not response.patchType".to_owned());
        }
        (false, _) => {}
    }
    if !matches!(kind, "" | "JSONPatch") {
        return Err(format!(
            "invalid webhook response.patchType of \"{kind}\" returned, expected \"JSONPatch\""
        ));
    }
    let bytes = STANDARD.decode(encoded).map_err(|error| format!("response.patch is not base64: {error}"))?;
    Patch::parse(PatchType::Json, &bytes).map(Some).map_err(|error| error.message)
}

/// The object after a webhook's patch, as a tree that is yet to be decoded.
///
/// # Errors
/// 500 if the patch does not fit.
pub fn patched(kind: &KindInfo, object: &Object, patch: &Patch) -> Result<Value, StatusError> {
    let current = Value::Object(object.0.clone());
    crate::apply_patch(kind, &current, patch).map_err(|error| {
        let cause = error.details.and_then(|details| details.causes.into_iter().next());
        StatusError::internal(cause.map_or(error.message, |cause| cause.message))
    })
}

/// I54: what the client is told if a webhook says no.
pub fn denial(webhook: &str, status: &Value) -> StatusError {
    let denied = format!("admission webhook \"{webhook}\" denied the request");
    let (message, reason) = (tree::text(status, "message"), tree::text(status, "reason"));
    let message = match (message, reason) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    // A refusal that calls itself a success is one all the same.
    let code = tree::int(status, "code").and_then(|code| u16::try_from(code).ok());
    let code = code.filter(|code| (400..600).contains(code)).unwrap_or(400);
    let details = status.get("details").filter(|details| details.is_object());
    StatusError {
        code,
        reason: serde_json::from_value::<Reason>(json!(reason)).ok(),
        message,
        details: details.and_then(|details| serde_json::from_value::<Details>(details.clone()).ok()),
        continue_token: None,
    }
}
