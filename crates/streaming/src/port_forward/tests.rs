//! A client of ours against [`serve_spdy`] and [`channels::serve`]; the Pod is an echo in memory.

use async_trait::async_trait;
use bytes::BytesMut;
use futures::{SinkExt as _, StreamExt as _};
use outrigger_api::StatusError;
use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::agent::{LogOptions, LogStream, Session, StreamOptions};
use crate::spdy::testing::{Client, Heard};

/// Port 7 echoes until its input ends and then says goodbye; nobody listens on the others.
#[derive(Debug)]
struct Echo;

#[async_trait]
impl NodeAgent for Echo {
    async fn logs(&self, _: &ContainerTarget, _: &LogOptions) -> Result<LogStream, StatusError> {
        Err(StatusError::bad_request("no logs"))
    }

    async fn exec(
        &self,
        _: &ContainerTarget,
        _: &[String],
        _: StreamOptions,
    ) -> Result<Session, StatusError> {
        Err(StatusError::bad_request("no exec"))
    }

    async fn attach(&self, _: &ContainerTarget, _: StreamOptions) -> Result<Session, StatusError> {
        Err(StatusError::bad_request("no attach"))
    }

    async fn port_forward(&self, _: &ContainerTarget, port: u16) -> Result<Box<dyn Duplex>, StatusError> {
        if port != 7 {
            return Err(StatusError::bad_request("connection refused"));
        }
        let (ours, theirs) = duplex(1024);
        drop(tokio::spawn(async move {
            let (mut from, mut to) = tokio::io::split(theirs);
            tokio::io::copy(&mut from, &mut to).await.unwrap();
            to.write_all(b" bye").await.unwrap();
        }));
        Ok(Box::new(ours))
    }
}

fn forwarder() -> Forwarder {
    let word = |text: &str| text.to_owned();
    let target =
        ContainerTarget { namespace: word("n"), pod: word("p"), uid: word("u"), container: word("") };
    Forwarder { agent: Arc::new(Echo), target }
}

fn spdy_client() -> Client {
    let (ours, theirs) = duplex(64 * 1024);
    drop(tokio::spawn(serve_spdy(tokio::io::split(theirs), forwarder())));
    Client::new(ours)
}

fn headers(kind: &str, port: u16, request: u32) -> Vec<(&'static str, String)> {
    vec![("streamtype", kind.to_owned()), ("port", port.to_string()), ("requestid", request.to_string())]
}

/// H35, H36: two streams are one connection, the end of input is passed on, both streams are ended at the end.
#[tokio::test]
async fn a_connection_is_forwarded_to_its_end() {
    let mut client = spdy_client();
    client.open(1, true, headers("error", 7, 0)).await;
    client.open(3, false, headers("data", 7, 0)).await;
    client.say(3, b"hello", true).await;
    let heard = client.listen(&[1, 3]).await;
    assert_eq!(heard[&3], Heard { accepted: true, data: b"hello bye".to_vec(), end: Some(Ok(())) });
    assert_eq!(heard[&1], Heard { accepted: true, data: vec![], end: Some(Ok(())) });
}

/// H36, H37: connections do not disturb each other, and a closed port is told on its error stream.
#[tokio::test]
async fn several_connections_share_one() {
    let mut client = spdy_client();
    for request in 0..20_u32 {
        let port = if request == 5 { 80 } else { 7 };
        client.open(4 * request + 1, true, headers("error", port, request)).await;
        client.open(4 * request + 3, false, headers("data", port, request)).await;
    }
    for request in 0..20_u32 {
        client.say(4 * request + 3, &vec![b'x'; 3000], true).await;
    }
    let all: Vec<u32> =
        (0..20).flat_map(|request| [4 * request + 1, 4 * request + 3]).filter(|id| *id != 23).collect();
    let heard = client.listen(&all).await;
    for request in (0..20).filter(|request| *request != 5) {
        assert_eq!(heard[&(4 * request + 3)].data.len(), 3004);
    }
    let told = String::from_utf8(heard[&21].data.clone()).unwrap();
    assert_eq!(told, "error forwarding port 80 to pod p, uid u: connection refused");
}

/// H36: streams that name no port or no purpose are refused; the connection goes on.
#[tokio::test]
async fn streams_without_a_purpose_are_refused() {
    let mut client = spdy_client();
    client.open(1, true, headers("error", 0, 0)).await;
    client.open(3, true, headers("stdin", 7, 0)).await;
    client.open(2, true, headers("data", 7, 0)).await;
    let heard = client.listen(&[1, 3, 2]).await;
    assert_eq!(heard[&1].end, Some(Err(3)), "REFUSED_STREAM");
    assert_eq!(heard[&3].end, Some(Err(3)), "REFUSED_STREAM");
    assert_eq!(heard[&2].end, Some(Err(1)), "PROTOCOL_ERROR: clients have odd numbers");
    client.ping(1).await;
}

/// H37.
#[tokio::test(start_paused = true)]
async fn half_a_pair_is_told_that_it_waits_in_vain() {
    let mut client = spdy_client();
    client.open(1, true, headers("error", 7, 0)).await;
    let heard = client.listen(&[1]).await;
    assert_eq!(heard[&1].data, b"timed out waiting for streams");
}

/// H35: the tunnel is nothing but bytes in binary messages.
#[tokio::test]
async fn a_tunnel_carries_bytes_in_messages() {
    let (ours, theirs) = duplex(64 * 1024);
    let mut client = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
    let (mut reader, mut writer) = tunnel(theirs).await;
    client.send(Message::binary(b"he".to_vec())).await.unwrap();
    client.send(Message::Ping(BytesMut::new().freeze())).await.unwrap();
    client.send(Message::binary(b"llo".to_vec())).await.unwrap();
    let mut heard = [0; 5];
    reader.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    writer.write_all(b"answer").await.unwrap();
    writer.flush().await.unwrap();
    client.send(Message::Close(None)).await.unwrap();
    assert_eq!(reader.read(&mut heard).await.unwrap(), 0);
    drop((reader, writer));
    let mut said = Vec::new();
    while let Some(Ok(message)) = client.next().await {
        said.push(message);
    }
    assert!(said.contains(&Message::binary(b"answer".to_vec())), "{said:?}");
}

async fn channel_client(protocol: &str, ports: Vec<u16>) -> WebSocketStream<DuplexStream> {
    let (ours, theirs) = duplex(64 * 1024);
    let Some(Negotiated::Channels(protocol)) = negotiate(protocol) else { panic!("{protocol}") };
    drop(tokio::spawn(channels::serve(theirs, protocol, ports, forwarder())));
    WebSocketStream::from_raw_socket(ours, Role::Client, None).await
}

/// H39: each channel begins with its port; data and errors of a port stay on its channels.
#[tokio::test]
async fn channels_begin_with_their_port() {
    let mut client = channel_client("v4.channel.k8s.io", vec![7, 258]).await;
    client.send(Message::binary(b"\x00hello".to_vec())).await.unwrap();
    client.send(Message::binary(b"\x09nothing".to_vec())).await.unwrap();
    let mut heard = std::collections::BTreeMap::<u8, Vec<u8>>::new();
    let refused = b"\x02\x01error forwarding port 258 to pod p, uid u: connection refused";
    while heard.get(&0).is_none_or(|data| data.len() < 7) || heard.get(&3).is_none_or(|data| data.len() < 3) {
        let Some(Ok(Message::Binary(frame))) = client.next().await else { panic!("it ended") };
        heard.entry(frame[0]).or_default().extend_from_slice(&frame[1..]);
    }
    assert_eq!(heard[&0], b"\x07\x00hello");
    assert_eq!(heard[&1], b"\x07\x00");
    assert_eq!(heard[&2], b"\x02\x01");
    assert_eq!(heard[&3], refused);
}

/// H39: when every port has ended, so does the connection; the same over text frames.
#[tokio::test]
async fn the_last_port_ends_the_connection() {
    let mut client = channel_client("v4.base64.channel.k8s.io", vec![80]).await;
    let mut said = Vec::new();
    while let Some(Ok(message)) = client.next().await {
        said.push(message);
    }
    assert_eq!(said[0], Message::text("0UAA="));
    assert_eq!(said[1], Message::text("1UAA="));
    assert!(matches!(said.last(), Some(Message::Close(Some(_)))), "{said:?}");
}

/// H35, H39.
#[test]
fn subprotocols_and_ports_are_chosen() {
    assert_eq!(negotiate("x, SPDY/3.1+portforward.k8s.io"), Some(Negotiated::Tunnel));
    assert_eq!(negotiate(""), Some(Negotiated::Channels(channels::UNNAMED)));
    assert_eq!(negotiate("v9.channel.k8s.io"), None);
    assert_eq!(channels::ports(["80", "443,8080"].into_iter()), Ok(vec![80, 443, 8080]));
    for (bad, said) in
        [("", "cannot be empty"), ("0", "must be > 0"), ("70000", "unable to parse \"70000\" as a port")]
    {
        let error = channels::ports([bad].into_iter()).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    assert!(channels::ports(std::iter::empty()).unwrap_err().contains("is required"));
}
