//! An applied body put on top of the live object (F4e, F4i).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::items;
use super::shape::Typed;
use super::step::Step;
use super::walk::granular;

/// `live` with what `applied` says; where both speak, `applied` wins.
pub(super) fn merge(
    typed: Typed,
    live: &Map<String, Value>,
    applied: &Map<String, Value>,
) -> Map<String, Value> {
    members(typed, live, applied)
}

fn value(typed: Typed, live: &Value, applied: &Value) -> Value {
    match (live, applied) {
        (Value::Object(live), Value::Object(applied)) if granular(typed) => {
            Value::Object(members(typed, live, applied))
        }
        (Value::Array(live), Value::Array(applied)) if typed.is_associative() => {
            Value::Array(list(typed, live, applied))
        }
        _ => applied.clone(),
    }
}

fn members(typed: Typed, live: &Map<String, Value>, applied: &Map<String, Value>) -> Map<String, Value> {
    let mut merged = live.clone();
    for (name, value) in applied {
        let value = match (live.get(name), typed.member(name)) {
            (Some(there), Some(inner)) => self::value(inner, there, value),
            _ => value.clone(),
        };
        merged.insert(name.clone(), value);
    }
    merged
}

/// Applied items come in applied order; those of others keep their place among the live ones (F4i). A new item comes
/// as early as the applied order allows.
fn list(typed: Typed, live: &[Value], applied: &[Value]) -> Vec<Value> {
    let (Ok(live_steps), Ok(applied_steps)) = (items::steps(typed, live), items::steps(typed, applied))
    else {
        return applied.to_vec();
    };
    let mut by_step: BTreeMap<&Step, &Value> = BTreeMap::new();
    for (step, item) in live_steps.iter().zip(live) {
        by_step.entry(step).or_insert(item);
    }
    let applied_set: BTreeSet<&Step> = applied_steps.iter().collect();
    let mut waiting = applied_steps.iter().zip(applied).peekable();
    let mut merged = Vec::with_capacity(live.len() + applied.len());
    let one = |(step, item): (&Step, &Value)| match by_step.get(step) {
        Some(there) => value(typed.item(), there, item),
        None => item.clone(),
    };
    for (step, item) in live_steps.iter().zip(live) {
        if !applied_set.contains(step) {
            merged.push(item.clone());
            continue;
        }
        // The next applied item that is live already; others of them have been put out or come later.
        let next = waiting.clone().map(|(step, _)| step).find(|step| by_step.contains_key(*step));
        if next == Some(step) {
            for pair in waiting.by_ref() {
                merged.push(one(pair));
                if pair.0 == step {
                    break;
                }
            }
        }
    }
    merged.extend(waiting.map(one));
    merged
}
