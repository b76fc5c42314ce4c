//! The HTTPS front: connections, client certificates, HTTP/1.1 with upgrades and HTTP/2 (B23, I6).

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::StartError;
use crate::auth::{Identity, Peer};
use crate::handler::handle;
use crate::pki::Pki;
use crate::server::Api;

/// A client that has not finished its handshake by then is dropped.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections beyond this wait in the kernel's queue; each costs a task and two buffers.
const CONNECTIONS: usize = 4096;

/// TLS with the cluster's own authority: clients may show a certificate of it, and need not.
pub(crate) fn acceptor(pki: &Pki) -> Result<TlsAcceptor, StartError> {
    let bad = |cause: String| StartError::Tls(rustls::Error::General(cause));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(pki.ca.certificate.as_bytes())
        .map_err(|error| bad(error.to_string()))?;
    roots.add(authority).map_err(StartError::Tls)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| bad(error.to_string()))?;
    let chain = CertificateDer::pem_slice_iter(pki.serving.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(error.to_string()))?;
    let key =
        PrivateKeyDer::from_pem_slice(pki.serving.key.as_bytes()).map_err(|error| bad(error.to_string()))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(StartError::Tls)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(StartError::Tls)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts until shutdown.
pub(crate) async fn serve(api: Arc<Api>, listener: TcpListener, tls: TlsAcceptor) {
    let slots = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = api.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (connection_api, tls) = (Arc::clone(&api), tls.clone());
                api.tasks.spawn(async move {
                    connection(connection_api, stream, tls).await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely; connections that end give some back.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(api: Arc<Api>, stream: TcpStream, tls: TlsAcceptor) {
    // A failure leaves a slower connection, not a broken one.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let peer = Peer::Tls(certificate.and_then(|certificate| Identity::of_certificate(certificate)));
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let (api, peer) = (Arc::clone(&api), peer.clone());
        async move {
            let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            Ok::<_, std::convert::Infallible>(handle(api, peer, request).await)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(250);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = api.shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}
