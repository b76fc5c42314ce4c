//! Pods as clients meet them at the API: refusals, binding, eviction, and logs before any node is asked.

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::server::{Answer, Server};

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn ask(server: &Server, method: &str, uri: &str, body: Value) -> Answer {
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
    server.ask(request.header("accept", "application/json").body(body).unwrap()).await
}

/// A server with what a Pod needs besides itself.
async fn start() -> Server {
    let server = Server::start().await;
    let account = json!({"metadata": {"name": "default"}});
    let made = ask(&server, "POST", "/api/v1/namespaces/default/serviceaccounts", account).await;
    assert_eq!(made.code, 201, "{:?}", made.body);
    server
}

fn pod(name: &str, containers: &[&str]) -> Value {
    let containers: Vec<Value> =
        containers.iter().map(|name| json!({"name": name, "image": "img:1"})).collect();
    let init = json!([{"name": "i", "image": "img:1"}]);
    json!({"metadata": {"name": name}, "spec": {"initContainers": init, "containers": containers}})
}

async fn create(server: &Server, pod: Value) -> Value {
    let made = ask(server, "POST", PODS, pod).await;
    assert_eq!(made.code, 201, "{:?}", made.body);
    made.json()
}

async fn bind(server: &Server, name: &str) {
    let binding = json!({"target": {"kind": "Node", "name": "elsewhere"}});
    let bound = ask(server, "POST", &format!("{PODS}/{name}/binding"), binding).await;
    assert_eq!(bound.code, 201, "{:?}", bound.body);
}

fn message(answer: &Answer) -> String {
    answer.json()["message"].as_str().unwrap().to_owned()
}

/// R1.11, R1.12: the whole answer to a Pod that is wrong twice.
#[tokio::test]
async fn a_refused_pod_is_a_422() {
    let server = start().await;
    let mut wrong = pod("p", &["a"]);
    wrong["spec"]["restartPolicy"] = json!("Maybe");
    wrong["spec"]["containers"][0]["name"] = json!("i");
    let refused = ask(&server, "POST", PODS, wrong).await;
    assert_eq!((refused.code, &refused.json()["reason"]), (422, &json!("Invalid")));
    let text = "Pod \"p\" is invalid: [spec.initContainers[0].name: Duplicate value: \"i\", spec.restartPolicy: \
                Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\"]";
    assert_eq!(message(&refused), text);
    server.stop().await;
}

/// R8.4: whoever means another Pod of this name deletes nothing.
#[tokio::test]
async fn a_delete_of_another_uid_is_a_conflict() {
    let server = start().await;
    let uid = create(&server, pod("p", &["a"])).await["metadata"]["uid"].clone();
    let delete = |uid: &Value| json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
    let refused = ask(&server, "DELETE", &format!("{PODS}/p"), delete(&json!("other"))).await;
    assert_eq!((refused.code, &refused.json()["reason"]), (409, &json!("Conflict")));
    let why = "the UID in the precondition (other) does not match the UID in record";
    assert!(message(&refused).contains(why), "{}", message(&refused));
    assert_eq!(ask(&server, "GET", &format!("{PODS}/p"), Value::Null).await.code, 200);
    assert_eq!(ask(&server, "DELETE", &format!("{PODS}/p"), delete(&uid)).await.code, 200);
    assert_eq!(ask(&server, "GET", &format!("{PODS}/p"), Value::Null).await.code, 404);
    server.stop().await;
}

/// R8.30, R9.15: a bound Pod is scheduled, and an evicted one says so before it goes.
#[tokio::test]
async fn an_evicted_pod_says_why() {
    let server = start().await;
    create(&server, pod("p", &["a"])).await;
    bind(&server, "p").await;
    let condition = |pod: &Value, ty: &str| {
        let all = pod["status"]["conditions"].as_array().unwrap().iter();
        let found: Vec<&Value> = all.filter(|condition| condition["type"] == ty).collect();
        assert_eq!(found.len(), 1, "{pod}");
        (found[0]["status"].clone(), found[0]["reason"].clone(), found[0]["message"].clone())
    };
    let bound = ask(&server, "GET", &format!("{PODS}/p"), Value::Null).await.json();
    assert_eq!(condition(&bound, "PodScheduled"), (json!("True"), Value::Null, Value::Null));
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let evicted = ask(&server, "POST", &format!("{PODS}/p/eviction"), eviction).await;
    assert_eq!(evicted.code, 201, "{:?}", evicted.body);
    let going = ask(&server, "GET", &format!("{PODS}/p"), Value::Null).await.json();
    assert!(going["metadata"]["deletionTimestamp"].is_string(), "{going}");
    let why = (json!("True"), json!("EvictionByEvictionAPI"), json!("Eviction API: evicting"));
    assert_eq!(condition(&going, "DisruptionTarget"), why);
    server.stop().await;
}

/// R14.10, H15: the server chooses, or names what there is.
#[tokio::test]
async fn which_container_a_log_is_of() {
    let server = start().await;
    create(&server, pod("two", &["a", "b"])).await;
    create(&server, pod("one", &["a"])).await;
    let ephemeral = json!({"metadata": {"name": "two"}, "spec": {"ephemeralContainers": [{"name": "d", "image": "img:1"}]}});
    let request = Request::builder().method("PATCH").uri(format!("{PODS}/two/ephemeralcontainers"));
    let request = request.header("content-type", "application/strategic-merge-patch+json");
    let added = server.ask(request.body(Bytes::from(ephemeral.to_string())).unwrap()).await;
    assert_eq!(added.code, 200, "{:?}", added.body);
    let log = async |name: &str, query: &str| {
        ask(&server, "GET", &format!("{PODS}/{name}/log{query}"), Value::Null).await
    };
    let unnamed = log("two", "").await;
    assert_eq!(unnamed.code, 400);
    let text = "a container name must be specified for pod two, choose one of: [i a b d]";
    assert_eq!(message(&unnamed), text);
    let wrong = log("two", "?container=x").await;
    assert_eq!((wrong.code, message(&wrong).as_str()), (400, "container x is not valid for pod two"));
    for fine in [log("one", "").await, log("two", "?container=d").await, log("two", "?container=i").await] {
        // R14.13: nothing can have been written yet.
        assert_eq!((fine.code, fine.body.len()), (204, 0));
    }
    server.stop().await;
}

/// R14.14: what cannot be meant.
#[tokio::test]
async fn options_of_a_log_are_checked() {
    let server = start().await;
    create(&server, pod("p", &["a"])).await;
    for (query, finding) in [
        ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("limitBytes=0", "limitBytes: Invalid value: 0: must be greater than 0"),
        ("sinceSeconds=0", "sinceSeconds: Invalid value: 0: must be greater than 0"),
        (
            "sinceSeconds=5&sinceTime=2026-01-01T00:00:00Z",
            "[]: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
        ),
    ] {
        let refused = ask(&server, "GET", &format!("{PODS}/p/log?{query}"), Value::Null).await;
        assert_eq!((refused.code, &refused.json()["reason"]), (422, &json!("Invalid")), "{query}");
        assert_eq!(message(&refused), format!("PodLogOptions \"p\" is invalid: {finding}"));
    }
    for query in ["tailLines=0", "limitBytes=1", "sinceSeconds=1", "sinceTime=2026-01-01T00:00:00Z"] {
        let fine = ask(&server, "GET", &format!("{PODS}/p/log?{query}"), Value::Null).await;
        assert_eq!(fine.code, 204, "{query}");
    }
    server.stop().await;
}
