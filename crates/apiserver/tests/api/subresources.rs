//! Subresources (section H).

use serde_json::{Value, json};

use crate::server::{Answer, Server};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

async fn start() -> Server {
    let server = Server::start().await;
    let made = server.post(ACCOUNTS, &json!({"metadata": {"name": "default"}})).await;
    assert_eq!(made.code, 201, "{}", made.text());
    server
}

async fn pod(server: &Server, name: &str, status: Value) -> Value {
    let body = json!({"metadata": {"name": name, "labels": {"app": "a"}},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(server.post(PODS, &body).await.code, 201);
    server.patch(&format!("{PODS}/{name}/status"), &json!({"status": status})).await.json()
}

/// H2: the number of replicas, under one kind.
#[tokio::test]
async fn a_scale_is_a_view_of_one_number() {
    let server = start().await;
    let body = json!({"metadata": {"name": "d"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b", "c": "d"}},
        "template": {"metadata": {"labels": {"a": "b", "c": "d"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let made = server.post(DEPLOYMENTS, &body).await.json();
    let uri = format!("{DEPLOYMENTS}/d/scale");
    let scale = server.get(&uri).await.json();
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    for member in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        assert_eq!(scale["metadata"][member], made["metadata"][member], "{member}");
    }
    assert_eq!(
        (&scale["spec"], &scale["status"]),
        (&json!({"replicas": 2}), &json!({"replicas": 0, "selector": "a=b,c=d"}))
    );
    let put = async |members: Value| {
        let mut body = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "d"}});
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        server.put(&uri, &body).await
    };
    let refused = put(json!({"spec": {"replicas": -1}})).await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (
            422,
            "Scale.autoscaling \"d\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
        )
    );
    let refused = put(json!({"metadata": {"name": "e"}, "spec": {"replicas": 1}})).await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (400, "the name of the object (e) does not match the name on the URL (d)")
    );
    for condition in [json!({"name": "d", "uid": "other"}), json!({"name": "d", "resourceVersion": "1"})] {
        assert_eq!(
            put(json!({"metadata": condition, "spec": {"replicas": 1}})).await.code,
            409,
            "{condition}"
        );
    }
    let zero = put(json!({"spec": {"replicas": 0}})).await;
    assert_eq!((zero.code, &zero.json()["spec"]), (200, &json!({})));
    let parent = server.get(&format!("{DEPLOYMENTS}/d")).await.json();
    assert_eq!((&parent["spec"]["replicas"], &parent["metadata"]["generation"]), (&json!(0), &json!(2)));
    server.stop().await;
}

/// H1, H3: views that write one part of an object.
#[tokio::test]
async fn views_write_their_part() {
    let server = start().await;
    assert_eq!(server.get("/api/v1/namespaces/default/status").await.json()["kind"], "Namespace");
    assert_eq!(server.post("/api/v1/namespaces/default/status", &json!({})).await.code, 405);
    assert_eq!(server.get("/api/v1/namespaces/default/configmaps/m/status").await.code, 404);
    let made = server.post("/api/v1/namespaces", &json!({"metadata": {"name": "n"}})).await.json();
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    let mut body = made.clone();
    body["spec"]["finalizers"] = json!([]);
    body["metadata"]["labels"] = json!({"a": "b"});
    let after = server.put("/api/v1/namespaces/n/finalize", &body).await.json();
    assert!(
        after["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty)
            && after["metadata"]["labels"]["a"].is_null(),
        "{after}"
    );
    server.post("/api/v1/namespaces", &json!({"metadata": {"name": "o"}})).await;
    let marked = server.delete("/api/v1/namespaces/o", &json!({})).await.json();
    assert_eq!(marked["status"]["phase"], "Terminating");
    let mut body = marked;
    body["spec"]["finalizers"] = json!([]);
    assert_eq!(server.put("/api/v1/namespaces/o/finalize", &body).await.code, 200);
    assert_eq!(server.get("/api/v1/namespaces/o").await.code, 404);
    server.stop().await;
}

/// H4, H5: a Pod is assigned once, with what the binding brings.
#[tokio::test]
async fn a_pod_is_bound_once() {
    let server = start().await;
    let unbound = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = server.post(PODS, &unbound).await.json();
    let uri = format!("{PODS}/p/binding");
    let binding = |metadata: Value, target: Value| json!({"metadata": metadata, "target": target});
    let target = json!({"kind": "Node", "name": "n"});
    let other = server.post(&uri, &binding(json!({"name": "q"}), target.clone())).await;
    assert_eq!(
        (other.code, other.message().as_str()),
        (400, "name in URL does not match name in Binding object")
    );
    let bad = server.post(&uri, &binding(json!({"name": "p"}), json!({}))).await;
    assert_eq!(
        (bad.code, bad.message().as_str(), bad.json().get("reason")),
        (500, "target.name: Required value", None)
    );
    assert_eq!(server.post(&uri, &binding(json!({"name": "p", "uid": "x"}), target.clone())).await.code, 409);
    let metadata = json!({"name": "p", "uid": made["metadata"]["uid"], "annotations": {"a": "b"}});
    let bound = server.post(&uri, &binding(metadata, target.clone())).await;
    assert_eq!((bound.code, &bound.json()["status"]), (201, &json!("Success")));
    let after = server.get(&format!("{PODS}/p")).await.json();
    assert_eq!(
        (&after["spec"]["nodeName"], &after["metadata"]["annotations"]["a"]),
        (&json!("n"), &json!("b"))
    );
    let condition = &after["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["status"]), (&json!("PodScheduled"), &json!("True")));
    for member in ["generation", "managedFields"] {
        assert_eq!(after["metadata"][member], made["metadata"][member], "{member}");
    }
    let again = server.post(&uri, &binding(json!({"name": "p"}), target)).await;
    assert_eq!(
        (again.code, again.message().as_str()),
        (409, "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n\"")
    );
    // H5: who comes with a node is not bound.
    let own = json!({"metadata": {"name": "q"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
    assert!(server.post(PODS, &own).await.json()["status"].get("conditions").is_none());
    server.stop().await;
}

async fn evict(server: &Server, name: &str) -> Answer {
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    server.post(&format!("{PODS}/{name}/eviction"), &body).await
}

async fn budget(server: &Server, name: &str, spec: Value, status: Value) {
    let mut body = json!({"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": "a"}}, "minAvailable": 1}});
    for (member, value) in spec.as_object().unwrap() {
        body["spec"][member] = value.clone();
    }
    assert_eq!(server.post(BUDGETS, &body).await.code, 201);
    let set = server.patch(&format!("{BUDGETS}/{name}/status"), &json!({"status": status})).await;
    assert_eq!(set.code, 200, "{}", set.text());
}

fn ready(word: &str) -> Value {
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": word}]})
}

/// H6, H8, H10, H11, H12, H13: an eviction asks the budget.
#[tokio::test]
async fn an_eviction_asks_the_budget() {
    let server = start().await;
    pod(&server, "p", ready("True")).await;
    let wrong = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "q"}});
    let wrong = server.post(&format!("{PODS}/p/eviction"), &wrong).await;
    assert_eq!(
        (wrong.code, wrong.message().as_str()),
        (400, "name in URL does not match name in Eviction object")
    );
    assert_eq!(evict(&server, "none").await.code, 404);
    let counts = |generation: i64, allowed: i64| {
        json!({"observedGeneration": generation, "disruptionsAllowed": allowed,
        "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1})
    };
    budget(&server, "b", json!({}), counts(0, 1)).await;
    let waits = evict(&server, "p").await;
    assert_eq!((waits.code, waits.header("retry-after")), (429, "10"));
    let cause = json!([{"reason": "DisruptionBudget", "message": "The disruption budget b is still being processed by the server."}]);
    assert_eq!(waits.json()["details"]["causes"], cause);
    let status = async |status: Value| {
        server.patch(&format!("{BUDGETS}/b/status"), &json!({"status": status})).await.code
    };
    assert_eq!(status(counts(1, 0)).await, 200);
    let refused = evict(&server, "p").await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (429, "Cannot evict pod as it would violate the pod's disruption budget.")
    );
    assert_eq!(
        refused.json()["details"]["causes"][0]["message"],
        "The disruption budget b needs 1 healthy pods and has 1 currently"
    );
    assert_eq!(status(counts(1, -1)).await, 200);
    assert_eq!(evict(&server, "p").await.code, 403);
    assert_eq!(status(counts(1, 1)).await, 200);
    budget(&server, "second", json!({}), counts(1, 1)).await;
    let two = evict(&server, "p").await;
    assert_eq!(two.code, 500);
    assert!(
        two.message().contains(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        ),
        "{}",
        two.message()
    );
    server.delete(&format!("{BUDGETS}/second"), &json!({})).await;
    let done = evict(&server, "p").await;
    assert_eq!((done.code, &done.json()["status"]), (201, &json!("Success")));
    let spent = server.get(&format!("{BUDGETS}/b")).await.json();
    assert_eq!(spent["status"]["disruptionsAllowed"], 0);
    assert!(spent["status"]["disruptedPods"]["p"].is_string(), "{spent}");
    let gone = server.get(&format!("{PODS}/p")).await.json();
    let target = gone["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["type"] == "DisruptionTarget")
        .unwrap();
    assert_eq!(
        (&target["reason"], &target["message"]),
        (&json!("EvictionByEvictionAPI"), &json!("Eviction API: evicting"))
    );
    assert!(gone["metadata"]["deletionTimestamp"].is_string());
    server.stop().await;
}

/// H7, H9: who does not count as available is not counted.
#[tokio::test]
async fn a_pod_that_does_not_count_goes_without_asking() {
    let server = start().await;
    let full = |current: i64| json!({"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": current, "desiredHealthy": 1});
    for phase in ["Pending", "Succeeded", "Failed"] {
        pod(&server, &phase.to_lowercase(), json!({"phase": phase})).await;
    }
    pod(&server, "unready", ready("False")).await;
    pod(&server, "ready", ready("True")).await;
    budget(&server, "b", json!({}), full(0)).await;
    for name in ["pending", "succeeded", "failed"] {
        assert_eq!(evict(&server, name).await.code, 201, "{name}");
    }
    for name in ["unready", "ready"] {
        assert_eq!(evict(&server, name).await.code, 429, "{name}");
    }
    // IfHealthyBudget: enough are healthy without it.
    server.patch(&format!("{BUDGETS}/b/status"), &json!({"status": full(1)})).await;
    assert_eq!(evict(&server, "ready").await.code, 429);
    assert_eq!(evict(&server, "unready").await.code, 201);
    assert_eq!(server.get(&format!("{BUDGETS}/b")).await.json()["status"].get("disruptedPods"), None);
    // AlwaysAllow: whatever is healthy.
    pod(&server, "unready2", ready("False")).await;
    let always = server
        .patch(&format!("{BUDGETS}/b"), &json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}))
        .await
        .json();
    let generation = always["metadata"]["generation"].clone();
    let mut status = full(0);
    status["observedGeneration"] = generation;
    server.patch(&format!("{BUDGETS}/b/status"), &json!({"status": status})).await;
    assert_eq!(evict(&server, "ready").await.code, 429);
    assert_eq!(evict(&server, "unready2").await.code, 201);
    server.stop().await;
}

/// H19, H20: who may open a session, and what is checked before one opens.
#[tokio::test]
async fn a_session_is_checked_before_it_opens() {
    let server = start().await;
    let body = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(server.post(PODS, &body).await.code, 201);
    for sub in ["exec?command=x&stdout=1", "attach?stdout=1", "portforward"] {
        let answer = server.get(&format!("{PODS}/p/{sub}")).await;
        assert_eq!(
            (answer.code, answer.message().as_str()),
            (400, "pod p does not have a host assigned"),
            "{sub}"
        );
        assert_eq!(server.get(&format!("{PODS}/none/{sub}")).await.code, 404);
    }
    let wrong = server.get(&format!("{PODS}/p/exec?container=d&command=x&stdout=1")).await;
    assert_eq!((wrong.code, wrong.message().as_str()), (400, "container d is not valid for pod p"));
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": "g"}, "rules": [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]}]});
    server.post(&format!("{rbac}/clusterroles"), &role).await;
    let binding = json!({"metadata": {"name": "g"}, "subjects": [{"kind": "User", "name": "g", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "g"}});
    server.post(&format!("{rbac}/clusterrolebindings"), &binding).await;
    let refused = server.get_with(&format!("{PODS}/p/exec?command=x"), &[("impersonate-user", "g")]).await;
    assert_eq!(refused.code, 403);
    assert!(refused.message().contains("cannot create resource \"pods/exec\""), "{}", refused.message());
    server.stop().await;
}

/// H43, H44: resources change through /resize and nowhere else.
#[tokio::test]
async fn resources_change_through_resize_only() {
    let server = start().await;
    let limits = |cpu: &str| json!({"cpu": cpu, "memory": "64Mi"});
    let body = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [
        {"name": "c", "image": "i", "resources": {"limits": limits("1"), "requests": limits("1")}}]}});
    assert_eq!(server.post(PODS, &body).await.code, 201);
    let patch = json!({"spec": {"containers": [{"name": "c", "image": "i", "resources": {"limits": limits("2"), "requests": limits("2")}}]}});
    let strategic = async |uri: &str, patch: &Value| {
        server.send("PATCH", uri, ("application/strategic-merge-patch+json", "x"), patch).await
    };
    let main = strategic(&format!("{PODS}/p"), &patch).await;
    assert_eq!(main.code, 422);
    assert!(main.message().contains("pod updates may not change fields other than"), "{}", main.message());
    server.stop().await;
}

/// H45, H46, H47: tokens, and what they are bound to.
#[tokio::test]
async fn tokens_are_asked_for_and_bound() {
    let server = start().await;
    let uri = format!("{ACCOUNTS}/default/token");
    let ask = async |spec: Value| server.post(&uri, &json!({"spec": spec})).await;
    let plain = ask(json!({})).await;
    assert_eq!((plain.code, &plain.json()["spec"]["expirationSeconds"]), (201, &json!(3600)));
    assert!(plain.json()["status"]["token"].as_str().unwrap().split('.').count() == 3);
    for (seconds, why) in [
        (599, "may not specify a duration less than 10 minutes"),
        ((1_i64 << 32) + 1, "may not specify a duration larger than 2^32 seconds"),
    ] {
        let refused = ask(json!({"expirationSeconds": seconds})).await;
        assert_eq!(refused.code, 422);
        assert!(refused.message().contains(why), "{}", refused.message());
    }
    let bound = pod(&server, "p", json!({})).await;
    let reference = |kind: &str, name: &str, uid: &Value| json!({"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name, "uid": uid}});
    let uid = &bound["metadata"]["uid"];
    assert_eq!(ask(reference("Pod", "p", uid)).await.code, 201);
    assert_eq!(ask(reference("Pod", "none", uid)).await.code, 404);
    assert_eq!(ask(reference("Pod", "p", &json!("other"))).await.code, 409);
    let odd = ask(reference("ConfigMap", "m", &Value::Null)).await;
    assert_eq!(
        (odd.code, odd.message().as_str()),
        (400, "cannot bind token to object of type v1, Kind=ConfigMap")
    );
    server.post(ACCOUNTS, &json!({"metadata": {"name": "other"}})).await;
    let foreign =
        server.post(&format!("{ACCOUNTS}/other/token"), &json!({"spec": reference("Pod", "p", uid)})).await;
    assert_eq!(foreign.code, 400);
    let stale = server.post(&uri, &json!({"metadata": {"uid": "x"}, "spec": {}})).await;
    assert_eq!(stale.code, 409);
    let account = server.get(&format!("{ACCOUNTS}/default")).await.json();
    let own = account["metadata"]["uid"].as_str().unwrap();
    assert_eq!(
        stale.message(),
        format!(
            "Operation cannot be fulfilled on TokenRequest.authentication.k8s.io \"default\": the UID in the token request (x) does not match the UID of the service account ({own})"
        )
    );
    // H47: what a kubelet asks for lives a year and says an hour.
    let mut spec = reference("Pod", "p", uid);
    spec["expirationSeconds"] = json!(3607);
    let extended = ask(spec).await.json();
    let claims = extended["status"]["token"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
    let claims: Value = serde_json::from_slice(
        &base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap(),
    )
    .unwrap();
    let (issued, expires) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    assert_eq!(expires - issued, 365 * 24 * 3600);
    assert_eq!(claims["kubernetes.io"]["warnafter"], json!(issued + 3607));
    let until: jiff::Timestamp = extended["status"]["expirationTimestamp"].as_str().unwrap().parse().unwrap();
    assert_eq!(until.as_second(), issued + 3607);
    server.stop().await;
}
