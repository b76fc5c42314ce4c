//! What the server counts, under upstream's names (A43).

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use outrigger_api::Registry as Kinds;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::handler::APPLY;
use crate::request::{Query, Target, Verb};
use crate::server::VERSION;

/// The content type of the text format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

type Labels = Vec<(&'static str, String)>;

/// The counters of one server.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    durations: Family<Labels, Histogram>,
    inflight: Family<Labels, Gauge>,
    long_running: Family<Labels, Gauge>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        // 5 ms to 20 s.
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(0.005, 2.0, 13));
        let durations = Family::new_with_constructor(buckets);
        let metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            durations,
            inflight: Family::default(),
            long_running: Family::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let build: Family<Labels, Gauge> = Family::default();
        let labels = [
            ("git_version", VERSION),
            ("major", "1"),
            ("minor", "36"),
            ("compiler", "rustc"),
            ("platform", "linux"),
        ];
        build.get_or_create(&labels.map(|(name, value)| (name, value.to_owned())).to_vec()).set(1);
        let to = &mut self.registry;
        // The encoder adds `_total`.
        to.register(
            "apiserver_request",
            "Requests answered, by verb, resource and code",
            self.requests.clone(),
        );
        to.register(
            "apiserver_request_duration_seconds",
            "Time to the answer of requests that are not long-running",
            self.durations.clone(),
        );
        to.register(
            "apiserver_current_inflight_requests",
            "Requests being answered that are not long-running, by kind",
            self.inflight.clone(),
        );
        to.register(
            "apiserver_longrunning_requests",
            "Watches and logs under way",
            self.long_running.clone(),
        );
        to.register("kubernetes_build_info", "The version served, as a label of the number 1", build);
        self
    }

    /// The page for a scrape.
    pub(crate) fn page(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_text::encode(&mut text, &self.registry);
        text
    }

    /// Begins to count a request; it counts as under way until the value is dropped.
    pub(crate) fn begin<B>(self: &Arc<Self>, kinds: &Kinds, request: &Request<B>) -> Observed {
        let labels = Described::of(kinds, request);
        let under_way = if labels.long_running {
            self.long_running.get_or_create(&labels.words.clone()).clone()
        } else {
            let kind = if labels.read_only { "readOnly" } else { "mutating" };
            self.inflight.get_or_create(&vec![("request_kind", kind.to_owned())]).clone()
        };
        under_way.inc();
        Observed { metrics: Arc::clone(self), labels, under_way }
    }
}

/// One request under way.
#[derive(Debug)]
pub(crate) struct Observed {
    metrics: Arc<Metrics>,
    labels: Described,
    under_way: Gauge,
}

impl Observed {
    /// Whether the answer goes on after its head.
    pub(crate) const fn is_long_running(&self) -> bool {
        self.labels.long_running
    }

    /// The request was answered with `code` after `took`.
    pub(crate) fn answered(&self, code: u16, took: Duration) {
        let mut labels = self.labels.words.clone();
        if !self.labels.long_running {
            self.metrics.durations.get_or_create(&labels).observe(took.as_secs_f64());
        }
        labels.push(("code", code.to_string()));
        self.metrics.requests.get_or_create(&labels).inc();
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.under_way.dec();
    }
}

/// A request as its labels say it. Their values come from what is served, so that no client makes new ones.
#[derive(Debug)]
struct Described {
    words: Labels,
    long_running: bool,
    read_only: bool,
}

impl Described {
    fn of<B>(kinds: &Kinds, request: &Request<B>) -> Self {
        let query = Query::of(request.uri());
        let read_only = matches!(*request.method(), Method::GET | Method::HEAD);
        let path = match Target::parse(request.uri().path()) {
            Target::Resource(path) if kinds.find(&path.group, &path.version, &path.resource).is_some() => {
                path
            }
            _ => {
                return Self {
                    words: words("", ["", "", "", "", ""], false),
                    long_running: false,
                    read_only,
                };
            }
        };
        let connects = matches!(path.subresource.as_str(), "exec" | "attach" | "portforward" | "proxy");
        let applies = request.headers().get(http::header::CONTENT_TYPE).is_some_and(|of| of == APPLY);
        let verb = match path.verb(request.method(), &query) {
            _ if connects => "CONNECT",
            Ok(Verb::Patch) if applies => "APPLY",
            Ok(Verb::Create) => "POST",
            Ok(Verb::Update) => "PUT",
            Ok(Verb::Patch) => "PATCH",
            Ok(Verb::Get) => "GET",
            Ok(Verb::List) => "LIST",
            Ok(Verb::Watch) => "WATCH",
            Ok(Verb::Delete) => "DELETE",
            Ok(Verb::DeleteCollection) => "DELETECOLLECTION",
            Err(_) => "OTHER",
        };
        let scope = match (path.name.as_str(), path.namespace.as_str()) {
            ("", "") => "cluster",
            ("", _) => "namespace",
            _ => "resource",
        };
        let known = kinds
            .find(&path.group, &path.version, &path.resource)
            .is_some_and(|kind| kind.subresource(&path.subresource).is_some());
        let subresource = if known { path.subresource.as_str() } else { "" };
        let long_running = connects || verb == "WATCH" || subresource == "log";
        let dry_run = query.find("dryRun").is_some();
        let words = words(verb, [&path.group, &path.version, &path.resource, subresource, scope], dry_run);
        Self { words, long_running, read_only }
    }
}

fn words(verb: &str, [group, version, resource, subresource, scope]: [&str; 5], dry_run: bool) -> Labels {
    let labels = [
        ("component", "apiserver"),
        ("dry_run", if dry_run { "All" } else { "" }),
        ("group", group),
        ("resource", resource),
        ("scope", scope),
        ("subresource", subresource),
        ("verb", verb),
        ("version", version),
    ];
    labels.map(|(name, value)| (name, value.to_owned())).to_vec()
}
