//! The node seen from outside: its object, its own API, Pods from files, and its orderly end.

use std::sync::Arc;

use serde_json::Value;

use crate::suite::{Cluster, Images, Kubectl, PATIENCE, Said, kubectls};

const STATIC: &str = "apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: app, image: busybox, command: [top]}
";

const WORKER: &str = "apiVersion: v1
kind: Pod
metadata: {name: worker}
spec:
  containers:
  - name: app
    image: busybox
    command: [sh, -c, \"trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done\"]
    readinessProbe: {exec: {command: [\"true\"]}, periodSeconds: 1}
";

/// One cluster for all of it, because starting one costs more than the questions.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_as_others_see_it() {
    let images = Arc::new(Images::start().await);
    let files = images.folder.path().join("static");
    std::fs::create_dir(&files).unwrap();
    let settings = images.folder.path().join("kubelet.yaml");
    let health = free_port();
    let text = format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nhealthzPort: {health}\n"
    );
    std::fs::write(&settings, text).unwrap();
    let mut extra = vec![
        "--shutdown-grace",
        "20s",
        "--kubelet-port",
        "0",
        "--pod-manifest-path",
        files.to_str().unwrap(),
    ];
    extra.extend(["--kubelet-config", settings.to_str().unwrap()]);
    let mut cluster = Cluster::up_with(images.clone(), "10.207.0.0/24", &extra).await;
    let kubectl = cluster.kubectl(&kubectls()[0]);
    kubectl.apply(WORKER).await;
    kubectl.run("wait --for=condition=Ready pod/worker --timeout=100s").await;
    let name = kubectl.run("get nodes -o name").await.trim().trim_start_matches("node/").to_owned();
    object(&kubectl, &name).await;
    through_the_api_server(&kubectl, &name).await;
    on_its_own_port(&kubectl, &name, &cluster).await;
    on_the_health_port(health).await;
    from_files(&kubectl, &name, &files).await;
    an_orderly_end(&mut cluster, &kubectl).await;
    cluster.down().await;
}

/// One that nobody has at this moment.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// N5: health in plain HTTP, on loopback only, and nothing else.
async fn on_the_health_port(port: u16) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let get = async |path: &str| {
        let mut connection = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, connection.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    };
    let well = get("/healthz").await;
    assert!(well.starts_with("HTTP/1.1 200") && well.ends_with("ok"), "{well}");
    assert!(get("/pods").await.starts_with("HTTP/1.1 404"));
    let tables = ["tcp", "tcp6"].map(|name| std::fs::read_to_string(format!("/proc/net/{name}")).unwrap());
    let listening: Vec<&str> = tables
        .iter()
        .flat_map(|table| table.lines())
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
            (state == "0A").then_some(local)
        })
        .filter(|local| local.ends_with(&format!(":{port:04X}")))
        .collect();
    assert_eq!(listening, [format!("0100007F:{port:04X}")]);
}

async fn json(kubectl: &Kubectl, line: &str) -> Value {
    serde_json::from_str(&kubectl.run(line).await).unwrap()
}

/// N10, N11, N13, N14, N16
async fn object(kubectl: &Kubectl, name: &str) {
    let node = json(kubectl, &format!("get node {name} -o json")).await;
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], name);
    assert!(!node["status"]["images"].as_array().unwrap().is_empty() || node["status"]["images"].is_array());
    assert_eq!(node["status"]["runtimeHandlers"][0]["name"], "");
    assert!(node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().unwrap() > 0);
    let lease = json(kubectl, &format!("get lease {name} -n kube-node-lease -o json")).await;
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 40);
    assert_eq!(lease["metadata"]["ownerReferences"][0]["uid"], node["metadata"]["uid"]);
    let events = kubectl.run("get events -o jsonpath={range.items[*]}{.reason},{end}").await;
    let wanted = [
        "Starting",
        "NodeAllocatableEnforced",
        "NodeHasSufficientMemory",
        "NodeHasNoDiskPressure",
        "NodeReady",
        "RegisteredNode",
    ];
    for reason in wanted {
        assert!(events.contains(reason), "{reason} in {events}");
    }
}

/// N3, N6, N20 to N24
async fn through_the_api_server(kubectl: &Kubectl, name: &str) {
    let raw = |path: &str| format!("get --raw /api/v1/nodes/{name}/proxy/{path}");
    assert_eq!(kubectl.run(&raw("healthz")).await, "ok");
    let pods = json(kubectl, &raw("pods")).await;
    assert_eq!(pods["items"][0]["metadata"]["name"], "worker");
    assert_eq!(json(kubectl, &raw("runningpods/")).await["items"][0]["spec"]["containers"][0]["name"], "app");
    assert_eq!(json(kubectl, &raw("configz")).await["kubeletconfig"]["maxPods"], 110);
    let summary = json(kubectl, &raw("stats/summary")).await;
    assert_eq!(summary["node"]["nodeName"], *name);
    let pod = &summary["pods"][0];
    assert!(pod["containers"][0]["cpu"]["usageCoreNanoSeconds"].as_u64().unwrap() > 0, "{pod}");
    assert!(pod["containers"][0]["memory"]["workingSetBytes"].as_u64().unwrap() > 0, "{pod}");
    assert!(pod["network"]["interfaces"].is_array(), "{pod}");
    let resource = kubectl.run(&raw("metrics/resource")).await;
    assert!(resource.contains(
        "container_cpu_usage_seconds_total{container=\"app\",namespace=\"default\",pod=\"worker\"}"
    ));
    assert!(resource.contains("resource_scrape_error 0"));
    assert!(kubectl.run(&raw("metrics")).await.contains("kubelet_running_pods 1"));
    assert!(
        kubectl
            .run(&raw("metrics/probes"))
            .await
            .contains("probe_type=\"Readiness\",container=\"app\",pod=\"worker\"")
    );
    assert!(
        kubectl
            .run(&raw("metrics/cadvisor"))
            .await
            .contains("container_network_receive_bytes_total{container=\"\"")
    );
    // N1: both streams of a command, at its end.
    let line = format!("create -f - --raw /api/v1/nodes/{name}/proxy/run/default/worker/app?cmd=echo+hello");
    assert_eq!(kubectl.run_with(&line, "{}").await.trim(), "hello");
    // N2
    assert_eq!(kubectl.run(&raw("containerLogs/default/worker/app")).await, "up\n");
    let said = kubectl.try_run(&raw("containerLogs/default/worker/other"), "").await;
    assert!(said.err.contains("BadRequest"), "{}", said.err);
}

/// N4: a certificate of the cluster, a token with and without the right, nobody.
async fn on_its_own_port(kubectl: &Kubectl, name: &str, cluster: &Cluster) {
    let node = json(kubectl, &format!("get node {name} -o json")).await;
    let port = &node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
    let server = format!("--server=https://127.0.0.1:{port}");
    assert_eq!(kubectl.run(&format!("{server} get --raw /healthz")).await, "ok");
    assert!(kubectl.run(&format!("{server} get --raw /metrics")).await.contains("kubelet_node_name"));
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let request = "{\"kind\": \"TokenRequest\", \"apiVersion\": \"authentication.k8s.io/v1\", \"spec\": {}}";
    let answer: Value =
        serde_json::from_str(&kubectl.run_with(&format!("create --raw {path} -f -"), request).await).unwrap();
    let token = answer["status"]["token"].as_str().unwrap();
    let anonymous = kubectl.with_config("/dev/null".into());
    let ca = format!("--certificate-authority={}", cluster.data.join("pki/ca.crt").display());
    let ask = async |token: &str, path: &str| -> Said {
        let token = if token.is_empty() { String::new() } else { format!("--token={token}") };
        anonymous.try_run(&format!("{server} {ca} {token} get --raw {path}"), "").await
    };
    let said = ask(token, "/pods").await;
    let want = "Forbidden (user=system:serviceaccount:default:default, verb=get, resource=nodes, \
                subresource(s)=[pods proxy])";
    assert!(said.err.contains(want), "{}{}", said.out, said.err);
    let said = ask("nonsense", "/pods").await;
    assert!(said.err.contains("Unauthorized") || said.err.contains("must be logged in"), "{}", said.err);
    kubectl.run_with("apply -f -", RIGHTS).await;
    let said = ask(token, "/metrics/resource").await;
    assert!(said.out.contains("node_cpu_usage_seconds_total"), "{}", said.err);
}

const RIGHTS: &str = "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: scraper}
rules: [{apiGroups: [''], resources: [nodes/metrics], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: scraper}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: scraper}
subjects: [{kind: ServiceAccount, name: default, namespace: default}]
";

/// N31, R14.5, R14.6, N30
async fn from_files(kubectl: &Kubectl, name: &str, files: &std::path::Path) {
    std::fs::write(files.join("web.yaml"), STATIC).unwrap();
    let pod = format!("web-{name}");
    kubectl.run(&format!("wait --for=create pod/{pod} --timeout=100s")).await;
    kubectl.run(&format!("wait --for=condition=Ready pod/{pod} --timeout=100s")).await;
    let mirror = json(kubectl, &format!("get pod {pod} -o json")).await;
    let annotations = &mirror["metadata"]["annotations"];
    assert_eq!(annotations["kubernetes.io/config.mirror"], annotations["kubernetes.io/config.hash"]);
    assert_eq!(annotations["kubernetes.io/config.source"], "file");
    let id = mirror["status"]["containerStatuses"][0]["containerID"].as_str().unwrap().to_owned();
    let id = id.rsplit('/').next().unwrap();
    let link = std::fs::read_link(format!("/var/log/containers/{pod}_default_app-{id}.log")).unwrap();
    assert!(link.starts_with("/var/log/pods"), "{}", link.display());
    assert_eq!(kubectl.run(&format!("exec {pod} -- echo there")).await, "there\n");
    // Deleting the mirror only makes it anew; the container does not notice.
    kubectl.run(&format!("delete pod {pod} --wait=false")).await;
    let old = mirror["metadata"]["uid"].as_str().unwrap();
    let again = async || {
        let said = kubectl.try_run(&format!("get pod {pod} -o json"), "").await;
        let pod: Value = serde_json::from_str(&said.out).unwrap_or_default();
        let same =
            pod["status"]["containerStatuses"][0]["containerID"].as_str().is_some_and(|it| it.ends_with(id));
        pod["metadata"]["uid"] != *old && same
    };
    crate::features::eventually(again).await;
    std::fs::remove_file(files.join("web.yaml")).unwrap();
    kubectl.run(&format!("wait --for=delete pod/{pod} --timeout=100s")).await;
}

/// N32, R8.29
async fn an_orderly_end(cluster: &mut Cluster, kubectl: &Kubectl) {
    cluster.program.take().unwrap().stop(PATIENCE).await.unwrap();
    cluster.start().await;
    let pod = json(kubectl, "get pod worker -o json").await;
    assert_eq!(pod["status"]["phase"], "Failed", "{pod}");
    assert_eq!(pod["status"]["reason"], "Terminated");
    assert_eq!(pod["status"]["message"], "Pod was terminated in response to imminent node shutdown.");
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
}
