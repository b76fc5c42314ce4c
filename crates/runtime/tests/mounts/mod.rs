//! What containers mount, and what they must not reach by it; with real containers, as root.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use outrigger_runtime::{ContainerState, Mount, Propagation, Runtime, Seccomp, Security};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::suite::Pod;

fn mount(source: &Path, target: &str) -> Mount {
    Mount { source: source.to_owned(), target: target.into(), ..Mount::default() }
}

async fn run(pod: &Pod, name: &str, script: &str, mounts: Vec<Mount>, security: Security) -> String {
    let mut config = pod.config(name, &["sh", "-c", script], security);
    config.mounts = mounts;
    pod.runtime.create_container(&pod.sandbox, config).await.unwrap();
    pod.runtime.start_container(&pod.id(name)).await.unwrap();
    pod.exit(name).await;
    pod.log(name)
}

// R12.29: a container swaps a directory of its volume for a link to the node while others mount it.
#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_link_never_leads_out_of_the_volume() {
    let pod = Pod::new("swap").await;
    let root = pod.root();
    let (volume, outside) = (root.path().join("volume"), root.path().join("outside"));
    for (folder, word) in [(volume.join("real"), "inside"), (outside.clone(), "escaped")] {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("word"), word).unwrap();
    }
    symlink(&outside, volume.join("link")).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let (stop, volume) = (Arc::clone(&stop), volume.clone());
        std::fs::rename(volume.join("real"), volume.join("a")).unwrap();
        move || {
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let (a, link) = (volume.join("a"), volume.join("link"));
                rustix::fs::renameat_with(rustix::fs::CWD, &a, rustix::fs::CWD, &link, flags).unwrap();
            }
        }
    });
    for round in 0..40 {
        let name = format!("c{round}");
        let mut config = pod.config(&name, &["cat", "/m/word"], Security::default());
        config.mounts = vec![Mount { sub_path: "a".into(), ..mount(&volume, "/m") }];
        pod.runtime.create_container(&pod.sandbox, config).await.unwrap();
        // At the moment of mounting it is a directory, or the container is refused.
        if pod.runtime.start_container(&pod.id(&name)).await.is_ok() {
            pod.exit(&name).await;
            assert!(pod.log(&name).ends_with("inside\n"), "{}", pod.log(&name));
        }
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    pod.close().await;
}

// R12.29: links out, `..` and devices are refused; a link inside is followed.
#[tokio::test]
async fn a_sub_path_stays_inside() {
    let pod = Pod::new("beneath").await;
    let volume = pod.root().path().join("volume");
    std::fs::create_dir_all(volume.join("a")).unwrap();
    std::fs::write(volume.join("a/word"), "inside").unwrap();
    symlink("a", volume.join("in")).unwrap();
    symlink("/etc", volume.join("out")).unwrap();
    symlink("..", volume.join("up")).unwrap();
    let (node, mode) = (volume.join("null"), rustix::fs::Mode::from_raw_mode(0o666));
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, &node, kind, mode, rustix::fs::makedev(1, 3)).unwrap();
    for (index, hostile) in ["out", "up", "../volume", "null", "none"].into_iter().enumerate() {
        let name = format!("h{index}");
        let mut config = pod.config(&name, &["sh", "-c", "exit 0"], Security::default());
        config.mounts = vec![Mount { sub_path: hostile.into(), ..mount(&volume, "/m") }];
        pod.runtime.create_container(&pod.sandbox, config).await.unwrap();
        pod.runtime.start_container(&pod.id(&name)).await.expect_err(hostile);
    }
    let inner = Mount { sub_path: "in".into(), ..mount(&volume, "/m") };
    assert!(run(&pod, "c", "cat /m/word; echo", vec![inner], Security::default()).await.contains("F inside"));
    pod.close().await;
}

// R12.5: what a privileged container mounts is seen on the node, and the other way round.
#[tokio::test]
async fn mounts_pass_in_both_directions() {
    let pod = Pod::new("shared").await;
    let share = pod.root().path().join("share");
    std::fs::create_dir_all(&share).unwrap();
    let both = || Mount { propagation: Propagation::Shared, ..mount(&share, "/m") };
    let mut config = pod.config("no", &["sh", "-c", "exit 0"], Security::default());
    config.mounts = vec![both()];
    pod.runtime.create_container(&pod.sandbox, config).await.unwrap();
    rustix::mount::mount("tmpfs", &share, "tmpfs", MountFlags::empty(), None).unwrap();
    rustix::mount::mount_change(&share, MountPropagationFlags::PRIVATE).unwrap();
    let refused = pod.runtime.start_container(&pod.id("no")).await.unwrap_err().to_string();
    assert!(refused.contains("is mounted on a mount that is not shared"), "{refused}");
    rustix::mount::mount_change(&share, MountPropagationFlags::SHARED).unwrap();
    std::fs::create_dir(share.join("x")).unwrap();
    let privileged = Security { privileged: true, ..Security::default() };
    let script =
        "mount -t tmpfs in /m/x && echo hello > /m/x/word && echo up && read go < /go && cat /m/y/word";
    let mut config = pod.config("c", &["sh", "-c", script], privileged);
    config.mounts = vec![both()];
    pod.runtime.create_container(&pod.sandbox, config).await.unwrap();
    pod.runtime.start_container(&pod.id("c")).await.unwrap();
    pod.wait_for_log("c", "up").await;
    assert_eq!(std::fs::read_to_string(share.join("x/word")).unwrap(), "hello\n");
    std::fs::create_dir(share.join("y")).unwrap();
    rustix::mount::mount("tmpfs", share.join("y"), "tmpfs", MountFlags::empty(), None).unwrap();
    std::fs::write(share.join("y/word"), "back\n").unwrap();
    let ContainerState::Running { pid, .. } = pod.container("c").await.state else { panic!("it runs") };
    std::fs::write(format!("/proc/{pid}/root/go"), "\n").unwrap();
    assert_eq!(pod.exit("c").await.code, 0);
    assert!(pod.log("c").contains("F back"));
    for place in ["y", "x", ""] {
        rustix::mount::unmount(share.join(place), UnmountFlags::DETACH).unwrap();
    }
    pod.close().await;
}

// R12.28: layers put together, read-only, nothing to execute; R12.6: read-only all the way down.
#[tokio::test]
async fn image_volumes_are_only_read() {
    let pod = Pod::new("images").await;
    let layer = |name: &str| pod.root().path().join(name);
    for (name, file) in [("lower", "one"), ("upper", "two"), ("upper", "one"), ("lower", "deep/three")] {
        let path = layer(name).join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("{name} {file}\n")).unwrap();
    }
    std::fs::copy("/bin/busybox", layer("upper").join("busybox")).unwrap();
    let image =
        |layers: Vec<PathBuf>, target: &str| Mount { layers, target: target.into(), ..Mount::default() };
    let mounts = vec![
        image(vec![layer("upper"), layer("lower")], "/two"),
        image(vec![layer("lower")], "/one"),
        Mount { sub_path: "deep".into(), ..image(vec![layer("upper"), layer("lower")], "/deep") },
    ];
    let script = "cat /two/one /two/two /one/one /deep/three; echo x > /two/new; echo x > /one/new; \
                  /two/busybox echo ran; echo end";
    let log = run(&pod, "c", script, mounts, Security::default()).await;
    for wanted in ["upper one", "upper two", "lower one", "lower deep/three", "Read-only file system", "end"]
    {
        assert!(log.contains(wanted), "{wanted}\n{log}");
    }
    assert!(!log.contains("F ran") && log.contains("ermission denied"), "{log}");
    pod.close().await;
}

// R13.24: a profile from a file is obeyed; one that is not there is told before anything runs.
#[tokio::test]
async fn a_seccomp_profile_from_a_file_is_obeyed() {
    let pod = Pod::new("profile").await;
    let file = pod.root().path().join("profile.json");
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}"#;
    std::fs::write(&file, profile).unwrap();
    let confined = |path: PathBuf| Security { seccomp: Seccomp::Localhost(path), ..Security::default() };
    let script = "/bin/busybox mkdir /tmp/x; echo end";
    let log = run(&pod, "c", script, Vec::new(), confined(file)).await;
    assert!(log.contains("No space left on device") && log.contains("F end"), "{log}");
    let missing = pod.config("d", &["sh"], confined("/no/such/profile.json".into()));
    let error = pod.runtime.create_container(&pod.sandbox, missing).await.unwrap_err().to_string();
    assert!(error.contains("cannot load seccomp profile /no/such/profile.json: No such file"), "{error}");
    pod.close().await;
}

// R13.24: a profile nobody has loaded, or a kernel without AppArmor, starts nothing unconfined.
#[tokio::test]
async fn an_app_armor_profile_that_is_not_there_is_told() {
    let pod = Pod::new("armor").await;
    let confined = Security { app_armor: Some("no-such-profile".into()), ..Security::default() };
    pod.runtime
        .create_container(&pod.sandbox, pod.config("c", &["sh", "-c", "exit 0"], confined))
        .await
        .unwrap();
    let error = pod.runtime.start_container(&pod.id("c")).await.unwrap_err().to_string();
    assert!(error.contains("AppArmor profile no-such-profile"), "{error}");
    pod.close().await;
}

// R13.25: root inside is somebody else on the node, and its files are root's inside all the same.
#[tokio::test]
async fn a_user_namespace_has_its_own_root() {
    let base = 65_536 * 41;
    let pod = Pod::with("users", |config| config.user_namespace = Some((base, 65_536))).await;
    let volume = pod.root().path().join("volume");
    std::fs::create_dir_all(&volume).unwrap();
    std::fs::write(volume.join("old"), "").unwrap();
    let script = "cat /proc/self/uid_map; id -u; /bin/busybox stat -c '%n %u' / /m/old /bin /dev/shm;                   grep CapEff /proc/self/status; echo x > /new && echo x > /m/new && mount -t tmpfs x /tmp &&                   echo mounted; echo up; read go < /go; echo end";
    let all: Vec<u8> = (0..41).collect();
    let mut config =
        pod.config("c", &["sh", "-c", script], Security { capabilities: all, ..Security::default() });
    config.mounts = vec![mount(&volume, "/m")];
    pod.runtime.create_container(&pod.sandbox, config).await.unwrap();
    pod.runtime.start_container(&pod.id("c")).await.unwrap();
    pod.wait_for_log("c", "F up").await;
    let log = pod.log("c");
    for wanted in ["F 0\n", "/ 0", "/m/old 0", "/bin 0", "/dev/shm 0", "F mounted"] {
        assert!(log.contains(&wanted.replace("\\n", "\n")), "{wanted}\n{log}");
    }
    assert!(log.contains(&format!("{base}")), "{log}");
    let ContainerState::Running { pid, .. } = pod.container("c").await.state else { panic!("it runs") };
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(std::fs::metadata(format!("/proc/{pid}")).unwrap().uid(), base);
    assert_eq!(std::fs::metadata(volume.join("new")).unwrap().uid(), 0);
    let io = outrigger_runtime::IoOptions { stdout: true, ..Default::default() };
    let command = ["sh", "-c", "cat /proc/self/uid_map; id -u; cat /new; echo > /go"].map(str::to_owned);
    let mut process = pod.runtime.exec(&pod.id("c"), &command, io).await.unwrap();
    let said = crate::suite::read_all(process.stdout.take()).await;
    assert!(said.contains(&base.to_string()) && said.contains("\n0\nx\n"), "{said}");
    assert_eq!(pod.exit("c").await.code, 0);
    pod.close().await;
}
