//! What the server serves, told to clients: legacy and aggregated discovery (A1-A18).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response};
use outrigger_api::kind::Subresource;
use outrigger_api::registry::{Group, Snapshot, Version};
use outrigger_api::{KindInfo, StatusError};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

use crate::negotiate::{Endpoint, Protobuf, accept_clauses, negotiate};
use crate::request::Query;
use crate::respond::{self, Body, Layout};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// `/api` or `/apis`, aggregated if the client prefers that (A10-A13).
pub(crate) fn root(
    table: &Snapshot,
    core: bool,
    address: &str,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Response<Body>, StatusError> {
    if wants_aggregated(headers) {
        return Ok(aggregated(table, core, headers));
    }
    let layout = layout(headers, query)?;
    let body = if core {
        json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": address }],
        })
    } else {
        let groups = table.groups().iter().filter(|group| !group.name.is_empty()).map(group_body);
        json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups.collect::<Vec<_>>() })
    };
    Ok(respond::value(200, layout, &body))
}

/// `/apis/<group>` (A3).
pub(crate) fn group(
    group: &Group,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Response<Body>, StatusError> {
    let mut body = group_body(group);
    body["kind"] = json!("APIGroup");
    body["apiVersion"] = json!("v1");
    Ok(respond::value(200, layout(headers, query)?, &body))
}

/// `/api/v1`, `/apis/<group>/<version>` (A4-A7).
pub(crate) fn version(
    group: &str,
    version: &Version,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Response<Body>, StatusError> {
    let group_version =
        if group.is_empty() { version.name.clone() } else { format!("{group}/{}", version.name) };
    let resources: Vec<Value> = version.kinds.iter().flat_map(|kind| resource_entries(kind)).collect();
    let body = json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
    });
    Ok(respond::value(200, layout(headers, query)?, &body))
}

fn layout(headers: &HeaderMap, query: &Query) -> Result<Layout, StatusError> {
    Ok(negotiate(headers, query, Endpoint::PlainOnly, Protobuf::None)?.layout)
}

fn group_body(group: &Group) -> Value {
    let entry = |version: &Version| json!({ "groupVersion": format!("{}/{}", group.name, version.name), "version": version.name });
    json!({
        "name": group.name,
        "versions": group.versions.iter().map(entry).collect::<Vec<_>>(),
        "preferredVersion": group.versions.first().map(entry),
    })
}

/// A kind and its subresources, one entry each (A5).
fn resource_entries(kind: &KindInfo) -> Vec<Value> {
    let mut own = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
        "verbs": kind.verbs.words(),
    });
    if !kind.short_names.is_empty() {
        own["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        own["categories"] = json!(kind.categories);
    }
    if kind.is_stored() {
        own["storageVersionHash"] = json!(storage_version_hash(kind));
    }
    let mut entries = vec![own];
    for sub in kind.subresources.iter() {
        let mut entry = json!({
            "name": format!("{}/{}", kind.plural, sub.name), "singularName": "", "namespaced": kind.namespaced,
            "kind": sub.kind, "verbs": sub.verbs,
        });
        if let Some((group, version)) = &sub.foreign {
            entry["group"] = json!(group);
            entry["version"] = json!(version);
        }
        entries.push(entry);
    }
    entries
}

/// A7.
fn storage_version_hash(kind: &KindInfo) -> String {
    let (group, version) = kind.storage_version();
    let digest = Sha256::digest(format!("{group}/{version}/{}", kind.kind));
    STANDARD.encode(&digest[..8])
}

/// A10-A12.
fn wants_aggregated(headers: &HeaderMap) -> bool {
    let header =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
    let first = accept_clauses(&header).into_iter().find(|clause| {
        let aggregated =
            clause.conversion == "APIGroupDiscoveryList" && clause.group == "apidiscovery.k8s.io";
        match clause.media_type {
            "application/json" | "*/*" if clause.conversion.is_empty() => true,
            "application/json" => aggregated && clause.version == "v2",
            _ => false,
        }
    });
    first.is_some_and(|clause| !clause.conversion.is_empty())
}

/// A13, A16.
fn aggregated(table: &Snapshot, core: bool, headers: &HeaderMap) -> Response<Body> {
    let items: Vec<Value> =
        table.groups().iter().filter(|group| group.name.is_empty() == core).map(aggregated_group).collect();
    let body = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    let mut bytes = serde_json::to_vec(&body).expect("JSON trees with text keys always encode");
    bytes.push(b'\n');
    let tag = format!("\"{}\"", hex::encode_upper(Sha512::digest(&bytes)));
    let unchanged = headers.get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let mut response = if unchanged {
        respond::response(304, AGGREGATED, respond::full(""))
    } else {
        respond::response(200, AGGREGATED, respond::full(bytes))
    };
    let map = response.headers_mut();
    map.insert(ETAG, HeaderValue::from_str(&tag).expect("hexadecimal digits"));
    map.insert(VARY, HeaderValue::from_static("Accept"));
    map.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    if unchanged {
        map.remove(CONTENT_TYPE);
    }
    response
}

fn aggregated_group(group: &Group) -> Value {
    let version = |version: &Version| {
        let resources: Vec<Value> = version.kinds.iter().map(|kind| aggregated_resource(kind)).collect();
        json!({ "version": version.name, "resources": resources, "freshness": "Current" })
    };
    let mut metadata = json!({});
    if !group.name.is_empty() {
        metadata["name"] = json!(group.name);
    }
    json!({ "metadata": metadata, "versions": group.versions.iter().map(version).collect::<Vec<_>>() })
}

/// A14.
fn aggregated_resource(kind: &KindInfo) -> Value {
    let (group, version) = if kind.custom { (&*kind.group, &*kind.version) } else { ("", "") };
    let mut entry = json!({
        "resource": kind.plural,
        "responseKind": { "group": group, "version": version, "kind": kind.kind },
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs.words(),
    });
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
    if !kind.subresources.is_empty() {
        let subresource = |sub: &Subresource| {
            let foreign = sub.foreign.as_ref().map(|(group, version)| (&**group, &**version));
            let (group, version) = foreign.unwrap_or((group, version));
            json!({
                "subresource": sub.name,
                "responseKind": { "group": group, "version": version, "kind": sub.kind },
                "verbs": sub.verbs,
            })
        };
        entry["subresources"] = json!(kind.subresources.iter().map(subresource).collect::<Vec<_>>());
    }
    entry
}

#[cfg(test)]
mod tests {
    use outrigger_api::Registry;

    use super::*;

    fn accepting(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, text.parse().unwrap());
        headers
    }

    /// A10, A12
    #[test]
    fn only_the_second_version_is_aggregated() {
        let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert!(wants_aggregated(&accepting(kubectl)));
        let old =
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert!(!wants_aggregated(&accepting(old)));
        assert!(!wants_aggregated(&accepting("application/json")));
    }

    /// A5, A7
    #[test]
    fn subresources_are_entries_of_their_own() {
        let pods = Registry::builtin().find("", "v1", "pods").unwrap();
        let entries = resource_entries(&pods);
        let eviction = entries.iter().find(|entry| entry["name"] == "pods/eviction").unwrap();
        assert_eq!((&eviction["group"], &eviction["kind"]), (&json!("policy"), &json!("Eviction")));
        let config_maps = Registry::builtin().find("", "v1", "configmaps").unwrap();
        assert_eq!(storage_version_hash(&config_maps), "qFsyl6wFWjQ=");
    }

    /// A16
    #[test]
    fn an_unchanged_document_is_not_sent_again() {
        let table = Registry::builtin().snapshot();
        let first = aggregated(&table, true, &HeaderMap::new());
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        assert_eq!(aggregated(&table, true, &headers).status(), 304);
    }
}
