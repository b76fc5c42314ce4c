//! The files of volumes that come from objects (R12.18, R12.19, R12.24-R12.27).

use std::collections::BTreeMap;
use std::path::{Component, Path};

use base64::Engine as _;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, Pod, ServiceAccount, ServiceAccountTokenProjection, Volume,
    VolumeProjection,
};
use kube::Api;
use kube::api::PostParams;

use super::atomic::{File, Files};
use super::{MountError, fs_group};
use crate::context::{Context, PodKey};
use crate::env::{FieldError, PodAddresses, field_value, resource_value};

const DEFAULT_MODE: i32 = 0o644;
/// R12.26: a token with this many seconds behind it is replaced, however long it lives.
const OLDEST_TOKEN_SECONDS: i64 = 24 * 3600;

/// What the volume at `path` shall hold.
pub(super) async fn build(
    context: &Context,
    pod: &Pod,
    volume: &Volume,
    path: &Path,
    addresses: &PodAddresses,
) -> Result<Files, MountError> {
    let source = Source { context, pod, key: PodKey::of(pod), path, addresses };
    if let Some(own) = &volume.config_map {
        let wish = Wish::new(own.items.as_deref(), own.optional, mode(own.default_mode));
        return source.config_map(&own.name, &wish).await;
    }
    if let Some(own) = &volume.secret {
        let wish = Wish::new(own.items.as_deref(), own.optional, mode(own.default_mode));
        return source.secret(own.secret_name.as_deref().unwrap_or_default(), &wish).await;
    }
    if let Some(own) = &volume.downward_api {
        return source.downward(own.items.as_deref().unwrap_or_default(), mode(own.default_mode));
    }
    let mut files = Files::new();
    if let Some(own) = &volume.projected {
        for part in own.sources.iter().flatten() {
            // R12.25: later sources win.
            files.extend(source.projection(part, mode(own.default_mode)).await?);
        }
    }
    Ok(files)
}

fn mode(mode: Option<i32>) -> u32 {
    mode.unwrap_or(DEFAULT_MODE).unsigned_abs()
}

/// Which keys are wanted, and how.
struct Wish<'a> {
    items: &'a [KeyToPath],
    optional: bool,
    mode: u32,
}

impl<'a> Wish<'a> {
    fn new(items: Option<&'a [KeyToPath]>, optional: Option<bool>, mode: u32) -> Self {
        Self { items: items.unwrap_or_default(), optional: optional == Some(true), mode }
    }

    /// The answer to a missing object.
    fn missing(&self, text: String) -> Result<Files, MountError> {
        if self.optional { Ok(Files::new()) } else { Err(MountError::Source(text)) }
    }

    /// R12.18, R12.19.
    fn pick(&self, all: BTreeMap<String, Vec<u8>>, absent: &str) -> Result<Files, MountError> {
        let mut files = Files::new();
        if self.items.is_empty() {
            for (key, content) in all {
                insert(&mut files, &key, content, self.mode)?;
            }
            return Ok(files);
        }
        for item in self.items {
            let mode = item.mode.map_or(self.mode, i32::unsigned_abs);
            match all.get(&item.key) {
                Some(content) => insert(&mut files, &item.path, content.clone(), mode)?,
                None if self.optional => {}
                None => return Err(MountError::Source(format!("{absent}: {}", item.key))),
            }
        }
        Ok(files)
    }
}

/// Refuses paths that would leave the volume, whoever let them through.
fn insert(files: &mut Files, path: &str, content: Vec<u8>, mode: u32) -> Result<(), MountError> {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !plain || path.starts_with("..") {
        return Err(MountError::Source(format!("invalid path \"{path}\"")));
    }
    files.insert(path.to_owned(), File { content, mode, owner: None });
    Ok(())
}

struct Source<'a> {
    context: &'a Context,
    pod: &'a Pod,
    key: PodKey,
    path: &'a Path,
    addresses: &'a PodAddresses,
}

impl Source<'_> {
    async fn projection(&self, part: &VolumeProjection, mode: u32) -> Result<Files, MountError> {
        if let Some(own) = &part.config_map {
            return self.config_map(&own.name, &Wish::new(own.items.as_deref(), own.optional, mode)).await;
        }
        if let Some(own) = &part.secret {
            return self.secret(&own.name, &Wish::new(own.items.as_deref(), own.optional, mode)).await;
        }
        if let Some(own) = &part.downward_api {
            return self.downward(own.items.as_deref().unwrap_or_default(), mode);
        }
        if part.cluster_trust_bundle.is_some() || part.pod_certificate.is_some() {
            // R12.25.
            let which = if part.pod_certificate.is_some() { "podCertificate" } else { "clusterTrustBundle" };
            let text = format!("{which} projection is not supported by this node");
            return Err(MountError::Source(text));
        }
        let mut files = Files::new();
        if let Some(own) = &part.service_account_token {
            // R12.26: closed to others where a user or a group is given access instead.
            let user = only_user(self.pod);
            let mode = if user.is_some() || fs_group(self.pod).is_some() { 0o600 } else { mode };
            insert(&mut files, &own.path, self.token(own).await?, mode)?;
            files.values_mut().for_each(|file| file.owner = user);
        }
        Ok(files)
    }

    async fn config_map(&self, name: &str, wish: &Wish<'_>) -> Result<Files, MountError> {
        let Some(map) = self.context.objects.config_map(&self.key.namespace, name).await? else {
            return wish.missing(format!("configmap \"{name}\" not found"));
        };
        let text = map.data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()));
        let binary = map.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0));
        wish.pick(text.chain(binary).collect(), "configmap references non-existent config key")
    }

    async fn secret(&self, name: &str, wish: &Wish<'_>) -> Result<Files, MountError> {
        let Some(secret) = self.context.objects.secret(&self.key.namespace, name).await? else {
            return wish.missing(format!("secret \"{name}\" not found"));
        };
        let all = secret.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect();
        wish.pick(all, "references non-existent secret key")
    }

    /// R12.24.
    fn downward(&self, items: &[DownwardAPIVolumeFile], mode: u32) -> Result<Files, MountError> {
        let failed = |error: FieldError| MountError::Source(error.to_string());
        let mut files = Files::new();
        for item in items {
            let text = if let Some(field) = &item.field_ref {
                field_value(self.pod, self.addresses, &field.field_path).map_err(failed)?
            } else if let Some(field) = &item.resource_field_ref {
                resource_value(self.pod, "", &self.context.allocatable, field).map_err(failed)?
            } else {
                String::new()
            };
            insert(&mut files, &item.path, text.into_bytes(), item.mode.map_or(mode, i32::unsigned_abs))?;
        }
        Ok(files)
    }

    /// R12.26: the token on disk while it is young, else a new one, bound to this Pod.
    async fn token(&self, own: &ServiceAccountTokenProjection) -> Result<Vec<u8>, MountError> {
        if let Ok(content) = std::fs::read(self.path.join(&own.path))
            && is_young(&content, self.context.clock.now().wall.as_second())
        {
            return Ok(content);
        }
        let spec = self.pod.spec.as_ref();
        let account = spec.and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
        let audience = own.audience.clone().filter(|audience| !audience.is_empty());
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: audience.map(|audience| vec![audience]),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: Some(self.key.name.clone()),
                    uid: Some(self.key.uid.clone()),
                }),
                expiration_seconds: Some(own.expiration_seconds.unwrap_or(3600)),
            }),
            ..TokenRequest::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.context.client.clone(), &self.key.namespace);
        let answer = api.create_token_request(account, &PostParams::default(), &request).await?;
        let token = answer.status.and_then(|status| status.token).filter(|token| !token.is_empty());
        token.map(String::into_bytes).ok_or_else(|| MountError::Source("the API server gave no token".into()))
    }
}

/// The user all containers run as, if they all say so and agree.
fn only_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_pod = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let mut users = spec.init_containers.iter().flatten().chain(&spec.containers).map(|container| {
        let own = container.security_context.as_ref().and_then(|context| context.run_as_user);
        own.or(of_pod)
    });
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok()).flatten()
}

/// Whether less than 80 % of the token's life and less than a day has passed, by its own claims. The volume is
/// rewritten as a whole, so the file's age says nothing.
fn is_young(token: &[u8], now_seconds: i64) -> bool {
    let claims = || {
        let text = std::str::from_utf8(token).ok()?.split('.').nth(1)?;
        let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()?;
        let claims: serde_json::Value = serde_json::from_slice(&text).ok()?;
        Some((claims.get("iat")?.as_i64()?, claims.get("exp")?.as_i64()?))
    };
    claims().is_some_and(|(issued, expires)| {
        let age = now_seconds.saturating_sub(issued);
        (0..OLDEST_TOKEN_SECONDS).contains(&age) && age < expires.saturating_sub(issued) / 5 * 4
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(key: &str, path: &str) -> KeyToPath {
        KeyToPath { key: key.into(), path: path.into(), mode: None }
    }

    /// R12.18, R12.19
    #[test]
    fn keys_are_picked() {
        let all = || BTreeMap::from([("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]);
        let pick = |items: &[KeyToPath], optional| {
            let files = Wish::new(Some(items), Some(optional), 0o644).pick(all(), "absent");
            files.map(|files| files.into_keys().collect::<Vec<_>>()).map_err(|error| error.to_string())
        };
        assert_eq!(pick(&[], false).unwrap(), ["a", "b"]);
        assert_eq!(pick(&[item("a", "x/y")], false).unwrap(), ["x/y"]);
        assert_eq!(pick(&[item("c", "c")], false).unwrap_err(), "absent: c");
        assert!(pick(&[item("c", "c")], true).unwrap().is_empty());
        for hostile in ["../x", "/x", "x/../../y", "..data", ""] {
            assert!(pick(&[item("a", hostile)], false).is_err(), "{hostile}");
        }
    }

    /// R12.26
    #[test]
    fn a_token_belongs_to_the_only_user() {
        let of = |pod: Option<i64>, init: Option<i64>, app: Option<i64>| {
            let context = |user| serde_json::json!({"runAsUser": user});
            let pod = serde_json::json!({"spec": {
                "securityContext": context(pod),
                "initContainers": [{"name": "i", "securityContext": context(init)}],
                "containers": [{"name": "a", "securityContext": context(app)}],
            }});
            only_user(&serde_json::from_value(pod).unwrap())
        };
        assert_eq!(of(Some(5), None, None), Some(5));
        assert_eq!(of(None, Some(7), Some(7)), Some(7));
        assert_eq!(of(Some(7), None, Some(7)), Some(7));
        assert_eq!(of(Some(5), None, Some(7)), None);
        assert_eq!(of(None, None, Some(7)), None);
    }

    /// R12.26
    #[test]
    fn tokens_are_replaced_in_time() {
        let token = |issued: i64, expires: i64| {
            let claims = format!("{{\"iat\":{issued},\"exp\":{expires}}}");
            format!("h.{}.s", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims)).into_bytes()
        };
        assert!(is_young(&token(0, 1000), 799) && !is_young(&token(0, 1000), 800));
        assert!(!is_young(&token(0, 1_000_000), 86_400) && !is_young(b"x", 0));
    }
}
