//! The two ways the record of owners changes: an apply, and every other write (F4e, F5e).

use super::compare::Comparison;
use super::conflict::{Conflict, refusal};
use super::managed::{Managed, Manager, Operation};
use super::merge::merge;
use super::prune::prune;
use super::scope::{Scope, never_owned};
use super::set::FieldSet;
use super::shape::Typed;
use super::walk::fields_of;
use super::{Applied, Versions, Writer, base, last_applied};
use outrigger_api::{KindInfo, Object, StatusError};

/// Who owns what was there before anybody applied (F5i).
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

pub(super) fn record(kind: &KindInfo, old: Option<&Object>, new: &Object, writer: &Writer<'_>) -> Managed {
    let empty = Object::default();
    let managed = Managed::of_write(old.unwrap_or(&empty), new, writer.subresource);
    if old.is_some() && managed.0.is_empty() {
        // F5i: what nobody has tracked so far is not tracked now.
        return managed;
    }
    written(kind, old, new, managed, writer)
}

/// The changes from `old` to `new` belong to the writer, whoever owned them before.
fn written(
    kind: &KindInfo,
    old: Option<&Object>,
    new: &Object,
    mut managed: Managed,
    writer: &Writer<'_>,
) -> Managed {
    let states = States { kind, old, new, scope: Scope::of(kind, writer.endpoint) };
    let own = states.own();
    for manager in std::mem::take(&mut managed.0) {
        let Some(changes) = states.in_version(&manager.api_version, &own, writer.versions) else { continue };
        let taken = manager.fields.intersection(&changes.written());
        let fields = manager.fields.difference(&taken).difference(&changes.removed);
        managed.put(Manager { fields, ..manager });
    }
    let mut entry = writer.entry(kind, Operation::Update);
    entry.fields = own.written().difference(&never_owned());
    if !entry.fields.is_empty() {
        let earlier = managed.take(&entry).map(|earlier| earlier.fields);
        entry.fields.extend(earlier.unwrap_or_default());
        managed.put(entry);
    }
    managed.cap_updates();
    managed
}

pub(super) fn apply(
    kind: &KindInfo,
    live: Option<&Object>,
    body: &Object,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Applied, StatusError> {
    let managed = match live {
        None => Managed::default(),
        Some(live) => match Managed::of(live) {
            none if none.0.is_empty() => {
                let before = Writer { manager: BEFORE_FIRST_APPLY, ..*writer };
                written(kind, None, live, none, &before)
            }
            some => some,
        },
    };
    let outcome = match attempt(kind, live, body, &managed, writer, force) {
        Err(conflicts) if writer.manager == last_applied::KUBECTL => {
            after_client_side_apply(kind, live, body, &managed, writer, conflicts)
        }
        outcome => outcome,
    };
    let mut applied = outcome.map_err(refusal)?;
    if writer.manager == last_applied::KUBECTL && live.is_some() {
        last_applied::rewrite(&mut applied.object, body);
    }
    Ok(applied)
}

/// F6b: what client-side apply wrote is taken over without being asked; other conflicts remain.
fn after_client_side_apply(
    kind: &KindInfo,
    live: Option<&Object>,
    body: &Object,
    managed: &Managed,
    writer: &Writer<'_>,
    conflicts: Vec<Conflict>,
) -> Result<Applied, Vec<Conflict>> {
    let allowed = live.map(|live| last_applied::own_fields(kind, live)).unwrap_or_default();
    let left: Vec<Conflict> = conflicts
        .into_iter()
        .map(|conflict| Conflict { fields: conflict.fields.difference(&allowed), ..conflict })
        .filter(|conflict| !conflict.fields.is_empty())
        .collect();
    if left.is_empty() { attempt(kind, live, body, managed, writer, true) } else { Err(left) }
}

fn attempt(
    kind: &KindInfo,
    live: Option<&Object>,
    body: &Object,
    managed: &Managed,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Applied, Vec<Conflict>> {
    let (typed, scope) = (Typed::of_kind(kind), Scope::of(kind, writer.endpoint));
    let mut entry = writer.entry(kind, Operation::Apply);
    entry.fields = scope.limit(fields_of(typed, &body.0));

    let mut managed = managed.clone();
    let last = managed.take(&entry);
    let merged = live.map_or_else(|| body.clone(), |live| Object(merge(typed, &live.0, &body.0)));
    let object = match &last {
        Some(last) => without_dropped(kind, merged, last, &managed, &entry, writer.versions),
        None => merged,
    };

    let states = States { kind, old: live, new: &object, scope };
    let own = states.own();
    let mut conflicts = Vec::new();
    let mut others = Managed::default();
    for manager in managed.0 {
        let Some(changes) = states.in_version(&manager.api_version, &own, writer.versions) else { continue };
        let taken = manager.fields.intersection(&changes.written());
        let fields = manager.fields.difference(&taken).difference(&changes.removed);
        if !taken.is_empty() {
            conflicts.push(Conflict { manager: manager.clone(), fields: taken });
        }
        others.put(Manager { fields, ..manager });
    }
    if !force && !conflicts.is_empty() {
        return Err(conflicts);
    }
    entry.fields = entry.fields.difference(&never_owned());
    if let Some(last) = last
        && last.fields == entry.fields
        && live.is_some_and(|live| same_content(live, &object))
    {
        // F4h: nothing changed, so neither does the time.
        entry.time = last.time;
    }
    others.put(entry);
    Ok(Applied { object, managed: others })
}

/// Removes what the manager owned by its last apply and neither it nor anybody else owns now (F4e).
fn without_dropped(
    kind: &KindInfo,
    merged: Object,
    last: &Manager,
    others: &Managed,
    entry: &Manager,
    versions: &dyn Versions,
) -> Object {
    // Everything was recorded in some version; the last apply's decides which fields there are to remove.
    let Some(mut object) = versions.convert(&merged, &last.api_version) else { return merged };
    let mut kept = FieldSet::default();
    for manager in others.0.iter().chain([entry]) {
        if manager.api_version == last.api_version {
            kept.extend(manager.fields.clone());
        } else if let Some(fields) = translated(kind, &merged, manager, &last.api_version, versions) {
            kept.extend(fields);
        }
    }
    for name in ["apiVersion", "kind"] {
        kept.insert(&[super::Step::field(name)]);
    }
    // The server's own metadata stays whatever a body says.
    kept.extend(never_owned());
    let typed = of_version(kind, &last.api_version);
    prune(typed, &mut object.0, &last.fields, &kept);
    versions.convert(&object, &kind.api_version()).unwrap_or(merged)
}

/// The fields of a manager as another version has them: those of the object's part that it owns, converted.
fn translated(
    kind: &KindInfo,
    merged: &Object,
    manager: &Manager,
    to: &str,
    versions: &dyn Versions,
) -> Option<FieldSet> {
    let mut part = versions.convert(merged, &manager.api_version)?;
    let typed = of_version(kind, &manager.api_version);
    let all = fields_of(typed, &part.0);
    let mut kept = manager.fields.clone();
    kept.extend(never_owned());
    prune(typed, &mut part.0, &all, &kept);
    let part = versions.convert(&part, to)?;
    Some(fields_of(of_version(kind, to), &part.0))
}

fn of_version(kind: &KindInfo, api_version: &str) -> Typed {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    Typed::of_version(group, version, &kind.kind)
}

/// Whether two states differ in more than the record of owners.
fn same_content(live: &Object, new: &Object) -> bool {
    without_record(live) == without_record(new)
}

fn without_record(object: &Object) -> Object {
    let mut object = object.clone();
    object.metadata_mut().remove("managedFields");
    object
}

/// The object before and after, to be compared in whatever version a manager speaks.
struct States<'a> {
    kind: &'a KindInfo,
    old: Option<&'a Object>,
    new: &'a Object,
    scope: Scope,
}

impl States<'_> {
    /// The changes in the version of the write.
    fn own(&self) -> Comparison {
        let typed = Typed::of_kind(self.kind);
        self.compare(typed, self.old, self.new)
    }

    /// The changes as `api_version` has them; `None` if it is no longer served (F5n).
    fn in_version(&self, api_version: &str, own: &Comparison, versions: &dyn Versions) -> Option<Comparison> {
        if api_version == self.kind.api_version() {
            return Some(own.clone());
        }
        let new = versions.convert(self.new, api_version)?;
        let old = match self.old {
            Some(old) => Some(versions.convert(old, api_version)?),
            None => None,
        };
        Some(self.compare(of_version(self.kind, api_version), old.as_ref(), &new))
    }

    fn compare(&self, typed: Typed, old: Option<&Object>, new: &Object) -> Comparison {
        let empty;
        let old = match old {
            Some(old) => &old.0,
            None => {
                empty = base::empty(typed);
                &empty
            }
        };
        self.scope.limit_all(Comparison::of(typed, old, &new.0))
    }
}
