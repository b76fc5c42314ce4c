//! What an apply makes of an object (F4e-F4i).

use super::*;

fn containers(items: Value) -> Value {
    json!({"spec": {"template": {"spec": {"containers": items}}}})
}

const CONTAINERS: &[&str] = &["spec", "template", "spec", "containers"];

/// F4e (4), F5c: everything merges by its type, and the body is what is owned.
#[test]
fn bodies_merge_by_type() {
    let mut story = Story::of("", "pods");
    story.write(
        "m",
        json!({"metadata": {"name": "x", "labels": {"a": "1"}, "finalizers": ["f/1"]},
            "spec": {"nodeSelector": {"old": "1"}, "tolerations": [{"key": "old"}],
                "containers": [{"name": "c", "image": "i", "args": ["old"]}]}}),
    );
    story.force(
        "k",
        json!({"metadata": {"name": "x", "labels": {"b": "2"}, "finalizers": ["f/2"]},
            "spec": {"nodeSelector": {"new": "1"}, "tolerations": [{"key": "new"}],
                "containers": [{"name": "c", "args": ["new"]}, {"name": "d", "image": "i"}]}}),
    );
    assert_eq!(story.at(&["metadata", "labels"]), json!({"a": "1", "b": "2"}));
    assert_eq!(story.at(&["metadata", "finalizers"]), json!(["f/1", "f/2"]));
    assert_eq!(
        story.at(&["spec"]),
        json!({"nodeSelector": {"new": "1"}, "tolerations": [{"key": "new"}],
            "containers": [{"name": "c", "image": "i", "args": ["new"]}, {"name": "d", "image": "i"}]})
    );
    assert_eq!(
        story.owners()["k/Apply"],
        json!({
            "f:metadata": {"f:labels": {"f:b": {}}, "f:finalizers": {"v:\"f/2\"": {}}},
            "f:spec": {
                "f:containers": {
                    "k:{\"name\":\"c\"}": {".": {}, "f:args": {}, "f:name": {}},
                    "k:{\"name\":\"d\"}": {".": {}, "f:image": {}, "f:name": {}},
                },
                "f:nodeSelector": {}, "f:tolerations": {},
            },
        })
    );
}

/// F5c: an empty map is owned itself; a key filled by a default names the item and is not owned.
#[test]
fn empty_maps_and_default_keys() {
    let mut story = Story::of("", "services");
    story.apply("k", json!({"metadata": {"name": "x", "labels": {}}, "spec": {"ports": [{"port": 80}]}}));
    assert_eq!(
        story.owners()["k/Apply"],
        json!({
            "f:metadata": {"f:labels": {}},
            "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}},
        })
    );
}

/// F4e (5): what a manager no longer applies goes, unless somebody else owns it.
#[test]
fn dropped_fields_go_unless_owned_by_another() {
    let mut story = Story::config_map();
    story.apply("a", json!({"data": {"mine": "1", "shared": "1"}}));
    story.apply("b", json!({"data": {"shared": "1"}}));
    story.apply("a", json!({}));
    assert_eq!(story.at(&["data"]), json!({"shared": "1"}));
    assert_eq!(story.owners(), json!({"b/Apply": {"f:data": {"f:shared": {}}}}));
    story.apply("b", json!({}));
    assert!(story.at(&["data"]).is_null());
}

/// F4e (5): an update that took the field over keeps it from going.
#[test]
fn a_field_an_update_took_over_stays() {
    let mut story = Story::config_map();
    story.apply("a", json!({"data": {"x": "1"}}));
    story.write("b", json!({"data": {"x": "2"}}));
    story.apply("a", json!({}));
    assert_eq!(story.at(&["data"]), json!({"x": "2"}));
}

/// F4e (5), F4g: a struct nobody asks for any more takes the defaults inside it along; those elsewhere stay.
#[test]
fn defaults_go_with_the_struct_they_filled() {
    let mut story = Story::of("", "pods");
    story.apply("a", json!({"spec": {"containers": [{"name": "c", "livenessProbe": {"periodSeconds": 5}}]}}));
    let mut defaulted = story.now().clone();
    let container = &mut defaulted.0["spec"]["containers"][0];
    container["livenessProbe"]["timeoutSeconds"] = json!(1);
    container["imagePullPolicy"] = json!("Always");
    story.object = Some(defaulted);
    story.apply("a", json!({"spec": {"containers": [{"name": "c"}]}}));
    assert_eq!(story.at(&["spec", "containers"]), json!([{"name": "c", "imagePullPolicy": "Always"}]));
}

/// F4f: an item stays, with its key, while anybody owns anything in it.
#[test]
fn an_item_somebody_owns_part_of_stays_with_its_key() {
    let mut story = Story::of("apps", "deployments");
    story.apply("a", containers(json!([{"name": "c", "image": "1"}, {"name": "d", "image": "1"}])));
    story.write("b", containers(json!([{"name": "c", "image": "2"}, {"name": "d", "image": "1"}])));
    story.apply("a", json!({}));
    assert_eq!(story.at(CONTAINERS), json!([{"name": "c", "image": "2"}]));
    assert_eq!(
        story.owners(),
        json!({"b/Update": {"f:spec": {"f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"c\"}": {"f:image": {}}}}}}}})
    );
}

/// F4f: all key members stay, not only the first.
#[test]
fn an_item_keeps_all_members_of_its_key() {
    let mut story = Story::of("", "services");
    let ports = |port: Value| json!({"spec": {"ports": [port]}});
    story.apply("a", ports(json!({"port": 80, "protocol": "UDP", "targetPort": 1})));
    story.write("b", ports(json!({"port": 80, "protocol": "UDP", "targetPort": 2})));
    story.apply("a", json!({}));
    assert_eq!(story.at(&["spec", "ports"]), json!([{"port": 80, "protocol": "UDP", "targetPort": 2}]));
}

/// F4e (5): set items are taken away one by one.
#[test]
fn set_items_go_one_by_one() {
    let mut story = Story::config_map();
    let finalizers = |list: Value| json!({"metadata": {"name": "x", "finalizers": list}});
    story.apply("a", finalizers(json!(["a/1", "a/2"])));
    story.apply("b", finalizers(json!(["b/1", "a/2"])));
    story.apply("a", finalizers(json!([])));
    // F4i: b's order, as b applied last.
    assert_eq!(story.at(&["metadata", "finalizers"]), json!(["b/1", "a/2"]));
}

/// F4g: what the server fills in is nobody's.
#[test]
fn server_defaults_are_nobodys() {
    let mut story = Story::of("", "pods");
    story.apply("a", json!({"spec": {"containers": [{"name": "c"}]}}));
    let fields = story.owners()["a/Apply"].to_string();
    assert!(!fields.contains("imagePullPolicy"), "{fields}");
}

/// F4h: nothing changes, not even a time.
#[test]
fn an_apply_that_changes_nothing_changes_nothing() {
    let mut story = Story::config_map();
    story.apply("a", json!({"data": {"x": "1"}}));
    let before = story.now().clone();
    story.apply("a", json!({"data": {"x": "1"}}));
    assert_eq!(story.now(), &before);
    // Ownership is a change.
    story.apply("b", json!({"data": {"x": "1"}}));
    assert_ne!(story.now(), &before);
}

/// F4i: applied items in applied order, others in their place.
#[test]
fn items_are_ordered_by_who_applied_them() {
    for (live, applied, merged) in [
        ("abc", "cb", "acb"),
        ("abc", "xb", "axbc"),
        ("cdef", "xe", "cdxef"),
        ("abcd", "dxa", "bcdxa"),
        ("", "ab", "ab"),
        ("ab", "", "ab"),
        ("abc", "abc", "abc"),
        ("abc", "cba", "cba"),
    ] {
        let items = |names: &str| {
            let list: Vec<Value> = names.chars().map(|name| json!({"name": name})).collect();
            containers(json!(list))
        };
        let mut story = Story::of("apps", "deployments");
        story.write("m", items(live));
        story.force("k", items(applied));
        let names: String =
            story.at(CONTAINERS).as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(names, merged, "{live} + {applied}");
    }
}

/// F4k, F5f: an apply through /status owns status only.
#[test]
fn an_apply_through_status_owns_status() {
    let mut story = Story::of("", "pods");
    story.write("m", json!({"spec": {"containers": [{"name": "c"}]}}));
    let body = story.body(json!({"spec": {"hostname": "h"}, "status": {"message": "m"}}));
    let writer = story.writer("k", "status");
    let applied = apply(&story.kind, story.object.as_ref(), &body, &writer, false).unwrap();
    story.keep(applied.object, &applied.managed);
    assert_eq!(story.owners()["k/Apply/status"], json!({"f:status": {"f:message": {}}}));
    // And one through the object owns everything else.
    story.apply("k", json!({"spec": {"hostname": "h"}, "status": {"message": "m"}}));
    assert_eq!(story.owners()["k/Apply"], json!({"f:spec": {"f:hostname": {}}}));
}

/// F4e (5), F5n: what was applied in another version is taken away in that version's words.
#[test]
fn a_later_version_takes_away_what_an_earlier_applied() {
    let mut story = Story::of("autoscaling", "horizontalpodautoscalers");
    story.apply("a", json!({"spec": {"maxReplicas": 3, "minReplicas": 2}}));
    story.apply("b", json!({"spec": {"maxReplicas": 3}}));
    let mut later =
        (*Registry::builtin().find("autoscaling", "v2", "horizontalpodautoscalers").unwrap()).clone();
    std::mem::swap(&mut later, &mut story.kind);
    story.versions = &SameWords;
    let mut live = story.now().clone();
    live.0.insert("apiVersion".to_owned(), json!("autoscaling/v2"));
    story.object = Some(live);
    story.apply("a", json!({}));
    assert_eq!(story.at(&["spec"]), json!({"maxReplicas": 3}));
    assert_eq!(story.at(&["apiVersion"]), "autoscaling/v2");
}

/// Versions that differ in name only.
#[derive(Debug)]
struct SameWords;

impl Versions for SameWords {
    fn convert(&self, object: &Object, api_version: &str) -> Option<Object> {
        let mut object = object.clone();
        object.0.insert("apiVersion".to_owned(), json!(api_version));
        Some(object)
    }
}

/// J18: kinds without a schema have granular maps and atomic lists.
#[test]
fn kinds_without_a_schema_have_granular_maps_and_atomic_lists() {
    let mut story = Story::config_map();
    story.kind.group = "example.org".into();
    story.kind.kind = "Thing".into();
    story.apply("a", json!({"spec": {"one": {"x": 1}, "list": [{"name": "a"}]}}));
    story.apply("b", json!({"spec": {"one": {"y": 2}}}));
    assert_eq!(story.at(&["spec", "one"]), json!({"x": 1, "y": 2}));
    assert!(story.try_apply("b", json!({"spec": {"list": [{"name": "b"}]}}), false).is_err());
    story.apply("a", json!({}));
    assert_eq!(story.at(&["spec"]), json!({"one": {"y": 2}}));
}
