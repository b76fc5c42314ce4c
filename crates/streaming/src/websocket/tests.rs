//! A client of ours against [`serve`], over a connection in memory.

use futures::{FutureExt, SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::agent::SessionEnd;

type Client = WebSocketStream<DuplexStream>;

/// The process's ends of a session.
struct Process {
    stdin: DuplexStream,
    stdout: DuplexStream,
    end: tokio::sync::oneshot::Sender<SessionEnd>,
}

fn session() -> (Session, Process) {
    let (stdin, process_stdin) = duplex(1024);
    let (stdout, process_stdout) = duplex(1024);
    let (end, ended) = tokio::sync::oneshot::channel();
    let session = Session {
        stdin: Some(Box::new(stdin)),
        stdout: Some(Box::new(stdout)),
        stderr: None,
        resize: None,
        end: async move { ended.await.unwrap_or(SessionEnd::Detached) }.boxed(),
    };
    (session, Process { stdin: process_stdin, stdout: process_stdout, end })
}

async fn client(protocol: &str, session: Session) -> (Client, tokio::task::JoinHandle<()>) {
    let (ours, theirs) = duplex(64 * 1024);
    let serving = tokio::spawn(serve(theirs, negotiate(protocol).unwrap(), session));
    (WebSocketStream::from_raw_socket(ours, Role::Client, None).await, serving)
}

async fn binary(client: &mut Client) -> Vec<u8> {
    match client.next().await {
        Some(Ok(Message::Binary(frame))) => frame.to_vec(),
        other => panic!("expected a binary frame, got {other:?}"),
    }
}

fn status(frame: &[u8]) -> Value {
    assert_eq!(frame[0], 3, "the error channel");
    serde_json::from_slice(&frame[1..]).unwrap()
}

/// H23, H24, H26, H27: readiness, input to its end, output, one Status, a normal close.
#[tokio::test]
async fn a_session_from_readiness_to_a_normal_close() {
    let (session, mut process) = session();
    let (mut client, serving) = client("v5.channel.k8s.io", session).await;
    assert_eq!(binary(&mut client).await, [1]);

    client.send(Message::binary(b"\x00ahoy".to_vec())).await.unwrap();
    client.send(Message::binary(vec![0xff, 0])).await.unwrap();
    let mut heard = String::new();
    process.stdin.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "ahoy");

    process.end.send(SessionEnd::Exited(0)).unwrap();
    process.stdout.write_all(b"after the end was known").await.unwrap();
    drop(process.stdout);
    assert_eq!(binary(&mut client).await, b"\x01after the end was known");
    assert_eq!(status(&binary(&mut client).await)["status"], "Success");
    let Some(Ok(Message::Close(Some(close)))) = client.next().await else { panic!("no close") };
    assert_eq!(close.code, CloseCode::Normal);
    assert!(client.next().await.is_none());
    serving.await.unwrap();
}

/// H26, P8: the exit code travels as a cause.
#[tokio::test]
async fn an_exit_code_is_a_cause_of_the_status() {
    let (session, process) = session();
    let (mut client, _serving) = client("v4.channel.k8s.io", session).await;
    binary(&mut client).await;
    process.end.send(SessionEnd::Exited(137)).unwrap();
    drop(process.stdout);
    let status = status(&binary(&mut client).await);
    assert_eq!(status["reason"], "NonZeroExitCode");
    assert_eq!(status["details"]["causes"][0]["reason"], "ExitCode");
    assert_eq!(status["details"]["causes"][0]["message"], "137");
}

/// H26: the oldest protocol tells failures as text and success by silence.
#[tokio::test]
async fn the_oldest_protocol_is_told_failures_as_text() {
    let (session, process) = session();
    let (mut client, _serving) = client("", session).await;
    binary(&mut client).await;
    process.end.send(SessionEnd::Failed("no such container".into())).unwrap();
    drop(process.stdout);
    assert_eq!(binary(&mut client).await, b"\x03no such container");

    assert_eq!(last_word(true, &SessionEnd::Exited(0)), None);
}

/// H24: a client that leaves takes its process along; the session is dropped.
#[tokio::test]
async fn a_client_that_vanishes_ends_the_session() {
    let (session, mut process) = session();
    let (mut client, serving) = client("v5.channel.k8s.io", session).await;
    binary(&mut client).await;
    drop(client);
    serving.await.unwrap();
    assert!(process.end.is_closed());
    process.stdout.write_all(b"x").await.expect_err("nobody reads any more");
}

/// H28: a process that ignores its input does not stop the session.
#[tokio::test]
async fn input_nobody_reads_is_no_obstacle() {
    let (session, process) = session();
    let (mut client, _serving) = client("v5.channel.k8s.io", session).await;
    binary(&mut client).await;
    drop(process.stdin);
    for _ in 0..3 {
        client.send(Message::binary(b"\x00more".to_vec())).await.unwrap();
    }
    process.end.send(SessionEnd::Exited(0)).unwrap();
    drop(process.stdout);
    assert_eq!(status(&binary(&mut client).await)["status"], "Success");
}
