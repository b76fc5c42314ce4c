//! Exec, attach and port-forward: an HTTP/1.1 connection that becomes something else (H18-H39).

use std::sync::Arc;

use http::{Request, Response};
use outrigger_api::{Object, StatusError};
use outrigger_streaming::agent::{Session, StreamOptions};
use outrigger_streaming::port_forward::Forwarder;
use outrigger_streaming::upgrade;

use super::target;
use crate::handler::Call;
use crate::respond::Body;
use crate::server::Api;

/// `pods/<p>/exec` and `pods/<p>/attach`.
pub(super) async fn run(
    api: &Arc<Api>,
    call: &Call,
    request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    let pod = pod(api, call).await?;
    let target = target::container(&pod, call.query.get("container"))?;
    let agent = agent_of(api, &pod).await?;
    let flag = |name: &str| call.query.find(name).is_some_and(|word| matches!(word, "true" | "1"));
    let tty = flag("tty");
    let streams =
        StreamOptions { stdin: flag("stdin"), stdout: flag("stdout"), stderr: flag("stderr") && !tty, tty };
    let command: Vec<String> = call.query.all("command").map(str::to_owned).collect();
    let exec = call.path.subresource == "exec";
    let begin = move || async move {
        let session = if exec {
            agent.exec(&target, &command, streams).await
        } else {
            agent.attach(&target, streams).await
        };
        session.unwrap_or_else(|error| Session::failed(error.message))
    };
    Ok(start(api, upgrade::session(request, streams, begin)?))
}

/// `pods/<p>/portforward`.
pub(super) async fn forward(
    api: &Arc<Api>,
    call: &Call,
    request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    let pod = pod(api, call).await?;
    let agent = agent_of(api, &pod).await?;
    let forwarder = Forwarder { agent, target: target::whole(&pod) };
    Ok(start(api, upgrade::port_forward(request, call.query.all("ports"), forwarder)?))
}

async fn pod(api: &Arc<Api>, call: &Call) -> Result<Object, StatusError> {
    if call.query.find("dryRun").is_some() {
        return Err(StatusError::bad_request("dryRun is not supported"));
    }
    target::pod(api, call).await
}

/// H20.
async fn agent_of(
    api: &Arc<Api>,
    pod: &Object,
) -> Result<Arc<dyn outrigger_streaming::agent::NodeAgent>, StatusError> {
    if pod.str_at(&["spec", "nodeName"]).is_empty() {
        return Err(StatusError::bad_request(format!("pod {} does not have a host assigned", pod.name())));
    }
    target::agent(api, pod).await
}

/// What is served on the connection ends with the server.
fn start(api: &Arc<Api>, answer: upgrade::Answer) -> Response<Body> {
    if let Some(serve) = answer.serve {
        let stop = api.shutdown.clone();
        api.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = serve => {}
            }
        });
    }
    answer.response
}
