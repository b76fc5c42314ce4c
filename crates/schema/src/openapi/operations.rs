//! The operations on a resource: what may be sent where, and what each is called (A28, A29, A34, A36).

use outrigger_api::KindInfo;
use outrigger_api::kind::Subresource;
use serde_json::{Value, json};

use super::{JSON, META, SCHEMAS};

/// What ends the name of a list across namespaces (A36).
pub(super) const EVERYWHERE: &str = "ForAllNamespaces";

/// Group and version of the kind a subresource speaks (A5).
pub(super) fn speaks<'a>(kind: &'a KindInfo, sub: &'a Subresource) -> (&'a str, &'a str) {
    sub.foreign.as_ref().map_or((&kind.group, &kind.version), |(group, version)| (group, version))
}

/// Writes the operations of one kind.
#[derive(Clone, Copy)]
pub(super) struct Operations<'a> {
    pub(super) kind: &'a KindInfo,
    /// The schema of the objects sent and answered.
    pub(super) own: &'static str,
    /// The schema of their list.
    pub(super) list: &'a str,
}

impl Operations<'_> {
    /// A34.
    pub(super) fn parameters(&self, named: bool) -> Value {
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

    pub(super) fn operation(&self, action: &str, suffix: &str) -> Value {
        let kind = self.kind;
        let scope = if kind.namespaced && suffix != EVERYWHERE { "Namespaced" } else { "" };
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
                    "application/apply-patch+yaml": patch,
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

    pub(super) fn subresource(&self, sub: &Subresource) -> Value {
        let (group, version) = speaks(self.kind, sub);
        let mut item = self.parameters(true);
        for verb in sub.verbs.iter() {
            let (method, action) = match &**verb {
                "get" => ("get", "get"),
                "update" => ("put", "put"),
                "patch" => ("patch", "patch"),
                "delete" => ("delete", "delete"),
                _ => ("post", "post"),
            };
            let mut operation = if is_connection(sub) {
                self.connection(method, sub)
            } else {
                self.operation(action, &title(&sub.name))
            };
            operation["x-kubernetes-group-version-kind"] = gvk(group, version, &sub.kind);
            item[method] = operation;
        }
        item
    }

    /// An operation that carries a stream or somebody else's HTTP, not an object (A28, A36).
    fn connection(&self, method: &str, sub: &Subresource) -> Value {
        let kind = self.kind;
        let scope = if kind.namespaced { "Namespaced" } else { "" };
        let api = camel(&kind.group, &kind.version);
        json!({
            "operationId": format!("connect{api}{}{scope}{}{}", title(method), kind.kind, title(&sub.name)),
            "tags": [tag(kind)],
            "responses": {
                "200": { "description": "OK", "content": { "*/*": { "schema": { "type": "string" } } } },
                "401": { "description": "Unauthorized" },
            },
            "x-kubernetes-action": "connect",
        })
    }
}

/// Whether the subresource speaks options of a connection instead of a kind with objects.
fn is_connection(sub: &Subresource) -> bool {
    sub.kind.ends_with("Options")
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

pub(super) fn pretty() -> Value {
    json!({
        "name": "pretty", "in": "query", "description": "Whether JSON is indented for people to read.",
        "schema": { "type": "string", "uniqueItems": true },
    })
}

pub(super) fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({ "group": group, "version": version, "kind": kind })
}

/// `CoreV1`, `RbacAuthorizationV1` (A36).
pub(super) fn camel(group: &str, version: &str) -> String {
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

pub(super) fn title(word: &str) -> String {
    let mut word = word.to_owned();
    if let Some(first) = word.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    word
}
