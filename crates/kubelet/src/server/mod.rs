//! The node's own API (N1 to N5): what an API server proxies to, what metrics scrapers read, what operators ask.
//!
//! A request comes over TLS, is authenticated and authorized by asking the API server, and is answered here; one that
//! comes from the API server in the same process (N6) takes the same way behind the gate. Start at
//! [`NodeServer::handle`]; `route` says which paths there are.

mod answers;
mod auth;
mod listen;
mod query;
mod route;
mod streams;

use std::sync::Arc;

use http::{Method, Request, Response};
use k8s_openapi::api::core::v1::Pod;
use outrigger_api::StatusError;
use outrigger_streaming::agent::{ContainerTarget, HttpBody, NodeAgent as _};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub use listen::{ListenError, Listeners, ServingKeys};

use crate::agent::KubeletAgent;
use crate::context::Context;
use crate::stats::summary::About;
use crate::{configuration, metrics, stats};
use answers::{JSON, answer, failed, text};
use auth::{Gate, Refused, User};
use query::Query;
use route::Route;

/// Where a request comes from.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// Over TLS, with the subject of a verified certificate if it showed one.
    Remote(Option<User>),
    /// The API server in this process, which has asked whether its caller may.
    ApiServer,
}

/// Answers the node's API. Clones are cheap.
#[derive(Clone, Debug)]
pub(crate) struct NodeServer {
    context: Arc<Context>,
    agent: KubeletAgent,
    gate: Arc<Gate>,
}

impl NodeServer {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        let gate = Gate::new(context.client.clone(), context.clock.clone(), context.config.node_name.clone());
        Self { agent: KubeletAgent::new(context.clone()), context, gate: Arc::new(gate) }
    }

    /// Serves what was taken until `stop`.
    pub(crate) async fn serve(self, listeners: Listeners, stop: CancellationToken) {
        listen::serve(self, listeners, stop).await;
    }

    /// Answers one request. Failures are answers too.
    pub(crate) async fn handle(&self, caller: Caller, request: Request<HttpBody>) -> Response<HttpBody> {
        let began = self.context.clock.now().mono;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        if let Caller::Remote(user) = caller
            && let Err(refused) = self.gate.check(user, request.headers(), &method, &path).await
        {
            return match refused {
                Refused::Unauthorized => text(401, "Unauthorized"),
                Refused::Forbidden(message) => text(403, message),
                Refused::Failed(message) => {
                    tracing::warn!(error = message, "a caller's rights cannot be asked for");
                    text(500, "Internal Error\n")
                }
            };
        }
        let Some(route) = Route::parse(&path) else { return text(404, "404 page not found\n") };
        let (label, long) = (route.label(), route.is_long());
        let response = self.answer(route, request).await;
        let took = self.context.clock.now().mono.since(began);
        self.context.metrics.http_request(method.as_str(), label, long, took);
        response
    }

    async fn answer(&self, route: Route, request: Request<HttpBody>) -> Response<HttpBody> {
        let query = Query::of(request.uri());
        let streams = matches!(route, Route::Exec(_) | Route::Attach(_) | Route::PortForward(_));
        let wanted = match route {
            Route::Run(_) | Route::Checkpoint(_) => Method::POST,
            _ => Method::GET,
        };
        if request.method() != wanted && !(streams && request.method() == Method::POST) {
            return text(405, "405: Method Not Allowed");
        }
        match route {
            Route::Exec(target) => streams::exec(&self.agent, target, &query, request),
            Route::Attach(target) => streams::attach(&self.agent, target, &query, request),
            Route::PortForward(target) => streams::port_forward(&self.agent, target, &query, request),
            Route::Run(target) => streams::run(&self.agent, &target, &query).await,
            Route::ContainerLogs(target) => match query.log_options(self.context.clock.now().wall) {
                Err(message) => text(400, message),
                Ok(options) => match self.agent.logs(&target, &options).await {
                    Ok(stream) => answers::stream(stream),
                    Err(error) => failed(&error),
                },
            },
            Route::Pods => json_answer(&self.pods()),
            Route::RunningPods => self.running_pods().await,
            Route::Configz => {
                json_answer(&json!({ "kubeletconfig": configuration::effective(&self.context.config) }))
            }
            Route::Healthz(check) => self.health(&check).await,
            Route::Logs => text(404, "logs endpoint is disabled.\n"),
            Route::Summary => self.summary(&query).await,
            Route::Metrics => answer(200, metrics::CONTENT_TYPE, metrics::page(&self.context).await),
            Route::MetricsProbes => answer(200, metrics::CONTENT_TYPE, self.context.metrics.probes_text()),
            Route::MetricsResource => {
                let sample = stats::sample(&self.context, false).await;
                answer(200, metrics::CONTENT_TYPE, stats::resource::page(&sample))
            }
            Route::MetricsCadvisor => match stats::sample(&self.context, true).await {
                Ok(sample) => {
                    let images = stats::cadvisor::images(&self.context).await;
                    answer(200, metrics::CONTENT_TYPE, stats::cadvisor::page(&sample, &images))
                }
                Err(error) => failed(&StatusError::internal(error)),
            },
            Route::Timeline(target) => self.timeline(&target),
            // KEP-2008's answer of a runtime that cannot freeze containers.
            Route::Checkpoint(target) => {
                text(501, format!("checkpointing of {} is not supported by this runtime\n", target.container))
            }
        }
    }

    /// N3: what the node works on, as the API has it.
    fn pods(&self) -> Value {
        let pods: Vec<Value> = self.context.pods.pods().iter().map(|pod| json!(**pod)).collect();
        json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods })
    }

    /// The record of a Pod, also of one that has been gone for a while.
    fn timeline(&self, target: &ContainerTarget) -> Response<HttpBody> {
        let now = self.context.clock.now().wall;
        match self.context.records.find(&target.namespace, &target.pod, &target.uid, now) {
            Some(report) => json_answer(&json!(report)),
            None => text(404, format!("no record of pod {}/{}\n", target.namespace, target.pod)),
        }
    }

    /// N3: what the runtime has.
    async fn running_pods(&self) -> Response<HttpBody> {
        match self.context.runtime.list().await {
            Ok(sandboxes) => {
                let pods: Vec<Pod> = sandboxes.iter().filter_map(query::running_pod).collect();
                json_answer(&json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods }))
            }
            Err(error) => failed(&StatusError::internal(error)),
        }
    }

    /// N3, N5: well as long as the runtime answers.
    async fn health(&self, check: &str) -> Response<HttpBody> {
        match check {
            "ping" | "log" => text(200, "ok"),
            "" | "syncloop" => match self.context.runtime.list().await {
                Ok(_) => text(200, "ok"),
                Err(error) => text(500, format!("[-]syncloop failed: {error}\nhealthz check failed\n")),
            },
            _ => text(404, "404 page not found\n"),
        }
    }

    async fn summary(&self, query: &Query) -> Response<HttpBody> {
        let small = query.flag("only_cpu_and_memory");
        match stats::sample(&self.context, !small).await {
            Ok(sample) => {
                let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                let boot = sample.at - jiff::SignedDuration::from_secs(uptime.tv_sec);
                let about =
                    About { node_name: &self.context.config.node_name, boot, only_cpu_and_memory: small };
                json_answer(&stats::summary::summary(&sample, about))
            }
            Err(error) => failed(&StatusError::internal(error)),
        }
    }
}

fn json_answer(value: &Value) -> Response<HttpBody> {
    answer(200, JSON, value.to_string())
}
