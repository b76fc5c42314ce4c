//! App, init and ephemeral containers: names, images, ports, restart rules (R1.13-R1.17, R1.26-R1.29, R1.37, R1.38).

use serde_json::Value;

use super::{Scope, env, ephemeral, mounts, probes, resources, security};
use crate::field::Findings;
use crate::tree;
use crate::validation::{names, text};

const MAX_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;

/// All containers; `volumes` are the names of the Pod's volumes.
pub(super) fn check(of: &Scope<'_>, volumes: &[&str], findings: &mut Findings) {
    let apps = tree::list(of.spec, "containers");
    if apps.is_empty() {
        findings.required(&of.at("containers"), ""); // R1.13
    }
    let mut names: Vec<&str> = Vec::new();
    for (index, container) in apps.iter().enumerate() {
        let path = of.at(&format!("containers[{index}]"));
        common(of, container, volumes, &path, findings);
        unique(&mut names, container, &path, findings);
        probes::check(of, container, &path, findings);
        restart_rules(container, &path, findings);
    }
    host_ports(apps, |index| of.at(&format!("containers[{index}]")), findings);
    for (index, container) in tree::list(of.spec, "initContainers").iter().enumerate() {
        let path = of.at(&format!("initContainers[{index}]"));
        common(of, container, volumes, &path, findings);
        unique(&mut names, container, &path, findings);
        init(of, container, &path, findings);
        restart_rules(container, &path, findings);
        host_ports(std::slice::from_ref(container), |_| path.clone(), findings);
    }
    for (index, container) in tree::list(of.spec, "ephemeralContainers").iter().enumerate() {
        let path = of.at(&format!("ephemeralContainers[{index}]"));
        common(of, container, volumes, &path, findings);
        unique(&mut names, container, &path, findings);
        ephemeral::check(of, container, &path, findings);
    }
}

/// R1.15.
fn unique<'a>(names: &mut Vec<&'a str>, container: &'a Value, path: &str, findings: &mut Findings) {
    let name = tree::text(container, "name");
    if !name.is_empty() {
        if names.contains(&name) {
            findings.duplicate(&format!("{path}.name"), name);
        }
        names.push(name);
    }
}

/// What every container answers to.
fn common(of: &Scope<'_>, container: &Value, volumes: &[&str], path: &str, findings: &mut Findings) {
    let name = tree::text(container, "name");
    if name.is_empty() {
        findings.required(&format!("{path}.name"), "");
    } else if let Some(why) = names::dns_label(name) {
        findings.invalid(&format!("{path}.name"), name, &why);
    }
    image(of, container, path, findings);
    text::word(container, "terminationMessagePolicy", &["FallbackToLogsOnError", "File"], path, findings);
    ports(container, path, findings);
    env::check(of, container, path, findings);
    mounts::check(container, volumes, path, findings);
    if of.has_own_users() && !tree::list(container, "volumeDevices").is_empty() {
        findings.forbidden(&format!("{path}.volumeDevices"), "when `hostUsers` is false"); // R1.45
    }
    text::word(container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], path, findings);
    resources::of_container(container, path, findings);
    resize_policy(of, container, path, findings);
    security::of_container(of, container, path, findings);
}

/// R1.16.
fn image(of: &Scope<'_>, container: &Value, path: &str, findings: &mut Findings) {
    let image = tree::text(container, "image");
    let field = format!("{path}.image");
    if image.is_empty() {
        findings.required(&field, "");
    } else if !of.template && image.trim() != image {
        findings.invalid(&field, image, "must not have leading or trailing whitespace");
    }
}

/// R1.29, one container.
fn ports(container: &Value, path: &str, findings: &mut Findings) {
    let mut taken: Vec<&str> = Vec::new();
    for (index, port) in tree::list(container, "ports").iter().enumerate() {
        let at = format!("{path}.ports[{index}]");
        let name = tree::text(port, "name");
        if !name.is_empty() {
            text::port_name(name, &format!("{at}.name"), findings);
            if taken.contains(&name) {
                findings.duplicate(&format!("{at}.name"), name);
            }
            taken.push(name);
        }
        match tree::int(port, "containerPort").unwrap_or(0) {
            0 => findings.required(&format!("{at}.containerPort"), ""),
            number => text::port_number(number, &format!("{at}.containerPort"), findings),
        }
        if let Some(number) = tree::int(port, "hostPort").filter(|number| *number != 0) {
            text::port_number(number, &format!("{at}.hostPort"), findings);
        }
        text::protocol(port, &at, findings);
        let address = tree::text(port, "hostIP");
        if !address.is_empty() {
            text::address(address, &format!("{at}.hostIP"), findings);
        }
    }
}

/// R1.29, between containers.
fn host_ports(containers: &[Value], path: impl Fn(usize) -> String, findings: &mut Findings) {
    let mut taken: Vec<String> = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        for (place, port) in tree::list(container, "ports").iter().enumerate() {
            let Some(number) = tree::int(port, "hostPort").filter(|number| *number != 0) else { continue };
            let claim = format!("{}/{}/{number}", tree::text(port, "protocol"), tree::text(port, "hostIP"));
            if taken.contains(&claim) {
                findings.duplicate(&format!("{}.ports[{place}].hostPort", path(index)), claim);
            } else {
                taken.push(claim);
            }
        }
    }
}

fn is_sidecar(container: &Value) -> bool {
    tree::text(container, "restartPolicy") == "Always"
}

/// R1.17, R1.37.
fn init(of: &Scope<'_>, container: &Value, path: &str, findings: &mut Findings) {
    if is_sidecar(container) {
        probes::check(of, container, path, findings);
        return;
    }
    for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if container.get(field).is_some_and(|value| !value.is_null()) {
            let why = "may not be set for init containers without restartPolicy=Always";
            findings.forbidden(&format!("{path}.{field}"), why);
        }
    }
    for (index, policy) in tree::list(container, "resizePolicy").iter().enumerate() {
        if tree::text(policy, "restartPolicy") == "RestartContainer" {
            findings.invalid(
                &format!("{path}.resizePolicy[{index}].restartPolicy"),
                "RestartContainer",
                "must not be set to 'RestartContainer' for non-sidecar initContainers",
            );
        }
    }
}

/// R1.26-R1.28.
fn restart_rules(container: &Value, path: &str, findings: &mut Findings) {
    let rules = tree::list(container, "restartPolicyRules");
    if tree::text(container, "restartPolicy").is_empty() && !rules.is_empty() {
        let why = "must specify restartPolicy when restart rules are used";
        findings.required(&format!("{path}.restartPolicy"), why);
    }
    text::word(container, "restartPolicy", &["Always", "Never", "OnFailure"], path, findings);
    if rules.len() > MAX_RULES {
        findings.too_many(&format!("{path}.restartPolicyRules"), rules.len(), MAX_RULES);
    }
    for (index, rule) in rules.iter().enumerate() {
        let at = format!("{path}.restartPolicyRules[{index}]");
        match tree::text(rule, "action") {
            "Restart" | "RestartAllContainers" => {}
            other => {
                findings.unsupported(&format!("{at}.action"), other, &["Restart", "RestartAllContainers"]);
            }
        }
        let Some(codes) = rule.get("exitCodes").filter(|codes| codes.is_object()) else {
            findings.required(&format!("{at}.exitCodes"), "must be specified");
            continue;
        };
        match tree::text(codes, "operator") {
            "In" | "NotIn" => {}
            other => findings.unsupported(&format!("{at}.exitCodes.operator"), other, &["In", "NotIn"]),
        }
        let values = tree::list(codes, "values");
        if values.len() > MAX_EXIT_CODES {
            findings.too_many(&format!("{at}.exitCodes.values"), values.len(), MAX_EXIT_CODES);
        }
    }
}

/// R1.38; the path carries no index.
fn resize_policy(of: &Scope<'_>, container: &Value, path: &str, findings: &mut Findings) {
    let field = format!("{path}.resizePolicy");
    let mut seen: Vec<&str> = Vec::new();
    for policy in tree::list(container, "resizePolicy") {
        let resource = tree::text(policy, "resourceName");
        if seen.contains(&resource) {
            findings.duplicate(&field, resource);
        }
        seen.push(resource);
        if !matches!(resource, "cpu" | "memory") {
            findings.unsupported(&field, resource, &["cpu", "memory"]);
        }
        let action = tree::text(policy, "restartPolicy");
        if !matches!(action, "NotRequired" | "RestartContainer") {
            findings.unsupported(&field, action, &["NotRequired", "RestartContainer"]);
        }
        if tree::text(of.spec, "restartPolicy") == "Never" && action != "NotRequired" {
            findings.invalid(&field, action, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}
