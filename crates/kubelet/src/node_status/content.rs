//! What a Node object says, put together from what was found out (N10 to N13). Pure, but for [`node_info`], which
//! reads files that do not change while the machine runs.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeFeatures,
    NodeRuntimeHandler, NodeRuntimeHandlerFeatures, NodeStatus, NodeSwapStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_api::WallTime;
use outrigger_images::Image;

use super::machine::Machine;
use crate::config::KubeletConfig;
use crate::node_state::NodeState;

/// N13: `nodeStatusMaxImages`, and names of one image.
const MOST_IMAGES: usize = 50;
const MOST_NAMES: usize = 5;

/// N13: what Pods and API servers may ask of this node beyond what every node does; in order.
const DECLARED_FEATURES: [&str; 3] = [
    "ExtendWebSocketsToKubelet",
    "InPlacePodLevelResourcesVerticalScaling",
    "RestartAllContainersOnContainerExits",
];

/// The whole status.
pub(super) fn status(
    config: &KubeletConfig,
    machine: &Machine,
    state: &NodeState,
    images: &[Image],
    before: &[NodeCondition],
    now: WallTime,
) -> NodeStatus {
    NodeStatus {
        capacity: Some(machine.capacity(config)),
        allocatable: Some(machine.allocatable(config)),
        conditions: Some(conditions(state, before, now)),
        addresses: Some(addresses(config)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(config.port) }),
        }),
        node_info: Some(node_info(config, machine)),
        images: Some(image_list(images)),
        runtime_handlers: Some(handlers()),
        features: Some(NodeFeatures { supplemental_groups_policy: Some(true) }),
        declared_features: Some(DECLARED_FEATURES.map(str::to_owned).to_vec()),
        ..NodeStatus::default()
    }
}

/// N10: the labels this kubelet registers its Node with.
pub(crate) fn labels(config: &KubeletConfig) -> BTreeMap<String, String> {
    let mut labels = config.labels.clone();
    for prefix in ["kubernetes.io", "beta.kubernetes.io"] {
        labels.insert(format!("{prefix}/os"), "linux".to_owned());
        labels.insert(format!("{prefix}/arch"), arch().to_owned());
    }
    labels.insert("kubernetes.io/hostname".to_owned(), config.node_name.clone());
    labels
}

/// Whether the kernel enforces AppArmor profiles.
pub(crate) fn has_app_armor() -> bool {
    read("/sys/module/apparmor/parameters/enabled") == "Y"
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// One condition: type, status, reason, message.
type Wanted = (&'static str, bool, &'static str, String);

/// N12.
pub(super) fn wanted(state: &NodeState) -> [Wanted; 4] {
    let pressure = |kind, short: bool, bad: [&'static str; 2], good: [&'static str; 2]| {
        let [reason, message] = if short { bad } else { good };
        (kind, short, reason, message.to_owned())
    };
    let problems = state.problems();
    let ready = problems.is_empty();
    [
        pressure(
            "MemoryPressure",
            state.pressure.memory,
            ["KubeletHasInsufficientMemory", "kubelet has insufficient memory available"],
            ["KubeletHasSufficientMemory", "kubelet has sufficient memory available"],
        ),
        pressure(
            "DiskPressure",
            state.pressure.disk,
            ["KubeletHasDiskPressure", "kubelet has disk pressure"],
            ["KubeletHasNoDiskPressure", "kubelet has no disk pressure"],
        ),
        pressure(
            "PIDPressure",
            state.pressure.pid,
            ["KubeletHasInsufficientPID", "kubelet has insufficient PID available"],
            ["KubeletHasSufficientPID", "kubelet has sufficient PID available"],
        ),
        if ready {
            ("Ready", true, "KubeletReady", "kubelet is posting ready status".to_owned())
        } else {
            ("Ready", false, "KubeletNotReady", problems)
        },
    ]
}

fn conditions(state: &NodeState, before: &[NodeCondition], now: WallTime) -> Vec<NodeCondition> {
    let condition = |(kind, is, reason, message): Wanted| {
        let status = if is { "True" } else { "False" };
        let same = before.iter().find(|old| old.type_ == kind && old.status == status);
        let since = same.and_then(|old| old.last_transition_time.clone()).unwrap_or(Time(now));
        NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: Some(since),
        }
    };
    wanted(state).into_iter().map(condition).collect()
}

/// N16: the events of conditions that changed; all of them if nothing is known of before.
pub(super) fn transitions(before: Option<&NodeState>, after: &NodeState) -> Vec<&'static str> {
    let reason = |(kind, is, _, _): &Wanted| match (*kind, *is) {
        ("MemoryPressure", false) => "NodeHasSufficientMemory",
        ("MemoryPressure", true) => "NodeHasInsufficientMemory",
        ("DiskPressure", false) => "NodeHasNoDiskPressure",
        ("DiskPressure", true) => "NodeHasDiskPressure",
        ("PIDPressure", false) => "NodeHasSufficientPID",
        ("PIDPressure", true) => "NodeHasInsufficientPID",
        (_, true) => "NodeReady",
        (_, false) => "NodeNotReady",
    };
    let before = before.map(wanted);
    let changed = wanted(after).into_iter().enumerate().filter(|(at, new)| match &before {
        Some(before) => before[*at].1 != new.1,
        None => true,
    });
    changed.map(|(_, new)| reason(&new)).collect()
}

/// N13.
fn addresses(config: &KubeletConfig) -> Vec<NodeAddress> {
    let internal =
        config.node_ips.iter().map(|ip| NodeAddress { type_: "InternalIP".into(), address: ip.to_string() });
    let name = NodeAddress { type_: "Hostname".into(), address: config.node_name.clone() };
    internal.chain([name]).collect()
}

/// N13: the largest first, each by its digests, then its tags.
fn image_list(images: &[Image]) -> Vec<ContainerImage> {
    let mut images: Vec<&Image> = images.iter().collect();
    images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let shown = |image: &&Image| {
        let names = image.repo_digests.iter().chain(&image.repo_tags).take(MOST_NAMES).cloned();
        ContainerImage { names: Some(names.collect()), size_bytes: i64::try_from(image.size).ok() }
    };
    images.iter().take(MOST_IMAGES).map(shown).collect()
}

/// N13: one handler, without a name.
fn handlers() -> Vec<NodeRuntimeHandler> {
    let features =
        NodeRuntimeHandlerFeatures { recursive_read_only_mounts: Some(true), user_namespaces: Some(true) };
    vec![NodeRuntimeHandler { name: Some(String::new()), features: Some(features) }]
}

/// N13.
fn node_info(config: &KubeletConfig, machine: &Machine) -> NodeSystemInfo {
    let release = read("/etc/os-release");
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let uuid = read("/sys/class/dmi/id/product_uuid");
    let machine_id = read("/etc/machine-id");
    NodeSystemInfo {
        system_uuid: if uuid.is_empty() { machine_id.clone() } else { uuid },
        machine_id,
        boot_id: machine.boot_id.clone(),
        kernel_version: rustix::system::uname().release().to_string_lossy().into_owned(),
        os_image: pretty.unwrap_or("Linux").trim_matches('"').to_owned(),
        container_runtime_version: config.runtime_version.clone(),
        kubelet_version: config.version.clone(),
        kube_proxy_version: String::new(),
        operating_system: "linux".into(),
        architecture: arch().into(),
        swap: (machine.swap_kib > 0)
            .then(|| NodeSwapStatus { capacity: i64::try_from(machine.swap_kib * 1024).ok() }),
    }
}

pub(super) fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_state::Pressure;

    fn image(id: &str, size: u64) -> Image {
        Image {
            id: id.into(),
            repo_tags: vec![format!("{id}:tag")],
            repo_digests: vec![format!("{id}@sha256:0")],
            size,
            pulled: true,
            added_at: WallTime::UNIX_EPOCH,
            config: outrigger_images::ImageConfig::default(),
            layers: vec![],
        }
    }

    /// N10
    #[test]
    fn labels_and_addresses() {
        let mut config = KubeletConfig::new("n1", "/tmp");
        config.node_ips = vec!["10.0.0.1".parse().unwrap()];
        config.labels.insert("own".into(), "yes".into());
        let labels = labels(&config);
        assert_eq!(labels["kubernetes.io/hostname"], "n1");
        assert_eq!(labels["kubernetes.io/os"], labels["beta.kubernetes.io/os"]);
        assert_eq!(labels["kubernetes.io/arch"], labels["beta.kubernetes.io/arch"]);
        assert_eq!(labels["own"], "yes");
        let kinds: Vec<String> = addresses(&config).into_iter().map(|it| it.type_).collect();
        assert_eq!(kinds, ["InternalIP", "Hostname"]);
    }

    /// N12: order, reasons and messages; a transition time moves only with the status.
    #[test]
    fn conditions_follow_the_state() {
        let (early, late) = (WallTime::UNIX_EPOCH, WallTime::from_second(60).unwrap());
        let good = conditions(&NodeState::default(), &[], early);
        let text = |it: &NodeCondition| (it.type_.clone(), it.status.clone(), it.reason.clone().unwrap());
        let row = |kind: &str, status: &str, reason: &str| (kind.into(), status.into(), reason.into());
        assert_eq!(
            good.iter().map(text).collect::<Vec<_>>(),
            [
                row("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                row("DiskPressure", "False", "KubeletHasNoDiskPressure"),
                row("PIDPressure", "False", "KubeletHasSufficientPID"),
                row("Ready", "True", "KubeletReady"),
            ]
        );
        let bad = NodeState {
            pressure: Pressure { memory: true, ..Pressure::default() },
            runtime_down: true,
            ..NodeState::default()
        };
        let after = conditions(&bad, &good, late);
        assert_eq!(text(&after[0]), row("MemoryPressure", "True", "KubeletHasInsufficientMemory"));
        assert_eq!(text(&after[3]), row("Ready", "False", "KubeletNotReady"));
        assert_eq!(after[3].message.as_deref(), Some("container runtime is down"));
        assert_eq!(after[0].last_transition_time, Some(Time(late)));
        assert_eq!(after[1].last_transition_time, Some(Time(early)));
        assert_eq!(after[1].last_heartbeat_time, Some(Time(late)));
    }

    /// N13
    #[test]
    fn declared_features_are_sorted() {
        let status = status(
            &KubeletConfig::new("n1", "/tmp"),
            &Machine::default(),
            &NodeState::default(),
            &[],
            &[],
            WallTime::UNIX_EPOCH,
        );
        let declared = status.declared_features.unwrap();
        assert!(
            declared.is_sorted() && declared.contains(&"RestartAllContainersOnContainerExits".to_owned())
        );
    }

    /// N13
    #[test]
    fn the_largest_images_are_shown() {
        let all: Vec<Image> = (0..60).map(|n| image(&n.to_string(), n)).collect();
        let shown = image_list(&all);
        assert_eq!(shown.len(), 50);
        assert_eq!(shown[0].size_bytes, Some(59));
        assert_eq!(shown[0].names.as_ref().unwrap(), &["59@sha256:0", "59:tag"]);
    }

    /// N13
    #[test]
    fn the_machine_is_named() {
        let machine = Machine { boot_id: "b".into(), swap_kib: 2, ..Machine::default() };
        let info = node_info(&KubeletConfig::new("n1", "/tmp"), &machine);
        assert!(info.container_runtime_version.starts_with("outrigger://"));
        let version = info.kubelet_version.strip_prefix('v').unwrap();
        assert!(semver::Version::parse(version).unwrap().minor == 36, "{version}");
        assert_eq!((info.kube_proxy_version.as_str(), info.operating_system.as_str()), ("", "linux"));
        assert_eq!((info.boot_id.as_str(), info.swap.unwrap().capacity), ("b", Some(2048)));
        assert!(!info.kernel_version.is_empty() && !info.os_image.is_empty());
    }

    /// N16
    #[test]
    fn events_of_a_start_and_of_changes() {
        let start = transitions(None, &NodeState::default());
        let want = ["NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID", "NodeReady"];
        assert_eq!(start, want);
        let down = NodeState { shutting_down: true, ..NodeState::default() };
        assert_eq!(transitions(Some(&NodeState::default()), &down), ["NodeNotReady"]);
    }
}
