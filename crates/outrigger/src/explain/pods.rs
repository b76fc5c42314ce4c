//! The Pods a manifest describes: its own, or one as its workload's template makes them.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use outrigger_admission::strategy::{CreateInput, prepare_create};
use outrigger_admission::{defaults, validation};
use outrigger_api::{Object, StatusError};
use outrigger_schema::{Definition, check};
use serde_json::{Value, json};

use crate::failure::{BAD_MANIFEST, Failure};
use crate::manifests::Manifest;

/// A Pod to explain.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// `pod/web`, `deployment/web`.
    pub(crate) title: String,
    /// The name of the Pod or of its workload.
    pub(crate) name: String,
    pub(crate) pod: Pod,
}

/// Where a kind keeps its Pod template.
fn template_path(kind: &str) -> Option<&'static [&'static str]> {
    match kind {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicationController" => {
            Some(&["spec", "template"])
        }
        "CronJob" => Some(&["spec", "jobTemplate", "spec", "template"]),
        "PodTemplate" => Some(&["template"]),
        _ => None,
    }
}

/// Every Pod of the manifests, complete as the API server would store it.
///
/// # Errors
/// 65 with every mistake and its place.
pub(crate) fn subjects(manifests: Vec<Manifest>) -> Result<Vec<Subject>, Failure> {
    let mut subjects = Vec::new();
    let mut complaints = Vec::new();
    for manifest in manifests {
        let kind = manifest.kind.kind.to_string();
        let template = template_path(&kind);
        if kind != "Pod" && template.is_none() {
            continue;
        }
        match complete(&manifest) {
            Err(mistakes) => complaints.extend(mistakes),
            Ok(object) => subjects.extend(subject(&object, &kind, template)),
        }
    }
    if !complaints.is_empty() {
        return Err(Failure::new(BAD_MANIFEST, complaints.join("\noutrigger: ")));
    }
    if subjects.is_empty() {
        return Err(Failure::new(BAD_MANIFEST, "no Pods and no Pod templates in the given files"));
    }
    Ok(subjects)
}

/// Checked, with defaults, named.
fn complete(manifest: &Manifest) -> Result<Object, Vec<String>> {
    let kind = &manifest.kind;
    let mut object = manifest.object.clone();
    if let Some(definition) = Definition::of_kind(&kind.group, &kind.version, &kind.kind) {
        let unknown =
            check(definition, &mut object.0).map_err(|error| vec![mismatch(manifest, &error.to_string())])?;
        if !unknown.is_empty() {
            return Err(unknown.iter().map(|path| manifest.complaint(path, "unknown field")).collect());
        }
    }
    defaults::apply(kind, &mut object);
    let namespace = Some(object.namespace().to_owned()).filter(|name| !name.is_empty());
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    let input = CreateInput {
        namespace: &namespace,
        now: outrigger_api::WallTime::UNIX_EPOCH,
        uid: "00000000-0000-4000-8000-000000000000",
        name_suffix: "xxxxx",
        dry_run: true,
    };
    let refused = |error: StatusError| {
        let causes = error.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
        if causes.is_empty() {
            return vec![manifest.complaint("", &error.message)];
        }
        causes.iter().map(|cause| manifest.complaint(&cause.field, &cause.message)).collect()
    };
    prepare_create(kind, &mut object, &input).map_err(refused)?;
    validation::create(kind, &object).map_err(refused)?;
    Ok(object)
}

/// `json: cannot unmarshal number into Go struct field Pod.spec.containers.name of type string` with its place.
fn mismatch(manifest: &Manifest, error: &str) -> String {
    let field = error.split_once("Go struct field ").and_then(|(_, rest)| rest.split_once(" of type "));
    let Some((field, wanted)) = field else { return manifest.complaint("", error) };
    let path = field.split_once('.').map_or(field, |(_, path)| path);
    let found = error.split_once("unmarshal ").and_then(|(_, rest)| rest.split_once(" into "));
    let found = found.map_or("this", |(found, _)| found);
    manifest.complaint_bare(path, &format!("must be of type {wanted}, not {found}"))
}

fn subject(object: &Object, kind: &str, template: Option<&[&str]>) -> Option<Subject> {
    let name = object.name().to_owned();
    let namespace = object.namespace().to_owned();
    let source = match template {
        None => Value::Object(object.0.clone()),
        Some(path) => object.at(path)?.clone(),
    };
    let spec: PodSpec = serde_json::from_value(source.get("spec")?.clone()).ok()?;
    let labels = source.pointer("/metadata/labels").cloned().unwrap_or(Value::Null);
    let pod = json!({
        "metadata": {
            "name": name, "namespace": namespace, "uid": object.uid(), "generation": 1, "labels": labels,
        },
        "spec": spec,
        "status": {"phase": "Pending"},
    });
    let title = format!("{}/{name}", kind.to_lowercase());
    Some(Subject { title, name, pod: serde_json::from_value(pod).ok()? })
}
