//! kubectl's verbs that change or show objects, each with what must be there afterwards.

use outrigger_testkit::Program;

use crate::suite::{Kubectl, PATIENCE};

const TALKER: &str = "apiVersion: v1
kind: Pod
metadata:
  name: talker
  labels: {app: talk}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: one, image: busybox, command: [sh, -c, \"echo first; echo second; exec sleep 1000000\"]}
  - {name: two, image: busybox, command: [sh, -c, \"echo other; exec sleep 1000000\"]}
";

pub(crate) async fn walk(kubectl: &Kubectl) {
    watching(kubectl).await;
    logs(kubectl).await;
    copies(kubectl).await;
    debug(kubectl).await;
    kubectl.run("delete pod talker --now --wait=true").await;
    writes(kubectl).await;
    shown(kubectl).await;
}

/// E25, D22: changes appear while they happen, and `wait` sees the end.
async fn watching(kubectl: &Kubectl) {
    let mut watch = Program::start(kubectl.command("get pods -w --output-watch-events")).unwrap();
    kubectl.apply(TALKER).await;
    for event in ["ADDED", "MODIFIED"] {
        watch.wait_for(PATIENCE, |line| line.contains(event) && line.contains("talker")).await.unwrap();
    }
    kubectl.run("wait --for=condition=Ready pod -l app=talk --timeout=100s").await;
    watch.wait_for(PATIENCE, |line| line.contains("talker") && line.contains("2/2")).await.unwrap();
    watch.kill().await.unwrap();
}

/// H14 to H17, O46.
async fn logs(kubectl: &Kubectl) {
    assert_eq!(kubectl.run("logs talker -c one").await, "first\nsecond\n");
    assert_eq!(kubectl.run("logs talker -c one --tail=1").await, "second\n");
    let all = kubectl.run("logs -l app=talk --all-containers --prefix").await;
    for line in ["[pod/talker/one] first", "[pod/talker/two] other"] {
        assert!(all.lines().any(|said| said == line), "{all}");
    }
    let stamped = kubectl.run("logs talker -c two --timestamps").await;
    let (time, text) = stamped.trim().split_once(' ').unwrap();
    assert!(time.ends_with('Z') && time.contains('T') && text == "other", "{stamped}");
    assert_eq!(kubectl.run(&format!("logs talker -c two --since-time={time}")).await, "other\n");
    assert_eq!(kubectl.run("logs talker -c two --since-time=2999-01-01T00:00:00Z").await, "");
    let mut follow = Program::start(kubectl.command("logs talker -c one -f")).unwrap();
    follow.wait_for(PATIENCE, |line| line == "second").await.unwrap();
    kubectl.run("exec talker -c one -- sh -c echo${IFS}third>/proc/1/fd/1").await;
    follow.wait_for(PATIENCE, |line| line == "third").await.unwrap();
    follow.kill().await.unwrap();
    let choose = kubectl.try_run("logs talker -c nobody", "").await;
    assert!(choose.err.contains("container nobody is not valid for pod talker"), "{}", choose.err);
}

/// O44: folders in both directions.
async fn copies(kubectl: &Kubectl) {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("tree");
    std::fs::create_dir_all(source.join("deep")).unwrap();
    let large: Vec<u8> = (0..500_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(source.join("deep/large"), &large).unwrap();
    std::fs::write(source.join("small"), "small").unwrap();
    kubectl.run(&format!("cp {} talker:/tmp/tree -c one", source.display())).await;
    assert_eq!(kubectl.run("exec talker -c one -- cat /tmp/tree/small").await, "small");
    let back = folder.path().join("back");
    kubectl.run(&format!("cp talker:/tmp/tree {} -c one", back.display())).await;
    assert_eq!(std::fs::read(back.join("deep/large")).unwrap(), large);
    // P8: the exit code is the program's own.
    assert_eq!(kubectl.try_run("exec talker -c one -- sh -c exit${IFS}37", "").await.code, 37);
}

/// H42, O47: an ephemeral container beside the one it looks at.
async fn debug(kubectl: &Kubectl) {
    let debug = "debug talker --image=busybox --target=one --container=looker -- sh -c ps;sleep${IFS}1000000";
    kubectl.run(debug).await;
    let running = "{.status.ephemeralContainerStatuses[0].state.running.startedAt}";
    kubectl.run(&format!("wait --for=jsonpath={running} pod/talker --timeout=100s")).await;
    let mut logs = Program::start(kubectl.command("logs talker -c looker -f")).unwrap();
    logs.wait_for(PATIENCE, |line| line.contains("sleep 1000000")).await.unwrap();
    logs.kill().await.unwrap();
}

/// F3, D5, D9, O17, O30, O33: the object afterwards is the one that was meant.
async fn writes(kubectl: &Kubectl) {
    let map = |data: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{{data}}}\n")
    };
    kubectl.apply(&map("a: '1', b: '2'")).await;
    kubectl.run("patch configmap settings --type=merge -p {\"data\":{\"c\":\"3\"}}").await;
    // Three ways: `b` was applied and is no more, `c` is somebody else's.
    let difference = kubectl.try_run("diff -f -", &map("a: '9'")).await;
    assert_eq!(difference.code, 1, "{}", difference.err);
    assert!(difference.out.contains("+  a: \"9\""), "{}", difference.out);
    kubectl.apply(&map("a: '9'")).await;
    let data = kubectl.run("get configmap settings -o jsonpath={.data}").await;
    assert_eq!(data, "{\"a\":\"9\",\"c\":\"3\"}");
    kubectl.run_with("replace -f -", &map("only: this")).await;
    assert_eq!(kubectl.run("get configmap settings -o jsonpath={.data}").await, "{\"only\":\"this\"}");
    let strict = kubectl.try_run("create -f -", &map("a: '1'").replace("data:", "dota:")).await;
    assert!(strict.err.contains("unknown field \"dota\""), "{}", strict.err);
    kubectl.run("delete configmap settings").await;
    // O41
    kubectl.run("run quick --image=busybox --restart=Never -- echo done").await;
    kubectl.run("wait --for=jsonpath={.status.phase}=Succeeded pod/quick --timeout=100s").await;
    assert_eq!(kubectl.run("logs quick").await, "done\n");
    kubectl.run("delete pod quick --wait=false").await;
    kubectl.run("wait --for=delete pod/quick --timeout=100s").await;
}

/// A2, A25 to A32.
async fn shown(kubectl: &Kubectl) {
    assert!(kubectl.run("api-versions").await.lines().any(|line| line == "v1"));
    let all = kubectl.run("explain pod.spec.containers --recursive").await;
    assert!(all.contains("readinessProbe") && all.contains("periodSeconds"), "{all}");
    let field = kubectl.run("explain pod.spec.restartPolicy").await;
    assert!(field.contains("FIELD: restartPolicy"), "{field}");
    assert!(kubectl.run("get pods -A -o yaml").await.contains("kind: List"));
}
