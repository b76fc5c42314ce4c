//! Every check of both levels, told and not told; labels; and the three questions.

use outrigger_api::{KindInfo, Object, Registry};
use serde_json::{Value, json};

use super::{
    Level, Policy, Standard, Version, check_labels, is_significant, judge_namespace, judge_pod,
    judge_template, stricter, told, violations,
};

fn object(value: Value) -> Object {
    Object::from_value(value).expect("an object")
}

fn kind(group: &str, name: &str) -> KindInfo {
    Registry::builtin().by_kind(group, "v1", name).expect("built in").as_ref().clone()
}

fn standard(text: &str) -> Standard {
    let (level, version) = text.split_once(':').expect("level and version");
    let level = Level::ALL.into_iter().find(|known| known.word() == level).expect("a level");
    Standard { level, version: Version::parse(version).expect("a version") }
}

fn judged(level: &str, metadata: &Value, spec: &Value) -> String {
    told(&violations(standard(level), metadata, spec))
}

/// A container nothing is said against, with something put on top.
fn hardened(with: &Value) -> Value {
    let mut container = json!({"name": "a", "image": "a:1", "securityContext": {
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}});
    json_patch::merge(&mut container, with);
    container
}

fn spec(container: &Value, with: &Value) -> Value {
    let mut spec = json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [hardened(container)]});
    json_patch::merge(&mut spec, with);
    spec
}

/// I40: what each check of the baseline says; the restricted level says the same, or what its own check says instead.
#[test]
fn the_baseline() {
    let none = json!({});
    for (container, pod, expected) in [
        (none.clone(), json!({"hostNetwork": true}), "host namespaces (hostNetwork=true)"),
        (
            none.clone(),
            json!({"hostNetwork": true, "hostPID": true, "hostIPC": true}),
            "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)",
        ),
        (
            json!({"securityContext": {"privileged": true}}),
            none.clone(),
            "privileged (container \"a\" must not set securityContext.privileged=true)",
        ),
        (
            json!({"ports": [{"hostPort": 81}, {"hostPort": 80}, {"containerPort": 9}]}),
            none.clone(),
            "hostPort (container \"a\" uses hostPorts 80, 81)",
        ),
        (
            json!({"securityContext": {"procMount": "Unmasked"}}),
            none.clone(),
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            none.clone(),
            json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
            "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\")",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
            none.clone(),
            "seccompProfile (container \"a\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            json!({"securityContext": {"seLinuxOptions": {"type": "spc_t", "user": "u", "role": "r"}}}),
            json!({"securityContext": {"seLinuxOptions": {"type": "container_engine_t", "role": "r"}}}),
            "seLinuxOptions (pod and container \"a\" set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set; role may not be set)",
        ),
        (
            none.clone(),
            json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}, {"name": "b"}]}}),
            "forbidden sysctls (kernel.msgmax, b)",
        ),
        (
            json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
            json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
            "hostProcess (pod and container \"a\" must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            json!({"livenessProbe": {"httpGet": {"host": "b"}}, "lifecycle": {"preStop": {"tcpSocket": {"host": "a"}}}}),
            none.clone(),
            "probe or lifecycle host (container \"a\" uses probe or lifecycle hosts \"a\", \"b\")",
        ),
    ] {
        for level in ["baseline:latest", "restricted:latest"] {
            assert_eq!(judged(level, &json!({}), &spec(&container, &pod)), expected, "{level}");
        }
        assert_eq!(judged("privileged:latest", &json!({}), &spec(&container, &pod)), "");
    }
}

/// I40, I41: three checks are sharper in the restricted level, which then does not say the same twice.
#[test]
fn sharper_checks_stand_in_for_those_of_the_baseline() {
    let volumes = json!({"volumes": [
        {"name": "h", "hostPath": {"path": "/"}}, {"name": "n", "nfs": {}}, {"name": "c", "configMap": {}}]});
    let path = spec(&json!({}), &volumes);
    assert_eq!(judged("baseline:latest", &json!({}), &path), "hostPath volumes (volume \"h\")");
    assert_eq!(
        judged("restricted:latest", &json!({}), &path),
        "restricted volume types (volumes \"h\", \"n\" use restricted volume types \"hostPath\", \"nfs\")"
    );
    let capabilities =
        json!({"securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE", "CHOWN", "SYS_ADMIN"]}}});
    let adding = spec(&capabilities, &json!({}));
    assert_eq!(
        judged("baseline:latest", &json!({}), &adding),
        "non-default capabilities (container \"a\" must not include \"SYS_ADMIN\" in securityContext.capabilities.add)"
    );
    assert_eq!(
        judged("restricted:latest", &json!({}), &adding),
        "unrestricted capabilities (container \"a\" must not include \"CHOWN\", \"SYS_ADMIN\" in securityContext.capabilities.add)"
    );
}

/// I41: a Pod that says nothing about itself.
#[test]
fn a_plain_pod_is_not_hardened() {
    let plain = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    assert_eq!(judged("baseline:latest", &json!({}), &plain), "");
    let expected = "allowPrivilegeEscalation != false (containers \"a\", \"b\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (containers \"a\", \"b\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or containers \"a\", \"b\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or containers \"a\", \"b\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";
    assert_eq!(judged("restricted:latest", &json!({}), &plain), expected);
    // What is for Linux only does not count on Windows, from 1.25 on.
    let windows = json!({"os": {"name": "windows"}, "containers": [{"name": "a"}]});
    let only = "runAsNonRoot != true (pod or container \"a\" must set securityContext.runAsNonRoot=true)";
    assert_eq!(judged("restricted:v1.25", &json!({}), &windows), only);
    assert!(judged("restricted:v1.24", &json!({}), &windows).contains("unrestricted capabilities"));
}

/// I41: root is refused where it is set, Pod or container, init and ephemeral ones included.
#[test]
fn root_is_refused_where_it_is_set() {
    let root = json!({"securityContext": {"runAsUser": 0, "runAsNonRoot": false}});
    let ephemeral = hardened(&json!({"name": "e", "securityContext": {"runAsUser": 0}}));
    let bad = spec(&root, &json!({"securityContext": {"runAsUser": 0}, "ephemeralContainers": [ephemeral]}));
    assert_eq!(
        judged("restricted:latest", &json!({}), &bad),
        "runAsNonRoot != true (container \"a\" must not set securityContext.runAsNonRoot=false), \
         runAsUser=0 (pod and containers \"a\", \"e\" must not set runAsUser=0)"
    );
    let init = spec(&json!({}), &json!({"initContainers": [hardened(&root)]}));
    assert!(
        judged("restricted:v1.22", &json!({}), &init).starts_with("runAsNonRoot != true (container \"a\"")
    );
    assert!(!judged("restricted:v1.22", &json!({}), &init).contains("runAsUser"));
}

/// I39: a version is what it was.
#[test]
fn versions() {
    let probing = spec(&json!({"livenessProbe": {"httpGet": {"host": "b"}}}), &json!({}));
    let sysctl = spec(&json!({}), &json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_wmem"}]}}));
    let engine =
        spec(&json!({}), &json!({"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}}));
    let unmasked = spec(&json!({"securityContext": {"procMount": "Unmasked"}}), &json!({"hostUsers": false}));
    for (pod, level, is_fine) in [
        (&probing, "baseline:v1.33", true),
        (&probing, "baseline:v1.34", false),
        (&sysctl, "baseline:v1.31", false),
        (&sysctl, "baseline:v1.32", true),
        (&engine, "baseline:v1.30", false),
        (&engine, "baseline:v1.31", true),
        (&unmasked, "baseline:v1.34", false),
        (&unmasked, "baseline:latest", true),
        (&unmasked, "restricted:latest", false),
        // A version that is not there yet is the newest.
        (&probing, "baseline:v1.99", false),
    ] {
        assert_eq!(judged(level, &json!({}), pod).is_empty(), is_fine, "{level} {pod}");
    }
    // Before there were fields, annotations said it.
    let noted = json!({"annotations": {"container.seccomp.security.alpha.kubernetes.io/a": "unconfined",
        "seccomp.security.alpha.kubernetes.io/pod": "localhost/x",
        "container.apparmor.security.beta.kubernetes.io/a": "unconfined"}});
    let plain = json!({"containers": [{"name": "a"}]});
    assert_eq!(
        judged("baseline:v1.18", &noted, &plain),
        "forbidden AppArmor profile (annotation must not set AppArmor profile type to \
         \"container.apparmor.security.beta.kubernetes.io/a=\\\"unconfined\\\"\"), \
         seccompProfile (forbidden annotation container.seccomp.security.alpha.kubernetes.io/a=\"unconfined\")"
    );
    assert!(!judged("baseline:v1.19", &noted, &plain).contains("seccompProfile"));
}

fn namespace(labels: &Value) -> Object {
    let mut all = serde_json::Map::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        all.insert(format!("pod-security.kubernetes.io/{key}"), value.clone());
    }
    object(json!({"metadata": {"name": "n", "labels": all}}))
}

/// I39: labels say which standard; what cannot be read is refused, and enforced strictly where it is there already.
#[test]
fn labels() {
    let (policy, findings) = Policy::of_labels(&namespace(
        &json!({"enforce": "baseline", "enforce-version": "v1.30", "warn": "restricted"}),
    ));
    assert!(findings.is_empty());
    let shown = [policy.enforce, policy.audit, policy.warn].map(|standard| standard.to_string());
    assert_eq!(shown, ["baseline:v1.30", "privileged:latest", "restricted:latest"]);

    let bad = namespace(&json!({"enforce": "x", "warn": "y", "audit-version": "v1.01"}));
    let kind = kind("", "Namespace");
    let refused = check_labels(&kind, &bad, None).expect_err("refused");
    assert_eq!(refused.code, 422);
    assert_eq!(
        refused.message,
        "Namespace \"n\" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"x\": \
         must be one of privileged, baseline, restricted, \
         metadata.labels[pod-security.kubernetes.io/audit-version]: Invalid value: \"v1.01\": must be \"latest\" or \
         \"v1.x\", metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: \"y\": must be one of privileged, \
         baseline, restricted]"
    );
    assert!(check_labels(&kind, &bad, Some(&bad)).is_ok());
    let (policy, _) = Policy::of_labels(&bad);
    assert_eq!((policy.enforce.level, policy.warn.level), (Level::Restricted, Level::Privileged));
}

/// I33, I39: enforcing refuses Pods and only Pods; warnings and notes come with what is let through.
#[test]
fn modes() {
    let pod =
        object(json!({"metadata": {"name": "p"}, "spec": {"hostPID": true, "containers": [{"name": "a"}]}}));
    let strict = namespace(&json!({"enforce": "baseline", "warn": "baseline", "audit": "baseline"}));
    let refused = judge_pod(&pod, &strict).expect_err("refused");
    let text =
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)";
    assert_eq!((refused.code, refused.message.as_str()), (403, text));

    let warning = namespace(&json!({"warn": "baseline", "audit": "baseline", "audit-version": "v1.20"}));
    let judged = judge_pod(&pod, &warning).expect("let through");
    let would = "would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)";
    assert_eq!(judged.warnings, [would]);
    let noted = "would violate PodSecurity \"baseline:v1.20\": host namespaces (hostPID=true)";
    assert_eq!(judged.audit["audit-violations"], noted);
    assert_eq!(judged.audit["enforce-policy"], "privileged:latest");

    let template = json!({"spec": {"hostPID": true, "containers": [{"name": "a"}]}});
    for (group, name, value) in [
        ("apps", "Deployment", json!({"spec": {"template": template}})),
        ("batch", "CronJob", json!({"spec": {"jobTemplate": {"spec": {"template": template}}}})),
        ("", "PodTemplate", json!({"template": template})),
    ] {
        let judged = judge_template(&kind(group, name), &object(value), &strict);
        assert_eq!(judged.warnings, [would], "{name}");
    }
    let service = judge_template(&kind("", "Service"), &object(json!({"spec": {}})), &strict);
    assert_eq!(service, super::Judged::default());
}

/// I39: which updates are looked at.
#[test]
fn updates_that_count() {
    let pod = |value: Value| object(json!({"metadata": value["metadata"], "spec": value["spec"]}));
    let old = pod(json!({"spec": {"containers": [{"name": "a", "image": "a:1"}]}}));
    let same = pod(json!({"metadata": {"labels": {"a": "b"}},
        "spec": {"activeDeadlineSeconds": 1, "containers": [{"name": "a", "image": "a:1"}]}}));
    assert!(!is_significant(&same, &old));
    for new in [
        json!({"spec": {"containers": [{"name": "a", "image": "a:2"}]}}),
        json!({"spec": {"containers": [{"name": "a", "image": "a:1"}], "ephemeralContainers": [{"name": "e"}]}}),
        json!({"metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "x"}},
            "spec": {"containers": [{"name": "a", "image": "a:1"}]}}),
    ] {
        assert!(is_significant(&pod(new.clone()), &old), "{new}");
    }
}

/// I39: a stricter label tells of the Pods that are there.
#[test]
fn a_stricter_namespace_tells_of_its_pods() {
    let none = namespace(&json!({}));
    let baseline = namespace(&json!({"enforce": "baseline"}));
    let pinned = namespace(&json!({"enforce": "baseline", "enforce-version": "v1.20"}));
    assert_eq!(stricter(&baseline, &none), Some(standard("baseline:latest")));
    assert_eq!(stricter(&none, &baseline), None);
    assert_eq!(stricter(&baseline, &namespace(&json!({"enforce": "restricted"}))), None);
    assert_eq!(stricter(&pinned, &baseline), Some(standard("baseline:v1.20")));

    let pod = |name: &str, spec: Value| object(json!({"metadata": {"name": name}, "spec": spec}));
    let pods = [
        pod("c", json!({"hostPID": true, "hostIPC": true})),
        pod("b", json!({"hostPID": true})),
        pod("a", json!({"hostPID": true})),
        pod(
            "d",
            json!({"containers": [{"name": "x", "securityContext": {"privileged": true}}], "hostPID": true}),
        ),
        pod("e", json!({})),
    ];
    assert_eq!(
        judge_namespace("n", standard("baseline:latest"), &pods, 7),
        [
            "new PodSecurity enforce level only checked against the first 5 of 7 existing pods",
            "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "a (and 2 other pods): host namespaces",
            "d: host namespaces, privileged",
        ]
    );
    assert!(judge_namespace("n", standard("baseline:latest"), &pods[4..], 1).is_empty());
}
