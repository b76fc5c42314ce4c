//! `/stats/summary` (N23), `k8s.io/kubelet/pkg/apis/stats/v1alpha1`.

use outrigger_api::WallTime;
use outrigger_runtime::{ContainerStats, CpuUsage, Interface, MemoryUsage, Usage};
use serde_json::{Map, Value, json};

use super::disk::DiskUsage;
use super::node::FsUsage;
use super::{PodSample, Sample};

/// What a summary says of the node itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub(crate) node_name: &'a str,
    /// When the machine started.
    pub(crate) boot: WallTime,
    /// `?only_cpu_and_memory=true`.
    pub(crate) only_cpu_and_memory: bool,
}

/// The whole object.
pub(crate) fn summary(sample: &Sample, about: About<'_>) -> Value {
    let pods: Vec<Value> = sample.pods.iter().map(|pod| of_pod(sample, pod, about)).collect();
    json!({ "node": of_node(sample, about), "pods": pods })
}

fn of_node(sample: &Sample, about: About<'_>) -> Value {
    let at = sample.at;
    let node = &sample.node;
    let mut memory = memory(&node.memory, at);
    memory["availableBytes"] = json!(node.memory_available);
    let mut object = json!({
        "nodeName": about.node_name,
        "systemContainers": [],
        "startTime": time(about.boot),
        "cpu": cpu(node.cpu, sample.rates.get("/"), at),
        "memory": memory,
        "swap": { "time": time(at), "swapUsageBytes": node.memory.swap,
            "swapAvailableBytes": node.swap_total.saturating_sub(node.memory.swap) },
    });
    if !about.only_cpu_and_memory {
        object["network"] = network(&node.interfaces, at);
        object["fs"] = of_fs(&sample.node_fs, sample.node_fs.used, None, at);
        let images = of_fs(&sample.image_fs, sample.image_fs.used, None, at);
        object["runtime"] = json!({ "imageFs": images.clone(), "containerFs": images });
        object["rlimit"] = json!({ "time": time(at), "maxpid": node.most_tasks, "curproc": node.tasks });
    }
    object
}

fn of_pod(sample: &Sample, pod: &PodSample, about: About<'_>) -> Value {
    let (stats, at) = (&pod.stats, sample.at);
    let containers: Vec<Value> =
        stats.containers.iter().map(|it| of_container(sample, pod, it, about)).collect();
    let mut object = json!({
        "podRef": { "name": stats.pod.name, "namespace": stats.pod.namespace, "uid": stats.pod.uid },
        "startTime": time(stats.created_at),
        "containers": containers,
    });
    add_usage(&mut object, &stats.usage, sample.rates.get(&stats.id), at);
    if about.only_cpu_and_memory {
        return object;
    }
    if !stats.interfaces.is_empty() {
        object["network"] = network(&stats.interfaces, at);
    }
    let volumes = pod.disks.volumes.iter().map(|(name, usage)| {
        let mut volume = of_fs(&sample.node_fs, usage.bytes, Some(*usage), at);
        volume["name"] = json!(name);
        volume
    });
    let volumes: Vec<Value> = volumes.collect();
    if !volumes.is_empty() {
        object["volume"] = json!(volumes);
    }
    let total = pod.disks.total();
    object["ephemeral-storage"] = of_fs(&sample.node_fs, total.bytes, Some(total), at);
    object["process_stats"] = json!({ "process_count": stats.usage.tasks.unwrap_or(0) });
    object
}

fn of_container(sample: &Sample, pod: &PodSample, container: &ContainerStats, about: About<'_>) -> Value {
    let at = sample.at;
    let mut object = json!({ "name": container.name, "startTime": time(container.started_at) });
    add_usage(&mut object, &container.usage, sample.rates.get(&container.id), at);
    if about.only_cpu_and_memory {
        return object;
    }
    let part = |of: Option<&DiskUsage>, fs: &FsUsage| {
        let usage = of.copied().unwrap_or_default();
        of_fs(fs, usage.bytes, Some(usage), at)
    };
    object["rootfs"] = part(pod.disks.writable.get(&container.id), &sample.node_fs);
    object["logs"] = part(pod.disks.logs.get(&container.name), &sample.node_fs);
    object
}

fn add_usage(object: &mut Value, usage: &Usage, rate: Option<&u64>, at: WallTime) {
    if let Some(used) = usage.cpu {
        object["cpu"] = cpu(used, rate, at);
    }
    if let Some(used) = usage.memory {
        object["memory"] = memory(&used, at);
        object["swap"] = json!({ "time": time(at), "swapUsageBytes": used.swap });
    }
}

fn time(at: WallTime) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn cpu(usage: CpuUsage, rate: Option<&u64>, at: WallTime) -> Value {
    let mut object = json!({ "time": time(at), "usageCoreNanoSeconds": usage.total });
    if let Some(rate) = rate {
        object["usageNanoCores"] = json!(rate);
    }
    object
}

fn memory(usage: &MemoryUsage, at: WallTime) -> Value {
    let mut object = json!({
        "time": time(at),
        "usageBytes": usage.usage,
        "workingSetBytes": usage.working_set,
        "rssBytes": usage.rss,
        "pageFaults": usage.page_faults,
        "majorPageFaults": usage.major_page_faults,
    });
    if let Some(limit) = usage.limit {
        object["availableBytes"] = json!(limit.saturating_sub(usage.working_set));
    }
    object
}

fn network(interfaces: &[Interface], at: WallTime) -> Value {
    let one = |it: &Interface| {
        json!({ "name": it.name, "rxBytes": it.received[0], "rxErrors": it.received[2],
            "txBytes": it.transmitted[0], "txErrors": it.transmitted[2] })
    };
    // The default interface is named at the top, as cAdvisor does for the first.
    let first = interfaces.iter().find(|it| it.name == "eth0").or(interfaces.first());
    let mut object = first.map_or_else(Map::new, |it| one(it).as_object().cloned().unwrap_or_default());
    object.insert("time".to_owned(), json!(time(at)));
    object.insert("interfaces".to_owned(), interfaces.iter().map(one).collect());
    Value::Object(object)
}

fn of_fs(fs: &FsUsage, used: u64, own: Option<DiskUsage>, at: WallTime) -> Value {
    json!({
        "time": time(at),
        "availableBytes": fs.available,
        "capacityBytes": fs.capacity,
        "usedBytes": used,
        "inodesFree": fs.inodes_free,
        "inodes": fs.inodes,
        "inodesUsed": own.map_or(fs.inodes.saturating_sub(fs.inodes_free), |usage| usage.inodes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N23
    #[test]
    fn every_part_has_its_fields() {
        let sample = super::super::tests::example();
        let about = About { node_name: "n", boot: WallTime::UNIX_EPOCH, only_cpu_and_memory: false };
        let all = summary(&sample, about);
        let node = &all["node"];
        for part in [
            "nodeName",
            "systemContainers",
            "startTime",
            "cpu",
            "memory",
            "network",
            "fs",
            "runtime",
            "rlimit",
            "swap",
        ] {
            assert!(!node[part].is_null(), "{part}");
        }
        assert_eq!(node["fs"]["usedBytes"], 60);
        let pod = &all["pods"][0];
        assert_eq!(pod["podRef"], json!({"name": "p", "namespace": "default", "uid": "u"}));
        assert_eq!(pod["memory"]["workingSetBytes"], 2000);
        assert_eq!(pod["network"]["rxBytes"], 10);
        assert_eq!(pod["ephemeral-storage"]["usedBytes"], 4096);
        assert_eq!(pod["process_stats"]["process_count"], 2);
        let container = &pod["containers"][0];
        assert_eq!(container["cpu"]["usageNanoCores"], 5);
        assert_eq!(container["cpu"]["usageCoreNanoSeconds"], 2_000_000_000_u64);
        assert_eq!(container["rootfs"]["usedBytes"], 4096);
        assert_eq!(container["startTime"], "2026-01-02T03:04:05Z");
        let small = summary(&sample, About { only_cpu_and_memory: true, ..about });
        assert!(small["node"]["fs"].is_null() && small["pods"][0]["containers"][0]["rootfs"].is_null());
        assert_eq!(small["pods"][0]["containers"][0]["memory"]["workingSetBytes"], 1000);
    }
}
