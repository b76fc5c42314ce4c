//! Bootstrap tokens: Secrets in `kube-system` a machine may join with (I16).

use outrigger_api::{Object, WallTime};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::identity::Identity;
use crate::server::Api;

const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";

/// Id and secret, if the text has the form of a bootstrap token.
pub(super) fn split(token: &str) -> Option<(&str, &str)> {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    token
        .split_once('.')
        .filter(|(id, secret)| id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret))
}

/// The machine behind a token.
pub(super) async fn identify(api: &Api, id: &str, secret: &str) -> Option<Identity> {
    let kind = api.registry.find("", "v1", "secrets")?;
    let name = format!("bootstrap-token-{id}");
    let stored = api.storage.find(&kind, "kube-system", &name).await.ok()??.object().ok()?;
    identity(&stored, id, secret, api.now())
}

fn identity(stored: &Object, id: &str, secret: &str, now: WallTime) -> Option<Identity> {
    let datum = |key: &str| {
        let encoded = stored.at(&["data", key]).and_then(Value::as_str)?;
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded).ok()?;
        String::from_utf8(bytes).ok()
    };
    // Digests are compared, so that time tells nothing of how much was right.
    let same = Sha256::digest(datum("token-secret")?) == Sha256::digest(secret);
    let expires = datum("expiration").map(|text| text.parse::<WallTime>());
    let valid = match expires {
        None => true,
        Some(at) => at.is_ok_and(|at| now < at),
    };
    let usable = datum("usage-bootstrap-authentication").as_deref() == Some("true");
    let known = stored.str_at(&["type"]) == TYPE && datum("token-id").as_deref() == Some(id);
    if !(same && valid && usable && known) || stored.is_deleting() {
        return None;
    }
    let mut groups = vec![GROUP.to_owned()];
    let more = datum("auth-extra-groups").unwrap_or_default();
    let more: Vec<&str> = more.split(',').map(str::trim).filter(|group| !group.is_empty()).collect();
    // Anything else would make whoever writes such a Secret whatever they like.
    if more.iter().any(|group| !group.starts_with("system:bootstrappers:")) {
        return None;
    }
    groups.extend(more.into_iter().map(str::to_owned));
    Some(Identity { user: format!("system:bootstrap:{id}"), groups, ..Identity::default() })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

    fn secret(change: (&str, &str)) -> Object {
        let mut data = json!({});
        let plain = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("expiration", "2026-01-02T00:00:00Z"),
            ("auth-extra-groups", "system:bootstrappers:workers"),
            change,
        ];
        for (key, value) in plain {
            data[key] = json!(STANDARD.encode(value));
        }
        Object::from_value(json!({ "type": TYPE, "data": data })).unwrap()
    }

    fn who(change: (&str, &str)) -> Option<Identity> {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        identity(&secret(change), "abcdef", "0123456789abcdef", now)
    }

    /// I16
    #[test]
    fn a_token_makes_a_bootstrapper_as_long_as_all_of_its_secret_holds() {
        assert_eq!(split("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        assert_eq!(split("abcdef.0123456789ABCDEF"), None);
        let machine = who(("token-id", "abcdef")).unwrap();
        assert_eq!(machine.user, "system:bootstrap:abcdef");
        assert_eq!(machine.groups, ["system:bootstrappers", "system:bootstrappers:workers"]);
        for broken in [
            ("token-id", "other0"),
            ("token-secret", "fedcba9876543210"),
            ("usage-bootstrap-authentication", "false"),
            ("expiration", "2025-12-31T23:59:59Z"),
            ("expiration", "soon"),
            ("auth-extra-groups", "system:masters"),
        ] {
            assert_eq!(who(broken), None, "{broken:?}");
        }
    }
}
