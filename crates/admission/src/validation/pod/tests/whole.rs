//! What concerns the Pod as a whole.

use super::{on_create, one, table};

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
