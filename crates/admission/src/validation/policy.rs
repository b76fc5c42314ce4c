//! Small kinds that limit, count or schedule: LimitRange, ResourceQuota, PodDisruptionBudget, Lease, PriorityClass,
//! HorizontalPodAutoscaler (K19, K31, K32, K35, K36).

use outrigger_api::{Object, Quantity};
use serde_json::{Map, Value};

use super::text::{self, quantity_text};
use super::{ABSENT, names, selector};
use crate::field::Findings;
use crate::tree;

/// The highest priority a user may give.
const MAX_PRIORITY: i64 = 1_000_000_000;
const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

fn spec(object: &Object) -> &Value {
    object.0.get("spec").unwrap_or(ABSENT)
}

/// K19: one entry per type, and its bounds in order: min, defaultRequest, default, max.
pub(super) fn limit_range(object: &Object, findings: &mut Findings) {
    let mut types: Vec<&str> = Vec::new();
    for (index, item) in tree::list(spec(object), "limits").iter().enumerate() {
        let at = format!("spec.limits[{index}]");
        let kind = tree::text(item, "type");
        if kind.is_empty() {
            findings.required(&format!("{at}.type"), "");
        }
        if types.contains(&kind) {
            findings.duplicate(&format!("{at}.type"), kind);
        }
        types.push(kind);
        if kind == "Pod" {
            for key in ["default", "defaultRequest"] {
                if item.get(key).and_then(Value::as_object).is_some_and(|map| !map.is_empty()) {
                    findings.forbidden(&format!("{at}.{key}"), "may not be specified when `type` is 'Pod'");
                }
            }
        }
        bounds(item, &at, findings);
    }
}

fn bounds(item: &Value, at: &str, findings: &mut Findings) {
    const ORDER: [(&str, &str); 4] =
        [("min", "min"), ("defaultRequest", "default request"), ("default", "default"), ("max", "max")];
    let empty = Map::new();
    let list = |key: &str| item.get(key).and_then(Value::as_object).unwrap_or(&empty);
    for (place, (low, low_words)) in ORDER.iter().enumerate() {
        for (name, amount) in list(low) {
            for (high, high_words) in &ORDER[place + 1..] {
                let Some(bound) = list(high).get(name) else { continue };
                if Quantity::from_json(amount) > Quantity::from_json(bound) {
                    let (amount, bound) = (quantity_text(amount), quantity_text(bound));
                    let why =
                        format!("{low_words} value {amount} is greater than {high_words} value {bound}");
                    findings.invalid(&format!("{at}.{low}[{name}]"), amount, &why);
                }
            }
        }
    }
    for (name, ratio) in list("maxLimitRequestRatio") {
        if Quantity::from_json(ratio).is_some_and(|ratio| ratio < Quantity::units(1)) {
            let why = format!("ratio {} is less than 1", quantity_text(ratio));
            findings.invalid(&format!("{at}.maxLimitRequestRatio[{name}]"), quantity_text(ratio), &why);
        }
    }
}

/// K19.
pub(super) fn resource_quota(object: &Object, findings: &mut Findings) {
    let spec = spec(object);
    let hard = spec.get("hard").unwrap_or(ABSENT);
    text::amounts(hard, "spec.hard", findings);
    for name in hard.as_object().into_iter().flatten().map(|(name, _)| name) {
        let plain = name.strip_prefix("count/").unwrap_or(name);
        if names::qualified(plain).is_some() {
            let why = "must be a standard resource type or fully qualified";
            findings.invalid(&format!("spec.hard[{name}]"), name.as_str(), why);
        }
    }
    let scopes: Vec<&str> = tree::list(spec, "scopes").iter().filter_map(Value::as_str).collect();
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            findings.invalid("spec.scopes", scopes.clone(), "unsupported scope");
        }
    }
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if scopes.contains(&one) && scopes.contains(&other) {
            findings.invalid("spec.scopes", scopes.clone(), "conflicting scopes");
        }
    }
}

/// K32.
pub(super) fn disruption_budget(object: &Object, findings: &mut Findings) {
    let spec = spec(object);
    let given = |key: &str| spec.get(key).filter(|value| !value.is_null());
    if given("minAvailable").is_some() && given("maxUnavailable").is_some() {
        let why = "minAvailable and maxUnavailable cannot be both set";
        findings.invalid("spec", spec.clone(), why);
    }
    for key in ["minAvailable", "maxUnavailable"] {
        if let Some(value) = given(key) {
            text::int_or_percent(value, &format!("spec.{key}"), findings);
            if text::percent(value).is_some_and(|percent| percent > 100) {
                findings.invalid(&format!("spec.{key}"), value.clone(), "must not be greater than 100%");
            }
        }
    }
    if let Some(labels) = given("selector") {
        selector::check(labels, "spec.selector", findings);
    }
    text::word(spec, "unhealthyPodEvictionPolicy", &["AlwaysAllow", "IfHealthyBudget"], "spec", findings);
}

/// K36.
pub(super) fn lease(object: &Object, findings: &mut Findings) {
    let spec = spec(object);
    if let Some(seconds) = tree::int(spec, "leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        findings.invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0");
    }
    text::not_negative(spec, "leaseTransitions", "spec", findings);
}

/// I42, K35.
pub(super) fn priority_class(object: &Object, findings: &mut Findings) {
    let name = object.name();
    if name.starts_with("system-") {
        if !matches!(name, "system-node-critical" | "system-cluster-critical") {
            let why = "priority class names with 'system-' prefix are reserved for system use only. error: \
                       priority class is not known";
            findings.forbidden("metadata.name", why);
        }
    } else if object.at(&["value"]).and_then(Value::as_i64).is_some_and(|value| value > MAX_PRIORITY) {
        let why = format!("maximum allowed value of a user defined priority is {MAX_PRIORITY}");
        findings.forbidden("value", &why);
    }
    let policy = object.str_at(&["preemptionPolicy"]);
    if !policy.is_empty() && !matches!(policy, "Never" | "PreemptLowerPriority") {
        findings.unsupported("preemptionPolicy", policy, &["Never", "PreemptLowerPriority"]);
    }
}

/// K35.
pub(super) fn priority_class_change(new: &Object, old: &Object, findings: &mut Findings) {
    let at = |object: &Object, key: &str| object.0.get(key).cloned().unwrap_or_default();
    for key in ["value", "preemptionPolicy"] {
        if at(new, key) != at(old, key) {
            findings.forbidden(key, "may not be changed in an update.");
        }
    }
}

/// K31.
pub(super) fn autoscaler(object: &Object, findings: &mut Findings) {
    let spec = spec(object);
    let target = spec.get("scaleTargetRef").unwrap_or(ABSENT);
    for key in ["kind", "name"] {
        text::required(target, key, "spec.scaleTargetRef", findings);
    }
    if tree::text(target, "apiVersion").is_empty() {
        findings.invalid("spec.scaleTargetRef.apiVersion", "", "apiVersion must specify API group");
    }
    let least = tree::int(spec, "minReplicas");
    let most = tree::int(spec, "maxReplicas").unwrap_or(0);
    if let Some(least) = least.filter(|least| *least < 1) {
        findings.invalid("spec.minReplicas", least, "must be greater than or equal to 1");
    }
    if most < 1 {
        findings.invalid("spec.maxReplicas", most, "must be greater than 0");
    }
    if least.is_some_and(|least| most < least) {
        findings.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`");
    }
}
