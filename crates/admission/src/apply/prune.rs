//! Taking away what a manager applied before and no longer applies (F4e, F4f).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::items;
use super::set::{Branch, FieldSet};
use super::shape::Typed;
use super::step::Step;

/// Removes from `value` every field of `last` that `kept` does not hold.
///
/// `kept` is what anybody owns, the new body included. A value stays if anything inside it is kept, so the parents of
/// kept fields stay, items of keyed lists among them, and with an item the members that are its key (F4f). A struct
/// that `last` reaches into and nobody keeps anything of goes as a whole, defaults inside it included: nobody asked
/// for them but by asking for it.
pub(super) fn prune(typed: Typed, members: &mut Map<String, Value>, last: &FieldSet, kept: &FieldSet) {
    let names: Vec<String> = members.keys().cloned().collect();
    for name in names {
        let step = Step::field(&name);
        let (Some(branch), Some(inner), Some(member)) =
            (last.branch(&step), typed.member(&name), members.get_mut(&name))
        else {
            continue;
        };
        let whole = branch.owned || typed.declares(&name);
        if goes(inner, member, (branch, whole), kept.branch(&step)) {
            members.remove(&name);
        }
    }
}

/// Prunes inside a value; whether the value itself is to be removed.
fn goes(typed: Typed, value: &mut Value, (branch, whole): (&Branch, bool), kept: Option<&Branch>) -> bool {
    if kept.is_none() && whole {
        return true;
    }
    let nothing = Branch::default();
    let Branch { owned, below } = kept.unwrap_or(&nothing);
    let had_content = !is_empty(value);
    match value {
        Value::Object(members) if !typed.atomic => prune(typed, members, &branch.below, below),
        Value::Array(list) if typed.is_associative() => prune_items(typed, list, &branch.below, below),
        _ => {}
    }
    // What was emptied is absent, unless somebody owns the empty thing.
    had_content && is_empty(value) && !*owned
}

fn prune_items(typed: Typed, list: &mut Vec<Value>, last: &FieldSet, kept: &FieldSet) {
    let Ok(steps) = items::steps(typed, list) else { return };
    let mut doomed = BTreeSet::new();
    for (index, (step, item)) in steps.iter().zip(list.iter_mut()).enumerate() {
        let Some(branch) = last.branch(step) else { continue };
        let mut keeps = kept.branch(step).cloned();
        if let Some(keeps) = &mut keeps {
            keeps.owned = true;
            for key in typed.keys {
                keeps.below.join(Step::field(key), Branch::LEAF);
            }
        }
        if goes(typed.item(), item, (branch, branch.owned), keeps.as_ref()) {
            doomed.insert(index);
        }
    }
    let mut index = 0;
    list.retain(|_| {
        index += 1;
        !doomed.contains(&(index - 1))
    });
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
