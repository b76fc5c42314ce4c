//! Defaults of Pods and Pod templates (R1.1-R1.8).

use serde_json::{Value, json};

use crate::tree;
use outrigger_api::quantity::Quantity;

const CONTAINERS: [&str; 2] = ["initContainers", "containers"];

/// A whole Pod: the template defaults and those that never reach templates (R1.2).
pub(super) fn pod(pod: &mut Value) {
    let Some(spec) = tree::object_mut(pod, "spec") else { return };
    spec_defaults(spec);
    if spec.get("enableServiceLinks").is_none_or(Value::is_null) {
        tree::set(spec, "enableServiceLinks", true);
    }
    mirror_service_account(spec);
    let host_network = tree::truth(spec, "hostNetwork");
    for field in CONTAINERS {
        for container in tree::list_mut(spec, field) {
            if let Some(resources) = tree::existing_mut(container, "resources") {
                requests_from_limits(resources);
            }
            if host_network {
                host_ports(container);
            }
        }
    }
    pod_level_requests(spec);
}

/// A Pod spec anywhere, also in templates (R1.1, R1.3-R1.5).
pub(super) fn spec_defaults(spec: &mut Value) {
    tree::default_to(spec, "restartPolicy", "Always");
    tree::default_to(spec, "dnsPolicy", "ClusterFirst");
    tree::default_to(spec, "schedulerName", "default-scheduler");
    if spec.get("terminationGracePeriodSeconds").is_none_or(Value::is_null) {
        tree::set(spec, "terminationGracePeriodSeconds", 30);
    }
    if tree::int(spec, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        tree::set(spec, "terminationGracePeriodSeconds", 1);
    }
    if spec.get("securityContext").is_none_or(Value::is_null) {
        tree::set(spec, "securityContext", json!({}));
    }
    for volume in tree::list_mut(spec, "volumes") {
        volume_defaults(volume);
    }
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        for container in tree::list_mut(spec, field) {
            container_defaults(container);
        }
    }
    for constraint in tree::list_mut(spec, "topologySpreadConstraints") {
        tree::default_to(constraint, "whenUnsatisfiable", "DoNotSchedule");
    }
}

/// R1.9: the legacy alias follows, and fills in for, the real field.
pub(crate) fn mirror_service_account(spec: &mut Value) {
    let (name, alias) =
        (tree::text(spec, "serviceAccountName").to_owned(), tree::text(spec, "serviceAccount").to_owned());
    if !name.is_empty() {
        tree::set(spec, "serviceAccount", name);
    } else if !alias.is_empty() {
        tree::set(spec, "serviceAccountName", alias);
    }
}

fn container_defaults(container: &mut Value) {
    let policy = pull_policy(tree::text(container, "image"));
    tree::default_to(container, "imagePullPolicy", policy);
    tree::default_to(container, "terminationMessagePath", "/dev/termination-log");
    tree::default_to(container, "terminationMessagePolicy", "File");
    if container.get("resources").is_none_or(Value::is_null) {
        tree::set(container, "resources", json!({}));
    }
    for port in tree::list_mut(container, "ports") {
        tree::default_to(port, "protocol", "TCP");
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = tree::existing_mut(container, probe) {
            tree::default_nonzero(probe, "timeoutSeconds", 1);
            tree::default_nonzero(probe, "periodSeconds", 10);
            tree::default_nonzero(probe, "successThreshold", 1);
            tree::default_nonzero(probe, "failureThreshold", 3);
            handler_defaults(probe);
        }
    }
    if let Some(lifecycle) = tree::existing_mut(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = tree::existing_mut(lifecycle, hook) {
                handler_defaults(hook);
            }
        }
    }
    for variable in tree::list_mut(container, "env") {
        if let Some(reference) =
            tree::existing_mut(variable, "valueFrom").and_then(|from| tree::existing_mut(from, "fieldRef"))
        {
            tree::default_to(reference, "apiVersion", "v1");
        }
    }
}

fn handler_defaults(handler: &mut Value) {
    if let Some(http) = tree::existing_mut(handler, "httpGet") {
        tree::default_to(http, "path", "/");
        tree::default_to(http, "scheme", "HTTP");
    }
    if let Some(grpc) = tree::existing_mut(handler, "grpc")
        && grpc.get("service").is_none_or(Value::is_null)
    {
        tree::set(grpc, "service", "");
    }
}

/// R1.3: what may move is pulled every time.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or_default();
    match (last.split_once(':').map(|(_, tag)| tag), digest) {
        (Some("latest"), _) | (None, None) => "Always",
        (Some(_), _) | (None, Some(_)) => "IfNotPresent",
    }
}

fn volume_defaults(volume: &mut Value) {
    let sources =
        volume.as_object().into_iter().flatten().filter(|(key, value)| *key != "name" && !value.is_null());
    if sources.count() == 0 {
        tree::set(volume, "emptyDir", json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = tree::existing_mut(volume, source) {
            if source.get("defaultMode").is_none_or(Value::is_null) {
                tree::set(source, "defaultMode", 420);
            }
            field_refs(source);
            for part in tree::list_mut(source, "sources") {
                if let Some(token) = tree::existing_mut(part, "serviceAccountToken") {
                    tree::default_nonzero(token, "expirationSeconds", 3600);
                }
                if let Some(downward) = tree::existing_mut(part, "downwardAPI") {
                    field_refs(downward);
                }
            }
        }
    }
    if let Some(path) = tree::existing_mut(volume, "hostPath")
        && path.get("type").is_none_or(Value::is_null)
    {
        tree::set(path, "type", "");
    }
    if let Some(image) = tree::existing_mut(volume, "image") {
        let policy = pull_policy(tree::text(image, "reference"));
        tree::default_to(image, "pullPolicy", policy);
    }
    if let Some(template) = tree::existing_mut(volume, "ephemeral")
        .and_then(|source| tree::existing_mut(source, "volumeClaimTemplate"))
        && let Some(spec) = tree::existing_mut(template, "spec")
    {
        tree::default_to(spec, "volumeMode", "Filesystem");
    }
}

fn field_refs(source: &mut Value) {
    for item in tree::list_mut(source, "items") {
        if let Some(reference) = tree::existing_mut(item, "fieldRef") {
            tree::default_to(reference, "apiVersion", "v1");
        }
    }
}

/// R1.6.
pub(crate) fn requests_from_limits(resources: &mut Value) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    if limits.is_empty() {
        return;
    }
    let Some(requests) = tree::object_mut(resources, "requests").and_then(Value::as_object_mut) else {
        return;
    };
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

/// R1.7.
fn host_ports(container: &mut Value) {
    for port in tree::list_mut(container, "ports") {
        if let Some(number) = tree::int(port, "containerPort") {
            tree::default_nonzero(port, "hostPort", number);
        }
    }
}

/// R1.8.
fn pod_level_requests(spec: &mut Value) {
    let limits =
        spec.get("resources").and_then(|resources| resources.get("limits")).and_then(Value::as_object);
    let Some(limits) = limits.filter(|limits| !limits.is_empty()).cloned() else { return };
    for (name, limit) in limits {
        let total = aggregate_requests(spec, &name);
        let default = total.map_or(limit, |total| json!(total.to_string()));
        let Some(resources) = tree::existing_mut(spec, "resources") else { return };
        if let Some(requests) = tree::object_mut(resources, "requests").and_then(Value::as_object_mut) {
            requests.entry(name).or_insert(default);
        }
    }
}

/// R13.1, R13.2: what the containers ask for together; `None` if none asks.
pub(crate) fn aggregate_requests(spec: &Value, resource: &str) -> Option<Quantity> {
    let request = |container: &Value| {
        container
            .get("resources")
            .and_then(|r| r.get("requests"))
            .and_then(|r| r.get(resource))
            .and_then(Quantity::from_json)
    };
    let asked = CONTAINERS
        .iter()
        .flat_map(|field| tree::list(spec, field))
        .any(|container| request(container).is_some());
    let (mut sidecars, mut peak) = (Quantity::default(), Quantity::default());
    for init in tree::list(spec, "initContainers") {
        let own = request(init).unwrap_or_default();
        let now = sidecars + own;
        peak = peak.max(now);
        if tree::text(init, "restartPolicy") == "Always" {
            sidecars = now;
        }
    }
    let apps = tree::list(spec, "containers").iter().filter_map(request).fold(sidecars, std::ops::Add::add);
    asked.then(|| apps.max(peak))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R1.1, R1.2, R1.3.
    #[test]
    fn a_minimal_pod_gets_every_default() {
        let mut tree = json!({"spec": {"containers": [{"name": "c", "image": "nginx"}]}});
        pod(&mut tree);
        let expected = json!({"spec": {
            "containers": [{
                "name": "c", "image": "nginx", "imagePullPolicy": "Always", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"
            }],
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30, "securityContext": {}, "enableServiceLinks": true
        }});
        assert_eq!(tree, expected);
        let once = tree.clone();
        pod(&mut tree);
        assert_eq!(tree, once);
    }

    /// R1.4: zero counts as not given, except for the delay.
    #[test]
    fn probes_get_their_numbers_and_handlers_their_fields() {
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            let mut tree = json!({"spec": {"containers": [{"name": "c", "image": "a:1", probe: {
                "httpGet": {"port": 80}, "periodSeconds": 0, "failureThreshold": 7}}]}});
            pod(&mut tree);
            let expected = json!({
                "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 7});
            assert_eq!(tree["spec"]["containers"][0][probe], expected, "{probe}");
        }
        let mut tree = json!({"spec": {"initContainers": [{"name": "s", "image": "a:1",
            "startupProbe": {"grpc": {"port": 1}, "initialDelaySeconds": 0},
            "lifecycle": {"preStop": {"httpGet": {"port": 1, "path": "/x"}}}}], "containers": []}});
        pod(&mut tree);
        let sidecar = &tree["spec"]["initContainers"][0];
        assert_eq!(sidecar["startupProbe"]["grpc"]["service"], "");
        assert_eq!(sidecar["startupProbe"]["initialDelaySeconds"], 0);
        let hook = json!({"port": 1, "path": "/x", "scheme": "HTTP"});
        assert_eq!(sidecar["lifecycle"]["preStop"]["httpGet"], hook);
    }

    /// R1.5.
    #[test]
    fn volumes_get_a_source_and_their_modes() {
        let field = json!({"path": "n", "fieldRef": {"fieldPath": "metadata.name"}});
        let with_version =
            json!({"path": "n", "fieldRef": {"fieldPath": "metadata.name", "apiVersion": "v1"}});
        for (given, expected) in [
            (json!({}), json!({"emptyDir": {}})),
            (
                json!({"secret": {"secretName": "s"}}),
                json!({"secret": {"secretName": "s", "defaultMode": 420}}),
            ),
            (
                json!({"configMap": {"name": "m", "defaultMode": 0}}),
                json!({"configMap": {"name": "m", "defaultMode": 0}}),
            ),
            (
                json!({"downwardAPI": {"items": [field]}}),
                json!({"downwardAPI": {"defaultMode": 420, "items": [with_version]}}),
            ),
            (
                json!({"projected": {"sources": [
                    {"serviceAccountToken": {"path": "t"}}, {"downwardAPI": {"items": [field]}}]}}),
                json!({"projected": {"defaultMode": 420, "sources": [
                    {"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}},
                    {"downwardAPI": {"items": [with_version]}}]}}),
            ),
            (json!({"hostPath": {"path": "/"}}), json!({"hostPath": {"path": "/", "type": ""}})),
            (
                json!({"image": {"reference": "a"}}),
                json!({"image": {"reference": "a", "pullPolicy": "Always"}}),
            ),
            (
                json!({"image": {"reference": "a:1"}}),
                json!({"image": {"reference": "a:1", "pullPolicy": "IfNotPresent"}}),
            ),
        ] {
            let mut tree = json!({"spec": {"volumes": [given], "containers": []}});
            pod(&mut tree);
            assert_eq!(tree["spec"]["volumes"][0], expected, "{given}");
        }
        let mut tree = json!({"spec": {"containers": [{"name": "c", "image": "a:1",
            "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}]}});
        pod(&mut tree);
        assert_eq!(tree["spec"]["containers"][0]["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    }

    /// R1.3.
    #[test]
    fn pull_policy_follows_the_tag() {
        for (image, policy) in [
            ("a", "Always"),
            ("r:5000/a", "Always"),
            ("a:latest", "Always"),
            ("a:1", "IfNotPresent"),
            ("a@sha256:0", "IfNotPresent"),
            ("a:latest@sha256:0", "Always"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    /// R1.6, R1.7, R1.8.
    #[test]
    fn requests_and_host_ports_are_copied() {
        let mut tree = json!({"spec": {
            "hostNetwork": true,
            "resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
            "containers": [{"name": "c", "image": "a:1", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "500m"}}}]
        }});
        pod(&mut tree);
        let container = &tree["spec"]["containers"][0];
        assert_eq!(container["resources"]["requests"], json!({"cpu": "500m"}));
        assert_eq!(container["ports"][0]["hostPort"], 80);
        assert_eq!(tree["spec"]["resources"]["requests"], json!({"cpu": "500m", "memory": "1Gi"}));
    }
}
