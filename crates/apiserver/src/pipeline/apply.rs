//! Server-side apply: a body put on top of what is there, or made into an object (F4).

use bytes::Bytes;
use outrigger_admission::apply::{self, ApiType, Applied, Versions};
use outrigger_admission::{Endpoint, Ownership};
use outrigger_api::{Object, StatusError};
use outrigger_schema::parse_yaml;
use serde_json::json;

use super::create::create_owned;
use super::update::{Made, Mode, change};
use super::{Write, Written};
use crate::codec::{self, FieldValidation};
use crate::server::Api;
use crate::storage::to_version;

/// A parsed body, and what is to be done with it.
#[derive(Debug)]
pub(crate) struct ApplyBody {
    pub(crate) object: Object,
    pub(crate) force: bool,
    pub(crate) warnings: Vec<String>,
}

impl ApplyBody {
    /// Reads a body for objects of a type (F4b, F4l).
    ///
    /// # Errors
    /// 400 if it is no YAML object, names a member twice under strict validation, or is of another kind.
    pub(crate) fn parse(
        api_type: ApiType<'_>,
        bytes: &Bytes,
        force: bool,
        validation: FieldValidation,
    ) -> Result<Self, StatusError> {
        let bad = |cause: &str| StatusError::bad_request(format!("error decoding YAML: {cause}"));
        let parsed = parse_yaml(bytes).map_err(|error| bad(&error.to_string()))?;
        let findings = parsed.findings();
        if validation == FieldValidation::Strict && !findings.is_empty() {
            let lines = findings.join("\n  ");
            return Err(StatusError::bad_request(format!(
                "error strict decoding YAML: yaml: unmarshal errors:\n  {lines}"
            )));
        }
        let value = if parsed.value.is_null() { json!({}) } else { parsed.value };
        let object = Object::from_value(value).ok_or_else(|| bad("the body is not an object"))?;
        apply::check_body(api_type, &object)?;
        let warnings = if validation == FieldValidation::Ignore { Vec::new() } else { findings };
        Ok(Self { object, force, warnings })
    }
}

/// Applies to what is there; `None` if nothing is.
///
/// # Errors
/// As [`apply::apply`], and what admission refuses.
pub(crate) async fn apply(write: &Write<'_>, body: &ApplyBody) -> Result<Option<Written>, StatusError> {
    let Write { api, kind, namespace, name, .. } = *write;
    let old = match api.storage.find(kind, namespace, name).await? {
        Some(old) => old,
        None if write.endpoint == Endpoint::Main => return Ok(None),
        None => return Err(StatusError::not_found(&kind.plural, &kind.group, name)),
    };
    // D6: a version in the body is a lock.
    let conditional = !matches!(body.object.resource_version(), "" | "0");
    let mode = Mode { is_put: false, conditional };
    let written = change(write, Some(old), mode, |current| {
        let Applied { object, managed } =
            apply::apply(kind, Some(current), &body.object, &write.writer(), body.force)?;
        made(write, object, body, managed)
    });
    written.await.map(Some)
}

/// Makes an object of the body (F4c, F4d).
///
/// # Errors
/// 409 if the body speaks of an object that once was; 409 AlreadyExists if there is one by now; what admission
/// refuses.
pub(crate) async fn apply_new(write: &Write<'_>, body: &ApplyBody) -> Result<Written, StatusError> {
    let Write { kind, name, .. } = *write;
    let uid = body.object.uid();
    if !uid.is_empty() {
        let cause = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(StatusError::conflict(&kind.plural, &kind.group, name, &cause));
    }
    let mut wanted = body.object.clone();
    wanted.metadata_mut().remove("resourceVersion");
    let Applied { object, managed } = apply::apply(kind, None, &wanted, &write.writer(), body.force)?;
    let made = made(write, object, body, managed)?;
    let managed = made.managed.unwrap_or_default();
    let mut written = create_owned(write, made.object, Ownership::Applied(&managed)).await?;
    written.warnings.splice(0..0, made.warnings);
    Ok(written)
}

/// The result of an apply as an object of its kind, with the name and namespace of the URL.
fn made(
    write: &Write<'_>,
    object: Object,
    body: &ApplyBody,
    managed: apply::Managed,
) -> Result<Made, StatusError> {
    let Write { kind, namespace, name, options, .. } = *write;
    let decoded = codec::patched(kind, object.into_value(), Vec::new(), options.validation)?;
    let mut object = decoded.object;
    if object.name().is_empty() && !kind.custom {
        object.metadata_mut().insert("name".to_owned(), json!(name));
    }
    codec::agree_with_url(kind, &mut object, namespace, name)?;
    let warnings = body.warnings.iter().cloned().chain(decoded.warnings).collect();
    Ok(Made { object, warnings, managed: Some(managed) })
}

impl Versions for Api {
    fn convert(&self, object: &Object, api_version: &str) -> Option<Object> {
        if object.api_version() == api_version {
            return Some(object.clone());
        }
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let kind = self.registry.by_kind(group, version, object.kind())?;
        Some(to_version(object.clone(), &kind.kind, group, version))
    }
}
