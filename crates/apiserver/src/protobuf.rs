//! Bodies in Kubernetes' protobuf: which definition they follow, and their envelope (B4, B5).
//!
//! The messages themselves are read and written by `outrigger_schema::protobuf`.

use bytes::Bytes;
use outrigger_schema::Definition;
use outrigger_schema::protobuf::{self, Envelope, WireError};
use serde_json::{Map, Value};

/// What clients call it.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// The same, for a stream of frames.
pub(crate) const STREAM_MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// Why a body is no object.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// Not protobuf, or not this message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The envelope names a kind that has no message here.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    Unknown {
        /// As sent.
        kind: String,
        /// As sent.
        api_version: String,
    },
}

/// The tree of a body, `apiVersion` and `kind` included.
pub(crate) fn decode(body: Bytes) -> Result<Value, DecodeError> {
    let Envelope { api_version, kind, raw } = Envelope::open(body)?;
    let Some(definition) = definition(&api_version, &kind) else {
        return Err(DecodeError::Unknown { kind, api_version });
    };
    let mut tree = protobuf::decode(definition, raw)?;
    tree.insert("apiVersion".to_owned(), Value::String(api_version));
    tree.insert("kind".to_owned(), Value::String(kind));
    Ok(Value::Object(tree))
}

/// The body of an object or list; `None` for kinds that have no message (custom ones, tables, discovery).
pub(crate) fn encode(tree: &Map<String, Value>) -> Option<Bytes> {
    let text = |key: &str| tree.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if let Some(definition) = definition(api_version, kind) {
        return Some(sealed(api_version, kind, protobuf::encode(definition, tree)));
    }
    let item = definition(api_version, kind.strip_suffix("List")?)?;
    let items = tree.get("items")?.as_array()?.iter().filter_map(Value::as_object);
    let metadata = tree.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    let list = protobuf::encode_list(&metadata, items.map(|tree| protobuf::encode(item, tree)));
    Some(sealed(api_version, kind, list))
}

/// One frame of a watch; `None` as for [`encode`].
pub(crate) fn frame(event: &str, object: &Map<String, Value>) -> Option<Bytes> {
    encode(object).map(|body| protobuf::watch_frame(event, &body))
}

fn sealed(api_version: &str, kind: &str, raw: Bytes) -> Bytes {
    Envelope { api_version: api_version.to_owned(), kind: kind.to_owned(), raw }.seal()
}

/// Options and Status belong to every group.
fn definition(api_version: &str, kind: &str) -> Option<Definition> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    Definition::of_kind(group, version, kind).or_else(|| match kind {
        "DeleteOptions" | "Status" => {
            Definition::named(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// B4: what is sent is what was meant, options of any group included.
    #[test]
    fn bodies_name_their_kind() {
        for tree in [
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}}),
            json!({"apiVersion": "apps/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}),
        ] {
            let body = encode(tree.as_object().unwrap()).unwrap();
            assert_eq!(decode(body).unwrap(), tree);
        }
        assert!(encode(json!({"apiVersion": "x.y/v1", "kind": "Custom"}).as_object().unwrap()).is_none());
        let body = sealed("x.y/v1", "Custom", Bytes::new());
        assert_eq!(
            decode(body).unwrap_err().to_string(),
            "no kind \"Custom\" is registered for version \"x.y/v1\""
        );
    }
}
