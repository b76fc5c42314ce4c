//! `kubectl port-forward` with real connections behind it.

use outrigger_testkit::Program;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::suite::{Kubectl, PATIENCE};

const SERVER: &str = "apiVersion: v1
kind: Pod
metadata:
  name: server
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: server
    image: busybox
    command:
    - sh
    - -c
    - mkdir /www; echo small > /www/small; dd if=/dev/urandom of=/www/large bs=1M count=16; touch /ready;
      tail -f /dev/null | nc -l -p 9000 > /received & exec httpd -f -p 8080 -h /www
    readinessProbe: {periodSeconds: 1, exec: {command: [wget, -q, -O, /dev/null, 'http://127.0.0.1:8080/small']}}
";

/// Starts a port-forward; the program and the local port.
async fn begin(kubectl: &Kubectl, remote: u16, raw_spdy: bool) -> (Program, u16) {
    let mut command = kubectl.command(&format!("port-forward pod/server :{remote}"));
    if raw_spdy {
        command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false");
    }
    let mut program = Program::start(command).unwrap();
    let line =
        program.wait_for(PATIENCE, |line| line.starts_with("Forwarding from 127.0.0.1:")).await.unwrap();
    let port = line.trim_start_matches("Forwarding from 127.0.0.1:").split(' ').next().unwrap();
    (program, port.parse().unwrap())
}

/// The body of one HTTP answer, over one connection.
async fn get(port: u16, path: &str) -> Vec<u8> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    connection.write_all(format!("GET /{path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, connection.read_to_end(&mut answer)).await;
    read.expect("the answer ends").unwrap();
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("an HTTP answer");
    answer.split_off(head + 4)
}

async fn digest(kubectl: &Kubectl, file: &str) -> String {
    let said = kubectl.run(&format!("exec server -- sha256sum {file}")).await;
    said.split_whitespace().next().unwrap().to_owned()
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// H35 to H38, R14.20.
pub(crate) async fn walk(kubectl: &Kubectl) {
    kubectl.apply(SERVER).await;
    kubectl.run("wait --for=condition=Ready pod/server --timeout=100s").await;
    let large = digest(kubectl, "/www/large").await;
    // As every kubectl of today does, and as those without WebSocket do.
    for raw_spdy in [false, true] {
        let (program, port) = begin(kubectl, 8080, raw_spdy).await;
        let many = (0..30).map(|_| get(port, "small"));
        let (answers, body) = tokio::join!(futures::future::join_all(many), get(port, "large"));
        assert!(answers.iter().all(|answer| answer == b"small\n"));
        assert_eq!(sha256(&body), large);
        program.stop(PATIENCE).await.unwrap();
    }
    upload(kubectl).await;
    closed_port(kubectl).await;
    vanishing_pod(kubectl).await;
}

/// The other direction, to its end of file.
async fn upload(kubectl: &Kubectl) {
    let (program, port) = begin(kubectl, 9000, false).await;
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let sent: Vec<u8> = (0..4_000_000_u32).flat_map(u32::to_le_bytes).collect();
    connection.write_all(&sent).await.unwrap();
    connection.shutdown().await.unwrap();
    let mut nothing = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, connection.read_to_end(&mut nothing)).await;
    ended.expect("the receiver leaves at the end of its input").unwrap();
    assert_eq!(digest(kubectl, "/received").await, sha256(&sent));
    program.stop(PATIENCE).await.unwrap();
}

/// H36: what nobody listens on is said by kubectl.
async fn closed_port(kubectl: &Kubectl) {
    let (mut program, port) = begin(kubectl, 81, false).await;
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let said =
        program.wait_for(PATIENCE, |line| line.contains("error forwarding port 81 to pod server")).await;
    let said = said.unwrap();
    assert!(said.to_lowercase().contains("connection refused"), "{said}");
    // Nothing was sent to it, so it ends or is reset.
    let _ = connection.read(&mut [0]).await;
}

/// A Pod that goes away takes its connections along, and kubectl says so at the next one.
async fn vanishing_pod(kubectl: &Kubectl) {
    let (mut program, port) = begin(kubectl, 8080, false).await;
    let mut open = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    open.write_all(b"GET /small HTTP/1.1\r\n").await.unwrap();
    kubectl.run("delete pod server").await;
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, open.read_to_end(&mut rest)).await.expect("the connection ends");
    drop(TcpStream::connect(("127.0.0.1", port)).await);
    program.wait_for(PATIENCE, |line| line.contains("lost connection to pod")).await.unwrap();
    assert_ne!(program.wait(PATIENCE).await.unwrap().code(), Some(0));
}
