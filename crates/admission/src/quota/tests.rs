//! What counts, for whom, and what is told when there is no room (I48).

use outrigger_api::{KindInfo, Object, Quantity, Registry};
use serde_json::{Value, json};

use super::{Amounts, Quota, charge, give_back, may_grow, usage};

fn object(value: Value) -> Object {
    Object::from_value(value).expect("an object")
}

fn kind(group: &str, name: &str) -> KindInfo {
    Registry::builtin().by_kind(group, "v1", name).expect("built in").as_ref().clone()
}

fn pod(spec: Value) -> Object {
    object(json!({"metadata": {"name": "p"}, "spec": spec}))
}

fn shown(amounts: &Amounts) -> String {
    amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
}

fn quota(hard: Value, used: Value, spec: Value) -> Quota {
    let mut whole =
        json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}});
    json_patch::merge(&mut whole["spec"], &spec);
    Quota(object(whole))
}

/// I48: what each kind uses.
#[test]
fn what_is_used() {
    let limited = pod(json!({"overhead": {"cpu": "1m"},
        "initContainers": [
            {"name": "i", "resources": {"requests": {"cpu": "2"}}},
            {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m", "a/b": 1}}}],
        "containers": [{"name": "c", "resources": {
            "requests": {"cpu": "500m", "memory": "1Gi", "hugepages-2Mi": "2Mi"}, "limits": {"cpu": "1"}}}]}));
    let spec = |value: Value| object(json!({"metadata": {"name": "x"}, "spec": value}));
    for (kind, object, expected) in [
        (
            kind("", "Pod"),
            limited.clone(),
            "count/pods=1,cpu=2001m,hugepages-2Mi=2097152,limits.cpu=1001m,memory=1073741824,pods=1,requests.a/b=1,requests.cpu=2001m,requests.hugepages-2Mi=2097152,requests.memory=1073741824",
        ),
        (
            kind("", "Service"),
            spec(json!({"type": "ClusterIP", "ports": [{}]})),
            "count/services=1,services=1",
        ),
        (
            kind("", "Service"),
            spec(json!({"type": "NodePort", "ports": [{}, {}]})),
            "count/services=1,services=1,services.nodeports=2",
        ),
        (
            kind("", "Service"),
            spec(
                json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{}, {"nodePort": 30000}]}),
            ),
            "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1",
        ),
        (
            kind("", "PersistentVolumeClaim"),
            spec(json!({"storageClassName": "fast", "resources": {"requests": {"storage": "5"}}})),
            "count/persistentvolumeclaims=1,fast.storageclass.storage.k8s.io/persistentvolumeclaims=1,fast.storageclass.storage.k8s.io/requests.storage=5,persistentvolumeclaims=1,requests.storage=5",
        ),
        (kind("", "Secret"), spec(json!({})), "count/secrets=1,secrets=1"),
        (kind("apps", "Deployment"), spec(json!({})), "count/deployments.apps=1"),
    ] {
        assert_eq!(shown(&usage(&kind, &object)), expected, "{}", kind.kind);
    }
    // A Pod that has ended is only a name.
    let mut ended = limited;
    *ended.entry(&["status", "phase"]) = json!("Failed");
    assert_eq!(shown(&usage(&kind("", "Pod"), &ended)), "count/pods=1");
    assert!(may_grow(&kind("", "Pod"), "resize") && !may_grow(&kind("", "Pod"), ""));
    assert!(may_grow(&kind("", "Service"), "") && !may_grow(&kind("", "Service"), "status"));
    assert!(!may_grow(&kind("", "Secret"), ""));
}

/// I48: scopes say which Pods and claims count.
#[test]
fn scopes() {
    let plain = pod(json!({"containers": [{"name": "c"}]}));
    let asking = pod(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}));
    let ending = pod(json!({"activeDeadlineSeconds": 0, "containers": [{"name": "c"}]}));
    let high = pod(json!({"priorityClassName": "high", "containers": [{"name": "c"}]}));
    let nosy = pod(json!({"containers": [{"name": "c"}], "affinity": {"podAntiAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": {"namespaces": ["x"]}}]}}}));
    let pods = kind("", "Pod");
    let by_class = |operator: &str, values: Value| {
        json!({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": operator, "values": values}]}})
    };
    for (spec, object, expected) in [
        (json!({}), &plain, true),
        (json!({"scopes": ["BestEffort"]}), &plain, true),
        (json!({"scopes": ["BestEffort"]}), &asking, false),
        (json!({"scopes": ["NotBestEffort"]}), &asking, true),
        (json!({"scopes": ["Terminating"]}), &ending, true),
        (json!({"scopes": ["Terminating"]}), &plain, false),
        (json!({"scopes": ["NotTerminating", "BestEffort"]}), &plain, true),
        (json!({"scopes": ["NotTerminating", "NotBestEffort"]}), &plain, false),
        (json!({"scopes": ["CrossNamespacePodAffinity"]}), &nosy, true),
        (json!({"scopes": ["CrossNamespacePodAffinity"]}), &plain, false),
        (json!({"scopes": ["PriorityClass"]}), &high, true),
        (by_class("In", json!(["high"])), &high, true),
        (by_class("NotIn", json!(["high"])), &high, false),
        (by_class("NotIn", json!(["high"])), &plain, true),
        (by_class("DoesNotExist", json!([])), &plain, true),
    ] {
        assert_eq!(quota(json!({}), json!({}), spec.clone()).counts(&pods, object), expected, "{spec}");
    }
    let claim = object(json!({"spec": {"volumeAttributesClassName": "gold"}}));
    let gold = json!({"scopeSelector": {"matchExpressions": [
        {"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["gold"]}]}});
    assert!(quota(json!({}), json!({}), gold.clone()).counts(&kind("", "PersistentVolumeClaim"), &claim));
    assert!(!quota(json!({}), json!({}), gold).counts(&kind("", "Secret"), &claim));
}

/// I48: there is room, there is none, or nobody knows.
#[test]
fn charging() {
    let pods = kind("", "Pod");
    let asking = pod(
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "600m", "memory": "1Gi"}}}]}),
    );
    let refused =
        |quota: Quota, object: &Object| charge(&pods, object, None, &[quota]).expect_err("refused").message;
    let room = quota(
        json!({"pods": "2", "requests.memory": "2Gi"}),
        json!({"pods": "1", "requests.memory": "512Mi"}),
        json!({}),
    );
    let charges = charge(&pods, &asking, None, &[room]).expect("room");
    assert_eq!(charges[0].charged.0["status"]["used"], json!({"pods": "2", "requests.memory": "1536Mi"}));
    // What did not happen is given back.
    let back = give_back(&Quota(charges[0].charged.clone()), &charges[0].taken);
    assert_eq!(back.0["status"]["used"], json!({"pods": "1", "requests.memory": "512Mi"}));

    let full = quota(
        json!({"pods": "5", "requests.cpu": "1", "cpu": "1"}),
        json!({"pods": "1", "requests.cpu": "500m", "cpu": "500m"}),
        json!({}),
    );
    assert_eq!(
        refused(full, &asking),
        "pods \"p\" is forbidden: exceeded quota: q, requested: cpu=600m,requests.cpu=600m, used: cpu=500m,requests.cpu=500m, limited: cpu=1,requests.cpu=1"
    );
    let silent = pod(json!({"initContainers": [{"name": "i"}], "containers": [
        {"name": "a"}, {"name": "b", "resources": {"limits": {"memory": "1"}}}]}));
    assert_eq!(
        refused(quota(json!({"limits.memory": "1", "cpu": "1", "pods": "1"}), json!({}), json!({})), &silent),
        "pods \"p\" is forbidden: failed quota: q: must specify cpu for: i,a,b; limits.memory for: i,a"
    );
    assert_eq!(
        refused(quota(json!({"pods": "1"}), json!({}), json!({})), &silent),
        "pods \"p\" is forbidden: status unknown for quota: q, resources: pods"
    );
    // What no quota limits, or a controller has not confirmed yet, is free.
    let fresh = Quota(object(json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}})));
    assert!(charge(&pods, &asking, None, &[fresh]).expect("free").is_empty());
    let other = quota(json!({"services": "0"}), json!({"services": "0"}), json!({}));
    assert!(charge(&pods, &asking, None, &[other]).expect("free").is_empty());
}

/// I48: an update is charged for what it adds.
#[test]
fn growth_is_charged() {
    let services = kind("", "Service");
    let service = |spec: Value| object(json!({"metadata": {"name": "s"}, "spec": spec}));
    let (small, large) = (
        service(json!({"type": "NodePort", "ports": [{}]})),
        service(json!({"type": "NodePort", "ports": [{}, {}, {}]})),
    );
    let limits = json!({"services": "1", "services.nodeports": "3"});
    let quotas = [quota(limits, json!({"services": "1", "services.nodeports": "1"}), json!({}))];
    let charges = charge(&services, &large, Some(&small), &quotas).expect("room");
    assert_eq!(charges[0].charged.0["status"]["used"], json!({"services": "1", "services.nodeports": "3"}));
    assert!(charge(&services, &small, Some(&large), &quotas).expect("less").is_empty());
}

/// I48, N15: what a controller adds up.
#[test]
fn totals() {
    let (pods, secrets) = (kind("", "Pod"), kind("", "Secret"));
    let quota = quota(json!({"pods": "9", "requests.memory": "1Gi", "secrets": "1"}), json!({}), json!({}));
    let asking = pod(json!({"containers": [{"name": "c", "resources": {"requests": {"memory": "1536Mi"}}}]}));
    let secret = object(json!({"metadata": {"name": "s"}}));
    let total = quota.total([(&pods, &asking), (&pods, &asking), (&secrets, &secret)]);
    assert_eq!(total["pods"], Quantity::units(2));
    let counted = quota.with_used("spec", &total);
    assert_eq!(counted.0["status"]["hard"], json!({"pods": "9", "requests.memory": "1Gi", "secrets": "1"}));
    assert_eq!(counted.0["status"]["used"], json!({"pods": "2", "requests.memory": "3Gi", "secrets": "1"}));
    assert_eq!(quota.total([])["pods"], Quantity::default());
}
