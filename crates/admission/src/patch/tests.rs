//! Patches as tables: what is stored, what is sent, what comes out.

use outrigger_api::{KindInfo, Registry};
use serde_json::{Value, json};

use super::{Patch, PatchType, apply_patch};

fn kind(group: &str, name: &str) -> KindInfo {
    Registry::builtin().by_kind(group, "v1", name).expect("built in").as_ref().clone()
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).expect(text)
}

#[track_caller]
fn patched(format: PatchType, kind: &KindInfo, current: &str, patch: &str) -> Result<Value, (u16, String)> {
    let fail = |error: outrigger_api::StatusError| (error.code, error.message);
    let patch = Patch::parse(format, patch.as_bytes()).map_err(fail)?;
    apply_patch(kind, &read(current), &patch).map_err(fail)
}

/// F1: JSON patch and merge patch.
#[test]
fn standard_patches() {
    let kind = kind("", "ConfigMap");
    for (format, current, patch, expected) in [
        (
            PatchType::Merge,
            r#"{"data": {"a": "1", "b": "2"}}"#,
            r#"{"data": {"a": null, "c": "3"}}"#,
            r#"{"data": {"b": "2", "c": "3"}}"#,
        ),
        (PatchType::Merge, r#"{"l": [1, 2]}"#, r#"{"l": [3]}"#, r#"{"l": [3]}"#),
        (
            PatchType::Json,
            r#"{"data": {"a": "1"}}"#,
            r#"[{"op": "replace", "path": "/data/a", "value": "2"}]"#,
            r#"{"data": {"a": "2"}}"#,
        ),
        (
            PatchType::Json,
            r#"{"l": [1, 2]}"#,
            r#"[{"op": "test", "path": "/l/0", "value": 1}, {"op": "add", "path": "/l/-", "value": 3}, {"op": "remove", "path": "/l/0"}]"#,
            r#"{"l": [2, 3]}"#,
        ),
        (PatchType::Json, r#"{"a": 1}"#, r#"[{"op": "move", "from": "/a", "path": "/b"}]"#, r#"{"b": 1}"#),
    ] {
        assert_eq!(patched(format, &kind, current, patch), Ok(read(expected)), "{patch}");
    }
    let failed =
        patched(PatchType::Json, &kind, r#"{"a": 1}"#, r#"[{"op": "test", "path": "/a", "value": 2}]"#);
    assert_eq!(failed.map_err(|(code, _)| code), Err(422));
    let malformed = patched(PatchType::Merge, &kind, "{}", "[]");
    assert_eq!(malformed.map_err(|(code, _)| code), Err(400));
}

/// F2b-F2k: strategic merge over a Deployment.
#[test]
fn strategic_patches() {
    let kind = kind("apps", "Deployment");
    let around = |inner: &str| format!(r#"{{"spec": {{"template": {{"spec": {inner}}}}}}}"#);
    for (rule, current, patch, expected) in [
        (
            "F2c: by merge key",
            r#"{"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]}"#,
            r#"{"containers": [{"name": "a", "image": "a:2"}]}"#,
            r#"{"containers": [{"name": "a", "image": "a:2"}, {"name": "b", "image": "b:1"}]}"#,
        ),
        (
            "F2f: delete an item",
            r#"{"containers": [{"name": "a"}, {"name": "b"}]}"#,
            r#"{"containers": [{"name": "a", "$patch": "delete"}]}"#,
            r#"{"containers": [{"name": "b"}]}"#,
        ),
        (
            "F2f: replace the list",
            r#"{"containers": [{"name": "a"}, {"name": "b"}]}"#,
            r#"{"containers": [{"name": "c"}, {"$patch": "replace"}]}"#,
            r#"{"containers": [{"name": "c"}]}"#,
        ),
        (
            "F2e: replace the map",
            r#"{"nodeSelector": {"a": "1", "b": "2"}}"#,
            r#"{"nodeSelector": {"$patch": "replace", "c": "3"}}"#,
            r#"{"nodeSelector": {"c": "3"}}"#,
        ),
        (
            "F2h: order",
            r#"{"containers": [{"name": "a"}, {"name": "b"}]}"#,
            r#"{"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a", "image": "a:2"}]}"#,
            r#"{"containers": [{"name": "b"}, {"name": "a", "image": "a:2"}]}"#,
        ),
        (
            "F2i: retained keys",
            r#"{"volumes": [{"name": "v", "emptyDir": {}}]}"#,
            r#"{"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}"#,
            r#"{"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}"#,
        ),
        (
            "F2b: lists without a merge key are replaced",
            r#"{"tolerations": [{"key": "a"}]}"#,
            r#"{"tolerations": [{"key": "b"}]}"#,
            r#"{"tolerations": [{"key": "b"}]}"#,
        ),
        ("F2b: null deletes", r#"{"hostname": "h"}"#, r#"{"hostname": null}"#, "{}"),
    ] {
        let out = patched(PatchType::Strategic, &kind, &around(current), &around(patch));
        assert_eq!(out, Ok(read(&around(expected))), "{rule}");
    }
    let lists = patched(
        PatchType::Strategic,
        &kind,
        r#"{"metadata": {"finalizers": ["a/b", "c/d"]}}"#,
        r#"{"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/b"], "finalizers": ["e/f"]}}"#,
    );
    let finalizers = lists.expect("applies")["metadata"]["finalizers"].clone();
    let sorted = |list: Value| {
        let mut names: Vec<String> = serde_json::from_value(list).expect("texts");
        names.sort();
        names
    };
    assert_eq!(sorted(finalizers), sorted(json!(["c/d", "e/f"])), "F2g");
}

/// F2c
#[test]
fn an_item_without_its_merge_key_is_refused() {
    let kind = kind("apps", "Deployment");
    let around = |inner: &str| format!(r#"{{"spec": {{"template": {{"spec": {inner}}}}}}}"#);
    let keyless = patched(
        PatchType::Strategic,
        &kind,
        &around(r#"{"containers": [{"name": "a"}]}"#),
        &around(r#"{"containers": [{"image": "x"}]}"#),
    );
    assert!(keyless.expect_err("F2c").1.contains("does not contain declared merge key: name"));
}

/// F2d: where items of a patch end up between those only the server has.
#[test]
fn merged_items_are_ordered() {
    let kind = kind("", "Pod");
    for (live, patch, expected) in [
        ("cdef", "xe", "xcdef"),
        ("cdef", "ex", "cdexf"),
        ("cdef", "fc", "defc"),
        ("ab", "x", "xab"),
        ("", "xy", "xy"),
        ("abc", "", "abc"),
        ("abc", "cba", "cba"),
    ] {
        let containers = |names: &str| {
            let list: Vec<Value> = names.chars().map(|name| json!({"name": name})).collect();
            json!({"spec": {"containers": list}}).to_string()
        };
        let out =
            patched(PatchType::Strategic, &kind, &containers(live), &containers(patch)).expect("applies");
        let names = out["spec"]["containers"].as_array().expect("a list").iter();
        let names: String = names.filter_map(|container| container["name"].as_str()).collect();
        assert_eq!(names, expected, "{live} + {patch}");
    }
}

/// F2j: what is put where nothing was carries no directives and no nulls.
#[test]
fn new_subtrees_carry_no_directives() {
    let kind = kind("", "Pod");
    let patch = r#"{"spec": {"securityContext": {"runAsUser": 1, "runAsGroup": null, "$retainKeys": ["runAsUser"]},
        "affinity": {"$patch": "delete"}, "containers": [{"name": "a", "args": null}]}}"#;
    let out = patched(PatchType::Strategic, &kind, r#"{"spec": {}}"#, patch).expect("applies");
    assert_eq!(out, json!({"spec": {"securityContext": {"runAsUser": 1}, "containers": [{"name": "a"}]}}));
}

/// F2k: keys that are numbers are equal if the numbers are.
#[test]
fn numbers_are_keys_by_value() {
    let kind = kind("", "Service");
    let live = r#"{"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]}}"#;
    let patch = r#"{"spec": {"ports": [{"port": 80.0, "targetPort": 8080}]}}"#;
    let out = patched(PatchType::Strategic, &kind, live, patch).expect("applies");
    let ports = out["spec"]["ports"].as_array().expect("a list");
    assert_eq!((ports.len(), &ports[0]["name"], &ports[0]["targetPort"]), (2, &json!("a"), &json!(8080)));
}
