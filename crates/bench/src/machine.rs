//! What the numbers were measured on.

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use crate::budget::Samples;
use crate::error::Error;

/// One paragraph: date, processors, memory, kernel, control groups, disk.
pub(crate) fn describe(data: &Path) -> Result<String, Error> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let model = field("/proc/cpuinfo", "model name");
    let memory: u64 =
        field("/proc/meminfo", "MemTotal").split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let sync = sync_time(data)?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    Ok(format!(
        "Measured {} on {cores} cores ({model}), {} MB of memory, Linux {kernel}, {}, {}; one write of 4 KiB and its \
         fsync take {:.2} ms (p50). Load before the end of the run: {}.",
        jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC"),
        memory / 1024,
        control_groups(),
        file_system(data),
        sync.p50(),
        load.split(' ').take(3).collect::<Vec<_>>().join(" "),
    ))
}

/// The value after `key :` in a file of such lines.
fn field(path: &str, key: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'));
    value.map_or_else(|| "unknown".to_owned(), |value| value.trim().to_owned())
}

fn control_groups() -> String {
    let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let has = |kind: &str| table.lines().any(|line| line.split(' ').nth(2) == Some(kind));
    let layout = match (has("cgroup"), has("cgroup2")) {
        (true, true) => "hybrid",
        (true, false) => "v1",
        (false, true) => "v2",
        (false, false) => "no",
    };
    format!("{layout} control groups")
}

/// The file system a folder lies on, by the longest mount point above it.
fn file_system(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = table.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?, Path::new(words.next()?), words.next()?))
    });
    let best = mounts
        .filter(|(_, target, _)| folder.starts_with(target))
        .max_by_key(|(_, target, _)| target.components().count());
    best.map_or_else(|| "an unknown disk".to_owned(), |(device, _, kind)| format!("{kind} on {device}"))
}

/// What durability costs here; every write to the store waits for it.
fn sync_time(data: &Path) -> Result<Samples, Error> {
    let mut file = tempfile::tempfile_in(data).map_err(Error::doing("make a file to sync"))?;
    let mut samples = Samples::default();
    for _ in 0..50 {
        let began = Instant::now();
        file.write_all(&[7; 4096]).and_then(|()| file.sync_data()).map_err(Error::doing("sync a file"))?;
        samples.push(began.elapsed());
    }
    Ok(samples)
}
