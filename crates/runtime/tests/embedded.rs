//! The embedded runtime with real containers: needs root and the static busybox of Debian's busybox-static.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounts;
mod suite;

use outrigger_runtime::{ContainerState, IoOptions, Runtime, RuntimeError, Security};
use suite::{Pod, read_all};
use tokio::io::AsyncWriteExt;

// R14.7, R9.25
#[tokio::test]
async fn a_container_runs_logs_and_leaves_its_code() {
    let pod = Pod::new("runs").await;
    pod.run("c", &["sh", "-c", "echo out; echo err >&2; exit 7"]).await;
    let exit = pod.exit("c").await;
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (7, None, false));
    let log = pod.log("c");
    assert!(log.contains(" stdout F out\n") && log.contains(" stderr F err\n"), "{log}");
    pod.close().await;
}

// R5.32
#[tokio::test]
async fn a_program_that_is_not_there_is_an_exited_instance() {
    let pod = Pod::new("nosuch").await;
    pod.create("c", &["/no/such"], Security::default()).await;
    let error = pod.runtime.start_container(&pod.id("c")).await.unwrap_err();
    let text = "exec: \"/no/such\": stat /no/such: no such file or directory";
    assert!(matches!(&error, RuntimeError::CannotExecute(message) if message == text), "{error}");
    let exit = pod.exit("c").await;
    assert_eq!((exit.code, exit.start_error.as_str()), (128, text));
    pod.close().await;
}

// R8.24
#[tokio::test]
async fn a_signal_ends_a_container_that_handles_it() {
    let pod = Pod::new("signal").await;
    pod.run("c", &["sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done"]).await;
    pod.wait_for_log("c", "up").await;
    pod.runtime.signal_container(&pod.id("c"), 15).await.unwrap();
    assert_eq!(pod.exit("c").await.code, 3);
    pod.close().await;
}

// R14.18
#[tokio::test]
async fn exec_runs_beside_with_its_own_streams() {
    let pod = Pod::new("exec").await;
    pod.run("c", &["sleep", "1000"]).await;
    let io = IoOptions { stdin: true, stdout: true, stderr: true, tty: false };
    let command = ["sh", "-c", "cat; echo no >&2; exit 5"].map(str::to_owned);
    let mut process = pod.runtime.exec(&pod.id("c"), &command, io).await.unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(b"hello").await.unwrap();
    drop(stdin);
    assert_eq!(read_all(process.stdout.take()).await, "hello");
    assert_eq!(read_all(process.stderr.take()).await, "no\n");
    assert_eq!(process.exit.await.unwrap(), Some(5));
    let missing = pod.runtime.exec(&pod.id("c"), &["nosuch".to_owned()], io).await.unwrap_err();
    assert_eq!(missing.to_string(), "exec: \"nosuch\": executable file not found in $PATH");
    pod.close().await;
}

// R14.18
#[tokio::test]
async fn exec_on_a_terminal_has_a_size() {
    let pod = Pod::new("tty").await;
    pod.run("c", &["sleep", "1000"]).await;
    let io = IoOptions { stdin: true, stdout: true, stderr: false, tty: true };
    let command = ["sh", "-c", "read go; tty; stty size"].map(str::to_owned);
    let mut process = pod.runtime.exec(&pod.id("c"), &command, io).await.unwrap();
    process.resize.as_ref().unwrap().send((100, 40)).await.unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(b"go\n").await.unwrap();
    let text = read_all(process.stdout.take()).await;
    assert!(text.contains("/dev/pts/0") && text.contains("40 100"), "{text}");
    assert_eq!(process.exit.await.unwrap(), Some(0));
    pod.close().await;
}

// R14.21
#[tokio::test]
async fn an_exec_goes_with_its_container() {
    let pod = Pod::new("execgoes").await;
    pod.run("c", &["sh", "-c", "read go < /go; exit 6"]).await;
    let io = IoOptions { stdout: true, ..IoOptions::default() };
    let endless = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1000; done"].map(str::to_owned);
    let mut process = pod.runtime.exec(&pod.id("c"), &endless, io).await.unwrap();
    let mut output = process.stdout.take().unwrap();
    let mut up = [0; 3];
    tokio::io::AsyncReadExt::read_exact(&mut output, &mut up).await.unwrap();
    let go = ["sh", "-c", "echo > /go"].map(str::to_owned);
    pod.runtime.exec(&pod.id("c"), &go, io).await.unwrap().exit.await.unwrap();
    assert_eq!(pod.exit("c").await.code, 6);
    assert_ne!(process.exit.await.unwrap(), Some(0));
    pod.close().await;
}

// R14.19: on a terminal there is one stream, whatever is asked for. It has a name inside.
#[tokio::test]
async fn a_terminal_has_one_stream() {
    let pod = Pod::new("attachtty").await;
    let script = "read go; tty; stty size && echo err >&2; exit 0";
    let config = outrigger_runtime::ContainerConfig {
        tty: true,
        stdin: true,
        ..pod.config("c", &["sh", "-c", script], Security::default())
    };
    pod.runtime.create_container(&pod.sandbox, config).await.unwrap();
    pod.runtime.start_container(&pod.id("c")).await.unwrap();
    let io = IoOptions { stdin: true, stdout: true, stderr: false, tty: true };
    let mut attached = pod.runtime.attach(&pod.id("c"), io).await.unwrap();
    let mut stdin = attached.stdin.take().unwrap();
    stdin.write_all(b"go\n").await.unwrap();
    assert_eq!(pod.exit("c").await.code, 0);
    let text = read_all(attached.stdout.take()).await;
    assert!(text.contains("/dev/pts/0") && text.contains("err"), "{text}");
    assert!(attached.stderr.is_none());
    let log = pod.log("c");
    assert!(log.contains(" stdout F err") && !log.contains(" stderr "), "{log}");
    pod.close().await;
}

/// The agent goes, the container stays, the next agent knows it (decision 6).
#[tokio::test]
async fn a_new_agent_adopts_what_runs_and_misses_nothing() {
    let mut pod = Pod::new("adopt").await;
    pod.run("c", &["sh", "-c", "echo one; read go < /go; echo two; exit 4"]).await;
    pod.run("d", &["sh", "-c", "exit 9"]).await;
    pod.wait_for_log("c", "one").await;
    pod.exit("d").await;
    let before = pod.container("c").await;
    pod.reopen().await;
    assert_eq!(pod.container("c").await.state, before.state);
    assert_eq!(pod.exit("d").await.code, 9);
    let io = IoOptions { stdout: true, ..IoOptions::default() };
    let command = ["sh", "-c", "echo > /go"].map(str::to_owned);
    let go = pod.runtime.exec(&pod.id("c"), &command, io).await.unwrap();
    go.exit.await.unwrap();
    assert_eq!(pod.exit("c").await.code, 4);
    assert!(pod.log("c").contains(" stdout F two\n"));
    pod.close().await;
}

// R13.21, R13.23, R13.25
#[tokio::test]
async fn identity_is_what_was_asked_for() {
    let pod = Pod::new("identity").await;
    let security = Security {
        uid: 1000,
        gid: 2000,
        groups: vec![3000],
        no_new_privileges: true,
        mask_paths: true,
        seccomp: outrigger_runtime::Seccomp::RuntimeDefault,
        ..Security::default()
    };
    let script = "id -u; id -g; id -G; grep -E 'CapEff|NoNewPrivs|^Seccomp:' /proc/self/status; hostname; mount -t tmpfs x /tmp; echo done";
    pod.create("c", &["sh", "-c", script], security).await;
    pod.runtime.start_container(&pod.id("c")).await.unwrap();
    assert_eq!(pod.exit("c").await.code, 0);
    let log = pod.log("c");
    for wanted in [
        "F 1000",
        "F 2000",
        "F 2000 3000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "F box",
        "F done",
    ] {
        assert!(log.contains(wanted), "{wanted}\n{log}");
    }
    pod.close().await;
}

// R9.30
#[tokio::test]
async fn a_container_over_its_memory_limit_is_killed_and_known_to_be() {
    let pod = Pod::new("oom").await;
    let mut config = pod.config("c", &["sh", "-c", "x=a; while :; do x=$x$x; done"], Security::default());
    config.resources.memory_limit = Some(16 << 20);
    pod.runtime.create_container(&pod.sandbox, config).await.unwrap();
    pod.runtime.start_container(&pod.id("c")).await.unwrap();
    let exit = pod.exit("c").await;
    assert_eq!((exit.code, exit.oom_killed), (137, true));
    pod.close().await;
}

#[tokio::test]
async fn nothing_stays_behind() {
    let pod = Pod::new("gone").await;
    pod.run("c", &["sleep", "1000"]).await;
    let ContainerState::Running { pid, .. } = pod.container("c").await.state else { panic!("it runs") };
    let (root, cgroup) = (pod.root(), pod.cgroup.clone());
    pod.close().await;
    assert!(!std::path::Path::new(&format!("/proc/{pid}/cwd")).exists());
    assert_eq!(std::fs::read_dir(root.path().join("runtime")).unwrap().count(), 0);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(root.path().to_str().unwrap()));
    for tree in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        assert!(!tree.path().join(&cgroup).exists(), "{}", tree.path().display());
    }
}
