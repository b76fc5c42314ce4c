//! Controllers of another program, with credentials of their own.

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::server::{Answer, Server};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const ACCOUNTS: &str = "/api/v1/namespaces/kube-system/serviceaccounts";

async fn ask_as(
    server: &Server,
    user: &str,
    method: &str,
    uri: &str,
    (kind, body): (&str, &Value),
) -> Answer {
    let request = Request::builder().method(method).uri(uri).header("content-type", kind);
    let request = request.header("impersonate-user", user);
    server.ask(request.body(Bytes::from(body.to_string())).unwrap()).await
}

async fn as_manager(server: &Server, uri: &str, body: &Value) -> Answer {
    ask_as(server, "system:kube-controller-manager", "POST", uri, ("application/json", body)).await
}

/// Q8: the controller manager makes an account for a controller and asks for its token, which is good for what that
/// controller does and for nothing else.
#[tokio::test]
async fn a_controller_works_under_its_own_name() {
    let server = Server::start().await;
    let made = as_manager(&server, ACCOUNTS, &json!({"metadata": {"name": "job-controller"}})).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let uri = format!("{ACCOUNTS}/job-controller/token");
    let token = as_manager(&server, &uri, &json!({"spec": {"expirationSeconds": 3600}})).await;
    assert_eq!(token.code, 201, "{}", token.text());
    let review = json!({"spec": {"token": token.json()["status"]["token"]}});
    let review = server.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.json();
    let user = &review["status"]["user"];
    assert_eq!(user["username"], "system:serviceaccount:kube-system:job-controller", "{review}");
    for (verb, group, resource, sub, may) in [
        ("update", "batch", "jobs", "status", true),
        ("create", "", "pods", "", true),
        ("create", "events.k8s.io", "events", "", true),
        ("get", "", "secrets", "", false),
        ("delete", "", "namespaces", "", false),
    ] {
        let asked = json!({"spec": {"user": user["username"], "groups": user["groups"], "resourceAttributes": {
            "namespace": "default", "verb": verb, "group": group, "resource": resource, "subresource": sub,
        }}});
        let answer = server.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &asked).await.json();
        assert_eq!(answer["status"]["allowed"], may, "{verb} {resource}/{sub}");
    }
    server.stop().await;
}

/// I25, I26: each controller has a role, and whom roles are bound to.
#[tokio::test]
async fn roles_are_bound_to_whom_they_are_for() {
    let server = Server::start().await;
    for (name, subject) in [
        ("cluster-admin", "system:masters"),
        ("system:kube-controller-manager", "system:kube-controller-manager"),
        ("system:kube-scheduler", "system:kube-scheduler"),
        ("system:volume-scheduler", "system:kube-scheduler"),
        ("system:node-proxier", "system:kube-proxy"),
        ("system:kube-dns", "kube-dns"),
        ("system:controller:deployment-controller", "deployment-controller"),
        ("system:controller:generic-garbage-collector", "generic-garbage-collector"),
    ] {
        let binding = server.get(&format!("{RBAC}/clusterrolebindings/{name}")).await.json();
        assert_eq!(binding["subjects"][0]["name"], subject, "{binding}");
        assert_eq!(binding["roleRef"]["name"], name);
        let role = server.get(&format!("{RBAC}/clusterroles/{name}")).await.json();
        let ours = &role["metadata"]["labels"]["kubernetes.io/bootstrapping"];
        assert_eq!(ours, "rbac-defaults", "I25: {name}");
    }
    let nodes = server.get(&format!("{RBAC}/clusterrolebindings/system:node")).await.json();
    let nobody = nodes["subjects"].as_array().is_none_or(Vec::is_empty);
    assert!(nobody, "I26: kubelets have an authorizer of their own: {nodes}");
    server.stop().await;
}

/// Q7: what kube-scheduler does under its own name, from its lease to a Pod it binds.
#[tokio::test]
async fn a_scheduler_of_another_program_can_work() {
    let server = Server::start().await;
    let ask = async |method: &str, uri: &str, kind: &str, body: Value, code: u16| {
        let kind = format!("application/{kind}");
        let answer = ask_as(&server, "system:kube-scheduler", method, uri, (&kind, &body)).await;
        assert_eq!(answer.code, code, "{method} {uri}: {}", answer.text());
        answer.json()
    };
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let lease = json!({"metadata": {"name": "kube-scheduler"}, "spec": {"holderIdentity": "a"}});
    let mut lease = ask("POST", leases, "json", lease, 201).await;
    let old = lease.clone();
    let uri = format!("{leases}/kube-scheduler");
    lease["spec"]["holderIdentity"] = json!("b");
    ask("PUT", &uri, "json", lease, 200).await;
    let mut late = old;
    late["spec"]["holderIdentity"] = json!("c");
    let conflict = ask("PUT", &uri, "json", late, 409).await;
    assert_eq!(conflict["reason"], "Conflict");
    let access = json!({"spec": {"user": "u", "nonResourceAttributes": {"path": "/metrics", "verb": "get"}}});
    ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", "json", access, 201).await;
    let token = json!({"spec": {"token": "bad"}});
    ask("POST", "/apis/authentication.k8s.io/v1/tokenreviews", "json", token, 201).await;

    let account = json!({"metadata": {"name": "default"}});
    assert_eq!(server.post("/api/v1/namespaces/default/serviceaccounts", &account).await.code, 201);
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(server.post(pods, &pod).await.code, 201);
    let waits = json!({"status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}});
    let status = ask("PATCH", &format!("{pods}/p/status"), "strategic-merge-patch+json", waits, 200).await;
    assert_eq!(status["status"]["conditions"][0]["reason"], "Unschedulable");
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    ask("POST", &format!("{pods}/p/binding"), "json", binding, 201).await;
    assert_eq!(server.get(&format!("{pods}/p")).await.json()["spec"]["nodeName"], "n");

    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    let event = json!({
        "metadata": {"name": "p.1"}, "eventTime": "2026-01-02T03:04:05.000006Z", "type": "Normal",
        "reason": "Scheduled", "action": "Binding", "note": "assigned", "reportingController": "default-scheduler",
        "reportingInstance": "s", "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
    });
    ask("POST", events, "json", event, 201).await;
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-02T03:04:06.000006Z"}});
    let event = ask("PATCH", &format!("{events}/p.1"), "strategic-merge-patch+json", series, 200).await;
    assert_eq!(event["series"]["count"], 2);
    server.stop().await;
}
