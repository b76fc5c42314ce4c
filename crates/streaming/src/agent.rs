//! What a node can be asked to do with a running Pod. The kubelet implements [`NodeAgent`]; the API server calls
//! it directly when both live in one process, and through the kubelet's HTTPS API otherwise.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use jiff::Timestamp;
use outrigger_api::StatusError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// A container of a Pod on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerTarget {
    /// The Pod's namespace.
    pub namespace: String,
    /// The Pod's name.
    pub pod: String,
    /// The Pod's uid; empty means whichever Pod has the name now.
    pub uid: String,
    /// The container's name.
    pub container: String,
}

/// `PodLogOptions` after validation (H14, R14.14).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on until the instance ends.
    pub follow: bool,
    /// The instance before the current one.
    pub previous: bool,
    /// Only records at or after this moment.
    pub since: Option<Timestamp>,
    /// Prefix every line with its time.
    pub timestamps: bool,
    /// Only so many records from the end.
    pub tail_lines: Option<u64>,
    /// Cut the output after so many bytes.
    pub limit_bytes: Option<u64>,
}

/// Which streams a session wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// Client to process.
    pub stdin: bool,
    /// Process to client.
    pub stdout: bool,
    /// Process to client; never set together with `tty`.
    pub stderr: bool,
    /// A terminal: stderr is merged into stdout.
    pub tty: bool,
}

/// A terminal's size in character cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// How a process ended, or why the session failed.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionEnd {
    /// The process left with this code (128 + n for signal n).
    Exited(i32),
    /// Attach: the session ended without the process ending.
    Detached,
    /// The process could not be started or followed.
    Failed(String),
}

/// Bytes towards a process.
pub type Input = Box<dyn AsyncWrite + Send + Unpin>;
/// Bytes from a process.
pub type Output = Box<dyn AsyncRead + Send + Unpin>;

/// A running session. Dropping it ends an exec'd process; it never ends a container's own process.
pub struct Session {
    /// Present if asked for; dropping or shutting it down is end of file for the process.
    pub stdin: Option<Input>,
    /// Present if asked for.
    pub stdout: Option<Output>,
    /// Present if asked for and not a tty.
    pub stderr: Option<Output>,
    /// Present with a tty.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// Resolves when the session is over; output may still have to be read to its end.
    pub end: BoxFuture<'static, SessionEnd>,
}

impl Session {
    /// A session that is over before it began: the client reads why on its error channel.
    pub fn failed(message: String) -> Self {
        let end = Box::pin(std::future::ready(SessionEnd::Failed(message)));
        Self { stdin: None, stdout: None, stderr: None, resize: None, end }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("stdin", &self.stdin.is_some())
            .field("stdout", &self.stdout.is_some())
            .field("stderr", &self.stderr.is_some())
            .field("tty", &self.resize.is_some())
            .finish_non_exhaustive()
    }
}

/// Both directions of one forwarded connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Request and response bodies of a node's own API.
pub type HttpBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Log bytes as they come.
pub type LogStream = BoxStream<'static, std::io::Result<Bytes>>;

/// What a node can be asked to do with a running Pod.
#[async_trait]
pub trait NodeAgent: Send + Sync + fmt::Debug {
    /// A container's log (H14-H17, R14.7-R14.17).
    async fn logs(&self, target: &ContainerTarget, options: &LogOptions) -> Result<LogStream, StatusError>;

    /// Runs a command in a running container (R14.18).
    async fn exec(
        &self,
        target: &ContainerTarget,
        command: &[String],
        streams: StreamOptions,
    ) -> Result<Session, StatusError>;

    /// Joins a running container's own streams (R14.19).
    async fn attach(&self, target: &ContainerTarget, streams: StreamOptions) -> Result<Session, StatusError>;

    /// Connects to a TCP port inside the Pod's network namespace (R14.20). `target.container` is ignored.
    async fn port_forward(&self, target: &ContainerTarget, port: u16)
    -> Result<Box<dyn Duplex>, StatusError>;

    /// Answers a request on the node's own API, for a caller who was already found to be allowed (N6). The path is the
    /// node's, as in `/stats/summary`. An agent without that API says so.
    async fn http(&self, request: http::Request<HttpBody>) -> http::Response<HttpBody> {
        let text = format!("this node does not serve {}\n", request.uri().path());
        let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
        let mut response = http::Response::new(body);
        *response.status_mut() = http::StatusCode::NOT_IMPLEMENTED;
        response
    }
}
