//! Where etcd is and how to speak to it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Uri};

/// How long one attempt to reach an endpoint may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often an idle connection is asked whether it still lives ...
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// ... and how long the answer may take.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// What one watch may have in flight unread; etcd holds back the rest of it.
const STREAM_WINDOW: u32 = 1 << 20;
/// As large as HTTP/2 allows, so that one unread watch never takes the connection from the others.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// What [`EtcdStore::connect`](crate::EtcdStore::connect) needs.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// The members of one etcd cluster. Requests go to one of them until it fails, then to the next.
    pub endpoints: EtcdEndpoints,
    /// Needed if the endpoints are `https`.
    pub tls: EtcdTls,
    /// Keys kept for Kubernetes lie below this; the default is Kubernetes' own, `/registry/` (M9). Watches of
    /// anything else work, but each costs etcd a watch of its own.
    pub root: String,
    /// How often history is forgotten that is older than the previous time (M5, M11). Default 5 minutes, as upstream.
    pub compaction_interval: Duration,
    /// How long a request is tried again, on every endpoint in turn, while it is certain that none has taken it.
    /// Default 2.5 seconds, about what etcd's own client takes.
    pub patience: Duration,
}

impl EtcdConfig {
    /// The defaults with these endpoints.
    pub fn new(endpoints: EtcdEndpoints) -> Self {
        Self {
            endpoints,
            tls: EtcdTls::default(),
            root: "/registry/".to_owned(),
            compaction_interval: Duration::from_secs(300),
            patience: Duration::from_millis(2500),
        }
    }

    /// The endpoints as tonic wants them.
    pub(super) fn transport(&self) -> Result<Vec<Endpoint>, EtcdConfigError> {
        let tls = if self.endpoints.secure() { Some(self.tls.load()?) } else { None };
        let mut transport = Vec::new();
        for url in &self.endpoints.0 {
            let mut endpoint = Endpoint::from(url.clone())
                .connect_timeout(CONNECT_TIMEOUT)
                .http2_keep_alive_interval(KEEP_ALIVE)
                .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
                .keep_alive_while_idle(true)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW);
            if let Some(tls) = &tls {
                let secured = endpoint.tls_config(tls.clone());
                endpoint = secured.map_err(|source| EtcdConfigError::Tls(Box::new(source)))?;
            }
            transport.push(endpoint);
        }
        Ok(transport)
    }
}

/// One or more URLs of one etcd cluster, all `http` or all `https`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdEndpoints(Vec<Uri>);

impl EtcdEndpoints {
    fn secure(&self) -> bool {
        self.0.iter().any(|url| url.scheme_str() == Some("https"))
    }
}

impl std::str::FromStr for EtcdEndpoints {
    type Err = EtcdConfigError;

    /// Reads `URL[,URL…]`; each is `http://host:port` or `https://host:port`.
    fn from_str(text: &str) -> Result<Self, EtcdConfigError> {
        let bad = |url: &str, why| Err(EtcdConfigError::Url { url: url.to_owned(), why });
        let mut urls = Vec::new();
        for part in text.split(',').map(str::trim) {
            let Ok(url) = part.trim_end_matches('/').parse::<Uri>() else {
                return bad(part, "it is no URL");
            };
            match url.scheme_str() {
                Some("http" | "https") => {}
                Some(_) => return bad(part, "only http and https are spoken"),
                None => return bad(part, "it does not begin with http:// or https://"),
            }
            if url.port().is_none() {
                return bad(part, "it names no port; etcd's is 2379");
            }
            if url.path_and_query().is_some_and(|rest| rest.as_str() != "/") {
                return bad(part, "it has a path; only host and port are wanted");
            }
            urls.push(url);
        }
        if urls.iter().any(|url| url.scheme() != urls[0].scheme()) {
            return bad(text, "http and https are mixed");
        }
        Ok(Self(urls))
    }
}

impl fmt::Display for EtcdEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, url) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", url.to_string().trim_end_matches('/'))?;
        }
        Ok(())
    }
}

/// Files for `https` endpoints, all PEM.
#[derive(Clone, Debug, Default)]
pub struct EtcdTls {
    /// The authority that signed etcd's certificate. Required: no other authority is trusted.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, if etcd asks for one.
    pub cert_file: Option<PathBuf>,
    /// The key of [`EtcdTls::cert_file`].
    pub key_file: Option<PathBuf>,
}

impl EtcdTls {
    fn load(&self) -> Result<ClientTlsConfig, EtcdConfigError> {
        let Some(ca) = &self.ca_file else { return Err(EtcdConfigError::NoAuthority) };
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
        match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => Ok(tls.identity(Identity::from_pem(read(cert)?, read(key)?))),
            (None, None) => Ok(tls),
            (Some(_), None) | (None, Some(_)) => Err(EtcdConfigError::HalfAnIdentity),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, EtcdConfigError> {
    std::fs::read(path).map_err(|source| EtcdConfigError::File { path: path.to_owned(), source })
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum EtcdConfigError {
    /// An endpoint cannot be used.
    #[error("{url:?}: {why}; write http://HOST:PORT or https://HOST:PORT, several with commas between")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// `https` without a CA.
    #[error("https needs the authority that signed etcd's certificate")]
    NoAuthority,
    /// A certificate without a key or the other way round.
    #[error("a client certificate and its key are only of use together")]
    HalfAnIdentity,
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The files were read and make no sense.
    #[error("the certificates for etcd cannot be used")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_bad_ones_are_named() {
        let good: EtcdEndpoints = "http://127.0.0.1:2379, http://[::1]:2379/".parse().unwrap();
        assert_eq!(good.to_string(), "http://127.0.0.1:2379,http://[::1]:2379");
        for (text, wanted) in [
            ("127.0.0.1:2379", "127.0.0.1:2379"),
            ("http://a:1,ftp://b:2", "only http and https"),
            ("http://a", "2379"),
            ("http://a:1/x", "path"),
            ("http://a:1,https://b:2", "mixed"),
            ("", "http://HOST:PORT"),
            ("http://a:1,", "http://HOST:PORT"),
        ] {
            let error = text.parse::<EtcdEndpoints>().unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn https_says_which_files_it_needs() {
        let mut config = EtcdConfig::new("https://a:1".parse().unwrap());
        assert!(matches!(config.transport(), Err(EtcdConfigError::NoAuthority)));
        config.tls.ca_file = Some("/no/such/ca.pem".into());
        let error = config.transport().unwrap_err().to_string();
        assert!(error.contains("/no/such/ca.pem"), "{error}");
    }
}
