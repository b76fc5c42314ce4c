//! CustomResourceDefinitions: the change to a sound one, and every finding in order.

use outrigger_api::{Object, Registry};
use serde_json::{Value, json};

use super::{on_create, on_update};
use crate::field::Findings;

const ROOT: &str = "spec.validation.openAPIV3Schema";

fn sound() -> Value {
    json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [version("v1", true, json!({"type": "object"}))],
        },
    })
}

fn version(name: &str, storage: bool, schema: Value) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema}})
}

/// [`sound`] with `value` at the pointer `at`.
fn with(at: &str, value: Value) -> Value {
    let mut definition = sound();
    *definition.pointer_mut(at).expect("a member of the sound definition") = value;
    definition
}

fn findings(new: Value, old: Option<Value>) -> Vec<String> {
    let kind = Registry::builtin()
        .by_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
        .expect("built in");
    let make = |value: Value| {
        let mut object = Object::from_value(value).expect("an object");
        crate::defaults::apply(&kind, &mut object);
        object
    };
    let mut found = Findings::default();
    match old {
        None => on_create(&kind, &make(new), &mut found),
        Some(old) => on_update(&kind, &make(new), &make(old), &mut found),
    }
    found.causes().iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

/// What is found in a schema, with the path of its root cut off.
#[track_caller]
fn schema(schema: Value, expected: &[&str]) {
    let found = findings(with("/spec/versions/0/schema/openAPIV3Schema", schema), None);
    let short: Vec<&str> =
        found.iter().map(|line| line.strip_prefix(ROOT).expect("below the root")).collect();
    assert_eq!(short, expected, "J7");
}

/// J1: name, group, scope and versions.
#[test]
fn names_and_versions() {
    assert_eq!(findings(sound(), None), [""; 0], "J1");
    let one = |at: &str, value: Value| {
        let found = findings(with(at, value), None);
        assert_eq!(found.len(), 1, "J1: {found:?}");
        found.into_iter().next().unwrap_or_default()
    };
    assert_eq!(
        one("/metadata/name", json!("widget.example.com")),
        r#"metadata.name: Invalid value: "widget.example.com": must be spec.names.plural+"."+spec.group"#,
    );
    assert_eq!(
        findings(with("/spec/group", json!("example")), None)[1],
        r#"spec.group: Invalid value: "example": should be a domain with at least one dot"#,
    );
    assert_eq!(one("/spec/scope", json!("")), "spec.scope: Required value");
    assert_eq!(
        one("/spec/scope", json!("Global")),
        r#"spec.scope: Unsupported value: "Global": supported values: "Cluster", "Namespaced""#,
    );
    assert_eq!(one("/spec/names/kind", json!("")), "spec.names.kind: Required value");
    let plain = json!({"type": "object"});
    for storage in [[false, false], [true, true]] {
        let versions =
            json!([version("v1", storage[0], plain.clone()), version("v2", storage[1], plain.clone())]);
        let found = one("/spec/versions", versions);
        assert!(found.ends_with("must have exactly one version marked as storage version"), "J1: {found}");
    }
    let twice = json!([version("v1", true, plain.clone()), version("v1", false, plain)]);
    assert!(one("/spec/versions", twice).ends_with("must contain unique version names"), "J1");
    assert_eq!(
        one("/spec/versions/0/schema", json!({})),
        "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
    );
}

/// J1: what may not change, and since when.
#[test]
fn what_stays() {
    let change = |established: &str| {
        let mut old = sound();
        old["status"] = json!({"conditions": [{"type": "Established", "status": established}]});
        let mut new = with("/spec/scope", json!("Cluster"));
        new["spec"]["names"]["kind"] = json!("Gadget");
        findings(new, Some(old))
    };
    assert_eq!(change("False"), [""; 0], "J1: before it is established");
    assert_eq!(
        change("True"),
        [
            r#"spec.scope: Invalid value: "Cluster": field is immutable"#,
            r#"spec.names.kind: Invalid value: "Gadget": field is immutable"#,
        ],
        "J1"
    );
    let found = findings(with("/spec/names/plural", json!("gadgets")), Some(sound()));
    assert_eq!(found[1], r#"spec.names.plural: Invalid value: "gadgets": field is immutable"#, "J1");
}

/// A conversion nobody would carry out is not accepted.
#[test]
fn conversion_by_webhook_is_refused() {
    let mut definition = sound();
    definition["spec"]["conversion"] = json!({"strategy": "Webhook"});
    assert_eq!(
        findings(definition, None),
        [
            "spec.conversion.strategy: Forbidden: this server cannot convert by webhook yet; use None, which changes \
          apiVersion only"
        ]
    );
}

/// Whoever writes a definition is told that nothing comes of it yet, its rules least of all.
#[test]
fn what_is_not_served_is_said() {
    let kind = Registry::builtin()
        .by_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
        .expect("built in");
    let warnings = crate::warnings::of_object(&kind, &Object::from_value(sound()).expect("an object"));
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("does not serve custom resources yet"), "{}", warnings[0]);
    assert!(warnings[0].contains("x-kubernetes-validations"), "{}", warnings[0]);
}

/// J7: every node has a type, unless it says that anything goes.
#[test]
fn types() {
    schema(json!({}), &[".type: Required value: must not be empty at the root"]);
    schema(json!({"type": "string"}), &[".type: Invalid value: \"string\": must be object at the root"]);
    schema(
        json!({"type": "object", "properties": {
            "a": {},
            "b": {"type": "array"},
            "c": {"type": "array", "items": {}},
            "d": {"x-kubernetes-int-or-string": true},
            "e": {"x-kubernetes-preserve-unknown-fields": true},
            "f": {"type": "object", "additionalProperties": {}},
        }}),
        &[
            ".properties[a].type: Required value: must not be empty for specified object fields",
            ".properties[b].items: Required value: must be specified",
            ".properties[c].items.type: Required value: must not be empty for specified array items",
            ".properties[f].additionalProperties.type: Required value: must not be empty for specified object \
             fields",
        ],
    );
}

/// J7: branches only judge values; the two spellings of int-or-string are the exception.
#[test]
fn branches() {
    schema(
        json!({"type": "object", "not": {"nullable": true}, "oneOf": [{"properties": {"a": {"default": 1}}}],
            "anyOf": [{"type": "object", "description": "d", "additionalProperties": false}]}),
        &[
            ".anyOf[0].type: Forbidden: must be empty to be structural",
            ".anyOf[0].additionalProperties: Forbidden: must be undefined to be structural",
            ".anyOf[0].description: Forbidden: must be empty to be structural",
            ".oneOf[0].properties[a].default: Forbidden: must be undefined to be structural",
            ".not.nullable: Forbidden: must be false to be structural",
        ],
    );
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    let field = |mut field: Value| {
        field["x-kubernetes-int-or-string"] = json!(true);
        json!({"type": "object", "properties": {"a": field}})
    };
    schema(field(json!({"anyOf": either})), &[]);
    schema(field(json!({"allOf": [{"anyOf": either}, {"maximum": 3}]})), &[]);
    schema(
        field(json!({"anyOf": [{"type": "integer"}]})),
        &[".properties[a].anyOf[0].type: Forbidden: must be empty to be structural"],
    );
}

/// J7: keywords a structural schema does not have, and what may be said of metadata.
#[test]
fn keywords() {
    schema(
        json!({"type": "object", "$ref": "#/x", "id": "x", "uniqueItems": true,
            "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
        &[
            ".$ref: Forbidden: $ref is not supported",
            ".id: Forbidden: id is not supported",
            ".uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes \
             quadratic",
            ".additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ],
    );
    schema(
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": true}),
        &[],
    );
    schema(
        json!({"type": "object", "allOf": [{"not": {"$ref": "#/x"}}]}),
        &[".allOf[0].not.$ref: Forbidden: $ref is not supported"],
    );
    let metadata = |inner: Value| json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": inner}}});
    schema(metadata(json!({"name": {"type": "string", "maxLength": 9}})), &[]);
    schema(
        metadata(json!({"labels": {"type": "object"}})),
        &[
            ".properties[metadata]: Forbidden: must not specify anything other than name and generateName, but \
           metadata is implicitly specified",
        ],
    );
}

/// J7: with different schemas a finding names its version.
#[test]
fn paths_of_several_schemas() {
    let versions = json!([version("v1", true, json!({"type": "object"})), version("v2", false, json!({}))]);
    assert_eq!(
        findings(with("/spec/versions", versions), None),
        ["spec.versions[1].schema.openAPIV3Schema.type: Required value: must not be empty at the root"],
        "J7"
    );
}

/// A schema cannot exhaust the stack.
#[test]
fn depth_is_bounded() {
    let mut deep = json!({"type": "string"});
    for _ in 0..110 {
        deep = json!({"type": "object", "properties": {"a": deep}});
    }
    let found = findings(with("/spec/versions/0/schema/openAPIV3Schema", deep), None);
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with("Forbidden: must not be nested deeper than 100 levels"), "{}", found[0]);
}
