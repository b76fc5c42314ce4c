//! Who else is asked about a write: webhooks, quotas and the security labels of a namespace (I31-I57).

use serde_json::{Value, json};

use crate::server::Server;
use crate::webhook_server::{WebhookServer, patching, rule};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "1"}})
}

async fn configure(server: &Server, uri: &str, name: &str, webhooks: Value) {
    let made = server.post(uri, &json!({"metadata": {"name": name}, "webhooks": webhooks})).await;
    assert_eq!(made.code, 201, "{}", made.text());
}

/// I32, I50, I52, I54: every operation is asked about, and a no is a no.
#[tokio::test]
async fn a_validating_webhook_is_asked_about_every_write() {
    let server = Server::start().await;
    let hook = WebhookServer::start(|request| {
        let bad = request["object"]["data"]["a"] == "bad" || request["oldObject"]["data"]["keep"] == "yes";
        let verdict = if bad && request["operation"] != "UPDATE" {
            json!({"allowed": false, "status": {"code": 403, "message": "not here"}})
        } else {
            json!({"allowed": true})
        };
        let mut verdict = verdict;
        verdict["warnings"] = json!(["seen"]);
        verdict
    })
    .await;
    configure(&server, VALIDATING, "v", json!([hook.webhook("v.example.com", &rule("configmaps"))])).await;

    let made = server.post(MAPS, &map("m")).await;
    assert_eq!((made.code, made.header("warning")), (201, "299 - \"seen\""));
    let refused = server.post(MAPS, &json!({"metadata": {"name": "n"}, "data": {"a": "bad"}})).await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (403, "admission webhook \"v.example.com\" denied the request: not here")
    );
    assert_eq!(server.get(&format!("{MAPS}/n")).await.code, 404);
    assert_eq!(server.patch(&format!("{MAPS}/m"), &json!({"data": {"keep": "yes"}})).await.code, 200);
    let kept = server.delete(&format!("{MAPS}/m"), &json!({})).await;
    assert_eq!(kept.code, 403, "{}", kept.text());

    let asked = hook.asked();
    let seen: Vec<(&str, bool, bool)> = asked
        .iter()
        .map(|it| (it["operation"].as_str().unwrap(), it["object"].is_null(), it["oldObject"].is_null()))
        .collect();
    assert_eq!(
        seen,
        [("CREATE", false, true), ("CREATE", false, true), ("UPDATE", false, false), ("DELETE", true, false)]
    );
    assert_eq!(asked[0]["userInfo"]["username"], "kubernetes-admin");
    assert_eq!((&asked[0]["name"], &asked[0]["namespace"]), (&json!("m"), &json!("default")));
    assert_eq!(asked[0]["query"], "timeout=10s");
    assert_eq!(asked[0]["options"]["kind"], "CreateOptions");
    server.stop().await;
}

/// I50, I52, I55: mutating webhooks run one after the other, and one that asks for it sees what came after it.
#[tokio::test]
async fn mutating_webhooks_run_in_order_and_again() {
    let server = Server::start().await;
    let first = WebhookServer::start(|request| {
        let count = request["object"]["data"]["first"].as_str().unwrap_or("0").parse::<u32>().unwrap();
        let path = json!([{"op": "add", "path": "/data/first", "value": (count + 1).to_string()}]);
        patching(&path)
    })
    .await;
    let second = WebhookServer::start(|request| {
        if request["object"]["data"]["second"].is_null() {
            patching(
                &json!([{"op": "add", "path": "/data/second", "value": request["object"]["data"]["first"]}]),
            )
        } else {
            json!({"allowed": true})
        }
    })
    .await;
    let mut again = first.webhook("a.example.com", &rule("configmaps"));
    again["reinvocationPolicy"] = json!("IfNeeded");
    // Configurations by name, not by age.
    configure(&server, MUTATING, "b", json!([second.webhook("b.example.com", &rule("configmaps"))])).await;
    configure(&server, MUTATING, "a", json!([again])).await;
    let made = server.post(MAPS, &map("m")).await.json();
    assert_eq!(made["data"], json!({"a": "1", "first": "2", "second": "1"}));
    assert_eq!((first.asked().len(), second.asked().len()), (2, 1));
    server.stop().await;
}

/// I51, I57: namespaces are chosen by label, their own name among them; who guards is never guarded.
#[tokio::test]
async fn selectors_and_exempt_kinds() {
    let server = Server::start().await;
    let hook = WebhookServer::start(|_| json!({"allowed": false})).await;
    let everything =
        json!({"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]});
    let mut webhook = hook.webhook("v.example.com", &everything);
    webhook["namespaceSelector"] = json!({"matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]}]});
    configure(&server, VALIDATING, "v", json!([webhook])).await;
    assert_eq!(server.post("/api/v1/namespaces/kube-system/configmaps", &map("m")).await.code, 201);
    let refused = server.post(MAPS, &map("m")).await;
    assert_eq!(
        refused.message(),
        "admission webhook \"v.example.com\" denied the request without explanation"
    );
    assert_eq!(server.delete(&format!("{VALIDATING}/v"), &json!({})).await.code, 200);
    assert_eq!(server.post(MAPS, &map("m")).await.code, 201);
    server.stop().await;
}

/// I51, I53: conditions nobody evaluates are not passed over in silence: the webhook's policy decides.
#[tokio::test]
async fn conditions_that_cannot_be_evaluated_fail_by_policy() {
    let server = Server::start().await;
    let hook = WebhookServer::start(|_| json!({"allowed": true})).await;
    let client = json!({"url": format!("https://{}/", hook.address), "caBundle": hook.ca_bundle});
    let webhook = |policy: &str| {
        json!([{"name": "picky.example.com", "rules": [rule("configmaps")], "failurePolicy": policy,
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": client,
            "matchConditions": [{"name": "never", "expression": "false"}]}])
    };
    configure(&server, VALIDATING, "v", webhook("Ignore")).await;
    assert_eq!(server.post(MAPS, &map("a")).await.code, 201);
    configure(&server, VALIDATING, "w", webhook("Fail")).await;
    let refused = server.post(MAPS, &map("b")).await;
    assert_eq!(refused.code, 500);
    assert!(refused.message().contains("matchConditions cannot be evaluated"), "{}", refused.message());
}

/// I53, I56: a webhook that cannot be asked fails the write, or not; dry runs are only for those without side effects.
#[tokio::test]
async fn webhooks_that_cannot_be_asked() {
    let server = Server::start().await;
    let gone = json!({"url": "https://127.0.0.1:1/x"});
    let webhook = |name: &str, policy: &str, client: &Value, effects: &str| {
        json!([{"name": name, "rules": [rule("configmaps")], "failurePolicy": policy, "sideEffects": effects,
            "admissionReviewVersions": ["v1"], "clientConfig": client, "timeoutSeconds": 5}])
    };
    configure(&server, VALIDATING, "v", webhook("ignored.example.com", "Ignore", &gone, "None")).await;
    assert_eq!(server.post(MAPS, &map("a")).await.code, 201);
    configure(&server, VALIDATING, "w", webhook("fails.example.com", "Fail", &gone, "None")).await;
    let refused = server.post(MAPS, &map("b")).await;
    assert_eq!((refused.code, &refused.json()["reason"]), (500, &json!("InternalError")));
    assert_eq!(
        refused.message(),
        "Internal error occurred: failed calling webhook \"fails.example.com\": failed to call webhook: \
         Post \"https://127.0.0.1:1/x?timeout=5s\": dial tcp 127.0.0.1:1: connect: connection refused"
    );
    server.delete(&format!("{VALIDATING}/w"), &json!({})).await;

    let missing = json!({"service": {"namespace": "default", "name": "hook", "path": "/v"}});
    configure(&server, VALIDATING, "w", webhook("service.example.com", "Fail", &missing, "None")).await;
    assert_eq!(
        server.post(MAPS, &map("b")).await.message(),
        "Internal error occurred: failed calling webhook \"service.example.com\": failed to call webhook: \
         Post \"https://hook.default.svc:443/v?timeout=5s\": service \"hook\" not found"
    );
    let ports = json!({"metadata": {"name": "hook"}, "spec": {"ports": [{"port": 443}]}});
    assert_eq!(server.post("/api/v1/namespaces/default/services", &ports).await.code, 201);
    let refused = server.post(MAPS, &map("b")).await;
    assert!(
        refused.message().ends_with("no endpoints available for service \"hook\""),
        "{}",
        refused.message()
    );
    server.delete(&format!("{VALIDATING}/w"), &json!({})).await;

    // A certificate nobody vouches for.
    let hook = WebhookServer::start(|_| json!({"allowed": true})).await;
    let other = WebhookServer::start(|_| json!({"allowed": true})).await;
    let stranger = json!({"url": format!("https://{}/", hook.address), "caBundle": other.ca_bundle});
    configure(&server, VALIDATING, "w", webhook("stranger.example.com", "Fail", &stranger, "None")).await;
    let refused = server.post(MAPS, &map("b")).await;
    assert!(refused.message().contains("tls: failed to verify certificate: x509:"), "{}", refused.message());
    assert!(hook.asked().is_empty());
    server.stop().await;
}

/// I48: a quota is charged with the write, given back when it does not happen, and told of when it is full.
#[tokio::test]
async fn quotas_are_charged_with_the_write() {
    let server = Server::start().await;
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let hard = json!({"configmaps": "2", "count/leases.coordination.k8s.io": "0"});
    let made = server.post(quotas, &json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let used = json!({"configmaps": "0", "count/leases.coordination.k8s.io": "0"});
    server.patch(&format!("{quotas}/q/status"), &json!({"status": {"hard": hard, "used": used}})).await;
    let used =
        || async { server.get(&format!("{quotas}/q")).await.json()["status"]["used"]["configmaps"].clone() };

    let dry = server.post(&format!("{MAPS}?dryRun=All"), &map("a")).await;
    assert_eq!((dry.code, used().await), (201, json!("0")));
    assert_eq!(server.post(MAPS, &map("a")).await.code, 201);
    assert_eq!(used().await, "1");
    // A name that is taken costs nothing.
    assert_eq!(server.post(MAPS, &map("a")).await.code, 409);
    assert_eq!(used().await, "1");
    // Many at once take no more than there is.
    let many = futures::future::join_all((0..6).map(|index| {
        let (server, body) = (&server, map(&format!("m{index}")));
        async move { server.post(MAPS, &body).await.code }
    }));
    let mut codes = many.await;
    codes.sort_unstable();
    assert_eq!(codes, [201, 403, 403, 403, 403, 403]);
    let refused = server.post(MAPS, &map("z")).await;
    assert_eq!(
        refused.message(),
        "configmaps \"z\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=2, limited: configmaps=2"
    );
    let lease = json!({"metadata": {"name": "l"}, "spec": {}});
    let refused = server.post("/apis/coordination.k8s.io/v1/namespaces/default/leases", &lease).await;
    assert_eq!((refused.code, &refused.json()["reason"]), (403, &json!("Forbidden")));
    server.stop().await;
}

/// I31, I33, I39: labels of a namespace refuse Pods, warn of templates, and tell of Pods that are there.
#[tokio::test]
async fn security_labels_of_a_namespace() {
    let server = Server::start().await;
    let (namespaces, pods) = ("/api/v1/namespaces", "/api/v1/namespaces/s/pods");
    server.post(namespaces, &json!({"metadata": {"name": "s"}})).await;
    server.post("/api/v1/namespaces/s/serviceaccounts", &json!({"metadata": {"name": "default"}})).await;
    let pod = |name: &str, spec: Value| {
        let mut pod =
            json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}});
        for (key, value) in spec.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
        pod
    };
    assert_eq!(server.post(pods, &pod("old", json!({"hostPID": true}))).await.code, 201);
    let labels = |level: &str| {
        json!({"metadata": {"labels": {
        "pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/warn": level}}})
    };
    let bad = server.patch(&format!("{namespaces}/s"), &labels("strict")).await;
    assert_eq!(bad.code, 422);
    assert!(bad.message().contains("must be one of privileged, baseline, restricted"), "{}", bad.message());
    let labelled = server.patch(&format!("{namespaces}/s"), &labels("baseline")).await;
    let warnings: Vec<&str> =
        labelled.headers.get_all("warning").iter().map(|it| it.to_str().unwrap()).collect();
    assert_eq!(
        warnings,
        [
            "299 - \"existing pods in namespace \\\"s\\\" violate the new PodSecurity enforce level \\\"baseline:latest\\\"\"",
            "299 - \"old: host namespaces\"",
        ]
    );
    let refused = server.post(pods, &pod("new", json!({"hostPID": true}))).await;
    let text =
        "pods \"new\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)";
    assert_eq!((refused.code, refused.message().as_str()), (403, text));
    // A spec that is wrong in itself is told so first.
    let wrong = server.post(pods, &pod("new", json!({"hostPID": true, "restartPolicy": "Sometimes"}))).await;
    assert_eq!(wrong.code, 422);
    assert_eq!(server.post(pods, &pod("good", json!({}))).await.code, 201);
    let template = pod("", json!({"hostPID": true}));
    let set = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": template["spec"]}}});
    let made = server.post("/apis/apps/v1/namespaces/s/deployments", &set).await;
    let warning =
        "299 - \"would violate PodSecurity \\\"baseline:latest\\\": host namespaces (hostPID=true)\"";
    assert_eq!((made.code, made.header("warning")), (201, warning));
    server.stop().await;
}

/// K39: who asks for a certificate is who asks, and what was asked for stays.
#[tokio::test]
async fn certificate_requests_name_who_made_them() {
    let server = Server::start().await;
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let spec = json!({"request": "YQ==", "signerName": "example.com/x", "usages": ["client auth"], "username": "somebody",
        "groups": ["system:nodes"], "uid": "1", "extra": {"a": ["b"]}});
    let made = server.post(requests, &json!({"metadata": {"name": "r"}, "spec": spec})).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let made = made.json();
    assert_eq!(made["spec"]["username"], "kubernetes-admin");
    assert_eq!(made["spec"]["groups"], json!(["system:masters", "system:authenticated"]));
    assert_eq!((&made["spec"]["uid"], &made["spec"]["extra"]), (&Value::Null, &Value::Null));
    let changed = server.patch(&format!("{requests}/r"), &json!({"spec": {"username": "x"}})).await;
    assert_eq!(changed.code, 422);
    server.stop().await;
}

/// I32: connections and evictions are asked about as what they are.
#[tokio::test]
async fn subresources_are_asked_about() {
    let server = Server::start().await;
    server
        .post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}}))
        .await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}});
    assert_eq!(server.post("/api/v1/namespaces/default/pods", &pod).await.code, 201);
    let hook = WebhookServer::start(|_| json!({"allowed": false})).await;
    configure(&server, VALIDATING, "v", json!([hook.webhook("v.example.com", &rule("pods/*"))])).await;
    let denied = "admission webhook \"v.example.com\" denied the request without explanation";
    let exec = "/api/v1/namespaces/default/pods/p/exec?command=ls&command=-l&stdout=true&container=c";
    assert_eq!(server.get(exec).await.message(), denied);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    assert_eq!(server.post("/api/v1/namespaces/default/pods/p/eviction", &eviction).await.message(), denied);
    assert_eq!(server.get("/api/v1/namespaces/default/pods/p").await.code, 200);
    let asked = hook.asked();
    assert_eq!((&asked[0]["operation"], &asked[0]["subResource"]), (&json!("CONNECT"), &json!("exec")));
    assert_eq!(asked[0]["kind"]["kind"], "PodExecOptions");
    let options = json!({"apiVersion": "v1", "kind": "PodExecOptions", "command": ["ls", "-l"], "stdout": true, "container": "c"});
    assert_eq!(asked[0]["object"], options);
    assert_eq!((&asked[1]["operation"], &asked[1]["subResource"]), (&json!("CREATE"), &json!("eviction")));
    assert_eq!(asked[1]["kind"], json!({"group": "policy", "version": "v1", "kind": "Eviction"}));
    assert_eq!((&asked[1]["object"]["kind"], &asked[1]["name"]), (&json!("Eviction"), &json!("p")));
    server.stop().await;
}
