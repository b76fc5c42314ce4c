//! Who stands in the way of an apply, and how it is told (F4e, F4j, F6b).

use super::*;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// F4e (1), (2), F4j: one conflict in one line.
#[test]
fn one_conflict_is_told_in_one_line() {
    let mut story = Story::of("apps", "deployments");
    story.write("helm", json!({"spec": {"replicas": 1}}));
    let error = story.try_apply("k", json!({"spec": {"replicas": 2}}), false).unwrap_err();
    assert_eq!(
        serde_json::to_value(error.to_status()).unwrap(),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 409,
            "reason": "Conflict",
            "message": "Apply failed with 1 conflict: conflict with \"helm\" using apps/v1: .spec.replicas",
            "details": {"causes": [{"reason": "FieldManagerConflict",
                "message": "conflict with \"helm\" using apps/v1", "field": ".spec.replicas"}]},
        })
    );
}

/// F4j: several, by manager; applied ones without a version, subresources named.
#[test]
fn several_conflicts_are_told_by_manager() {
    let mut story = Story::of("apps", "deployments");
    story.apply("zoe", json!({"spec": {"paused": true}}));
    story.write_through("kubectl", "scale", json!({"spec": {"paused": true, "replicas": 1}}));
    story.write(
        "ann",
        json!({"metadata": {"name": "x", "finalizers": ["a/b"]}, "spec": {"paused": true, "replicas": 1,
            "template": {"spec": {"containers": [{"name": "c", "image": "1"}]}}}}),
    );
    let body = json!({"spec": {"paused": false, "replicas": 2,
        "template": {"spec": {"containers": [{"name": "c", "image": "2"}]}}}});
    let error = story.try_apply("k", body, false).unwrap_err();
    assert_eq!(
        error.message,
        "Apply failed with 3 conflicts: conflicts with \"ann\" using apps/v1:\n\
         - .spec.template.spec.containers[name=\"c\"].image\n\
         conflicts with \"kubectl\" with subresource \"scale\" using apps/v1:\n\
         - .spec.replicas\n\
         conflicts with \"zoe\":\n\
         - .spec.paused"
    );
}

/// F4e (1), (6): the same value is shared, not fought over.
#[test]
fn equal_values_are_shared() {
    let mut story = Story::config_map();
    story.apply("a", json!({"data": {"x": "1"}}));
    story.apply("b", json!({"data": {"x": "1"}}));
    let both = json!({"f:data": {"f:x": {}}});
    assert_eq!(story.owners(), json!({"a/Apply": both, "b/Apply": both}));
    let error = story.try_apply("b", json!({"data": {"x": "2"}}), false).unwrap_err();
    assert_eq!(error.message, "Apply failed with 1 conflict: conflict with \"a\": .data.x");
}

/// F4e (3): force takes it.
#[test]
fn force_takes_fields_over() {
    let mut story = Story::config_map();
    story.apply("a", json!({"data": {"x": "1", "y": "1"}}));
    story.force("b", json!({"data": {"x": "2"}}));
    assert_eq!(story.at(&["data", "x"]), "2");
    assert_eq!(
        story.owners(),
        json!({"a/Apply": {"f:data": {"f:y": {}}}, "b/Apply": {"f:data": {"f:x": {}}}})
    );
}

/// F4e: a manager is in nobody's way with what it applied or never had.
#[test]
fn nobody_is_in_conflict_with_oneself() {
    let mut story = Story::config_map();
    story.apply("a", json!({"data": {"x": "1"}}));
    story.apply("a", json!({"data": {"x": "2"}}));
    assert_eq!(story.at(&["data", "x"]), "2");
    // But its writes of another kind are another manager's (F5b).
    story.write("a", json!({"data": {"x": "3"}}));
    assert!(story.try_apply("a", json!({"data": {"x": "2"}}), false).is_err());
}

fn client_side(data: Value) -> Value {
    let last = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "annotations": {}},
        "data": data.clone()});
    json!({"metadata": {"name": "x", "annotations": {ANNOTATION: format!("{last}\n")}}, "data": data})
}

/// F6b: kubectl may take over what client-side apply wrote, and the annotation follows.
#[test]
fn kubectl_takes_over_from_client_side_apply() {
    let mut story = Story::config_map();
    story.write("kubectl-client-side-apply", client_side(json!({"x": "1"})));
    let applied = story.try_apply("kubectl", json!({"data": {"x": "2"}}), false).unwrap();
    story.keep(applied.object, &applied.managed);
    assert_eq!(story.at(&["data", "x"]), "2");
    assert_eq!(
        story.at(&["metadata", "annotations", ANNOTATION]),
        "{\"apiVersion\":\"v1\",\"data\":{\"x\":\"2\"},\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"x\"}}\n"
    );
    assert_eq!(story.owners()["kubectl/Apply"], json!({"f:data": {"f:x": {}}}));
}

/// F6b: nobody but kubectl may, and not what was changed since.
#[test]
fn other_conflicts_remain() {
    let mut story = Story::config_map();
    story.write("kubectl-client-side-apply", client_side(json!({"x": "1", "y": "1"})));
    assert!(story.try_apply("someone", json!({"data": {"x": "2"}}), false).is_err());
    let mut changed = client_side(json!({"x": "1", "y": "1"}));
    changed["data"]["y"] = json!("changed");
    story.write("edit", changed);
    let error = story.try_apply("kubectl", json!({"data": {"x": "2", "y": "2"}}), false).unwrap_err();
    assert_eq!(error.message, "Apply failed with 1 conflict: conflict with \"edit\" using v1: .data.y");
}

/// F6b: an object client-side apply never saw gets no annotation.
#[test]
fn no_annotation_is_made() {
    let mut story = Story::config_map();
    story.apply("kubectl", json!({"data": {"x": "1"}}));
    story.apply("kubectl", json!({"data": {"x": "2"}}));
    assert!(story.at(&["metadata", "annotations"]).is_null());
}
