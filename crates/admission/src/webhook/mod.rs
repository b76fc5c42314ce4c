//! Admission webhooks without the network: what a configuration asks for, what a webhook is sent, and what its answer
//! means (I50-I56).
//!
//! [`webhooks`] reads a configuration, [`crate::rules`] says whether a webhook wants to see a request, [`review`] is what
//! goes back and forth. Who calls decides nothing but how the call went: [`failed`].

pub mod review;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outrigger_api::{Object, StatusError};
use serde_json::Value;

use crate::rules::Constraints;
use crate::tree;
use crate::validation::ABSENT;

/// Versions of AdmissionReview spoken here, and no others.
const SPOKEN: [&str; 2] = ["v1", "v1beta1"];
const DEFAULT_TIMEOUT_SECONDS: u64 = 10;

/// One webhook of a configuration.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// As its owner named it; in all messages.
    pub name: String,
    /// The configuration it stands in.
    pub configuration: String,
    /// What it wants to see.
    pub constraints: Constraints,
    /// What must hold besides, in CEL: name and expression.
    pub match_conditions: Vec<(String, String)>,
    /// Where it listens.
    pub place: Place,
    /// PEM of the authorities its certificate may come from; empty for those of the system.
    pub ca_bundle: Vec<u8>,
    /// How long an answer may take.
    pub timeout_seconds: u64,
    /// Whether a call that fails counts as a yes (`failurePolicy: Ignore`).
    pub fails_open: bool,
    /// Whether it may be asked about what will not be stored (I56).
    pub takes_dry_runs: bool,
    /// Whether it wants to see what others changed after it (I55).
    pub reinvoked: bool,
    /// The first version of AdmissionReview both sides know; none if there is no such.
    pub version: Option<&'static str>,
}

/// Where a webhook listens (I53).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Anywhere.
    Url(String),
    /// Behind a Service.
    Service {
        /// Of the Service.
        namespace: String,
        /// Of the Service.
        name: String,
        /// Begins with a slash, or is empty.
        path: String,
        /// A port of the Service.
        port: u16,
    },
}

impl Place {
    /// Where a request goes: scheme, authority and path, without the timeout.
    pub fn url(&self) -> String {
        match self {
            Self::Url(url) => url.clone(),
            Self::Service { namespace, name, path, port } => {
                format!("https://{name}.{namespace}.svc:{port}{path}")
            }
        }
    }
}

/// The webhooks of a configuration, in its order (I50).
pub fn webhooks(configuration: &Object) -> Vec<Webhook> {
    let list = configuration.at(&["webhooks"]).and_then(Value::as_array).into_iter().flatten();
    list.map(|webhook| read(configuration.name(), webhook)).collect()
}

fn read(configuration: &str, webhook: &Value) -> Webhook {
    let client = webhook.get("clientConfig").unwrap_or(ABSENT);
    let seconds = tree::int(webhook, "timeoutSeconds").and_then(|seconds| u64::try_from(seconds).ok());
    let conditions = tree::list(webhook, "matchConditions").iter();
    let versions: Vec<&str> =
        tree::list(webhook, "admissionReviewVersions").iter().filter_map(Value::as_str).collect();
    Webhook {
        name: tree::text(webhook, "name").to_owned(),
        configuration: configuration.to_owned(),
        constraints: Constraints::of_webhook(webhook),
        match_conditions: conditions
            .map(|it| (tree::text(it, "name").to_owned(), tree::text(it, "expression").to_owned()))
            .collect(),
        place: place(client),
        ca_bundle: STANDARD.decode(tree::text(client, "caBundle")).unwrap_or_default(),
        timeout_seconds: seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS),
        fails_open: tree::text(webhook, "failurePolicy") == "Ignore",
        takes_dry_runs: matches!(tree::text(webhook, "sideEffects"), "None" | "NoneOnDryRun"),
        reinvoked: tree::text(webhook, "reinvocationPolicy") == "IfNeeded",
        version: versions.iter().find_map(|given| SPOKEN.into_iter().find(|spoken| spoken == given)),
    }
}

fn place(client: &Value) -> Place {
    let Some(service) = client.get("service").filter(|service| service.is_object()) else {
        return Place::Url(tree::text(client, "url").to_owned());
    };
    let text = |key: &str| tree::text(service, key).to_owned();
    let port = tree::int(service, "port").and_then(|port| u16::try_from(port).ok());
    let path = match text("path") {
        path if path.is_empty() || path.starts_with('/') => path,
        path => format!("/{path}"),
    };
    Place::Service { namespace: text("namespace"), name: text("name"), path, port: port.unwrap_or(443) }
}

/// I53: a call that failed, where that is not a yes.
pub fn failed(webhook: &str, cause: &str) -> StatusError {
    StatusError::internal(format!("failed calling webhook \"{webhook}\": {cause}"))
}

/// I56: a webhook with side effects is not asked about what will not be stored.
pub fn no_dry_run(webhook: &str) -> StatusError {
    StatusError::bad_request(format!("admission webhook \"{webhook}\" does not support dry run"))
}
