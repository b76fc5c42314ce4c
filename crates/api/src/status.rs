//! API failures as values: the `Status` object of rule book section D.4, and nothing that is only text.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A request that failed, with everything a client may branch on (D30): code, reason, details, causes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct StatusError {
    /// HTTP status code; always right, because clients that do not know the reason go by it (D37).
    pub code: u16,
    /// `None` for the few internal errors upstream sends without one.
    pub reason: Option<Reason>,
    /// For people; kubectl prints it.
    pub message: String,
    /// `None` where the answer carries no `details` member at all.
    pub details: Option<Details>,
    /// A fresh token for a list whose own one has expired; travels in the Status' metadata (E12).
    pub continue_token: Option<String>,
}

/// The machine-readable `reason` of a failure (D31).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the wire word of the same name, listed in D31")]
pub enum Reason {
    AlreadyExists,
    BadRequest,
    Conflict,
    Expired,
    Forbidden,
    Gone,
    InternalError,
    Invalid,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    RequestEntityTooLarge,
    ServerTimeout,
    ServiceUnavailable,
    Timeout,
    TooManyRequests,
    Unauthorized,
    UnsupportedMediaType,
}

/// What the failure is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The object's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The API group; empty for core.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The plural resource for storage errors, the Kind for validation errors (D30).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The object's uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Single findings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Seconds to wait before trying again; also sent as `Retry-After` (D36). Zero means none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

/// One finding inside [`Details`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Its type (D32), serialised under the key `reason`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people, without the field prefix (D34).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The field path.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl StatusError {
    /// A failure without details.
    pub fn new(code: u16, reason: Reason, message: impl Into<String>) -> Self {
        Self { code, reason: Some(reason), message: message.into(), details: None, continue_token: None }
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, Reason::BadRequest, message)
    }

    /// 404 for an object; `resource` is `<plural>[.<group>]` split in its two parts.
    pub fn not_found(plural: &str, group: &str, name: &str) -> Self {
        Self::new(404, Reason::NotFound, format!("{} \"{name}\" not found", qualified(plural, group)))
            .about(plural, group, name)
    }

    /// 409 because the name is taken.
    pub fn already_exists(plural: &str, group: &str, name: &str) -> Self {
        Self::new(
            409,
            Reason::AlreadyExists,
            format!("{} \"{name}\" already exists", qualified(plural, group)),
        )
        .about(plural, group, name)
    }

    /// 409 because the object changed meanwhile, or a precondition does not hold; `cause` says which.
    pub fn conflict(plural: &str, group: &str, name: &str, cause: &str) -> Self {
        let on = qualified(plural, group);
        Self::new(409, Reason::Conflict, format!("Operation cannot be fulfilled on {on} \"{name}\": {cause}"))
            .about(plural, group, name)
    }

    /// 403 by admission or policy.
    pub fn forbidden(plural: &str, group: &str, name: &str, why: &str) -> Self {
        let what = qualified(plural, group);
        let message = if name.is_empty() {
            format!("{what} is forbidden: {why}")
        } else {
            format!("{what} \"{name}\" is forbidden: {why}")
        };
        Self::new(403, Reason::Forbidden, message).about(plural, group, name)
    }

    /// 500 with upstream's wording.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        let cause = cause.to_string();
        let mut error = Self::new(500, Reason::InternalError, format!("Internal error occurred: {cause}"));
        error.details = Some(Details {
            causes: vec![Cause { message: cause, ..Cause::default() }],
            ..Details::default()
        });
        error
    }

    /// Fills in what the failure is about.
    #[must_use]
    pub fn about(mut self, kind: &str, group: &str, name: &str) -> Self {
        let details = self.details.get_or_insert_with(Details::default);
        details.kind = kind.to_owned();
        details.group = group.to_owned();
        details.name = name.to_owned();
        self
    }

    /// Asks the client to come back after `seconds`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_with(Details::default).retry_after_seconds = seconds;
        self
    }

    /// Whether the failure carries `reason`.
    pub fn is(&self, reason: Reason) -> bool {
        self.reason == Some(reason)
    }

    /// The `v1 Status` object (D30).
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if let Some(token) = &self.continue_token {
            status["metadata"]["continue"] = json!(token);
        }
        if let Some(reason) = self.reason {
            status["reason"] = json!(reason);
        }
        if let Some(details) = &self.details {
            status["details"] = json!(details);
        }
        status
    }
}

/// `pods`, or `deployments.apps`: how messages name a resource.
pub fn qualified(plural: &str, group: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}
