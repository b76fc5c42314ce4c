//! `outrigger run`: what scripts rely on. Needs root.

use std::process::Output;

use crate::suite::Images;
use outrigger_testkit::binary;

pub(crate) async fn run(images: &Images, cidr: &str, manifest: &str, more: &[&str]) -> Output {
    let file = images.folder.path().join(format!("{}.yaml", cidr.replace(['.', '/'], "-")));
    std::fs::write(&file, manifest).unwrap();
    let mut command = tokio::process::Command::new(binary("outrigger").unwrap());
    command.args(["run", "--pod-cidr", cidr, "--registry-config"]).arg(&images.certs);
    command.arg("--image-dir").arg(images.folder.path().join("images")).args(more).arg(&file);
    // Its temporary folder is here, so that what is left behind can be seen.
    let temporary = images.folder.path().join("tmp");
    std::fs::create_dir_all(&temporary).unwrap();
    command.env("TMPDIR", &temporary);
    let output = command.output().await.unwrap();
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "a folder is left behind");
    output
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
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_manifests_are_refused_with_their_place() {
    let images = Images::start().await;
    let broken = run(&images, "10.204.0.0/24", "a: [1\n", &[]).await;
    assert_eq!(broken.status.code(), Some(65));
    let message = text(&broken.stderr);
    assert!(message.contains("line 1") && message.contains("10-204-0-0-24.yaml"), "{message}");
    let unknown = pod("Never", "true").replace("image:", "imagee:");
    let unknown = run(&images, "10.204.0.0/24", &unknown, &[]).await;
    assert_eq!(unknown.status.code(), Some(65));
    assert!(text(&unknown.stderr).contains("unknown field \"spec.containers[0].imagee\""));
    let usage = tokio::process::Command::new(binary("outrigger").unwrap()).arg("run").output().await.unwrap();
    assert_eq!(usage.status.code(), Some(64));
}
