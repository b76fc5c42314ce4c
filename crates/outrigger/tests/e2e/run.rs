//! `outrigger run`: what scripts rely on. Needs root.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use outrigger_testkit::{Program, binary};
use rustix::process::Signal;
use tokio::process::Command;

use crate::suite::{Images, PATIENCE};

mod leftovers;

/// `outrigger run` with everything it leaves in a folder of the test's.
fn command(images: &Images, cidr: &str, more: &[&str]) -> Command {
    let mut command = Command::new(binary("outrigger").unwrap());
    command.args(["run", "--pod-cidr", cidr, "--registry-config"]).arg(&images.certs);
    command.arg("--image-dir").arg(images.folder.path().join("images")).args(more);
    // Its temporary folder is here, so that what is left behind can be seen.
    command.env("TMPDIR", temporary(images));
    command
}

fn temporary(images: &Images) -> PathBuf {
    let folder = images.folder.path().join("tmp");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn written(images: &Images, cidr: &str, manifest: &str) -> PathBuf {
    let file = images.folder.path().join(format!("{}.yaml", cidr.replace(['.', '/'], "-")));
    std::fs::write(&file, manifest).unwrap();
    file
}

pub(crate) async fn run(images: &Images, cidr: &str, manifest: &str, more: &[&str]) -> Output {
    let mut command = command(images, cidr, more);
    let output = command.arg(written(images, cidr, manifest)).output().await.unwrap();
    assert_eq!(std::fs::read_dir(temporary(images)).unwrap().count(), 0, "a folder is left behind");
    output
}

/// A run that goes on.
pub(crate) struct Run(Program);

impl Run {
    pub(crate) fn start(images: &Images, cidr: &str, manifest: &str, more: &[&str]) -> Self {
        let mut command = command(images, cidr, more);
        command.arg(written(images, cidr, manifest));
        Self(Program::start(command).unwrap())
    }

    /// Waits for a line, of a container's or its own.
    pub(crate) async fn printed(&mut self, wanted: &str) {
        self.0.wait_for(PATIENCE, |line| line.contains(wanted)).await.unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.0.signal(signal).unwrap();
    }

    pub(crate) async fn ended(mut self) -> Option<i32> {
        self.0.wait(PATIENCE).await.unwrap().code()
    }
}

fn pod(policy: &str, script: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  restartPolicy: {policy}\n  containers:\n  - name: c\n    image: busybox\n    command: [sh, -c, {script:?}]\n"
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn output_and_exit_code_are_the_workloads() {
    let images = Images::start().await;
    let good = run(&images, "10.203.0.0/24", &pod("Never", "echo hello"), &[]).await;
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    assert_eq!(text(&good.stdout), "p/c | hello\n");
    // Plain lines about pulls where standard error is no terminal.
    assert!(
        text(&good.stderr).contains("pulled docker.io/library/busybox:latest ("),
        "{}",
        text(&good.stderr)
    );
    let bad = run(&images, "10.203.0.0/24", &pod("Never", "exit 42"), &[]).await;
    assert_eq!(bad.status.code(), Some(42), "{}", text(&bad.stderr));
    let endless = run(
        &images,
        "10.203.0.0/24",
        &pod("Always", "trap 'exit 0' TERM; while :; do sleep 0.05; done"),
        &["--timeout", "2s"],
    )
    .await;
    assert_eq!(endless.status.code(), Some(124), "{}", text(&endless.stderr));
    assert!(text(&endless.stderr).contains("timed out"));
    // R5.32: exit 128, and the path that is not there.
    let missing = pod("Never", "x").replace("[sh, -c, \"x\"]", "[/no/such]");
    let missing = run(&images, "10.203.0.0/24", &missing, &[]).await;
    assert_eq!(missing.status.code(), Some(128), "{}", text(&missing.stderr));
    assert!(text(&missing.stderr).contains("p/c: StartError") && text(&missing.stderr).contains("/no/such"));
}

/// R5.24: a run that cannot go on says why, with the registry's answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_image_is_told() {
    let images = Images::start().await;
    let manifest = pod("Never", "true").replace("busybox", "nosuch/image");
    let mut run = Run::start(&images, "10.208.0.0/24", &manifest, &[]);
    run.printed(" answered: ").await;
    run.signal(Signal::INT);
    assert_eq!(run.ended().await, Some(130));
}

/// Standard input, folders and many documents, in the order given.
#[tokio::test(flavor = "multi_thread")]
async fn manifests_come_from_everywhere() {
    use tokio::io::AsyncWriteExt as _;
    let images = Images::start().await;
    let folder = images.folder.path().join("manifests");
    std::fs::create_dir(&folder).unwrap();
    let settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {word: ahoy}\n";
    std::fs::write(folder.join("1.yaml"), settings).unwrap();
    let first = pod("Never", "echo $WORD").replace(
        "name: c\n",
        "name: c\n    env: [{name: WORD, valueFrom: {configMapKeyRef: {name: settings, key: word}}}]\n",
    );
    let second = pod("Never", "echo second").replace("name: p}", "name: q}");
    std::fs::write(folder.join("2.yml"), format!("---\n{first}---\n{second}")).unwrap();
    std::fs::write(folder.join("README"), "no manifest").unwrap();
    let mut command = command(&images, "10.207.0.0/24", &[]);
    command.arg(&folder).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let piped = pod("Never", "echo piped").replace("name: p}", "name: r}");
    child.stdin.take().unwrap().write_all(piped.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let mut lines: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["p/c | ahoy", "q/c | second", "r/c | piped"], "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_manifests_are_refused_with_their_place() {
    let images = Images::start().await;
    let broken = run(&images, "10.204.0.0/24", "a: [1\n", &[]).await;
    assert_eq!(broken.status.code(), Some(65));
    let message = text(&broken.stderr);
    assert!(message.contains("line 1") && message.contains("column"), "{message}");
    assert!(message.contains("10-204-0-0-24.yaml"), "{message}");
    let unknown = pod("Never", "true").replace("image:", "imagee:");
    let unknown = run(&images, "10.204.0.0/24", &unknown, &[]).await;
    assert_eq!(unknown.status.code(), Some(65));
    assert!(text(&unknown.stderr).contains("unknown field \"spec.containers[0].imagee\""));
    // The field's path and the type it should have, as the Kubernetes API says it.
    let wrong = pod("Never", "true").replace("name: c\n", "name: c\n    stdin: 5\n");
    let wrong = run(&images, "10.204.0.0/24", &wrong, &[]).await;
    assert_eq!(wrong.status.code(), Some(65));
    let message = text(&wrong.stderr);
    assert!(message.contains("Pod.spec.containers.stdin of type bool"), "{message}");
    let usage = Command::new(binary("outrigger").unwrap()).arg("run").output().await.unwrap();
    assert_eq!(usage.status.code(), Some(64));
}

/// A store that cannot be read is named and left as it is.
#[tokio::test]
async fn a_damaged_store_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store/store.redb");
    std::fs::create_dir(folder.path().join("store")).unwrap();
    let damaged = vec![0x5a; 64 * 1024];
    std::fs::write(&file, &damaged).unwrap();
    let mut up = Command::new(binary("outrigger").unwrap());
    up.args(["up", "--listen", "127.0.0.1:0", "--pod-cidr", "10.209.0.0/24", "--data-dir"])
        .arg(folder.path());
    let output = up.output().await.unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(&file.display().to_string()), "{message}");
    assert_eq!(std::fs::read(&file).unwrap(), damaged);
}

/// A machine or a user that cannot run Pods is told what is missing and how to get it.
#[tokio::test(flavor = "multi_thread")]
async fn missing_privilege_is_named_with_its_fix() {
    let images = Images::start().await;
    let file = written(&images, "10.204.0.0-24", &pod("Never", "true"));
    let program = binary("outrigger").unwrap();
    let cases: [(&[&str], &str); 2] = [
        (&["setpriv", "--bounding-set", "-sys_admin"], "CAP_SYS_ADMIN"),
        (&["unshare", "--user"], "run it as root"),
    ];
    for (with, wanted) in cases {
        for verb in [vec!["run", file.to_str().unwrap()], vec!["up"], vec!["doctor"]] {
            let mut command = Command::new(with[0]);
            let output = command.args(&with[1..]).arg(&program).args(&verb).output().await.unwrap();
            assert_eq!(output.status.code(), Some(69), "{with:?} {verb:?}\n{}", text(&output.stderr));
            let said = text(&output.stdout) + &text(&output.stderr);
            assert!(said.contains(wanted), "{with:?} {verb:?}\n{said}");
        }
    }
}
