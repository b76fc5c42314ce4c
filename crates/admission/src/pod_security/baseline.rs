//! What the baseline level forbids (I40).

use std::collections::BTreeSet;

use serde_json::Value;

use super::subject::{
    Profiles, SECCOMP_CONTAINER, SECCOMP_POD, Subject, containers, context_of, plural, quoted, setters,
    violation,
};
use super::{Level, Violation};
use crate::tree;
use crate::validation::ABSENT;

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const DEFAULT_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// With the version each is harmless from.
const SAFE_SYSCTLS: &[(&str, u32)] = &[
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];
const SE_LINUX_TYPES: &[(&str, u32)] = &[
    ("", 0),
    ("container_t", 0),
    ("container_init_t", 0),
    ("container_kvm_t", 0),
    ("container_engine_t", 31),
];

pub(super) fn app_armor(subject: &Subject<'_>) -> Option<Violation> {
    let found = Profiles::of(subject, "appArmorProfile");
    let mut who: Vec<String> = setters(found.pod, &found.containers).into_iter().collect();
    let mut values: Vec<String> = found.types.iter().map(|&kind| kind.to_owned()).collect();
    let is_known =
        |profile: &str| matches!(profile, "" | "runtime/default") || profile.starts_with("localhost/");
    let noted = subject.annotations().filter(|(key, value)| key.starts_with(APP_ARMOR) && !is_known(value));
    let noted: BTreeSet<String> = noted.map(|(key, value)| format!("{key}={value:?}")).collect();
    if !noted.is_empty() {
        who.push(plural(noted.len(), "annotation", "annotations").to_owned());
        values.extend(noted);
    }
    if who.is_empty() {
        return None;
    }
    let reason = plural(values.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles");
    violation(
        reason,
        format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(values)),
    )
}

/// Capabilities a container adds besides `allowed`.
pub(super) fn added<'a>(container: &'a Value, allowed: &[&str]) -> Vec<&'a str> {
    let capabilities = context_of(container).get("capabilities").unwrap_or(ABSENT);
    let added = tree::list(capabilities, "add").iter().filter_map(Value::as_str);
    added.filter(|name| !allowed.contains(name)).collect()
}

pub(super) fn capabilities(subject: &Subject<'_>) -> Option<Violation> {
    let bad = subject.containers_where(|container| !added(container, DEFAULT_CAPABILITIES).is_empty());
    let names: BTreeSet<&str> =
        subject.containers().flat_map(|container| added(container, DEFAULT_CAPABILITIES)).collect();
    if bad.is_empty() {
        return None;
    }
    let (who, names) = (containers(&bad), quoted(names));
    violation(
        "non-default capabilities",
        format!("{who} must not include {names} in securityContext.capabilities.add"),
    )
}

pub(super) fn host_namespaces(subject: &Subject<'_>) -> Option<Violation> {
    let shared =
        ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| tree::truth(subject.spec, field));
    let shared: Vec<&str> = shared.collect();
    if shared.is_empty() { None } else { violation("host namespaces", shared.join("=true, ") + "=true") }
}

pub(super) fn host_paths(subject: &Subject<'_>) -> Option<Violation> {
    let volumes = tree::list(subject.spec, "volumes").iter();
    let bad: Vec<&str> = volumes
        .filter(|volume| volume.get("hostPath").is_some_and(Value::is_object))
        .map(|volume| tree::text(volume, "name"))
        .collect();
    if bad.is_empty() {
        return None;
    }
    violation("hostPath volumes", format!("{} {}", plural(bad.len(), "volume", "volumes"), quoted(bad)))
}

pub(super) fn host_ports(subject: &Subject<'_>) -> Option<Violation> {
    let ports = |container: &Value| -> Vec<String> {
        let ports = tree::list(container, "ports").iter().filter_map(|port| tree::int(port, "hostPort"));
        ports.filter(|port| *port != 0).map(|port| port.to_string()).collect()
    };
    let bad = subject.containers_where(|container| !ports(container).is_empty());
    let all: BTreeSet<String> = subject.containers().flat_map(ports).collect();
    if bad.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {}",
        containers(&bad),
        plural(bad.len(), "uses", "use"),
        plural(all.len(), "hostPort", "hostPorts"),
        all.into_iter().collect::<Vec<_>>().join(", ")
    );
    violation("hostPort", detail)
}

/// Whom probes and hooks of a container talk to other than the Pod itself.
fn hosts(container: &Value) -> Vec<&str> {
    const HANDLERS: [&str; 5] =
        ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
    let handlers = HANDLERS.iter().filter_map(|path| container.pointer(path));
    let targets = handlers.flat_map(|handler| [handler.get("httpGet"), handler.get("tcpSocket")]).flatten();
    targets.map(|target| tree::text(target, "host")).filter(|host| !host.is_empty()).collect()
}

pub(super) fn probe_hosts(subject: &Subject<'_>) -> Option<Violation> {
    let mut bad = subject.containers_where(|container| !hosts(container).is_empty());
    bad.sort_unstable();
    let all: BTreeSet<&str> = subject.containers().flat_map(hosts).collect();
    if bad.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {}",
        containers(&bad),
        plural(bad.len(), "uses", "use"),
        plural(all.len(), "probe or lifecycle host", "probe or lifecycle hosts"),
        quoted(all)
    );
    violation("probe or lifecycle host", detail)
}

pub(super) fn privileged(subject: &Subject<'_>) -> Option<Violation> {
    let bad = subject.containers_where(|container| tree::truth(context_of(container), "privileged"));
    if bad.is_empty() {
        return None;
    }
    violation("privileged", format!("{} must not set securityContext.privileged=true", containers(&bad)))
}

/// From 1.35 on the baseline level lets Pods with users of their own see all of `/proc`.
pub(super) fn proc_mount(subject: &Subject<'_>) -> Option<Violation> {
    let own_users = subject.spec.get("hostUsers").and_then(Value::as_bool) == Some(false);
    if own_users && subject.level() == Level::Baseline && subject.version().reaches(35) {
        return None;
    }
    let kind = |container: &Value| tree::text(context_of(container), "procMount").to_owned();
    let is_bad = |kind: &str| !matches!(kind, "" | "Default");
    let bad = subject.containers_where(|container| is_bad(&kind(container)));
    let kinds: BTreeSet<String> = subject.containers().map(kind).filter(|kind| is_bad(kind)).collect();
    if bad.is_empty() {
        return None;
    }
    let (who, kinds) = (containers(&bad), quoted(kinds));
    violation("procMount", format!("{who} must not set securityContext.procMount to {kinds}"))
}

pub(super) fn se_linux(subject: &Subject<'_>) -> Option<Violation> {
    let options = |holder: &'_ Value| context_of(holder).get("seLinuxOptions").cloned().unwrap_or_default();
    let is_known = |kind: &str| {
        SE_LINUX_TYPES.iter().any(|(known, since)| *known == kind && subject.version().reaches(*since))
    };
    let set = |options: &Value, member: &str| !tree::text(options, member).is_empty();
    let is_bad = |options: &Value| {
        !is_known(tree::text(options, "type")) || set(options, "user") || set(options, "role")
    };
    let bad = subject.containers_where(|container| is_bad(&options(container)));
    let who = setters(is_bad(&options(subject.spec)), &bad)?;
    let all: Vec<Value> =
        std::iter::once(options(subject.spec)).chain(subject.containers().map(options)).collect();
    let types: BTreeSet<&str> =
        all.iter().map(|options| tree::text(options, "type")).filter(|kind| !is_known(kind)).collect();
    let mut faults = Vec::new();
    if !types.is_empty() {
        faults.push(format!("{} {}", plural(types.len(), "type", "types"), quoted(types)));
    }
    for (member, fault) in [("user", "user may not be set"), ("role", "role may not be set")] {
        if all.iter().any(|options| set(options, member)) {
            faults.push(fault.to_owned());
        }
    }
    violation(
        "seLinuxOptions",
        format!("{who} set forbidden securityContext.seLinuxOptions: {}", faults.join("; ")),
    )
}

/// Annotations before 1.19, fields since.
pub(super) fn seccomp(subject: &Subject<'_>) -> Option<Violation> {
    if subject.version().reaches(19) {
        let found = Profiles::of(subject, "seccompProfile");
        return bad_seccomp(&found);
    }
    let is_known = |profile: &str| {
        matches!(profile, "runtime/default" | "docker/default") || profile.starts_with("localhost/")
    };
    let names: Vec<String> =
        subject.containers().map(|it| format!("{SECCOMP_CONTAINER}{}", tree::text(it, "name"))).collect();
    let bad: BTreeSet<String> = subject
        .annotations()
        .filter(|(key, value)| {
            (*key == SECCOMP_POD || names.iter().any(|name| name == key)) && !is_known(value)
        })
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let word = plural(bad.len(), "annotation", "annotations");
    violation(
        "seccompProfile",
        format!("forbidden {word} {}", bad.into_iter().collect::<Vec<_>>().join(", ")),
    )
}

/// Profiles that are set, and must not be.
pub(super) fn bad_seccomp(found: &Profiles<'_>) -> Option<Violation> {
    let who = setters(found.pod, &found.containers)?;
    let types = quoted(&found.types);
    violation("seccompProfile", format!("{who} must not set securityContext.seccompProfile.type to {types}"))
}

pub(super) fn sysctls(subject: &Subject<'_>) -> Option<Violation> {
    let is_safe = |name: &str| {
        SAFE_SYSCTLS.iter().any(|(safe, since)| *safe == name && subject.version().reaches(*since))
    };
    let names = tree::list(subject.context(), "sysctls").iter().map(|sysctl| tree::text(sysctl, "name"));
    let bad: Vec<&str> = names.filter(|name| !is_safe(name)).collect();
    if bad.is_empty() { None } else { violation("forbidden sysctls", bad.join(", ")) }
}

pub(super) fn host_process(subject: &Subject<'_>) -> Option<Violation> {
    let set = |holder: &Value| {
        context_of(holder).get("windowsOptions").is_some_and(|options| tree::truth(options, "hostProcess"))
    };
    let who = setters(set(subject.spec), &subject.containers_where(|container| set(container)))?;
    violation("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
}
