//! Writes: decode → admit → store, with the retries a race makes necessary (section D, C3, C12).
//!
//! What a write means is decided by the pure hooks of `outrigger-admission`; here is only the order of things, the
//! objects those hooks look at, and the compare-and-set loop around them.

mod apply;
mod create;
mod delete;
pub(crate) mod lookup;
mod quota;
pub(crate) mod services;
mod update;

use std::collections::BTreeMap;

use outrigger_admission::{Endpoint, Notes, Writer};
use outrigger_api::{KindInfo, Object, StatusError};
use rand::RngExt;

use crate::auth::{self, Identity};
use crate::codec::{FieldValidation, invalid};
use crate::request::Query;
use crate::server::Api;
use crate::storage::Stored;

pub(crate) use apply::{ApplyBody, apply, apply_new};
pub(crate) use create::create;
pub(crate) use delete::{Deleted, delete, delete_collection};
pub(crate) use update::{edit, patch, put};

/// How often a write is tried again when something else was written meanwhile (D7).
pub(crate) const RACES: usize = 16;
/// Bytes of a field manager's name (F5a).
pub(crate) const MANAGER_LIMIT: usize = 128;
/// How many names are tried for a `generateName` (C3).
pub(super) const NAMES: usize = 8;

/// Where a write goes and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write<'a> {
    pub(crate) api: &'a Api,
    pub(crate) kind: &'a KindInfo,
    pub(crate) namespace: &'a str,
    /// Empty for a create.
    pub(crate) name: &'a str,
    pub(crate) endpoint: Endpoint,
    /// Who writes, as the record of owners names it (F5a).
    pub(crate) manager: &'a str,
    /// The subresource in that record; `scale` has no endpoint of its own.
    pub(crate) subresource: &'a str,
    /// Who asks.
    pub(crate) identity: &'a Identity,
    /// Whether webhooks and policies are asked. They are not about what the server writes for its own sake, so that
    /// none of them can keep it from starting.
    pub(crate) guarded: bool,
    pub(crate) options: WriteOptions,
}

impl<'a> Write<'a> {
    /// Roles and bindings give nothing away their writer has not (I23).
    async fn check_escalation(&self, new: &Object, old: Option<&Object>) -> Result<(), StatusError> {
        if &*self.kind.group != "rbac.authorization.k8s.io" {
            return Ok(());
        }
        auth::check_escalation(self.api, self.identity, &self.kind.plural, new, old).await
    }

    fn writer(&self) -> Writer<'a> {
        Writer {
            manager: self.manager,
            endpoint: self.endpoint,
            subresource: self.subresource,
            now: self.api.now(),
            versions: self.api,
        }
    }
}

/// The query parameters of a write (D9, D11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) validation: FieldValidation,
}

impl WriteOptions {
    /// `kind` is how messages name the options: `CreateOptions`.
    ///
    /// # Errors
    /// 422 for unknown words (D9-D11).
    pub(crate) fn parse(query: &Query, kind: &str) -> Result<Self, StatusError> {
        let dry_run: Vec<&str> = query.all("dryRun").filter(|word| !word.is_empty()).collect();
        if dry_run.iter().any(|word| *word != "All") {
            let list = dry_run.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(",");
            let finding = format!("Unsupported value: [{list}]: supported values: \"All\"");
            return Err(invalid(kind, "meta.k8s.io", "", "dryRun", "FieldValueNotSupported", &finding));
        }
        let manager = query.get("fieldManager");
        if manager.len() > MANAGER_LIMIT {
            let finding = "Too long: may not be more than 128 bytes";
            return Err(invalid(kind, "meta.k8s.io", "", "fieldManager", "FieldValueTooLong", finding));
        }
        if let Some((at, bad)) = manager.char_indices().find(|(_, c)| c.is_control()) {
            let finding = format!(
                "Invalid value: \"{}\": invalid character U+{:04X} (at position {at})",
                escaped(manager),
                u32::from(bad)
            );
            return Err(invalid(kind, "meta.k8s.io", "", "fieldManager", "FieldValueInvalid", &finding));
        }
        let validation = FieldValidation::parse(query.get("fieldValidation"), kind)?;
        Ok(Self { dry_run: !dry_run.is_empty(), validation })
    }
}

/// An apply names its manager (F4a).
///
/// # Errors
/// 422.
pub(crate) fn require_manager(query: &Query) -> Result<(), StatusError> {
    if !query.get("fieldManager").is_empty() {
        return Ok(());
    }
    let finding = "Required value: is required for apply patch";
    Err(invalid("PatchOptions", "meta.k8s.io", "", "fieldManager", "FieldValueRequired", finding))
}

/// Text with control characters as Go quotes them.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '"' | '\\' => out.extend(['\\', letter]),
            control if control.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(control))),
            control if control.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out
}

/// What a write led to.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) stored: Stored,
    /// Whether the object is new (B22).
    pub(crate) created: bool,
    pub(crate) warnings: Vec<String>,
    /// For the audit log: annotations by key.
    pub(crate) audit: BTreeMap<String, String>,
}

impl Written {
    fn new(stored: Stored, created: bool, notes: Notes) -> Self {
        Self { stored, created, warnings: notes.warnings, audit: notes.audit }
    }
}

/// Five random characters for a generated name (C3).
pub(super) fn suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = rand::rng();
    (0..5).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}

/// A write lost every race.
pub(crate) fn contended(kind: &KindInfo, name: &str) -> StatusError {
    let cause = "the object has been modified; please apply your changes to the latest version and try again";
    StatusError::conflict(&kind.plural, &kind.group, name, cause)
}
