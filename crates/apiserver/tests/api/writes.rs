//! Writes, deletes and errors (section D).

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

/// D1, D31: what is there already.
#[tokio::test]
async fn a_name_is_taken_once() {
    let server = Server::start().await;
    let body = json!({"metadata": {"name": "m", "finalizers": ["a/b"]}, "data": {"x": "1"}});
    let made = server.post(MAPS, &body).await;
    assert_eq!((made.code, &made.json()["data"]), (201, &json!({"x": "1"})));
    let again = server.post(MAPS, &body).await;
    assert_eq!((again.code, again.message().as_str()), (409, "configmaps \"m\" already exists"));
    assert_eq!(again.json()["reason"], "AlreadyExists");
    server.delete(&format!("{MAPS}/m"), &json!({})).await;
    let again = server.post(MAPS, &body).await;
    assert_eq!(again.message(), "object is being deleted: configmaps \"m\" already exists");
    server.stop().await;
}

/// D4, D3, C8, C9: status is nobody's to write but through its door, and does not count as a generation.
#[tokio::test]
async fn status_and_generation() {
    let server = Server::start().await;
    let pdb = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let body = json!({"metadata": {"name": "p", "generation": 9}, "spec": {"minAvailable": 1}, "status": {"currentHealthy": 5}});
    let made = server.post(pdb, &body).await.json();
    assert_eq!((&made["status"]["currentHealthy"], &made["metadata"]["generation"]), (&json!(0), &json!(1)));
    let status = json!({"status": {"currentHealthy": 3}, "spec": {"minAvailable": 7}});
    let after = server.patch(&format!("{pdb}/p/status"), &status).await.json();
    assert_eq!((&after["status"]["currentHealthy"], &after["spec"]["minAvailable"]), (&json!(3), &json!(1)));
    assert_eq!(after["metadata"]["generation"], 1);
    let both =
        json!({"status": {"currentHealthy": 9}, "spec": {"minAvailable": 2}, "metadata": {"generation": 77}});
    let after = server.patch(&format!("{pdb}/p"), &both).await.json();
    assert_eq!(
        (&after["status"]["currentHealthy"], &after["metadata"]["generation"]),
        (&json!(3), &json!(2))
    );
    server.stop().await;
}

/// D8: a write that changes nothing is none.
#[tokio::test]
async fn a_write_that_changes_nothing_is_none() {
    let server = Server::start().await;
    let made = server.post(MAPS, &json!({"metadata": {"name": "m"}, "data": {"x": "1"}})).await.json();
    let uri = format!("{MAPS}/m");
    for answer in [
        server.put(&uri, &json!({"metadata": {"name": "m"}, "data": {"x": "1"}})).await,
        server.patch(&uri, &json!({})).await,
        server.patch(&uri, &json!({"data": {"x": "1"}})).await,
    ] {
        assert_eq!((answer.code, answer.json()), (200, made.clone()));
    }
    server.stop().await;
}

/// D10, D11, D9: options are checked, and named as they are sent.
#[tokio::test]
async fn options_are_checked() {
    let server = Server::start().await;
    server.post(MAPS, &named("m")).await;
    let long = "x".repeat(129);
    for (query, finding) in [
        (format!("fieldManager={long}"), "fieldManager: Too long: may not be more than 128 bytes"),
        (
            "fieldManager=%01".to_owned(),
            "fieldManager: Invalid value: \"\\x01\": invalid character U+0001 (at position 0)",
        ),
        (
            "fieldValidation=Maybe".to_owned(),
            "fieldValidation: Unsupported value: \"Maybe\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
        ),
        ("dryRun=Some".to_owned(), "dryRun: Unsupported value: [\"Some\"]: supported values: \"All\""),
    ] {
        for (method, uri, options) in [
            ("POST", MAPS.to_owned(), "Create"),
            ("PUT", format!("{MAPS}/m"), "Update"),
            ("PATCH", format!("{MAPS}/m"), "Patch"),
        ] {
            let of = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
            let answer = server.send(method, &format!("{uri}?{query}"), (of, "x"), &named("m")).await;
            let message = format!("{options}Options.meta.k8s.io \"\" is invalid: {finding}");
            assert_eq!((answer.code, answer.message()), (422, message));
        }
    }
    server.stop().await;
}

/// D14, F1c, F1d, F1e: patches that do not fit.
#[tokio::test]
async fn patches_that_do_not_fit_are_refused() {
    let server = Server::start().await;
    server.post(MAPS, &json!({"metadata": {"name": "m"}, "data": {"x": "1"}})).await;
    let uri = format!("{MAPS}/m");
    let json_patch = ("application/json-patch+json", "x");
    let unknown = json!([{"op": "replace", "path": "/data/x", "value": "2", "mood": "good"}]);
    let strict = server.send("PATCH", &format!("{uri}?fieldValidation=Strict"), json_patch, &unknown).await;
    assert_eq!((strict.code, &causes(&strict)[0]["field"]), (422, &json!("patch")));
    assert!(strict.message().contains("json patch unknown field \"[0].mood\""), "{}", strict.message());
    let warned = server.send("PATCH", &uri, json_patch, &unknown).await;
    assert_eq!(
        (warned.code, warned.header("warning")),
        (200, "299 - \"json patch unknown field \\\"[0].mood\\\"\"")
    );
    let misfit = server.patch(&format!("{uri}?fieldValidation=Strict"), &json!({"spek": 1})).await;
    assert_eq!((misfit.code, &causes(&misfit)[0]["field"]), (422, &json!("patch")));
    assert!(misfit.message().starts_with(" \"\" is invalid: patch: Invalid value: "), "{}", misfit.message());
    assert!(
        misfit.message().ends_with("strict decoding error: unknown field \"spek\""),
        "{}",
        misfit.message()
    );
    assert_eq!(server.patch(&format!("{MAPS}/none"), &json!({})).await.code, 404);
    for (metadata, message) in [
        (json!({"name": "other"}), "the name of the object (other) does not match the name on the URL (m)"),
        (
            json!({"namespace": "other"}),
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ] {
        let answer = server.patch(&uri, &json!({"metadata": metadata})).await;
        assert_eq!((answer.code, answer.message().as_str()), (400, message));
    }
    for kind in [json!({"kind": "Secret"}), json!({"apiVersion": "v2"})] {
        assert_eq!(server.patch(&uri, &kind).await.code, 422, "{kind}");
    }
    server.stop().await;
}

/// D17, D18, D19: what a delete may be told, in its body or its query.
#[tokio::test]
async fn a_delete_has_options() {
    let server = Server::start().await;
    let made = server.post(MAPS, &named("m")).await.json();
    let uri = format!("{MAPS}/m");
    let options = |members: Value| {
        let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    for (members, code, message) in [
        (
            json!({"propagationPolicy": "Maybe"}),
            422,
            "propagationPolicy: Unsupported value: \"Maybe\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
        ),
        (
            json!({"propagationPolicy": "Orphan", "orphanDependents": true}),
            422,
            "propagationPolicy: Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set",
        ),
        (
            json!({"preconditions": {"uid": "x"}}),
            409,
            "The object might have been deleted and then recreated",
        ),
        (json!({"preconditions": {"resourceVersion": "1"}}), 409, "The object might have been modified"),
    ] {
        let answer = server.delete(&uri, &options(members)).await;
        assert_eq!(answer.code, code);
        assert!(answer.message().contains(message), "{}", answer.message());
        if code == 409 {
            assert!(answer.message().starts_with("Operation cannot be fulfilled on ConfigMap \"m\": the "));
            assert_eq!(answer.json()["details"]["kind"], "ConfigMap");
        }
    }
    let request = |query: &str| {
        http::Request::builder()
            .method("DELETE")
            .uri(format!("{uri}?{query}"))
            .body(bytes::Bytes::new())
            .unwrap()
    };
    assert_eq!(server.ask(request("propagationPolicy=Maybe")).await.code, 422);
    let dry = server.ask(request("dryRun=All")).await;
    assert_eq!((dry.code, &dry.json()["status"]), (200, &json!("Success")));
    let uid = &made["metadata"]["uid"];
    let good = json!({"preconditions": {"uid": uid}, "mood": "good", "gracePeriodSeconds": -5});
    let gone = server.delete(&uri, &options(good)).await;
    assert_eq!(
        (gone.code, &gone.json()["details"]),
        (200, &json!({"name": "m", "kind": "configmaps", "uid": uid}))
    );
    server.stop().await;
}

/// D21, D23, C11, C12, C13: an object with finalizers waits for them.
#[tokio::test]
async fn finalizers_are_waited_for() {
    let server = Server::start().await;
    let pdb = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let body = json!({"metadata": {"name": "p", "finalizers": ["a/b"]}, "spec": {"minAvailable": 1}});
    server.post(pdb, &body).await;
    let uri = format!("{pdb}/p");
    let first = server.delete(&uri, &json!({})).await.json();
    let metadata = &first["metadata"];
    assert_eq!((&metadata["deletionGracePeriodSeconds"], &metadata["generation"]), (&json!(0), &json!(2)));
    let second = server.delete(&uri, &json!({"propagationPolicy": "Foreground"})).await;
    assert_eq!(
        (second.code, &second.json()["metadata"]["finalizers"]),
        (200, &json!(["a/b", "foregroundDeletion"]))
    );
    assert_eq!(second.json()["metadata"]["deletionTimestamp"], metadata["deletionTimestamp"]);
    let more =
        server.patch(&uri, &json!({"metadata": {"finalizers": ["a/b", "foregroundDeletion", "c/d"]}})).await;
    assert_eq!(more.code, 422);
    let text = "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"c/d\"}";
    assert!(more.message().contains(text), "{}", more.message());
    let last = server.patch(&uri, &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!((last.code, last.json()["metadata"].get("finalizers")), (200, None));
    assert_eq!(server.get(&uri).await.code, 404);
    server.stop().await;
}

/// D25, D24: a second delete of a Pod may only be sooner.
#[tokio::test]
async fn a_second_delete_may_only_be_sooner() {
    let server = Server::start().await;
    server.post("/api/v1/namespaces/default/serviceaccounts", &named("default")).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(server.post(PODS, &pod).await.code, 201);
    let uri = format!("{PODS}/p");
    let delete = async |grace: i64| server.delete(&uri, &json!({"gracePeriodSeconds": grace})).await.json();
    let period = |pod: &Value| pod["metadata"]["deletionGracePeriodSeconds"].clone();
    let first = delete(30).await;
    assert_eq!(period(&first), 30);
    assert_eq!(delete(60).await, first, "later is no change");
    let sooner = delete(10).await;
    assert_eq!(period(&sooner), 10);
    assert!(
        sooner["metadata"]["deletionTimestamp"].as_str() < first["metadata"]["deletionTimestamp"].as_str()
    );
    delete(0).await;
    assert_eq!(server.get(&uri).await.code, 404);
    server.stop().await;
}

/// D26: watchers hear of the mark, then of the end.
#[tokio::test]
async fn a_delete_is_heard_of_in_order() {
    let server = Server::start().await;
    let made = server.post(MAPS, &json!({"metadata": {"name": "m", "finalizers": ["a/b"]}})).await.json();
    let from = made["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch = server.watch(&format!("{MAPS}?watch=1&resourceVersion={from}")).await;
    let uri = format!("{MAPS}/m");
    server.delete(&uri, &json!({})).await;
    let marked = watch.next().await.unwrap();
    assert_eq!(marked["type"], "MODIFIED");
    assert!(marked["object"]["metadata"]["deletionTimestamp"].is_string());
    server.patch(&uri, &json!({"metadata": {"finalizers": []}})).await;
    let gone = watch.next().await.unwrap();
    assert_eq!(gone["type"], "DELETED");
    let version = |event: &Value| {
        event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap()
    };
    assert!(version(&gone) > version(&marked));
    server.stop().await;
}

/// D27: collections are deleted as they are listed.
#[tokio::test]
async fn collections_are_deleted_as_listed() {
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        let label = if name == "c" { "keep" } else { "go" };
        server.post(MAPS, &json!({"metadata": {"name": name, "labels": {"l": label}}})).await;
    }
    let names = |answer: &Answer| {
        let items = answer.json()["items"].clone();
        items.as_array().unwrap().iter().map(|item| item["metadata"]["name"].clone()).collect::<Vec<_>>()
    };
    let gone = server.delete(&format!("{MAPS}?labelSelector=l=go&limit=1"), &json!({})).await;
    assert_eq!((gone.code, names(&gone)), (200, vec![json!("a")]));
    assert_eq!(gone.json()["kind"], "ConfigMapList");
    server.delete(&format!("{MAPS}?labelSelector=l=go"), &json!({})).await;
    assert_eq!(names(&server.get(MAPS).await), [json!("c")]);
    assert_eq!(server.delete("/api/v1/namespaces", &json!({})).await.code, 405);
    server.stop().await;
}

/// D30, D31, D35, D37, D38: what a failure looks like.
#[tokio::test]
async fn failures_have_one_shape() {
    let server = Server::start().await;
    let missing = server.get(&format!("{MAPS}/none")).await;
    assert_eq!(
        missing.json(),
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 404,
            "reason": "NotFound", "message": "configmaps \"none\" not found",
            "details": {"name": "none", "kind": "configmaps"}})
    );
    let missing = server.get("/apis/apps/v1/namespaces/default/deployments/none").await;
    assert_eq!(missing.message(), "deployments.apps \"none\" not found");
    assert_eq!(missing.json()["details"], json!({"name": "none", "group": "apps", "kind": "deployments"}));
    let user = &[("impersonate-user", "<a&b>")][..];
    let refused = server.get_with(&format!("{MAPS}/m"), user).await;
    assert_eq!(
        refused.message(),
        "configmaps \"m\" is forbidden: User \"&lt;a&amp;b&gt;\" cannot get resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    let refused = server.get_with("/api/v1/nodes", user).await;
    assert!(
        refused.message().ends_with("cannot list resource \"nodes\" in API group \"\" at the cluster scope"),
        "{}",
        refused.message()
    );
    // D35: equal findings are told once in the message, and all in the causes.
    let body =
        json!({"metadata": {"name": "m"}, "data": {"a b": "x", "c d": "y"}, "binaryData": {"a b": "eA=="}});
    let refused = server.post(MAPS, &body).await;
    assert!(refused.message().starts_with("ConfigMap \"m\" is invalid: ["), "{}", refused.message());
    assert_eq!(refused.json()["details"]["kind"], "ConfigMap");
    assert!(causes(&refused).as_array().unwrap().len() >= 2);
    // D32a: a finding about no field.
    let body = json!({"metadata": {"name": "m"}, "data": {"a": "x".repeat(1_048_577)}});
    let refused = server.post(MAPS, &body).await;
    assert_eq!(
        refused.message(),
        "ConfigMap \"m\" is invalid: []: Too long: may not be more than 1048576 bytes"
    );
    server.stop().await;
}

/// B6, B8, B16, B21: bodies, methods and headers.
#[tokio::test]
async fn the_wire_is_lenient_where_it_may_be() {
    let server = Server::start().await;
    let request = |method: &str, uri: &str, of: Option<&str>, body: &str| {
        let mut request = http::Request::builder().method(method).uri(uri);
        if let Some(of) = of {
            request = request.header("content-type", of);
        }
        request.header("audit-id", "my-own").body(bytes::Bytes::from(body.to_owned())).unwrap()
    };
    let made = server.ask(request("POST", MAPS, None, r#"{"metadata":{"name":"a"}}"#)).await;
    assert_eq!(
        (made.code, made.header("audit-id"), made.header("cache-control")),
        (201, "my-own", "no-cache, private")
    );
    let of = Some("application/json; charset=utf-8; x=y");
    assert_eq!(server.ask(request("POST", MAPS, of, r#"{"metadata":{"name":"b"}}"#)).await.code, 201);
    let made = server.ask(request("POST", MAPS, Some("application/yaml"), "metadata: {name: c}")).await;
    assert_eq!(made.code, 201);
    for (method, of) in [("POST", "text/plain"), ("POST", "application/cbor"), ("PUT", "text/plain")] {
        let uri = if method == "PUT" { format!("{MAPS}/a") } else { MAPS.to_owned() };
        let refused = server.ask(request(method, &uri, Some(of), "{}")).await;
        assert_eq!(
            (refused.code, refused.message().as_str()),
            (
                415,
                "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"
            )
        );
    }
    for of in [None, Some("application/json"), Some("application/apply-patch+cbor")] {
        let refused = server.ask(request("PATCH", &format!("{MAPS}/a"), of, "{}")).await;
        assert_eq!((refused.code, refused.message().as_str()), (415, "415: Unsupported Media Type"));
        assert_eq!(refused.json()["details"], json!({}));
    }
    for (method, uri) in [
        ("POST", format!("{MAPS}/a")),
        ("POST", "/api/v1/configmaps".to_owned()),
        ("PUT", MAPS.to_owned()),
        ("PATCH", MAPS.to_owned()),
        ("OPTIONS", MAPS.to_owned()),
    ] {
        let of = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let refused = server.ask(request(method, &uri, Some(of), "{}")).await;
        assert_eq!(
            (refused.code, refused.json()["reason"].as_str()),
            (405, Some("MethodNotAllowed")),
            "{method} {uri}"
        );
        assert_eq!(refused.message(), "the server does not allow this method on the requested resource");
    }
    server.stop().await;
}
