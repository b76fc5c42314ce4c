//! Does an applied body fit its kind, to the letter (F4l)?

use std::collections::BTreeSet;

use outrigger_schema::Shape;
use serde_json::{Map, Value};

use super::items;
use super::shape::{Form, Typed};
use crate::patch::Printed;

/// Everything in an object that does not fit, each with its path.
pub(super) fn misfits(typed: Typed, object: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    check_members(typed, object, &mut String::new(), &mut found);
    found
}

fn check(typed: Typed, value: &Value, path: &mut String, found: &mut Vec<String>) {
    let expected = match (typed.form, value) {
        (_, Value::Null) | (Form::Deduced, _) => return,
        (Form::Struct(_) | Form::Plain(Shape::Map(_)), Value::Object(members)) => {
            return check_members(typed, members, path, found);
        }
        (Form::Struct(_) | Form::Plain(Shape::Map(_)), other) => {
            format!("expected map, got &{{{}}}", Printed(other))
        }
        (Form::Plain(Shape::List(_)), Value::Array(items)) => {
            return check_items(typed, items, path, found);
        }
        (Form::Plain(Shape::List(_)), other) => format!("expected list, got &{{{}}}", Printed(other)),
        (Form::Plain(shape), other) => match scalar_misfit(shape, other) {
            Some(why) => why,
            None => return,
        },
    };
    report(path, &expected, found);
}

fn report(path: &str, why: &str, found: &mut Vec<String>) {
    found.push(if path.is_empty() { why.to_owned() } else { format!("{path}: {why}") });
}

fn check_members(typed: Typed, members: &Map<String, Value>, path: &mut String, found: &mut Vec<String>) {
    let length = path.len();
    for (name, member) in members {
        path.push('.');
        path.push_str(name);
        match typed.member(name) {
            Some(inner) => check(inner, member, path, found),
            None => report(path, "field not declared in schema", found),
        }
        path.truncate(length);
    }
}

fn check_items(typed: Typed, list: &[Value], path: &mut String, found: &mut Vec<String>) {
    let length = path.len();
    let mut steps = Vec::new();
    if typed.is_associative() {
        match items::steps(typed, list) {
            Ok(all) => steps = all,
            Err((index, why)) => return report(path, &format!("element {index}: {why}"), found),
        }
    }
    let mut seen = BTreeSet::new();
    for (index, item) in list.iter().enumerate() {
        match steps.get(index) {
            Some(step) => {
                if !seen.insert(step) {
                    report(path, &format!("duplicate entries for key {step}"), found);
                }
                path.push_str(&step.to_string());
            }
            None => path.push_str(&format!("[{index}]")),
        }
        check(typed.item(), item, path, found);
        path.truncate(length);
    }
}

fn scalar_misfit(shape: Shape, value: &Value) -> Option<String> {
    match (shape, value) {
        (Shape::String | Shape::Bytes, Value::String(_))
        | (Shape::Boolean, Value::Bool(_))
        | (Shape::Int32 | Shape::Int64 | Shape::Number, Value::Number(_)) => None,
        (Shape::String | Shape::Bytes, other) => {
            Some(format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_syntax(other)))
        }
        (Shape::Boolean, other) => Some(format!("expected boolean, got &{{{}}}", Printed(other))),
        (Shape::Int32 | Shape::Int64 | Shape::Number, other) => {
            Some(format!("expected numeric (int or float), got {}", go_type(other)))
        }
        // Times, quantities and ports or names: any scalar.
        (_, Value::Object(_) | Value::Array(_)) => {
            Some(format!("expected any scalar, got &{{{}}}", Printed(value)))
        }
        _ => None,
    }
}

/// Go's `%#v`.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(members) => {
            let pairs: Vec<String> =
                members.iter().map(|(name, member)| format!("{name:?}:{}", go_syntax(member))).collect();
            format!("map[string]interface {{}}{{{}}}", pairs.join(", "))
        }
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// Go's `%T`.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
