//! Which checks a level consists of, in the order their findings are told.

use serde_json::Value;

use super::subject::Subject;
use super::{Level, Standard, Violation, baseline, restricted};

struct Check {
    level: Level,
    /// The minor version that introduced it.
    since: u32,
    /// From this version on the restricted level has a check of its own that says more.
    replaced: Option<u32>,
    run: fn(&Subject<'_>) -> Option<Violation>,
}

const fn baseline(since: u32, run: fn(&Subject<'_>) -> Option<Violation>) -> Check {
    Check { level: Level::Baseline, since, replaced: None, run }
}

const fn replaced(by: u32, run: fn(&Subject<'_>) -> Option<Violation>) -> Check {
    Check { level: Level::Baseline, since: 0, replaced: Some(by), run }
}

const fn restricted(since: u32, run: fn(&Subject<'_>) -> Option<Violation>) -> Check {
    Check { level: Level::Restricted, since, replaced: None, run }
}

/// Baseline first, each level by the names upstream gives its checks.
const CHECKS: &[Check] = &[
    baseline(0, baseline::app_armor),
    replaced(22, baseline::capabilities),
    baseline(0, baseline::host_namespaces),
    replaced(0, baseline::host_paths),
    baseline(0, baseline::host_ports),
    baseline(34, baseline::probe_hosts),
    baseline(0, baseline::privileged),
    baseline(0, baseline::proc_mount),
    baseline(0, baseline::se_linux),
    replaced(19, baseline::seccomp),
    baseline(0, baseline::sysctls),
    baseline(0, baseline::host_process),
    restricted(8, restricted::privilege_escalation),
    restricted(22, restricted::capabilities),
    restricted(0, restricted::volumes),
    restricted(0, restricted::non_root),
    restricted(23, restricted::user),
    restricted(19, restricted::seccomp),
];

/// What a Pod does that `standard` forbids; `metadata` and `spec` are a Pod's or those of a template.
pub fn violations(standard: Standard, metadata: &Value, spec: &Value) -> Vec<Violation> {
    let subject = Subject { metadata, spec, standard };
    let counts = |check: &&Check| {
        let replaced = standard.level == Level::Restricted
            && check.replaced.is_some_and(|by| standard.version.reaches(by));
        check.level <= standard.level && standard.version.reaches(check.since) && !replaced
    };
    if standard.level == Level::Privileged {
        return Vec::new();
    }
    CHECKS.iter().filter(counts).filter_map(|check| (check.run)(&subject)).collect()
}
