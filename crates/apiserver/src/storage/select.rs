//! Label and field selectors over encoded objects (E17-E22).

use std::borrow::Cow;

use outrigger_api::selector::{FieldSelector, LabelSelector};
use outrigger_api::{KindInfo, StatusError};
use serde_json::Value;

use super::facts;
use super::stored::Stored;

/// What a list, watch or deletecollection asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    /// Where the facts of an object are: labels first, then one path per field requirement.
    paths: Vec<Vec<String>>,
    is_event: bool,
}

impl Selection {
    /// Reads both selectors for a kind.
    ///
    /// # Errors
    /// 400 for what cannot be parsed and for fields the kind does not offer (E17, E18, E21).
    pub(crate) fn parse(kind: &KindInfo, labels: &str, fields: &str) -> Result<Self, StatusError> {
        let bad =
            |error: outrigger_api::selector::InvalidSelector| StatusError::bad_request(error.to_string());
        let labels = LabelSelector::parse(labels).map_err(bad)?;
        let fields = FieldSelector::parse(fields).map_err(bad)?;
        let mut paths = vec![vec!["metadata".to_owned(), "labels".to_owned()]];
        for requirement in &fields.requirements {
            paths.push(json_path(kind, &requirement.path)?);
        }
        Ok(Self { labels, fields, paths, is_event: kind.kind == "Event" })
    }

    /// Whether it selects everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The only name it can match (E22).
    pub(crate) fn name(&self) -> Option<&str> {
        self.fields.exact("metadata.name")
    }

    /// The only namespace it can match (E22).
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.fields.exact("metadata.namespace")
    }

    /// Whether an encoded object is selected.
    pub(crate) fn matches(&self, object: &Stored) -> bool {
        if self.is_empty() {
            return true;
        }
        let paths: Vec<Vec<&str>> =
            self.paths.iter().map(|path| path.iter().map(String::as_str).collect()).collect();
        let facts = facts::pick(object.raw(), &paths);
        let labelled = self.labels.matches(|key| facts[0].get(key).and_then(Value::as_str));
        labelled
            && self.fields.requirements.iter().zip(&facts[1..]).all(|(wanted, value)| {
                let found = self.text(&wanted.path, value);
                (found == wanted.value) == wanted.equal
            })
    }

    /// E20: how a field compares as text.
    fn text<'a>(&self, path: &str, value: &'a Value) -> Cow<'a, str> {
        match value {
            Value::String(text) => Cow::Borrowed(text),
            Value::Bool(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
            Value::Number(number) => Cow::Owned(number.to_string()),
            Value::Object(source) if self.is_event && path == "source" => {
                Cow::Borrowed(source.get("component").and_then(Value::as_str).unwrap_or_default())
            }
            Value::Array(addresses) if path == "status.podIPs" => {
                let first = addresses.first().and_then(|address| address.get("ip"));
                Cow::Borrowed(first.and_then(Value::as_str).unwrap_or_default())
            }
            Value::Null if matches!(path, "spec.unschedulable" | "spec.hostNetwork") => {
                Cow::Borrowed("false")
            }
            Value::Null if matches!(path, "status.replicas" | "status.successful") => Cow::Borrowed("0"),
            Value::Null | Value::Array(_) | Value::Object(_) => Cow::Borrowed(""),
        }
    }
}

/// Where a supported field label is in the stored JSON (E19).
fn json_path(kind: &KindInfo, label: &str) -> Result<Vec<String>, StatusError> {
    let split = |path: &str| path.split('.').map(str::to_owned).collect::<Vec<_>>();
    let label = if kind.kind == "Pod" && label == "spec.host" { "spec.nodeName" } else { label };
    let known = label == "metadata.name"
        || (label == "metadata.namespace" && kind.namespaced)
        || kind.selectable_fields.iter().any(|field| field == label);
    if !known {
        return Err(unsupported(kind, label));
    }
    let stored = match (&*kind.kind, label) {
        ("Job", "status.successful") => "status.succeeded".to_owned(),
        // Events of the newer group are stored as core events (K3).
        ("Event", field) if field.starts_with("regarding.") => {
            field.replacen("regarding", "involvedObject", 1)
        }
        ("Event", "reportingController") => "reportingComponent".to_owned(),
        _ => label.to_owned(),
    };
    Ok(split(&stored))
}

/// E21.
fn unsupported(kind: &KindInfo, label: &str) -> StatusError {
    let text = match (&*kind.group, &*kind.kind) {
        ("batch", "Job") => format!("field label \"{label}\" not supported for Job"),
        ("resource.k8s.io", "ResourceSlice") => {
            format!("field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {label}")
        }
        _ if kind.custom || !kind.selectable_fields.is_empty() => {
            format!("field label not supported: {label}")
        }
        _ => format!(
            "\"{label}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        ),
    };
    StatusError::bad_request(text)
}

#[cfg(test)]
mod tests {
    use outrigger_api::{Object, Registry};
    use serde_json::json;

    use super::super::stored::encode;
    use super::*;

    fn stored(object: serde_json::Value) -> Stored {
        let object = Object::from_value(object).unwrap();
        Stored::from_parts("/registry/x/y".into(), encode(&object), 5).unwrap()
    }

    /// E19, E20
    #[test]
    fn fields_compare_as_text_and_absent_ones_are_empty() {
        let pods = Registry::builtin().find("", "v1", "pods").unwrap();
        let pod = stored(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {}}));
        let selects = |fields: &str| Selection::parse(&pods, "", fields).unwrap().matches(&pod);
        assert!(selects("spec.nodeName="));
        assert!(selects("spec.hostNetwork=false"));
        assert!(!selects("spec.nodeName=n"));
        assert!(selects("metadata.name=a,status.phase!=Running"));
    }

    /// E21
    #[test]
    fn an_unknown_field_is_refused_in_the_kinds_words() {
        let kind = |plural: &str| Registry::builtin().find("", "v1", plural).unwrap();
        let text = |plural: &str| Selection::parse(&kind(plural), "", "foo=1").unwrap_err().message;
        assert_eq!(text("pods"), "field label not supported: foo");
        assert_eq!(
            text("configmaps"),
            "\"foo\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
    }

    /// E17
    #[test]
    fn labels_are_read_from_the_encoded_object() {
        let pods = Registry::builtin().find("", "v1", "pods").unwrap();
        let pod = stored(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"app": "x"}}, "spec": {},
        }));
        assert!(Selection::parse(&pods, "app in (x,y)", "").unwrap().matches(&pod));
        assert!(!Selection::parse(&pods, "!app", "").unwrap().matches(&pod));
    }
}
