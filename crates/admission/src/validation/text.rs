//! Checks that many kinds share: ranges, words, ports, addresses, quantities, percentages, relative paths.

use std::net::IpAddr;

use outrigger_api::Quantity;
use serde_json::Value;

use super::names;
use crate::field::Findings;
use crate::tree;

pub(super) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// A number that, if there, must not be negative.
pub(super) fn not_negative(holder: &Value, key: &str, path: &str, findings: &mut Findings) {
    if let Some(number) = tree::int(holder, key).filter(|number| *number < 0) {
        findings.invalid(&format!("{path}.{key}"), number, NOT_NEGATIVE);
    }
}

/// A word that, if there, must be one of `supported` (sorted).
pub(super) fn word(holder: &Value, key: &str, supported: &[&str], path: &str, findings: &mut Findings) {
    let given = tree::text(holder, key);
    if !given.is_empty() && !supported.contains(&given) {
        findings.unsupported(&format!("{path}.{key}"), given, supported);
    }
}

/// A text that must be there.
pub(super) fn required(holder: &Value, key: &str, path: &str, findings: &mut Findings) {
    if tree::unset(holder, key) {
        findings.required(&format!("{path}.{key}"), "");
    }
}

/// A number of a port.
pub(super) fn port_number(number: i64, path: &str, findings: &mut Findings) {
    if !(1..=65_535).contains(&number) {
        findings.invalid(path, number, "must be between 1 and 65535, inclusive");
    }
}

/// A port given by number or by name.
pub(super) fn port_or_name(value: &Value, path: &str, findings: &mut Findings) {
    match value {
        Value::String(name) => port_name(name, path, findings),
        _ => port_number(value.as_i64().unwrap_or(0), path, findings),
    }
}

/// An IANA service name.
pub(super) fn port_name(name: &str, path: &str, findings: &mut Findings) {
    let mut refuse = |why: &str| findings.invalid(path, name, why);
    if name.len() > 15 {
        refuse("must be no more than 15 characters");
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') || name.is_empty() {
        refuse("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !name.bytes().any(|b| b.is_ascii_lowercase()) {
        refuse("must contain at least one letter (a-z)");
    }
    if name.contains("--") {
        refuse("must not contain consecutive hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        refuse("must not begin or end with a hyphen");
    }
}

/// A protocol of a port.
pub(super) fn protocol(port: &Value, path: &str, findings: &mut Findings) {
    required(port, "protocol", path, findings);
    word(port, "protocol", &["SCTP", "TCP", "UDP"], path, findings);
}

/// An IP address of either family.
pub(super) fn address(text: &str, path: &str, findings: &mut Findings) {
    if text.parse::<IpAddr>().is_err() {
        findings.invalid(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
}

/// A block of addresses.
pub(super) fn block(text: &str, path: &str, findings: &mut Findings) {
    let valid = text.split_once('/').is_some_and(|(address, bits)| {
        let widest = match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        bits.parse::<u8>().is_ok_and(|bits| bits <= widest)
    });
    if !valid {
        findings.invalid(path, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    }
}

/// A DNS label, if there.
pub(super) fn label(holder: &Value, key: &str, path: &str, findings: &mut Findings) {
    checked(holder, key, path, findings, names::dns_label);
}

/// A DNS subdomain, if there.
pub(super) fn subdomain(holder: &Value, key: &str, path: &str, findings: &mut Findings) {
    checked(holder, key, path, findings, names::dns_subdomain);
}

fn checked(
    holder: &Value,
    key: &str,
    path: &str,
    findings: &mut Findings,
    check: impl Fn(&str) -> Option<String>,
) {
    let text = tree::text(holder, key);
    if !text.is_empty()
        && let Some(why) = check(text)
    {
        findings.invalid(&format!("{path}.{key}"), text, &why);
    }
}

/// A path inside a volume: relative, and never upwards (R1.32).
pub(super) fn relative_path(text: &str, path: &str, findings: &mut Findings) {
    if text.starts_with('/') {
        findings.invalid(path, text, "must be a relative path");
    }
    no_upward_steps(text, path, findings);
}

/// A path without `..` elements.
pub(super) fn no_upward_steps(text: &str, path: &str, findings: &mut Findings) {
    if text.split('/').any(|step| step == "..") {
        findings.invalid(path, text, "must not contain '..'");
    }
}

/// The text of a quantity as messages print it.
pub(super) fn quantity_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A list of resources by name whose amounts must not be negative.
pub(super) fn amounts(list: &Value, path: &str, findings: &mut Findings) {
    for (name, amount) in list.as_object().into_iter().flatten() {
        if Quantity::from_json(amount).is_some_and(Quantity::is_negative) {
            findings.invalid(&format!("{path}[{name}]"), quantity_text(amount), NOT_NEGATIVE);
        }
    }
}

/// A number or a percentage, neither negative (K25, K32).
pub(super) fn int_or_percent(value: &Value, path: &str, findings: &mut Findings) {
    match value {
        Value::String(text) => {
            let digits = text.strip_suffix('%').unwrap_or_default();
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                findings.invalid(
                    path,
                    text.as_str(),
                    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
                     '93%', regex used for validation is '[0-9]+%')",
                );
            }
        }
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
            findings.invalid(path, value.clone(), NOT_NEGATIVE);
        }
        _ => {}
    }
}

/// The number of hundredths a percentage stands for.
pub(super) fn percent(value: &Value) -> Option<i64> {
    value.as_str()?.strip_suffix('%')?.parse().ok()
}

/// Whether a number or percentage is nothing.
pub(super) fn is_nothing(value: &Value) -> bool {
    value.as_i64() == Some(0) || percent(value) == Some(0)
}
