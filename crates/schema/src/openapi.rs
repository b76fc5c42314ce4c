//! OpenAPI v3 documents of the served group versions (A25-A36), made when asked for and not kept: they are large, and
//! clients cache them by hash.

mod operations;
mod v2;

use std::collections::BTreeSet;
use std::sync::Arc;

use outrigger_api::{KindInfo, registry};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use crate::merge::{ListType, MapType, merge_rule};
use crate::openapi::operations::{EVERYWHERE, Operations, camel, gvk, pretty, speaks};
use crate::table::{Definition, Descriptions, Field, Shape, Type};

pub use v2::{document_v2, hash_v2};

const SCHEMAS: &str = "#/components/schemas/";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const JSON: &str = "application/json";

/// The key of a group version in the index: `api/v1`, `apis/apps/v1`.
pub fn key(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// What identifies a document's content: equal for equal content (A25).
pub fn hash(group: &str, version: &registry::Version) -> String {
    let mut hasher = Sha512::new();
    hasher.update(env!("CARGO_PKG_VERSION"));
    hasher.update(crate::table::structure());
    hasher.update(format!("{group} {:?}", version.kinds));
    hex::encode_upper(hasher.finalize())
}

/// The keys of documents about no kind, with the one path each is about (A25).
pub const PLAIN_KEYS: &[(&str, &str)] = &[
    (".well-known/openid-configuration", "/.well-known/openid-configuration/"),
    ("api", "/api/"),
    ("apis", "/apis/"),
    ("openid/v1/jwks", "/openid/v1/jwks/"),
    ("version", "/version/"),
];

/// A document about one path that is about no kind.
pub fn plain_document(path: &str, server_version: &str) -> Value {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let name: String = words.map(operations::title).collect();
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": server_version },
        "paths": { path: { "get": {
            "operationId": format!("get{name}"),
            "responses": { "200": { "description": "OK" }, "401": { "description": "Unauthorized" } },
        }}},
        "components": {},
    })
}

/// The document of one group version.
pub fn document(group: &str, version: &registry::Version, server_version: &str) -> Value {
    let mut builder =
        Builder { descriptions: Descriptions::load(), wanted: BTreeSet::new(), done: Map::new() };
    let mut paths = Map::new();
    for kind in &version.kinds {
        builder.add_paths(kind, &mut paths);
    }
    for name in ["Status", "DeleteOptions"] {
        builder.want(&format!("{META}.{name}"));
    }
    builder.finish_schemas();
    let root = key(group, &version.name);
    paths.insert(format!("/{root}/"), json!({ "get": {
        "description": "get available resources", "operationId": format!("get{}APIResources", camel(group, &version.name)),
        "responses": { "200": { "description": "OK" }, "401": { "description": "Unauthorized" } },
    }}));
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": server_version },
        "paths": paths,
        "components": {
            "schemas": builder.done,
            "securitySchemes": { "BearerToken": {
                "type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header",
            }},
        },
    })
}

struct Builder {
    descriptions: Descriptions,
    wanted: BTreeSet<&'static str>,
    done: Map<String, Value>,
}

impl Builder {
    fn want(&mut self, name: &str) {
        if let Some(definition) = Definition::named(name) {
            self.wanted.insert(definition.name());
        }
    }

    fn finish_schemas(&mut self) {
        while let Some(name) = self.wanted.pop_first() {
            if self.done.contains_key(name) {
                continue;
            }
            if let Some(definition) = Definition::named(name) {
                let schema = self.schema(definition);
                self.done.insert(name.to_owned(), schema);
            }
        }
    }

    fn schema(&mut self, definition: Definition) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in definition.fields() {
            properties.insert(field.name.to_owned(), self.property(definition, field));
            if field.required {
                required.push(json!(field.name));
            }
        }
        let mut schema =
            scalar(definition).unwrap_or_else(|| json!({ "type": "object", "properties": properties }));
        let about = self.descriptions.get(definition.description());
        if !about.is_empty() {
            schema["description"] = json!(about);
        }
        if !required.is_empty() {
            schema["required"] = Value::Array(required);
        }
        let kinds: Vec<Value> =
            definition.kinds().map(|(group, version, kind)| gvk(group, version, kind)).collect();
        if !kinds.is_empty() {
            schema["x-kubernetes-group-version-kind"] = Value::Array(kinds);
        }
        schema
    }

    fn property(&mut self, definition: Definition, field: &Field) -> Value {
        let mut schema = self.of_type(field.ty);
        let about = self.descriptions.get(field.description());
        if !about.is_empty() {
            schema["description"] = json!(about);
        }
        let rule = merge_rule(definition, field.name);
        if let Some(strategy) = rule.strategy() {
            schema["x-kubernetes-patch-strategy"] = json!(strategy);
        }
        if let Some(key) = rule.merge_key {
            schema["x-kubernetes-patch-merge-key"] = json!(key);
        }
        match field.ty.shape() {
            Shape::List(_) => {
                let (word, keys) = match rule.list_type {
                    ListType::Atomic => ("atomic", None),
                    ListType::Set => ("set", None),
                    ListType::Map => ("map", Some(rule.list_map_keys)),
                };
                schema["x-kubernetes-list-type"] = json!(word);
                if let Some(keys) = keys {
                    schema["x-kubernetes-list-map-keys"] = json!(keys);
                }
            }
            Shape::Map(_) | Shape::Struct(_) if rule.map_type == MapType::Atomic => {
                schema["x-kubernetes-map-type"] = json!("atomic");
            }
            _ => {}
        }
        schema
    }

    fn of_type(&mut self, ty: Type) -> Value {
        match ty.shape() {
            Shape::String => json!({ "type": "string" }),
            Shape::Quantity => self.reference(QUANTITY),
            Shape::Bytes => json!({ "type": "string", "format": "byte" }),
            Shape::Int32 => json!({ "type": "integer", "format": "int32" }),
            Shape::Int64 => json!({ "type": "integer", "format": "int64" }),
            Shape::Number => json!({ "type": "number", "format": "double" }),
            Shape::Boolean => json!({ "type": "boolean" }),
            Shape::Time => self.reference(&format!("{META}.Time")),
            Shape::MicroTime => self.reference(&format!("{META}.MicroTime")),
            Shape::IntOrString => self.reference(INT_OR_STRING),
            Shape::Any(_) => json!({ "type": "object" }),
            Shape::List(item) => json!({ "type": "array", "items": self.of_type(item) }),
            Shape::Map(item) => json!({ "type": "object", "additionalProperties": self.of_type(item) }),
            Shape::Struct(definition) => {
                let mut schema = self.reference(definition.name());
                schema["default"] = json!({});
                schema
            }
        }
    }

    /// A32.
    fn reference(&mut self, name: &str) -> Value {
        self.want(name);
        json!({ "allOf": [{ "$ref": format!("{SCHEMAS}{name}") }] })
    }

    fn add_paths(&mut self, kind: &Arc<KindInfo>, paths: &mut Map<String, Value>) {
        let own = Definition::of_kind(&kind.group, &kind.version, &kind.kind);
        let Some(own) = own else { return };
        self.wanted.insert(own.name());
        let list = self.list_schema(kind, own);
        let root = format!("/{}", key(&kind.group, &kind.version));
        let base = if kind.namespaced {
            format!("{root}/namespaces/{{namespace}}/{}", kind.plural)
        } else {
            format!("{root}/{}", kind.plural)
        };
        let verbs = kind.verbs.words();
        let has = |verb: &str| verbs.contains(&verb);
        let operations = Operations { kind, own: own.name(), list: &list };
        let mut collection = operations.parameters(false);
        let mut item = operations.parameters(true);
        for (verb, action, method) in [
            ("list", "list", "get"),
            ("create", "post", "post"),
            ("deletecollection", "deletecollection", "delete"),
        ] {
            if has(verb) {
                collection[method] = operations.operation(action, "");
            }
        }
        for (verb, action, method) in [
            ("get", "get", "get"),
            ("update", "put", "put"),
            ("patch", "patch", "patch"),
            ("delete", "delete", "delete"),
        ] {
            if has(verb) {
                item[method] = operations.operation(action, "");
            }
        }
        if kind.namespaced && has("list") {
            let mut everywhere = operations.parameters(false);
            everywhere["parameters"] = json!([pretty()]);
            everywhere["get"] = operations.operation("list", EVERYWHERE);
            paths.insert(format!("{root}/{}", kind.plural), everywhere);
        }
        for sub in kind.subresources.iter() {
            let (group, version) = speaks(kind, sub);
            let spoken = Definition::of_kind(group, version, &sub.kind).unwrap_or(own);
            self.wanted.insert(spoken.name());
            let operations = Operations { own: spoken.name(), ..operations };
            paths.insert(format!("{base}/{{name}}/{}", sub.name), operations.subresource(sub));
        }
        paths.insert(base.clone(), collection);
        if has("get") {
            paths.insert(format!("{base}/{{name}}"), item);
        }
    }

    /// The list type, which the table does not hold: it has the same four members for every kind.
    fn list_schema(&mut self, kind: &KindInfo, own: Definition) -> String {
        let name = format!("{}List", own.name());
        if self.done.contains_key(&name) {
            return name;
        }
        self.want(&format!("{META}.ListMeta"));
        let schema = json!({
            "type": "object",
            "description": format!("{}List is a list of {} objects.", kind.kind, kind.kind),
            "required": ["items"],
            "properties": {
                "apiVersion": { "type": "string" },
                "kind": { "type": "string" },
                "metadata": { "allOf": [{ "$ref": format!("{SCHEMAS}{META}.ListMeta") }], "default": {} },
                "items": {
                    "type": "array",
                    "items": { "allOf": [{ "$ref": format!("{SCHEMAS}{}", own.name()) }], "default": {} },
                },
            },
            "x-kubernetes-group-version-kind": [gvk(&kind.group, &kind.version, &format!("{}List", kind.kind))],
        });
        self.done.insert(name.clone(), schema);
        name
    }
}

/// The schema of a definition that is no struct on the wire (A33).
fn scalar(definition: Definition) -> Option<Value> {
    match definition.name() {
        QUANTITY => Some(json!({ "type": "string" })),
        INT_OR_STRING => {
            Some(json!({ "format": "int-or-string", "oneOf": [{ "type": "integer" }, { "type": "string" }] }))
        }
        name if name.strip_prefix(META).is_some_and(|rest| matches!(rest, ".Time" | ".MicroTime")) => {
            Some(json!({ "type": "string", "format": "date-time" }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
