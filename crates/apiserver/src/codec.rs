//! Request bodies: media types, size, and a tree that fits its kind (B4-B8, B14, B17-B20, D11-D13).

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use outrigger_api::status::{Cause, Details, Reason};
use outrigger_api::{KindInfo, Object, StatusError};
use outrigger_schema::{Definition, Parsed, check, parse_json, parse_yaml};
use serde_json::Value;

use crate::protobuf;
use crate::respond::Body;

/// B14.
pub(crate) const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// What to do about unknown and duplicate members (D11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

impl FieldValidation {
    /// # Errors
    /// 422 naming the options' kind.
    pub(crate) fn parse(text: &str, options: &str) -> Result<Self, StatusError> {
        match text {
            "" | "Warn" => Ok(Self::Warn),
            "Ignore" => Ok(Self::Ignore),
            "Strict" => Ok(Self::Strict),
            other => {
                let finding = format!(
                    "Unsupported value: \"{other}\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
                );
                Err(invalid(
                    options,
                    "meta.k8s.io",
                    "",
                    "fieldValidation",
                    "FieldValueNotSupported",
                    &finding,
                ))
            }
        }
    }
}

/// 422 with one finding.
pub(crate) fn invalid(
    kind: &str,
    group: &str,
    name: &str,
    field: &str,
    reason: &str,
    finding: &str,
) -> StatusError {
    let on = outrigger_api::status::qualified(kind, group);
    let text = format!("{on} \"{name}\" is invalid: {field}: {finding}");
    let mut error = StatusError::new(422, Reason::Invalid, text).about(kind, group, name);
    let cause = Cause { reason: reason.to_owned(), message: finding.to_owned(), field: field.to_owned() };
    error.details.get_or_insert_with(Details::default).causes = vec![cause];
    error
}

/// Reads a body to its end.
///
/// # Errors
/// 413 beyond the limit; 400 if the client broke off.
pub(crate) async fn read(mut body: Body) -> Result<Bytes, StatusError> {
    let mut all = bytes::BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            StatusError::bad_request(format!("the request body could not be read: {error}"))
        })?;
        // Trailers say nothing here.
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > BODY_LIMIT {
            return Err(too_large(&format!("limit is {BODY_LIMIT}")));
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

fn too_large(detail: &str) -> StatusError {
    StatusError::new(413, Reason::RequestEntityTooLarge, format!("Request entity too large: {detail}"))
}

/// The media type of a body without its parameters; `None` if the client gave none.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// B8: a body nobody here can read.
pub(crate) fn unsupported_media_type(accepted: &str) -> StatusError {
    let text = format!(
        "the body of the request was in an unknown format - accepted media types include: {accepted}"
    );
    StatusError::new(415, Reason::UnsupportedMediaType, text)
}

/// What a body may be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Formats {
    /// B7.
    All,
    /// Custom kinds have no protobuf form (B5).
    Text,
}

impl Formats {
    /// Those of a kind.
    pub(crate) fn of(kind: &KindInfo) -> Self {
        if kind.custom { Self::Text } else { Self::All }
    }
}

/// A body as a tree, whatever it is about.
///
/// # Errors
/// 415 for types the endpoint does not take (B5, B7); 400 for what cannot be parsed.
pub(crate) fn tree(
    headers: &HeaderMap,
    bytes: &Bytes,
    kind: &str,
    formats: Formats,
) -> Result<Parsed, StatusError> {
    let parsed = match media_type(headers).as_deref() {
        None | Some("" | "application/json") => parse_json(bytes),
        Some("application/yaml") => parse_yaml(bytes),
        Some(protobuf::MEDIA_TYPE) if formats == Formats::All => {
            let value = protobuf::decode(bytes.clone())
                .map_err(|error| unrecognized(kind, &error.to_string(), bytes))?;
            return Ok(Parsed { value, ..Parsed::default() });
        }
        Some(_) => {
            let text = "application/json, application/yaml";
            return Err(match formats {
                Formats::All => unsupported_media_type(&format!("{text}, {}", protobuf::MEDIA_TYPE)),
                Formats::Text => unsupported_media_type(text),
            });
        }
    };
    parsed.map_err(|error| {
        unrecognized(kind, &format!("couldn't get version/kind; json parse error: {error}"), bytes)
    })
}

/// B18.
fn unrecognized(kind: &str, cause: &str, bytes: &[u8]) -> StatusError {
    const SHOWN: usize = 30;
    let head = &bytes[..bytes.len().min(SHOWN)];
    let mut shown = if bytes.is_empty() {
        "<empty>".to_owned()
    } else if bytes.starts_with(b"{") {
        String::from_utf8_lossy(head).into_owned()
    } else {
        hex::encode(head)
    };
    if bytes.len() > SHOWN {
        shown.push_str(" ...");
    }
    StatusError::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {cause} ({shown})"
    ))
}

/// An object that fits its kind, and what was strange about its body.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) object: Object,
    pub(crate) warnings: Vec<String>,
}

/// The body of a write of `kind` to its own endpoint.
///
/// # Errors
/// 400 as B17, B18 and D12 say, 415 as B7 does.
pub(crate) fn object(
    kind: &KindInfo,
    headers: &HeaderMap,
    bytes: &Bytes,
    validation: FieldValidation,
) -> Result<Decoded, StatusError> {
    let yaml = media_type(headers).as_deref() == Some("application/yaml");
    let parsed = tree(headers, bytes, &kind.kind, Formats::of(kind))?;
    let duplicates = parsed.duplicates.iter().map(|path| {
        if yaml {
            format!("key \"{path}\" already set in map")
        } else {
            format!("duplicate field \"{path}\"")
        }
    });
    let duplicates = duplicates.collect();
    let value = if parsed.value.is_null() { Value::Object(serde_json::Map::new()) } else { parsed.value };
    let Some(mut object) = Object::from_value(value) else {
        let cause = "couldn't get version/kind; json parse error: json: cannot unmarshal into Go value of type struct";
        return Err(unrecognized(&kind.kind, cause, bytes));
    };
    check_type(kind, &mut object)?;
    fit(kind, object, duplicates, validation).map_err(|cause| cannot_be_handled(kind, &cause))
}

/// The result of a patch, with what was strange about the patch itself: what does not fit is a 422 about the patch (F1c, D14).
///
/// # Errors
/// 422.
pub(crate) fn patched(
    kind: &KindInfo,
    value: Value,
    strange: Vec<String>,
    validation: FieldValidation,
) -> Result<Decoded, StatusError> {
    let text = value.to_string();
    let fail = |cause: &str| {
        invalid("", "", "", "patch", "FieldValueInvalid", &format!("Invalid value: {text:?}: {cause}"))
    };
    let Some(mut object) = Object::from_value(value) else { return Err(fail("not an object")) };
    if let Err(error) = check_type(kind, &mut object) {
        return Err(fail(&error.message));
    }
    fit(kind, object, strange, validation).map_err(|cause| fail(&cause))
}

/// B17: fills in what the URL says, refuses what contradicts it.
fn check_type(kind: &KindInfo, object: &mut Object) -> Result<(), StatusError> {
    let expected = kind.api_version();
    let (given_kind, given) = (object.kind().to_owned(), object.api_version().to_owned());
    if !given.is_empty() && given != expected {
        return Err(StatusError::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({expected})"
        )));
    }
    if !given_kind.is_empty() && given_kind != *kind.kind {
        let (version, own) = (&kind.version, &kind.kind);
        return Err(StatusError::bad_request(format!(
            "{given_kind} in version \"{version}\" cannot be handled as a {own}: converting ({version}.{given_kind}) to ({}.{own}): unknown conversion",
            if kind.group.is_empty() { "core" } else { &kind.group }
        )));
    }
    object.0.insert("apiVersion".to_owned(), Value::String(expected));
    object.0.insert("kind".to_owned(), Value::String(kind.kind.to_string()));
    Ok(())
}

/// Checks the tree against the published schema. Custom kinds are taken as they are.
fn fit(
    kind: &KindInfo,
    mut object: Object,
    duplicates: Vec<String>,
    validation: FieldValidation,
) -> Result<Decoded, String> {
    let unknown = match Definition::of_kind(&kind.group, &kind.version, &kind.kind) {
        Some(definition) => check(definition, &mut object.0).map_err(|error| error.to_string())?,
        None => Vec::new(),
    };
    object.metadata_mut();
    let findings: Vec<String> =
        unknown.iter().map(|path| format!("unknown field \"{path}\"")).chain(duplicates).collect();
    match validation {
        FieldValidation::Strict if !findings.is_empty() => {
            Err(format!("strict decoding error: {}", findings.join(", ")))
        }
        FieldValidation::Warn => Ok(Decoded { object, warnings: findings }),
        FieldValidation::Ignore | FieldValidation::Strict => Ok(Decoded { object, warnings: Vec::new() }),
    }
}

fn cannot_be_handled(kind: &KindInfo, cause: &str) -> StatusError {
    let (name, version) = (&kind.kind, &kind.version);
    StatusError::bad_request(format!(
        "{name} in version \"{version}\" cannot be handled as a {name}: {cause}"
    ))
}

/// Makes the body agree with the URL (B19, B20).
///
/// # Errors
/// 400 where it contradicts it. `name` is empty where the URL names none.
pub(crate) fn agree_with_url(
    kind: &KindInfo,
    object: &mut Object,
    namespace: &str,
    name: &str,
) -> Result<(), StatusError> {
    if kind.namespaced {
        if !object.namespace().is_empty() && object.namespace() != namespace {
            return Err(StatusError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        object.metadata_mut().insert("namespace".to_owned(), Value::String(namespace.to_owned()));
    } else {
        object.metadata_mut().remove("namespace");
    }
    if name.is_empty() || object.name() == name {
        return Ok(());
    }
    let given = object.name();
    Err(StatusError::bad_request(if given.is_empty() {
        format!("the name of the object ({name} based on URL) was undeterminable: name must be provided")
    } else {
        format!("the name of the object ({given}) does not match the name on the URL ({name})")
    }))
}

#[cfg(test)]
mod tests {
    use outrigger_api::Registry;
    use serde_json::json;

    use super::*;

    fn pod(body: &str, validation: FieldValidation) -> Result<Decoded, StatusError> {
        let kind = Registry::builtin().find("", "v1", "pods").unwrap();
        object(&kind, &HeaderMap::new(), &Bytes::copy_from_slice(body.as_bytes()), validation)
    }

    /// D12, D13
    #[test]
    fn strange_members_are_errors_or_warnings_or_nothing() {
        let body = r#"{"spec":{"foo":1,"nodeName":"a","nodeName":"b"}}"#;
        let error = pod(body, FieldValidation::Strict).unwrap_err();
        assert_eq!(
            error.message,
            "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \"spec.foo\", duplicate field \"spec.nodeName\""
        );
        assert_eq!(pod(body, FieldValidation::Warn).unwrap().warnings.len(), 2);
        let quiet = pod(body, FieldValidation::Ignore).unwrap();
        assert!(quiet.warnings.is_empty());
        assert_eq!(quiet.object.0["spec"], json!({"nodeName": "b"}));
    }

    /// B17
    #[test]
    fn a_body_of_another_kind_or_version_is_refused() {
        assert_eq!(
            pod(r#"{"apiVersion":"v2"}"#, FieldValidation::Warn).unwrap_err().message,
            "the API version in the data (v2) does not match the expected API version (v1)"
        );
        let error = pod(r#"{"kind":"Node"}"#, FieldValidation::Warn).unwrap_err();
        assert!(error.message.starts_with("Node in version \"v1\" cannot be handled as a Pod: "), "{error}");
        assert_eq!(pod("null", FieldValidation::Warn).unwrap().object.kind(), "Pod");
    }

    /// B18
    #[test]
    fn garbage_is_shown_to_who_sent_it() {
        let error = pod("{\"kind\": nonsense and more than thirty bytes", FieldValidation::Warn).unwrap_err();
        assert_eq!(error.code, 400);
        assert!(error.message.contains("(must be of type Pod)"), "{error}");
        assert!(error.message.ends_with("({\"kind\": nonsense and more tha ...)"), "{error}");
    }

    /// B19, B20
    #[test]
    fn a_body_must_agree_with_its_url() {
        let kind = Registry::builtin().find("", "v1", "pods").unwrap();
        let mut object = Object::from_value(json!({"metadata": {"name": "a", "namespace": "x"}})).unwrap();
        assert!(agree_with_url(&kind, &mut object, "y", "a").is_err());
        let error = agree_with_url(&kind, &mut object, "x", "b").unwrap_err();
        assert_eq!(error.message, "the name of the object (a) does not match the name on the URL (b)");
    }
}
