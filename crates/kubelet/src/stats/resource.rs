//! `/metrics/resource` (N20): what metrics servers scrape.

use outrigger_runtime::RuntimeError;

use super::{Sample, container_labels};
use crate::metrics::{Exposition, seconds};

/// The page; without a sample it says only that there was an error.
pub(crate) fn page(sample: &Result<Sample, RuntimeError>) -> String {
    let mut page = Exposition::default();
    if let Ok(sample) = sample {
        containers(&mut page, sample);
        node(&mut page, sample);
        pods(&mut page, sample);
    }
    let error = u8::from(sample.is_err());
    page.family(
        "resource_scrape_error",
        "gauge",
        "1 if there was an error while getting metrics, 0 otherwise",
    );
    page.sample(&[], error, None);
    page.finish()
}

fn containers(page: &mut Exposition, sample: &Sample) {
    let all =
        || sample.pods.iter().flat_map(|pod| pod.stats.containers.iter().map(move |it| (&pod.stats, it)));
    let at = Some(sample.at);
    page.family(
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
    );
    for (pod, container) in all() {
        if let Some(cpu) = container.usage.cpu {
            page.sample(&container_labels(pod, container), seconds(cpu.total), at);
        }
    }
    page.family(
        "container_memory_working_set_bytes",
        "gauge",
        "Current working set of the container in bytes",
    );
    for (pod, container) in all() {
        if let Some(memory) = container.usage.memory {
            page.sample(&container_labels(pod, container), memory.working_set, at);
        }
    }
    page.family(
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds",
    );
    for (pod, container) in all() {
        page.sample(&container_labels(pod, container), container.started_at.as_duration().as_secs_f64(), at);
    }
    page.family(
        "container_swap_usage_bytes",
        "gauge",
        "Current amount of the container swap usage in bytes. Reported only on non-windows systems",
    );
    for (pod, container) in all() {
        if let Some(memory) = container.usage.memory {
            page.sample(&container_labels(pod, container), memory.swap, at);
        }
    }
}

fn node(page: &mut Exposition, sample: &Sample) {
    let (node, at) = (&sample.node, Some(sample.at));
    page.family(
        "node_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the node in core-seconds",
    )
    .sample(&[], seconds(node.cpu.total), at);
    page.family("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes").sample(
        &[],
        node.memory.working_set,
        at,
    );
    page.family(
        "node_swap_usage_bytes",
        "gauge",
        "Current swap usage of the node in bytes. Reported only on non-windows systems",
    )
    .sample(&[], node.memory.swap, at);
}

fn pods(page: &mut Exposition, sample: &Sample) {
    let at = Some(sample.at);
    let all = || {
        sample.pods.iter().map(|pod| {
            let of = &pod.stats;
            ([("namespace", of.pod.namespace.as_str()), ("pod", of.pod.name.as_str())], of.usage)
        })
    };
    page.family(
        "pod_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the pod in core-seconds",
    );
    for (labels, usage) in all() {
        if let Some(cpu) = usage.cpu {
            page.sample(&labels, seconds(cpu.total), at);
        }
    }
    page.family("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes");
    for (labels, usage) in all() {
        if let Some(memory) = usage.memory {
            page.sample(&labels, memory.working_set, at);
        }
    }
    page.family(
        "pod_swap_usage_bytes",
        "gauge",
        "Current amount of the pod swap usage in bytes. Reported only on non-windows systems",
    );
    for (labels, usage) in all() {
        if let Some(memory) = usage.memory {
            page.sample(&labels, memory.swap, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::read_strictly;

    /// N20
    #[test]
    fn what_metrics_servers_read_is_there() {
        let text = page(&Ok(super::super::tests::example()));
        let all = read_strictly(&text);
        let value = |series: &str| all.iter().find(|(name, _)| name == series).map(|(_, value)| *value);
        let container = "{container=\"app\",namespace=\"default\",pod=\"p\"}";
        assert_eq!(value(&format!("container_cpu_usage_seconds_total{container}")), Some(2.0));
        assert_eq!(value(&format!("container_memory_working_set_bytes{container}")), Some(1000.0));
        assert_eq!(value(&format!("container_swap_usage_bytes{container}")), Some(0.0));
        assert_eq!(value(&format!("container_start_time_seconds{container}")), Some(1_767_323_045.0));
        assert_eq!(value("pod_cpu_usage_seconds_total{namespace=\"default\",pod=\"p\"}"), Some(4.0));
        assert_eq!(value("pod_memory_working_set_bytes{namespace=\"default\",pod=\"p\"}"), Some(2000.0));
        assert!(value("node_cpu_usage_seconds_total").unwrap() > 0.0);
        assert!(value("node_memory_working_set_bytes").unwrap() > 0.0);
        assert_eq!(value("resource_scrape_error"), Some(0.0));
        assert!(text.lines().any(|line| line.ends_with(" 1767323045000")), "{text}");
        let broken = page(&Err(RuntimeError::SandboxGone("u".into())));
        assert_eq!(read_strictly(&broken), [("resource_scrape_error".to_owned(), 1.0)]);
    }
}
