//! What the API server passes on: to Pods, to Services, to nodes (H48 to H50, N1, N6), asked through `kubectl proxy`.

use std::sync::Arc;

use futures::{SinkExt as _, StreamExt as _};
use outrigger_testkit::Program;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::suite::{Cluster, Images, Kubectl, PATIENCE, kubectls};

/// Answers with what it was asked; speaks capitals after an upgrade.
const SERVER: &str = r#"
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def handle_one(self):
        if self.headers.get('Upgrade') == 'capitals':
            self.send_response(101)
            self.send_header('Upgrade', 'capitals')
            self.send_header('Connection', 'Upgrade')
            self.end_headers()
            for line in self.rfile:
                self.wfile.write(line.upper())
                self.wfile.flush()
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0)).decode()
        if self.path == '/moved':
            self.send_response(302)
            self.send_header('Location', '/next')
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        seen = '%s %s %s %s %s' % (self.command, self.path, self.headers.get('X-Forwarded-Uri'),
                                   self.headers.get('Authorization'), body)
        self.send_response(200)
        self.send_header('Content-Length', str(len(seen)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(seen.encode())
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = handle_one
http.server.ThreadingHTTPServer(('', 8000), Handler).serve_forever()
"#;

fn manifest() -> String {
    let script: String = SERVER.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "apiVersion: v1
kind: ConfigMap
metadata: {{name: script}}
data:
  server.py: |
{script}---
apiVersion: v1
kind: Pod
metadata: {{name: echo}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: python:3.8
    command: [python3, /script/server.py]
    ports: [{{name: web, containerPort: 8000}}]
    readinessProbe: {{periodSeconds: 1, httpGet: {{port: web, path: /}}}}
    volumeMounts: [{{name: script, mountPath: /script}}]
  volumes: [{{name: script, configMap: {{name: script}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: echo}}
spec: {{ports: [{{name: web, port: 80, targetPort: 8000}}]}}
"
    )
}

/// One answer: status line and headers, and the body.
struct Answer {
    head: String,
    body: String,
}

/// `kubectl proxy`, the simplest client there is.
struct Door {
    port: u16,
    program: Program,
}

impl Door {
    async fn open(kubectl: &Kubectl) -> Self {
        let mut program = Program::start(kubectl.command("proxy --port=0")).unwrap();
        let line = program.wait_for(PATIENCE, |line| line.contains("127.0.0.1:")).await.unwrap();
        Self { port: line.rsplit(':').next().unwrap().trim().parse().unwrap(), program }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut connection = self.connect().await;
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, connection.read_to_string(&mut answer)).await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Answer { head: head.to_owned(), body: if chunked { unchunked(body) } else { body.to_owned() } }
    }

    /// The head of the answer to an upgrade, and the connection.
    async fn upgrade(&self, method: &str, path: &str, headers: &str) -> (String, BufReader<TcpStream>) {
        let mut connection = self.connect().await;
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n{headers}\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut connection = BufReader::new(connection);
        let mut head = String::new();
        let read = async {
            while !head.ends_with("\r\n\r\n") {
                assert!(connection.read_line(&mut head).await.unwrap() > 0, "{head}");
            }
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap();
        (head, connection)
    }
}

/// A body without the sizes between its pieces.
fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        body.push_str(&tail[..size]);
        rest = tail[size..].strip_prefix("\r\n").unwrap_or_default();
        if size == 0 {
            break;
        }
    }
    body
}

/// One cluster for all of it, because starting one costs more than the questions.
#[tokio::test(flavor = "multi_thread")]
async fn requests_are_passed_on() {
    let images = Arc::new(Images::with_python().await);
    let cluster = Cluster::up_with(images, "10.224.0.0/24", &["--kubelet-port", "0"]).await;
    let kubectl = cluster.kubectl(&kubectls()[0]);
    kubectl.apply(&manifest()).await;
    kubectl.run("wait --for=condition=Ready pod/echo --timeout=100s").await;
    let door = Door::open(&kubectl).await;
    to_pods(&door).await;
    to_services(&door, &kubectl).await;
    to_nodes(&door, &kubectl).await;
    door.program.stop(PATIENCE).await.unwrap();
    cluster.down().await;
}

/// H48, R6.16 (the readiness probe of the server names its port).
async fn to_pods(door: &Door) {
    let pod = "/api/v1/namespaces/default/pods/echo/proxy";
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let answer = door.ask(method, &format!("{pod}/a%2Fb/?c=d"), "hello").await;
        assert_eq!(answer.body, format!("{method} /a%2Fb/?c=d {pod}/a%2Fb/ None hello"), "{}", answer.head);
    }
    assert!(door.ask("HEAD", &format!("{pod}/"), "").await.head.starts_with("HTTP/1.1 200"));
    // The bare path: relative links need the slash.
    let bare = door.ask("GET", pod, "").await.head;
    assert!(bare.starts_with("HTTP/1.1 301") && bare.contains("proxy/\r\n"), "{bare}");
    let moved = door.ask("GET", &format!("{pod}/moved"), "").await.head;
    assert!(moved.contains(&format!("{pod}/next")), "{moved}");
    let named = door.ask("GET", "/api/v1/namespaces/default/pods/http:echo:web/proxy/x", "").await;
    assert!(named.body.starts_with("GET /x "), "{}", named.body);
    let refused = door.ask("GET", "/api/v1/namespaces/default/pods/echo:81/proxy/x", "").await;
    assert!(refused.head.starts_with("HTTP/1.1 503"), "{}", refused.head);
    assert!(refused.body.contains("error trying to reach service: dial tcp"), "{}", refused.body);
    let (head, mut connection) = door.upgrade("GET", &format!("{pod}/"), "Upgrade: capitals\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    for word in ["one", "two"] {
        connection.get_mut().write_all(format!("{word}\n").as_bytes()).await.unwrap();
        let mut line = String::new();
        tokio::time::timeout(PATIENCE, connection.read_line(&mut line)).await.unwrap().unwrap();
        assert_eq!(line.trim(), word.to_uppercase());
    }
}

/// H49
async fn to_services(door: &Door, kubectl: &Kubectl) {
    let service = |name: &str| format!("/api/v1/namespaces/default/services/{name}/proxy/x");
    let ip = kubectl.run("get pod echo -o jsonpath={.status.podIP}").await;
    let slice = format!(
        "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: echo-1, labels: {{kubernetes.io/service-name: echo}}}}
addressType: IPv4
ports: [{{name: web, port: 8000, protocol: TCP}}]
endpoints: [{{addresses: [{ip}], conditions: {{ready: true}}}}]
"
    );
    kubectl.apply(&slice).await;
    for name in ["echo:80", "echo:web"] {
        assert!(door.ask("GET", &service(name), "").await.body.starts_with("GET /x "), "{name}");
    }
    let unknown = door.ask("GET", &service("echo:81"), "").await;
    assert!(unknown.body.contains("no service port 81 found for service"), "{}", unknown.body);
    kubectl.run("delete endpointslice echo-1").await;
    kubectl.run("delete endpoints echo --ignore-not-found").await;
    let none = async || {
        let answer = door.ask("GET", &service("echo:80"), "").await;
        answer.head.starts_with("HTTP/1.1 503") && answer.body.contains("no endpoints available for service")
    };
    // Whoever keeps slices for Services makes none for one without a selector.
    crate::features::eventually(none).await;
}

/// N1, N6, H30, H33, H39, H50: sessions on the node's own API, with both protocols.
async fn to_nodes(door: &Door, kubectl: &Kubectl) {
    let name = kubectl.run("get nodes -o jsonpath={.items[0].metadata.name}").await;
    let node = format!("/api/v1/nodes/{name}/proxy");
    assert_eq!(door.ask("GET", &format!("{node}/healthz"), "").await.body, "ok");
    let port =
        kubectl.run("get nodes -o jsonpath={.items[0].status.daemonEndpoints.kubeletEndpoint.Port}").await;
    let named = format!("/api/v1/nodes/https:{name}:{port}/proxy/healthz");
    assert_eq!(door.ask("GET", &named, "").await.body, "ok");
    let exec = format!("{node}/exec/default/echo/app?command=true&output=1");
    let spdy = "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n";
    let (head, _) = door.upgrade("POST", &exec, spdy).await;
    assert!(head.starts_with("HTTP/1.1 101") && head.to_lowercase().contains("v4.channel.k8s.io"), "{head}");
    let forward = format!("{node}/portForward/default/echo");
    let spdy = "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n";
    let (head, _) = door.upgrade("POST", &forward, spdy).await;
    assert!(head.starts_with("HTTP/1.1 101") && head.to_lowercase().contains("portforward.k8s.io"), "{head}");
    let output =
        over_websocket(door, &format!("{node}/exec/default/echo/app?command=echo&command=hi&output=1"), None)
            .await;
    assert!(output.contains("hi\n") && output.contains("\"Success\""), "{output}");
    let request = "GET /x HTTP/1.0\r\n\r\n";
    let output = over_websocket(door, &format!("{forward}?port=8000"), Some(request)).await;
    assert!(output.contains("GET /x "), "{output}");
}

/// Everything a session with channels says, after `input` on channel 0.
async fn over_websocket(door: &Door, path: &str, input: Option<&str>) -> String {
    let mut request = format!("ws://localhost{path}").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "v4.channel.k8s.io".parse().unwrap());
    let connection = door.connect().await;
    let (mut socket, _) = tokio_tungstenite::client_async(request, connection).await.unwrap();
    if let Some(input) = input {
        let message = [b"\0", input.as_bytes()].concat();
        socket.send(Message::Binary(message.into())).await.unwrap();
    }
    let mut said = String::new();
    let read = async {
        while let Some(Ok(message)) = socket.next().await {
            said.push_str(&String::from_utf8_lossy(message.into_data().get(1..).unwrap_or_default()));
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the session ends");
    said
}
