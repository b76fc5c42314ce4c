//! Health, version, discovery, OpenAPI and the index: everything that is about no object (section A).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{Method, Request, Response};
use outrigger_api::StatusError;
use serde_json::{Value, json};

use crate::auth::{Attributes, ISSUER, Identity, authorize};
use crate::request::{Query, method_not_allowed};
use crate::respond::{self, Body, Layout};
use crate::server::{Api, VERSION};
use crate::{discovery, metrics, openapi};

/// Answers a request about no object.
pub(crate) async fn answer(
    api: &Arc<Api>,
    identity: &Identity,
    request: Request<Body>,
    query: &Query,
) -> Result<Response<Body>, StatusError> {
    let path = request.uri().path().to_owned();
    if !is_public(&path) {
        authorize(api, identity, &attributes(&request)).await?;
    }
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let mirrors_get = matches!(segments.first(), None | Some(&("livez" | "readyz" | "healthz" | "openapi")));
    match *request.method() {
        Method::GET => {}
        Method::HEAD if mirrors_get => {}
        _ => return Err(method_not_allowed()),
    }
    let headers = request.headers();
    let table = api.registry.snapshot();
    match segments.as_slice() {
        [] => Ok(respond::value(200, Layout::Indented, &json!({ "paths": index(api) }))),
        [endpoint @ ("livez" | "readyz" | "healthz"), rest @ ..] => {
            Ok(health(api, endpoint, &rest.join("/"), query).await)
        }
        ["version"] => Ok(respond::value(200, Layout::Indented, &version())),
        ["api"] => discovery::root(&table, true, &api.address().to_string(), headers, query),
        ["apis"] => discovery::root(&table, false, &api.address().to_string(), headers, query),
        ["api", version] => found(table.group("").and_then(|group| group.version(version)))
            .and_then(|version| discovery::version("", version, headers, query)),
        ["apis", group] => match table.group(group).filter(|group| !group.name.is_empty()) {
            Some(group) => discovery::group(group, headers, query),
            None => Ok(respond::page_not_found()),
        },
        ["apis", group, version] => found(table.group(group).and_then(|group| group.version(version)))
            .and_then(|version| discovery::version(group, version, headers, query)),
        ["metrics"] => Ok(respond::response(200, metrics::CONTENT_TYPE, respond::full(api.metrics.page()))),
        ["openapi", "v3"] => Ok(openapi::index(api)),
        ["openapi", "v3", key @ ..] => Ok(openapi::document(api, headers, query, key)),
        ["openapi", "v2"] => Ok(openapi::older(api, headers, query)),
        [".well-known", "openid-configuration"] => {
            Ok(kept_an_hour(respond::value(200, Layout::Compact, &openid())))
        }
        ["openid", "v1", "jwks"] => jwks(api, headers),
        _ => Ok(respond::page_not_found()),
    }
}

/// I17: the method in lower case, and the path.
pub(crate) fn attributes(request: &Request<Body>) -> Attributes {
    let verb = request.method().as_str().to_ascii_lowercase();
    Attributes { verb, path: Some(request.uri().path().to_owned()), ..Attributes::default() }
}

/// A20, A42: readable by anybody.
fn is_public(path: &str) -> bool {
    matches!(path.trim_end_matches('/'), "/healthz" | "/livez" | "/readyz" | "/version")
}

fn found<T>(entry: Option<T>) -> Result<T, StatusError> {
    entry.ok_or_else(|| {
        let message = "the server could not find the requested resource";
        let mut error = StatusError::new(404, outrigger_api::status::Reason::NotFound, message);
        error.details = Some(outrigger_api::status::Details::default());
        error
    })
}

/// A43.
fn index(api: &Api) -> Vec<String> {
    let table = api.registry.snapshot();
    let mut paths = vec![
        "/.well-known/openid-configuration".to_owned(),
        "/api".to_owned(),
        "/api/v1".to_owned(),
        "/apis".to_owned(),
    ];
    for group in table.groups().iter().filter(|group| !group.name.is_empty()) {
        paths.push(format!("/apis/{}", group.name));
        paths.extend(group.versions.iter().map(|version| format!("/apis/{}/{}", group.name, version.name)));
    }
    paths.extend(
        [
            "/healthz",
            "/livez",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned),
    );
    paths
}

/// A19. `gitVersion` carries our own version as build metadata, which semver ignores.
fn version() -> Value {
    let commit = "0".repeat(40);
    json!({
        "major": "1", "minor": "36", "gitVersion": VERSION, "gitCommit": commit, "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    })
}

fn openid() -> Value {
    json!({
        "issuer": ISSUER, "jwks_uri": format!("{ISSUER}/openid/v1/jwks"),
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

/// I14.
fn jwks(api: &Api, headers: &http::HeaderMap) -> Result<Response<Body>, StatusError> {
    const TYPE: &str = "application/jwk-set+json";
    let accept = headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    let mut ranges = accept.split(',').filter_map(|range| range.split(';').next()).map(str::trim);
    if !ranges.any(|range| matches!(range, TYPE | "application/*" | "*/*" | "")) {
        let text = format!("only the following media types are accepted: {TYPE}");
        return Err(StatusError::new(406, outrigger_api::status::Reason::NotAcceptable, text));
    }
    Ok(kept_an_hour(respond::response(200, TYPE, respond::full(api.signer.jwks().to_string()))))
}

/// I14: others may keep what tokens are checked with.
fn kept_an_hour(mut response: Response<Body>) -> Response<Body> {
    let value = http::HeaderValue::from_static("public, max-age=3600");
    response.headers_mut().insert(http::header::CACHE_CONTROL, value);
    response
}

/// A37-A41.
async fn health(api: &Api, endpoint: &str, only: &str, query: &Query) -> Response<Body> {
    let mut checks = vec![("ping", true), ("log", true), ("etcd", api.storage.revision().await.is_ok())];
    if endpoint == "readyz" {
        checks.push(("etcd-readiness", checks[2].1));
        // Nothing is served from caches that would have to fill first.
        checks.push(("informer-sync", true));
        checks.push(("poststarthook/bootstrap", api.ready.load(Ordering::Acquire)));
        checks.push(("shutdown", !api.shutdown.is_cancelled()));
    }
    if !only.is_empty() {
        checks.retain(|(name, _)| *name == only);
        if checks.is_empty() {
            return respond::page_not_found();
        }
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    let failed = checks.iter().any(|(name, good)| !good && !excluded.contains(name));
    if !failed && !query.flag("verbose") {
        return respond::text(200, "ok");
    }
    let mut text = String::new();
    for (name, good) in &checks {
        text.push_str(&match (excluded.contains(name), good) {
            (true, _) => format!("[+]{name} excluded: ok\n"),
            (false, true) => format!("[+]{name} ok\n"),
            (false, false) => format!("[-]{name} failed: reason withheld\n"),
        });
    }
    for name in excluded.iter().filter(|name| !checks.iter().any(|(check, _)| check == *name)) {
        text.push_str(&format!("warn: some health checks cannot be excluded: no matches for \"{name}\"\n"));
    }
    let verdict = if failed { "failed" } else { "passed" };
    text.push_str(&format!("{endpoint} check {verdict}\n"));
    respond::text(if failed { 500 } else { 200 }, text)
}
