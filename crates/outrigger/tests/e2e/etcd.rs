//! A cluster whose objects are in a real etcd. Needs root.

use std::process::Stdio;
use std::sync::Arc;

use outrigger_testkit::{Etcd, Program, binary};
use tokio::process::Command;

use crate::kubectl::{THREE, init_sidecar_app, walk};
use crate::suite::{Cluster, Images, PATIENCE, kubectls};

/// What people type works the same, with the newest kubectl; the older one has been through it on the embedded store.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_drives_it_on_etcd() {
    let images = Arc::new(Images::start().await);
    let etcd = Etcd::start(images.folder.path()).await.unwrap();
    let store = format!("etcd={}", etcd.url());
    let cluster = Cluster::up_with(images, "10.207.0.0/24", &["--store", &store]).await;
    walk(&cluster.kubectl(kubectls().iter().max().unwrap())).await;
    cluster.down().await;
}

/// M13, M15: Pods, watches and objects outlive a crash of etcd, and objects one of the program too.
#[tokio::test(flavor = "multi_thread")]
async fn etcd_comes_back_and_everything_goes_on() {
    let images = Arc::new(Images::start().await);
    let mut etcd = Etcd::start(images.folder.path()).await.unwrap();
    let store = format!("etcd={}", etcd.url());
    let mut cluster = Cluster::up_with(images, "10.208.0.0/24", &["--store", &store]).await;
    let program = kubectls().pop().unwrap();
    let kubectl = cluster.kubectl(&program);
    init_sidecar_app(&kubectl).await;

    let endless = THREE.replace("[sh, -c, cat /work/file]", "[sh, -c, \"while :; do sleep 0.1; done\"]");
    let mut command = kubectl.command("get pods -w -o name");
    command.stderr(Stdio::null());
    let mut watch = Program::start(command).unwrap();
    kubectl.apply(&endless).await;
    kubectl.run("wait --for=condition=Ready pod/three --timeout=100s").await;
    watch.wait_for(PATIENCE, |line| line == "pod/three").await.unwrap();
    etcd.restart().await.unwrap();
    kubectl.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept}\ndata: {a: b}\n").await;
    kubectl.apply(&endless.replace("name: three", "name: later")).await;
    watch.wait_for(PATIENCE, |line| line == "pod/later").await.unwrap();
    kubectl.run("wait --for=condition=Ready pod/later pod/three --timeout=100s").await;
    watch.kill().await.unwrap();

    cluster.kill().await;
    etcd.restart().await.unwrap();
    cluster.start().await;
    let kubectl = cluster.kubectl(&program);
    assert_eq!(kubectl.run("get configmap kept -o jsonpath={.data.a}").await, "b");
    let counts = "get pods three later -o jsonpath={.items[*].status.containerStatuses[0].restartCount}";
    assert_eq!(kubectl.run(counts).await, "0 0");
    kubectl.run("delete pod three later --grace-period=1").await;
    cluster.down().await;
}

/// A store that cannot be had is named before anything is started.
#[tokio::test]
async fn stores_that_cannot_be_had_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (store, code, wanted) in [
        ("postgres", 64, "etcd=http://HOST:PORT"),
        ("etcd=127.0.0.1:2379", 64, "does not begin with http://"),
        ("etcd=https://127.0.0.1:2379", 64, "--etcd-cafile"),
        ("etcd=http://127.0.0.1:1", 1, "etcd at http://127.0.0.1:1: Connection refused"),
    ] {
        let mut command = Command::new(binary("outrigger").unwrap());
        command.args(["up", "--listen", "127.0.0.1:0", "--store", store, "--data-dir"]).arg(folder.path());
        let output = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{store}: {said}");
        assert!(said.contains(wanted), "{store}: {said}");
    }
}
