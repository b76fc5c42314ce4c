//! The Pods that are measured.

use serde_json::{Value, json};

const IMAGE: &str = "busybox";
/// Ends at once when told to, as a well-behaved server does.
const SERVE: &str = "trap 'exit 0' TERM; sleep 3600 & wait";

fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
    pod["spec"]["terminationGracePeriodSeconds"] = json!(GRACE_SECONDS);
    pod
}

fn container(name: &str, command: &[&str]) -> Value {
    json!({"name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": command})
}

/// One container that runs until it is deleted.
pub(crate) fn one_container(name: &str) -> Value {
    pod(name, json!({"containers": [container("app", &["sh", "-c", SERVE])]}))
}

/// An init container and an app container that end at once, and a sidecar that ends when told.
pub(crate) fn init_sidecar_app(name: &str) -> Value {
    let mut sidecar = container("sidecar", &["sh", "-c", SERVE]);
    sidecar["restartPolicy"] = json!("Always");
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [container("init", &["true"]), sidecar],
        "containers": [container("app", &["true"])],
    });
    pod(name, spec)
}

/// The same, but the app runs until it is deleted.
pub(crate) fn init_sidecar_server(name: &str) -> Value {
    let mut pod = init_sidecar_app(name);
    pod["spec"]["containers"] = json!([container("app", &["sh", "-c", SERVE])]);
    pod
}

/// A web server asked once a second whether it is alive.
pub(crate) fn probed(name: &str) -> Value {
    let mut app = container("app", &["httpd", "-f", "-p", "8080", "-h", "/var/www"]);
    app["livenessProbe"] = json!({"httpGet": {"path": "/index.html", "port": 8080}, "periodSeconds": 1});
    app["lifecycle"] =
        json!({"postStart": {"exec": {"command": ["sh", "-c", "echo ok > /var/www/index.html"]}}});
    pod(name, json!({"containers": [app]}))
}

/// Never scheduled: an object for lists.
pub(crate) fn gated(name: &str) -> Value {
    let mut pod = init_sidecar_app(name);
    pod["spec"]["schedulingGates"] = json!([{"name": "bench.outrigger.dev/never"}]);
    pod["metadata"]["labels"] = json!({"app": "bench", "tier": "backend"});
    pod
}

/// A small object.
pub(crate) fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        "data": {"key": "value", "text": "x".repeat(100)}})
}

/// `terminationGracePeriodSeconds` of every Pod here.
pub(crate) const GRACE_SECONDS: u64 = 1;
