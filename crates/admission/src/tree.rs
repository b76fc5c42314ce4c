//! Small tools for JSON trees: reading without caring for absence, setting what is absent, and comparing the way
//! Kubernetes does.

use serde_json::{Map, Value};

/// What stands in for an absent member when a list is asked for.
const NOTHING: &[Value] = &[];

/// The list at `key`, empty if there is none.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(NOTHING, Vec::as_slice)
}

/// The items of the list at `key`, to change; none if there is no list.
pub(crate) fn list_mut<'a>(value: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    value.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

/// The text at `key`, or the empty string.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The integer at `key`.
pub(crate) fn int(value: &Value, key: &str) -> Option<i64> {
    value.get(key).and_then(Value::as_i64)
}

/// Whether `key` holds `true`.
pub(crate) fn truth(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or_default()
}

/// Whether `key` is absent, null, or the empty string: what a Go zero value looks like.
pub(crate) fn unset(value: &Value, key: &str) -> bool {
    match value.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => false,
    }
}

/// Sets `key` to `default` if it is [`unset`].
pub(crate) fn default_to(value: &mut Value, key: &str, default: impl Into<Value>) {
    if unset(value, key)
        && let Some(map) = value.as_object_mut()
    {
        map.insert(key.to_owned(), default.into());
    }
}

/// Sets `key` to `default` if it is [`unset`] or the number zero.
pub(crate) fn default_nonzero(value: &mut Value, key: &str, default: i64) {
    if unset(value, key) || int(value, key) == Some(0) {
        set(value, key, default);
    }
}

/// Sets `key` if `value` is an object.
pub(crate) fn set(value: &mut Value, key: &str, to: impl Into<Value>) {
    if let Some(map) = value.as_object_mut() {
        map.insert(key.to_owned(), to.into());
    }
}

/// The object at `key`, made if absent; `None` if `value` is no object or holds something else there.
pub(crate) fn object_mut<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    let member = value.as_object_mut()?.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if member.is_null() {
        *member = Value::Object(Map::new());
    }
    member.is_object().then_some(member)
}

/// The object at `key` if it is there.
pub(crate) fn existing_mut<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    value.get_mut(key).filter(|member| member.is_object())
}

/// Members whose empty object means the same as none, because the type behind them is a map or a plain struct
/// rather than a pointer. Everywhere else (`emptyDir: {}`) an empty object says something.
const EMPTY_IS_ABSENT: &[&str] = &[
    "annotations",
    "binaryData",
    "data",
    "labels",
    "limits",
    "matchLabels",
    "metadata",
    "nodeSelector",
    "overhead",
    "requests",
    "resources",
    "status",
    "strategy",
    "stringData",
    "updateStrategy",
];

/// Whether two trees mean the same: absent, null and empty lists are one, as are empty maps; objects compare by
/// members, everything else by JSON value. This is how "differs semantically" is read in C8 and R1.48.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            left.keys().chain(right.keys().filter(|key| !left.contains_key(*key))).all(|key| {
                same_member(
                    key,
                    left.get(key).unwrap_or(&Value::Null),
                    right.get(key).unwrap_or(&Value::Null),
                )
            })
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Number(left), Value::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        _ => left == right || (is_empty_list(left) && is_empty_list(right)),
    }
}

/// [`same`] for the members `key` of two objects.
pub(crate) fn same_at(left: &Value, right: &Value, key: &str) -> bool {
    same_member(key, left.get(key).unwrap_or(&Value::Null), right.get(key).unwrap_or(&Value::Null))
}

fn same_member(key: &str, left: &Value, right: &Value) -> bool {
    let empty = |value: &Value| {
        is_empty_list(value)
            || (EMPTY_IS_ABSENT.contains(&key) && value.as_object().is_some_and(Map::is_empty))
            || value.as_str().is_some_and(str::is_empty)
    };
    (empty(left) && empty(right)) || same(left, right)
}

fn is_empty_list(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}
