use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::HTTPHeader;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;

/// One answer for each connection, and the requests that came.
pub(crate) struct Server {
    pub(crate) port: u16,
    requests: mpsc::UnboundedReceiver<String>,
}

impl Server {
    /// `PORT` in an answer becomes the server's own port; an empty answer is never sent.
    pub(crate) async fn start(answers: Vec<String>) -> Self {
        Self::start_with(answers, None).await
    }

    async fn start_with(answers: Vec<String>, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut silent = Vec::new();
            for answer in answers {
                let answer = answer.replace("PORT", &port.to_string());
                let (mut stream, _) = listener.accept().await.unwrap();
                if let Some(tls) = &tls {
                    converse(&mut tls.accept(stream).await.unwrap(), &answer, &sender).await;
                } else {
                    converse(&mut stream, &answer, &sender).await;
                    if !answer.contains("Content-Length: 0") {
                        silent.push(stream);
                    }
                }
            }
            std::future::pending::<()>().await;
        });
        Self { port, requests }
    }

    pub(crate) async fn request(&mut self) -> String {
        self.requests.recv().await.unwrap()
    }

    pub(crate) fn action(&self, path: &str) -> HTTPGetAction {
        HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::Int(self.port.into()),
            ..HTTPGetAction::default()
        }
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    answer: &str,
    requests: &mpsc::UnboundedSender<String>,
) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => break,
        }
        // A TLS greeting has no end of ours.
        if request.len() == 5 && request[0] == 0x16 {
            break;
        }
    }
    let _ = requests.send(String::from_utf8_lossy(&request).into_owned());
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.flush().await;
}

/// An answer with a body.
pub(crate) fn ok(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

pub(crate) fn redirect(location: &str, body: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn header(name: &str, value: &str) -> HTTPHeader {
    HTTPHeader { name: name.into(), value: value.into() }
}

async fn run(action: &HTTPGetAction) -> Result<(u16, String), GetError> {
    let answer = http_get(action, &Container::default(), "127.0.0.1", "kube-probe/1.36", None).await?;
    let status = answer.status;
    Ok((status, answer.text(None).await.unwrap()))
}

/// R6.16, R6.18
#[tokio::test]
async fn headers_as_they_are_sent() {
    let mut server = Server::start(vec![ok("200 OK", "yes"), ok("200 OK", ""), ok("200 OK", "")]).await;
    assert_eq!(run(&server.action("/a?b=c")).await, Ok((200, "yes".into())));
    let port = server.port;
    let plain = format!(
        "GET /a?b=c HTTP/1.1\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\nConnection: close\r\nHost: 127.0.0.1:{port}\r\n\r\n"
    );
    assert_eq!(server.request().await, plain);

    let own = vec![header("x-a", "1"), header("X-A", "2"), header("host", "me"), header("user-agent", "it")];
    let own = HTTPGetAction { http_headers: Some(own), ..server.action("/") };
    run(&own).await.unwrap();
    let sent = server.request().await;
    for line in ["X-A: 1\r\nX-A: 2\r\n", "Host: me\r\n", "User-Agent: it\r\n", "Accept: */*\r\n"] {
        assert!(sent.contains(line), "{sent}");
    }
    assert!(!sent.contains("Accept-Encoding") && !sent.contains("kube-probe"), "{sent}");

    let none = HTTPGetAction { http_headers: Some(vec![header("Accept", "")]), ..server.action("/") };
    run(&none).await.unwrap();
    assert!(!server.request().await.contains("Accept"));
}

/// R6.17
#[tokio::test]
async fn redirects_stay_on_the_host() {
    let answers = vec![
        redirect("b", ""),
        redirect("http://127.0.0.1:PORT/c", ""),
        ok("200 OK", "there"),
        redirect("http://elsewhere/", "go"),
        ok("304 Not Modified", ""),
    ];
    let mut server = Server::start(answers).await;
    let host = HTTPGetAction { http_headers: Some(vec![header("Host", "me")]), ..server.action("/x/a") };
    assert_eq!(run(&host).await, Ok((200, "there".into())));
    let lines = [server.request().await, server.request().await, server.request().await];
    assert!(lines[0].starts_with("GET /x/a ") && lines[0].contains("Host: me\r\n"));
    assert!(lines[1].starts_with("GET /x/b ") && lines[1].contains("Host: me\r\n"));
    // An address with a host of its own ends the override.
    assert!(lines[2].starts_with("GET /c ") && lines[2].contains("Host: 127.0.0.1:"));
    assert_eq!(run(&server.action("/")).await, Ok((302, "go".into())));
    assert_eq!(run(&server.action("/")).await, Ok((304, String::new())));
}

/// R6.17
#[tokio::test]
async fn redirects_end() {
    let server = Server::start(vec![redirect("/again", ""); 10]).await;
    let error = run(&server.action("/")).await.unwrap_err();
    assert_eq!(error.to_string(), "Get \"/again\": stopped after 10 redirects");
}

/// R6.18: 10 KiB are read; the rest is not waited for.
#[tokio::test]
async fn long_answers_are_cut() {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{}", "x".repeat(11_000));
    let server = Server::start(vec![answer]).await;
    let (status, body) = run(&server.action("/")).await.unwrap();
    assert_eq!((status, body.len()), (200, 10 * 1024));
}

/// R6.16, R6.18: no certificate is checked.
#[tokio::test]
async fn certificates_are_not_verified() {
    let made = rcgen::generate_simple_self_signed(vec!["other.name".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let server = Server::start_with(vec![ok("204 No Content", "")], Some(acceptor)).await;
    let action = HTTPGetAction { scheme: Some("HTTPS".into()), ..server.action("/") };
    assert_eq!(run(&action).await, Ok((204, String::new())));
}

/// R6.16, R6.18: the texts users search for.
#[tokio::test]
async fn failures_in_words() {
    let server =
        Server::start(vec!["HTTP/1.1 400 no\r\n\r\n".into(), "220 mail\r\n".into(), String::new()]).await;
    let port = server.port;
    let url = format!("127.0.0.1:{port}");
    let tls = HTTPGetAction { scheme: Some("HTTPS".into()), ..server.action("/") };
    let text = format!("Get \"https://{url}/\": http: server gave HTTP response to HTTPS client");
    assert_eq!(run(&tls).await.unwrap_err().to_string(), text);
    let text = format!(
        "Get \"http://{url}/\": net/http: HTTP/1.x transport connection broken: malformed HTTP response \"220 mail\""
    );
    assert_eq!(run(&server.action("/")).await.unwrap_err().to_string(), text);
    let deadline = Some(Instant::now() + Duration::from_millis(20));
    let silent =
        http_get(&server.action("/"), &Container::default(), "127.0.0.1", "kube-probe/1.36", deadline).await;
    let text = format!(
        "Get \"http://{url}/\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    );
    assert_eq!(silent.unwrap_err().to_string(), text);
}

/// R6.8: a body that does not come is no answer and no failure.
#[tokio::test]
async fn bodies_that_do_not_come() {
    let server = Server::start(vec!["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".into()]).await;
    let (action, container) = (server.action("/"), Container::default());
    let answer = http_get(&action, &container, "127.0.0.1", "kube-probe/1.36", None).await.unwrap();
    let late = answer.text(Some(Instant::now() + Duration::from_millis(20))).await.unwrap_err();
    assert_eq!(late, "context deadline exceeded (Client.Timeout or context cancellation while reading body)");
}
