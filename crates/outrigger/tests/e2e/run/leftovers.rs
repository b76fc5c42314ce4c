//! However a run ends, nothing of it stays: no process, mount, namespace, control group, table or file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use outrigger_testkit::binary;
use rustix::process::Signal;

use super::{Run, command, pod, run, temporary};
use crate::suite::Images;

/// What a run has on the machine while it runs.
struct Traces {
    folder: PathBuf,
    /// Stands in its containers' command lines and nowhere else.
    marker: String,
    cgroups: BTreeSet<PathBuf>,
    /// Its bridge; the table's name ends like it.
    bridge: String,
}

impl Traces {
    fn of(folder: PathBuf, marker: &str, cidr: &str) -> Self {
        let processes = with_in_command_line(marker);
        assert!(!processes.is_empty(), "the container runs");
        let cgroups = processes.iter().flat_map(|process| cgroups(process)).collect();
        let address: std::net::Ipv4Addr = cidr.split('/').next().unwrap().parse().unwrap();
        let wanted = format!("{:08X}", address.to_bits().swap_bytes());
        let routes = std::fs::read_to_string("/proc/net/route").unwrap();
        let route = routes.lines().find(|line| line.split_whitespace().nth(1) == Some(&wanted));
        let bridge = route.expect("its route").split_whitespace().next().unwrap().to_owned();
        Self { folder, marker: marker.to_owned(), cgroups, bridge }
    }

    /// Nothing of it is there, its folder perhaps excepted.
    async fn assert_gone(&self) {
        assert_eq!(with_in_command_line(&self.marker), Vec::<PathBuf>::new(), "a process of the container's");
        let folder = self.folder.to_str().unwrap();
        for process in processes() {
            let environment = std::fs::read(process.join("environ")).unwrap_or_default();
            let about = String::from_utf8_lossy(&environment).contains(folder);
            assert!(!about, "{}", String::from_utf8_lossy(&environment));
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(folder), "a mount (a network namespace is one)\n{mounts}");
        for cgroup in &self.cgroups {
            assert!(!cgroup.exists(), "{}", cgroup.display());
        }
        let links = std::fs::read_to_string("/proc/net/dev").unwrap();
        assert!(!links.contains(&self.bridge), "{links}");
        let tables = tokio::process::Command::new("nft").args(["list", "tables"]).output().await.unwrap();
        let tables = String::from_utf8(tables.stdout).unwrap();
        assert!(!tables.contains(self.bridge.trim_start_matches("or")), "{tables}");
    }
}

fn processes() -> Vec<PathBuf> {
    let all = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    all.filter(|path| path.file_name().unwrap().as_encoded_bytes().iter().all(u8::is_ascii_digit)).collect()
}

fn with_in_command_line(marker: &str) -> Vec<PathBuf> {
    let has = |process: &PathBuf| {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(marker)
    };
    processes().into_iter().filter(has).collect()
}

/// The folders of a process's control groups and of those they lie in, up to the Pod's.
fn cgroups(process: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string(process.join("cgroup")).unwrap_or_default();
    let mut found = Vec::new();
    for line in table.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap(), fields.next().unwrap());
        for root in ["", controllers, "unified"] {
            let folder = Path::new("/sys/fs/cgroup").join(root).join(path.trim_start_matches('/'));
            if path.contains("pod") && folder.is_dir() {
                found.extend(folder.parent().map(Path::to_owned));
                found.push(folder);
            }
        }
    }
    found
}

const GENTLE: &str = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
const STUBBORN: &str = "trap '' TERM; echo up; while :; do sleep 0.05; done";

async fn started(images: &Images, cidr: &str, marker: &str, script: &str) -> (Run, Traces) {
    let manifest = pod("Always", &format!(": {marker}; {script}"));
    let mut run = Run::start(images, cidr, &manifest, &[]);
    run.printed("p/c | up").await;
    (run, Traces::of(temporary(images), marker, cidr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_leaves_nothing() {
    let images = Images::start().await;
    let cidr = "10.209.0.0/24";
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (mut run, traces) = started(&images, cidr, &format!("gentle-{code}"), GENTLE).await;
        run.signal(signal);
        run.printed("p/c | bye").await;
        assert_eq!(run.ended().await, Some(code));
        traces.assert_gone().await;
        assert_eq!(std::fs::read_dir(temporary(&images)).unwrap().count(), 0, "a file");
    }
    // It would take its whole grace period; a second signal is not so patient.
    let (mut run, traces) = started(&images, cidr, "stubborn-one", STUBBORN).await;
    run.signal(Signal::INT);
    run.printed("stopping Pods").await;
    run.signal(Signal::INT);
    assert_eq!(run.ended().await, Some(130));
    traces.assert_gone().await;
    assert_eq!(std::fs::read_dir(temporary(&images)).unwrap().count(), 0, "a file");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_leaves_is_cleared_by_down_or_the_next() {
    let images = Images::start().await;
    let cidr = "10.210.0.0/24";
    let folder = || std::fs::read_dir(temporary(&images)).unwrap().flatten().next().unwrap().path();
    let (run_one, traces) = started(&images, cidr, "killed-one", STUBBORN).await;
    run_one.signal(Signal::KILL);
    run_one.ended().await;
    assert!(!with_in_command_line("killed-one").is_empty(), "containers outlive their agent");
    let mut down = tokio::process::Command::new(binary("outrigger").unwrap());
    let down = down.arg("down").arg("--data-dir").arg(folder()).output().await.unwrap();
    assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    traces.assert_gone().await;
    std::fs::remove_dir_all(folder()).unwrap();

    let (run_two, traces) = started(&images, cidr, "killed-two", STUBBORN).await;
    run_two.signal(Signal::KILL);
    run_two.ended().await;
    // The next checks that the folder is empty when it ends.
    let next = run(&images, "10.211.0.0/24", &pod("Never", "true"), &[]).await;
    assert_eq!(next.status.code(), Some(0));
    traces.assert_gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_folder_is_nobody_elses_to_clear() {
    let images = Images::start().await;
    for _ in 0..2 {
        let mut command = command(&images, "10.212.0.0/24", &["--keep"]);
        command.arg(super::written(&images, "10.212.0.0/24", &pod("Never", "true")));
        let output = command.output().await.unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("outrigger: kept "));
    }
    let kept: Vec<_> = std::fs::read_dir(temporary(&images)).unwrap().flatten().collect();
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().all(|folder| folder.path().join("store/store.redb").exists()));
}
