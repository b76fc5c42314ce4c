//! Which of the node's paths a request is for, and what it takes to be allowed there (N1 to N4). Pure.

use http::Method;
use outrigger_streaming::agent::ContainerTarget;

/// A path of the node's HTTPS API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Exec(ContainerTarget),
    Attach(ContainerTarget),
    PortForward(ContainerTarget),
    Run(ContainerTarget),
    ContainerLogs(ContainerTarget),
    Pods,
    RunningPods,
    Configz,
    /// Empty for all checks, else one of `ping`, `log`, `syncloop`.
    Healthz(String),
    Logs,
    Summary,
    Metrics,
    MetricsCadvisor,
    MetricsResource,
    MetricsProbes,
    Checkpoint(ContainerTarget),
    /// Not upstream's: what was decided about a Pod (`outrigger why`, `outrigger timeline`).
    Timeline(ContainerTarget),
}

impl Route {
    /// `None` if there is nothing at this path.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let parts: Vec<String> = path.trim_matches('/').split('/').map(percent).collect::<Option<_>>()?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (first, rest) = parts.split_first()?;
        let target = |namespace: &str, pod: &str, uid: &str, container: &str| ContainerTarget {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            uid: uid.to_owned(),
            container: container.to_owned(),
        };
        let of_container = || match rest {
            [namespace, pod, container] => Some(target(namespace, pod, "", container)),
            [namespace, pod, uid, container] => Some(target(namespace, pod, uid, container)),
            _ => None,
        };
        let of_pod = || match rest {
            [namespace, pod] => Some(target(namespace, pod, "", "")),
            [namespace, pod, uid] => Some(target(namespace, pod, uid, "")),
            _ => None,
        };
        let three = || of_container().filter(|_| rest.len() == 3);
        match (*first, rest) {
            ("exec", _) => of_container().map(Self::Exec),
            ("attach", _) => of_container().map(Self::Attach),
            ("run", _) => of_container().map(Self::Run),
            ("portForward", _) => of_pod().map(Self::PortForward),
            ("containerLogs", _) => three().map(Self::ContainerLogs),
            ("timeline", _) => of_pod().map(Self::Timeline),
            ("checkpoint", _) => three().map(Self::Checkpoint),
            ("pods", []) => Some(Self::Pods),
            ("runningpods", []) => Some(Self::RunningPods),
            ("configz", []) => Some(Self::Configz),
            ("healthz", []) => Some(Self::Healthz(String::new())),
            ("healthz", [check]) => Some(Self::Healthz((*check).to_owned())),
            ("logs", _) => Some(Self::Logs),
            ("stats", ["summary"]) => Some(Self::Summary),
            ("metrics", []) => Some(Self::Metrics),
            ("metrics", ["cadvisor"]) => Some(Self::MetricsCadvisor),
            ("metrics", ["resource"]) => Some(Self::MetricsResource),
            ("metrics", ["probes"]) => Some(Self::MetricsProbes),
            _ => None,
        }
    }

    /// The label of `kubelet_http_requests_total`: the first part of the path.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Attach(_) => "attach",
            Self::PortForward(_) => "portForward",
            Self::Run(_) => "run",
            Self::ContainerLogs(_) => "containerLogs",
            Self::Pods => "pods",
            Self::RunningPods => "runningpods",
            Self::Configz => "configz",
            Self::Healthz(_) => "healthz",
            Self::Logs => "logs",
            Self::Summary => "stats",
            Self::Metrics => "metrics",
            Self::MetricsCadvisor => "metrics/cadvisor",
            Self::MetricsResource => "metrics/resource",
            Self::MetricsProbes => "metrics/probes",
            Self::Checkpoint(_) => "checkpoint",
            Self::Timeline(_) => "timeline",
        }
    }

    /// Whether its answers last as long as something else does.
    pub(super) const fn is_long(&self) -> bool {
        matches!(
            self,
            Self::Exec(_) | Self::Attach(_) | Self::PortForward(_) | Self::Run(_) | Self::ContainerLogs(_)
        )
    }
}

/// One path segment without its percent signs; `None` if it is no UTF-8.
fn percent(part: &str) -> Option<String> {
    if !part.contains('%') {
        return Some(part.to_owned());
    }
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The verb and the subresources of `nodes` of which one must be allowed (N4).
pub(super) fn permission(method: &Method, path: &str) -> (&'static str, Vec<&'static str>) {
    let verb = match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    };
    let below =
        |prefix: &str| path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
    let subresources = if below("/stats") {
        vec!["stats"]
    } else if below("/metrics") {
        vec!["metrics"]
    } else if below("/logs") {
        vec!["log"]
    } else if below("/checkpoint") {
        vec!["checkpoint"]
    } else if below("/pods") || below("/runningpods") || below("/timeline") {
        vec!["pods", "proxy"]
    } else if below("/healthz") {
        vec!["healthz", "proxy"]
    } else if below("/configz") {
        vec!["configz", "proxy"]
    } else {
        vec!["proxy"]
    };
    (verb, subresources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uid: &str, container: &str) -> ContainerTarget {
        let (namespace, pod) = ("ns".to_owned(), "p".to_owned());
        ContainerTarget { namespace, pod, uid: uid.to_owned(), container: container.to_owned() }
    }

    /// N1, N2, N3
    #[test]
    fn paths() {
        let route = |path: &str| Route::parse(path);
        assert_eq!(route("/exec/ns/p/c"), Some(Route::Exec(target("", "c"))));
        assert_eq!(route("/exec/ns/p/u/c"), Some(Route::Exec(target("u", "c"))));
        assert_eq!(route("/attach/ns/p/u/c"), Some(Route::Attach(target("u", "c"))));
        assert_eq!(route("/run/ns/p/c"), Some(Route::Run(target("", "c"))));
        assert_eq!(route("/portForward/ns/p"), Some(Route::PortForward(target("", ""))));
        assert_eq!(route("/portForward/ns/p/u"), Some(Route::PortForward(target("u", ""))));
        assert_eq!(route("/containerLogs/ns/p/c"), Some(Route::ContainerLogs(target("", "c"))));
        assert_eq!(route("/containerLogs/ns/p/u/c"), None);
        assert_eq!(route("/timeline/ns/p"), Some(Route::Timeline(target("", ""))));
        assert_eq!(route("/timeline/ns/p/u"), Some(Route::Timeline(target("u", ""))));
        assert_eq!(route("/checkpoint/ns/p/c"), Some(Route::Checkpoint(target("", "c"))));
        assert_eq!(route("/runningpods/"), Some(Route::RunningPods));
        assert_eq!(route("/healthz/syncloop"), Some(Route::Healthz("syncloop".into())));
        assert_eq!(route("/stats/summary"), Some(Route::Summary));
        assert_eq!(route("/metrics/cadvisor"), Some(Route::MetricsCadvisor));
        for nothing in ["/", "/pods/x", "/metrics/other", "/exec/ns/p", "/stats", "/exec/%zz/p/c"] {
            assert_eq!(route(nothing), None, "{nothing}");
        }
    }

    /// N4
    #[test]
    fn permissions() {
        let of = |method: Method, path: &str| permission(&method, path);
        assert_eq!(of(Method::GET, "/stats/summary"), ("get", vec!["stats"]));
        assert_eq!(of(Method::GET, "/metrics/resource"), ("get", vec!["metrics"]));
        assert_eq!(of(Method::GET, "/logs/messages"), ("get", vec!["log"]));
        assert_eq!(of(Method::POST, "/checkpoint/n/p/c"), ("create", vec!["checkpoint"]));
        assert_eq!(of(Method::GET, "/runningpods/"), ("get", vec!["pods", "proxy"]));
        assert_eq!(of(Method::GET, "/timeline/n/p"), ("get", vec!["pods", "proxy"]));
        assert_eq!(of(Method::GET, "/healthz/ping"), ("get", vec!["healthz", "proxy"]));
        assert_eq!(of(Method::PUT, "/configz"), ("update", vec!["configz", "proxy"]));
        assert_eq!(of(Method::POST, "/exec/n/p/c"), ("create", vec!["proxy"]));
        assert_eq!(of(Method::DELETE, "/statsother"), ("delete", vec!["proxy"]));
        assert_eq!(of(Method::PATCH, "/"), ("patch", vec!["proxy"]));
    }
}
