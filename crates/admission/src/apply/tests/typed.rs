//! Bodies that do not fit (F4b, F4l).

use super::*;
use crate::apply::check_body;

/// F4l: each misfit in its words.
#[test]
fn misfits_are_told_in_upstreams_words() {
    for (body, why) in [
        (json!({"spec": {"foo": 1}}), ".spec.foo: field not declared in schema"),
        (json!({"spec": {"replicas": "x"}}), ".spec.replicas: expected numeric (int or float), got string"),
        (json!({"spec": {"paused": "x"}}), ".spec.paused: expected boolean, got &{x}"),
        (json!({"spec": [1]}), ".spec: expected map, got &{[1]}"),
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            ".metadata.labels.a: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": {"a": "b"}}}}}),
            ".spec.template.spec.containers: expected list, got &{map[a:b]}",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c"}, {"name": "c"}]}}}}),
            ".spec.template.spec.containers: duplicate entries for key [name=\"c\"]",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": ["c"]}}}}),
            ".spec.template.spec.containers: element 0: associative list with keys may not have non-map elements",
        ),
        (
            json!({"metadata": {"finalizers": ["a/b", "a/b"]}}),
            ".metadata.finalizers: duplicate entries for key [\"a/b\"]",
        ),
        (
            json!({"spec": {"template": {"spec": {"tolerations": [{"key": 1}]}}}}),
            ".spec.template.spec.tolerations[0].key: expected string, got &value.valueUnstructured{Value:1}",
        ),
    ] {
        let mut story = Story::of("apps", "deployments");
        let mut body = body;
        body["metadata"]["name"] = json!("d");
        body["metadata"]["namespace"] = json!("n");
        let error = story.try_apply("k", body, true).unwrap_err();
        assert_eq!((error.code, error.reason), (500, None));
        let on = "failed to create typed patch object (n/d; apps/v1, Kind=Deployment): ";
        assert_eq!(error.message, format!("{on}{why}"));
    }
}

/// F4l: several are listed.
#[test]
fn several_misfits_are_listed() {
    let mut story = Story::config_map();
    let error = story.try_apply("k", json!({"data": {"a": 1}, "x": 1}), false).unwrap_err();
    assert!(
        error.message.ends_with(
            "errors:\n  .data.a: expected string, got &value.valueUnstructured{Value:1}\n  .x: field not declared in schema"
        ),
        "{error}"
    );
}

/// F4l: what has a free form, times, quantities and ports among it, is left to decoding.
#[test]
fn free_forms_fit() {
    let mut story = Story::of("", "pods");
    story.apply(
        "k",
        json!({"metadata": {"name": "x", "creationTimestamp": null}, "spec": {"containers": [{
            "name": "c", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
            "livenessProbe": {"httpGet": {"port": "http"}}, "readinessProbe": {"httpGet": {"port": 80}},
        }]}}),
    );
}

/// F4b: type and record are checked before anything else.
#[test]
fn a_body_is_of_the_kind_and_brings_no_record() {
    let story = Story::config_map();
    let check = |body: Value| check_body(ApiType::of(&story.kind), &Object::from_value(body).unwrap());
    for (body, message) in [
        (json!({}), "invalid object type: /, Kind="),
        (json!({"apiVersion": "v1", "kind": "Pod"}), "invalid object type: v1, Kind=Pod"),
        (json!({"apiVersion": "v2", "kind": "ConfigMap"}), "invalid object type: v2, Kind=ConfigMap"),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"managedFields": []}}),
            "metadata.managedFields must be nil",
        ),
    ] {
        let error = check(body).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (400, message));
    }
    assert!(
        check(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"managedFields": null}})).is_ok()
    );
}
