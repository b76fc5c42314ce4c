//! What the kubelet counts over time (N21, N22), under upstream's names. Gauges that are read off at a scrape are in
//! [`page`].

mod exposition;
mod measured;
mod page;
mod start_latency;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[cfg(test)]
pub(crate) use exposition::tests::read_strictly;
pub(crate) use exposition::{CONTENT_TYPE, Exposition, seconds};
pub(crate) use measured::MeasuredRuntime;
pub(crate) use page::page;
pub(crate) use start_latency::StartLatency;

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Histograms = Family<Labels, Histogram, Buckets>;

/// Which buckets the members of a family have.
#[derive(Clone, Copy, Debug)]
enum Buckets {
    /// 5 ms to 10 s, as `prometheus.DefBuckets`.
    Default,
    /// 0.5 s to an hour, for Pod starts.
    PodStart,
}

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        const POD_START: [f64; 23] = [
            0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0,
            360.0, 480.0, 600.0, 900.0, 1800.0, 3600.0,
        ];
        match self {
            Self::Default => Histogram::new(exponential_buckets(0.005, 2.0, 12)),
            Self::PodStart => Histogram::new(POD_START),
        }
    }
}

/// The counters. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    general: Registry,
    probes: Registry,
    runtime_operations: Counters,
    runtime_errors: Counters,
    runtime_durations: Histograms,
    relist: Histograms,
    run_sandbox: Histograms,
    worker: Histograms,
    start_sli: Histograms,
    start_total: Histograms,
    started_pods: Counters,
    started_pods_errors: Counters,
    restarted_pods: Counters,
    started_containers: Counters,
    started_containers_errors: Counters,
    evictions: Counters,
    http_requests: Counters,
    http_durations: Histograms,
    probe_total: Counters,
    probe_duration: Histograms,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut general = Registry::default();
        let mut probes = Registry::default();
        let counter = |to: &mut Registry, name: &str| {
            let family = Counters::default();
            to.register(name, help(name), family.clone());
            family
        };
        let histogram = |to: &mut Registry, name: &str, buckets| {
            let family = Histograms::new_with_constructor(buckets);
            to.register(name, help(name), family.clone());
            family
        };
        let (g, p) = (&mut general, &mut probes);
        let (usual, start) = (Buckets::Default, Buckets::PodStart);
        let inner = Inner {
            runtime_operations: counter(g, "kubelet_runtime_operations"),
            runtime_errors: counter(g, "kubelet_runtime_operations_errors"),
            runtime_durations: histogram(g, "kubelet_runtime_operations_duration_seconds", usual),
            relist: histogram(g, "kubelet_pleg_relist_duration_seconds", usual),
            run_sandbox: histogram(g, "kubelet_run_podsandbox_duration_seconds", usual),
            worker: histogram(g, "kubelet_pod_worker_duration_seconds", usual),
            start_sli: histogram(g, "kubelet_pod_start_sli_duration_seconds", start),
            start_total: histogram(g, "kubelet_pod_start_total_duration_seconds", start),
            started_pods: counter(g, "kubelet_started_pods"),
            started_pods_errors: counter(g, "kubelet_started_pods_errors"),
            restarted_pods: counter(g, "kubelet_restarted_pods"),
            started_containers: counter(g, "kubelet_started_containers"),
            started_containers_errors: counter(g, "kubelet_started_containers_errors"),
            evictions: counter(g, "kubelet_evictions"),
            http_requests: counter(g, "kubelet_http_requests"),
            http_durations: histogram(g, "kubelet_http_requests_duration_seconds", usual),
            probe_total: counter(p, "prober_probe"),
            probe_duration: histogram(p, "prober_probe_duration_seconds", usual),
            general,
            probes,
        };
        Self(Arc::new(inner))
    }

    /// One call of the runtime.
    fn runtime_operation(&self, operation: &'static str, took: Duration, failed: bool) {
        let labels = || vec![("operation_type", operation.to_owned())];
        self.0.runtime_operations.get_or_create(&labels()).inc();
        if failed {
            self.0.runtime_errors.get_or_create(&labels()).inc();
        }
        self.0.runtime_durations.get_or_create(&labels()).observe(took.as_secs_f64());
        match operation {
            "list_podsandbox" => self.0.relist.get_or_create(&vec![]).observe(took.as_secs_f64()),
            "run_podsandbox" => {
                self.0
                    .run_sandbox
                    .get_or_create(&vec![("runtime_handler", String::new())])
                    .observe(took.as_secs_f64());
            }
            _ => {}
        }
    }

    /// One turn of a worker; `operation` is `sync`, `terminating` or `terminated`.
    pub(crate) fn worker_turn(&self, operation: &'static str, took: Duration) {
        let labels = vec![("operation_type", operation.to_owned())];
        self.0.worker.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A Pod whose containers all run. `busy` is what pulls and init containers took of `total`.
    fn pod_started(&self, total: Duration, busy: Duration) {
        self.0.start_total.get_or_create(&vec![]).observe(total.as_secs_f64());
        self.0.start_sli.get_or_create(&vec![]).observe(total.saturating_sub(busy).as_secs_f64());
    }

    pub(crate) fn sandbox_started(&self, well: bool) {
        self.0.started_pods.get_or_create(&vec![]).inc();
        if !well {
            self.0.started_pods_errors.get_or_create(&vec![]).inc();
        }
    }

    pub(crate) fn static_pod_replaced(&self) {
        self.0.restarted_pods.get_or_create(&vec![("static", "true".to_owned())]).inc();
    }

    /// `failure` is the waiting reason of a start that failed.
    pub(crate) fn container_started(&self, role: outrigger_pod_lifecycle::Role, failure: Option<&str>) {
        use outrigger_pod_lifecycle::Role;
        let kind = match role {
            Role::App => "container",
            Role::Init | Role::Sidecar => "init_container",
            Role::Ephemeral => "ephemeral_container",
        };
        let labels = vec![("container_type", kind.to_owned())];
        self.0.started_containers.get_or_create(&labels).inc();
        if let Some(code) = failure {
            let labels = vec![("container_type", kind.to_owned()), ("code", code.to_owned())];
            self.0.started_containers_errors.get_or_create(&labels).inc();
        }
    }

    pub(crate) fn evicted(&self, signal: &str) {
        self.0.evictions.get_or_create(&vec![("eviction_signal", signal.to_owned())]).inc();
    }

    /// `path` is the route, not the whole path, so that the number of series is bounded.
    pub(crate) fn http_request(&self, method: &str, path: &str, long: bool, took: Duration) {
        let labels = vec![
            ("long_running", long.to_string()),
            ("method", method.to_owned()),
            ("path", path.to_owned()),
            ("server_type", "readwrite".to_owned()),
        ];
        self.0.http_requests.get_or_create(&labels).inc();
        self.0.http_durations.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// `result` is `successful`, `failed` or `unknown`.
    pub(crate) fn probed(&self, about: &Probed<'_>, result: &str, took: Duration) {
        let mut labels = about.labels();
        self.0.probe_duration.get_or_create(&labels).observe(took.as_secs_f64());
        labels.push(("pod_uid", about.pod_uid.to_owned()));
        labels.push(("result", result.to_owned()));
        self.0.probe_total.get_or_create(&labels).inc();
    }

    /// The series of a container that is gone are of no use to anybody.
    pub(crate) fn forget_probe(&self, about: &Probed<'_>) {
        for result in ["successful", "failed", "unknown"] {
            let mut labels = about.labels();
            labels.push(("pod_uid", about.pod_uid.to_owned()));
            labels.push(("result", result.to_owned()));
            self.0.probe_total.remove(&labels);
        }
        self.0.probe_duration.remove(&about.labels());
    }

    /// The counters of `/metrics` (N22).
    fn general_text(&self) -> String {
        encode(&self.0.general)
    }

    /// The page of `/metrics/probes` (N21).
    pub(crate) fn probes_text(&self) -> String {
        encode(&self.0.probes)
    }
}

fn encode(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = prometheus_text::encode(&mut text, registry);
    text
}

/// Which probe of which container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probed<'a> {
    pub(crate) container: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) pod: &'a str,
    pub(crate) pod_uid: &'a str,
    /// `Liveness`, `Readiness`, `Startup`.
    pub(crate) kind: &'a str,
}

impl Probed<'_> {
    fn labels(&self) -> Labels {
        let Self { container, namespace, pod, kind, .. } = self;
        [("probe_type", kind), ("container", container), ("pod", pod), ("namespace", namespace)]
            .into_iter()
            .map(|(name, value)| (name, (*value).to_owned()))
            .collect()
    }
}

/// What each family is, by name; counters get `_total` when they are written.
const HELP: [(&str, &str); 18] = [
    ("kubelet_runtime_operations", "Runtime operations by type"),
    ("kubelet_runtime_operations_errors", "Failed runtime operations by type"),
    ("kubelet_runtime_operations_duration_seconds", "Duration of runtime operations by type"),
    ("kubelet_pleg_relist_duration_seconds", "Duration of finding out what the runtime has of a Pod"),
    ("kubelet_run_podsandbox_duration_seconds", "Duration of starting sandboxes by runtime handler"),
    ("kubelet_pod_worker_duration_seconds", "Duration of one turn of a Pod's worker by operation type"),
    (
        "kubelet_pod_start_sli_duration_seconds",
        "Duration in seconds to start a pod, from its creation until all its containers run, without image pulls and init containers",
    ),
    (
        "kubelet_pod_start_total_duration_seconds",
        "Duration in seconds to start a pod, from its creation until all its containers run",
    ),
    ("kubelet_started_pods", "Sandboxes started"),
    ("kubelet_started_pods_errors", "Sandboxes that could not be started"),
    ("kubelet_restarted_pods", "Static Pods that were replaced by another version of themselves"),
    ("kubelet_started_containers", "Containers started by type"),
    ("kubelet_started_containers_errors", "Containers that could not be started by type and reason"),
    ("kubelet_evictions", "Pods evicted by eviction signal"),
    ("kubelet_http_requests", "HTTP requests received"),
    ("kubelet_http_requests_duration_seconds", "Duration of HTTP requests"),
    ("prober_probe", "Probes of containers by result"),
    ("prober_probe_duration_seconds", "Duration of probes"),
];

fn help(name: &str) -> &'static str {
    HELP.iter().find(|(known, _)| *known == name).map_or("", |(_, help)| help)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N21
    #[test]
    fn probes_are_counted_and_forgotten() {
        let metrics = Metrics::new();
        let about = Probed { container: "c", namespace: "n", pod: "p", pod_uid: "u", kind: "Liveness" };
        metrics.probed(&about, "failed", Duration::from_millis(3));
        let text = metrics.probes_text();
        let want = "prober_probe_total{probe_type=\"Liveness\",container=\"c\",pod=\"p\",namespace=\"n\",\
                    pod_uid=\"u\",result=\"failed\"} 1";
        assert!(text.contains(want), "{text}");
        assert!(read_strictly(&text).len() > 5);
        metrics.forget_probe(&about);
        assert!(!metrics.probes_text().contains("Liveness"));
    }

    /// N22
    #[test]
    fn operations_are_counted_under_upstreams_names() {
        let metrics = Metrics::new();
        metrics.runtime_operation("run_podsandbox", Duration::from_millis(7), true);
        metrics.container_started(outrigger_pod_lifecycle::Role::App, Some("RunContainerError"));
        let all = read_strictly(&metrics.general_text());
        for series in [
            "kubelet_runtime_operations_total{operation_type=\"run_podsandbox\"}",
            "kubelet_runtime_operations_errors_total{operation_type=\"run_podsandbox\"}",
            "kubelet_runtime_operations_duration_seconds_count{operation_type=\"run_podsandbox\"}",
            "kubelet_run_podsandbox_duration_seconds_count{runtime_handler=\"\"}",
            "kubelet_started_containers_total{container_type=\"container\"}",
            "kubelet_started_containers_errors_total{container_type=\"container\",code=\"RunContainerError\"}",
        ] {
            assert!(all.iter().any(|(name, value)| name == series && *value > 0.0), "{series} in {all:?}");
        }
    }
}
