//! Lifecycle hooks (section 7).

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, LifecycleHandler, Pod};
use outrigger_pod_lifecycle::pod_words;

use crate::context::Context;
use crate::env::go_quote;
use crate::http_get::{GetError, http_get};
use crate::prober::{Output, run_command};
use crate::reference_text::host_port;
use crate::runtime_words::exec_failed;

const HOOK_AGENT: &str = "kube-lifecycle/1.36";

/// Runs a hook to its end. No time limit of its own; dropping the future kills an exec'd process.
///
/// # Errors
/// The waiting message of R7.5.
pub(crate) async fn run_hook(
    context: &Context,
    pod: &Pod,
    container: &Container,
    handler: &LifecycleHandler,
    instance: &str,
    pod_ip: &str,
) -> Result<(), String> {
    let exec = async |command: Vec<String>| {
        run_command(context, instance, &command)
            .await
            .map_err(|error| format!("rpc error: code = Unknown desc = {}", exec_failed(instance, &error)))
    };
    let fell_back = perform(pod, container, handler, pod_ip, exec).await?;
    if let Some(warning) = fell_back {
        context.events.warning(pod, "", "LifecycleHTTPFallback", warning);
    }
    Ok(())
}

/// `exec` runs a command: its exit code and output, or why it could not be run. The answer is what is to be warned of.
async fn perform<E>(
    pod: &Pod,
    container: &Container,
    handler: &LifecycleHandler,
    pod_ip: &str,
    exec: E,
) -> Result<Option<String>, String>
where
    E: AsyncFnOnce(Vec<String>) -> Result<(i32, Output), String>,
{
    let whose = || format!("for Container \"{}\" in Pod \"{}\"", container.name, pod_words(pod));
    if let Some(action) = &handler.exec {
        // R7.7: as it is written, nothing is expanded.
        let command = action.command.clone().unwrap_or_default();
        let words = command.join(" ");
        let (problem, output) = match exec(command).await {
            Ok((0, _)) => return Ok(None),
            Ok((code, output)) => {
                let errors = String::from_utf8_lossy(&output.stderr);
                (format!("command '{words}' exited with {code}: {errors}"), output.both())
            }
            Err(error) => (error, String::new()),
        };
        return Err(format!(
            "Exec lifecycle hook ([{words}]) {} failed - error: {problem}, message: {}",
            whose(),
            go_quote(&output)
        ));
    }
    if let Some(action) = &handler.http_get {
        return get(action, container, pod_ip).await.map_err(|error| {
            let path = action.path.as_deref().unwrap_or_default();
            format!("HTTP lifecycle hook ({path}) {} failed - error: {error}", whose())
        });
    }
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(None);
    }
    // R7.1: a tcpSocket is accepted and never works.
    Err("Cannot run handler: invalid handler: tcpSocket is not supported in lifecycle hooks".into())
}

/// R7.8: any answer will do. What speaks plain HTTP where HTTPS was asked for is asked again, without credentials.
async fn get(
    action: &HTTPGetAction,
    container: &Container,
    pod_ip: &str,
) -> Result<Option<String>, GetError> {
    let error = match http_get(action, container, pod_ip, HOOK_AGENT, None).await {
        Ok(_) => return Ok(None),
        Err(error) => error,
    };
    if !matches!(error, GetError::PlainHttp { .. }) {
        return Err(error);
    }
    let mut plain = HTTPGetAction { scheme: None, ..action.clone() };
    if let Some(headers) = &mut plain.http_headers {
        headers.retain(|header| !header.name.eq_ignore_ascii_case("authorization"));
    }
    if http_get(&plain, container, pod_ip, HOOK_AGENT, None).await.is_err() {
        return Err(error);
    }
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
    let port = crate::http_get::resolve_port(&action.port, container).unwrap_or_default();
    let host = host_port(host, port);
    Ok(Some(format!("request to HTTPS lifecycle hook {host} got HTTP response, retry with HTTP succeeded")))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ExecAction, HTTPHeader, SleepAction, TCPSocketAction};
    use tokio::time::Instant;

    use super::*;
    use crate::http_get::tests::{Server, ok};

    async fn says(
        handler: &LifecycleHandler,
        exec: impl AsyncFnOnce(Vec<String>) -> Result<(i32, Output), String>,
    ) -> Result<Option<String>, String> {
        let mut pod = Pod::default();
        pod.metadata.name = Some("p".into());
        pod.metadata.namespace = Some("ns".into());
        pod.metadata.uid = Some("u".into());
        let container = Container { name: "c".into(), ..Container::default() };
        perform(&pod, &container, handler, "127.0.0.1", exec).await
    }

    fn printed(stdout: &str, stderr: &str) -> Output {
        Output { stdout: stdout.into(), stderr: stderr.into() }
    }

    async fn no_exec(_: Vec<String>) -> Result<(i32, Output), String> {
        Err("not asked for".into())
    }

    fn exec(words: &[&str]) -> LifecycleHandler {
        let command = Some(words.iter().map(|word| (*word).to_owned()).collect());
        LifecycleHandler { exec: Some(ExecAction { command }), ..LifecycleHandler::default() }
    }

    /// R7.5, R7.7: nothing in the command is expanded.
    #[tokio::test]
    async fn commands() {
        let echo = exec(&["sh", "-c", "$(A)"]);
        assert_eq!(says(&echo, async |_| Ok((0, printed("x", "")))).await, Ok(None));
        let failed =
            says(&echo, async |command| Ok((1, printed(&format!("{}\n", command[2]), "bad\n")))).await;
        let text = "Exec lifecycle hook ([sh -c $(A)]) for Container \"c\" in Pod \"p_ns(u)\" failed - error: command 'sh -c $(A)' exited with 1: bad\n, message: \"$(A)\\nbad\\n\"";
        assert_eq!(failed, Err(text.into()));
        let failed = says(&echo, async |_| Err("no such file".into())).await;
        let text = "Exec lifecycle hook ([sh -c $(A)]) for Container \"c\" in Pod \"p_ns(u)\" failed - error: no such file, message: \"\"";
        assert_eq!(failed, Err(text.into()));
    }

    fn http(action: HTTPGetAction) -> LifecycleHandler {
        LifecycleHandler { http_get: Some(action), ..LifecycleHandler::default() }
    }

    /// R7.8
    #[tokio::test]
    async fn any_answer_will_do() {
        let mut server = Server::start(vec![ok("500 Oh", "")]).await;
        assert_eq!(says(&http(server.action("/stop")), no_exec).await, Ok(None));
        let sent = server.request().await;
        assert!(
            sent.starts_with("GET /stop ") && sent.contains("User-Agent: kube-lifecycle/1.36\r\n"),
            "{sent}"
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let action = HTTPGetAction {
            port: k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(port.into()),
            ..server.action("/stop")
        };
        let text = format!(
            "HTTP lifecycle hook (/stop) for Container \"c\" in Pod \"p_ns(u)\" failed - error: Get \"http://127.0.0.1:{port}/stop\": dial tcp 127.0.0.1:{port}: connect: connection refused"
        );
        assert_eq!(says(&http(action), no_exec).await, Err(text));
    }

    /// R7.8
    #[tokio::test]
    async fn https_answered_in_plain_http() {
        let mut server = Server::start(vec![ok("400 Bad Request", ""), ok("200 OK", "")]).await;
        let header = |name: &str| HTTPHeader { name: name.into(), value: "secret".into() };
        let action = HTTPGetAction {
            scheme: Some("HTTPS".into()),
            http_headers: Some(vec![header("Authorization"), header("X-A")]),
            ..server.action("/")
        };
        let warning = format!(
            "request to HTTPS lifecycle hook 127.0.0.1:{} got HTTP response, retry with HTTP succeeded",
            server.port
        );
        assert_eq!(says(&http(action), no_exec).await, Ok(Some(warning)));
        server.request().await;
        let sent = server.request().await;
        assert!(sent.contains("X-A: secret") && !sent.contains("Authorization"), "{sent}");
    }

    /// R7.9
    #[tokio::test(start_paused = true)]
    async fn sleeps() {
        let began = Instant::now();
        let sleep =
            LifecycleHandler { sleep: Some(SleepAction { seconds: 7 }), ..LifecycleHandler::default() };
        assert_eq!(says(&sleep, no_exec).await, Ok(None));
        assert_eq!(began.elapsed(), Duration::from_secs(7));
    }

    /// R7.1
    #[tokio::test]
    async fn sockets_are_no_hooks() {
        let socket =
            LifecycleHandler { tcp_socket: Some(TCPSocketAction::default()), ..LifecycleHandler::default() };
        assert!(says(&socket, no_exec).await.unwrap_err().starts_with("Cannot run handler: invalid handler"));
    }
}
