//! What separates a Pod from its node, and what does not: namespaces of the host, `/proc`, mounts below mounts,
//! hostile volumes (sections 12 and 13).

use std::path::Path;

use super::{Shell, delete, get, wait};
use crate::suite::Kubectl;

const HOST: &str = "apiVersion: v1
kind: Pod
metadata: {name: host}
spec:
  terminationGracePeriodSeconds: 1
  hostPID: true
  hostIPC: true
  containers:
  - {name: a, image: busybox, command: [sleep, \"1000\"]}
";

/// R2.14, R2.15: hostPID and hostIPC are the node's own namespaces, and only where they are asked for.
pub(super) async fn namespaces_of_the_host(kubectl: &Kubectl) {
    kubectl.apply(HOST).await;
    kubectl.apply(&HOST.replace("name: host", "name: own").replace(": true", ": false")).await;
    let link =
        |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
    for (pod, shared) in [("host", true), ("own", false)] {
        wait(kubectl, pod, "condition=Ready").await;
        let a = Shell { kubectl, pod, container: "a" };
        for kind in ["pid", "ipc"] {
            let inside = a.run(&format!("readlink /proc/self/ns/{kind}")).await;
            assert_eq!(inside.trim() == link(kind), shared, "{pod} {kind} {inside}");
        }
        let seen = a.run(&format!("test -d /proc/{} && echo seen || echo hidden", std::process::id())).await;
        assert_eq!(seen.trim(), if shared { "seen" } else { "hidden" }, "{pod}");
    }
    // The container ends with its Pod, whoever's processes it sees.
    delete(kubectl, "host").await;
    delete(kubectl, "own").await;
}

const PROC: &str = "apiVersion: v1
kind: Pod
metadata: {name: proc}
spec:
  terminationGracePeriodSeconds: 1
  hostUsers: false
  containers:
  - {name: masked, image: busybox, command: [sleep, \"1000\"]}
  - name: bare
    image: busybox
    command: [sleep, \"1000\"]
    securityContext: {procMount: Unmasked}
";

/// R13.25: masked paths are empty and read-only ones refuse, unless `procMount` says otherwise.
pub(super) async fn masked_and_bare_proc(kubectl: &Kubectl) {
    kubectl.apply(PROC).await;
    wait(kubectl, "proc", "condition=Ready").await;
    let masked = Shell { kubectl, pod: "proc", container: "masked" };
    let bare = Shell { container: "bare", ..masked };
    // Each masked or read-only path is a mount of its own.
    let count = "grep -cE ' /proc/(kcore|keys|timer_list|sys|irq|bus|fs|sysrq-trigger) ' /proc/self/mountinfo || true";
    let masks: u32 = masked.run(count).await.trim().parse().unwrap();
    assert!(masks >= 5, "{masks}");
    assert_eq!(bare.run(count).await.trim(), "0");
    let size = "wc -c < /proc/timer_list 2>/dev/null || echo none";
    assert_eq!(masked.run(size).await.trim(), "0");
    let refused = masked.run("(echo 1 > /proc/sys/net/ipv4/ip_forward) 2>&1; true").await;
    assert!(refused.contains("Read-only file system"), "{refused}");
    delete(kubectl, "proc").await;
}

fn mounts_below(folder: &Path) -> String {
    let path = folder.display();
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: below}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: busybox
    command: [sleep, \"1000\"]
    volumeMounts:
    - {{name: tree, mountPath: /top, readOnly: true}}
    - {{name: tree, mountPath: /all, readOnly: true, recursiveReadOnly: Enabled}}
    - {{name: tree, mountPath: /best, readOnly: true, recursiveReadOnly: IfPossible}}
  volumes: [{{name: tree, hostPath: {{path: {path}, type: Directory}}}}]
"
    )
}

/// R12.6: a read-only mount leaves what is mounted below it writable, a recursively read-only one does not.
pub(super) async fn read_only_all_the_way_down(kubectl: &Kubectl) {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &inner, "tmpfs", flags, None).unwrap();
    kubectl.apply(&mounts_below(folder.path())).await;
    wait(kubectl, "below", "condition=Ready").await;
    let a = Shell { kubectl, pod: "below", container: "a" };
    let touch = |place: &str| format!("touch /{place}/x 2>/dev/null && echo written || echo refused");
    for (place, wanted) in [
        ("top", "refused"),
        ("top/inner", "written"),
        ("all", "refused"),
        ("all/inner", "refused"),
        ("best/inner", "refused"),
    ] {
        assert_eq!(a.run(&touch(place)).await.trim(), wanted, "{place}");
    }
    let status = get(kubectl, "below").await["status"]["containerStatuses"][0]["volumeMounts"].clone();
    let shown: Vec<&str> = ["/top", "/all", "/best"]
        .iter()
        .map(|path| {
            let mounts = status.as_array().unwrap();
            let mount = mounts.iter().find(|mount| mount["mountPath"] == *path).unwrap();
            mount["recursiveReadOnly"].as_str().unwrap_or("")
        })
        .collect();
    assert_eq!(shown, ["Disabled", "Enabled", "Enabled"], "{status}");
    delete(kubectl, "below").await;
    rustix::mount::unmount(&inner, rustix::mount::UnmountFlags::DETACH).unwrap();
}

/// The first container of the Pod swaps a directory of the shared volume for links to the node without end; a device
/// node and links that lead up lie beside it.
const HOSTILE: &str = "apiVersion: v1
kind: Pod
metadata: {name: hostile}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
  - name: traps
    image: busybox
    command:
    - sh
    - -c
    - cd /v && mkdir good && echo inside > good/word && ln -s /etc out && ln -s .. up && mknod null c 1 3 && ln -s good in
    volumeMounts: [{name: v, mountPath: /v}]
  containers:
  - name: swap
    image: busybox
    command:
    - sh
    - -c
    - cd /v && while :; do mv -T good kept && ln -s /etc good; rm good; mv -T kept good; done
    volumeMounts: [{name: v, mountPath: /v}]
";

fn victim(name: &str, sub_path: &str) -> String {
    format!(
        "  - name: {name}
    image: busybox
    command: [sh, -c, \"test ! -e /m/passwd && test ! -e /m/hostname && sleep 0.05 && exit 1\"]
    volumeMounts: [{{name: v, mountPath: /m, subPath: '{sub_path}'}}]
"
    )
}

/// R12.29: volumes whose content is hostile cannot be left through `subPath`: not by links, not by `..`, not by device
/// nodes, not by a link that is swapped in while the container starts again and again.
pub(super) async fn hostile_volumes_are_not_left(kubectl: &Kubectl) {
    let mut pod = HOSTILE.to_owned();
    for (name, sub_path) in
        [("raced", "good"), ("out", "out"), ("up", "up/up"), ("device", "null"), ("in", "in")]
    {
        pod += &victim(name, sub_path);
    }
    pod += "  volumes: [{name: v, emptyDir: {}}]\n";
    kubectl.apply(&pod).await;
    let said = kubectl.try_run("apply -f -", &pod.replace("up/up", "../x").replace("hostile", "dots")).await;
    assert!(said.code == 1 && said.err.contains("must not contain '..'"), "{}", said.err);
    let of = |status: &serde_json::Value, name: &str| {
        let all = status["containerStatuses"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|container| container["name"] == name).unwrap_or_default()
    };
    // The raced one has run or been refused by then, which a swap at the wrong moment puts off by a retry or two; the
    // others wait with the words of R12.29 for ever.
    let settled = async || {
        let status = get(kubectl, "hostile").await["status"].clone();
        let waits = ["out", "up", "device"].iter().all(|name| {
            let waiting = of(&status, name)["state"]["waiting"].clone();
            let text = format!("for volumeMount \"v\" of container \"{name}\"");
            waiting["message"].as_str().is_some_and(|message| message.contains(&text))
        });
        let raced = of(&status, "raced")["restartCount"].as_u64().unwrap_or(0);
        let inside = of(&status, "in")["restartCount"].as_u64().unwrap_or(0);
        waits && raced >= 1 && inside >= 1
    };
    super::eventually(settled).await;
    let status = get(kubectl, "hostile").await["status"].clone();
    for name in ["raced", "in"] {
        // 1 is what a victim says that saw nothing of the node, 128 that it was refused at the moment of mounting;
        // anything else would have been an escape.
        let ended = of(&status, name)["lastState"]["terminated"]["exitCode"].clone();
        assert!(ended == 1 || ended == 128, "{name} {status}");
    }
    let device = of(&status, "device");
    assert!(device["state"]["running"].is_null() && device["ready"] == false, "{device}");
    assert!(!status.to_string().contains("/etc"), "no word of the node: {status}");
    delete(kubectl, "hostile").await;
}
