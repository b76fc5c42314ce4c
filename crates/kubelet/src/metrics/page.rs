//! The page of `/metrics` (N22): what was counted, and what is so at this moment.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use outrigger_runtime::{CgroupLayout, ContainerState, Sandbox};

use super::Exposition;
use crate::context::Context;
use crate::pod_table::{is_finished, is_static};

/// The whole page.
pub(crate) async fn page(context: &Context) -> String {
    let sandboxes = context.runtime.list().await.unwrap_or_default();
    let mut page = Exposition::default();
    gauges(&mut page, &sandboxes, &context.pods.pods(), &context.config.node_name);
    process(&mut page);
    context.metrics.general_text() + &page.finish()
}

fn gauges(page: &mut Exposition, sandboxes: &[Sandbox], pods: &[Arc<Pod>], node: &str) {
    page.family("kubelet_node_name", "gauge", "The node's name. The count is always 1.").sample(
        &[("node", node)],
        1,
        None,
    );
    page.family(
        "kubelet_cgroup_version",
        "gauge",
        "The version of control groups on this machine, 0 for none.",
    )
    .sample(&[], CgroupLayout::detect().version(), None);
    let ready = sandboxes.iter().filter(|sandbox| sandbox.ready).count();
    page.family("kubelet_running_pods", "gauge", "Pods that have a running sandbox.").sample(
        &[],
        ready,
        None,
    );
    page.family("kubelet_running_containers", "gauge", "Containers by state.");
    let states =
        sandboxes.iter().flat_map(|sandbox| &sandbox.containers).map(|container| match container.state {
            ContainerState::Created => "created",
            ContainerState::Running { .. } => "running",
            ContainerState::Exited(_) => "exited",
            ContainerState::Unknown => "unknown",
        });
    let states: Vec<&str> = states.collect();
    for state in ["created", "exited", "running", "unknown"] {
        let count = states.iter().filter(|it| **it == state).count();
        if count > 0 || state == "running" {
            page.sample(&[("container_state", state)], count, None);
        }
    }
    pods_by_stage(page, pods);
}

/// Pods by what is wanted of them, those from files apart.
fn pods_by_stage(page: &mut Exposition, pods: &[Arc<Pod>]) {
    let flag = |of_file: bool| if of_file { "true" } else { "" };
    let count = |of_file: bool, test: &dyn Fn(&Pod) -> bool| {
        pods.iter().filter(|pod| is_static(pod) == of_file && test(pod)).count()
    };
    page.family(
        "kubelet_desired_pods",
        "gauge",
        "Pods this node is told to run; static is true for those from files.",
    );
    for of_file in [false, true] {
        page.sample(
            &[("static", flag(of_file))],
            count(of_file, &|pod| pod.metadata.deletion_timestamp.is_none()),
            None,
        );
    }
    page.family(
        "kubelet_active_pods",
        "gauge",
        "Pods that are not over; static is true for those from files.",
    );
    for of_file in [false, true] {
        page.sample(&[("static", flag(of_file))], count(of_file, &|pod| !is_finished(pod)), None);
    }
    page.family("kubelet_working_pods", "gauge", "Pods by where they are in their life.");
    type Stage = fn(&Pod) -> bool;
    let stages: [(&str, Stage); 3] = [
        ("sync", |pod| !is_finished(pod) && pod.metadata.deletion_timestamp.is_none()),
        ("terminating", |pod| !is_finished(pod) && pod.metadata.deletion_timestamp.is_some()),
        ("terminated", is_finished),
    ];
    for (name, test) in stages {
        for of_file in [false, true] {
            let labels = [("config", "desired"), ("lifecycle", name), ("static", flag(of_file))];
            page.sample(&labels, count(of_file, &test), None);
        }
    }
}

/// `process_*`, as Prometheus' client libraries define them.
fn process(page: &mut Exposition) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let stat = read("stat");
    // The second field is a name in brackets that may hold blanks.
    let fields: Vec<u64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect())
        .unwrap_or_default();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    let ticks = |count: u64| super::seconds(count * 10_000_000);
    let boot = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let limits = read("limits");
    let most = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse::<u64>().ok());
    let page_size = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    page.family(
        "process_cpu_seconds_total",
        "counter",
        "User and system CPU time of this process in seconds.",
    )
    .sample(&[], ticks(field(14) + field(15)), None);
    page.family("process_resident_memory_bytes", "gauge", "Resident memory in bytes.").sample(
        &[],
        field(24) * page_size,
        None,
    );
    page.family("process_virtual_memory_bytes", "gauge", "Virtual memory in bytes.").sample(
        &[],
        field(23),
        None,
    );
    page.family("process_start_time_seconds", "gauge", "Start time since the epoch in seconds.").sample(
        &[],
        boot.unwrap_or(0.0) + ticks(field(22)),
        None,
    );
    page.family("process_open_fds", "gauge", "Open file descriptors.").sample(&[], open, None);
    page.family("process_max_fds", "gauge", "The most file descriptors there may be.").sample(
        &[],
        most.unwrap_or(0),
        None,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::read_strictly;

    /// N22
    #[test]
    fn gauges_are_well_formed_and_real() {
        let pods: Vec<Arc<Pod>> = vec![Arc::default()];
        let mut text = Exposition::default();
        gauges(&mut text, &[], &pods, "n");
        process(&mut text);
        let all = read_strictly(&text.finish());
        let value = |series: &str| all.iter().find(|(name, _)| name == series).unwrap().1;
        assert_eq!(value("kubelet_node_name{node=\"n\"}"), 1.0);
        assert_eq!(value("kubelet_desired_pods{static=\"\"}"), 1.0);
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_start_time_seconds") > 1.6e9);
        assert!(value("process_open_fds") >= 3.0);
    }
}
