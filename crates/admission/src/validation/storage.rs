//! PersistentVolume, PersistentVolumeClaim, StorageClass (K17, K34).

use outrigger_api::{Object, Quantity};
use serde_json::Value;

use super::text::{self, quantity_text};
use super::{ABSENT, names};
use crate::field::Findings;
use crate::tree;

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
/// Members of a volume's spec that are not where its data is.
const NOT_SOURCES: &[&str] = &["capacity", "claimRef", "nodeAffinity"];

/// A claim.
pub(super) fn claim(object: &Object, findings: &mut Findings) {
    claim_spec(object.0.get("spec").unwrap_or(ABSENT), "spec", findings);
}

/// The spec of a claim, or of a template for one.
pub(super) fn claim_spec(spec: &Value, path: &str, findings: &mut Findings) {
    access_modes(spec, path, "at least 1 access mode is required", findings);
    if let Some(labels) = spec.get("selector").filter(|labels| labels.is_object()) {
        super::selector::check(labels, &format!("{path}.selector"), findings);
    }
    let requests = spec.get("resources").and_then(|resources| resources.get("requests"));
    let field = format!("{path}.resources[storage]");
    match requests.and_then(|requests| requests.get("storage")) {
        None => findings.required(&field, ""),
        Some(amount) if Quantity::from_json(amount).is_some_and(|amount| amount <= Quantity::default()) => {
            findings.invalid(&field, quantity_text(amount), "must be greater than zero");
        }
        Some(_) => {}
    }
    text::subdomain(spec, "storageClassName", path, findings);
    text::word(spec, "volumeMode", VOLUME_MODES, path, findings);
}

fn access_modes(spec: &Value, path: &str, missing: &str, findings: &mut Findings) {
    let field = format!("{path}.accessModes");
    let modes: Vec<&str> = tree::list(spec, "accessModes").iter().filter_map(Value::as_str).collect();
    if modes.is_empty() {
        findings.required(&field, missing);
    }
    for mode in &modes {
        if !MODES.contains(mode) {
            findings.unsupported(&field, mode, MODES);
        }
    }
    if modes.len() > 1 && modes.contains(&"ReadWriteOncePod") {
        findings.forbidden(&field, "may not use ReadWriteOncePod with other access modes");
    }
}

/// K17: after creation a claim grows, and binds once.
pub(super) fn claim_change(new: &Object, old: &Object, findings: &mut Findings) {
    let (is, was) = (new.0.get("spec").unwrap_or(ABSENT), old.0.get("spec").unwrap_or(ABSENT));
    let bound = old.str_at(&["status", "phase"]) == "Bound";
    let mut allowed = was.clone();
    if tree::text(was, "volumeName").is_empty() {
        copy(&mut allowed, is, "volumeName");
        if was.get("storageClassName").is_none_or(Value::is_null) {
            copy(&mut allowed, is, "storageClassName");
        }
    }
    copy(&mut allowed, is, "volumeAttributesClassName");
    if bound {
        copy(&mut allowed, is, "resources");
    }
    if !tree::same(is, &allowed) {
        findings.forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n",
        );
    }
    let size = |spec: &Value| spec.get("resources")?.get("requests")?.get("storage").cloned();
    let (asked, had) = (size(is), size(was));
    let granted = old.at(&["status", "capacity", "storage"]).and_then(Quantity::from_json);
    let smaller =
        match (asked.as_ref().and_then(Quantity::from_json), had.as_ref().and_then(Quantity::from_json)) {
            // A growth that failed may be taken back as far as what is there.
            (Some(asked), Some(had)) => asked < had && granted.is_none_or(|granted| asked <= granted),
            _ => false,
        };
    if bound && smaller {
        let why = "field can not be less than status.capacity";
        findings.forbidden("spec.resources.requests.storage", why);
    }
}

fn copy(to: &mut Value, from: &Value, key: &str) {
    if let Some(map) = to.as_object_mut() {
        match from.get(key) {
            Some(value) => map.insert(key.to_owned(), value.clone()),
            None => map.remove(key),
        };
    }
}

fn sources(spec: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let members = spec.as_object().into_iter().flatten();
    members.filter(|(key, value)| value.is_object() && !NOT_SOURCES.contains(&key.as_str()))
}

/// A volume.
pub(super) fn volume(object: &Object, findings: &mut Findings) {
    let spec = object.0.get("spec").unwrap_or(ABSENT);
    access_modes(spec, "spec", "", findings);
    match spec.get("capacity").and_then(|capacity| capacity.get("storage")) {
        None => findings.required("spec.capacity", ""),
        Some(amount) if Quantity::from_json(amount).is_some_and(|amount| amount <= Quantity::default()) => {
            findings.invalid("spec.capacity[storage]", quantity_text(amount), "must be greater than zero");
        }
        Some(_) => {}
    }
    text::word(spec, "persistentVolumeReclaimPolicy", &["Delete", "Recycle", "Retain"], "spec", findings);
    text::word(spec, "volumeMode", VOLUME_MODES, "spec", findings);
    text::subdomain(spec, "storageClassName", "spec", findings);
    for (place, (source, value)) in sources(spec).enumerate() {
        let field = format!("spec.{source}");
        if place > 0 {
            findings.forbidden(&field, "may not specify more than 1 volume type");
        } else if matches!(source.as_str(), "hostPath" | "local" | "nfs") {
            text::required(value, "path", &field, findings);
            text::no_upward_steps(tree::text(value, "path"), &format!("{field}.path"), findings);
        }
    }
    if sources(spec).next().is_none() {
        findings.required("spec", "must specify a volume type");
    }
    let affinity = spec.get("nodeAffinity").and_then(|affinity| affinity.get("required"));
    match affinity {
        Some(required) => super::pod::node_selector(required, "spec.nodeAffinity.required", findings),
        None if spec.get("local").is_some_and(Value::is_object) => {
            findings.required("metadata.annotations", "Local volume requires node affinity");
        }
        None => {}
    }
}

/// K17.
pub(super) fn volume_change(new: &Object, old: &Object, findings: &mut Findings) {
    let (is, was) = (new.0.get("spec").unwrap_or(ABSENT), old.0.get("spec").unwrap_or(ABSENT));
    let same = sources(is).count() == sources(was).count()
        && sources(was).all(|(source, value)| is.get(source).is_some_and(|other| tree::same(other, value)));
    if !same {
        findings.forbidden(
            "spec.persistentvolumesource",
            "spec.persistentvolumesource is immutable after creation",
        );
    }
    let affinity = |spec: &Value| spec.get("nodeAffinity").cloned().unwrap_or_default();
    if !affinity(was).is_null() && !tree::same(&affinity(is), &affinity(was)) {
        findings.invalid("spec.nodeAffinity", affinity(is), "field is immutable");
    }
    if !tree::same_at(is, was, "volumeMode") {
        findings.invalid(
            "spec.volumeMode",
            is.get("volumeMode").cloned().unwrap_or_default(),
            "field is immutable",
        );
    }
}

/// K34.
pub(super) fn class(object: &Object, findings: &mut Findings) {
    let class = Value::Object(object.0.clone());
    let provisioner = object.str_at(&["provisioner"]);
    if provisioner.is_empty() {
        findings.required("provisioner", "");
    } else if let Some(why) = names::qualified(&provisioner.to_lowercase()) {
        findings.invalid("provisioner", provisioner, &why);
    }
    for (key, supported) in [
        ("reclaimPolicy", ["Delete", "Retain"]),
        ("volumeBindingMode", ["Immediate", "WaitForFirstConsumer"]),
    ] {
        let given = tree::text(&class, key);
        if !supported.contains(&given) {
            findings.unsupported(key, given, &supported);
        }
    }
}
