//! CustomResourceDefinitions: names, versions and what may not change (J1), and whether schemas are structural (J7).
//!
//! Refuses to judge default values, patterns and rules inside schemas: those belong to whoever applies schemas.

use outrigger_api::Object;
use serde_json::Value;

use super::{ABSENT, immutable, names, structural};
use crate::field::Findings;
use crate::tree;

const SCOPES: &[&str] = &["Cluster", "Namespaced"];

/// J1, J7.
pub(super) fn shape(object: &Object, findings: &mut Findings) {
    let spec = object.0.get("spec").unwrap_or(ABSENT);
    let (group, plural) = (tree::text(spec, "group"), object.str_at(&["spec", "names", "plural"]));
    if object.name() != format!("{plural}.{group}") {
        findings.invalid("metadata.name", object.name(), "must be spec.names.plural+\".\"+spec.group");
    }
    if group.is_empty() {
        findings.required("spec.group", "");
    } else if let Some(why) = names::dns_subdomain(group) {
        findings.invalid("spec.group", group, &why);
    } else if !group.contains('.') {
        findings.invalid("spec.group", group, "should be a domain with at least one dot");
    }
    match tree::text(spec, "scope") {
        "" => findings.required("spec.scope", ""),
        scope if !SCOPES.contains(&scope) => findings.unsupported("spec.scope", scope, SCOPES),
        _ => {}
    }
    versions(spec, findings);
    for key in ["plural", "kind"] {
        if object.str_at(&["spec", "names", key]).is_empty() {
            findings.required(&format!("spec.names.{key}"), "");
        }
    }
    match object.str_at(&["spec", "conversion", "strategy"]) {
        "" | "None" => {}
        // Accepting it would mean handing out objects under a version they were never converted to.
        "Webhook" => findings.forbidden(
            "spec.conversion.strategy",
            "this server cannot convert by webhook yet; use None, which changes apiVersion only",
        ),
        other => findings.unsupported("spec.conversion.strategy", other, &["None", "Webhook"]),
    }
}

fn versions(spec: &Value, findings: &mut Findings) {
    let versions = tree::list(spec, "versions");
    let given = || Value::from(versions.to_vec());
    let repeats =
        |(place, version): (usize, &Value)| versions[..place].iter().any(|it| it["name"] == version["name"]);
    let schemas: Vec<Option<&Value>> =
        versions.iter().map(|version| version.pointer("/schema/openAPIV3Schema")).collect();
    for (index, schema) in schemas.iter().enumerate() {
        if schema.is_none_or(Value::is_null) {
            let at = format!("spec.versions[{index}].schema.openAPIV3Schema");
            findings.required(&at, "schemas are required");
        }
    }
    if versions.iter().enumerate().any(repeats) {
        findings.invalid("spec.versions", given(), "must contain unique version names");
    }
    if versions.iter().filter(|version| tree::truth(version, "storage")).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        findings.invalid("spec.versions", given(), why);
    }
    // Equal schemas are one schema of the whole definition, and are reported as that.
    let one = schemas.windows(2).all(|pair| pair[0] == pair[1]);
    for (index, schema) in schemas.into_iter().enumerate().take(if one { 1 } else { usize::MAX }) {
        if let Some(schema) = schema.filter(|schema| !schema.is_null()) {
            let at = if one { "spec.validation".into() } else { format!("spec.versions[{index}].schema") };
            structural::check(schema, &format!("{at}.openAPIV3Schema"), findings);
        }
    }
}

/// J1: group and plural make the name; scope and kind stay once the definition is established.
pub(super) fn change(new: &Object, old: &Object, findings: &mut Findings) {
    let conditions = old.at(&["status", "conditions"]).and_then(Value::as_array).into_iter().flatten();
    let established = conditions
        .filter(|condition| tree::text(condition, "type") == "Established")
        .any(|condition| tree::text(condition, "status") == "True");
    if established {
        immutable(new, old, &["spec", "scope"], findings);
        immutable(new, old, &["spec", "names", "kind"], findings);
    }
    immutable(new, old, &["spec", "group"], findings);
    immutable(new, old, &["spec", "names", "plural"], findings);
}
