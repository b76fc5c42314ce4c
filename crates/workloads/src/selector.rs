//! Label selectors as objects carry them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use outrigger_api::selector::{LabelSelector, Operator, Requirement};

/// Reads an object's selector. `None` selects nothing and is `None`; an empty one selects everything. An operator
/// from the future selects nothing either.
pub fn of(selector: Option<&meta::LabelSelector>) -> Option<LabelSelector> {
    let selector = selector?;
    let exact = selector
        .match_labels
        .iter()
        .flatten()
        .map(|(key, value)| Requirement { key: key.clone(), operator: Operator::In(vec![value.clone()]) });
    let mut requirements: Vec<Requirement> = exact.collect();
    for one in selector.match_expressions.iter().flatten() {
        let values = one.values.clone().unwrap_or_default();
        let operator = match one.operator.as_str() {
            "In" => Operator::In(values),
            "NotIn" => Operator::NotIn(values),
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::Absent,
            _ => return None,
        };
        requirements.push(Requirement { key: one.key.clone(), operator });
    }
    Some(LabelSelector { requirements })
}

/// A selector that is a plain set of labels (Services, ReplicationControllers).
pub fn of_labels(labels: &BTreeMap<String, String>) -> LabelSelector {
    let exact = labels
        .iter()
        .map(|(key, value)| Requirement { key: key.clone(), operator: Operator::In(vec![value.clone()]) });
    LabelSelector { requirements: exact.collect() }
}

/// Whether an object with this metadata is selected.
pub fn selects(selector: &LabelSelector, metadata: &meta::ObjectMeta) -> bool {
    let labels = metadata.labels.as_ref();
    selector.matches(|key| labels.and_then(|labels| labels.get(key)).map(String::as_str))
}
