//! Each case: the rule, a merge patch over a plain Pod, and every finding in order.

use outrigger_api::Object;
use serde_json::{Value, json};

use crate::field::Findings;

fn plain() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}, "spec": {
        "containers": [{"name": "c", "image": "a:1"}],
    }})
}

/// The plain Pod with `spec` merged in and defaults applied.
fn pod(spec: &str) -> Object {
    let mut tree = plain();
    let patch: Value = serde_json::from_str(&format!("{{\"spec\": {spec}}}")).expect(spec);
    json_patch::merge(&mut tree, &patch);
    let mut object = Object::from_value(tree).unwrap();
    crate::defaults::apply(&kind(), &mut object);
    object
}

fn kind() -> outrigger_api::KindInfo {
    outrigger_api::Registry::builtin().by_kind("", "v1", "Pod").expect("built in").as_ref().clone()
}

fn lines(findings: &Findings) -> Vec<String> {
    findings.causes().iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

#[track_caller]
fn on_create(rule: &str, spec: &str, expected: &[&str]) {
    let mut findings = Findings::default();
    super::create(&pod(spec), &mut findings);
    assert_eq!(lines(&findings), expected, "{rule}: {spec}");
}

/// One container with these extra members.
fn one(extra: &str) -> String {
    format!("{{\"containers\": [{{\"name\": \"c\", \"image\": \"a:1\", {extra}}}]}}")
}

/// One init container with these extra members.
fn init(extra: &str) -> String {
    format!("{{\"initContainers\": [{{\"name\": \"i\", \"image\": \"a:1\", {extra}}}]}}")
}

#[track_caller]
fn table(make: impl Fn(&str) -> String, rows: &[(&str, &str, &[&str])]) {
    for (rule, extra, expected) in rows {
        on_create(rule, &make(extra), expected);
    }
}

/// R1.13-R1.16.
#[test]
fn names_and_images() {
    table(
        str::to_owned,
        &[
            ("a plain pod", "{}", &[]),
            ("R1.13", r#"{"containers": []}"#, &["spec.containers: Required value"]),
            ("R1.14", r#"{"containers": [{"image": "a:1"}]}"#, &["spec.containers[0].name: Required value"]),
            (
                "R1.15",
                r#"{"initContainers": [{"name": "c", "image": "a:1"}]}"#,
                &[r#"spec.initContainers[0].name: Duplicate value: "c""#],
            ),
            ("R1.16", r#"{"containers": [{"name": "c"}]}"#, &["spec.containers[0].image: Required value"]),
            (
                "R1.16",
                r#"{"containers": [{"name": "c", "image": " a:1"}]}"#,
                &[
                    r#"spec.containers[0].image: Invalid value: " a:1": must not have leading or trailing whitespace"#,
                ],
            ),
        ],
    );
}

/// R1.17, R1.37.
#[test]
fn init_containers() {
    const SIDECARS: &str = "may not be set for init containers without restartPolicy=Always";
    on_create(
        "R1.17",
        &init(
            r#""lifecycle": {"preStop": {"exec": {"command": ["x"]}}}, "livenessProbe": {"exec": {"command": ["x"]}}"#,
        ),
        &[
            &format!("spec.initContainers[0].lifecycle: Forbidden: {SIDECARS}"),
            &format!("spec.initContainers[0].livenessProbe: Forbidden: {SIDECARS}"),
        ],
    );
    table(
        init,
        &[
            (
                "R1.17: a sidecar may",
                r#""restartPolicy": "Always", "startupProbe": {"exec": {"command": ["x"]}}"#,
                &[],
            ),
            (
                "R1.37",
                r#""resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]"#,
                &[
                    "spec.initContainers[0].resizePolicy: Invalid value: \"RestartContainer\": must not be set to 'RestartContainer' for non-sidecar initContainers",
                ],
            ),
        ],
    );
}

/// R1.18-R1.25.
#[test]
fn probes_and_hooks() {
    table(
        one,
        &[
            (
                "R1.18",
                r#""livenessProbe": {"exec": {"command": ["x"]}, "successThreshold": 2}"#,
                &["spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
            ),
            (
                "R1.19",
                r#""readinessProbe": {"exec": {"command": ["x"]}, "terminationGracePeriodSeconds": 5}"#,
                &[
                    "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for readinessProbes",
                ],
            ),
            (
                "R1.20",
                r#""livenessProbe": {"exec": {"command": ["x"]}, "terminationGracePeriodSeconds": 0}"#,
                &[
                    "spec.containers[0].livenessProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0",
                ],
            ),
            (
                "R1.21",
                r#""livenessProbe": {"exec": {"command": ["x"]}, "periodSeconds": -1}"#,
                &[
                    "spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
                ],
            ),
            (
                "R1.22",
                r#""livenessProbe": {}"#,
                &["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
            ),
            (
                "R1.22",
                r#""livenessProbe": {"exec": {"command": ["x"]}, "tcpSocket": {"port": 80}}"#,
                &[
                    "spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
                ],
            ),
            (
                "R1.23",
                r#""livenessProbe": {"exec": {}}"#,
                &["spec.containers[0].livenessProbe.exec.command: Required value"],
            ),
            (
                "R1.24",
                r#""livenessProbe": {"httpGet": {"port": 80, "scheme": "FTP"}}"#,
                &[
                    r#"spec.containers[0].livenessProbe.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS""#,
                ],
            ),
            ("R1.25", r#""lifecycle": {"preStop": {"sleep": {"seconds": 30}}}"#, &[]),
            ("R1.25", r#""lifecycle": {"preStop": {"sleep": {"seconds": 0}}}"#, &[]),
            (
                "R1.25",
                r#""lifecycle": {"preStop": {"sleep": {"seconds": 31}}}"#,
                &[
                    "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
                ],
            ),
        ],
    );
}

/// R1.26-R1.28, R1.38.
#[test]
fn restart_rules() {
    table(
        one,
        &[
            (
                "R1.26",
                r#""restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]"#,
                &[
                    "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used",
                ],
            ),
            (
                "R1.27",
                r#""restartPolicy": "Sometimes""#,
                &[
                    r#"spec.containers[0].restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure""#,
                ],
            ),
            (
                "R1.28",
                r#""restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart"}]"#,
                &["spec.containers[0].restartPolicyRules[0].exitCodes: Required value: must be specified"],
            ),
            (
                "R1.28",
                r#""restartPolicy": "Never", "restartPolicyRules": [{"action": "Go", "exitCodes": {"operator": "Is"}}]"#,
                &[
                    r#"spec.containers[0].restartPolicyRules[0].action: Unsupported value: "Go": supported values: "Restart", "RestartAllContainers""#,
                    r#"spec.containers[0].restartPolicyRules[0].exitCodes.operator: Unsupported value: "Is": supported values: "In", "NotIn""#,
                ],
            ),
        ],
    );
    let rules = vec![json!({"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}); 21];
    on_create(
        "R1.28",
        &one(&format!(r#""restartPolicy": "Never", "restartPolicyRules": {}"#, json!(rules))),
        &["spec.containers[0].restartPolicyRules: Too many: 21: must have at most 20 items"],
    );
    on_create(
        "R1.38",
        r#"{"restartPolicy": "Never", "containers": [{"name": "c", "image": "a:1",
            "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}]}"#,
        &[
            "spec.containers[0].resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when pod `restartPolicy` is 'Never'",
        ],
    );
}

/// R1.29, R1.30.
#[test]
fn ports() {
    table(
        one,
        &[
            (
                "R1.29",
                r#""ports": [{"name": "a", "containerPort": 1}, {"name": "a", "containerPort": 2}]"#,
                &[r#"spec.containers[0].ports[1].name: Duplicate value: "a""#],
            ),
            (
                "R1.29",
                r#""ports": [{"name": "a"}]"#,
                &["spec.containers[0].ports[0].containerPort: Required value"],
            ),
            (
                "R1.29",
                r#""ports": [{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 80}]"#,
                &[r#"spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//80""#],
            ),
        ],
    );
    on_create(
        "R1.30",
        r#"{"hostNetwork": true, "containers": [{"name": "c", "image": "a:1", "ports": [{"containerPort": 1, "hostPort": 2}]}]}"#,
        &[
            "spec.containers[0].ports[0].hostPort: Invalid value: 2: must match `containerPort` when `hostNetwork` is true",
        ],
    );
}

/// R1.31-R1.34.
#[test]
fn mounts() {
    let with = |mounts: &str| {
        format!(
            r#"{{"volumes": [{{"name": "v"}}], "containers": [{{"name": "c", "image": "a:1", "volumeMounts": [{mounts}]}}]}}"#
        )
    };
    table(
        with,
        &[
            (
                "R1.31",
                r#"{"name": "x", "mountPath": "/a"}"#,
                &[r#"spec.containers[0].volumeMounts[0].name: Not found: "x""#],
            ),
            (
                "R1.31",
                r#"{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}"#,
                &[r#"spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique"#],
            ),
            ("R1.31", r#"{"name": "v"}"#, &["spec.containers[0].volumeMounts[0].mountPath: Required value"]),
            (
                "R1.32",
                r#"{"name": "v", "mountPath": "/a", "subPath": "/x"}"#,
                &[r#"spec.containers[0].volumeMounts.subPath: Invalid value: "/x": must be a relative path"#],
            ),
            (
                "R1.32",
                r#"{"name": "v", "mountPath": "/a", "subPath": "x/../y"}"#,
                &[
                    r#"spec.containers[0].volumeMounts.subPath: Invalid value: "x/../y": must not contain '..'"#,
                ],
            ),
            (
                "R1.32",
                r#"{"name": "v", "mountPath": "/a", "subPath": "x", "subPathExpr": "y"}"#,
                &[
                    r#"spec.containers[0].volumeMounts[0].subPathExpr: Invalid value: "y": subPathExpr and subPath are mutually exclusive"#,
                ],
            ),
            (
                "R1.33",
                r#"{"name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional"}"#,
                &[
                    "spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
                ],
            ),
            (
                "R1.34",
                r#"{"name": "v", "mountPath": "/a", "recursiveReadOnly": "Enabled"}"#,
                &[
                    "spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
                ],
            ),
        ],
    );
}

/// R1.35, R1.36.
#[test]
fn environment() {
    table(
        one,
        &[
            ("R1.36", r#""env": [{"name": "a b#!", "value": "x"}]"#, &[]),
            ("R1.36", r#""env": [{"name": ""}]"#, &["spec.containers[0].env[0].name: Required value"]),
            (
                "R1.35",
                r#""env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]"#,
                &[
                    "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
                ],
            ),
            (
                "R1.35",
                r#""env": [{"name": "A", "valueFrom": {}}]"#,
                &[
                    "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
                ],
            ),
            (
                "R1.35",
                r#""env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}, "configMapKeyRef": {"name": "s", "key": "k"}}}]"#,
                &[
                    "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not have more than one field specified at a time",
                ],
            ),
            (
                "R1.35",
                r#""env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]"#,
                &[
                    r#"spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "spec.x": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs""#,
                ],
            ),
            (
                "R1.35",
                r#""env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a.b/c']"}}}]"#,
                &[],
            ),
        ],
    );
}

/// R1.39-R1.40, R1.45.
#[test]
fn security() {
    table(
        one,
        &[
            (
                "R1.39",
                r#""securityContext": {"allowPrivilegeEscalation": false, "privileged": true}"#,
                &[
                    r#"spec.containers[0].securityContext: Invalid value: {"allowPrivilegeEscalation":false,"privileged":true}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true"#,
                ],
            ),
            (
                "R1.40",
                r#""securityContext": {"procMount": "Unmasked"}"#,
                &[
                    "spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
                ],
            ),
        ],
    );
    on_create(
        "R1.45",
        r#"{"hostUsers": false, "hostPID": true, "hostIPC": true, "hostNetwork": true}"#,
        &[
            "spec.hostNetwork: Forbidden: when `hostUsers` is false",
            "spec.HostPID: Forbidden: when `hostUsers` is false",
            "spec.HostIPC: Forbidden: when `hostUsers` is false",
        ],
    );
    on_create(
        "R1.45",
        r#"{"hostPID": true, "shareProcessNamespace": true}"#,
        &[
            "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
        ],
    );
}

/// R1.39a, R1.46, K9.
#[test]
fn resources() {
    table(
        one,
        &[
            (
                "R1.39a",
                r#""resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}"#,
                &[
                    r#"spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#,
                ],
            ),
            (
                "K9",
                r#""resources": {"limits": {"foo": "1"}, "requests": {"foo": "1"}}"#,
                &[
                    r#"spec.containers[0].resources.limits[foo]: Invalid value: "foo": must be a standard resource type or fully qualified"#,
                    r#"spec.containers[0].resources.limits[foo]: Invalid value: "foo": must be a standard resource for containers"#,
                    r#"spec.containers[0].resources.requests[foo]: Invalid value: "foo": must be a standard resource type or fully qualified"#,
                    r#"spec.containers[0].resources.requests[foo]: Invalid value: "foo": must be a standard resource for containers"#,
                ],
            ),
            (
                "K9",
                r#""resources": {"limits": {"hugepages-2Mi": "2Mi"}}"#,
                &["spec.containers[0].resources: Forbidden: HugePages require cpu or memory"],
            ),
        ],
    );
    on_create(
        "R1.46",
        r#"{"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}, "containers": [{"name": "c", "image": "a:1", "resources": {"limits": {"cpu": "2"}}}]}"#,
        &[
            r#"spec.resources.requests[cpu]: Invalid value: "1": must be greater than or equal to aggregate container requests of 2"#,
            r#"spec.resources.containers[0][cpu].limits: Invalid value: "2": must be less than or equal to pod limits of 1"#,
        ],
    );
}

/// R1.12, R1.42-R1.44, R1.47.
#[test]
fn the_pod_as_a_host() {
    table(
        str::to_owned,
        &[
            (
                "R1.42",
                r#"{"restartPolicy": "Maybe"}"#,
                &[
                    r#"spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never""#,
                ],
            ),
            (
                "R1.42",
                r#"{"activeDeadlineSeconds": 0}"#,
                &[
                    "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
                ],
            ),
            (
                "R1.12",
                r#"{"dnsPolicy": "X"}"#,
                &[
                    r#"spec.dnsPolicy: Unsupported value: "X": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None""#,
                ],
            ),
            (
                "R1.43",
                r#"{"hostnameOverride": "a", "setHostnameAsFQDN": true}"#,
                &["spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true"],
            ),
            (
                "R1.44",
                r#"{"dnsPolicy": "None"}"#,
                &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
            ),
            (
                "R1.44",
                r#"{"dnsConfig": {"nameservers": ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"]}}"#,
                &[
                    r#"spec.dnsConfig.nameservers: Invalid value: ["1.1.1.1","1.1.1.2","1.1.1.3","1.1.1.4"]: must not have more than 3 nameservers"#,
                ],
            ),
            (
                "R1.47",
                r#"{"ephemeralContainers": [{"name": "e", "image": "a:1"}]}"#,
                &["spec.ephemeralContainers: Forbidden: cannot be set on create"],
            ),
            (
                "R1.47",
                r#"{"nodeName": "n", "schedulingGates": [{"name": "g"}]}"#,
                &["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
            ),
            (
                "K9",
                r#"{"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]}"#,
                &["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
            ),
        ],
    );
}

#[track_caller]
fn on_update(rule: &str, old: &str, new: &str, expected: &[&str]) {
    let mut findings = Findings::default();
    super::update(&pod(new), &pod(old), &mut findings);
    let lines = lines(&findings);
    assert_eq!(lines.len(), expected.len(), "{rule}: {lines:?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{rule}: {line}");
    }
}

/// R1.48, R1.49.
#[test]
fn updates() {
    const LIST: &str = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n";
    for (rule, old, new, expected) in [
        ("R1.48", "{}", r#"{"containers": [{"name": "c", "image": "b:1"}]}"#, &[][..]),
        ("R1.48", "{}", r#"{"activeDeadlineSeconds": 0}"#, &[]),
        ("R1.48", "{}", r#"{"tolerations": [{"key": "a", "operator": "Exists"}]}"#, &[]),
        ("R1.48", r#"{"schedulingGates": [{"name": "g"}]}"#, r#"{"nodeSelector": {"a": "b"}}"#, &[]),
        ("R1.49", "{}", r#"{"nodeSelector": {"a": "b"}}"#, &[LIST]),
        (
            "R1.49",
            "{}",
            r#"{"containers": [{"name": "c", "image": "a:1"}, {"name": "d", "image": "a:1"}]}"#,
            &["spec.containers: Forbidden: pod updates may not add or remove containers"],
        ),
        (
            "R1.49",
            r#"{"activeDeadlineSeconds": 5}"#,
            r#"{"activeDeadlineSeconds": 6}"#,
            &["spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value"],
        ),
        (
            "R1.49",
            r#"{"activeDeadlineSeconds": 5}"#,
            "{}",
            &[
                "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
            ],
        ),
        (
            "R1.49",
            r#"{"tolerations": [{"key": "a", "operator": "Exists"}]}"#,
            "{}",
            &[
                "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
            ],
        ),
        (
            "K10",
            "{}",
            r#"{"schedulingGates": [{"name": "g"}]}"#,
            &["spec.schedulingGates: Forbidden: only deletion is allowed, but found new scheduling gate 'g'"],
        ),
    ] {
        on_update(rule, old, new, expected);
    }
}

/// R14.1, R14.3.
#[test]
fn ephemeral_containers() {
    let with = |list: &str| pod(&format!(r#"{{"ephemeralContainers": [{list}]}}"#));
    let check = |old: &Object, new: &Object, expected: &[&str]| {
        let mut findings = Findings::default();
        super::ephemeral_update(new, old, &mut findings);
        assert_eq!(lines(&findings), expected);
    };
    let plain = pod("{}");
    let one = with(r#"{"name": "e", "image": "a:1", "targetContainerName": "c"}"#);
    check(&plain, &one, &[]);
    check(
        &one,
        &plain,
        &["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be removed\n"],
    );
    check(
        &plain,
        &with(
            r#"{"name": "e", "image": "a:1", "targetContainerName": "x", "ports": [{"containerPort": 1}]}"#,
        ),
        &[
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
            r#"spec.ephemeralContainers[0].targetContainerName: Not found: "x""#,
        ],
    );
}

/// R13.26.
#[test]
fn resizing() {
    let with = |resources: &str| {
        pod(&format!(r#"{{"containers": [{{"name": "c", "image": "a:1", "resources": {resources}}}]}}"#))
    };
    let old = with(r#"{"requests": {"cpu": "1"}}"#);
    for (new, expected) in [
        (with(r#"{"requests": {"cpu": "2"}}"#), &[][..]),
        (
            with("{}"),
            &[
                "spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing",
                "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
            ],
        ),
        (
            with(r#"{"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}}"#),
            &["spec: Forbidden: only cpu and memory resources are mutable"],
        ),
    ] {
        let mut findings = Findings::default();
        super::resize_update(&new, &old, &mut findings);
        assert_eq!(lines(&findings), expected);
    }
}

/// R1.51.
#[test]
fn status_does_not_go_back() {
    let with = |policy: &str, state: &str| {
        let mut pod = pod(&format!(r#"{{"restartPolicy": "{policy}"}}"#));
        let state: Value = serde_json::from_str(state).unwrap();
        *pod.entry(&["status"]) =
            json!({"qosClass": "BestEffort", "containerStatuses": [{"name": "c", "state": state}]});
        pod
    };
    const REFUSED: &str =
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state";
    for (policy, code, refused) in
        [("Never", 1, true), ("OnFailure", 0, true), ("OnFailure", 1, false), ("Always", 0, false)]
    {
        let old = with(policy, &format!(r#"{{"terminated": {{"exitCode": {code}}}}}"#));
        let mut findings = Findings::default();
        super::status_update(&with(policy, r#"{"running": {}}"#), &old, &mut findings);
        let expected: &[&str] = if refused { &[REFUSED] } else { &[] };
        assert_eq!(lines(&findings), expected, "{policy} {code}");
    }
    let old = with("Always", "{}");
    let mut new = old.clone();
    *new.entry(&["status", "qosClass"]) = json!("Burstable");
    let mut findings = Findings::default();
    super::status_update(&new, &old, &mut findings);
    assert_eq!(lines(&findings), [r#"status.qosClass: Invalid value: "Burstable": field is immutable"#]);
}
