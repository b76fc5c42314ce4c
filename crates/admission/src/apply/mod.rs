//! Server-side apply, and the record of who owns which field that every write keeps (F4, F5).
//!
//! ```text
//!   apply:        live + body ──merge──► ──prune──► new object ─┐
//!                   │                                           ├─compare─► who loses what: conflicts, or taken
//!   other writes: live ─────────────────────────────► new object┘           who gains what: the writer's entry
//! ```
//!
//! Start at [`apply`] and [`record`]. Both are pure: the time, the writer and the object in other versions are
//! arguments. What a field is, and which lists have items that can be owned, is said by the schema's merge table; kinds
//! without one have granular maps and atomic lists.
//!
//! Refuses to default, validate or store: what comes out goes the way of every other write.

mod base;
mod compare;
mod conflict;
mod items;
mod last_applied;
mod managed;
mod merge;
mod prune;
mod scope;
mod set;
mod shape;
mod step;
#[cfg(test)]
mod tests;
mod typed;
mod update;
mod walk;

use std::fmt;

use outrigger_api::{KindInfo, Object, StatusError, WallTime};

use crate::strategy::{Endpoint, seconds};

pub use managed::{Managed, Manager, Operation};
pub use set::{Branch, FieldSet};
pub use step::Step;

/// Who writes, and through which door.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The field manager.
    pub manager: &'a str,
    /// Which rules the write goes by.
    pub endpoint: Endpoint,
    /// The subresource named in the record; that of `endpoint`, or `scale`.
    pub subresource: &'a str,
    /// The time.
    pub now: WallTime,
    /// The object in the versions other managers speak.
    pub versions: &'a dyn Versions,
}

/// Other versions of an object (F5n).
pub trait Versions: fmt::Debug + Sync {
    /// `object` as `api_version`; `None` if that is not served.
    fn convert(&self, object: &Object, api_version: &str) -> Option<Object>;
}

/// For kinds with one version.
#[derive(Clone, Copy, Debug)]
pub struct OneVersion;

impl Versions for OneVersion {
    fn convert(&self, object: &Object, api_version: &str) -> Option<Object> {
        (object.api_version() == api_version).then(|| object.clone())
    }
}

/// What a write does to the record of owners.
#[derive(Clone, Copy, Debug)]
pub enum Ownership<'a> {
    /// The writer owns what it changes (F5e).
    Written(Writer<'a>),
    /// An apply has decided it already.
    Applied(&'a Managed),
    /// The server's own steps own nothing.
    Kept,
}

/// What a body must be.
#[derive(Clone, Copy, Debug)]
pub struct ApiType<'a> {
    /// Empty for core.
    pub group: &'a str,
    /// `v1`.
    pub version: &'a str,
    /// `Pod`.
    pub kind: &'a str,
}

impl<'a> ApiType<'a> {
    /// The type of a kind's objects.
    pub fn of(kind: &'a KindInfo) -> Self {
        Self { group: &kind.group, version: &kind.version, kind: &kind.kind }
    }

    fn api_version(self) -> String {
        let Self { group, version, .. } = self;
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
    }
}

/// The outcome of an apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The object, not defaulted yet.
    pub object: Object,
    /// Who owns what from now on.
    pub managed: Managed,
}

/// Checks an applied body before anything is looked up: type, and no record of its own (F4b).
///
/// # Errors
/// 400.
pub fn check_body(expected: ApiType<'_>, body: &Object) -> Result<(), StatusError> {
    if body.api_version() != expected.api_version() || body.kind() != expected.kind {
        let version = body.api_version();
        let version = if version.is_empty() { "/" } else { version };
        let of = body.kind();
        return Err(StatusError::bad_request(format!("invalid object type: {version}, Kind={of}")));
    }
    if body.at(&["metadata", "managedFields"]).is_some_and(|fields| !fields.is_null()) {
        return Err(StatusError::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}

/// Applies `body` to `live`, or to nothing if there is no object yet (F4e).
///
/// # Errors
/// 500 without reason if the body does not fit its kind (F4l); 409 with every conflict, unless `force` (F4j).
pub fn apply(
    kind: &KindInfo,
    live: Option<&Object>,
    body: &Object,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Applied, StatusError> {
    check_fits(ApiType::of(kind), body)?;
    update::apply(kind, live, body, writer, force)
}

/// Who owns what after a write other than an apply: `new` is decoded and defaulted, nothing more (F5e, F5g). `old` is
/// `None` for a new object.
pub fn record(kind: &KindInfo, old: Option<&Object>, new: &Object, writer: &Writer<'_>) -> Managed {
    update::record(kind, old, new, writer)
}

/// Checks every member of an applied body against the schema, to the letter (F4l).
///
/// # Errors
/// A 500 without reason, as upstream answers.
pub fn check_fits(expected: ApiType<'_>, body: &Object) -> Result<(), StatusError> {
    let ApiType { group, version, kind } = expected;
    let typed = shape::Typed::of_version(group, version, kind);
    let misfits = typed::misfits(typed, &body.0);
    let why = match misfits.as_slice() {
        [] => return Ok(()),
        [only] => only.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    let (namespace, name) = (body.namespace(), body.name());
    let on = format!("{namespace}/{name}; {}, Kind={kind}", expected.api_version());
    let message = format!("failed to create typed patch object ({on}): {why}");
    Err(StatusError { code: 500, reason: None, message, details: None, continue_token: None })
}

impl Writer<'_> {
    /// Its entry, without fields.
    fn entry(&self, kind: &KindInfo, operation: Operation) -> Manager {
        let manager = if self.manager.is_empty() { "unknown" } else { self.manager };
        Manager {
            name: manager.to_owned(),
            operation,
            subresource: self.subresource.to_owned(),
            api_version: kind.api_version(),
            time: Some(seconds(self.now)),
            fields: FieldSet::default(),
        }
    }
}
