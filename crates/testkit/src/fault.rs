//! A registry in process, with faults on command.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use crate::loopback::mirror_config;
use crate::{Blob, PackedImage, TestkitError};

type Body = BoxBody<Bytes, std::io::Error>;

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answers this status and body.
    Status(u16, String),
    /// Sends the content with one bit changed.
    Corrupt,
    /// Promises all of the content, sends this many bytes and breaks the connection.
    Truncate(usize),
    /// Answers only once the semaphore has a permit, which it takes.
    Hold(Arc<Semaphore>),
    /// Sends the client elsewhere.
    Redirect(String),
}

/// Who may pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// Everybody.
    Free,
    /// User and password, by Basic.
    Basic(String, String),
    /// User and password, exchanged for a token.
    Token(String, String),
    /// Everybody, but with a token.
    AnonymousToken,
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Path and query.
    pub target: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `Range` header.
    pub range: Option<String>,
}

#[derive(Debug)]
struct Content {
    /// By repository and reference, and by repository and digest.
    manifests: HashMap<(String, String), Blob>,
    blobs: HashMap<String, Blob>,
    faults: Vec<(String, usize, Fault)>,
    login: Login,
    seen: Vec<Seen>,
}

/// An in-process registry on a free loopback port; ends when dropped.
#[derive(Debug)]
pub struct FaultRegistry {
    address: SocketAddr,
    content: Arc<Mutex<Content>>,
    task: JoinHandle<()>,
}

impl FaultRegistry {
    /// Starts an empty registry that everybody may use.
    pub async fn start() -> Result<Self, TestkitError> {
        let failed = |error| TestkitError::io("listen on", "127.0.0.1")(error);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(TestkitError::io("listen on", "127.0.0.1"))?;
        let content = Arc::new(Mutex::new(Content {
            manifests: HashMap::new(),
            blobs: HashMap::new(),
            faults: Vec::new(),
            login: Login::Free,
            seen: Vec::new(),
        }));
        let task = tokio::spawn(serve(listener, address, Arc::clone(&content)));
        Ok(Self { address, content, task })
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The image's name on this registry.
    pub fn name(&self, image: &PackedImage) -> String {
        format!("{}/{}:{}", self.address, image.repository, image.tag)
    }

    /// Adds an image.
    pub fn add(&self, image: &PackedImage) {
        let mut content = self.content();
        for blob in image.layers.iter().chain([&image.config]) {
            content.blobs.insert(blob.digest.clone(), blob.clone());
        }
        drop(content);
        self.add_manifest(&image.repository, &image.tag, &image.manifest);
    }

    /// Adds a manifest or index under a tag and its digest.
    pub fn add_manifest(&self, repository: &str, tag: &str, manifest: &Blob) {
        let mut content = self.content();
        for reference in [tag, &manifest.digest] {
            content.manifests.insert((repository.to_owned(), reference.to_owned()), manifest.clone());
        }
    }

    /// Adds a blob, whatever digest it claims.
    pub fn add_blob(&self, blob: &Blob) {
        self.content().blobs.insert(blob.digest.clone(), blob.clone());
    }

    /// The next `times` requests whose path contains `part` go wrong. Faults for the same path happen in the order
    /// they were added.
    pub fn fault(&self, part: &str, times: usize, fault: Fault) {
        self.content().faults.push((part.to_owned(), times, fault));
    }

    /// From now on only these may pull.
    pub fn login(&self, login: Login) {
        self.content().login = login;
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.content().seen.clone()
    }

    /// How many requests had `part` in their path or query.
    pub fn count(&self, part: &str) -> usize {
        self.content().seen.iter().filter(|seen| seen.target.contains(part)).count()
    }

    /// Like [`crate::LoopbackRegistry::mirror_config`].
    pub fn mirror_config(&self, dir: &Path) -> Result<PathBuf, TestkitError> {
        mirror_config(&self.address(), dir)
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FaultRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, address: SocketAddr, content: Arc<Mutex<Content>>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let content = Arc::clone(&content);
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, address, Arc::clone(&content)));
            // A client that hangs up is its own business.
            drop(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    address: SocketAddr,
    content: Arc<Mutex<Content>>,
) -> Result<Response<Body>, Infallible> {
    let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let header = |name| request.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let seen = Seen {
        target: target.clone(),
        authorization: header(header::AUTHORIZATION),
        range: header(header::RANGE),
    };
    let (fault, login) = {
        let mut content = content.lock().unwrap_or_else(PoisonError::into_inner);
        content.seen.push(seen.clone());
        (content.take_fault(&target), content.login.clone())
    };
    if let Some(Fault::Hold(gate)) = &fault
        && let Ok(permit) = gate.acquire().await
    {
        permit.forget();
    }
    if let Some(response) = demand_login(&login, &seen, address) {
        return Ok(response);
    }
    let found = content.lock().unwrap_or_else(PoisonError::into_inner).find(request.uri().path());
    Ok(match (fault, found) {
        (Some(Fault::Status(status, body)), _) => {
            plain(StatusCode::from_u16(status).unwrap_or_default(), body)
        }
        (Some(Fault::Redirect(to)), _) => {
            let mut response = plain(StatusCode::TEMPORARY_REDIRECT, String::new());
            if let Ok(to) = to.parse() {
                response.headers_mut().insert(header::LOCATION, to);
            }
            response
        }
        (_, None) => {
            let code = if target.contains("/manifests/") { "MANIFEST_UNKNOWN" } else { "BLOB_UNKNOWN" };
            let body = format!(
                r#"{{"errors":[{{"code":"{code}","message":"{}"}}]}}"#,
                code.to_lowercase().replace('_', " ")
            );
            plain(StatusCode::NOT_FOUND, body)
        }
        (Some(Fault::Corrupt), Some(mut blob)) => {
            if let Some(last) = blob.bytes.last_mut() {
                *last ^= 1;
            }
            whole(blob, &seen)
        }
        (Some(Fault::Truncate(length)), Some(blob)) => truncated(&blob, length),
        (_, Some(blob)) => whole(blob, &seen),
    })
}

impl Content {
    fn take_fault(&mut self, target: &str) -> Option<Fault> {
        let (_, times, fault) =
            self.faults.iter_mut().find(|(part, times, _)| *times > 0 && target.contains(part))?;
        *times -= 1;
        Some(fault.clone())
    }

    fn find(&self, path: &str) -> Option<Blob> {
        let rest = path.strip_prefix("/v2/")?;
        if let Some((repository, reference)) = rest.split_once("/manifests/") {
            return self.manifests.get(&(repository.to_owned(), reference.to_owned())).cloned();
        }
        rest.split_once("/blobs/").and_then(|(_, digest)| self.blobs.get(digest).cloned())
    }
}

/// The answer to those who may not pull, and to requests for tokens.
fn demand_login(login: &Login, seen: &Seen, address: SocketAddr) -> Option<Response<Body>> {
    let basic = |user: &str, password: &str| {
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
    };
    let refused = |challenge: String| {
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        let mut response = plain(StatusCode::UNAUTHORIZED, body.to_owned());
        if let Ok(value) = challenge.parse() {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        Some(response)
    };
    let given = seen.authorization.as_deref();
    let bearer = format!("Bearer realm=\"http://{address}/token\",service=\"fixture\"");
    match login {
        Login::Free => None,
        Login::Basic(user, password) if given == Some(&basic(user, password)) => None,
        Login::Basic(..) => refused("Basic realm=\"fixture\"".to_owned()),
        Login::Token(user, password) if seen.target.starts_with("/token") => {
            if given == Some(&basic(user, password)) {
                Some(plain(StatusCode::OK, format!(r#"{{"token":"{TOKEN}"}}"#)))
            } else {
                refused("Basic realm=\"fixture\"".to_owned())
            }
        }
        Login::AnonymousToken if seen.target.starts_with("/token") => {
            Some(plain(StatusCode::OK, format!(r#"{{"access_token":"{TOKEN}"}}"#)))
        }
        Login::Token(..) | Login::AnonymousToken if given == Some(&format!("Bearer {TOKEN}")) => None,
        Login::Token(..) | Login::AnonymousToken => refused(bearer),
    }
}

fn plain(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
}

fn whole(blob: Blob, seen: &Seen) -> Response<Body> {
    let start = seen
        .range
        .as_deref()
        .and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let total = blob.bytes.len();
    let start = start.unwrap_or(0).min(total);
    let bytes = Bytes::from(blob.bytes).slice(start..);
    let mut response = Response::new(Full::new(bytes).map_err(|never| match never {}).boxed());
    describe(response.headers_mut(), &blob.media_type, &blob.digest);
    if start > 0 {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        if let Ok(range) = format!("bytes {start}-{}/{total}", total - 1).parse() {
            response.headers_mut().insert(header::CONTENT_RANGE, range);
        }
    }
    response
}

fn truncated(blob: &Blob, length: usize) -> Response<Body> {
    let part = Bytes::copy_from_slice(&blob.bytes[..length.min(blob.bytes.len())]);
    let (sender, receiver) = mpsc::channel(1);
    // The error comes after a pause, in which the part is sent off; the task ends with the connection at the latest.
    drop(tokio::spawn(async move {
        if sender.send(Ok(Frame::data(part))).await.is_ok() {
            tokio::task::yield_now().await;
            drop(sender.send(Err(std::io::Error::other("cut off"))).await);
        }
    }));
    let stream = StreamBody::new(ReceiverStream::new(receiver));
    let mut response = Response::new(stream.boxed());
    describe(response.headers_mut(), &blob.media_type, &blob.digest);
    response.headers_mut().insert(header::CONTENT_LENGTH, blob.bytes.len().into());
    response
}

fn describe(headers: &mut HeaderMap, media_type: &str, digest: &str) {
    if let (Ok(media_type), Ok(digest)) = (media_type.parse(), digest.parse()) {
        headers.insert(header::CONTENT_TYPE, media_type);
        headers.insert("docker-content-digest", digest);
    }
}

const TOKEN: &str = "fixture-token";
