//! Job and CronJob (K29, K30).

use outrigger_api::{KindInfo, Object};
use serde_json::Value;

use super::{ABSENT, cron, immutable, pod, selector, text};
use crate::field::Findings;
use crate::tree;

/// A CronJob's name leaves room for the minute its Jobs are named after.
const MAX_CRON_NAME: usize = 52;
/// What may change in the template of a suspended Job that never started.
const SCHEDULING: &[&str] = &["nodeSelector", "affinity", "tolerations", "schedulingGates"];

/// A new object.
pub(super) fn create(kind: &KindInfo, object: &Object, findings: &mut Findings) {
    let spec = object.0.get("spec").unwrap_or(ABSENT);
    if &*kind.kind == "CronJob" {
        let name = object.name();
        if name.len() > MAX_CRON_NAME {
            findings.invalid("metadata.name", name, "must be no more than 52 characters");
        }
        cron_job(spec, findings);
        return;
    }
    job(spec, "spec", findings);
    let Some(labels) = spec.get("selector").filter(|selector| selector.is_object()) else {
        findings.required("spec.selector", "");
        return;
    };
    selector::check(labels, "spec.selector", findings);
    let own = spec
        .get("template")
        .and_then(|template| template.get("metadata")?.get("labels"))
        .cloned()
        .unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    if !selector::matches(labels, &own) {
        let why = "`selector` does not match template `labels`";
        findings.invalid("spec.template.metadata.labels", own, why);
    }
}

/// A change.
pub(super) fn update(kind: &KindInfo, new: &Object, old: &Object, findings: &mut Findings) {
    let (is, was) = (new.0.get("spec").unwrap_or(ABSENT), old.0.get("spec").unwrap_or(ABSENT));
    if &*kind.kind == "CronJob" {
        cron_job(is, findings);
        return;
    }
    job(is, "spec", findings);
    if !tree::same_at(is, was, "completions") && !is_elastic(is) {
        let value = is.get("completions").cloned().unwrap_or_default();
        findings.invalid("spec.completions", value, "field is immutable");
    }
    immutable(new, old, &["spec", "selector"], findings);
    let started = !old.str_at(&["status", "startTime"]).is_empty();
    let movable = tree::truth(was, "suspend") && !started;
    let template = |spec: &Value| {
        let mut template = spec.get("template").cloned().unwrap_or_default();
        if movable {
            unpin(&mut template);
        }
        template
    };
    if !tree::same(&template(is), &template(was)) {
        let value = is.get("template").cloned().unwrap_or_default();
        findings.invalid("spec.template", value, "field is immutable");
    }
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        immutable(new, old, &["spec", field], findings);
    }
}

/// An indexed Job may be resized as long as both counts go together.
fn is_elastic(spec: &Value) -> bool {
    tree::text(spec, "completionMode") == "Indexed" && spec.get("completions") == spec.get("parallelism")
}

fn unpin(template: &mut Value) {
    if let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) {
        for key in SCHEDULING {
            spec.remove(*key);
        }
    }
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("labels");
        metadata.remove("annotations");
    }
}

/// A Job spec anywhere.
fn job(spec: &Value, path: &str, findings: &mut Findings) {
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        text::not_negative(spec, key, path, findings);
    }
    text::word(spec, "completionMode", &["Indexed", "NonIndexed"], path, findings);
    text::word(spec, "podReplacementPolicy", &["Failed", "TerminatingOrFailed"], path, findings);
    let indexed = tree::text(spec, "completionMode") == "Indexed";
    if indexed && tree::int(spec, "completions").is_none() {
        findings.required(&format!("{path}.completions"), "when completion mode is Indexed");
    }
    if !indexed && tree::int(spec, "backoffLimitPerIndex").is_some() {
        let field = format!("{path}.backoffLimitPerIndex");
        findings.invalid(&field, tree::int(spec, "backoffLimitPerIndex"), "requires indexed completion mode");
    }
    let template = spec.get("template").unwrap_or(ABSENT);
    pod::template(template, &format!("{path}.template"), findings);
    let policy = template.get("spec").map_or("", |spec| tree::text(spec, "restartPolicy"));
    let field = format!("{path}.template.spec.restartPolicy");
    match policy {
        "OnFailure" if spec.get("podFailurePolicy").is_some_and(Value::is_object) => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            findings.invalid(&field, policy, why);
        }
        "OnFailure" | "Never" => {}
        "" | "Always" => findings.required(&field, "valid values: \"OnFailure\", \"Never\""),
        other => findings.unsupported(&field, other, &["OnFailure", "Never"]),
    }
}

/// K30.
fn cron_job(spec: &Value, findings: &mut Findings) {
    let schedule = tree::text(spec, "schedule");
    if schedule.is_empty() {
        findings.required("spec.schedule", "");
    } else if schedule.contains("TZ=") {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        findings.invalid("spec.schedule", schedule, why);
    } else if let Some(why) = cron::fault(schedule) {
        findings.invalid("spec.schedule", schedule, &why);
    }
    for key in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        text::not_negative(spec, key, "spec", findings);
    }
    if let Some(zone) = spec.get("timeZone").and_then(Value::as_str) {
        time_zone(zone, findings);
    }
    if tree::text(spec, "concurrencyPolicy").is_empty() {
        findings.required("spec.concurrencyPolicy", "");
    }
    text::word(spec, "concurrencyPolicy", &["Allow", "Forbid", "Replace"], "spec", findings);
    let template = spec.get("jobTemplate").and_then(|job| job.get("spec")).unwrap_or(ABSENT);
    job(template, "spec.jobTemplate.spec", findings);
    if template.get("selector").is_some_and(|selector| !selector.is_null()) {
        findings.invalid(
            "spec.jobTemplate.spec.selector",
            template.get("selector").cloned().unwrap_or_default(),
            "`selector` will be auto-generated",
        );
    }
    if tree::truth(template, "manualSelector") {
        findings.unsupported("spec.jobTemplate.spec.manualSelector", "true", &["nil", "false"]);
    }
}

/// A zone of the time zone data base; where there is none, any name will do.
fn time_zone(zone: &str, findings: &mut Findings) {
    let field = "spec.timeZone";
    if zone.is_empty() {
        findings.invalid(field, zone, "timeZone must be nil or non-empty string");
    } else if zone.eq_ignore_ascii_case("local") {
        let why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        findings.invalid(field, zone, why);
    } else if jiff::tz::TimeZone::get("Europe/Berlin").is_ok() && jiff::tz::TimeZone::get(zone).is_err() {
        findings.invalid(field, zone, &format!("unknown time zone {zone}"));
    }
}
