//! What this machine offers containers, and what is lost without it (for `doctor`).

use std::path::Path;

use crate::cgroup::CgroupLayout;

/// One thing containers build on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// `overlayfs`.
    pub name: &'static str,
    /// Whether it is here.
    pub present: bool,
    /// Whether nothing runs without it.
    pub required: bool,
    /// What was found, or what is lost.
    pub detail: String,
    /// How to get it; empty if it is present.
    pub fix: &'static str,
}

/// Looks at the machine. Nothing is changed.
pub fn features() -> Vec<Feature> {
    let exists = |path: &str| Path::new(path).exists();
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let overlay = filesystems.lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay");
    let root = rustix::process::geteuid().is_root();
    vec![
        feature(
            "root",
            root,
            true,
            "this program makes namespaces, mounts and control groups",
            "run it as root, for example with sudo",
        ),
        feature("overlayfs", overlay, true, "container root file systems are overlays", "modprobe overlay"),
        feature(
            "network namespaces",
            exists("/proc/self/ns/net"),
            true,
            "every Pod has its own network",
            "use a kernel with CONFIG_NET_NS",
        ),
        feature(
            "pid namespaces",
            exists("/proc/self/ns/pid"),
            true,
            "every container has its own processes",
            "use a kernel with CONFIG_PID_NS",
        ),
        feature(
            "seccomp",
            exists("/proc/sys/kernel/seccomp"),
            false,
            "seccompProfile RuntimeDefault is not enforced",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ),
        feature(
            "user namespaces",
            user_namespaces(),
            false,
            "Pods with hostUsers: false cannot be started",
            "use a kernel with CONFIG_USER_NS and raise user.max_user_namespaces",
        ),
        feature(
            "AppArmor",
            read("/sys/module/apparmor/parameters/enabled") == "Y",
            false,
            "Pods that ask for an AppArmor profile are refused",
            "boot with apparmor=1",
        ),
        feature(
            "shared mounts",
            crate::embedded::is_shared(Path::new("/")),
            false,
            "mountPropagation Bidirectional needs a volume on a mount that was made shared",
            "mount --make-rshared /",
        ),
        cgroups(),
        resource_capability(),
    ]
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn user_namespaces() -> bool {
    Path::new("/proc/self/ns/user").exists() && read("/proc/sys/user/max_user_namespaces") != "0"
}

fn feature(name: &'static str, present: bool, required: bool, lost: &str, fix: &'static str) -> Feature {
    let detail = if present { "present".to_owned() } else { lost.to_owned() };
    Feature { name, present, required, detail, fix: if present { "" } else { fix } }
}

fn cgroups() -> Feature {
    let (present, detail) = match CgroupLayout::detect() {
        CgroupLayout::V1(trees) => {
            let names: Vec<_> = trees.iter().map(|(name, _)| name.as_str()).collect();
            (true, format!("version 1: {}", names.join(", ")))
        }
        CgroupLayout::V2(root) => (true, format!("version 2 at {}", root.display())),
        CgroupLayout::None => {
            (false, "resource limits and usage are neither enforced nor counted".to_owned())
        }
    };
    let fix = if present { "" } else { "mount -t cgroup2 none /sys/fs/cgroup" };
    Feature { name: "control groups", present, required: false, detail, fix }
}

/// Without it the kernel refuses to make a process less likely to be killed than its parent.
fn resource_capability() -> Feature {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    let lost =
        "oom_score_adj is not lowered: under memory pressure the kernel does not spare Guaranteed Pods";
    feature("CAP_SYS_RESOURCE", bits & CAP_SYS_RESOURCE != 0, false, lost, "grant CAP_SYS_RESOURCE")
}
