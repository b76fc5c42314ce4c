//! Which fields a value has (F4e, F5c): the set an applied body owns.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::items;
use super::set::{Branch, FieldSet};
use super::shape::{Form, Typed};
use super::step::Step;

/// All fields of an object. Items that cannot be told apart count as none.
pub(super) fn fields_of(typed: Typed, members: &Map<String, Value>) -> FieldSet {
    let mut fields = FieldSet::default();
    for (name, member) in members {
        let Some(inner) = typed.member(name) else { continue };
        let mut branch = branch_of(inner, member);
        branch.owned |= !typed.declares(name);
        fields.join(Step::field(name), branch);
    }
    fields
}

fn branch_of(typed: Typed, value: &Value) -> Branch {
    match value {
        Value::Object(members) if granular(typed) && !members.is_empty() => {
            Branch { owned: false, below: fields_of(typed, members) }
        }
        Value::Array(list) if typed.is_associative() && !list.is_empty() => {
            Branch { owned: false, below: items_of(typed, list) }
        }
        _ => Branch::LEAF,
    }
}

/// Each item is owned, and so is what is inside it; of items that cannot be told apart only the item (F5o).
fn items_of(typed: Typed, list: &[Value]) -> FieldSet {
    let Ok(steps) = items::steps(typed, list) else { return FieldSet::default() };
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&Step> = steps.iter().filter(|step| !seen.insert(*step)).collect();
    let mut below = FieldSet::default();
    for (step, item) in steps.iter().zip(list) {
        let inside = if twice.contains(step) { FieldSet::EMPTY } else { branch_of(typed.item(), item).below };
        below.join(step.clone(), Branch { owned: true, below: inside });
    }
    below
}

/// Whether a map of this type is owned member by member.
pub(super) fn granular(typed: Typed) -> bool {
    !typed.atomic
        && match typed.form {
            Form::Struct(_) | Form::Deduced => true,
            Form::Plain(shape) => matches!(shape, outrigger_schema::Shape::Map(_)),
        }
}
