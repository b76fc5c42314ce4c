//! Workload controllers: Deployment, ReplicaSet, StatefulSet, DaemonSet, ReplicationController, PodTemplate
//! (K25-K28, K41).

use outrigger_api::{KindInfo, Object};
use serde_json::{Map, Value};

use super::{ABSENT, immutable, pod, selector, storage, text};
use crate::field::Findings;
use crate::tree;

/// What holds for every version of the object.
pub(super) fn shape(kind: &KindInfo, object: &Object, findings: &mut Findings) {
    let spec = object.0.get("spec").unwrap_or(ABSENT);
    match &*kind.kind {
        "PodTemplate" => {
            let template = object.0.get("template").unwrap_or(ABSENT);
            pod::template(template, "template", findings);
        }
        "ReplicationController" => replication_controller(spec, findings),
        "Deployment" => {
            counts(spec, findings);
            select(spec, "deployment", findings);
            deployment(spec, findings);
            template(spec, "ReplicaSet", findings);
        }
        "ReplicaSet" => {
            counts(spec, findings);
            select(spec, "replicaset", findings);
            template(spec, "ReplicaSet", findings);
        }
        "DaemonSet" => {
            counts(spec, findings);
            select(spec, "daemonset", findings);
            template(spec, "DaemonSet", findings);
            daemon_set(spec, findings);
        }
        "StatefulSet" => {
            counts(spec, findings);
            stateful_set(spec, findings);
            select(spec, "statefulset", findings);
            template(spec, "StatefulSet", findings);
        }
        _ => {}
    }
}

/// What may not change.
pub(super) fn change(kind: &KindInfo, new: &Object, old: &Object, findings: &mut Findings) {
    match &*kind.kind {
        "Deployment" | "ReplicaSet" | "DaemonSet" => immutable(new, old, &["spec", "selector"], findings),
        "ControllerRevision" => immutable(new, old, &["data"], findings),
        "StatefulSet" => stateful_set_change(new, old, findings),
        _ => {}
    }
}

fn counts(spec: &Value, findings: &mut Findings) {
    for key in ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        text::not_negative(spec, key, "spec", findings);
    }
}

/// The selector is there, says something, and selects the template's own pods.
fn select(spec: &Value, what: &str, findings: &mut Findings) {
    let Some(labels) = spec.get("selector").filter(|selector| selector.is_object()) else {
        findings.required("spec.selector", "");
        return;
    };
    selector::check(labels, "spec.selector", findings);
    if selector::is_empty(labels) {
        let why = format!("empty selector is invalid for {what}");
        findings.invalid("spec.selector", labels.clone(), &why);
        return;
    }
    let own = template_labels(spec);
    if !selector::matches(labels, &own) {
        let why = "`selector` does not match template `labels`";
        findings.invalid("spec.template.metadata.labels", own, why);
    }
}

fn template_labels(spec: &Value) -> Value {
    let labels = spec.get("template").and_then(|template| template.get("metadata")?.get("labels"));
    labels.filter(|labels| labels.is_object()).cloned().unwrap_or_else(|| Value::Object(Map::new()))
}

/// Pods of these controllers run for ever.
fn template(spec: &Value, owner: &str, findings: &mut Findings) {
    let template = spec.get("template").unwrap_or(ABSENT);
    pod::template(template, "spec.template", findings);
    let inner = template.get("spec").unwrap_or(ABSENT);
    let policy = tree::text(inner, "restartPolicy");
    if policy != "Always" {
        findings.unsupported("spec.template.spec.restartPolicy", policy, &["Always"]);
    }
    if tree::int(inner, "activeDeadlineSeconds").is_some() {
        let why = format!("activeDeadlineSeconds in {owner} is not Supported");
        findings.forbidden("spec.template.spec.activeDeadlineSeconds", &why);
    }
}

/// K26.
fn replication_controller(spec: &Value, findings: &mut Findings) {
    counts(spec, findings);
    let labels = spec.get("selector").filter(|map| map.as_object().is_some_and(|map| !map.is_empty()));
    match labels {
        None => findings.required("spec.selector", ""),
        Some(labels) => {
            let own = template_labels(spec);
            if !selector::contains(&own, Some(labels)) {
                let why = "`selector` does not match template `labels`";
                findings.invalid("spec.template.metadata.labels", own, why);
            }
        }
    }
    template(spec, "ReplicationController", findings);
}

/// K25.
fn deployment(spec: &Value, findings: &mut Findings) {
    if let Some(strategy) = spec.get("strategy") {
        let rolling = strategy.get("rollingUpdate").filter(|rolling| !rolling.is_null());
        match (tree::text(strategy, "type"), rolling) {
            ("Recreate", Some(_)) => findings.forbidden(
                "spec.strategy.rollingUpdate",
                "may not be specified when strategy `type` is 'Recreate'",
            ),
            ("RollingUpdate", None) => {
                let why = "this should be defaulted and never be nil";
                findings.required("spec.strategy.rollingUpdate", why);
            }
            ("RollingUpdate", Some(rolling)) => {
                rolling_update(rolling, "spec.strategy.rollingUpdate", findings);
            }
            ("Recreate", None) => {}
            (other, _) => {
                findings.unsupported("spec.strategy.type", other, &["Recreate", "RollingUpdate"]);
            }
        }
    }
    let ready = tree::int(spec, "minReadySeconds").unwrap_or(0);
    if let Some(deadline) = tree::int(spec, "progressDeadlineSeconds").filter(|deadline| *deadline <= ready) {
        let why = "must be greater than minReadySeconds";
        findings.invalid("spec.progressDeadlineSeconds", deadline, why);
    }
}

fn rolling_update(rolling: &Value, at: &str, findings: &mut Findings) {
    let (down, up) =
        (rolling.get("maxUnavailable").unwrap_or(ABSENT), rolling.get("maxSurge").unwrap_or(ABSENT));
    text::int_or_percent(down, &format!("{at}.maxUnavailable"), findings);
    text::int_or_percent(up, &format!("{at}.maxSurge"), findings);
    if text::is_nothing(down) && text::is_nothing(up) {
        let why = "may not be 0 when `maxSurge` is 0";
        findings.invalid(&format!("{at}.maxUnavailable"), down.clone(), why);
    }
    at_most_all(down, &format!("{at}.maxUnavailable"), findings);
}

fn at_most_all(value: &Value, field: &str, findings: &mut Findings) {
    if text::percent(value).is_some_and(|percent| percent > 100) {
        findings.invalid(field, value.clone(), "must not be greater than 100%");
    }
}

/// K28: exactly one of the two numbers is more than nothing.
fn daemon_set(spec: &Value, findings: &mut Findings) {
    let strategy = spec.get("updateStrategy").unwrap_or(ABSENT);
    match tree::text(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            let at = "spec.updateStrategy.rollingUpdate";
            let Some(rolling) = strategy.get("rollingUpdate").filter(|rolling| rolling.is_object()) else {
                findings.required(at, "");
                return;
            };
            let (down, up) =
                (rolling.get("maxUnavailable").unwrap_or(ABSENT), rolling.get("maxSurge").unwrap_or(ABSENT));
            for (value, key) in [(down, "maxUnavailable"), (up, "maxSurge")] {
                text::int_or_percent(value, &format!("{at}.{key}"), findings);
                at_most_all(value, &format!("{at}.{key}"), findings);
            }
            match (text::is_nothing(down) || down.is_null(), text::is_nothing(up) || up.is_null()) {
                (true, true) => {
                    let why = "cannot be 0 when maxSurge is 0";
                    findings.invalid(&format!("{at}.maxUnavailable"), down.clone(), why);
                }
                (false, false) => {
                    let why = "may not be set when maxUnavailable is non-zero";
                    findings.invalid(&format!("{at}.maxSurge"), up.clone(), why);
                }
                _ => {}
            }
        }
        other => {
            findings.unsupported("spec.updateStrategy.type", other, &["OnDelete", "RollingUpdate"]);
        }
    }
}

/// K27.
fn stateful_set(spec: &Value, findings: &mut Findings) {
    let policies = ["OrderedReady", "Parallel"];
    if tree::text(spec, "podManagementPolicy").is_empty() {
        findings.required("spec.podManagementPolicy", "");
    }
    text::word(spec, "podManagementPolicy", &policies, "spec", findings);
    let strategy = spec.get("updateStrategy").unwrap_or(ABSENT);
    let rolling = strategy.get("rollingUpdate").filter(|rolling| rolling.is_object());
    match (tree::text(strategy, "type"), rolling) {
        ("OnDelete", Some(_)) => findings.invalid(
            "spec.updateStrategy.rollingUpdate",
            rolling.cloned().unwrap_or_default(),
            "only allowed for updateStrategy 'RollingUpdate'",
        ),
        ("OnDelete", None) => {}
        ("RollingUpdate", rolling) => {
            if let Some(rolling) = rolling {
                let at = "spec.updateStrategy.rollingUpdate";
                text::not_negative(rolling, "partition", at, findings);
                let down = rolling.get("maxUnavailable").unwrap_or(ABSENT);
                text::int_or_percent(down, &format!("{at}.maxUnavailable"), findings);
            }
        }
        (other, _) => {
            findings.invalid("spec.updateStrategy", other, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
    if let Some(retention) = spec.get("persistentVolumeClaimRetentionPolicy") {
        for key in ["whenDeleted", "whenScaled"] {
            let at = "spec.persistentVolumeClaimRetentionPolicy";
            text::word(retention, key, &["Delete", "Retain"], at, findings);
        }
    }
    if let Some(ordinals) = spec.get("ordinals").filter(|ordinals| ordinals.is_object()) {
        text::not_negative(ordinals, "start", "spec.ordinals", findings);
    }
    text::subdomain(spec, "serviceName", "spec", findings);
    for (index, claim) in tree::list(spec, "volumeClaimTemplates").iter().enumerate() {
        let claim = claim.get("spec").unwrap_or(ABSENT);
        storage::claim_spec(claim, &format!("spec.volumeClaimTemplates[{index}].spec"), findings);
    }
}

/// K27: everything else in the spec stays as it was.
fn stateful_set_change(new: &Object, old: &Object, findings: &mut Findings) {
    let fixed = |object: &Object| {
        let mut spec = object.0.get("spec").cloned().unwrap_or_default();
        if let Some(map) = spec.as_object_mut() {
            for key in [
                "replicas",
                "ordinals",
                "template",
                "updateStrategy",
                "revisionHistoryLimit",
                "persistentVolumeClaimRetentionPolicy",
                "minReadySeconds",
            ] {
                map.remove(key);
            }
        }
        spec
    };
    if !tree::same(&fixed(new), &fixed(old)) {
        findings.forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
             'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        );
    }
}
