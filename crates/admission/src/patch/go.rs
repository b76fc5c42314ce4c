//! How Go prints a decoded JSON value (`%v`): some errors quote their input that way (F2c, F2e, F2h, F4l).

use std::fmt;

use serde_json::Value;

/// Displays a value as Go would.
pub(crate) struct Printed<'a>(pub(crate) &'a Value);

impl fmt::Display for Printed<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => out.write_str("<nil>"),
            Value::Bool(truth) => write!(out, "{truth}"),
            Value::Number(number) => write!(out, "{number}"),
            Value::String(text) => out.write_str(text),
            Value::Array(items) => {
                out.write_str("[")?;
                for (position, item) in items.iter().enumerate() {
                    write!(out, "{}{}", if position == 0 { "" } else { " " }, Printed(item))?;
                }
                out.write_str("]")
            }
            Value::Object(members) => {
                let mut keys: Vec<&String> = members.keys().collect();
                keys.sort();
                out.write_str("map[")?;
                for (position, key) in keys.into_iter().enumerate() {
                    write!(out, "{}{key}:{}", if position == 0 { "" } else { " " }, Printed(&members[key]))?;
                }
                out.write_str("]")
            }
        }
    }
}
