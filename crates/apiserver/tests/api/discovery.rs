//! Everything that is about no object (section A).

use std::io::Read as _;

use serde_json::{Value, json};

use crate::server::{Answer, Server};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const ANONYMOUS: &[(&str, &str)] =
    &[("impersonate-user", "system:anonymous"), ("impersonate-group", "system:unauthenticated")];
const SOMEBODY: &[(&str, &str)] =
    &[("impersonate-user", "somebody"), ("impersonate-group", "system:authenticated")];
const MONITOR: &[(&str, &str)] = &[("impersonate-user", "m"), ("impersonate-group", "system:monitoring")];

/// A1, A3, A4, A44
#[tokio::test]
async fn the_plain_documents() {
    let server = Server::start().await;
    let api = server.get("/api").await.json();
    assert_eq!((&api["kind"], &api["versions"]), (&json!("APIVersions"), &json!(["v1"])));
    let address = &api["serverAddressByClientCIDRs"][0];
    assert_eq!(address["clientCIDR"], "0.0.0.0/0");
    assert!(address["serverAddress"].as_str().unwrap().contains(':'));
    let groups = server.get("/apis").await.json();
    assert_eq!((&groups["kind"], &groups["apiVersion"]), (&json!("APIGroupList"), &json!("v1")));
    assert!(groups["groups"].as_array().unwrap().iter().all(|group| group.get("kind").is_none()));
    let apps = server.get("/apis/apps").await.json();
    let version = json!({"groupVersion": "apps/v1", "version": "v1"});
    assert_eq!(
        apps,
        json!({"kind": "APIGroup", "apiVersion": "v1", "name": "apps", "versions": [version], "preferredVersion": version})
    );
    let list = server.get("/apis/apps/v1").await.json();
    assert_eq!((&list["kind"], &list["groupVersion"]), (&json!("APIResourceList"), &json!("apps/v1")));
    for path in ["/apis/nope.example.org", "/nope", "/livez/nope"] {
        let answer = server.get(path).await;
        assert_eq!((answer.code, answer.content_type()), (404, "text/plain; charset=utf-8"), "{path}");
        assert_eq!(answer.text().trim_end(), "404 page not found");
    }
    for path in ["/apis/apps/v7", "/api/v1/nopes"] {
        let answer = server.get(path).await;
        assert_eq!(
            (answer.code, answer.message().as_str()),
            (404, "the server could not find the requested resource")
        );
        assert_eq!(answer.json()["details"], json!({}), "{path}");
    }
    server.stop().await;
}

/// A11, A13, A14, A16: the whole table in two requests, for who asks so.
#[tokio::test]
async fn the_aggregated_document() {
    let server = Server::start().await;
    let accept = format!("{AGGREGATED},application/json");
    let core = server.get_with("/api", &[("accept", &accept)]).await;
    assert_eq!(core.content_type(), AGGREGATED);
    assert_eq!((core.header("vary"), core.header("cache-control")), ("Accept", "public"));
    let tag = core.header("etag").to_owned();
    assert!(
        tag.len() == 130 && tag[1..129].bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)),
        "{tag}"
    );
    let body = core.json();
    assert_eq!(
        (&body["kind"], &body["apiVersion"], &body["metadata"]),
        (&json!("APIGroupDiscoveryList"), &json!("apidiscovery.k8s.io/v2"), &json!({}))
    );
    let versions = &body["items"][0]["versions"];
    assert_eq!((&body["items"][0]["metadata"], &versions[0]["version"]), (&json!({}), &json!("v1")));
    assert_eq!(versions[0]["freshness"], "Current");
    let pods = find(&versions[0]["resources"], "resource", "pods");
    assert_eq!(pods["responseKind"], json!({"group": "", "version": "", "kind": "Pod"}));
    assert_eq!(
        (&pods["scope"], &pods["singularResource"], &pods["shortNames"]),
        (&json!("Namespaced"), &json!("pod"), &json!(["po"]))
    );
    let eviction = find(&pods["subresources"], "subresource", "eviction");
    assert_eq!(eviction["responseKind"], json!({"group": "policy", "version": "v1", "kind": "Eviction"}));
    let groups = server.get_with("/apis", &[("accept", &accept)]).await.json();
    let deployments =
        groups["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == "apps").unwrap();
    let deployments = find(&deployments["versions"][0]["resources"], "resource", "deployments");
    let scale = find(&deployments["subresources"], "subresource", "scale");
    assert_eq!(scale["responseKind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    let same = server.get_with("/api", &[("accept", &accept), ("if-none-match", &tag)]).await;
    assert_eq!((same.code, same.body.len()), (304, 0));
    server.stop().await;
}

fn find<'a>(list: &'a Value, key: &str, value: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|item| item[key] == value).unwrap_or_else(|| panic!("no {value}"))
}

/// A9, A20, A42, A43: who may read what.
#[tokio::test]
async fn who_may_read_what() {
    let server = Server::start().await;
    for (path, anonymous, somebody, monitor) in [
        ("/version", 200, 200, 200),
        ("/healthz", 200, 200, 200),
        ("/livez", 200, 200, 200),
        ("/readyz", 200, 200, 200),
        ("/api", 403, 200, 200),
        ("/apis", 403, 200, 200),
        ("/apis/apps/v1", 403, 200, 200),
        ("/openapi/v2", 403, 200, 200),
        ("/openapi/v3", 403, 200, 200),
        ("/livez/ping", 403, 403, 200),
        ("/readyz/etcd", 403, 403, 200),
        ("/metrics", 403, 403, 200),
    ] {
        for (who, code) in [(ANONYMOUS, anonymous), (SOMEBODY, somebody), (MONITOR, monitor)] {
            assert_eq!(server.get_with(path, who).await.code, code, "{path} for {}", who[0].1);
        }
    }
    let refused = server.get_with("/metrics", SOMEBODY).await;
    assert_eq!(refused.message(), "forbidden: User \"somebody\" cannot get path \"/metrics\"");
    server.stop().await;
}

/// A19
#[tokio::test]
async fn the_version_is_a_release_of_1_36() {
    let server = Server::start().await;
    for path in ["/version", "/version/"] {
        let answer = server.get(path).await;
        assert!(answer.text().starts_with("{\n"), "indented");
        let version = answer.json();
        let git = version["gitVersion"].as_str().unwrap();
        assert!(git.starts_with("v1.36.") && !git.contains('-') && git.contains('+'), "{git}");
        let members = version.as_object().unwrap();
        assert!(members.values().all(Value::is_string));
        for name in
            ["major", "minor", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"]
        {
            assert!(members.contains_key(name), "{name}");
        }
    }
    server.stop().await;
}

/// A37, A38, A40, A41
#[tokio::test]
async fn health_is_told_check_by_check() {
    let server = Server::start().await;
    for endpoint in ["livez", "readyz", "healthz"] {
        let answer = server.get(&format!("/{endpoint}")).await;
        assert_eq!((answer.code, answer.text()), (200, "ok"));
        assert_eq!(answer.content_type(), "text/plain; charset=utf-8");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let verbose = server.get(&format!("/{endpoint}?verbose")).await;
        assert!(verbose.text().starts_with("[+]ping ok\n[+]log ok\n[+]etcd ok\n"), "{}", verbose.text());
        assert!(verbose.text().ends_with(&format!("\n{endpoint} check passed\n")));
        let excluded = server.get(&format!("/{endpoint}?verbose&exclude=etcd&exclude=nope")).await;
        assert!(excluded.text().contains("[+]etcd excluded: ok\n"));
        let warning = "warn: some health checks cannot be excluded: no matches for \"nope\"\n";
        assert!(excluded.code == 200 && excluded.text().contains(warning));
        assert_eq!(server.get(&format!("/{endpoint}/ping")).await.text(), "ok");
    }
    for check in ["shutdown", "etcd-readiness", "informer-sync", "poststarthook/bootstrap"] {
        assert_eq!(server.get(&format!("/readyz/{check}")).await.code, 200, "{check}");
    }
    assert_eq!(server.get("/livez/shutdown").await.code, 404);
    server.stop().await;
}

/// A39, A41, E37: from the start of shutdown a server is not ready, and says which check fails.
#[tokio::test]
async fn a_server_that_is_shutting_down_is_not_ready() {
    let server = Server::start().await;
    server.shut_down().await;
    let answer = server.get("/readyz").await;
    assert_eq!(answer.code, 500);
    assert!(answer.text().contains("[-]shutdown failed: reason withheld\n"), "{}", answer.text());
    assert!(answer.text().ends_with("readyz check failed\n"));
    assert_eq!(server.get("/livez").await.code, 200);
    let watch = server.get("/api/v1/pods?watch=1").await;
    assert_eq!((watch.code, watch.header("retry-after")), (503, "1"));
    server.stop().await;
}

/// A43
#[tokio::test]
async fn the_index_lists_what_there_is() {
    let server = Server::start().await;
    let index = server.get("/").await;
    assert!(index.text().starts_with("{\n"), "indented");
    let paths = index.json();
    for path in ["/api/v1", "/apis/apps/v1", "/metrics", "/openapi/v2", "/openapi/v3", "/version"] {
        assert!(paths["paths"].as_array().unwrap().contains(&json!(path)), "{path}");
    }
    server.stop().await;
}

/// A43: requests are counted under upstream's names.
#[tokio::test]
async fn requests_are_counted() {
    let server = Server::start().await;
    server.get("/api/v1/namespaces/default/configmaps").await;
    server.get("/api/v1/namespaces/default/configmaps/none").await;
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.content_type(), "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "apiserver_request_total{component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"configmaps\",scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\",code=\"200\"} 1",
        "apiserver_request_total{component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"configmaps\",scope=\"resource\",subresource=\"\",verb=\"GET\",version=\"v1\",code=\"404\"} 1",
        "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1",
    ] {
        assert!(metrics.text().contains(line), "{line}\n{}", metrics.text());
    }
    assert!(metrics.text().contains("apiserver_request_duration_seconds_bucket{"));
    assert!(metrics.text().contains("kubernetes_build_info{"));
    server.stop().await;
}

/// A21, A22, A23: JSON, or nothing that could be mistaken for what was asked.
#[tokio::test]
async fn the_older_openapi_document() {
    let server = Server::start().await;
    let answer = server.get("/openapi/v2").await;
    assert_eq!((answer.code, answer.content_type()), (200, "application/json"));
    assert_eq!(answer.json()["swagger"], "2.0");
    let tag = answer.header("etag").to_owned();
    let same = server.get_with("/openapi/v2", &[("if-none-match", &tag), ("accept", "*/*")]).await;
    assert_eq!((same.code, same.body.len()), (304, 0));
    for accept in ["application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "application/yaml"] {
        let refused = server.get_with("/openapi/v2", &[("accept", accept)]).await;
        assert_eq!((refused.code, refused.body.len()), (406, 0), "{accept}");
    }
    let packed = server.get_with("/openapi/v2", &[("accept-encoding", "gzip")]).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert_eq!(unpacked(&packed), answer.body);
    server.stop().await;
}

fn unpacked(answer: &Answer) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut plain).unwrap();
    plain
}

/// A25, A26, A27, A34
#[tokio::test]
async fn openapi_documents_are_kept_by_hash() {
    let server = Server::start().await;
    let index = server.get_with("/openapi/v3", &[("accept", "application/json")]).await;
    assert_eq!((index.content_type(), index.header("etag")), ("text/plain; charset=utf-8", ""));
    let index = index.json();
    for key in [
        "api",
        "api/v1",
        "apis",
        "apis/apps",
        "apis/apps/v1",
        "version",
        ".well-known/openid-configuration",
        "openid/v1/jwks",
    ] {
        let url = index["paths"][key]["serverRelativeURL"].as_str().unwrap_or_else(|| panic!("{key}"));
        let (path, hash) = url.split_once("?hash=").unwrap();
        assert_eq!((path, hash.len()), (format!("/openapi/v3/{key}").as_str(), 128));
        let answer = server.get(url).await;
        assert_eq!((answer.code, answer.header("cache-control")), (200, "public, immutable"), "{key}");
        assert_eq!(
            (answer.header("etag"), answer.header("vary")),
            (format!("\"{hash}\"").as_str(), "Accept")
        );
        assert!(answer.header("expires").ends_with("GMT"));
        let document = answer.json();
        assert_eq!(
            (&document["openapi"], &document["info"]["title"]),
            (&json!("3.0.0"), &json!("Kubernetes"))
        );
        let moved = server.get(&format!("{path}?hash=00")).await;
        assert_eq!((moved.code, moved.header("location"), moved.body.len()), (301, url, 0));
        let plain = server.get(path).await;
        assert_eq!((plain.code, plain.header("cache-control")), (200, "no-cache, private"));
        let same = server.get_with(path, &[("if-none-match", answer.header("etag"))]).await;
        assert_eq!((same.code, same.body.len()), (304, 0));
    }
    for (path, accept, code) in [
        ("/openapi/v3/apis/nope/v1", "*/*", 404),
        ("/openapi/v3/nope", "*/*", 404),
        ("/openapi/v3/api/v1", "text/html", 406),
    ] {
        let answer = server.get_with(path, &[("accept", accept)]).await;
        assert_eq!((answer.code, answer.body.len()), (code, 0), "{path}");
    }
    let core = server.get("/openapi/v3/api/v1").await.json();
    let item = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["parameters"];
    let names: Vec<&str> =
        item.as_array().unwrap().iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["name", "namespace", "pretty"]);
    server.stop().await;
}

/// B13: what is small, or streams, stays as it is.
#[tokio::test]
async fn only_large_answers_are_compressed() {
    let server = Server::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let gzip = &[("accept-encoding", "deflate, gzip;q=0.5")][..];
    let small = server.get_with(maps, gzip).await;
    assert_eq!(small.header("content-encoding"), "");
    let body = json!({"metadata": {"name": "m"}, "data": {"a": "x".repeat(200_000)}});
    assert_eq!(server.send("POST", maps, ("application/json", "x"), &body).await.code, 201);
    let plain = server.get(maps).await;
    let large = server.get_with(maps, gzip).await;
    assert_eq!((large.header("content-encoding"), large.header("vary")), ("gzip", "Accept-Encoding"));
    assert_eq!(unpacked(&large), plain.body);
    let watch = server.get_with(&format!("{maps}?watch=1&timeoutSeconds=1"), gzip).await;
    assert_eq!((watch.code, watch.header("content-encoding")), (200, ""));
    let refused = server.get_with(maps, &[("accept-encoding", "gzip;q=0")]).await;
    assert_eq!(refused.header("content-encoding"), "");
    server.stop().await;
}
