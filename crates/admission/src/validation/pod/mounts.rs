//! Where volumes appear inside a container (R1.31-R1.34).

use serde_json::Value;

use super::security;
use crate::field::Findings;
use crate::tree;
use crate::validation::text;

/// `volumeMounts` of the container at `path`; `volumes` are the names there are.
pub(super) fn check(container: &Value, volumes: &[&str], path: &str, findings: &mut Findings) {
    let mut taken: Vec<&str> = Vec::new();
    // Some findings carry no index (R1.32-R1.34).
    let bare = format!("{path}.volumeMounts");
    for (index, mount) in tree::list(container, "volumeMounts").iter().enumerate() {
        let at = format!("{bare}[{index}]");
        let name = tree::text(mount, "name");
        if name.is_empty() {
            findings.required(&format!("{at}.name"), "");
        }
        if !volumes.contains(&name) {
            findings.not_found(&format!("{at}.name"), name);
        }
        let target = tree::text(mount, "mountPath");
        if target.is_empty() {
            findings.required(&format!("{at}.mountPath"), "");
        } else if taken.contains(&target) {
            findings.invalid(&format!("{at}.mountPath"), target, "must be unique");
        }
        taken.push(target);
        sub_paths(mount, &at, &bare, findings);
        propagation(container, mount, &bare, findings);
        recursive_read_only(mount, &bare, findings);
    }
    devices(container, volumes, &taken, path, findings);
}

/// R1.32.
fn sub_paths(mount: &Value, at: &str, bare: &str, findings: &mut Findings) {
    let (plain, expression) = (tree::text(mount, "subPath"), tree::text(mount, "subPathExpr"));
    if !plain.is_empty() {
        text::relative_path(plain, &format!("{bare}.subPath"), findings);
    }
    if !expression.is_empty() {
        if !plain.is_empty() {
            let field = format!("{at}.subPathExpr");
            findings.invalid(&field, expression, "subPathExpr and subPath are mutually exclusive");
        }
        text::relative_path(expression, &format!("{bare}.subPathExpr"), findings);
    }
}

/// R1.33.
fn propagation(container: &Value, mount: &Value, bare: &str, findings: &mut Findings) {
    text::word(mount, "mountPropagation", &["Bidirectional", "HostToContainer", "None"], bare, findings);
    if tree::text(mount, "mountPropagation") == "Bidirectional" && !security::is_privileged(container) {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        findings.forbidden(&format!("{bare}.mountPropagation"), why);
    }
}

/// R1.34.
fn recursive_read_only(mount: &Value, bare: &str, findings: &mut Findings) {
    text::word(mount, "recursiveReadOnly", &["Disabled", "Enabled", "IfPossible"], bare, findings);
    if !matches!(tree::text(mount, "recursiveReadOnly"), "Enabled" | "IfPossible") {
        return;
    }
    let field = format!("{bare}.recursiveReadOnly");
    if !tree::truth(mount, "readOnly") {
        findings.forbidden(&field, "may only be specified when readOnly is true");
    }
    if !matches!(tree::text(mount, "mountPropagation"), "" | "None") {
        findings.forbidden(&field, "may only be specified when mountPropagation is None or not specified");
    }
}

fn devices(container: &Value, volumes: &[&str], mounted: &[&str], path: &str, findings: &mut Findings) {
    let mut taken: Vec<&str> = Vec::new();
    for (index, device) in tree::list(container, "volumeDevices").iter().enumerate() {
        let at = format!("{path}.volumeDevices[{index}]");
        let name = tree::text(device, "name");
        if name.is_empty() {
            findings.required(&format!("{at}.name"), "");
        } else if !volumes.contains(&name) {
            findings.not_found(&format!("{at}.name"), name);
        }
        let target = tree::text(device, "devicePath");
        if target.is_empty() {
            findings.required(&format!("{at}.devicePath"), "");
        } else if taken.contains(&target) {
            findings.invalid(&format!("{at}.devicePath"), target, "must be unique");
        } else if mounted.contains(&target) {
            let why = "must not already exist as a path in volumeMounts";
            findings.invalid(&format!("{at}.devicePath"), target, why);
        }
        taken.push(target);
    }
}
