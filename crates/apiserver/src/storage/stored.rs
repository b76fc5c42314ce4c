//! How an object lies in the store, and how it becomes an answer without being decoded (M3).
//!
//! The value is JSON whose first members are `apiVersion`, `kind` and `metadata`, and whose metadata has no
//! `resourceVersion`: that is the revision of the write, known only afterwards. An answer is the stored bytes with
//! the revision spliced in as the first member of `metadata`.

use std::sync::Arc;

use bytes::Bytes;
use outrigger_api::status::Reason;
use outrigger_api::{KindInfo, Object, StatusError};
use outrigger_store::{KeyValue, Revision};
use serde_json::Value;

/// The member the splice follows. It is found near the front because of the order [`encode`] writes.
const METADATA: &[u8] = b"\"metadata\":{";
/// No `apiVersion` and `kind` together are longer than this.
const HEAD_LIMIT: usize = 1024;

/// One object as it lies in the store, at one revision.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) key: Arc<str>,
    pub(crate) revision: Revision,
    bytes: Bytes,
    /// Where the members of `metadata` begin.
    splice: usize,
}

impl Stored {
    /// # Errors
    /// 500 naming the key if the value is not what [`encode`] writes (M10).
    pub(crate) fn new(kv: KeyValue) -> Result<Self, StatusError> {
        Self::from_parts(kv.key, kv.value, kv.mod_revision)
    }

    /// An object that was just written, or would have been (then with revision 0).
    pub(crate) fn from_parts(key: Arc<str>, bytes: Bytes, revision: Revision) -> Result<Self, StatusError> {
        let head = &bytes[..bytes.len().min(HEAD_LIMIT)];
        let found = head.windows(METADATA.len()).position(|window| window == METADATA);
        match found {
            Some(at) => Ok(Self { key, revision, bytes, splice: at + METADATA.len() }),
            None => Err(corrupt(&key, "no metadata at the front")),
        }
    }

    /// The same content as of another revision: what a DELETED event carries (E29).
    pub(crate) fn at_revision(&self, revision: Revision) -> Self {
        Self { revision, ..self.clone() }
    }

    /// The bytes in the store.
    pub(crate) const fn raw(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether the value is in the group version of `kind`, so that its bytes can be sent as they are.
    pub(crate) fn speaks(&self, kind: &KindInfo) -> bool {
        let written = self.bytes.strip_prefix(b"{\"apiVersion\":\"").unwrap_or_default();
        let (group, version) = (kind.group.as_bytes(), kind.version.as_bytes());
        let rest = if group.is_empty() {
            Some(written)
        } else {
            written.strip_prefix(group).and_then(|rest| rest.strip_prefix(b"/"))
        };
        rest.and_then(|rest| rest.strip_prefix(version)).is_some_and(|rest| rest.starts_with(b"\""))
    }

    /// Appends the whole object.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        self.write_from(0, out);
    }

    /// Appends the object as an item of a typed list: without `apiVersion` and `kind` (B25).
    pub(crate) fn write_item_to(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        self.write_from(self.splice - METADATA.len(), out);
    }

    fn write_from(&self, start: usize, out: &mut Vec<u8>) {
        use std::io::Write;
        out.reserve(self.bytes.len() + 48);
        out.extend_from_slice(&self.bytes[start..self.splice]);
        let members = &self.bytes[self.splice..];
        if self.revision > 0 {
            let comma = if members.first() == Some(&b'}') { "" } else { "," };
            write!(out, "\"resourceVersion\":\"{}\"{comma}", self.revision).expect("writing to memory");
        }
        out.extend_from_slice(members);
    }

    /// The whole object with a newline, as a response body.
    pub(crate) fn to_body(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.bytes.len() + 64);
        self.write_to(&mut out);
        out.push(b'\n');
        out.into()
    }

    /// The object with its `resourceVersion`.
    ///
    /// # Errors
    /// 500 naming the key if the value is no JSON object.
    pub(crate) fn object(&self) -> Result<Object, StatusError> {
        let map =
            serde_json::from_slice(&self.bytes).map_err(|error| corrupt(&self.key, &error.to_string()))?;
        let mut object = Object(map);
        if self.revision > 0 {
            let revision = Value::String(self.revision.to_string());
            object.metadata_mut().insert("resourceVersion".to_owned(), revision);
        }
        Ok(object)
    }
}

/// The value to store for an object.
pub(crate) fn encode(object: &Object) -> Bytes {
    const INFALLIBLE: &str = "JSON trees with text keys always encode";
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(b"{\"apiVersion\":");
    serde_json::to_writer(&mut out, object.api_version()).expect(INFALLIBLE);
    out.extend_from_slice(b",\"kind\":");
    serde_json::to_writer(&mut out, object.kind()).expect(INFALLIBLE);
    out.extend_from_slice(b",\"metadata\":{");
    let metadata = object.at(&["metadata"]).and_then(Value::as_object);
    let members = metadata.into_iter().flatten().filter(|(name, value)| {
        *name != "resourceVersion" && !(value.is_null() && *name == "creationTimestamp")
    });
    write_members(members, true, &mut out);
    out.push(b'}');
    let rest =
        object.0.iter().filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind" | "metadata"));
    write_members(rest, false, &mut out);
    out.push(b'}');
    out.into()
}

fn write_members<'a>(
    members: impl Iterator<Item = (&'a String, &'a Value)>,
    mut first: bool,
    out: &mut Vec<u8>,
) {
    const INFALLIBLE: &str = "JSON trees with text keys always encode";
    for (name, value) in members {
        if !first {
            out.push(b',');
        }
        first = false;
        serde_json::to_writer(&mut *out, name).expect(INFALLIBLE);
        out.push(b':');
        serde_json::to_writer(&mut *out, value).expect(INFALLIBLE);
    }
}

/// Some internal errors carry no reason, and the object must be named so that somebody can repair it (M10).
fn corrupt(key: &str, cause: &str) -> StatusError {
    let mut error = StatusError::new(500, Reason::InternalError, format!("unable to decode {key}: {cause}"));
    error.reason = None;
    error
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(object: Value, revision: Revision) -> Stored {
        let object = Object::from_value(object).unwrap();
        Stored::from_parts("/registry/configmaps/a/b".into(), encode(&object), revision).unwrap()
    }

    fn config_map() -> Value {
        json!({
            "apiVersion": "v1", "data": {"metadata": "x"}, "kind": "ConfigMap",
            "metadata": {"name": "b", "resourceVersion": "3"},
        })
    }

    /// M3
    #[test]
    fn the_revision_is_spliced_in_and_never_stored() {
        let stored = stored(config_map(), 7);
        assert!(!stored.raw().windows(15).any(|window| window == b"resourceVersion"));
        let mut out = Vec::new();
        stored.write_to(&mut out);
        let text = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"7","name":"b"},"data":{"metadata":"x"}}"#;
        assert_eq!(String::from_utf8(out).unwrap(), text);
        assert_eq!(stored.object().unwrap().resource_version(), "7");
    }

    /// E29
    #[test]
    fn a_deleted_object_carries_the_revision_of_its_deletion() {
        let gone = stored(config_map(), 7).at_revision(9);
        assert_eq!(gone.object().unwrap().resource_version(), "9");
        assert!(String::from_utf8(gone.to_body().to_vec()).unwrap().contains(r#""resourceVersion":"9""#));
    }

    /// B25
    #[test]
    fn list_items_leave_out_their_kind() {
        let mut out = Vec::new();
        stored(config_map(), 7).write_item_to(&mut out);
        let text = r#"{"metadata":{"resourceVersion":"7","name":"b"},"data":{"metadata":"x"}}"#;
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }

    /// M10
    #[test]
    fn a_value_we_did_not_write_is_an_error_that_names_the_key() {
        let error =
            Stored::from_parts("/registry/pods/a/b".into(), Bytes::from_static(b"\x01"), 1).unwrap_err();
        assert_eq!((error.code, error.reason), (500, None));
        assert!(error.message.contains("/registry/pods/a/b"));
    }
}
