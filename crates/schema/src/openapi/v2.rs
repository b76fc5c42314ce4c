//! The OpenAPI v2 document: all group versions in one, said in Swagger's older words (A21-A24).

use outrigger_api::registry::Snapshot;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use super::{SCHEMAS, document, hash};

const DEFINITIONS: &str = "#/definitions/";

/// What identifies the document's content.
pub fn hash_v2(table: &Snapshot) -> String {
    let mut hasher = Sha512::new();
    for group in table.groups() {
        for version in &group.versions {
            hasher.update(hash(&group.name, version));
        }
    }
    hex::encode_upper(hasher.finalize())
}

/// The document.
pub fn document_v2(table: &Snapshot, server_version: &str) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for group in table.groups() {
        for version in &group.versions {
            let mut part = document(&group.name, version, server_version);
            for (path, item) in members(part["paths"].take()) {
                paths.insert(path, path_item(item));
            }
            for (name, schema) in members(part["components"]["schemas"].take()) {
                definitions.entry(name).or_insert_with(|| older(schema));
            }
        }
    }
    json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": server_version },
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": { "BearerToken": {
            "type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header",
        }},
        "security": [{ "BearerToken": [] }],
    })
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// Parameters are typed in place, bodies are parameters, responses name their schema directly.
fn path_item(item: Value) -> Value {
    let members = members(item).into_iter().map(|(name, value)| {
        let value = if name == "parameters" { parameters(value) } else { operation(value) };
        (name, value)
    });
    Value::Object(members.collect())
}

fn parameters(list: Value) -> Value {
    let flat = |mut parameter: Value| {
        for (name, value) in members(parameter["schema"].take()) {
            parameter[name] = value;
        }
        if let Some(parameter) = parameter.as_object_mut() {
            parameter.remove("schema");
        }
        parameter
    };
    match list {
        Value::Array(list) => Value::Array(list.into_iter().map(flat).collect()),
        other => other,
    }
}

fn operation(operation: Value) -> Value {
    let mut operation = members(operation);
    let mut all = match operation.remove("parameters").map(parameters) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    if let Some(mut body) = operation.remove("requestBody") {
        let content = members(body["content"].take());
        let schema = content.values().next().map(|media| older(media["schema"].clone())).unwrap_or_default();
        let required = body["required"] == true;
        operation.insert("consumes".to_owned(), json!(content.keys().collect::<Vec<_>>()));
        all.push(json!({ "name": "body", "in": "body", "required": required, "schema": schema }));
    }
    if !all.is_empty() {
        operation.insert("parameters".to_owned(), Value::Array(all));
    }
    let responses = members(operation.remove("responses").unwrap_or_default()).into_iter();
    let responses = responses.map(|(code, mut response)| {
        let content = members(response["content"].take()).into_iter().next();
        if let Some(response) = response.as_object_mut() {
            response.remove("content");
        }
        if let Some((_, media)) = content {
            response["schema"] = older(media["schema"].clone());
        }
        (code, response)
    });
    operation.insert("responses".to_owned(), Value::Object(responses.collect()));
    operation.insert("produces".to_owned(), json!([super::JSON, "application/yaml"]));
    operation.insert("schemes".to_owned(), json!(["https"]));
    Value::Object(operation)
}

/// A schema: references stand alone in place of `allOf`, and what v2 cannot say is left out (A24).
fn older(schema: Value) -> Value {
    match schema {
        Value::Object(mut members) => {
            if let Some(Value::Array(mut all)) = members.remove("allOf")
                && let Some(Value::Object(only)) = all.pop()
            {
                members.extend(only);
            }
            // An int-or-string is text with a format.
            if members.remove("oneOf").is_some() {
                members.insert("type".to_owned(), json!("string"));
            }
            members.remove("nullable");
            if let Some(Value::String(target)) = members.get_mut("$ref") {
                *target = target.replace(SCHEMAS, DEFINITIONS);
                members.remove("default");
            }
            Value::Object(members.into_iter().map(|(name, value)| (name, older(value))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(older).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A21, A24: one document with every kind, whose references lead somewhere and say nothing v2 does not know.
    #[test]
    fn the_older_document_is_whole() {
        let table = outrigger_api::Registry::builtin().snapshot();
        let document = document_v2(&table, "v1.36.2");
        assert_eq!(document["swagger"], "2.0");
        let definitions = document["definitions"].as_object().unwrap();
        for name in ["io.k8s.api.core.v1.Pod", "io.k8s.api.apps.v1.Deployment"] {
            assert!(definitions[name]["x-kubernetes-group-version-kind"].is_array(), "{name}");
        }
        let text = document.to_string();
        for word in
            [SCHEMAS, "\"allOf\"", "\"oneOf\"", "\"requestBody\"", "\"content\":{\"application/json\""]
        {
            assert!(!text.contains(word), "{word}");
        }
        for (at, _) in text.match_indices(DEFINITIONS) {
            let name = text[at + DEFINITIONS.len()..].split('"').next().unwrap();
            assert!(definitions.contains_key(name), "{name}");
        }
        let containers = &definitions["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["items"]["$ref"], "#/definitions/io.k8s.api.core.v1.Container");
        let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
        assert_eq!(
            patch["parameters"][0],
            json!({"name": "dryRun", "in": "query", "type": "string", "uniqueItems": true})
        );
        assert_eq!(patch["parameters"][4]["in"], "body");
        assert_eq!(patch["consumes"][0], "application/apply-patch+yaml");
        let reference = &document["paths"]["/api/v1/pods"]["get"]["responses"]["200"]["schema"]["$ref"];
        assert_eq!(reference, "#/definitions/io.k8s.api.core.v1.PodList");
    }
}
