//! Tables over HTTP (section G).

use outrigger_api::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::server::{Answer, Server};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const TABLE: (&str, &str) = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");

async fn table(server: &Server, uri: &str) -> Answer {
    server.get_with(uri, &[TABLE]).await
}

/// G1, G2, G4: columns, rows, and as much of the object as is asked for.
#[tokio::test]
async fn a_list_as_a_table() {
    let server = Server::start().await;
    for name in ["a", "b"] {
        let body = json!({"metadata": {"name": name, "labels": {"l": name}}, "data": {"x": "1"}});
        assert_eq!(server.post(MAPS, &body).await.code, 201);
    }
    let answer = table(&server, &format!("{MAPS}?limit=1")).await.json();
    assert_eq!((&answer["kind"], &answer["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    let metadata = &answer["metadata"];
    assert!(metadata["resourceVersion"].is_string() && metadata["continue"].is_string(), "{metadata}");
    assert_eq!(metadata["remainingItemCount"], 1);
    let first = &answer["columnDefinitions"][0];
    assert_eq!(
        (&first["name"], &first["type"], &first["format"]),
        (&json!("Name"), &json!("string"), &json!("name"))
    );
    assert!(first["description"].is_string() && first["priority"] == 0, "{first}");
    let row = &answer["rows"][0];
    assert_eq!((&row["cells"][0], &row["cells"][1]), (&json!("a"), &json!(1)));
    assert_eq!(row["cells"].as_array().unwrap().len(), answer["columnDefinitions"].as_array().unwrap().len());
    let object = &row["object"];
    assert_eq!(
        (&object["kind"], &object["apiVersion"]),
        (&json!("PartialObjectMetadata"), &json!("meta.k8s.io/v1"))
    );
    assert_eq!((&object["metadata"]["labels"], object.get("data")), (&json!({"l": "a"}), None));
    let object = |answer: Answer| answer.json()["rows"][0]["object"].clone();
    assert_eq!(object(table(&server, &format!("{MAPS}?includeObject=None")).await), Value::Null);
    let whole = object(table(&server, &format!("{MAPS}?includeObject=Object")).await);
    assert_eq!((&whole["kind"], &whole["data"]), (&json!("ConfigMap"), &json!({"x": "1"})));
    assert_eq!(
        object(table(&server, &format!("{MAPS}?includeObject=Metadata")).await)["kind"],
        "PartialObjectMetadata"
    );
    assert_eq!(table(&server, &format!("{MAPS}?includeObject=Some")).await.code, 400);
    assert_eq!(server.get(&format!("{MAPS}?includeObject=Some")).await.code, 200);
    let older = ("accept", "application/json;as=Table;v=v1beta1;g=meta.k8s.io");
    let older = server.get_with(&format!("{MAPS}/a"), &[older]).await.json();
    assert_eq!(
        (&older["apiVersion"], &older["rows"][0]["object"]["apiVersion"]),
        (&json!("meta.k8s.io/v1beta1"), &json!("meta.k8s.io/v1beta1"))
    );
    server.stop().await;
}

/// G7: writes answer with a table too, failures and plain successes do not.
#[tokio::test]
async fn writes_answer_with_tables() {
    let server = Server::start().await;
    let send = async |method: &str, uri: &str, of: &str, body: Value| {
        let request = http::Request::builder().method(method).uri(uri).header(TABLE.0, TABLE.1);
        let request = request.header("content-type", of).body(bytes::Bytes::from(body.to_string()));
        server.ask(request.unwrap()).await.json()["kind"].clone()
    };
    let (json_type, merge) = ("application/json", "application/merge-patch+json");
    let body = json!({"metadata": {"name": "a"}});
    let uri = format!("{MAPS}/a");
    assert_eq!(send("POST", MAPS, json_type, body.clone()).await, "Table");
    assert_eq!(send("POST", MAPS, json_type, body.clone()).await, "Status");
    assert_eq!(send("PUT", &uri, json_type, body).await, "Table");
    assert_eq!(send("PATCH", &uri, merge, json!({"metadata": {"finalizers": ["a/b"]}})).await, "Table");
    assert_eq!(send("DELETE", &uri, json_type, json!({})).await, "Table");
    assert_eq!(send("PATCH", &uri, merge, json!({"metadata": {"finalizers": null}})).await, "Table");
    let made = json!({"metadata": {"name": "b"}});
    send("POST", MAPS, json_type, made).await;
    assert_eq!(send("DELETE", &format!("{MAPS}/b"), json_type, json!({})).await, "Status");
    assert_eq!(table(&server, &format!("{MAPS}/none")).await.json()["kind"], "Status");
    server.stop().await;
}

/// G8: what has no table says so; a Scale has the plainest one.
#[tokio::test]
async fn what_has_no_table_is_refused() {
    let server = Server::start().await;
    let request =
        http::Request::builder().method("POST").uri("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
    let request = request.header(TABLE.0, TABLE.1).header("content-type", "application/json");
    let body = json!({"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}).to_string();
    assert_eq!(server.ask(request.body(bytes::Bytes::from(body)).unwrap()).await.code, 406);
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let body = json!({"metadata": {"name": "d"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    assert_eq!(server.post(deployments, &body).await.code, 201);
    let scale = table(&server, &format!("{deployments}/d/scale")).await.json();
    let columns: Vec<&Value> =
        scale["columnDefinitions"].as_array().unwrap().iter().map(|column| &column["name"]).collect();
    assert_eq!((&scale["kind"], columns), (&json!("Table"), vec![&json!("Name"), &json!("Created At")]));
    assert_eq!(scale["rows"][0]["cells"][0], "d");
    server.stop().await;
}

/// G9, G14c: a finished Pod is marked; restarts tell when the last one was.
#[tokio::test]
async fn a_finished_pod_is_marked() {
    let server = Server::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    server
        .post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}}))
        .await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(server.post(pods, &pod).await.code, 201);
    let row = async || table(&server, &format!("{pods}/p")).await.json()["rows"][0].clone();
    assert!(row().await.get("conditions").is_none());
    let hour_ago = SystemClock.now().wall - jiff::SignedDuration::from_mins(30);
    let state = json!({"name": "c", "image": "i", "imageID": "i", "ready": false, "restartCount": 2,
        "state": {"terminated": {"exitCode": 0, "reason": "Completed"}},
        "lastState": {"terminated": {"exitCode": 1, "finishedAt": hour_ago.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()}}});
    let status = json!({"status": {"phase": "Succeeded", "containerStatuses": [state]}});
    assert_eq!(server.patch(&format!("{pods}/p/status"), &status).await.code, 200);
    let row = row().await;
    let mark = &row["conditions"][0];
    assert_eq!(
        (&mark["type"], &mark["status"], &mark["reason"]),
        (&json!("Completed"), &json!("True"), &json!("Succeeded"))
    );
    assert_eq!((&row["cells"][2], &row["cells"][3]), (&json!("Completed"), &json!("2 (30m ago)")));
    server.stop().await;
}
