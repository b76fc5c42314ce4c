//! What names stand for: the cluster's name service, asked from inside a Pod.

use super::{Shell, delete, get, wait};
use crate::suite::Kubectl;

const PODS: &str = "apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: named, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  hostname: first
  subdomain: web
  containers: [{name: a, image: busybox, command: [sleep, \"1000\"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: unnamed, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  subdomain: web
  containers: [{name: a, image: busybox, command: [sleep, \"1000\"]}]
";

/// R11.17, R11.23: a name of its own has only a Pod with a hostname, below a headless Service that selects it.
pub(super) async fn names_of_pods_and_services(kubectl: &Kubectl) {
    kubectl.apply(PODS).await;
    for name in ["named", "unnamed"] {
        wait(kubectl, name, "condition=Ready").await;
    }
    let ip = async |name| get(kubectl, name).await["status"]["podIP"].as_str().unwrap().to_owned();
    let (named, unnamed) = (ip("named").await, ip("unnamed").await);
    let service = kubectl.run("get service kubernetes -o jsonpath={.spec.clusterIP}").await;
    let shell = Shell { kubectl, pod: "unnamed", container: "a" };
    let ask =
        async |name: &str| shell.run(&format!("nslookup -type=a {name}.cluster.local 2>&1; true")).await;
    let answers = |said: &str, address: &str| said.lines().any(|line| line == format!("Address: {address}"));

    let said = ask("first.web.default.svc").await;
    assert!(answers(&said, &named) && !answers(&said, &unnamed), "{said}");
    let said = ask("web.default.svc").await;
    assert!(answers(&said, &named) && answers(&said, &unnamed), "{said}");
    let said = ask("kubernetes.default.svc").await;
    assert!(answers(&said, &service), "{said}");
    for nobody in ["unnamed.web.default.svc", "first.web.kube-system.svc", "nothing.default.svc"] {
        let said = ask(nobody).await;
        assert!(said.contains("NXDOMAIN"), "{nobody}: {said}");
    }
    kubectl.run("delete service web").await;
    let said = ask("first.web.default.svc").await;
    assert!(said.contains("NXDOMAIN"), "{said}");
    for name in ["named", "unnamed"] {
        delete(kubectl, name).await;
    }
}
