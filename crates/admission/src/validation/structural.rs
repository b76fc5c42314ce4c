//! Whether an OpenAPI schema of a custom resource is structural (J7): every node says what it is, and what only
//! judges values (`allOf`, `anyOf`, `oneOf`, `not`) says nothing about structure.

use serde_json::{Map, Value, json};

use crate::field::Findings;
use crate::tree;

/// Schemas nest at most this deep; whatever is below is refused, so that no schema can exhaust the stack.
const MAX_DEPTH: usize = 100;

/// Where a node stands, which decides what a missing type is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

/// Checks the schema at `path`.
pub(super) fn check(schema: &Value, path: &str, findings: &mut Findings) {
    node(schema, path, Level::Root, MAX_DEPTH, findings);
}

fn node(schema: &Value, path: &str, level: Level, depth: usize, findings: &mut Findings) {
    if depth == 0 {
        findings.forbidden(path, &format!("must not be nested deeper than {MAX_DEPTH} levels"));
        return;
    }
    unsupported(schema, path, findings);
    kind(schema, path, level, findings);
    if level == Level::Root {
        metadata(schema, path, findings);
    }
    for (name, property) in members(schema, "properties") {
        node(property, &format!("{path}.properties[{name}]"), Level::Field, depth - 1, findings);
    }
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        node(values, &format!("{path}.additionalProperties"), Level::Field, depth - 1, findings);
    }
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        node(items, &format!("{path}.items"), Level::Item, depth - 1, findings);
    }
    junctors(schema, path, tree::truth(schema, "x-kubernetes-int-or-string"), depth, findings);
}

/// Keywords no schema of a custom resource may have.
fn unsupported(schema: &Value, path: &str, findings: &mut Findings) {
    for key in ["$ref", "additionalItems", "definitions", "dependencies", "id", "patternProperties"] {
        if !tree::unset(schema, key) {
            findings.forbidden(&format!("{path}.{key}"), &format!("{key} is not supported"));
        }
    }
    if tree::truth(schema, "uniqueItems") {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        findings.forbidden(&format!("{path}.uniqueItems"), why);
    }
    if schema.get("items").is_some_and(Value::is_array) {
        findings.forbidden(&format!("{path}.items"), "items must be a schema object and not an array");
    }
    // `true` says no more than an absent one.
    let closed = schema.get("additionalProperties").filter(|it| it.is_object() || **it == Value::Bool(false));
    if closed.is_some() && !members(schema, "properties").is_empty() {
        let why = "additionalProperties and properties are mutual exclusive";
        findings.forbidden(&format!("{path}.additionalProperties"), why);
    }
}

fn kind(schema: &Value, path: &str, level: Level, findings: &mut Findings) {
    let kind = tree::text(schema, "type");
    let at = format!("{path}.type");
    let free = ["x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"];
    if kind.is_empty() && !free.iter().any(|key| tree::truth(schema, key)) {
        findings.required(
            &at,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Field => "must not be empty for specified object fields",
                Level::Item => "must not be empty for specified array items",
            },
        );
    }
    if level == Level::Root && !matches!(kind, "" | "object") {
        findings.invalid(&at, kind, "must be object at the root");
    }
    if kind == "array" && schema.get("items").is_none_or(Value::is_null) {
        findings.required(&format!("{path}.items"), "must be specified");
    }
}

/// What every object has is known; only its names may be judged.
fn metadata(schema: &Value, path: &str, findings: &mut Findings) {
    let Some(metadata) = schema.pointer("/properties/metadata").and_then(Value::as_object) else { return };
    let named = |key: &String| matches!(key.as_str(), "name" | "generateName");
    let plain = metadata.iter().all(|(key, value)| match key.as_str() {
        "type" | "description" => true,
        "properties" => value.as_object().is_some_and(|inner| inner.keys().all(named)),
        _ => false,
    });
    if !plain {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        findings.forbidden(&format!("{path}.properties[metadata]"), why);
    }
}

/// The branches below `schema`. `int_or_string` allows the two spellings that say so by types.
fn junctors(schema: &Value, path: &str, int_or_string: bool, depth: usize, findings: &mut Findings) {
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    let skip_any = int_or_string && schema.get("anyOf") == Some(&either);
    let first = schema.pointer("/allOf/0/anyOf");
    let skip_first = int_or_string && !skip_any && first == Some(&either);
    for key in ["allOf", "anyOf", "oneOf"] {
        if key == "anyOf" && skip_any {
            continue;
        }
        for (index, branch) in tree::list(schema, key).iter().enumerate() {
            let pattern = key == "allOf" && index == 0 && skip_first;
            branch_of(branch, &format!("{path}.{key}[{index}]"), pattern, depth - 1, findings);
        }
    }
    if let Some(branch) = schema.get("not").filter(|branch| branch.is_object()) {
        branch_of(branch, &format!("{path}.not"), false, depth - 1, findings);
    }
}

fn branch_of(branch: &Value, path: &str, int_or_string: bool, depth: usize, findings: &mut Findings) {
    if depth == 0 {
        findings.forbidden(path, &format!("must not be nested deeper than {MAX_DEPTH} levels"));
        return;
    }
    unsupported(branch, path, findings);
    junctors(branch, path, int_or_string, depth, findings);
    if let Some(items) = branch.get("items").filter(|items| items.is_object()) {
        branch_of(items, &format!("{path}.items"), false, depth - 1, findings);
    }
    for (name, property) in members(branch, "properties") {
        branch_of(property, &format!("{path}.properties[{name}]"), false, depth - 1, findings);
    }
    for (key, state) in [
        ("type", "empty"),
        ("additionalProperties", "undefined"),
        ("default", "undefined"),
        ("title", "empty"),
        ("description", "empty"),
    ] {
        if !tree::unset(branch, key) {
            findings.forbidden(&format!("{path}.{key}"), &format!("must be {state} to be structural"));
        }
    }
    if tree::truth(branch, "nullable") {
        findings.forbidden(&format!("{path}.nullable"), "must be false to be structural");
    }
}

fn members<'a>(schema: &'a Value, key: &str) -> &'a Map<String, Value> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    schema.get(key).and_then(Value::as_object).unwrap_or(&NONE)
}
