//! An API object as a JSON tree with the metadata every kind has.
//!
//! The API server works on trees, not on typed structs: unknown fields must be found, CRDs have no struct, and
//! encoding a typed Pod is not quicker (see `docs/spec/dependencies.md` 3.3). Typed code converts at its edge.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A JSON object that has, or will have, `apiVersion`, `kind` and `metadata`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(pub Map<String, Value>);

impl Object {
    /// Wraps a JSON value; `None` if it is not an object.
    pub fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self(map)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        }
    }

    /// The JSON value.
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// The typed form.
    ///
    /// # Errors
    /// If a member has another type than the struct's field.
    pub fn to_typed<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_value(Value::Object(self.0.clone()))
    }

    /// `apiVersion`, or the empty string.
    pub fn api_version(&self) -> &str {
        self.str_at(&["apiVersion"])
    }

    /// `kind`, or the empty string.
    pub fn kind(&self) -> &str {
        self.str_at(&["kind"])
    }

    /// `metadata.name`, or the empty string.
    pub fn name(&self) -> &str {
        self.str_at(&["metadata", "name"])
    }

    /// `metadata.namespace`, or the empty string.
    pub fn namespace(&self) -> &str {
        self.str_at(&["metadata", "namespace"])
    }

    /// `metadata.uid`, or the empty string.
    pub fn uid(&self) -> &str {
        self.str_at(&["metadata", "uid"])
    }

    /// `metadata.resourceVersion`, or the empty string.
    pub fn resource_version(&self) -> &str {
        self.str_at(&["metadata", "resourceVersion"])
    }

    /// Whether `metadata.deletionTimestamp` is set.
    pub fn is_deleting(&self) -> bool {
        self.at(&["metadata", "deletionTimestamp"]).is_some_and(|t| !t.is_null())
    }

    /// `metadata.finalizers`.
    pub fn finalizers(&self) -> impl Iterator<Item = &str> {
        self.at(&["metadata", "finalizers"])
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
    }

    /// The member at `path`, if every step exists.
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.0.get(*first)?, |value, step| value.get(step))
    }

    /// The text at `path`, or the empty string if it is absent or no text.
    pub fn str_at(&self, path: &[&str]) -> &str {
        self.at(path).and_then(Value::as_str).unwrap_or_default()
    }

    /// The member at `path`, with objects made on the way where there are none.
    pub fn entry(&mut self, path: &[&str]) -> &mut Value {
        let (first, rest) = path.split_first().expect("a path has at least one step");
        let mut value = self.0.entry(*first).or_insert(Value::Null);
        for step in rest {
            if !value.is_object() {
                *value = Value::Object(Map::new());
            }
            value = value.as_object_mut().expect("just made").entry(*step).or_insert(Value::Null);
        }
        value
    }

    /// `metadata`, made if absent.
    pub fn metadata_mut(&mut self) -> &mut Map<String, Value> {
        let metadata = self.0.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if !metadata.is_object() {
            *metadata = Value::Object(Map::new());
        }
        metadata.as_object_mut().expect("just made")
    }

    /// `metadata.labels`, absent ones as an empty list.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let labels = self.at(&["metadata", "labels"]).and_then(Value::as_object);
        labels.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }
}
