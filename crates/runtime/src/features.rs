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
    let capabilities = Capabilities::own();
    vec![
        feature(
            "root",
            root,
            true,
            "namespaces, mounts and control groups cannot be made",
            "run it as root, for example with sudo",
        ),
        needed_capabilities(&capabilities),
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
        cgroups(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()),
        resource_capability(&capabilities),
    ]
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn user_namespaces() -> bool {
    Path::new("/proc/self/ns/user").exists() && read("/proc/sys/user/max_user_namespaces") != "0"
}

/// The effective capabilities of a process (capabilities(7)).
struct Capabilities(u64);

impl Capabilities {
    fn own() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn parse(status: &str) -> Self {
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        Self(effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0))
    }

    fn has(&self, bit: u32) -> bool {
        self.0 & (1 << bit) != 0
    }
}

/// What no Pod runs without, with its number in `linux/capability.h`.
const NEEDED: [(&str, u32); 9] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_FOWNER", 3),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_SETPCAP", 8),
    ("CAP_NET_ADMIN", 12),
    ("CAP_SYS_ADMIN", 21),
];

fn needed_capabilities(own: &Capabilities) -> Feature {
    let missing: Vec<&str> = NEEDED.iter().filter(|(_, bit)| !own.has(*bit)).map(|(name, _)| *name).collect();
    let detail =
        if missing.is_empty() { "present".to_owned() } else { format!("not held: {}", missing.join(", ")) };
    let fix = if missing.is_empty() { "" } else { "grant them; in a container, start it with --privileged" };
    Feature { name: "capabilities", present: missing.is_empty(), required: true, detail, fix }
}

fn feature(name: &'static str, present: bool, required: bool, lost: &str, fix: &'static str) -> Feature {
    let detail = if present { "present".to_owned() } else { lost.to_owned() };
    Feature { name, present, required, detail, fix: if present { "" } else { fix } }
}

fn cgroups(mounts: &str) -> Feature {
    let unified = mounts.lines().any(|line| line.contains(" - cgroup2 "));
    let (present, detail) = match CgroupLayout::parse(mounts) {
        CgroupLayout::V1(trees) => {
            let names: Vec<_> = trees.iter().map(|(name, _)| name.as_str()).collect();
            let kind = if unified { "hybrid, controllers on version 1" } else { "version 1" };
            (true, format!("{kind}: {}", names.join(", ")))
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
fn resource_capability(own: &Capabilities) -> Feature {
    const CAP_SYS_RESOURCE: u32 = 24;
    let lost =
        "oom_score_adj is not lowered: under memory pressure the kernel does not spare Guaranteed Pods";
    let fix = "grant CAP_SYS_RESOURCE, for example with docker run --cap-add SYS_RESOURCE";
    feature("CAP_SYS_RESOURCE", own.has(CAP_SYS_RESOURCE), false, lost, fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine as this program's builders have: root without one capability, cgroups of both versions.
    #[test]
    fn what_is_missing_is_named_with_its_fix() {
        let limited = Capabilities::parse("Name:\tx\nCapEff:\t000001fffedfffff\n");
        let needed = needed_capabilities(&limited);
        assert!(!needed.present && needed.detail == "not held: CAP_SYS_ADMIN" && !needed.fix.is_empty());
        let resource = resource_capability(&limited);
        assert!(!resource.present && !resource.required && resource.detail.contains("oom_score_adj"));
        assert!(needed_capabilities(&Capabilities(u64::MAX)).present);
    }

    #[test]
    fn every_layout_of_control_groups_has_its_name() {
        let v1 = "30 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let v2 = "31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroups(v1).detail, "version 1: memory");
        assert_eq!(cgroups(&format!("{v1}{v2}")).detail, "hybrid, controllers on version 1: memory");
        assert_eq!(cgroups(v2).detail, "version 2 at /sys/fs/cgroup/unified");
        assert!(!cgroups("").present);
    }
}
