//! What extends the API: webhook configurations and APIServices (K38, K40); Events (K20).

use outrigger_api::Object;
use serde_json::Value;

use super::{ABSENT, names};
use crate::field::Findings;
use crate::tree;

/// K38.
pub(super) fn webhooks(object: &Object, findings: &mut Findings) {
    let list = object.at(&["webhooks"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (index, webhook) in list.iter().enumerate() {
        let at = format!("webhooks[{index}]");
        let name = tree::text(webhook, "name");
        let field = format!("{at}.name");
        if name.is_empty() {
            findings.required(&field, "");
        } else if let Some(why) = names::dns_subdomain(name) {
            findings.invalid(&field, name, &why);
        } else if name.split('.').count() < 3 {
            findings.invalid(
                &field,
                name,
                "should be a domain with at least three segments separated by dots",
            );
        }
        if list[..index].iter().any(|earlier| tree::text(earlier, "name") == name) {
            findings.duplicate(&field, name);
        }
        if tree::list(webhook, "admissionReviewVersions").is_empty() {
            let why = "must specify one of v1, v1beta1";
            findings.required(&format!("{at}.admissionReviewVersions"), why);
        }
        match tree::text(webhook, "sideEffects") {
            "None" | "NoneOnDryRun" => {}
            "" => findings.required(&format!("{at}.sideEffects"), "must specify one of None, NoneOnDryRun"),
            other => findings.unsupported(&format!("{at}.sideEffects"), other, &["None", "NoneOnDryRun"]),
        }
        if let Some(seconds) =
            tree::int(webhook, "timeoutSeconds").filter(|seconds| !(1..=30).contains(seconds))
        {
            let why = "the timeout value must be between 1 and 30 seconds";
            findings.invalid(&format!("{at}.timeoutSeconds"), seconds, why);
        }
        let client = webhook.get("clientConfig").unwrap_or(ABSENT);
        let (url, service) =
            (!tree::unset(client, "url"), client.get("service").is_some_and(Value::is_object));
        if url == service {
            findings.required(&format!("{at}.clientConfig"), "exactly one of url or service is required");
        }
        if url && !tree::text(client, "url").starts_with("https://") {
            let (url, why) = (tree::text(client, "url"), "'https' is the only allowed URL scheme");
            findings.invalid(&format!("{at}.clientConfig.url"), url, why);
        }
    }
}

/// K40.
pub(super) fn api_service(object: &Object, findings: &mut Findings) {
    let spec = object.0.get("spec").unwrap_or(ABSENT);
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1_000)] {
        let given = tree::int(spec, field).unwrap_or(0);
        if !(1..=most).contains(&given) {
            let why = format!("must be positive and less than {most}");
            findings.invalid(&format!("spec.{field}"), given, &why);
        }
    }
    if tree::truth(spec, "insecureSkipTLSVerify") && !tree::unset(spec, "caBundle") {
        findings.invalid("spec.insecureSkipTLSVerify", true, "may not be true if caBundle is present");
    }
}

/// K20: an event is where its object is; those about objects of the cluster are in `default` or `kube-system`.
pub(super) fn event(object: &Object, about: &str, text: &str, findings: &mut Findings) {
    let (own, of_object) = (object.namespace(), object.str_at(&[about, "namespace"]));
    let fits =
        if of_object.is_empty() { matches!(own, "" | "default" | "kube-system") } else { own == of_object };
    if !fits {
        findings.invalid(&format!("{about}.namespace"), of_object, "does not match event.namespace");
    }
    const LONGEST: usize = 1024;
    if text == "note" && object.str_at(&[text]).len() > LONGEST {
        findings.invalid(text, "", &format!("can have at most {LONGEST} characters"));
    }
}
