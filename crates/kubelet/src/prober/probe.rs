//! One probe of one container, made once (section 6B).

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe, TCPSocketAction};
use tokio::time::Instant;

use super::grpc;
use crate::env::expand;
use crate::http_get::{GetError, http_get, resolve_port};
use crate::reference_text::{self, dial, host_port};

pub(crate) const PROBE_AGENT: &str = "kube-probe/1.36";

/// What one probe said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    Warning(String),
    Failure(String),
    /// It could not be made (R6.8).
    Error {
        /// `unknown`, or `failure` for an answer that broke off.
        state: &'static str,
        text: String,
    },
}

impl Outcome {
    fn unknown(text: String) -> Self {
        Self::Error { state: "unknown", text }
    }
}

/// `exec` runs a command in the container: its exit code and output, or why it could not be run. Dropping it ends the
/// command.
pub(super) async fn probe<E>(probe: &Probe, container: &Container, pod_ip: &str, exec: E) -> Outcome
where
    E: AsyncFnOnce(Vec<String>) -> Result<(i32, String), String>,
{
    let seconds = probe.timeout_seconds.filter(|s| *s > 0).map_or(1, i32::unsigned_abs);
    let limit = Duration::from_secs(seconds.into());
    if let Some(action) = &probe.exec {
        let command = expanded(container, action.command.as_deref().unwrap_or_default());
        let words = command.join(" ");
        return match tokio::time::timeout(limit, exec(command)).await {
            Err(_) => {
                let limit = reference_text::duration(limit);
                Outcome::Failure(format!("command timed out: \"{words}\" timed out after {limit}"))
            }
            Ok(Ok((0, _))) => Outcome::Success,
            Ok(Ok((_, output))) => Outcome::Failure(output),
            Ok(Err(error)) => Outcome::unknown(error),
        };
    }
    if let Some(action) = &probe.http_get {
        return http(action, container, pod_ip, Instant::now() + limit).await;
    }
    if let Some(action) = &probe.tcp_socket {
        return tcp(action, container, pod_ip, limit).await;
    }
    if let Some(action) = &probe.grpc {
        let service = action.service.as_deref().unwrap_or_default();
        let Ok(port) = u16::try_from(action.port) else {
            return Outcome::unknown(format!("invalid port number: {}", action.port));
        };
        return grpc::check(pod_ip, port, service, limit)
            .await
            .map_or_else(Outcome::Failure, |()| Outcome::Success);
    }
    Outcome::unknown(format!("missing probe handler for {}", container.name))
}

/// R6.16, R6.17.
async fn http(action: &HTTPGetAction, container: &Container, pod_ip: &str, deadline: Instant) -> Outcome {
    let answer = match http_get(action, container, pod_ip, PROBE_AGENT, Some(deadline)).await {
        Ok(answer) => answer,
        Err(GetError::Request(problem)) => return Outcome::unknown(problem),
        Err(error) => return Outcome::Failure(error.to_string()),
    };
    let status = answer.status;
    match answer.text(Some(deadline)).await {
        Err(text) => Outcome::Error { state: "failure", text },
        Ok(_) if (200..300).contains(&status) => Outcome::Success,
        Ok(body) if (300..400).contains(&status) => {
            Outcome::Warning(format!("Probe terminated redirects, Response body: {body}"))
        }
        Ok(_) => Outcome::Failure(format!("HTTP probe failed with statuscode: {status}")),
    }
}

/// R6.19.
async fn tcp(action: &TCPSocketAction, container: &Container, pod_ip: &str, limit: Duration) -> Outcome {
    let port = match resolve_port(&action.port, container) {
        Ok(port) => port,
        Err(error) => return Outcome::unknown(error),
    };
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
    match tokio::time::timeout(limit, dial(host, port)).await {
        Err(_) => Outcome::Failure(format!("dial tcp {}: i/o timeout", host_port(host, port))),
        Ok(Err(error)) => Outcome::Failure(error),
        Ok(Ok(_)) => Outcome::Success,
    }
}

/// R6.15: only literal values of the container's own list are known.
fn expanded(container: &Container, command: &[String]) -> Vec<String> {
    let lookup = |name: &str| {
        let variable = container.env.iter().flatten().rev().find(|variable| variable.name == name)?;
        Some(variable.value.as_deref().unwrap_or_default())
    };
    command.iter().map(|word| expand(word, lookup)).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ExecAction};
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use tokio::net::TcpListener;

    use super::*;
    use crate::http_get::tests::{Server, ok, redirect};

    fn exec(words: &[&str]) -> Probe {
        let command = Some(words.iter().map(|word| (*word).to_owned()).collect());
        Probe { exec: Some(ExecAction { command }), ..Probe::default() }
    }

    async fn exec_says(result: Result<(i32, String), String>) -> Outcome {
        probe(&exec(&["true"]), &Container::default(), "", async |_| result).await
    }

    /// R6.15
    #[tokio::test(start_paused = true)]
    async fn commands() {
        assert_eq!(exec_says(Ok((0, "ignored".into()))).await, Outcome::Success);
        assert_eq!(exec_says(Ok((7, "out\nerr\n".into()))).await, Outcome::Failure("out\nerr\n".into()));
        let error = Outcome::Error { state: "unknown", text: "no such file".into() };
        assert_eq!(exec_says(Err("no such file".into())).await, error);
        let slow = Probe { timeout_seconds: Some(90), ..exec(&["sh", "-c", "sleep 100"]) };
        let outcome = probe(&slow, &Container::default(), "", async |_| std::future::pending().await).await;
        let text = "command timed out: \"sh -c sleep 100\" timed out after 1m30s";
        assert_eq!(outcome, Outcome::Failure(text.into()));
    }

    /// R6.15
    #[tokio::test]
    async fn variables_of_commands() {
        let variable = |name: &str, value: Option<&str>, value_from| EnvVar {
            name: name.into(),
            value: value.map(Into::into),
            value_from,
        };
        let env = vec![
            variable("A", Some("old"), None),
            variable("A", Some("lit"), None),
            variable("B", None, Some(EnvVarSource::default())),
        ];
        let container = Container { env: Some(env), ..Container::default() };
        let words = exec(&["$(A)", "<$(B)>", "$(C)", "$$(A)"]);
        let outcome = probe(&words, &container, "", async |command| Ok((1, command.join(" ")))).await;
        assert_eq!(outcome, Outcome::Failure("lit <> $(C) $(A)".into()));
    }

    async fn http_says(server: &Server) -> Outcome {
        let asked = Probe { http_get: Some(server.action("/")), ..Probe::default() };
        probe(&asked, &Container::default(), "127.0.0.1", async |_| Err(String::new())).await
    }

    /// R6.16, R6.17, M14
    #[tokio::test]
    async fn http_answers() {
        let answers = vec![
            ok("200 OK", ""),
            ok("299 Odd", ""),
            ok("304 Not Modified", ""),
            redirect("http://elsewhere/", "<a>"),
            ok("404 Not Found", "secret"),
            ok("500 Oh", ""),
        ];
        let server = Server::start(answers).await;
        let warning =
            |body: &str| Outcome::Warning(format!("Probe terminated redirects, Response body: {body}"));
        let failure = |code| Outcome::Failure(format!("HTTP probe failed with statuscode: {code}"));
        for expected in
            [Outcome::Success, Outcome::Success, warning(""), warning("<a>"), failure(404), failure(500)]
        {
            assert_eq!(http_says(&server).await, expected);
        }
    }

    /// R6.8, R6.16: no port, no request; no answer, no success.
    #[tokio::test]
    async fn http_without_an_answer() {
        let action = HTTPGetAction { port: IntOrString::String("web".into()), ..HTTPGetAction::default() };
        let asked = Probe { http_get: Some(action), ..Probe::default() };
        let outcome = probe(&asked, &Container::default(), "127.0.0.1", async |_| Err(String::new())).await;
        let text = "strconv.Atoi: parsing \"web\": invalid syntax".to_owned();
        assert_eq!(outcome, Outcome::unknown(text));
        let server = Server::start(vec![String::new()]).await;
        let text = format!(
            "Get \"http://127.0.0.1:{}/\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
            server.port
        );
        assert_eq!(http_says(&server).await, Outcome::Failure(text));
    }

    /// R6.19, R6.21: connections are made from here, to the Pod unless a host is named.
    #[tokio::test]
    async fn sockets() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let says = async |host: Option<&str>, pod_ip: &str| {
            let port = IntOrString::Int(port.into());
            let action = TCPSocketAction { host: host.map(Into::into), port };
            let asked = Probe { tcp_socket: Some(action), timeout_seconds: Some(60), ..Probe::default() };
            probe(&asked, &Container::default(), pod_ip, async |_| Err(String::new())).await
        };
        assert_eq!(says(None, "127.0.0.1").await, Outcome::Success);
        assert_eq!(says(Some("127.0.0.1"), "203.0.113.1").await, Outcome::Success);
        drop(listener);
        let text = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
        assert_eq!(says(None, "127.0.0.1").await, Outcome::Failure(text));
    }
}
