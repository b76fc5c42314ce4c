//! What needs the agent's own place on the node: changing cgroup values, and mounts shared with the node.

use std::path::Path;

use super::*;

impl EmbeddedRuntime {
    /// Writes cgroup values unless they would make the kernel kill (R13.29).
    pub(super) fn change(&self, path: &str, whose: &str, resources: &Resources) -> Result<(), RuntimeError> {
        let used = self.0.cgroups.memory_used(path).unwrap_or(0);
        if let Some(limit) = resources.memory_limit.filter(|limit| *limit < used) {
            return Err(RuntimeError::InUse(format!(
                "cannot decrease memory limits: attempting to set {whose} memory limit ({limit}) below current \
                 usage ({used})"
            )));
        }
        self.0.cgroups.apply(path, resources).map_err(doing(format!("limit {whose}")))
    }

    /// Kills what is left in a sandbox whose process does not answer.
    pub(super) async fn kill_leftovers(&self, cgroup: &str) {
        let deadline = tokio::time::Instant::now() + DYING;
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        loop {
            let pids = self.0.cgroups.pod_processes(cgroup);
            if pids.is_empty() || tokio::time::Instant::now() > deadline {
                return;
            }
            for pid in pids {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    // It may be gone by itself.
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            tick.tick().await;
        }
    }
}

/// Detached copies of the sources of mounts that are shared both ways. They are taken here because the sandbox process
/// only receives the node's mounts. At most seven, what one message carries.
pub(super) fn shared_trees(mounts: &[Mount]) -> Result<Vec<OwnedFd>, RuntimeError> {
    use rustix::mount::{OpenTreeFlags, open_tree};
    let shared = mounts.iter().filter(|mount| mount.propagation == Propagation::Shared);
    let open = |mount: &Mount| {
        let what = format!("share {}", mount.source.display());
        if !is_shared(&mount.source) {
            let why = format!("path {:?} is mounted on a mount that is not shared", mount.source.display());
            return Err(doing(what)(io::Error::other(why)));
        }
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let flags = flags | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::AT_EMPTY_PATH;
        let opened = open_inside(&mount.source, &mount.sub_path).and_then(|file| open_tree(file, "", flags));
        opened.map_err(|error| doing(what)(error.into()))
    };
    shared.map(open).collect()
}

/// The source, or what a path leads to without leaving it (R12.29).
fn open_inside(source: &Path, sub_path: &Path) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let top = rustix::fs::open(source, flags, Mode::empty())?;
    if sub_path.as_os_str().is_empty() {
        return Ok(top);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(&top, sub_path, flags, Mode::empty(), resolve)
}

/// Whether the mount a path lies on passes on what is mounted below it.
pub(crate) fn is_shared(path: &Path) -> bool {
    shares(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(), path)
}

fn shares(mountinfo: &str, path: &Path) -> bool {
    let covering = mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(4);
        let target = fields.next()?.replace("\\040", " ");
        let is_shared =
            fields.skip(1).take_while(|field| *field != "-").any(|field| field.starts_with("shared:"));
        path.starts_with(&target).then_some((target.len(), is_shared))
    });
    // The last of equally long ones is on top.
    covering.max_by_key(|(length, _)| *length).is_some_and(|(_, shared)| shared)
}
