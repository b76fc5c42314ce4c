//! JSON merge patch, RFC 7386 (F1a).

use outrigger_api::StatusError;
use serde_json::{Map, Value};

/// Parses the body of a merge or strategic merge patch, which must be an object.
pub(super) fn parse(body: &[u8]) -> Result<Map<String, Value>, StatusError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Err(StatusError::bad_request("Invalid JSON Patch"))
        }
        Err(cause) => Err(StatusError::bad_request(format!("error decoding patch: {cause}"))),
    }
}

/// `current` with `patch` merged in: null removes, objects recurse, anything else replaces.
pub(super) fn apply(current: &Value, patch: &Map<String, Value>) -> Value {
    let mut merged = current.as_object().cloned().unwrap_or_default();
    for (key, value) in patch {
        match value {
            Value::Null => {
                merged.remove(key);
            }
            Value::Object(inner) => {
                let before = merged.get(key).unwrap_or(&Value::Null);
                let after = apply(before, inner);
                merged.insert(key.clone(), after);
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(merged)
}
