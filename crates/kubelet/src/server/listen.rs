//! The sockets: HTTPS with client certificates (N1), and the plain health port (N5).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::auth::User;
use super::{Caller, NodeServer, answers};

/// A client that has not finished its handshake by then is dropped.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long answers under way may take when the server stops.
const LINGER: Duration = Duration::from_secs(1);
/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 512;

/// The keys of the HTTPS port, PEM.
#[derive(Clone)]
pub struct ServingKeys {
    /// What the server shows.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// Clients' certificates must be of this authority.
    pub client_ca: String,
}

impl std::fmt::Debug for ServingKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServingKeys").finish_non_exhaustive()
    }
}

/// Why the node's API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The port is taken, or not ours to take.
    #[error("cannot listen on {address}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// Certificate, key or authority are not usable.
    #[error("the kubelet's serving keys cannot be used: {0}")]
    Keys(String),
}

/// Ports taken, not served yet.
#[derive(Debug, Default)]
pub struct Listeners {
    pub(super) https: Option<(TcpListener, TlsAcceptorBox)>,
    pub(super) health: Option<TcpListener>,
}

/// An acceptor that can be shown.
#[derive(Clone)]
pub(super) struct TlsAcceptorBox(TlsAcceptor);

impl std::fmt::Debug for TlsAcceptorBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsAcceptor")
    }
}

impl Listeners {
    /// Takes the HTTPS port; port 0 takes any free one. Gives the address taken.
    ///
    /// # Errors
    /// [`ListenError`]
    pub async fn take_https(
        &mut self,
        address: SocketAddr,
        keys: &ServingKeys,
    ) -> Result<SocketAddr, ListenError> {
        let acceptor = acceptor(keys).map_err(ListenError::Keys)?;
        let (listener, taken) = bind(address).await?;
        self.https = Some((listener, TlsAcceptorBox(acceptor)));
        Ok(taken)
    }

    /// Takes the health port.
    ///
    /// # Errors
    /// [`ListenError::Bind`]
    pub async fn take_health(&mut self, address: SocketAddr) -> Result<SocketAddr, ListenError> {
        let (listener, taken) = bind(address).await?;
        self.health = Some(listener);
        Ok(taken)
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ListenError> {
    let bad = |source| ListenError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(bad)?;
    let taken = listener.local_addr().map_err(bad)?;
    Ok((listener, taken))
}

fn acceptor(keys: &ServingKeys) -> Result<TlsAcceptor, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(keys.client_ca.as_bytes()) {
        let authority = authority.map_err(|error| error.to_string())?;
        roots.add(authority).map_err(|error| error.to_string())?;
    }
    // Callers with a token show no certificate.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| error.to_string())?;
    let chain = CertificateDer::pem_slice_iter(keys.certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(keys.key.as_bytes()).map_err(|error| error.to_string())?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves both ports until `stop`, then lets answers under way finish for a moment.
pub(super) async fn serve(server: NodeServer, listeners: Listeners, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let https = async {
        let Some((listener, TlsAcceptorBox(tls))) = listeners.https else { return };
        accept(&listener, &stop, &tasks, |stream, stop| secure(server.clone(), tls.clone(), stream, stop))
            .await;
    };
    let health = async {
        let Some(listener) = listeners.health else { return };
        accept(&listener, &stop, &tasks, |stream, stop| plain_health(server.clone(), stream, stop)).await;
    };
    tokio::join!(https, health);
    tasks.close();
    tasks.wait().await;
}

async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: &TcpListener,
    stop: &CancellationToken,
    tasks: &TaskTracker,
    serve: impl Fn(TcpStream, CancellationToken) -> F,
) {
    let slots = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // A failure leaves a slower connection, not a broken one.
                let _ = stream.set_nodelay(true);
                let serving = serve(stream, stop.clone());
                tasks.spawn(async move {
                    serving.await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn secure(server: NodeServer, tls: TlsAcceptor, stream: TcpStream, stop: CancellationToken) {
    let stream = match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let caller = Caller::Remote(certificate.and_then(|certificate| User::of_certificate(certificate)));
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (server, caller) = (server.clone(), caller.clone());
        async move {
            let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            Ok::<_, Infallible>(server.handle(caller, request).await)
        }
    });
    connection(TokioIo::new(stream), service, stop).await;
}

/// N5: nothing but health, and no questions asked.
async fn plain_health(server: NodeServer, stream: TcpStream, stop: CancellationToken) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        let server = server.clone();
        async move {
            Ok::<_, Infallible>(match request.uri().path() {
                "/healthz" => server.health("").await,
                _ => answers::text(404, "404 page not found\n"),
            })
        }
    });
    connection(TokioIo::new(stream), service, stop).await;
}

async fn connection<I, S>(stream: I, service: S, stop: CancellationToken)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    S: hyper::service::Service<
            http::Request<Incoming>,
            Response = http::Response<outrigger_streaming::agent::HttpBody>,
            Error = Infallible,
        > + Send
        + 'static,
    S::Future: Send + 'static,
{
    let builder = auto::Builder::new(TokioExecutor::new());
    let serving = builder.serve_connection_with_upgrades(stream, service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            // A log that is followed would never end.
            match tokio::time::timeout(LINGER, serving).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}
