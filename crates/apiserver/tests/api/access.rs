//! Who may do what: identities, tokens, roles, reviews and kubelets (section I.2 and I.3).

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::server::{Answer, Server};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Asks as somebody else.
async fn ask_as(server: &Server, who: &[(&str, &str)], method: &str, uri: &str, body: &Value) -> Answer {
    let mut request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
    for (name, value) in who {
        request = request.header(*name, *value);
    }
    let body = if method == "GET" { Bytes::new() } else { Bytes::from(body.to_string()) };
    server.ask(request.body(body).unwrap()).await
}

const JANE: &[(&str, &str)] = &[("impersonate-user", "jane")];
const NODE: &[(&str, &str)] = &[("impersonate-user", "system:node:n"), ("impersonate-group", "system:nodes")];

async fn grant(server: &Server, name: &str, user: &str, rules: Value) {
    let role = json!({"metadata": {"name": name}, "rules": rules});
    assert_eq!(server.post(&format!("{RBAC}/clusterroles"), &role).await.code, 201);
    let binding = json!({
        "metadata": {"name": name}, "subjects": [{"kind": "User", "name": user}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
    });
    assert_eq!(server.post(&format!("{RBAC}/clusterrolebindings"), &binding).await.code, 201);
}

/// I23: roles and bindings give away only what their writer has, or may escalate.
#[tokio::test]
async fn nobody_gives_away_more_than_they_have() {
    let server = Server::start().await;
    let rules = json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"], "verbs": ["create", "update", "patch", "get"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    ]);
    grant(&server, "author", "jane", rules).await;
    let roles = format!("{RBAC}/namespaces/default/roles");
    let role = |name: &str, verbs: Value| json!({"metadata": {"name": name}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]});
    let made = ask_as(&server, JANE, "POST", &roles, &role("fine", json!(["get"]))).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let refused =
        ask_as(&server, JANE, "POST", &roles, &role("more", json!(["get", "delete", "list"]))).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message(),
        "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"jane\" (groups=[\"system:authenticated\"]) is \
         attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], \
         Verbs:[\"delete\" \"list\"]}"
    );
    let grown = ask_as(&server, JANE, "PUT", &format!("{roles}/fine"), &role("fine", json!(["*"]))).await;
    assert_eq!(grown.code, 403, "an update gives away as much as a create");
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let binding = |role: &str| {
        json!({
            "metadata": {"generateName": "b"}, "subjects": [{"kind": "User", "name": "jane"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        })
    };
    assert_eq!(ask_as(&server, JANE, "POST", &bindings, &binding("cluster-admin")).await.code, 403);
    assert_eq!(ask_as(&server, JANE, "POST", &bindings, &binding("author")).await.code, 201);
    assert_eq!(ask_as(&server, JANE, "POST", &bindings, &binding("nowhere")).await.code, 404);
    let collects = json!({
        "metadata": {"name": "all"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
    });
    let refused = ask_as(&server, JANE, "POST", &format!("{RBAC}/clusterroles"), &collects).await;
    assert!(refused.message().ends_with("must have cluster-admin privileges to use the aggregationRule"));
    let more = json!([{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "clusterroles"], "verbs": ["escalate", "bind"]}]);
    grant(&server, "trusted", "jane", more).await;
    let made = ask_as(&server, JANE, "POST", &roles, &role("more", json!(["*"]))).await;
    assert_eq!(made.code, 201, "{}", made.text());
    assert_eq!(ask_as(&server, JANE, "POST", &bindings, &binding("cluster-admin")).await.code, 201);
    let made = ask_as(&server, JANE, "GET", &bindings, &Value::Null).await;
    assert_eq!(made.code, 200, "I18: what was bound holds at once: {}", made.text());
    server.stop().await;
}

/// I9: an identity in headers is taken over whole.
#[tokio::test]
async fn an_identity_in_headers_is_taken_over_whole() {
    let server = Server::start().await;
    let review = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let who = [
        ("impersonate-user", "jane"),
        ("impersonate-uid", "7"),
        ("impersonate-group", "devs"),
        ("impersonate-extra-acme.com%2fproject", "x"),
    ];
    let answer = ask_as(&server, &who, "POST", review, &json!({})).await.json();
    let info = &answer["status"]["userInfo"];
    assert_eq!(info["username"], "jane");
    assert_eq!(info["uid"], "7");
    assert_eq!(info["groups"], json!(["devs", "system:authenticated"]));
    assert_eq!(info["extra"], json!({"acme.com/project": ["x"]}));
    let nobody = ask_as(&server, &[("impersonate-group", "devs")], "POST", review, &json!({})).await;
    assert_eq!((nobody.code, nobody.message().as_str()), (400, "requested impersonation without a user"));
    server.stop().await;
}

/// I10, I11, I12, I15, H45, H46: a token is good for its audience, and only as long as its Pod is there.
#[tokio::test]
async fn a_token_is_for_its_audience_and_dies_with_its_pod() {
    let server = Server::start().await;
    let account = json!({"metadata": {"name": "robot"}});
    assert_eq!(server.post("/api/v1/namespaces/default/serviceaccounts", &account).await.code, 201);
    let pod = json!({
        "metadata": {"name": "p"},
        "spec": {"serviceAccountName": "robot", "containers": [{"name": "c", "image": "i"}]},
    });
    let pod = server.post("/api/v1/namespaces/default/pods", &pod).await;
    assert_eq!(pod.code, 201, "{}", pod.text());
    let ask = json!({"spec": {
        "audiences": ["vault"],
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod.json()["metadata"]["uid"]},
    }});
    let url = "/api/v1/namespaces/default/serviceaccounts/robot/token";
    let token = server.post(url, &ask).await.json()["status"]["token"].as_str().unwrap().to_owned();
    let part = |at: usize| -> Value {
        let text = token.split('.').nth(at).unwrap();
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        serde_json::from_slice(&base64::Engine::decode(&engine, text).unwrap()).unwrap()
    };
    let keys = server.get("/openid/v1/jwks").await.json();
    assert_eq!((&part(0)["alg"], &part(0)["kid"]), (&json!("ES256"), &keys["keys"][0]["kid"]), "I11");
    let claims = part(1);
    assert_eq!(claims["sub"], "system:serviceaccount:default:robot");
    assert_eq!(claims["aud"], json!(["vault"]));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
    assert_eq!(claims["kubernetes.io"]["namespace"], "default");
    assert_eq!(claims["kubernetes.io"]["serviceaccount"]["name"], "robot");
    assert_eq!(claims["kubernetes.io"]["pod"], json!({"name": "p", "uid": pod.json()["metadata"]["uid"]}));
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review = |audiences: Value| json!({"spec": {"token": token, "audiences": audiences}});
    let good = server.post(reviews, &review(json!(["vault", "other"]))).await.json();
    assert_eq!(good["status"]["authenticated"], true, "{good}");
    assert_eq!(good["status"]["audiences"], json!(["vault"]));
    assert_eq!(good["status"]["user"]["username"], "system:serviceaccount:default:robot");
    assert_eq!(good["status"]["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    for wrong in [json!(["other"]), json!([])] {
        let answer = server.post(reviews, &review(wrong)).await;
        assert_eq!(answer.code, 201);
        assert_eq!(answer.json()["status"], json!({"user": {}, "error": "invalid bearer token"}));
    }
    let now = json!({"gracePeriodSeconds": 0});
    assert_eq!(server.delete("/api/v1/namespaces/default/pods/p", &now).await.code, 200);
    let late = server.post(reviews, &review(json!(["vault"]))).await.json();
    assert_eq!(late["status"]["error"], "invalid bearer token", "I12");
    server.stop().await;
}

/// I14: others can check tokens.
#[tokio::test]
async fn the_keys_of_tokens_are_published() {
    let server = Server::start().await;
    let about = server.get("/.well-known/openid-configuration").await;
    assert_eq!(about.json()["response_types_supported"], json!(["id_token"]));
    assert_eq!(about.header("cache-control"), "public, max-age=3600");
    let keys = server.get("/openid/v1/jwks").await;
    assert_eq!(keys.content_type(), "application/jwk-set+json");
    assert_eq!(keys.json()["keys"][0]["use"], "sig");
    assert_eq!(server.get_with("/openid/v1/jwks", &[("accept", "application/json")]).await.code, 406);
    let account = [("impersonate-user", "system:serviceaccount:default:default")];
    assert_eq!(ask_as(&server, &account, "GET", "/openid/v1/jwks", &Value::Null).await.code, 200);
    assert_eq!(ask_as(&server, JANE, "GET", "/openid/v1/jwks", &Value::Null).await.code, 403);
    server.stop().await;
}

/// I17, I18, I19, I22, I28, I29: what a role allows, and what of it is said.
#[tokio::test]
async fn reviews_tell_what_roles_allow() {
    let server = Server::start().await;
    grant(&server, "reader", "jane", json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]))
        .await;
    let mut review = json!({"spec": {
        "user": "jane", "resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"},
    }});
    let all = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let status = server.post(all, &review).await.json()["status"].clone();
    let why = "RBAC: allowed by ClusterRoleBinding \"reader\" of ClusterRole \"reader\" to User \"jane\"";
    assert_eq!(status, json!({"allowed": true, "reason": why}));
    let local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    assert_eq!(server.post(local, &review).await.json()["status"]["allowed"], true);
    review["spec"]["resourceAttributes"]["namespace"] = json!("kube-system");
    let refused = server.post(local, &review).await;
    assert_eq!(refused.code, 422);
    assert!(refused.message().contains("must match metadata.namespace"), "{}", refused.message());
    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let mine = ask_as(&server, JANE, "POST", rules, &json!({"spec": {"namespace": "default"}})).await.json();
    let listed = mine["status"]["resourceRules"].as_array().unwrap();
    assert!(listed.contains(&json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]})), "{mine}");
    assert_eq!(mine["status"]["incomplete"], false);
    assert_eq!(server.delete(&format!("{RBAC}/clusterroles/reader"), &json!({})).await.code, 200);
    let refused = ask_as(&server, JANE, "GET", "/api/v1/namespaces/default/pods/x", &Value::Null).await;
    let why = ": RBAC: clusterrole.rbac.authorization.k8s.io \"reader\" not found";
    assert!(refused.message().ends_with(why), "{}", refused.message());
    server.stop().await;
}

/// I30: a kubelet sees what its Pods need, and nothing else.
#[tokio::test]
async fn a_kubelet_reads_what_its_pods_need() {
    let server = Server::start().await;
    let account = json!({"metadata": {"name": "default"}});
    assert_eq!(server.post("/api/v1/namespaces/default/serviceaccounts", &account).await.code, 201);
    let secrets = "/api/v1/namespaces/default/secrets";
    for name in ["used", "other"] {
        assert_eq!(server.post(secrets, &json!({"metadata": {"name": name}})).await.code, 201);
    }
    for (name, node) in [("mine", "n"), ("theirs", "m")] {
        let secret = if node == "n" { "used" } else { "other" };
        let pod = json!({"metadata": {"name": name}, "spec": {
            "nodeName": node, "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "secret": {"secretName": secret}}],
        }});
        let made = server.post("/api/v1/namespaces/default/pods", &pod).await;
        assert_eq!(made.code, 201, "{}", made.text());
    }
    let pods = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn";
    for (uri, code) in [
        (format!("{secrets}/used"), 200),
        (format!("{secrets}?fieldSelector=metadata.name%3Dused"), 200),
        (format!("{secrets}/other"), 403),
        (secrets.to_owned(), 403),
        (pods.to_owned(), 200),
        ("/api/v1/pods".to_owned(), 403),
        ("/api/v1/namespaces/default/pods/mine".to_owned(), 200),
        ("/api/v1/namespaces/default/pods/theirs".to_owned(), 403),
        ("/api/v1/nodes/n".to_owned(), 404),
        ("/api/v1/nodes/m".to_owned(), 403),
        ("/api/v1/services".to_owned(), 200),
        ("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n".to_owned(), 404),
        ("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/m".to_owned(), 403),
        ("/apis/apps/v1/deployments".to_owned(), 403),
    ] {
        let answer = ask_as(&server, NODE, "GET", &uri, &Value::Null).await;
        assert_eq!(answer.code, code, "{uri}: {}", answer.text());
    }
    let refused = ask_as(&server, NODE, "GET", &format!("{secrets}/other"), &Value::Null).await;
    let why = "no relationship found between node 'n' and this object";
    assert!(refused.message().ends_with(why), "{}", refused.message());
    server.stop().await;
}

/// I25, I27: the roles every cluster has, and what they are for.
#[tokio::test]
async fn the_roles_of_people_and_components_are_there() {
    let server = Server::start().await;
    let roles = server.get(&format!("{RBAC}/clusterroles")).await.json();
    let names: Vec<&str> = roles["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|role| role["metadata"]["name"].as_str().unwrap())
        .collect();
    for name in [
        "cluster-admin",
        "admin",
        "edit",
        "view",
        "system:aggregate-to-admin",
        "system:aggregate-to-edit",
        "system:aggregate-to-view",
        "system:discovery",
        "system:basic-user",
        "system:public-info-viewer",
        "system:monitoring",
        "system:auth-delegator",
        "system:kube-aggregator",
        "system:kube-controller-manager",
        "system:kube-scheduler",
        "system:volume-scheduler",
        "system:kube-dns",
        "system:node",
        "system:node-proxier",
        "system:node-bootstrapper",
        "system:node-problem-detector",
        "system:kubelet-api-admin",
        "system:persistent-volume-provisioner",
        "system:service-account-issuer-discovery",
    ] {
        assert!(names.contains(&name), "{name}");
    }
    for who in ["view", "edit", "admin"] {
        let binding = json!({
            "metadata": {"name": who}, "subjects": [{"kind": "User", "name": who}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": who},
        });
        let made = server.post(&format!("{RBAC}/namespaces/default/rolebindings"), &binding).await;
        assert_eq!(made.code, 201, "{}", made.text());
    }
    let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    for (verb, group, resource, sub, who) in [
        ("get", "", "pods", "log", &["view", "edit", "admin"][..]),
        ("get", "", "secrets", "", &["edit", "admin"]),
        ("create", "", "pods", "exec", &["edit", "admin"]),
        ("create", "", "serviceaccounts", "token", &["edit", "admin"]),
        ("impersonate", "", "serviceaccounts", "", &["edit", "admin"]),
        ("update", "coordination.k8s.io", "leases", "", &["edit", "admin"]),
        ("create", "rbac.authorization.k8s.io", "roles", "", &["admin"]),
        ("create", "authorization.k8s.io", "localsubjectaccessreviews", "", &["admin"]),
        ("get", "rbac.authorization.k8s.io", "roles", "", &["admin"]),
        ("update", "", "resourcequotas", "", &[]),
        ("delete", "", "namespaces", "", &[]),
    ] {
        for user in ["view", "edit", "admin"] {
            let asked = json!({"spec": {"user": user, "resourceAttributes": {
                "namespace": "default", "verb": verb, "group": group, "resource": resource, "subresource": sub,
            }}});
            let allowed = server.post(reviews, &asked).await.json()["status"]["allowed"].clone();
            assert_eq!(allowed, who.contains(&user), "{user} {verb} {resource}/{sub}");
        }
    }
    server.stop().await;
}

/// I1, I3, I4, I5, I6, I9: who one is over TLS comes from the certificate, else from the token, else one is nobody; and an
/// answer to who one is comes before one to what one may.
#[tokio::test]
async fn callers_over_tls_are_who_they_can_prove_to_be() {
    let server = Server::start().await;
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let pods = "/api/v1/namespaces/default/pods";
    let nobody = Caller::connect(&server, None).await;
    assert_eq!(nobody.ask("GET", "/healthz", &[], "").await.0, 200);
    let (code, text) = nobody.ask("GET", pods, &[], "").await;
    assert_eq!(code, 403);
    assert!(text.contains("User \\\"system:anonymous\\\" cannot list resource \\\"pods\\\""), "{text}");
    for uri in ["/healthz", pods] {
        let (code, text) = nobody.ask("GET", uri, &[("authorization", "Bearer bad")], "").await;
        let status: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (code, &status["message"], &status["reason"]),
            (401, &json!("Unauthorized"), &json!("Unauthorized"))
        );
    }
    let jane = Caller::connect(&server, Some(("jane", &["devs"]))).await;
    let (code, text) = jane.ask("POST", whoami, &[("authorization", "Bearer bad")], "{}").await;
    assert_eq!(code, 201, "the certificate comes first: {text}");
    let review: Value = serde_json::from_str(&text).unwrap();
    let groups = json!(["devs", "system:authenticated"]);
    assert_eq!(review["status"]["userInfo"], json!({"username": "jane", "groups": groups}));
    let (code, text) = jane.ask("POST", pods, &[], "not json").await;
    assert_eq!(code, 403, "I1: a body is not read before one may write it: {text}");

    let joe = [("impersonate-user", "joe")];
    let (code, text) = jane.ask("GET", pods, &joe, "").await;
    assert_eq!(code, 403);
    let missing =
        "pods is forbidden: User \\\"jane\\\" cannot impersonate-on:user-info:list resource \\\"pods\\\"";
    assert!(text.contains(missing), "{text}");
    let on = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["impersonate-on:user-info:list"]}]);
    grant(&server, "on", "jane", on).await;
    let (_, text) = jane.ask("GET", pods, &joe, "").await;
    let missing = "users.authentication.k8s.io \\\"joe\\\" is forbidden: User \\\"jane\\\" cannot impersonate:user-info";
    assert!(text.contains(missing), "{text}");
    let be = json!([{"apiGroups": ["authentication.k8s.io"], "resources": ["users"], "verbs": ["impersonate:user-info"]}]);
    grant(&server, "be", "jane", be).await;
    grant(
        &server,
        "list",
        "joe",
        json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "create"]}]),
    )
    .await;
    assert_eq!(jane.ask("GET", pods, &joe, "").await.0, 200);
    assert_eq!(jane.ask("POST", pods, &joe, "{}").await.0, 403, "only for what the right is on");
    server.stop().await;
}

/// A client with a connection of its own.
struct Caller(std::cell::RefCell<hyper::client::conn::http1::SendRequest<http_body_util::Full<Bytes>>>);

impl Caller {
    async fn connect(server: &Server, who: Option<(&str, &[&str])>) -> Self {
        let now = outrigger_api::clock::Clock::now(&outrigger_api::clock::SystemClock).wall;
        let pair = who.map(|(user, groups)| server.front().1.issue(user, groups, now).unwrap());
        let stream = crate::connections::connect_as(server, pair.as_ref(), &["http/1.1"]).await;
        let stream = hyper_util::rt::TokioIo::new(stream);
        let (sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self(std::cell::RefCell::new(sender))
    }

    async fn ask(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(uri).header("host", "localhost");
        request = request.header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Bytes::from(body.to_owned()).into()).unwrap();
        let sending = self.0.borrow_mut().send_request(request);
        let (head, body) = sending.await.unwrap().into_parts();
        let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        (head.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
    }
}
