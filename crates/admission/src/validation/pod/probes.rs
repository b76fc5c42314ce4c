//! Probes, lifecycle hooks and their handlers (R1.18-R1.25).

use serde_json::Value;

use super::Scope;
use crate::field::Findings;
use crate::tree;
use crate::validation::text;

/// The probes and hooks of an app or sidecar container at `path`.
pub(super) fn check(of: &Scope<'_>, container: &Value, path: &str, findings: &mut Findings) {
    if let Some(lifecycle) = container.get("lifecycle").filter(|lifecycle| lifecycle.is_object()) {
        for hook in ["postStart", "preStop"] {
            if let Some(handler) = lifecycle.get(hook).filter(|handler| handler.is_object()) {
                handle(of, handler, &format!("{path}.lifecycle.{hook}"), true, findings);
            }
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get(name).filter(|probe| probe.is_object()) {
            check_probe(of, name, probe, &format!("{path}.{name}"), findings);
        }
    }
}

fn check_probe(of: &Scope<'_>, name: &str, probe: &Value, path: &str, findings: &mut Findings) {
    handle(of, probe, path, false, findings);
    for key in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        text::not_negative(probe, key, path, findings);
    }
    let field = format!("{path}.terminationGracePeriodSeconds");
    if let Some(seconds) = tree::int(probe, "terminationGracePeriodSeconds") {
        if seconds <= 0 {
            findings.invalid(&field, seconds, "must be greater than 0");
        }
        if name == "readinessProbe" {
            findings.invalid(&field, seconds, "must not be set for readinessProbes");
        }
    }
    let success = tree::int(probe, "successThreshold").unwrap_or(1);
    if name != "readinessProbe" && success != 1 {
        findings.invalid(&format!("{path}.successThreshold"), success, "must be 1");
    }
}

/// Exactly one action; hooks also know `sleep`, probes also know `grpc` (R1.22).
fn handle(of: &Scope<'_>, handler: &Value, path: &str, is_hook: bool, findings: &mut Findings) {
    let own = if is_hook { "sleep" } else { "grpc" };
    let mut chosen = 0;
    for action in ["exec", "httpGet", "tcpSocket", own] {
        let Some(value) = handler.get(action).filter(|value| value.is_object()) else { continue };
        chosen += 1;
        let at = format!("{path}.{action}");
        if chosen > 1 {
            findings.forbidden(&at, "may not specify more than 1 handler type");
            continue;
        }
        check_action(of, action, value, &at, findings);
    }
    if chosen == 0 {
        findings.required(path, "must specify a handler type");
    }
}

/// R1.23-R1.25.
fn check_action(of: &Scope<'_>, action: &str, value: &Value, at: &str, findings: &mut Findings) {
    let port = value.get("port").unwrap_or(&Value::Null);
    match action {
        "exec" if tree::list(value, "command").is_empty() => {
            findings.required(&format!("{at}.command"), "");
        }
        "httpGet" => {
            text::required(value, "path", at, findings);
            text::port_or_name(port, &format!("{at}.port"), findings);
            text::word(value, "scheme", &["HTTP", "HTTPS"], at, findings);
            for (index, header) in tree::list(value, "httpHeaders").iter().enumerate() {
                let name = tree::text(header, "name");
                if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                    findings.invalid(
                        &format!("{at}.httpHeaders[{index}].name"),
                        name,
                        "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', \
                         regex used for validation is '[-A-Za-z0-9]+')",
                    );
                }
            }
        }
        "tcpSocket" => text::port_or_name(port, &format!("{at}.port"), findings),
        "grpc" => text::port_number(port.as_i64().unwrap_or(0), &format!("{at}.port"), findings),
        "sleep" => {
            let (seconds, grace) = (tree::int(value, "seconds").unwrap_or(0), of.grace());
            if seconds < 0 || seconds > grace {
                let why =
                    format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                findings.invalid(at, seconds, &why);
            }
        }
        _ => {}
    }
}
