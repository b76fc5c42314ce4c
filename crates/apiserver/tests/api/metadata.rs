//! Metadata (section C), and what is warned of.

use serde_json::{Value, json};

use crate::server::{Answer, Server};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

fn causes(answer: &Answer) -> Value {
    answer.json()["details"]["causes"].clone()
}

/// C1, C2, C10, C11, C14, D32, D33, D34: what metadata may look like.
#[tokio::test]
async fn metadata_is_checked() {
    let server = Server::start().await;
    let owner = |member: &str, value: &str| {
        let mut owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "o", "uid": "u"});
        owner[member] = json!(value);
        json!({"name": "m", "ownerReferences": [owner]})
    };
    let controllers = json!({"name": "m", "ownerReferences": [
        {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "1", "controller": true},
        {"apiVersion": "v1", "kind": "Pod", "name": "b", "uid": "2", "controller": true},
    ]});
    for (metadata, field, message) in [
        (json!({}), "metadata.name", "Required value: name or generateName is required"),
        (json!({"name": "m", "labels": {"a b": "c"}}), "metadata.labels", "Invalid value: \"a b\""),
        (json!({"name": "m", "labels": {"a": "-"}}), "metadata.labels", "Invalid value: \"-\""),
        (
            json!({"name": "m", "annotations": {"a": "x".repeat(262_145)}}),
            "metadata.annotations",
            "Too long: may not be more than 262144 bytes",
        ),
        (
            json!({"name": "m", "finalizers": ["mine"]}),
            "metadata.finalizers",
            "Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified",
        ),
        (
            json!({"name": "m", "finalizers": ["orphan", "foregroundDeletion"]}),
            "metadata.finalizers",
            "finalizer orphan and foregroundDeletion cannot be both set",
        ),
        (owner("uid", ""), "metadata.ownerReferences.uid", "Invalid value: \"\": must not be empty"),
        (owner("name", ""), "metadata.ownerReferences.name", "Invalid value: \"\": must not be empty"),
        (owner("kind", ""), "metadata.ownerReferences.kind", "Invalid value: \"\": must not be empty"),
        (
            owner("apiVersion", ""),
            "metadata.ownerReferences.apiVersion",
            "Invalid value: \"\": version must not be empty",
        ),
        (
            owner("kind", "Event"),
            "metadata.ownerReferences",
            "/v1, Kind=Event is disallowed from being an owner",
        ),
        (controllers, "metadata.ownerReferences", "Only one reference can have Controller set to true"),
    ] {
        let answer = server.post(MAPS, &json!({"metadata": metadata})).await;
        assert_eq!((answer.code, &answer.json()["reason"]), (422, &json!("Invalid")), "{metadata}");
        let found = causes(&answer);
        let cause = found.as_array().unwrap().iter().find(|cause| cause["field"] == field);
        let cause = cause.unwrap_or_else(|| panic!("no cause at {field}: {found}"));
        assert!(cause["message"].as_str().unwrap().contains(message), "{cause}");
    }
    server.stop().await;
}

/// C3: generated names, and what happens when none is free is told by the pure tests; a given name wins.
#[tokio::test]
async fn names_are_generated() {
    let server = Server::start().await;
    let made = server.post(MAPS, &json!({"metadata": {"generateName": "abc-"}})).await.json();
    let name = made["metadata"]["name"].as_str().unwrap();
    let suffix = name.strip_prefix("abc-").unwrap();
    assert!(
        suffix.len() == 5 && suffix.bytes().all(|c| b"bcdfghjklmnpqrstvwxz2456789".contains(&c)),
        "{name}"
    );
    assert_eq!(made["metadata"]["generateName"], "abc-");
    let long = server.post(MAPS, &json!({"metadata": {"generateName": "x".repeat(90)}})).await.json();
    assert_eq!(long["metadata"]["name"].as_str().unwrap().len(), 63);
    let both = server.post(MAPS, &json!({"metadata": {"generateName": "abc-", "name": "own"}})).await;
    assert_eq!(both.json()["metadata"]["name"], "own");
    server.stop().await;
}

/// C4, C5, C6, C7, C18: what the server decides is not the client's to say.
#[tokio::test]
async fn the_server_keeps_its_own_metadata() {
    let server = Server::start().await;
    let stamp = "2001-01-01T00:00:00Z";
    let body = json!({"metadata": {
        "name": "m", "uid": "mine", "creationTimestamp": stamp, "deletionTimestamp": stamp,
        "deletionGracePeriodSeconds": 5, "selfLink": "/x", "resourceVersion": "0", "generation": 7,
    }});
    let made = server.post(MAPS, &body).await.json();
    let metadata = &made["metadata"];
    assert!(metadata["uid"] != "mine" && metadata["uid"].as_str().unwrap().len() == 36);
    assert_ne!(metadata["creationTimestamp"], stamp);
    for member in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        assert!(metadata.get(member).is_none(), "{member}");
    }
    assert!(metadata["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() > 0);
    let mut versioned = named("n");
    versioned["metadata"]["resourceVersion"] = json!("7");
    let refused = server.post(MAPS, &versioned).await;
    assert_eq!((refused.code, refused.json().get("reason")), (500, None));
    assert_eq!(refused.message(), "resourceVersion should not be set on objects to be created");
    let uri = format!("{MAPS}/m");
    let bare = server.put(&uri, &named("m")).await.json();
    for member in ["uid", "creationTimestamp"] {
        assert_eq!(bare["metadata"][member], metadata[member], "filled in from the stored object");
    }
    let changed = server.patch(&uri, &json!({"metadata": {"creationTimestamp": stamp}})).await.json();
    assert_eq!(changed["metadata"]["creationTimestamp"], metadata["creationTimestamp"]);
    for (member, value) in [("deletionTimestamp", json!(stamp)), ("deletionGracePeriodSeconds", json!(5))] {
        let refused = server.patch(&uri, &json!({"metadata": {member: value}})).await;
        assert_eq!(refused.code, 422);
        assert!(
            refused.message().contains(&format!("metadata.{member}: Invalid value")),
            "{}",
            refused.message()
        );
        assert!(refused.message().ends_with("field is immutable"), "{}", refused.message());
    }
    server.stop().await;
}

/// C15, D5, D6: identity and version in an update are conditions.
#[tokio::test]
async fn identity_and_version_are_conditions() {
    let server = Server::start().await;
    let made = server.post(MAPS, &named("m")).await.json();
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let uri = format!("{MAPS}/m");
    let with = |member: &str, value: &str| json!({"metadata": {"name": "m", member: value}});
    let answer = server.put(&uri, &with("uid", "other")).await;
    let cause = format!("Precondition failed: UID in precondition: other, UID in object meta: {uid}");
    assert_eq!((answer.code, answer.json()["reason"].as_str()), (409, Some("Conflict")));
    assert!(answer.message().contains(&cause), "{}", answer.message());
    let answer = server.patch(&uri, &with("uid", "other")).await;
    assert_eq!(
        (answer.code, answer.message().as_str()),
        (422, "ConfigMap \"m\" is invalid: metadata.uid: Invalid value: \"other\": field is immutable")
    );
    let stale = "Operation cannot be fulfilled on configmaps \"m\": the object has been modified; please apply your changes to the latest version and try again";
    for answer in [
        server.put(&uri, &with("resourceVersion", "1")).await,
        server.patch(&uri, &with("resourceVersion", "1")).await,
    ] {
        assert_eq!((answer.code, answer.message().as_str()), (409, stale));
        assert_eq!(
            (&answer.json()["details"]["kind"], &answer.json()["details"]["name"]),
            (&json!("configmaps"), &json!("m"))
        );
    }
    let answer = server.put(&uri, &with("resourceVersion", "x")).await;
    assert_eq!((answer.code, answer.json().get("reason")), (500, None));
    assert_eq!(answer.message(), "strconv.ParseUint: parsing \"x\": invalid syntax");
    assert_eq!(server.put(&uri, &with("resourceVersion", "0")).await.code, 200);
    server.stop().await;
}

/// C16, D15: what is allowed and strange is said in a header, once.
#[tokio::test]
async fn strange_things_are_warned_of() {
    let server = Server::start().await;
    assert_eq!(server.post("/api/v1/namespaces/default/serviceaccounts", &named("default")).await.code, 201);
    let pod = json!({"metadata": {"name": "a.b"}, "spec": {"containers": [{
        "name": "c", "image": "i", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
        "ports": [{"containerPort": 80}, {"containerPort": 80}],
    }]}});
    let made = server.post(PODS, &pod).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let said: Vec<&str> =
        made.headers.get_all("warning").iter().map(|value| value.to_str().unwrap()).collect();
    for text in [
        "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
        "spec.containers[0].env[1]: hides previous definition of \\\"A\\\", which may be dropped when using apply",
        "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
    ] {
        assert!(said.contains(&format!("299 - \"{text}\"").as_str()), "{text}\n{said:?}");
    }
    let twice = json!({"apiVersion": "v1", "kind": "Pod", "name": "o", "uid": "u"});
    let body = json!({"metadata": {"name": "m", "ownerReferences": [twice, twice]}});
    let made = server.post(MAPS, &body).await;
    assert!(made.header("warning").contains("metadata.ownerReferences"), "{}", made.header("warning"));
    assert_eq!(made.json()["metadata"]["ownerReferences"], json!([twice]));
    server.stop().await;
}

/// D15: many long warnings are cut, so that all headers together stay small.
#[tokio::test]
async fn a_flood_of_warnings_is_cut() {
    let server = Server::start().await;
    let mut body = named("m");
    for n in 0..60 {
        body[format!("{n:03}{}", "x".repeat(300))] = json!(1);
    }
    let made = server.post(MAPS, &body).await;
    let said: Vec<usize> = made.headers.get_all("warning").iter().map(|value| value.len()).collect();
    assert_eq!(said.len(), 4096 / 256);
    assert!(said.iter().all(|length| *length <= 256 + 10), "{said:?}");
    server.stop().await;
}
