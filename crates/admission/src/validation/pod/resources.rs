//! Requests and limits of containers and of the Pod (R1.39a, R1.46, K9).

use outrigger_api::Quantity;
use serde_json::Value;

use super::Scope;
use crate::defaults::aggregate_requests;
use crate::field::Findings;
use crate::tree;
use crate::validation::names;
use crate::validation::text::{self, quantity_text};

/// The resources of the container at `path`.
pub(super) fn of_container(container: &Value, path: &str, findings: &mut Findings) {
    let Some(resources) = container.get("resources").filter(|resources| resources.is_object()) else {
        return;
    };
    let at = format!("{path}.resources");
    check(resources, &at, findings);
    let mut claims: Vec<&str> = Vec::new();
    for (index, claim) in tree::list(resources, "claims").iter().enumerate() {
        let name = tree::text(claim, "name");
        if name.is_empty() {
            findings.required(&format!("{at}.claims[{index}].name"), "");
        } else if claims.contains(&name) {
            findings.duplicate(&format!("{at}.claims[{index}]"), name);
        }
        claims.push(name);
    }
}

/// What holds for the requirements of a container and of a Pod alike.
fn check(resources: &Value, at: &str, findings: &mut Findings) {
    let empty = Value::Null;
    let (requests, limits) =
        (resources.get("requests").unwrap_or(&empty), resources.get("limits").unwrap_or(&empty));
    for (name, amount) in entries(limits) {
        name_and_amount(name, amount, &format!("{at}.limits[{name}]"), findings);
    }
    for (name, amount) in entries(requests) {
        name_and_amount(name, amount, &format!("{at}.requests[{name}]"), findings);
        within_limit(name, amount, limits.get(name), at, findings);
    }
    let has = |name: &str| requests.get(name).is_some() || limits.get(name).is_some();
    let huge = entries(requests).chain(entries(limits)).any(|(name, _)| name.starts_with("hugepages-"));
    if huge && !has("cpu") && !has("memory") {
        findings.forbidden(at, "HugePages require cpu or memory");
    }
}

fn entries(list: &Value) -> impl Iterator<Item = (&String, &Value)> {
    list.as_object().into_iter().flatten()
}

fn name_and_amount(name: &str, amount: &Value, field: &str, findings: &mut Findings) {
    let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if let Some(why) = names::qualified(name) {
        findings.invalid(field, name, &why);
    } else if !standard && !name.contains('/') {
        findings.invalid(field, name, "must be a standard resource type or fully qualified");
        findings.invalid(field, name, "must be a standard resource for containers");
    }
    let Some(quantity) = Quantity::from_json(amount) else { return };
    if quantity.is_negative() {
        findings.invalid(field, quantity_text(amount), text::NOT_NEGATIVE);
    }
    if name.contains('/') && !quantity.is_whole() {
        findings.invalid(field, quantity_text(amount), "must be an integer");
    }
}

/// R1.39a; what cannot be overcommitted must be requested exactly as limited.
fn within_limit(name: &str, request: &Value, limit: Option<&Value>, at: &str, findings: &mut Findings) {
    let overcommits = matches!(name, "cpu" | "memory" | "ephemeral-storage");
    let field = format!("{at}.requests");
    let Some(limit) = limit else {
        if !overcommits {
            findings.required(&format!("{at}.limits"), "Limit must be set for non overcommitable resources");
        }
        return;
    };
    let (asked, most) = (Quantity::from_json(request), Quantity::from_json(limit));
    let (text, bound) = (quantity_text(request), quantity_text(limit));
    if !overcommits && asked != most {
        findings.invalid(&field, text, &format!("must be equal to {name} limit of {bound}"));
    } else if overcommits && asked > most {
        findings.invalid(&field, text, &format!("must be less than or equal to {name} limit of {bound}"));
    }
}

/// R1.46.
pub(super) fn of_pod(of: &Scope<'_>, findings: &mut Findings) {
    let Some(resources) = of.spec.get("resources").filter(|resources| resources.is_object()) else { return };
    let at = of.at("resources");
    if !tree::list(resources, "claims").is_empty() {
        findings.forbidden(&format!("{at}.claims"), "claims may not be set for Resources at pod-level");
    }
    check(resources, &at, findings);
    let empty = Value::Null;
    for (name, request) in entries(resources.get("requests").unwrap_or(&empty)) {
        let Some(total) = aggregate_requests(of.spec, name) else { continue };
        if Quantity::from_json(request).is_some_and(|request| request < total) {
            let why = format!("must be greater than or equal to aggregate container requests of {total}");
            findings.invalid(&format!("{at}.requests[{name}]"), quantity_text(request), &why);
        }
    }
    let limits = resources.get("limits").unwrap_or(&empty);
    for (index, container) in tree::list(of.spec, "containers").iter().enumerate() {
        let own = container.get("resources").and_then(|own| own.get("limits")).unwrap_or(&empty);
        for (name, limit) in entries(own) {
            let Some(most) = limits.get(name) else { continue };
            if Quantity::from_json(limit) > Quantity::from_json(most) {
                findings.invalid(
                    &format!("{at}.containers[{index}][{name}].limits"),
                    quantity_text(limit),
                    &format!("must be less than or equal to pod limits of {}", quantity_text(most)),
                );
            }
        }
    }
}
