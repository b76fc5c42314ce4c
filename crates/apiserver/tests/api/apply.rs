//! Server-side apply and the record of field owners over HTTP (F4, F5).

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::server::{Answer, Server};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const JSON: (&str, &str) = ("application/json", "curl/8.5");
const MERGE: (&str, &str) = ("application/merge-patch+json", "patcher/1");
const APPLY: (&str, &str) = ("application/apply-patch+yaml", "kubectl/1.37");

async fn apply(server: &Server, uri: &str, query: &str, body: Value) -> Answer {
    server.send("PATCH", &format!("{uri}?{query}"), APPLY, &body).await
}

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn deployment(replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    })
}

/// `manager/operation[/subresource]` of every entry, in order.
fn owners(answer: &Answer) -> Vec<String> {
    let entries = answer.json()["metadata"]["managedFields"].clone();
    let named = |entry: &Value| {
        let word = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let name = format!("{}/{}/{}", word("manager"), word("operation"), word("subresource"));
        name.trim_end_matches('/').to_owned()
    };
    entries.as_array().into_iter().flatten().map(named).collect()
}

/// F4a, F4e, F4h, F4j, B22: created, shared, contested, forced, dropped.
#[tokio::test]
async fn an_object_is_applied_by_several_managers() {
    let server = Server::start().await;
    let uri = format!("{MAPS}/m");
    let created = apply(&server, &uri, "fieldManager=a", map("m", json!({"x": "1"}))).await;
    assert_eq!((created.code, owners(&created)), (201, vec!["a/Apply".to_owned()]), "{:?}", created.json());
    let again = apply(&server, &uri, "fieldManager=a", map("m", json!({"x": "1"}))).await;
    assert_eq!((again.code, again.body), (200, created.body));
    let refused = apply(&server, &uri, "fieldManager=b", map("m", json!({"x": "2"}))).await;
    assert_eq!(refused.code, 409);
    assert_eq!(refused.json()["message"], "Apply failed with 1 conflict: conflict with \"a\": .data.x");
    assert_eq!(
        refused.json()["details"],
        json!({"causes": [{"reason": "FieldManagerConflict", "message": "conflict with \"a\"", "field": ".data.x"}]})
    );
    let forced = apply(&server, &uri, "fieldManager=b&force=true", map("m", json!({"x": "2"}))).await;
    assert_eq!((forced.code, owners(&forced)), (200, vec!["b/Apply".to_owned()]));
    let empty = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let dropped = apply(&server, &uri, "fieldManager=b", empty).await;
    assert!(dropped.json().get("data").is_none(), "{:?}", dropped.json());
    server.stop().await;
}

/// F4a, F4b, F1f, D9: what is refused before anything is looked at.
#[tokio::test]
async fn bad_applies_are_refused() {
    let server = Server::start().await;
    let uri = format!("{MAPS}/m");
    let mut recorded = map("m", json!({}));
    recorded["metadata"]["managedFields"] = json!([]);
    for (query, body, code, message) in [
        (
            "",
            map("m", json!({})),
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ),
        ("fieldManager=a", json!({}), 400, "invalid object type: /, Kind="),
        ("fieldManager=a", recorded, 400, "metadata.managedFields must be nil"),
        (
            "fieldManager=a",
            map("n", json!({})),
            400,
            "the name of the object (n) does not match the name on the URL (m)",
        ),
        (
            "fieldManager=a",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "other"}}),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            "fieldManager=a",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "x": 1}),
            500,
            "failed to create typed patch object (/m; v1, Kind=ConfigMap): .x: field not declared in schema",
        ),
    ] {
        let answer = apply(&server, &uri, query, body).await;
        assert_eq!((answer.code, answer.json()["message"].as_str().unwrap()), (code, message));
    }
    let cbor = ("application/apply-patch+cbor", "x");
    let answer = server.send("PATCH", &format!("{uri}?fieldManager=a"), cbor, &json!({})).await;
    assert_eq!((answer.code, answer.json()["message"].as_str()), (415, Some("415: Unsupported Media Type")));
    let answer = server.send("PATCH", &format!("{uri}?force=true"), MERGE, &json!({})).await;
    assert_eq!(answer.code, 422);
    let yaml = |text: &'static str, query: &str| {
        let request = Request::builder().method("PATCH").uri(format!("{uri}?fieldManager=a{query}"));
        request.header("content-type", APPLY.0).body(Bytes::from_static(text.as_bytes())).unwrap()
    };
    let answer = server.ask(yaml("a: [", "")).await;
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert_eq!((answer.code, message.starts_with("error decoding YAML: ")), (400, true), "{message}");
    // F4l: members named twice.
    let twice = "apiVersion: v1\nkind: ConfigMap\ndata:\n  a: b\n  a: c\n";
    let answer = server.ask(yaml(twice, "&fieldValidation=Strict")).await;
    assert_eq!(
        answer.json()["message"],
        "error strict decoding YAML: yaml: unmarshal errors:\n  line 5: key \"a\" already set in map"
    );
    // F4b: a built-in kind may leave out all metadata.
    let answer = server.ask(yaml(twice, "")).await;
    assert_eq!((answer.code, answer.json()["metadata"]["name"].as_str()), (201, Some("m")));
    assert_eq!(answer.headers["warning"], "299 - \"line 5: key \\\"a\\\" already set in map\"");
    server.stop().await;
}

/// F4c, F4d, D6: identity and version in a body.
#[tokio::test]
async fn identity_and_version_in_a_body_are_conditions() {
    let server = Server::start().await;
    let uri = format!("{MAPS}/m");
    let with = |member: &str, value: &str| {
        let mut body = map("m", json!({"x": value}));
        body["metadata"][member] = json!(value);
        body
    };
    let answer = apply(&server, &uri, "fieldManager=a", with("uid", "u")).await;
    assert_eq!(answer.code, 409);
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("uid mismatch: the provided object specified uid u"), "{message}");
    let created = apply(&server, &uri, "fieldManager=a", with("resourceVersion", "1")).await;
    assert_eq!(created.code, 201);
    let stale = apply(&server, &uri, "fieldManager=a", with("resourceVersion", "2")).await;
    assert_eq!((stale.code, stale.json()["reason"].as_str()), (409, Some("Conflict")));
    let version = created.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    assert_eq!(apply(&server, &uri, "fieldManager=a", with("resourceVersion", &version)).await.code, 200);
    server.stop().await;
}

/// F4c: who may patch but not create makes nothing.
#[tokio::test]
async fn a_creating_apply_needs_the_right_to_create() {
    let server = Server::start().await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let rule = |verbs: Value| json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs});
    let role = json!({"metadata": {"name": "p"}, "rules": [rule(json!(["patch"]))]});
    let binding = json!({"metadata": {"name": "p"}, "subjects": [{"kind": "User", "name": "pat", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "p"}});
    assert_eq!(server.send("POST", &format!("{rbac}/clusterroles"), JSON, &role).await.code, 201);
    assert_eq!(server.send("POST", &format!("{rbac}/clusterrolebindings"), JSON, &binding).await.code, 201);
    let as_pat = |name: &str| {
        let request = Request::builder().method("PATCH").uri(format!("{MAPS}/{name}?fieldManager=a"));
        let request = request.header("content-type", APPLY.0).header("impersonate-user", "pat");
        request.body(Bytes::from(map(name, json!({"x": "1"})).to_string())).unwrap()
    };
    let refused = server.ask(as_pat("m")).await;
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    assert_eq!(
        (refused.code, message.contains("cannot create resource \"configmaps\"")),
        (403, true),
        "{message}"
    );
    assert_eq!(server.send("POST", MAPS, JSON, &map("m", json!({}))).await.code, 201);
    assert_eq!(server.ask(as_pat("m")).await.code, 200);
    server.stop().await;
}

/// F5e, F5g, F5f: every write is recorded, under the program's name, with defaults and without plug-ins' work.
#[tokio::test]
async fn every_write_is_recorded() {
    let server = Server::start().await;
    let created = server.send("POST", DEPLOYMENTS, JSON, &deployment(1)).await;
    assert_eq!((created.code, owners(&created)), (201, vec!["curl/Update".to_owned()]));
    let fields = &created.json()["metadata"]["managedFields"][0]["fieldsV1"];
    assert!(fields["f:spec"]["f:progressDeadlineSeconds"].is_object(), "{fields}");
    let patched =
        server.send("PATCH", &format!("{DEPLOYMENTS}/d"), MERGE, &json!({"spec": {"replicas": 2}})).await;
    assert_eq!(owners(&patched), ["curl/Update", "patcher/Update"]);
    let mut put = patched.json();
    put["spec"]["replicas"] = json!(3);
    let named = server.send("PUT", &format!("{DEPLOYMENTS}/d?fieldManager=me"), JSON, &put).await;
    assert_eq!(owners(&named), ["curl/Update", "me/Update"]);
    let status = json!({"status": {"replicas": 3}});
    let status = server.send("PATCH", &format!("{DEPLOYMENTS}/d/status"), MERGE, &status).await;
    assert_eq!(owners(&status), ["curl/Update", "me/Update", "patcher/Update/status"]);
    // F5g: the token volume is the work of a plug-in.
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let account = json!({"metadata": {"name": "default"}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let made = server.send("POST", accounts, JSON, &account).await.code;
    assert!(made == 201 || made == 409);
    let pod = server.send("POST", "/api/v1/namespaces/default/pods", JSON, &pod).await.json();
    assert!(pod["spec"]["volumes"][0]["projected"].is_object(), "{pod}");
    let fields = &pod["metadata"]["managedFields"][0]["fieldsV1"];
    assert!(fields["f:spec"].get("f:volumes").is_none(), "{fields}");
    assert!(fields["f:spec"]["f:restartPolicy"].is_object(), "{fields}");
    server.stop().await;
}

/// F4k, F5k: a scale is recorded on the parent, written or applied.
#[tokio::test]
async fn a_scale_is_recorded_on_its_parent() {
    let server = Server::start().await;
    let uri = format!("{DEPLOYMENTS}/d");
    assert_eq!(apply(&server, &uri, "fieldManager=a", deployment(1)).await.code, 201);
    let scaled = json!({"spec": {"replicas": 4}});
    let scaled = server.send("PATCH", &format!("{uri}/scale"), MERGE, &scaled).await;
    assert_eq!((scaled.code, &scaled.json()["spec"]["replicas"]), (200, &json!(4)));
    let parent = server.send("GET", &uri, JSON, &json!(null)).await;
    assert_eq!(owners(&parent), ["a/Apply", "patcher/Update/scale"]);
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 5}});
    let refused = apply(&server, &format!("{uri}/scale"), "fieldManager=s", scale.clone()).await;
    assert_eq!(
        refused.json()["message"],
        "Apply failed with 1 conflict: conflict with \"patcher\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
    let applied = apply(&server, &format!("{uri}/scale"), "fieldManager=s&force=1", scale).await;
    assert_eq!((applied.code, &applied.json()["kind"]), (200, &json!("Scale")));
    let parent = server.send("GET", &uri, JSON, &json!(null)).await;
    assert_eq!(owners(&parent), ["a/Apply", "s/Apply/scale"]);
    assert_eq!(parent.json()["spec"]["replicas"], 5);
    // H2: of what is not there, there is no scale.
    let missing = apply(&server, &format!("{DEPLOYMENTS}/no/scale"), "fieldManager=s", json!({})).await;
    assert_eq!(missing.code, 404);
    server.stop().await;
}

/// D9, F6d: a dry run answers what would be, and nothing is.
#[tokio::test]
async fn a_dry_run_applies_nothing() {
    let server = Server::start().await;
    let uri = format!("{MAPS}/m");
    let query = "fieldManager=a&dryRun=All";
    let would = apply(&server, &uri, query, map("m", json!({"x": "1"}))).await;
    assert_eq!((would.code, owners(&would)), (201, vec!["a/Apply".to_owned()]));
    assert_eq!(server.send("GET", &uri, JSON, &json!(null)).await.code, 404);
    apply(&server, &uri, "fieldManager=a", map("m", json!({"x": "1"}))).await;
    let would = apply(&server, &uri, query, map("m", json!({"x": "2"}))).await;
    assert_eq!((would.code, &would.json()["data"]["x"]), (200, &json!("2")));
    assert_eq!(server.send("GET", &uri, JSON, &json!(null)).await.json()["data"]["x"], "1");
    server.stop().await;
}

/// F6c, F5j, D6: kubectl's migration is a JSON patch of the record, locked by the version.
#[tokio::test]
async fn a_json_patch_may_replace_the_record() {
    let server = Server::start().await;
    let created = server.send("POST", MAPS, JSON, &map("m", json!({"x": "1"}))).await.json();
    let mut entry = created["metadata"]["managedFields"][0].clone();
    entry["manager"] = json!("kubectl");
    entry["operation"] = json!("Apply");
    let patch = |version: &Value| {
        json!([
            {"op": "replace", "path": "/metadata/managedFields", "value": [entry]},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
        ])
    };
    let json_patch = ("application/json-patch+json", "kubectl/1.37");
    let uri = format!("{MAPS}/m");
    assert_eq!(server.send("PATCH", &uri, json_patch, &patch(&json!("1"))).await.code, 409);
    let version = &created["metadata"]["resourceVersion"];
    let migrated = server.send("PATCH", &uri, json_patch, &patch(version)).await;
    assert_eq!((migrated.code, owners(&migrated)), (200, vec!["kubectl/Apply".to_owned()]));
    // C17, F5j: and may be cleared.
    let cleared = json!({"metadata": {"managedFields": []}});
    let cleared = server.send("PATCH", &uri, MERGE, &cleared).await;
    assert!(cleared.json()["metadata"].get("managedFields").is_none());
    server.stop().await;
}
