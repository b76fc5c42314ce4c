//! Ingress, IngressClass, NetworkPolicy, EndpointSlice (K21, K33).

use std::net::IpAddr;

use outrigger_api::{KindInfo, Object};
use serde_json::Value;

use super::{ABSENT, names, selector, text};
use crate::field::Findings;
use crate::tree;

const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];
const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;

/// What holds for every version of the object.
pub(super) fn shape(kind: &KindInfo, object: &Object, findings: &mut Findings) {
    let spec = object.0.get("spec").unwrap_or(ABSENT);
    match &*kind.kind {
        "Ingress" => ingress(spec, findings),
        "IngressClass" => {
            let controller = tree::text(spec, "controller");
            if !controller.is_empty()
                && let Some(why) = domain_path(controller)
            {
                findings.invalid("spec.controller", controller, &why);
            }
        }
        "NetworkPolicy" => network_policy(spec, findings),
        "EndpointSlice" => endpoint_slice(object, findings),
        _ => {}
    }
}

fn domain_path(text: &str) -> Option<String> {
    let Some((domain, path)) = text.split_once('/') else {
        return Some("must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned());
    };
    if path.is_empty() { Some("must specify a path".to_owned()) } else { names::dns_subdomain(domain) }
}

/// K33.
fn ingress(spec: &Value, findings: &mut Findings) {
    let default = spec.get("defaultBackend").filter(|backend| backend.is_object());
    let rules = tree::list(spec, "rules");
    if default.is_none() && rules.is_empty() {
        let why = "either `defaultBackend` or `rules` must be specified";
        findings.invalid("spec", spec.clone(), why);
    }
    for (index, tls) in tree::list(spec, "tls").iter().enumerate() {
        for (place, name) in tree::list(tls, "hosts").iter().filter_map(Value::as_str).enumerate() {
            host(name, &format!("spec.tls[{index}].hosts[{place}]"), findings);
        }
    }
    if let Some(backend) = default {
        check_backend(backend, "spec.defaultBackend", findings);
    }
    for (index, rule) in rules.iter().enumerate() {
        let name = tree::text(rule, "host");
        if !name.is_empty() {
            host(name, &format!("spec.rules[{index}].host"), findings);
        }
        let Some(http) = rule.get("http").filter(|http| http.is_object()) else { continue };
        let at = format!("spec.rules[{index}].http.paths");
        if tree::list(http, "paths").is_empty() {
            findings.required(&at, "");
        }
        for (place, path) in tree::list(http, "paths").iter().enumerate() {
            check_path(path, &format!("{at}[{place}]"), findings);
        }
    }
    text::subdomain(spec, "ingressClassName", "spec", findings);
}

fn host(name: &str, field: &str, findings: &mut Findings) {
    if name.parse::<IpAddr>().is_ok() {
        findings.invalid(field, name, "must be a DNS name, not an IP address");
        return;
    }
    if let Some(why) = names::dns_subdomain(name.strip_prefix("*.").unwrap_or(name)) {
        findings.invalid(field, name, &why);
    }
}

fn check_path(path: &Value, at: &str, findings: &mut Findings) {
    let text = tree::text(path, "path");
    match tree::text(path, "pathType") {
        "" => findings.required(&format!("{at}.pathType"), "pathType must be specified"),
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                findings.invalid(&format!("{at}.path"), text, "must be an absolute path");
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                if text.contains(bad) {
                    findings.invalid(&format!("{at}.path"), text, &format!("must not contain '{bad}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                findings.invalid(&format!("{at}.path"), text, "must be an absolute path");
            }
        }
        other => findings.unsupported(&format!("{at}.pathType"), other, PATH_TYPES),
    }
    check_backend(path.get("backend").unwrap_or(ABSENT), &format!("{at}.backend"), findings);
}

fn check_backend(backend: &Value, at: &str, findings: &mut Findings) {
    let service = backend.get("service").filter(|service| service.is_object());
    let resource = backend.get("resource").filter(|resource| resource.is_object());
    match (service, resource) {
        (Some(_), Some(_)) => {
            findings.invalid(at, "", "cannot set both resource and service backends");
        }
        (None, None) => findings.required(at, "port name or number is required"),
        (None, Some(_)) => {}
        (Some(service), None) => {
            let at = format!("{at}.service");
            let name = tree::text(service, "name");
            if name.is_empty() {
                findings.required(&format!("{at}.name"), "");
            } else if let Some(why) = names::dns_label(name) {
                findings.invalid(&format!("{at}.name"), name, &why);
            }
            let port = service.get("port").unwrap_or(ABSENT);
            let (number, name) = (tree::int(port, "number").unwrap_or(0), tree::text(port, "name"));
            match (number, name) {
                (0, "") => findings.required(&at, "port name or number is required"),
                (0, name) => text::port_name(name, &format!("{at}.port.name"), findings),
                (number, "") => text::port_number(number, &format!("{at}.port.number"), findings),
                _ => findings.invalid(&at, "", "cannot set both port name & port number"),
            }
        }
    }
}

/// K33.
fn network_policy(spec: &Value, findings: &mut Findings) {
    selector::check(spec.get("podSelector").unwrap_or(ABSENT), "spec.podSelector", findings);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in tree::list(spec, direction).iter().enumerate() {
            let at = format!("spec.{direction}[{index}]");
            for (place, port) in tree::list(rule, "ports").iter().enumerate() {
                policy_port(port, &format!("{at}.ports[{place}]"), findings);
            }
            for (place, peer) in tree::list(rule, peers).iter().enumerate() {
                policy_peer(peer, &format!("{at}.{peers}[{place}]"), findings);
            }
        }
    }
    let types = tree::list(spec, "policyTypes");
    if types.len() > 2 {
        findings.invalid("spec.policyTypes", types.to_vec(), "may not specify more than two policyTypes");
        return;
    }
    for (index, kind) in types.iter().filter_map(Value::as_str).enumerate() {
        if !matches!(kind, "Ingress" | "Egress") {
            findings.unsupported(&format!("spec.policyTypes[{index}]"), kind, &["Egress", "Ingress"]);
        }
    }
}

fn policy_port(port: &Value, at: &str, findings: &mut Findings) {
    text::word(port, "protocol", &["SCTP", "TCP", "UDP"], at, findings);
    let end = tree::int(port, "endPort");
    let value = port.get("port").filter(|value| !value.is_null());
    if let Some(value) = value {
        text::port_or_name(value, &format!("{at}.port"), findings);
    }
    let field = format!("{at}.endPort");
    match (value, end) {
        (Some(Value::Number(first)), Some(end)) if first.as_i64().is_some_and(|first| end < first) => {
            findings.invalid(&field, end, "must be greater than or equal to `port`");
        }
        (Some(Value::String(_)), Some(end)) => {
            findings.invalid(&field, end, "may not be specified when `port` is non-numeric");
        }
        (None, Some(end)) => {
            findings.invalid(&field, end, "may not be specified when `port` is not specified");
        }
        _ => {}
    }
}

fn policy_peer(peer: &Value, at: &str, findings: &mut Findings) {
    let mut given = 0;
    for key in ["podSelector", "namespaceSelector"] {
        if let Some(labels) = peer.get(key).filter(|labels| labels.is_object()) {
            given += 1;
            selector::check(labels, &format!("{at}.{key}"), findings);
        }
    }
    if let Some(block) = peer.get("ipBlock").filter(|block| block.is_object()) {
        if given > 0 {
            findings.forbidden(at, "may not specify both ipBlock and another peer");
        }
        given += 1;
        text::block(tree::text(block, "cidr"), &format!("{at}.ipBlock.cidr"), findings);
        for (index, except) in tree::list(block, "except").iter().filter_map(Value::as_str).enumerate() {
            text::block(except, &format!("{at}.ipBlock.except[{index}]"), findings);
        }
    }
    if given == 0 {
        findings.required(at, "must specify a peer");
    }
}

/// K21.
fn endpoint_slice(object: &Object, findings: &mut Findings) {
    let slice = Value::Object(object.0.clone());
    let family = object.str_at(&["addressType"]);
    match family {
        "" => findings.required("addressType", ""),
        "IPv4" | "IPv6" | "FQDN" => {}
        other => findings.unsupported("addressType", other, &["FQDN", "IPv4", "IPv6"]),
    }
    let endpoints = tree::list(&slice, "endpoints");
    if endpoints.len() > MAX_ENDPOINTS {
        findings.too_many("endpoints", endpoints.len(), MAX_ENDPOINTS);
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let at = format!("endpoints[{index}].addresses");
        let addresses = tree::list(endpoint, "addresses");
        if addresses.is_empty() {
            findings.required(&at, "must contain at least 1 address");
        } else if addresses.len() > MAX_ADDRESSES {
            findings.too_many(&at, addresses.len(), MAX_ADDRESSES);
        }
        for (place, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
            let field = format!("{at}[{place}]");
            match (family, address.parse::<IpAddr>()) {
                ("IPv4", Ok(IpAddr::V4(_))) | ("IPv6", Ok(IpAddr::V6(_))) => {}
                ("IPv4", _) => findings.invalid(&field, address, "must be an IPv4 address"),
                ("IPv6", _) => findings.invalid(&field, address, "must be an IPv6 address"),
                _ => {
                    if let Some(why) = names::dns_subdomain(address) {
                        findings.invalid(&field, address, &why);
                    }
                }
            }
        }
    }
    let mut taken: Vec<&str> = Vec::new();
    for (index, port) in tree::list(&slice, "ports").iter().enumerate() {
        let name = tree::text(port, "name");
        if taken.contains(&name) {
            findings.duplicate("ports", name);
        }
        taken.push(name);
        if !name.is_empty()
            && let Some(why) = names::dns_label(name)
        {
            findings.invalid(&format!("ports[{index}].name"), name, &why);
        }
        text::protocol(port, &format!("ports[{index}]"), findings);
    }
}
