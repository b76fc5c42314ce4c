//! Node (K18).

use outrigger_api::Object;
use serde_json::Value;

use super::{ABSENT, names, text};
use crate::field::Findings;
use crate::tree;

const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "PreferNoSchedule"];

/// Taints are well formed and unique by key and effect.
pub(super) fn shape(node: &Object, findings: &mut Findings) {
    let spec = node.0.get("spec").unwrap_or(ABSENT);
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (index, taint) in tree::list(spec, "taints").iter().enumerate() {
        let at = format!("spec.taints[{index}]");
        let (key, effect) = (tree::text(taint, "key"), tree::text(taint, "effect"));
        if let Some(why) = names::qualified(key) {
            findings.invalid(&format!("{at}.key"), key, &why);
        }
        if let Some(why) = names::label_value(tree::text(taint, "value")) {
            findings.invalid(&format!("{at}.value"), tree::text(taint, "value"), &why);
        }
        if effect.is_empty() {
            findings.required(&format!("{at}.effect"), "");
        }
        text::word(taint, "effect", EFFECTS, &at, findings);
        if seen.contains(&(key, effect)) {
            findings.duplicate(&at, taint.clone());
        }
        seen.push((key, effect));
    }
    for (index, range) in tree::list(spec, "podCIDRs").iter().filter_map(Value::as_str).enumerate() {
        text::block(range, &format!("spec.podCIDRs[{index}]"), findings);
    }
}

/// Two fields are set once.
pub(super) fn change(new: &Object, old: &Object, findings: &mut Findings) {
    for (field, why) in [
        ("podCIDR", "node updates may not change podCIDR except from \"\" to valid"),
        ("providerID", "node updates may not change providerID except from \"\" to valid"),
    ] {
        let (is, was) = (new.str_at(&["spec", field]), old.str_at(&["spec", field]));
        if !was.is_empty() && is != was {
            findings.forbidden(&format!("spec.{field}"), why);
        }
    }
}
