//! What configurations ask for, and both directions of a review.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outrigger_api::{KindInfo, Object, Registry};
use serde_json::{Value, json};

use super::review::{Circumstances, User, denial, patched, read, request, review};
use super::{Place, Webhook, failed, no_dry_run, webhooks};
use crate::rules::{Operation, Request};

fn object(value: Value) -> Object {
    Object::from_value(value).expect("an object")
}

fn row(group: &str, kind: &str) -> Arc<KindInfo> {
    Registry::builtin().by_kind(group, "v1", kind).expect("built in")
}

fn one(webhook: Value) -> Webhook {
    webhooks(&object(json!({"metadata": {"name": "c"}, "webhooks": [webhook]}))).remove(0)
}

/// I50, I53, I55, I56: a configuration as its owner wrote it, in order.
#[test]
fn configurations() {
    let both = object(json!({"metadata": {"name": "c"}, "webhooks": [{"name": "b.x.y"}, {"name": "a.x.y"}]}));
    let names: Vec<String> = webhooks(&both).into_iter().map(|webhook| webhook.name).collect();
    assert_eq!(names, ["b.x.y", "a.x.y"]);

    let bare = one(json!({"name": "a.x.y", "admissionReviewVersions": ["v7", "v1beta1", "v1"]}));
    assert_eq!((bare.timeout_seconds, bare.fails_open, bare.reinvoked), (10, false, false));
    assert_eq!((bare.version, bare.takes_dry_runs), (Some("v1beta1"), false));
    assert_eq!(one(json!({"admissionReviewVersions": ["v7"]})).version, None);

    let full = one(
        json!({"name": "a.x.y", "failurePolicy": "Ignore", "timeoutSeconds": 3, "sideEffects": "NoneOnDryRun",
        "reinvocationPolicy": "IfNeeded", "matchConditions": [{"name": "m", "expression": "true"}],
        "clientConfig": {"caBundle": STANDARD.encode("pem"), "service": {"namespace": "n", "name": "s", "path": "p"}}}),
    );
    assert_eq!(
        (full.timeout_seconds, full.fails_open, full.reinvoked, full.takes_dry_runs),
        (3, true, true, true)
    );
    assert_eq!((full.ca_bundle.as_slice(), full.configuration.as_str()), (&b"pem"[..], "c"));
    assert_eq!(full.match_conditions, [("m".to_owned(), "true".to_owned())]);
    assert_eq!(full.place.url(), "https://s.n.svc:443/p");
    let url = one(json!({"clientConfig": {"url": "https://a/b"}}));
    assert_eq!(url.place, Place::Url("https://a/b".to_owned()));
}

/// I52: everything a webhook is told.
#[test]
fn what_is_sent() {
    let pods = row("", "Pod");
    let extra = BTreeMap::from([("k".to_owned(), vec!["v".to_owned()])]);
    let groups = ["g".to_owned()];
    let user = User { name: "u", uid: "1", groups: &groups, extra: &extra };
    let options = json!({"kind": "CreateOptions"});
    let circumstances = Circumstances { user, dry_run: true, options: &options };
    let asked = Request {
        kind: &pods,
        subresource: "eviction",
        operation: Operation::Create,
        namespace: "n",
        name: "p",
        object: None,
        old: None,
        surroundings: None,
        views: &[],
    };
    let sent = review("v1", "u-1", request(&asked, &pods, &circumstances), Some(json!({"a": 1})), None);
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    let kind = json!({"group": "policy", "version": "v1", "kind": "Eviction"});
    assert_eq!(
        sent,
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
            "uid": "u-1", "kind": kind, "resource": resource, "subResource": "eviction",
            "requestKind": kind, "requestResource": resource, "requestSubResource": "eviction",
            "name": "p", "namespace": "n", "operation": "CREATE",
            "userInfo": {"username": "u", "uid": "1", "groups": ["g"], "extra": {"k": ["v"]}},
            "object": {"a": 1}, "oldObject": null, "dryRun": true, "options": options}})
    );
    // A webhook that wants another version is told both.
    let old = Registry::builtin().by_kind("autoscaling", "v1", "HorizontalPodAutoscaler").expect("built in");
    let new = Registry::builtin().by_kind("autoscaling", "v2", "HorizontalPodAutoscaler").expect("built in");
    let asked = Request { kind: &new, subresource: "", ..asked };
    let sent = request(&asked, &old, &circumstances);
    assert_eq!((&sent["kind"]["version"], &sent["requestKind"]["version"]), (&json!("v1"), &json!("v2")));
    assert_eq!(
        (&sent["resource"]["version"], &sent["requestResource"]["version"]),
        (&json!("v1"), &json!("v2"))
    );
}

fn answered(response: Value) -> Value {
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
}

/// I52: answers that can be used, and those that cannot.
#[test]
fn what_comes_back() {
    let patch = STANDARD.encode(r#"[{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]"#);
    let good = answered(json!({"uid": "u", "allowed": true, "patchType": "JSONPatch", "patch": patch,
        "warnings": ["careful"], "auditAnnotations": {"k": "v"}}));
    let answer = read(good.to_string().as_bytes(), "v1", "u", true).expect("readable");
    assert!(answer.allowed);
    assert_eq!((answer.warnings, &answer.audit["k"]), (vec!["careful".to_owned()], &"v".to_owned()));
    let pod = object(json!({"metadata": {"name": "p"}}));
    let changed = patched(&row("", "Pod"), &pod, &answer.patch.expect("a patch")).expect("fits");
    assert_eq!(changed["metadata"], json!({"name": "p", "labels": {"a": "b"}}));

    for (body, expected) in [
        (
            json!({"response": {"uid": "u"}}),
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got , Kind=",
        ),
        (answered(json!({"uid": "x"})), "expected response.uid=\"u\", got \"x\""),
        (answered(json!(null)), "webhook response is missing"),
        (
            answered(json!({"uid": "u", "patch": patch})),
            "webhook returned response.patch but not response.patchType",
        ),
        (
            answered(json!({"uid": "u", "patch": patch, "patchType": "Merge"})),
            "invalid webhook response.patchType of \"Merge\" returned, expected \"JSONPatch\"",
        ),
    ] {
        assert_eq!(read(body.to_string().as_bytes(), "v1", "u", true).expect_err("unusable"), expected);
    }
    assert!(read(good.to_string().as_bytes(), "v1", "u", false).is_err());
    assert!(read(b"no json", "v1", "u", true).is_err());
    // v1beta1 asked for less.
    let lax = json!({"response": {"allowed": true}});
    assert!(read(lax.to_string().as_bytes(), "v1beta1", "u", true).expect("readable").allowed);
}

/// I53, I54, I56: refusals and failures in the words people search for.
#[test]
fn what_clients_are_told() {
    for (status, code, expected) in [
        (json!(null), 400, "admission webhook \"w\" denied the request without explanation"),
        (json!({"code": 403, "message": "no"}), 403, "admission webhook \"w\" denied the request: no"),
        (
            json!({"code": 200, "reason": "Because"}),
            400,
            "admission webhook \"w\" denied the request: Because",
        ),
    ] {
        let refused = denial("w", &status);
        assert_eq!((refused.code, refused.message.as_str()), (code, expected));
    }
    let refused = denial("w", &json!({"reason": "Forbidden", "details": {"name": "x"}}));
    assert_eq!(refused.reason, Some(outrigger_api::status::Reason::Forbidden));
    assert_eq!(refused.details.expect("kept").name, "x");
    let broken = failed("w", "why");
    assert_eq!(
        (broken.code, broken.message.as_str()),
        (500, "Internal error occurred: failed calling webhook \"w\": why")
    );
    let dry = no_dry_run("w");
    assert_eq!((dry.code, dry.message.as_str()), (400, "admission webhook \"w\" does not support dry run"));
}
