//! Sessions on the node's API: an HTTP/1.1 connection that becomes one (N1).

use std::sync::Arc;

use http::{Request, Response};
use outrigger_api::StatusError;
use outrigger_streaming::agent::{
    ContainerTarget, HttpBody, NodeAgent as _, Session, SessionEnd, StreamOptions,
};
use outrigger_streaming::port_forward::Forwarder;
use outrigger_streaming::upgrade;
use tokio::io::AsyncReadExt as _;

use super::answers::{self, failed, text};
use super::query::Query;
use crate::agent::KubeletAgent;

/// Bytes of output `/run` gives back; the rest is read and dropped.
const MOST_OUTPUT: usize = 16 * 1024 * 1024;

/// `/exec`.
pub(super) fn exec(
    agent: &KubeletAgent,
    target: ContainerTarget,
    query: &Query,
    request: Request<HttpBody>,
) -> Response<HttpBody> {
    let (agent, command, streams) = (agent.clone(), query.all("command"), query.streams());
    start(upgrade::session(request, streams, move || async move {
        agent.exec(&target, &command, streams).await.unwrap_or_else(|error| Session::failed(error.message))
    }))
}

/// `/attach`.
pub(super) fn attach(
    agent: &KubeletAgent,
    target: ContainerTarget,
    query: &Query,
    request: Request<HttpBody>,
) -> Response<HttpBody> {
    let (agent, streams) = (agent.clone(), query.streams());
    start(upgrade::session(request, streams, move || async move {
        agent.attach(&target, streams).await.unwrap_or_else(|error| Session::failed(error.message))
    }))
}

/// `/portForward`.
pub(super) fn port_forward(
    agent: &KubeletAgent,
    target: ContainerTarget,
    query: &Query,
    request: Request<HttpBody>,
) -> Response<HttpBody> {
    let forwarder = Forwarder { agent: Arc::new(agent.clone()), target };
    // Upstream's kubelet says `port` where the API server says `ports`.
    let ports = [query.all("port"), query.all("ports")].concat();
    start(upgrade::port_forward(request, ports.iter().map(String::as_str), forwarder))
}

/// `/run`: both output streams together, once the command has ended.
pub(super) async fn run(agent: &KubeletAgent, target: &ContainerTarget, query: &Query) -> Response<HttpBody> {
    // `cmd` is the name this one path has for a command, split at blanks.
    let command = match query.all("cmd").first() {
        Some(line) => line.split_whitespace().map(str::to_owned).collect(),
        None => query.all("command"),
    };
    if command.is_empty() {
        return text(400, "you must specify a command as cmd or command\n");
    }
    let streams = StreamOptions { stdout: true, stderr: true, ..StreamOptions::default() };
    let session = match agent.exec(target, &command, streams).await {
        Ok(session) => session,
        Err(error) => return failed(&error),
    };
    let (output, end) = collect(session).await;
    match end {
        SessionEnd::Exited(0) | SessionEnd::Detached => answers::answer(200, answers::TEXT, output),
        SessionEnd::Exited(code) => {
            let output = String::from_utf8_lossy(&output);
            text(500, format!("command '{}' exited with {code}: {output}", command.join(" ")))
        }
        SessionEnd::Failed(message) => failed(&StatusError::internal(message)),
    }
}

async fn collect(session: Session) -> (Vec<u8>, SessionEnd) {
    let kept = std::sync::Mutex::new(Vec::new());
    let drain = async |stream: Option<outrigger_streaming::agent::Output>| {
        let Some(mut stream) = stream else { return };
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            let mut kept = kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let room = MOST_OUTPUT.saturating_sub(kept.len());
            kept.extend_from_slice(&buffer[..count.min(room)]);
        }
    };
    let (_, _, end) = tokio::join!(drain(session.stdout), drain(session.stderr), session.end);
    (kept.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner), end)
}

/// Serves the session on the connection; it ends with the connection or the process.
fn start(answer: Result<upgrade::Answer, StatusError>) -> Response<HttpBody> {
    match answer {
        Ok(answer) => {
            if let Some(serve) = answer.serve {
                tokio::spawn(serve);
            }
            answer.response
        }
        Err(error) => failed(&error),
    }
}
