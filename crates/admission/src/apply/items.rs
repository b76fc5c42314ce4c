//! How the items of a list are told apart (F5c).

use outrigger_schema::ListType;
use serde_json::{Map, Value};

use super::shape::Typed;
use super::step::Step;

/// The step to each item of an associative list, in order.
///
/// # Errors
/// The index of the first item that cannot be told apart, and why.
pub(super) fn steps(list: Typed, items: &[Value]) -> Result<Vec<Step>, (usize, String)> {
    items.iter().enumerate().map(|(index, item)| step(list, item).map_err(|why| (index, why))).collect()
}

fn step(list: Typed, item: &Value) -> Result<Step, String> {
    if list.list_type == ListType::Map { key(list, item) } else { member_of_set(item) }
}

fn key(list: Typed, item: &Value) -> Result<Step, String> {
    let members = match item {
        Value::Object(members) => members,
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let mut found = Map::new();
    for name in list.keys {
        if let Some(value) = members.get(*name).cloned().or_else(|| list.key_default(name)) {
            found.insert((*name).to_owned(), value);
        }
    }
    if found.is_empty() {
        let names = list.keys.join(" ");
        return Err(format!("associative list with keys has an element that omits all key fields [{names}]"));
    }
    Ok(Step::Key(Value::Object(found).to_string()))
}

fn member_of_set(item: &Value) -> Result<Step, String> {
    match item {
        Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
        Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
        Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(Step::Value(item.to_string())),
    }
}
