//! Volumes of a Pod: names, exactly one source each, and the sources this cluster can serve (K7, K9).

use outrigger_api::Quantity;
use serde_json::Value;

use super::{Scope, env};
use crate::field::Findings;
use crate::tree;
use crate::validation::{names, text};

/// What a downward API volume may show (R12.*), without the subscripted ones, sorted.
const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const MAX_MODE: i64 = 0o777;
/// Seconds a projected token lives at least and at most.
const TOKEN_SECONDS: std::ops::RangeInclusive<i64> = 600..=(1 << 32);

/// Checks all volumes and returns their names.
pub(super) fn check<'a>(of: &Scope<'a>, findings: &mut Findings) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for (index, volume) in tree::list(of.spec, "volumes").iter().enumerate() {
        let at = of.at(&format!("volumes[{index}]"));
        one_source(of, volume, &at, findings);
        let name = tree::text(volume, "name");
        let field = format!("{at}.name");
        if name.is_empty() {
            findings.required(&field, "");
        } else if let Some(why) = names::dns_label(name) {
            findings.invalid(&field, name, &why);
        } else if names.contains(&name) {
            findings.duplicate(&field, name);
        } else {
            names.push(name);
        }
    }
    names
}

fn one_source(of: &Scope<'_>, volume: &Value, at: &str, findings: &mut Findings) {
    let sources =
        volume.as_object().into_iter().flatten().filter(|(key, value)| *key != "name" && value.is_object());
    let mut first = true;
    for (source, value) in sources {
        let field = format!("{at}.{source}");
        if first {
            check_source(of, source, value, &field, findings);
        } else {
            findings.forbidden(&field, "may not specify more than 1 volume type");
        }
        first = false;
    }
    if first {
        findings.required(at, "must specify a volume type");
    }
}

fn check_source(of: &Scope<'_>, source: &str, value: &Value, at: &str, findings: &mut Findings) {
    match source {
        "emptyDir" => {
            let negative =
                value.get("sizeLimit").and_then(Quantity::from_json).is_some_and(Quantity::is_negative);
            if negative {
                findings.forbidden(
                    &format!("{at}.sizeLimit"),
                    "SizeLimit field must be a valid resource quantity",
                );
            }
        }
        "hostPath" => {
            text::required(value, "path", at, findings);
            text::no_upward_steps(tree::text(value, "path"), &format!("{at}.path"), findings);
            text::word(value, "type", HOST_PATH_TYPES, at, findings);
        }
        "secret" => {
            text::required(value, "secretName", at, findings);
            mode(value, "defaultMode", at, findings);
            items(value, at, findings);
        }
        "configMap" => {
            text::required(value, "name", at, findings);
            mode(value, "defaultMode", at, findings);
            items(value, at, findings);
        }
        "downwardAPI" => {
            mode(value, "defaultMode", at, findings);
            downward(of, value, at, findings);
        }
        "projected" => projected(of, value, at, findings),
        "persistentVolumeClaim" => text::required(value, "claimName", at, findings),
        "nfs" => {
            text::required(value, "server", at, findings);
            text::required(value, "path", at, findings);
            let path = tree::text(value, "path");
            if !path.is_empty() && !path.starts_with('/') {
                findings.invalid(&format!("{at}.path"), path, "must be an absolute path");
            }
        }
        "image" => {
            text::required(value, "reference", at, findings);
            text::word(value, "pullPolicy", &["Always", "IfNotPresent", "Never"], at, findings);
        }
        "csi" => text::required(value, "driver", at, findings),
        "ephemeral" if value.get("volumeClaimTemplate").is_none_or(Value::is_null) => {
            findings.required(&format!("{at}.volumeClaimTemplate"), "");
        }
        _ => {}
    }
}

fn mode(holder: &Value, key: &str, at: &str, findings: &mut Findings) {
    if let Some(mode) = tree::int(holder, key).filter(|mode| !(0..=MAX_MODE).contains(mode)) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        findings.invalid(&format!("{at}.{key}"), mode, why);
    }
}

fn items(source: &Value, at: &str, findings: &mut Findings) {
    for (index, item) in tree::list(source, "items").iter().enumerate() {
        let at = format!("{at}.items[{index}]");
        text::required(item, "key", &at, findings);
        item_path(item, &at, findings);
        mode(item, "mode", &at, findings);
    }
}

fn item_path(item: &Value, at: &str, findings: &mut Findings) {
    let path = tree::text(item, "path");
    let field = format!("{at}.path");
    if path.is_empty() {
        findings.required(&field, "");
        return;
    }
    text::relative_path(path, &field, findings);
    if path.starts_with("..") && !path.starts_with("../") && path != ".." {
        findings.invalid(&field, path, "must not start with '..'");
    }
}

fn downward(of: &Scope<'_>, source: &Value, at: &str, findings: &mut Findings) {
    for (index, item) in tree::list(source, "items").iter().enumerate() {
        let at = format!("{at}.items[{index}]");
        item_path(item, &at, findings);
        let field = item.get("fieldRef").filter(|reference| reference.is_object());
        let resource = item.get("resourceFieldRef").filter(|reference| reference.is_object());
        match (field, resource) {
            (Some(reference), other) => {
                env::field_ref(reference, VOLUME_FIELDS, &format!("{at}.fieldRef"), findings);
                if other.is_some() {
                    findings.invalid(
                        &at,
                        "resource",
                        "fieldRef and resourceFieldRef can not be specified simultaneously",
                    );
                }
            }
            (None, Some(reference)) => {
                env::resource_field_ref(of, reference, true, &format!("{at}.resourceFieldRef"), findings);
            }
            (None, None) => findings.required(&at, "one of fieldRef and resourceFieldRef is required"),
        }
        mode(item, "mode", &at, findings);
    }
}

fn projected(of: &Scope<'_>, value: &Value, whole: &str, findings: &mut Findings) {
    mode(value, "defaultMode", whole, findings);
    let mut paths: Vec<String> = Vec::new();
    for (index, part) in tree::list(value, "sources").iter().enumerate() {
        let at = format!("{whole}.sources[{index}]");
        let mut given = 0;
        for source in [
            "secret",
            "configMap",
            "downwardAPI",
            "serviceAccountToken",
            "clusterTrustBundle",
            "podCertificate",
        ] {
            let Some(value) = part.get(source).filter(|value| value.is_object()) else { continue };
            given += 1;
            let at = format!("{at}.{source}");
            if given > 1 {
                findings.forbidden(&at, "may not specify more than 1 volume type per source");
                continue;
            }
            match source {
                "secret" | "configMap" => {
                    text::required(value, "name", &at, findings);
                    items(value, &at, findings);
                }
                "downwardAPI" => downward(of, value, &at, findings),
                "serviceAccountToken" => token(value, &at, findings),
                _ => {}
            }
            let items = tree::list(value, "items").iter().chain(std::iter::once(value));
            for path in items.map(|item| tree::text(item, "path")).filter(|path| !path.is_empty()) {
                if paths.iter().any(|other| other == path) {
                    // R12.25: of objects the name is told, of everything else the path.
                    let told = if matches!(source, "secret" | "configMap") {
                        tree::text(value, "name")
                    } else {
                        path
                    };
                    findings.invalid(whole, told, "conflicting duplicate paths");
                }
                paths.push(path.to_owned());
            }
        }
    }
}

fn token(value: &Value, at: &str, findings: &mut Findings) {
    let seconds = tree::int(value, "expirationSeconds").unwrap_or(3600);
    let field = format!("{at}.expirationSeconds");
    if seconds < *TOKEN_SECONDS.start() {
        findings.invalid(&field, seconds, "may not specify a duration less than 10 minutes");
    } else if seconds > *TOKEN_SECONDS.end() {
        findings.invalid(&field, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    item_path(value, at, findings);
}
