//! Each case: the rule, a merge patch over a plain Pod, and every finding in order.

use outrigger_api::Object;
use serde_json::{Value, json};

use crate::field::Findings;

mod rows;
mod updates;
mod whole;

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
                    "spec.initContainers[0].resizePolicy[0].restartPolicy: Invalid value: \"RestartContainer\": must not be set to 'RestartContainer' for non-sidecar initContainers",
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
                    r#"spec.containers[0].securityContext: Invalid value: {"Capabilities":null,"Privileged":true,"SELinuxOptions":null,"WindowsOptions":null,"RunAsUser":null,"RunAsGroup":null,"RunAsNonRoot":null,"ReadOnlyRootFilesystem":null,"AllowPrivilegeEscalation":false,"ProcMount":null,"SeccompProfile":null,"AppArmorProfile":null}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true"#,
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
