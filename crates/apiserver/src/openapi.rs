//! OpenAPI v2 and v3 over HTTP: the index, the documents, and how clients keep them (A21-A27).
//!
//! Documents are made when asked for and not kept: they are large, and clients cache them by hash.

use http::header::{CACHE_CONTROL, ETAG, EXPIRES, HeaderValue, IF_NONE_MATCH, LOCATION, VARY};
use http::{HeaderMap, Response};
use outrigger_schema::openapi;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use crate::negotiate::{Endpoint, Protobuf, negotiate};
use crate::request::Query;
use crate::respond::{self, Body, Layout};
use crate::server::{Api, VERSION};

/// A25.
pub(crate) fn index(api: &Api) -> Response<Body> {
    let table = api.registry.snapshot();
    let mut paths = Map::new();
    let mut add = |key: String, hash: &str| {
        let url = format!("/openapi/v3/{key}?hash={hash}");
        paths.insert(key, json!({ "serverRelativeURL": url }));
    };
    for (key, path) in openapi::PLAIN_KEYS {
        add((*key).to_owned(), &plain_hash(path));
    }
    for group in table.groups() {
        let custom = group.versions.iter().flat_map(|version| &version.kinds).all(|kind| kind.custom);
        if !group.name.is_empty() && !custom {
            add(format!("apis/{}", group.name), &plain_hash(&group_path(&group.name)));
        }
        for version in &group.versions {
            add(openapi::key(&group.name, &version.name), &openapi::hash(&group.name, version));
        }
    }
    respond::text(200, json!({ "paths": paths }).to_string())
}

fn group_path(group: &str) -> String {
    format!("/apis/{group}/")
}

fn plain_hash(path: &str) -> String {
    hex::encode_upper(Sha512::digest(openapi::plain_document(path, VERSION).to_string()))
}

/// A26, A27.
pub(crate) fn document(api: &Api, headers: &HeaderMap, query: &Query, key: &[&str]) -> Response<Body> {
    let Some((hash, document)) = find(api, key) else { return empty(404) };
    if !takes_json(headers, query) {
        return empty(406);
    }
    let asked = query.get("hash");
    if !asked.is_empty() && asked != hash {
        let mut response = empty(301);
        if let Ok(url) = HeaderValue::from_str(&format!("/openapi/v3/{}?hash={hash}", key.join("/"))) {
            response.headers_mut().insert(LOCATION, url);
        }
        return response;
    }
    let mut response = tagged(headers, &hash, document);
    if asked == hash {
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        let year = api.now().checked_add(jiff::SignedDuration::from_hours(365 * 24)).unwrap_or(api.now());
        let expires = year.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        if let Ok(expires) = HeaderValue::from_str(&expires) {
            headers.insert(EXPIRES, expires);
        }
    }
    response
}

/// The hash of a document, and how to make it.
fn find(api: &Api, key: &[&str]) -> Option<(String, Box<dyn FnOnce() -> Value>)> {
    let table = api.registry.snapshot();
    let (group, version) = match key {
        ["api", version] => ("", *version),
        ["apis", group, version] => (*group, *version),
        _ => {
            let joined = key.join("/");
            let plain = openapi::PLAIN_KEYS.iter().find(|(key, _)| *key == joined);
            let of_group = || match key {
                ["apis", group] => table.group(group).map(|group| group_path(&group.name)),
                _ => None,
            };
            let path = plain.map(|(_, path)| (*path).to_owned()).or_else(of_group)?;
            let hash = plain_hash(&path);
            return Some((hash, Box::new(move || openapi::plain_document(&path, VERSION))));
        }
    };
    let version = table.group(group)?.version(version)?.clone();
    let (hash, group) = (openapi::hash(group, &version), group.to_owned());
    Some((hash, Box::new(move || openapi::document(&group, &version, VERSION))))
}

/// A21-A23: JSON only; who insists on protobuf or YAML is refused rather than misled.
pub(crate) fn older(api: &Api, headers: &HeaderMap, query: &Query) -> Response<Body> {
    if !takes_json(headers, query) {
        return empty(406);
    }
    let table = api.registry.snapshot();
    tagged(headers, &openapi::hash_v2(&table), move || openapi::document_v2(&table, VERSION))
}

/// The document with its tag, or word that the client has it already.
fn tagged(headers: &HeaderMap, hash: &str, document: impl FnOnce() -> Value) -> Response<Body> {
    let tag = HeaderValue::from_str(&format!("\"{hash}\"")).expect("hexadecimal digits");
    let mut response = if headers.get(IF_NONE_MATCH) == Some(&tag) {
        empty(304)
    } else {
        respond::response(200, "application/json", respond::full(document().to_string()))
    };
    response.headers_mut().insert(ETAG, tag);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn takes_json(headers: &HeaderMap, query: &Query) -> bool {
    let accepted = negotiate(headers, query, Endpoint::PlainOnly, Protobuf::None);
    accepted.is_ok_and(|accepted| !matches!(accepted.layout, Layout::Yaml | Layout::Protobuf))
}

fn empty(code: u16) -> Response<Body> {
    respond::response(code, "text/plain; charset=utf-8", respond::full(""))
}
