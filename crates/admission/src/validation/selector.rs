//! Label selectors inside objects: whether they make sense, and whether labels fit them (K25-K29, K33).

use serde_json::{Map, Value};

use super::names;
use crate::field::Findings;
use crate::tree;

/// Checks `matchLabels` and `matchExpressions`.
pub(super) fn check(selector: &Value, path: &str, findings: &mut Findings) {
    match_labels(selector.get("matchLabels"), &format!("{path}.matchLabels"), findings);
    for (index, expression) in tree::list(selector, "matchExpressions").iter().enumerate() {
        let at = format!("{path}.matchExpressions[{index}]");
        let values = tree::list(expression, "values");
        match tree::text(expression, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                findings.required(
                    &format!("{at}.values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                );
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => findings.forbidden(
                &format!("{at}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => findings.invalid(&format!("{at}.operator"), other, "not a valid selector operator"),
        }
        let key = tree::text(expression, "key");
        if let Some(why) = names::qualified(key) {
            findings.invalid(&format!("{at}.key"), key, &why);
        }
        for (place, value) in values.iter().filter_map(Value::as_str).enumerate() {
            if let Some(why) = names::label_value(value) {
                findings.invalid(&format!("{at}.values[{place}]"), value, &why);
            }
        }
    }
}

/// Checks a plain map of labels.
pub(super) fn match_labels(labels: Option<&Value>, path: &str, findings: &mut Findings) {
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        if let Some(why) = names::qualified(key) {
            findings.invalid(path, key.as_str(), &why);
        }
        let value = value.as_str().unwrap_or_default();
        if let Some(why) = names::label_value(value) {
            findings.invalid(path, value, &why);
        }
    }
}

/// Whether a selector names nothing and so would match everything.
pub(super) fn is_empty(selector: &Value) -> bool {
    selector.get("matchLabels").and_then(Value::as_object).is_none_or(Map::is_empty)
        && tree::list(selector, "matchExpressions").is_empty()
}

/// Whether `labels` fit the selector.
pub(super) fn matches(selector: &Value, labels: &Value) -> bool {
    contains(labels, selector.get("matchLabels"))
        && tree::list(selector, "matchExpressions").iter().all(|expression| {
            let value = labels.get(tree::text(expression, "key"));
            let listed = || value.is_some_and(|value| tree::list(expression, "values").contains(value));
            match tree::text(expression, "operator") {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        })
}

/// Whether `labels` hold every pair of a plain map.
pub(super) fn contains(labels: &Value, wanted: Option<&Value>) -> bool {
    wanted
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .all(|(key, value)| labels.get(key).is_some_and(|label| label == value))
}
