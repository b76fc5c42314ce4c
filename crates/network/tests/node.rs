//! The node's network in the kernel: Pods reach each other, the node and host ports, and nothing stays behind.
//! Needs root; every test works on a bridge, a table and a range of its own.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use outrigger_network::{
    Endpoint, HostPort, NetworkConfig, NodeNetwork, PodNetwork, PodNetworking, Protocol,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn config(folder: &Path, name: &str, cidr: &str) -> NetworkConfig {
    NetworkConfig {
        bridge: name.into(),
        table: name.into(),
        pod_cidr: cidr.parse().unwrap(),
        state_dir: folder.join("state"),
        netns_dir: folder.join("netns"),
    }
}

fn endpoint(uid: &str) -> Endpoint {
    Endpoint { pod_uid: uid.into(), attempt: 0 }
}

/// A socket made on a thread that is inside the Pod's namespace, for use anywhere.
fn inside<T: Send>(pod: &PodNetwork, open: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let entered = scope.spawn(|| {
            let namespace = std::fs::File::open(&pod.netns).unwrap();
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), network).unwrap();
            open()
        });
        entered.join().unwrap()
    })
}

fn listen(pod: &PodNetwork, port: u16) -> TcpListener {
    let listener = inside(pod, || std::net::TcpListener::bind(("0.0.0.0", port)).unwrap());
    listener.set_nonblocking(true).unwrap();
    TcpListener::from_std(listener).unwrap()
}

fn connect_from(pod: &PodNetwork, to: SocketAddr) -> TcpStream {
    let within = Duration::from_secs(10);
    let stream = inside(pod, || std::net::TcpStream::connect_timeout(&to, within).unwrap());
    stream.set_nonblocking(true).unwrap();
    TcpStream::from_std(stream).unwrap()
}

/// Sends a word through and says whom the server saw.
async fn exchange(server: &TcpListener, mut client: TcpStream) -> IpAddr {
    let (mut accepted, peer) = server.accept().await.unwrap();
    accepted.write_all(b"ahoy").await.unwrap();
    drop(accepted);
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "ahoy");
    peer.ip()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_reach_each_other_and_the_node_under_their_own_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let network = NodeNetwork::open(config(folder.path(), "ortest0", "10.213.1.0/24")).await.unwrap();
    let one = network.set_up(&endpoint("one"), &[]).await.unwrap();
    let two = network.set_up(&endpoint("two"), &[]).await.unwrap();

    let server = listen(&two, 8080);
    let client = connect_from(&one, SocketAddr::new(two.ips[0], 8080));
    assert_eq!(exchange(&server, client).await, one.ips[0]);

    let on_node = TcpListener::bind((network.gateway(), 0)).await.unwrap();
    let client = connect_from(&one, on_node.local_addr().unwrap());
    assert_eq!(exchange(&on_node, client).await, one.ips[0]);
    network.remove().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_port_leads_to_the_pod_from_node_loopback_and_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let network = NodeNetwork::open(config(folder.path(), "ortest1", "10.213.2.0/24")).await.unwrap();
    let free = TcpListener::bind("0.0.0.0:0").await.unwrap().local_addr().unwrap().port();
    let port = HostPort { protocol: Protocol::Tcp, host_ip: None, host_port: free, container_port: 80 };
    let served = network.set_up(&endpoint("served"), &[port]).await.unwrap();
    let neighbour = network.set_up(&endpoint("neighbour"), &[]).await.unwrap();
    let server = listen(&served, 80);

    let by_loopback = TcpStream::connect(("127.0.0.1", free)).await.unwrap();
    exchange(&server, by_loopback).await;
    let by_address = TcpStream::connect((network.gateway(), free)).await.unwrap();
    exchange(&server, by_address).await;
    let from_neighbour = connect_from(&neighbour, SocketAddr::new(network.gateway(), free));
    exchange(&server, from_neighbour).await;

    network.tear_down(&endpoint("served")).await.unwrap();
    TcpStream::connect(("127.0.0.1", free)).await.expect_err("nobody listens there any more");
    network.remove().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_finds_what_was_there_and_removal_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = config(folder.path(), "ortest2", "10.213.3.0/24");
    let before = {
        let network = NodeNetwork::open(settings.clone()).await.unwrap();
        network.set_up(&endpoint("kept"), &[]).await.unwrap()
    };
    let network = NodeNetwork::open(settings.clone()).await.unwrap();
    assert_eq!(network.list().await.unwrap(), [(endpoint("kept"), before.clone())]);
    assert_eq!(network.set_up(&endpoint("kept"), &[]).await.unwrap(), before);
    let other = network.set_up(&endpoint("other"), &[]).await.unwrap();
    assert_ne!(other.ips, before.ips);

    network.remove().await.unwrap();
    network.tear_down(&endpoint("kept")).await.unwrap();
    assert!(!before.netns.exists());
    let links = std::fs::read_to_string("/proc/net/dev").unwrap();
    assert!(!links.contains("ortest2") && !links.contains("veth0ad503"), "{links}");
}

/// A Pod gets a namespace that was made before, and what no Pod took is nobody's: not listed, cleared by the next
/// start, gone in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_made_ahead_serve_pods_and_do_not_stay() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "ortest9", "10.213.9.0/24");
    let network = NodeNetwork::open(config.clone()).await.unwrap();
    let namespaces = || std::fs::read_dir(&config.netns_dir).unwrap().count();
    network.fill_ahead().await.unwrap();
    let kept = namespaces();
    let one = network.set_up(&endpoint("one"), &[]).await.unwrap();
    let two = network.set_up(&endpoint("two"), &[]).await.unwrap();
    assert_eq!(namespaces(), kept, "both were there already");
    assert_eq!(network.set_up(&endpoint("one"), &[]).await.unwrap(), one);
    let server = listen(&two, 8080);
    let client = connect_from(&one, SocketAddr::new(two.ips[0], 8080));
    assert_eq!(exchange(&server, client).await, one.ips[0]);
    drop(server);
    drop(network);

    let network = NodeNetwork::open(config.clone()).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    network.keep_ahead(stop).await;
    assert_eq!(namespaces(), 2);
    let listed = network.list().await.unwrap();
    assert_eq!(listed, [(endpoint("one"), one), (endpoint("two"), two)]);
    network.fill_ahead().await.unwrap();
    network.remove().await.unwrap();
    assert_eq!(namespaces(), 0);
}

/// Pods that end together take their links along together, and nobody else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_go_at_once_go_and_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let network = NodeNetwork::open(config(folder.path(), "ortest10", "10.213.10.0/24")).await.unwrap();
    let names: Vec<String> = (0..12).map(|number| format!("pod-{number}")).collect();
    let mut pods = Vec::new();
    for name in &names {
        pods.push(network.set_up(&endpoint(name), &[]).await.unwrap());
    }
    let links = || {
        let all = std::fs::read_to_string("/proc/net/dev").unwrap();
        all.lines().filter(|line| line.contains("veth0ad50a")).count()
    };
    assert_eq!(links(), 12);
    let (kept, going) = names.split_at(2);
    let ended = futures::future::join_all(going.iter().map(async |name| {
        network.tear_down(&endpoint(name)).await.unwrap();
    }));
    ended.await;
    assert_eq!(links(), 2);
    assert_eq!(network.list().await.unwrap().len(), 2);
    let server = listen(&pods[1], 8080);
    let client = connect_from(&pods[0], SocketAddr::new(pods[1].ips[0], 8080));
    assert_eq!(exchange(&server, client).await, pods[0].ips[0], "{kept:?} still talk");
    network.tear_down(&endpoint(&names[5])).await.unwrap();
    network.remove().await.unwrap();
    assert_eq!(links(), 0);
}
