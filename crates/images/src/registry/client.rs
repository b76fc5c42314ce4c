//! One image's conversation with its registry: mirrors in order, challenges, retries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::body::Incoming;

use super::credentials::{Auth, Keyring};
use super::hosts::{Host, RegistryConfig};
use super::http::{Http, SendError, read_all};
use super::{answer, auth};
use crate::manifest::{self, ACCEPT};
use crate::{FailureKind, Reference, RegistryError};

/// Connections and configuration shared by all pulls.
#[derive(Debug)]
pub(crate) struct Client {
    http: Http,
    config: RegistryConfig,
    /// Before the first retry; doubled each time.
    pause: Duration,
}

impl Client {
    pub(crate) fn new(config: RegistryConfig, pause: Duration) -> Self {
        Self { http: Http::new(&config), config, pause }
    }
}

/// A manifest as it came.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) digest: String,
    pub(crate) bytes: Bytes,
}

/// The conversation about one image, with at most one credential for each host.
pub(crate) struct Session {
    client: Arc<Client>,
    reference: Reference,
    hosts: Vec<Host>,
    /// Which of the fitting credentials is used.
    choice: usize,
    keyring: Keyring,
    /// `Authorization` by host, once challenged.
    granted: Mutex<HashMap<String, HeaderValue>>,
    used: Mutex<Option<Auth>>,
}

/// What is asked for, below the repository.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    /// `manifests/latest`.
    pub(super) path: &'a str,
    /// For messages.
    pub(super) what: &'a str,
    pub(super) accept: &'static str,
    /// First byte wanted.
    pub(super) from: u64,
    /// A tag is asked for, which only some mirrors may answer.
    pub(super) resolves: bool,
}

impl Session {
    /// Finds out what `reference` stands for, trying every credential that fits (R5.27).
    pub(crate) async fn open(
        client: Arc<Client>,
        reference: &Reference,
        keyring: &Keyring,
    ) -> Result<(Self, Fetched), RegistryError> {
        let hosts = client.config.hosts_for(reference.registry())?;
        let fitting = |host: &Host| keyring.lookup(credential_name(host), reference.repository()).len();
        let choices = hosts.iter().map(fitting).max().unwrap_or(0).clamp(1, MAX_CREDENTIALS);
        let mut last = None;
        for choice in 0..choices {
            let session = Self {
                client: Arc::clone(&client),
                reference: reference.clone(),
                hosts: hosts.clone(),
                choice,
                keyring: keyring.clone(),
                granted: Mutex::default(),
                used: Mutex::default(),
            };
            let wanted = reference.digest().or(reference.tag()).unwrap_or("latest");
            match session.manifest(wanted).await {
                Ok(fetched) => return Ok((session, fetched)),
                Err(error) => {
                    let retry = matches!(error.kind(), FailureKind::Unauthorized | FailureKind::NotFound);
                    last = Some(error);
                    if !retry {
                        break;
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| no_host(reference)))
    }

    /// The credential that was needed; `None` if everything was free to take (R5.28).
    pub(crate) fn credential(&self) -> Option<Auth> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A manifest by tag or digest, checked against the digest.
    pub(crate) async fn manifest(&self, wanted: &str) -> Result<Fetched, RegistryError> {
        let path = format!("manifests/{wanted}");
        let by_digest = manifest::digest_hex(wanted).is_some();
        if !by_digest && wanted.contains(':') {
            return Err(RegistryError::NotFound {
                what: self.reference.to_string(),
                host: self.reference.registry().to_owned(),
                answer: "only sha256 digests are supported".to_owned(),
            });
        }
        let what = self.reference.to_string();
        let ask = Ask { path: &path, what: &what, accept: ACCEPT, from: 0, resolves: !by_digest };
        self.small(ask, MAX_MANIFEST_BYTES, by_digest.then_some(wanted)).await
    }

    /// A small blob, whole, checked against its digest.
    pub(crate) async fn small_blob(&self, digest: &str) -> Result<Bytes, RegistryError> {
        let path = format!("blobs/{digest}");
        let ask = Ask { path: &path, what: digest, accept: "*/*", from: 0, resolves: false };
        Ok(self.small(ask, MAX_CONFIG_BYTES, Some(digest)).await?.bytes)
    }

    async fn small(
        &self,
        ask: Ask<'_>,
        limit: usize,
        digest: Option<&str>,
    ) -> Result<Fetched, RegistryError> {
        let (host, response) = self.ask(ask).await?;
        let claimed =
            response.headers().get("docker-content-digest").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let bytes = read_all(response.into_body(), limit)
            .await
            .map_err(|answer| RegistryError::Unavailable { host: host.clone(), answer })?;
        let actual = manifest::digest_of(&bytes);
        let expected = digest.or(claimed.as_deref().filter(|d| manifest::digest_hex(d).is_some()));
        match expected {
            Some(expected) if expected != actual => Err(RegistryError::Corrupt {
                host,
                answer: format!("the content of {expected} has the digest {actual}"),
            }),
            _ => Ok(Fetched { digest: actual, bytes }),
        }
    }

    /// Asks the hosts in order until one has it. Returns who answered.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<(String, Response<Incoming>), RegistryError> {
        let mut failure: Option<RegistryError> = None;
        let may = |host: &&Host| if ask.resolves { host.resolve } else { host.pull };
        for host in self.hosts.iter().filter(may) {
            match self.ask_host(host, ask).await {
                Ok(response) => return Ok((host.authority.clone(), response)),
                Err(error) => {
                    tracing::debug!(host = host.authority, what = ask.what, %error, "registry endpoint failed");
                    // An unreachable registry behind a mirror that answered says less than the mirror did.
                    let keep = error.kind() == FailureKind::Unavailable && failure.is_some();
                    if !keep {
                        failure = Some(error);
                    }
                }
            }
        }
        Err(failure.unwrap_or_else(|| no_host(&self.reference)))
    }

    async fn ask_host(&self, host: &Host, ask: Ask<'_>) -> Result<Response<Incoming>, RegistryError> {
        let url = self.url(host, ask.path);
        let mut challenged = false;
        let mut attempt = 0;
        loop {
            let headers = self.headers(host, ask)?;
            let (failure, wait) = match self.client.http.get(host, &url, &headers).await {
                Err(SendError::Config(error)) => return Err(error.into()),
                Err(SendError::Transport(answer)) => (
                    RegistryError::Unreachable { host: host.authority.clone(), url: url.clone(), answer },
                    None,
                ),
                Ok(response) if matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT) => {
                    return Ok(response);
                }
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && !challenged => {
                    challenged = true;
                    self.meet_challenge(host, ask.what, response).await?;
                    continue;
                }
                Ok(response) => {
                    let (status, wait) = (response.status(), answer::retry_after(response.headers()));
                    let body = read_all(response.into_body(), MAX_ERROR_BYTES).await.unwrap_or_default();
                    let error = answer::error(&host.authority, ask.what, status, &body);
                    if !answer::is_temporary(status) {
                        return Err(error);
                    }
                    (error, wait)
                }
            };
            attempt += 1;
            if attempt == ATTEMPTS {
                return Err(failure);
            }
            let pause = wait
                .map_or(self.client.pause * 2_u32.pow(attempt - 1), Duration::from_secs)
                .min(LONGEST_PAUSE);
            tokio::time::sleep(pause).await;
        }
    }

    async fn meet_challenge(
        &self,
        host: &Host,
        what: &str,
        response: Response<Incoming>,
    ) -> Result<(), RegistryError> {
        let status = response.status();
        let Some(challenge) = auth::challenge(response.headers()) else {
            let body = read_all(response.into_body(), MAX_ERROR_BYTES).await.unwrap_or_default();
            return Err(answer::error(&host.authority, what, status, &body));
        };
        let repository = self.reference.repository();
        let credential = self.keyring.lookup(credential_name(host), repository).get(self.choice).copied();
        let value = auth::authorize(&self.client.http, host, &challenge, repository, credential).await?;
        if let Some(credential) = credential {
            *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Some(credential.clone());
        }
        self.granted.lock().unwrap_or_else(PoisonError::into_inner).insert(host.base.clone(), value);
        Ok(())
    }

    fn headers(&self, host: &Host, ask: Ask<'_>) -> Result<HeaderMap, RegistryError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &host.headers {
            let (Ok(name), Ok(value)) = (name.parse::<header::HeaderName>(), HeaderValue::from_str(value))
            else {
                let answer = format!("the header \"{name}\" in its hosts.toml cannot be sent");
                return Err(RegistryError::Corrupt { host: host.authority.clone(), answer });
            };
            headers.append(name, value);
        }
        headers.insert(header::ACCEPT, HeaderValue::from_static(ask.accept));
        if ask.from > 0 {
            headers.insert(
                header::RANGE,
                HeaderValue::from_maybe_shared(Bytes::from(format!("bytes={}-", ask.from)))
                    .map_err(|_| no_host(&self.reference))?,
            );
        }
        if let Some(value) = self.granted.lock().unwrap_or_else(PoisonError::into_inner).get(&host.base) {
            headers.insert(header::AUTHORIZATION, value.clone());
        }
        Ok(headers)
    }

    fn url(&self, host: &Host, path: &str) -> String {
        let url = format!("{}/{}/{path}", host.base, self.reference.repository());
        match &host.mirror_of {
            // How a mirror of many registries knows which one is meant.
            Some(registry) => format!("{url}?ns={}", auth::percent(registry)),
            None => url,
        }
    }
}

/// Credentials belong to the host that asks for them: a mirror gets its own, never the registry's.
fn credential_name(host: &Host) -> &str {
    &host.authority
}

fn no_host(reference: &Reference) -> RegistryError {
    RegistryError::NotFound {
        what: reference.to_string(),
        host: reference.registry().to_owned(),
        answer: "no configured endpoint may be asked".to_owned(),
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("reference", &self.reference).finish_non_exhaustive()
    }
}

const ATTEMPTS: u32 = 3;
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const MAX_CREDENTIALS: usize = 16;
const MAX_MANIFEST_BYTES: usize = 4 << 20;
const MAX_CONFIG_BYTES: usize = 8 << 20;
const MAX_ERROR_BYTES: usize = 16 << 10;
