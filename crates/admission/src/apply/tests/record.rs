//! Writes other than applies (F5e-F5n).

use super::*;

fn pod(image: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "image": image, "resources": {}}], "restartPolicy": "Always"}})
}

/// F5a, F5c, F5e: a create owns what it brings and is marked where nothing was; what is never left out counts as there.
#[test]
fn a_create_owns_what_it_brings() {
    let mut story = Story::of("", "pods");
    let mut body = pod("i");
    body["metadata"] = json!({"name": "x", "namespace": "n", "labels": {"a": "b"}});
    story.write("m", body);
    assert_eq!(
        story.owners(),
        json!({"m/Update": {
            "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
            "f:spec": {
                "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}, "f:resources": {}}},
                "f:restartPolicy": {},
            },
        }})
    );
    let entry = &story.at(&["metadata", "managedFields"])[0];
    assert_eq!(
        (&entry["apiVersion"], &entry["fieldsType"], &entry["time"]),
        (&json!("v1"), &json!("FieldsV1"), &json!("1970-01-01T00:00:01Z"))
    );
    assert!(entry.get("subresource").is_none());
}

/// F5c: structs held by value have no mark of their own, those held by reference have.
#[test]
fn deployments_are_recorded_as_upstream_records_them() {
    let mut story = Story::of("apps", "deployments");
    story.write(
        "m",
        json!({"spec": {
            "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]},
            },
        }, "status": {"replicas": 3}}),
    );
    assert_eq!(
        story.owners()["m/Update"],
        json!({"f:spec": {
            "f:replicas": {}, "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
                    ".": {}, "f:name": {}, "f:ports": {
                        ".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}":
                            {".": {}, "f:containerPort": {}, "f:protocol": {}},
                    },
                }}},
            },
        }})
    );
}

/// F5e: what is changed changes hands, what is removed is nobody's, the rest stays where it was.
#[test]
fn changed_fields_change_hands() {
    let mut story = Story::config_map();
    story.write("a", json!({"data": {"x": "1", "y": "1", "z": "1"}}));
    story.write("b", json!({"data": {"x": "2", "y": "1", "w": "1"}}));
    assert_eq!(
        story.owners(),
        json!({
            "a/Update": {"f:data": {".": {}, "f:y": {}}},
            "b/Update": {"f:data": {"f:w": {}, "f:x": {}}},
        })
    );
    let times = story.at(&["metadata", "managedFields"]);
    // F5e: only who gained something has a new time; F5b: and sorts behind.
    assert_eq!((&times[0]["manager"], &times[0]["time"]), (&json!("a"), &json!("1970-01-01T00:00:01Z")));
    assert_eq!((&times[1]["manager"], &times[1]["time"]), (&json!("b"), &json!("1970-01-01T00:00:02Z")));
}

/// F5m: without fields nobody is a manager.
#[test]
fn a_manager_without_fields_disappears() {
    let mut story = Story::config_map();
    story.write("a", json!({"data": {"x": "1"}}));
    story.write("b", json!({"data": {"x": "2", "y": "2"}}));
    assert_eq!(story.owners()["a/Update"], json!({"f:data": {}}));
    story.write("b", json!({}));
    assert_eq!(story.owners(), json!({}));
    assert!(story.at(&["metadata", "managedFields"]).is_null());
}

/// F5f: neither identity nor what the endpoint wipes is owned.
#[test]
fn each_endpoint_owns_what_it_writes() {
    let mut story = Story::of("", "pods");
    let mut body = pod("i");
    body["status"] = json!({"phase": "Pending"});
    body["metadata"] =
        json!({"name": "x", "uid": "u", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"});
    story.write("m", body.clone());
    assert!(story.owners()["m/Update"].get("f:status").is_none());
    assert!(story.owners()["m/Update"].get("f:metadata").is_none());

    body["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    body["spec"]["restartPolicy"] = json!("Never");
    story.write_through("kubelet", "status", body);
    assert_eq!(
        story.owners()["kubelet/Update/status"],
        json!({"f:status": {
            "f:conditions": {".": {}, "k:{\"type\":\"Ready\"}": {".": {}, "f:status": {}, "f:type": {}}},
            "f:phase": {},
        }})
    );
    assert!(story.owners()["m/Update"]["f:spec"].get("f:restartPolicy").is_some());
}

/// F5f: resize and ephemeralcontainers own only their fields.
#[test]
fn narrow_subresources_own_only_their_fields() {
    let mut story = Story::of("", "pods");
    story.write("m", pod("i"));
    let mut resized = pod("other");
    resized["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}});
    story.write_through("r", "resize", resized);
    assert_eq!(
        story.owners()["r/Update/resize"],
        json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}":
            {"f:resources": {"f:limits": {".": {}, "f:cpu": {}}}}}}})
    );
    let mut debugged = pod("third");
    debugged["spec"]["ephemeralContainers"] = json!([{"name": "d"}]);
    story.write_through("d", "ephemeralcontainers", debugged);
    assert_eq!(
        story.owners()["d/Update/ephemeralcontainers"],
        json!({"f:spec": {"f:ephemeralContainers": {".": {}, "k:{\"name\":\"d\"}": {".": {}, "f:name": {}}}}})
    );
}

/// F5h: ten entries of updates, the oldest joined.
#[test]
fn old_updates_are_joined() {
    let mut story = Story::config_map();
    let mut data = json!({});
    for n in 0..13 {
        data[format!("k{n:02}")] = json!("v");
        story.write(&format!("m{n:02}"), json!({"data": data}));
    }
    let owners = story.owners();
    let names: Vec<&String> = owners.as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 10, "{names:?}");
    assert_eq!(
        owners["ancient-changes/Update"],
        json!({"f:data": {".": {}, "f:k00": {}, "f:k01": {}, "f:k02": {}, "f:k03": {}}})
    );
    assert!(owners.get("m04/Update").is_some() && owners.get("m03/Update").is_none());
    let ancient = &story.at(&["metadata", "managedFields"])[0];
    assert_eq!(
        (&ancient["manager"], &ancient["time"]),
        (&json!("ancient-changes"), &json!("1970-01-01T00:00:04Z"))
    );
}

/// F5i: what was never tracked is not tracked by later writes.
#[test]
fn an_untracked_object_stays_untracked_until_it_is_applied() {
    let mut story = Story::config_map();
    story.write("a", json!({}));
    assert_eq!(story.owners(), json!({}));
    story.write("b", json!({"data": {"x": "1"}}));
    assert_eq!(story.owners(), json!({}));
    story.apply("c", json!({"data": {"y": "1"}}));
    assert_eq!(
        story.owners(),
        json!({
            "before-first-apply/Update": {"f:data": {".": {}, "f:x": {}}},
            "c/Apply": {"f:data": {"f:y": {}}},
        })
    );
}

/// F5j, C17: a request may replace the record, but not with what cannot be read, nor through a subresource.
#[test]
fn a_request_may_bring_its_own_record() {
    let own = json!([{"manager": "z", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:x": {}}}}]);
    let body =
        |record: &Value| json!({"metadata": {"name": "x", "managedFields": record}, "data": {"x": "1"}});
    let start = || {
        let mut story = Story::config_map();
        story.write("a", json!({"data": {"x": "1"}}));
        story
    };
    let mut story = start();
    story.write("b", body(&own));
    assert_eq!(story.owners(), json!({"z/Apply": {"f:data": {"f:x": {}}}}));
    for reset in [json!([]), json!([{}])] {
        let mut story = start();
        story.write("b", body(&reset));
        assert_eq!(story.owners(), json!({}), "{reset}");
    }
    let kept = json!({"a/Update": {"f:data": {".": {}, "f:x": {}}}});
    for wrong in [
        json!([{"manager": "z", "operation": "Guess", "apiVersion": "v1", "fieldsType": "FieldsV1"}]),
        json!([{"manager": "z", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV2"}]),
        json!([{"manager": "z", "operation": "Apply", "fieldsType": "FieldsV1"}]),
    ] {
        let mut story = start();
        story.write("b", body(&wrong));
        assert_eq!(story.owners(), kept, "{wrong}");
    }
    let mut story = start();
    story.write_through("b", "status", body(&own));
    assert_eq!(story.owners(), kept);
}

/// F5k: a scale takes the field from whoever has it, applied or not.
#[test]
fn a_scale_takes_the_number_of_replicas() {
    let mut story = Story::of("apps", "deployments");
    story.apply("a", json!({"spec": {"replicas": 1, "paused": true}}));
    story.write_through("s", "scale", json!({"spec": {"replicas": 5, "paused": true}}));
    assert_eq!(
        story.owners(),
        json!({
            "a/Apply": {"f:spec": {"f:paused": {}}},
            "s/Update/scale": {"f:spec": {"f:replicas": {}}},
        })
    );
}

/// One kind in two versions that call a member differently; a third is no longer served.
#[derive(Debug)]
struct Renamed;

impl Versions for Renamed {
    fn convert(&self, object: &Object, api_version: &str) -> Option<Object> {
        let mut object = object.clone();
        let (from, to) = match (object.api_version(), api_version) {
            (old, new) if old == new => return Some(object),
            ("v1", "events.k8s.io/v1") => ("message", "note"),
            ("events.k8s.io/v1", "v1") => ("note", "message"),
            _ => return None,
        };
        if let Some(value) = object.0.remove(from) {
            object.0.insert(to.to_owned(), value);
        }
        object.0.insert("apiVersion".to_owned(), json!(api_version));
        Some(object)
    }
}

/// F5n: other versions are compared in their own words; what is not served any more is dropped.
#[test]
fn entries_of_other_versions_are_compared_in_their_words() {
    let mut story = Story::of("", "events");
    story.versions = &Renamed;
    let entry = |manager: &str, version: &str, member: &str| {
        json!({"manager": manager, "operation": "Update", "apiVersion": version, "fieldsType": "FieldsV1",
            "fieldsV1": {member: {}}})
    };
    story.write("a", json!({"message": "m", "reason": "r"}));
    let record = json!([
        entry("other", "events.k8s.io/v1", "f:note"),
        entry("same", "events.k8s.io/v1", "f:reason"),
        entry("gone", "events.k8s.io/v1beta1", "f:note"),
    ]);
    story.write(
        "a",
        json!({"metadata": {"name": "x", "managedFields": record}, "message": "m", "reason": "r"}),
    );
    story.write("a", json!({"message": "n", "reason": "r"}));
    assert_eq!(story.owners(), json!({"a/Update": {"f:message": {}}, "same/Update": {"f:reason": {}}}));
}

/// F5o: items of one key in a stored list are one thing to those who write.
#[test]
fn duplicate_items_are_tolerated_and_owned_together() {
    let mut story = Story::of("", "services");
    let ports = |second: i64| {
        json!({"spec": {"ports": [
            {"port": 80, "protocol": "TCP", "targetPort": 1}, {"port": 80, "protocol": "TCP", "targetPort": second},
        ]}})
    };
    story.write("a", ports(2));
    story.write("b", ports(3));
    assert_eq!(
        story.owners()["b/Update"],
        json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {}}}})
    );
    let error = story.try_apply("c", ports(3), true).unwrap_err();
    assert!(
        error.message.ends_with(".spec.ports: duplicate entries for key [port=80,protocol=\"TCP\"]"),
        "{error}"
    );
}
