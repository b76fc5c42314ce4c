//! Strategic merge patch over lists: items matched by merge key, and the order of the result (F2c, F2d, F2f,
//! F2h, F2k).

use outrigger_api::StatusError;
use serde_json::Value;

use super::go::Printed;
use super::schema::{Member, Strategy};
use super::strategic::{self, PATCH};
use super::{cannot_apply, contradiction};

/// Merges `patch` into `live`, for a list whose strategy is merge.
pub(super) fn merge(member: &Member, live: Vec<Value>, patch: &[Value]) -> Result<Vec<Value>, StatusError> {
    if live.is_empty() && patch.is_empty() {
        return Ok(live);
    }
    let identity = Identity::of(member, &live, patch)?;
    let (live, patch) = match identity {
        Identity::Value => (distinct(live), patch.to_vec()),
        Identity::Key(key) => item_directives(key, live, patch)?,
    };
    let mut merged = live.clone();
    for item in &patch {
        match merged.iter().position(|candidate| identity.same(candidate, item)) {
            Some(at) => merge_item(member, &mut merged[at], item)?,
            None => merged.extend(strategic::without_directives(item)),
        }
    }
    Ok(arrange(identity, merged, &patch, &live))
}

/// Merges a list that came with a `$setElementOrder` (F2h). `None` if there is no list to order.
pub(super) fn merge_ordered(
    member: &Member,
    live: Option<&Value>,
    patch: Option<&Value>,
    order: &Value,
) -> Result<Option<Vec<Value>>, StatusError> {
    let order = order.as_array().ok_or_else(|| malformed_order(order))?;
    let as_list = |value: &Value| value.as_array().cloned().ok_or_else(|| malformed_order(value));
    let live = live.map(as_list).transpose()?;
    let patch = patch.map(as_list).transpose()?;
    let identity =
        Identity::of(member, live.as_deref().unwrap_or_default(), patch.as_deref().unwrap_or_default())?;
    check_order(identity, patch.as_deref().unwrap_or_default(), order)?;
    let merged = match (&live, &patch) {
        (None, None) => return Ok(None),
        (Some(live), None) => live.clone(),
        (None, Some(patch)) => patch.iter().filter_map(strategic::without_directives).collect(),
        (Some(live), Some(patch)) => match member.strategy {
            Strategy::Merge => merge(member, live.clone(), patch)?,
            Strategy::Replace => patch.clone(),
        },
    };
    Ok(Some(arrange(identity, merged, order, live.as_deref().unwrap_or_default())))
}

/// What makes two items of a list the same item.
#[derive(Clone, Copy)]
enum Identity<'a> {
    /// Being equal: lists of scalars.
    Value,
    /// Having the same value under this key: lists of objects.
    Key(&'a str),
}

impl<'a> Identity<'a> {
    fn of(member: &'a Member, live: &[Value], patch: &[Value]) -> Result<Self, StatusError> {
        if live.iter().chain(patch).any(Value::is_array) {
            return Err(cannot_apply("lists of lists are not supported"));
        }
        let objects = live.iter().chain(patch).any(Value::is_object);
        match member.merge_key {
            Some(key) if objects || member.strategy == Strategy::Merge => Ok(Identity::Key(key)),
            Some(_) | None => Ok(Identity::Value),
        }
    }

    fn same(self, left: &Value, right: &Value) -> bool {
        match self {
            Self::Value => same_scalar(left, right),
            Self::Key(key) => match (left.get(key), right.get(key)) {
                (Some(left), Some(right)) => same_scalar(left, right),
                _ => false,
            },
        }
    }
}

/// F2k: numbers by value, everything else exactly.
fn same_scalar(left: &Value, right: &Value) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left.to_bits() == right.to_bits() || (left - right).abs() < f64::EPSILON,
        _ => left == right,
    }
}

fn distinct(items: Vec<Value>) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::with_capacity(items.len());
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

fn merge_item(member: &Member, live: &mut Value, patch: &Value) -> Result<(), StatusError> {
    if let (Some(before), Some(patch)) = (live.as_object(), patch.as_object()) {
        *live = Value::Object(strategic::merge_map(member.schema, before.clone(), patch)?);
    }
    Ok(())
}

/// F2f: takes `$patch` items out of the patch and applies them to the live list; checks merge keys (F2c).
fn item_directives(
    key: &str,
    mut live: Vec<Value>,
    patch: &[Value],
) -> Result<(Vec<Value>, Vec<Value>), StatusError> {
    let mut plain = Vec::new();
    let mut replace = false;
    for item in patch {
        let Some(directive) = item.get(PATCH) else {
            plain.push(item.clone());
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let wanted = item.get(key).ok_or_else(|| missing_key(item, key))?;
                live.retain(|candidate| !candidate.get(key).is_some_and(|value| same_scalar(value, wanted)));
            }
            Some("replace") => replace = true,
            Some("merge") => return Err(contradiction("merging lists cannot yet be specified in the patch")),
            Some(_) | None => {
                let text = format!("unknown patch type: {} in map: {}", Printed(directive), Printed(item));
                return Err(contradiction(text));
            }
        }
    }
    if replace {
        return Ok((plain, Vec::new()));
    }
    match plain.iter().find(|item| item.get(key).is_none()) {
        Some(item) => Err(missing_key(item, key)),
        None => Ok((live, plain)),
    }
}

fn missing_key(item: &Value, key: &str) -> StatusError {
    StatusError::bad_request(format!("map: {} does not contain declared merge key: {key}", Printed(item)))
}

/// F2d: named items in the order of `named`, the rest in live order, woven together by live position.
fn arrange(identity: Identity<'_>, merged: Vec<Value>, named: &[Value], live: &[Value]) -> Vec<Value> {
    let place =
        |list: &[Value], item: &Value| list.iter().position(|candidate| identity.same(candidate, item));
    let (mut asked, mut rest): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| place(named, item).is_some());
    asked.sort_by_key(|item| place(named, item));
    rest.sort_by_key(|item| place(live, item).unwrap_or(usize::MAX));
    let mut result = Vec::with_capacity(asked.len() + rest.len());
    let (mut asked, mut rest) = (asked.into_iter().peekable(), rest.into_iter().peekable());
    while let (Some(next_asked), Some(next_rest)) = (asked.peek(), rest.peek()) {
        let earlier = match (place(live, next_rest), place(live, next_asked)) {
            (Some(rest), Some(asked)) => rest < asked,
            _ => false,
        };
        result.extend(if earlier { rest.next() } else { asked.next() });
    }
    result.extend(asked);
    result.extend(rest);
    result
}

/// F2h: the patch list must follow the directive.
fn check_order(identity: Identity<'_>, patch: &[Value], order: &[Value]) -> Result<(), StatusError> {
    let kept = patch.iter().filter(|item| item.get(PATCH).is_none());
    let mut ahead = order.iter();
    for item in kept {
        if !ahead.any(|entry| identity.same(entry, item)) {
            let patch = Value::Array(patch.to_vec());
            let order = Value::Array(order.to_vec());
            return Err(contradiction(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                Printed(&patch),
                Printed(&order)
            )));
        }
    }
    Ok(())
}

/// F2l.
fn malformed_order(value: &Value) -> StatusError {
    StatusError::bad_request(format!("expected a []interface {{}}, but received a {}", go_type(value)))
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
