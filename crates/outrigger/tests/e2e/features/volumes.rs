//! What a container finds mounted (section 12).

use super::{Shell, delete, eventually, wait};
use crate::suite::Kubectl;

const OBJECTS: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: red, env.txt: \"A='from a file'\\n\"}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {key: s3cret}
";

const POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: mounts, labels: {tier: front}}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {fsGroup: 3000, supplementalGroups: [4000], runAsUser: 1000, runAsGroup: 2000}
  initContainers:
  - name: writes
    image: busybox
    command: [sh, -c, \"printf \\\"A='from a file'\\\\n\\\" > /work/env; echo data > /work/word; echo $IP $S_colour > /work/init\"]
    env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    envFrom: [{configMapRef: {name: settings}, prefix: S_}]
    volumeMounts: [{name: work, mountPath: /work}]
  containers:
  - name: a
    image: busybox
    command: [sleep, \"1000\"]
    env:
    - {name: WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: A, valueFrom: {fileKeyRef: {volumeName: work, path: env, key: A}}}
    envFrom: [{configMapRef: {name: settings}, prefix: S_}]
    volumeMounts:
    - {name: work, mountPath: /work}
    - {name: work, mountPath: /mine, subPathExpr: \"of-$(WHO)\"}
    - {name: memory, mountPath: /memory}
    - {name: settings, mountPath: /settings}
    - {name: settings, mountPath: /one/colour, subPath: colour}
    - {name: all, mountPath: /all}
    - {name: late, mountPath: /late}
    - {name: tools, mountPath: /tools}
    - {name: tools, mountPath: /tools-bin, subPath: bin}
    - {name: work, mountPath: /only-read, readOnly: true, recursiveReadOnly: Enabled}
  volumes:
  - {name: work, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 4Mi}}
  - {name: settings, configMap: {name: settings}}
  - {name: late, configMap: {name: late, optional: true}}
  - {name: tools, image: {reference: busybox, pullPolicy: IfNotPresent}}
  - name: all
    projected:
      defaultMode: 288
      sources:
      - secret: {name: keys}
      - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
      - serviceAccountToken: {path: token, expirationSeconds: 600}
";

/// R3.17, R11.7, R12.4-R12.30, R13.20, M20.
pub(super) async fn everything_is_mounted(kubectl: &Kubectl) {
    kubectl.apply(OBJECTS).await;
    kubectl.apply(POD).await;
    wait(kubectl, "mounts", "condition=Ready").await;
    let a = Shell { kubectl, pod: "mounts", container: "a" };
    for (script, wanted) in [
        // R12.7, R12.8, R13.20
        ("id -G", "2000 3000 4000"),
        ("stat -c '%g %a' /work /memory", "3000 2777\n3000 3777"),
        ("touch /work/new && stat -c %g /work/new", "3000"),
        // R11.5, R11.7
        ("echo $A $S_colour", "from a file red"),
        // R12.29, R12.30
        ("echo x > /mine/y; ls /work/of-mounts; cat /one/colour", "y\nred"),
        // R12.11
        ("dd if=/dev/zero of=/memory/x bs=1M count=8 2>/dev/null; stat -c %s /memory/x", "4194304"),
        // R12.4, R12.6
        ("touch /only-read/x /settings/x /tools/x 2>&1 | grep -c 'Read-only file system'", "3"),
        // R12.18, R12.24, R12.26
        ("cat /all/key; echo; cat /all/labels; tr -cd . < /all/token", "s3cret\ntier=\"front\".."),
        ("stat -L -c '%a %u %g' /all/key /all/token", "440 0 3000\n640 1000 3000"),
        // R12.28
        ("test -x /tools-bin/busybox || test -e /tools/bin/sh && echo there", "there"),
        ("/tools/bin/busybox echo ran 2>&1 | grep -c ran || echo refused", "0\nrefused"),
    ] {
        assert_eq!(a.run(script).await.trim(), wanted, "{script}");
    }
    // R12.17, R12.21, R12.24: content changes while the container runs, but not through a subPath.
    kubectl.run_with("replace -f -", &OBJECTS.replace("red", "blue")).await;
    kubectl.run("label pod mounts tier=back --overwrite").await;
    eventually(async || a.run("cat /settings/colour /all/labels").await == "bluetier=\"back\"").await;
    assert_eq!(a.run("cat /one/colour").await, "red");
    // M20: variables never change.
    assert_eq!(a.run("echo $S_colour").await.trim(), "red");
    // R3.17: an init container has the Pod's address, variables and volumes.
    let ip = kubectl.run("get pod mounts -o jsonpath={.status.podIP}").await;
    assert_eq!(a.run("cat /work/init").await.trim(), format!("{ip} red"));
    // R12.23: what is optional comes and goes; what is not stays as it was, with an event.
    assert_eq!(a.run("ls /late").await, "");
    // A change of the Pod's own metadata lets the node look at once.
    kubectl.run("create configmap late --from-literal=word=here").await;
    kubectl.run("annotate pod mounts looks=once").await;
    eventually(async || a.run("cat /late/word 2>/dev/null || true").await == "here").await;
    kubectl.run("delete configmap/late secret/keys").await;
    kubectl.run("annotate pod mounts looks=twice --overwrite").await;
    eventually(async || a.run("ls /late").await.is_empty()).await;
    let about =
        "get events --field-selector involvedObject.name=mounts,reason=FailedMount -o jsonpath={..message}";
    let text = "MountVolume.SetUp failed for volume \"all\" : secret \"keys\" not found";
    eventually(async || kubectl.run(about).await.contains(text)).await;
    assert_eq!(a.run("cat /all/key").await, "s3cret");
    delete(kubectl, "mounts").await;
}

const GROUPS: &str = "apiVersion: v1
kind: Pod
metadata: {name: groups}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {fsGroup: 3000, fsGroupChangePolicy: OnRootMismatch, runAsUser: 1000}
  containers:
  - name: a
    image: busybox
    command: [sleep, \"1000\"]
    volumeMounts: [{name: work, mountPath: /work}, {name: keys, mountPath: /keys}]
  volumes:
  - {name: work, emptyDir: {}}
  - {name: keys, secret: {secretName: group-keys, defaultMode: 256}}
";

/// R12.7: `OnRootMismatch` changes nothing for the volumes a node makes itself; new content of a Secret gets the group too.
pub(super) async fn groups_of_files(kubectl: &Kubectl) {
    kubectl.run("create secret generic group-keys --from-literal=key=one").await;
    kubectl.apply(GROUPS).await;
    wait(kubectl, "groups", "condition=Ready").await;
    let a = Shell { kubectl, pod: "groups", container: "a" };
    assert_eq!(a.run("stat -c '%g %a' /work; stat -L -c '%g %a' /keys/key").await, "3000 2777\n3000 440\n");
    assert_eq!(
        a.run("mkdir -p /work/x/y && touch /work/x/y/z && stat -c %g /work/x/y/z").await.trim(),
        "3000"
    );
    let two = r#"{"stringData":{"key":"two"}}"#;
    kubectl.run(&format!("patch secret group-keys -p {two}")).await;
    eventually(async || a.run("cat /keys/key").await == "two").await;
    assert_eq!(a.run("stat -L -c '%g %a' /keys/key").await.trim(), "3000 440");
    delete(kubectl, "groups").await;
}
