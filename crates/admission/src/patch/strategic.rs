//! Strategic merge patch over maps: directives, deletion, recursion (F2b, F2e, F2g, F2i, F2j).
//!
//! A map is merged in a fixed order: `$patch` decides alone; `$retainKeys` clears; lists with a
//! `$setElementOrder` are merged with it; `$deleteFromPrimitiveList` removes; then every plain member follows.

use outrigger_api::StatusError;
use serde_json::{Map, Value};

use super::go::Printed;
use super::schema::{Member, Schema, Strategy};
use super::{contradiction, strategic_list};

pub(super) const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

/// Applies a whole patch to an object of the kind `schema` describes.
pub(super) fn apply(
    schema: Schema,
    current: &Value,
    patch: &Map<String, Value>,
) -> Result<Value, StatusError> {
    let current = current.as_object().cloned().unwrap_or_default();
    merge_map(schema, current, patch).map(Value::Object)
}

/// Merges one map. Also used for list items found by their merge key.
pub(super) fn merge_map(
    schema: Schema,
    mut live: Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<Map<String, Value>, StatusError> {
    if let Some(directive) = patch.get(PATCH) {
        return whole_map(directive, patch);
    }
    retain_keys(&mut live, patch)?;
    for (key, order) in patch {
        if let Some(field) = key.strip_prefix(SET_ORDER) {
            let member = schema.member(field);
            match strategic_list::merge_ordered(&member, live.get(field), patch.get(field), order)? {
                Some(list) => live.insert(field.to_owned(), Value::Array(list)),
                None => live.remove(field),
            };
        }
    }
    for (key, doomed) in patch {
        if let (Some(field), Some(doomed)) = (key.strip_prefix(DELETE_FROM), doomed.as_array())
            && let Some(list) = live.get_mut(field).and_then(Value::as_array_mut)
        {
            list.retain(|item| !doomed.contains(item));
        }
    }
    for (key, value) in patch {
        let ordered = patch.contains_key(&format!("{SET_ORDER}{key}"));
        if !ordered && !is_directive(key) {
            merge_member(schema, &mut live, key, value)?;
        }
    }
    Ok(live)
}

/// A subtree put where nothing was: maps with `$patch` and nulls vanish, other directives are stripped (F2j).
pub(super) fn without_directives(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(members) if members.contains_key(PATCH) => None,
        Value::Object(members) => {
            let kept = members.iter().filter(|(key, _)| !is_directive(key));
            Some(Value::Object(
                kept.filter_map(|(key, member)| Some((key.clone(), without_directives(member)?))).collect(),
            ))
        }
        Value::Array(items) => Some(Value::Array(items.iter().filter_map(without_directives).collect())),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value.clone()),
    }
}

fn is_directive(key: &str) -> bool {
    key == PATCH || key == RETAIN_KEYS || key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER)
}

/// F2e.
fn whole_map(directive: &Value, patch: &Map<String, Value>) -> Result<Map<String, Value>, StatusError> {
    match directive.as_str() {
        Some("replace") => Ok(patch
            .iter()
            .filter(|(key, _)| *key != PATCH)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()),
        Some("delete") => Ok(Map::new()),
        Some(_) | None => {
            let whole = Value::Object(patch.clone());
            Err(contradiction(format!(
                "unknown patch type: {} in map: {}",
                Printed(directive),
                Printed(&whole)
            )))
        }
    }
}

/// F2i, F2l.
fn retain_keys(live: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), StatusError> {
    let Some(retained) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let malformed = || StatusError::bad_request("invalid patch format of retainKeys");
    let retained = retained.as_array().ok_or_else(malformed)?;
    let listed = |key: &str| retained.iter().any(|name| name == key);
    if patch.iter().any(|(key, value)| !value.is_null() && !is_directive(key) && !listed(key)) {
        return Err(malformed());
    }
    live.retain(|key, _| listed(key));
    Ok(())
}

/// F2b.
fn merge_member(
    schema: Schema,
    live: &mut Map<String, Value>,
    key: &str,
    patch: &Value,
) -> Result<(), StatusError> {
    let merged = match (live.remove(key), patch) {
        (_, Value::Null) => None,
        (Some(Value::Object(live)), Value::Object(patch)) => {
            let member = schema.member(key);
            Some(Value::Object(match member.strategy {
                Strategy::Replace if member.explicit => patch.clone(),
                Strategy::Replace | Strategy::Merge => merge_map(member.schema, live, patch)?,
            }))
        }
        (Some(Value::Array(live)), Value::Array(patch)) => {
            let member = schema.member(key);
            Some(Value::Array(merge_list_member(&member, live, patch)?))
        }
        (Some(_) | None, patch) => without_directives(patch),
    };
    if let Some(merged) = merged {
        live.insert(key.to_owned(), merged);
    }
    Ok(())
}

fn merge_list_member(member: &Member, live: Vec<Value>, patch: &[Value]) -> Result<Vec<Value>, StatusError> {
    match member.strategy {
        Strategy::Merge => strategic_list::merge(member, live, patch),
        Strategy::Replace => Ok(patch.to_vec()),
    }
}
