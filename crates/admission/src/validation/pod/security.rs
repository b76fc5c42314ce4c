//! Security contexts of Pods and containers, and what a Pod shares with its host (R1.39-R1.41, R1.45).

use serde_json::Value;

use super::Scope;
use crate::field::Findings;
use crate::tree;
use crate::validation::text;

const MAX_ID: i64 = i32::MAX as i64;

/// Whether a container may do anything.
pub(super) fn is_privileged(container: &Value) -> bool {
    container.get("securityContext").is_some_and(|context| tree::truth(context, "privileged"))
}

/// The context of the container at `path`.
pub(super) fn of_container(of: &Scope<'_>, container: &Value, path: &str, findings: &mut Findings) {
    let Some(context) = container.get("securityContext").filter(|context| context.is_object()) else {
        return;
    };
    let at = format!("{path}.securityContext");
    ids(context, &["runAsUser", "runAsGroup"], &at, findings);
    if let Some(mount) = context.get("procMount").and_then(Value::as_str) {
        text::word(context, "procMount", &["Default", "Unmasked"], &at, findings);
        if mount == "Unmasked" && !of.has_own_users() {
            findings.invalid(
                &format!("{at}.procMount"),
                mount,
                "`hostUsers` must be false to use `Unmasked`",
            );
        }
    }
    profiles(context, &at, findings);
    escalation(context, &at, findings);
}

/// R1.39: the whole context is the bad value.
fn escalation(context: &Value, at: &str, findings: &mut Findings) {
    if context.get("allowPrivilegeEscalation").and_then(Value::as_bool) != Some(false) {
        return;
    }
    if tree::truth(context, "privileged") {
        let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        findings.invalid_text(at, &spelled_out(context), why);
    }
    let added = context.get("capabilities").map_or(&[][..], |list| tree::list(list, "add"));
    if added.iter().any(|name| matches!(name.as_str(), Some("SYS_ADMIN" | "CAP_SYS_ADMIN"))) {
        let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        findings.invalid_text(at, &spelled_out(context), why);
    }
}

/// R1.39 [Q]: the context as it is printed there: every member in the declared order, under its capitalised name.
fn spelled_out(context: &Value) -> String {
    object(context, MEMBERS)
}

fn object(value: &Value, members: &[&str]) -> String {
    let member = |name: &&str| {
        let (first, rest) = name.split_at(1);
        let key = if *name == "SELinuxOptions" {
            "seLinuxOptions".to_owned()
        } else {
            format!("{}{rest}", first.to_ascii_lowercase())
        };
        let text = match (value.get(&key), *name) {
            (None | Some(Value::Null), _) => "null".to_owned(),
            (Some(inner), "Capabilities") => object(inner, &["Add", "Drop"]),
            (Some(inner), "SELinuxOptions") => object_of_texts(inner, &["User", "Role", "Type", "Level"]),
            (Some(inner), "SeccompProfile" | "AppArmorProfile") => {
                object(inner, &["Type", "LocalhostProfile"])
            }
            (Some(inner), _) => inner.to_string(),
        };
        format!("\"{name}\":{text}")
    };
    format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
}

/// Texts that cannot be absent are empty.
fn object_of_texts(value: &Value, members: &[&str]) -> String {
    let member = |name: &&str| {
        let text = Value::from(tree::text(value, &name.to_ascii_lowercase()));
        format!("\"{name}\":{text}")
    };
    format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
}

const MEMBERS: &[&str] = &[
    "Capabilities",
    "Privileged",
    "SELinuxOptions",
    "WindowsOptions",
    "RunAsUser",
    "RunAsGroup",
    "RunAsNonRoot",
    "ReadOnlyRootFilesystem",
    "AllowPrivilegeEscalation",
    "ProcMount",
    "SeccompProfile",
    "AppArmorProfile",
];

/// The Pod's own context and what it shares.
pub(super) fn of_pod(of: &Scope<'_>, findings: &mut Findings) {
    let at = of.at("securityContext");
    shared_namespaces(of, findings);
    if tree::truth(of.spec, "shareProcessNamespace") && tree::truth(of.spec, "hostPID") {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        findings.invalid(&format!("{at}.shareProcessNamespace"), true, why);
    }
    let Some(context) = of.spec.get("securityContext").filter(|context| context.is_object()) else { return };
    ids(context, &["runAsUser", "runAsGroup", "fsGroup"], &at, findings);
    for (index, group) in
        tree::list(context, "supplementalGroups").iter().filter_map(Value::as_i64).enumerate()
    {
        id(group, &format!("{at}.supplementalGroups[{index}]"), findings);
    }
    text::word(context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], &at, findings);
    text::word(context, "supplementalGroupsPolicy", &["Merge", "Strict"], &at, findings);
    profiles(context, &at, findings);
    sysctls(context, &at, findings);
}

/// R1.45: the names are spelled so.
fn shared_namespaces(of: &Scope<'_>, findings: &mut Findings) {
    if !of.has_own_users() {
        return;
    }
    for (member, field) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if tree::truth(of.spec, member) {
            findings.forbidden(&of.at(field), "when `hostUsers` is false");
        }
    }
}

fn ids(context: &Value, members: &[&str], at: &str, findings: &mut Findings) {
    for member in members {
        if let Some(number) = tree::int(context, member) {
            id(number, &format!("{at}.{member}"), findings);
        }
    }
}

fn id(number: i64, field: &str, findings: &mut Findings) {
    if !(0..=MAX_ID).contains(&number) {
        findings.invalid(field, number, "must be between 0 and 2147483647, inclusive");
    }
}

/// Seccomp and AppArmor profiles: a local one has a name, and only a local one.
fn profiles(context: &Value, at: &str, findings: &mut Findings) {
    for (member, word) in [("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")] {
        let Some(profile) = context.get(member).filter(|profile| profile.is_object()) else { continue };
        let at = format!("{at}.{member}");
        let kind = tree::text(profile, "type");
        let name = profile.get("localhostProfile").and_then(Value::as_str);
        let field = format!("{at}.localhostProfile");
        match (kind, name) {
            ("Localhost", None) => {
                findings.required(&field, &format!("must be set when {word} type is Localhost"));
            }
            ("Localhost", Some(name)) => text::relative_path(name, &field, findings),
            (_, Some(name)) => {
                findings.invalid(&field, name, &format!("can only be set when {word} type is Localhost"));
            }
            (_, None) => {}
        }
        if kind.is_empty() {
            findings.required(&format!("{at}.type"), "type is required when profile is set");
        } else {
            text::word(profile, "type", &["Localhost", "RuntimeDefault", "Unconfined"], &at, findings);
        }
    }
}

fn sysctls(context: &Value, at: &str, findings: &mut Findings) {
    let mut taken: Vec<&str> = Vec::new();
    for (index, sysctl) in tree::list(context, "sysctls").iter().enumerate() {
        let field = format!("{at}.sysctls[{index}].name");
        let name = tree::text(sysctl, "name");
        if name.is_empty() {
            findings.required(&field, "");
        } else if !is_sysctl(name) {
            findings.invalid(
                &field,
                name,
                "must have at most 253 characters and match regex \
                 ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
            );
        } else if taken.contains(&name) {
            findings.duplicate(&field, name);
        }
        taken.push(name);
    }
}

fn is_sysctl(name: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let part = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().is_some_and(|b| alnum(*b))
            && bytes.last().is_some_and(|b| alnum(*b))
            && bytes.iter().all(|b| alnum(*b) || matches!(b, b'-' | b'_'))
    };
    name.len() <= 253 && name.split(['.', '/']).all(part)
}
