//! Controllers of another program, with credentials of their own.

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::server::{Answer, Server};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const ACCOUNTS: &str = "/api/v1/namespaces/kube-system/serviceaccounts";

async fn as_manager(server: &Server, uri: &str, body: &Value) -> Answer {
    let request = Request::post(uri).header("content-type", "application/json");
    let request = request.header("impersonate-user", "system:kube-controller-manager");
    server.ask(request.body(Bytes::from(body.to_string())).unwrap()).await
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
