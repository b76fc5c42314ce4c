//! Eviction: a delete that asks the disruption budgets first (H6-H13).

use std::sync::Arc;

use http::{Request, Response};
use outrigger_admission::rules::Operation;
use outrigger_admission::{DeleteOptions, Notes};
use outrigger_api::status::{Cause, Details, Reason};
use outrigger_api::{Object, StatusError};
use serde_json::{Value, json};

use crate::codec;
use crate::guards;
use crate::handler::Call;
use crate::negotiate::Endpoint;
use crate::pipeline;
use crate::respond::{self, Body};
use crate::server::Api;
use crate::storage::{ListRequest, Stored};

pub(super) async fn create(
    api: &Arc<Api>,
    call: &Call,
    request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    let layout = call.accepted(Endpoint::PlainOnly)?.layout;
    let bytes = codec::read(request.into_body()).await?;
    let body = codec::tree(&call.headers, &bytes, "Eviction", codec::Formats::of(&call.kind))?.value;
    let name = body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if !name.is_empty() && name != call.path.name {
        return Err(StatusError::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = DeleteOptions::from_body(body.get("deleteOptions").unwrap_or(&Value::Null))?;
    options.dry_run |= call.query.find("dryRun").is_some_and(|word| !word.is_empty());
    let pod = api.storage.get(&call.kind, &call.path.namespace, &call.path.name).await?.object()?;
    let write_options =
        pipeline::WriteOptions { dry_run: options.dry_run, ..pipeline::WriteOptions::default() };
    let write = call.write(api, write_options);
    let mut eviction = Object::from_value(body).unwrap_or_default();
    eviction.0.insert("apiVersion".to_owned(), json!("policy/v1"));
    eviction.0.insert("kind".to_owned(), json!("Eviction"));
    guards::validate(&write, Operation::Create, Some(&eviction), None, &mut Notes::default()).await?;
    // H7: who does not run counts for no budget.
    let free =
        pod.is_deleting() || matches!(pod.str_at(&["status", "phase"]), "Succeeded" | "Failed" | "Pending");
    if !free {
        spend(api, &pod, options.dry_run).await?;
    }
    if !options.dry_run && !pod.is_deleting() {
        say_why(api, call).await?;
    }
    // Who guards evictions was asked about this one; who guards deletes is not asked besides.
    let write = pipeline::Write { guarded: false, ..write };
    pipeline::delete(&write, &options).await?;
    let status =
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
    Ok(respond::value(201, layout, &status))
}

/// R8.30: the Pod tells that it is evicted before it is deleted.
async fn say_why(api: &Api, call: &Call) -> Result<(), StatusError> {
    for _ in 0..pipeline::RACES {
        let old = api.storage.get(&call.kind, &call.path.namespace, &call.path.name).await?;
        let mut pod = old.object()?;
        let generation = pod.at(&["metadata", "generation"]).cloned().unwrap_or(Value::Null);
        let at = api.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let why = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
            "observedGeneration": generation,
            "lastProbeTime": null,
            "lastTransitionTime": at,
        });
        let conditions = pod.entry(&["status", "conditions"]);
        match conditions.as_array_mut() {
            Some(list) => {
                list.retain(|condition| condition["type"] != why["type"]);
                list.push(why);
            }
            None => *conditions = json!([why]),
        }
        if api.storage.update(&call.kind, &old, &pod).await?.is_ok() {
            return Ok(());
        }
    }
    Err(StatusError::new(429, Reason::TooManyRequests, "the pod is changing too fast").retry_after(10))
}

/// Takes one disruption from the Pod's budget, if it has one.
async fn spend(api: &Api, pod: &Object, dry_run: bool) -> Result<(), StatusError> {
    let Some(kind) = api.registry.find("policy", "v1", "poddisruptionbudgets") else { return Ok(()) };
    for _ in 0..pipeline::RACES {
        let request = ListRequest { namespace: pod.namespace().to_owned(), ..ListRequest::default() };
        let page = api.storage.list(&kind, &request).await?;
        let mut matching: Vec<(Stored, Object)> = Vec::new();
        for item in page.items {
            let budget = item.object()?;
            if selects(&budget, pod) {
                matching.push((item, budget));
            }
        }
        if matching.len() > 1 {
            let text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(StatusError::new(500, Reason::InternalError, text));
        }
        let Some((stored, mut budget)) = matching.pop() else { return Ok(()) };
        if !counts(pod_ready(pod), &budget) {
            return Ok(());
        }
        check(&budget)?;
        let left = budget.at(&["status", "disruptionsAllowed"]).and_then(Value::as_i64).unwrap_or(0);
        *budget.entry(&["status", "disruptionsAllowed"]) = json!(left - 1);
        let at = api.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        *budget.entry(&["status", "disruptedPods", pod.name()]) = json!(at);
        if dry_run || api.storage.update(&kind, &stored, &budget).await?.is_ok() {
            return Ok(());
        }
    }
    Err(StatusError::new(429, Reason::TooManyRequests, "the disruption budget is changing too fast")
        .retry_after(10))
}

fn pod_ready(pod: &Object) -> bool {
    let conditions = pod.at(&["status", "conditions"]).and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        condition.get("type") == Some(&json!("Ready")) && condition.get("status") == Some(&json!("True"))
    })
}

/// H9: a Pod that is not ready is not counted where the budget says so, or while enough others are healthy.
fn counts(ready: bool, budget: &Object) -> bool {
    let number = |member: &str| budget.at(&["status", member]).and_then(Value::as_i64).unwrap_or(0);
    let healthy = number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0;
    ready || (budget.str_at(&["spec", "unhealthyPodEvictionPolicy"]) != "AlwaysAllow" && !healthy)
}

/// H10, H11.
fn check(budget: &Object) -> Result<(), StatusError> {
    let number = |path: &[&str]| budget.at(path).and_then(Value::as_i64).unwrap_or(0);
    let refuse = |message: &str, cause: String, retry: bool| {
        let mut error = StatusError::new(429, Reason::TooManyRequests, message);
        let cause = Cause { reason: "DisruptionBudget".to_owned(), message: cause, field: String::new() };
        error.details = Some(Details { causes: vec![cause], ..Details::default() });
        Err(if retry { error.retry_after(10) } else { error })
    };
    const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
    let name = budget.name();
    if number(&["status", "observedGeneration"]) < number(&["metadata", "generation"]) {
        let cause = format!("The disruption budget {name} is still being processed by the server.");
        return refuse(VIOLATES, cause, true);
    }
    if number(&["status", "disruptionsAllowed"]) < 0 {
        return Err(StatusError::forbidden(
            "poddisruptionbudgets",
            "policy",
            name,
            "pdb disruptions allowed is negative",
        ));
    }
    if number(&["status", "disruptionsAllowed"]) == 0 {
        let (desired, current) =
            (number(&["status", "desiredHealthy"]), number(&["status", "currentHealthy"]));
        let cause =
            format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently");
        return refuse(VIOLATES, cause, false);
    }
    Ok(())
}

fn selects(budget: &Object, pod: &Object) -> bool {
    let label = |key: &str| pod.labels().find(|(name, _)| *name == key).map(|(_, value)| value);
    let exact = budget.at(&["spec", "selector", "matchLabels"]).and_then(Value::as_object);
    let expressions = budget.at(&["spec", "selector", "matchExpressions"]).and_then(Value::as_array);
    if budget.at(&["spec", "selector"]).is_none_or(Value::is_null) {
        return false;
    }
    exact.into_iter().flatten().all(|(key, value)| label(key) == value.as_str())
        && expressions.into_iter().flatten().all(|requirement| {
            let found = label(requirement.get("key").and_then(Value::as_str).unwrap_or_default());
            let values: Vec<&str> = requirement
                .get("values")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            match requirement.get("operator").and_then(Value::as_str).unwrap_or_default() {
                "In" => found.is_some_and(|value| values.contains(&value)),
                "NotIn" => found.is_none_or(|value| !values.contains(&value)),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}
