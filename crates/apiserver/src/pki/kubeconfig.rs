//! Writing a kubeconfig with everything embedded, so that one file is enough to reach the cluster.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::CertificatePair;

/// The text of a kubeconfig (JSON, which every YAML reader takes) whose only context reaches `server` as `user`.
pub fn kubeconfig(server: &str, ca_certificate: &str, user: &str, pair: &CertificatePair) -> String {
    let encode = |text: &str| STANDARD.encode(text);
    let context = format!("{user}@outrigger");
    let config: Value = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "outrigger",
            "cluster": { "server": server, "certificate-authority-data": encode(ca_certificate) },
        }],
        "users": [{
            "name": user,
            "user": {
                "client-certificate-data": encode(&pair.certificate),
                "client-key-data": encode(&pair.key),
            },
        }],
        "contexts": [{ "name": context, "context": { "cluster": "outrigger", "user": user } }],
        "current-context": context,
        "preferences": {},
    });
    format!("{config:#}\n")
}
