//! The two kinds whose versions differ in shape: Events (K3) and HorizontalPodAutoscalers. All other versions of a
//! group differ in name only.

use outrigger_api::Object;
use serde_json::{Map, Value, json};

/// The same object as `group`/`version`.
pub(crate) fn to_version(mut object: Object, kind: &str, group: &str, version: &str) -> Object {
    let from = object.api_version().to_owned();
    let to = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    if from == to {
        return object;
    }
    match (kind, from.as_str(), to.as_str()) {
        ("Event", "v1", _) => rename(&mut object, CORE_TO_EVENTS),
        ("Event", _, "v1") => {
            rename_back(&mut object, CORE_TO_EVENTS);
            // K3: here it is always there (R10.1: empty for the scheduler's).
            object.0.entry("source").or_insert_with(|| json!({}));
        }
        ("HorizontalPodAutoscaler", "autoscaling/v1", _) => scaler_to_v2(&mut object),
        ("HorizontalPodAutoscaler", _, "autoscaling/v1") => scaler_to_v1(&mut object),
        _ => {}
    }
    object.0.insert("apiVersion".to_owned(), json!(to));
    object
}

/// A member of core/v1 Event and its name in events.k8s.io/v1.
const CORE_TO_EVENTS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn rename(object: &mut Object, names: &[(&str, &str)]) {
    for (from, to) in names {
        move_member(object, from, to);
    }
}

fn rename_back(object: &mut Object, names: &[(&str, &str)]) {
    for (to, from) in names {
        move_member(object, from, to);
    }
}

fn move_member(object: &mut Object, from: &str, to: &str) {
    if let Some(value) = object.0.remove(from) {
        object.0.insert(to.to_owned(), value);
    }
}

/// autoscaling/v1 knows one CPU target; v2 a list of metrics.
fn scaler_to_v2(object: &mut Object) {
    let Some(spec) = object.0.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if let Some(target) = spec.remove("targetCPUUtilizationPercentage") {
        let metric = json!({
            "type": "Resource",
            "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": target } },
        });
        spec.insert("metrics".to_owned(), json!([metric]));
    }
}

fn scaler_to_v1(object: &mut Object) {
    let Some(spec) = object.0.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let metrics = spec.remove("metrics").unwrap_or_default();
    let cpu = metrics.as_array().into_iter().flatten().find_map(|metric| {
        let resource: &Map<String, Value> = metric.get("resource")?.as_object()?;
        (resource.get("name")? == "cpu").then(|| resource["target"].get("averageUtilization").cloned())?
    });
    if let Some(target) = cpu {
        spec.insert("targetCPUUtilizationPercentage".to_owned(), target);
    }
    spec.remove("behavior");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K3
    #[test]
    fn an_event_reads_the_same_through_both_groups() {
        let core = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "reason": "Started",
            "involvedObject": {"kind": "Pod"}, "message": "m", "count": 2, "source": {},
        });
        let object = Object::from_value(core.clone()).unwrap();
        let other = to_version(object, "Event", "events.k8s.io", "v1");
        assert_eq!(other.str_at(&["regarding", "kind"]), "Pod");
        assert_eq!(other.str_at(&["note"]), "m");
        assert_eq!(to_version(other, "Event", "", "v1").into_value(), core);
    }
}
