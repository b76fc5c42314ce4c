//! From what the kubelet asks for to what the sandbox process is told.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use outrigger_shim_protocol as shim;
use rustix::fs::MemfdFlags;

use crate::cri::{ContainerConfig, PidMode, Propagation, SandboxConfig, Seccomp, Security};
use crate::seccomp_programs;

/// The Pod's `/dev/shm` (R12: 64 MiB unless a volume says otherwise).
const SHM_BYTES: u64 = 64 << 20;
const CAP_MKNOD: u64 = 1 << 27;

/// Paths hidden in a container that is not privileged (R13.25).
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
/// Paths protected in it.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

pub(crate) fn init(config: &SandboxConfig, dir: &Path, cgroup_procs: Vec<String>) -> shim::Init {
    let setting =
        |(name, value): (&String, &String)| (format!("/proc/sys/{}", name.replace('.', "/")), value.clone());
    shim::Init {
        version: shim::PROTOCOL_VERSION,
        state_dir: text(dir),
        cgroup_procs,
        netns: config.netns.as_deref().map(text),
        hostname: Some(config.hostname.clone()).filter(|name| !name.is_empty()),
        private_ipc: !config.host_ipc,
        shared_pid: config.pid == PidMode::Pod,
        sysctls: config.sysctls.iter().map(setting).collect(),
        user_namespace: config.user_namespace.map(|(base, size)| shim::IdRange { base, size }),
        shm_bytes: if config.host_ipc { 0 } else { SHM_BYTES },
    }
}

/// The start request, and the seccomp program to send along.
pub(crate) fn start(
    sandbox: &SandboxConfig,
    config: &ContainerConfig,
    cgroup: shim::Cgroup,
    limits_devices: bool,
) -> io::Result<(shim::Start, Option<OwnedFd>)> {
    let security = &config.security;
    let writable = &config.rootfs.writable;
    let process = process(config, config.command.clone(), config.tty, limits_devices);
    let mut process = process;
    if !sandbox.hostname.is_empty() && !config.env.iter().any(|(name, _)| name == "HOSTNAME") {
        process.env.push(format!("HOSTNAME={}", sandbox.hostname));
    }
    let seccomp = seccomp_fd(security, process.capabilities)?;
    let paths = |list: &[&str]| -> Vec<String> {
        if security.mask_paths && !security.privileged {
            list.iter().map(|path| (*path).to_owned()).collect()
        } else {
            Vec::new()
        }
    };
    let start = shim::Start {
        container: config.id.clone(),
        rootfs: shim::Rootfs {
            lower: config.rootfs.lower.iter().map(|layer| text(layer)).collect(),
            upper: text(&writable.join("upper")),
            work: text(&writable.join("work")),
            mount_point: text(&writable.join("root")),
            readonly: config.rootfs.readonly,
        },
        mounts: config.mounts.iter().map(mount).collect(),
        devices: config.devices.iter().map(|device| text(device)).collect(),
        all_devices: security.privileged,
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        writable_sys: security.privileged,
        process: shim::Process { seccomp: seccomp.is_some(), ..process },
        pid: match (&config.target_pid_of, sandbox.pid) {
            (Some(target), _) => shim::PidNamespace::Of(target.clone()),
            (None, PidMode::Container) => shim::PidNamespace::Own,
            (None, PidMode::Pod | PidMode::Node) => shim::PidNamespace::Sandbox,
        },
        cgroup,
        stdin: config.stdin,
        stdin_once: config.stdin_once,
        log_path: text(&sandbox.log_directory.join(&config.log_path)),
    };
    Ok((start, seccomp))
}

fn mount(mount: &crate::cri::Mount) -> shim::Mount {
    shim::Mount {
        source: text(&mount.source),
        target: text(&mount.target),
        readonly: mount.readonly,
        recursive_readonly: mount.recursive_readonly,
        beneath: text(&mount.sub_path),
        layers: mount.layers.iter().map(|layer| text(layer)).collect(),
        scratch: text(&mount.source),
        propagation: match mount.propagation {
            Propagation::Private => shim::Propagation::Private,
            Propagation::Slave => shim::Propagation::Slave,
            Propagation::Shared => shim::Propagation::Shared,
        },
    }
}

/// A process with the container's identity.
pub(crate) fn process(
    config: &ContainerConfig,
    args: Vec<String>,
    tty: bool,
    limits_devices: bool,
) -> shim::Process {
    let security = &config.security;
    let mut capabilities = if security.privileged {
        u64::MAX
    } else {
        security.capabilities.iter().filter(|bit| **bit < 64).fold(0, |mask, bit| mask | 1 << bit)
    };
    if !limits_devices && !security.privileged {
        // Where device access cannot be limited, making a node is having the device.
        capabilities &= !CAP_MKNOD;
    }
    let mut env: Vec<String> = config.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut default = |name: &str, value: &str| {
        if !config.env.iter().any(|(known, _)| known == name) {
            env.push(format!("{name}={value}"));
        }
    };
    default("HOME", if security.uid == 0 { "/root" } else { "/" });
    default("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    if tty {
        default("TERM", "xterm");
    }
    shim::Process {
        args,
        env,
        cwd: text(&config.working_dir),
        make_cwd: true,
        uid: security.uid,
        gid: security.gid,
        groups: security.groups.clone(),
        capabilities,
        no_new_privileges: security.no_new_privileges,
        seccomp: false,
        app_armor: security.app_armor.clone().unwrap_or_default(),
        oom_score_adj: Some(security.oom_score_adj),
        tty,
    }
}

/// The program of a container's seccomp profile in a memory file.
pub(crate) fn seccomp_fd(security: &Security, capabilities: u64) -> io::Result<Option<OwnedFd>> {
    let bytes = match &security.seccomp {
        _ if security.privileged => return Ok(None),
        Seccomp::Unconfined => return Ok(None),
        Seccomp::RuntimeDefault => seccomp_programs::of_default(capabilities)?,
        Seccomp::Localhost(path) => seccomp_programs::of_file(path)?,
    };
    let fd = rustix::fs::memfd_create("seccomp", MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(&bytes)?;
    Ok(Some(file.into()))
}

pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
