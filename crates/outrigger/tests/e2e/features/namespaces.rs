//! What containers share and what they do not: processes, users, names, kernel settings; and restarts in place.

use super::{Shell, delete, get, wait};
use crate::suite::Kubectl;

const SHARED: &str = "apiVersion: v1
kind: Pod
metadata: {name: shared}
spec:
  terminationGracePeriodSeconds: 1
  shareProcessNamespace: true
  hostname: box
  subdomain: sub
  hostAliases: [{ip: 10.9.9.9, hostnames: [elsewhere, there]}]
  dnsPolicy: None
  dnsConfig: {nameservers: [10.9.9.8], searches: [example.test], options: [{name: ndots, value: \"2\"}]}
  securityContext: {sysctls: [{name: net/ipv4/ip_unprivileged_port_start, value: \"80\"}]}
  containers:
  - {name: a, image: busybox, command: [sleep, \"1000\"]}
  - {name: b, image: busybox, command: [sleep, \"2000\"]}
";

/// R2.14, R2.15, R11.15-R11.27, R13.25a.
pub(super) async fn shared_processes_and_names(kubectl: &Kubectl) {
    kubectl.apply(SHARED).await;
    wait(kubectl, "shared", "condition=Ready").await;
    let a = Shell { kubectl, pod: "shared", container: "a" };
    for (script, wanted) in [
        ("ps | grep -c 'sleep [12]000'", "2"),
        ("hostname", "box"),
        ("grep -c 'box.sub.default.svc.cluster.local' /etc/hosts", "1"),
        ("tail -1 /etc/hosts", "10.9.9.9\telsewhere\tthere"),
        (
            "grep nameserver /etc/resolv.conf; grep search /etc/resolv.conf",
            "nameserver 10.9.9.8\nsearch example.test",
        ),
        ("cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "80"),
    ] {
        assert_eq!(a.run(script).await.trim(), wanted, "{script}");
    }
    delete(kubectl, "shared").await;
}

const OWN_USERS: &str = "apiVersion: v1
kind: Pod
metadata: {name: users}
spec:
  terminationGracePeriodSeconds: 1
  hostUsers: false
  containers:
  - name: a
    image: busybox
    command: [sleep, \"1000\"]
    volumeMounts: [{name: work, mountPath: /work}]
  volumes: [{name: work, emptyDir: {}}]
";

/// R13.25, R14.2, R14.3: a Pod's own users, and a debugger that joins a container's processes.
pub(super) async fn own_users_and_a_debugger(kubectl: &Kubectl) {
    kubectl.apply(OWN_USERS).await;
    wait(kubectl, "users", "condition=Ready").await;
    let a = Shell { kubectl, pod: "users", container: "a" };
    let map = a.run("cat /proc/self/uid_map").await;
    let fields: Vec<u64> = map.split_whitespace().map(|word| word.parse().unwrap()).collect();
    assert!(fields[0] == 0 && fields[1] >= 65_536 && fields[2] == 65_536, "{map}");
    let owned = a.run("id -u; touch /work/x /x; stat -c %u / /work /work/x /etc/hosts").await;
    assert_eq!(owned.trim(), "0\n0\n0\n0\n0");
    let debugger = r#"{"spec":{"ephemeralContainers":[{"name":"d","image":"busybox","targetContainerName":"a","command":["sh","-c","ps;exit\u00203"]}]}}"#;
    kubectl.run(&format!("patch pod users --subresource ephemeralcontainers -p {debugger}")).await;
    let code = "{.status.ephemeralContainerStatuses[0].state.terminated.exitCode}";
    wait(kubectl, "users", &format!("jsonpath={code}=3")).await;
    assert!(kubectl.run("logs users -c d").await.contains("sleep 1000"));
    assert_eq!(get(kubectl, "users").await["status"]["phase"], "Running");
    delete(kubectl, "users").await;
}

const ALL_AGAIN: &str = "apiVersion: v1
kind: Pod
metadata: {name: again}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  initContainers:
  - name: count
    image: busybox
    command: [sh, -c, echo x >> /work/count]
    volumeMounts: [{name: work, mountPath: /work}]
  containers:
  - name: a
    image: busybox
    command: [sh, -c, \"test $(wc -l < /work/count) = 2 && { echo second; exit 0; }; while ! test -e /work/b; do sleep 0.05; done; exit 42\"]
    restartPolicy: Never
    restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]
    volumeMounts: [{name: work, mountPath: /work}]
  - name: b
    image: busybox
    restartPolicy: Never
    terminationMessagePolicy: FallbackToLogsOnError
    command: [sh, -c, \"trap 'exit 0' TERM; test -e /work/b || echo 9.9.9.9 edited >> /etc/hosts; touch /work/b; while test $(wc -l < /work/count) = 1; do sleep 0.05; done; grep edited /etc/hosts && exit 1; echo why; exit 9\"]
    volumeMounts: [{name: work, mountPath: /work}]
  volumes: [{name: work, emptyDir: {}}]
";

/// R5.17-R5.21, R9.32, R11.22: everything again in the same sandbox, with the same volumes.
pub(super) async fn all_containers_again(kubectl: &Kubectl) {
    kubectl.apply(ALL_AGAIN).await;
    wait(kubectl, "again", "jsonpath={.status.phase}=Failed").await;
    let status = get(kubectl, "again").await["status"].clone();
    let containers = status["containerStatuses"].as_array().unwrap();
    let init = &status["initContainerStatuses"][0];
    for container in containers.iter().chain([init]) {
        assert_eq!(container["restartCount"], 1, "{status}");
    }
    assert_eq!(containers[0]["state"]["terminated"]["exitCode"], 0, "{status}");
    let ended = &containers[1]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["message"]), (&9.into(), &"why\n".into()), "{status}");
    assert_eq!(kubectl.run("logs again -c a").await, "second\n");
    delete(kubectl, "again").await;
}
