//! OpenAPI v3 documents of the served group versions (A25-A36), made when asked for and not kept: they are large, and
//! clients cache them by hash.

use std::collections::BTreeSet;
use std::sync::Arc;

use outrigger_api::kind::Subresource;
use outrigger_api::{KindInfo, registry};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use crate::merge::{ListType, MapType, merge_rule};
use crate::table::{Definition, Descriptions, Field, Shape, Type};

const SCHEMAS: &str = "#/components/schemas/";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
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
        let mut schema = json!({ "type": "object", "properties": properties });
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
            Shape::String | Shape::Quantity => json!({ "type": "string" }),
            Shape::Bytes => json!({ "type": "string", "format": "byte" }),
            Shape::Int32 => json!({ "type": "integer", "format": "int32" }),
            Shape::Int64 => json!({ "type": "integer", "format": "int64" }),
            Shape::Number => json!({ "type": "number", "format": "double" }),
            Shape::Boolean => json!({ "type": "boolean" }),
            Shape::Time | Shape::MicroTime => json!({ "type": "string", "format": "date-time" }),
            Shape::IntOrString => {
                json!({ "format": "int-or-string", "oneOf": [{ "type": "integer" }, { "type": "string" }] })
            }
            Shape::Any => json!({ "type": "object" }),
            Shape::List(item) => json!({ "type": "array", "items": self.of_type(item) }),
            Shape::Map(item) => json!({ "type": "object", "additionalProperties": self.of_type(item) }),
            Shape::Struct(definition) => {
                self.wanted.insert(definition.name());
                json!({ "allOf": [{ "$ref": format!("{SCHEMAS}{}", definition.name()) }], "default": {} })
            }
        }
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
            everywhere["get"] = operations.operation("list", "ForAllNamespaces");
            paths.insert(format!("{root}/{}", kind.plural), everywhere);
        }
        for sub in kind.subresources.iter() {
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

/// Writes the operations of one kind.
struct Operations<'a> {
    kind: &'a KindInfo,
    own: &'static str,
    list: &'a str,
}

impl Operations<'_> {
    /// A34.
    fn parameters(&self, named: bool) -> Value {
        let mut parameters = Vec::new();
        if named {
            parameters.push(path_parameter("name", &format!("name of the {}", self.kind.kind)));
        }
        if self.kind.namespaced {
            parameters.push(path_parameter(
                "namespace",
                "object name and auth scope, such as for teams and projects",
            ));
        }
        parameters.push(pretty());
        json!({ "parameters": parameters })
    }

    fn operation(&self, action: &str, suffix: &str) -> Value {
        let kind = self.kind;
        let scope = if kind.namespaced && suffix.is_empty() { "Namespaced" } else { "" };
        let verb = match action {
            "get" => "read",
            "post" => "create",
            "put" => "replace",
            "deletecollection" => "deleteCollection",
            other => other,
        };
        let id = format!("{verb}{}{scope}{}{suffix}", camel(&kind.group, &kind.version), kind.kind);
        let answer = match action {
            "list" => self.list.to_owned(),
            "deletecollection" | "delete" => format!("{META}.Status"),
            _ => self.own.to_owned(),
        };
        let mut operation = json!({
            "operationId": id,
            "tags": [tag(kind)],
            "parameters": query_parameters(action),
            "responses": {
                "200": { "description": "OK", "content": { JSON: { "schema": { "$ref": format!("{SCHEMAS}{answer}") } } } },
                "401": { "description": "Unauthorized" },
            },
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk(&kind.group, &kind.version, &kind.kind),
        });
        let body = json!({ "schema": { "$ref": format!("{SCHEMAS}{}", self.own) } });
        let options = json!({ "schema": { "$ref": format!("{SCHEMAS}{META}.DeleteOptions") } });
        let patch = json!({ "schema": { "type": "object" } });
        match action {
            "post" | "put" => {
                operation["requestBody"] = json!({ "content": { "*/*": body }, "required": true });
            }
            "patch" => {
                operation["requestBody"] = json!({ "required": true, "content": {
                    "application/json-patch+json": patch,
                    "application/merge-patch+json": patch,
                    "application/strategic-merge-patch+json": patch,
                }});
            }
            "delete" | "deletecollection" => {
                operation["requestBody"] = json!({ "content": { "*/*": options } });
            }
            _ => {}
        }
        operation
    }

    fn subresource(&self, sub: &Subresource) -> Value {
        let (group, version) = match &sub.foreign {
            Some((group, version)) => (&**group, &**version),
            None => (&*self.kind.group, &*self.kind.version),
        };
        let mut item = self.parameters(true);
        for verb in sub.verbs.iter() {
            let (method, action) = match &**verb {
                "get" => ("get", "get"),
                "update" => ("put", "put"),
                "patch" => ("patch", "patch"),
                "delete" => ("delete", "delete"),
                _ => ("post", "post"),
            };
            let mut operation = self.operation(action, &title(&sub.name));
            operation["x-kubernetes-group-version-kind"] = gvk(group, version, &sub.kind);
            item[method] = operation;
        }
        item
    }
}

/// A29.
fn query_parameters(action: &str) -> Vec<Value> {
    let names: &[(&str, &str)] = match action {
        "post" | "put" => &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")],
        "patch" => &[
            ("dryRun", "string"),
            ("fieldManager", "string"),
            ("fieldValidation", "string"),
            ("force", "boolean"),
        ],
        "delete" => &[
            ("dryRun", "string"),
            ("gracePeriodSeconds", "integer"),
            ("orphanDependents", "boolean"),
            ("propagationPolicy", "string"),
        ],
        "list" | "deletecollection" => &[
            ("allowWatchBookmarks", "boolean"),
            ("continue", "string"),
            ("fieldSelector", "string"),
            ("labelSelector", "string"),
            ("limit", "integer"),
            ("resourceVersion", "string"),
            ("resourceVersionMatch", "string"),
            ("sendInitialEvents", "boolean"),
            ("timeoutSeconds", "integer"),
            ("watch", "boolean"),
        ],
        _ => &[],
    };
    let parameter = |(name, ty): &(&str, &str)| json!({ "name": name, "in": "query", "schema": { "type": ty, "uniqueItems": true } });
    names.iter().map(parameter).collect()
}

fn path_parameter(name: &str, about: &str) -> Value {
    json!({
        "name": name, "in": "path", "required": true, "description": about,
        "schema": { "type": "string", "uniqueItems": true },
    })
}

fn pretty() -> Value {
    json!({
        "name": "pretty", "in": "query", "description": "Whether JSON is indented for people to read.",
        "schema": { "type": "string", "uniqueItems": true },
    })
}

fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({ "group": group, "version": version, "kind": kind })
}

/// `CoreV1`, `RbacAuthorizationV1` (A36).
fn camel(group: &str, version: &str) -> String {
    let group = group.strip_suffix(".k8s.io").unwrap_or(group);
    let group = if group.is_empty() { "core" } else { group };
    let words = group.split('.').map(title).collect::<String>();
    format!("{words}{}", title(version))
}

fn tag(kind: &KindInfo) -> String {
    let name = camel(&kind.group, &kind.version);
    let at = name.rfind('V').unwrap_or(name.len());
    let (group, version) = name.split_at(at);
    let mut group = group.to_owned();
    if let Some(first) = group.get_mut(0..1) {
        first.make_ascii_lowercase();
    }
    format!("{group}_{}", version.to_ascii_lowercase())
}

fn title(word: &str) -> String {
    let mut word = word.to_owned();
    if let Some(first) = word.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core() -> Value {
        let table = outrigger_api::Registry::builtin().snapshot();
        document("", table.group("").unwrap().version("v1").unwrap(), "v1.36.2")
    }

    /// A28, A30, A32
    #[test]
    fn pods_carry_their_kind_merge_keys_and_descriptions() {
        let document = core();
        let schemas = &document["components"]["schemas"];
        let pod = &schemas["io.k8s.api.core.v1.Pod"];
        assert_eq!(pod["x-kubernetes-group-version-kind"], json!([gvk("", "v1", "Pod")]));
        let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-list-type"], "map");
        assert!(containers["description"].as_str().unwrap().contains("containers"));
        assert!(schemas["io.k8s.api.core.v1.PodList"]["properties"]["items"].is_object());
    }

    /// A29
    #[test]
    fn kubectl_finds_out_that_the_server_validates_fields() {
        let document = core();
        let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"], gvk("", "v1", "Pod"));
        let names: Vec<_> =
            patch["parameters"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
        assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    }

    /// A36
    #[test]
    fn operations_are_named_as_upstream_names_them() {
        let document = core();
        let pods = &document["paths"]["/api/v1/namespaces/{namespace}/pods"];
        assert_eq!(pods["post"]["operationId"], "createCoreV1NamespacedPod");
        assert_eq!(document["paths"]["/api/v1/pods"]["get"]["operationId"], "listCoreV1PodForAllNamespaces");
        assert_eq!(camel("rbac.authorization.k8s.io", "v1"), "RbacAuthorizationV1");
    }

    /// Every reference in a document leads somewhere.
    #[test]
    fn no_reference_dangles() {
        let document = core();
        let text = document.to_string();
        for (at, _) in text.match_indices(SCHEMAS) {
            let name = text[at + SCHEMAS.len()..].split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }
}
