//! `/metrics/cadvisor` (N24): the families dashboards use. The network is counted on the Pod, with cAdvisor's labels
//! for its sandbox.

use outrigger_runtime::{CpuUsage, Interface, MemoryUsage, Usage};

use super::Sample;
use crate::container::{container_resources, find, labels};
use crate::context::Context;
use crate::metrics::{Exposition, seconds};

/// cAdvisor's labels, in order of name.
type Labels<'a> = [(&'a str, &'a str); 6];

/// What one group's samples carry.
struct Group<'a> {
    labels: Labels<'a>,
    usage: Usage,
    started: f64,
    resources: Option<outrigger_runtime::Resources>,
}

/// The page. `images` gives a running instance's image.
pub(crate) fn page(sample: &Sample, images: &std::collections::HashMap<String, String>) -> String {
    let ids: Vec<String> = sample.pods.iter().map(|pod| format!("/{}", pod.stats.cgroup)).collect();
    let container_ids: Vec<Vec<String>> = sample
        .pods
        .iter()
        .map(|pod| pod.stats.containers.iter().map(|it| format!("/{}/{}", pod.stats.cgroup, it.id)).collect())
        .collect();
    let mut groups = Vec::new();
    let mut networks = Vec::new();
    for (at, pod) in sample.pods.iter().enumerate() {
        let of = &pod.stats;
        let base = |container, id, image, name| {
            [
                ("container", container),
                ("id", id),
                ("image", image),
                ("name", name),
                ("namespace", of.pod.namespace.as_str()),
                ("pod", of.pod.name.as_str()),
            ]
        };
        let labels = base("", &ids[at], "", "");
        let started = of.created_at.as_duration().as_secs_f64();
        networks.push((labels, &of.interfaces));
        groups.push(Group { labels, usage: of.usage, started, resources: None });
        for (container, id) in of.containers.iter().zip(&container_ids[at]) {
            let resources = pod.pod.as_ref().and_then(|pod| {
                let entry = find(pod, &container.name)?;
                Some(container_resources(pod, &entry.container))
            });
            let image = images.get(&container.id).map_or("", String::as_str);
            groups.push(Group {
                labels: base(&container.name, id, image, &container.id),
                usage: container.usage,
                started: container.started_at.as_duration().as_secs_f64(),
                resources,
            });
        }
    }
    let root = [("container", ""), ("id", "/"), ("image", ""), ("name", ""), ("namespace", ""), ("pod", "")];
    let usage = Usage {
        cpu: Some(sample.node.cpu),
        memory: Some(sample.node.memory),
        tasks: Some(sample.node.tasks),
        io: None,
    };
    groups.push(Group { labels: root, usage, started: 0.0, resources: None });
    let mut page = Exposition::default();
    cpu(&mut page, sample, &groups);
    memory(&mut page, sample, &groups);
    network(&mut page, sample, &networks);
    disks(&mut page, sample, &groups);
    specs(&mut page, sample, &groups);
    machine(&mut page);
    page.finish()
}

/// The image of every running instance.
pub(crate) async fn images(context: &Context) -> std::collections::HashMap<String, String> {
    let sandboxes = context.runtime.list().await.unwrap_or_default();
    let all = sandboxes.into_iter().flat_map(|sandbox| sandbox.containers);
    all.map(|it| (it.id.clone(), it.labels.get(labels::IMAGE).cloned().unwrap_or_default())).collect()
}

fn cpu(page: &mut Exposition, sample: &Sample, groups: &[Group<'_>]) {
    type Get = fn(&CpuUsage) -> f64;
    #[expect(clippy::cast_precision_loss, reason = "counts of periods")]
    let families: [(&str, &str, Get); 6] = [
        ("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", |it| {
            seconds(it.total)
        }),
        ("container_cpu_user_seconds_total", "Cumulative user cpu time consumed in seconds.", |it| {
            seconds(it.user)
        }),
        ("container_cpu_system_seconds_total", "Cumulative system cpu time consumed in seconds.", |it| {
            seconds(it.system)
        }),
        ("container_cpu_cfs_periods_total", "Number of elapsed enforcement period intervals.", |it| {
            it.periods as f64
        }),
        ("container_cpu_cfs_throttled_periods_total", "Number of throttled period intervals.", |it| {
            it.throttled_periods as f64
        }),
        (
            "container_cpu_cfs_throttled_seconds_total",
            "Total time duration the container has been throttled.",
            |it| seconds(it.throttled),
        ),
    ];
    for (name, help, get) in families {
        page.family(name, "counter", help);
        for (group, cpu) in groups.iter().filter_map(|group| Some((group, group.usage.cpu?))) {
            // Without a quota there are no periods to count.
            if name.contains("_cfs_") && cpu.periods == 0 {
                continue;
            }
            if name == "container_cpu_usage_seconds_total" {
                let mut labels = group.labels.to_vec();
                labels.insert(1, ("cpu", "total"));
                page.sample(&labels, get(&cpu), Some(sample.at));
            } else {
                page.sample(&group.labels, get(&cpu), Some(sample.at));
            }
        }
    }
}

fn memory(page: &mut Exposition, sample: &Sample, groups: &[Group<'_>]) {
    type Get = fn(&MemoryUsage) -> u64;
    let families: [(&str, &str, &str, Get); 6] = [
        (
            "container_memory_usage_bytes",
            "gauge",
            "Current memory usage in bytes, including all memory regardless of when it was accessed",
            |it| it.usage,
        ),
        ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", |it| it.working_set),
        ("container_memory_rss", "gauge", "Size of RSS in bytes.", |it| it.rss),
        ("container_memory_cache", "gauge", "Number of bytes of page cache memory.", |it| it.cache),
        ("container_memory_swap", "gauge", "Container swap usage in bytes.", |it| it.swap),
        ("container_memory_failcnt", "counter", "Number of memory usage hits limits", |it| it.failures),
    ];
    for (name, kind, help, get) in families {
        page.family(name, kind, help);
        for (group, memory) in groups.iter().filter_map(|group| Some((group, group.usage.memory?))) {
            page.sample(&group.labels, get(&memory), Some(sample.at));
        }
    }
}

fn network(page: &mut Exposition, sample: &Sample, pods: &[(Labels<'_>, &Vec<Interface>)]) {
    let root = [("container", ""), ("id", "/"), ("image", ""), ("name", ""), ("namespace", ""), ("pod", "")];
    for (direction, words) in [("receive", "received"), ("transmit", "transmitted")] {
        for (at, what) in ["bytes", "packets", "errors", "packets_dropped"].into_iter().enumerate() {
            let name = format!("container_network_{direction}_{what}_total");
            page.family(&name, "counter", &format!("Cumulative count of {} {words}", what.replace('_', " ")));
            for (labels, interfaces) in pods.iter().copied().chain([(root, &sample.node.interfaces)]) {
                for interface in interfaces {
                    let mut labels = labels.to_vec();
                    labels.insert(3, ("interface", &interface.name));
                    let counts =
                        if direction == "receive" { interface.received } else { interface.transmitted };
                    page.sample(&labels, counts[at], Some(sample.at));
                }
            }
        }
    }
}

fn disks(page: &mut Exposition, sample: &Sample, groups: &[Group<'_>]) {
    let at = Some(sample.at);
    for (name, help, read) in [
        ("container_fs_reads_bytes_total", "Cumulative count of bytes read", true),
        ("container_fs_writes_bytes_total", "Cumulative count of bytes written", false),
    ] {
        page.family(name, "counter", help);
        for (group, io) in groups.iter().filter_map(|group| Some((group, group.usage.io?))) {
            page.sample(&group.labels, if read { io.read } else { io.written }, at);
        }
    }
    page.family(
        "container_fs_usage_bytes",
        "gauge",
        "Number of bytes that are consumed by the container on this filesystem.",
    );
    for group in groups {
        let name = group.labels[3].1;
        let found = sample.pods.iter().find_map(|pod| pod.disks.writable.get(name));
        if let Some(usage) = found {
            page.sample(&group.labels, usage.bytes, at);
        }
    }
    let root = [("container", ""), ("id", "/"), ("image", ""), ("name", ""), ("namespace", ""), ("pod", "")];
    page.sample(&root, sample.node_fs.used, at);
    page.family(
        "container_fs_limit_bytes",
        "gauge",
        "Number of bytes that can be consumed by the container on this filesystem.",
    );
    page.sample(&root, sample.node_fs.capacity, at);
}

fn specs(page: &mut Exposition, sample: &Sample, groups: &[Group<'_>]) {
    let at = Some(sample.at);
    page.family("container_last_seen", "gauge", "Last time a container was seen by the exporter");
    for group in groups {
        page.sample(&group.labels, sample.at.as_second(), at);
    }
    page.family(
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds.",
    );
    for group in groups.iter().filter(|group| group.started > 0.0) {
        page.sample(&group.labels, group.started, at);
    }
    page.family("container_threads", "gauge", "Number of threads running inside the container");
    for (group, tasks) in groups.iter().filter_map(|group| Some((group, group.usage.tasks?))) {
        page.sample(&group.labels, tasks, at);
    }
    let with = || groups.iter().filter_map(|group| Some((group, group.resources.as_ref()?)));
    page.family("container_spec_cpu_period", "gauge", "CPU period of the container.");
    for (group, _) in with().filter(|(_, it)| it.cpu_quota.is_some()) {
        page.sample(&group.labels, 100_000, at);
    }
    page.family("container_spec_cpu_quota", "gauge", "CPU quota of the container.");
    for (group, resources) in with() {
        if let Some(quota) = resources.cpu_quota {
            page.sample(&group.labels, quota, at);
        }
    }
    page.family("container_spec_cpu_shares", "gauge", "CPU share of the container.");
    for (group, resources) in with() {
        page.sample(&group.labels, resources.cpu_shares.unwrap_or(2), at);
    }
    page.family("container_spec_memory_limit_bytes", "gauge", "Memory limit for the container.");
    for (group, resources) in with() {
        page.sample(&group.labels, resources.memory_limit.unwrap_or(0), at);
    }
}

fn machine(page: &mut Exposition) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    page.family("machine_cpu_cores", "gauge", "Number of logical CPU cores.").sample(&[], cores, None);
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    page.family("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.").sample(
        &[],
        kib("MemTotal:") * 1024,
        None,
    );
    page.family("machine_swap_bytes", "gauge", "Amount of swap memory available on the machine.").sample(
        &[],
        kib("SwapTotal:") * 1024,
        None,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::read_strictly;

    /// N24
    #[test]
    fn the_families_of_dashboards_are_there() {
        let images = std::collections::HashMap::from([("c1".to_owned(), "docker.io/library/x:1".to_owned())]);
        let all = read_strictly(&page(&super::super::tests::example(), &images));
        let value = |series: &str| all.iter().find(|(name, _)| name == series).map(|(_, value)| *value);
        let tail = "image=\"docker.io/library/x:1\",name=\"c1\",namespace=\"default\",pod=\"p\"}";
        let id = "id=\"/kubepods/podu/c1\"";
        assert_eq!(
            value(&format!("container_cpu_usage_seconds_total{{container=\"app\",cpu=\"total\",{id},{tail}")),
            Some(2.0)
        );
        assert_eq!(
            value(&format!("container_memory_working_set_bytes{{container=\"app\",{id},{tail}")),
            Some(1000.0)
        );
        assert_eq!(value(&format!("container_fs_usage_bytes{{container=\"app\",{id},{tail}")), Some(4096.0));
        let pod = "{container=\"\",id=\"/kubepods/podu\",image=\"\",interface=\"eth0\",name=\"\",namespace=\"default\",pod=\"p\"}";
        assert_eq!(value(&format!("container_network_receive_bytes_total{pod}")), Some(10.0));
        assert_eq!(value(&format!("container_network_transmit_packets_dropped_total{pod}")), Some(6.0));
        assert!(value("machine_cpu_cores").unwrap() >= 1.0);
    }
}
