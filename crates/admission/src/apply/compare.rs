//! What a write changed, field by field (F4e, F5e).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::items;
use super::set::{Branch, FieldSet};
use super::shape::Typed;
use super::step::Step;
use super::walk::granular;

/// The fields that differ between two states of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

impl Comparison {
    /// Compares two objects.
    pub(super) fn of(typed: Typed, old: &Map<String, Value>, new: &Map<String, Value>) -> Self {
        let found = members(typed, Some(old), Some(new));
        Self { added: found.added.below, modified: found.modified.below, removed: found.removed.below }
    }

    /// Changed in one way or another, and still there.
    pub(super) fn written(&self) -> FieldSet {
        let mut written = self.added.clone();
        written.extend(self.modified.clone());
        written
    }

    /// Each of the three sets through a filter.
    pub(super) fn map(self, filter: impl Fn(FieldSet) -> FieldSet) -> Self {
        Self { added: filter(self.added), modified: filter(self.modified), removed: filter(self.removed) }
    }
}

/// [`Comparison`] of one value, itself included.
#[derive(Default)]
struct Found {
    added: Branch,
    modified: Branch,
    removed: Branch,
}

impl Found {
    fn take(&mut self, step: &Step, inner: Self) {
        for (set, branch) in [
            (&mut self.added, inner.added),
            (&mut self.modified, inner.modified),
            (&mut self.removed, inner.removed),
        ] {
            if !branch.is_empty() {
                set.below.join(step.clone(), branch);
            }
        }
    }

    fn leaf(old: Option<&Value>, new: Option<&Value>) -> Self {
        let mut found = Self::default();
        match (old, new) {
            (None, Some(_)) => found.added.owned = true,
            (Some(_), None) => found.removed.owned = true,
            _ => found.modified.owned = true,
        }
        found
    }
}

fn compare(typed: Typed, old: Option<&Value>, new: Option<&Value>) -> Found {
    if same(old, new) {
        return Found::default();
    }
    let mut found = if granular(typed) && fit(old, new, Value::is_object) && !both_empty(old, new) {
        members(typed, old.and_then(Value::as_object), new.and_then(Value::as_object))
    } else if typed.is_associative() && fit(old, new, Value::is_array) && !both_empty(old, new) {
        list(typed, old, new)
    } else {
        return Found::leaf(old, new);
    };
    // A node that came or went is named besides what is inside it.
    found.added.owned |= old.is_none();
    found.removed.owned |= new.is_none();
    found
}

fn members(typed: Typed, old: Option<&Map<String, Value>>, new: Option<&Map<String, Value>>) -> Found {
    let mut found = Found::default();
    let mut names: Vec<&String> = old.into_iter().chain(new).flat_map(Map::keys).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let Some(inner) = typed.member(name) else { continue };
        let (before, after) = (old.and_then(|map| map.get(name)), new.and_then(|map| map.get(name)));
        let changes = compare(inner, before, after);
        found.take(&Step::field(name), changes);
    }
    found
}

fn list(typed: Typed, old: Option<&Value>, new: Option<&Value>) -> Found {
    let mut found = Found::default();
    let mut items: BTreeMap<Step, [Vec<&Value>; 2]> = BTreeMap::new();
    for (side, value) in [old, new].into_iter().enumerate() {
        let list = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        // Only what was never checked has items that cannot be told apart: then it is one piece.
        let Ok(steps) = items::steps(typed, list) else { return Found::leaf(old, new) };
        for (step, item) in steps.into_iter().zip(list) {
            items.entry(step).or_default()[side].push(item);
        }
    }
    for (step, [before, after]) in items {
        let changes = match (before.as_slice(), after.as_slice()) {
            ([] | [_], [] | [_]) => compare(typed.item(), before.first().copied(), after.first().copied()),
            // F5o: items of one key are owned together.
            (before, after) if before == after => continue,
            (before, after) => Found::leaf(before.first().copied(), after.first().copied()),
        };
        found.take(&step, changes);
    }
    found
}

/// Whether the values that are there have the form; an explicit `null` has any.
fn fit(old: Option<&Value>, new: Option<&Value>, form: fn(&Value) -> bool) -> bool {
    let fits = |value: Option<&Value>| value.is_none_or(|value| value.is_null() || form(value));
    fits(old) && fits(new)
}

fn both_empty(old: Option<&Value>, new: Option<&Value>) -> bool {
    let empty = |value: Option<&Value>| match value {
        Some(Value::Object(members)) => members.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        _ => true,
    };
    empty(old) && empty(new)
}

fn same(old: Option<&Value>, new: Option<&Value>) -> bool {
    match (old, new) {
        (Some(Value::Number(old)), Some(Value::Number(new))) => old == new || old.as_f64() == new.as_f64(),
        _ => old == new,
    }
}
