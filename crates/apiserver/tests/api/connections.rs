//! Over a real connection: what TLS offers, and what HTTP/1.1 can be upgraded to.

use std::sync::Arc;

use futures::StreamExt as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::server::Server;

/// A connection of the administrator, who offers these protocols.
async fn connect(server: &Server, protocols: &[&str]) -> TlsStream<TcpStream> {
    let admin = server.front().1.admin.clone();
    connect_as(server, Some(&admin), protocols).await
}

/// A connection of somebody with a certificate, or without one.
pub(crate) async fn connect_as(
    server: &Server,
    pair: Option<&outrigger_apiserver::pki::CertificatePair>,
    protocols: &[&str],
) -> TlsStream<TcpStream> {
    let (address, pki) = server.front();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.ca.certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_root_certificates(roots);
    let mut config = match pair {
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

/// B23: both versions of HTTP, the newer one first.
#[tokio::test]
async fn both_versions_of_http_are_offered() {
    let server = Server::start().await;
    for (offered, chosen) in [(&["h2", "http/1.1"][..], "h2"), (&["http/1.1"][..], "http/1.1")] {
        let stream = connect(&server, offered).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(chosen.as_bytes()));
    }
    server.stop().await;
}

/// E38: a browser watches in messages.
#[tokio::test]
async fn a_watch_over_a_websocket_is_one_message_an_event() {
    let server = Server::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    for name in ["a", "b"] {
        assert_eq!(server.post(maps, &json!({"metadata": {"name": name}})).await.code, 201);
    }
    let stream = connect(&server, &["http/1.1"]).await;
    let request = format!("wss://localhost{maps}?watch=1").into_client_request().unwrap();
    let (mut socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(response.status(), 101);
    let mut seen = Vec::new();
    for name in ["c", "d"] {
        assert_eq!(server.post(maps, &json!({"metadata": {"name": name}})).await.code, 201);
    }
    while seen.len() < 4 {
        let message = socket.next().await.unwrap().unwrap();
        let event: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        assert_eq!(event["type"], "ADDED");
        seen.push(event["object"]["metadata"]["name"].as_str().unwrap().to_owned());
    }
    seen[..2].sort();
    assert_eq!(seen, ["a", "b", "c", "d"]);
    socket.close(None).await.unwrap();
    server.stop().await;
}
