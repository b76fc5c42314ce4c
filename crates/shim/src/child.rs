//! What a new container process does between clone and exec: its mounts, its identity, its program.
//!
//! This process has one thread, so the child is an ordinary process that may allocate. It reports the step that failed
//! as text on a pipe that exec closes.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, symlink};
use std::path::Path;

use outrigger_shim_protocol::{Process, Rootfs, Start};

use crate::users::{Users, as_root};
use crate::{sys, volume};

/// Options of mount(2) longer than a page are refused by the kernel.
const OPTIONS_LIMIT: usize = 4000;
pub const MOUNT_ATTR_RDONLY: u64 = 1;
/// The group of terminals in every image.
const TTY_GROUP: u32 = 5;
/// The highest capability number tried; the kernel refuses those it does not know.
const LAST_CAPABILITY: u64 = 63;

/// One seccomp program.
pub type Program = Vec<libc::sock_filter>;

/// Why the child could not become the container.
pub struct Failed {
    pub message: String,
    pub errno: i32,
    /// The program itself could not be executed, everything before it was good.
    pub at_exec: bool,
}

pub fn during<T>(step: impl Into<String>, result: io::Result<T>) -> Result<T, Failed> {
    result.map_err(|error| Failed {
        message: format!("{}: {error}", step.into()),
        errno: error.raw_os_error().unwrap_or(0),
        at_exec: false,
    })
}

/// The node's id of the group terminals belong to.
pub fn tty_group(users: Option<&Users>) -> u32 {
    users.map_or(TTY_GROUP, |users| users.on_node(TTY_GROUP))
}

/// Descriptors of mounts that come with the process.
pub struct Kept {
    /// Trees the node and the container share.
    pub shared: Vec<OwnedFd>,
    /// Its `/dev/pts`, where its terminal was opened before; made new if absent.
    pub terminals: Option<OwnedFd>,
}

/// Becomes the container's main process. Returns only on failure.
pub fn run(
    start: &Start,
    shm: Option<&str>,
    seccomp: &[Program],
    kept: Kept,
    users: Option<&Users>,
) -> Failed {
    match prepare(start, shm, kept, users) {
        Ok(()) => execute(&start.process, seccomp, users, true),
        Err(failed) => failed,
    }
}

fn prepare(
    start: &Start,
    shm: Option<&str>,
    Kept { shared, terminals }: Kept,
    users: Option<&Users>,
) -> Result<(), Failed> {
    during("make mounts private", sys::mount("", "/", "", libc::MS_REC | libc::MS_SLAVE, ""))?;
    let mut shared = shared.into_iter();
    let trees = start.mounts.iter().map(|mount| volume::open(mount, &mut shared, users));
    let trees = trees.collect::<Result<Vec<_>, _>>()?;
    let devices = if start.all_devices {
        Vec::new()
    } else {
        start.devices.iter().map(|device| clone_device(device)).collect::<Result<Vec<_>, _>>()?
    };
    let open_shm = |path| {
        let tree = sys::clone_tree(path)?;
        users.map_or(Ok(()), |users| users.translate(&tree)).map(|()| tree)
    };
    let shm = shm.map(|path| during("open the Pod's shared memory", open_shm(path))).transpose()?;
    let host_dev = start.all_devices.then(|| during("open /dev", sys::clone_tree("/dev"))).transpose()?;
    let cgroups = start.cgroup.mounts.iter().map(|(source, name)| {
        during(format!("open cgroup {source}"), sys::clone_tree(source)).map(|tree| (tree, name.clone()))
    });
    let cgroups = cgroups.collect::<Result<Vec<_>, _>>()?;
    let root = &start.rootfs.mount_point;
    match users {
        Some(users) => mount_translated_root(&start.rootfs, users)?,
        None => mount_root(&start.rootfs)?,
    }
    // From inside, because the way there may be closed to the namespace's root.
    during("enter the root file system", sys::chdir(root))?;
    as_root(users, || ["proc", "dev", "sys"].iter().try_for_each(|folder| make_dir(folder, 0o755)))?;
    kernel_mounts(root, start)?;
    during("pivot_root", sys::pivot_root_here(root))?;
    fill_dev(host_dev, shm, devices, || terminals.map_or_else(|| sys::new_terminals(tty_group(users)), Ok))?;
    mount_cgroups(cgroups, start.writable_sys)?;
    for (mount, tree) in start.mounts.iter().zip(trees) {
        volume::attach(mount, &tree, users)?;
    }
    protect(start)?;
    make_working_dir(&start.process, users);
    if start.rootfs.readonly {
        let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY;
        during("make the root read-only", sys::mount("", "/", "", flags, ""))?;
    }
    Ok(())
}

fn mount_root(rootfs: &Rootfs) -> Result<(), Failed> {
    let target = &rootfs.mount_point;
    let step = format!("mount the root file system on {target}");
    let lower = rootfs.lower.join(":");
    let options = format!("lowerdir={lower},upperdir={},workdir={}", rootfs.upper, rootfs.work);
    let has_colon = rootfs.lower.iter().any(|path| path.contains([':', ',', '\\']));
    if options.len() < OPTIONS_LIMIT && !has_colon {
        return during(step, sys::mount("overlay", target, "overlay", 0, &options));
    }
    let mut parts: Vec<(&str, &str)> =
        rootfs.lower.iter().map(|layer| ("lowerdir+", layer.as_str())).collect();
    parts.push(("upperdir", &rootfs.upper));
    parts.push(("workdir", &rootfs.work));
    during(step, sys::mount_overlay_by_parts(&parts, target))
}

/// The same with the ids of a user namespace: each layer is shown with them below the writable folder first, because
/// an overlay as a whole cannot be.
fn mount_translated_root(rootfs: &Rootfs, users: &Users) -> Result<(), Failed> {
    let step = "show the root file system with the ids of the user namespace";
    let writable = Path::new(&rootfs.upper).parent().and_then(Path::to_str).unwrap_or_default();
    let place = |name: &str| -> io::Result<String> {
        let path = format!("{writable}/ids-{name}");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(path)
    };
    let show = |folder: &str, name: &str| -> io::Result<String> {
        let tree = sys::clone_tree(folder)?;
        users.translate(&tree)?;
        let path = place(name)?;
        sys::attach_tree(&tree, &path).map(|()| path)
    };
    // Before the layers, which would be copied with it.
    let own = during(step, show(writable, "own"))?;
    let lower = rootfs.lower.iter().enumerate().map(|(index, layer)| show(layer, &index.to_string()));
    let lower = during(step, lower.collect::<io::Result<Vec<_>>>())?;
    let name = |path: &str| {
        Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned()
    };
    let translated = Rootfs {
        lower,
        upper: format!("{own}/{}", name(&rootfs.upper)),
        work: format!("{own}/{}", name(&rootfs.work)),
        ..rootfs.clone()
    };
    users.as_root(|| mount_root(&translated))
}

fn kernel_mounts(root: &str, start: &Start) -> Result<(), Failed> {
    let safe = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    during("mount /proc", sys::mount("proc", &format!("{root}/proc"), "proc", safe, ""))?;
    let dev = format!("{root}/dev");
    if !start.all_devices {
        let flags = libc::MS_NOSUID | libc::MS_STRICTATIME;
        during("mount /dev", sys::mount("tmpfs", &dev, "tmpfs", flags, "mode=755,size=65536k"))?;
    }
    let sys_flags = if start.writable_sys { safe } else { safe | libc::MS_RDONLY };
    during("mount /sys", sys::mount("sysfs", &format!("{root}/sys"), "sysfs", sys_flags, ""))
}

/// The device nodes, terminals and shared memory every program expects.
fn fill_dev(
    host: Option<OwnedFd>,
    shm: Option<OwnedFd>,
    devices: Vec<(String, OwnedFd)>,
    terminals: impl FnOnce() -> io::Result<OwnedFd>,
) -> Result<(), Failed> {
    if let Some(host) = host {
        return during("attach the node's /dev", sys::attach_tree(&host, "/dev"));
    }
    for (name, major, minor) in
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
    {
        during(format!("make /dev/{name}"), sys::mknod(&format!("/dev/{name}"), major, minor))?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        during(format!("link /dev/{name}"), symlink(target, format!("/dev/{name}")))?;
    }
    for folder in ["/dev/pts", "/dev/shm", "/dev/mqueue"] {
        make_dir(folder, 0o755)?;
    }
    let quiet = libc::MS_NOSUID | libc::MS_NOEXEC;
    let terminals = during("make /dev/pts", terminals())?;
    during("attach /dev/pts", sys::attach_tree(&terminals, "/dev/pts"))?;
    match shm {
        Some(shm) => during("attach /dev/shm", sys::attach_tree(&shm, "/dev/shm"))?,
        None => {
            let flags = quiet | libc::MS_NODEV;
            let options = "mode=1777,size=65536k";
            during("mount /dev/shm", sys::mount("shm", "/dev/shm", "tmpfs", flags, options))?;
        }
    }
    // A kernel without message queues leaves an empty folder.
    let _ = sys::mount("mqueue", "/dev/mqueue", "mqueue", quiet | libc::MS_NODEV, "");
    for (path, tree) in devices {
        make_parent(&path)?;
        during(format!("make {path}"), fs::write(&path, ""))?;
        during(format!("attach {path}"), sys::attach_tree(&tree, &path))?;
    }
    Ok(())
}

fn clone_device(path: &str) -> Result<(String, OwnedFd), Failed> {
    let metadata = during(format!("find device {path}"), fs::metadata(path))?;
    let kind = metadata.file_type();
    if !kind.is_char_device() && !kind.is_block_device() {
        let error = io::Error::other(format!("{path} is no device (mode {:o})", metadata.mode()));
        return during("open a device", Err(error));
    }
    during(format!("open device {path}"), sys::clone_tree(path)).map(|tree| (path.to_owned(), tree))
}

fn mount_cgroups(trees: Vec<(OwnedFd, String)>, writable: bool) -> Result<(), Failed> {
    if trees.is_empty() {
        return Ok(());
    }
    let own = "/sys/fs/cgroup";
    let single = matches!(trees.as_slice(), [(_, name)] if name.is_empty());
    if !single {
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        during("mount /sys/fs/cgroup", sys::mount("tmpfs", own, "tmpfs", flags, "mode=755"))?;
    }
    for (tree, name) in &trees {
        let target = if name.is_empty() { own.to_owned() } else { format!("{own}/{name}") };
        if !name.is_empty() {
            make_dir(&target, 0o755)?;
        }
        if !writable {
            during("protect cgroups", sys::set_tree(tree, MOUNT_ATTR_RDONLY, 0, true))?;
        }
        during(format!("attach {target}"), sys::attach_tree(tree, &target))?;
    }
    Ok(())
}

/// R13.25.
fn protect(start: &Start) -> Result<(), Failed> {
    for path in &start.masked_paths {
        let Ok(metadata) = fs::metadata(path) else { continue };
        let masked = if metadata.is_dir() {
            sys::mount("tmpfs", path, "tmpfs", libc::MS_RDONLY, "")
        } else {
            sys::mount("/dev/null", path, "", libc::MS_BIND, "")
        };
        during(format!("mask {path}"), masked)?;
    }
    for path in &start.readonly_paths {
        if !Path::new(path).exists() {
            continue;
        }
        during(format!("protect {path}"), sys::mount(path, path, "", libc::MS_BIND | libc::MS_REC, ""))?;
        let flags = libc::MS_REMOUNT
            | libc::MS_BIND
            | libc::MS_RDONLY
            | libc::MS_NOSUID
            | libc::MS_NODEV
            | libc::MS_NOEXEC;
        during(format!("protect {path}"), sys::mount("", path, "", flags, ""))?;
    }
    Ok(())
}

pub fn make_dir(path: &str, mode: u32) -> Result<(), Failed> {
    during(format!("make {path}"), fs::DirBuilder::new().recursive(true).mode(mode).create(path))
}

pub fn make_parent(path: &str) -> Result<(), Failed> {
    match Path::new(path).parent().and_then(Path::to_str) {
        Some(parent) => make_dir(parent, 0o755),
        None => Ok(()),
    }
}

/// Takes on the process's identity and runs its program. Returns only on failure.
pub fn execute(process: &Process, seccomp: &[Program], users: Option<&Users>, own_mounts: bool) -> Failed {
    match take_identity(process, seccomp, users, own_mounts) {
        Ok(()) => run_program(process),
        Err(failed) => failed,
    }
}

/// R11.14.
fn make_working_dir(process: &Process, users: Option<&Users>) {
    if process.make_cwd && !process.cwd.is_empty() {
        // A read-only root may refuse; entering it later tells.
        let _ = as_root(users, || fs::DirBuilder::new().recursive(true).mode(0o755).create(&process.cwd));
    }
}

fn take_identity(
    process: &Process,
    seccomp: &[Program],
    users: Option<&Users>,
    own_mounts: bool,
) -> Result<(), Failed> {
    if let Some(score) = process.oom_score_adj {
        // Lowering it needs a privilege that not every node has.
        let _ = fs::write("/proc/self/oom_score_adj", score.to_string());
    }
    if !process.app_armor.is_empty() {
        let step = format!("confine it with AppArmor profile {}", process.app_armor);
        during(step, confine_at_exec(&process.app_armor))?;
    }
    if let Some(users) = users {
        during("enter the user namespace", users.enter())?;
        if own_mounts {
            // Its root may mount things then; what is there already stays locked.
            during("make mounts of its own", sys::unshare(libc::CLONE_NEWNS))?;
        }
    }
    for capability in (0..=LAST_CAPABILITY).filter(|bit| process.capabilities & (1 << bit) == 0) {
        if sys::prctl(libc::PR_CAPBSET_DROP, capability).is_err() {
            break;
        }
    }
    if !process.no_new_privileges {
        load(seccomp)?;
    }
    let ids = sys::set_ids(process.uid, process.gid, &process.groups);
    during(format!("become user {}:{}", process.uid, process.gid), ids)?;
    if process.uid == 0 {
        // What this machine's root lacks cannot be given away.
        let own = sys::permitted_capabilities();
        during("set capabilities", sys::set_capabilities(process.capabilities & own))?;
    }
    if !process.cwd.is_empty() {
        during(format!("enter {}", process.cwd), sys::chdir(&process.cwd))?;
    }
    if process.no_new_privileges {
        during("give up new privileges", sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1))?;
        load(seccomp)?;
    }
    Ok(())
}

/// The profile takes hold with the program. The older file without a module's name is nobody's word: it takes anything
/// where no module listens.
fn confine_at_exec(profile: &str) -> io::Result<()> {
    fs::write("/proc/self/attr/apparmor/exec", format!("exec {profile}"))
}

fn load(programs: &[Program]) -> Result<(), Failed> {
    for program in programs {
        during("install the seccomp program", sys::set_seccomp(program))?;
    }
    Ok(())
}

/// Programs as the agent sends them: a count of instructions (u32, little endian), then eight bytes each, repeated.
pub fn read_programs(fd: OwnedFd) -> io::Result<Vec<Program>> {
    let mut bytes = Vec::new();
    let mut file = fs::File::from(fd);
    io::Seek::rewind(&mut file)?;
    file.read_to_end(&mut bytes)?;
    let mut rest = bytes.as_slice();
    let mut programs = Vec::new();
    while let Some((count, tail)) = rest.split_first_chunk::<4>() {
        let size = u32::from_le_bytes(*count) as usize * 8;
        let Some((body, tail)) = tail.split_at_checked(size) else {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        };
        let instruction = |b: &[u8]| libc::sock_filter {
            code: u16::from_le_bytes([b[0], b[1]]),
            jt: b[2],
            jf: b[3],
            k: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
        };
        programs.push(body.chunks_exact(8).map(instruction).collect());
        rest = tail;
    }
    Ok(programs)
}

/// R5.32: the error names the program.
fn run_program(process: &Process) -> Failed {
    let args: Vec<CString> = process.args.iter().map(|arg| sys::c(arg)).collect();
    let env: Vec<CString> = process.env.iter().map(|entry| sys::c(entry)).collect();
    let program = process.args.first().map(String::as_str).unwrap_or_default();
    sys::reset_signals();
    if program.contains('/') {
        let error = sys::execve(&sys::c(program), &args, &env);
        let text = match error.raw_os_error() {
            Some(libc::ENOENT) => format!("exec: \"{program}\": stat {program}: no such file or directory"),
            Some(libc::EACCES) => format!("exec: \"{program}\": permission denied"),
            _ => format!("exec {program}: {}", plain(&error)),
        };
        return Failed { message: text, errno: error.raw_os_error().unwrap_or(0), at_exec: true };
    }
    let path = process.env.iter().find_map(|entry| entry.strip_prefix("PATH="));
    let mut errno = libc::ENOENT;
    for folder in path.unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").split(':') {
        let folder = if folder.is_empty() { "." } else { folder };
        let candidate = format!("{folder}/{program}");
        if !Path::new(&candidate).is_file() {
            continue;
        }
        let error = sys::execve(&sys::c(&candidate), &args, &env);
        errno = error.raw_os_error().unwrap_or(libc::ENOENT);
        if !matches!(errno, libc::ENOENT | libc::EACCES) {
            let message = format!("exec {candidate}: {}", plain(&error));
            return Failed { message, errno, at_exec: true };
        }
    }
    let message = if errno == libc::EACCES {
        format!("exec: \"{program}\": permission denied")
    } else {
        format!("exec: \"{program}\": executable file not found in $PATH")
    };
    Failed { message, errno, at_exec: true }
}

/// The system's words without Rust's ` (os error n)`.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}
