//! Requests: TLS, redirects and deadlines. Knows nothing of registries' rules.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::hosts::{Host, HostsError, RegistryConfig, is_loopback};
use crate::chain_text;

type Inner = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Connections to registries, one pool for each set of TLS options.
pub(super) struct Http {
    ca_bundle: Option<PathBuf>,
    pools: Mutex<HashMap<TlsOptions, Inner>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct TlsOptions {
    /// Never speaks TLS, so the system's certificates are not read.
    plain: bool,
    skip_verify: bool,
    ca: Vec<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
}

/// A request without an answer, in words.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The connection failed or broke.
    #[error("{0}")]
    Transport(String),
    /// Certificates cannot be used.
    #[error(transparent)]
    Config(#[from] HostsError),
}

impl Http {
    pub(super) fn new(config: &RegistryConfig) -> Self {
        Self { ca_bundle: config.ca_bundle.clone(), pools: Mutex::new(HashMap::new()) }
    }

    /// Sends a GET, following redirects; secrets in `headers` stay with the host they were made for.
    pub(super) async fn get(
        &self,
        host: &Host,
        url: &str,
        headers: &HeaderMap,
    ) -> Result<Response<Incoming>, SendError> {
        let mut uri: Uri =
            url.parse().map_err(|_| SendError::Transport(format!("\"{url}\" is not an address")))?;
        let mut headers = headers.clone();
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.send(host, Method::GET, &uri, &headers, Bytes::new()).await?;
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            let Some(next) = answer.headers().get(header::LOCATION).and_then(|v| v.to_str().ok()) else {
                return Ok(answer);
            };
            let next =
                follow(&uri, next).ok_or_else(|| SendError::Transport("redirected to nowhere".to_owned()))?;
            if uri.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return Err(SendError::Transport(format!(
                    "redirected from https to {next}, which is not encrypted"
                )));
            }
            if next.authority() != uri.authority() {
                headers.remove(header::AUTHORIZATION);
            }
            uri = next;
        }
        Err(SendError::Transport(format!("redirected more than {MAX_REDIRECTS} times")))
    }

    /// Sends one request. TLS options are those of `host`, wherever `uri` points.
    pub(super) async fn send(
        &self,
        host: &Host,
        method: Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, SendError> {
        let pool = self.pool(host)?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers.clone();
        request.headers_mut().insert(header::USER_AGENT, header::HeaderValue::from_static(USER_AGENT));
        match tokio::time::timeout(ANSWER_WITHIN, pool.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(SendError::Transport(plain(&chain_text(&error)))),
            Err(_) => Err(SendError::Transport(format!("no answer within {} s", ANSWER_WITHIN.as_secs()))),
        }
    }

    fn pool(&self, host: &Host) -> Result<Inner, HostsError> {
        let options = TlsOptions {
            plain: host.is_plain(),
            skip_verify: host.skip_verify,
            ca: host.ca.clone(),
            client: host.client.clone(),
        };
        if let Some(pool) = self.pools.lock().unwrap_or_else(PoisonError::into_inner).get(&options) {
            return Ok(pool.clone());
        }
        let pool = connect(tls(&options, self.ca_bundle.as_deref())?);
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).insert(options, pool.clone());
        Ok(pool)
    }
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read_all(body: Incoming, limit: usize) -> Result<Bytes, String> {
    let limited = http_body_util::Limited::new(body, limit);
    match tokio::time::timeout(BODY_WITHIN, limited.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) => Err(chain_text(error.as_ref())),
        Err(_) => Err(format!("the answer did not end within {} s", BODY_WITHIN.as_secs())),
    }
}

fn follow(from: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or(location);
    if location.contains("://") {
        let uri: Uri = location.parse().ok()?;
        return matches!(uri.scheme_str(), Some("http" | "https")).then_some(uri);
    }
    let (scheme, authority) = (from.scheme_str()?, from.authority()?);
    if let Some(rest) = location.strip_prefix("//") {
        return format!("{scheme}://{rest}").parse().ok();
    }
    if location.starts_with('/') {
        return format!("{scheme}://{authority}{location}").parse().ok();
    }
    let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{scheme}://{authority}{folder}/{location}").parse().ok()
}

fn connect(tls: ClientConfig) -> Inner {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_WITHIN));
    tcp.set_nodelay(true);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_AFTER)
        .pool_max_idle_per_host(MAX_IDLE)
        .build(connector)
}

fn tls(options: &TlsOptions, bundle: Option<&Path>) -> Result<ClientConfig, HostsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| HostsError::Certificate { path: PathBuf::new(), detail: error.to_string() })?;
    let builder = if options.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(roots(&options.ca, bundle, options.plain)?)
    };
    let Some((cert, key)) = &options.client else { return Ok(builder.with_no_client_auth()) };
    let bad = |path: &Path, detail: String| HostsError::Certificate { path: path.to_path_buf(), detail };
    let chain = certificates(cert)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, error.to_string()))?;
    builder.with_client_auth_cert(chain, secret).map_err(|error| bad(cert, error.to_string()))
}

fn roots(extra: &[PathBuf], bundle: Option<&Path>, plain: bool) -> Result<RootCertStore, HostsError> {
    let mut store = RootCertStore::empty();
    let system = || SYSTEM_BUNDLES.iter().map(Path::new).find(|path| path.exists());
    if let Some(bundle) = bundle.or_else(system).filter(|_| !plain) {
        // Bundles may hold old certificates that cannot be used; the rest still can.
        store.add_parsable_certificates(certificates(bundle)?);
    }
    for path in extra {
        for certificate in certificates(path)? {
            let bad = |error: rustls::Error| HostsError::Certificate {
                path: path.clone(),
                detail: error.to_string(),
            };
            store.add(certificate).map_err(bad)?;
        }
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, HostsError> {
    let bytes =
        std::fs::read(path).map_err(|source| HostsError::Read { path: path.to_path_buf(), source })?;
    let bad = |detail: String| HostsError::Certificate { path: path.to_path_buf(), detail };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if all.is_empty() => Err(bad("holds no certificate".to_owned())),
        Ok(all) => Ok(all),
        Err(error) => Err(bad(error.to_string())),
    }
}

/// What `skip_verify` asks for.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether secrets may be sent to `uri` on behalf of `host`: encrypted, or where the host itself is not.
pub(super) fn may_carry_secrets(host: &Host, uri: &Uri) -> bool {
    let local = uri.authority().is_some_and(|a| is_loopback(a.as_str()));
    uri.scheme_str() == Some("https")
        || local
        || (host.is_plain() && uri.host().is_some_and(|h| host.authority.starts_with(h)))
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

const USER_AGENT: &str = concat!("outrigger/", env!("CARGO_PKG_VERSION"));
const CONNECT_WITHIN: Duration = Duration::from_secs(20);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const BODY_WITHIN: Duration = Duration::from_secs(60);
const IDLE_AFTER: Duration = Duration::from_secs(30);
const MAX_IDLE: usize = 8;
const MAX_REDIRECTS: usize = 5;
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A failed connection in the words every Kubernetes user has read.
fn plain(text: &str) -> String {
    let said = text.rsplit(": ").next().unwrap_or(text);
    match said.split(" (os error").next() {
        Some(words) if text.contains("tcp connect error") => format!("connect: {}", words.to_lowercase()),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_resolved_against_where_they_came_from() {
        let from: Uri = "https://r.example/v2/a/blobs/x?y=1".parse().unwrap();
        for (location, to) in [
            ("https://cdn.example/b?c=d#frag", "https://cdn.example/b?c=d"),
            ("//cdn.example/b", "https://cdn.example/b"),
            ("/other", "https://r.example/other"),
            ("z", "https://r.example/v2/a/blobs/z"),
        ] {
            assert_eq!(follow(&from, location).unwrap().to_string(), to);
        }
        assert!(follow(&from, "file:///etc/passwd").is_none());
    }
}
