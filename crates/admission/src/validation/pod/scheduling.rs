//! Where a Pod may run: affinity, spreading, tolerations, gates (K9).

use serde_json::Value;

use super::Scope;
use crate::field::Findings;
use crate::tree;
use crate::validation::{names, selector, text};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "PreferNoSchedule"];

/// `spec.affinity`.
pub(super) fn affinity(of: &Scope<'_>, findings: &mut Findings) {
    let Some(affinity) = of.spec.get("affinity").filter(|affinity| affinity.is_object()) else { return };
    let at = of.at("affinity");
    if let Some(node) = affinity.get("nodeAffinity").filter(|node| node.is_object()) {
        node_affinity(node, &format!("{at}.nodeAffinity"), findings);
    }
    for member in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = affinity.get(member).filter(|pods| pods.is_object()) else { continue };
        for (index, term) in tree::list(pods, REQUIRED).iter().enumerate() {
            pod_term(term, &format!("{at}.{member}.{REQUIRED}[{index}]"), findings);
        }
        for (index, weighted) in tree::list(pods, PREFERRED).iter().enumerate() {
            let at = format!("{at}.{member}.{PREFERRED}[{index}]");
            weight(weighted, &at, findings);
            let term = weighted.get("podAffinityTerm").unwrap_or(&Value::Null);
            pod_term(term, &format!("{at}.podAffinityTerm"), findings);
        }
    }
}

fn weight(weighted: &Value, at: &str, findings: &mut Findings) {
    let weight = tree::int(weighted, "weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        findings.invalid(&format!("{at}.weight"), weight, "must be in the range 1-100");
    }
}

fn node_affinity(node: &Value, at: &str, findings: &mut Findings) {
    if let Some(required) = node.get(REQUIRED).filter(|required| required.is_object()) {
        node_selector(required, &format!("{at}.{REQUIRED}"), findings);
    }
    for (index, weighted) in tree::list(node, PREFERRED).iter().enumerate() {
        let at = format!("{at}.{PREFERRED}[{index}]");
        weight(weighted, &at, findings);
        let term = weighted.get("preference").unwrap_or(&Value::Null);
        node_term(term, &format!("{at}.preference"), findings);
    }
}

/// A node selector; also what a persistent volume carries.
pub(in crate::validation) fn node_selector(required: &Value, at: &str, findings: &mut Findings) {
    let terms = tree::list(required, "nodeSelectorTerms");
    if terms.is_empty() {
        findings.required(&format!("{at}.nodeSelectorTerms"), "must have at least one node selector term");
    }
    for (index, term) in terms.iter().enumerate() {
        node_term(term, &format!("{at}.nodeSelectorTerms[{index}]"), findings);
    }
}

fn node_term(term: &Value, at: &str, findings: &mut Findings) {
    for (index, rule) in tree::list(term, "matchExpressions").iter().enumerate() {
        let at = format!("{at}.matchExpressions[{index}]");
        let values = tree::list(rule, "values");
        let field = format!("{at}.values");
        match tree::text(rule, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                findings.required(&field, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                findings.forbidden(&field, why);
            }
            "Gt" | "Lt" if values.len() != 1 => {
                findings.required(&field, "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => {
                findings.invalid(&format!("{at}.operator"), other, "not a valid selector operator");
            }
        }
        let key = tree::text(rule, "key");
        if let Some(why) = names::qualified(key) {
            findings.invalid(&format!("{at}.key"), key, &why);
        }
    }
    for (index, rule) in tree::list(term, "matchFields").iter().enumerate() {
        let at = format!("{at}.matchFields[{index}]");
        if tree::text(rule, "key") != "metadata.name" {
            findings.invalid(&format!("{at}.key"), tree::text(rule, "key"), "not a valid field selector key");
        }
        match tree::text(rule, "operator") {
            "In" | "NotIn" => {
                if tree::list(rule, "values").len() != 1 {
                    let why =
                        "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                    findings.required(&format!("{at}.values"), why);
                }
            }
            other => findings.invalid(&format!("{at}.operator"), other, "not a valid selector operator"),
        }
    }
}

fn pod_term(term: &Value, at: &str, findings: &mut Findings) {
    for member in ["labelSelector", "namespaceSelector"] {
        if let Some(labels) = term.get(member).filter(|labels| labels.is_object()) {
            selector::check(labels, &format!("{at}.{member}"), findings);
        }
    }
    for (index, name) in tree::list(term, "namespaces").iter().filter_map(Value::as_str).enumerate() {
        if let Some(why) = names::dns_label(name) {
            findings.invalid(&format!("{at}.namespaces[{index}]"), name, &why);
        }
    }
    topology_key(term, at, findings);
}

fn topology_key(holder: &Value, at: &str, findings: &mut Findings) {
    let key = tree::text(holder, "topologyKey");
    let field = format!("{at}.topologyKey");
    if key.is_empty() {
        findings.required(&field, "can not be empty");
    } else if let Some(why) = names::qualified(key) {
        findings.invalid(&field, key, &why);
    }
}

/// Readiness gates, scheduling gates, spreading and tolerations.
pub(super) fn rest(of: &Scope<'_>, findings: &mut Findings) {
    for (index, gate) in tree::list(of.spec, "readinessGates").iter().enumerate() {
        let name = tree::text(gate, "conditionType");
        if let Some(why) = names::qualified(name) {
            findings.invalid(&of.at(&format!("readinessGates[{index}].conditionType")), name, &why);
        }
    }
    let mut gates: Vec<&str> = Vec::new();
    for (index, gate) in tree::list(of.spec, "schedulingGates").iter().enumerate() {
        let name = tree::text(gate, "name");
        if let Some(why) = names::qualified(name) {
            findings.invalid(&of.at(&format!("schedulingGates[{index}].name")), name, &why);
        }
        if gates.contains(&name) {
            findings.duplicate(&of.at(&format!("schedulingGates[{index}]")), name);
        }
        gates.push(name);
    }
    spreading(of, findings);
    for (index, toleration) in tree::list(of.spec, "tolerations").iter().enumerate() {
        check_toleration(toleration, &of.at(&format!("tolerations[{index}]")), findings);
    }
}

fn spreading(of: &Scope<'_>, findings: &mut Findings) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (index, constraint) in tree::list(of.spec, "topologySpreadConstraints").iter().enumerate() {
        let at = of.at(&format!("topologySpreadConstraints[{index}]"));
        let skew = tree::int(constraint, "maxSkew").unwrap_or(0);
        if skew <= 0 {
            findings.invalid(&format!("{at}.maxSkew"), skew, "must be greater than zero");
        }
        topology_key(constraint, &at, findings);
        let action = tree::text(constraint, "whenUnsatisfiable");
        if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
            let field = format!("{at}.whenUnsatisfiable");
            findings.unsupported(&field, action, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        let pair = (tree::text(constraint, "topologyKey"), action);
        if seen.contains(&pair) {
            let field = format!("{at}.{{topologyKey, whenUnsatisfiable}}");
            findings.duplicate(&field, format!("{{{}, {}}}", pair.0, pair.1));
        }
        seen.push(pair);
        if let Some(domains) = tree::int(constraint, "minDomains") {
            let field = format!("{at}.minDomains");
            if domains <= 0 {
                findings.invalid(&field, domains, "must be greater than 0");
            }
            if action != "DoNotSchedule" {
                let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                findings.invalid(&field, domains, &why);
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            text::word(constraint, policy, &["Honor", "Ignore"], &at, findings);
        }
        if let Some(labels) = constraint.get("labelSelector").filter(|labels| labels.is_object()) {
            selector::check(labels, &format!("{at}.labelSelector"), findings);
        }
    }
}

/// One toleration.
pub(super) fn check_toleration(toleration: &Value, at: &str, findings: &mut Findings) {
    let (key, operator) = (tree::text(toleration, "key"), tree::text(toleration, "operator"));
    let value = tree::text(toleration, "value");
    let effect = tree::text(toleration, "effect");
    if !key.is_empty()
        && let Some(why) = names::qualified(key)
    {
        findings.invalid(&format!("{at}.key"), key, &why);
    }
    if key.is_empty() && operator != "Exists" {
        findings.invalid(
            &format!("{at}.operator"),
            operator,
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        );
    }
    if toleration.get("tolerationSeconds").is_some_and(Value::is_number) && effect != "NoExecute" {
        let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        findings.invalid(&format!("{at}.effect"), effect, why);
    }
    match operator {
        "" | "Equal" => {
            if let Some(why) = names::label_value(value) {
                findings.invalid(&format!("{at}.operator"), value, &why);
            }
        }
        "Exists" if !value.is_empty() => {
            let why = "value must be empty when `operator` is 'Exists'";
            findings.invalid(&format!("{at}.operator"), toleration.clone(), why);
        }
        "Exists" => {}
        other => findings.unsupported(&format!("{at}.operator"), other, &["Equal", "Exists"]),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        findings.unsupported(&format!("{at}.effect"), effect, EFFECTS);
    }
}
