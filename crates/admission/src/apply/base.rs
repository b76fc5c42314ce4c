//! What a new object is compared with: the empty object of its kind (F5c).
//!
//! Upstream's empty object is not `{}`: structs held by value and members that are never left out are in it. They count
//! as present before the write, so their own node is not recorded as added.

use outrigger_schema::{Definition, Shape};
use serde_json::{Map, Value, json};

use super::shape::{Form, Typed};

/// Structs held by value though they may be left out.
const HELD: &[(&str, &[&str])] = &[
    ("DaemonSetSpec", &["updateStrategy"]),
    ("DeploymentSpec", &["strategy"]),
    ("IngressStatus", &["loadBalancer"]),
    ("JobTemplateSpec", &["metadata", "spec"]),
    ("NodeStatus", &["daemonEndpoints", "nodeInfo"]),
    ("NodeDaemonEndpoints", &["kubeletEndpoint"]),
    ("PersistentVolumeClaimSpec", &["resources"]),
    ("PodTemplateSpec", &["metadata", "spec"]),
    ("ServiceStatus", &["loadBalancer"]),
    ("StatefulSetSpec", &["updateStrategy"]),
];

/// The empty object of a kind.
pub(super) fn empty(typed: Typed) -> Map<String, Value> {
    match typed.form {
        Form::Struct(definition) => of(definition, true),
        _ => [("metadata".to_owned(), json!({}))].into_iter().collect(),
    }
}

fn of(definition: Definition, top: bool) -> Map<String, Value> {
    let held = HELD.iter().find(|(name, _)| *name == definition.short_name()).map_or(&[][..], |row| row.1);
    let mut members = Map::new();
    for field in definition.fields() {
        let by_value =
            held.contains(&field.name) || (top && matches!(field.name, "metadata" | "spec" | "status"));
        let value = match field.ty.shape() {
            Shape::Struct(inner) if by_value => Value::Object(of(inner, false)),
            _ if !field.required => continue,
            // Held by reference or by value: either way it is there before it says anything.
            Shape::Struct(inner) if !outrigger_schema::merge::is_atomic(inner) => {
                Value::Object(of(inner, false))
            }
            Shape::String => json!(""),
            Shape::Int32 | Shape::Int64 | Shape::Number => json!(0),
            Shape::Boolean => json!(false),
            _ => Value::Null,
        };
        members.insert(field.name.to_owned(), value);
    }
    members
}
