//! Services (K13). Addresses and node ports are allocated by the API server; here is only what may be asked for.

use std::net::IpAddr;

use outrigger_api::Object;
use serde_json::Value;

use super::{ABSENT, names, selector, text};
use crate::field::Findings;
use crate::tree;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const MAX_AFFINITY_SECONDS: i64 = 86_400;

/// Every version of a Service.
pub(super) fn spec(object: &Object, findings: &mut Findings) {
    let spec = object.0.get("spec").unwrap_or(ABSENT);
    let kind = tree::text(spec, "type");
    let headless = tree::text(spec, "clusterIP") == "None";
    if tree::list(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
        findings.required("spec.ports", "");
    }
    match kind {
        "" => findings.required("spec.type", ""),
        "LoadBalancer" if headless => {
            findings.invalid(
                "spec.clusterIPs[0]",
                "None",
                "may not be set to 'None' for LoadBalancer services",
            );
        }
        "NodePort" if headless => {
            findings.invalid("spec.clusterIPs[0]", "None", "may not be set to 'None' for NodePort services");
        }
        "ExternalName" => external_name(spec, findings),
        _ => {}
    }
    ports(spec, kind, findings);
    selector::match_labels(spec.get("selector"), "spec.selector", findings);
    affinity(spec, findings);
    addresses(spec, kind, findings);
    text::word(spec, "type", TYPES, "spec", findings);
    load_balancer(spec, kind, findings);
    text::word(spec, "internalTrafficPolicy", &["Cluster", "Local"], "spec", findings);
    text::word(
        spec,
        "ipFamilyPolicy",
        &["PreferDualStack", "RequireDualStack", "SingleStack"],
        "spec",
        findings,
    );
}

fn external_name(spec: &Value, findings: &mut Findings) {
    if !tree::text(spec, "clusterIP").is_empty() {
        findings.forbidden("spec.clusterIPs", "may not be set for ExternalName services");
    }
    let name = tree::text(spec, "externalName");
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.is_empty() {
        findings.required("spec.externalName", "");
    } else if let Some(why) = names::dns_subdomain(bare) {
        findings.invalid("spec.externalName", name, &why);
    }
}

fn ports(spec: &Value, kind: &str, findings: &mut Findings) {
    let ports = tree::list(spec, "ports");
    let mut names: Vec<&str> = Vec::new();
    let mut pairs: Vec<(i64, &str)> = Vec::new();
    let mut node_ports: Vec<(i64, &str)> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let at = format!("spec.ports[{index}]");
        port_name(tree::text(port, "name"), ports.len() > 1, &names, &at, findings);
        names.push(tree::text(port, "name"));
        let number = tree::int(port, "port").unwrap_or(0);
        text::port_number(number, &format!("{at}.port"), findings);
        text::protocol(port, &at, findings);
        text::port_or_name(port.get("targetPort").unwrap_or(ABSENT), &format!("{at}.targetPort"), findings);
        let protocol = tree::text(port, "protocol");
        if pairs.contains(&(number, protocol)) {
            findings.duplicate(&at, port.clone());
        }
        pairs.push((number, protocol));
        let Some(node) = tree::int(port, "nodePort").filter(|node| *node != 0) else { continue };
        if matches!(kind, "ClusterIP" | "ExternalName") {
            let why = format!("may not be used when `type` is '{kind}'");
            findings.forbidden(&format!("{at}.nodePort"), &why);
        }
        if node_ports.contains(&(node, protocol)) {
            findings.duplicate(&format!("{at}.nodePort"), node);
        }
        node_ports.push((node, protocol));
    }
}

fn port_name(name: &str, needed: bool, taken: &[&str], at: &str, findings: &mut Findings) {
    let field = format!("{at}.name");
    if name.is_empty() {
        if needed {
            findings.required(&field, "");
        }
    } else if let Some(why) = names::dns_label(name) {
        findings.invalid(&field, name, &why);
    } else if taken.contains(&name) {
        findings.duplicate(&field, name);
    }
}

fn affinity(spec: &Value, findings: &mut Findings) {
    match tree::text(spec, "sessionAffinity") {
        "" => findings.required("spec.sessionAffinity", ""),
        "None" => {}
        "ClientIP" => {
            let seconds = spec
                .get("sessionAffinityConfig")
                .and_then(|config| config.get("clientIP"))
                .and_then(|client| tree::int(client, "timeoutSeconds"));
            if let Some(seconds) = seconds.filter(|seconds| !(1..=MAX_AFFINITY_SECONDS).contains(seconds)) {
                findings.invalid(
                    "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                    seconds,
                    "must be greater than 0 and less than 86400",
                );
            }
        }
        other => findings.unsupported("spec.sessionAffinity", other, &["ClientIP", "None"]),
    }
}

/// One family, IPv4: the network has no other.
fn addresses(spec: &Value, kind: &str, findings: &mut Findings) {
    if kind == "ExternalName" {
        return;
    }
    for (index, family) in tree::list(spec, "ipFamilies").iter().filter_map(Value::as_str).enumerate() {
        let field = format!("spec.ipFamilies[{index}]");
        match family {
            "IPv4" => {}
            "IPv6" => findings.invalid(&field, family, "not configured on this cluster"),
            other => findings.unsupported(&field, other, &["IPv4", "IPv6"]),
        }
    }
    for (index, address) in tree::list(spec, "clusterIPs").iter().filter_map(Value::as_str).enumerate() {
        let field = format!("spec.clusterIPs[{index}]");
        match address.parse::<IpAddr>() {
            Ok(IpAddr::V6(_)) => findings.invalid(&field, address, "IPv6 is not configured on this cluster"),
            Ok(IpAddr::V4(_)) => {}
            Err(_) if matches!(address, "None" | "") => {}
            Err(_) => text::address(address, &field, findings),
        }
    }
    let (first, listed) = (tree::text(spec, "clusterIP"), tree::list(spec, "clusterIPs"));
    if !first.is_empty()
        && let Some(other) = listed.first().and_then(Value::as_str)
        && other != first
    {
        let why = "first value must match `clusterIP`";
        findings.invalid("spec.clusterIPs", listed.to_vec(), why);
    }
    for (index, address) in tree::list(spec, "externalIPs").iter().filter_map(Value::as_str).enumerate() {
        text::address(address, &format!("spec.externalIPs[{index}]"), findings);
    }
}

fn load_balancer(spec: &Value, kind: &str, findings: &mut Findings) {
    for (index, range) in
        tree::list(spec, "loadBalancerSourceRanges").iter().filter_map(Value::as_str).enumerate()
    {
        text::block(range.trim(), &format!("spec.LoadBalancerSourceRanges[{index}]"), findings);
    }
    let given = |key: &str| spec.get(key).is_some_and(|value| !value.is_null());
    if kind != "LoadBalancer" {
        if given("allocateLoadBalancerNodePorts") {
            let why = "may only be used when `type` is 'LoadBalancer'";
            findings.forbidden("spec.allocateLoadBalancerNodePorts", why);
        }
        if given("loadBalancerClass") {
            let why = "may only be used when `type` is 'LoadBalancer'";
            findings.forbidden("spec.loadBalancerClass", why);
        }
    }
    let policy = tree::text(spec, "externalTrafficPolicy");
    if policy.is_empty() {
        return;
    }
    if !matches!(policy, "Cluster" | "Local") {
        findings.unsupported("spec.externalTrafficPolicy", policy, &["Cluster", "Local"]);
    }
    let external = !tree::list(spec, "externalIPs").is_empty();
    if !matches!(kind, "NodePort" | "LoadBalancer") && !external {
        let why = "may only be set for externally-accessible services";
        findings.invalid("spec.externalTrafficPolicy", policy, why);
    }
    let check = tree::int(spec, "healthCheckNodePort").unwrap_or(0);
    if check != 0 && !(kind == "LoadBalancer" && policy == "Local") {
        let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        findings.invalid("spec.healthCheckNodePort", check, why);
    }
}

/// K13.
pub(super) fn update(new: &Object, old: &Object, findings: &mut Findings) {
    let (is, was) = (new.0.get("spec").unwrap_or(ABSENT), old.0.get("spec").unwrap_or(ABSENT));
    let (kind, before) = (tree::text(is, "type"), tree::text(was, "type"));
    if kind != "ExternalName" && before != "ExternalName" {
        let (address, stored) = (tree::text(is, "clusterIP"), tree::text(was, "clusterIP"));
        if !stored.is_empty() && address != stored {
            findings.invalid("spec.clusterIPs[0]", vec![address], "may not change once set");
        }
    }
    if kind == "LoadBalancer" && before == "LoadBalancer" {
        if !tree::same_at(is, was, "loadBalancerClass") {
            let value = is.get("loadBalancerClass").cloned().unwrap_or_default();
            findings.invalid("spec.loadBalancerClass", value, "may not change once set");
        }
        let port = |spec: &Value| tree::int(spec, "healthCheckNodePort").unwrap_or(0);
        let local = |spec: &Value| tree::text(spec, "externalTrafficPolicy") == "Local";
        if local(is) && local(was) && port(is) != port(was) && port(was) != 0 {
            findings.forbidden("spec.healthCheckNodePort", "field is immutable");
        }
    }
    spec(new, findings);
}
