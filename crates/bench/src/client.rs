//! A client that costs little: HTTP/2 over TLS with the administrator's certificate, JSON untyped.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::Error;

/// How to reach a server, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    address: String,
    tls: Arc<rustls::ClientConfig>,
}

/// One connection. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    sender: http2::SendRequest<Full<Bytes>>,
    authority: String,
}

impl Target {
    /// What a kubeconfig written by `outrigger up` says.
    pub(crate) fn from_kubeconfig(path: &Path) -> Result<Self, Error> {
        let wrong = |cause: String| Error::File { path: path.to_owned(), cause };
        let text = std::fs::read_to_string(path).map_err(Error::doing(format!("read {}", path.display())))?;
        let config: Value = serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let cluster = &config["clusters"][0]["cluster"];
        let user = &config["users"][0]["user"];
        let data = |value: &Value, key: &str| {
            let text = value[key].as_str().unwrap_or_default();
            base64::engine::general_purpose::STANDARD
                .decode(text)
                .map_err(|error| wrong(format!("{key}: {error}")))
        };
        let pem = |error: rustls::pki_types::pem::Error| wrong(error.to_string());
        let mut roots = rustls::RootCertStore::empty();
        let authority = data(cluster, "certificate-authority-data")?;
        roots
            .add(CertificateDer::from_pem_slice(&authority).map_err(pem)?)
            .map_err(|error| wrong(error.to_string()))?;
        let certificate =
            CertificateDer::from_pem_slice(&data(user, "client-certificate-data")?).map_err(pem)?;
        let key = PrivateKeyDer::from_pem_slice(&data(user, "client-key-data")?).map_err(pem)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_root_certificates(roots).with_client_auth_cert(vec![certificate], key)
            })
            .map_err(|error| wrong(error.to_string()))?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let server = cluster["server"].as_str().unwrap_or_default();
        let address = server.strip_prefix("https://").ok_or_else(|| wrong("no https server".into()))?;
        Ok(Self { address: address.to_owned(), tls: Arc::new(tls) })
    }

    /// A new connection; a task of its own drives it until the last clone of the client is gone.
    pub(crate) async fn connect(&self) -> Result<Client, Error> {
        let to = || Error::doing(format!("connect to {}", self.address));
        let stream = TcpStream::connect(&self.address).await.map_err(to())?;
        stream.set_nodelay(true).map_err(to())?;
        let host = self.address.rsplit_once(':').map_or(&*self.address, |(host, _)| host).to_owned();
        let name = ServerName::try_from(host)
            .map_err(|error| Error::Unexpected(format!("{}: {error}", self.address)))?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await.map_err(to())?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(32 << 20)
            .handshake(TokioIo::new(stream))
            .await?;
        // Ends with the last sender.
        drop(tokio::spawn(connection));
        Ok(Client { sender, authority: self.address.clone() })
    }
}

impl Client {
    /// Sends a request and returns the answer's head, its body still to come.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        let name = format!("{method} {path}");
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.authority))
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| Error::Unexpected(format!("{name}: {error}")))?;
        let mut sender = self.sender.clone();
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Err(Error::Refused { request: name, status, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// Sends a request and reads the answer whole.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Error> {
        Ok(self.send(method, path, body).await?.into_body().collect().await?.to_bytes())
    }

    /// Reads an object or list.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, Error> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Creates an object.
    pub(crate) async fn create(&self, path: &str, object: &Value) -> Result<(), Error> {
        self.ask(Method::POST, path, object.to_string().into()).await.map(drop)
    }

    /// Deletes an object or a collection.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), Error> {
        self.ask(Method::DELETE, path, Bytes::new()).await.map(drop)
    }
}
