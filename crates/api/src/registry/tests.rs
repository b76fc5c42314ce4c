use super::*;
use crate::kind::{NameRule, Verbs};

fn find(group: &str, version: &str, plural: &str) -> Arc<KindInfo> {
    Registry::builtin().find(group, version, plural).unwrap_or_else(|| panic!("{group}/{version} {plural}"))
}

/// A8: core is behind apiregistration only, and `ev` resolves to core events because core comes first.
#[test]
fn groups_come_by_priority() {
    let snapshot = Registry::builtin().snapshot();
    let names: Vec<_> = snapshot.groups().iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names[..4], ["apiregistration.k8s.io", "", "apps", "events.k8s.io"]);
    assert_eq!(names[12..14], ["storage.k8s.io", "admissionregistration.k8s.io"]);
    assert_eq!(names.last(), Some(&"flowcontrol.apiserver.k8s.io"));
    let autoscaling = snapshot.group("autoscaling").unwrap();
    assert_eq!(autoscaling.versions.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["v2", "v1"]);
}

/// A8: GA before beta before alpha, numbers descending.
#[test]
fn versions_rank_by_stability_then_number() {
    let mut versions = ["v1alpha1", "foo", "v2", "v1beta1", "v10", "v1", "v1beta2", "v2alpha1"];
    versions.sort_by_cached_key(|v| version_rank(v));
    assert_eq!(versions, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v2alpha1", "v1alpha1", "foo"]);
}

/// K2: exactly the ten kinds of `kubectl get all`.
#[test]
fn category_all_is_complete() {
    let snapshot = Registry::builtin().snapshot();
    let mut all: Vec<_> = snapshot
        .kinds()
        .filter(|kind| kind.categories.iter().any(|category| category == "all"))
        .map(|kind| kind.plural.as_ref())
        .collect();
    all.sort_unstable();
    all.dedup();
    let expected = [
        "cronjobs",
        "daemonsets",
        "deployments",
        "horizontalpodautoscalers",
        "jobs",
        "pods",
        "replicasets",
        "replicationcontrollers",
        "services",
        "statefulsets",
    ];
    assert_eq!(all, expected);
}

/// M9: the exceptions to `/registry/<plural>`.
#[test]
fn storage_paths_are_those_of_the_reference_server() {
    assert_eq!(find("", "v1", "nodes").key("", "n"), "/registry/minions/n");
    assert_eq!(find("", "v1", "services").key("d", "s"), "/registry/services/specs/d/s");
    assert_eq!(find("", "v1", "endpoints").key("d", "s"), "/registry/services/endpoints/d/s");
    assert_eq!(find("", "v1", "replicationcontrollers").prefix(), "/registry/controllers/");
    assert_eq!(find("networking.k8s.io", "v1", "ingresses").prefix(), "/registry/ingress/");
    assert_eq!(find("events.k8s.io", "v1", "events").prefix(), find("", "v1", "events").prefix());
    assert_eq!(find("apps", "v1", "deployments").prefix(), "/registry/deployments/");
    let crds = find("apiextensions.k8s.io", "v1", "customresourcedefinitions");
    assert_eq!(crds.prefix(), "/registry/apiextensions.k8s.io/customresourcedefinitions/");
}

/// M19, K3: one storage, several views.
#[test]
fn views_share_storage() {
    assert_eq!(find("events.k8s.io", "v1", "events").storage_version(), ("", "v1"));
    assert_eq!(
        find("autoscaling", "v1", "horizontalpodautoscalers").storage_version(),
        ("autoscaling", "v2")
    );
    assert_eq!(find("apps", "v1", "deployments").storage_version(), ("apps", "v1"));
}

/// K1, A5, A6: verbs and subresources.
#[test]
fn verbs_and_subresources() {
    let pods = find("", "v1", "pods");
    let names: Vec<_> = pods.subresources.iter().map(|sub| sub.name.as_ref()).collect();
    assert_eq!(
        names,
        [
            "attach",
            "binding",
            "ephemeralcontainers",
            "eviction",
            "exec",
            "log",
            "portforward",
            "proxy",
            "resize",
            "status"
        ]
    );
    assert_eq!(pods.subresource("eviction").unwrap().foreign, Some(("policy".into(), "v1".into())));
    assert_eq!(find("", "v1", "namespaces").verbs, Verbs::NoDeleteCollection);
    assert_eq!(find("", "v1", "componentstatuses").verbs.words(), ["get", "list"]);
    assert!(!find("authentication.k8s.io", "v1", "tokenreviews").is_stored());
    assert_eq!(find("", "v1", "endpoints").singular, "endpoints");
}

/// C1, C8, D2, D5, D20, D22, D24: the switches that differ from the default.
#[test]
fn strategies() {
    let pods = find("", "v1", "pods").strategy;
    assert!(pods.generation && pods.graceful_delete && pods.returns_deleted && !pods.orphan_by_default);
    assert!(find("batch", "v1", "jobs").strategy.orphan_by_default);
    let lease = find("coordination.k8s.io", "v1", "leases").strategy;
    assert!(lease.create_on_update && lease.conditional_update_only && !lease.generation);
    assert!(!find("", "v1", "services").strategy.generation);
    assert_eq!(find("", "v1", "events").strategy.name, NameRule::PathSegment);
    assert_eq!(find("", "v1", "namespaces").strategy.name, NameRule::Label);
}

/// A17: a group goes with its last resource; and the table counts its changes.
#[test]
fn rows_come_and_go() {
    let registry = Registry::builtin();
    let mut custom = (*find("apps", "v1", "deployments")).clone();
    custom.group = "example.org".into();
    custom.custom = true;
    registry.add(custom);
    let snapshot = registry.snapshot();
    assert_eq!(snapshot.groups().last().unwrap().name, "example.org");
    assert!(registry.by_kind("example.org", "v1", "Deployment").unwrap().custom);
    registry.remove("example.org", "v1", "deployments");
    assert!(registry.snapshot().group("example.org").is_none());
    assert_eq!(registry.snapshot().revision, snapshot.revision + 1);
}
