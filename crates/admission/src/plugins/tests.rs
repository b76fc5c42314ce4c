//! Whole creates and deletes through the pipeline, with a small cluster to look things up in.

use outrigger_api::{KindInfo, Object, Registry, WallTime};
use serde_json::{Value, json};

use super::Lookup;
use crate::{
    CreateContext, DeleteContext, DeleteDecision, DeleteOptions, Ownership, UpdateContext, admit_create,
    admit_delete, admit_status_update, admit_update, strategy,
};

#[derive(Debug, Default)]
struct Cluster {
    ranges: Vec<Value>,
    ingress_classes: Vec<&'static str>,
}

fn object(value: Value) -> Object {
    Object::from_value(value).expect("an object")
}

impl Lookup for Cluster {
    fn namespace(&self, name: &str) -> Option<Object> {
        match name {
            "default" => Some(object(json!({"metadata": {"name": name}, "status": {"phase": "Active"}}))),
            "ending" => Some(object(json!({"metadata": {"name": name}, "status": {"phase": "Terminating"}}))),
            _ => None,
        }
    }

    fn service_account(&self, _namespace: &str, name: &str) -> Option<Object> {
        (name == "default").then(|| object(json!({"imagePullSecrets": [{"name": "s"}]})))
    }

    fn priority_class(&self, name: &str) -> Option<Object> {
        (name == "high").then(|| object(json!({"metadata": {"name": name}, "value": 7})))
    }

    fn default_priority_class(&self) -> Option<Object> {
        None
    }

    fn storage_class(&self, name: &str) -> Option<Object> {
        (name == "grows").then(|| object(json!({"metadata": {"name": name}, "allowVolumeExpansion": true})))
    }

    fn ingress_classes(&self) -> Vec<Object> {
        const MARK: &str = "ingressclass.kubernetes.io/is-default-class";
        let class = |name: &&str| object(json!({"metadata": {"name": name, "annotations": {MARK: "true"}}}));
        self.ingress_classes.iter().map(class).collect()
    }

    fn runtime_class(&self, name: &str) -> Option<Object> {
        let class = json!({"metadata": {"name": name}, "handler": "h", "overhead": {"podFixed": {"cpu": "1"}},
            "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists"}]}});
        (name == "small").then(|| object(class))
    }

    fn limit_ranges(&self, _namespace: &str) -> Vec<Object> {
        self.ranges.iter().map(|spec| object(json!({"spec": {"limits": [spec]}}))).collect()
    }
}

fn kind(group: &str, name: &str) -> KindInfo {
    Registry::builtin().by_kind(group, "v1", name).expect("built in").as_ref().clone()
}

fn now() -> WallTime {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

fn create(kind: &KindInfo, namespace: &str, cluster: &Cluster, value: Value) -> Result<Object, String> {
    let mut object = object(value);
    let context = CreateContext {
        namespace,
        now: now(),
        uid: "u",
        suffix: "abcde",
        dry_run: false,
        lookup: cluster,
        ownership: Ownership::Kept,
    };
    admit_create(kind, &mut object, &context).map_err(|error| error.message)?;
    Ok(object)
}

fn pod(spec: Value) -> Value {
    let mut tree = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "a:1"}]}});
    json_patch::merge(&mut tree["spec"], &spec);
    tree
}

/// R1.9, R1.10, R12.27, I36, I42, I43.
#[test]
fn a_new_pod_is_completed() {
    let made = create(&kind("", "Pod"), "default", &Cluster::default(), pod(json!({}))).expect("accepted");
    let spec = &made.0["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "s"}]));
    assert_eq!(spec["priority"], 0);
    assert_eq!(spec["preemptionPolicy"], "PreemptLowerPriority");
    assert_eq!(spec["tolerations"].as_array().map(Vec::len), Some(2));
    assert_eq!(spec["volumes"][0]["name"], "kube-api-access-abcde");
    assert_eq!(made.0["metadata"]["generation"], 1);
    assert_eq!(made.0["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
}

/// R1.9: what the Pod says wins over what the account says.
#[test]
fn what_the_pod_brings_is_kept() {
    let pods = kind("", "Pod");
    let own = json!({"imagePullSecrets": [{"name": "own"}], "automountServiceAccountToken": false, "tolerations": [
        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]});
    let made = create(&pods, "default", &Cluster::default(), pod(own)).expect("accepted");
    let spec = &made.0["spec"];
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "own"}]));
    assert_eq!(spec.get("volumes"), None);
    assert_eq!(spec["serviceAccount"], "default");
    let seconds: Vec<_> = spec["tolerations"].as_array().expect("a list").iter().collect();
    assert_eq!(seconds[0]["tolerationSeconds"], 5);
    assert_eq!(seconds[1]["key"], "node.kubernetes.io/unreachable");
    assert_eq!(seconds[1]["tolerationSeconds"], 300);
    assert_eq!(seconds.len(), 2);
}

/// R1.10: nothing of a status a client sends is kept, and gates are told of.
#[test]
fn the_first_status_is_the_servers() {
    let mut sent = pod(json!({"schedulingGates": [{"name": "a/b"}]}));
    sent["status"] = json!({"phase": "Running", "podIP": "1.2.3.4"});
    let made = create(&kind("", "Pod"), "default", &Cluster::default(), sent).expect("accepted");
    assert_eq!(
        made.0["status"],
        json!({"phase": "Pending", "qosClass": "BestEffort", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": null, "lastTransitionTime": null}]})
    );
}

/// R1.41: the feature is off, so the field is dropped before it could be judged.
#[test]
fn a_stop_signal_is_dropped() {
    let hooks = json!({"stopSignal": "SIGUSR1", "preStop": {"sleep": {"seconds": 1}}});
    let spec = json!({"containers": [{"name": "c", "image": "a:1", "lifecycle": hooks}]});
    let made = create(&kind("", "Pod"), "default", &Cluster::default(), pod(spec)).expect("accepted");
    let kept = &made.0["spec"]["containers"][0]["lifecycle"];
    assert_eq!(kept, &json!({"preStop": {"sleep": {"seconds": 1}}}));
}

/// I34, I36, I42.
#[test]
fn refusals() {
    let pods = kind("", "Pod");
    for (namespace, spec, expected) in [
        ("gone", json!({}), "namespaces \"gone\" not found"),
        (
            "ending",
            json!({}),
            "pods \"p\" is forbidden: unable to create new content in namespace ending because it is being terminated",
        ),
        (
            "default",
            json!({"serviceAccountName": "x"}),
            "pods \"p\" is forbidden: error looking up service account default/x: serviceaccount \"x\" not found",
        ),
        (
            "default",
            json!({"priorityClassName": "x"}),
            "pods \"p\" is forbidden: no PriorityClass with name x was found",
        ),
        (
            "default",
            json!({"priorityClassName": "high", "priority": 1}),
            "pods \"p\" is forbidden: the integer value of priority (1) must not be provided in pod spec; priority admission controller computed 7 from the given PriorityClass name",
        ),
    ] {
        let refused = create(&pods, namespace, &Cluster::default(), pod(spec));
        assert_eq!(refused.expect_err("refused"), expected);
    }
}

/// I35.
#[test]
fn limit_ranges() {
    let pods = kind("", "Pod");
    let defaults = Cluster {
        ingress_classes: Vec::new(),
        ranges: vec![
            json!({"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m"}}),
        ],
    };
    let made = create(&pods, "default", &defaults, pod(json!({}))).expect("accepted");
    let resources = &made.0["spec"]["containers"][0]["resources"];
    assert_eq!(resources, &json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "1"}}));
    assert_eq!(
        made.str_at(&["metadata", "annotations", "kubernetes.io/limit-ranger"]),
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    );
    let bounded =
        Cluster { ranges: vec![json!({"type": "Container", "max": {"cpu": "1"}})], ..Cluster::default() };
    for (limits, expected) in [
        (json!({}), "pods \"p\" is forbidden: maximum cpu usage per Container is 1.  No limit is specified"),
        (
            json!({"limits": {"cpu": "2"}}),
            "pods \"p\" is forbidden: maximum cpu usage per Container is 1, but limit is 2",
        ),
    ] {
        let spec = json!({"containers": [{"name": "c", "image": "a:1", "resources": limits}]});
        assert_eq!(create(&pods, "default", &bounded, pod(spec)).expect_err("refused"), expected);
    }
}

fn stored(value: Value) -> Object {
    let mut made = create(&kind("", "Pod"), "default", &Cluster::default(), value).expect("accepted");
    *made.entry(&["metadata", "resourceVersion"]) = json!("5");
    made
}

/// C8, C9, D3, R1.50.
#[test]
fn generation_and_status_are_kept_apart() {
    let pods = kind("", "Pod");
    let old = stored(pod(json!({})));
    let cluster = Cluster::default();
    let context = UpdateContext { now: now(), is_put: true, lookup: &cluster, ownership: Ownership::Kept };
    let mut new = old.clone();
    new.0["spec"]["containers"][0]["image"] = json!("b:1");
    *new.entry(&["status", "phase"]) = json!("Running");
    admit_update(&pods, strategy::Endpoint::Main, &mut new, &old, &context).expect("accepted");
    assert_eq!(new.0["metadata"]["generation"], 2);
    assert_eq!(new.str_at(&["status", "phase"]), "Pending");

    let mut new = old.clone();
    new.0["spec"]["containers"][0]["image"] = json!("b:1");
    *new.entry(&["status"]) = json!({"phase": "Running"});
    admit_status_update(&pods, &mut new, &old, &context).expect("accepted");
    assert_eq!(new.0["metadata"]["generation"], 1);
    assert_eq!(new.0["spec"]["containers"][0]["image"], "a:1");
    assert_eq!(new.0["status"], json!({"phase": "Running", "qosClass": "BestEffort"}));
}

/// D21, D24, C12, C13, R8.1.
#[test]
fn deletes() {
    let pods = kind("", "Pod");
    let decide = |object: &Object, options: DeleteOptions| {
        let context = DeleteContext { now: now(), options: &options };
        admit_delete(&pods, object, &context).expect("decided").0
    };
    let unbound = stored(pod(json!({})));
    assert!(matches!(decide(&unbound, DeleteOptions::default()), DeleteDecision::MarkThenRemove(_)));
    let bound = stored(pod(json!({"nodeName": "n"})));
    let DeleteDecision::MarkDeleting(marked) = decide(&bound, DeleteOptions::default()) else {
        panic!("a bound pod stops first");
    };
    assert_eq!(marked.0["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(marked.0["metadata"]["deletionTimestamp"], "2026-01-01T00:00:30Z");
    assert_eq!(marked.0["metadata"]["generation"], 2);
    assert_eq!(decide(&marked, DeleteOptions::default()), DeleteDecision::Unchanged);
    let mut held = unbound;
    *held.entry(&["metadata", "finalizers"]) = json!(["a/b"]);
    let DeleteDecision::MarkDeleting(marked) = decide(&held, DeleteOptions::default()) else {
        panic!("a finalizer holds it");
    };
    assert!(!strategy::completes_deletion(&pods, &marked));
    let mut freed = marked;
    *freed.entry(&["metadata", "finalizers"]) = json!([]);
    assert!(strategy::completes_deletion(&pods, &freed));
}

/// I47: a Pod of a class costs what the class costs and goes where it can run.
#[test]
fn runtime_classes() {
    let pods = kind("", "Pod");
    let made = create(&pods, "default", &Cluster::default(), pod(json!({"runtimeClassName": "small"})));
    let spec = &made.expect("accepted").0["spec"];
    assert_eq!((&spec["overhead"], &spec["nodeSelector"]), (&json!({"cpu": "1"}), &json!({"a": "b"})));
    assert_eq!(spec["tolerations"].as_array().map(Vec::len), Some(3));
    let refused = create(&pods, "default", &Cluster::default(), pod(json!({"runtimeClassName": "x"})));
    let text = "pods \"p\" is forbidden: pod rejected: RuntimeClass \"x\" not found";
    assert_eq!(refused.expect_err("refused"), text);
}

/// I44: the one default class of Ingresses; two are one too many.
#[test]
fn default_ingress_classes() {
    let ingress = |spec: Value| {
        let mut sent = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i"},
            "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}});
        json_patch::merge(&mut sent["spec"], &spec);
        sent
    };
    let ingresses = kind("networking.k8s.io", "Ingress");
    let with = |classes: &[&'static str]| Cluster { ingress_classes: classes.to_vec(), ..Cluster::default() };
    let class = |classes: &[&'static str], spec: Value| {
        let made = create(&ingresses, "default", &with(classes), ingress(spec));
        made.map(|made| made.str_at(&["spec", "ingressClassName"]).to_owned())
    };
    assert_eq!(class(&[], json!({})).as_deref(), Ok(""));
    assert_eq!(class(&["a"], json!({})).as_deref(), Ok("a"));
    assert_eq!(class(&["a", "b"], json!({"ingressClassName": "c"})).as_deref(), Ok("c"));
    let text = "ingresses.networking.k8s.io \"i\" is forbidden: Internal error occurred: 2 default IngressClasses \
                were found, only 1 allowed";
    assert_eq!(class(&["a", "b"], json!({})).expect_err("refused"), text);
}

/// I46: a claim grows only if its class knows how.
#[test]
fn claims_grow_if_their_class_does() {
    let claims = kind("", "PersistentVolumeClaim");
    let claim = |class: &str, size: &str| {
        object(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "c", "namespace": "default", "resourceVersion": "1", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "volumeName": "v", "volumeMode": "Filesystem",
                "resources": {"requests": {"storage": size}}},
            "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}))
    };
    let cluster = Cluster::default();
    let context = UpdateContext { now: now(), is_put: true, lookup: &cluster, ownership: Ownership::Kept };
    let grow = |class: &str| {
        let (mut new, old) = (claim(class, "2Gi"), claim(class, "1Gi"));
        admit_update(&claims, strategy::Endpoint::Main, &mut new, &old, &context)
            .map_err(|error| error.message)
    };
    assert!(grow("grows").is_ok(), "{:?}", grow("grows"));
    let text = "persistentvolumeclaims \"c\" is forbidden: only dynamically provisioned pvc can be resized and the \
                storageclass that provisions the pvc must support resize";
    assert_eq!(grow("fixed").expect_err("refused"), text);
}

/// I33, C3: what is refused before it has a name is named by the front of it.
#[test]
fn a_generated_name_is_not_known_yet() {
    let mut sent = pod(json!({"serviceAccountName": "x"}));
    sent["metadata"] = json!({"generateName": "web-"});
    let refused = create(&kind("", "Pod"), "default", &Cluster::default(), sent).expect_err("refused");
    assert!(refused.starts_with("pods \"web-\" is forbidden: error looking up service account"), "{refused}");
}

/// K8: the three classes, of containers and of the Pod as a whole.
#[test]
fn quality_of_service() {
    let of = |spec: Value| strategy::qos_class(&object(json!({"spec": spec})));
    let both = json!({"cpu": "1", "memory": "1Gi"});
    let full = json!({"requests": both, "limits": both});
    assert_eq!(of(json!({"containers": [{"resources": full}, {"resources": full}]})), "Guaranteed");
    assert_eq!(of(json!({"containers": [{"resources": full}, {}]})), "Burstable");
    assert_eq!(of(json!({"containers": [{"resources": {"requests": {"cpu": "1"}}}]})), "Burstable");
    assert_eq!(of(json!({"containers": [{}], "initContainers": [{}]})), "BestEffort");
    assert_eq!(of(json!({"resources": full, "containers": [{}]})), "Guaranteed");
}

/// K14: what a Service gives up with its type.
#[test]
fn services_let_go() {
    let services = kind("", "Service");
    let service = |spec: Value| {
        object(json!({"apiVersion": "v1", "kind": "Service", "spec": spec,
            "metadata": {"name": "s", "namespace": "default", "uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}}))
    };
    let balanced = json!({"type": "LoadBalancer", "clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.9"], "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster",
        "allocateLoadBalancerNodePorts": true, "sessionAffinity": "None",
        "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP", "nodePort": 30080}]});
    let cluster = Cluster::default();
    let context = UpdateContext { now: now(), is_put: true, lookup: &cluster, ownership: Ownership::Kept };
    let changed = |to: Value| {
        let mut spec = balanced.clone();
        json_patch::merge(&mut spec, &to);
        let (mut new, old) = (service(spec), service(balanced.clone()));
        admit_update(&services, strategy::Endpoint::Main, &mut new, &old, &context).expect("accepted");
        new.0["spec"].clone()
    };
    let plain = changed(json!({"type": "ClusterIP"}));
    for gone in ["/ports/0/nodePort", "/externalTrafficPolicy", "/allocateLoadBalancerNodePorts"] {
        assert_eq!(plain.pointer(gone), None, "{gone}");
    }
    assert_eq!(plain["clusterIP"], "10.0.0.9");
    let external = changed(json!({"type": "ExternalName", "externalName": "a.b"}));
    for gone in ["/clusterIP", "/clusterIPs", "/ipFamilies", "/internalTrafficPolicy"] {
        assert_eq!(external.pointer(gone), None, "{gone}");
    }
}
