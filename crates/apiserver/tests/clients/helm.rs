//! helm: install, upgrade, rollback, uninstall. helm 4 applies on the server, helm 3 sends patches.

use std::path::Path;

use crate::tools::{Server, Tool, fetched};

const CHART: &str = "apiVersion: v2\nname: small\nversion: 0.1.0\n";
const TEMPLATE: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}, labels: {app: {{ .Release.Name }}}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      containers:
      - {name: c, image: i, ports: [{containerPort: 80}]}
{{- if gt (int .Values.replicas) 1 }}
      - {name: more, image: i}
{{- end }}
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {selector: {app: {{ .Release.Name }}}, ports: [{port: 80}]}
";

fn chart(folder: &Path) {
    std::fs::create_dir_all(folder.join("chart/templates")).unwrap();
    std::fs::write(folder.join("chart/Chart.yaml"), CHART).unwrap();
    std::fs::write(folder.join("chart/values.yaml"), "replicas: 1\n").unwrap();
    std::fs::write(folder.join("chart/templates/all.yaml"), TEMPLATE).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_manages_a_release() {
    for program in fetched("helm") {
        let server = Server::start().await;
        chart(server.folder.path());
        let helm = server.tool(&program);
        let kubectl = server.tool(&program.with_file_name("kubectl"));
        release(&helm, &kubectl, server.folder.path().join("chart").to_str().unwrap()).await;
        server.stop().await;
    }
}

/// F4e, F4j: what an upgrade brings, a rollback takes away again; what others changed is not trampled on.
async fn release(helm: &Tool, kubectl: &Tool, chart: &str) {
    let containers = "get deployment r -o jsonpath={.spec.template.spec.containers[*].name}";
    helm.run(&format!("install r {chart}")).await;
    assert_eq!(kubectl.run(containers).await, "c");
    helm.run(&format!("upgrade r {chart} --set replicas=2")).await;
    assert_eq!(kubectl.run(containers).await, "c more");
    helm.run("rollback r 1").await;
    assert_eq!(kubectl.run(containers).await, "c");
    assert_eq!(kubectl.run("get deployment r -o jsonpath={.spec.replicas}").await, "1");
    kubectl.run("scale deployment r --replicas 7").await;
    let upgrade = format!("upgrade r {chart} --set replicas=3");
    if helm.run("version --short").await.starts_with("v4") {
        let refused = helm.try_run(&upgrade, "").await;
        let message = "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas";
        assert!(refused.code != 0 && refused.err.contains(message), "{refused:?}");
        helm.run(&format!("{upgrade} --force-conflicts")).await;
    } else {
        helm.run(&upgrade).await;
    }
    assert_eq!(kubectl.run("get deployment r -o jsonpath={.spec.replicas}").await, "3");
    helm.run("uninstall r").await;
    let left = kubectl.run("get deployment,service,secret -o name").await;
    assert_eq!(left, "service/kubernetes\n");
}
