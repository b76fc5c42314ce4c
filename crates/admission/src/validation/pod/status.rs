//! What a write to a Pod's status may not do (R1.51, K11).

use outrigger_api::Object;
use serde_json::Value;

use crate::field::Findings;
use crate::tree;
use crate::validation::ABSENT;

/// Checks a status write.
pub(in crate::validation) fn update(new: &Object, old: &Object, findings: &mut Findings) {
    let spec = old.0.get("spec").unwrap_or(ABSENT);
    let (is, was) = (new.0.get("status").unwrap_or(ABSENT), old.0.get("status").unwrap_or(ABSENT));
    let (class, first) = (tree::text(is, "qosClass"), tree::text(was, "qosClass"));
    if class != first {
        findings.invalid("status.qosClass", class, "field is immutable");
    }
    if restarts_everything(spec) {
        return;
    }
    for (statuses, containers) in
        [("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")]
    {
        for (index, before) in tree::list(was, statuses).iter().enumerate() {
            let name = tree::text(before, "name");
            let Some(code) = exit_code(before) else { continue };
            let named = |item: &&Value| tree::text(item, "name") == name;
            let Some(after) = tree::list(is, statuses).iter().find(named) else { continue };
            if exit_code(after).is_some() {
                continue;
            }
            let Some(container) = tree::list(spec, containers).iter().find(named) else { continue };
            let sidecar =
                containers == "initContainers" && tree::text(container, "restartPolicy") == "Always";
            if !sidecar && !may_restart(spec, container, code) {
                let field = format!("status.{statuses}[{index}].state");
                findings.forbidden(&field, "may not be transitioned to non-terminated state");
            }
        }
    }
}

fn exit_code(status: &Value) -> Option<i64> {
    let terminated = status.get("state")?.get("terminated").filter(|state| !state.is_null())?;
    Some(tree::int(terminated, "exitCode").unwrap_or(0))
}

fn restarts_everything(spec: &Value) -> bool {
    ["containers", "initContainers"]
        .iter()
        .flat_map(|field| tree::list(spec, field))
        .flat_map(|container| tree::list(container, "restartPolicyRules"))
        .any(|rule| tree::text(rule, "action") == "RestartAllContainers")
}

/// R5.4.
fn may_restart(spec: &Value, container: &Value, code: i64) -> bool {
    let own = tree::text(container, "restartPolicy");
    let rules = if own.is_empty() { &[] } else { tree::list(container, "restartPolicyRules") };
    let ruled = rules.iter().filter_map(|rule| rule.get("exitCodes")).any(|codes| {
        let listed = tree::list(codes, "values").iter().any(|value| value.as_i64() == Some(code));
        listed == (tree::text(codes, "operator") == "In")
    });
    let policy = if own.is_empty() { tree::text(spec, "restartPolicy") } else { own };
    ruled
        || match policy {
            "Never" => false,
            "OnFailure" => code != 0,
            _ => true,
        }
}
