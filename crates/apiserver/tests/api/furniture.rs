//! What every cluster has, and how Services get their addresses (section L).

use serde_json::{Value, json};

use crate::server::Server;

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, spec: Value) -> Value {
    let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    for (key, value) in spec.as_object().unwrap() {
        service["spec"][key] = value.clone();
    }
    service
}

/// L1, L2, K23: namespaces, and the API server as a Service of its own.
#[tokio::test]
async fn a_new_cluster_is_furnished() {
    let server = Server::start().await;
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let found = server.get(&format!("/api/v1/namespaces/{name}")).await.json();
        assert_eq!(found["metadata"]["labels"]["kubernetes.io/metadata.name"], name);
        assert_eq!(
            (&found["status"]["phase"], &found["spec"]["finalizers"]),
            (&json!("Active"), &json!(["kubernetes"]))
        );
    }
    let own = server.get(&format!("{SERVICES}/kubernetes")).await.json();
    let port = server.front().0.port();
    assert_eq!(own["metadata"]["labels"], json!({"component": "apiserver", "provider": "kubernetes"}));
    assert_eq!((&own["spec"]["clusterIP"], &own["spec"]["type"]), (&json!("10.0.0.1"), &json!("ClusterIP")));
    assert_eq!(
        own["spec"]["ports"],
        json!([{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}])
    );
    assert_eq!(own["spec"]["selector"], Value::Null);
    let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    let slice = server.get(slice).await.json();
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "kubernetes");
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["127.0.0.1"]));
    let endpoints = server.get("/api/v1/namespaces/default/endpoints/kubernetes").await;
    assert_eq!(endpoints.json()["subsets"][0]["ports"][0]["port"], port);
    server.stop().await;
}

/// K4, K22: an old kind warns whoever reads it or writes it; a ServiceAccount brings no Secret.
#[tokio::test]
async fn old_habits() {
    let server = Server::start().await;
    let made = server.post("/api/v1/namespaces/default/endpoints", &json!({"metadata": {"name": "e"}})).await;
    let warning = "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\"";
    assert_eq!((made.code, made.header("warning")), (201, warning));
    for uri in ["/api/v1/namespaces/default/endpoints", "/api/v1/namespaces/default/endpoints/e"] {
        assert_eq!(server.get(uri).await.header("warning"), warning);
    }
    let account = json!({"metadata": {"name": "a"}, "automountServiceAccountToken": false});
    let made = server.post("/api/v1/namespaces/default/serviceaccounts", &account).await.json();
    assert_eq!((&made["secrets"], &made["automountServiceAccountToken"]), (&Value::Null, &json!(false)));
    assert_eq!(server.get("/api/v1/namespaces/default/secrets").await.json()["items"], json!([]));
    server.stop().await;
}

/// L4, L5, L7: addresses come from the upper band, unless one is asked for.
#[tokio::test]
async fn addresses_of_services() {
    let server = Server::start().await;
    let made = server.post(SERVICES, &service("a", json!({}))).await.json();
    // The range is 10.0.0.0/24, and its lower sixteen are for who asks.
    assert_eq!(made["spec"]["clusterIP"], "10.0.0.16");
    assert_eq!(made["spec"]["clusterIPs"], json!(["10.0.0.16"]));
    let asked = server.post(SERVICES, &service("b", json!({"clusterIP": "10.0.0.5"}))).await;
    assert_eq!(asked.json()["spec"]["clusterIP"], "10.0.0.5");
    for (address, why) in [
        ("10.0.0.5", "provided IP is already allocated"),
        ("10.0.1.5", "the provided network does not match the current range"),
        ("10.0.0.0", "the provided network does not match the current range"),
        ("10.0.0.255", "the provided network does not match the current range"),
    ] {
        let refused = server.post(SERVICES, &service("c", json!({"clusterIP": address}))).await;
        let text = format!(
            "Service \"c\" is invalid: spec.clusterIPs: Invalid value: [\"{address}\"]: failed to allocate IP {address}: {why}"
        );
        assert_eq!((refused.code, refused.message()), (422, text));
    }
    // A Service that goes leaves its address to the next.
    server.delete(&format!("{SERVICES}/b"), &json!({})).await;
    let again = server.post(SERVICES, &service("c", json!({"clusterIP": "10.0.0.5"}))).await;
    assert_eq!(again.code, 201);
    server.stop().await;
}

/// L5, L6: ports of nodes.
#[tokio::test]
async fn ports_of_nodes() {
    let server = Server::start().await;
    let with = |name: &str, ports: Value| service(name, json!({"type": "NodePort", "ports": ports}));
    let made = server.post(SERVICES, &with("a", json!([{"port": 80}]))).await.json();
    let given = made["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    // The lower 86 are for who asks.
    assert!((30_086..=32_767).contains(&given), "{given}");
    let both = json!([{"name": "t", "port": 53, "nodePort": 30053}, {"name": "u", "port": 53, "protocol": "UDP", "nodePort": 30053}]);
    assert_eq!(server.post(SERVICES, &with("b", both)).await.code, 201);
    for (port, why) in [
        (30_053, "provided port is already allocated"),
        (80, "provided port is not in the valid range. The range of valid ports is 30000-32767"),
    ] {
        let refused = server.post(SERVICES, &with("c", json!([{"port": 80, "nodePort": port}]))).await;
        let text = format!("Service \"c\" is invalid: spec.ports[0].nodePort: Invalid value: {port}: {why}");
        assert_eq!((refused.code, refused.message()), (422, text));
    }
    server.stop().await;
}

/// L8: a dry run takes nothing, and shows that it has not.
#[tokio::test]
async fn dry_runs_take_no_addresses() {
    let server = Server::start().await;
    let body = service("a", json!({"type": "NodePort"}));
    let dry = server.post(&format!("{SERVICES}?dryRun=All"), &body).await.json();
    assert_eq!(dry["spec"]["clusterIP"], "10.0.0.0");
    assert_eq!(dry["spec"]["ports"][0]["nodePort"], 32_768);
    let asked = service("a", json!({"clusterIP": "10.0.0.9"}));
    assert_eq!(
        server.post(&format!("{SERVICES}?dryRun=All"), &asked).await.json()["spec"]["clusterIP"],
        "10.0.0.9"
    );
    assert_eq!(server.post(SERVICES, &asked).await.code, 201);
    let taken = service("b", json!({"clusterIP": "10.0.0.9"}));
    assert_eq!(server.post(&format!("{SERVICES}?dryRun=All"), &taken).await.code, 422);
    server.stop().await;
}
