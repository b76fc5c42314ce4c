//! Lifecycle hooks (section 7).

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use outrigger_pod_lifecycle::pod_words;

use crate::context::Context;
use crate::http_get::http_get;
use crate::prober::run_command;

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
    if let Some(exec) = &handler.exec {
        let command = exec.command.clone().unwrap_or_default();
        let (problem, output) = match run_command(context, instance, &command).await {
            Ok((Some(0) | None, _)) => return Ok(()),
            Ok((Some(code), output)) => {
                (format!("command '{}' exited with {code}: {output}", command.join(" ")), output)
            }
            Err(error) => (error.to_string(), String::new()),
        };
        return Err(format!(
            "Exec lifecycle hook ([{}]) for Container \"{}\" in Pod \"{}\" failed - error: {problem}, message: \"{output}\"",
            command.join(" "),
            container.name,
            pod_words(pod),
        ));
    }
    if let Some(action) = &handler.http_get {
        let answer = http_get(action, container, pod_ip, "kube-lifecycle/1.36").await;
        let answer = match answer {
            Err(_) if action.scheme.as_deref() == Some("HTTPS") => {
                let plain = k8s_openapi::api::core::v1::HTTPGetAction { scheme: None, ..action.clone() };
                let answer = http_get(&plain, container, pod_ip, "kube-lifecycle/1.36").await;
                if answer.is_ok() {
                    let text = format!(
                        "request to HTTPS lifecycle hook of container {} got HTTP response, retry with HTTP succeeded",
                        container.name
                    );
                    context.events.warning(pod, "", "LifecycleHTTPFallback", text);
                }
                answer
            }
            answer => answer,
        };
        return answer.map(drop).map_err(|error| {
            format!(
                "HTTP lifecycle hook ({}) for Container \"{}\" in Pod \"{}\" failed - error: {error}, message: \"\"",
                action.path.as_deref().unwrap_or("/"),
                container.name,
                pod_words(pod),
            )
        });
    }
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err(format!("invalid handler: {handler:?}"))
}
