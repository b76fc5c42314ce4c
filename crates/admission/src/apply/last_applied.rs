//! Living together with client-side apply: the annotation it keeps its last body in (F6b).

use outrigger_api::{KindInfo, Object};
use serde_json::Value;

use super::compare::Comparison;
use super::set::FieldSet;
use super::shape::Typed;
use super::walk::fields_of;

/// The only manager this is done for.
pub(super) const KUBECTL: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// All annotations of an object together (C10), in bytes.
const MOST_ANNOTATIONS: usize = 256 * 1024;

/// The fields client-side apply wrote and nobody has changed since: server-side apply may take them over.
pub(super) fn own_fields(kind: &KindInfo, live: &Object) -> FieldSet {
    let text = live.str_at(&["metadata", "annotations", ANNOTATION]);
    let Some(last) = serde_json::from_str(text).ok().and_then(Object::from_value) else {
        return FieldSet::default();
    };
    if last.api_version() != kind.api_version() {
        return FieldSet::default();
    }
    let typed = Typed::of_kind(kind);
    let since = Comparison::of(typed, &last.0, &live.0);
    fields_of(typed, &last.0).difference(&since.written()).difference(&since.removed)
}

/// Where client-side apply has left its annotation, brings it up to date, so that it goes on working.
pub(super) fn rewrite(object: &mut Object, applied: &Object) {
    if object.str_at(&["metadata", "annotations", ANNOTATION]).is_empty() {
        return;
    }
    let mut applied = applied.clone();
    let annotations = applied.0.get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations"));
    if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    let text = format!("{}\n", applied.into_value());
    if let Some(annotations) = object.entry(&["metadata", "annotations"]).as_object_mut() {
        annotations.insert(ANNOTATION.to_owned(), Value::String(text));
        let size: usize =
            annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
        if size > MOST_ANNOTATIONS {
            annotations.remove(ANNOTATION);
        }
    }
}
