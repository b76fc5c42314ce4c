//! Environment variables and where their values come from (R1.35, R1.36).

use serde_json::Value;

use super::Scope;
use crate::field::Findings;
use crate::tree;
use crate::validation::{names, text};

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

/// The resources a container may refer to, sorted.
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// `env` and `envFrom` of the container at `path`.
pub(super) fn check(of: &Scope<'_>, container: &Value, path: &str, findings: &mut Findings) {
    for (index, variable) in tree::list(container, "env").iter().enumerate() {
        let at = format!("{path}.env[{index}]");
        name(tree::text(variable, "name"), &format!("{at}.name"), findings);
        if let Some(from) = variable.get("valueFrom").filter(|from| from.is_object()) {
            let plain = !tree::text(variable, "value").is_empty();
            value_from(of, from, plain, &format!("{at}.valueFrom"), findings);
        }
    }
    for (index, source) in tree::list(container, "envFrom").iter().enumerate() {
        env_from(source, &format!("{path}.envFrom[{index}]"), findings);
    }
}

fn is_env_name(name: &str) -> bool {
    name.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=')
}

const ENV_NAME: &str = "a valid environment variable name must consist only of printable ASCII characters other than \
                        '='";

/// R1.36.
fn name(name: &str, field: &str, findings: &mut Findings) {
    if name.is_empty() {
        findings.required(field, "");
    } else if !is_env_name(name) {
        findings.invalid(field, name, ENV_NAME);
    }
}

/// R1.35.
fn value_from(of: &Scope<'_>, from: &Value, plain: bool, at: &str, findings: &mut Findings) {
    let given: Vec<&str> =
        SOURCES.into_iter().filter(|source| from.get(source).is_some_and(Value::is_object)).collect();
    for source in &given {
        let field = format!("{at}.{source}");
        let reference = from.get(source).unwrap_or(&Value::Null);
        match *source {
            "fieldRef" => field_ref(reference, ENV_FIELDS, &field, findings),
            "resourceFieldRef" => resource_field_ref(of, reference, false, &field, findings),
            "fileKeyRef" => {
                for key in ["volumeName", "path", "key"] {
                    text::required(reference, key, &field, findings);
                }
            }
            _ => key_ref(reference, &field, findings),
        }
    }
    match given.len() {
        0 => findings.invalid(
            at,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ),
        _ if plain => findings.invalid(at, "", "may not be specified when `value` is not empty"),
        1 => {}
        _ => findings.invalid(at, "", "may not have more than one field specified at a time"),
    }
}

/// A reference to one of `fields`, or a subscripted label or annotation (R11.8).
pub(super) fn field_ref(reference: &Value, fields: &[&str], at: &str, findings: &mut Findings) {
    text::required(reference, "apiVersion", at, findings);
    let path = tree::text(reference, "fieldPath");
    let field = format!("{at}.fieldPath");
    if path.is_empty() {
        findings.required(&field, "");
        return;
    }
    let subscripted = ["metadata.labels['", "metadata.annotations['"]
        .into_iter()
        .find_map(|prefix| path.strip_prefix(prefix)?.strip_suffix("']"));
    match subscripted {
        Some(key) => {
            if let Some(why) = names::qualified(key) {
                findings.invalid(&field, path, &why);
            }
        }
        None if fields.contains(&path) => {}
        None => findings.unsupported(&field, path, fields),
    }
}

/// A reference to a container's own resources (R11.9); `named` where it must say whose.
pub(super) fn resource_field_ref(
    of: &Scope<'_>,
    reference: &Value,
    named: bool,
    at: &str,
    findings: &mut Findings,
) {
    if named {
        let container = tree::text(reference, "containerName");
        let there =
            |list: &str| tree::list(of.spec, list).iter().any(|other| tree::text(other, "name") == container);
        if container.is_empty() {
            findings.required(&format!("{at}.containerName"), "");
        } else if !there("containers") && !there("initContainers") {
            findings.not_found(&format!("{at}.containerName"), container);
        }
    }
    let resource = tree::text(reference, "resource");
    let field = format!("{at}.resource");
    let huge = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if resource.is_empty() {
        findings.required(&field, "");
    } else if !RESOURCES.contains(&resource) && !huge {
        findings.unsupported(&field, resource, RESOURCES);
    }
}

fn key_ref(reference: &Value, at: &str, findings: &mut Findings) {
    text::required(reference, "name", at, findings);
    let key = tree::text(reference, "key");
    if key.is_empty() {
        findings.required(&format!("{at}.key"), "");
    } else if let Some(why) = names::config_key(key) {
        findings.invalid(&format!("{at}.key"), key, &why);
    }
}

fn env_from(source: &Value, at: &str, findings: &mut Findings) {
    let prefix = tree::text(source, "prefix");
    if !is_env_name(prefix) {
        findings.invalid(&format!("{at}.prefix"), prefix, ENV_NAME);
    }
    let mut given = 0;
    for key in ["configMapRef", "secretRef"] {
        if let Some(reference) = source.get(key).filter(|reference| reference.is_object()) {
            given += 1;
            text::required(reference, "name", &format!("{at}.{key}"), findings);
        }
    }
    match given {
        0 => findings.invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"),
        1 => {}
        _ => findings.invalid(at, "", "may not have more than one field specified at a time"),
    }
}
