//! What every sandbox uses. Blocks on files.

use crate::cri::ContainerState;
use crate::embedded::EmbeddedRuntime;
use crate::stats::{ContainerStats, SandboxStats, interfaces_of};

pub(super) fn of_all(runtime: &EmbeddedRuntime) -> Vec<SandboxStats> {
    let cgroups = &runtime.0.cgroups;
    let entries: Vec<_> = runtime.sandboxes().values().cloned().collect();
    let mut all: Vec<SandboxStats> = Vec::new();
    for entry in entries {
        let (config, facts) = (&entry.saved.config, entry.facts());
        if !facts.ready {
            continue;
        }
        let group = &config.cgroup;
        let mut containers = Vec::new();
        for container in facts.containers {
            let ContainerState::Running { started_at, .. } = container.state else { continue };
            let Some(known) = entry.find(&container.id) else { continue };
            containers.push(ContainerStats {
                usage: cgroups.usage(&format!("{group}/{}", container.id)),
                id: container.id,
                name: container.name,
                attempt: container.attempt,
                started_at,
                writable: known.saved.config.rootfs.writable.join("upper"),
            });
        }
        let process = config.netns.as_ref().and_then(|_| cgroups.pod_processes(group).first().copied());
        all.push(SandboxStats {
            id: config.id.clone(),
            pod: config.pod.clone(),
            created_at: facts.created_at,
            cgroup: group.clone(),
            usage: cgroups.usage(group),
            interfaces: process.map(interfaces_of).unwrap_or_default(),
            containers,
        });
    }
    all
}
