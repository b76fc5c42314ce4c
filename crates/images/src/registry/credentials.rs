//! Registry credentials: reading Docker's JSON and finding what fits an image (R5.27).
//!
//! Matching follows Kubernetes: a key is a host, perhaps with `*` in single labels, perhaps with a port and a path
//! prefix. Helper programs named in such files are never run.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// One way to authenticate. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Auth {
    /// User name and password.
    Basic {
        /// User name.
        username: String,
        /// Password or access token.
        password: String,
    },
    /// A refresh token for the registry's token server.
    IdentityToken(String),
    /// A bearer token sent as it is.
    RegistryToken(String),
}

impl Auth {
    /// A digest that tells credentials apart without holding them (R5.28).
    pub(crate) fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let parts: [&str; 3] = match self {
            Self::Basic { username, password } => ["basic", username, password],
            Self::IdentityToken(token) => ["identity", token, ""],
            Self::RegistryToken(token) => ["registry", token, ""],
        };
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hex::encode(hash.finalize())
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, .. } => {
                f.debug_struct("Basic").field("username", username).finish_non_exhaustive()
            }
            Self::IdentityToken(_) => f.write_str("IdentityToken"),
            Self::RegistryToken(_) => f.write_str("RegistryToken"),
        }
    }
}

/// Credentials in the order they are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Keyring {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    host: String,
    /// Starts with `/` unless empty.
    path: String,
    auth: Auth,
}

/// A credentials file or secret that cannot be used. Holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Not JSON of the expected shape.
    #[error("not a Docker credentials file: wrong JSON at line {line}, column {column}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// `auth` is not base64 of `user:password`.
    #[error("the credentials for \"{registry}\" are not base64 of user:password")]
    Auth {
        /// The entry's key.
        registry: String,
    },
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, RawAuth>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawAuth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl Keyring {
    /// No credentials.
    pub fn empty() -> Self {
        Self::default()
    }

    /// One credential for everything on `registry`.
    pub fn single(registry: &str, auth: Auth) -> Self {
        let mut ring = Self::default();
        ring.add(registry, auth);
        ring
    }

    /// The content of `.dockerconfigjson` (secret type `kubernetes.io/dockerconfigjson`) or `~/.docker/config.json`.
    pub fn from_docker_config_json(json: &[u8]) -> Result<Self, CredentialError> {
        let config: DockerConfig = serde_json::from_slice(json).map_err(bad_json)?;
        Self::from_auths(config.auths)
    }

    /// The content of `.dockercfg` (secret type `kubernetes.io/dockercfg`).
    pub fn from_dockercfg(json: &[u8]) -> Result<Self, CredentialError> {
        Self::from_auths(serde_json::from_slice(json).map_err(bad_json)?)
    }

    fn from_auths(auths: BTreeMap<String, RawAuth>) -> Result<Self, CredentialError> {
        let mut ring = Self::default();
        // Longer keys first: the more exact match is tried first.
        for (registry, raw) in auths.into_iter().rev() {
            if let Some(auth) =
                raw.into_auth().ok_or_else(|| CredentialError::Auth { registry: registry.clone() })?
            {
                ring.add(&registry, auth);
            }
        }
        Ok(ring)
    }

    /// Adds everything from `other` after what is here.
    pub fn extend(&mut self, other: &Self) {
        for entry in &other.entries {
            if !self.entries.contains(entry) {
                self.entries.push(entry.clone());
            }
        }
    }

    /// Whether there are no credentials at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The credentials that fit `repository` on `registry`, in the order to try them.
    pub fn lookup(&self, registry: &str, repository: &str) -> Vec<&Auth> {
        let path = format!("/{repository}");
        let mut found: Vec<&Auth> = Vec::new();
        for entry in self.entries.iter().filter(|e| e.fits(registry, &path)) {
            if !found.contains(&&entry.auth) {
                found.push(&entry.auth);
            }
        }
        found
    }

    /// Digests of everything here, so that pulls with different rights are not mistaken for each other.
    pub(crate) fn all_fingerprints(&self) -> Vec<String> {
        let one = |entry: &Entry| format!("{}{}={}", entry.host, entry.path, entry.auth.fingerprint());
        self.entries.iter().map(one).collect()
    }

    /// Digests of the credentials that fit.
    pub(crate) fn fingerprint(&self, registry: &str, repository: &str) -> Vec<String> {
        self.lookup(registry, repository).into_iter().map(Auth::fingerprint).collect()
    }

    fn add(&mut self, key: &str, auth: Auth) {
        let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
        let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
        // "https://index.docker.io/v1/" is how the Docker client has always named its hub.
        let path = path.trim_end_matches('/');
        let path = match path.split_once('/').unwrap_or((path, "")) {
            ("v1" | "v2", rest) => rest,
            _ => path,
        };
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        self.entries.push(Entry { host: canonical(host).to_owned(), path, auth });
    }
}

impl Entry {
    fn fits(&self, registry: &str, path: &str) -> bool {
        host_fits(&self.host, canonical(registry)) && path.starts_with(&self.path)
    }
}

impl RawAuth {
    /// `None`: unusable. `Some(None)`: an entry that says nothing, as credential helpers leave behind.
    fn into_auth(self) -> Option<Option<Auth>> {
        let filled = |text: Option<String>| text.filter(|t| !t.is_empty());
        if let Some(token) = filled(self.identitytoken) {
            return Some(Some(Auth::IdentityToken(token)));
        }
        if let Some(token) = filled(self.registrytoken) {
            return Some(Some(Auth::RegistryToken(token)));
        }
        if let Some(auth) = filled(self.auth) {
            let bytes = base64::engine::general_purpose::STANDARD.decode(auth.trim()).ok()?;
            let text = String::from_utf8(bytes).ok()?;
            let (username, password) = text.split_once(':')?;
            let password = password.trim_end_matches('\0').to_owned();
            return Some(Some(Auth::Basic { username: username.to_owned(), password }));
        }
        match (filled(self.username), filled(self.password)) {
            (Some(username), Some(password)) => Some(Some(Auth::Basic { username, password })),
            _ => Some(None),
        }
    }
}

/// All names of Docker Hub are one.
fn canonical(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
}

fn host_fits(pattern: &str, host: &str) -> bool {
    fn split(text: &str) -> (&str, Option<&str>) {
        match text.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, Some(port)),
            _ => (text, None),
        }
    }
    let ((pattern, pattern_port), (host, port)) = (split(pattern), split(host));
    let (patterns, labels): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), host.split('.').collect());
    pattern_port == port
        && patterns.len() == labels.len()
        && patterns.iter().zip(&labels).all(|(p, l)| label_fits(p.as_bytes(), l.as_bytes()))
}

/// `*` is any run of characters within one label.
fn label_fits(pattern: &[u8], label: &[u8]) -> bool {
    let (mut p, mut l) = (0, 0);
    let mut star = None;
    while l < label.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, l));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == label[l] || pattern[p] == b'?') {
            p += 1;
            l += 1;
        } else if let Some((at, taken)) = star {
            p = at + 1;
            l = taken + 1;
            star = Some((at, taken + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

fn bad_json(error: serde_json::Error) -> CredentialError {
    // The parser's own text may quote the file.
    CredentialError::Json { line: error.line(), column: error.column() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(ring: &Keyring, registry: &str, repository: &str) -> Vec<String> {
        let name = |auth: &&Auth| match auth {
            Auth::Basic { username, .. } => username.clone(),
            other => format!("{other:?}"),
        };
        ring.lookup(registry, repository).iter().map(name).collect()
    }

    /// R5.27: secrets in Docker's form are found for the images they fit.
    #[test]
    fn lookup_follows_hosts_globs_ports_and_paths() {
        let ring = Keyring::from_docker_config_json(
            br#"{"auths":{
                "https://index.docker.io/v1/":{"auth":"aHViOnB3"},
                "quay.io":{"username":"quay","password":"x"},
                "quay.io/team":{"username":"team","password":"x"},
                "*.reg.example:5000":{"username":"glob","password":"x"},
                "helper.example":{}
            }}"#,
        )
        .unwrap();
        assert_eq!(names(&ring, "docker.io", "library/busybox"), ["hub"]);
        assert_eq!(names(&ring, "quay.io", "team/app"), ["team", "quay"]);
        assert_eq!(names(&ring, "quay.io", "other/app"), ["quay"]);
        assert_eq!(names(&ring, "a.reg.example:5000", "x"), ["glob"]);
        assert!(names(&ring, "a.b.reg.example:5000", "x").is_empty());
        assert!(names(&ring, "a.reg.example", "x").is_empty());
        assert!(names(&ring, "helper.example", "x").is_empty());
    }

    #[test]
    fn the_old_form_and_tokens_are_read() {
        let old = Keyring::from_dockercfg(br#"{"r.example":{"auth":"dTpwOnE="}}"#).unwrap();
        assert_eq!(
            old.lookup("r.example", "x"),
            [&Auth::Basic { username: "u".to_owned(), password: "p:q".to_owned() }],
        );
        let token = Keyring::from_docker_config_json(br#"{"auths":{"r":{"identitytoken":"t"}}}"#).unwrap();
        assert_eq!(token.lookup("r", "x"), [&Auth::IdentityToken("t".to_owned())]);
    }

    #[test]
    fn errors_and_debug_output_hold_no_secret() {
        let wrong = Keyring::from_docker_config_json(br#"{"auths":{"r":{"auth":"c2VjcmV0"}}}"#).unwrap_err();
        assert_eq!(wrong.to_string(), "the credentials for \"r\" are not base64 of user:password");
        Keyring::from_docker_config_json(b"{").unwrap_err();
        let ring =
            Keyring::single("r", Auth::Basic { username: "u".to_owned(), password: "hush".to_owned() });
        assert!(!format!("{ring:?}").contains("hush"));
    }
}
