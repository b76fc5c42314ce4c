//! ConfigMap and Secret (K15, K16).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outrigger_api::Object;
use serde_json::{Map, Value};

use super::names;
use crate::field::Findings;

/// Bytes of all keys' values together.
const MAX_BYTES: usize = 1 << 20;
const IMMUTABLE: &str = "field is immutable when `immutable` is set";

fn entries<'a>(object: &'a Object, member: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    object.0.get(member).and_then(Value::as_object).into_iter().flatten()
}

fn decoded(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default()
}

fn keys(object: &Object, member: &str, findings: &mut Findings) {
    for (key, _) in entries(object, member) {
        if let Some(why) = names::config_key(key) {
            findings.invalid(&format!("{member}[{key}]"), key.as_str(), &why);
        }
    }
}

/// K15.
pub(super) fn config_map(object: &Object, findings: &mut Findings) {
    keys(object, "data", findings);
    for (key, _) in entries(object, "data") {
        if entries(object, "binaryData").any(|(other, _)| other == key) {
            findings.invalid(&format!("data[{key}]"), key.as_str(), "duplicate of key present in binaryData");
        }
    }
    keys(object, "binaryData", findings);
    let text: usize = entries(object, "data").map(|(_, value)| value.as_str().map_or(0, str::len)).sum();
    let bytes: usize = entries(object, "binaryData").map(|(_, value)| decoded(value).len()).sum();
    if text + bytes > MAX_BYTES {
        // The size belongs to no field, and is written like that (D32a).
        findings.too_long("[]", MAX_BYTES);
    }
}

/// K15: an immutable one stays so.
pub(super) fn config_map_change(new: &Object, old: &Object, findings: &mut Findings) {
    frozen(new, old, &["data", "binaryData"], findings);
}

fn frozen(new: &Object, old: &Object, members: &[&str], findings: &mut Findings) {
    let is_set = |object: &Object| object.at(&["immutable"]).and_then(Value::as_bool).unwrap_or_default();
    if !is_set(old) {
        return;
    }
    if !is_set(new) {
        findings.forbidden("immutable", IMMUTABLE);
    }
    let empty = Value::Object(Map::new());
    for member in members {
        let at = |object: &Object| {
            object.0.get(*member).filter(|value| value.is_object()).unwrap_or(&empty).clone()
        };
        if at(new) != at(old) {
            findings.forbidden(member, IMMUTABLE);
        }
    }
}

/// K16.
pub(super) fn secret(object: &Object, findings: &mut Findings) {
    keys(object, "data", findings);
    let total: usize = entries(object, "data").map(|(_, value)| decoded(value).len()).sum();
    if total > MAX_BYTES {
        findings.too_long("data", MAX_BYTES);
    }
    let data =
        |key: &str| entries(object, "data").find(|(name, _)| *name == key).map(|(_, value)| decoded(value));
    let require = |key: &str, findings: &mut Findings| {
        if data(key).is_none_or(|value| value.is_empty() && !key.starts_with("tls.")) {
            findings.required(&format!("data[{key}]"), "");
        }
    };
    match object.str_at(&["type"]) {
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            if object.str_at(&["metadata", "annotations", name]).is_empty() {
                findings.required(&format!("metadata.annotations[{name}]"), "");
            }
        }
        "kubernetes.io/dockercfg" => json_key(data(".dockercfg"), ".dockercfg", findings),
        "kubernetes.io/dockerconfigjson" => {
            json_key(data(".dockerconfigjson"), ".dockerconfigjson", findings);
        }
        "kubernetes.io/basic-auth" if data("username").is_none() && data("password").is_none() => {
            findings.required("data[username]", "");
            findings.required("data[password]", "");
        }
        "kubernetes.io/ssh-auth" => require("ssh-privatekey", findings),
        "kubernetes.io/tls" => {
            require("tls.crt", findings);
            require("tls.key", findings);
        }
        _ => {}
    }
}

fn json_key(value: Option<Vec<u8>>, key: &str, findings: &mut Findings) {
    let field = format!("data[{key}]");
    match value {
        None => findings.required(&field, ""),
        Some(bytes) => {
            if let Err(why) = serde_json::from_slice::<Value>(&bytes) {
                findings.invalid(&field, "<secret contents redacted>", &why.to_string());
            }
        }
    }
}

/// K16.
pub(super) fn secret_change(new: &Object, old: &Object, findings: &mut Findings) {
    let (is, was) = (new.str_at(&["type"]), old.str_at(&["type"]));
    if is != was {
        findings.invalid("type", is, "field is immutable");
    }
    frozen(new, old, &["data"], findings);
}
