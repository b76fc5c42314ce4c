//! The Pod as a host: policies, names, DNS, host ports (R1.30, R1.42-R1.44).

use serde_json::Value;

use super::Scope;
use crate::field::Findings;
use crate::tree;
use crate::validation::{names, selector, text};

const MAX_NAME_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_TEXT: usize = 2048;
const MAX_HOST_NAME: usize = 64;
const MAX_SECONDS: i64 = i32::MAX as i64;

/// R1.30.
pub(super) fn ports(of: &Scope<'_>, findings: &mut Findings) {
    if !tree::truth(of.spec, "hostNetwork") {
        return;
    }
    for (index, container) in tree::list(of.spec, "containers").iter().enumerate() {
        for (place, port) in tree::list(container, "ports").iter().enumerate() {
            let host = tree::int(port, "hostPort").unwrap_or(0);
            if host != 0 && tree::int(port, "containerPort") != Some(host) {
                findings.invalid(
                    &of.at(&format!("containers[{index}].ports[{place}].hostPort")),
                    host,
                    "must match `containerPort` when `hostNetwork` is true",
                );
            }
        }
    }
}

/// R1.42, in the orders of R1.12.
pub(super) fn policies(of: &Scope<'_>, findings: &mut Findings) {
    let word = |key: &str, supported: &[&str], findings: &mut Findings| match tree::text(of.spec, key) {
        "" => findings.required(&of.at(key), ""),
        given if !supported.contains(&given) => findings.unsupported(&of.at(key), given, supported),
        _ => {}
    };
    word("restartPolicy", &["Always", "OnFailure", "Never"], findings);
    word("dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"], findings);
    selector::match_labels(of.spec.get("nodeSelector"), &of.at("nodeSelector"), findings);
}

/// R1.44.
pub(super) fn dns_config(of: &Scope<'_>, findings: &mut Findings) {
    let none = tree::text(of.spec, "dnsPolicy") == "None";
    let at = of.at("dnsConfig");
    let Some(config) = of.spec.get("dnsConfig").filter(|config| !config.is_null()) else {
        if none {
            findings.required(&at, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        return;
    };
    let servers = tree::list(config, "nameservers");
    if none && servers.is_empty() {
        let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        findings.required(&format!("{at}.nameservers"), why);
    }
    if servers.len() > MAX_NAME_SERVERS {
        let why = format!("must not have more than {MAX_NAME_SERVERS} nameservers");
        findings.invalid(&format!("{at}.nameservers"), servers.to_vec(), &why);
    }
    for (index, server) in servers.iter().filter_map(Value::as_str).enumerate() {
        text::address(server, &format!("{at}.nameservers[{index}]"), findings);
    }
    let searches: Vec<&str> = tree::list(config, "searches").iter().filter_map(Value::as_str).collect();
    let field = format!("{at}.searches");
    if searches.len() > MAX_SEARCHES {
        let why = format!("must not have more than {MAX_SEARCHES} search paths");
        findings.invalid(&field, searches.clone(), &why);
    }
    if searches.join(" ").len() > MAX_SEARCH_TEXT {
        let why = format!(
            "must not have more than {MAX_SEARCH_TEXT} characters (including spaces) in the search list"
        );
        findings.invalid(&field, searches.clone(), &why);
    }
    for (index, search) in searches.iter().enumerate() {
        // A lone dot and a trailing dot are fine, and underscores are common in search lists.
        let name = search.strip_suffix('.').unwrap_or(search).replace('_', "-");
        if *search != "."
            && let Some(why) = names::dns_subdomain(name.trim_matches('-'))
        {
            findings.invalid(&format!("{field}[{index}]"), *search, &why);
        }
    }
    for (index, option) in tree::list(config, "options").iter().enumerate() {
        if tree::unset(option, "name") {
            findings.required(&format!("{at}.options[{index}].name"), "must not be empty");
        }
    }
}

/// Names and times of the whole Pod (R1.42, R1.43).
pub(super) fn names(of: &Scope<'_>, findings: &mut Findings) {
    for key in ["serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"] {
        text::subdomain(of.spec, key, of.base, findings);
    }
    // An update has its own rules for the deadline (R1.48).
    if let (Some(seconds), false) = (tree::int(of.spec, "activeDeadlineSeconds"), of.stored)
        && !(1..=MAX_SECONDS).contains(&seconds)
    {
        let why = "must be between 1 and 2147483647, inclusive";
        findings.invalid(&of.at("activeDeadlineSeconds"), seconds, why);
    }
    text::label(of.spec, "hostname", of.base, findings);
    text::label(of.spec, "subdomain", of.base, findings);
    host_name_override(of, findings);
    for (index, alias) in tree::list(of.spec, "hostAliases").iter().enumerate() {
        let at = of.at(&format!("hostAliases[{index}]"));
        text::address(tree::text(alias, "ip"), &format!("{at}.ip"), findings);
        for (place, name) in tree::list(alias, "hostnames").iter().filter_map(Value::as_str).enumerate() {
            if let Some(why) = names::dns_subdomain(name) {
                findings.invalid(&format!("{at}.hostnames[{place}]"), name, &why);
            }
        }
    }
    text::word(of.spec, "preemptionPolicy", &["Never", "PreemptLowerPriority"], of.base, findings);
    if let Some(os) = of.spec.get("os").filter(|os| os.is_object()) {
        text::required(os, "name", &of.at("os"), findings);
        text::word(os, "name", &["linux", "windows"], &of.at("os"), findings);
    }
}

/// R1.43.
fn host_name_override(of: &Scope<'_>, findings: &mut Findings) {
    let Some(name) = of.spec.get("hostnameOverride").and_then(Value::as_str) else { return };
    let field = of.at("hostnameOverride");
    if tree::truth(of.spec, "setHostnameAsFQDN") {
        findings.forbidden(&field, "may not be specified when setHostnameAsFQDN is true");
    }
    if tree::truth(of.spec, "hostNetwork") {
        findings.forbidden(&field, "may not be specified when hostNetwork is true");
    }
    if let Some(why) = names::dns_subdomain(name) {
        findings.invalid(&field, name, &why);
    }
    if name.len() > MAX_HOST_NAME {
        findings.too_long(&field, MAX_HOST_NAME);
    }
}
